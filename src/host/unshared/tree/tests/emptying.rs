//! What is removed, and what is not.

use std::os::unix::fs::symlink;

use super::super::empty;
use super::*;

#[test]
fn all_that_is_in_a_tree_goes_and_nothing_else() {
    let room = room(&["tree/0/1", "tree/1/0/deep", "tree/empty", "outside/kept"]);
    let (tree, outside) = (room.path().join("tree"), room.path().join("outside"));
    for file in ["file", "0/file", "1/0/deep/file"] {
        fs::write(tree.join(file), "x").unwrap();
    }
    symlink(&outside, tree.join("link")).unwrap();
    symlink(&outside, tree.join("1/link")).unwrap();
    make_whiteout(&tree.join("0/whiteout"));
    // Deeper than a path can be long.
    let mut at = tree.join("deep");
    fs::create_dir(&at).unwrap();
    for _ in 0..150 {
        let name = "d".repeat(200);
        let above = tree.join("above");
        fs::create_dir(&above).unwrap();
        fs::rename(&at, above.join(&name)).unwrap();
        fs::rename(&above, &at).unwrap();
    }
    at.push("last");
    fs::write(&at, "x").unwrap();
    set_mode(&tree, 0o2750);
    empty(std::slice::from_ref(&tree)).unwrap();
    assert_eq!(fs::read_dir(&tree).unwrap().count(), 0);
    assert_eq!(fs::metadata(&tree).unwrap().permissions().mode() & 0o7777, 0o2750);
    assert!(outside.join("kept").is_dir());
    empty(std::slice::from_ref(&tree)).unwrap();
    let missing = room.path().join("missing");
    assert_eq!(empty(std::slice::from_ref(&missing)).unwrap_err().path, missing);
}
