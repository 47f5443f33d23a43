//! A process in a namespace, which ends with whoever holds it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{GuardError, system, wait_for};

/// A process in a namespace. It is killed when dropped.
#[derive(Debug)]
pub struct Process {
    pub(super) child: Child,
    pub(super) line: String,
    pub(super) log: PathBuf,
}

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The command with its arguments.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// What it has printed so far; empty once its namespace is gone.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Sends it a signal, if it still runs.
    ///
    /// # Errors
    /// [`GuardError::System`].
    pub fn signal(&mut self, signal: Signal) -> Result<(), GuardError> {
        if self.exited().is_some() {
            return Ok(());
        }
        kill(pid_of(&self.child), signal)
            .map_err(|error| system(format!("sending {signal} to '{}'", self.line))(error.into()))
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end, at most `within`.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        wait_for(within, || self.exited())
    }

    /// Asks it to end by SIGTERM, kills it if it does not within that time, and says how it ended.
    ///
    /// # Errors
    /// [`GuardError::System`].
    pub fn stop(mut self, within: Duration) -> Result<ExitStatus, GuardError> {
        self.signal(Signal::SIGTERM)?;
        if let Some(status) = self.wait(within) {
            return Ok(status);
        }
        self.signal(Signal::SIGKILL)?;
        self.child.wait().map_err(system(format!("waiting for '{}'", self.line)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited().is_none()
            && let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop))
        {
            eprintln!("cannot end '{}' (process {}): {error}", self.line, self.child.id());
        }
    }
}

/// Spawns on a thread that lasts as long as this process, so that `PR_SET_PDEATHSIG`, which speaks of the
/// spawning thread, means this process.
pub(super) fn spawn_on_lasting_thread(command: Command) -> io::Result<Child> {
    type Request = (Command, mpsc::SyncSender<io::Result<Child>>);
    static SPAWNER: LazyLock<mpsc::Sender<Request>> = LazyLock::new(|| {
        let (requests, queue) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, reply) in queue {
                // Nobody waits any more: the child is dropped, not killed, but the namespace will end it.
                reply.send(command.spawn()).ok();
            }
        });
        requests
    });
    let (reply, answer) = mpsc::sync_channel(1);
    SPAWNER.send((command, reply)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    answer.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}
