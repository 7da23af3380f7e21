//! Many taskspaces at once: they take turns, and the kernel's keys do not run out.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::own_podman::OwnPodman;
use crate::common::repository::Repository;
use crate::common::{User, is_deep, text_of};

/// As many as the kernel has keys for, if each container took one, and half of that again.
const DEEP: usize = 100;

const FEW: usize = 7;

#[test]
fn creations_at_once_take_turns_and_no_kernel_keys() {
    let podman = OwnPodman::with_settings("[containers]\nkeyring = false\n", &[]);
    let user = User::with_podman(&podman.container_host());
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "crowd-first"]);
    let first = crowd_keys();
    let count = if is_deep() { DEEP } else { FEW };
    let begun = Instant::now();
    let creations = (0..count).map(|number| {
        let id = format!("crowd-{number}");
        let mut create = user.taskspace(&["create", "--project", repository.as_str(), &id]);
        let create = create.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::spawn(move || (create.wait_with_output().unwrap(), begun.elapsed()))
    });
    let creations: Vec<_> = creations.collect();
    let mut times: Vec<Duration> = Vec::new();
    for creation in creations {
        let (output, time) = creation.join().unwrap();
        assert!(output.status.success(), "{}", text_of(&output));
        times.push(time);
    }
    times.sort();
    let median = times[times.len() / 2];
    println!(
        "{count} at once: first {:?}, median {median:?}, last {:?}",
        times[0],
        times[count - 1]
    );

    // Each has its turn from the end of the step that makes its pod to the end of its creation.
    let turns = 2 * std::thread::available_parallelism().unwrap().get();
    let mut have_turn = BTreeSet::new();
    for line in user.run(&["events", "--json"]).lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let operation = event["operation"].as_u64().unwrap_or(0);
        if event["body"]["type"] == "step-ended" && event["body"]["step"] == "pod" {
            have_turn.insert(operation);
        } else if event["body"]["type"] == "operation-finished" {
            have_turn.remove(&operation);
        }
        assert!(have_turn.len() <= turns, "{have_turn:?} at once: {event}");
    }
    // Containers of this Podman have no keyrings; those of other tests may come and go.
    if count == DEEP {
        assert!(crowd_keys() < first + DEEP, "{} keys", crowd_keys());
    }
}

/// Returns how many kernel keys this user has; see `/proc/key-users` in proc(5).
fn crowd_keys() -> usize {
    let uid = nix::unistd::getuid().to_string();
    let text = std::fs::read_to_string("/proc/key-users").unwrap();
    let counts = text.lines().find_map(|line| {
        let (found, counts) = line.split_once(':')?;
        (found.trim() == uid).then_some(counts)
    });
    let keys = counts.unwrap().split_whitespace().nth(2).unwrap();
    keys.split_once('/').unwrap().0.parse().unwrap()
}
