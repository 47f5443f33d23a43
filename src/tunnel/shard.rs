//! What one worker owns: links, the table that leads receiver indices to them, routes, limits, counts.
//!
//! A receiver index is `random (16 bits) | worker (8 bits) | session (8 bits)`: on the wire the worker's number is
//! octet 5 of messages of types 3 and 4, and octet 9 of type 2, so that a socket filter can find the worker.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::identity::{PresharedKey, PublicKey};
use crate::tunnel::batch::Batch;
use crate::tunnel::clock::ClockWatch;
use crate::tunnel::handshakes::{Callers, Waiting};
use crate::tunnel::limits::Limits;
use crate::tunnel::wheel::Wheel;
use crate::tunnel::{
    Drops, Homes, Hop, Identity, Link, LinkConfig, Manner, Mtus, Owners, Priority, Reason, Routes, Turn,
};

/// A link's place in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkSlot(pub usize);

/// A socket's place in its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketSlot(pub usize);

/// The time, read once per turn.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// On a clock that is never put right.
    pub now: Instant,
    /// The time of day.
    pub wall: SystemTime,
}

/// A site as the shard sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// Its links, best first.
    pub links: Vec<LinkSlot>,
    /// The links by which packets from it may arrive.
    pub senders: Vec<LinkSlot>,
}

/// There are as many links as a worker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a worker holds at most 20,000 links")]
pub struct Full;

/// So many that of the 65,536 numbers a free one is soon found at random, also while each link has two engines. They
/// take about 250 MiB.
const MOST_LINKS: usize = 20_000;
/// Octets of packets that wait for sessions, over all links: a device's whole prefix may be unreachable.
const MOST_STORED: usize = 8 << 20;

/// The slot of no link: there are fewer than that.
const NOBODY: u16 = u16::MAX;

/// Handshakes that one call of [`Shard::tick`] begins: each costs about as much as a hundred packets.
const INITIATIONS: u64 = 4;

/// What one worker owns.
#[derive(Debug)]
pub struct Shard {
    pub(super) worker: u8,
    random: u64,
    /// Whether link-local addresses belong to the worker and never to the TUN device.
    pub(super) intercepts: bool,
    pub(super) links: Vec<Option<Box<Link>>>,
    /// Places in `links` that are free again.
    free: Vec<usize>,
    /// Octets of packets that wait in the links.
    pub(super) stored: usize,
    /// By the random part of a receiver id: the slot, or [`NOBODY`].
    by_id: Box<[u16]>,
    pub(super) by_key: HashMap<(SocketSlot, PublicKey), LinkSlot>,
    pub(super) identities: Vec<Option<Arc<Identity>>>,
    pub(super) owners: Owners,
    pub(super) sites: Vec<Site>,
    pub(super) homes: Arc<Homes>,
    pub(super) limits: Limits,
    pub(super) waiting: Waiting,
    pub(super) callers: Callers,
    pub(super) drops: Drops,
    pub(super) mtus: Arc<Mtus>,
    clock: ClockWatch,
    wheel: Wheel,
}

impl Shard {
    /// A shard without links. `seed` is random.
    pub fn new(worker: u8, seed: u64, intercepts: bool, moment: Moment) -> Self {
        Self {
            worker,
            random: seed,
            intercepts,
            links: Vec::new(),
            free: Vec::new(),
            stored: 0,
            by_id: vec![NOBODY; 1 << 16].into_boxed_slice(),
            by_key: HashMap::new(),
            identities: Vec::new(),
            owners: Owners::new(Arc::default()),
            sites: Vec::new(),
            homes: Arc::default(),
            limits: Limits::new(moment.now),
            waiting: Waiting::new(),
            callers: Callers::new(),
            drops: Drops::default(),
            mtus: Arc::default(),
            clock: ClockWatch::new(moment.now, moment.wall),
            wheel: Wheel::new(moment.now),
        }
    }

    /// Takes a share of the limits on handshakes that several workers keep together.
    pub fn share_limits(&mut self, workers: u8) {
        self.limits.share(workers);
    }

    /// The worker's number.
    pub fn worker(&self) -> u8 {
        self.worker
    }

    /// Sets how long packets may be.
    pub fn set_mtus(&mut self, mtus: Arc<Mtus>) {
        self.mtus = mtus;
    }

    /// Sets the key pair of a socket; `None` when it has none, or is no more.
    pub fn set_identity(&mut self, socket: SocketSlot, identity: Option<Arc<Identity>>) {
        if self.identities.len() <= socket.0 {
            self.identities.resize_with(socket.0 + 1, || None);
        }
        self.identities[socket.0] = identity;
    }

    /// Sets who owns which addresses.
    pub fn set_routes(&mut self, routes: Arc<Routes>, sites: Vec<Site>) {
        self.owners = Owners::new(routes);
        self.sites = sites;
    }

    /// Sets which worker serves whom. Of a site of another worker, only the senders count here.
    pub fn set_homes(&mut self, homes: Arc<Homes>) {
        self.homes = homes;
    }

    /// Whether so many links fit.
    pub fn holds(links: usize) -> bool {
        links <= MOST_LINKS
    }

    /// Adds a link.
    ///
    /// # Errors
    /// [`Full`].
    pub fn add(&mut self, config: LinkConfig, now: Instant) -> Result<LinkSlot, Full> {
        if self.free.is_empty() && !Self::holds(self.links.len() + 1) {
            return Err(Full);
        }
        let slot = LinkSlot(self.free.pop().unwrap_or(self.links.len()));
        let id = self.new_id(slot);
        self.by_key.insert((config.socket, config.key), slot);
        let link = Box::new(Link::new(slot, config, id, self.draw(), now));
        if slot.0 == self.links.len() {
            self.links.push(None);
        }
        self.links[slot.0] = Some(link);
        Ok(slot)
    }

    /// Removes a link with its sessions.
    pub fn remove(&mut self, slot: LinkSlot) {
        if let Some(link) = self.links.get_mut(slot.0).and_then(Option::take) {
            self.by_key.remove(&(link.socket(), link.key()));
            self.free.push(slot.0);
            self.wheel.rest(slot.0);
            self.stored -= link.stored();
            for id in link.end(&mut self.drops) {
                self.forget_id(id);
            }
        }
    }

    /// A link.
    pub fn link(&self, slot: LinkSlot) -> Option<&Link> {
        self.links.get(slot.0)?.as_deref()
    }

    /// Puts a link's peer at an address that was configured.
    pub fn place(&mut self, slot: LinkSlot, to: SocketAddr) {
        if let Some(link) = self.link_mut(slot) {
            link.place(to);
        }
        self.rouse(slot);
    }

    /// Counts datagrams of a link that the operating system took.
    pub fn count_sent(&mut self, slot: LinkSlot, datagrams: usize, octets: usize) {
        if let Some(link) = self.link_mut(slot) {
            link.count_sent(datagrams, octets);
        }
    }

    /// Forgets which of our addresses a link's peer used.
    pub fn forget_source(&mut self, slot: LinkSlot) {
        if let Some(link) = self.link_mut(slot) {
            link.forget_source();
        }
    }

    /// Sends a link's datagrams one by one for a while: its path refused them as a train.
    pub fn keep_apart(&mut self, slot: LinkSlot, now: Instant) {
        if let Some(link) = self.link_mut(slot) {
            link.keep_apart(now);
        }
    }

    /// Changes how a link behaves.
    pub fn tune(&mut self, slot: LinkSlot, manner: Manner) {
        if let Some(link) = self.link_mut(slot) {
            link.tune(manner);
        }
        self.rouse(slot);
    }

    /// Gives a link another preshared key, from the next handshake on.
    pub fn renew(&mut self, slot: LinkSlot, preshared: Option<PresharedKey>, moment: Moment, out: &mut Batch<Hop>) {
        let id = self.new_id(slot);
        self.with_link(slot, moment, out, |link, turn| link.renew(preshared, id, turn));
        self.forget_released(slot);
    }

    /// Gives a link its socket's new key pair: its sessions end, and a new handshake begins if it had one.
    pub fn rekey(&mut self, slot: LinkSlot, identity: Arc<Identity>, moment: Moment, out: &mut Batch<Hop>) {
        self.with_link(slot, moment, out, |link, turn| link.rekey(identity, turn));
        self.forget_released(slot);
    }

    /// Sends `length` octets of `room`, behind which they are padded, on a link of the caller's choice.
    ///
    /// # Errors
    /// [`Reason`] by cause, which is counted.
    pub fn send_on(
        &mut self,
        slot: LinkSlot,
        (room, length): (&mut [u8], usize),
        priority: Priority,
        moment: Moment,
        out: &mut Batch<Hop>,
    ) -> Result<(), Reason> {
        let sent = self
            .with_link(slot, moment, out, |link, turn| link.send(room, length, priority, turn))
            .unwrap_or(Err(Reason::NoLink));
        sent.inspect_err(|reason| self.drops.count(*reason))
    }

    /// Lets time pass, to be called when [`Shard::next_tick`] says so. Does a portion of what is due: the rest can wait
    /// for packets that have arrived, and must wait for room in `out`.
    pub fn tick(&mut self, moment: Moment, out: &mut Batch<Hop>) {
        if self.clock.put_forward(moment.now, moment.wall) {
            self.renew_all(moment, out);
        }
        self.wheel.turn(moment.now);
        let mut initiations = 0;
        while initiations < INITIATIONS
            && out.has_room()
            && let Some(slot) = self.wheel.next()
        {
            initiations += self.tick_link(LinkSlot(slot), moment, out);
        }
    }

    /// When to call [`Shard::tick`] next: in a second at the latest, and in the past while there is more to do.
    pub fn next_tick(&self) -> Instant {
        self.wheel.next_turn()
    }

    /// What went no further.
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// Counts what the worker itself had to drop.
    pub fn count(&mut self, reason: Reason, number: u64) {
        self.drops.add(reason, number);
    }

    /// The link that a receiver index leads to.
    pub(super) fn find(&self, receiver: u32) -> Option<LinkSlot> {
        let id = receiver >> 8;
        let slot =
            Some(self.by_id[number(id)]).filter(|slot| id & 0xff == u32::from(self.worker) && *slot != NOBODY)?;
        Some(LinkSlot(slot.into()))
    }

    /// Lets a link work; `None` when it is no more.
    pub(super) fn with_link<T>(
        &mut self,
        slot: LinkSlot,
        moment: Moment,
        out: &mut Batch<Hop>,
        work: impl FnOnce(&mut Link, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let link = self.links.get_mut(slot.0)?.as_deref_mut()?;
        let before = link.stored();
        let mut turn = Turn {
            now: moment.now,
            wall: moment.wall,
            mtus: &self.mtus,
            storable: MOST_STORED.saturating_sub(self.stored),
            out,
            drops: &mut self.drops,
        };
        let done = work(link, &mut turn);
        self.stored = self.stored + link.stored() - before;
        self.rouse(slot);
        Some(done)
    }

    /// How many initiations came of it.
    fn tick_link(&mut self, slot: LinkSlot, moment: Moment, out: &mut Batch<Hop>) -> u64 {
        let initiations = |shard: &Self| shard.link(slot).map_or(0, Link::initiations);
        let before = initiations(self);
        self.with_link(slot, moment, out, Link::tick);
        self.forget_released(slot);
        if self.link(slot).is_none_or(|link| !link.is_awake()) {
            self.wheel.rest(slot.0);
        }
        initiations(self) - before
    }

    /// Sees to it that a link is ticked if it has got a reason to be.
    fn rouse(&mut self, slot: LinkSlot) {
        if !self.wheel.is_awake(slot.0) && self.link(slot).is_some_and(Link::is_awake) {
            self.wheel.wake(slot.0);
        }
    }

    fn link_mut(&mut self, slot: LinkSlot) -> Option<&mut Link> {
        self.links.get_mut(slot.0)?.as_deref_mut()
    }

    /// The clock was put right: stamps of the engines made before are in the past.
    fn renew_all(&mut self, moment: Moment, out: &mut Batch<Hop>) {
        for slot in (0..self.links.len()).map(LinkSlot) {
            if let Some(preshared) = self.link(slot).map(|link| link.preshared().cloned()) {
                self.renew(slot, preshared, moment, out);
            }
        }
    }

    fn new_id(&mut self, slot: LinkSlot) -> u32 {
        loop {
            let id = u32::try_from(self.draw() & 0xffff).unwrap_or(0) << 8 | u32::from(self.worker);
            let entry = &mut self.by_id[number(id)];
            if *entry == NOBODY {
                // There are at most MOST_LINKS.
                *entry = u16::try_from(slot.0).unwrap_or(NOBODY);
                return id;
            }
        }
    }

    fn forget_id(&mut self, id: u32) {
        self.by_id[number(id)] = NOBODY;
    }

    fn forget_released(&mut self, slot: LinkSlot) {
        for id in self.link_mut(slot).map(Link::released).unwrap_or_default() {
            self.forget_id(id);
        }
    }

    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The random part of an id.
fn number(id: u32) -> usize {
    usize::try_from(id >> 8 & 0xffff).unwrap_or(0)
}
