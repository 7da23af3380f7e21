//! What goes to the terminal, or to whoever reads instead of one.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;
use serde_json::Value;

use crate::client::ClientError;
use crate::host::terminal;
use crate::model::Problem;

/// Why a verb ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// Something went wrong.
    Problem(Box<Problem>),
    /// Whoever read our output has had enough.
    BrokenPipe,
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        Problem::from(error).into()
    }
}

/// Where output goes, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// Without progress and notes.
    pub(super) quiet: bool,
    /// Standard output is a terminal.
    pub(super) terminal: bool,
    /// Standard output takes colours.
    pub(super) colour: bool,
    /// Standard error takes colours.
    error_colour: bool,
    /// Standard error is a terminal.
    pub(super) error_terminal: bool,
}

impl Output {
    /// Looks at where output goes; `NO_COLOR` (when not empty) turns colours off.
    pub(super) fn new(quiet: bool) -> Self {
        let allowed = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let (terminal, error_terminal) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            quiet,
            terminal,
            colour: allowed && terminal,
            error_colour: allowed && error_terminal,
            error_terminal,
        }
    }

    /// Writes a text to standard output.
    pub(super) fn print(self, text: &str) -> Result<(), Stop> {
        self.bytes(text.as_bytes())
    }

    /// Writes a line to standard output.
    pub(super) fn line(self, line: &str) -> Result<(), Stop> {
        self.print(&format!("{line}\n"))
    }

    /// Writes a document to standard output.
    pub(super) fn json(self, document: &impl Serialize) -> Result<(), Stop> {
        let text = serde_json::to_string_pretty(document)
            .map_err(|error| super::internal("write JSON", &error))?;
        self.line(&text)
    }

    /// Writes a document to standard output; with `stale` set in it, or in each of a list, where it is from
    /// the registry and not from the service.
    pub(super) fn json_read(self, document: &impl Serialize, is_stale: bool) -> Result<(), Stop> {
        if !is_stale {
            return self.json(document);
        }
        let mut value = serde_json::to_value(document)
            .map_err(|error| super::internal("write JSON", &error))?;
        let mark = |value: &mut Value| {
            if let Value::Object(object) = value {
                object.insert("stale".to_owned(), Value::Bool(true));
            }
        };
        match &mut value {
            Value::Array(items) => items.iter_mut().for_each(mark),
            value => mark(value),
        }
        self.json(&value)
    }

    /// Writes what is in a table to standard output: as a document, or as a text for the width of the
    /// terminal, if it is one.
    pub(super) fn table(
        self,
        json: bool,
        document: &impl Serialize,
        text: impl FnOnce(Option<u16>) -> String,
    ) -> Result<(), Stop> {
        if json {
            return self.json(document);
        }
        self.print(&text(terminal::size().map(|(columns, _)| columns)))
    }

    /// Writes a document to standard output, as one of many: on a line of its own.
    pub(super) fn json_line(self, document: &impl Serialize) -> Result<(), Stop> {
        let text = serde_json::to_string(document)
            .map_err(|error| super::internal("write JSON", &error))?;
        self.line(&text)
    }

    /// Writes to standard output, at once.
    pub(super) fn bytes(self, bytes: &[u8]) -> Result<(), Stop> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(unwritten)
    }

    /// Writes bytes to standard error, at once.
    pub(super) fn error_bytes(self, bytes: &[u8]) -> Result<(), Stop> {
        let mut stderr = io::stderr().lock();
        stderr.write_all(bytes).and_then(|()| stderr.flush()).map_err(unwritten)
    }

    /// Writes a line to standard error, unless it is to be quiet there.
    pub(super) fn note(self, line: &str) {
        if !self.quiet {
            // Nobody is left to tell that standard error is gone.
            let _unwritten = writeln!(io::stderr(), "{line}");
        }
    }

    /// Writes a problem to standard error.
    pub(super) fn report(self, problem: &Problem) {
        let _unwritten = write!(io::stderr(), "{}", render(problem, self.error_colour));
    }

    /// Writes a warning to standard error.
    pub(super) fn warn(self, message: &str) {
        let head = paint("warning:", AnsiColor::Yellow.on_default().bold(), self.error_colour);
        self.note(&format!("{head} {}", plain(message)));
    }
}

fn unwritten(error: io::Error) -> Stop {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Stop::BrokenPipe,
        _ => super::internal("write the output", &error).into(),
    }
}

/// Writes a text in a style, where colours are wanted.
pub(super) fn paint(text: &str, style: Style, colour: bool) -> String {
    if colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// What went wrong, the last lines of what failed, what to do.
fn render(problem: &Problem, colour: bool) -> String {
    let mut text = String::new();
    let error = paint("error:", AnsiColor::Red.on_default().bold(), colour);
    let hint = paint("hint:", AnsiColor::Cyan.on_default().bold(), colour);
    // Writing to a string does not fail.
    let _infallible = writeln!(text, "{error} {}", plain(&problem.detail));
    for line in &problem.log {
        let _infallible = writeln!(text, "    {}", plain(line));
    }
    if let Some(advice) = &problem.hint {
        let _infallible = writeln!(text, "{hint} {}", plain(advice));
    }
    text
}

/// Replaces what a terminal would obey rather than show: repositories, refs and builds choose the
/// text, not the user.
pub(super) fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// Returns a number of bytes as people say it.
pub(super) fn size(bytes: u64) -> String {
    const KILO: u64 = 1_000;
    const MEGA: u64 = 1_000_000;
    const GIGA: u64 = 1_000_000_000;
    match bytes {
        b if b < MEGA => format!("{} kB", b.div_ceil(KILO)),
        b if b < 10 * GIGA => format!("{} MB", b.div_ceil(MEGA)),
        b => format!("{} GB", b.div_ceil(GIGA)),
    }
}

/// Returns a time span as people say it.
pub(super) fn span(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match seconds.max(0) {
        s if s < MINUTE => format!("{s}s"),
        s if s < HOUR => format!("{}m", s / MINUTE),
        s if s < DAY => format!("{}h", s / HOUR),
        s => format!("{}d", s / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Code;

    #[test]
    fn a_problem_says_what_and_why_and_what_to_do() {
        let problem = Problem::new(Code::ImageBuildFailed, "the image dev-rust could not be built")
            .log(vec!["E: no such package".to_owned(), "\u{1b}[31mexit 100".to_owned()])
            .hint("correct images.yaml");
        insta::assert_snapshot!(render(&problem, false), @r"
        error: the image dev-rust could not be built
            E: no such package
            �[31mexit 100
        hint: correct images.yaml
        ");
        assert!(render(&problem, true).starts_with("\u{1b}["));
    }

    #[test]
    fn sizes_are_short() {
        let cases = [(0, "0 kB"), (4_097, "5 kB"), (999_999, "1000 kB"), (1_000_001, "2 MB")];
        for (bytes, text) in cases.into_iter().chain([(12_000_000_000, "12 GB")]) {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn spans_are_short() {
        let cases = [(-5, "0s"), (59, "59s"), (60, "1m"), (7_199, "1h"), (200_000, "2d")];
        for (seconds, text) in cases {
            assert_eq!(span(seconds), text);
        }
    }
}
