//! For whom a mirror was fetched. Mirrors are in the user's cache, where more than one registry may use
//! them; so each notes in a mirror for which of its projects it does.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::super::files::{FileError, remove_tree};
use super::GitError;
use super::mirror::{beside, lock};

/// The directory in a mirror with an empty file for each registry and project, `REGISTRY.PROJECT`. A
/// registry's id has no dot.
const USERS: &str = "symposium-users";

/// How the directories of mirrors end.
const SUFFIX: &str = ".git";

/// Registries, each with the name of the mirror of a project of its.
pub type Users = BTreeSet<(String, String)>;

/// Notes in a mirror that a registry uses it for the project whose own mirror is called `project`.
pub fn note_user(mirror: &Path, registry: &str, project: &str) -> Result<(), GitError> {
    let directory = mirror.join(USERS);
    match fs::create_dir(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(FileError::io("make", &directory)(error).into());
        }
        _ => {}
    }
    let note = directory.join(format!("{registry}.{project}"));
    let written = fs::OpenOptions::new().create(true).append(true).open(&note);
    written.map(drop).map_err(|error| FileError::io("write", &note)(error).into())
}

/// Lists the mirrors, with those who use them. What cannot be read is used by nobody known.
pub fn list_mirrors(mirrors: &Path) -> Vec<(String, Users)> {
    let Ok(entries) = fs::read_dir(mirrors) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.ends_with(SUFFIX))
        .map(|name| {
            let users = users(&mirrors.join(&name));
            (name, users)
        })
        .collect()
}

fn users(mirror: &Path) -> Users {
    let Ok(entries) = fs::read_dir(mirror.join(USERS)) else { return Users::new() };
    let notes = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let split = |note: String| {
        note.split_once('.').map(|(registry, of)| (registry.to_owned(), of.to_owned()))
    };
    notes.filter_map(split).collect()
}

/// Removes a mirror, if those who use it are still the same; returns whether it did.
pub async fn remove_mirror(mirror: &Path, users_before: &Users) -> Result<bool, GitError> {
    let _alone = lock(mirror, true).await?;
    if users(mirror) != *users_before {
        return Ok(false);
    }
    // At once gone for whoever looks for it; what is left of it goes with the next one's making.
    let going = beside(mirror, super::mirror::MAKING);
    remove_tree(&going)?;
    match fs::rename(mirror, &going) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        renamed => renamed.map_err(FileError::io("move", mirror))?,
    }
    remove_tree(&going)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mirror_goes_only_while_nobody_else_begins_to_use_it() {
        let mirrors = tempfile::tempdir().unwrap();
        let mirror = mirrors.path().join("app-1234.git");
        fs::create_dir(&mirror).unwrap();
        fs::write(mirrors.path().join("app-1234.git.lock"), "").unwrap();
        assert_eq!(list_mirrors(mirrors.path()), [("app-1234.git".to_owned(), Users::new())]);
        note_user(&mirror, "mine", "app-1234.git").unwrap();
        note_user(&mirror, "mine", "app-1234.git").unwrap();
        let before = Users::from([("mine".to_owned(), "app-1234.git".to_owned())]);
        assert_eq!(list_mirrors(mirrors.path()), [("app-1234.git".to_owned(), before.clone())]);
        note_user(&mirror, "other", "app.with.dots.git").unwrap();
        assert!(!remove_mirror(&mirror, &before).await.unwrap());
        let now = users(&mirror);
        assert!(now.contains(&("other".to_owned(), "app.with.dots.git".to_owned())));
        assert!(remove_mirror(&mirror, &now).await.unwrap());
        assert!(!mirror.exists() && remove_mirror(&mirror, &Users::new()).await.unwrap());
    }
}
