//! A difference as JSON.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::replay::Replayed;
use crate::net::{Aim, Flow};
use crate::policy::Origin;
use crate::policy::diff::{Diff, Remapped, Row, Window};

#[derive(Serialize)]
pub(super) struct Json<'a> {
    /// From when on differences are told.
    from: Timestamp,
    gained: usize,
    lost: usize,
    rows: Vec<Line>,
    remapped: Vec<Moved>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<&'a Replayed>,
}

#[derive(Serialize)]
struct Line {
    way: &'static str,
    from: Vec<Consumer>,
    service: String,
    /// Empty for all of the service's.
    hosts: Vec<IpAddr>,
    /// As people read it.
    flows: String,
    window: Times,
    /// In all of which; empty for always.
    hours: Vec<String>,
    agreements: Vec<Placed>,
    causes: Vec<Cause>,
    witness: Witness,
}

#[derive(Serialize)]
struct Consumer {
    department: String,
    /// First and last address of each range; empty for all of the department's.
    part: Vec<(IpAddr, IpAddr)>,
}

/// Seconds that belong to it; without an end that is not known.
#[derive(Serialize)]
struct Times {
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

#[derive(Serialize)]
struct Placed {
    id: String,
    #[serde(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct Cause {
    about: &'static str,
    text: String,
    #[serde(flatten)]
    place: Place,
}

#[derive(Default, Serialize)]
struct Place {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

#[derive(Serialize)]
struct Witness {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_type: Option<u8>,
    at: Timestamp,
}

#[derive(Serialize)]
struct Moved {
    department: String,
    overlay: String,
    old_real: String,
    new_real: String,
    #[serde(flatten)]
    place: Place,
}

impl<'a> Json<'a> {
    pub(super) fn of(diff: &Diff, from: Timestamp, replay: Option<&'a Replayed>) -> Self {
        let [gained, lost] = diff.counts();
        let rows = diff.rows.iter().map(Line::of).collect();
        Self { from, gained, lost, rows, remapped: diff.remapped.iter().map(Moved::of).collect(), replay }
    }
}

impl Line {
    fn of(row: &Row) -> Self {
        let consumers = row
            .from
            .iter()
            .map(|consumer| Consumer { department: consumer.department.to_string(), part: consumer.part.clone() });
        let agreements =
            row.by.iter().map(|by| Placed { id: by.agreement.to_string(), place: place(by.origin.as_ref()) });
        let causes = row.causes.iter().map(|cause| Cause {
            about: cause.kind.label(),
            text: cause.text.clone(),
            place: place(cause.origin.as_ref()),
        });
        let (flow, at) = row.witness;
        Self {
            way: row.way.label(),
            from: consumers.collect(),
            service: row.service.to_string(),
            hosts: row.hosts.clone(),
            flows: row.flows.to_string(),
            window: Times::of(row.window),
            hours: row.when.iter().map(ToString::to_string).collect(),
            agreements: agreements.collect(),
            causes: causes.collect(),
            witness: Witness::of(&flow, at),
        }
    }
}

impl Times {
    fn of(window: Window) -> Self {
        let Window { from, until } = window;
        let instant = |second: i64| Timestamp::from_second(second).ok();
        Self { from: instant(from), until: if until == i64::MAX { None } else { instant(until - 1) } }
    }
}

impl Witness {
    fn of(flow: &Flow, at: Timestamp) -> Self {
        let (port, icmp_type) = match flow.aim {
            Aim::Port(port) => (Some(port), None),
            Aim::Icmp(kind) => (None, Some(kind)),
            Aim::Nothing => (None, None),
        };
        let Flow { source, destination, protocol, .. } = *flow;
        Self { source, destination, protocol: protocol.0, port, icmp_type, at }
    }
}

impl Moved {
    fn of(moved: &Remapped) -> Self {
        Self {
            department: moved.department.to_string(),
            overlay: moved.overlay.to_string(),
            old_real: moved.old.to_string(),
            new_real: moved.new.to_string(),
            place: place(moved.origin.as_ref()),
        }
    }
}

fn place(origin: Option<&Origin>) -> Place {
    origin.map_or_else(Place::default, |origin| Place { file: Some(origin.file.clone()), line: Some(origin.line) })
}
