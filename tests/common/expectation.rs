//! What a taskspace may be like after requests that ran side by side, some of which failed and some of
//! whose answers nobody got.

use std::collections::BTreeSet;
use std::time::Instant;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Create { keep: bool },
    Start,
    Stop,
    Restart,
    Delete,
}

/// How a taskspace is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meant {
    Absent,
    Stopped,
    Running,
}

/// What whoever asked was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// It failed, and what was begun may show.
    Failed,
    /// It was refused, and nothing was changed.
    Refused,
    /// Nothing: the client was killed, or the service that knew of it.
    Unknown,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub verb: Verb,
    pub from: Instant,
    pub to: Instant,
    pub answer: Answer,
}

/// What is known of one taskspace.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// What it was before the requests.
    pub before: Meant,
    /// Whether it had failed then.
    pub had_failed: bool,
    /// The requests since.
    pub asked: Vec<Asked>,
    /// Whether somebody interfered since, so that requests may fail.
    pub disturbed: bool,
    /// Whether somebody may have removed parts of it since it last ran.
    pub torn: bool,
    /// Whether somebody may have removed the work.
    pub lost: bool,
    /// Whether somebody did, so that it has to be told.
    pub is_lost: bool,
}

impl Verb {
    const fn meant(self) -> Meant {
        match self {
            Self::Create { .. } | Self::Start | Self::Restart => Meant::Running,
            Self::Stop => Meant::Stopped,
            Self::Delete => Meant::Absent,
        }
    }
}

impl Expectation {
    /// Of a taskspace that there is not.
    pub fn of_none() -> Self {
        Self {
            before: Meant::Absent,
            had_failed: false,
            asked: Vec::new(),
            disturbed: false,
            torn: false,
            lost: false,
            is_lost: false,
        }
    }

    /// Whether this request may have been the last one to have an effect.
    fn may_be_last(&self, asked: &Asked) -> bool {
        let done_later = |other: &Asked| other.answer == Answer::Done && other.from > asked.to;
        asked.answer == Answer::Unknown || !self.asked.iter().any(done_later)
    }

    /// Returns all that it may be meant to be now.
    pub fn meant(&self) -> BTreeSet<Meant> {
        let done = |asked: &&Asked| asked.answer == Answer::Done;
        if self.asked.iter().any(|asked| done(&asked) && asked.verb == Verb::Delete) {
            return BTreeSet::from([Meant::Absent]);
        }
        let effects = self
            .asked
            .iter()
            .filter(|asked| asked.answer != Answer::Refused && self.may_be_last(asked))
            .map(|asked| asked.verb.meant());
        let mut meant: BTreeSet<Meant> = effects.collect();
        if !self.asked.iter().any(|asked| done(&asked)) {
            meant.insert(self.before);
        }
        meant
    }

    /// Whether it may have failed now.
    pub fn may_have_failed(&self) -> bool {
        let failed = |asked: &Asked| {
            matches!(asked.answer, Answer::Failed | Answer::Unknown) && self.may_be_last(asked)
        };
        let done = self.asked.iter().any(|asked| asked.answer == Answer::Done);
        self.lost || self.had_failed && !done || self.disturbed && self.asked.iter().any(failed)
    }

    /// Takes what was found as what is known, and waits for new requests.
    pub fn settle(&mut self, found: Meant, failed: bool) {
        (self.before, self.had_failed, self.disturbed) = (found, failed, false);
        self.asked.clear();
    }
}

#[test]
fn what_is_expected_follows_from_the_answers_and_their_order() {
    use std::time::Duration;
    let begin = Instant::now();
    let at = |second| begin + Duration::from_secs(second);
    let asked = |verb, from, to, answer| Asked { verb, from: at(from), to: at(to), answer };
    let meant = |asked: &[Asked]| {
        let before = Expectation { before: Meant::Running, ..Expectation::of_none() };
        Expectation { asked: asked.to_vec(), ..before }.meant().into_iter().collect::<Vec<_>>()
    };
    let (stop, start) = (Verb::Stop, Verb::Start);
    assert_eq!(meant(&[]), [Meant::Running]);
    assert_eq!(meant(&[asked(stop, 0, 1, Answer::Done)]), [Meant::Stopped]);
    // One after the other, and side by side.
    let one = asked(stop, 0, 2, Answer::Done);
    assert_eq!(meant(&[one.clone(), asked(start, 3, 4, Answer::Done)]), [Meant::Running]);
    let both = [Meant::Stopped, Meant::Running];
    assert_eq!(meant(&[one.clone(), asked(start, 1, 4, Answer::Done)]), both);
    // Nobody knows when it comes.
    let unknown = asked(stop, 0, 1, Answer::Unknown);
    assert_eq!(meant(&[unknown, asked(start, 3, 4, Answer::Done)]), both);
    assert_eq!(meant(&[asked(stop, 0, 1, Answer::Failed)]), both);
    assert_eq!(meant(&[asked(stop, 0, 1, Answer::Refused)]), [Meant::Running]);
    // What is deleted stays so.
    let late = asked(start, 1, 5, Answer::Done);
    assert_eq!(meant(&[asked(Verb::Delete, 0, 4, Answer::Done), late]), [Meant::Absent]);
}
