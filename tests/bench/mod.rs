//! The bench: namespaces joined by a wire, WireGuard interfaces in them, and what is measured through them.
//!
//! ```text
//!  left ── eth0 192.0.2.1, 2001:db8::1 ═══ eth0 192.0.2.2, 2001:db8::2 ── right
//!   └ wg device 10.9.0.1, fd09::1                 wg device 10.9.0.2, fd09::2 ┘
//! ```
//!
//! `wg(8)` finds sockets in `/var/run/wireguard` alone, so each bench has a mount namespace with a `/run` of its
//! own: neither other benches nor the machine are seen or touched. Shared by `tests/wireguard` and
//! `tests/conformance`.

mod node;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use turnpike::identity::PrivateKey;
use turnpike::lab::guard::{GuardError, Namespace, Process, wait_until};

pub use node::{Node, introduce};

/// The program under test.
pub const TURNPIKE: &str = env!("CARGO_BIN_EXE_turnpike");

/// Long enough for anything that is to happen "at once" on a busy machine.
pub const SOON: Duration = Duration::from_secs(10);

/// A mount namespace with an empty `/run`, and a folder for files.
pub struct Bench {
    holder: Process,
    /// Held to its end: the holder stands in it.
    _home: Namespace,
    folder: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let home = Namespace::new("home").expect("a namespace");
        let mut command = home.command("unshare");
        let script = "mount -t tmpfs tmpfs /run && if [ -e /sys/module/wireguard ]; then \
                      mount -t tmpfs tmpfs /sys/module; fi && echo ready && exec sleep infinity";
        command.args(["--mount", "--propagation", "slave", "sh", "-c", script]);
        let holder = home.spawn(command).expect("a process that holds the mount namespace");
        assert!(wait_until(SOON, || holder.log().contains("ready")), "{}", holder.log());
        Self { holder, _home: home, folder: tempfile::tempdir().expect("a folder") }
    }

    /// A folder of its own that is seen inside and outside.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file in that folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Writes a file in that folder and gives its path.
    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.file(name);
        std::fs::write(&path, content).expect("a file");
        text(&path).to_owned()
    }

    /// A preshared key in a file.
    pub fn preshared(&self, name: &str) -> String {
        self.write(name, PrivateKey::generate().expect("random octets").to_base64().as_str())
    }

    /// A command in `at` that sees this bench's `/run`.
    pub fn command(&self, at: &Namespace, words: &[&str]) -> Command {
        let mut command = at.command("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.pid())).arg("--").args(words);
        command
    }

    /// Runs a command in `at` to its end.
    pub fn run(&self, at: &Namespace, words: &[&str]) -> Result<String, GuardError> {
        let enter = format!("--mount=/proc/{}/ns/mnt", self.holder.pid());
        at.run("nsenter", [enter.as_str(), "--"].into_iter().chain(words.iter().copied()))
    }

    /// Starts a command in `at`.
    pub fn spawn(&self, at: &Namespace, words: &[&str]) -> Process {
        at.spawn(self.command(at, words)).expect("a process")
    }

    /// The socket of an interface on this bench, as seen from outside.
    pub fn socket(&self, device: &str) -> PathBuf {
        format!("/proc/{}/root/run/wireguard/{device}.sock", self.holder.pid()).into()
    }

    /// Whether a file exists as seen on this bench.
    pub fn exists(&self, at: &Namespace, path: &str) -> bool {
        self.run(at, &["test", "-e", path]).is_ok()
    }
}

/// Two namespaces joined by a wire with both families.
pub struct Wire {
    pub left: Namespace,
    pub right: Namespace,
}

impl Wire {
    pub fn new() -> Self {
        let (left, right) = (Namespace::new("left").expect("left"), Namespace::new("right").expect("right"));
        turnpike::lab::guard::veth(&left, "eth0", &right, "eth0").expect("a wire");
        for (end, number) in [(&left, 1), (&right, 2)] {
            end.address("eth0", &format!("192.0.2.{number}/24")).expect("an address");
            end.address("eth0", &format!("2001:db8::{number}/64")).expect("an address");
        }
        Self { left, right }
    }
}

/// The path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
