//! What the TUN device gave and the cipher has not taken yet: a fair queue, so that load does not become delay.
//!
//! ```text
//!  TUN ─▶ room ─ push ─▶ flow 0  [a a a a]        sparse flows first, then the others in turn,
//!                        flow 1  [b]         ─▶   a quantum of octets each                      ─ pop ─▶ cipher
//!                        flow 2  [c c]
//! ```
//!
//! Scheduling is FQ-CoDel's (RFC 8290): a packet of a flow that has nothing waiting overtakes bulk. A flow whose packets
//! wait too long is told so by a signal ([`Codel`]), and when all together are too many, the longest flow loses its
//! oldest. Memory is bounded by the number of buffers and by octets.

mod buffer;

use std::time::{Duration, Instant};

use crate::tunnel::Codel;
use crate::tunnel::inner::flow_hash;
use crate::tunnel::segment::VnetHeader;
pub use buffer::Buffer;

/// Packets or superpackets that wait at most.
pub const PACKETS: usize = 128;
/// Octets that wait at most. Long before, flows are told to slow down: whoever loses 64 KiB at once recovers badly.
const OCTETS: usize = 4 << 20;
/// Flows are told apart by so many values of a hash.
const FLOWS: usize = 256;
/// What a flow may send before it is another's turn, in octets.
const QUANTUM: isize = 16 * 1024;
/// How long a flow may keep more than 5 ms waiting (RFC 8290, section 5.2).
const INTERVAL: Duration = Duration::from_millis(100);

/// The waiting packets.
#[derive(Debug)]
pub struct Backlog {
    buffers: Box<[Buffer]>,
    waiting: Box<[Waiting]>,
    /// Buffers in which nothing waits, the last used last.
    idle: Vec<usize>,
    flows: Box<[Flow]>,
    /// Flows that had nothing waiting before.
    sparse: Chain,
    /// Flows that used up what they may send before it is another's turn.
    bulk: Chain,
    /// How many wait, and how many octets those have.
    count: usize,
    octets: usize,
    seed: u64,
}

/// A packet in the buffer of the same number.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    length: usize,
    since: Instant,
    /// The next of its flow.
    next: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    first: Option<usize>,
    last: Option<usize>,
    octets: usize,
    /// What it may still send before it is another's turn, in octets; below 0 for what it sent beyond that.
    credit: isize,
    codel: Codel,
    /// Whether it stands in a chain, and which flow comes behind it.
    chained: bool,
    next: Option<usize>,
}

impl Flow {
    const EMPTY: Self =
        Self { first: None, last: None, octets: 0, credit: 0, codel: Codel::new(INTERVAL), chained: false, next: None };
}

/// Flows in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    first: Option<usize>,
    last: Option<usize>,
}

/// A packet whose turn it is. It stays in its buffer until that is released.
#[derive(Clone, Copy, Debug)]
pub struct Next {
    /// The buffer's number.
    pub buffer: usize,
    /// What the device said about it.
    pub header: VnetHeader,
    /// Its length in octets.
    pub length: usize,
    /// Whether its flow is to be told to slow down.
    pub signal: bool,
}

impl Backlog {
    /// An empty one. `seed` is random, so that nobody can make flows meet; `now` is any time that is not to come.
    pub fn new(seed: u64, now: Instant) -> Self {
        let nothing = Waiting { length: 0, since: now, next: None };
        Self {
            buffers: (0..PACKETS).map(|_| Buffer::default()).collect(),
            waiting: vec![nothing; PACKETS].into_boxed_slice(),
            idle: (0..PACKETS).rev().collect(),
            flows: vec![Flow::EMPTY; FLOWS].into_boxed_slice(),
            sparse: Chain::default(),
            bulk: Chain::default(),
            count: 0,
            octets: 0,
            seed,
        }
    }

    /// Where the next packet is to be written with its header, see [`Buffer::room`]. There always is such a place.
    pub fn room(&mut self) -> &mut [u8] {
        let buffer = self.idle.last().copied().unwrap_or(0);
        self.buffers[buffer].room()
    }

    /// Takes the room away with what was written there, and puts another in its place.
    pub fn replace(&mut self, other: Buffer) -> Buffer {
        let buffer = self.idle.last().copied().unwrap_or(0);
        std::mem::replace(&mut self.buffers[buffer], other)
    }

    /// Takes the room with a packet of `length` octets. Returns how many older ones were dropped to keep the limits.
    pub fn push(&mut self, length: usize, now: Instant) -> u64 {
        let Some(buffer) = self.idle.pop() else { return 0 };
        let hash = flow_hash(self.buffers[buffer].octets(length), self.seed);
        let place = usize::from(hash) % FLOWS;
        self.waiting[buffer] = Waiting { length, since: now, next: None };
        self.append(place, buffer, length);
        let mut dropped = 0;
        // One buffer stays free for the next packet.
        while self.idle.is_empty() || self.octets > OCTETS && self.count > 1 {
            self.drop_of_longest();
            dropped += 1;
        }
        dropped
    }

    /// Takes the room with a packet of `length` octets past the queue, where nothing waits: like [`Self::push`] and
    /// [`Self::pop`] at once, without looking at flows. `None` where something waits.
    pub fn pass(&mut self, length: usize) -> Option<Next> {
        let buffer = if self.is_empty() { self.idle.pop()? } else { return None };
        Some(Next { buffer, header: self.buffers[buffer].header(), length, signal: false })
    }

    /// The packet in the room, of `length` octets.
    pub fn written(&self, length: usize) -> &[u8] {
        self.idle.last().map(|buffer| self.buffers[*buffer].octets(length)).unwrap_or_default()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The packet whose turn it is. Its buffer is the caller's until it gives it back by [`Self::release`].
    pub fn pop(&mut self, now: Instant) -> Option<Next> {
        let place = self.turn()?;
        let buffer = self.take_first(place)?;
        let Waiting { length, since, .. } = self.waiting[buffer];
        let flow = &mut self.flows[place];
        flow.credit -= length.cast_signed();
        let signal = flow.codel.signals(now.saturating_duration_since(since), flow.first.is_some(), now);
        Some(Next { buffer, header: self.buffers[buffer].header(), length, signal })
    }

    /// The octets of a popped packet's buffer: the packet, and [`SPARE`](crate::tunnel::segment::SPARE) octets at least.
    pub fn buffer(&mut self, buffer: usize) -> &mut [u8] {
        self.buffers.get_mut(buffer).map(Buffer::packet).unwrap_or_default()
    }

    /// Gives back the buffer of a popped packet.
    pub fn release(&mut self, buffer: usize) {
        self.idle.push(buffer);
    }

    /// The flow whose turn it is: it has something waiting and credit left.
    fn turn(&mut self) -> Option<usize> {
        loop {
            let from_sparse = self.sparse.first.is_some();
            let chain = if from_sparse { self.sparse } else { self.bulk };
            let place = chain.first?;
            let flow = self.flows[place];
            if flow.first.is_some() && flow.credit > 0 {
                return Some(place);
            }
            self.unchain(from_sparse);
            if flow.first.is_some() {
                self.flows[place].credit += QUANTUM;
                self.chain(place, false);
            } else if from_sparse && self.bulk.first.is_some() {
                // It keeps its place behind the others for a round: else a flow could stay sparse for ever by sending
                // each packet just after the last has left (RFC 8290, section 4.2).
                self.chain(place, false);
            }
        }
    }

    fn append(&mut self, place: usize, buffer: usize, length: usize) {
        self.count += 1;
        self.octets += length;
        let flow = &mut self.flows[place];
        flow.octets += length;
        match flow.last.replace(buffer) {
            Some(last) => self.waiting[last].next = Some(buffer),
            None => flow.first = Some(buffer),
        }
        if !self.flows[place].chained {
            self.flows[place].credit = QUANTUM;
            self.chain(place, true);
        }
    }

    fn take_first(&mut self, place: usize) -> Option<usize> {
        let flow = &mut self.flows[place];
        let buffer = flow.first?;
        let Waiting { length, next, .. } = self.waiting[buffer];
        flow.first = next;
        if next.is_none() {
            flow.last = None;
        }
        flow.octets -= length;
        self.octets -= length;
        self.count -= 1;
        Some(buffer)
    }

    fn drop_of_longest(&mut self) {
        let longest = (0..FLOWS).max_by_key(|place| self.flows[*place].octets).unwrap_or(0);
        if let Some(buffer) = self.take_first(longest) {
            self.idle.push(buffer);
        }
    }

    fn chain(&mut self, place: usize, sparse: bool) {
        self.flows[place].chained = true;
        self.flows[place].next = None;
        let chain = if sparse { &mut self.sparse } else { &mut self.bulk };
        match chain.last.replace(place) {
            Some(last) => self.flows[last].next = Some(place),
            None => chain.first = Some(place),
        }
    }

    fn unchain(&mut self, sparse: bool) {
        let chain = if sparse { &mut self.sparse } else { &mut self.bulk };
        let Some(place) = chain.first else { return };
        chain.first = self.flows[place].next;
        if chain.first.is_none() {
            chain.last = None;
        }
        self.flows[place].chained = false;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tunnel::inner::tests::packet;

    const MS: Duration = Duration::from_millis(1);

    fn backlog() -> (Backlog, Instant) {
        let now = Instant::now();
        (Backlog::new(7, now), now)
    }

    /// Pushes a packet between two hosts, of which the second says which flow it is.
    fn push(backlog: &mut Backlog, flow: u8, payload: usize, now: Instant) -> u64 {
        let packet = packet("10.0.0.1", &format!("10.1.0.{flow}"), payload);
        backlog.room()[VnetHeader::LENGTH..][..packet.len()].copy_from_slice(&packet);
        backlog.push(packet.len(), now)
    }

    /// The flow whose packet is next, with its length.
    fn pop(backlog: &mut Backlog, now: Instant) -> Option<(u8, usize)> {
        let next = backlog.pop(now)?;
        let flow = backlog.buffer(next.buffer)[19];
        backlog.release(next.buffer);
        Some((flow, next.length))
    }

    #[test]
    fn a_flow_keeps_its_order_and_nothing_is_lost_below_the_limits() {
        let (mut backlog, now) = backlog();
        for size in 0..100 {
            assert_eq!(push(&mut backlog, 1, size, now), 0);
        }
        let sizes: Vec<usize> = std::iter::from_fn(|| pop(&mut backlog, now)).map(|(_, length)| length - 20).collect();
        assert_eq!(sizes, (0..100).collect::<Vec<_>>());
        assert!(backlog.is_empty());
    }

    #[test]
    fn a_sparse_packet_overtakes_bulk() {
        let (mut backlog, now) = backlog();
        for _ in 0..10 {
            push(&mut backlog, 1, 60_000, now);
        }
        assert_eq!(pop(&mut backlog, now).map(|(flow, _)| flow), Some(1));
        push(&mut backlog, 2, 64, now);
        assert_eq!(pop(&mut backlog, now).map(|(flow, _)| flow), Some(2));
        assert_eq!(pop(&mut backlog, now).map(|(flow, _)| flow), Some(1));
    }

    #[test]
    fn bulk_flows_share_by_octets_whatever_their_packets_length() {
        let (mut backlog, now) = backlog();
        let mut sent = [0; 3];
        for round in 0..200 {
            for (flow, size) in [(1, 16_000), (2, 4_000)] {
                push(&mut backlog, flow, size, now);
                if flow == 2 && round % 2 == 0 {
                    push(&mut backlog, flow, size, now);
                }
            }
            let (flow, length) = pop(&mut backlog, now).expect("waiting");
            sent[usize::from(flow)] += length;
        }
        let ratio =
            f64::from(u32::try_from(sent[1]).expect("small")) / f64::from(u32::try_from(sent[2]).expect("small"));
        assert!((0.7..1.5).contains(&ratio), "{sent:?}");
    }

    #[test]
    fn the_longest_flow_loses_its_oldest_when_the_limits_are_reached() {
        let (mut backlog, now) = backlog();
        push(&mut backlog, 2, 64, now);
        let dropped: u64 = (0..100).map(|_| push(&mut backlog, 1, 60_000, now)).sum();
        assert_eq!(dropped, 100 - 69, "69 x 60,020 and 84 are within 4 MiB");
        assert_eq!(pop(&mut backlog, now).map(|(flow, _)| flow), Some(2), "the short one is safe");
        let (mut backlog, now) = self::backlog();
        let dropped: u64 = (0..300).map(|_| push(&mut backlog, 1, 64, now)).sum();
        assert_eq!(dropped, 300 - 127, "one buffer stays free");
        assert_eq!(std::iter::from_fn(|| pop(&mut backlog, now)).count(), 127);
    }

    #[test]
    fn a_flow_that_waits_too_long_is_signalled_and_others_are_not() {
        let (mut backlog, now) = backlog();
        let mut signals = [0; 3];
        for ms in 0..400 {
            let at = now + ms * MS;
            // Flow 1 sends as much as leaves, behind a queue of 10; flow 2 one packet now and then.
            let burst = if ms == 0 { 10 } else { 1 };
            for _ in 0..burst {
                push(&mut backlog, 1, 60_000, at);
            }
            if ms % 10 == 5 {
                push(&mut backlog, 2, 64, at);
                let next = backlog.pop(at).expect("waiting");
                assert_eq!(next.length, 84);
                signals[2] += u32::from(next.signal);
                backlog.release(next.buffer);
            }
            let next = backlog.pop(at).expect("waiting");
            signals[1] += u32::from(next.signal);
            backlog.release(next.buffer);
        }
        assert!(signals[1] >= 3 && signals[2] == 0, "{signals:?}");
    }

    #[test]
    fn a_packet_passes_the_queue_only_where_nothing_waits() {
        let (mut backlog, now) = backlog();
        backlog.room()[VnetHeader::LENGTH] = 42;
        let next = backlog.pass(100).expect("nothing waits");
        assert_eq!((next.length, next.signal, backlog.is_empty()), (100, false, true));
        assert_eq!(push(&mut backlog, 1, 100, now), 0);
        assert!(backlog.pass(100).is_none(), "it would overtake");
        assert_eq!(backlog.buffer(next.buffer)[0], 42, "the caller's until it gives it back");
        assert_eq!(pop(&mut backlog, now).map(|(flow, _)| flow), Some(1));
    }

    #[test]
    fn a_popped_packet_keeps_its_buffer_until_it_is_released() {
        let (mut backlog, now) = backlog();
        push(&mut backlog, 1, 100, now);
        let next = backlog.pop(now).expect("waiting");
        let before = backlog.buffer(next.buffer)[..next.length].to_vec();
        for flow in 0..200 {
            push(&mut backlog, flow, 100, now);
        }
        assert_eq!(backlog.buffer(next.buffer)[..next.length], before);
    }
}
