//! `taskspace completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::output::Output;
use super::{Arguments, Exit, Outcome};

/// `taskspace completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, output: Output) -> Outcome {
        let mut script = Vec::new();
        let mut command = Arguments::command();
        clap_complete::generate(self.shell, &mut command, "taskspace", &mut script);
        output.bytes(&script)?;
        Ok(Exit::Done)
    }
}
