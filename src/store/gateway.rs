//! A gateway's state: the last good bundles, and the floor below which no generation is taken.
//!
//! ```text
//!  DIR/lock                      held by the one gateway that uses DIR
//!  DIR/bundle.00000000000000000007   header and octets, named by generation; the two newest are kept
//!  DIR/floor                     header and, in JSON, whose bundle was acknowledged last and its generation
//!  DIR/clock                     header and, in JSON, what is known of the time and of the controller's silence
//!  DIR/pending, DIR/rolled-back  the bundle that waits for confirmation, and the last that did not get it
//!  DIR/notices                   what councils and the operator have narrowed here
//!  DIR/history                   what became of bundles, step by step
//!  DIR/gateway.sock              the control socket
//! ```
//!
//! Every file is written to a temporary name, synced, renamed and its folder synced; its first line carries the
//! SHA-256 of the rest. A crash at any point leaves the old file or the new one. The floor guards against what
//! is handed in from outside; what lies here was acknowledged once, so that of two generations whichever is
//! whole may be used.

mod history;
mod record;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::bundle::{Digest, Floor};
use crate::identity::Name;

pub use history::{Step, What, history};
pub use record::{Record, recall};

/// How many generations are kept.
const KEPT: usize = 2;

/// No state file is longer, in octets: a bundle of 388 councils is far below.
const LONGEST: u64 = 64 << 20;

const FORM: &str = "turnpike-state ";

const MAGIC: &str = "turnpike-state 1 sha256:";

/// Why state could not be read or kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Another gateway uses this folder.
    #[error("another gateway uses the state in {0}")]
    InUse(PathBuf),
    /// The operating system refused.
    #[error("{what} {}: {cause}", path.display())]
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
    /// A later program wrote it.
    #[error("{} was written by a later version of turnpike", .0.display())]
    Newer(PathBuf),
    /// The file's hash is not its content's: it was cut short or changed.
    #[error("{} is damaged: its content does not have the hash in its first line", .0.display())]
    Damaged(PathBuf),
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |error| StateError::Io {
        what,
        path,
        cause: error.to_string(),
        denied: error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// The bundle acknowledged last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    /// The network.
    pub network: Name,
    /// The gateway that it was for.
    pub gateway: Name,
    /// Its generation.
    pub generation: u64,
    /// The digest of its octets.
    pub digest: Digest,
}

impl Acknowledged {
    /// The floor that it sets.
    pub fn floor(&self) -> Floor {
        Floor { generation: self.generation, digest: Some(self.digest) }
    }
}

/// A bundle that was applied once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its generation, as its file's name says.
    pub generation: u64,
    /// The bundle file's octets.
    pub octets: Vec<u8>,
}

/// The state folder, locked for this process.
#[derive(Debug)]
pub struct GatewayState {
    folder: PathBuf,
    _lock: Flock<File>,
}

impl GatewayState {
    /// Makes the folder if it is missing (mode 0700) and locks it.
    ///
    /// # Errors
    /// [`StateError::InUse`], or [`StateError::Io`].
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let make = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        make.map_err(failed("cannot make the state folder", folder))?;
        let path = folder.join("lock");
        let file = open_lock(&path).map_err(failed("cannot open", &path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(StateError::InUse(folder.to_owned())),
            Err((_, errno)) => Err(failed("cannot lock", &path)(errno.into())),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The bundle acknowledged last, if one was.
    ///
    /// # Errors
    /// [`StateError::Damaged`] and [`StateError::Io`].
    pub fn acknowledged(&self) -> Result<Option<Acknowledged>, StateError> {
        acknowledged(&self.folder)
    }

    /// The kept bundles that are whole, newest first, and what is wrong with the others.
    ///
    /// # Errors
    /// [`StateError::Io`] if the folder cannot be listed.
    pub fn bundles(&self) -> Result<(Vec<Kept>, Vec<StateError>), StateError> {
        bundles(&self.folder)
    }

    /// Keeps a bundle that was applied, then raises the floor, then forgets all but the two newest.
    ///
    /// # Errors
    /// [`StateError::Io`]: the former state is whole then.
    pub fn keep(&self, acknowledged: &Acknowledged, octets: &[u8]) -> Result<(), StateError> {
        self.write(&bundle_name(acknowledged.generation), octets)?;
        let floor =
            serde_json::to_vec(acknowledged).map_err(|error| failed("cannot write", &self.folder)(error.into()))?;
        self.write("floor", &floor)?;
        let files = files(&self.folder)?;
        let old = files.len().saturating_sub(KEPT);
        for (_, path) in &files[..old] {
            fs::remove_file(path).map_err(failed("cannot remove", path))?;
        }
        Ok(())
    }

    /// Whether something can be written here now.
    ///
    /// # Errors
    /// [`StateError::Io`] saying why not.
    pub fn probe(&self) -> Result<(), StateError> {
        let path = self.folder.join(".probe");
        let written = write_synced(&path, &[b"probe"]);
        let removed = fs::remove_file(&path);
        written.and(removed).map_err(failed("cannot write", &path))
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        let temporary = self.folder.join(format!(".{name}.new"));
        let path = self.folder.join(name);
        let header = format!("{MAGIC}{}\n", hex::encode(Sha256::digest(content)));
        if let Err(error) = write_synced(&temporary, &[header.as_bytes(), content]) {
            // On a full disk half a file would only take space; that it cannot be removed says nothing new.
            drop(fs::remove_file(&temporary));
            return Err(failed("cannot write", &temporary)(error));
        }
        fs::rename(&temporary, &path).map_err(failed("cannot rename to", &path))?;
        sync(&self.folder).map_err(failed("cannot sync", &self.folder))
    }
}

/// The bundle acknowledged last in a state folder, whoever uses it.
///
/// # Errors
/// [`StateError::Damaged`] and [`StateError::Io`].
pub fn acknowledged(folder: &Path) -> Result<Option<Acknowledged>, StateError> {
    let path = folder.join("floor");
    let Some(octets) = read(&path)? else { return Ok(None) };
    serde_json::from_slice(&octets).map(Some).map_err(|_| StateError::Damaged(path))
}

/// The kept bundles of a state folder that are whole, newest first, and what is wrong with the others. Takes no lock:
/// each file is whole or not yet there, whoever uses the folder.
///
/// # Errors
/// [`StateError::Io`] if the folder cannot be listed.
pub fn bundles(folder: &Path) -> Result<(Vec<Kept>, Vec<StateError>), StateError> {
    let (mut whole, mut broken) = (Vec::new(), Vec::new());
    for (generation, path) in files(folder)?.into_iter().rev() {
        match read(&path) {
            Ok(Some(octets)) => whole.push(Kept { generation, octets }),
            Ok(None) => {}
            Err(error) => broken.push(error),
        }
    }
    Ok((whole, broken))
}

fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>, StateError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed("cannot list", folder))? {
        let path = entry.map_err(failed("cannot list", folder))?.path();
        if let Some(generation) = generation_of(&path) {
            files.push((generation, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn bundle_name(generation: u64) -> String {
    format!("bundle.{generation:020}")
}

fn generation_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("bundle.")?.parse().ok()
}

/// Opens for locking; on a read-only file system an existing file will do.
fn open_lock(path: &Path) -> io::Result<File> {
    match OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(path),
        other => other,
    }
}

/// A rename or removal is on disk only when the folder is.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all())
}

fn write_synced(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("cannot read", path)(error)),
    };
    let mut octets = Vec::new();
    file.take(LONGEST).read_to_end(&mut octets).map_err(failed("cannot read", path))?;
    if is_newer(&octets) {
        return Err(StateError::Newer(path.to_owned()));
    }
    verified(&octets).map(|content| Some(content.to_vec())).ok_or_else(|| StateError::Damaged(path.to_owned()))
}

/// Whether a file's first line is that of a later form.
fn is_newer(octets: &[u8]) -> bool {
    let form = octets.strip_prefix(FORM.as_bytes()).and_then(|rest| rest.split(|octet| *octet == b' ').next());
    let form = form.and_then(|form| std::str::from_utf8(form).ok()?.parse::<u32>().ok());
    form.is_some_and(|form| form > 1)
}

fn verified(octets: &[u8]) -> Option<&[u8]> {
    let rest = octets.strip_prefix(MAGIC.as_bytes())?;
    let end = rest.iter().position(|octet| *octet == b'\n')?;
    let (hash, content) = (&rest[..end], &rest[end + 1..]);
    (hex::encode(Sha256::digest(content)).as_bytes() == hash).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, GatewayState) {
        let folder = tempfile::tempdir().expect("a folder");
        let state = GatewayState::open(folder.path()).expect("a state");
        (folder, state)
    }

    fn keep(state: &GatewayState, generation: u64, octets: &[u8]) {
        let (network, gateway) = ("connect".parse().expect("a name"), "leeds-1".parse().expect("a name"));
        let digest = Digest::of(&[octets]);
        state.keep(&Acknowledged { network, gateway, generation, digest }, octets).expect("kept");
    }

    #[test]
    fn a_new_state_is_empty_and_has_no_floor() {
        let (_folder, state) = state();
        assert_eq!(state.acknowledged(), Ok(None));
        assert_eq!(state.bundles(), Ok((vec![], vec![])));
    }

    #[test]
    fn the_two_newest_generations_are_kept_and_the_last_one_is_the_floor() {
        let (_folder, state) = state();
        for generation in [8, 9, 10, 11] {
            keep(&state, generation, format!("bundle {generation}").as_bytes());
        }
        let (whole, broken) = state.bundles().expect("listed");
        assert_eq!(whole.iter().map(|kept| kept.generation).collect::<Vec<_>>(), [11, 10]);
        assert_eq!(whole[0].octets, b"bundle 11");
        assert_eq!(broken, []);
        let floor = state.acknowledged().expect("read").expect("one");
        assert_eq!((floor.generation, floor.digest), (11, Digest::of(&[b"bundle 11"])));
    }

    #[test]
    fn a_state_has_one_user_at_a_time() {
        let (folder, state) = state();
        assert!(matches!(GatewayState::open(folder.path()), Err(StateError::InUse(_))));
        drop(state);
        assert!(GatewayState::open(folder.path()).is_ok());
    }

    #[test]
    fn a_file_cut_at_any_octet_or_changed_is_damaged_and_the_older_one_serves() {
        let (folder, state) = state();
        keep(&state, 1, b"old");
        keep(&state, 2, b"new");
        let path = folder.path().join(bundle_name(2));
        let good = fs::read(&path).expect("its octets");
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).expect("cut");
            let (whole, broken) = state.bundles().expect("listed");
            assert_eq!(whole, [Kept { generation: 1, octets: b"old".to_vec() }], "cut at {length}");
            assert_eq!(broken, [StateError::Damaged(path.clone())]);
        }
        let mut changed = good;
        *changed.last_mut().expect("an octet") ^= 1;
        fs::write(&path, &changed).expect("changed");
        assert_eq!(state.bundles().expect("listed").1, [StateError::Damaged(path)]);
    }

    #[test]
    fn a_file_of_a_later_form_is_told_from_a_damaged_one() {
        let (folder, state) = state();
        keep(&state, 1, b"old");
        let path = folder.path().join(bundle_name(2));
        fs::write(&path, b"turnpike-state 2 sha512:00\n").expect("written");
        assert_eq!(state.bundles().expect("listed").1, [StateError::Newer(path)]);
    }

    #[test]
    fn what_a_crash_left_half_written_is_not_read() {
        let (folder, state) = state();
        keep(&state, 1, b"old");
        fs::write(folder.path().join(format!(".{}.new", bundle_name(2))), b"half").expect("a leftover");
        assert_eq!(state.bundles().expect("listed").0.len(), 1);
        keep(&state, 2, b"new");
        assert_eq!(state.bundles().expect("listed").0.len(), 2, "the leftover was no hindrance");
    }
}
