//! Brings the registrations of all sources together.

use std::collections::BTreeMap;

use super::labels::Labelled;
use crate::model::{ContainerName, MAX_REGISTERED, Registration, Source, Target};
use crate::policy::cycle::Cycle;

/// One registration, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) registration: Registration,
    pub(super) source: Source,
}

/// All registrations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Merged {
    pub(super) entries: BTreeMap<ContainerName, Entry>,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

/// What each source has.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    pub(super) api: BTreeMap<ContainerName, Registration>,
    pub(super) settings: BTreeMap<ContainerName, Registration>,
    pub(super) labels: Labelled,
}

impl Sources {
    /// Brings them together: for one name a call goes before the settings, and these before labels.
    /// What goes before takes the other's place as a whole.
    pub(super) fn merge(&self) -> Merged {
        let mut merged = Merged { warnings: self.labels.warnings.clone(), ..Merged::default() };
        let sources = [
            (Source::Api, &self.api),
            (Source::Settings, &self.settings),
            (Source::Label, &self.labels.containers),
        ];
        let mut left_out = 0;
        let mut meant: BTreeMap<&str, &ContainerName> = BTreeMap::new();
        for (source, registrations) in sources {
            for (name, registration) in registrations {
                if merged.entries.contains_key(name) {
                    continue;
                }
                if merged.entries.len() == MAX_REGISTERED {
                    left_out += 1;
                    continue;
                }
                let container = in_podman(name, registration);
                if let Some(other) = meant.get(container) {
                    merged.warnings.push(format!(
                        "'{name}' (registered by {source}) is left out: its container \
                         '{container}' is registered as '{other}'"
                    ));
                    continue;
                }
                meant.insert(container, name);
                let entry = Entry { registration: registration.clone(), source };
                merged.entries.insert(name.clone(), entry);
            }
        }
        if left_out > 0 {
            merged.warnings.push(format!(
                "{MAX_REGISTERED} containers are registered, and {left_out} more cannot be"
            ));
        }
        while let Some(cycle) = merged.cycle() {
            merged.cut(&cycle);
        }
        merged
    }
}

impl Merged {
    fn cycle(&self) -> Option<Cycle> {
        let entries = self.entries.iter().map(|(name, entry)| (name, &entry.registration));
        cycle(entries)
    }

    /// Returns two names of one container, if there would be with these registrations: whoever acts
    /// on one of them would not be in the way of who acts on the other.
    pub(super) fn same_container<'a>(
        registrations: impl Iterator<Item = (&'a ContainerName, &'a Registration)>,
    ) -> Option<(&'a ContainerName, &'a ContainerName)> {
        let mut meant: BTreeMap<&str, &ContainerName> = BTreeMap::new();
        let mut registrations = registrations;
        registrations.find_map(|(name, registration)| {
            Some((meant.insert(in_podman(name, registration), name)?, name))
        })
    }

    /// Checks that further registrations, in the place of those of the same names, would make no
    /// circle.
    pub(super) fn check_with<'a>(
        &'a self,
        further: impl Iterator<Item = (&'a ContainerName, &'a Registration)>,
    ) -> Result<(), Cycle> {
        let known = self.entries.iter().map(|(name, entry)| (name, &entry.registration));
        let all: BTreeMap<&ContainerName, &Registration> = known.chain(further).collect();
        cycle(all.into_iter()).map_or(Ok(()), Err)
    }

    /// Takes the dependencies of one of those in a circle for none: of the source that gives way to
    /// the others, and of several the last one by name. It stays registered, for without its
    /// dependencies it is still better protected than not at all.
    fn cut(&mut self, cycle: &Cycle) {
        let members = cycle.targets().iter().filter_map(|target| match target {
            Target::Container(name) => Some((self.entries.get(name)?.source, name)),
            Target::Taskspace(_) | Target::Member(..) => None,
        });
        // The sources are in this order.
        let weakest = members.max_by(|(a, name_a), (b, name_b)| b.cmp(a).then(name_a.cmp(name_b)));
        if let Some((source, name)) = weakest {
            let warning = format!(
                "{cycle}: what '{name}' (registered by {source}) depends on is left out of account"
            );
            let name = name.clone();
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.registration.depends_on.clear();
            }
            self.warnings.push(warning);
        }
    }
}

/// Returns the name in Podman.
fn in_podman<'a>(name: &'a ContainerName, registration: &'a Registration) -> &'a str {
    registration.container.as_ref().unwrap_or(name).as_str()
}

/// Finds a circle in what these depend on.
fn cycle<'a>(
    registrations: impl Iterator<Item = (&'a ContainerName, &'a Registration)>,
) -> Option<Cycle> {
    let dependencies = registrations
        .map(|(name, it)| (Target::Container(name.clone()), it.depends_on.clone()))
        .collect();
    Cycle::find(&dependencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registrations(text: &str) -> BTreeMap<ContainerName, Registration> {
        let line = |line: &str| {
            let (name, depends_on) = line.split_once(':').unwrap();
            let depends_on = depends_on.split_whitespace().map(|it| it.parse().unwrap()).collect();
            (name.trim().parse().unwrap(), Registration { depends_on, ..Registration::default() })
        };
        text.split(';').filter(|line| !line.trim().is_empty()).map(line).collect()
    }

    fn sources(api: &str, settings: &str, labels: &str) -> Sources {
        let [api, settings, containers] = [api, settings, labels].map(registrations);
        Sources { api, settings, labels: Labelled { containers, warnings: vec![] } }
    }

    fn shown(merged: &Merged) -> Vec<String> {
        let show = |(name, entry): (&ContainerName, &Entry)| {
            let depends_on: Vec<String> =
                entry.registration.depends_on.iter().map(ToString::to_string).collect();
            format!("{name} by {}: {}", entry.source, depends_on.join(" "))
        };
        merged.entries.iter().map(show).collect()
    }

    #[test]
    fn a_call_goes_before_the_settings_and_these_before_labels() {
        let merged = sources("a: x", "a: y; b: y", "a: z; b: z; c: z").merge();
        assert_eq!(shown(&merged), ["a by api: x", "b by settings: y", "c by label: z"]);
        assert!(merged.warnings.is_empty());
    }

    #[test]
    fn one_container_has_one_name() {
        let mut sources = sources("", "", "");
        let named = |container: &str| Registration {
            container: Some(container.parse().unwrap()),
            ..Registration::default()
        };
        sources.api = registrations("db:");
        sources.settings.insert("postgres".parse().unwrap(), named("db"));
        sources.labels.containers.insert("web".parse().unwrap(), named("shop_web"));
        let merged = sources.merge();
        assert_eq!(shown(&merged), ["db by api: ", "web by label: "]);
        let warning = "'postgres' (registered by settings) is left out: its container 'db' is \
                       registered as 'db'";
        assert_eq!(merged.warnings, [warning]);
    }

    #[test]
    fn a_circle_is_cut_at_its_weakest_member_and_told() {
        let merged = sources("a: b", "b: c", "c: a; d: e; e: f; f: d; g: a").merge();
        let expected = [
            "a by api: b",
            "b by settings: c",
            "c by label: ",
            "d by label: e",
            "e by label: f",
            "f by label: ",
            "g by label: a",
        ];
        assert_eq!(shown(&merged), expected);
        insta::assert_snapshot!(merged.warnings.join("\n"), @r"
        a depends on b depends on c depends on a: what 'c' (registered by label) depends on is left out of account
        d depends on e depends on f depends on d: what 'f' (registered by label) depends on is left out of account
        ");
        let merged = sources("a: b", "b: a", "").merge();
        assert_eq!(shown(&merged), ["a by api: b", "b by settings: "]);
    }

    #[test]
    fn what_would_make_a_circle_is_found_before() {
        let merged = sources("", "b: c", "c: ; x: y; y: x").merge();
        let check = |text: &str| {
            let further = registrations(text);
            merged.check_with(further.iter()).map_err(|circle| circle.to_string())
        };
        // The circle that was cut is no reason to refuse another one.
        assert_eq!(check("a: b"), Ok(()));
        // In the place of what it depended on.
        assert_eq!(check("c: a; b:"), Ok(()));
        assert_eq!(check("c: b").unwrap_err(), "b depends on c depends on b");
        assert_eq!(check("y: y").unwrap_err(), "y depends on y");
    }

    #[test]
    fn too_many_are_told() {
        let many = |letter: char| -> String {
            (0..MAX_REGISTERED - 1).map(|n| format!("{letter}{n:04}:;")).collect()
        };
        let merged = sources(&many('b'), "", &many('a')).merge();
        assert_eq!(merged.entries.len(), MAX_REGISTERED);
        assert_eq!(merged.warnings, ["1000 containers are registered, and 998 more cannot be"]);
    }
}
