//! What a copy keeps, and what it does not.

use std::ffi::OsStr;
use std::fs::{File, FileTimes};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::geteuid;
use rustix::fs::{AtFlags, Timespec, Timestamps, mkdirat, utimensat};

use super::super::find::open_directory;
use super::super::{Copied, copy};
use super::*;

#[test]
fn all_that_a_container_can_make_is_kept() {
    let room = room(&["from/dir/sub", "from/empty", "to"]);
    let (from, to) = (room.path().join("from"), room.path().join("to"));
    fs::write(from.join("file"), "content").unwrap();
    fs::write(from.join("dir/big"), vec![7; 1_000_000]).unwrap();
    fs::write(from.join(OsStr::from_bytes(b"no \xff text\n")), "").unwrap();
    fs::write(from.join("program"), "#!").unwrap();
    set_mode(&from.join("program"), 0o4751);
    set_mode(&from.join("dir/sub"), 0o2555);
    set_mode(&from.join("empty"), 0o1777);
    set_mode(&from, 0o750);
    symlink("/nowhere/at/all", from.join("dir/link")).unwrap();
    mknodat(CWD, from.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    make_whiteout(&from.join("gone"));
    for path in [&from, &from.join("dir"), &from.join("file")] {
        set_attribute(path, "user.overlay.opaque", b"y");
        set_attribute(path, "user.mime", &[0, 255]);
    }
    let old = SystemTime::UNIX_EPOCH + Duration::new(86_400, 123_456_789);
    for name in ["file", "dir", "empty"] {
        let opened = File::open(from.join(name)).unwrap();
        opened.set_times(FileTimes::new().set_modified(old).set_accessed(old)).unwrap();
    }
    let time = Timespec { tv_sec: -5, tv_nsec: 9 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, from.join("dir/link"), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    if geteuid().is_root() {
        for (name, owner) in [("file", 1), ("dir", 2), ("program", 3), ("fifo", 4), ("gone", 5)] {
            std::os::unix::fs::lchown(from.join(name), Some(owner), Some(owner + 10)).unwrap();
        }
        // Which takes the bits away.
        set_mode(&from.join("program"), 0o6751);
        // cap_net_bind_service=ep, as `setcap` writes it.
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        set_attribute(&from.join("file"), "security.capability", &capability);
    }
    let copied = copy(&from, &to, &[]).unwrap();
    // Before it is read.
    assert_eq!(fs::metadata(to.join("file")).unwrap().accessed().unwrap(), old);
    assert_eq!(look(&to), look(&from));
    assert_eq!((copied.files, copied.bytes), (7, 1_000_009));
    // For the end of the test.
    for tree in [&from, &to] {
        set_mode(&tree.join("dir/sub"), 0o700);
    }
}

#[test]
fn names_of_one_file_are_names_of_one_file() {
    let room = room(&["from/a/b", "from/c", "to"]);
    let (from, to) = (room.path().join("from"), room.path().join("to"));
    fs::write(from.join("a/one"), "1234").unwrap();
    symlink("one", from.join("a/link")).unwrap();
    make_whiteout(&from.join("a/gone"));
    for (old, new) in [("a/one", "a/b/two"), ("a/one", "c/three"), ("a/link", "link")] {
        fs::hard_link(from.join(old), from.join(new)).unwrap();
    }
    fs::hard_link(from.join("a/gone"), from.join("c/gone")).unwrap();
    // The other name is outside of the tree.
    fs::write(room.path().join("outside"), "5").unwrap();
    fs::hard_link(room.path().join("outside"), from.join("inside")).unwrap();
    let copied = copy(&from, &to, &[]).unwrap();
    assert_eq!(copied, Copied { files: 8, bytes: 5, shared_bytes: copied.shared_bytes });
    assert_eq!(look(&to), look(&from));
    let inode = |name: &str| fs::symlink_metadata(to.join(name)).unwrap().ino();
    assert!(inode("a/one") == inode("a/b/two") && inode("a/one") == inode("c/three"));
    assert!(inode("a/link") == inode("link") && inode("a/gone") == inode("c/gone"));
    let outside = fs::metadata(room.path().join("outside")).unwrap().ino();
    assert_ne!(inode("inside"), outside);
}

#[test]
fn holes_stay_holes() {
    let room = room(&["from", "to"]);
    let (from, to) = (room.path().join("from"), room.path().join("to"));
    let mut file = File::create(from.join("sparse")).unwrap();
    for position in [1 << 20, 300 << 20] {
        file.seek(SeekFrom::Start(position)).unwrap();
        file.write_all(&[1; 200_000]).unwrap();
    }
    file.set_len(1 << 30).unwrap();
    let file = File::create(from.join("hole")).unwrap();
    file.set_len(1 << 30).unwrap();
    copy(&from, &to, &[]).unwrap();
    for (name, most) in [("sparse", 1_000_000), ("hole", 4096)] {
        let (old, new) = (fs::metadata(from.join(name)), fs::metadata(to.join(name)));
        let (old, new) = (old.unwrap(), new.unwrap());
        assert!(old.len() == new.len() && new.blocks() * 512 <= most, "{name}: {}", new.blocks());
    }
    let start = |tree: &Path| {
        let mut start = Vec::new();
        File::open(tree.join("sparse")).unwrap().take(2 << 20).read_to_end(&mut start).unwrap();
        start
    };
    assert_eq!(start(&from), start(&to));
}

#[test]
fn what_is_excluded_and_sockets_are_left_out() {
    let room = room(&["from/work/work", "from/upper/work", "to"]);
    let (from, to) = (room.path().join("from"), room.path().join("to"));
    for name in ["work/a", "upper/a", "upper/b"] {
        fs::write(from.join(name), "").unwrap();
    }
    let _socket = UnixListener::bind(from.join("socket")).unwrap();
    copy(&from, &to, &["work".into(), "./upper/b/".into(), "nothing".into()]).unwrap();
    let names: Vec<PathBuf> = look(&to).into_keys().collect();
    let names: Vec<&str> = names.iter().map(|name| name.to_str().unwrap()).collect();
    assert_eq!(names, ["", "upper", "upper/a", "upper/work"]);
}

#[test]
fn an_error_names_the_place() {
    let room = room(&["from/dir", "to/dir"]);
    let (from, to) = (room.path().join("from"), room.path().join("to"));
    let message = copy(&from, &to, &[]).unwrap_err().to_string();
    let expected = format!("cannot make {}: File exists (os error 17)", to.join("dir").display());
    assert_eq!(message, expected);
    let missing = room.path().join("missing");
    let message = copy(&missing, &to, &[]).unwrap_err().to_string();
    assert!(message.starts_with(&format!("cannot open {}: No such", missing.display())));
    // The top must not be a symbolic link either.
    symlink(&from, &missing).unwrap();
    copy(&missing, &to, &[]).unwrap_err();
    if !geteuid().is_root() {
        fs::remove_dir(to.join("dir")).unwrap();
        fs::write(from.join("dir/secret"), "").unwrap();
        set_mode(&from.join("dir/secret"), 0);
        let message = copy(&from, &to, &[]).unwrap_err().to_string();
        let expected = format!("cannot open {}: Perm", from.join("dir/secret").display());
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn a_tree_may_be_deep_but_not_without_end() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let room = room(&["from", "to", "other"]);
    let at = |name: &str| room.path().join(name);
    let mut directory: std::os::fd::OwnedFd = File::open(at("from")).unwrap().into();
    let deeper = |directory: &std::os::fd::OwnedFd| {
        mkdirat(directory, c"directory", Mode::RWXU).unwrap();
        open_directory(directory, c"directory").unwrap()
    };
    for _ in 0..1000 {
        directory = deeper(&directory);
    }
    copy(&at("from"), &at("to"), &[]).unwrap();
    deeper(&directory);
    let error = copy(&at("from"), &at("other"), &[]).unwrap_err();
    let error = error.to_string();
    assert!(error.ends_with("File name too long (os error 36)"), "{error}");
    assert!(error.len() < 2000 && error.contains("directory/directory"), "{error}");
}
