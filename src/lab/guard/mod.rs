//! Network namespaces that cannot leak.
//!
//! ```no_run
//! # use turnpike::lab::guard::{Namespace, veth, wait_until};
//! # use std::time::Duration;
//! # fn main() -> Result<(), turnpike::lab::guard::GuardError> {
//! let (left, right) = (Namespace::new("left")?, Namespace::new("right")?);
//! veth(&left, "eth0", &right, "eth0")?;
//! left.address("eth0", "192.0.2.1/24")?;
//! right.address("eth0", "192.0.2.2/24")?;
//! let server = right.spawn({ let mut c = right.command("iperf3"); c.arg("-s"); c })?;
//! assert!(wait_until(Duration::from_secs(5), || server.log().contains("listening")));
//! # Ok(())
//! # }
//! ```
//!
//! Each [`Namespace`] is a folder in [`FOLDER`], named after its creator's process id and start time:
//!
//! ```text
//! /run/turnpike-netns/4711.8153926.0.left/net        the pinned namespace
//!                                        /1.log      what its first spawned process printed
//! ```
//!
//! Dropping it kills every process that still stands in it, unpins it and removes the folder. A creator that was
//! killed cannot do so: [`sweep`] does, as does the next [`Namespace::new`] of any process, since a folder whose
//! creator is gone belongs to nobody. Processes die with the creator anyway (`PR_SET_PDEATHSIG`); their own
//! children are found by their namespace.

mod leftovers;
mod process;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use crate::sys::netns::{self, Handle};

use leftovers::{Creator, clear, make_folder, processes_in, remove_folder};
pub use leftovers::{living, runs, sweep};
pub use process::Process;
use process::spawn_on_lasting_thread;

/// Where the namespaces are pinned. Not `/run/netns`: `ip netns add` remounts that and would hide ours.
pub const FOLDER: &str = "/run/turnpike-netns";

/// Why a namespace, a wire or a process could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// The operating system refused something.
    #[error("{what}: {cause}")]
    System {
        /// What was being done, and to what.
        what: String,
        /// The operating system's answer.
        cause: String,
    },
    /// A command ended with another status than 0.
    #[error("'{command}' in namespace {namespace} ended with {status}: {output}")]
    Failed {
        /// The namespace's label.
        namespace: String,
        /// The command with its arguments.
        command: String,
        /// Its exit status.
        status: String,
        /// What it printed to stderr, else to stdout.
        output: String,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> GuardError {
    let what = what.into();
    move |error| GuardError::System { what, cause: error.to_string() }
}

/// Whether the test `name` cannot run for lack of root; then it is said on stderr.
///
/// # Panics
/// With the environment variable `CI` set, where a skipped test is a failed one.
pub fn skip(name: &str) -> bool {
    if geteuid().is_root() {
        return false;
    }
    eprintln!("SKIP {name}: needs root");
    assert!(std::env::var_os("CI").is_none(), "SKIP {name}: needs root, and in CI a skip is a failure");
    true
}

/// Waits until `fact` holds, asking every 20 ms, at most `within`. Whether it came to hold.
pub fn wait_until(within: Duration, mut fact: impl FnMut() -> bool) -> bool {
    wait_for(within, || fact().then_some(())).is_some()
}

/// Waits until `fact` yields a value, asking every 20 ms, at most `within`.
pub fn wait_for<T>(within: Duration, mut fact: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = fact() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// A network namespace of our own, with loopback up. It goes, with all that runs in it, when dropped.
#[derive(Debug)]
pub struct Namespace {
    label: String,
    folder: PathBuf,
    handle: Handle,
    logs: AtomicU32,
}

impl Namespace {
    /// Makes a namespace. The label is for people and need not be unique. Removes what dead creators left.
    ///
    /// # Errors
    /// [`GuardError::System`], without root above all.
    pub fn new(label: &str) -> Result<Self, GuardError> {
        static SWEPT: Once = Once::new();
        static MADE: AtomicU32 = AtomicU32::new(0);
        SWEPT.call_once(|| match sweep() {
            Ok(left) if !left.is_empty() => eprintln!("removed leftover namespaces: {}", left.join(", ")),
            Ok(_) => {}
            Err(error) => eprintln!("cannot remove leftover namespaces: {error}"),
        });
        let creator = Creator::current().map_err(system("reading /proc/self/stat"))?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(FOLDER).join(format!("{}.{}.{number}.{label}", creator.pid, creator.started));
        make_folder(&folder).map_err(system(format!("making {}", folder.display())))?;
        let made = netns::make(&folder.join("net")).map_err(system(format!("making namespace {label}")));
        let handle = match made {
            Ok(handle) => handle,
            Err(error) => {
                remove_folder(&folder).map_err(system(format!("removing {}", folder.display())))?;
                return Err(error);
            }
        };
        let namespace = Self { label: label.to_owned(), folder, handle, logs: AtomicU32::new(0) };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The label that it was given.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The file on which it is pinned, for `nsenter --net=` and `ip link … netns`.
    pub fn path(&self) -> PathBuf {
        self.folder.join("net")
    }

    /// The namespace itself, for `sys`.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Its folder, which goes with it: a place for files of whatever runs in it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command that will run in it, and that is killed when the thread that spawns it ends.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        self.handle.within(&mut command);
        command
    }

    /// Runs a command in it to its end and gives what it printed to stdout.
    ///
    /// # Errors
    /// [`GuardError::Failed`] if it ends with another status than 0.
    pub fn run<'a>(&self, program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Result<String, GuardError> {
        let mut command = self.command(program);
        command.args(arguments).stdin(Stdio::null());
        let line = line_of(&command);
        let output = command.output().map_err(system(format!("starting '{line}'")))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        Err(GuardError::Failed {
            namespace: self.label.clone(),
            command: line,
            status: output.status.to_string(),
            output: String::from_utf8_lossy(said).trim().to_owned(),
        })
    }

    /// Runs `work` on a thread that stands in it, and waits for its end.
    ///
    /// # Errors
    /// [`GuardError::System`] if the namespace cannot be entered. A panic of `work` goes on in the caller.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, GuardError> {
        self.handle.enter(work).map_err(system(format!("entering namespace {}", self.label)))
    }

    /// Starts a process in it, in a process group of its own; stdout and stderr go to [`Process::log`]. It lives
    /// until it is dropped, the namespace is dropped, or this process ends.
    ///
    /// # Errors
    /// [`GuardError::System`].
    pub fn spawn(&self, mut command: Command) -> Result<Process, GuardError> {
        let line = line_of(&command);
        let path = self.folder.join(format!("{}.log", self.logs.fetch_add(1, Ordering::Relaxed) + 1));
        let log = File::options().append(true).create(true).open(&path);
        let (out, err) =
            log.and_then(|log| Ok((log.try_clone()?, log))).map_err(system(format!("making {}", path.display())))?;
        self.handle.within(&mut command);
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = spawn_on_lasting_thread(command).map_err(system(format!("starting '{line}'")))?;
        Ok(Process { child, line, log: path })
    }

    /// Runs `ip` in it; the words are separated by blanks, as on a command line.
    ///
    /// # Errors
    /// [`GuardError::Failed`] with what `ip` says.
    pub fn ip(&self, words: &str) -> Result<String, GuardError> {
        self.run("ip", words.split_ascii_whitespace())
    }

    /// Gives a device an address such as `192.0.2.1/24` or `2001:db8::1/64`, usable at once (no duplicate
    /// address detection), and sets it up.
    ///
    /// # Errors
    /// As [`Namespace::ip`].
    pub fn address(&self, device: &str, address: &str) -> Result<(), GuardError> {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.ip(&format!("link set {device} up"))?;
        self.ip(&format!("address add {address} dev {device} {nodad}")).map(drop)
    }

    /// Adds a route: `route("default", "via 192.0.2.1")`. The family is that of the addresses.
    ///
    /// # Errors
    /// As [`Namespace::ip`].
    pub fn route(&self, to: &str, how: &str) -> Result<(), GuardError> {
        let family = if to.contains(':') || how.contains(':') { "-6" } else { "-4" };
        self.ip(&format!("{family} route add {to} {how}")).map(drop)
    }

    /// Sets a network sysctl such as `net.ipv4.ip_forward`, in this namespace alone.
    ///
    /// # Errors
    /// [`GuardError::System`].
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), GuardError> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.enter(|| fs::write(&path, value))?
            .map_err(system(format!("setting {name} = {value} in namespace {}", self.label)))
    }

    /// The processes that stand in it, other than ours.
    pub fn processes(&self) -> BTreeSet<i32> {
        self.handle.inode().map(processes_in).unwrap_or_default()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.folder) {
            eprintln!("namespace {} is left in {}: {error}", self.label, self.folder.display());
        }
    }
}

/// Joins two namespaces by a pair of virtual Ethernet devices, both up.
///
/// # Errors
/// [`GuardError::Failed`] with what `ip` says.
pub fn veth(a: &Namespace, a_device: &str, b: &Namespace, b_device: &str) -> Result<(), GuardError> {
    let there = b.path();
    a.ip(&format!("link add {a_device} type veth peer name {b_device} netns {}", there.display()))?;
    a.ip(&format!("link set {a_device} up"))?;
    b.ip(&format!("link set {b_device} up")).map(drop)
}

/// Makes a bridge in a namespace, up, with these devices as its ports.
///
/// # Errors
/// [`GuardError::Failed`] with what `ip` says.
pub fn bridge(at: &Namespace, name: &str, ports: &[&str]) -> Result<(), GuardError> {
    at.ip(&format!("link add {name} type bridge"))?;
    at.ip(&format!("link set {name} up"))?;
    ports.iter().try_for_each(|port| at.ip(&format!("link set {port} master {name}")).map(drop))
}

fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
