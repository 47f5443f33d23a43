//! The bench: namespaces joined by a wire, WireGuard interfaces in them, and what is measured through them.
//!
//! ```text
//!  left ── eth0 192.0.2.1, 2001:db8::1 ═══ eth0 192.0.2.2, 2001:db8::2 ── right
//!   └ wg device 10.9.0.1, fd09::1                 wg device 10.9.0.2, fd09::2 ┘
//! ```
//!
//! `wg(8)` finds sockets in `/var/run/wireguard` alone, so each bench has a mount namespace with a `/run` of its
//! own: neither other benches nor the machine are seen or touched.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use turnpike::identity::{PrivateKey, PublicKey};
use turnpike::lab::guard::{GuardError, Namespace, Process, wait_for, wait_until};

/// The program under test.
pub const TURNPIKE: &str = env!("CARGO_BIN_EXE_turnpike");

/// Long enough for anything that is to happen "at once" on a busy machine.
pub const SOON: Duration = Duration::from_secs(10);

/// Whether the test `name` can run here.
pub fn possible(name: &str) -> bool {
    if turnpike::lab::guard::skip(name) {
        return false;
    }
    for program in ["wireguard-go", "wg", "wg-quick"] {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|folder| folder.join(program).exists());
        if !found {
            eprintln!("SKIP {name}: needs {program}");
            assert!(std::env::var_os("CI").is_none(), "SKIP {name}: needs {program}, and in CI a skip is a failure");
            return false;
        }
    }
    true
}

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

    /// The exit code of a command in `at`, and what it said to stderr.
    pub fn outcome(&self, at: &Namespace, words: &[&str]) -> (Option<i32>, String) {
        let output = self.command(at, words).output().expect("a process");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Whether a file exists as seen on this bench.
    pub fn exists(&self, at: &Namespace, path: &str) -> bool {
        self.run(at, &["test", "-e", path]).is_ok()
    }
}

/// Who serves an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Turnpike,
    WireguardGo,
}

/// A WireGuard interface in a namespace.
pub struct Node<'a> {
    pub bench: &'a Bench,
    pub at: &'a Namespace,
    pub device: &'static str,
    pub key: PublicKey,
    pub process: Process,
}

impl<'a> Node<'a> {
    /// Starts an interface with a key of its own, without addresses and peers.
    pub fn start(bench: &'a Bench, at: &'a Namespace, engine: Engine, device: &'static str) -> Self {
        let process = match engine {
            Engine::Turnpike => bench.spawn(at, &["env", "LOG_LEVEL=debug", TURNPIKE, "tunnel", "-f", device]),
            Engine::WireguardGo => bench.spawn(at, &["env", "LOG_LEVEL=verbose", "wireguard-go", "-f", device]),
        };
        let key = PrivateKey::generate().expect("a key");
        let node = Self { bench, at, device, key: key.public(), process };
        assert!(wait_until(SOON, || node.wg("show", "").is_ok()), "{device}: {}", node.process.log());
        node.private_key(&key);
        node
    }

    /// Runs `wg COMMAND DEVICE WORDS`.
    pub fn wg(&self, command: &str, words: &str) -> Result<String, GuardError> {
        let words: Vec<&str> = ["wg", command, self.device].into_iter().chain(words.split_ascii_whitespace()).collect();
        self.bench.run(self.at, &words)
    }

    /// Runs `wg set` and expects it to succeed.
    pub fn set(&self, words: &str) {
        self.wg("set", words).unwrap_or_else(|error| panic!("{error}\n{}", self.process.log()));
    }

    /// Sets the private key.
    pub fn private_key(&self, key: &PrivateKey) {
        let path = self.bench.file(&format!("{}.key", self.device));
        std::fs::write(&path, key.to_base64().as_bytes()).expect("a key file");
        self.set(&format!("private-key {}", path.display()));
    }

    /// Gives the device its inner addresses.
    pub fn inner(&self, v4: &str, v6: &str) {
        self.at.ip(&format!("link set {} up", self.device)).expect("a device");
        self.at.address(self.device, v4).expect("an address");
        self.at.address(self.device, v6).expect("an address");
    }

    /// `wg show DEVICE WHAT` for one peer: the last column.
    pub fn shown(&self, what: &str, peer: &PublicKey) -> Option<String> {
        let table = self.wg("show", what).ok()?;
        let peer = peer.to_string();
        table.lines().find(|line| line.starts_with(&peer))?.split_ascii_whitespace().last().map(str::to_owned)
    }

    /// When the last handshake with a peer was, in seconds since 1970; 0 for never.
    pub fn handshake(&self, peer: &PublicKey) -> u64 {
        self.shown("latest-handshakes", peer).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Whether `to` answers to a ping from here within `within`.
    pub fn reaches_within(&self, to: &str, within: Duration) -> bool {
        wait_for(within, || self.at.run("ping", ["-n", "-c", "1", "-W", "1", to]).ok()).is_some()
    }

    /// Whether `to` answers to a ping from here soon.
    pub fn reaches(&self, to: &str) -> bool {
        self.reaches_within(to, SOON)
    }

    /// Whether the one ping that is sent is lost.
    pub fn is_deaf_to(&self, to: &str) -> bool {
        self.at.run("ping", ["-n", "-c", "1", "-W", "1", to]).is_err()
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

/// Two interfaces that know each other over `outer` ("v4" or "v6"); only the left one knows an endpoint, so it
/// must begin. Inner addresses of both families on both.
pub fn pair<'a>(bench: &'a Bench, wire: &'a Wire, engines: [Engine; 2], outer: IpAddr) -> [Node<'a>; 2] {
    let left = Node::start(bench, &wire.left, engines[0], "wgl");
    let right = Node::start(bench, &wire.right, engines[1], "wgr");
    left.inner("10.9.0.1/24", "fd09::1/64");
    right.inner("10.9.0.2/24", "fd09::2/64");
    right.set(&format!("listen-port 51820 peer {} allowed-ips 10.9.0.1/32,fd09::1/128", left.key));
    let endpoint = SocketAddr::new(outer, 51820);
    left.set(&format!("peer {} endpoint {endpoint} allowed-ips 10.9.0.2/32,fd09::2/128", right.key));
    [left, right]
}

/// A preshared key in a file.
pub fn preshared(bench: &Bench, name: &str) -> PathBuf {
    let path = bench.file(name);
    let key = PrivateKey::generate().expect("random octets");
    std::fs::write(&path, key.to_base64().as_bytes()).expect("a key file");
    path
}

/// The path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
