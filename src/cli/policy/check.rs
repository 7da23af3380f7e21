//! `taskspace policy check`

use std::path::PathBuf;

use clap::Args;

use super::problem;
use crate::cli::output::{Output, plain};
use crate::cli::{Exit, Outcome};
use crate::config::{Paths, Settings};

/// `taskspace policy check`
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

impl Check {
    /// A file that is wrong does not keep the others from being checked.
    pub(super) fn run(self, paths: &Paths, output: Output) -> Outcome {
        let mut exit = Exit::Done;
        let mut right = Vec::new();
        for file in self.files {
            right.push(file);
            match Settings::load_with(&paths.config_dirs, &right) {
                Ok(_) => {
                    let shown = right.last().map(|file| file.display().to_string());
                    output.line(&format!("{}: OK", plain(&shown.unwrap_or_default())))?;
                }
                Err(error) => {
                    let problem = problem(error);
                    output.report(&problem);
                    exit = exit.or(Exit::of(problem.code));
                    right.pop();
                }
            }
        }
        Ok(exit)
    }
}
