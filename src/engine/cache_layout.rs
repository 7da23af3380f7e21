//! Lays out a new build cache.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::problems;
use super::ssh::blocking;
use crate::host::confined::Confined;
use crate::host::files::{FileError, remove_tree};
use crate::model::Problem;
use crate::plan::volumes::{BUILD_CACHE_DIRECTORIES, BUILD_CACHE_FILES};

/// Where it is made before it is put in place as a whole.
const MAKING: &str = ".taskspace-making";

/// Puts into a build cache what is in each new one. What another taskspace had in the place, be it a
/// link, is left as it is and not followed; and so is a cache that root has closed in a container, which
/// is no reason for the taskspace not to start.
pub(super) async fn lay_out_cache(root: PathBuf) -> Result<(), Problem> {
    let lay_out = move || match lay_out(&root) {
        Err(error) if error.is_denied() => {
            tracing::debug!("the build cache is left as it is: {error}");
            Ok(())
        }
        laid_out => laid_out.map_err(|error| problems::file(&error)),
    };
    blocking(lay_out).await
}

fn lay_out(root: &Path) -> Result<(), FileError> {
    // An agent may be at work in it, when only the other container is brought back.
    let top = Confined::open(root)?;
    let making = root.join(MAKING);
    remove_tree(&making)?;
    let tops = BUILD_CACHE_DIRECTORIES.iter().filter_map(|path| path.split('/').next());
    let missing: BTreeSet<&str> =
        tops.filter(|top| fs::symlink_metadata(root.join(top)).is_err()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let made = top.enter(MAKING)?;
    for directory in BUILD_CACHE_DIRECTORIES {
        made.enter(directory)?;
    }
    for (file, text) in BUILD_CACHE_FILES {
        made.write(file, text)?;
    }
    for name in missing {
        made.move_to(name, &top)?;
    }
    remove_tree(&making)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{CWD, RenameFlags, renameat_with};

    use super::*;

    #[test]
    fn what_is_there_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (cache, elsewhere) = (directory.path().join("cache"), directory.path().join("else"));
        for path in [&cache, &elsewhere] {
            fs::create_dir(path).unwrap();
        }
        symlink(&elsewhere, cache.join("cargo")).unwrap();
        fs::create_dir_all(cache.join(MAKING).join("broke off")).unwrap();
        for _ in 0..2 {
            lay_out(&cache).unwrap();
            let names = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.collect();
            names.sort();
            assert_eq!(names, [".git", "cargo"]);
            assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
            assert!(cache.join(".git/objects").is_dir() && cache.join(".git/HEAD").is_file());
        }
    }

    #[test]
    fn an_agent_at_work_in_it_leads_nowhere() {
        let room = tempfile::tempdir().unwrap();
        let at = |name: &str| room.path().join(name);
        for path in ["cache", "outside/.git"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        fs::write(at("outside/.git/HEAD"), "theirs").unwrap();
        symlink(at("outside"), at("cache/link")).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let (link, making) = (at("cache/link"), at("cache").join(MAKING));
                    // There may be nothing to swap, and the link may be the directory by now.
                    let _swapped = renameat_with(CWD, &link, CWD, &making, RenameFlags::EXCHANGE);
                    let _removed = fs::remove_dir_all(&link);
                    let _linked = symlink(at("outside"), &link);
                }
            });
            for _ in 0..500 {
                let _done = lay_out(&at("cache"));
                for name in ["cargo", ".git"] {
                    remove_tree(&at("cache").join(name)).unwrap();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(fs::read_to_string(at("outside/.git/HEAD")).unwrap(), "theirs");
        assert_eq!(fs::read_dir(at("outside")).unwrap().count(), 1);
    }
}
