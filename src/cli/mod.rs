//! The command line: one file for each verb.
//!
//! `arguments.rs` says what is understood, `context.rs` reaches the service (`service.rs` starts it
//! where nobody answers), `progress.rs` shows what is waited for, `output.rs` and `table.rs` write,
//! `exit.rs` lists the exit statuses.

mod arguments;
mod asking;
mod cache;
mod completions;
mod confirm;
mod containers;
mod context;
mod create;
mod delete;
mod diff;
mod events;
mod exec;
mod exit;
mod fetch;
mod follow;
mod fork;
mod gc;
mod hold;
mod images;
mod lifecycle;
mod limits;
mod list;
mod liveness;
mod locks;
mod logs;
mod network;
mod openapi;
mod operations;
mod output;
mod paint_diff;
mod patch;
mod plan;
mod policy;
mod port;
mod progress;
mod projects;
mod quota;
mod refresh;
mod reload;
mod resize;
mod restore;
mod run_op;
mod serve;
mod service;
mod show;
mod snapshot;
mod snapshots;
mod ssh;
mod ssh_config;
mod states;
mod status;
mod storage;
mod table;
mod terminal;
mod watch;

use std::fmt::Display;

use crate::config::Paths;
use crate::model::{Code, Problem};

pub use arguments::{Arguments, Verb};
pub use exit::Exit;

use context::Context;
use nix::unistd::geteuid;
use output::{Output, Stop};

/// What a verb returns.
type Outcome = Result<Exit, Stop>;

/// Does what the command line says, and reports what goes wrong.
pub async fn run(arguments: Arguments) -> Exit {
    let output = Output::new(arguments.global.quiet);
    match dispatch(arguments, output).await {
        Ok(exit) => exit,
        Err(Stop::BrokenPipe) => Exit::Done,
        Err(Stop::Problem(problem)) => {
            output.report(&problem);
            Exit::of(problem.code)
        }
    }
}

async fn dispatch(arguments: Arguments, output: Output) -> Outcome {
    // What says something about the program alone needs no service and may be asked by anyone.
    let verb = match arguments.verb {
        Verb::Completions(completions) => return completions.run(output),
        Verb::Openapi => return openapi::run(output),
        Verb::Policy(policy) => return policy.run(output).await,
        // What root prepares for others is no taskspace of root's own.
        Verb::Quota(quota) if quota.is_for_root() => return quota.run_as_root(output),
        verb => verb,
    };
    if !arguments.global.allow_root {
        refuse_root()?;
    }
    let paths = paths()?;
    if let Verb::Serve(serve) = verb {
        return serve.run(paths, output).await;
    }
    let context = Context::new(paths, output, arguments.global.allow_root)?;
    match verb {
        Verb::Create(create) => create.run(&context).await,
        Verb::List(list) => list.run(&context).await,
        Verb::Show(show) => show.run(&context).await,
        Verb::Start(start) => start.run(&context, lifecycle::Action::Start).await,
        Verb::Stop(stop) => stop.run(&context, lifecycle::Action::Stop).await,
        Verb::Restart(restart) => restart.run(&context, lifecycle::Action::Restart).await,
        Verb::Resize(resize) => resize.run(&context).await,
        Verb::Network(network) => network.run(&context).await,
        Verb::Port(port) => port.run(&context).await,
        Verb::Delete(delete) => delete.run(&context).await,
        Verb::Ssh(ssh) => ssh.run(&context).await,
        Verb::Exec(exec) => exec.run(&context).await,
        Verb::Diff(diff) => diff.run(&context).await,
        Verb::Patch(patch) => patch.run(&context).await,
        Verb::Fetch(fetch) => fetch.run(&context).await,
        Verb::Logs(logs) => logs.run(&context).await,
        Verb::Events(events) => events.run(&context).await,
        Verb::Operations(operations) => operations.run(&context).await,
        Verb::Locks(locks) => locks.run(&context).await,
        Verb::RunOp(run_op) => run_op.run(&context).await,
        Verb::SshConfig(ssh_config) => ssh_config.run(&context).await,
        Verb::Fork(fork) => fork.run(&context).await,
        Verb::Snapshot(snapshot) => snapshot.run(&context).await,
        Verb::Snapshots(snapshots) => snapshots.run(&context).await,
        Verb::Restore(restore) => restore.run(&context).await,
        Verb::Containers(containers) => containers.run(&context).await,
        Verb::Projects(projects) => projects.run(&context).await,
        Verb::Cache(cache) => cache.run(&context).await,
        Verb::States(states) => states.run(&context).await,
        Verb::Gc(gc) => gc.run(&context).await,
        Verb::Quota(quota) => quota.run(&context).await,
        Verb::Images(images) => images.run(&context).await,
        Verb::Status(status) => status.run(&context).await,
        Verb::Reload(reload) => reload.run(&context).await,
        Verb::Service(service) => service.run(&context).await,
        Verb::Serve(_) | Verb::Completions(_) | Verb::Openapi | Verb::Policy(_) => Ok(Exit::Done),
    }
}

fn paths() -> Result<Paths, Problem> {
    Paths::from_environment()
        .map_err(|error| Problem::new(Code::SettingsInvalid, error.to_string()).hint(error.hint()))
}

fn refuse_root() -> Result<(), Problem> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let detail = "taskspace is for an ordinary user with rootless Podman, and this is root";
    Err(Problem::new(Code::PolicyUnenforceable, detail)
        .hint("become that user, or add --allow-root for an experiment"))
}

/// What the user asked for cannot be meant.
fn usage(detail: impl Into<String>) -> Problem {
    Problem::new(Code::MessageFormatInvalid, detail)
}

/// Something outside of the service failed.
fn internal(what: &str, error: &dyn Display) -> Problem {
    Problem::new(Code::Internal, format!("could not {what}: {error}"))
}
