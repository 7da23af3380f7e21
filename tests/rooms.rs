//! The architecture's rule: rooms stand on the rooms below them, and no two import each other.

use std::path::Path;

/// The rooms from the top to the bottom, as `ARCHITECTURE.md` has them.
const ROOMS: &[&str] = &[
    "cli",
    "client",
    "api",
    "engine",
    "coordinator",
    "plan",
    "host",
    "registry",
    "config",
    "policy",
    "render",
    "dns",
    "podman",
    "frames",
    "uds",
    "model",
    "fault",
];

#[test]
fn no_import_runs_upward() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = Vec::new();
    visit(&source, &mut |file| {
        let relative = file.strip_prefix(&source).unwrap();
        let room = relative.components().next().unwrap().as_os_str().to_str().unwrap();
        let room = room.trim_end_matches(".rs");
        let Some(place) = ROOMS.iter().position(|known| *known == room) else {
            assert!(["lib", "main"].contains(&room), "the room {room} has no place in ROOMS");
            return;
        };
        seen.push(room.to_owned());
        let text = std::fs::read_to_string(file).unwrap();
        for above in &ROOMS[..place] {
            let import = format!("crate::{above}::");
            let line = text.lines().find(|line| line.contains(&import));
            assert_eq!(line, None, "{} imports from above", file.display());
        }
    });
    for room in ROOMS {
        assert!(seen.iter().any(|seen| seen == room), "there is no room {room}");
    }
}

fn visit(directory: &Path, check: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, check);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            check(&path);
        }
    }
}
