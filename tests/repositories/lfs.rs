//! Git LFS: what the source has of it is in the checkout, and what it lacks is told.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::User;
use crate::common::repository::Repository;

use super::{create, inside};

/// The digest of "content of LFS\n".
const OID: &str = "5e43fa143f3e1d6ad91dafeb09a8c8e15903530485ac6eb4b5d06d56caa6f70f";

/// Returns where git-lfs keeps the content.
fn object(git_dir: &Path) -> PathBuf {
    git_dir.join("lfs/objects").join(&OID[..2]).join(&OID[2..4]).join(OID)
}

#[test]
fn contents_are_in_the_checkout_as_soon_as_they_can_be_had() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 15\n");
    repository.commit("data/large.bin", &pointer);
    repository.commit(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    create(&user, &repository, "r-lfs");
    let shown = user.run(&["show", "r-lfs"]);
    assert!(shown.contains("1 file is in Git LFS, and only its pointer is here"), "{shown}");
    let look = "git status --short && cat data/large.bin";
    assert_eq!(inside(&user, "r-lfs", look), pointer);

    let object = object(&repository.path.join(".git"));
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    fs::write(object, "content of LFS\n").unwrap();
    user.run(&["delete", "--force", "--purge", "r-lfs"]);
    create(&user, &repository, "r-lfs");
    assert!(!user.run(&["show", "r-lfs"]).contains("Git LFS"));
    assert_eq!(inside(&user, "r-lfs", look), "content of LFS\n");
    // Git goes on to take it for what is committed.
    let work = "echo x > x && git add --all && git stash --quiet && git checkout --quiet --detach HEAD~ \
                && git checkout --quiet - && git diff --stat && cat data/large.bin";
    assert_eq!(inside(&user, "r-lfs", work), "content of LFS\n");
}
