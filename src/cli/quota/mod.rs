//! `taskspace quota`: the project quotas by which the file system holds taskspaces to their storage.
//!
//! Root prepares them, once; only root can. Everything here but `show` is for root, and asks no
//! service: it changes the file system's limits and the file that says which there are.

mod change;
mod setup;
mod show;

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use nix::unistd::geteuid;

use super::context::Context;
use super::output::{Output, Stop};
use super::{Exit, Outcome, usage};
use crate::config::paths;
use crate::host::project_quota::{self, OwnerError, ProjectQuotaError};
use crate::model::{Code, Problem, Quantity};
use crate::policy::project_quotas::Pool;

/// `taskspace quota`
#[derive(Debug, Args)]
pub struct Quota {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Give ids their limits, for the taskspaces of a user (as root)
    ///
    /// A taskspace for whose storage limit there is a free id gets it: from then on the file system
    /// itself refuses what is beyond the limit. XFS and ext4 can do that. It is explained before it
    /// is done, and can be done again: what is there already is left as it is.
    Setup(setup::Setup),
    /// Show the ids that are prepared, and who uses them
    Show(show::Show),
    /// Give an id another limit (as root)
    Resize(change::Resize),
    /// Take the limits away again (as root)
    Remove(change::Remove),
}

impl Quota {
    /// Whether it is asked for by root, or only root can do it: no service has a part in it.
    pub(super) fn is_for_root(&self) -> bool {
        geteuid().is_root() || !matches!(self.action, Action::Show(_))
    }

    pub(super) fn run_as_root(self, output: Output) -> Outcome {
        if !geteuid().is_root() {
            let detail = "only root can give project ids their limits";
            return Err(Problem::new(Code::PolicyUnenforceable, detail)
                .hint("run the same with sudo, or ask your administrator to")
                .into());
        }
        let pools = Pools { directory: paths::project_quotas() };
        match self.action {
            Action::Setup(setup) => setup.run(&pools, output),
            Action::Show(show) => show.run_as_root(&pools, output),
            Action::Resize(resize) => resize.run(&pools, output),
            Action::Remove(remove) => remove.run(&pools, output),
        }?;
        Ok(Exit::Done)
    }

    pub(super) async fn run(self, context: &Context) -> Outcome {
        match self.action {
            Action::Show(show) => show.run(context).await,
            Action::Setup(_) | Action::Resize(_) | Action::Remove(_) => Ok(Exit::Done),
        }
    }
}

/// What is prepared for all users.
struct Pools {
    directory: PathBuf,
}

impl Pools {
    fn all(&self) -> Result<Vec<Pool>, Stop> {
        Ok(project_quota::read_all(&self.directory).map_err(problem)?)
    }

    fn of(&self, uid: u32) -> Result<Option<Pool>, Stop> {
        Ok(project_quota::read(&self.directory, uid).map_err(problem)?)
    }

    fn write(&self, pool: &Pool) -> Result<(), Stop> {
        Ok(project_quota::write(&self.directory, pool).map_err(problem)?)
    }

    fn remove(&self, uid: u32) -> Result<(), Stop> {
        Ok(project_quota::remove(&self.directory, uid).map_err(problem)?)
    }
}

/// Who is meant: by option, or by sudo.
#[derive(Debug, Args)]
struct Whose {
    /// The user whose taskspaces are meant [default: who calls sudo]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

impl Whose {
    fn owner(&self) -> Result<project_quota::Owner, Problem> {
        let by_sudo = || std::env::var("SUDO_USER").ok().filter(|user| !user.is_empty());
        let user = self.user.clone().or_else(by_sudo).ok_or_else(|| {
            usage("whose taskspaces are meant?").hint("name the user: --user USER")
        })?;
        let owner = project_quota::Owner::find(&user).map_err(owner_problem)?;
        match owner.uid {
            0 => Err(usage("root has no taskspaces").hint("name another user: --user USER")),
            _ => Ok(owner),
        }
    }
}

/// Whether to do it without asking.
#[derive(Debug, Args)]
struct Consent {
    /// Do it without asking
    #[arg(short, long)]
    yes: bool,
}

impl Consent {
    /// Asks, where there is somebody to answer.
    fn given(&self) -> Result<bool, Problem> {
        if self.yes {
            return Ok(true);
        }
        if !io::stdin().is_terminal() {
            return Err(usage("nobody can answer whether to do that").hint("add --yes"));
        }
        let mut answer = String::new();
        write!(io::stderr(), "Do that? [y/N] ")
            .and_then(|()| io::stdin().lock().read_line(&mut answer))
            .map_err(|error| super::internal("ask", &error))?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

/// The least limit. The kernel counts in KiB, and takes none of them for no limit at all; and with little
/// more no taskspace can begin.
const LEAST: Quantity = Quantity(1 << 20);

/// Reads a limit.
fn limit(text: &str) -> Result<Quantity, String> {
    match text.parse()? {
        limit if limit < LEAST => Err(format!("no taskspace can work with less than {LEAST}")),
        limit => Ok(limit),
    }
}

fn problem(error: ProjectQuotaError) -> Problem {
    let code = match error {
        ProjectQuotaError::Pool { .. } => Code::SettingsInvalid,
        ProjectQuotaError::Refused { .. } => Code::PolicyUnenforceable,
    };
    Problem::new(code, error.to_string())
}

fn owner_problem(error: OwnerError) -> Problem {
    let detail = error.to_string();
    match error {
        OwnerError::Unknown(_) => usage(detail),
        OwnerError::NoPodman { .. } => Problem::new(Code::PodmanUnavailable, detail)
            .hint("name the directory of the user's volumes: --volumes DIR"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_never_so_small_that_the_kernel_takes_it_for_none() {
        for small in ["0", "1023", "512Ki", "much"] {
            assert!(limit(small).is_err(), "{small}");
        }
        assert_eq!(limit("1Mi"), Ok(LEAST));
    }
}
