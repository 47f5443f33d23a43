//! The programs that are compared, and how a user would start each.

use std::path::{Path, PathBuf};

/// A userspace implementation of WireGuard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// `turnpike tunnel`, as built for this run.
    Turnpike,
    /// Debian's newest package, unpacked by `scripts/subjects`.
    WireguardGo,
    /// From cargo, built by `scripts/subjects`.
    BoringtunCli,
}

impl Subject {
    /// All of them, in the table's order.
    pub const ALL: [Self; 3] = [Self::Turnpike, Self::WireguardGo, Self::BoringtunCli];

    /// Its name in tables, files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Turnpike => "turnpike",
            Self::WireguardGo => "wireguard-go",
            Self::BoringtunCli => "boringtun-cli",
        }
    }

    /// The subject of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|subject| subject.name() == name)
    }

    /// Where its program is to be.
    pub fn program(self) -> PathBuf {
        match self {
            Self::Turnpike => PathBuf::from(env!("CARGO_BIN_EXE_turnpike")),
            Self::WireguardGo | Self::BoringtunCli => tools().join(self.name()),
        }
    }

    /// What `scripts/subjects` noted as its version; our own for turnpike; `None` where the program is missing.
    pub fn version(self) -> Option<String> {
        match self {
            Self::Turnpike => Some(format!("{} (this tree)", env!("CARGO_PKG_VERSION"))),
            Self::WireguardGo | Self::BoringtunCli => {
                let note = std::fs::read_to_string(tools().join(format!("{}.version", self.name()))).ok()?;
                self.program().exists().then(|| note.trim().to_owned())
            }
        }
    }

    /// The words that make it serve `device` in the foreground.
    ///
    /// boringtun-cli gets one thread: with its default of four it was measured to be slower.
    pub fn words(self, device: &str) -> Vec<String> {
        let program = self.program().display().to_string();
        let more: &[&str] = match self {
            Self::Turnpike => &["tunnel", "--foreground"],
            Self::WireguardGo => &["-f"],
            Self::BoringtunCli => &["--foreground", "--disable-drop-privileges", "--threads", "1"],
        };
        std::iter::once(program.as_str()).chain(more.iter().copied()).chain([device]).map(str::to_owned).collect()
    }
}

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/tools/bin")
}
