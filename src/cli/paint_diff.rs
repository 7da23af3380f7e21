//! Shows a diff on a terminal: with colours, and without what a terminal would obey.
//!
//! What is in a diff is the agent's: escapes could hide lines of it, or do worse.

use std::fmt::Write as _;

use clap::builder::styling::{AnsiColor, Style};

use crate::model::DiffFormat;

/// As many bytes of a line tell what it is.
const TELLING: usize = 5;

const PLAIN: Style = Style::new();

/// Paints a diff piece by piece, however it is cut, and holds no more of it than the beginning of a
/// line.
#[derive(Debug)]
pub(super) struct Painter {
    part: Part,
    colour: bool,
    /// The beginning of a line, before it is known what the line is.
    start: Vec<u8>,
    /// The style of the line, once it is known.
    style: Option<Style>,
    /// The beginning of a character.
    character: Vec<u8>,
}

/// The part of a diff that a line is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// What comes before the changes of a file.
    Head,
    /// The changes of a text.
    Lines,
    /// Anything else.
    Text,
}

impl Painter {
    pub(super) fn new(format: DiffFormat, colour: bool) -> Self {
        let part = if format == DiffFormat::Patch { Part::Head } else { Part::Text };
        Self { part, colour, start: Vec::new(), style: None, character: Vec::new() }
    }

    /// Returns how the next piece is shown.
    pub(super) fn paint(&mut self, piece: &[u8]) -> String {
        let mut shown = String::with_capacity(piece.len() + piece.len() / 8);
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            self.go_on(text, &mut shown);
            if ends {
                self.end_line(&mut shown);
                shown.push('\n');
            }
        }
        shown
    }

    /// Returns what is left to be shown.
    pub(super) fn end(mut self) -> String {
        let mut shown = String::new();
        self.end_line(&mut shown);
        shown
    }

    fn go_on(&mut self, text: &[u8], shown: &mut String) {
        if self.style.is_some() {
            return self.show(text, shown);
        }
        let missing = TELLING.saturating_sub(self.start.len()).min(text.len());
        self.start.extend_from_slice(&text[..missing]);
        if self.start.len() >= TELLING {
            self.begin_line(shown);
            self.show(&text[missing..], shown);
        }
    }

    fn begin_line(&mut self, shown: &mut String) {
        let start = std::mem::take(&mut self.start);
        let style = self.style_of(&start);
        if self.colour {
            // Writing to a string does not fail.
            let _infallible = write!(shown, "{style}");
        }
        self.style = Some(style);
        self.show(&start, shown);
    }

    fn end_line(&mut self, shown: &mut String) {
        if self.style.is_none() {
            self.begin_line(shown);
        }
        if !std::mem::take(&mut self.character).is_empty() {
            shown.push(char::REPLACEMENT_CHARACTER);
        }
        if let Some(style) = self.style.take()
            && self.colour
        {
            let _infallible = write!(shown, "{style:#}");
        }
    }

    fn style_of(&mut self, start: &[u8]) -> Style {
        if self.part != Part::Text && start == b"diff " {
            self.part = Part::Head;
        }
        match (self.part, start.first()) {
            (Part::Text, _) | (_, None) => PLAIN,
            (_, Some(b'@')) => {
                self.part = Part::Lines;
                AnsiColor::Cyan.on_default()
            }
            (Part::Head, Some(_)) => Style::new().bold(),
            (Part::Lines, Some(b'+')) => AnsiColor::Green.on_default(),
            (Part::Lines, Some(b'-')) => AnsiColor::Red.on_default(),
            (Part::Lines, Some(_)) => PLAIN,
        }
    }

    fn show(&mut self, text: &[u8], shown: &mut String) {
        let joined;
        let text = match self.character.is_empty() {
            true => text,
            false => {
                joined = [&std::mem::take(&mut self.character), text].concat();
                &joined
            }
        };
        let mut chunks = text.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            shown.extend(chunk.valid().chars().map(harmless));
            let invalid = chunk.invalid();
            let may_go_on = str::from_utf8(invalid).is_err_and(|it| it.error_len().is_none());
            if chunks.peek().is_none() && may_go_on {
                self.character = invalid.to_vec();
            } else if !invalid.is_empty() {
                shown.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }
}

/// Replaces what a terminal would obey rather than show, and what turns the direction of writing, with
/// which a text can look like another one; controls are replaced by what stands for them.
fn harmless(c: char) -> char {
    match c {
        '\t' => c,
        '\u{0}'..='\u{1f}' => {
            char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        '\u{7f}' => '\u{2421}',
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIFF: &[u8] =
        b"diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@ f\n \
        same\n--- was so\n+++ is so\r\n\\ No newline at end of file\ndiff --git a/b b/b\n\
        GIT binary patch\nliteral 1\nIcmZ\n\n";

    fn paint(diff: &[u8], colour: bool) -> String {
        let mut painter = Painter::new(DiffFormat::Patch, colour);
        let shown = painter.paint(diff);
        shown + &painter.end()
    }

    #[test]
    fn each_line_has_the_colour_of_what_it_is() {
        let shown = paint(DIFF, true);
        let colours: Vec<&str> = shown
            .lines()
            .map(|line| match line.strip_prefix("\u{1b}[") {
                None => "",
                Some(rest) => rest.split_once('m').unwrap().0,
            })
            .collect();
        let (bold, cyan, red, green) = ("1", "36", "31", "32");
        let expected =
            [bold, bold, bold, bold, cyan, "", red, green, "", bold, bold, bold, bold, ""];
        assert_eq!(colours, expected);
    }

    #[test]
    fn what_a_terminal_would_obey_is_only_shown() {
        let evil = "+\u{1b}]0;x\u{7}\u{9b}2J\r\u{202e}é\u{7f}\t\u{0}";
        let shown = paint(format!("@@ \n{evil}\n").as_bytes(), false);
        assert_eq!(shown, "@@ \n+␛]0;x␇\u{fffd}2J␍\u{fffd}é␡\t␀\n");
        assert_eq!(paint(b"+\xff\xc3\n+\xc3", false), "+\u{fffd}\u{fffd}\n+\u{fffd}");
    }

    proptest! {
        #[test]
        fn it_is_the_same_however_it_is_cut(
            diff in prop::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'+'), Just(b'@'), Just(0xc3), Just(0xa9), any::<u8>()],
                0..80,
            ),
            cut in 0_usize..80,
            colour in any::<bool>(),
        ) {
            let (first, second) = diff.split_at(cut.min(diff.len()));
            let mut painter = Painter::new(DiffFormat::Patch, colour);
            let shown = [painter.paint(first), painter.paint(second), painter.end()].concat();
            prop_assert!(colour || shown.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
            prop_assert_eq!(shown, paint(&diff, colour));
        }
    }
}
