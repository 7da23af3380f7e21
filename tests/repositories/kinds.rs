//! Object formats, shallow clones, refs and submodules.

use crate::common::repository::Repository;
use crate::common::{User, text_of};

use super::{create, inside};

#[test]
fn sha256_is_worked_with_like_sha1() {
    let user = User::new();
    let repository = Repository::with(&user, "app", &["--object-format=sha256"]);
    let commit = repository.commit("dir/file", "x\n");
    assert_eq!(commit.len(), 64);
    create(&user, &repository, "r-sha256");
    let work = "git rev-parse HEAD --show-object-format && git status --short && echo y > dir/file && \
                git -c user.name=x -c user.email=x@example.org commit -qam more && git gc -q && \
                git fsck --strict && git rev-parse HEAD^ | wc -c";
    assert_eq!(inside(&user, "r-sha256", work), format!("{commit}\nsha256\n65\n"));
    // A second base, beside the first one; and uncommitted changes.
    repository.commit("dir/more", "more\n");
    std::fs::write(repository.path.join("dir/file"), "changed\n").unwrap();
    user.run(&["create", "--dirty", "--project", repository.as_str(), "r-sha256-2"]);
    assert_eq!(
        inside(&user, "r-sha256-2", "git status --short; cat dir/*"),
        " M dir/file\nchanged\nmore\n"
    );
    let new = user.json(&["show", "r-sha256-2"])["spec"]["project"]["commit"].clone();
    assert_eq!(new, repository.head());
}

#[test]
fn a_shallow_clone_is_as_shallow_inside_and_grows_with_its_source() {
    let user = User::new();
    let full = Repository::new(&user, "full");
    for number in 0..5 {
        full.commit("file", &format!("{number}\n"));
    }
    let path = user.path("home/app");
    let url = format!("file://{}", full.as_str());
    full.git(&["clone", "--quiet", "--depth=2", &url, path.to_str().unwrap()]);
    let shallow = Repository { path };
    create(&user, &shallow, "r-shallow");
    let look = "git status --short && git rev-parse --is-shallow-repository && git log --oneline | wc -l \
                && git fsck && cat file";
    assert_eq!(inside(&user, "r-shallow", look), "true\n2\n4\n");
    let work = "git switch --quiet --create topic && echo more > more && git add more && \
                git -c user.name=x -c user.email=x@example.org commit -qm more && \
                git -c user.name=x -c user.email=x@example.org rebase -q --force-rebase HEAD~2 && git gc -q \
                && git log --oneline | wc -l";
    assert_eq!(inside(&user, "r-shallow", work), "3\n");
    shallow.git(&["fetch", "--quiet", "--unshallow"]);
    full.commit("file", "5\n");
    shallow.git(&["pull", "--quiet"]);
    create(&user, &shallow, "r-deep");
    assert_eq!(inside(&user, "r-deep", look), "false\n7\n5\n");
    assert_eq!(inside(&user, "r-shallow", "git log --oneline | wc -l"), "3\n");
}

#[test]
fn refs_have_any_name_that_git_allows() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let names =
        ["feature/deep/er", "fix#1", "ünï/cödé", "it's-$(id)", "a;b", "@", "release-1.0", "x{y}"];
    for name in names {
        repository.git(&["checkout", "--quiet", "-b", name, "main"]);
        repository.commit("name", name);
    }
    repository.git(&["tag", "-a", "-m", "x", "v1/2/3", "feature/deep/er"]);
    repository.git(&["tag", "release-1.0-rc", "fix#1"]);
    repository.git(&["checkout", "--quiet", "main"]);
    create(&user, &repository, "r-main");
    for (number, name) in names.iter().chain(&["v1/2/3"]).enumerate() {
        // `@` alone is HEAD.
        let asked = if *name == "@" { "refs/heads/@" } else { name };
        let id = format!("r-ref-{number}");
        user.run(&["create", "--project", repository.as_str(), "--ref", asked, &id]);
        let expected = if *name == "v1/2/3" { "feature/deep/er" } else { name };
        assert_eq!(inside(&user, &id, "cat name && git status --short"), expected);
        let branch = inside(&user, &id, "git branch --show-current && git log --format=%D -1");
        assert!(branch.starts_with(&format!("taskspace/{id}\n")), "{branch}");
        assert!(branch.contains(&format!("origin/{expected}")), "{branch}");
        user.run(&["delete", "--force", "--purge", &id]);
    }
    let branches =
        inside(&user, "r-main", "git for-each-ref --format='%(refname:lstrip=3)' refs/remotes");
    assert!(names.iter().all(|name| branches.lines().any(|line| line == *name)), "{branches}");
    assert_eq!(
        inside(&user, "r-main", "git switch --quiet feature/deep/er && cat name"),
        "feature/deep/er"
    );
}

#[test]
fn files_whose_filter_is_not_applied_are_a_warning() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    repository.commit(".gitattributes", "secret/** filter=git-crypt diff=git-crypt\n");
    // As the repository stores it: the filter makes something else of it.
    repository.commit("secret/key", "encrypted\n");
    repository.git(&["config", "filter.git-crypt.smudge", "sed s/encrypted/plain/"]);
    repository.git(&["config", "filter.git-crypt.clean", "sed s/plain/encrypted/"]);
    let created = user.taskspace(&[
        "create",
        "--project",
        repository.as_str(),
        "--type",
        "generic",
        "r-filter",
    ]);
    let created = { created }.output().unwrap();
    let told =
        "the filter git-crypt is not applied to 1 file, which is as the commit has it: secret/key";
    let text = text_of(&created);
    assert!(created.status.success() && text.contains(told), "{text}");
    assert!(user.run(&["show", "r-filter"]).contains(told));
    assert_eq!(inside(&user, "r-filter", "cat secret/key; git status --short"), "encrypted\n");
    user.run(&["fork", "r-filter", "r-filter-2"]);
    assert!(user.run(&["show", "r-filter-2"]).contains(told));
}
