//! The one file that names boringtun: WireGuard's handshake and cipher, and the rules that its user must keep.
//!
//! It is also the one impure leaf of the core: boringtun reads `CLOCK_BOOTTIME` and the operating system's random
//! numbers by itself, where handshakes and ticks are concerned; for packets nothing asks a clock.
//!
//! | boringtun 0.7.1 | here |
//! |---|---|
//! | panics when an output buffer is short, before any check | lengths are compared first; a panic is contained |
//! | does not pad | zeros up to a multiple of 16, or the MTU |
//! | takes counters up to 2^64 - 1, and overflows | [`wire::classify`] refuses them before |
//! | keeps sessions until the tick after 180 s | `sessions.rs` says when each one ends |
//! | queues up to 256 packets before a session, reorders them | never asked to seal without a session |
//! | limits handshakes by one count over all sources | [`Identity::admit`], driven by `limits.rs`; its own limit is infinite |
//! | takes keys with which the secret is always zero | neither begins nor answers a handshake with one |
//! | has no setter for the preshared key, fixes its time stamp when made | an [`Engine`] is replaced, see `link.rs` |
//! | shows the preshared key in `Debug` | nothing here implements `Debug` by derivation |

use std::fmt;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use boringtun::x25519;

use crate::identity::{PresharedKey, PrivateKey, PublicKey};
use crate::tunnel::sessions::Sessions;
use crate::tunnel::{Reason, wire};

/// A socket's key pair, and the door before its peers.
pub struct Identity {
    private: x25519::StaticSecret,
    public: x25519::PublicKey,
    /// Checks the first code of a handshake message, never asks for the second. Shared with the engines.
    lenient: Arc<RateLimiter>,
    /// Always asks for the second code, which proves the sender's address.
    strict: RateLimiter,
}

/// What the door does with a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The sender knows our public key, and has proved its address if that was asked.
    Admitted,
    /// The sender must prove its address: a cookie of so many octets was written.
    Challenged(usize),
}

impl Identity {
    /// Takes a private key.
    pub fn new(key: &PrivateKey) -> Self {
        let private = x25519::StaticSecret::from(*key.octets());
        let public = x25519::PublicKey::from(&private);
        let lenient = Arc::new(RateLimiter::new(&public, u64::MAX));
        Self { private, public, lenient, strict: RateLimiter::new(&public, 0) }
    }

    /// Verifies a handshake message's first code, and with `prove` the second, which only the holder of the source
    /// address can make. `reply` has room for a cookie ([`wire::COOKIE`] octets).
    ///
    /// # Errors
    /// [`Reason::BadMac`].
    pub fn admit(&self, source: IpAddr, message: &[u8], prove: bool, reply: &mut [u8]) -> Result<Admission, Reason> {
        let limiter = if prove { &self.strict } else { &*self.lenient };
        contained(|| match limiter.verify_packet(Some(source), message, reply) {
            Ok(_) => Ok(Admission::Admitted),
            Err(TunnResult::WriteToNetwork(cookie)) => Ok(Admission::Challenged(cookie.len())),
            Err(TunnResult::Err(error)) => Err(reason(&error)),
            Err(_) => Err(Reason::MalformedDatagram),
        })?
    }

    /// Whose initiation it is. Costs one multiplication on the curve, and proves nothing: anyone who knows both
    /// public keys can write this part.
    ///
    /// # Errors
    /// [`Reason::MalformedDatagram`], [`Reason::Unauthentic`].
    pub fn initiator(&self, initiation: &[u8]) -> Result<PublicKey, Reason> {
        contained(|| match Tunn::parse_incoming_packet(initiation) {
            Ok(Packet::HandshakeInit(packet)) => parse_handshake_anon(&self.private, &self.public, &packet)
                .map(|half| PublicKey::from_octets(half.peer_static_public))
                .map_err(|error| reason(&error)),
            _ => Err(Reason::MalformedDatagram),
        })?
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, …)", PublicKey::from_octets(self.public.to_bytes()))
    }
}

/// One peer's handshake and sessions.
pub struct Engine {
    tunn: Tunn,
    id: u32,
    sessions: Sessions,
    /// The peer's key is none: what would be agreed on with it is zero.
    mute: bool,
    /// Whether something may come of a tick.
    stirred: bool,
    initiator: bool,
    /// Our index of a session that we answered and that the initiator has not used yet.
    unconfirmed: Option<u32>,
    #[cfg(test)]
    pub(crate) broken: bool,
}

/// What the clock asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticked {
    /// Nothing.
    Quiet,
    /// A datagram of so many octets was written: an initiation or a keepalive.
    Send(usize),
    /// 90 s of handshakes without answer, or 540 s without a new session. Nothing more comes by itself.
    Expired,
}

/// What came of a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumed {
    /// An initiation: a response of so many octets was written.
    Answered(usize),
    /// A response: there is a session, and a keepalive of so many octets was written.
    Established(usize),
    /// A cookie was kept for the next initiation.
    CookieKept,
}

/// What was in an authentic data message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it held.
    pub content: Content,
    /// Whether it is the first of a session that we answered: the handshake is complete.
    pub confirms: bool,
}

/// What an authentic data message held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing: a keepalive.
    Keepalive,
    /// A packet of so many octets.
    Packet(usize),
    /// Something else than an IP packet.
    Malformed,
}

impl Engine {
    /// An engine without session. `id` has 24 bits and makes the upper part of every receiver index.
    pub fn new(identity: &Identity, peer: &PublicKey, preshared: Option<&PresharedKey>, id: u32) -> Self {
        let limiter = Some(Arc::clone(&identity.lenient));
        let mute = peer.is_low_order();
        let peer = x25519::PublicKey::from(*peer.octets());
        let preshared = preshared.map(|key| *key.octets());
        let tunn = Tunn::new(identity.private.clone(), peer, preshared, None, id, limiter);
        Self {
            tunn,
            id,
            sessions: Sessions::default(),
            mute,
            stirred: false,
            initiator: false,
            unconfirmed: None,
            #[cfg(test)]
            broken: false,
        }
    }

    /// The 24 bits that the receiver's indices begin with.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether we began the handshake of the current session: then it is for us to renew it.
    pub fn is_initiator(&self) -> bool {
        self.initiator
    }

    /// The age of the current session, at most 180 s; `None` without one.
    pub fn session_age(&self, now: Instant) -> Option<Duration> {
        self.sessions.age(now)
    }

    /// Whether a packet could be sealed now: there is a session younger than 180 s.
    pub fn is_alive(&self, now: Instant) -> bool {
        self.sessions.is_alive(now)
    }

    /// Whether there is a session, however old.
    pub fn has_session(&self) -> bool {
        self.sessions.is_any()
    }

    /// Whether something may come of a tick: there was a handshake, and 540 s later its last secrets are forgotten.
    pub fn is_stirred(&self) -> bool {
        self.stirred
    }

    /// The share of packets lost towards us, 0 to 1.
    pub fn estimated_loss(&self) -> f32 {
        self.tunn.stats().3
    }

    /// The round trip of the last handshake that we began.
    pub fn handshake_rtt(&self) -> Option<Duration> {
        self.tunn.stats().4.map(|milliseconds| Duration::from_millis(milliseconds.into()))
    }

    /// Seals the first `length` octets of `room`, padded behind with zeros, into `out`; returns the octets written.
    /// `length` 0 makes a keepalive.
    ///
    /// # Errors
    /// [`Reason::NoSession`]; [`Reason::Oversized`] when `room` or `out` is too short; [`Reason::Panicked`].
    pub fn seal(
        &mut self,
        room: &mut [u8],
        length: usize,
        mtu: usize,
        out: &mut [u8],
        now: Instant,
    ) -> Result<usize, Reason> {
        let padded = padded_length(length, mtu);
        if !self.is_alive(now) {
            return Err(Reason::NoSession);
        }
        room.get_mut(length..padded).ok_or(Reason::Oversized)?.fill(0);
        if out.len() < padded + wire::OVERHEAD || out.len() < wire::INITIATION {
            return Err(Reason::Oversized);
        }
        self.contained(|tunn| match tunn.encapsulate(&room[..padded], out) {
            TunnResult::WriteToNetwork(datagram) => Ok(datagram.len()),
            TunnResult::Err(error) => Err(reason(&error)),
            _ => Err(Reason::NoSession),
        })
    }

    /// Writes an initiation into `out`; `None` while one waits for its answer, and for a peer whose key is of low order.
    ///
    /// # Errors
    /// [`Reason::Oversized`] when `out` is too short; [`Reason::Panicked`].
    pub fn initiate(&mut self, out: &mut [u8], now: Instant) -> Result<Option<usize>, Reason> {
        if out.len() < wire::INITIATION {
            return Err(Reason::Oversized);
        }
        if self.mute {
            return Ok(None);
        }
        let written = self.contained(|tunn| {
            // Else it would count the 90 s of this attempt from the last tick, which may be long ago. What it wants to
            // send is the same initiation, or a keepalive that an initiation makes needless.
            if let TunnResult::WriteToNetwork(datagram) = tunn.update_timers(out)
                && datagram.len() == wire::INITIATION
            {
                return Ok(Some(datagram.len()));
            }
            match tunn.format_handshake_initiation(out, false) {
                TunnResult::WriteToNetwork(datagram) => Ok(Some(datagram.len())),
                TunnResult::Err(error) => Err(reason(&error)),
                _ => Ok(None),
            }
        });
        self.stirred = true;
        self.compare(now);
        written
    }

    /// Lets time pass. To be called every 100 to 250 ms: boringtun knows no other time than that of this call.
    ///
    /// # Errors
    /// [`Reason::Oversized`] when `out` is too short; [`Reason::Panicked`].
    pub fn tick(&mut self, out: &mut [u8], now: Instant) -> Result<Ticked, Reason> {
        if out.len() < wire::INITIATION {
            return Err(Reason::Oversized);
        }
        let ticked = self.contained(|tunn| match tunn.update_timers(out) {
            TunnResult::WriteToNetwork(datagram) => Ok(Ticked::Send(datagram.len())),
            TunnResult::Err(WireGuardError::ConnectionExpired) => Ok(Ticked::Expired),
            TunnResult::Err(error) => Err(reason(&error)),
            _ => Ok(Ticked::Quiet),
        });
        self.stirred &= ticked != Ok(Ticked::Expired);
        self.compare(now);
        ticked
    }

    /// Takes a message of type 1, 2 or 3 that [`Identity::admit`] admitted; an answer goes into `out`.
    ///
    /// # Errors
    /// By cause; [`Reason::Oversized`] when `out` is too short; [`Reason::Panicked`].
    pub fn consume(
        &mut self,
        source: IpAddr,
        message: &[u8],
        out: &mut [u8],
        now: Instant,
    ) -> Result<Consumed, Reason> {
        let kind = wire::classify(message)?;
        if out.len() < message.len().max(wire::INITIATION) {
            return Err(Reason::Oversized);
        }
        if self.mute || has_low_order(kind, message) {
            return Err(Reason::Unauthentic);
        }
        let written = self.contained(|tunn| match tunn.decapsulate(Some(source), message, out) {
            TunnResult::WriteToNetwork(answer) => Ok(answer.len()),
            TunnResult::Err(error) => Err(reason(&error)),
            _ => Ok(0),
        })?;
        self.stirred = true;
        match kind {
            wire::Message::Initiation => {
                self.initiator = false;
                self.unconfirmed = out.get(4..).and_then(<[u8]>::first_chunk).map(|index| u32::from_le_bytes(*index));
                self.unconfirmed.inspect(|index| self.sessions.answer(*index, now));
                Ok(Consumed::Answered(written))
            }
            wire::Message::Response { receiver } => {
                self.sessions.establish(receiver, now);
                self.initiator = true;
                self.unconfirmed = None;
                Ok(Consumed::Established(written))
            }
            wire::Message::Cookie { .. } => Ok(Consumed::CookieKept),
            wire::Message::Data { .. } => Err(Reason::MalformedDatagram),
        }
    }

    /// Opens a message of type 4; its packet is then at the beginning of `out`.
    ///
    /// # Errors
    /// By cause; [`Reason::Oversized`] when `out` is shorter than the datagram; [`Reason::Panicked`].
    pub fn open(&mut self, source: IpAddr, datagram: &[u8], out: &mut [u8], now: Instant) -> Result<Opened, Reason> {
        let wire::Message::Data { receiver, .. } = wire::classify(datagram)? else {
            return Err(Reason::MalformedDatagram);
        };
        if datagram.len() > out.len() {
            return Err(Reason::Oversized);
        }
        if self.sessions.is_over(receiver, now) {
            return Err(Reason::NoSession);
        }
        let content = self.contained(|tunn| match tunn.decapsulate(Some(source), datagram, out) {
            TunnResult::Done => Ok(Content::Keepalive),
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                Ok(Content::Packet(packet.len()))
            }
            // The type and length were checked above, so what is malformed is what was inside.
            TunnResult::Err(WireGuardError::InvalidPacket) => Ok(Content::Malformed),
            TunnResult::Err(error) => Err(reason(&error)),
            TunnResult::WriteToNetwork(_) => Err(Reason::UnexpectedHandshake),
        })?;
        self.sessions.confirm(receiver);
        let confirms = self.unconfirmed.take_if(|index| *index == receiver).is_some();
        Ok(Opened { content, confirms })
    }

    /// After boringtun has looked at its clock: what it holds of the current session.
    fn compare(&mut self, now: Instant) {
        self.sessions.correct(self.tunn.time_since_last_handshake(), now);
    }

    fn contained<T>(&mut self, work: impl FnOnce(&mut Tunn) -> Result<T, Reason>) -> Result<T, Reason> {
        #[cfg(test)]
        let broken = self.broken;
        let tunn = &mut self.tunn;
        contained(|| {
            #[cfg(test)]
            assert!(!broken, "the engine was broken by a test");
            work(tunn)
        })?
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({:06x}, …)", self.id)
    }
}

/// Octets that `length` octets become before they are sealed: a multiple of 16, but within the MTU (WireGuard
/// paper, section 5.4.6). A packet longer than the MTU, which segmentation offload makes, counts from its last
/// segment, as in Linux.
pub fn padded_length(length: usize, mtu: usize) -> usize {
    if mtu == 0 {
        return length.next_multiple_of(16);
    }
    let last = if length > mtu { length % mtu } else { length };
    length - last + last.next_multiple_of(16).min(mtu)
}

/// Whether a handshake message brings an ephemeral key of low order.
fn has_low_order(kind: wire::Message, message: &[u8]) -> bool {
    let at = match kind {
        wire::Message::Initiation => 8,
        wire::Message::Response { .. } => 12,
        wire::Message::Cookie { .. } | wire::Message::Data { .. } => return false,
    };
    let octets = message.get(at..).and_then(<[u8]>::first_chunk);
    octets.is_some_and(|octets| PublicKey::from_octets(*octets).is_low_order())
}

/// Runs `work`; a panic in it becomes a reason. What it was working on may be broken: make it anew.
fn contained<T>(work: impl FnOnce() -> T) -> Result<T, Reason> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Reason::Panicked)
}

fn reason(error: &WireGuardError) -> Reason {
    match error {
        WireGuardError::DestinationBufferTooSmall => Reason::Oversized,
        WireGuardError::IncorrectPacketLength | WireGuardError::WrongPacketType | WireGuardError::InvalidPacket => {
            Reason::MalformedDatagram
        }
        WireGuardError::InvalidMac => Reason::BadMac,
        WireGuardError::UnderLoad => Reason::Challenged,
        WireGuardError::WrongIndex => Reason::UnknownReceiver,
        WireGuardError::UnexpectedPacket => Reason::UnexpectedHandshake,
        WireGuardError::InvalidTai64nTimestamp | WireGuardError::WrongTai64nTimestamp => Reason::StaleHandshake,
        WireGuardError::InvalidCounter | WireGuardError::DuplicateCounter => Reason::Replayed,
        WireGuardError::WrongKey | WireGuardError::InvalidAeadTag => Reason::Unauthentic,
        WireGuardError::NoCurrentSession | WireGuardError::ConnectionExpired => Reason::NoSession,
        WireGuardError::LockFailed => Reason::Panicked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn now() -> Instant {
        Instant::now()
    }

    /// Two engines with a session that the first began.
    fn engines() -> (Engine, Engine) {
        let keys = [1, 2].map(|octet| PrivateKey::from_octets([octet; 32]));
        let [mut here, mut there] = [(0, 1), (1, 0)]
            .map(|(own, peer)| Engine::new(&Identity::new(&keys[own]), &keys[peer].public(), None, 0x00ab_cd00));
        let (mut out, mut answer, now) = (vec![0; 2000], vec![0; 2000], now());
        let length = here.initiate(&mut out, now).expect("room").expect("none in progress");
        let Ok(Consumed::Answered(length)) = there.consume(SOURCE, &out[..length], &mut answer, now) else { panic!() };
        let Ok(Consumed::Established(length)) = here.consume(SOURCE, &answer[..length], &mut out, now) else {
            panic!()
        };
        let opened = there.open(SOURCE, &out[..length], &mut answer, now);
        assert_eq!(opened, Ok(Opened { content: Content::Keepalive, confirms: true }));
        (here, there)
    }

    fn seal(engine: &mut Engine, packet: &[u8], mtu: usize) -> Vec<u8> {
        let mut room = [packet, &[0xff; 16]].concat();
        let mut out = vec![0; 70_000];
        let length = engine.seal(&mut room, packet.len(), mtu, &mut out, now()).expect("sealed");
        let padded = length - wire::OVERHEAD;
        assert!(room[packet.len()..padded].iter().all(|octet| *octet == 0), "padded with zeros");
        out.truncate(length);
        out
    }

    #[test]
    fn pads_to_sixteen() {
        let (mut here, mut there) = engines();
        for (payload, padded) in [(0, 32), (11, 32), (12, 32), (13, 48), (100, 128)] {
            let packet = crate::tunnel::inner::tests::packet("10.0.0.1", "10.0.0.2", payload);
            let datagram = seal(&mut here, &packet, 1420);
            assert_eq!(datagram.len(), padded + wire::OVERHEAD, "{payload}");
            let mut out = vec![0; 2000];
            let opened = there.open(SOURCE, &datagram, &mut out, now()).expect("authentic");
            assert_eq!(opened.content, Content::Packet(packet.len()), "and the padding goes again");
            assert_eq!(out[..packet.len()], packet);
        }
    }

    #[test]
    fn pads_no_further_than_the_mtu() {
        let cases = [(1409, 1420, 1420), (1420, 1420, 1420), (1408, 1420, 1408), (0, 1420, 0), (5, 0, 16), (5, 8, 8)];
        for (length, mtu, padded) in cases {
            assert_eq!(padded_length(length, mtu), padded, "{length} within {mtu}");
        }
        assert_eq!(padded_length(1420 * 3 + 1, 1420), 1420 * 3 + 16, "from the last segment on");
        let (mut here, _) = engines();
        let packet = crate::tunnel::inner::tests::packet("10.0.0.1", "10.0.0.2", 1395);
        assert_eq!(seal(&mut here, &packet, 1420).len(), 1420 + wire::OVERHEAD);
    }

    #[test]
    fn no_buffer_is_so_short_that_boringtun_panics() {
        let (mut here, mut there) = engines();
        let packet = crate::tunnel::inner::tests::packet("10.0.0.1", "10.0.0.2", 980);
        let datagram = seal(&mut here, &packet, 1420);
        for length in [0, 1, 31, 147, 148, 500, datagram.len() - 1] {
            let mut out = vec![0; length];
            let mut room = [packet.as_slice(), &[0; 16]].concat();
            assert_eq!(
                here.seal(&mut room, packet.len(), 1420, &mut out, now()),
                Err(Reason::Oversized),
                "seal {length}"
            );
            assert_eq!(there.open(SOURCE, &datagram, &mut out, now()), Err(Reason::Oversized), "open {length}");
        }
        for length in [0, 31, 147] {
            let mut out = vec![0; length];
            assert_eq!(here.tick(&mut out, now()), Err(Reason::Oversized), "tick {length}");
            assert_eq!(here.initiate(&mut out, now()), Err(Reason::Oversized), "initiate {length}");
            let mut keepalive = [];
            assert_eq!(
                here.seal(&mut keepalive, 0, 1420, &mut out, now()),
                Err(Reason::Oversized),
                "keepalive {length}"
            );
        }
        let mut out = vec![0; 147];
        let mut initiation = vec![0; wire::INITIATION];
        initiation[0] = 1;
        assert_eq!(there.consume(SOURCE, &initiation, &mut out, now()), Err(Reason::Oversized));
        let mut out = vec![0; 2000];
        assert!(there.open(SOURCE, &datagram, &mut out, now()).is_ok(), "canary: with room it opens");
    }

    #[test]
    fn a_counter_beyond_the_limit_is_refused_before_boringtun_adds_to_it() {
        let (mut here, mut there) = engines();
        let packet = crate::tunnel::inner::tests::packet("10.0.0.1", "10.0.0.2", 10);
        let mut datagram = seal(&mut here, &packet, 1420);
        let mut out = vec![0; 2000];
        for counter in [u64::MAX, u64::MAX - 1024, wire::REJECT_AFTER_MESSAGES] {
            datagram[8..16].copy_from_slice(&counter.to_le_bytes());
            assert_eq!(there.open(SOURCE, &datagram, &mut out, now()), Err(Reason::CounterExhausted));
        }
        datagram[8..16].copy_from_slice(&(wire::REJECT_AFTER_MESSAGES - 1).to_le_bytes());
        assert_eq!(
            there.open(SOURCE, &datagram, &mut out, now()),
            Err(Reason::Unauthentic),
            "the highest that is tried"
        );
    }

    #[test]
    fn nothing_is_sealed_or_queued_without_a_session() {
        let key = PrivateKey::from_octets([1; 32]);
        let mut engine = Engine::new(&Identity::new(&key), &key.public(), None, 5);
        let mut out = vec![0; 2000];
        assert_eq!(engine.seal(&mut [0x45; 64], 48, 1420, &mut out, now()), Err(Reason::NoSession));
        assert!(matches!(engine.initiate(&mut out, now()), Ok(Some(wire::INITIATION))), "and no handshake began by it");
    }

    #[test]
    fn no_handshake_is_begun_or_answered_with_a_key_of_low_order() {
        let key = PrivateKey::from_octets([1; 32]);
        let nobody = PublicKey::from_octets([0; 32]);
        let mut out = vec![0; 2000];
        let mut engine = Engine::new(&Identity::new(&key), &nobody, None, 5);
        assert_eq!(engine.initiate(&mut out, now()), Ok(None));
        let mut initiation = [0; wire::INITIATION];
        initiation[0] = 1;
        assert_eq!(engine.consume(SOURCE, &initiation, &mut out, now()), Err(Reason::Unauthentic));

        let (mut here, mut there) = engines();
        let length = here.initiate(&mut out, now()).expect("room").expect("none in progress");
        let mut message = out[..length].to_vec();
        message[8..40].fill(0);
        assert_eq!(there.consume(SOURCE, &message, &mut out, now()), Err(Reason::Unauthentic), "an ephemeral key");
        let mut response = [0; wire::RESPONSE];
        response[0] = 2;
        assert_eq!(here.consume(SOURCE, &response, &mut out, now()), Err(Reason::Unauthentic), "and that of an answer");
    }

    #[test]
    fn a_panic_becomes_a_reason() {
        assert_eq!(contained(|| -> u8 { panic!("within a peer") }), Err(Reason::Panicked));
    }
}
