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

const TEXTS: &[Named] =
    templates!["ssh_config", "known_hosts", "agent-config.yaml", "network/ruleset.nft"];

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
    "container/profile.sh",
    "container/record-output",
    "container/run-sshd",
    "container/ssh-environment",
    "container/sshd_config",
    "container/sudoers",
    "container/supervisor",
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
pub fn ssh_config(
    entries: &[SshEntry],
    client_key: &Path,
    known_hosts: &Path,
) -> Result<String, RenderError> {
    let entries = Serde(entries);
    let (client_key, known_hosts) = (client_key.to_string_lossy(), known_hosts.to_string_lossy());
    render(TEXTS, "ssh_config", context! { entries, client_key, known_hosts })
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
        let text =
            ssh_config(&entries, Path::new("/h/a b/50%/client"), Path::new("/h/known_hosts"))
                .unwrap();
        insta::assert_snapshot!(text, @r#"
        # Made by taskspace from its registry; changes are overwritten.

        Host fix-dev
            HostName 127.0.0.1
            Port 10001
            User developer
            HostKeyAlias fix-dev
            IdentityFile "/h/a b/50%%/client"
            IdentitiesOnly yes
            UserKnownHostsFile "/h/known_hosts"
            GlobalKnownHostsFile none
            StrictHostKeyChecking yes
            UpdateHostKeys no
            PreferredAuthentications publickey
            ConnectTimeout 10
            ForwardAgent no
            ForwardX11 no

        Host fix-agent
            HostName 127.0.0.1
            Port 20001
            User agent
            HostKeyAlias fix-agent
            IdentityFile "/h/a b/50%%/client"
            IdentitiesOnly yes
            UserKnownHostsFile "/h/known_hosts"
            GlobalKnownHostsFile none
            StrictHostKeyChecking yes
            UpdateHostKeys no
            PreferredAuthentications publickey
            ConnectTimeout 10
            ForwardAgent no
            ForwardX11 no
        "#);
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
