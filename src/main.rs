//! The program `taskspace`: arguments, logging, the verb, the exit status.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use taskspace::cli::{self, Arguments, Exit, Verb};
use taskspace::host::{pod_network, unshared};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Before anything has made a thread: only a process without them can enter a user namespace.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == unshared::VERB) {
        return unshared::run(std::io::stdin(), std::io::stdout());
    }
    if std::env::args_os().nth(1).is_some_and(|verb| verb == pod_network::VERB) {
        return pod_network::run(std::env::args_os().skip(2));
    }
    let arguments = Arguments::from_words(std::env::args_os()).unwrap_or_else(|error| error.exit());
    log(&arguments);
    #[cfg(feature = "fault-points")]
    arm_faults(&arguments);
    match runtime(&arguments) {
        Ok(runtime) => {
            let exit = runtime.block_on(cli::run(arguments));
            // A read of standard input that nobody waits for any more must not keep us.
            runtime.shutdown_background();
            exit.into()
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::Failed.into()
        }
    }
}

/// Takes up what a test wants of the service.
#[cfg(feature = "fault-points")]
fn arm_faults(arguments: &Arguments) {
    use taskspace::fault::{self, Faults};

    if matches!(arguments.verb, Verb::Serve(_)) {
        let wanted = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        fault::arm(Faults {
            kill: wanted("TASKSPACE_FAULT_KILL"),
            fail: wanted("TASKSPACE_FAULT_FAIL"),
            log: wanted("TASKSPACE_FAULT_LOG").map(Into::into),
        });
    }
}

/// Logs to standard error what `TASKSPACE_LOG` says: by default what the service does, and what a
/// client warns of.
fn log(arguments: &Arguments) {
    let serves = matches!(arguments.verb, Verb::Serve(_));
    let level = match arguments.verbosity() + u8::from(serves) {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("TASKSPACE_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,taskspace={level}")));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let coloured = !plain && std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(coloured)
        .with_target(false);
    // The journal has its own clock.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().init();
    } else {
        log.init();
    }
}

/// The stack of the service's threads, in bytes: without optimisation, the futures of an operation that is
/// rolled back while Podman is gone take more than the usual 2 MiB. What is not used takes no memory.
const STACK: usize = 8 << 20;

/// A client does one thing at a time; the service does several.
fn runtime(arguments: &Arguments) -> anyhow::Result<Runtime> {
    let serves = matches!(arguments.verb, Verb::Serve(_));
    let mut builder =
        if serves { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.thread_stack_size(STACK).enable_all().build().context("could not start the runtime")
}
