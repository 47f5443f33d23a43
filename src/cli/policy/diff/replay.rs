//! Recorded flows held against a difference: whose conversations would be cut, and whose refused ones would pass.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::{Exit, Failure};
use crate::event::{self, Event};
use crate::net::Flow;
use crate::policy::diff::{Diff, Row, Way};

/// The longest line that an event is.
const LONGEST: u64 = 64 * 1024;

/// Which of the recorded flows would be treated differently.
#[derive(Debug, Default, Serialize)]
pub(super) struct Replayed {
    /// By who talks to whom.
    pub(super) conversations: Vec<Conversation>,
    /// Events that were looked at.
    pub(super) events: u64,
    /// Lines that are no events.
    pub(super) unreadable: u64,
    /// Events that do not say who talked to whom, or not in addresses of the overlay.
    pub(super) incomplete: u64,
}

/// Flows from one address to one port of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Conversation {
    /// `cut` or `newly allowed`.
    pub(super) becomes: &'static str,
    /// From when on.
    pub(super) from: Timestamp,
    pub(super) source: IpAddr,
    pub(super) source_department: Option<String>,
    pub(super) destination: IpAddr,
    /// As in `tcp/443`.
    pub(super) flow: String,
    pub(super) service: String,
    /// The agreement by which it was recorded as allowed.
    pub(super) agreement: Option<String>,
    /// How many packets were recorded: of allowed flows those that opened one.
    pub(super) packets: u64,
    pub(super) last_seen: Timestamp,
}

/// Reads recorded events and tells which of them the difference concerns.
///
/// # Errors
/// 69 and 77: the file cannot be read.
pub(super) fn replay(path: &Path, diff: &Diff, start: Timestamp) -> Result<Replayed, Failure> {
    let unreadable = |error: io::Error| {
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        let exit = if denied { Exit::NoPermission } else { Exit::Unavailable };
        let help = "name a file of events: what 'turnpike gateway run --events FILE' writes";
        Failure::new(exit, format!("cannot read {}: {error}", path.display()), help)
    };
    if path == Path::new("-") {
        return read(io::stdin().lock(), diff, start).map_err(unreadable);
    }
    read(File::open(path).map_err(unreadable)?, diff, start).map_err(unreadable)
}

fn read(from: impl Read, diff: &Diff, start: Timestamp) -> io::Result<Replayed> {
    let mut from = BufReader::new(from);
    let mut replayed = Replayed::default();
    let mut rows: Vec<&Row> = diff.rows.iter().collect();
    // Of several the first one tells.
    rows.sort_by_key(|row| row.window);
    let mut found: BTreeMap<(Way, IpAddr, IpAddr, String), Conversation> = BTreeMap::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut from).take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let Some(event) = Event::from_json(&line) else {
            replayed.unreadable += u64::from(!line.trim_ascii().is_empty());
            continue;
        };
        replayed.events += 1;
        let Some(flow) = event.flow() else {
            replayed.incomplete += 1;
            continue;
        };
        if let Some((way, conversation)) = concerned(&rows, start, &event, &flow) {
            let key = (way, flow.source, flow.destination, conversation.flow.clone());
            let known = found.entry(key).or_insert_with(|| Conversation { packets: 0, ..conversation.clone() });
            known.packets = known.packets.saturating_add(event.packets);
            known.last_seen = known.last_seen.max(conversation.last_seen);
        }
    }
    replayed.conversations = found.into_values().collect();
    Ok(replayed)
}

/// What becomes of a recorded flow: an allowed one may be cut, a refused one may pass.
fn concerned(rows: &[&Row], start: Timestamp, event: &Event, flow: &Flow) -> Option<(Way, Conversation)> {
    let way = match event.verdict {
        event::Verdict::Allowed => Way::Lost,
        event::Verdict::Denied => Way::Gained,
    };
    let row = rows.iter().find(|row| row.way == way && row.has(flow))?;
    let conversation = Conversation {
        becomes: if way == Way::Lost { "cut" } else { "newly allowed" },
        from: row.witness.1.max(start),
        source: flow.source,
        source_department: event.source_department.as_ref().map(ToString::to_string),
        destination: flow.destination,
        flow: flow.asks(),
        service: row.service.to_string(),
        agreement: event.agreement.as_ref().map(ToString::to_string),
        packets: event.packets,
        last_seen: event.last.unwrap_or(event.time),
    };
    Some((way, conversation))
}
