//! Handshakes by very many peers at once, while data of others flows: how many a subject answers.
//!
//! ```text
//!  peer 2, 3, … in turn: initiation ─▶ hub ─▶ response: counted;  cookie: kept, and proved by the next initiation
//!  peer 0: a train each 10 ms ───────▶ hub ─▶ peer 1: counted
//! ```
//!
//! So many peers, each from an address of its own, that no subject's limits per peer or source matter: each begins a few
//! handshakes a second. So many initiations are on their way that the subject always has one more to answer.

use std::time::{Duration, Instant};

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey as Public, StaticSecret};
use turnpike::identity::PrivateKey;

use crate::bed::MTU;
use crate::crowd::Crowd;
use crate::failure::{Failure, program, system};
use crate::party::{Kind, OVERHEAD, Party, kind};
use crate::process::Interrupt;
use crate::train::Flow;

/// Initiations on their way.
const WINDOW: usize = 128;
/// When nothing comes for so long, what is on its way is lost.
const LOST_AFTER: Duration = Duration::from_millis(50);
/// Data of the two peers that have a session: so many segments each 10 ms, 8.7 Mbit/s.
const TRAIN: usize = 8;
const TRAIN_EVERY: Duration = Duration::from_millis(10);
/// How long data may be on its way at the end.
const LATE: Duration = Duration::from_millis(300);
/// One in so many responses is completed, and must give a session.
const SAMPLE: u64 = 97;
const SEALED: usize = MTU + OVERHEAD;

/// What came of a storm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weathered {
    /// Initiations that were sent.
    pub initiations: u64,
    /// Those that were answered by a response.
    pub responses: u64,
    /// Those that were answered by a cookie.
    pub cookies: u64,
    /// Responses that were completed, and gave a session.
    pub sessions: u64,
    /// Segments of data that were sent meanwhile.
    pub sent: u64,
    /// Those that arrived.
    pub arrived: u64,
}

/// A storm upon a hub; peers 0 and 1 of the crowd have sessions.
pub struct Storm<'a> {
    crowd: &'a mut Crowd,
    flow: Flow,
    next: usize,
    on_the_way: usize,
    heard: Instant,
    train_due: Instant,
    total: Weathered,
    out: Vec<u8>,
    room: Vec<u8>,
}

impl<'a> Storm<'a> {
    /// Data goes by this flow, from peer 0 to peer 1.
    pub fn new(crowd: &'a mut Crowd, flow: Flow) -> Self {
        let now = Instant::now();
        Self {
            crowd,
            flow,
            next: 2,
            on_the_way: 0,
            heard: now,
            train_due: now,
            total: Weathered::default(),
            out: vec![0; TRAIN * SEALED + 64],
            room: vec![0; 2 * MTU],
        }
    }

    /// Goes on for so long; what came of it in that time.
    ///
    /// # Errors
    /// [`Failure`]; also if no response is one.
    pub fn run(&mut self, time: Duration, interrupt: &Interrupt) -> Result<Weathered, Failure> {
        self.total = Weathered::default();
        let until = Instant::now() + time;
        self.heard = Instant::now();
        while Instant::now() < until {
            interrupt.check()?;
            self.receive()?;
            self.send_data()?;
            if self.heard.elapsed() > LOST_AFTER {
                self.on_the_way = 0;
                self.heard = Instant::now();
            }
            if self.on_the_way < WINDOW {
                self.initiate()?;
            } else {
                self.crowd.wait(Duration::from_millis(1));
            }
        }
        // What is late has arrived, but a handshake answered late was not answered in this time.
        let answered = self.total;
        let late = Instant::now() + LATE;
        while Instant::now() < late {
            self.crowd.wait(Duration::from_millis(10));
            self.receive()?;
        }
        if answered.sessions == 0 {
            return Err(program("no response to an initiation is one", &format!("{answered:?}")));
        }
        Ok(Weathered { arrived: self.total.arrived, ..answered })
    }

    fn initiate(&mut self) -> Result<(), Failure> {
        let number = self.next;
        self.next = if number + 1 < self.crowd.peers.len() { number + 1 } else { 2 };
        let Some(peer) = self.crowd.peers.get_mut(number) else { return Ok(()) };
        let length = peer.party.initiate(&mut self.out)?;
        if self.crowd.send(number, &self.out[..length], None).map_err(system("sending an initiation"))? {
            self.on_the_way += 1;
            self.total.initiations += 1;
        }
        Ok(())
    }

    fn send_data(&mut self) -> Result<(), Failure> {
        if Instant::now() < self.train_due {
            return Ok(());
        }
        self.train_due += TRAIN_EVERY;
        for place in 0..TRAIN {
            let length = self.flow.segment(&mut self.room, place + 1 == TRAIN);
            let Some(peer) = self.crowd.peers.get_mut(0) else { return Ok(()) };
            peer.party.seal(&self.room[..length], &mut self.out[place * SEALED..])?;
        }
        let segment = u16::try_from(SEALED).ok();
        self.crowd.send(0, &self.out[..TRAIN * SEALED], segment).map_err(system("sending data"))?;
        self.total.sent += u64::try_from(TRAIN).unwrap_or(0);
        Ok(())
    }

    fn receive(&mut self) -> Result<(), Failure> {
        while let Some((stride, length)) = self.crowd.receive().map_err(system("receiving from the hub"))? {
            for place in 0..length.div_ceil(stride) {
                self.take(place * stride..length.min((place + 1) * stride));
            }
        }
        Ok(())
    }

    fn take(&mut self, at: std::ops::Range<usize>) {
        let Some((kind, number)) = kind(self.crowd.space().get(at.clone()).unwrap_or_default()) else { return };
        match kind {
            Kind::Data => {
                let whole = number == 1 && at.len() == SEALED;
                self.total.arrived += u64::from(whole);
                return;
            }
            Kind::Response => {
                self.total.responses += 1;
                if self.total.responses.is_multiple_of(SAMPLE) {
                    let established = self.crowd.consume(number, at, &mut self.room).is_some();
                    self.total.sessions += u64::from(established);
                }
            }
            Kind::Cookie => {
                self.total.cookies += 1;
                self.crowd.consume(number, at, &mut self.room);
            }
        }
        self.heard = Instant::now();
        self.on_the_way = self.on_the_way.saturating_sub(1);
    }
}

/// Initiations that boringtun's engine answers per second on one core, without a socket: what a subject's rate is
/// compared with.
///
/// # Errors
/// [`Failure`].
pub fn answered_in_process(time: Duration) -> Result<f64, Failure> {
    const PEERS: usize = 64;
    let secret = PrivateKey::generate()?;
    let own = || StaticSecret::from(*secret.octets());
    let limiter = std::sync::Arc::new(RateLimiter::new(&Public::from(&own()), u64::MAX));
    let mut ends = Vec::new();
    for number in 0..PEERS {
        let key = PrivateKey::generate()?;
        let peer = Public::from(*key.public().octets());
        let index = u32::try_from(number).unwrap_or(0);
        let answering = Tunn::new(own(), peer, None, None, index, Some(std::sync::Arc::clone(&limiter)));
        ends.push((Party::new(&key, &secret.public(), number), answering, [0; 148]));
    }
    let (mut used, mut answered, mut out) = (Duration::ZERO, 0_u64, [0; 256]);
    while used < time {
        for (party, _, message) in &mut ends {
            party.initiate(message)?;
        }
        let began = Instant::now();
        for (_, answering, message) in &mut ends {
            match answering.decapsulate(None, message, &mut out) {
                TunnResult::WriteToNetwork(_) => answered += 1,
                other => return Err(program("boringtun does not answer an initiation", &format!("{other:?}"))),
            }
        }
        used += began.elapsed();
    }
    Ok(crate::statistics::number(answered) / used.as_secs_f64())
}
