//! npm: its .npmrc, and what it says itself.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::Said;

/// Found as the user finds it.
pub(super) const PROGRAM: &str = "npm";

/// npm takes a third of a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads an .npmrc.
pub(super) fn rc(text: &str) -> Said {
    let mut said = Said::default();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim().trim_matches(['"', '\'']));
        let is_scope = key.starts_with('@') && key.ends_with(":registry");
        let is_proxy = matches!(key, "proxy" | "https-proxy" | "http-proxy");
        let is_set = !matches!(value, "" | "null" | "false");
        if is_set && (key == "registry" || is_scope || is_proxy) {
            said.replaces_default |= key == "registry";
            said.urls.push(value.to_owned());
        }
    }
    said
}

/// Asks npm which registry it uses; none where there is no npm, or it does not tell.
pub(super) async fn ask(program: &OsStr) -> Option<String> {
    let mut command = Command::new(program);
    // Not in a project, which may have an .npmrc of its own.
    command.args(["config", "get", "registry"]).current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let output = timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    let url = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && url.contains("://")).then_some(url)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn registries_and_proxies_are_read() {
        let said = rc(
            "; mine\nregistry = \"https://npm.example.org/\"\n@mine:registry=https://mine.example.org\n\
             //npm.example.org/:_authToken=secret\nhttps-proxy=http://proxy.example.org:3128\n\
             # registry=https://no.example.org\nproxy=null\nalways-auth\n",
        );
        assert!(said.replaces_default);
        assert_eq!(
            said.urls,
            [
                "https://npm.example.org/",
                "https://mine.example.org",
                "http://proxy.example.org:3128"
            ]
        );
        assert!(!rc("@mine:registry=https://mine.example.org").replaces_default);
    }

    #[tokio::test]
    async fn npm_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("npm");
        let say = |script: &str| {
            let text = format!("#!/bin/sh\n{script}\n");
            std::fs::write(&program, text).unwrap();
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        };
        assert_eq!(ask(program.as_os_str()).await, None);
        say("test \"$*\" = 'config get registry' && echo https://npm.example.org/");
        assert_eq!(ask(program.as_os_str()).await.as_deref(), Some("https://npm.example.org/"));
        say("echo undefined");
        assert_eq!(ask(program.as_os_str()).await, None);
        say("echo https://npm.example.org/; exit 1");
        assert_eq!(ask(program.as_os_str()).await, None);
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "(\\PC|[\\n=:@]){0,80}") {
            rc(&text);
        }
    }
}
