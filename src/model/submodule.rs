//! Submodules of a taskspace's checkout.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A submodule of a taskspace's checkout, at any depth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SubmoduleSpec {
    /// Where it is, from the top of the checkout.
    pub path: String,
    /// Its name in the repository that it belongs to.
    pub name: String,
    /// The commit of it that belongs to the checkout's commit.
    pub commit: String,
    /// The repository that it was fetched from, without any password; empty if it is not checked out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The URL that it has inside; empty if there is none that git takes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// How `git submodule update` brings it up to date inside, if not by a checkout: `merge`, `rebase`
    /// or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<String>,
    /// Whether its directory is empty because the project's configuration says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inactive: bool,
    /// Why its directory is empty although it is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacking: Option<String>,
}

impl SubmoduleSpec {
    /// Whether it is checked out.
    pub fn is_checked_out(&self) -> bool {
        !self.inactive && self.lacking.is_none()
    }

    /// Says what it means that it is not there, and how to get it.
    pub fn warning(&self) -> Option<String> {
        let reason = self.lacking.as_ref()?;
        let path = shell_word(&self.path);
        let setting = shell_word(&format!("submodule.{}.update", self.name));
        Some(format!(
            "the submodule {path} is empty: {reason}; inside, `git submodule update --init --recursive \
             -- {path}` gets it, and in a local repository `git config {setting} none` has it left out"
        ))
    }
}

/// Quotes a text for a shell, and for a terminal: the repository may have chosen it.
pub(crate) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@".contains(c);
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''").replace(char::is_control, "?"))
}

/// Returns the key of a base: its commit, and what else decides which files it has.
pub fn base_key(commit: &str, submodules: &[SubmoduleSpec], missing: &[String]) -> String {
    if submodules.is_empty() && missing.is_empty() {
        return commit.to_owned();
    }
    let mut digest = Sha256::new();
    let mut add = |text: &str| {
        digest.update(text.len().to_be_bytes());
        digest.update(text);
    };
    for submodule in submodules {
        let SubmoduleSpec { path, name, commit, url, update, .. } = submodule;
        let state = if submodule.is_checked_out() { "there" } else { "empty" };
        let update = update.as_deref().unwrap_or_default();
        [path, name, commit, url].into_iter().for_each(|text| add(text));
        [update, state].into_iter().for_each(&mut add);
    }
    missing.iter().for_each(|content| add(content));
    digest.finalize().iter().take(4).fold(format!("{commit}-"), |mut key, byte| {
        let _ = write!(key, "{byte:02x}");
        key
    })
}

/// Returns the commit of a base with this key.
pub fn base_commit(key: &str) -> &str {
    key.split('-').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_with_different_contents_have_different_keys() {
        let lib = SubmoduleSpec { path: "lib".into(), name: "lib".into(), ..Default::default() };
        let empty = SubmoduleSpec { lacking: Some("no route".into()), ..lib.clone() };
        let other = SubmoduleSpec { lacking: Some("refused".into()), ..lib.clone() };
        let key = |submodule| base_key("c0ffee", std::slice::from_ref(submodule), &[]);
        assert_eq!(base_key("c0ffee", &[], &[]), "c0ffee");
        assert_ne!(key(&lib), key(&empty));
        assert_eq!(key(&empty), key(&other), "the reason is no content");
        assert_ne!(base_key("c0ffee", &[], &["oid".to_owned()]), "c0ffee");
        assert_eq!(base_commit(&key(&lib)), "c0ffee");
        assert_eq!(lib.warning(), None);
        let warning = empty.warning().unwrap();
        assert!(
            warning.contains("no route") && warning.contains("--recursive -- lib`"),
            "{warning}"
        );
        let odd = SubmoduleSpec { path: "a b/$(id)'\n".into(), ..empty };
        let warning = odd.warning().unwrap();
        assert!(warning.contains(r"--recursive -- 'a b/$(id)'\''?'`"), "{warning}");
    }
}
