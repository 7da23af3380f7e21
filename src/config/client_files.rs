//! Where the clients of package registries keep their configuration.

use std::path::{Path, PathBuf};

/// The files of each client; those of the user after those of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// apt's directory.
    pub apt: PathBuf,
    /// cargo's files.
    pub cargo: Vec<PathBuf>,
    /// npm's files.
    pub npm: Vec<PathBuf>,
    /// pip's files.
    pub pip: Vec<PathBuf>,
}

impl ClientFiles {
    /// Tells the files from the user's directories and what `lookup` returns for variables that move
    /// them.
    pub fn new(home: &Path, config: &Path, lookup: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let etc = Path::new("/etc");
        let cargo_home = lookup("CARGO_HOME").unwrap_or_else(|| home.join(".cargo"));
        let npmrc = lookup("NPM_CONFIG_USERCONFIG").unwrap_or_else(|| home.join(".npmrc"));
        let mut pip = vec![
            etc.join("xdg/pip/pip.conf"),
            etc.join("pip.conf"),
            home.join(".pip/pip.conf"),
            config.join("pip/pip.conf"),
        ];
        pip.extend(lookup("PIP_CONFIG_FILE"));
        Self {
            apt: etc.join("apt"),
            cargo: vec![cargo_home.join("config"), cargo_home.join("config.toml")],
            npm: vec![
                "/usr/etc/npmrc".into(),
                "/usr/local/etc/npmrc".into(),
                etc.join("npmrc"),
                npmrc,
            ],
            pip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_move_the_files() {
        let files = |variables: &[(&str, &str)]| {
            ClientFiles::new(Path::new("/home/u"), Path::new("/home/u/.config"), |name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.into())
            })
        };
        let usual = files(&[]);
        assert!(usual.cargo.contains(&"/home/u/.cargo/config.toml".into()));
        assert!(usual.pip.contains(&"/home/u/.config/pip/pip.conf".into()));
        assert!(usual.npm.contains(&"/home/u/.npmrc".into()));
        let moved = files(&[
            ("CARGO_HOME", "/c"),
            ("NPM_CONFIG_USERCONFIG", "/n"),
            ("PIP_CONFIG_FILE", "/p"),
        ]);
        assert!(moved.cargo.contains(&"/c/config.toml".into()));
        assert_eq!((moved.npm.last(), moved.pip.last()), (Some(&"/n".into()), Some(&"/p".into())));
    }
}
