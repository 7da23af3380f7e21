//! What an overlay shows.

use std::os::unix::fs::symlink;

use super::super::{Copied, Only, merge};
use super::*;

fn names(tree: &Path) -> Vec<String> {
    look(tree).into_keys().map(|name| name.to_str().unwrap().to_owned()).collect()
}

/// The trees of a merge, below a directory.
struct Trees {
    room: tempfile::TempDir,
    lower: PathBuf,
    upper: PathBuf,
    to: PathBuf,
}

fn trees() -> Trees {
    let room = room(&["lower", "upper", "to"]);
    let at = |name: &str| room.path().join(name);
    Trees { lower: at("lower"), upper: at("upper"), to: at("to"), room }
}

fn write(tree: &Path, files: &[&str]) {
    for name in files {
        let path = tree.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
}

#[test]
fn what_is_above_hides_what_is_below() {
    let trees = trees();
    let Trees { lower, upper, to, .. } = &trees;
    write(lower, &["same", "gone", "kept", "dir/gone", "dir/kept", "opaque/below", "away/x"]);
    write(lower, &["file-to-dir", "dir-to-file/below", "dir-to-link/below"]);
    write(upper, &["dir/new", "opaque/above", "file-to-dir/above", "dir-to-file", "new/deep/er"]);
    fs::write(upper.join("same"), "changed").unwrap();
    symlink("kept", upper.join("dir-to-link")).unwrap();
    for name in ["gone", "dir/gone", "away", "never-was"] {
        make_whiteout(&upper.join(name));
    }
    set_attribute(&upper.join("opaque"), "user.overlay.opaque", b"y");
    // Only that is it.
    set_attribute(&upper.join("dir"), "user.overlay.opaque", b"x");
    let merged = merge(Some(lower), upper, to, &[], None).unwrap();
    let expected = [
        "",
        "dir",
        "dir/kept",
        "dir/new",
        "dir-to-file",
        "dir-to-link",
        "file-to-dir",
        "file-to-dir/above",
        "kept",
        "new",
        "new/deep",
        "new/deep/er",
        "opaque",
        "opaque/above",
        "same",
    ];
    assert_eq!(names(to), expected);
    assert_eq!(fs::read(to.join("same")).unwrap(), b"changed");
    // `kept` and `dir/kept` take no room.
    assert_eq!((merged.files, merged.shared_bytes >= 12), (9, true));
    let inode = |path: PathBuf| fs::symlink_metadata(path).unwrap().ino();
    assert_eq!(inode(to.join("dir/kept")), inode(lower.join("dir/kept")));
    assert_ne!(inode(to.join("same")), inode(upper.join("same")));
}

#[test]
fn a_directory_is_as_it_is_above_without_the_marks_of_an_overlay() {
    let trees = trees();
    let Trees { lower, upper, to, .. } = &trees;
    for tree in [lower, upper] {
        write(tree, &["dir/x"]);
    }
    write(lower, &["below/x"]);
    for (path, mode) in [(lower.join("dir"), 0o700), (upper.join("dir"), 0o711)] {
        set_attribute(&path, "user.whose", path.as_os_str().as_bytes());
        set_attribute(&path, "user.overlay.origin", b"handle");
        // What an overlay makes of a container's own `user.overlay.opaque`.
        set_attribute(&path, "user.overlay.overlay.opaque", b"y");
        set_mode(&path, mode);
    }
    set_attribute(&upper.join("dir/x"), "user.overlay.metacopy", b"");
    set_attribute(&lower.join("below"), "user.overlay.opaque", b"y");
    set_mode(&lower.join("below"), 0o750);
    set_mode(lower, 0o700);
    set_mode(upper, 0o775);
    merge(Some(lower), upper, to, &[], None).unwrap();
    let seen = look(to);
    let of = |name: &str| &seen[Path::new(name)];
    let mut dir = look(upper)[Path::new("dir")].clone();
    dir.attributes.retain(|name, _| name == "user.whose");
    assert_eq!(of("dir"), &dir);
    assert_eq!((of("").mode, of("below").mode), (0o775, 0o750));
    assert!(of("below").attributes.is_empty() && of("dir/x").attributes.is_empty());
}

#[test]
fn where_the_upper_one_is_left_out_the_lower_one_shows() {
    let trees = trees();
    let Trees { lower, upper, to, .. } = &trees;
    write(lower, &[".git/HEAD", ".git/config", "target/below"]);
    write(upper, &[".git/config", ".git/index", "target/above"]);
    make_whiteout(&upper.join(".git/HEAD"));
    let excludes: Vec<PathBuf> = [".git/HEAD", ".git/config", "target"].map(Into::into).into();
    let merged = merge(Some(lower), upper, to, &excludes, None).unwrap();
    let expected = ["", ".git", ".git/HEAD", ".git/config", ".git/index", "target", "target/below"];
    assert_eq!(names(to), expected);
    assert_eq!(merged, Copied { files: 4, bytes: 42, shared_bytes: 32 });
}

#[test]
fn only_directories_of_some_names_are_made_with_those_above_them() {
    let trees = trees();
    let Trees { lower, upper, to, .. } = &trees;
    write(lower, &["web/deps/a/x", "web/deps/gone/x", "old/deps/x", "hidden/deps/x", "deps"]);
    write(upper, &["web/deps/b/deps/y", "web/src/main", "new/deep/deps/z", "src/deep/x"]);
    // The project itself has one, and there is one in that which it has not.
    write(upper, &["test/deps/changed", "test/deps/tool/deps/own"]);
    let base = trees.room.path().join("base");
    write(&base, &["test/deps/changed", "test/deps/tool/main"]);
    make_whiteout(&upper.join("web/deps/gone"));
    make_whiteout(&upper.join("hidden"));
    let only = Only { names: vec!["deps".to_owned()], not_in: base };
    let made = merge(Some(lower), upper, to, &[], Some(&only)).unwrap();
    let expected = [
        "",
        "new",
        "new/deep",
        "new/deep/deps",
        "new/deep/deps/z",
        "old",
        "old/deps",
        "old/deps/x",
        "test",
        "test/deps",
        "test/deps/tool",
        "test/deps/tool/deps",
        "test/deps/tool/deps/own",
        "web",
        "web/deps",
        "web/deps/a",
        "web/deps/a/x",
        "web/deps/b",
        "web/deps/b/deps",
        "web/deps/b/deps/y",
    ];
    assert_eq!(names(to), expected);
    assert_eq!(made.files, 5);
}

#[test]
fn without_a_lower_one_the_marks_are_heeded_too() {
    let trees = trees();
    let Trees { upper, to, .. } = &trees;
    write(upper, &["dir/x"]);
    make_whiteout(&upper.join("dir/gone"));
    set_attribute(&upper.join("dir"), "user.overlay.opaque", b"y");
    merge(None, upper, to, &[], None).unwrap();
    assert_eq!(names(to), ["", "dir", "dir/x"]);
    assert!(look(to)[Path::new("dir")].attributes.is_empty());
}

#[test]
fn names_of_one_file_stay_together() {
    let trees = trees();
    let Trees { lower, upper, to, .. } = &trees;
    for tree in [lower, upper] {
        let name = tree.file_name().unwrap().to_str().unwrap();
        write(tree, &[&format!("{name}/one"), &format!("{name}-too/x")]);
        let other = tree.join(format!("{name}-too/two"));
        fs::hard_link(tree.join(name).join("one"), other).unwrap();
    }
    let merged = merge(Some(lower), upper, to, &[], None).unwrap();
    let inode = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
    assert_eq!(inode("lower/one"), inode("lower-too/two"));
    assert_eq!(inode("upper/one"), inode("upper-too/two"));
    let (lower, upper) = ("lower/one".len() as u64, "upper/one".len() as u64);
    let (lower, upper) = (lower + "lower-too/x".len() as u64, upper + "upper-too/x".len() as u64);
    assert_eq!(merged, Copied { files: 6, bytes: lower + upper, shared_bytes: lower });
}
