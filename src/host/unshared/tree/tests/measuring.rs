//! What is counted.

use std::fs::File;
use std::os::unix::fs::symlink;

use super::super::{Measured, measure};
use super::*;

#[test]
fn the_room_on_the_disk_is_counted_and_each_file_once() {
    let room = room(&["one/sub", "two"]);
    let (one, two) = (room.path().join("one"), room.path().join("two"));
    let written = |path: PathBuf| {
        fs::write(&path, vec![1; 100_000]).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        fs::metadata(&path).unwrap().blocks() * 512
    };
    let itself = |path: &Path| fs::metadata(path).unwrap().blocks() * 512;
    let file = written(one.join("sub/file"));
    assert!(file >= 100_000);
    fs::hard_link(one.join("sub/file"), one.join("again")).unwrap();
    File::create(one.join("hole")).unwrap().set_len(1 << 40).unwrap();
    written(two.join("other"));
    symlink(&two, one.join("link")).unwrap();
    symlink(two.join("other"), one.join("sub/link")).unwrap();
    let measured = measure(&[one.clone(), two.clone(), one.clone()]).unwrap();
    let bytes = file + itself(&one) + itself(&one.join("sub"));
    assert_eq!(measured[0], Measured { bytes, entries: 6 });
    assert_eq!(measured[1].entries, 1);
    assert_eq!(measured[2], measured[0]);
    assert_eq!(measure(&[]).unwrap(), []);
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let room = room(&["one"]);
    let (one, missing) = (room.path().join("one"), room.path().join("missing"));
    let error = measure(&[one.clone(), missing.clone()]).unwrap_err();
    assert_eq!(error.path, missing);
    // Nor is one followed to.
    symlink(&one, &missing).unwrap();
    measure(&[missing]).unwrap_err();
}
