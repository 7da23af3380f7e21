//! `taskspace openapi`: for those who work on this program.

use super::output::Output;
use super::{Exit, Outcome};
use crate::api;

pub(super) fn run(output: Output) -> Outcome {
    output.json(&api::document())?;
    Ok(Exit::Done)
}
