//! This process: going to the background, descriptors handed down by whoever started it, orphans, its own end.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid};

/// Which of the two processes a caller of [`daemonise`] finds itself in.
#[derive(Debug)]
pub enum Side {
    /// The one that was started: it may go now.
    Starter {
        /// The daemon.
        daemon: Pid,
        /// What the daemon told by [`Readiness::tell`]; `None` if it ended without a word.
        told: Option<u8>,
    },
    /// The one in the background, which has yet to become ready.
    Daemon(Readiness),
}

/// By which a daemon lets its starter go.
#[derive(Debug)]
pub struct Readiness(File);

/// Starts a second process in a session of its own with `/` as its folder, and waits in the first until the second
/// says how its start went. Until then both write to the same stderr.
///
/// To be called before any thread is started: the second process has the calling thread alone.
///
/// # Errors
/// Those of `fork(2)`, `pipe(2)`, `setsid(2)` and `chdir(2)`.
pub fn daemonise() -> io::Result<Side> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: callers start no thread before this, as documented, so the child inherits no lock that is held.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop(writer);
            let mut word = [0];
            let told = File::from(reader).read(&mut word)? == 1;
            Ok(Side::Starter { daemon: child, told: told.then_some(word[0]) })
        }
        ForkResult::Child => {
            drop(reader);
            setsid()?;
            chdir("/")?;
            Ok(Side::Daemon(Readiness(File::from(writer))))
        }
    }
}

impl Readiness {
    /// Tells the starter its exit code: 0 for "ready". A starter that was killed meanwhile is no error.
    ///
    /// # Errors
    /// Those of `write(2)`.
    pub fn tell(mut self, code: u8) -> io::Result<()> {
        match self.0.write_all(&[code]) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}

/// Makes `/dev/null` of stdin, and of stdout and stderr too if this process shall be `silent`.
///
/// # Errors
/// Those of `open(2)` and `dup2(2)`.
pub fn detach_terminal(silent: bool) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    if silent {
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
    }
    Ok(())
}

/// Takes over a descriptor that was handed down, such as by `WG_TUN_FD`, and keeps it from further children. Each
/// number may be taken once.
///
/// # Errors
/// `EBADF` if it is not open, or is one of the three standard ones.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(nix::Error::EBADF.into());
    }
    // SAFETY: fcntl(F_GETFD) touches no memory and fails on a number that is not open.
    if unsafe { nix::libc::fcntl(number, nix::libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number is open, and whoever handed it down, by naming it to us, made it ours; callers take each
    // number once, as documented.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    debug_assert_eq!(descriptor.as_raw_fd(), number);
    fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(descriptor)
}

/// While it lives, this process is the parent of its descendants' orphans; when dropped it lets them end for good,
/// as the first process of a machine would sooner or later (prctl(2), `PR_SET_CHILD_SUBREAPER`).
///
/// To be dropped last: whoever still waits for a child of this process would wait in vain.
#[derive(Debug)]
pub struct Orphans(());

impl Orphans {
    /// How long the drop waits for orphans that were killed and have yet to end.
    const PATIENCE: Duration = Duration::from_secs(2);

    /// Begins to adopt.
    ///
    /// # Errors
    /// Those of `prctl(2)`.
    pub fn adopt() -> io::Result<Self> {
        set_child_subreaper(true)?;
        Ok(Self(()))
    }
}

impl Drop for Orphans {
    fn drop(&mut self) {
        let deadline = Instant::now() + Self::PATIENCE;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) if Instant::now() < deadline => park_timeout(Duration::from_millis(5)),
                // ECHILD: there are none.
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// A descriptor that becomes readable when this process is asked to end: by SIGINT or SIGTERM.
///
/// # Errors
/// Those of `socketpair(2)` and `sigaction(2)`.
pub fn end_requested() -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd as _;

    use super::*;

    #[test]
    fn an_inherited_descriptor_is_taken_and_kept_from_children() {
        let (reader, writer) = pipe2(OFlag::empty()).expect("a pipe");
        let taken = inherited(writer.into_raw_fd()).expect("an open descriptor");
        let flags = fcntl(&taken, FcntlArg::F_GETFD).expect("its flags");
        assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
        File::from(taken).write_all(b"x").expect("a write");
        assert_eq!(File::from(reader).read(&mut [0; 2]).expect("a read"), 1);
    }

    #[test]
    fn what_is_not_open_or_standard_is_not_taken() {
        for number in [-1, 0, 1, 2, 1 << 20] {
            assert_eq!(inherited(number).map_err(|error| error.raw_os_error()).err(), Some(Some(9)), "{number}");
        }
    }
}
