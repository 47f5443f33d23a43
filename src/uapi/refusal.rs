//! Why a request is refused, and the errno that says so on the wire.

use nix::errno::Errno;

/// Why a request is refused. Values are not repeated: some of them are keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The first line is neither `get=1` nor `set=1`.
    #[error("the request begins neither with get=1 nor with set=1")]
    UnknownOperation,
    /// `get=1` takes no further lines.
    #[error("get=1 is followed by another line than the empty one")]
    TrailingLine,
    /// A line without `=`, or not UTF-8.
    #[error("line {line} is not KEY=VALUE")]
    NotKeyValue {
        /// Lines count from 1, the operation being the first.
        line: u64,
    },
    /// A key that the section does not know.
    #[error("line {line}: '{key}' is no key of {section}")]
    UnknownKey {
        /// Lines count from 1.
        line: u64,
        /// At most 64 characters of it.
        key: String,
        /// Where the line stands.
        section: Section,
    },
    /// A value that the key does not take.
    #[error("line {line}: {key} takes {takes}")]
    BadValue {
        /// Lines count from 1.
        line: u64,
        /// The key.
        key: &'static str,
        /// What it takes.
        takes: &'static str,
    },
    /// A line of more than [`LINE_LIMIT`](super::LINE_LIMIT) octets.
    #[error("a line is longer than {} octets", super::LINE_LIMIT)]
    LineTooLong,
    /// A request of more than [`REQUEST_LIMIT`](super::REQUEST_LIMIT) octets.
    #[error("the request is longer than {} octets", super::REQUEST_LIMIT)]
    RequestTooLong,
}

/// The two sections of `set=1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Before the first `public_key`.
    Interface,
    /// After a `public_key`.
    Peer,
}

impl std::fmt::Display for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Interface => "the interface (a peer begins with public_key)",
            Self::Peer => "a peer",
        })
    }
}

impl Refusal {
    /// The errno, as `wireguard-go` chooses it; on the wire it is negative.
    pub fn errno(&self) -> Errno {
        match self {
            Self::UnknownOperation | Self::NotKeyValue { .. } => Errno::EPROTO,
            Self::TrailingLine | Self::UnknownKey { .. } | Self::BadValue { .. } => Errno::EINVAL,
            Self::LineTooLong | Self::RequestTooLong => Errno::EMSGSIZE,
        }
    }

    /// Whether what follows on the connection can no longer be told apart into requests.
    pub fn ends_the_connection(&self) -> bool {
        match self {
            Self::UnknownOperation | Self::LineTooLong | Self::RequestTooLong => true,
            Self::TrailingLine | Self::NotKeyValue { .. } | Self::UnknownKey { .. } | Self::BadValue { .. } => false,
        }
    }
}
