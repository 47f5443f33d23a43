//! Private keys in files: one key a file, mode 0600, in folders that nobody else may write to.
//!
//! ```text
//!  DIR/<uplink>.key     WireGuard, base64 as wg(8) writes it; on a hub DIR/<hub>.key
//!  DIR/signing.pem      Ed25519, PKCS#8
//! ```
//!
//! A key that others may read is refused, never silently put right: it may have been read already.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::identity::{KeyError, Name, PrivateKey, Signer};

/// The longest key file, in octets.
const LONGEST: u64 = 4096;

/// Why a key could not be read or kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// The operating system refused.
    #[error("cannot {what} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The error in words.
        cause: String,
        /// Whether it was for lack of permission.
        denied: bool,
    },
    /// The key may have been read by others.
    #[error("the private key {} may be read by others (mode {mode:04o})", path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may replace the keys.
    #[error("the folder of private keys {} may be written to by others (mode {mode:04o})", path.display())]
    Writable {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is a folder, a link, a device or the like.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// What stands in the file is no key.
    #[error("{} holds no private key: {cause}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: KeyError,
    },
    /// A name under which no key of an uplink can be kept.
    #[error("{} is not named after an uplink", .0.display())]
    Misnamed(PathBuf),
    /// No new key could be made.
    #[error("no new key could be made: {0}")]
    NotMade(KeyError),
}

impl KeyFileError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Io { denied: true, .. } => "run as the owner of the keys".to_owned(),
            Self::Io { .. } | Self::NotMade(_) => String::new(),
            Self::Readable { path, .. } => format!(
                "if nobody has read it: chmod 600 {}; otherwise remove it, so that a new one is made",
                path.display()
            ),
            Self::Writable { path, .. } => format!("chmod 700 {}", path.display()),
            Self::NotAFile(path) => format!("put the key itself at {}", path.display()),
            Self::Malformed { path, .. } => {
                format!("restore {} from a copy, or remove it, so that a new key is made", path.display())
            }
            Self::Misnamed(_) => "name it UPLINK.key, or move it elsewhere".to_owned(),
        }
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |error| KeyFileError::Io {
        what,
        path,
        cause: error.to_string(),
        denied: error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// Makes a folder of mode 0700 if it is missing, and sees to it that nobody else may write to it.
///
/// # Errors
/// [`KeyFileError::Io`] and [`KeyFileError::Writable`].
pub fn private_folder(path: &Path) -> Result<(), KeyFileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make the folder", path))?;
    unwritable(path)
}

fn unwritable(path: &Path) -> Result<(), KeyFileError> {
    let mode = fs::metadata(path).map_err(failed("examine", path))?.mode() & 0o7777;
    // The sticky bit keeps others from renaming what is not theirs, as in /tmp.
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        return Err(KeyFileError::Writable { path: path.to_owned(), mode });
    }
    Ok(())
}

/// The WireGuard key in this file; `None` if there is no such file.
///
/// # Errors
/// Any of [`KeyFileError`].
pub fn wireguard(path: &Path) -> Result<Option<PrivateKey>, KeyFileError> {
    let Some(text) = read(path)? else { return Ok(None) };
    let malformed = |cause| KeyFileError::Malformed { path: path.to_owned(), cause };
    text.trim_end().parse().map(Some).map_err(malformed)
}

/// The WireGuard key in this file, made if there is none; whether it was made.
///
/// # Errors
/// Any of [`KeyFileError`].
pub fn wireguard_or_new(path: &Path) -> Result<(PrivateKey, bool), KeyFileError> {
    if let Some(key) = wireguard(path)? {
        return Ok((key, false));
    }
    let key = PrivateKey::generate().map_err(KeyFileError::NotMade)?;
    let line = Zeroizing::new(format!("{}\n", key.to_base64().as_str()));
    replace(path, line.as_bytes(), 0o600)?;
    Ok((key, true))
}

/// The signing key in this file.
///
/// # Errors
/// Any of [`KeyFileError`]; also if the file does not exist.
pub fn signer(path: &Path) -> Result<Signer, KeyFileError> {
    let missing = || failed("read", path)(io::ErrorKind::NotFound.into());
    existing_signer(path)?.ok_or_else(missing)
}

fn existing_signer(path: &Path) -> Result<Option<Signer>, KeyFileError> {
    let malformed = |cause| KeyFileError::Malformed { path: path.to_owned(), cause };
    read(path)?.map(|text| Signer::from_pem(&text).map_err(malformed)).transpose()
}

/// The signing key in this file, made if there is none; whether it was made.
///
/// # Errors
/// Any of [`KeyFileError`].
pub fn signer_or_new(path: &Path) -> Result<(Signer, bool), KeyFileError> {
    if let Some(key) = existing_signer(path)? {
        return Ok((key, false));
    }
    let key = Signer::generate().map_err(KeyFileError::NotMade)?;
    replace(path, key.to_pem().map_err(KeyFileError::NotMade)?.as_bytes(), 0o600)?;
    Ok((key, true))
}

/// All WireGuard keys of a gateway's folder, by uplink.
///
/// # Errors
/// Any of [`KeyFileError`]; also if the folder does not exist.
pub fn of_gateway(folder: &Path) -> Result<BTreeMap<Name, PrivateKey>, KeyFileError> {
    unwritable(folder)?;
    let mut keys = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(failed("list", folder))? {
        let path = entry.map_err(failed("list", folder))?.path();
        let Some(stem) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".key"))
        else {
            continue;
        };
        // A leftover of a crash while a key was written.
        if stem.starts_with('.') {
            continue;
        }
        let uplink = stem.parse().map_err(|_| KeyFileError::Misnamed(path.clone()))?;
        if let Some(key) = wireguard(&path)? {
            keys.insert(uplink, key);
        }
    }
    Ok(keys)
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, KeyFileError> {
    // Not to block on a pipe, nor to follow a link out of the folder.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(nix::libc::ELOOP) => {
            return Err(KeyFileError::NotAFile(path.to_owned()));
        }
        Err(error) => return Err(failed("read", path)(error)),
    };
    let metadata = file.metadata().map_err(failed("examine", path))?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile(path.to_owned()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Readable { path: path.to_owned(), mode });
    }
    let mut octets = Zeroizing::new(Vec::new());
    file.take(LONGEST).read_to_end(&mut octets).map_err(failed("read", path))?;
    // What is not text is no key either, and is refused by whoever parses it.
    Ok(Some(Zeroizing::new(String::from_utf8_lossy(&octets).into_owned())))
}

/// Puts a file in place whole or not at all, with this mode; it is on disk when this returns.
///
/// # Errors
/// [`KeyFileError::Io`]: what was there before is there still.
pub fn replace(path: &Path, octets: &[u8], mode: u32) -> Result<(), KeyFileError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.new"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &temporary)(error)),
        Ok(()) | Err(_) => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| file.write_all(octets).and_then(|()| file.sync_all()));
    written.map_err(failed("write", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("put in place", path))?;
    // The rename is on disk only when the folder is.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("keys");
        private_folder(&folder).expect("made");
        (root, folder)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it exists").mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_read_back() {
        let (_root, folder) = folder();
        let path = folder.join("fibre.key");
        let (made, new) = wireguard_or_new(&path).expect("made");
        assert!(new);
        assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
        assert_eq!(wireguard_or_new(&path), Ok((made.clone(), false)));
        let all = of_gateway(&folder).expect("listed");
        assert_eq!(all, BTreeMap::from([("fibre".parse().expect("a name"), made)]));
        let pem = folder.join("signing.pem");
        let signer = signer_or_new(&pem).expect("made").0.verifier();
        assert_eq!(mode(&pem), 0o600);
        assert_eq!(signer_or_new(&pem).map(|(key, new)| (key.verifier(), new)).expect("read"), (signer, false));
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_and_left_as_it_is() {
        let (_root, folder) = folder();
        let path = folder.join("fibre.key");
        wireguard_or_new(&path).expect("made");
        for bad in [0o640, 0o604, 0o620, 0o777] {
            set_mode(&path, bad);
            assert_eq!(wireguard(&path), Err(KeyFileError::Readable { path: path.clone(), mode: bad }));
        }
        set_mode(&path, 0o400);
        assert!(wireguard(&path).is_ok());
        set_mode(&folder, 0o770);
        assert!(matches!(of_gateway(&folder), Err(KeyFileError::Writable { .. })));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_replaced() {
        let (_root, folder) = folder();
        let path = folder.join("fibre.key");
        for bad in [b"".as_slice(), b"AAAA\n", b"\xff\xfe", &[b'A'; 100_000]] {
            replace(&path, bad, 0o600).expect("written");
            let malformed = KeyFileError::Malformed { path: path.clone(), cause: KeyError::NotBase64(32) };
            assert_eq!(wireguard_or_new(&path), Err(malformed));
            assert_eq!(fs::read(&path).expect("read"), bad);
            assert!(matches!(signer_or_new(&path), Err(KeyFileError::Malformed { .. })));
        }
        fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink("/dev/null", &path).expect("a link");
        assert_eq!(wireguard(&path), Err(KeyFileError::NotAFile(path.clone())));
        assert_eq!(wireguard(&folder), Err(KeyFileError::NotAFile(folder)));
    }

    #[test]
    fn what_a_crash_left_is_not_taken_for_a_key() {
        let (_root, folder) = folder();
        fs::write(folder.join(".fibre.key.new"), "half").expect("a leftover");
        assert_eq!(of_gateway(&folder), Ok(BTreeMap::new()));
        assert!(wireguard_or_new(&folder.join("fibre.key")).is_ok());
        assert_eq!(of_gateway(&folder).map(|keys| keys.len()), Ok(1));
    }
}
