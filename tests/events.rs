//! What happens, as those who watch are told it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::User;
use crate::common::repository::Repository;

/// Waits until an event is told of which something holds, and returns all up to it.
#[track_caller]
fn until(events: &Receiver<Value>, what: &str, holds: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut told: Vec<Value> = Vec::new();
    while !told.last().is_some_and(&holds) {
        let event = events.recv_timeout(Duration::from_secs(60));
        told.push(event.unwrap_or_else(|_| panic!("waited in vain for {what}: {told:?}")));
    }
    told
}

#[test]
fn who_follows_is_told_what_happens_in_later_runs_of_the_service_too() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let mut follow = user.taskspace(&["events", "--follow", "--json"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let (sender, events) = mpsc::channel();
    let lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        for line in lines {
            sender.send(serde_json::from_str(&line.unwrap()).unwrap()).unwrap();
        }
    });
    let finished = |event: &Value| event["body"]["type"] == "operation-finished";

    user.run(&["create", "--project", repository.as_str(), "cfollow"]);
    let mut told = until(&events, "the creation", finished);
    assert!(told.iter().all(|event| event["taskspace"] == "cfollow"), "{told:?}");
    user.kill_service();
    // Nobody but the one who follows starts the service again.
    let missed = |event: &Value| event["body"]["type"] == "missed";
    told.extend(until(&events, "word of the restart", missed));
    user.run(&["stop", "cfollow"]);
    let stopped = |event: &Value| event["body"]["to"] == "stopped";
    told.extend(until(&events, "the stop", stopped));
    let ids: Vec<u64> = told.iter().map(|event| event["id"].as_u64().unwrap()).collect();
    assert!(ids.is_sorted_by(|before, after| before < after), "{ids:?}");

    kill(Pid::from_raw(follow.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(follow.wait().unwrap().code(), Some(0));
    reader.join().unwrap();

    // Without following: what is kept, in words, as far as it is asked for.
    let kept = user.run(&["events", "--taskspace", "cfollow"]);
    assert!(kept.contains("  cfollow           stopping → stopped\n"), "{kept}");
    let last = ids.last().unwrap().to_string();
    let later = user.run(&["events", "--after", &last]);
    assert!(!later.contains("→ stopped") && later.contains(": done\n"), "{later}");
    user.fail(3, &["events", "--operation", "999999"]);
}
