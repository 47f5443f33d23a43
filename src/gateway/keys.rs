//! The gateway's private keys: `UPLINK.key` each, in base64 as `wg genkey` writes it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::GatewayError;
use crate::bundle::Own;
use crate::identity::{Name, PrivateKey};

/// The private keys, by uplink.
#[derive(Clone, Debug)]
pub struct Keys {
    /// By uplink; on a hub by the hub's own name.
    pub private: BTreeMap<Name, PrivateKey>,
    /// Files that others than their owner may read.
    pub readable: Vec<PathBuf>,
}

impl Keys {
    /// Reads every `NAME.key` of a folder; other files are left alone.
    ///
    /// # Errors
    /// A folder or file that cannot be read, or a file that holds no key.
    pub fn read(folder: &Path) -> Result<Self, GatewayError> {
        let unreadable = |path: &Path, error: std::io::Error| GatewayError::Unreadable {
            path: path.to_owned(),
            cause: error.to_string(),
            missing: error.kind() == std::io::ErrorKind::NotFound,
        };
        let mut keys = Self { private: BTreeMap::new(), readable: Vec::new() };
        for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
            let path = entry.map_err(|error| unreadable(folder, error))?.path();
            let Some(name) = uplink_of(&path) else { continue };
            let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?);
            let key = text.trim().parse().map_err(|error| GatewayError::Key { path: path.clone(), error })?;
            let mode = std::fs::metadata(&path).map_err(|error| unreadable(&path, error))?.permissions().mode();
            if mode & 0o077 != 0 {
                keys.readable.push(path);
            }
            keys.private.insert(name, key);
        }
        Ok(keys)
    }

    /// Who this gateway is, by these keys and by what it acknowledged before.
    pub fn own(&self, identity: Option<(Name, Name)>) -> Own {
        let keys = self.private.iter().map(|(name, key)| (name.clone(), key.public())).collect();
        Own { identity, keys }
    }
}

fn uplink_of(path: &Path) -> Option<Name> {
    path.file_name()?.to_str()?.strip_suffix(".key")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_uplink_and_loose_modes_are_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = PrivateKey::generate().expect("entropy");
        for (name, mode) in [("fibre.key", 0o600), ("lte.key", 0o644), ("notes.txt", 0o644)] {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("{}\n", key.to_base64().as_str())).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        }
        let keys = Keys::read(folder.path()).expect("keys");
        assert_eq!(keys.private.keys().map(Name::as_str).collect::<Vec<_>>(), ["fibre", "lte"]);
        assert_eq!(keys.readable, [folder.path().join("lte.key")]);
    }

    #[test]
    fn a_file_that_holds_no_key_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("fibre.key");
        std::fs::write(&path, "nonsense").expect("written");
        assert!(matches!(Keys::read(folder.path()), Err(GatewayError::Key { path: named, .. }) if named == path));
    }
}
