//! Who serves an interface, and whether the test can run.

use std::net::IpAddr;

use turnpike::lab::guard::Namespace;

use crate::bench::{Bench, Node, TURNPIKE, Wire, introduce};

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

/// Who serves an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Turnpike,
    WireguardGo,
}

impl Engine {
    /// Starts an interface with a key of its own, without addresses and peers.
    pub fn start<'a>(self, bench: &'a Bench, at: &'a Namespace, device: &'static str) -> Node<'a> {
        let words: &[&str] = match self {
            Self::Turnpike => &["LOG_LEVEL=debug", TURNPIKE, "tunnel"],
            Self::WireguardGo => &["LOG_LEVEL=verbose", "wireguard-go"],
        };
        Node::start(bench, at, device, &[&["env"], words, &["-f", device]].concat())
    }
}

/// Two interfaces that know each other over `outer`; the left one must begin.
pub fn pair<'a>(bench: &'a Bench, wire: &'a Wire, engines: [Engine; 2], outer: IpAddr) -> [Node<'a>; 2] {
    let left = engines[0].start(bench, &wire.left, "wgl");
    let right = engines[1].start(bench, &wire.right, "wgr");
    introduce(&left, &right, outer);
    [left, right]
}

impl Bench {
    /// The exit code of a command in `at`, and what it said to stderr.
    pub fn outcome(&self, at: &Namespace, words: &[&str]) -> (Option<i32>, String) {
        let output = self.command(at, words).output().expect("a process");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
