//! Handshake messages: those that pass the door wait until the worker has time for them.
//!
//! ```text
//!               the door, a few hashes                              one at a time, 50 to 200 µs
//!  1 ──────────── limits ─ codes ─┐                    ┌─ 1 ─ whose? ─┬─▶ Link ─▶ answers
//!                                 ├─▶ queue of 8,192 ──┤              │
//!  2 ── index ─── limits ─ codes ─┤                    └─ 2 ─ index ──┘
//!  1, admitted by another worker ─┘
//! ```
//!
//! A handshake costs as much as a hundred packets. So data come first, but not for ever: the worker takes at least one
//! message from the queue in each of its turns.
//!
//! Whose an initiation is, only its receiver's private key tells: one of four multiplications on the curve, and the
//! engine repeats it. A peer that renews its session does so from where it was, so the one who was there last is tried
//! first: its engine refuses what is another's, at the same price. An initiation of a peer of another worker is handed over
//! when that is known, and waits there once more, behind no door: it was admitted.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::tunnel::batch::Batch;
use crate::tunnel::peer::Admission;
use crate::tunnel::wire::{self, Message};
use crate::tunnel::{
    Arrival, Foreign, Hop, Identity, Link, LinkSlot, Moment, Outcome, Path, Priority, Reason, Shard, SocketSlot,
};

/// Messages that can wait: 1.6 s of work for one core, while who is not answered tries again after 5 s.
const PLACES: usize = 8192;
/// So many waiting are load: an eighth, as in Linux.
const LOAD: usize = PLACES / 8;
/// For how long load lasts after the queue was last so long, as in Linux and wireguard-go.
const LINGER: Duration = Duration::from_secs(1);
/// Addresses whose peers are remembered, three times as many as peers are expected at most.
const CALLERS: usize = 16_384;

/// Handshake messages that passed the door, in the order of arrival.
#[derive(Debug)]
pub struct Waiting {
    messages: VecDeque<Handshake>,
    /// When there was last load.
    loaded: Option<Instant>,
}

/// A message of type 1 or 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    socket: SocketSlot,
    via: Path,
    octets: [u8; wire::INITIATION],
    length: usize,
    /// Whose it is, if another worker has found that out.
    whose: Option<LinkSlot>,
}

/// What became of a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it is looked at and forgotten, never kept")]
pub enum Handled {
    /// A link took it.
    Here(LinkSlot),
    /// It is an initiation of another worker's peer: to be given to that worker's [`Shard::take_admitted`].
    Elsewhere(Foreign, Handshake),
}

impl Handshake {
    fn new(arrival: Arrival<'_>, whose: Option<LinkSlot>) -> Result<Self, Reason> {
        let Arrival { socket, via, datagram, .. } = arrival;
        let mut octets = [0; wire::INITIATION];
        octets.get_mut(..datagram.len()).ok_or(Reason::MalformedDatagram)?.copy_from_slice(datagram);
        Ok(Self { socket, via, octets, length: datagram.len(), whose })
    }

    /// As it arrived, but for the marks of its packet: they do not matter any more.
    pub fn arrival(&self) -> Arrival<'_> {
        let datagram = self.octets.get(..self.length).unwrap_or_default();
        Arrival { socket: self.socket, via: self.via, tos: 0, datagram }
    }
}

impl Waiting {
    /// None, and room for all that there may ever be: the memory is used when they come.
    pub fn new() -> Self {
        Self { messages: VecDeque::with_capacity(PLACES), loaded: None }
    }

    /// Whether answering lags behind, or did within the last second. As in Linux and wireguard-go this is load, not a
    /// number of messages: all edges of a hub may come back at once.
    pub fn is_load(&self, now: Instant) -> bool {
        let lingers = |at: Instant| now.saturating_duration_since(at) < LINGER;
        self.messages.len() >= LOAD || self.loaded.is_some_and(lingers)
    }

    fn push(&mut self, message: Handshake, now: Instant) -> Result<(), Reason> {
        if self.messages.len() >= PLACES {
            return Err(Reason::HandshakeQueueFull);
        }
        self.messages.push_back(message);
        self.watch(now);
        Ok(())
    }

    fn pop(&mut self, now: Instant) -> Option<Handshake> {
        self.watch(now);
        self.messages.pop_front()
    }

    fn watch(&mut self, now: Instant) {
        if self.messages.len() >= LOAD {
            self.loaded = Some(now);
        }
    }
}

/// Whose initiations came last from an address: guesses, which overwrite each other.
#[derive(Debug)]
pub struct Callers {
    places: Box<[Option<u16>]>,
    hasher: RandomState,
}

impl Callers {
    /// Nobody.
    pub fn new() -> Self {
        Self { places: vec![None; CALLERS].into_boxed_slice(), hasher: RandomState::new() }
    }

    fn at(&self, address: SocketAddr) -> Option<LinkSlot> {
        self.places[self.place(address)].map(|slot| LinkSlot(slot.into()))
    }

    fn remember(&mut self, address: SocketAddr, slot: LinkSlot) {
        self.places[self.place(address)] = u16::try_from(slot.0).ok();
    }

    fn place(&self, address: SocketAddr) -> usize {
        let hash = self.hasher.hash_one(address) % u64::try_from(CALLERS).unwrap_or(u64::MAX);
        usize::try_from(hash).unwrap_or(0)
    }
}

impl Shard {
    /// Whether handshake messages wait for [`Shard::handshake`].
    pub fn has_handshakes(&self) -> bool {
        !self.waiting.messages.is_empty()
    }

    /// Works off the handshake message that has waited longest; `None` when none does, or `out` has no room. To be
    /// called when no data wait, and at least once in each turn.
    ///
    /// # Errors
    /// [`Reason`] by cause, which is counted.
    pub fn handshake(&mut self, moment: Moment, out: &mut Batch<Hop>) -> Option<Result<Handled, Reason>> {
        if !out.has_room() {
            return None;
        }
        let message = self.waiting.pop(moment.now)?;
        Some(self.shake(message, moment, out).inspect_err(|reason| self.drops.count(*reason)))
    }

    /// Takes an initiation of a link's peer that another worker has admitted: it waits as if it had come here.
    ///
    /// # Errors
    /// [`Reason`] by cause, which is counted.
    pub fn take_admitted(&mut self, slot: LinkSlot, arrival: Arrival<'_>, now: Instant) -> Result<Outcome, Reason> {
        let waits = Handshake::new(arrival, Some(slot)).and_then(|message| self.waiting.push(message, now));
        waits.map(|()| Outcome::Waits).inspect_err(|reason| self.drops.count(*reason))
    }

    /// Whether so many handshake messages wait that this is load.
    pub fn lags(&self) -> bool {
        self.waiting.messages.len() >= LOAD
    }

    /// Answering lags behind at another worker, to which this one hands over: load here too, for a second.
    pub fn lags_elsewhere(&mut self, now: Instant) {
        self.waiting.loaded = Some(now);
    }

    /// The door before every handshake: what passes it waits.
    pub(super) fn knock(
        &mut self,
        arrival: Arrival<'_>,
        moment: Moment,
        out: &mut Batch<Hop>,
    ) -> Result<Outcome, Reason> {
        self.admit(arrival, moment, out)?;
        self.waiting.push(Handshake::new(arrival, None)?, moment.now)?;
        Ok(Outcome::Waits)
    }

    fn admit(&mut self, arrival: Arrival<'_>, moment: Moment, out: &mut Batch<Hop>) -> Result<(), Reason> {
        let Arrival { socket, via, datagram, .. } = arrival;
        let source = via.to.ip();
        let identity = self.identity(socket)?;
        identity.admit(source, datagram, false, &mut [])?;
        let load = self.waiting.is_load(moment.now);
        if !self.limits.must_prove(source, load, moment.now) {
            return Ok(());
        }
        let room = out.room().ok_or(Reason::SendBlocked)?;
        match identity.admit(source, datagram, true, room)? {
            Admission::Admitted if self.limits.allow_proven(source, moment.now) => Ok(()),
            Admission::Admitted => Err(Reason::SourceLimited),
            Admission::Challenged(length) => {
                if self.limits.allow_cookie(moment.now) {
                    let priority = Priority::Control;
                    out.commit(length, Hop { link: None, socket, path: via, tos: 0, priority, train: false });
                }
                Err(Reason::Challenged)
            }
        }
    }

    /// What was true at the door may have changed since: whose it is, is asked now.
    fn shake(&mut self, message: Handshake, moment: Moment, out: &mut Batch<Hop>) -> Result<Handled, Reason> {
        let arrival = message.arrival();
        match wire::classify(arrival.datagram)? {
            Message::Initiation => self.answer(message, moment, out),
            Message::Response { receiver } => {
                let slot = self.receiver(receiver, arrival.socket)?;
                self.consume(slot, arrival, moment, out).map(|()| Handled::Here(slot))
            }
            Message::Cookie { .. } | Message::Data { .. } => Err(Reason::MalformedDatagram),
        }
    }

    fn answer(&mut self, message: Handshake, moment: Moment, out: &mut Batch<Hop>) -> Result<Handled, Reason> {
        let arrival = message.arrival();
        let identity = self.identity(arrival.socket)?;
        let mut refused = None;
        if let Some(guess) = self.guess(&message) {
            match self.consume(guess, arrival, moment, out) {
                // It may be another's.
                Err(reason @ (Reason::Unauthentic | Reason::PeerLimited)) => refused = Some((guess, reason)),
                done => return done.map(|()| Handled::Here(guess)),
            }
        }
        let key = identity.initiator(arrival.datagram)?;
        let Some(&slot) = self.by_key.get(&(arrival.socket, key)) else {
            let peer = self.peer_elsewhere(arrival.socket, key).ok_or(Reason::UnknownPeer)?;
            return Ok(Handled::Elsewhere(peer, message));
        };
        if let Some((_, reason)) = refused.filter(|(guess, _)| *guess == slot) {
            return Err(reason);
        }
        self.consume(slot, arrival, moment, out)?;
        self.callers.remember(arrival.via.to, slot);
        Ok(Handled::Here(slot))
    }

    /// Whose an initiation is, as far as is known: the link that another worker found, else the one whose peer is at this
    /// address.
    fn guess(&self, message: &Handshake) -> Option<LinkSlot> {
        let (socket, address) = (message.socket, message.via.to);
        let stands = |link: &Link| link.path().is_some_and(|path| path.to == address);
        let caller = || self.callers.at(address).filter(|slot| self.link(*slot).is_some_and(stands));
        // Its place may be another link's by now.
        message.whose.or_else(caller).filter(|slot| self.link(*slot).map(Link::socket) == Some(socket))
    }

    fn identity(&self, socket: SocketSlot) -> Result<Arc<Identity>, Reason> {
        self.identities.get(socket.0).and_then(Option::clone).ok_or(Reason::NoKey)
    }

    pub(super) fn consume(
        &mut self,
        slot: LinkSlot,
        arrival: Arrival<'_>,
        moment: Moment,
        out: &mut Batch<Hop>,
    ) -> Result<(), Reason> {
        self.with_link(slot, moment, out, |link, turn| link.consume(arrival.via, arrival.datagram, turn))
            .ok_or(Reason::UnknownPeer)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Handshake {
        let via = Path { to: SocketAddr::from(([192, 0, 2, 1], 1)), source: None };
        Handshake { socket: SocketSlot(0), via, octets: [0; wire::INITIATION], length: wire::INITIATION, whose: None }
    }

    #[test]
    fn load_is_that_an_eighth_of_the_places_is_taken_or_was_within_the_last_second() {
        let now = Instant::now();
        let mut waiting = Waiting::new();
        assert!((1..LOAD).all(|_| waiting.push(message(), now).is_ok()));
        assert!(!waiting.is_load(now));
        waiting.push(message(), now).expect("a place");
        let later = now + 10 * LINGER;
        assert!(waiting.is_load(now) && waiting.is_load(later), "as long as they wait");
        assert_eq!(std::iter::from_fn(|| waiting.pop(later)).count(), LOAD);
        assert!(waiting.is_load(later + LINGER - Duration::from_nanos(1)));
        assert!(!waiting.is_load(later + LINGER));
    }

    #[test]
    fn no_more_messages_wait_than_there_are_places() {
        let now = Instant::now();
        let mut waiting = Waiting::new();
        let room = waiting.messages.capacity();
        assert!((0..PLACES).all(|_| waiting.push(message(), now).is_ok()));
        assert_eq!(waiting.push(message(), now), Err(Reason::HandshakeQueueFull));
        assert!(waiting.pop(now).is_some());
        assert_eq!(waiting.push(message(), now), Ok(()));
        assert_eq!(waiting.messages.capacity(), room, "and nothing was allocated for them");
    }

    #[test]
    fn callers_are_remembered_by_address_and_port_in_a_fixed_space() {
        let mut callers = Callers::new();
        let address = |number: u32| SocketAddr::from((number.to_be_bytes(), 51820));
        for number in 0..100_000_u32 {
            callers.remember(address(number), LinkSlot(usize::try_from(number % 20_000).expect("fits")));
        }
        assert_eq!(callers.at(address(99_999)), Some(LinkSlot(19_999)));
        assert_eq!(callers.places.len(), CALLERS);
        callers.remember(address(99_999), LinkSlot(7));
        assert_eq!(callers.at(address(99_999)), Some(LinkSlot(7)));
    }
}
