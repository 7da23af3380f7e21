//! What the command line understands.

use std::ffi::OsString;

use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::asking::Asking;
use super::{
    cache, completions, containers, create, delete, diff, events, exec, exit, fetch, fork, gc,
    images, lifecycle, list, locks, logs, network, operations, patch, policy, port, projects,
    quota, reload, resize, restore, run_op, serve, service, show, snapshot, snapshots, ssh,
    ssh_config, states, status,
};

/// Make, use and remove taskspaces
///
/// A taskspace is an isolated workplace for one task on one code base: an AI agent's container
/// and a dev container that share one copy-on-write checkout. Everything runs in rootless Podman.
/// The service behind this command is started when it is needed.
#[derive(Debug, Parser)]
#[command(name = "taskspace", version, after_help = exit::HELP, max_term_width = 100)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

impl Arguments {
    /// Understands a command line, the program's name first.
    ///
    /// An option that takes a value takes the next word, whatever it begins with, as getopt(3) has
    /// it: a prompt may well be a list whose items begin with dashes.
    ///
    /// # Errors
    /// When the command line is wrong, or asks for help or the version.
    pub fn from_words(
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let mut command = with_any_value(Self::command());
        let matches = command.try_get_matches_from_mut(words)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }

    /// Returns how many times more than usual is to be logged.
    pub fn verbosity(&self) -> u8 {
        self.global.verbose
    }
}

/// Has options take words as their values that begin with a dash.
fn with_any_value(command: Command) -> Command {
    command.mut_subcommands(with_any_value).mut_args(|arg| {
        let takes_next_word =
            arg.get_action().takes_values() && !arg.is_positional() && !arg.is_require_equals_set();
        if takes_next_word { arg.allow_hyphen_values(true) } else { arg }
    })
}

/// What every verb takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(super) struct Global {
    /// Write results and errors only
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Log more to standard error (can be repeated)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// Run although this is root (for experiments)
    #[arg(long, global = true)]
    pub(super) allow_root: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create a taskspace
    Create(create::Create),
    /// Create a taskspace that begins where another one is
    Fork(fork::Fork),
    /// Keep what a taskspace has now, to go back to it later
    Snapshot(snapshot::Snapshot),
    /// List the snapshots of taskspaces
    Snapshots(snapshots::Snapshots),
    /// Give a taskspace back what it had when a snapshot was made
    Restore(restore::Restore),
    /// List the taskspaces
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Show a taskspace in full
    Show(show::Show),
    /// Start taskspaces
    Start(lifecycle::Lifecycle),
    /// Stop taskspaces
    Stop(lifecycle::Lifecycle),
    /// Stop and start taskspaces
    Restart(lifecycle::Lifecycle),
    /// Change how much a taskspace may use
    Resize(resize::Resize),
    /// Show or change what a taskspace may reach, and what it was refused
    Network(network::Network),
    /// Publish a port of a taskspace on this host's loopback, or list what is published
    Port(port::Port),
    /// Delete taskspaces
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    /// Open a shell in a taskspace, or run a command there, through ssh
    Ssh(ssh::Ssh),
    /// Run a command in a container of a taskspace, without ssh
    Exec(exec::Exec),
    /// Show what a container of a taskspace wrote
    Logs(logs::Logs),
    /// Show what a taskspace has changed: commits and everything that is not committed
    Diff(diff::Diff),
    /// Write what a taskspace has changed as a patch, for `git apply --binary`
    Patch(patch::Patch),
    /// Fetch what a taskspace has committed into a repository here
    Fetch(fetch::Fetch),
    /// Show what happens, and what has happened
    Events(events::Events),
    /// Show, watch or cancel what is done, and what waits for it
    #[command(visible_alias = "ops")]
    Operations(operations::Operations),
    /// Show what is held, and by whom
    Locks(locks::Locks),
    /// Run a command while nobody else acts on the same container
    RunOp(run_op::RunOp),
    /// Show, install or uninstall the ssh configuration of the taskspaces
    SshConfig(ssh_config::SshConfig),
    /// List, register or forget containers and services outside of taskspaces
    Containers(containers::Containers),
    /// List the projects, with what their taskspaces share, or bring them up to date
    Projects(projects::Projects),
    /// Give a build cache to later taskspaces, or take it from them
    Cache(cache::Cache),
    /// List or remove what the agents of deleted taskspaces remember
    States(states::States),
    /// Collect what is out of use
    Gc(gc::Gc),
    /// Prepare project quotas, by which the file system holds taskspaces to their storage, or show them
    Quota(quota::Quota),
    /// Check the files of settings and policies, and show the network policies
    Policy(policy::Policy),
    /// List or build the images that taskspaces run
    Images(images::Images),
    /// Show how the service is
    Status(status::Status),
    /// Have the service take in the files of settings; it does so by itself when they have changed
    Reload(reload::Reload),
    /// Show, stop or restart the service, or read its log; it need not answer for that
    Service(service::Service),
    /// Run the service in the foreground
    Serve(serve::Serve),
    /// Write a shell's completion script to standard output
    Completions(completions::Completions),
    /// Write the API's description to standard output
    #[command(hide = true)]
    Openapi,
}

/// For verbs that have something done to a taskspace.
#[derive(Clone, Debug, Args)]
pub(super) struct Doing {
    /// Do not wait until it is done
    #[arg(long)]
    pub(super) no_wait: bool,
    #[command(flatten)]
    pub(super) asking: Asking,
    #[command(flatten)]
    pub(super) json: Json,
}

/// For verbs that show something.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Json {
    /// Write JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_is_understood() {
        let good: [&[&str]; 92] = [
            &["create"],
            &["create", "fix-1", "--project", "https://host/x.git", "--ref", "main"],
            &["create", "--type", "auto", "--agent", "my-agent --fast", "--no-wait", "--json"],
            &["create", "--agent-state-of", "old-one", "--offline", "--build-output"],
            &["create", "--dry-run", "--json"],
            &["list", "--json", "-q"],
            &["delete", "a", "b", "--purge", "--force"],
            &["delete", "a", "b", "--dry-run", "--json"],
            &["ssh", "a", "--agent"],
            &["ssh", "a", "--", "ls", "-l", "--agent"],
            &["exec", "a", "--container", "agent", "-t", "--", "ls", "-l"],
            &["exec", "-it", "a", "bash"],
            &["exec", "a", "-ti", "-c", "agent", "-u", "root", "-w", "/", "-e", "A=-b", "ls", "-T"],
            &["exec", "a", "-iT", "--tty=never", "--env", "A", "--", "-x"],
            &["ssh", "a", "ls", "--agent", "-q"],
            &["ssh", "-tn", "a", "--agent", "--", "-x"],
            &["create", "--prompt", "- one\n- two", "--agent", "-x", "--ref", "--all"],
            &["create", "--prompt", "--", "--project", "-p"],
            &["fork", "a", "b", "--prompt", "--force", "--agent", "--"],
            &["snapshot", "a", "s", "--note", "-h"],
            &["run-op", "-t", "a", "-k", "stop", "--description", "- x", "ls", "-l", "--lease"],
            &["fetch", "a", "--into", "-d", "--branch", "-b"],
            &["logs", "a", "-f", "--tail", "10"],
            &["diff", "a", "--stat", "--json"],
            &["diff", "a", "--name-status"],
            &["diff", "a", "--commits"],
            &["patch", "a", "-o", "a.patch"],
            &["fetch", "a", "--into", "d", "--branch", "b", "--force", "--json"],
            &["fetch", "a", "--all"],
            &["events", "-f", "--json", "--after", "7", "--taskspace", "a", "--operation", "3"],
            &["events"],
            &["images", "build", "dev-rust", "--force"],
            &["ssh-config", "--install"],
            &["create", "--agent", "my-agent", "--as", "planner", "--priority", "10"],
            &["restart", "a", "--as", "ops"],
            &["operations"],
            &["operations", "--all", "--json"],
            &["operations", "list", "--watch"],
            &["ops", "--watch", "--json"],
            &["operations", "cancel", "12", "13"],
            &["operations", "show", "12", "--json"],
            &["locks", "--json"],
            &["run-op", "--target", "api", "--kind", "config", "--", "ls", "-l"],
            &[
                "run-op",
                "-t",
                "taskspace:a/dev",
                "-k",
                "read",
                "--as",
                "me",
                "--no-wait",
                "--",
                "ls",
            ],
            &["run-op", "-t", "a", "-k", "stop", "--wait-for", "60s", "--lease", "5s", "--", "ls"],
            &["containers", "--json"],
            &["containers", "register", "-"],
            &["containers", "register", "--name", "a", "--port", "80", "--depends-on", "b"],
            &["containers", "forget", "a", "b"],
            &["create", "--tier", "minimal", "--storage", "1.5Gi", "--on-full", "stop"],
            &["resize", "a", "--storage", "30Gi", "--no-wait", "--json"],
            &["resize", "a", "--on-full", "warn", "--as", "me"],
            &["fork", "a"],
            &["fork", "a", "b", "--tier", "premium"],
            &["fork", "a", "b", "--agent-state", "--agent", "x", "--prompt", "y", "--no-wait"],
            &["fork", "a", "b", "--snapshot", "s"],
            &["snapshot", "a"],
            &["snapshot", "a", "s", "--note", "x y", "--agent-state", "--no-wait", "--json"],
            &["snapshot", "--delete", "a", "s"],
            &["snapshots"],
            &["snapshots", "a", "--json"],
            &["restore", "a", "s", "--save", "t", "--agent-state"],
            &["restore", "a", "s", "--force", "--dry-run"],
            &["projects", "--json"],
            &["projects", "list"],
            &["cache", "promote", "a", "--no-wait", "--as", "me"],
            &["cache", "withdraw", "webshop", "--json"],
            &["projects", "refresh", "a", "b.c", "--no-base", "--as", "me", "--json"],
            &["states", "--json"],
            &["states", "purge", "a", "b", "--force"],
            &["gc", "--dry-run", "--json"],
            &["gc", "--work", "a", "--work", "taskspace-b-changes", "--force"],
            &[
                "quota", "setup", "--user", "u", "--ids", "8", "--size", "20Gi", "--size", "1G",
                "-y",
            ],
            &["quota", "show", "--json"],
            &["quota", "resize", "1501000000", "30Gi"],
            &["quota", "remove", "--user", "u", "--force", "--yes"],
            &["policy", "check", "a.yaml", "b.yaml"],
            &["network", "a"],
            &["network", "a", "restricted", "--no-wait", "--as", "me"],
            &["network", "a", "allow", "example.org:443", "*.example.com", "host:postgres"],
            &["network", "a", "blocked", "--follow", "--json"],
            &[
                "create",
                "--network",
                "restricted",
                "--allow",
                "example.org",
                "--deny",
                "192.0.2.7",
                "--observe",
            ],
            &["port", "a", "--json"],
            &["port", "a", "3000", "--to", "8080"],
            &["port", "a", "3000", "--close", "--json"],
            &["reload", "--json"],
            &["service", "status", "--json"],
            &["service", "stop"],
            &["service", "restart"],
            &["service", "logs", "-f", "--lines", "10"],
            &["policy", "list", "--json"],
            &["policy", "show", "restricted", "--json"],
        ];
        for words in good {
            let words = ["taskspace"].iter().chain(words);
            assert!(Arguments::from_words(words.clone()).is_ok(), "{words:?}");
        }
        let bad: [&[&str]; 66] = [
            &["create", "Fix"],
            &["create", "--type", "cobol"],
            &["create", "a", "b"],
            &["create", "--agent-state-of", "../x"],
            &["delete"],
            &["delete", "a", "--dry-run", "--no-wait"],
            &["show"],
            &["exec", "a"],
            &["logs", "a", "--tail", "-3"],
            &["diff", "a", "--stat", "--commits"],
            &["patch", "a", "b"],
            &["fetch", "a", "--all", "--branch", "b"],
            &["fetch", "a", "--all", "--force"],
            &["events", "--after", "now"],
            &["exec", "a", "--container", "db", "--", "ls"],
            &["ssh-config", "--install", "--uninstall"],
            &["start", "a", "--priority", "11"],
            &["start", "a", "--as", "a b"],
            &["operations", "cancel"],
            &["operations", "cancel", "all"],
            &["operations", "--all", "show", "1"],
            &["run-op", "--kind", "config", "--", "ls"],
            &["run-op", "--target", "api", "--kind", "config"],
            &["run-op", "--target", "a b", "--kind", "config", "--", "ls"],
            &["run-op", "--target", "api", "--kind", "reboot", "--", "ls"],
            &["run-op", "-t", "a", "-k", "stop", "--wait-for", "0s", "--", "ls"],
            &["containers", "register"],
            &["containers", "register", "f.yaml", "--name", "a"],
            &["containers", "register", "f.yaml", "--port", "80"],
            &["containers", "register", "--name", "a", "--port", "0"],
            &["containers", "register", "--name", "a b"],
            &["containers", "forget"],
            &["fork"],
            &["fork", "a", "--snapshot", "../x"],
            &["snapshot"],
            &["snapshot", "a", "S"],
            &["snapshot", "--delete", "a"],
            &["snapshot", "--delete", "a", "s", "--note", "x"],
            &["restore", "a"],
            &["restore", "a", "s", "--save", "a.b"],
            &["create", "--on-full", "explode"],
            &["resize", "a"],
            &["resize", "a", "--storage", "lots"],
            &["cache"],
            &["cache", "promote"],
            &["cache", "withdraw", "../x"],
            &["projects", "refresh", "../x"],
            &["states", "purge"],
            &["gc", "--force"],
            &["gc", "--work", "a,b"],
            &["quota", "setup"],
            &["quota", "setup", "--size", "many"],
            &["quota", "setup", "--size", "0"],
            &["quota", "setup", "--size", "1Gi", "--ids", "1001"],
            &["quota", "resize", "0", "1Gi"],
            &["network"],
            &["network", "a", "allow", "https://example.org"],
            &["create", "--network", "Open"],
            &["port"],
            &["port", "a", "0"],
            &["port", "a", "--close"],
            &["port", "a", "3000", "--to", "8080", "--close"],
            &["policy"],
            &["service"],
            &["policy", "check"],
            &["policy", "show", "Open"],
        ];
        for words in bad {
            let words = ["taskspace"].iter().chain(words);
            let error = Arguments::from_words(words.clone()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn every_verb_begins_with_what_it_does() {
        for verb in Arguments::command().get_subcommands() {
            let about = verb.get_about().unwrap().to_string();
            assert!(!about.ends_with('.') && about.starts_with(char::is_uppercase), "{about}");
        }
    }
}
