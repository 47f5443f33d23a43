//! What is sent, as octets and as the flow that it would open or answer.

use turnpike::net::{Aim, Flow, Protocol};

use super::packet::{self, ACK, Ends, SYN};
use super::way::Way;

/// What an authentication header stands before: a protocol for experiments (RFC 3692).
const EXPERIMENT: u8 = 253;

/// How a packet's IP header differs from the plainest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Whole,
    /// Options that ask for nothing.
    Options,
    /// Cut, in order or in the reverse one.
    Fragments {
        reversed: bool,
    },
    /// Cut, and one of the pieces lost.
    Incomplete,
}

/// What a packet says behind its addresses.
#[derive(Clone, Debug)]
pub struct Case {
    pub protocol: u8,
    /// Source and destination port, or the ICMP type twice.
    pub ports: (u16, u16),
    pub flags: u8,
    pub ttl: u8,
    /// What tells one exchange of ICMP queries from another.
    pub exchange: u16,
    pub shape: Shape,
}

/// What it is in its flow.
#[derive(Clone, Debug)]
pub enum Part {
    /// Nobody has seen anything of it before.
    First,
    /// Of the conversation with this number, from its client or its server.
    Next { of: usize, client: bool },
    /// An ICMP error about the other side's last packet, as its sender and its receiver know that.
    Error { of: usize, about: Case, sender: Ends, receiver: Ends },
    /// Must not come out anywhere.
    Stray,
    /// Must come out, else the batch says nothing.
    Canary,
}

/// A packet, its way and its number, which it carries at its end.
#[derive(Clone, Debug)]
pub struct Shot {
    pub id: u32,
    pub way: Way,
    pub case: Case,
    pub part: Part,
}

impl Case {
    pub fn is_icmp(&self) -> bool {
        matches!(self.protocol, 1 | 58)
    }

    pub fn opens_tcp(&self) -> bool {
        self.protocol == 6 && self.flags & (SYN | ACK) == SYN
    }

    fn packet(&self, ends: Ends, payload: &[u8]) -> Vec<u8> {
        let [high, low] = self.exchange.to_be_bytes();
        match self.protocol {
            6 => packet::tcp(ends, self.ports, self.flags, payload),
            17 => packet::udp(ends, self.ports, payload),
            1 | 58 => packet::icmp(ends, self.ports.1.to_be_bytes()[1], 0, [high, low, 0, 0], payload),
            132 => packet::sctp_init(ends, self.ports, *payload.last_chunk().expect("a number")),
            51 => packet::bare(ends, 51, &[&[EXPERIMENT, 1, 0, 0], &[1; 8][..], payload].concat()),
            protocol => packet::bare(ends, protocol, &[&[0; 8], payload].concat()),
        }
    }

    /// The flow that this would open.
    pub fn flow(&self, ends: Ends) -> Flow {
        let aim = match self.protocol {
            6 | 17 | 132 => Aim::Port(self.ports.1),
            1 | 58 => Aim::Icmp(self.ports.1.to_be_bytes()[1]),
            _ => Aim::Nothing,
        };
        Flow { source: ends.source, destination: ends.destination, protocol: Protocol(self.protocol), aim }
    }

    /// The flow of which this would be the answer.
    pub fn answered(&self, ends: Ends) -> Flow {
        let aim = match self.protocol {
            6 | 17 | 132 => Aim::Port(self.ports.0),
            1 | 58 => Aim::Icmp(match self.ports.1 {
                0 => 8,
                14 => 13,
                129 => 128,
                _ => 255,
            }),
            _ => Aim::Nothing,
        };
        Flow { source: ends.destination, destination: ends.source, protocol: Protocol(self.protocol), aim }
    }
}

impl Shot {
    /// How many packets it is.
    pub fn pieces(&self) -> usize {
        match self.case.shape {
            Shape::Whole | Shape::Options => 1,
            Shape::Fragments { .. } | Shape::Incomplete => {
                if self.way.written.source.is_ipv4() {
                    3
                } else {
                    2
                }
            }
        }
    }

    /// The packets, in the order in which they are sent. Each ends with the number.
    pub fn packets(&self) -> Vec<Vec<u8>> {
        let whole = packet::with_ttl(self.whole(), self.case.ttl);
        match self.case.shape {
            Shape::Whole => vec![whole],
            Shape::Options => vec![packet::with_options(whole)],
            Shape::Fragments { reversed } => {
                let mut pieces = self.cut(&whole);
                if reversed {
                    pieces.reverse();
                }
                pieces
            }
            Shape::Incomplete => {
                let mut pieces = self.cut(&whole);
                let lost = usize::try_from(self.id).expect("a number") % pieces.len();
                pieces.remove(lost);
                pieces
            }
        }
    }

    fn cut(&self, whole: &[u8]) -> Vec<Vec<u8>> {
        // Linux drops pieces of IPv6 below its least MTU of 1,280 octets, but for the last.
        let size = if self.way.written.source.is_ipv4() { 16 } else { 1232 };
        let [.., high, low] = self.id.to_be_bytes();
        packet::fragments(whole, size, u16::from_be_bytes([high, low]))
    }

    fn whole(&self) -> Vec<u8> {
        let (ends, id) = (self.way.written, self.id.to_be_bytes());
        match &self.part {
            Part::Error { about, sender, .. } => {
                let kind = self.case.ports.1.to_be_bytes()[1];
                packet::icmp(ends, kind, u8::from(kind == 3), [0; 4], &about.packet(*sender, &id))
            }
            Part::First | Part::Next { .. } | Part::Stray | Part::Canary => {
                let repeats = match (self.case.shape, ends.source.is_ipv4()) {
                    (Shape::Whole | Shape::Options, _) => 1,
                    (Shape::Fragments { .. } | Shape::Incomplete, true) => 10,
                    (Shape::Fragments { .. } | Shape::Incomplete, false) => 310,
                };
                self.case.packet(ends, &id.repeat(repeats))
            }
        }
    }
}
