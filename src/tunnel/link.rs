//! One WireGuard peer's life: its sessions, its address, its waiting packets, its keepalives.
//!
//! ```text
//!            packet, or restless             answered
//!   silent ───────────────────▶ initiating ───────────▶ session ──┐ 120 s: renewed by the initiator,
//!     ▲                            │                       │  ▲───┘        if something is sent
//!     │   90 s without answer      │                       │ 180 s without renewal
//!     └────────────────────────────┴───────────────────────┘
//!   restless (warm, or with persistent keepalive): begins again after a random pause
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::identity::{PresharedKey, PublicKey};
use crate::tunnel::batch::Batch;
use crate::tunnel::engines::Engines;
use crate::tunnel::limits::INITIATION_SPACING;
use crate::tunnel::peer::{Consumed, Content, Engine, Identity, Opened, Ticked};
use crate::tunnel::queue::Queue;
use crate::tunnel::{Drops, Hop, LinkSlot, Marking, Mtus, Path, Priority, Reason, SocketSlot, tos, wire};

/// Authenticated keepalives on a warm link: an idle one would make a needless handshake after 15 s.
const WARM: Duration = Duration::from_secs(10);
/// The initiator renews a session of this age when it sends (REKEY_AFTER_TIME).
const REKEY_AFTER: Duration = Duration::from_secs(120);
/// An attempt that is given up at this age was given up for its length: REKEY_ATTEMPT_TIME is 90 s, and boringtun
/// counts it from the tick before.
const ATTEMPT: Duration = Duration::from_secs(88);
/// How long trains are not tried again on a path that refused one: its MTU may be too small for them, or its device
/// may not compute checksums.
const APART: Duration = Duration::from_secs(600);
/// The longest pause before a restless link begins again: spreads what was cut off together.
const PAUSE: Duration = Duration::from_secs(5);

/// What one turn of a worker works with.
pub struct Turn<'a> {
    /// The time, on a clock that is never put right.
    pub now: Instant,
    /// The time of day.
    pub wall: SystemTime,
    /// How long packets may be.
    pub mtus: &'a Mtus,
    /// How many more octets of packets may wait for sessions.
    pub storable: usize,
    /// Datagrams to send.
    pub out: &'a mut Batch<Hop>,
    /// What went no further.
    pub drops: &'a mut Drops,
}

/// What a link is made of.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// The socket that it uses.
    pub socket: SocketSlot,
    /// The key pair of that socket.
    pub identity: Arc<Identity>,
    /// The peer's key.
    pub key: PublicKey,
    /// The preshared key.
    pub preshared: Option<PresharedKey>,
    /// What can change without a new session.
    pub manner: Manner,
}

/// How a link behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// WireGuard's persistent keepalive.
    pub keepalive: Option<Duration>,
    /// Whether to keep an idle session alive by a keepalive every 10 s.
    pub warm: bool,
    /// How its datagrams are marked.
    pub marking: Marking,
    /// How long packets on it may be, in octets; `None` for as long as the device allows.
    pub mtu: Option<u16>,
}

/// What has been counted and seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkStats {
    /// Octets of authenticated datagrams received, handshakes included.
    pub received_bytes: u64,
    /// Octets of datagrams that the operating system took, handshakes included.
    pub sent_bytes: u64,
    /// Authenticated datagrams received.
    pub received_packets: u64,
    /// Datagrams that it took.
    pub sent_packets: u64,
    /// Handshakes completed.
    pub handshakes: u64,
    /// Times that the peer was found at another address.
    pub endpoint_changes: u64,
    /// When the last handshake was completed.
    pub last_handshake: Option<SystemTime>,
}

/// A peer.
#[derive(Debug)]
pub struct Link {
    slot: LinkSlot,
    config: LinkConfig,
    engines: Engines,
    path: Option<Path>,
    queue: Queue,
    stats: LinkStats,
    initiations: u64,
    /// When something was last sent.
    sent: Instant,
    /// When something authentic last passed in either direction.
    traversed: Instant,
    /// When an initiation of the peer was last accepted.
    accepted: Option<Instant>,
    /// Since when we try to get a session.
    attempt: Option<Instant>,
    /// Not to try before this.
    pause: Option<Instant>,
    /// Datagrams leave one by one until this.
    apart: Option<Instant>,
    /// A keepalive is owed at once.
    owed: bool,
    random: u64,
}

impl Link {
    /// A link without session. `random` seeds its pauses.
    pub fn new(slot: LinkSlot, config: LinkConfig, id: u32, random: u64, now: Instant) -> Self {
        let engine = Engine::new(&config.identity, &config.key, config.preshared.as_ref(), id);
        Self {
            slot,
            engines: Engines::new(engine),
            path: None,
            queue: Queue::default(),
            stats: LinkStats::default(),
            initiations: 0,
            sent: now,
            traversed: now,
            accepted: None,
            attempt: None,
            pause: None,
            apart: None,
            owed: config.manner.keepalive.is_some(),
            random,
            config,
        }
    }

    /// The socket it uses.
    pub fn socket(&self) -> SocketSlot {
        self.config.socket
    }

    /// The peer's key.
    pub fn key(&self) -> PublicKey {
        self.config.key
    }

    /// Where the peer is.
    pub fn path(&self) -> Option<Path> {
        self.path
    }

    /// Counts datagrams of this link that the operating system took.
    pub fn count_sent(&mut self, datagrams: usize, octets: usize) {
        self.stats.sent_packets += u64::try_from(datagrams).unwrap_or(0);
        self.stats.sent_bytes += u64::try_from(octets).unwrap_or(0);
    }

    /// What has been counted.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// The ids of engines that are gone since this was last asked.
    pub fn released(&mut self) -> Vec<u32> {
        self.engines.released()
    }

    /// The share of packets lost towards us, 0 to 1.
    pub fn estimated_loss(&self) -> f32 {
        self.engines.experienced().estimated_loss()
    }

    /// The round trip of the last handshake that we began.
    pub fn handshake_rtt(&self) -> Option<Duration> {
        self.engines.current().handshake_rtt()
    }

    /// Whether a packet could be sent now: there is a session younger than 180 s, and an address.
    pub fn is_alive(&self, now: Instant) -> bool {
        self.path.is_some() && self.engines.carrier(now).is_some()
    }

    /// Puts the peer at an address that was configured.
    pub fn place(&mut self, to: SocketAddr) {
        self.path = Some(Path { to, source: None });
        self.pause = None;
        self.apart = None;
    }

    /// Forgets which of our addresses the peer used: it may be ours no more.
    pub fn forget_source(&mut self) {
        if let Some(path) = &mut self.path {
            path.source = None;
        }
    }

    /// Sends datagrams one by one for a while: the path refused them as a train.
    pub fn keep_apart(&mut self, now: Instant) {
        self.apart = Some(now + APART);
    }

    /// Whether datagrams may leave in trains: not for a while after the path refused one.
    pub fn takes_trains(&self, now: Instant) -> bool {
        self.apart.is_none_or(|until| until <= now)
    }

    /// Changes what needs no new session. A persistent keepalive that is new is owed at once, as in Linux.
    pub fn tune(&mut self, manner: Manner) {
        self.owed |= manner.keepalive.is_some() && self.config.manner.keepalive.is_none();
        self.config.manner = manner;
    }

    /// How long packets on it may be, in octets; `None` for as long as the device allows.
    pub fn mtu(&self) -> Option<u16> {
        self.config.manner.mtu
    }

    #[cfg(test)]
    pub(crate) fn config(&self) -> &LinkConfig {
        &self.config
    }

    #[cfg(test)]
    pub(crate) fn break_engine(&mut self) {
        self.engines.current_mut().broken = true;
    }

    /// The preshared key.
    pub fn preshared(&self) -> Option<&PresharedKey> {
        self.config.preshared.as_ref()
    }

    /// Makes a new engine for the next handshake; the old one carries on until then, at most 180 s. `id` is new.
    pub fn renew(&mut self, preshared: Option<PresharedKey>, id: u32, turn: &mut Turn<'_>) {
        self.config.preshared = preshared;
        let fresh = self.fresh(id);
        self.engines.succeed(fresh, turn.now);
        self.pause = None;
        if self.attempt.take().is_some() {
            self.initiate(turn);
        }
    }

    /// Begins anew with another key pair of ours, and at once if the peer was or should be in touch.
    pub fn rekey(&mut self, identity: Arc<Identity>, turn: &mut Turn<'_>) {
        let in_touch = self.engines.carrier(turn.now).is_some() || self.is_restless() || !self.queue.is_empty();
        self.config.identity = identity;
        self.restart();
        self.pause = None;
        if in_touch && self.path.is_some() {
            self.initiate(turn);
        }
    }

    /// Sends the packet in the first `length` octets of `room`, behind which it is padded; without a session it
    /// waits, and a handshake begins.
    ///
    /// # Errors
    /// [`Reason`] by cause: the packet is lost.
    pub fn send(
        &mut self,
        room: &mut [u8],
        length: usize,
        priority: Priority,
        turn: &mut Turn<'_>,
    ) -> Result<(), Reason> {
        if self.path.is_none() {
            return Err(Reason::NoEndpoint);
        }
        if self.engines.carrier(turn.now).is_some() {
            self.drain(turn);
        }
        if self.engines.carrier(turn.now).is_some() && self.queue.is_empty() {
            return self.seal(room, length, priority, turn);
        }
        let packet = room.get(..length).ok_or(Reason::Oversized)?;
        turn.drops.add(Reason::QueueFull, self.queue.push(packet, priority, turn.storable));
        if self.engines.carrier(turn.now).is_none() {
            self.initiate(turn);
        }
        Ok(())
    }

    /// Begins a handshake unless one is going on.
    pub fn initiate(&mut self, turn: &mut Turn<'_>) {
        let (former, now) = (self.attempt, turn.now);
        self.attempt = former.or(Some(now));
        self.pause = None;
        let sent = self.emit(turn, |engine, out| engine.initiate(out, now));
        if sent == Err(Reason::SendBlocked) {
            // Nothing has begun: the next tick tries again.
            self.attempt = former;
        }
        self.settle(sent, turn);
    }

    /// Takes an admitted message of type 1, 2 or 3.
    ///
    /// # Errors
    /// [`Reason`] by cause.
    pub fn consume(&mut self, via: Path, message: &[u8], turn: &mut Turn<'_>) -> Result<(), Reason> {
        self.tick_engine(turn);
        let kind = wire::classify(message)?;
        if kind == wire::Message::Initiation {
            let since = self.accepted.map(|at| turn.now.saturating_duration_since(at));
            if since.is_some_and(|since| since < INITIATION_SPACING) {
                return Err(Reason::PeerLimited);
            }
        }
        let out = turn.out.room().ok_or(Reason::SendBlocked)?;
        let consumed = self.engines.current_mut().consume(via.to.ip(), message, out, turn.now);
        let consumed = consumed.map_err(|reason| self.heal(reason))?;
        self.received(message.len(), turn.now);
        match consumed {
            Consumed::CookieKept => {}
            Consumed::Answered(length) => {
                self.accepted = Some(turn.now);
                self.roam(via);
                self.commit(length, turn);
            }
            Consumed::Established(length) => {
                self.roam(via);
                self.commit(length, turn);
                self.established(turn);
            }
        }
        Ok(())
    }

    /// Opens a message of type 4 into `into`; the length of the packet in it, if there is one.
    ///
    /// # Errors
    /// [`Reason`] by cause.
    pub fn open(
        &mut self,
        via: Path,
        datagram: &[u8],
        into: &mut [u8],
        turn: &mut Turn<'_>,
    ) -> Result<Option<usize>, Reason> {
        let Opened { content, confirms } = self.open_by_engine(datagram, via, into, turn.now)?;
        self.received(datagram.len(), turn.now);
        self.roam(via);
        if confirms {
            self.established(turn);
        }
        match content {
            Content::Keepalive => Ok(None),
            Content::Packet(length) => Ok(Some(length)),
            Content::Malformed => Err(Reason::MalformedPacket),
        }
    }

    /// Whether it is to be ticked: it has a session, is in a handshake, wants one, or will forget its last one's secrets.
    pub fn is_awake(&self) -> bool {
        self.engines.is_awake() || self.attempt.is_some() || self.wants_session()
    }

    /// Octets of packets that wait.
    pub fn stored(&self) -> usize {
        self.queue.octets()
    }

    /// Handshakes begun by us so far, each time that one was tried again counted.
    pub fn initiations(&self) -> u64 {
        self.initiations
    }

    /// Lets time pass: to be called every 100 to 250 ms while it [is awake](Self::is_awake).
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        self.tick_engine(turn);
        self.tick_retiring(turn);
        if self.engines.carrier(turn.now).is_some() {
            self.keep_alive(turn);
            self.drain(turn);
        } else if self.wants_session() && self.attempt.is_none() && self.pause.is_none_or(|at| at <= turn.now) {
            self.initiate(turn);
        }
    }

    /// Ends the link: what waited is counted. Returns its ids.
    pub fn end(mut self, drops: &mut Drops) -> Vec<u32> {
        drops.add(Reason::QueueExpired, self.queue.clear());
        self.engines.end()
    }

    fn wants_session(&self) -> bool {
        self.is_restless() || !self.queue.is_empty()
    }

    /// Whether the peer is to be reached even if nothing is sent.
    fn is_restless(&self) -> bool {
        self.path.is_some() && (self.config.manner.warm || self.config.manner.keepalive.is_some())
    }

    fn fresh(&self, id: u32) -> Engine {
        Engine::new(&self.config.identity, &self.config.key, self.config.preshared.as_ref(), id)
    }

    /// Makes the link anew if an engine has panicked.
    fn heal(&mut self, reason: Reason) -> Reason {
        if reason == Reason::Panicked {
            self.restart();
        }
        reason
    }

    fn restart(&mut self) {
        let fresh = self.fresh(self.engines.current().id());
        self.engines.restart(fresh);
        self.attempt = None;
    }

    fn open_by_engine(&mut self, datagram: &[u8], via: Path, into: &mut [u8], now: Instant) -> Result<Opened, Reason> {
        let source = via.to.ip();
        let receiver = match wire::classify(datagram)? {
            wire::Message::Data { receiver, .. } => receiver >> 8,
            wire::Message::Initiation | wire::Message::Response { .. } | wire::Message::Cookie { .. } => {
                return Err(Reason::MalformedDatagram);
            }
        };
        let engine = self.engines.by_id(receiver).ok_or(Reason::UnknownReceiver)?;
        engine.open(source, datagram, into, now).map_err(|reason| self.heal(reason))
    }

    fn received(&mut self, octets: usize, now: Instant) {
        self.stats.received_packets += 1;
        self.stats.received_bytes += u64::try_from(octets).unwrap_or(0);
        self.traversed = now;
    }

    /// The peer is where its last authentic datagram came from.
    fn roam(&mut self, via: Path) {
        if self.path.is_some_and(|path| path.to != via.to) {
            self.stats.endpoint_changes += 1;
            self.apart = None;
        }
        self.path = Some(via);
    }

    /// A handshake is complete: what waited goes out.
    fn established(&mut self, turn: &mut Turn<'_>) {
        self.stats.handshakes += 1;
        self.stats.last_handshake = Some(turn.wall);
        self.attempt = None;
        self.pause = None;
        self.drain(turn);
    }

    fn tick_engine(&mut self, turn: &mut Turn<'_>) {
        let (mut expired, now) = (false, turn.now);
        let sent = self.emit(turn, |engine, out| match engine.tick(out, now)? {
            Ticked::Quiet => Ok(None),
            Ticked::Send(length) => Ok(Some(length)),
            Ticked::Expired => {
                expired = true;
                Ok(None)
            }
        });
        self.settle(sent, turn);
        if expired {
            self.expire(turn);
        }
    }

    /// The engine has given up, and says so at every tick until it is asked to begin again.
    fn expire(&mut self, turn: &mut Turn<'_>) {
        let long = |at: Instant| turn.now.saturating_duration_since(at) >= ATTEMPT;
        if self.attempt.is_some_and(|at| !long(at)) {
            // It gave up for the age of the last session; our attempt is younger than that.
            return self.initiate(turn);
        }
        if self.attempt.take().is_some() || self.pause.is_none() {
            turn.drops.add(Reason::QueueExpired, self.queue.clear());
            self.pause = Some(turn.now + self.jitter());
        }
    }

    /// 0 to 5 s.
    fn jitter(&mut self) -> Duration {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let milliseconds = u64::try_from(PAUSE.as_millis()).unwrap_or(0);
        Duration::from_millis((self.random >> 33) % milliseconds.max(1))
    }

    /// The retiring engine keeps its session going, but leaves handshakes to the current one.
    fn tick_retiring(&mut self, turn: &mut Turn<'_>) {
        let Some(out) = turn.out.room() else { return };
        match self.engines.tick_retiring(out, turn.now) {
            Some(wire::INITIATION) => self.initiate(turn),
            Some(length) => self.commit(length, turn),
            None => {}
        }
    }

    fn keep_alive(&mut self, turn: &mut Turn<'_>) {
        let silent = turn.now.saturating_duration_since(self.sent);
        let untouched = turn.now.saturating_duration_since(self.traversed);
        let manner = self.config.manner;
        let persistent = manner.keepalive.is_some_and(|interval| untouched >= interval);
        if !(self.owed || persistent || manner.warm && silent >= WARM) {
            return;
        }
        self.owed = false;
        let old = |engine: &Engine| engine.session_age(turn.now).is_some_and(|age| age >= REKEY_AFTER);
        let due = |engine: &Engine| engine.is_initiator() && old(engine);
        if self.engines.carrier(turn.now).is_some_and(due) {
            // boringtun renews a session for data alone.
            self.initiate(turn);
        }
        let sent = self.seal(&mut [], 0, Priority::Control, turn);
        self.count(sent, turn);
    }

    fn drain(&mut self, turn: &mut Turn<'_>) {
        while turn.out.has_room()
            && self.engines.carrier(turn.now).is_some()
            && let Some((mut packet, length, priority)) = self.queue.pop()
        {
            let sent = self.seal(&mut packet, length, priority, turn);
            self.count(sent, turn);
        }
    }

    fn seal(&mut self, room: &mut [u8], length: usize, priority: Priority, turn: &mut Turn<'_>) -> Result<(), Reason> {
        let out = turn.out.room().ok_or(Reason::SendBlocked)?;
        let manner = self.config.manner;
        let engine = self.engines.carrier_mut(turn.now).ok_or(Reason::NoSession)?;
        let packet = room.get(..length).ok_or(Reason::Oversized)?;
        let tos = manner.marking.data(tos::of(packet));
        let mtu = shorter(turn.mtus.of_packet(packet), manner.mtu);
        let length = engine.seal(room, length, mtu, out, turn.now).map_err(|reason| self.heal(reason))?;
        self.commit_as(length, priority, tos, turn);
        Ok(())
    }

    /// Lets the current engine write a datagram. Without an address the engine does its work all the same.
    fn emit(
        &mut self,
        turn: &mut Turn<'_>,
        work: impl FnOnce(&mut Engine, &mut [u8]) -> Result<Option<usize>, Reason>,
    ) -> Result<(), Reason> {
        let out = turn.out.room().ok_or(Reason::SendBlocked)?;
        if let Some(length) = work(self.engines.current_mut(), out)? {
            self.initiations += u64::from(length == wire::INITIATION);
            self.commit(length, turn);
        }
        Ok(())
    }

    /// Commits what the engine wrote by itself: an initiation, a response or a keepalive.
    fn commit(&mut self, length: usize, turn: &mut Turn<'_>) {
        let marking = self.config.manner.marking;
        let tos = if length == wire::OVERHEAD { marking.keepalive() } else { marking.handshake() };
        self.commit_as(length, Priority::Control, tos, turn);
    }

    fn commit_as(&mut self, length: usize, priority: Priority, tos: u8, turn: &mut Turn<'_>) {
        let Some(path) = self.path else { return };
        let train = self.takes_trains(turn.now);
        let hop = Hop { link: Some(self.slot), socket: self.config.socket, path, tos, priority, train };
        turn.out.commit(length, hop);
        self.sent = turn.now;
        self.traversed = turn.now;
    }

    fn settle(&mut self, sent: Result<(), Reason>, turn: &mut Turn<'_>) {
        let sent = sent.map_err(|reason| self.heal(reason));
        self.count(sent, turn);
    }

    fn count(&mut self, sent: Result<(), Reason>, turn: &mut Turn<'_>) {
        if let Err(reason) = sent {
            turn.drops.count(reason);
        }
    }
}

/// The shorter of two MTUs, of which the first is 0 for unknown.
fn shorter(mtu: usize, other: Option<u16>) -> usize {
    match other.map(usize::from) {
        Some(other) if mtu == 0 || other < mtu => other,
        _ => mtu,
    }
}
