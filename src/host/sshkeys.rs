//! SSH keys: the authority that certifies hosts, the user's client key, and host keys.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ssh_key::certificate::{Builder, CertType};
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use super::files::{
    FileError, private_dir, sync_dir, write_all_atomic, write_atomic, write_beside,
};

/// The names of a host's files in its directory.
pub const HOST_KEY: &str = "ssh_host_ed25519_key";

/// The end of the year 9999: longer than anything lasts, and a time that every program can show.
const FOREVER: u64 = 253_402_300_799;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not a key that can be used.
    #[error("{path} is not a private key that can be used: {reason}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key could not be made.
    #[error("cannot make a key: {0}")]
    Make(#[from] ssh_key::Error),
}

impl KeyError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Unusable { path, .. } => Some(format!(
                "put the key back, or move {0} and {0}.pub away to get a new one",
                path.display()
            )),
            Self::Make(_) => None,
        }
    }
}

/// A key pair in a file.
#[derive(Clone, Debug)]
pub struct KeyPair(PrivateKey);

impl KeyPair {
    /// Returns the public key as it stands in `.pub` files, without a line feed.
    pub fn public_line(&self) -> Result<String, KeyError> {
        Ok(self.0.public_key().to_openssh()?)
    }
}

/// Returns the key that certifies hosts, and makes it where there is none.
pub fn ensure_ca(path: &Path) -> Result<KeyPair, KeyError> {
    ensure(path, "taskspace host authority")
}

/// Returns the key that the user logs in with, and makes it where there is none.
pub fn ensure_client(path: &Path) -> Result<KeyPair, KeyError> {
    ensure(path, "taskspace client")
}

/// Returns the authority's public key as it stands after `@cert-authority` in known hosts.
pub fn ca_public_line(ca: &KeyPair) -> Result<String, KeyError> {
    ca.public_line()
}

/// Returns the `authorized_keys` file that lets the client in.
pub fn authorized_keys(client: &KeyPair) -> Result<String, KeyError> {
    Ok(client.public_line()? + "\n")
}

/// Makes a host key with a certificate for `principal` that never ends.
///
/// The files are [`HOST_KEY`], the same with `.pub`, and with `-cert.pub`.
pub fn make_host_key(dir: &Path, ca: &KeyPair, principal: &str) -> Result<(), KeyError> {
    private_dir(dir)?;
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
    key.set_comment(principal);
    let public = key.public_key();
    let mut builder =
        Builder::new_with_random_nonce(&mut OsRng, public.key_data().clone(), 0, FOREVER)?;
    builder.cert_type(CertType::Host)?;
    builder.key_id(principal)?;
    builder.valid_principal(principal)?;
    builder.comment(principal)?;
    let certificate = builder.sign(&ca.0)?.to_openssh()? + "\n";
    let private = key.to_openssh(LineEnding::LF)?;
    let public = public.to_openssh()? + "\n";
    let (public_name, certificate_name) =
        (format!("{HOST_KEY}.pub"), format!("{HOST_KEY}-cert.pub"));
    write_all_atomic(
        dir,
        &[
            (Path::new(HOST_KEY), private.as_bytes(), 0o600),
            (Path::new(&public_name), public.as_bytes(), 0o644),
            (Path::new(&certificate_name), certificate.as_bytes(), 0o644),
        ],
    )?;
    Ok(())
}

/// Returns the key in a file, and makes it where there is none.
///
/// When several processes make it at once, all of them get the same one. The `.pub` file beside it is
/// written anew when it does not belong to it.
fn ensure(path: &Path, comment: &str) -> Result<KeyPair, KeyError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    private_dir(parent)?;
    let key = match read(path)? {
        Some(key) => key,
        None => make(path, parent, comment)?,
    };
    let public = key.public_line()? + "\n";
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    let public_path = PathBuf::from(name);
    if !fs::read(&public_path).is_ok_and(|there| there == public.as_bytes()) {
        write_atomic(&public_path, public.as_bytes(), 0o644)?;
    }
    Ok(key)
}

fn read(path: &Path) -> Result<Option<KeyPair>, KeyError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::io("read", path)(error).into()),
    };
    let unusable = |reason: String| KeyError::Unusable { path: path.to_owned(), reason };
    let key = PrivateKey::from_openssh(&text).map_err(|error| unusable(error.to_string()))?;
    if key.is_encrypted() {
        return Err(unusable("it has a passphrase".to_owned()));
    }
    let found = fs::metadata(path).map_err(FileError::io("look at", path))?;
    if found.permissions().mode() & 0o077 != 0 {
        // ssh refuses a private key that others may read.
        fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(FileError::io("change the permissions of", path))?;
    }
    Ok(Some(KeyPair(key)))
}

fn make(path: &Path, parent: &Path, comment: &str) -> Result<KeyPair, KeyError> {
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
    key.set_comment(comment);
    let temporary = write_beside(path, key.to_openssh(LineEnding::LF)?.as_bytes(), 0o600)?;
    match temporary.persist_noclobber(path) {
        Ok(_) => {
            sync_dir(parent)?;
            Ok(KeyPair(key))
        }
        // Another process was quicker.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            read(path)?.ok_or_else(|| FileError::io("make", path)(error.error).into())
        }
        Err(error) => Err(FileError::io("make", path)(error.error).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn ssh_keygen(args: &[&str], path: &Path) -> String {
        let output = Command::new("ssh-keygen").args(args).arg(path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn keys_are_those_that_openssh_reads() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("ssh/ca");
        let key = ensure_ca(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(ssh_keygen(&["-y", "-f"], &path).trim(), key.public_line().unwrap());
        let public = fs::read_to_string(path.with_extension("pub")).unwrap();
        assert_eq!(public.trim_end(), ca_public_line(&key).unwrap());
    }

    #[test]
    fn host_keys_have_a_certificate_for_their_name_alone() {
        let root = tempfile::tempdir().unwrap();
        let ca = ensure_ca(&root.path().join("ca")).unwrap();
        let dir = root.path().join("host");
        make_host_key(&dir, &ca, "fix-1-dev").unwrap();
        make_host_key(&dir, &ca, "fix-1-dev").unwrap();
        let key = dir.join(HOST_KEY);
        let certificate = dir.join(format!("{HOST_KEY}-cert.pub"));
        let shown = ssh_keygen(&["-L", "-f"], &certificate);
        for text in [
            "ssh-ed25519-cert-v01@openssh.com host certificate",
            "Key ID: \"fix-1-dev\"",
            "Principals: \n                fix-1-dev\n        Critical Options: (none)",
            "Valid: before 9999-12-31",
        ] {
            assert!(shown.contains(text), "{text} is not in {shown}");
        }
        let fingerprint = |path: &Path| {
            ssh_keygen(&["-l", "-f"], path).split(' ').nth(1).map(str::to_owned).unwrap()
        };
        assert!(shown.contains(&fingerprint(&root.path().join("ca"))));
        assert!(shown.contains(&fingerprint(&key)));
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
    }

    #[test]
    fn a_key_is_made_once_however_many_ask() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("client");
        let lines: Vec<String> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| ensure_client(&path).unwrap().public_line().unwrap()))
                .collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(lines.iter().all(|line| *line == lines[0]));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
        let authorized = authorized_keys(&ensure_client(&path).unwrap()).unwrap();
        assert_eq!(authorized, format!("{}\n", lines[0]));
    }

    #[test]
    fn a_damaged_key_is_an_error_and_left_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("ca");
        fs::write(&path, "no key").unwrap();
        let error = ensure_ca(&path).unwrap_err();
        assert!(error.to_string().contains("is not a private key"), "{error}");
        assert!(error.hint().unwrap().contains("move"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "no key");
    }

    #[test]
    fn an_open_key_is_closed_and_a_lost_public_key_is_written_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("client");
        let key = ensure_client(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        fs::write(root.path().join("client.pub"), "other").unwrap();
        ensure_client(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let public = fs::read_to_string(root.path().join("client.pub")).unwrap();
        assert_eq!(public, key.public_line().unwrap() + "\n");
    }
}
