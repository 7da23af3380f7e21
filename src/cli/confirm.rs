//! Questions whose answer may lose something.

use std::io::{self, BufRead, IsTerminal, Write};

use super::output::{Output, Stop};
use crate::model::Problem;

/// Whether somebody is there to be asked.
pub(super) fn can_ask(output: Output) -> bool {
    output.error_terminal && io::stdin().is_terminal()
}

/// Asks, and tells whether the answer is a yes.
pub(super) fn ask(question: &str) -> Result<bool, Problem> {
    let mut answer = String::new();
    let asked = write!(io::stderr(), "{question} [y/N] ")
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    asked.map_err(|error| super::internal("ask", &error))?;
    Ok(is_yes(&answer))
}

/// Asks whether what was `refused` is to be done all the same; where nobody can be asked, it stays
/// refused.
pub(super) fn all_the_same(
    output: Output,
    refused: Box<Problem>,
    question: &str,
    otherwise: &str,
) -> Result<bool, Stop> {
    if !can_ask(output) {
        return Err(Stop::Problem(refused));
    }
    output.report(&Problem { hint: None, ..*refused });
    let is_wanted = ask(question)?;
    if !is_wanted {
        output.note(otherwise);
    }
    Ok(is_wanted)
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(["y\n", "Y\n", "yes\n"].iter().all(|answer| is_yes(answer)));
        assert!(!["", "\n", "n\n", "yep\n"].iter().any(|answer| is_yes(answer)));
    }
}
