//! The line in the user's SSH configuration that makes `ssh <id>-dev` work.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::files::{FileError, private_dir, write_atomic};

/// What is written above the line.
const COMMENT: &str = "# Taskspaces (must stand before the first Host or Match).";

/// Includes a file at the very top of the user's configuration; returns whether that was needed.
///
/// An `Include` further down would belong to the last `Host` before it. Everything else in the file,
/// its permissions, and a symbolic link that leads to it, stay as they are.
pub fn install(user_ssh_config: &Path, include: &Path) -> Result<bool, FileError> {
    let (path, old) = read(user_ssh_config)?;
    let line = include_line(include);
    if let Some((text, _)) = &old
        && leads(text, &line)
    {
        return Ok(false);
    }
    let (text, mode) = old.unwrap_or_default();
    // One that stands too far down goes; the one at the top does what it was meant to do.
    let rest = without(&text, &line);
    let gap = if rest.is_empty() { "" } else { "\n" };
    if mode == 0 {
        private_dir(path.parent().unwrap_or(Path::new("/")))?;
    }
    let mode = if mode == 0 { 0o600 } else { mode };
    write_atomic(&path, format!("{COMMENT}\n{line}\n{gap}{rest}").as_bytes(), mode)?;
    Ok(true)
}

/// Takes the line out again; returns whether it was there.
pub fn remove(user_ssh_config: &Path, include: &Path) -> Result<bool, FileError> {
    let (path, Some((text, mode))) = read(user_ssh_config)? else { return Ok(false) };
    let rest = without(&text, &include_line(include));
    if rest == text {
        return Ok(false);
    }
    write_atomic(&path, rest.as_bytes(), mode)?;
    Ok(true)
}

/// Returns where the file really is, its text and its permissions.
///
/// Text that is not UTF-8 is an error, so that it is not changed by accident.
fn read(user_ssh_config: &Path) -> Result<(PathBuf, Option<(String, u32)>), FileError> {
    let path = match fs::canonicalize(user_ssh_config) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((user_ssh_config.to_owned(), None));
        }
        Err(error) => return Err(FileError::io("read", user_ssh_config)(error)),
    };
    let text = fs::read_to_string(&path).map_err(FileError::io("read", &path))?;
    let mode = fs::metadata(&path).map_err(FileError::io("look at", &path))?.permissions().mode();
    Ok((path, Some((text, mode & 0o7777))))
}

/// Returns the line, as all versions of ssh understand it.
///
/// ssh takes the path for a pattern, and newer versions expand `%` and `$` in it: those, and the
/// special characters of patterns, are written as patterns that match them.
fn include_line(include: &Path) -> String {
    let mut pattern = String::new();
    for c in include.to_string_lossy().chars() {
        match c {
            '*' | '?' | '[' => pattern.extend(['[', c, ']']),
            '%' | '$' => pattern.push('?'),
            _ => pattern.push(c),
        }
    }
    format!("Include \"{pattern}\"")
}

/// Whether the line stands before anything that it would be a part of.
fn leads(text: &str, line: &str) -> bool {
    text.lines()
        .map(str::trim)
        .take_while(|found| {
            let word = found.split([' ', '\t', '=', '"']).next().unwrap_or_default();
            !word.eq_ignore_ascii_case("host") && !word.eq_ignore_ascii_case("match")
        })
        .any(|found| found == line)
}

/// Returns the text without the line, its comment and the gap below it.
fn without(text: &str, line: &str) -> String {
    let mut rest = String::new();
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(found) = lines.next() {
        let next_is_ours = lines.peek().is_some_and(|next| next.trim() == line);
        if found.trim() == line {
            if rest.is_empty() {
                lines.next_if(|next| next.trim().is_empty());
            }
        } else if !(found.trim() == COMMENT && next_is_ours) {
            rest.push_str(found);
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    const LINE: &str = "Include \"/home/u/.symposium/ssh_config\"";

    fn include() -> &'static Path {
        Path::new("/home/u/.symposium/ssh_config")
    }

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_file_and_its_directory_are_private() {
        let root = tempfile::tempdir().unwrap();
        let config = root.path().join(".ssh/config");
        assert!(install(&config, include()).unwrap());
        assert_eq!(fs::read_to_string(&config).unwrap(), format!("{COMMENT}\n{LINE}\n"));
        assert_eq!((mode(&config), mode(config.parent().unwrap())), (0o600, 0o700));
        assert!(!install(&config, include()).unwrap());
        assert!(remove(&config, include()).unwrap());
        assert_eq!(fs::read_to_string(&config).unwrap(), "");
        assert!(!remove(&config, include()).unwrap());
        assert!(!remove(&root.path().join("nowhere"), include()).unwrap());
    }

    #[test]
    fn the_line_goes_to_the_top_and_the_rest_stays() {
        let root = tempfile::tempdir().unwrap();
        let config = root.path().join("config");
        let top = format!("{COMMENT}\n{LINE}\n\n");
        let cases = [
            ("Host *\n  User me\n".to_owned(), "Host *\n  User me\n", true),
            ("  User me".to_owned(), "  User me", true),
            (format!("Host a\n  Port 1\n{LINE}\nHost b"), "Host a\n  Port 1\nHost b", true),
            (format!("host=a\n{LINE}\n"), "host=a\n", true),
            (format!("\"Host\" a\n{LINE}\n"), "\"Host\" a\n", false),
            (format!("# mine\n  {LINE}\nHost a\n"), "", false),
        ];
        for (text, rest, changes) in cases {
            write(&config, &text, 0o640);
            assert_eq!(install(&config, include()).unwrap(), changes, "{text}");
            let expected = if changes { format!("{top}{rest}") } else { text };
            assert_eq!(fs::read_to_string(&config).unwrap(), expected);
            assert_eq!(mode(&config), 0o640);
        }
    }

    #[test]
    fn a_link_stays_a_link() {
        let root = tempfile::tempdir().unwrap();
        let (link, target) = (root.path().join("config"), root.path().join("dotfiles"));
        write(&target, "Host a\n", 0o600);
        symlink("dotfiles", &link).unwrap();
        install(&link, include()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&target).unwrap().contains(LINE));
    }

    #[test]
    fn ssh_finds_the_included_file_whatever_its_name() {
        for name in ["plain", "with space", "a*b", "a?b", "[a]", "100%h", "$HOME", "it's"] {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join(name);
            fs::create_dir(&dir).unwrap();
            let included = dir.join("ssh_config");
            write(&included, "Host x-dev\n  Port 4711\n", 0o600);
            let config = root.path().join("config");
            write(&config, "Host *\n  Port 1\n", 0o600);
            install(&config, &included).unwrap();
            let output = Command::new("ssh").arg("-G").arg("-F").arg(&config).arg("x-dev").output();
            let output = output.unwrap();
            let shown = String::from_utf8_lossy(&output.stdout);
            assert!(shown.contains("\nport 4711\n"), "{name}: {output:?}");
        }
    }

    proptest! {
        #[test]
        fn installing_and_removing_gives_the_file_back(text in "(Host [a-c]\n|  User x\n|# y\n|\n){0,6}") {
            let root = tempfile::tempdir().unwrap();
            let config = root.path().join("config");
            write(&config, &text, 0o600);
            prop_assert!(install(&config, include()).unwrap());
            prop_assert!(!install(&config, include()).unwrap());
            prop_assert!(remove(&config, include()).unwrap());
            prop_assert_eq!(fs::read_to_string(&config).unwrap(), text);
        }
    }
}
