//! `taskspace ssh`

use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;

use super::context::Context;
use super::{Outcome, internal, show, storage};
use crate::model::{Code, Problem, TaskspaceId};

const EXAMPLES: &str = "\
Examples:
  taskspace ssh fix-login
      a shell in the checkout, /workspace, in the dev container
  taskspace ssh fix-login cargo test
  taskspace ssh fix-login -- 'cd docs && make' < /dev/null
  while read -r name; do taskspace ssh -n \"$name\" git status; done < names
      without -n, the first command would read the other names
  taskspace ssh fix-login --agent
      the agent's session; C-b d leaves it running";

/// `taskspace ssh`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Ssh {
    /// The taskspace
    id: TaskspaceId,
    /// Go to the agent's session instead of the dev container
    #[arg(long)]
    agent: bool,
    /// Give the command a terminal
    #[arg(long, short)]
    tty: bool,
    /// Leave standard input alone; without this, the command reads it, as with ssh
    #[arg(long, short)]
    no_stdin: bool,
    /// A command to run instead of a shell; as ssh does, its words are joined by spaces and given
    /// to the shell there
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Ssh {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        // sshd is asked and not the service.
        let read = context.read(
            async |client| client.show(&self.id).await,
            |document| show::recorded(document, &self.id),
        );
        let detail = read.await?.answer;
        let (id, record) = (&self.id, &detail.recorded.record);
        let status = record.status;
        if !status.is_up() {
            let problem = Problem::new(Code::StateConflict, format!("{id} is {status}"));
            return Err(problem.hint(format!("`taskspace start {id}` starts it")).into());
        }
        storage::refuse_paused(id, record)?;
        let host = if self.agent { detail.ssh_agent } else { detail.ssh_dev };
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(&context.paths.ssh_config);
        ssh.args(self.tty.then_some("-t")).args(self.no_stdin.then_some("-n")).arg(host);
        if !self.command.is_empty() {
            ssh.arg("--").args(&self.command);
        }
        // Only returns when it fails.
        let error = ssh.exec();
        let problem = internal("run ssh", &error);
        Err(problem.hint("is the OpenSSH client installed, and in PATH?").into())
    }
}
