//! Projects are brought up to date before anybody needs them.

use crate::common::User;
use crate::common::podman::TestPodman;
use crate::common::repository::Repository;
use crate::common::text_of;

fn has_base(project: &str, commit: &str) -> bool {
    TestPodman::shared().has_volume(&format!("project-base-{project}-{commit}"))
}

#[test]
fn projects_are_refreshed_and_one_that_is_gone_keeps_no_other() {
    let user = User::new();
    let [here, gone] = ["here", "a-gone"].map(|name| Repository::new(&user, name));
    for (repository, id) in [(&here, "f-here"), (&gone, "f-gone")] {
        user.run(&["create", "--project", repository.as_str(), id]);
        user.run(&["delete", "--force", "--purge", id]);
    }
    let old = here.head();
    let new = here.commit("file", "new");
    std::fs::remove_dir_all(&gone.path).unwrap();

    let refresh = user.taskspace(&["projects", "refresh"]).output().unwrap();
    let text = text_of(&refresh);
    assert_eq!(refresh.status.code(), Some(1), "{text}");
    assert!(text.contains("error: a-gone: ") && text.contains("refreshed here"), "{text}");
    assert!(text.contains("✓ fetch the project") && text.contains("✓ check the newest"), "{text}");
    // The newest one is kept in the place of the former one.
    assert!(has_base("here", &new) && !has_base("here", &old));
    // Nothing has to be fetched or checked out for the next one any more.
    user.run(&["create", "--offline", "--project", here.as_str(), "f-next"]);
    let commit = &user.json(&["show", "f-next"])["spec"]["project"]["commit"];
    assert_eq!(commit.as_str().unwrap(), new);
}

#[test]
fn a_refresh_without_a_base_fetches_only() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "f-old"]);
    let old = repository.head();
    let new = repository.commit("file", "new");
    let done = user.json(&["projects", "refresh", "app", "--no-base"]);
    assert_eq!((&done[0]["kind"], &done[0]["state"]), (&"refresh".into(), &"done".into()));
    assert_eq!(done[0]["description"], "app");
    assert!(!has_base("app", &new));
    let create = ["create", "--offline", "--project", repository.as_str(), "--ref", "main"];
    user.run(&[create.as_slice(), &["f-new"]].concat());
    assert_eq!(user.json(&["show", "f-new"])["spec"]["project"]["commit"], new.as_str());
    assert!(has_base("app", &old) && has_base("app", &new));

    // A base that is in use stays, whatever is newer.
    let newest = repository.commit("file", "newest");
    user.run(&["projects", "refresh"]);
    assert!([&old, &new, &newest].into_iter().all(|commit| has_base("app", commit)));
    let text = user.fail(3, &["projects", "refresh", "nobody"]);
    assert!(text.contains("there is no project 'nobody'"), "{text}");
}

#[test]
fn a_refresh_that_is_killed_leaves_nothing() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--project", repository.as_str(), "f-k"]);
    for point in ["base: volume: before#1", "base: checkout: before#1", "base: checkout: after#1"] {
        let commit = repository.commit("file", point);
        crate::common::end(user.service().unwrap(), nix::sys::signal::Signal::SIGTERM);
        let mut service = user.serve(&[("KILL", point.to_owned())]);
        let refresh = user.taskspace(&["projects", "refresh"]).output().unwrap();
        assert!(!service.wait().unwrap().success(), "{point} was not reached");
        assert!(!refresh.status.success(), "{}", text_of(&refresh));
        assert_eq!(user.disagreement(&["f-k"]), Vec::<String>::new(), "{point}");
        assert!(!has_base("app", &commit));
    }
    user.run(&["projects", "refresh"]);
    assert!(has_base("app", &repository.head()));
}
