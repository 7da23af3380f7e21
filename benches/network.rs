//! How long it takes until another network policy is in force, on real Podman, beside nft doing the same by
//! hand in the same run.

#![expect(clippy::unwrap_used, reason = "a bench that cannot measure ends")]

use std::process::{Command, Stdio};
use std::time::Duration;

#[expect(dead_code, reason = "the end-to-end tests use the rest of it")]
#[path = "../tests/common/mod.rs"]
mod common;
mod timing;

use common::User;
use common::http::http;
use common::podman::TestPodman;
use common::repository::Repository;
use timing::{median, timed};

/// How often each is measured; the median counts.
const TIMES: usize = 21;

fn main() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--type", "generic", "--project", repository.as_str(), "app-a"]);
    let process = TestPodman::shared().process_in_network("app-a");
    // By turns: what is in force already is not put in force again.
    let policies = ["restricted", "open"].into_iter().cycle().take(TIMES);

    let by_hand: Vec<Duration> = policies
        .clone()
        .map(|policy| {
            user.run(&["network", "app-a", policy]);
            let rules = inside(&process, &["list", "table", "inet", "taskspace"], "");
            let all = format!("delete table inet taskspace\n{rules}");
            timed(|| {
                inside(&process, &["-f", "-"], &all);
            })
        })
        .collect();
    let by_hand = median(by_hand);
    println!("| what | time | ratio |");
    println!("|---|---|---|");
    println!("| nsenter, nft by hand | {:.1} ms | 1 |", milliseconds(by_hand));
    let row = |what: &str, times: Vec<Duration>| {
        let time = median(times);
        let ratio = time.as_secs_f64() / by_hand.as_secs_f64();
        println!("| {what} | {:.1} ms | {ratio:.2} |", milliseconds(time));
    };
    let call = |policy| {
        timed(|| {
            let body = format!("{{\"policy\": \"{policy}\"}}");
            let path = "/v1/taskspaces/app-a/network?wait=true";
            let (status, _, answer) = http(&user, "PATCH", path, &body);
            assert_eq!(status, 200, "{answer}");
        })
    };
    row("by the API, until it is in force and recorded", policies.clone().map(call).collect());
    let command = |policy| {
        timed(|| {
            user.run(&["network", "app-a", policy]);
        })
    };
    row("by the command line", policies.map(command).collect());
}

/// Runs nft in the network of a process.
fn inside(process: &str, arguments: &[&str], input: &str) -> String {
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["--target", process, "--user", "--net", "--setuid=0", "--setgid=0", "--"]);
    nsenter.arg("/usr/sbin/nft").args(arguments);
    let mut nsenter = nsenter.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut nsenter.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = nsenter.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
