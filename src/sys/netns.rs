//! Network namespaces: made, entered by a thread or a child process, removed.
//!
//! ```text
//!  passing()       a thread leaves for a new namespace, which lives as long as a handle to it
//!  make(path)      a thread leaves for a new namespace and pins it: a bind mount of its nsfs file on `path`
//!  Handle::enter   runs a closure on a thread of its own that stands in the namespace
//!  Handle::join    moves the calling thread there for good
//!  Handle::within  makes a `Command`'s child stand in it, and die with its parent
//!  remove(path)    unpins; the kernel frees the namespace when the last process and descriptor are gone
//! ```
//!
//! Namespaces belong to threads, not processes (`setns(2)`), so nothing here changes the caller's own.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::unistd::getppid;

/// An open network namespace. It lives on while a handle to it does.
#[derive(Clone, Debug)]
pub struct Handle(Arc<File>);

impl From<OwnedFd> for Handle {
    fn from(fd: OwnedFd) -> Self {
        Self(Arc::new(File::from(fd)))
    }
}

/// Makes a network namespace and pins it on `path`, a file that must not exist yet.
///
/// # Errors
/// Those of `unshare(2)` and `mount(2)`: `EPERM` without CAP_SYS_ADMIN. Nothing is left behind.
pub fn make(path: &Path) -> io::Result<Handle> {
    File::options().write(true).create_new(true).open(path)?;
    let made = on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        Ok(())
    });
    match made.and_then(|()| Handle::open(path)) {
        Ok(handle) => Ok(handle),
        Err(error) => remove(path).and(Err(error)),
    }
}

/// Makes a network namespace that is gone as soon as the last handle to it is.
///
/// # Errors
/// Those of `unshare(2)`: `EPERM` without CAP_SYS_ADMIN.
pub fn passing() -> io::Result<Handle> {
    on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Handle::current()
    })
}

/// Unpins the namespace on `path` and removes the file. Nothing to do is no error.
///
/// # Errors
/// Those of `umount2(2)` and `unlink(2)`.
pub fn remove(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
        Err(error) => return Err(error.into()),
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Handle {
    /// Opens a pinned namespace, or `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(|file| Self(Arc::new(file)))
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub fn current() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Moves the calling thread into the namespace. No other thread follows.
    ///
    /// # Errors
    /// Those of `setns(2)`: `EPERM` without CAP_SYS_ADMIN.
    pub fn join(&self) -> io::Result<()> {
        Ok(setns(&*self.0, CloneFlags::CLONE_NEWNET)?)
    }

    /// What tells namespaces apart: the inode number of the nsfs file (`namespaces(7)`).
    ///
    /// # Errors
    /// Those of `fstat(2)`.
    pub fn inode(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.ino())
    }

    /// Runs `work` on a thread that stands in the namespace, and waits for it. Sockets that it opens stay there.
    ///
    /// # Errors
    /// Those of `setns(2)`. A panic of `work` goes on in the caller.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_thread(|| {
            setns(&*self.0, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })
    }

    /// Becomes `command`, standing in the namespace: returns only if that fails.
    pub fn exec(&self, command: &mut Command) -> io::Error {
        match setns(&*self.0, CloneFlags::CLONE_NEWNET) {
            Ok(()) => command.exec(),
            Err(error) => error.into(),
        }
    }

    /// Makes the child of `command` stand in the namespace, and makes the kernel kill it when the thread that
    /// spawns it ends (`PR_SET_PDEATHSIG`, `prctl(2)`).
    pub fn within(&self, command: &mut Command) {
        let namespace = Arc::clone(&self.0);
        let parent = std::process::id();
        let arrange = move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            if u32::try_from(getppid().as_raw()) != Ok(parent) {
                return Err(io::Error::from(nix::Error::ESRCH));
            }
            setns(&*namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(())
        };
        // SAFETY: between fork and exec the closure only makes system calls (prctl, getppid, setns) on a
        // descriptor opened before; it allocates nothing and takes no lock.
        unsafe { command.pre_exec(arrange) };
    }
}

/// Runs `work` on a thread of its own, since a namespace, once changed, stays with its thread.
fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
