//! What the chains ask of the sets about one flow, as questions that a kernel can answer one by one.
//!
//! ```text
//!  Way ─▶ s_alive ─▶ s_segment, m_real, s_port │ s_own ─▶ m_department ─▶ m_port, m_range, m_icmp, m_protocol, m_any
//!         open?      a segment's own source    │ not by     whose?         the first that answers lets it pass
//!                                              │ the tunnel
//! ```
//!
//! Each question carries the key in the octets that the chains look up, and what the compiled table answers.

use std::net::IpAddr;

use super::elements::{ALIVE, per};
use super::table::{Field, Key, Set, Value, text};
use super::{Ruleset, marks, octets};
use crate::net::{Aim, Family, Flow, Protocol};

/// The way of a flow's first packet through one gateway.
#[derive(Clone, Debug)]
pub struct Way {
    /// The flow, in the addresses by which it is judged: real ones where both ends stand here, else overlay ones.
    pub flow: Flow,
    /// The tunnel's device.
    pub tunnel: String,
    /// The number of the source's department, where it is known here.
    pub department: Option<u32>,
    /// The segment that it comes from; `None` for the tunnel.
    pub input: Option<SegmentEnd>,
    /// The segment's device that it leaves by; `None` for the tunnel.
    pub output: Option<String>,
}

/// A source at its own segment.
#[derive(Clone, Debug)]
pub struct SegmentEnd {
    /// The segment's device.
    pub device: String,
    /// The source as the segment knows it.
    pub real: IpAddr,
}

/// What a question is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Whether the way is open at all.
    Alive,
    /// Whether it may come from where it comes from, and leave by where it leaves.
    Place,
    /// Which department the source belongs to.
    Department,
    /// Whether an agreement lets it pass.
    Agreement,
}

/// What a set holds for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// No element.
    Nothing,
    /// An element of a set.
    Member,
    /// An element of a map, with its mark.
    Mark(u32),
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What it is for.
    pub part: Part,
    /// The set or map.
    pub set: String,
    /// The key as nft writes it.
    pub key: String,
    /// The key as the kernel holds it.
    pub octets: Vec<u8>,
    /// What the compiled table answers.
    pub expected: Held,
}

impl Ruleset {
    /// What is asked about a flow, in the order in which the chains do.
    pub fn probes(&self, way: &Way) -> Vec<Probe> {
        let Flow { source, destination, .. } = way.flow;
        let local = way.input.is_some() && way.output.is_some();
        let mark = way.department.and_then(marks::department).map(Field::Mark);
        let alive = way.input.as_ref().filter(|_| local).map_or(&way.tunnel, |input| &input.device);
        let mut asked = vec![(Part::Alive, ALIVE.to_owned(), vec![Field::device(alive)])];
        match &way.input {
            Some(SegmentEnd { device: name, real }) => {
                asked.push((Part::Place, "s_segment".to_owned(), vec![Field::device(name)]));
                asked.push((Part::Place, per(Family::of(*real), "m_real"), vec![Field::Address(*real)]));
                asked.extend(mark.map(|mark| (Part::Place, "s_port".to_owned(), vec![Field::device(name), mark])));
            }
            None => asked.push((Part::Place, per(Family::of(source), "s_own"), vec![Field::Address(source)])),
        }
        asked.extend(way.output.iter().map(|name| (Part::Place, "s_segment".to_owned(), vec![Field::device(name)])));
        let departments = if local { "m_real" } else { "m_department" };
        asked.push((Part::Department, per(Family::of(source), departments), vec![Field::Address(source)]));
        let family = Family::of(destination);
        for (map, fields) in mark.is_some().then(|| lookups(&way.flow)).into_iter().flatten() {
            let key = mark.into_iter().chain([Field::Address(destination)]).chain(fields).collect();
            asked.push((Part::Agreement, per(family, map), key));
        }
        asked.into_iter().filter_map(|(part, set, key)| self.probe(part, set, &key.into_iter().collect())).collect()
    }

    fn probe(&self, part: Part, name: String, key: &Key) -> Option<Probe> {
        let set = self.table.sets.get(&name)?;
        Some(Probe {
            part,
            octets: octets::lookup(&set.shape, key).to_vec(),
            key: text(key),
            expected: held(set, key),
            set: name,
        })
    }
}

/// The maps that name an agreement, in their order, and the last fields of their keys.
fn lookups(flow: &Flow) -> Vec<(&'static str, Vec<Field>)> {
    let protocol = Field::Number(flow.protocol.0.into());
    let icmp = |of: Protocol| matches!(of, Protocol::ICMP | Protocol::ICMPV6);
    let mut lookups = match flow.aim {
        Aim::Port(port) if flow.protocol.has_ports() => {
            let key = vec![protocol, Field::Number(port)];
            vec![("m_port", key.clone()), ("m_range", key)]
        }
        Aim::Icmp(kind) if icmp(flow.protocol) => vec![("m_icmp", vec![Field::Number(kind.into())])],
        Aim::Port(_) | Aim::Icmp(_) | Aim::Nothing => Vec::new(),
    };
    lookups.extend([("m_protocol", vec![protocol]), ("m_any", Vec::new())]);
    lookups
}

/// What a set holds for the key of one packet.
fn held(set: &Set, key: &Key) -> Held {
    let found = if set.shape.interval {
        set.elements.iter().find(|(held, _)| covers(held, key)).map(|(_, value)| *value)
    } else {
        set.get(key)
    };
    match found {
        None => Held::Nothing,
        Some(Value::Member | Value::For(_)) => Held::Member,
        Some(Value::Mark(mark)) => Held::Mark(mark),
    }
}

fn covers(held: &Key, key: &Key) -> bool {
    let within = |(held, field): (&Field, &Field)| match (held, field) {
        (Field::Prefix(prefix), Field::Address(address)) => prefix.contains(*address),
        (Field::Range(first, last), Field::Number(number)) => (first..=last).contains(&number),
        (held, field) => held == field,
    };
    held.len() == key.len() && held.iter().zip(key).all(within)
}
