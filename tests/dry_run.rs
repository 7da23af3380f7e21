//! Plans that are only shown.

use serde_json::{Value, json};

use crate::common::User;
use crate::common::repository::Repository;

/// Returns the titles of a plan's steps.
fn planned(plan: &Value) -> Vec<String> {
    let steps = plan["steps"].as_array().unwrap().iter();
    let mut titles: Vec<String> =
        steps.map(|step| step["title"].as_str().unwrap().to_owned()).collect();
    titles.sort();
    titles
}

/// Returns the titles of the steps that were done to a taskspace in its last operation.
fn done(user: &User, id: &str) -> Vec<String> {
    let events = user.run(&["events", "--json", "--taskspace", id]);
    let events: Vec<Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = events.iter().rev().find_map(|event| event["operation"].as_u64()).unwrap();
    let ended = events
        .iter()
        .filter(|event| event["operation"] == last && event["body"]["type"] == "step-ended");
    let titles = ended.map(|event| event["body"]["step"].as_str().unwrap().to_owned());
    // A dry run does that, too.
    let mut titles: Vec<String> = titles.filter(|title| title != "fetch the project").collect();
    titles.sort();
    titles
}

#[test]
fn a_dry_run_shows_what_would_be_done_and_does_nothing() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let create = ["create", "--project", repository.as_str(), "cdry"];
    let dry = [create.as_slice(), &["--dry-run"]].concat();

    let plan = user.json(&dry);
    assert_eq!((&plan["name"], &plan["taskspace"]), (&json!("create"), &json!("cdry")));
    let shown = user.run(&dry);
    assert!(shown.contains("make the pod taskspace-cdry with the ports 127.0.0.1:"), "{shown}");
    assert!(shown.contains("undo: remove the volume taskspace-cdry-changes"), "{shown}");
    assert_eq!(user.json(&["list"]), json!([]));
    let registry = user.registry();
    assert_eq!((&registry["taskspaces"], &registry["projects"]), (&json!({}), &json!({})));
    assert!(!user.path("state/symposium/taskspaces/cdry").exists());
    assert_eq!(user.left_in_podman(), Vec::<String>::new());
    let no_ref = [dry.as_slice(), &["--ref", "nowhere"]].concat();
    assert!(user.fail(3, &no_ref).contains("nowhere"));

    user.run(&create);
    assert_eq!(done(&user, "cdry"), planned(&plan));
    // The id is taken, for a dry run as for a real one.
    user.fail(4, &dry);

    user.run(&["exec", "cdry", "--", "touch", "x"]);
    assert!(user.fail(4, &["delete", "--dry-run", "cdry"]).contains("?? x"));
    let plan = user.json(&["delete", "--dry-run", "--force", "--purge", "cdry"]);
    assert_eq!(user.json(&["show", "cdry"])["status"], "running");
    user.run(&["exec", "cdry", "--", "test", "-e", "x"]);
    user.run(&["delete", "--force", "--purge", "cdry"]);
    assert_eq!(done(&user, "cdry"), planned(&plan));
    user.fail(3, &["delete", "--dry-run", "cdry"]);
}
