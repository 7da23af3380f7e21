//! How many files a process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process have as many files open as the administrator lets it: by default it has few, for
/// the sake of old programs that can handle no more (systemd.exec(5), `LimitNOFILE`).
///
/// # Errors
/// When the kernel refuses.
pub fn raise() -> nix::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_are_allowed_may_be_open() {
        raise().unwrap();
        let (now, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(now, most);
    }
}
