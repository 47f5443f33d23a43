//! Traffic of very many peers: trains of TCP segments from half of them, through the hub, to the other half.
//!
//! ```text
//!  flow 0, 1, 2, … in turn: a train of 1 to 45 segments, sealed, one send ─▶ hub ─▶ the flow's receiver counts
//!            ▲                                                                                 │
//!            └──────────── window: so many segments on their way, as one TCP would have ◀──────┘
//! ```
//!
//! The window is what keeps the hub busy and no more: it grows with what arrives and halves when nothing does. Each
//! train that arrives is answered by an acknowledgement through the hub.

use std::time::{Duration, Instant};

use crate::bed::MTU;
use crate::crowd::Crowd;
use crate::failure::{Failure, program, system};
use crate::party::{Kind, OVERHEAD, kind};
use crate::process::Interrupt;
use crate::train::{Flow, LONGEST, PAYLOAD, is_whole};

/// Octets of a full segment once it is sealed.
const SEALED: usize = MTU + OVERHEAD;
/// Segments on their way at the beginning, and at most.
const WINDOW: (usize, usize) = (2 * LONGEST, 16 * LONGEST);
/// When nothing arrives for so long, what is on its way is lost.
const LOST_AFTER: Duration = Duration::from_millis(20);
/// One in so many segments is opened, and its octets compared.
const SAMPLE: u64 = 499;

/// What was exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanged {
    /// Segments sent by the crowd.
    pub sent: u64,
    /// Those that came back from the hub for their receiver.
    pub arrived: u64,
    /// Those of them that were opened and were as sent.
    pub whole: u64,
}

impl Exchanged {
    /// Octets of TCP payload that arrived.
    pub fn octets(self) -> f64 {
        crate::statistics::number(self.arrived) * f64::from(u32::try_from(PAYLOAD).unwrap_or(0))
    }
}

/// Flows among a crowd whose sessions stand.
pub struct Exchange<'a> {
    crowd: &'a mut Crowd,
    flows: Vec<Flow>,
    next: usize,
    random: u64,
    window: usize,
    on_the_way: usize,
    heard: Instant,
    total: Exchanged,
    sealed: Vec<u8>,
    room: Vec<u8>,
}

impl<'a> Exchange<'a> {
    /// Flow `i` goes from peer `2 i` to peer `2 i + 1`.
    pub fn new(crowd: &'a mut Crowd, flows: Vec<Flow>) -> Self {
        Self {
            crowd,
            flows,
            next: 0,
            random: 0x0123_4567_89ab_cdef,
            window: WINDOW.0,
            on_the_way: 0,
            heard: Instant::now(),
            total: Exchanged::default(),
            sealed: vec![0; LONGEST * SEALED + 64],
            room: vec![0; 2 * MTU],
        }
    }

    /// Keeps the hub busy for so long; what was exchanged in that time.
    ///
    /// # Errors
    /// [`Failure`]; also if what arrives is not what was sent.
    pub fn run(&mut self, time: Duration, interrupt: &Interrupt) -> Result<Exchanged, Failure> {
        let before = self.total;
        let until = Instant::now() + time;
        self.heard = Instant::now();
        while Instant::now() < until {
            interrupt.check()?;
            self.receive()?;
            self.give_up_what_is_lost();
            if self.on_the_way < self.window {
                self.send_train()?;
            } else {
                self.crowd.wait(Duration::from_millis(1));
            }
        }
        let total = self.total;
        let passed = Exchanged {
            sent: total.sent - before.sent,
            arrived: total.arrived - before.arrived,
            whole: total.whole - before.whole,
        };
        if passed.whole == 0 {
            return Err(program("nothing that the hub relays is as it was sent", &format!("{passed:?}")));
        }
        Ok(passed)
    }

    fn send_train(&mut self) -> Result<(), Failure> {
        let number = self.next;
        self.next = (self.next + 1) % self.flows.len();
        let length = 1 + usize::try_from(self.draw() % 45).unwrap_or(0);
        for place in 0..length {
            let Some(flow) = self.flows.get_mut(number) else { return Ok(()) };
            let packet = flow.segment(&mut self.room, place + 1 == length);
            let Some(peer) = self.crowd.peers.get_mut(2 * number) else { return Ok(()) };
            let out = &mut self.sealed[place * SEALED..];
            peer.party.seal(&self.room[..packet], out)?;
        }
        let segment = u16::try_from(SEALED).ok().filter(|_| length > 1);
        let taken = self.crowd.send(2 * number, &self.sealed[..length * SEALED], segment);
        if taken.map_err(system("sending a train"))? {
            self.on_the_way += length;
            self.total.sent += u64::try_from(length).unwrap_or(0);
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), Failure> {
        while let Some((stride, length)) = self.crowd.receive().map_err(system("receiving from the hub"))? {
            let Some((Kind::Data, number)) = kind(&self.crowd.space()[..length.min(stride)]) else { continue };
            if number % 2 == 0 || stride != SEALED {
                continue;
            }
            let segments = length / SEALED;
            self.heard = Instant::now();
            self.on_the_way = self.on_the_way.saturating_sub(segments);
            self.window = (self.window + 1).min(WINDOW.1);
            for place in 0..segments {
                self.total.arrived += 1;
                if self.total.arrived.is_multiple_of(SAMPLE) {
                    self.compare(number, place);
                }
            }
            self.answer(number)?;
        }
        Ok(())
    }

    fn compare(&mut self, number: usize, place: usize) {
        let at = place * SEALED..(place + 1) * SEALED;
        if self.crowd.open(number, at, &mut self.room).is_some_and(is_whole) {
            self.total.whole += 1;
        }
    }

    fn answer(&mut self, number: usize) -> Result<(), Failure> {
        let Some(flow) = self.flows.get(number / 2) else { return Ok(()) };
        let length = flow.answer(&mut self.room);
        let Some(peer) = self.crowd.peers.get_mut(number) else { return Ok(()) };
        let sealed = peer.party.seal(&self.room[..length], &mut self.sealed)?;
        self.crowd.send(number, &self.sealed[..sealed], None).map(drop).map_err(system("acknowledging a train"))
    }

    fn give_up_what_is_lost(&mut self) {
        if self.on_the_way > 0 && self.heard.elapsed() > LOST_AFTER {
            self.on_the_way = 0;
            self.window = (self.window / 2).max(WINDOW.0 / 2);
            self.heard = Instant::now();
        }
    }

    /// SplitMix64: the same trains in every run.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
