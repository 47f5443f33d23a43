//! Sets of flows between two addresses: which protocols, ports and ICMP types.
//!
//! ```text
//!  tcp   ▕██████▏    ▕█▏          spans of ports 0 to 65,535 for each protocol that has ports
//!  udp        ▕███▏
//!  sctp
//!  icmp  ▕ 256 types, of the family's own ICMP ▏
//!  other ▕ 256 protocols, without those above  ▏
//! ```
//!
//! Exactly what [`Flow::is`](crate::net::Flow::is) tells apart, so that two sets are equal if and only if no flow is in one
//! alone.

use std::fmt;

use crate::bundle::{Match, joined, without};
use crate::net::{Aim, Family, Protocol};

type Span = (u16, u16);

/// The protocols that have ports, in the order in which people name them.
const PORTS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];

/// A set of flows between two addresses of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space {
    /// Per protocol of [`PORTS`] spans in ascending order that neither overlap nor touch.
    ports: [Vec<Span>; 3],
    types: Bits,
    others: Bits,
}

/// A set of octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Bits([u128; 2]);

impl Bits {
    const ALL: Self = Self([u128::MAX; 2]);

    fn of(octet: u8) -> Self {
        let bit = 1_u128 << (octet % 128);
        if octet < 128 { Self([bit, 0]) } else { Self([0, bit]) }
    }

    fn both(self, other: Self, of: impl Fn(u128, u128) -> u128) -> Self {
        Self([of(self.0[0], other.0[0]), of(self.0[1], other.0[1])])
    }

    fn has(self, octet: u8) -> bool {
        self.both(Self::of(octet), |a, b| a & b) != Self::default()
    }

    fn iter(self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(move |&octet| self.has(octet))
    }
}

fn own_icmp(family: Family) -> Protocol {
    match family {
        Family::V4 => Protocol::ICMP,
        Family::V6 => Protocol::ICMPV6,
    }
}

impl Space {
    /// Every flow.
    pub fn all(family: Family) -> Self {
        let apart = [Protocol::TCP, Protocol::UDP, Protocol::SCTP, own_icmp(family)];
        let apart = apart.into_iter().fold(Bits::default(), |bits, of| bits.both(Bits::of(of.0), |a, b| a | b));
        let whole = || vec![(0, u16::MAX)];
        Self { ports: [whole(), whole(), whole()], types: Bits::ALL, others: Bits::ALL.both(apart, |a, b| a & !b) }
    }

    /// What a match asks of flows of this family.
    pub fn of(matching: Match, family: Family) -> Self {
        let mut space = Self::default();
        match matching {
            Match::Port { protocol, port } => space.add_ports(protocol, (port, port)),
            Match::Ports { protocol, first, last } => space.add_ports(protocol, (first, last)),
            Match::Icmp { protocol, kind } if Protocol(protocol) == own_icmp(family) => space.types = Bits::of(kind),
            // Of the other family's ICMP no flow has a type.
            Match::Icmp { .. } => {}
            Match::Protocol { protocol } if Protocol(protocol) == own_icmp(family) => space.types = Bits::ALL,
            Match::Protocol { protocol } if Protocol(protocol).has_ports() => space.add_ports(protocol, (0, u16::MAX)),
            Match::Protocol { protocol } => space.others = Bits::of(protocol),
            Match::Any => space = Self::all(family),
        }
        space
    }

    /// What any of the matches asks; with none of them, nothing.
    pub fn of_any<'a>(matches: impl IntoIterator<Item = &'a Match>, family: Family) -> Self {
        matches.into_iter().fold(Self::default(), |space, &matching| space.or(&Self::of(matching, family)))
    }

    fn add_ports(&mut self, protocol: u8, span: Span) {
        if let Some(at) = PORTS.iter().position(|known| known.0 == protocol) {
            self.ports[at] = vec![span];
        }
    }

    /// Whether there is no flow in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is in either.
    pub fn or(&self, other: &Self) -> Self {
        let ports = [0, 1, 2].map(|at| joined([self.ports[at].as_slice(), other.ports[at].as_slice()].concat()));
        let either = |a: u128, b: u128| a | b;
        Self { ports, types: self.types.both(other.types, either), others: self.others.both(other.others, either) }
    }

    /// What is in this and not in the other.
    pub fn minus(&self, other: &Self) -> Self {
        let ports = [0, 1, 2].map(|at| {
            let cut = |left: Vec<Span>, &span: &Span| left.into_iter().flat_map(|it| without(it, span)).collect();
            other.ports[at].iter().fold(self.ports[at].clone(), cut)
        });
        let left = |a: u128, b: u128| a & !b;
        Self { ports, types: self.types.both(other.types, left), others: self.others.both(other.others, left) }
    }

    /// What is in both.
    pub fn and(&self, other: &Self) -> Self {
        self.minus(&self.minus(other))
    }

    /// One flow in it, if there is any: the first that people would try.
    pub fn sample(&self, family: Family) -> Option<(Protocol, Aim)> {
        for (protocol, spans) in PORTS.into_iter().zip(&self.ports) {
            // Port 0 is nobody's.
            let usual = spans.iter().find(|(_, last)| *last > 0).map(|(first, _)| (*first).max(1));
            if let Some(port) = usual.or_else(|| spans.first().map(|(first, _)| *first)) {
                return Some((protocol, Aim::Port(port)));
            }
        }
        let kind = self.types.iter().next().map(|kind| (own_icmp(family), Aim::Icmp(kind)));
        kind.or_else(|| self.others.iter().next().map(|protocol| (Protocol(protocol), Aim::Nothing)))
    }

    /// Whether a flow of this protocol and aim is in it.
    pub fn contains(&self, protocol: Protocol, aim: Aim, family: Family) -> bool {
        match aim {
            Aim::Port(port) => PORTS.into_iter().zip(&self.ports).any(|(known, spans)| {
                known == protocol && spans.iter().any(|(first, last)| (*first..=*last).contains(&port))
            }),
            Aim::Icmp(kind) => protocol == own_icmp(family) && self.types.has(kind),
            Aim::Nothing => self.others.has(protocol.0),
        }
    }

    /// In the definition's words, as few as possible: `tcp/443`, `any`, `any but tcp/23`.
    pub fn words(&self, family: Family) -> Words {
        let all = Self::all(family);
        if *self == all {
            return Words { all_but: true, list: Vec::new() };
        }
        let (said, unsaid) = (self.list(family), all.minus(self).list(family));
        if unsaid.len() < said.len() {
            Words { all_but: true, list: unsaid }
        } else {
            Words { all_but: false, list: said }
        }
    }

    fn list(&self, family: Family) -> Vec<String> {
        let mut words = Vec::new();
        for (protocol, spans) in PORTS.into_iter().zip(&self.ports) {
            words.extend(spans.iter().map(|&span| match span {
                (0, u16::MAX) => protocol.to_string(),
                (first, last) if first == last => format!("{protocol}/{first}"),
                (first, last) => format!("{protocol}/{first}-{last}"),
            }));
        }
        if self.types == Bits::ALL {
            words.push("icmp".to_owned());
        } else {
            let echo = if family == Family::V4 { 8 } else { 128 };
            words.extend(self.types.iter().map(|kind| match (kind, family) {
                (kind, _) if kind == echo => "icmp/echo-request".to_owned(),
                (13, Family::V4) => "icmp/timestamp-request".to_owned(),
                (kind, _) => format!("icmp/type-{kind}"),
            }));
        }
        let others = Self::all(family).others;
        if self.others == others {
            words.push("every other protocol".to_owned());
        } else {
            words.extend(self.others.iter().map(|protocol| match Protocol(protocol).to_string() {
                name if name.bytes().all(|octet| octet.is_ascii_digit()) => format!("protocol {name}"),
                name => name,
            }));
        }
        words
    }
}

/// What a [`Space`] holds, for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Words {
    /// Whether it is everything but what is listed.
    pub all_but: bool,
    /// In the definition's words.
    pub list: Vec<String>,
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.all_but, self.list.is_empty()) {
            (true, true) => f.write_str("any"),
            (true, false) => write!(f, "any but {}", self.list.join(", ")),
            (false, _) => f.write_str(&self.list.join(", ")),
        }
    }
}
