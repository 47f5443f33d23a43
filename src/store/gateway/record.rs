//! Small records of a gateway's state, in JSON, one file each.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{GatewayState, StateError, bundle_name, failed, read, sync};

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// What is known of the time, and of the controller's silence.
    Clock,
    /// The bundle on trial.
    Pending,
    /// The bundle that was rolled back last.
    RolledBack,
    /// The notices that were handed to this gateway.
    Notices,
    /// What became of bundles.
    History,
}

impl Record {
    fn name(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Pending => "pending",
            Self::RolledBack => "rolled-back",
            Self::Notices => "notices",
            Self::History => "history",
        }
    }
}

impl GatewayState {
    /// Writes a record in place of the former one.
    ///
    /// # Errors
    /// [`StateError::Io`]: the former one is whole then.
    pub fn remember<T: Serialize>(&self, record: Record, value: &T) -> Result<(), StateError> {
        let octets = serde_json::to_vec(value).map_err(|error| failed("cannot write", &self.folder)(error.into()))?;
        self.write(record.name(), &octets)
    }

    /// Removes a record, if there is one.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn forget(&self, record: Record) -> Result<(), StateError> {
        self.remove(&self.folder.join(record.name()))
    }

    /// Keeps a bundle without acknowledging it.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn keep_aside(&self, generation: u64, octets: &[u8]) -> Result<(), StateError> {
        self.write(&bundle_name(generation), octets)
    }

    /// Removes a kept bundle, if there is one.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn discard(&self, generation: u64) -> Result<(), StateError> {
        self.remove(&self.folder.join(bundle_name(generation)))
    }

    fn remove(&self, path: &Path) -> Result<(), StateError> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| sync(&self.folder)).map_err(failed("cannot remove", path)),
        }
    }
}

/// Reads a record of a state folder, whoever uses it.
///
/// # Errors
/// [`StateError`].
pub fn recall<T: DeserializeOwned>(folder: &Path, record: Record) -> Result<Option<T>, StateError> {
    let path = folder.join(record.name());
    let Some(octets) = read(&path)? else { return Ok(None) };
    serde_json::from_slice(&octets).map(Some).map_err(|_| StateError::Damaged(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_as_it_was_written_last_or_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = GatewayState::open(folder.path()).expect("a state");
        assert_eq!(recall::<u64>(folder.path(), Record::Clock), Ok(None));
        for value in [7_u64, 8] {
            state.remember(Record::Clock, &value).expect("written");
            assert_eq!(recall(folder.path(), Record::Clock), Ok(Some(value)));
        }
        let path = folder.path().join("clock");
        assert_eq!(recall::<String>(folder.path(), Record::Clock), Err(StateError::Damaged(path.clone())));
        let good = std::fs::read(&path).expect("its octets");
        std::fs::write(&path, &good[..good.len() - 1]).expect("cut");
        assert_eq!(recall::<u64>(folder.path(), Record::Clock), Err(StateError::Damaged(path)));
    }
}
