//! What is out of use goes when its time is over, and nothing else does.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::{User, succeed, text_of, wait_until};

fn podman(arguments: &[&str]) -> String {
    succeed(TestPodman::shared().command().args(arguments))
}

fn is_there(volume: &str) -> bool {
    TestPodman::shared().has_volume(volume)
}

/// A user who keeps things for as long as the text says.
fn user(retention: &str) -> User {
    let user = User::new();
    user.settings("retention.yaml", retention);
    user
}

fn create(user: &User, repository: &Repository, id: &str) {
    user.run(&["create", "--project", repository.as_str(), id]);
}

/// Makes a volume that says that it is part of a taskspace of a registry.
fn make_volume(name: &str, registry: &str, role: &str, taskspace: &str) {
    let labels = [("registry", registry), ("role", role), ("taskspace", taskspace)];
    let labels = labels.map(|(key, value)| format!("--label=io.symposium.{key}={value}"));
    let labels = labels.iter().map(String::as_str);
    let arguments: Vec<&str> = ["volume", "create"].into_iter().chain(labels).collect();
    podman(&[arguments, vec![name]].concat());
}

fn registry_of(user: &User) -> String {
    user.registry()["registry"].as_str().unwrap().to_owned()
}

/// What a collection said of each thing: its key, whether it goes, and why.
fn told(view: &Value) -> Vec<String> {
    let items = view["items"].as_array().unwrap().iter();
    let text = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
    items
        .map(|item| {
            let goes = if item["goes"] == true { "goes" } else { "stays" };
            let [kind, name, reason] = ["kind", "name", "reason"].map(|key| text(item, key));
            assert_eq!(item["problem"], Value::Null, "{item}");
            format!("{kind} {name} {goes}: {reason}")
        })
        .collect()
}

fn base_of(commit: &str) -> String {
    format!("project-base-app-{commit}")
}

#[test]
fn bases_and_states_go_after_their_time_and_others_stay() {
    let user = user("bases: {unused: 2s, newest: never}\nagent_states: 2s\n");
    let repository = Repository::new(&user, "app");
    let old = repository.head();
    create(&user, &repository, "g-old");
    let new = repository.commit("file", "new");
    create(&user, &repository, "g-new");
    let patient = User::new();
    let other = Repository::new(&patient, "app");
    create(&patient, &other, "g-other");

    let delete = ["delete", "--force", "g-other"];
    let told = text_of(&patient.taskspace(&delete).output().unwrap());
    let until = patient.json(&["states"])[0]["until"].as_str().unwrap()[..10].to_owned();
    assert!(told.contains(&format!("what its agent remembers is kept until {until} ")), "{told}");
    assert!(told.contains("; `taskspace create --agent-state-of g-other` goes on"), "{told}");
    user.run(&["delete", "--force", "g-old"]);
    wait_until("the base's time is over", || !is_there(&base_of(&old)));
    wait_until("the state's time is over", || user.json(&["states"]) == json!([]));
    assert!(!is_there("taskspace-g-old-agent-state"));
    assert!(is_there("taskspace-g-new-agent-state") && is_there(&base_of(&new)));
    user.run(&["exec", "g-new", "--", "test", "-e", "/workspace/file"]);

    // The newest one is kept, as the file says; and what another user has is that one's.
    user.run(&["delete", "--force", "--purge", "g-new"]);
    user.run(&["gc"]);
    assert!(is_there(&base_of(&new)) && is_there(&base_of(&other.head())));
    let states = patient.json(&["states"]);
    assert_eq!(states[0]["id"], "g-other");
    assert_eq!((&states[0]["project"], &states[0]["agent"]), (&json!("app"), &json!("shell")));
    assert!(states[0]["bytes"].is_u64() && states[0]["until"].is_string(), "{states}");
    assert!(patient.run(&["states"]).contains("g-other    app      shell  "));

    // One can go before its time, when somebody says so.
    let refused = patient.fail(4, &["states", "purge", "g-other"]);
    assert!(refused.contains("kept nowhere else") && refused.contains("--force"), "{refused}");
    patient.run(&["states", "purge", "--force", "g-other"]);
    assert!(!is_there("taskspace-g-other-agent-state"));
    assert!(patient.fail(3, &["states", "purge", "--force", "g-other"]).contains("is kept"));
}

#[test]
fn strays_go_after_a_time_of_grace_and_nothing_of_others_does() {
    let user = user("strays: 2s\n");
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "g-here");
    let ours = registry_of(&user);
    let elsewhere = "11111111-2222-4333-8444-555555555555";
    // The names are those of taskspaces that do not exist; only the labels say whose they are.
    let foreign = ["taskspace-g-foreign-project", "taskspace-g-plain-project", "g-x-project-base"];
    make_volume(foreign[0], elsewhere, "project", "g-foreign");
    podman(&["volume", "create", foreign[1]]);
    podman(&["volume", "create", "--label=io.symposium.role=base", foreign[2]]);
    make_volume("taskspace-g-stray-project", &ours, "project", "g-stray");
    make_volume("taskspace-g-work-changes", &ours, "changes", "g-work");
    make_volume("taskspace-g-work-project", &ours, "project", "g-work");
    podman(&[
        "pod",
        "create",
        &format!("--label=io.symposium.registry={ours}"),
        "--label=io.symposium.role=pod",
        "--label=io.symposium.taskspace=g-stray",
        "--name=taskspace-g-stray",
    ]);

    // A dry run lists it and notes nothing.
    let dry = user.json(&["gc", "--dry-run"]);
    let listed = [
        "pod taskspace-g-stray stays: stray",
        "volume taskspace-g-stray-project stays: stray",
        "volume taskspace-g-work-changes stays: work",
        "volume taskspace-g-work-project stays: work",
    ];
    assert_eq!(told(&dry), listed);
    assert_eq!(user.registry()["astray"], Value::Null);
    assert_eq!(told(&user.json(&["gc"])), listed);
    wait_until("the grace is over", || !is_there("taskspace-g-stray-project"));
    let pods = podman(&["pod", "ps", "--format={{.Name}}"]);
    assert!(!pods.lines().any(|pod| pod == "taskspace-g-stray"), "{pods}");
    for volume in foreign.into_iter().chain(["taskspace-g-work-changes"]) {
        assert!(is_there(volume), "{volume}");
    }

    // What may be work goes when it is named.
    assert!(user.fail(4, &["gc", "--work", "g-work"]).contains("may be somebody's work"));
    assert!(user.fail(3, &["gc", "--force", "--work", "g-none"]).contains("nothing of 'g-none'"));
    let refused = user.fail(4, &["gc", "--force", "--work", "g-here"]);
    assert!(refused.contains("is in the registry") && refused.contains("delete"), "{refused}");
    let dry = user.json(&["gc", "--dry-run", "--work", "g-work"]);
    let real = user.json(&["gc", "--force", "--work", "g-work"]);
    assert_eq!(told(&dry), told(&real));
    assert!(!is_there("taskspace-g-work-changes") && !is_there("taskspace-g-work-project"));
    assert_eq!(user.json(&["gc"])["items"], json!([]));
    user.run(&["exec", "g-here", "--", "test", "-e", "/workspace/README.md"]);
    for volume in foreign {
        TestPodman::shared().remove_volumes(&[volume]);
    }
}

#[test]
fn a_dry_run_says_what_the_real_one_does() {
    let user = user("strays: 0s\nagent_states: never\nbases: {unused: 1h}\n");
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "g-first");
    repository.commit("file", "new");
    create(&user, &repository, "g-second");
    user.run(&["delete", "--force", "g-first"]);
    let ours = registry_of(&user);
    for role in ["project", "build-cache"] {
        make_volume(&format!("taskspace-g-lost-{role}"), &ours, role, "g-lost");
    }
    let in_use = "taskspace-g-used-project";
    make_volume(in_use, &ours, "project", "g-used");
    let dry = user.json(&["gc", "--dry-run"]);
    assert_eq!(user.json(&["gc", "--dry-run"])["items"].as_array().unwrap().len(), 5);
    assert!(is_there(in_use) && is_there("taskspace-g-lost-project"));
    let real = user.json(&["gc"]);
    assert_eq!(told(&dry), told(&real));
    assert_eq!(told(&real).iter().filter(|it| it.contains(" goes")).count(), 3);
    for item in real["items"].as_array().unwrap() {
        let volume = match item["kind"].as_str().unwrap() {
            "agent-state" => "taskspace-g-first-agent-state",
            _ => item["name"].as_str().unwrap(),
        };
        assert_eq!(is_there(volume), item["goes"] == false, "{item}");
    }
    assert_eq!(user.json(&["gc"])["items"].as_array().unwrap().len(), 2);
}

#[test]
fn what_a_registry_from_a_backup_does_not_know_runs_on() {
    let user = user("strays: 0s\n");
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "g-known");
    let file = user.path("state/symposium/taskspace-registry.json");
    let backup = std::fs::read(&file).unwrap();
    create(&user, &repository, "g-newer");
    user.run(&["exec", "g-newer", "--", "sh", "-c", "echo work > /workspace/work"]);
    user.kill_service();
    let newer = std::fs::read(&file).unwrap();
    std::fs::write(&file, backup).unwrap();
    let told = told(&user.json(&["gc"]));
    let of_newer = told.iter().filter(|it| it.contains("g-newer") && it.ends_with("stays: work"));
    assert_eq!((of_newer.count(), told.len()), (5, 5), "{told:?}");
    // All of it is still there, and known again by the newer registry.
    user.kill_service();
    std::fs::write(&file, newer).unwrap();
    let work = user.run(&["exec", "g-newer", "--", "cat", "/workspace/work"]);
    assert_eq!(work, "work\n");
    assert_eq!(user.json(&["show", "g-newer"])["status"], "running");
}

#[test]
fn mirrors_go_with_their_projects_and_others_stay() {
    let user = user("bases: {newest: 0s}\nmirrors: 0s\n");
    let [gone, kept] = ["gone", "kept"].map(|name| Repository::new(&user, name));
    create(&user, &gone, "g-gone");
    create(&user, &kept, "g-kept");
    let mirrors = user.path("cache/symposium/mirrors");
    let unnoted = mirrors.join("somebody-0123456789ab.git");
    std::fs::create_dir(&unnoted).unwrap();
    let names = |mirrors: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(mirrors).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".git")).collect();
        names.sort();
        names
    };
    assert_eq!(names(&mirrors).len(), 3);
    user.run(&["delete", "--force", "--purge", "g-gone"]);
    assert_eq!(user.registry()["projects"].as_object().unwrap().len(), 1);
    // The service may have done it by itself by now.
    user.run(&["gc"]);
    let left = names(&mirrors);
    assert!(left.len() == 2 && left[0].starts_with("kept-") && unnoted.exists(), "{left:?}");
    // It is made anew when it is wanted.
    create(&user, &gone, "g-again");
}

#[test]
fn a_use_that_begins_meanwhile_wins() {
    let user = user("bases: {unused: 1s, newest: 1s}\nagent_states: 1s\nmirrors: 0s\n");
    let repository = Repository::new(&user, "app");
    create(&user, &repository, "g-0");
    for n in 0..4 {
        user.run(&["delete", "--force", &format!("g-{n}")]);
        // The time of the base and of the state is over somewhere in the middle of this.
        let next = format!("g-{}", n + 1);
        let mut gc: Vec<_> =
            (0..4).map(|_| user.taskspace(&["gc", "--json"]).spawn().unwrap()).collect();
        let state = format!("g-{n}");
        let with_state =
            ["create", "--project", repository.as_str(), "--agent-state-of", &state, &next];
        let created = user.taskspace(&with_state).output().unwrap();
        if !created.status.success() {
            let text = text_of(&created);
            assert!(text.contains("no agent state of a former taskspace"), "{text}");
            create(&user, &repository, &next);
        }
        gc.iter_mut().for_each(|gc| assert!(gc.wait().unwrap().success()));
        user.run(&["exec", &next, "--", "test", "-e", "/workspace/README.md"]);
        let shown = user.json(&["show", &next]);
        let volume = shown["agent_state_volume"].as_str().unwrap();
        assert!(is_there(volume) && is_there(&base_of(&repository.head())));
    }
    assert_eq!(user.disagreement(&["g-0", "g-1", "g-2", "g-3", "g-4"]), Vec::<String>::new());
}
