//! What is asked for (`CreateRequest`), and what that was resolved to (`Spec`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::{
    Code, CommitSettings, GitEnvironment, NetworkRequest, OnFull, Problem, Quantity, SnapshotName,
    SubmoduleSpec, TaskspaceId,
};

/// One of the two containers of a taskspace.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The AI coding agent in its tmux session.
    Agent,
    /// The toolchain, for people and their editors.
    Dev,
}

impl Role {
    /// Both, in the order in which they start.
    pub const ALL: [Self; 2] = [Self::Agent, Self::Dev];

    /// Returns the name as it stands in object names and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Dev => "dev",
        }
    }

    /// Returns the user that an SSH connection logs in as.
    pub const fn user(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Dev => "developer",
        }
    }

    /// Returns the port of its sshd inside the pod.
    pub const fn port(self) -> u16 {
        match self {
            Self::Agent => 2223,
            Self::Dev => 2222,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("{text:?} is no container of a taskspace; use agent or dev"))
    }
}

/// The kind of project, which decides the dev container's image.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ProjectType {
    /// Nothing in particular.
    Generic,
    /// `Cargo.toml`.
    Rust,
    /// `package.json`.
    Node,
    /// `requirements.txt` or `pyproject.toml`.
    Python,
    /// `go.mod`.
    Go,
}

impl ProjectType {
    /// Every type.
    pub const ALL: [Self; 5] = [Self::Generic, Self::Rust, Self::Node, Self::Python, Self::Go];

    /// Returns the name as it stands in image names and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Rust => "rust",
            Self::Node => "node",
            Self::Python => "python",
            Self::Go => "go",
        }
    }

    /// Tells the type from the names in the project's top directory; the first match wins.
    pub fn detect<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<&str> = names.into_iter().collect();
        let rules = [
            ("Cargo.toml", Self::Rust),
            ("package.json", Self::Node),
            ("requirements.txt", Self::Python),
            ("pyproject.toml", Self::Python),
            ("go.mod", Self::Go),
        ];
        rules
            .into_iter()
            .find(|(file, _)| names.contains(file))
            .map_or(Self::Generic, |(_, detected)| detected)
    }
}

impl fmt::Display for ProjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One of the images that are built here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageRef {
    /// The agent container's.
    Agent,
    /// The dev container's for one type of project.
    Dev(ProjectType),
}

impl ImageRef {
    /// Every image, those first that others are built on.
    pub const ALL: [Self; 6] = [
        Self::Agent,
        Self::Dev(ProjectType::Generic),
        Self::Dev(ProjectType::Rust),
        Self::Dev(ProjectType::Node),
        Self::Dev(ProjectType::Python),
        Self::Dev(ProjectType::Go),
    ];

    /// Returns the short name: `agent`, `dev-rust` and so on.
    pub fn short_name(self) -> String {
        match self {
            Self::Agent => "agent".to_owned(),
            Self::Dev(project_type) => format!("dev-{project_type}"),
        }
    }

    /// Returns the name in Podman's storage.
    pub fn full_name(self) -> String {
        format!("localhost/symposium/{}:latest", self.short_name())
    }

    /// Returns the container that runs it.
    pub const fn role(self) -> Role {
        match self {
            Self::Agent => Role::Agent,
            Self::Dev(_) => Role::Dev,
        }
    }

    /// Returns the image it is built on, where that is one of ours.
    pub const fn parent(self) -> Option<Self> {
        match self {
            Self::Agent | Self::Dev(ProjectType::Generic) => None,
            Self::Dev(_) => Some(Self::Dev(ProjectType::Generic)),
        }
    }
}

impl utoipa::PartialSchema for ImageRef {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("The short name of an image."))
            .enum_values(Some(Self::ALL.map(Self::short_name)))
            .into()
    }
}

impl utoipa::ToSchema for ImageRef {}

impl FromStr for ImageRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|image| image.short_name() == text).ok_or_else(|| {
            let names: Vec<String> = Self::ALL.iter().map(|image| image.short_name()).collect();
            format!("there is no image {text:?}; the images are {}", names.join(", "))
        })
    }
}

/// A taskspace as it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRequest {
    /// The id; derived from the project when it is not given.
    #[serde(default)]
    pub id: Option<TaskspaceId>,
    /// A repository's URL (https, ssh, file, git, or `host:path`), or an absolute local path.
    #[schema(pattern = r"^[^\x00-\x1f\x7f-\x9f-][^\x00-\x1f\x7f-\x9f]*$")]
    pub project: String,
    /// A branch, tag or commit; the repository's HEAD when it is not given.
    #[serde(default, rename = "ref")]
    pub git_ref: Option<String>,
    /// Bring along what is not committed in the work tree of the local repository; the commit is the
    /// one that is checked out there.
    #[serde(default)]
    pub dirty: bool,
    /// The type of project; detected when it is not given.
    #[serde(default, rename = "type")]
    pub project_type: Option<ProjectType>,
    /// `claude-code`, `q-cli`, `shell`, or a command line.
    #[serde(default)]
    #[schema(pattern = r"^[^\x00]*$", max_length = 122880)]
    pub agent: Option<String>,
    /// What the agent is told when it starts for the first time.
    #[serde(default)]
    #[schema(pattern = r"^[^\x00]*$", max_length = 122880)]
    pub prompt: Option<String>,
    /// A former taskspace whose agent state this one continues with.
    #[serde(default)]
    pub agent_state_of: Option<TaskspaceId>,
    /// Its tier, which decides the limits that are not given; `default` when it is not given.
    #[serde(default)]
    pub tier: Option<String>,
    /// How much it may write.
    #[serde(default)]
    #[schema(schema_with = Quantity::limit_schema)]
    pub storage: Option<Quantity>,
    /// What is done when it has written as much.
    #[serde(default)]
    pub on_full: Option<OnFull>,
    /// Whether it must not be made where the file system itself does not hold it to that.
    #[serde(default)]
    pub hard: bool,
    /// What it may reach.
    #[serde(default)]
    pub network: NetworkRequest,
    /// Use the mirror as it is, without asking the repository.
    #[serde(default)]
    pub offline: bool,
    /// When it fails, leave what was made, so that it can be looked at.
    #[serde(default)]
    pub keep_on_failure: bool,
    /// The caller's environment, in which git runs.
    #[serde(default)]
    pub git: GitEnvironment,
}

/// What a new taskspace is to be that begins where another one is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkRequest {
    /// Its id; made of the project's name when it is not given.
    #[serde(default)]
    pub id: Option<TaskspaceId>,
    /// Whether its agent begins with the state of the other's.
    #[serde(default)]
    pub agent_state: bool,
    /// The snapshot of the other one with which it begins; with what that has now when it is not given.
    #[serde(default)]
    pub snapshot: Option<SnapshotName>,
    /// `claude-code`, `q-cli`, `shell` or a command line; that of the other one when it is not given.
    #[serde(default)]
    #[schema(pattern = r"^[^\x00]*$", max_length = 122880)]
    pub agent: Option<String>,
    /// What the agent is told when it starts for the first time.
    #[serde(default)]
    #[schema(pattern = r"^[^\x00]*$", max_length = 122880)]
    pub prompt: Option<String>,
    /// Its tier, which decides the limits that are not given; that of the other one, with its limits, when it is not given.
    #[serde(default)]
    pub tier: Option<String>,
    /// How much it may write.
    #[serde(default)]
    #[schema(schema_with = Quantity::limit_schema)]
    pub storage: Option<Quantity>,
    /// What is done when it has written as much.
    #[serde(default)]
    pub on_full: Option<OnFull>,
    /// Whether it must not be made where the file system itself does not hold it to that.
    #[serde(default)]
    pub hard: bool,
    /// What it may reach; the same as the other one when it is not given.
    #[serde(default)]
    pub network: Option<NetworkRequest>,
    /// Leave what was made when it fails.
    #[serde(default)]
    pub keep_on_failure: bool,
}

/// The checkout of a taskspace, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProjectSpec {
    /// The project's name, a key of the registry's `projects`.
    pub name: String,
    /// Where it comes from, without any password.
    pub source: String,
    /// The URL of `origin` inside, if `url.*.insteadOf` of the user makes it another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The URL that `origin` is pushed to inside, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_url: Option<String>,
    /// The ref that was asked for.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// The commit that it was.
    pub commit: String,
    /// The branch that is checked out.
    pub branch: String,
    /// Whether what was not committed in the source's work tree came along.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dirty: bool,
    /// How commits look that are made in it.
    #[serde(default, skip_serializing_if = "CommitSettings::is_empty")]
    pub commits: CommitSettings,
    /// The key of its base, if that is not the commit alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_key: Option<String>,
    /// The submodules, at any depth; each after the one that it is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub submodules: Vec<SubmoduleSpec>,
    /// What of the commit is not in the checkout as its owner would have it, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl ProjectSpec {
    /// Returns the key of its base among those of the project.
    pub fn base(&self) -> &str {
        self.base_key.as_deref().unwrap_or(&self.commit)
    }
}

/// The agent of a taskspace, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AgentSpec {
    /// `claude-code`, `q-cli`, `shell` or `command`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The command line that the supervisor runs; empty for a shell.
    pub command: String,
    /// What it is told when it starts for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

impl AgentSpec {
    /// The longest command line or prompt, in bytes. Both are words of the agent's command and of its
    /// environment, which the kernel limits to 128 KiB each (execve(2)).
    const LONGEST: usize = 120 * 1024;

    /// Checks what is asked for.
    ///
    /// # Errors
    /// When a command line or prompt could not be handed over as it is.
    pub fn check(agent: Option<&str>, prompt: Option<&str>) -> Result<(), Problem> {
        for (what, text) in [("agent's command line", agent), ("prompt", prompt)] {
            let Some(text) = text else { continue };
            let longest = Self::LONGEST;
            let refused = |detail| Err(Problem::new(Code::MessageFormatInvalid, detail));
            if text.contains('\0') {
                return refused(format!("the {what} has a NUL character"));
            }
            if text.len() > longest {
                let (length, hint) =
                    (text.len(), "put it into a file of the project, and name that");
                let detail = format!("the {what} has {length} bytes, and may have {longest}");
                return refused(detail).map_err(|problem| problem.hint(hint));
            }
        }
        Ok(())
    }

    /// Resolves the name of an agent, or a command line.
    pub fn resolve(agent: Option<&str>, prompt: Option<String>) -> Self {
        let (kind, command) = match agent.map_or("shell", str::trim) {
            "" | "shell" => ("shell", ""),
            // Without a conversation to continue, `-c` fails.
            "claude-code" => ("claude-code", "claude -c || claude"),
            "q-cli" => ("q-cli", "q chat"),
            command => ("command", command),
        };
        Self { kind: kind.to_owned(), command: command.to_owned(), prompt }
    }
}

/// A taskspace as it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Spec {
    /// Its checkout.
    pub project: ProjectSpec,
    /// Its type, which decided the dev image.
    #[serde(rename = "type")]
    pub project_type: ProjectType,
    /// Its agent.
    pub agent: AgentSpec,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_file_decides_the_type() {
        assert_eq!(ProjectType::detect(["README.md", "go.mod"]), ProjectType::Go);
        assert_eq!(ProjectType::detect(["package.json", "Cargo.toml"]), ProjectType::Rust);
        assert_eq!(ProjectType::detect(["pyproject.toml"]), ProjectType::Python);
        assert_eq!(ProjectType::detect([]), ProjectType::Generic);
    }

    #[test]
    fn image_names_go_there_and_back() {
        for image in ImageRef::ALL {
            assert_eq!(image.short_name().parse::<ImageRef>(), Ok(image));
        }
        assert!("dev-cobol".parse::<ImageRef>().unwrap_err().contains("dev-generic"));
    }

    #[test]
    fn agents_that_no_process_could_be_given_are_refused() {
        let longest = "x".repeat(AgentSpec::LONGEST);
        assert!(AgentSpec::check(None, Some("- one\n- two\n--force")).is_ok());
        assert!(AgentSpec::check(Some(&longest), Some("")).is_ok());
        let too_long = AgentSpec::check(None, Some(&format!("{longest}x"))).unwrap_err();
        assert!(too_long.detail.contains("the prompt has 122881 bytes"), "{too_long:?}");
        assert!(AgentSpec::check(Some("a\0b"), None).is_err());
    }

    #[test]
    fn an_unknown_agent_is_a_command_line() {
        let agent = AgentSpec::resolve(Some("my-agent --fast"), None);
        assert_eq!((agent.kind.as_str(), agent.command.as_str()), ("command", "my-agent --fast"));
        assert_eq!(AgentSpec::resolve(None, None).kind, "shell");
    }
}
