//! Where events are written: a file of JSON lines, or journald by its native protocol.
//!
//! The file is opened for each window and closed again, so that whoever rotates it only has to rename it; a window that
//! does not fit is taken back as a whole, so that no line is ever half written. The journal takes a datagram an event;
//! each is far below the 200 KiB that a socket holds, since every field is bounded.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Events;
use crate::event::Event;

/// journald's socket (systemd.io, "Journal Native Protocol").
const JOURNAL: &str = "/run/systemd/journal/socket";

/// How long a journal that is busy is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where events are written.
#[derive(Debug)]
pub(super) enum Sink {
    /// Appended to this file.
    File(PathBuf),
    /// Nowhere: somebody else listens.
    Nowhere,
    /// Sent to the socket at this path, once it was found.
    Journal(PathBuf, Option<UnixDatagram>),
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Nowhere => f.write_str("off"),
            Self::Journal(..) => f.write_str("journald"),
        }
    }
}

impl Sink {
    /// The one that was asked for; `None` for none.
    pub(super) fn of(events: &Events) -> Option<Self> {
        let journal = || Self::Journal(JOURNAL.into(), None);
        match events {
            Events::Off => None,
            Events::Default => Path::new(JOURNAL).exists().then(journal),
            Events::Journald => Some(journal()),
            Events::File(path) => Some(Self::File(path.clone())),
        }
    }

    /// Whether it could be written now.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        match self {
            Self::File(path) => open(path).map(drop),
            Self::Nowhere => Ok(()),
            Self::Journal(path, socket) => connect(path, socket).map(drop),
        }
    }

    /// Writes events, and says how many of them: the first ones. All, unless there is an error.
    pub(super) fn write(&mut self, events: &[Event]) -> (usize, io::Result<()>) {
        match self {
            Self::File(path) => match append(path, events) {
                Ok(()) => (events.len(), Ok(())),
                Err(error) => (0, Err(error)),
            },
            // Nothing is written, and nothing is lost.
            Self::Nowhere => (events.len(), Ok(())),
            Self::Journal(path, socket) => send(path, socket, events),
        }
    }
}

/// Events tell who spoke with whom: the owner and its group may read them.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn append(path: &Path, events: &[Event]) -> io::Result<()> {
    let mut lines = Vec::new();
    for event in events {
        lines.extend(event.to_json_line()?);
    }
    let mut file = open(path)?;
    let before = file.metadata()?.len();
    let written = file.write_all(&lines);
    // A disk that is full takes a part.
    if written.is_err()
        && let Err(error) = file.set_len(before)
    {
        tracing::debug!(%error, "what was written in part could not be taken back");
    }
    written
}

fn connect<'a>(path: &Path, socket: &'a mut Option<UnixDatagram>) -> io::Result<&'a UnixDatagram> {
    let connected = match socket.take() {
        Some(connected) => connected,
        None => {
            let fresh = UnixDatagram::unbound()?;
            fresh.connect(path)?;
            fresh.set_write_timeout(Some(PATIENCE))?;
            fresh
        }
    };
    Ok(socket.insert(connected))
}

fn send(path: &Path, socket: &mut Option<UnixDatagram>, events: &[Event]) -> (usize, io::Result<()>) {
    for (sent, event) in events.iter().enumerate() {
        let outcome = event.to_journal().map_err(io::Error::from).and_then(|fields| {
            let connected = connect(path, socket)?;
            connected.send(&fields).map(drop)
        });
        if let Err(error) = outcome {
            // A journald that was restarted has another socket.
            *socket = None;
            return (sent, Err(error));
        }
    }
    (events.len(), Ok(()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::event::Directory;
    use crate::ruleset::Cause;

    fn events(count: usize) -> Vec<Event> {
        let directory = Directory::new(&crate::bundle::sample::edge().policy, 1, "tp0");
        vec![directory.blank(Cause::NoAgreement, Timestamp::UNIX_EPOCH); count]
    }

    #[test]
    fn a_file_gets_a_line_each_and_may_be_renamed_between_windows() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let mut sink = Sink::of(&Events::File(path.clone())).expect("a sink");
        sink.probe().expect("it can be written");
        let lines = |path: &Path| std::fs::read_to_string(path).expect("text").lines().count();
        assert!(matches!(sink.write(&events(3)), (3, Ok(()))));
        std::fs::rename(&path, folder.path().join("events.1")).expect("rotated");
        assert!(matches!(sink.write(&events(2)), (2, Ok(()))));
        assert_eq!((lines(&folder.path().join("events.1")), lines(&path)), (3, 2));
    }

    #[test]
    fn what_cannot_be_written_is_an_error_and_then_works_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("missing/events.jsonl");
        let mut sink = Sink::of(&Events::File(path.clone())).expect("a sink");
        assert!(sink.probe().is_err());
        assert!(matches!(sink.write(&events(2)), (0, Err(_))));
        std::fs::create_dir(folder.path().join("missing")).expect("a folder");
        assert!(matches!(sink.write(&events(2)), (2, Ok(()))));
        // Linux's own disk that is always full.
        let mut full = Sink::File("/dev/full".into());
        assert!(matches!(full.write(&events(1)), (0, Err(_))));
    }

    #[test]
    fn the_journal_gets_a_datagram_each_and_may_be_restarted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let mut sink = Sink::Journal(path.clone(), None);
        assert!(sink.probe().is_err());
        for _ in 0..2 {
            let journal = UnixDatagram::bind(&path).expect("bound");
            journal.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            // The former socket may be found closed first.
            let (sent, _) = sink.write(&events(2));
            let (again, outcome) = if sent == 2 { (0, Ok(())) } else { sink.write(&events(2)) };
            assert!(outcome.is_ok() && sent + again == 2);
            let mut octets = [0; 4096];
            for _ in 0..2 {
                let length = journal.recv(&mut octets).expect("a datagram");
                let text = std::str::from_utf8(&octets[..length]).expect("text");
                assert!(
                    text.starts_with("MESSAGE=denied (no_agreement)") && text.contains("\nTURNPIKE_GENERATION=1\n")
                );
            }
            drop(journal);
            std::fs::remove_file(&path).expect("removed");
        }
    }

    #[test]
    fn without_journald_the_default_is_nowhere() {
        assert!(Sink::of(&Events::Off).is_none());
        assert_eq!(Sink::of(&Events::Default).is_some(), Path::new(JOURNAL).exists());
    }
}
