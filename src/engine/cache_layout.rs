//! Lays out a new build cache.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::problems;
use super::ssh::blocking;
use crate::host::files::{FileError, remove_tree};
use crate::model::Problem;
use crate::plan::volumes::{BUILD_CACHE_DIRECTORIES, BUILD_CACHE_FILES};

/// Where it is made before it is put in place as a whole.
const MAKING: &str = ".taskspace-making";

/// Puts into a build cache what is in each new one. What another taskspace had in the place, be it a
/// link, is left as it is and not followed.
pub(super) async fn lay_out_cache(root: PathBuf) -> Result<(), Problem> {
    blocking(move || lay_out(&root).map_err(|error| problems::file(&error))).await
}

fn lay_out(root: &Path) -> Result<(), FileError> {
    let making = root.join(MAKING);
    remove_tree(&making)?;
    let tops = BUILD_CACHE_DIRECTORIES.iter().filter_map(|path| path.split('/').next());
    let missing: BTreeSet<&str> =
        tops.filter(|top| fs::symlink_metadata(root.join(top)).is_err()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for directory in BUILD_CACHE_DIRECTORIES {
        let path = making.join(directory);
        fs::create_dir_all(&path).map_err(FileError::io("make the directory", &path))?;
    }
    for (file, text) in BUILD_CACHE_FILES {
        let path = making.join(file);
        fs::write(&path, text).map_err(FileError::io("write", &path))?;
    }
    for top in missing {
        let path = root.join(top);
        fs::rename(making.join(top), &path).map_err(FileError::io("name", &path))?;
    }
    remove_tree(&making)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

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
}
