//! Policies that are only observed for a while.

use super::*;

#[test]
fn observing_lets_through_and_lists_until_it_ends() {
    let user = User::new();
    let outside = connect(&user, "n-observe", &["--network", "restricted"]);
    let reach = |address: &str, port| probe(&user, "n-observe", "tcp", address, port).0;
    let shown = || user.json(&["network", "n-observe"]);
    assert_eq!(reach(INTERNET, 443), "refused");
    user.run(&["network", "n-observe", "observe"]);
    // All gets through that is not the user's own, and is told from what does not.
    assert_eq!((reach(INTERNET, 443), reach(PRIVATE, 443)), ("allowed".into(), "refused".into()));
    let blocked = user.json(&["network", "n-observe", "blocked"]);
    let results = |destination: String| -> Vec<bool> {
        let all = blocked.as_array().unwrap().iter().filter(|it| it["destination"] == destination);
        let mut results: Vec<bool> = all.map(|it| it["let_through"] == true).collect();
        results.sort_unstable();
        results
    };
    assert_eq!(results(format!("{INTERNET}:443/tcp")), [false, true]);
    assert_eq!(results(format!("{PRIVATE}:443/tcp")), [false]);
    assert!(user.run(&["list"]).contains("restricted, OBSERVING 59m"));
    assert!(user.run(&["show", "n-observe"]).contains("NOT ENFORCED"));

    // It lasts over a stop, and over other changes.
    let until = shown()["observe_until"].clone();
    drop(outside);
    user.run(&["stop", "n-observe"]);
    user.run(&["start", "n-observe"]);
    user.run(&["network", "n-observe", "allow", "example.org:443"]);
    assert_eq!((&shown()["observe"], &shown()["observe_until"]), (&json!(true), &until));
    let outside = Outside::connect("n-observe");
    assert_eq!(reach(INTERNET, 443), "allowed");

    // A policy that is named is enforced, be it the same one; what was only observed is cut.
    let (mut cut, mut lines) = talk(&user, "n-observe", INTERNET, 443);
    user.run(&["network", "n-observe", "restricted"]);
    assert_eq!(next_line(&mut lines), "cut\n");
    cut.wait().unwrap();
    assert_eq!((reach(INTERNET, 443), shown().get("observe")), ("refused".into(), None));
    user.run(&["network", "n-observe", "observe"]);
    user.run(&["network", "n-observe", "isolated"]);
    assert_eq!(reach(INTERNET, 443), "refused");
    user.run(&["network", "n-observe", "observe"]);
    user.run(&["network", "n-observe", "enforce"]);
    assert_eq!(reach(INTERNET, 443), "refused");
    for wrong in
        [&["observe", "--for", "0s"][..], &["observe", "--for", "9d"], &["show", "--for", "1h"]]
    {
        user.fail(2, &[&["network", "n-observe"], wrong].concat());
    }

    // It ends by itself, and that is told.
    user.run(&["network", "n-observe", "observe", "--for", "2s"]);
    let is_told =
        || user.run(&["events", "--taskspace", "n-observe"]).contains("is enforced again");
    wait_until("it ends", is_told);
    assert_eq!((reach(INTERNET, 443), shown().get("observe")), ("refused".into(), None));

    // So it does while there is no service, in the kernel, with the connections that it let through.
    user.run(&["network", "n-observe", "observe", "--for", "4s"]);
    let (mut cut, mut lines) = talk(&user, "n-observe", INTERNET, 443);
    user.kill_service();
    assert_eq!(next_line(&mut lines), "cut\n");
    cut.wait().unwrap();
    assert_eq!(reach(INTERNET, 443), "refused");
    wait_until("the next run tells so", is_told);
    assert_eq!((reach(INTERNET, 443), shown().get("observe")), ("refused".into(), None));
    drop(outside);
}
