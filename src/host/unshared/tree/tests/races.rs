//! Trees that somebody writes to while they are read.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{RenameFlags, renameat_with};

use super::super::{copy, measure, merge};
use super::*;

/// Does something over and over again while something else is done.
fn meanwhile<T>(mut disturb: impl FnMut() + Send, act: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                disturb();
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        done.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn a_directory_that_becomes_a_link_leads_nowhere() {
    let room = room(&["outside/sub", "tree/dir/sub", "lower/dir/sub"]);
    let at = |name: &str| room.path().join(name);
    for name in ["outside/secret", "outside/sub/secret"] {
        fs::write(at(name), "secret").unwrap();
    }
    for number in 0..50 {
        fs::write(at(&format!("tree/dir/sub/{number}")), "").unwrap();
    }
    symlink("../../../outside/secret", at("tree/dir/link")).unwrap();
    fs::write(at("tree/dir/file"), "").unwrap();
    symlink(at("outside"), at("tree/swap")).unwrap();
    let swap = |one: &str, other: &str| {
        renameat_with(CWD, at(one), CWD, at(other), RenameFlags::EXCHANGE).unwrap();
    };
    let disturb = || {
        swap("tree/dir", "tree/swap");
        // Only one of the two is the directory.
        for name in ["tree/dir", "tree/swap"] {
            if fs::symlink_metadata(at(name)).unwrap().is_dir() {
                swap(&format!("{name}/link"), &format!("{name}/file"));
            }
        }
    };
    let measured = measure(&[at("tree")]).unwrap();
    meanwhile(disturb, || {
        for number in 0..100 {
            let to = at(&format!("to-{number}"));
            fs::create_dir(&to).unwrap();
            match number % 2 {
                0 => copy(&at("tree"), &to, &[]).unwrap(),
                _ => merge(Some(&at("lower")), &at("tree"), &to, &[], None).unwrap(),
            };
            let seen = look(&to);
            assert!(seen.keys().all(|path| !path.ends_with("secret")), "{seen:?}");
            assert!(seen.values().all(|seen| seen.content != b"secret"), "{seen:?}");
            assert!(measure(&[at("tree")]).unwrap()[0].entries <= measured[0].entries);
            fs::remove_dir_all(to).unwrap();
        }
    });
}

#[test]
fn what_comes_goes_and_grows_meanwhile_does_no_harm() {
    let room = room(&["tree/dir"]);
    let at = |name: &str| room.path().join(name);
    fs::write(at("tree/kept"), "kept").unwrap();
    let mut turn = 0;
    let disturb = || {
        turn += 1;
        let (name, kind) = (at(&format!("tree/dir/{}", turn % 7)), turn % 5);
        fs::remove_dir_all(&name).or_else(|_| fs::remove_file(&name)).ok();
        match kind {
            0 => fs::create_dir(&name).and_then(|()| fs::write(name.join("x"), "x")).unwrap(),
            1 => symlink("x", &name).unwrap(),
            2 => mknodat(CWD, &name, FileType::Fifo, Mode::RUSR, 0).unwrap(),
            3 => make_whiteout(&name),
            _ => fs::write(&name, vec![1; turn % 9000]).unwrap(),
        }
    };
    meanwhile(disturb, || {
        for number in 0..100 {
            let to = at(&format!("to-{number}"));
            fs::create_dir(&to).unwrap();
            copy(&at("tree"), &to, &[]).unwrap();
            assert_eq!(fs::read(to.join("kept")).unwrap(), b"kept");
            measure(&[at("tree")]).unwrap();
            fs::remove_dir_all(to).unwrap();
        }
    });
}
