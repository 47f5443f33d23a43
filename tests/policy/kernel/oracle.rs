//! What should become of a packet: the evaluator's verdicts, and what connection tracking makes of them.

use std::collections::HashMap;
use std::net::IpAddr;

use turnpike::net::Protocol;
use turnpike::policy::model::Model;
use turnpike::policy::{Evaluator, Reason, Verdict};

use super::case::{Case, Part, Shape, Shot};
use super::conversation::Conversation;
use super::packet::{ACK, Ends, SYN};
use super::way::{Map, Stop};

/// An entry of connection tracking where nothing but the addresses tells flows apart.
#[derive(Clone, Copy, Debug)]
struct Entry {
    original: Ends,
    replied: bool,
}

/// What the kernels know of earlier packets.
#[derive(Default)]
pub struct Memory {
    entries: HashMap<Pair, Entry>,
}

/// A gateway, two addresses and a protocol, whichever of the two sends.
type Pair = (usize, IpAddr, IpAddr, u8);

/// The verdicts on what a packet would open and on what it would answer.
pub struct Verdicts {
    pub there: Verdict,
    pub back: Verdict,
}

impl Verdicts {
    fn either(&self) -> bool {
        self.there.allows() || self.back.allows()
    }
}

pub struct Oracle<'a> {
    pub model: &'a Model,
    pub evaluator: &'a Evaluator,
    pub conversations: &'a [Conversation],
}

impl Oracle<'_> {
    pub fn verdicts(&self, shot: &Shot) -> Verdicts {
        let (case, ends) = (&shot.case, shot.way.ends);
        Verdicts {
            there: self.evaluator.evaluate(&case.flow(ends)),
            back: self.evaluator.evaluate(&case.answered(ends)),
        }
    }

    /// Whether each shot comes to the end of its way. They are taken in the order in which the world carries them.
    pub fn expect(&self, shots: &[Shot], memory: &mut Memory) -> Vec<bool> {
        let mut alive: Vec<bool> = shots.iter().map(|shot| !matches!(shot.part, Part::Stray)).collect();
        let hops = shots.iter().map(|shot| shot.way.stops.len()).max().unwrap_or(0);
        for hop in 0..hops {
            for (alive, shot) in alive.iter_mut().zip(shots).filter(|(alive, _)| **alive) {
                if let Some(stop) = shot.way.stops.get(hop) {
                    *alive = self.passes(shot, stop, hop, memory);
                }
            }
        }
        alive
    }

    fn passes(&self, shot: &Shot, stop: &Stop, hop: usize, memory: &mut Memory) -> bool {
        let case = &shot.case;
        if !stop.genuine || case.shape == Shape::Incomplete {
            return false;
        }
        if usize::from(case.ttl) <= hop + 1 {
            // Routing drops it, after connection tracking saw it.
            memory.see(shot, stop);
            return false;
        }
        let verdicts = self.verdicts(shot);
        match &shot.part {
            Part::Error { of, .. } => self.error(case, stop, &self.conversations[*of], &verdicts),
            Part::Next { of, client } if stop.tracked => {
                let replied = self.conversations[*of].replied || !client;
                judged(case, &verdicts, *client, replied)
            }
            Part::First | Part::Canary if stop.tracked => first(shot, stop, &verdicts, memory),
            Part::First | Part::Canary | Part::Next { .. } => {
                verdicts.there.allows() || verdicts.back.allows() && !case.opens_tcp()
            }
            Part::Stray => false,
        }
    }

    /// Errors pass with the flow that they concern while the agreement by which it passed is in force; through a relay, which
    /// knows no flows, between two hosts that have anything to do with each other.
    fn error(&self, case: &Case, stop: &Stop, about: &Conversation, verdicts: &Verdicts) -> bool {
        let helps = if case.protocol == 1 { matches!(case.ports.1, 3 | 11 | 12) } else { true };
        if stop.tracked {
            return helps && self.model.agreements.iter().any(|it| it.number == about.by && it.in_force());
        }
        if helps { self.evaluator.evaluate(&about.case.flow(about.way.ends)).allows() } else { verdicts.either() }
    }

    /// Whether nothing at all is agreed between two ends, so that not even an error may pass a relay.
    pub fn strangers(&self, ends: Ends) -> bool {
        let map = Map { model: self.model };
        let agreed = |ends: Ends| {
            let Some(client) = map.home(ends.source) else { return false };
            let mut services = self.model.services.iter().filter(|it| it.overlay_hosts.contains(&ends.destination));
            services.any(|service| {
                let mut about = self.model.agreements.iter().filter(|it| it.in_force() && it.service == service.name);
                about.any(|agreement| agreement.from.contains(&client.name))
            })
        };
        !agreed(ends) && !agreed(ends.back())
    }
}

/// Of a flow that is tracked: first asked is the direction in which the flow was opened, then its mirror.
fn judged(case: &Case, verdicts: &Verdicts, original: bool, established: bool) -> bool {
    let (first, second) = if original { (&verdicts.there, &verdicts.back) } else { (&verdicts.back, &verdicts.there) };
    let guarded = matches!(first, Verdict::Deny(Reason::Guardrail(_)));
    let mirrored = if case.protocol == 6 { !case.opens_tcp() } else { established };
    !guarded && (first.allows() || mirrored && second.allows())
}

/// Of a flow that is new, or of a protocol without ports, which may be an answer for all that.
fn first(shot: &Shot, stop: &Stop, verdicts: &Verdicts, memory: &mut Memory) -> bool {
    let case = &shot.case;
    let v4 = shot.way.ends.source.is_ipv4();
    match Protocol(case.protocol) {
        // nf_conntrack_proto_tcp.c: of an unknown connection only SYN and ACK are valid; PSH, URG do not count.
        Protocol::TCP if case.flags & 0x17 == SYN => verdicts.there.allows(),
        Protocol::TCP if case.flags & 0x17 == ACK => judged(case, verdicts, true, true),
        Protocol::TCP => false,
        Protocol::UDP | Protocol::SCTP => verdicts.there.allows(),
        // nf_conntrack_proto_icmp.c, nf_conntrack_proto_icmpv6.c: only queries begin a connection.
        Protocol::ICMP => v4 && verdicts.there.allows() && matches!(case.ports.1, 8 | 13 | 15 | 17),
        Protocol::ICMPV6 => !v4 && verdicts.there.allows() && case.ports.1 == 128,
        Protocol(_) => memory.judge(shot, stop, verdicts),
    }
}

impl Memory {
    /// The entry to which a packet belongs, once it was seen.
    fn see(&mut self, shot: &Shot, stop: &Stop) -> Option<Entry> {
        let entry = self.entries.get_mut(&key(shot, stop))?;
        entry.replied |= entry.original != shot.way.ends;
        Some(*entry)
    }

    fn judge(&mut self, shot: &Shot, stop: &Stop, verdicts: &Verdicts) -> bool {
        let ends = shot.way.ends;
        if let Some(entry) = self.see(shot, stop) {
            return judged(&shot.case, verdicts, entry.original == ends, entry.replied);
        }
        let passes = judged(&shot.case, verdicts, true, false);
        if passes {
            self.entries.insert(key(shot, stop), Entry { original: ends, replied: false });
        }
        passes
    }
}

fn key(shot: &Shot, stop: &Stop) -> Pair {
    let ends = shot.way.ends;
    let (one, other) = (ends.source.min(ends.destination), ends.source.max(ends.destination));
    (stop.gateway, one, other, shot.case.protocol)
}
