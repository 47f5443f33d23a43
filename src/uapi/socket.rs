//! The socket file at which an interface is configured: made, probed, watched, removed.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{Mode, fchmod};

/// Where `wg(8)` looks for sockets.
pub const DIRECTORY: &str = "/var/run/wireguard";

/// Why there is no socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    /// Another process answers at it.
    #[error("another process already answers at {0}")]
    InUse(PathBuf),
    /// The path is something else than a socket.
    #[error("{0} exists and is no socket")]
    NotASocket(PathBuf),
    /// The operating system refused something.
    #[error("{what} {path}: {errno}")]
    System {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// Its answer.
        errno: Errno,
    },
}

fn system(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    let path = path.to_owned();
    move |error| SocketError::System { what, path, errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)) }
}

/// A listening socket with its file, which goes when it is dropped.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    /// The file, if it has one, with device and inode: another file of that name is not ours.
    file: Option<(PathBuf, (u64, u64))>,
}

impl Socket {
    /// Listens at `directory`/`name`.sock with mode 0600, making the directory with mode 0755 if there is none. A
    /// socket that nobody answers at any more is replaced.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn open(directory: &Path, name: &str) -> Result<Self, SocketError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .map_err(system("making the directory", directory))?;
        // Between finding a socket stale and replacing it, nobody else may have replaced it.
        let lock = File::open(directory).map_err(system("opening the directory", directory))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, errno)| system("locking the directory", directory)(errno.into()))?;
        let path = directory.join(format!("{name}.sock"));
        remove_stale(&path)?;
        let listener = listen_at(&path).map_err(system("listening at", &path))?;
        drop(lock);
        Self::new(listener, Some(path))
    }

    /// Takes a listening socket that was handed down.
    ///
    /// # Errors
    /// [`SocketError::System`] if it is no unix socket.
    pub fn inherited(descriptor: OwnedFd) -> Result<Self, SocketError> {
        let listener = UnixListener::from(descriptor);
        let address = listener.local_addr().map_err(system("reading the address of", Path::new("WG_UAPI_FD")))?;
        let path = address.as_pathname().map(Path::to_owned);
        Self::new(listener, path)
    }

    fn new(listener: UnixListener, path: Option<PathBuf>) -> Result<Self, SocketError> {
        let whose = path.clone().unwrap_or_default();
        listener.set_nonblocking(true).map_err(system("setting up", &whose))?;
        let file = match path {
            Some(path) => {
                let inode = inode(&path).map_err(system("looking at", &path))?;
                Some((path, inode))
            }
            None => None,
        };
        Ok(Self { listener, file })
    }

    /// Whether its file is still there: its removal asks the process to end.
    pub fn is_there(&self) -> bool {
        self.file.as_ref().is_none_or(|(path, ours)| inode(path).is_ok_and(|inode| inode == *ours))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some((path, _)) = self.file.as_ref().filter(|_| self.is_there())
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!("cannot remove {}: {error}", path.display());
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Removes a socket at which nobody answers.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("looking at", path)(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(system("removing the stale", path))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Also a full backlog (EAGAIN) is a sign of life.
        Ok(_) | Err(_) => Err(SocketError::InUse(path.to_owned())),
    }
}

/// Listens under another name first: `wg(8)` takes a socket that refuses it for a stale one and removes it, so none
/// of that name may be there before it listens. The directory is locked, so that a leftover of the other name is
/// nobody's.
fn listen_at(path: &Path) -> io::Result<UnixListener> {
    let fresh = path.with_extension("sock.new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = bound_at(&fresh)?;
    fs::rename(&fresh, path)?;
    Ok(listener)
}

fn bound_at(path: &Path) -> nix::Result<UnixListener> {
    let descriptor = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // On Linux the file takes its mode from the socket (unix(7) is silent; `unix_bind_bsd` in the kernel): so it is
    // never open to others, not for a moment, and the umask, which all threads share, stays as it is.
    fchmod(descriptor.as_fd(), Mode::from_bits_truncate(0o600))?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&descriptor), &UnixAddr::new(path)?)?;
    listen(&descriptor, Backlog::new(64)?)?;
    Ok(UnixListener::from(descriptor))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("a file").permissions().mode() & 0o777
    }

    #[test]
    fn the_file_is_for_its_owner_alone_in_a_directory_for_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().join("wireguard");
        let socket = Socket::open(&directory, "wg0").expect("a socket");
        assert_eq!((mode(&directory), mode(&directory.join("wg0.sock"))), (0o755, 0o600));
        assert!(socket.is_there());
        drop(socket);
        assert!(!directory.join("wg0.sock").exists());
    }

    #[test]
    fn a_living_socket_is_left_alone_and_a_stale_one_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wg0.sock");
        let living = Socket::open(folder.path(), "wg0").expect("a socket");
        assert_eq!(Socket::open(folder.path(), "wg0").err(), Some(SocketError::InUse(path.clone())));
        assert!(living.is_there());
        drop(living);
        drop(UnixListener::bind(&path).expect("one that leaves its file"));
        assert!(path.exists());
        assert!(Socket::open(folder.path(), "wg0").expect("the stale one replaced").is_there());
    }

    #[test]
    fn it_gets_its_name_when_it_listens() {
        let folder = tempfile::tempdir().expect("a folder");
        let fresh = folder.path().join("wg0.sock.new");
        drop(UnixListener::bind(&fresh).expect("what a crash left"));
        let socket = Socket::open(folder.path(), "wg0").expect("a socket");
        let bound = socket.listener.local_addr().expect("an address");
        assert_eq!(bound.as_pathname(), Some(fresh.as_path()), "it was bound under another name");
        assert!(!fresh.exists() && socket.is_there(), "which it has no more");
        assert!(UnixStream::connect(folder.path().join("wg0.sock")).is_ok());
    }

    #[test]
    fn what_is_no_socket_is_not_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wg0.sock");
        fs::write(&path, "precious").expect("a file");
        assert_eq!(Socket::open(folder.path(), "wg0").err(), Some(SocketError::NotASocket(path.clone())));
        assert_eq!(fs::read(&path).expect("still there"), b"precious");
    }

    #[test]
    fn another_file_of_that_name_is_not_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wg0.sock");
        let socket = Socket::open(folder.path(), "wg0").expect("a socket");
        fs::rename(&path, folder.path().join("kept")).expect("a rename");
        assert!(!socket.is_there());
        fs::write(&path, "").expect("a file");
        assert!(!socket.is_there());
        drop(socket);
        assert!(path.exists());
    }

    #[test]
    fn a_listener_that_was_handed_down_is_watched_by_its_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wg0.sock");
        let listener = UnixListener::bind(&path).expect("a listener");
        let socket = Socket::inherited(listener.into()).expect("a unix socket");
        assert!(socket.is_there());
        fs::remove_file(&path).expect("removed");
        assert!(!socket.is_there());
    }
}
