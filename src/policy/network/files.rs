//! The files, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::path::PathBuf;

use super::expand::{ExpandError, Groups};
use super::fragment::{GroupsFragment, PolicyFragment};
use super::{Networks, Openness, Policy, PrivateRanges, REGISTRIES};
use crate::model::{Destination, GroupName, PolicyName, ServiceName};
use crate::policy::text::Text;
use crate::policy::yaml::{self, Flaw, Step};

/// The policies and groups that are built in.
const BUILT_IN: [(Openness, &str); 3] = [
    (Openness::Open, include_str!("../../../policies/network/open.yaml")),
    (Openness::Restricted, include_str!("../../../policies/network/restricted.yaml")),
    (Openness::Isolated, include_str!("../../../policies/network/isolated.yaml")),
];
const BUILT_IN_GROUPS: &str = include_str!("../../../policies/network-groups.yaml");

/// A file of network policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFile {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub kind: FileKind,
    /// Its text.
    pub text: String,
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// The policy of this name, or some of it.
    Policy(PolicyName),
    /// Groups.
    Groups,
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}:{line}:{column}: {reason}", path = path.display(), line = flaw.line,
        column = flaw.column, reason = flaw.reason)]
pub struct NetworkError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub flaw: Flaw,
}

impl NetworkFile {
    /// Returns those that are built in.
    pub fn built_in() -> Vec<Self> {
        let policies = BUILT_IN.iter().filter_map(|(openness, text)| {
            Some(Self {
                path: format!("(built in)/network/{openness}.yaml").into(),
                kind: FileKind::Policy(openness.name().parse().ok()?),
                text: (*text).to_owned(),
            })
        });
        let groups = Self {
            path: "(built in)/network-groups.yaml".into(),
            kind: FileKind::Groups,
            text: BUILT_IN_GROUPS.to_owned(),
        };
        policies.chain([groups]).collect()
    }

    fn error(&self, flaw: Flaw) -> NetworkError {
        NetworkError { path: self.path.clone(), flaw }
    }

    fn error_at(&self, path: &[Step<'_>], reason: String) -> NetworkError {
        let (line, column) = yaml::locate(&self.text, path);
        self.error(Flaw { line, column, reason })
    }
}

/// A list, and the file that it stands in.
#[derive(Clone, Default)]
struct List<'a> {
    items: Vec<Destination>,
    file: Option<&'a NetworkFile>,
}

impl<'a> List<'a> {
    fn new(items: Vec<Text<Destination>>, file: &'a NetworkFile) -> Self {
        Self { items: items.into_iter().map(|Text(item)| item).collect(), file: Some(file) }
    }

    /// Makes an error about an item; the list with an item has a file.
    fn error(&self, way: &[Step<'_>], item: usize, reason: String) -> NetworkError {
        let way: Vec<Step<'_>> = way.iter().copied().chain([Step::Item(item)]).collect();
        match self.file {
            Some(file) => file.error_at(&way, reason),
            None => {
                NetworkError { path: PathBuf::new(), flaw: Flaw { line: 1, column: 1, reason } }
            }
        }
    }

    /// Returns where an item stands, as people find it.
    fn place(&self, key: &str, item: usize) -> String {
        self.file.map_or_else(String::new, |file| {
            let (line, column) = yaml::locate(&file.text, &[Step::Key(key), Step::Item(item)]);
            format!("{}:{line}:{column}", file.path.display())
        })
    }
}

/// A policy as its files together say it.
struct Draft<'a> {
    description: String,
    like: Option<(Openness, &'a NetworkFile)>,
    private_ranges: PrivateRanges,
    allow: List<'a>,
    deny: List<'a>,
    host_services: BTreeMap<ServiceName, NonZero<u16>>,
    /// The last one.
    file: &'a NetworkFile,
}

impl Networks {
    /// Puts files together, later ones over earlier ones: a list replaces a list.
    ///
    /// The services of the host are those that all policies can name.
    ///
    /// # Errors
    /// With the first thing that is wrong.
    pub fn from_files(
        files: &[NetworkFile],
        services: &BTreeMap<ServiceName, NonZero<u16>>,
    ) -> Result<Self, NetworkError> {
        let mut drafts: BTreeMap<&PolicyName, Draft<'_>> = BTreeMap::new();
        let mut lists: BTreeMap<GroupName, List<'_>> = BTreeMap::new();
        for file in files {
            // What says nothing is not even a mapping.
            match &file.kind {
                FileKind::Groups => {
                    let parsed: Option<GroupsFragment> =
                        yaml::parse(&file.text).map_err(|flaw| file.error(flaw))?;
                    for (name, items) in parsed.unwrap_or_default().groups {
                        lists.insert(name, List::new(items, file));
                    }
                }
                FileKind::Policy(name) => {
                    let parsed: Option<PolicyFragment> =
                        yaml::parse(&file.text).map_err(|flaw| file.error(flaw))?;
                    let draft = drafts.entry(name).or_insert_with(|| Draft::new(services, file));
                    draft.lay_over(parsed.unwrap_or_default(), file);
                }
            }
        }
        let groups: BTreeMap<GroupName, Vec<Destination>> =
            lists.iter().map(|(name, list)| (name.clone(), list.items.clone())).collect();
        let known = Groups { by_name: &groups, registries: &[] };
        check_groups(&lists, known)?;
        let policies = drafts
            .into_iter()
            .map(|(name, draft)| Ok((name.clone(), draft.validate(name, known)?)))
            .collect::<Result<_, _>>()?;
        Ok(Self { policies, groups })
    }
}

fn check_groups(
    lists: &BTreeMap<GroupName, List<'_>>,
    groups: Groups<'_>,
) -> Result<(), NetworkError> {
    for (name, list) in lists {
        let way = [Step::Key("groups"), Step::Key(name.as_str())];
        if name.as_str() == REGISTRIES
            && let Some(file) = list.file
        {
            let reason = format!(
                "@{REGISTRIES} is read from the configuration of this host's own clients; name a \
                 group otherwise"
            );
            return Err(file.error_at(&way, reason));
        }
        for (place, item) in list.items.iter().enumerate() {
            match groups.expand(std::slice::from_ref(item)) {
                Ok(_) => {}
                // It only leads to the circle, which is told where it is.
                Err(ExpandError::Circle(circle)) if !circle.contains(name) => {}
                Err(error) => return Err(list.error(&way, place, error.to_string())),
            }
        }
    }
    Ok(())
}

impl<'a> Draft<'a> {
    fn new(services: &BTreeMap<ServiceName, NonZero<u16>>, file: &'a NetworkFile) -> Self {
        Self {
            description: String::new(),
            like: None,
            private_ranges: PrivateRanges::default(),
            allow: List::default(),
            deny: List::default(),
            host_services: services.clone(),
            file,
        }
    }

    fn lay_over(&mut self, over: PolicyFragment, file: &'a NetworkFile) {
        self.file = file;
        if let Some(description) = over.description {
            self.description = description;
        }
        if let Some(Text(like)) = over.like {
            self.like = Some((like, file));
        }
        if let Some(private_ranges) = over.private_ranges {
            self.private_ranges = private_ranges;
        }
        if let Some(allow) = over.allow {
            self.allow = List::new(allow, file);
        }
        if let Some(deny) = over.deny {
            self.deny = List::new(deny, file);
        }
        self.host_services.extend(over.host_services);
    }

    fn validate(self, name: &PolicyName, groups: Groups<'_>) -> Result<Policy, NetworkError> {
        let Some((like, like_file)) = self.like else {
            let reason =
                "'like' is missing: write isolated, restricted or open, which says how open \
                          this policy is at most"
                    .to_owned();
            return Err(self.file.error_at(&[], reason));
        };
        let own = Openness::ALL.into_iter().find(|openness| openness.name() == name.as_str());
        if let Some(own) = own.filter(|own| *own != like) {
            let reason =
                format!("the policy {name} is always like {own}: name another one otherwise");
            return Err(like_file.error_at(&[Step::Key("like")], reason));
        }
        if like == Openness::Isolated && !self.allow.items.is_empty() {
            let reason = "what is like isolated allows nothing: make it like restricted".to_owned();
            return Err(self.allow.error(&[Step::Key("allow")], 0, reason));
        }
        let allowed = self.expand("allow", &self.allow, groups)?;
        let denied = self.expand("deny", &self.deny, groups)?;
        self.check_contradictions(&allowed, &denied)?;
        Ok(Policy {
            description: self.description,
            like,
            private_ranges: self.private_ranges,
            allow: self.allow.items,
            deny: self.deny.items,
            host_services: self.host_services,
        })
    }

    /// Returns what each item of a list stands for.
    fn expand(
        &self,
        key: &str,
        list: &List<'_>,
        groups: Groups<'_>,
    ) -> Result<Vec<BTreeSet<Destination>>, NetworkError> {
        let expand = |(place, item): (usize, &Destination)| {
            let wrong = |reason: String| list.error(&[Step::Key(key)], place, reason);
            let expanded = groups
                .expand(std::slice::from_ref(item))
                .map_err(|error: ExpandError| wrong(error.to_string()))?;
            for destination in &expanded {
                if let Destination::Service(service) = destination
                    && !self.host_services.contains_key(service)
                {
                    return Err(wrong(format!(
                        "there is no service of the host {service}: add it to 'host_services' with \
                         its port"
                    )));
                }
            }
            Ok(expanded)
        };
        list.items.iter().enumerate().map(expand).collect()
    }

    /// Refuses what is allowed and denied as a whole: one of the two is not meant.
    fn check_contradictions(
        &self,
        allowed: &[BTreeSet<Destination>],
        denied: &[BTreeSet<Destination>],
    ) -> Result<(), NetworkError> {
        for (place, (item, members)) in self.allow.items.iter().zip(allowed).enumerate() {
            let contradicts = |(other, all): &(&Destination, &BTreeSet<Destination>)| {
                let covered = |member| all.iter().any(|denied: &Destination| denied.covers(member));
                *other == item || !members.is_empty() && members.iter().all(covered)
            };
            let found = self.deny.items.iter().zip(denied).position(|it| contradicts(&it));
            if let Some(denied) = found {
                let reason = format!(
                    "{item} is allowed here and denied at {}, which goes before",
                    self.deny.place("deny", denied)
                );
                return Err(self.allow.error(&[Step::Key("allow")], place, reason));
            }
        }
        Ok(())
    }
}
