//! Tells the end of an output from its being cut off.
//!
//! Podman may end, or be started anew, while a command writes; to a reader that looks like the end of
//! the output. So the command writes a word last that nobody else knows.

use hyper::body::Bytes;
use rand::RngExt;

/// How many digits the word has.
const DIGITS: usize = 32;

/// Passes an output on without the word that it must end with.
#[derive(Debug)]
pub(super) struct Ending {
    word: String,
    /// What may be the beginning of the word.
    held: Vec<u8>,
}

impl Ending {
    /// Makes up a word.
    pub(super) fn new() -> Self {
        let mut rng = rand::rng();
        let digit = |_| char::from_digit(rng.random_range(..16), 16).unwrap_or('0');
        Self { word: (0..DIGITS).map(digit).collect(), held: Vec::new() }
    }

    /// Returns the word.
    pub(super) fn word(&self) -> &str {
        &self.word
    }

    /// Takes what came, and returns what is certainly before the end.
    pub(super) fn take(&mut self, came: &Bytes) -> Bytes {
        let surplus = (self.held.len() + came.len()).saturating_sub(self.word.len());
        if surplus == 0 {
            self.held.extend_from_slice(came);
            return Bytes::new();
        }
        if surplus < self.held.len() {
            let sure = self.held.drain(..surplus).collect();
            self.held.extend_from_slice(came);
            return sure;
        }
        let rest = surplus - self.held.len();
        let kept = came[rest..].to_vec();
        let held = std::mem::replace(&mut self.held, kept);
        if held.is_empty() { came.slice(..rest) } else { [&held, &came[..rest]].concat().into() }
    }

    /// Whether what came ends with the word.
    pub(super) fn is_reached(&self) -> bool {
        self.held == self.word.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pass(pieces: &[&[u8]], ending: &mut Ending) -> Vec<u8> {
        let passed = pieces.iter().map(|piece| ending.take(&Bytes::copy_from_slice(piece)));
        passed.collect::<Vec<_>>().concat()
    }

    #[test]
    fn an_output_that_was_cut_off_has_not_ended() {
        let mut ending = Ending::new();
        assert!(!ending.is_reached());
        assert_eq!(pass(&[b"text"], &mut ending), b"");
        assert!(!ending.is_reached());
        let word = ending.word().to_owned();
        assert_eq!(pass(&[&word.as_bytes()[..31]], &mut ending), b"tex");
        assert!(!ending.is_reached());
        assert_eq!(pass(&[&word.as_bytes()[31..]], &mut ending), b"t");
        assert!(ending.is_reached());
        assert_eq!(pass(&[b"x"], &mut ending), word.as_bytes()[..1]);
        assert!(!ending.is_reached());
        assert_ne!(Ending::new().word(), word);
    }

    proptest! {
        #[test]
        fn what_comes_before_the_end_is_passed_on_as_it_is(
            text in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(0_usize..240, 0..8),
        ) {
            let mut ending = Ending::new();
            let all = [&text, ending.word().as_bytes()].concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
            cuts.extend([0, all.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &all[cut[0]..cut[1]]).collect();
            prop_assert_eq!(pass(&pieces, &mut ending), text);
            prop_assert!(ending.is_reached());
        }
    }
}
