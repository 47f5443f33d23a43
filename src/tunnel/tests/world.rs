//! Virtual endpoints: shards that exchange datagrams through memory, on a clock that the test advances.
//!
//! Also part of `tests/clock`, where boringtun's own clock is advanced with it; hence `super` instead of `crate`.
#![allow(dead_code, reason = "each of the two uses its part")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::identity::{PresharedKey, PrivateKey};
use super::net::Prefix;
use super::tunnel::segment::VnetHeader;
use super::tunnel::{
    Arrival, Batch, Handled, Hop, Identity, LinkConfig, LinkSlot, LinkStats, Manner, Moment, Mtus, Outcome, Path,
    Reason, Routes, Shard, Site, SiteSlot, SocketSlot,
};

/// How often endpoints are ticked.
pub const TICK: Duration = Duration::from_millis(200);
pub const SOCKET: SocketSlot = SocketSlot(0);

/// A datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub tos: u8,
    pub octets: Vec<u8>,
}

impl Datagram {
    /// WireGuard's message type.
    pub fn kind(&self) -> u8 {
        self.octets[0]
    }
}

/// What a link shall be.
#[derive(Clone, Copy, Default)]
pub struct Wish {
    pub keepalive: Option<Duration>,
    pub warm: bool,
    pub preshared: Option<u8>,
}

/// An endpoint.
pub struct End {
    pub shard: Shard,
    pub key: PrivateKey,
    pub identity: Arc<Identity>,
    pub address: SocketAddr,
    pub delivered: Vec<Vec<u8>>,
    pub local: Vec<Vec<u8>>,
    out: Batch<Hop>,
    packets: Batch<Outcome>,
    routes: Vec<(Prefix, SiteSlot)>,
    sites: Vec<Site>,
}

/// Endpoints and what passes between them.
pub struct World {
    pub moment: Moment,
    pub ends: Vec<End>,
    /// Datagrams that were sent, with when, since the beginning.
    pub log: Vec<(Duration, Datagram)>,
    /// Whether datagrams of an endpoint are lost.
    pub lost: fn(&Datagram) -> bool,
    begun: Instant,
    advance: fn(Duration),
}

impl World {
    /// `ends` endpoints that do not know each other; `advance` advances whatever other clock there is.
    pub fn new(ends: usize, advance: fn(Duration)) -> Self {
        let moment = Moment { now: Instant::now(), wall: SystemTime::now() };
        let ends = (0..ends).map(|number| End::new(u8::try_from(number).expect("few"), moment)).collect();
        Self { moment, ends, log: Vec::new(), lost: |_| false, begun: moment.now, advance }
    }

    /// Two endpoints: 0 owns 10.0.0.0/16 and fd00::/64, 1 owns 10.1.0.0/16 and fd01::/64.
    pub fn pair(wish: Wish, advance: fn(Duration)) -> Self {
        let mut world = Self::new(2, advance);
        world.connect(0, 1, wish, &["10.1.0.0/16", "fd01::/64"]);
        world.connect(1, 0, wish, &["10.0.0.0/16", "fd00::/64"]);
        world
    }

    /// Gives `here` a link to `there` and a site behind it that owns `prefixes`.
    pub fn connect(&mut self, here: usize, there: usize, wish: Wish, prefixes: &[&str]) -> LinkSlot {
        let (key, address) = (self.ends[there].key.public(), self.ends[there].address);
        let end = &mut self.ends[here];
        let config = LinkConfig {
            socket: SOCKET,
            identity: Arc::clone(&end.identity),
            key,
            preshared: wish.preshared.and_then(|octet| PresharedKey::from_octets([octet; 32])),
            manner: Manner { keepalive: wish.keepalive, warm: wish.warm, ..Manner::default() },
        };
        let slot = end.shard.add(config, self.moment.now).expect("room");
        end.shard.place(slot, address);
        end.own(Site { links: vec![slot], senders: vec![slot] }, prefixes);
        slot
    }

    /// Sends a packet from the TUN device of `end`.
    pub fn send(&mut self, end: usize, packet: &[u8]) -> Result<(), Reason> {
        let mut room = packet.to_vec();
        room.resize(packet.len() + 16, 0xff);
        let end = &mut self.ends[end];
        let room = room.as_mut_slice();
        let mut departure = end
            .shard
            .depart(&VnetHeader::NONE, (&mut *room, packet.len()), self.moment, &mut end.out)
            .map_err(|refused| refused.reason)?;
        assert!(!end.shard.forward(&mut departure, room, self.moment, &mut end.out), "room for one packet");
        Ok(())
    }

    /// Sends a packet and carries everything to its end; what came out at `there`.
    pub fn pass(&mut self, here: usize, there: usize, packet: &[u8]) -> Vec<Vec<u8>> {
        self.ends[there].delivered.clear();
        self.send(here, packet).expect("sent");
        self.settle();
        std::mem::take(&mut self.ends[there].delivered)
    }

    /// Whether a packet comes out unchanged, and nothing else does.
    pub fn crosses(&mut self, here: usize, there: usize, packet: &[u8]) -> bool {
        self.pass(here, there, packet) == [packet]
    }

    /// Takes the datagrams that `end` has to send.
    pub fn take(&mut self, end: usize) -> Vec<Datagram> {
        let since = self.elapsed();
        let end = &mut self.ends[end];
        let from = end.address;
        let sent: Vec<_> = end
            .out
            .iter()
            .map(|(hop, octets)| Datagram { from, to: hop.path.to, tos: hop.tos, octets: octets.to_vec() })
            .collect();
        for (link, octets) in end.out.iter().filter_map(|(hop, octets)| Some((hop.link?, octets))) {
            end.shard.count_sent(link, 1, octets.len());
        }
        end.out.clear();
        self.log.extend(sent.iter().map(|datagram| (since, datagram.clone())));
        sent
    }

    /// Gives a datagram to an endpoint, whatever its address says. A handshake message is worked off, after those that
    /// waited before it.
    pub fn give(&mut self, end: usize, datagram: &Datagram) -> Result<Outcome, Reason> {
        let outcome = self.bring(end, datagram)?;
        if outcome == Outcome::Waits {
            self.shake(end).pop().expect("it waited")?;
        }
        Ok(outcome)
    }

    /// Gives a handshake message to an endpoint, which works it off; whose it was.
    pub fn work_off(&mut self, end: usize, datagram: &Datagram) -> Result<LinkSlot, Reason> {
        self.bring(end, datagram)?;
        self.shake(end).pop().expect("it waited")
    }

    /// Works off the handshake messages that wait; what came of each.
    pub fn shake(&mut self, end: usize) -> Vec<Result<LinkSlot, Reason>> {
        let end = &mut self.ends[end];
        let here = |handled| match handled {
            Handled::Here(slot) => slot,
            Handled::Elsewhere(..) => panic!("nobody has another home"),
        };
        let handshakes = std::iter::from_fn(|| end.shard.handshake(self.moment, &mut end.out));
        let results = handshakes.map(|result| result.map(here)).collect();
        assert!(!end.shard.has_handshakes(), "room for all");
        results
    }

    /// Gives a datagram to an endpoint: a handshake message only waits.
    pub fn bring(&mut self, end: usize, datagram: &Datagram) -> Result<Outcome, Reason> {
        let end = &mut self.ends[end];
        let via = Path { to: datagram.from, source: Some(datagram.to.ip()) };
        let arrival = Arrival { socket: SOCKET, via, tos: datagram.tos, datagram: &datagram.octets };
        let outcome = end.shard.ingress(arrival, self.moment, &mut end.packets, &mut end.out);
        for (outcome, packet) in end.packets.iter() {
            match outcome {
                Outcome::ToTun(_) => end.delivered.push(packet.to_vec()),
                Outcome::ToLocal(_) => end.local.push(packet.to_vec()),
                Outcome::Waits | Outcome::Consumed => panic!("not a packet"),
            }
        }
        end.packets.clear();
        outcome
    }

    /// Carries datagrams until no endpoint has anything more to send.
    pub fn settle(&mut self) {
        loop {
            let sent: Vec<Datagram> = (0..self.ends.len()).flat_map(|end| self.take(end)).collect();
            if sent.is_empty() {
                return;
            }
            let lost = self.lost;
            for datagram in sent.iter().filter(|datagram| !lost(datagram)) {
                if let Some(there) = self.ends.iter().position(|end| end.address == datagram.to) {
                    self.give(there, datagram).ok();
                }
            }
        }
    }

    /// Lets time pass, with ticks and deliveries.
    pub fn run(&mut self, duration: Duration) {
        let until = self.moment.now + duration;
        while self.moment.now < until {
            self.skip(TICK);
            for number in 0..self.ends.len() {
                self.tick(number);
            }
            self.settle();
        }
    }

    /// Lets time pass without ticks.
    pub fn skip(&mut self, duration: Duration) {
        (self.advance)(duration);
        self.moment.now += duration;
        self.moment.wall += duration;
    }

    pub fn tick(&mut self, end: usize) {
        let end = &mut self.ends[end];
        end.shard.tick(self.moment, &mut end.out);
        while end.shard.next_tick() <= self.moment.now {
            assert!(end.out.has_room(), "room for all");
            end.shard.tick(self.moment, &mut end.out);
        }
    }

    /// How many datagrams of a type were sent from `end` since `since` (after the beginning).
    pub fn sent(&self, end: usize, kind: u8, since: Duration) -> usize {
        let from = self.ends[end].address;
        self.log
            .iter()
            .filter(|(at, datagram)| *at >= since && datagram.from == from && datagram.kind() == kind)
            .count()
    }

    pub fn elapsed(&self) -> Duration {
        self.moment.now - self.begun
    }

    pub fn stats(&self, end: usize, slot: LinkSlot) -> LinkStats {
        self.ends[end].shard.link(slot).expect("a link").stats()
    }

    pub fn alive(&self, end: usize) -> bool {
        self.ends[end].shard.link(LinkSlot(0)).expect("a link").is_alive(self.moment.now)
    }

    pub fn peer_of(&self, end: usize, slot: LinkSlot) -> Option<SocketAddr> {
        self.ends[end].shard.link(slot).expect("a link").path().map(|path| path.to)
    }

    pub fn drops(&self, end: usize, reason: Reason) -> u64 {
        self.ends[end].shard.drops().of(reason)
    }
}

impl End {
    fn new(number: u8, moment: Moment) -> Self {
        let key = PrivateKey::generate().expect("entropy");
        let identity = Arc::new(Identity::new(&key));
        let mut shard = Shard::new(number, 0xcafe + u64::from(number), true, moment);
        shard.set_identity(SOCKET, Some(Arc::clone(&identity)));
        shard.set_mtus(Arc::new(Mtus::new(1420, [])));
        Self {
            shard,
            key,
            identity,
            address: SocketAddr::new(IpAddr::from([198, 51, 100, number + 1]), 51820),
            delivered: Vec::new(),
            local: Vec::new(),
            out: Batch::new(4),
            packets: Batch::new(2),
            routes: Vec::new(),
            sites: Vec::new(),
        }
    }

    /// Adds a site that owns `prefixes`.
    pub fn own(&mut self, site: Site, prefixes: &[&str]) {
        let slot = SiteSlot(self.sites.len());
        self.sites.push(site);
        self.routes.extend(prefixes.iter().map(|text| (text.parse::<Prefix>().expect("a prefix"), slot)));
        let routes = Routes::build(self.routes.iter().copied()).expect("no prefix twice");
        self.shard.set_routes(Arc::new(routes), self.sites.clone());
    }

    /// The batch of datagrams, for calls that the world does not make.
    pub fn out(&mut self) -> (&mut Shard, &mut Batch<Hop>) {
        (&mut self.shard, &mut self.out)
    }
}

/// An IP packet with a payload that begins with `number`.
pub fn packet(source: &str, destination: &str, number: u8, payload: usize) -> Vec<u8> {
    let (source, destination): (IpAddr, IpAddr) =
        (source.parse().expect("an address"), destination.parse().expect("an address"));
    let mut packet = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = u16::try_from(20 + payload).expect("fits").to_be_bytes();
            let header = [0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 17, 0, 0];
            [&header[..], &source.octets(), &destination.octets()].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = u16::try_from(payload).expect("fits").to_be_bytes();
            let header = [0x60, 0, 0, 0, length[0], length[1], 17, 64];
            [&header[..], &source.octets(), &destination.octets()].concat()
        }
        _ => panic!("two families"),
    };
    packet.resize(packet.len() + payload, number);
    packet
}
