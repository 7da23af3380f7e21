//! Every generated text: the templates of `templates/`, embedded and rendered strictly (a variable
//! that a template asks for and does not get is an error).

mod nft;

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use serde::Serialize;

use crate::model::{AgentSpec, ImageRef, Role, TaskspaceId};

pub use nft::{NftFamily, NftPorts, NftRuleset, NftScope, nft_ruleset};

/// A template that cannot be rendered: a mistake in the program or in the settings.
#[derive(Debug, thiserror::Error)]
#[error("the template '{name}' cannot be rendered: {source}")]
pub struct RenderError {
    name: String,
    source: minijinja::Error,
}

/// A text file, by its name.
type Named = (&'static str, &'static str);

macro_rules! templates {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../templates/", $name)))),+]
    };
}

const TEXTS: &[Named] = templates![
    "ssh_config",
    "known_hosts",
    "agent-config.yaml",
    "hosts",
    "resolv.conf",
    "network/ruleset.nft",
];

const CONTAINERFILES: &[Named] = templates![
    "images/agent.Containerfile",
    "images/dev-generic.Containerfile",
    "images/dev-go.Containerfile",
    "images/dev-node.Containerfile",
    "images/dev-python.Containerfile",
    "images/dev-rust.Containerfile",
];

const CONTAINER_FILES: &[Named] = templates![
    "container/agent-entrypoint",
    "container/agent-session",
    "container/dev-entrypoint",
    "container/install",
    "container/login-shell",
    "container/profile.sh",
    "container/record-output",
    "container/run-sshd",
    "container/ssh-environment",
    "container/sshd_config",
    "container/sudoers",
    "container/supervisor",
    "container/term.sh",
    "container/tmux.conf",
    "container/trust-ca",
];

/// One host of the rendered `ssh_config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SshEntry {
    /// The taskspace.
    pub id: TaskspaceId,
    /// The container.
    pub role: Role,
    /// The port on loopback.
    pub port: u16,
    /// The user to log in as.
    pub user: &'static str,
}

/// Lines of every host of the `ssh_config` that ssh did not know in 8.0, or that not every build of
/// it knows.
pub const NEWER_SSH_OPTIONS: &[&str] = &[
    "ChannelTimeout none",
    "ForkAfterAuthentication no",
    "GSSAPIAuthentication no",
    "GSSAPIKeyExchange no",
    "KnownHostsCommand none",
    "PKCS11Provider none",
    "SessionType default",
    "StdinNull no",
];

/// What all hosts of the rendered `ssh_config` have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshCommon<'a> {
    /// The key to log in with.
    pub client_key: &'a Path,
    /// The file with the host CA.
    pub known_hosts: &'a Path,
    /// The directory of the sockets by which sessions share a connection.
    pub sockets: &'a Path,
    /// Those of [`NEWER_SSH_OPTIONS`] that the client knows.
    pub newer_options: &'a [&'static str],
}

/// What an image is built from, beside the templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInputs<'a> {
    /// The image.
    pub image: ImageRef,
    /// The reference of the image it is built on.
    pub base: &'a str,
    /// Debian packages.
    pub packages: &'a [String],
    /// A shell snippet that runs after the packages.
    pub install: &'a str,
    /// The certificate authorities to trust (PEM).
    pub ca_bundle: Option<&'a str>,
}

/// One file of a build context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextFile {
    /// Its name; the context is flat.
    pub name: String,
    /// Its content.
    pub content: String,
}

fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).build()?);
    environment.add_filter("ssh_quote", ssh_quote);
    Ok(environment)
}

/// Quotes an argument of `ssh_config(5)`; a `%` would begin a token there. Paths hold no double
/// quotes: `config` refuses them.
fn ssh_quote(text: String) -> String {
    format!("\"{}\"", text.replace('%', "%%"))
}

fn render(templates: &[Named], name: &str, variables: Value) -> Result<String, RenderError> {
    let failed = |source| RenderError { name: name.to_owned(), source };
    let (_, text) = templates.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        failed(minijinja::Error::new(minijinja::ErrorKind::TemplateNotFound, name.to_owned()))
    })?;
    environment().and_then(|environment| environment.render_str(text, variables)).map_err(failed)
}

/// Renders the `ssh_config` of all taskspaces.
pub fn ssh_config(entries: &[SshEntry], common: &SshCommon<'_>) -> Result<String, RenderError> {
    let variables = context! {
        entries => Serde(entries),
        client_key => common.client_key.to_string_lossy(),
        known_hosts => common.known_hosts.to_string_lossy(),
        control_path => control_path(common.sockets),
        newer_options => Serde(common.newer_options),
    };
    render(TEXTS, "ssh_config", variables)
}

/// Returns ssh's `ControlPath`, quoted, or `none` where the path of a socket would be too long.
///
/// Each container has a port of its own, so no taskspace is reached by another one's connection.
fn control_path(sockets: &Path) -> String {
    /// The longest path of a Unix socket; see unix(7).
    const LONGEST: usize = 107;
    const NAME: usize = "/65535-developer".len();
    /// While ssh makes the socket, its name has a dot and 16 characters more.
    const TEMPORARY: usize = 17;
    if sockets.as_os_str().len() + NAME + TEMPORARY > LONGEST {
        return "none".to_owned();
    }
    let quoted = ssh_quote(sockets.to_string_lossy().into_owned());
    format!("{}/%p-%r\"", quoted.trim_end_matches('"'))
}

/// Renders the `known_hosts` file that trusts our host CA for every taskspace.
pub fn known_hosts(ca: &str) -> Result<String, RenderError> {
    render(TEXTS, "known_hosts", context! { ca })
}

/// Renders the agent's `config.yaml`.
pub fn agent_config(id: &TaskspaceId, agent: &AgentSpec) -> Result<String, RenderError> {
    let args: Vec<&str> = agent.command.split_whitespace().collect();
    let agent = context! { type => agent.kind.as_str(), args => Serde(&args) };
    render(TEXTS, "agent-config.yaml", context! { id => id.as_str(), agent })
}

/// Renders the `/etc/hosts` of a taskspace.
pub fn hosts(id: &TaskspaceId) -> Result<String, RenderError> {
    render(TEXTS, "hosts", context! { id => id.as_str() })
}

/// Renders the `/etc/resolv.conf` of a taskspace.
pub fn resolv_conf() -> Result<String, RenderError> {
    render(TEXTS, "resolv.conf", context! {})
}

/// Renders everything that an image is built from: its `Containerfile` and the files it copies.
pub fn image_context(inputs: &ImageInputs<'_>) -> Result<Vec<ContextFile>, RenderError> {
    let role = inputs.image.role();
    let project_type = match inputs.image {
        ImageRef::Agent => "agent",
        ImageRef::Dev(project_type) => project_type.name(),
    };
    let variables = context! {
        base => inputs.base,
        packages => Serde(inputs.packages),
        install => inputs.install,
        ca_bundle => inputs.ca_bundle.is_some(),
        role => role.name(),
        user => role.user(),
        port => role.port(),
        type => project_type,
    };
    let name = format!("images/{}.Containerfile", inputs.image.short_name());
    let containerfile = render(CONTAINERFILES, &name, variables.clone())?;
    // Only what the Containerfile copies is in the context: it decides whether to build again.
    let copied: Vec<String> = containerfile
        .replace("\\\n", " ")
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let mut files = vec![ContextFile { name: "Containerfile".to_owned(), content: containerfile }];
    for (path, _) in CONTAINER_FILES {
        let name = path.trim_start_matches("container/");
        if copied.iter().any(|copied| copied == name) {
            let content = render(CONTAINER_FILES, path, variables.clone())?;
            files.push(ContextFile { name: name.to_owned(), content });
        }
    }
    if let Some(bundle) = inputs.ca_bundle
        && copied.iter().any(|copied| copied == "ca-bundle.crt")
    {
        files.push(ContextFile { name: "ca-bundle.crt".to_owned(), content: bundle.to_owned() });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, role: Role, port: u16) -> SshEntry {
        SshEntry { id: id.parse().unwrap(), role, port, user: role.user() }
    }

    #[test]
    fn ssh_config_names_both_containers_and_checks_their_keys() {
        let entries = [entry("fix", Role::Dev, 10001), entry("fix", Role::Agent, 20001)];
        let common = SshCommon {
            client_key: Path::new("/h/a b/50%/client"),
            known_hosts: Path::new("/h/known_hosts"),
            sockets: Path::new("/run/50%"),
            newer_options: &["StdinNull no"],
        };
        let text = ssh_config(&entries, &common).unwrap();
        let hosts: Vec<Vec<&str>> = text
            .split("\nHost ")
            .skip(1)
            .map(|host| host.lines().map(str::trim_start).filter(|line| !line.is_empty()).collect())
            .collect();
        let [dev, agent] = &hosts[..] else { panic!("not two hosts: {text}") };
        assert_eq!(dev[..4], ["fix-dev", "HostName 127.0.0.1", "Port 10001", "User developer"]);
        assert_eq!(agent[..4], ["fix-agent", "HostName 127.0.0.1", "Port 20001", "User agent"]);
        assert_eq!((dev[4], agent[4]), ("HostKeyAlias fix-dev", "HostKeyAlias fix-agent"));
        assert_eq!(dev[5..], agent[5..]);
        for line in [
            r#"IdentityFile "/h/a b/50%%/client""#,
            r#"UserKnownHostsFile "/h/known_hosts""#,
            r#"ControlPath "/run/50%%/%p-%r""#,
            "StrictHostKeyChecking yes",
            "ForwardAgent no",
            "StdinNull no",
        ] {
            assert!(dev.contains(&line), "{line} is not in {text}");
        }
    }

    #[test]
    fn control_path_is_none_where_a_socket_could_not_be_made() {
        let longest = format!("/{}", "x".repeat(73));
        assert_eq!(control_path(Path::new(&longest)), format!("\"{longest}/%p-%r\""));
        assert_eq!(control_path(Path::new(&format!("{longest}x"))), "none");
    }

    #[test]
    fn hosts_name_the_taskspace_and_nothing_else() {
        let text = hosts(&"fix".parse().unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines[0], "127.0.0.1 localhost fix");
        assert_eq!(lines.len(), 2);
        assert!(resolv_conf().unwrap().ends_with("\nnameserver 127.0.0.1\n"));
    }

    #[test]
    fn the_agents_configuration_survives_any_command_line() {
        let agent = AgentSpec::resolve(Some("run --say \"a: 'b'\" # c"), None);
        let text = agent_config(&"fix".parse().unwrap(), &agent).unwrap();
        let parsed: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(parsed["agent"]["type"], serde_yaml::Value::from("command"));
        assert_eq!(parsed["agent"]["args"][4], serde_yaml::Value::from("#"));
    }

    #[test]
    fn every_image_renders_with_exactly_the_files_it_copies() {
        for image in ImageRef::ALL {
            for (install, ca_bundle) in [("", None), ("echo hello", Some("PEM"))] {
                let packages = ["bash".to_owned()];
                let inputs =
                    ImageInputs { image, base: "b:1", packages: &packages, install, ca_bundle };
                let files = image_context(&inputs).unwrap();
                assert!(files[0].content.contains("FROM b:1\n"), "{}", files[0].content);
                let has = |name: &str| files.iter().any(|file| file.name == name);
                assert_eq!(has("install"), !install.is_empty(), "{image:?}");
                assert_eq!(has("sshd_config"), image.parent().is_none(), "{image:?}");
                assert_eq!(has("supervisor"), image == ImageRef::Agent, "{image:?}");
                assert_eq!(has("ca-bundle.crt"), ca_bundle.is_some() && image.parent().is_none());
            }
        }
    }
}
