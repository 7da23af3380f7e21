//! The clients that wait for an answer, and what their answers may be.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::Instant;

use super::Soak;
use crate::common::expectation::{Answer, Asked, Meant, Verb};

/// What the second of two restarts is told.
const ONE_AT_A_TIME: &str = "is refused: in the way is operation";

/// How many clients wait at a time.
pub(super) const CLIENTS: usize = 6;

/// What clients say when the service that knew of their request is gone.
const UNSURE: &[&str] = &[
    "the service ended before",
    "next start of the service goes on",
    "the exchange with the service broke off",
    "the service was started and was ended by signal",
    "its creation broke off",
];

/// What Podman says now and then when much is asked of it at the same time, whoever asks: its processes
/// get in each other's way at the database, and crun at a new network. Such refusals are counted.
const PODMANS_OWN: &[&str] = &["disk I/O error", "ping_group_range"];

/// A client that waits for its answer.
pub(super) struct Client {
    pub(super) id: String,
    verb: Verb,
    pub(super) what: String,
    pub(super) child: Child,
    from: Instant,
    pub(super) killed_at: Option<Instant>,
    output: PathBuf,
}

impl Soak {
    /// Starts a client.
    pub(super) fn ask(&mut self, id: &str, verb: Verb, arguments: &[&str]) {
        let output = self.user.path(&format!("output-{}", self.outputs % (4 * CLIENTS)));
        self.outputs += 1;
        let file = File::create(&output).unwrap();
        let mut ask = self.user.taskspace(arguments);
        let child = ask.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let what = arguments.join(" ");
        self.report.note(&what);
        self.report.tally.operations += 1;
        self.clients.push(Client {
            id: id.to_owned(),
            verb,
            what,
            child,
            from: Instant::now(),
            killed_at: None,
            output,
        });
    }

    /// Takes in the answers of the clients that have ended.
    pub(super) fn look_at_clients(&mut self) {
        let mut ended = Vec::new();
        let restarting: Vec<String> = (self.clients.iter())
            .filter(|client| client.verb == Verb::Restart)
            .map(|client| client.id.clone())
            .collect();
        for mut client in std::mem::take(&mut self.clients) {
            match client.child.try_wait().unwrap() {
                Some(status) => ended.push((client, status)),
                None => self.clients.push(client),
            }
        }
        // That something is gone is right once its removal is known, or asked for.
        ended.sort_by_key(|(client, _)| client.verb != Verb::Delete);
        for (client, status) in ended {
            self.answered(&client, status, &restarting);
        }
    }

    fn answered(&mut self, client: &Client, status: ExitStatus, restarting: &[String]) {
        let text = std::fs::read_to_string(&client.output).unwrap_or_default();
        let unsure = UNSURE.iter().any(|words| text.contains(words));
        let answer = match status.code() {
            Some(0) => Answer::Done,
            Some(3) => Answer::Refused,
            Some(4) if text.contains(ONE_AT_A_TIME) => Answer::Refused,
            None | Some(130) => Answer::Unknown,
            Some(_) if unsure => Answer::Unknown,
            Some(_) => Answer::Failed,
        };
        let told = text.lines().filter(|line| line.contains("error") || line.contains("hint"));
        let told = told.collect::<Vec<_>>().join("; ");
        self.report.note(format!("  {answer:?}: {}: {told}", client.what));
        let podmans_own =
            answer == Answer::Failed && PODMANS_OWN.iter().any(|words| text.contains(words));
        self.report.tally.refusals += usize::from(podmans_own);
        let expected = self.expected.get_mut(&client.id).unwrap();
        // What was done to it may show only now.
        let torn = expected.torn || expected.lost;
        let excused = expected.disturbed || torn || self.disturbed || podmans_own;
        let killed = client.killed_at.is_some() && status.signal().is_some();
        let fits = match answer {
            Answer::Done => true,
            Answer::Unknown => killed || self.services.ended,
            Answer::Failed => excused || expected.had_failed,
            // Somebody restarts it already, or did, and does not know whether that is over.
            Answer::Refused if status.code() == Some(4) => {
                let in_the_way = |it: &Asked| {
                    let may_go_on = it.to >= client.from || it.answer == Answer::Unknown;
                    it.verb == Verb::Restart && may_go_on
                };
                client.verb == Verb::Restart
                    && (restarting.iter().filter(|id| **id == client.id).count() > 1
                        || expected.asked.iter().any(in_the_way))
            }
            // It may be gone, or not be entered yet.
            Answer::Refused => {
                expected.meant().contains(&Meant::Absent)
                    || self.clients.iter().any(|it| it.id == client.id && it.verb == Verb::Delete)
            }
        };
        if !fits {
            self.report.tell(format!("{} ended with {status} and wrote: {text}", client.what));
        }
        let (verb, from, to) = (client.verb, client.from, Instant::now());
        expected.disturbed |= podmans_own;
        expected.asked.push(Asked { verb, from, to, answer });
    }
}
