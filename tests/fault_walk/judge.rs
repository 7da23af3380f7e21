//! Whether what came of a kill or a failure may be.

use std::process::Output;

use super::cases::{Case, End};
use super::points::{COMMIT, is_write};
use super::walk::Walk;
use crate::common::text_of;

/// What the client says when nobody knows what became of the operation: the service that knew of it is
/// gone, or was when it was asked.
const LOST: [&str; 2] = ["the service ended before", "the exchange with the service broke off"];

impl Walk {
    /// Says what came of an operation in which the service was killed, or why that must not be.
    pub(super) fn judge(
        &self,
        case: Case,
        output: &Output,
        reached: bool,
        point: &str,
    ) -> Result<String, String> {
        if matches!(case.name, "gc" | "delete with base") {
            // The next start of the service goes on collecting; this one waits until it has.
            self.user.run(&["gc"]);
        }
        let differences = self.disagreement();
        if !differences.is_empty() {
            return Err(differences.join("; "));
        }
        if !reached && !is_write(point) {
            return Err(format!("it was not reached; {}", text_of(output)));
        }
        let end = self.end()?;
        let text = text_of(output);
        let fits = match output.status.success() {
            // A creation that fails in vain may be gone on with after the kill.
            true => end == case.after || case.failing.is_some() && end == End::Running,
            // Whoever asked is told that nobody knows: it may have been recorded or not.
            false if LOST.iter().any(|lost| text.contains(lost)) => {
                end == case.after || end == case.before
            }
            // What a fork was to copy is no longer as it was: it is taken back.
            false => (case.failing.is_some() || case.name == "fork") && end == End::Gone,
        };
        if !fits {
            return Err(format!("it is {end:?}, and the client was told: {text}"));
        }
        if end == End::Running {
            (case.is_whole)(self)?;
        }
        let told = if output.status.success() { "done" } else { "not done" };
        let reached = if reached { "" } else { ", not reached" };
        Ok(format!("{end:?}, told {told}{reached}"))
    }

    /// Says what came of an operation of which a step failed, or why that must not be. What is left of
    /// it is gone on with or removed, by turns of `n`.
    pub(super) fn judge_failure(
        &self,
        case: Case,
        output: &Output,
        point: &str,
        n: usize,
    ) -> Result<String, String> {
        let text = text_of(output);
        let point = point.replace(COMMIT, &self.commit());
        let step = point.split(": ").nth(1).unwrap();
        let is_write = is_write(&point);
        // What is recovered is tried again by itself.
        let by_itself = case.name.starts_with("recover");
        let told = output.status.code() == Some(1) && text.contains(step);
        // A removal whose last steps fail has removed the taskspace all the same.
        let removed = output.status.success() && case.after == End::Gone;
        if !is_write && !by_itself && !removed && !told {
            return Err(format!("{:?}: {text}", output.status));
        }
        let rests = self.disagreement();
        if !rests.is_empty() {
            return Err(rests.join("; "));
        }
        let end = self.end()?;
        let expected = match case.name {
            "create" | "create with base" | "fork" => End::Gone,
            // It goes on without.
            "promote" | "snapshot" => End::Running,
            // Before anything is replaced it goes on as it was.
            "restore" if end == End::Running => {
                (case.is_whole)(self)?;
                End::Running
            }
            "delete" | "delete, state kept" => End::Gone,
            _ if by_itself => End::Running,
            _ => End::Failed,
        };
        if end != expected && !is_write {
            return Err(format!("it is {end:?}: {text}"));
        }
        if end != End::Failed {
            return Ok(format!("{end:?}"));
        }
        let reason = self.record()["failure"]["detail"].to_string();
        if !reason.contains(step) && !is_write {
            return Err(format!("the reason does not name the step: {reason}"));
        }
        // One half is gone on with, the other half removed.
        let then = if n.is_multiple_of(2) { case.after } else { End::Gone };
        self.bring(then);
        let rests = self.disagreement();
        if !rests.is_empty() || self.end() != Ok(then) {
            return Err(format!("then it is {:?}: {}", self.end(), rests.join("; ")));
        }
        if then == End::Running {
            (case.is_whole)(self)?;
        }
        Ok(format!("Failed, then {then:?}"))
    }
}
