//! Submodules: what the project's clone has of them, and what is left out.

use crate::common::repository::Repository;
use crate::common::{User, text_of};

use super::{create, inside};

#[test]
fn a_gitmodules_that_git_refuses_is_a_warning() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let commit_modules = |text: &str| {
        std::fs::write(repository.path.join(".gitmodules"), text).unwrap();
        repository.git(&["add", ".gitmodules"]);
        let entry = format!("160000,{},lib", repository.head());
        repository.git(&["update-index", "--add", "--cacheinfo", &entry]);
        repository.git(&["commit", "--quiet", "--message", "modules"]);
    };
    commit_modules("[submodule \"lib\"\n\tpath = lib\n");
    create(&user, &repository, "r-sub-syntax");
    let shown = user.run(&["show", "r-sub-syntax"]);
    let told = "submodules are left empty, since .gitmodules cannot be read (bad config line ";
    assert!(shown.contains(told), "{shown}");
    inside(&user, "r-sub-syntax", "echo x > new");
    assert!(user.run(&["diff", "r-sub-syntax"]).contains("new"));

    commit_modules("[submodule \"../../hooks\"]\n\tpath = lib\n\turl = ../app\n");
    let create_named = user.taskspace(&[
        "create",
        "--project",
        repository.as_str(),
        "--type",
        "generic",
        "r-sub-up",
    ]);
    let output = { create_named }.output().unwrap();
    let told = "since .gitmodules gives them names that could lead elsewhere: lib";
    assert!(output.status.success() && text_of(&output).contains(told), "{}", text_of(&output));
    let look =
        "ls lib; ls; git status --porcelain 2> /dev/null; ! git config --get-regexp '^submodule'";
    assert_eq!(inside(&user, "r-sub-up", look), "README.md\nlib\n");
    user.run(&["fork", "r-sub-up", "r-sub-up-2"]);
    assert!(user.run(&["show", "r-sub-up-2"]).contains(told));
}

#[test]
fn a_submodule_is_left_out_with_a_warning_until_it_can_be_fetched() {
    let user = User::new();
    let library = Repository::new(&user, "library");
    let repository = Repository::new(&user, "app");
    let modules =
        "[submodule \"private\"]\n\tpath = private\n\turl = http://127.0.0.1:9/private.git\n";
    std::fs::write(repository.path.join(".gitmodules"), modules).unwrap();
    let entry = format!("160000,{},private", library.head());
    repository.git(&["add", ".gitmodules"]);
    repository.git(&["update-index", "--add", "--cacheinfo", &entry]);
    repository.git(&["commit", "--quiet", "--message", "a submodule"]);
    create(&user, &repository, "r-sub-empty");
    let shown = user.run(&["show", "r-sub-empty"]);
    assert!(
        shown.contains("the submodule private is empty: ") && shown.contains("--init"),
        "{shown}"
    );
    let look = "ls private; git status --porcelain; git config submodule.private.url";
    let url = "http://127.0.0.1:9/private.git\n";
    assert_eq!(inside(&user, "r-sub-empty", look), url);

    repository.git(&["config", "submodule.private.update", "none"]);
    create(&user, &repository, "r-sub-none");
    assert!(!user.run(&["show", "r-sub-none"]).contains("submodule private"));
    assert_eq!(inside(&user, "r-sub-none", look), url);
    repository.git(&["config", "--unset", "submodule.private.update"]);
    repository.git(&["config", "submodule.private.url", library.as_str()]);
    create(&user, &repository, "r-sub-there");
    assert!(!user.run(&["show", "r-sub-there"]).contains("submodule private"));
    assert_eq!(inside(&user, "r-sub-there", look), format!("README.md\n{url}"));
    assert_eq!(inside(&user, "r-sub-empty", look), url, "a base has changed");
    user.run(&["fork", "r-sub-there", "r-sub-fork"]);
    assert_eq!(inside(&user, "r-sub-fork", look), format!("README.md\n{url}"));
}
