//! Flows that have begun, and what their two ends say next.

use turnpike::net::Family;

use super::case::{Case, Part, Shape};
use super::packet::{ACK, SYN};
use super::random::Random;
use super::way::Way;

/// A flow whose first packet passed.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub way: Way,
    pub case: Case,
    /// Packets that passed.
    pub step: u32,
    /// Whether its server has said something.
    pub replied: bool,
    /// Whether something of it was denied since.
    pub denied: bool,
    /// The agreement by which its last packet passed.
    pub by: u32,
}

impl Conversation {
    /// What comes next, and in which part.
    pub fn next(&self, of: usize, random: &mut Random) -> (Way, Case, Part) {
        let begun = self.case.protocol != 6 || self.step > 2;
        if begun && random.one_in(6) {
            return self.error(of, random);
        }
        let client = match (self.case.protocol, self.step) {
            (6, 1) => false,
            (6, 2) => true,
            _ => random.one_in(2),
        };
        let way = if client { self.way.clone() } else { self.way.back() };
        (way, self.said(client), Part::Next { of, client })
    }

    /// A packet of one of its sides.
    fn said(&self, client: bool) -> Case {
        let (here, there) = self.case.ports;
        let ports = match (client, self.case.is_icmp()) {
            (true, _) => (here, there),
            (false, false) => (there, here),
            (false, true) => match there {
                8 => (0, 0),
                128 => (129, 129),
                query => (query + 1, query + 1),
            },
        };
        let flags = if self.step == 1 { SYN | ACK } else { ACK | 8 };
        Case { ports, flags, ttl: 64, shape: Shape::Whole, ..self.case.clone() }
    }

    fn error(&self, of: usize, random: &mut Random) -> (Way, Case, Part) {
        // Nobody has heard of what was not said.
        let client = self.replied && random.one_in(2);
        let way = if client { self.way.clone() } else { self.way.back() };
        let about = Case { flags: ACK, ..self.said(!client) };
        let (protocol, kinds): (u8, &[u16]) = match Family::of(way.ends.source) {
            Family::V4 => (1, &[3, 3, 11, 12, 5, 4]),
            Family::V6 => (58, &[1, 2, 3, 4]),
        };
        let kind = random.pick(kinds);
        let part = Part::Error { of, about, sender: way.written.back(), receiver: way.shown.back() };
        let case = Case { protocol, ports: (kind, kind), flags: 0, ttl: 64, exchange: 0, shape: Shape::Whole };
        (way, case, part)
    }
}
