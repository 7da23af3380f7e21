//! `taskspace ssh-config`

use std::{fs, io};

use clap::Args;

use super::context::Context;
use super::{Exit, Outcome, internal};
use crate::config::Paths;
use crate::host::files::FileError;
use crate::host::{ssh_client, ssh_include};
use crate::model::{Code, Problem};

const EXAMPLES: &str = "\
Examples:
  taskspace ssh-config --install
      makes `ssh <id>-dev` and `ssh <id>-agent` work, for editors too
  ssh -F \"$(taskspace ssh-config --path)\" fix-login-dev
      works without it";

/// `taskspace ssh-config`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SshConfig {
    /// Include the configuration at the top of ~/.ssh/config
    #[arg(long, group = "action")]
    install: bool,
    /// Take it out of there again
    #[arg(long, group = "action")]
    uninstall: bool,
    /// Write the configuration's path
    #[arg(long, group = "action")]
    path: bool,
}

impl SshConfig {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let Context { paths, output, .. } = context;
        let (user, ours) = (&paths.user_ssh_config, &paths.ssh_config);
        if self.install {
            let changed = ssh_include::install(user, ours).map_err(|error| problem(&error))?;
            let done = if changed { "now includes" } else { "already includes" };
            output.line(&format!("{} {done} {}", user.display(), ours.display()))?;
            warn_of_forwardings(context);
        } else if self.uninstall {
            let changed = ssh_include::remove(user, ours).map_err(|error| problem(&error))?;
            let done = if changed { "no longer includes" } else { "does not include" };
            output.line(&format!("{} {done} {}", user.display(), ours.display()))?;
        } else if self.path {
            output.line(&ours.display().to_string())?;
        } else {
            output.print(&rendered(context).await?)?;
        }
        Ok(Exit::Done)
    }
}

/// Warns of the user's own forwardings that ssh sets up for taskspaces too. Nothing that a configuration
/// can say for one host keeps those out and leaves `ssh -L` alone.
fn warn_of_forwardings(context: &Context) {
    let mut found: Vec<String> = ["any-dev", "any-agent"]
        .iter()
        .flat_map(|host| ssh_client::forwardings(&context.paths.user_ssh_config, host))
        .collect();
    found.sort();
    found.dedup();
    if !found.is_empty() {
        context.output.warn(&format!(
            "your ssh configuration forwards ports of every host, taskspaces included: {}; begin \
             the section that says so with `Host * !*-dev !*-agent`",
            found.join(", ")
        ));
    }
}

/// Returns the configuration; the service writes it when it starts, if it is not there yet.
async fn rendered(context: &Context) -> Result<String, super::Stop> {
    let path = &context.paths.ssh_config;
    let read = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            context.call(async |client| client.version().await).await?;
            fs::read_to_string(path)
        }
        read => read,
    };
    match read {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(internal(&format!("read {}", path.display()), &error).into()),
    }
}

/// Whether plain `ssh <id>-dev` works, as far as the user's file tells.
pub(super) fn is_installed(paths: &Paths) -> bool {
    let ours = paths.ssh_config.display().to_string();
    fs::read_to_string(&paths.user_ssh_config).is_ok_and(|text| {
        text.lines().map(str::trim).any(|line| {
            let is_include = line.get(..7).is_some_and(|word| word.eq_ignore_ascii_case("include"));
            is_include && line.contains(&ours)
        })
    })
}

fn problem(error: &FileError) -> Problem {
    let problem = Problem::new(Code::Internal, error.to_string());
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
