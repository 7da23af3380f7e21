//! `taskspace policy`: what the files of settings and policies say. No service is asked.

mod check;
mod list;
mod show;

use clap::{Args, Subcommand};

use super::output::{Output, Stop};
use super::{Outcome, paths};
use crate::config::{Paths, Settings, SettingsError};
use crate::model::{Code, Problem};

/// `taskspace policy`
#[derive(Debug, Args)]
pub struct Policy {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say whether files of settings and policies are right, or where they are wrong
    ///
    /// settings.yaml, images.yaml, coordination.yaml, retention.yaml, resource-policies.yaml and
    /// network-groups.yaml are known by their names; any other file is a network policy of its name.
    /// Each is checked together with what is in force, and with those before it.
    Check(check::Check),
    /// List the network policies
    List(list::List),
    /// Show what a network policy lets through and refuses on this host
    Show(show::Show),
}

impl Policy {
    pub(super) async fn run(self, output: Output) -> Outcome {
        let paths = paths()?;
        match self.action {
            Action::Check(check) => check.run(&paths, output),
            Action::List(list) => list.run(&paths, output),
            Action::Show(show) => show.run(&paths, output).await,
        }
    }
}

fn settings(paths: &Paths) -> Result<Settings, Stop> {
    Ok(Settings::load(&paths.config_dirs).map_err(problem)?)
}

fn problem(error: SettingsError) -> Problem {
    Problem::new(Code::SettingsInvalid, error.to_string()).hint(error.hint())
}
