//! Container images: what they are built from and what is in them (`images.yaml`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::text::Text;
use crate::model::{ImageRef, ProjectType};

/// The built-in `images.yaml`.
pub const BUILT_IN: &str = include_str!("../../policies/images.yaml");

/// What the agent's image cannot do without.
const AGENT_NEEDS: &[&str] = &["git", "openssh-server", "tmux"];

/// What the dev images cannot do without.
const DEV_NEEDS: &[&str] = &["git", "openssh-server", "sudo"];

/// One `images.yaml`: everything in it is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagesFragment {
    base: Option<Text<ImageName>>,
    trust_host_ca: Option<bool>,
    /// `null` is a value of its own: it takes back what an earlier layer says.
    #[serde(default, deserialize_with = "present")]
    ca_bundle: Option<Option<Text<AbsolutePath>>>,
    agent: Option<ImageFragment>,
    dev: Option<BTreeMap<ProjectType, ImageFragment>>,
}

/// One image in a fragment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageFragment {
    packages: Option<Vec<Text<Package>>>,
    install: Option<Text<Snippet>>,
}

impl ImagesFragment {
    /// Lays `over` onto this fragment, field by field; a list replaces a list.
    #[must_use]
    pub fn merge(self, over: Self) -> Self {
        let mut dev = self.dev.unwrap_or_default();
        for (project_type, image) in over.dev.unwrap_or_default() {
            let under = dev.remove(&project_type).unwrap_or_default();
            dev.insert(project_type, under.merge(image));
        }
        Self {
            base: over.base.or(self.base),
            trust_host_ca: over.trust_host_ca.or(self.trust_host_ca),
            ca_bundle: over.ca_bundle.or(self.ca_bundle),
            agent: Some(self.agent.unwrap_or_default().merge(over.agent.unwrap_or_default())),
            dev: Some(dev),
        }
    }
}

impl ImageFragment {
    fn merge(self, over: Self) -> Self {
        Self { packages: over.packages.or(self.packages), install: over.install.or(self.install) }
    }
}

/// The images, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// The image that `agent` and `dev-generic` start from.
    pub base: String,
    /// Whether containers trust the certificate authorities that the host trusts.
    pub trust_host_ca: bool,
    /// The file with those authorities; the system's usual place when there is none.
    pub ca_bundle: Option<PathBuf>,
    /// The agent's image.
    pub agent: ImageSettings,
    /// The dev images; a type that is missing adds nothing to `generic`.
    pub dev: BTreeMap<ProjectType, ImageSettings>,
}

/// What is put into one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSettings {
    /// Packages of the distribution.
    pub packages: Vec<String>,
    /// A shell snippet that root runs after the packages are there; empty for none.
    pub install: String,
}

/// What is wrong with the images although each value is well-formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImagesError {
    /// A value that has no default is missing.
    #[error("'{0}' is missing")]
    Missing(&'static str),
    /// A package is missing without which a taskspace cannot work.
    #[error("'{image}.packages' lacks {package}, without which no taskspace works")]
    MissingPackage {
        /// The image.
        image: &'static str,
        /// The package.
        package: &'static str,
    },
}

impl Images {
    /// Returns the built-in images.
    pub fn built_in() -> ImagesFragment {
        // A test sees to it that this parses.
        serde_yaml::from_str(BUILT_IN).unwrap_or_default()
    }

    /// Returns what is put into an image.
    pub fn of(&self, image: ImageRef) -> &ImageSettings {
        static NOTHING: ImageSettings =
            ImageSettings { packages: Vec::new(), install: String::new() };
        match image {
            ImageRef::Agent => &self.agent,
            ImageRef::Dev(project_type) => self.dev.get(&project_type).unwrap_or(&NOTHING),
        }
    }
}

impl TryFrom<ImagesFragment> for Images {
    type Error = ImagesError;

    fn try_from(fragment: ImagesFragment) -> Result<Self, ImagesError> {
        let images = Self {
            base: fragment.base.ok_or(ImagesError::Missing("base"))?.0.0,
            trust_host_ca: fragment.trust_host_ca.ok_or(ImagesError::Missing("trust_host_ca"))?,
            ca_bundle: fragment.ca_bundle.flatten().map(|path| path.0.0),
            agent: fragment.agent.ok_or(ImagesError::Missing("agent"))?.into(),
            dev: (fragment.dev.ok_or(ImagesError::Missing("dev"))?.into_iter())
                .map(|(project_type, image)| (project_type, image.into()))
                .collect(),
        };
        let generic = ImageRef::Dev(ProjectType::Generic);
        for (name, image, needs) in
            [("agent", ImageRef::Agent, AGENT_NEEDS), ("dev.generic", generic, DEV_NEEDS)]
        {
            let there = &images.of(image).packages;
            let has = |need: &str| there.iter().any(|package| bare_name(package) == need);
            if let Some(package) = needs.iter().find(|need| !has(need)) {
                return Err(ImagesError::MissingPackage { image: name, package });
            }
        }
        Ok(images)
    }
}

impl From<ImageFragment> for ImageSettings {
    fn from(fragment: ImageFragment) -> Self {
        Self {
            packages: fragment.packages.unwrap_or_default().into_iter().map(|it| it.0.0).collect(),
            install: fragment.install.map(|it| it.0.0).unwrap_or_default(),
        }
    }
}

/// Returns a package's name without version and architecture.
fn bare_name(package: &str) -> &str {
    package.split([':', '=']).next().unwrap_or(package)
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(input).map(Some)
}

/// The name of a container image, with registry, tag and digest.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ImageName(String);

impl FromStr for ImageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
        if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is not the name of a container image"))
        }
    }
}

/// A Debian package: `name`, `name=version` or `name:architecture`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Package(String);

impl FromStr for Package {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, version) = match text.split_once('=') {
            Some((rest, version)) => (rest, Some(version)),
            None => (text, None),
        };
        let (name, architecture) = match rest.split_once(':') {
            Some((name, architecture)) => (name, Some(architecture)),
            None => (rest, None),
        };
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        // The rules are those of Debian's policy, 5.6.1 and 5.6.12.
        let good = name.starts_with(lower)
            && name.chars().all(|c| lower(c) || "+.-".contains(c))
            && architecture.is_none_or(|text| {
                text.starts_with(lower) && text.chars().all(|c| lower(c) || c == '-')
            })
            && version.is_none_or(|text| {
                text.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && text.chars().all(|c| c.is_ascii_alphanumeric() || ".+~:-".contains(c))
            });
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is not the name of a package"))
        }
    }
}

/// A shell snippet: text without control characters but line feeds and tabs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snippet(String);

impl FromStr for Snippet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.chars().find(|c| c.is_control() && !"\n\t".contains(*c)) {
            Some(bad) => Err(format!("the control character {bad:?} has no place in a snippet")),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// A path from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AbsolutePath(PathBuf);

impl FromStr for AbsolutePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') && !text.chars().any(char::is_control) {
            Ok(Self(text.into()))
        } else {
            Err(format!("{text:?} is not an absolute path"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ImagesFragment, String> {
        serde_yaml::from_str(text).map_err(|error: serde_yaml::Error| error.to_string())
    }

    fn over_built_in(text: &str) -> Result<Images, ImagesError> {
        Images::built_in().merge(parse(text).unwrap()).try_into()
    }

    #[test]
    fn the_built_in_file_is_whole() {
        parse(BUILT_IN).unwrap();
        let images: Images = Images::built_in().try_into().unwrap();
        for image in ImageRef::ALL {
            assert!(!images.of(image).packages.is_empty(), "{image:?}");
        }
        assert!(images.trust_host_ca && images.ca_bundle.is_none());
    }

    #[test]
    fn a_layer_replaces_only_what_it_names() {
        let built_in: Images = Images::built_in().try_into().unwrap();
        let images =
            over_built_in("base: debian:13\ndev: {rust: {install: rustup}}\nca_bundle: /ca.pem")
                .unwrap();
        assert_eq!(images.base, "debian:13");
        assert_eq!(images.ca_bundle, Some("/ca.pem".into()));
        assert_eq!(images.agent, built_in.agent);
        let rust = ImageRef::Dev(ProjectType::Rust);
        assert_eq!(images.of(rust).packages, built_in.of(rust).packages);
        assert_eq!(images.of(rust).install, "rustup");
        let reset = parse("ca_bundle: /ca.pem").unwrap().merge(parse("ca_bundle: null").unwrap());
        assert_eq!(reset.ca_bundle, Some(None));
    }

    #[test]
    fn bad_values_are_told_with_their_place() {
        let cases = [
            ("bases: x", "unknown field `bases`"),
            ("dev: {cobol: {}}", "unknown variant `cobol`"),
            ("base: '--privileged'", "base: \"--privileged\" is not the name of a container image"),
            ("base: \"a\\nRUN x\"", "is not the name of a container image"),
            ("agent:\n  packages:\n    - git\n    - -oX", "is not the name of a package at line 4"),
            ("agent: {packages: [a b]}", "is not the name of a package"),
            ("agent: {packages: [git=]}", "is not the name of a package"),
            ("agent: {install: \"a\\0b\"}", "control character '\\0'"),
            ("ca_bundle: ca.pem", "is not an absolute path"),
            ("trust_host_ca: 7", "invalid type: integer `7`, expected a boolean"),
        ];
        for (text, message) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
        for package in ["g++", "libc6:amd64", "tmux=3.5a-3", "a=1:2.0~rc1+b1"] {
            parse(&format!("agent: {{packages: ['{package}']}}")).unwrap();
        }
    }

    #[test]
    fn an_image_that_could_not_work_is_refused() {
        let error = over_built_in("agent: {packages: [git, 'tmux=3.5a-3']}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "'agent.packages' lacks openssh-server, without which no taskspace works"
        );
        assert!(over_built_in("dev: {generic: {packages: []}}").is_err());
        assert!(over_built_in("dev: {go: {packages: []}}").is_ok());
    }
}
