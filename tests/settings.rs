//! The settings follow their files, and everything that shows them agrees.

use std::process::Command;

use serde_json::Value;

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, succeed, text_of, wait_until};

/// Returns what the service says about its settings.
fn state(user: &User) -> Value {
    user.json(&["status"])["settings"].clone()
}

/// Returns the events of a kind, as far as they are kept.
fn events(user: &User, kind: &str) -> Vec<Value> {
    let text = user.run(&["events", "--json"]);
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.map(|event| event["body"].clone()).filter(|body| body["type"] == kind).collect()
}

#[test]
fn changed_files_are_in_force_with_the_next_command_and_a_broken_one_changes_nothing() {
    let user = User::new();
    user.run(&["list"]);
    let pid = user.service();
    // The directory of policies is not there yet.
    std::fs::create_dir(user.path("config/symposium/network")).unwrap();
    user.settings("network/shop.yaml", "like: restricted\nallow: [example.org]\n");
    user.settings("settings.yaml", "service: {idle_timeout: 299s}\nready_timeout: 90s\n");
    assert_eq!(user.json(&["status"])["idle_timeout_seconds"], 299);
    assert_eq!(user.json(&["policy", "list"]).as_array().unwrap().len(), 4);
    assert!(!events(&user, "settings-reloaded").is_empty());

    user.settings("settings.yaml", "service: {idle_timeout: soon}\n");
    let output = user.taskspace(&["list", "--json"]).output().unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    for part in ["warning:", "settings.yaml:1:", "those of before stay"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let told = user.fail(1, &["reload"]);
    assert!(told.contains("settings.yaml:1:") && told.contains("correct"), "{told}");
    let status = user.json(&["status"]);
    assert_eq!(status["idle_timeout_seconds"], 299);
    assert_eq!(status["settings"]["problem"]["code"], "SETTINGS_INVALID");
    assert!(!events(&user, "settings-refused").is_empty());

    // An editor that writes another file and renames it.
    user.settings("new", "service: {idle_timeout: 298s}\n");
    let file = |name: &str| user.path("config/symposium").join(name);
    std::fs::rename(file("new"), file("settings.yaml")).unwrap();
    let output = user.taskspace(&["list"]).output().unwrap();
    assert!(!text_of(&output).contains("warning"), "{}", text_of(&output));
    assert_eq!(user.json(&["status"])["idle_timeout_seconds"], 298);
    assert!(state(&user)["problem"].is_null());

    user.settings("coordination.yaml", "limits: {queue: 7}\n");
    let told = text_of(&user.taskspace(&["reload"]).output().unwrap());
    assert!(told.contains("coordination.yaml") && told.contains("service restart"), "{told}");
    assert_eq!(state(&user)["pending"].as_array().unwrap().len(), 1);
    user.settings("coordination.yaml", "");
    user.run(&["reload"]);
    assert!(state(&user)["pending"].is_null());
    // By a signal, as `systemctl reload` does it; the service is the same all the time.
    user.settings("settings.yaml", "service: {idle_timeout: 297s}\n");
    succeed(user.command("kill").args(["-HUP", &pid.unwrap().to_string()]));
    wait_until("the settings are read", || {
        let seen = user.json(&["status"]);
        seen["idle_timeout_seconds"] == 297
    });
    assert_eq!(user.service(), pid);
}

#[test]
fn an_error_whose_cause_in_a_file_is_corrected_is_gone() {
    let user = User::new();
    let right = std::fs::read_to_string(user.path("config/symposium/images.yaml"));
    user.settings("images.yaml", "base: [\n");
    user.fail(1, &["list"]);
    user.settings("images.yaml", &right.unwrap_or_default());
    wait_until("the next instance serves", || {
        user.taskspace(&["list"]).output().unwrap().status.success()
    });
    user.settings("images.yaml", "base: localhost/nothing:here\n");
    let images = user.json(&["images"]);
    assert!(images.to_string().contains("localhost/nothing:here"), "{images}");
}

#[test]
fn running_taskspaces_have_a_changed_policy_and_another_one_when_theirs_is_gone() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    std::fs::create_dir(user.path("config/symposium/network")).unwrap();
    let policy = |text: &str| user.settings("network/shop.yaml", text);
    policy("like: restricted\nallow: [192.0.2.7]\n");
    let create = ["create", "--project", repository.as_str(), "--network", "shop", "live"];
    user.run(&create);
    let process = TestPodman::shared().process_in_network("live");
    let rules = || {
        let mut nft = Command::new("nsenter");
        nft.args(["--target", &process, "--user", "--net", "--setuid=0", "--setgid=0", "--"]);
        succeed(nft.args(["sh", "-c", "PATH=/usr/sbin:/sbin:$PATH exec nft list ruleset"]))
    };
    let lets = |address: &str| rules().contains(address);
    assert!(lets("192.0.2.7"));
    policy("like: restricted\nallow: [192.0.2.8]\n");
    // No command has the service look: it watches.
    wait_until("the change is in force", || lets("192.0.2.8") && !lets("192.0.2.7"));
    let shown = user.json(&["policy", "show", "shop"]);
    assert_eq!(shown["allowed"][0]["first"], "192.0.2.8");
    // In force when the answer comes.
    policy("like: restricted\nallow: [192.0.2.7]\n");
    user.run(&["reload"]);
    assert!(lets("192.0.2.7") && !lets("192.0.2.8"));

    std::fs::remove_file(user.path("config/symposium/network/shop.yaml")).unwrap();
    wait_until("the taskspace is told", || {
        let warnings = user.json(&["show", "live"])["warnings"].to_string();
        warnings.contains("its network policy is 'isolated' now")
    });
    assert!(!lets("192.0.2.7"));
}
