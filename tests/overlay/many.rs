//! A hundred thousand small files, below and above.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::common::User;
use crate::common::podman::TestPodman;
use crate::common::repository::Repository;

use super::{Space, directory};

const FILES: usize = 100_000;

/// Commits many files, a hundred in each directory.
fn commit_many(repository: &Repository) {
    let mut git = Command::new("git");
    git.arg("-C").arg(&repository.path).args(["fast-import", "--quiet", "--force"]);
    let mut git = git.stdin(Stdio::piped()).spawn().unwrap();
    let mut import = std::io::BufWriter::new(git.stdin.take().unwrap());
    let head = repository.head();
    write!(import, "commit refs/heads/main\ncommitter T <t@example.org> 1700000000 +0000\n")
        .unwrap();
    write!(import, "data 4\nmany\nfrom {head}\n").unwrap();
    for number in 0..FILES {
        let (directory, text) = (number / 100, format!("file {number}\n"));
        write!(import, "M 100644 inline many/{directory}/{number}\ndata {}\n{text}\n", text.len())
            .unwrap();
    }
    drop(import);
    // They are never checked out here: what is made has to be removed again.
    assert!(git.wait().unwrap().success());
}

/// Counts what there is in the upper directory of a taskspace's checkout.
fn changes(id: &str) -> usize {
    let mut count = TestPodman::shared().command();
    let upper = format!("{}/upper", directory(&format!("taskspace-{id}-changes")));
    count.args(["unshare", "find", &upper, "-printf", "x"]);
    crate::common::succeed(&mut count).len()
}

#[test]
fn a_hundred_thousand_files_are_there_at_once_and_as_many_come() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    commit_many(&repository);
    let began = Instant::now();
    let first = Space::new(&user, &repository, "generic", "o-many");
    let with_base = began.elapsed();
    let began = Instant::now();
    user.run(&["create", "--project", repository.as_str(), "--type", "generic", "o-more"]);
    eprintln!("the first taskspace took {with_base:?}, the second {:?}", began.elapsed());
    // Not a file of the project was copied for it, nor when git looks at all of them.
    let seeded = changes("o-more");
    assert!(seeded < 20, "{seeded}");
    assert_eq!(first.agent("git status --short; find many -type f | wc -l"), "100000\n");
    let looked = changes("o-many");
    assert!(looked <= seeded + 1, "{looked}");

    // As many new ones beside them.
    first.dev(
        "mkdir new && cd new && seq 1000 | xargs mkdir && \
         perl -e 'for (1..100_000) { open(F, \">\", (1 + $_ % 1000).\"/$_\") or die; print F $_ }'",
    );
    assert_eq!(first.agent("find new many -type f | wc -l"), "200000\n");
    first.dev("git add new/10 new/11 && git commit --quiet --message more");
    assert_eq!(first.agent("git status --short | wc -l"), "998\n");
    // Thousands of the base's are changed, removed, and there again.
    first.dev("find many/?? -type f -exec perl -pi -e 's/file/changed/' {} +");
    assert_eq!(first.agent("git diff --name-only | wc -l"), "9000\n");
    first.agent("git checkout --quiet .");
    first.dev("rm -r many/9?? && git checkout --quiet .");
    assert_eq!(first.agent("git status --short many; cat many/999/99999"), "file 99999\n");
    first.assert_base_unchanged();
    assert_eq!(changes("o-more"), seeded);
}
