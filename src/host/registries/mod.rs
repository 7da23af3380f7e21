//! Where this host's own clients fetch packages from, as their configuration says.
//!
//! A mirror or proxy of a company stands there and nowhere else, so nothing of it is known before it
//! is read. What a client uses when nothing is configured is its own default, which is not known here:
//! npm can be asked for it, for the others a warning says so. Files that cannot be read, or only
//! partly, are warnings too. Passwords in URLs are not kept, and no URL is shown.

mod apt;
mod cargo;
mod npm;
mod pip;
mod url;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::config::ClientFiles;
use crate::model::Destination;
use url::Unusable;

/// A client of package registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Client {
    /// Debian's packages.
    Apt,
    /// Rust's.
    Cargo,
    /// JavaScript's.
    Npm,
    /// Python's.
    Pip,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Apt => "apt",
            Self::Cargo => "cargo",
            Self::Npm => "npm",
            Self::Pip => "pip",
        })
    }
}

/// A host that a client uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Found {
    /// The client.
    pub client: Client,
    /// The host, with the port.
    pub destination: Destination,
}

/// What the clients use, and what could not be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Registries {
    /// The hosts.
    pub found: BTreeSet<Found>,
    /// What could not be told.
    pub warnings: Vec<String>,
}

/// What one file says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// The URLs of registries, mirrors and proxies.
    urls: Vec<String>,
    /// It says what is used instead of the client's default.
    replaces_default: bool,
    /// What of it is not understood.
    flaws: Vec<String>,
}

impl Registries {
    /// Reads the clients' files, and asks npm for its default where they do not say one.
    pub async fn read(files: &ClientFiles) -> Self {
        let mut registries = Self::default();
        registries.apt(&files.apt);
        registries.read_all(Client::Cargo, &files.cargo, cargo::config);
        registries.read_all(Client::Pip, &files.pip, pip::conf);
        if !registries.files(Client::Npm, &files.npm, npm::rc) {
            match npm::ask(npm::PROGRAM.as_ref()).await {
                Some(url) => registries.add(Client::Npm, "npm config get registry", &url),
                None => registries.warn_of_default(Client::Npm),
            }
        }
        registries
    }

    /// Returns the hosts of all clients.
    pub fn destinations(&self) -> Vec<Destination> {
        let all: BTreeSet<&Destination> = self.found.iter().map(|it| &it.destination).collect();
        all.into_iter().cloned().collect()
    }

    fn apt(&mut self, directory: &Path) {
        let mut has_sources = self.file(Client::Apt, &directory.join("sources.list"), apt::list);
        for path in self.list(Client::Apt, &directory.join("sources.list.d")) {
            let extension = path.extension().and_then(|extension| extension.to_str());
            has_sources |= match extension {
                Some("list") => self.file(Client::Apt, &path, apt::list),
                Some("sources") => self.file(Client::Apt, &path, apt::sources),
                _ => false,
            };
        }
        self.file(Client::Apt, &directory.join("apt.conf"), apt::conf);
        for path in self.list(Client::Apt, &directory.join("apt.conf.d")) {
            if path.extension().is_none_or(|extension| extension == "conf") {
                self.file(Client::Apt, &path, apt::conf);
            }
        }
        if !has_sources {
            self.warn_of_default(Client::Apt);
        }
    }

    fn read_all(&mut self, client: Client, files: &[impl AsRef<Path>], parse: fn(&str) -> Said) {
        if !self.files(client, files, parse) {
            self.warn_of_default(client);
        }
    }

    /// Reads files; returns whether one of them says what is used instead of the default.
    fn files(
        &mut self,
        client: Client,
        files: &[impl AsRef<Path>],
        parse: fn(&str) -> Said,
    ) -> bool {
        let replaces = files.iter().map(|file| self.file(client, file.as_ref(), parse));
        replaces.fold(false, |before, this| before | this)
    }

    fn file(&mut self, client: Client, path: &Path, parse: fn(&str) -> Said) -> bool {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.unread(client, path, &error);
                return false;
            }
        };
        let said = parse(&text);
        let place = path.display().to_string();
        for url in &said.urls {
            self.add(client, &place, url);
        }
        let flaws = said.flaws.iter().map(|flaw| format!("{client}: {place}: {flaw}"));
        self.warnings.extend(flaws);
        said.replaces_default
    }

    /// Returns what is in a directory, in order.
    fn list(&mut self, client: Client, directory: &Path) -> Vec<std::path::PathBuf> {
        let listed = std::fs::read_dir(directory)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        let mut paths: Vec<_> = listed.unwrap_or_else(|error| {
            self.unread(client, directory, &error);
            Vec::new()
        });
        paths.sort_unstable();
        paths
    }

    fn unread(&mut self, client: Client, path: &Path, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            self.warnings.push(format!("{client}: cannot read {}: {error}", path.display()));
        }
    }

    fn add(&mut self, client: Client, place: &str, url: &str) {
        match url::destination(url) {
            Ok(Some(destination)) => drop(self.found.insert(Found { client, destination })),
            Ok(None) => {}
            Err(Unusable::ThisHost) => self.warnings.push(format!(
                "{client}: {place} names a service of this host: allow it as host:NAME"
            )),
            Err(Unusable::NotUnderstood) => {
                self.warnings.push(format!("{client}: {place} has a URL that is not understood"));
            }
        }
    }

    fn warn_of_default(&mut self, client: Client) {
        self.warnings.push(format!(
            "{client}: nothing is configured on this host, and its default is not known: allow what \
             it needs by name"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_read_and_what_is_wrong_is_a_warning() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for directory in ["apt/sources.list.d", "apt/apt.conf.d", "broken"] {
            std::fs::create_dir_all(path(directory)).unwrap();
        }
        let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
        write("apt/sources.list.d/a.list", "deb http://deb.example.org/debian trixie main\n");
        write("apt/sources.list.d/b.sources", "Types: deb\nURIs: https://b.example.org/x\n");
        write("apt/sources.list.d/c.list.disabled", "deb http://no.example.org/debian trixie main");
        write(
            "apt/apt.conf.d/proxy",
            "Acquire::http::Proxy \"http://u:secret@proxy.example.org:3128\";",
        );
        write("pip.conf", "[global]\nindex-url = https://u:secret@pip.example.org/simple\n");
        write(
            "npmrc",
            "registry=https://npm.example.org/\n@mine:registry=http://localhost:4873/\n",
        );
        write("config.toml", "[source.crates-io\n");
        let files = ClientFiles {
            apt: path("apt"),
            cargo: vec![path("config"), path("config.toml")],
            npm: vec![path("npmrc"), path("broken")],
            pip: vec![path("pip.conf")],
        };
        let registries = Registries::read(&files).await;
        let found = registries.found.iter().map(|it| format!("{} {}", it.client, it.destination));
        insta::assert_snapshot!(found.collect::<Vec<_>>().join("\n"), @r#"
        apt b.example.org:443/tcp
        apt deb.example.org:80/tcp
        apt proxy.example.org:3128/tcp
        npm npm.example.org:443/tcp
        pip pip.example.org:443/tcp
        "#);
        let warnings = registries.warnings.join("\n");
        let warnings = warnings.replace(&root.path().display().to_string(), "");
        insta::assert_snapshot!(warnings, @r#"
        cargo: /config.toml: line 1 is not understood
        cargo: nothing is configured on this host, and its default is not known: allow what it needs by name
        npm: /npmrc names a service of this host: allow it as host:NAME
        npm: cannot read /broken: Is a directory (os error 21)
        "#);
        assert_eq!(registries.destinations().len(), 5);
    }
}
