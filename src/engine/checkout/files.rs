//! Reads what git writes about changed files (`--raw --numstat -z`).

use crate::model::{Change, ChangedFile, DiffView, LeftOut, name_as_text};

/// The mode of what is not there.
const NOTHING: &str = "000000";

/// Reads the head of the checkout and the files that were changed since `base`; the error is what
/// makes no sense.
pub(super) fn read(base: &str, output: &[u8]) -> Result<DiffView, String> {
    let mut fields = Fields(output);
    let mut view = DiffView {
        base: base.to_owned(),
        head: Some(fields.text()?).filter(|head| !head.is_empty()),
        branch: Some(fields.text()?).filter(|branch| !branch.is_empty()),
        commits: fields.number()?,
        uncommitted: fields.number()?,
        ..DiffView::default()
    };
    if let Some(short) = view.branch.as_deref().and_then(|name| name.strip_prefix("refs/heads/")) {
        view.branch = Some(short.to_owned());
    }
    // The commits of submodules are compared each by itself, and then all files.
    while fields.0.first() == Some(&b':') {
        let first = view.files.len();
        while fields.0.first() == Some(&b':') {
            view.files.push(fields.file()?);
        }
        // All of the first kind of lines come before all of the other one, in the same order.
        for file in &mut view.files[first..] {
            fields.lines(file)?;
            view.added += file.added.unwrap_or_default();
            view.deleted += file.deleted.unwrap_or_default();
        }
    }
    if fields.0.is_empty() { Ok(view) } else { Err("there is more than was expected".to_owned()) }
}

/// The paths that are left out, and the output after them.
type LeftOutAndRest<'a> = (Vec<LeftOut>, &'a [u8]);

/// Reads the paths that are left out, each with the reason, and returns what comes after them; none
/// while not all of them are there.
pub(super) fn left_out(output: &[u8]) -> Result<Option<LeftOutAndRest<'_>>, String> {
    let mut fields = Fields(output);
    if !output.contains(&0) {
        return Ok(None);
    }
    let count = fields.number()?;
    let mut all = Vec::new();
    for _ in 0..count {
        let (Ok(path), Ok(reason)) = (fields.next(), fields.text()) else { return Ok(None) };
        let (path, path_hex) = name_as_text(path);
        all.push(LeftOut { path, path_hex, reason });
    }
    Ok(Some((all, fields.0)))
}

/// Fields with a zero byte after each.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<&'a [u8], String> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or("it breaks off")?;
        let (field, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Ok(field)
    }

    fn text(&mut self) -> Result<String, String> {
        Ok(String::from_utf8_lossy(self.next()?).into_owned())
    }

    fn number(&mut self) -> Result<u64, String> {
        let text = self.text()?;
        text.trim().parse().map_err(|_| format!("{text:?} is no number"))
    }

    /// Reads `:mode mode id id status`, and the name or names.
    fn file(&mut self) -> Result<ChangedFile, String> {
        let line = self.text()?;
        let words: Vec<&str> = line.trim_start_matches(':').split(' ').collect();
        let [old, new, _, _, status] = words[..] else {
            return Err(format!("{line:?} describes no file"));
        };
        let change = match status.as_bytes().first() {
            Some(b'A') => Change::Added,
            Some(b'D') => Change::Deleted,
            Some(b'M') => Change::Modified,
            Some(b'R') => Change::Renamed,
            Some(b'T') => Change::TypeChanged,
            _ => return Err(format!("{status:?} is no status")),
        };
        let mode = |mode: &str| Some(mode.to_owned()).filter(|mode| mode != NOTHING);
        let from = if change == Change::Renamed { Some(self.next()?) } else { None };
        let (renamed_from, renamed_from_hex) = from.map(name_as_text).unzip();
        let (path, path_hex) = name_as_text(self.next()?);
        Ok(ChangedFile {
            path,
            path_hex,
            renamed_from,
            renamed_from_hex: renamed_from_hex.flatten(),
            change,
            old_mode: mode(old),
            mode: mode(new),
            binary: false,
            added: None,
            deleted: None,
        })
    }

    /// Reads `added deleted name`, where the name is empty and two follow for one that was renamed.
    fn lines(&mut self, file: &mut ChangedFile) -> Result<(), String> {
        let line = self.next()?;
        let mut words = line.splitn(3, |byte| *byte == b'\t');
        let mut word = || words.next().ok_or("a line has too few words");
        let (added, deleted, mut name) = (word()?, word()?, word()?);
        if name.is_empty() {
            self.next()?;
            name = self.next()?;
        }
        if name_as_text(name) != (file.path.clone(), file.path_hex.clone()) {
            return Err(format!("{:?} is told of out of turn", String::from_utf8_lossy(name)));
        }
        let number = |word: &[u8]| str::from_utf8(word).ok().and_then(|word| word.parse().ok());
        (file.added, file.deleted) = (number(added), number(deleted));
        file.binary = added == b"-";
        if file.binary || (file.added.is_some() && file.deleted.is_some()) {
            return Ok(());
        }
        Err(format!("{:?} are no numbers of lines", String::from_utf8_lossy(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"abc\0refs/heads/taskspace/x\x002\x003\n\0";

    #[test]
    fn every_kind_of_change_is_read() {
        let files = b":100644 100644 1 2 M\0a b\n\0:000000 120000 0 1 A\0\xff\0\
            :100644 100755 1 1 R100\0old\0new\0:100644 000000 1 0 D\0gone\0\
            :100644 120000 1 2 T\0link\0\
            1\t2\ta b\n\0-\t-\t\xff\x000\t0\t\0old\0new\x000\t7\tgone\x001\t1\tlink\0";
        let view = read("base", &[HEAD, files].concat()).unwrap();
        assert_eq!(view.head.as_deref(), Some("abc"));
        assert_eq!(view.branch.as_deref(), Some("taskspace/x"));
        assert_eq!((view.commits, view.uncommitted, view.added, view.deleted), (2, 3, 2, 10));
        let told: Vec<_> = view
            .files
            .iter()
            .map(|file| (file.path.as_str(), file.change, file.binary, file.added))
            .collect();
        assert_eq!(
            told,
            [
                ("a b\n", Change::Modified, false, Some(1)),
                ("\u{fffd}", Change::Added, true, None),
                ("new", Change::Renamed, false, Some(0)),
                ("gone", Change::Deleted, false, Some(0)),
                ("link", Change::TypeChanged, false, Some(1)),
            ]
        );
        assert_eq!(view.files[1].path_hex.as_deref(), Some("ff"));
        assert_eq!(view.files[2].renamed_from.as_deref(), Some("old"));
        assert_eq!(view.files[3].mode, None);
        assert_eq!(view.files[4].mode.as_deref(), Some("120000"));
    }

    #[test]
    fn several_comparisons_follow_each_other() {
        let groups =
            b":160000 160000 1 2 M\0lib\x001\t1\tlib\0:100644 100644 1 2 M\0lib/f\x003\t0\tlib/f\0";
        let view = read("base", &[HEAD, groups].concat()).unwrap();
        assert_eq!(view.files.len(), 2);
        assert_eq!((view.files[0].mode.as_deref(), view.files[1].added), (Some("160000"), Some(3)));
    }

    #[test]
    fn left_out_paths_are_read_once_all_of_them_are_there() {
        let output = b"2\0a\0too large\0b\xff\0a socket\0diff --git";
        for end in 0..output.len() - 10 {
            assert_eq!(left_out(&output[..end]).unwrap(), None, "{end}");
        }
        let (paths, rest) = left_out(output).unwrap().unwrap();
        assert_eq!(rest, b"diff --git");
        assert_eq!((paths[0].path.as_str(), paths[0].reason.as_str()), ("a", "too large"));
        assert_eq!(paths[1].path_hex.as_deref(), Some("62ff"));
        assert_eq!(left_out(b"0\0").unwrap(), Some((Vec::new(), &b""[..])));
        assert!(left_out(b"many\0").is_err());
    }

    #[test]
    fn nothing_is_a_diff_too_and_nonsense_is_none() {
        let none = read("base", b"\0\x000\x000\0").unwrap();
        assert_eq!((none.head, none.branch, none.files.len()), (None, None, 0));
        let nonsense: [&[u8]; 6] = [
            b"",
            b"x\0\0many\x000\0",
            b"\0\x000\x000\0:1 2 3\0a\0",
            b"\0\x000\x000\0:1 2 3 4 X\0a\x001\t1\ta\0",
            b"\0\x000\x000\0:1 2 3 4 M\0a\x001\t1\tb\0",
            b"\0\x000\x000\0:1 2 3 4 M\0a\x001\t-\ta\0",
        ];
        for output in nonsense {
            assert!(read("base", output).is_err(), "{:?}", String::from_utf8_lossy(output));
        }
    }
}
