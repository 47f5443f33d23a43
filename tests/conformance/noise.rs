//! The WireGuard protocol as the other side of a test speaks it: written after the paper alone, and free to lie.
//!
//! ```text
//!  Party ── initiation(stamp) ──▶ Attempt ── finish(response) ──▶ Session: seal(counter, packet), open(datagram)
//!        └─ answer(initiation, …) ──────────────────────────────▶ response and Session
//! ```
//!
//! Sections are those of the WireGuard paper, "Next Generation Kernel Network Tunnel", of June 2020.

use blake2::digest::consts::U16;
use blake2::digest::{Digest as _, FixedOutput as _, KeyInit as _, Mac};
use blake2::{Blake2s256, Blake2sMac};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use x25519_dalek::{PublicKey as Point, StaticSecret};

use turnpike::identity::{PrivateKey, PublicKey};

/// Octets of the four kinds of message; a data message has so many without a packet.
pub const INITIATION: usize = 148;
pub const RESPONSE: usize = 92;
pub const COOKIE: usize = 64;
pub const DATA: usize = 32;

/// Where an initiation and a response end before their first code.
const CODES: [(u8, usize); 2] = [(1, 116), (2, 60)];

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let hash = parts.iter().fold(Blake2s256::new(), |hash, part| hash.chain_update(part));
    hash.finalize().into()
}

/// HMAC-BLAKE2s (RFC 2104), whose blocks have 64 octets.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let pad = |octet: u8| -> [u8; 64] { std::array::from_fn(|at| key.get(at).copied().unwrap_or(0) ^ octet) };
    let inner = hash(&[&pad(0x36)[..]].into_iter().chain(parts.iter().copied()).collect::<Vec<_>>());
    hash(&[&pad(0x5c), &inner])
}

/// The first three outputs of HKDF, of which a step takes as many as it needs.
fn kdf(key: &[u8; 32], input: &[u8]) -> [[u8; 32]; 3] {
    let secret = hmac(key, &[input]);
    let one = hmac(&secret, &[&[1]]);
    let two = hmac(&secret, &[&one, &[2]]);
    [one, two, hmac(&secret, &[&two, &[3]])]
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

fn seal(key: &[u8; 32], counter: u64, plain: &[u8], with: &[u8]) -> Vec<u8> {
    let cipher = ChaCha20Poly1305::new(key.into());
    cipher.encrypt(&nonce(counter).into(), Payload { msg: plain, aad: with }).expect("short enough")
}

fn open(key: &[u8; 32], counter: u64, sealed: &[u8], with: &[u8]) -> Option<Vec<u8>> {
    let cipher = ChaCha20Poly1305::new(key.into());
    cipher.decrypt(&nonce(counter).into(), Payload { msg: sealed, aad: with }).ok()
}

fn mac(key: &[u8], data: &[u8]) -> [u8; 16] {
    let mut mac = <Blake2sMac<U16> as Mac>::new_from_slice(key).expect("a key of at most 32 octets");
    mac.update(data);
    mac.finalize_fixed().into()
}

fn array<const N: usize>(octets: &[u8]) -> [u8; N] {
    octets.try_into().expect("the caller counted")
}

/// The chaining key and the hash of a handshake.
#[derive(Clone)]
struct Symmetric {
    chain: [u8; 32],
    hash: [u8; 32],
}

impl Symmetric {
    fn new(responder: &Point) -> Self {
        let chain = hash(&[CONSTRUCTION]);
        Self { chain, hash: hash(&[&hash(&[&chain, IDENTIFIER]), responder.as_bytes()]) }
    }

    fn absorb(&mut self, octets: &[u8]) {
        self.hash = hash(&[&self.hash, octets]);
    }

    /// Mixes key material into the chain and gives a key.
    fn mix(&mut self, input: &[u8]) -> [u8; 32] {
        let [chain, key, _] = kdf(&self.chain, input);
        self.chain = chain;
        key
    }

    fn seal(&mut self, key: &[u8; 32], plain: &[u8]) -> Vec<u8> {
        let sealed = seal(key, 0, plain, &self.hash);
        self.absorb(&sealed);
        sealed
    }

    fn open(&mut self, key: &[u8; 32], sealed: &[u8]) -> Option<Vec<u8>> {
        let plain = open(key, 0, sealed, &self.hash)?;
        self.absorb(sealed);
        Some(plain)
    }

    /// Mixes the preshared key (section 5.4.3).
    fn preshare(&mut self, preshared: &[u8; 32]) -> [u8; 32] {
        let [chain, temporary, key] = kdf(&self.chain, preshared);
        self.chain = chain;
        self.absorb(&temporary);
        key
    }
}

/// Who speaks: a key pair of its own, and the subject's public key.
#[derive(Clone)]
pub struct Party {
    secret: StaticSecret,
    /// The subject's.
    peer: Point,
    /// Zero for none.
    pub preshared: [u8; 32],
    /// The last cookie, if there was one.
    pub cookie: Option<[u8; 16]>,
}

/// An initiation that waits for its answer.
#[derive(Clone)]
pub struct Attempt {
    /// The datagram.
    pub message: Vec<u8>,
    state: Symmetric,
    ephemeral: StaticSecret,
}

impl Party {
    /// A party with this key, that speaks to the owner of `peer`.
    pub fn new(key: &PrivateKey, peer: &PublicKey) -> Self {
        let (secret, peer) = (StaticSecret::from(*key.octets()), Point::from(*peer.octets()));
        Self { secret, peer, preshared: [0; 32], cookie: None }
    }

    fn public(&self) -> Point {
        Point::from(&self.secret)
    }

    /// The first message (section 5.4.2) from our receiver index, with this time stamp.
    pub fn initiation(&self, index: u32, stamp: [u8; 12]) -> Attempt {
        let ephemeral = StaticSecret::from(*PrivateKey::generate().expect("a key").octets());
        let agreed = ephemeral.diffie_hellman(&self.peer).to_bytes();
        self.initiation_from(Point::from(&ephemeral), agreed, ephemeral, index, stamp)
    }

    /// The same with zero for an ephemeral key: what is agreed on with it is zero, which anyone knows.
    pub fn zero_initiation(&self, index: u32, stamp: [u8; 12]) -> Attempt {
        self.initiation_from(Point::from([0; 32]), [0; 32], StaticSecret::from([0; 32]), index, stamp)
    }

    fn initiation_from(
        &self,
        point: Point,
        agreed: [u8; 32],
        ephemeral: StaticSecret,
        index: u32,
        stamp: [u8; 12],
    ) -> Attempt {
        let mut state = Symmetric::new(&self.peer);
        let mut message = [&[1, 0, 0, 0], &index.to_le_bytes()[..]].concat();
        message.extend(point.as_bytes());
        state.mix(point.as_bytes());
        state.absorb(point.as_bytes());
        let key = state.mix(&agreed);
        message.extend(state.seal(&key, self.public().as_bytes()));
        let key = state.mix(self.secret.diffie_hellman(&self.peer).as_bytes());
        message.extend(state.seal(&key, &stamp));
        message.resize(INITIATION, 0);
        self.sign(&mut message);
        Attempt { message, state, ephemeral }
    }

    /// Writes both codes of a handshake message anew, the second only with a cookie (section 5.4.4).
    pub fn sign(&self, message: &mut [u8]) {
        let Some((_, at)) = CODES.iter().find(|(kind, _)| message.first() == Some(kind)) else { return };
        let code = mac(&hash(&[b"mac1----", self.peer.as_bytes()]), &message[..*at]);
        message[*at..at + 16].copy_from_slice(&code);
        let second = self.cookie.map_or([0; 16], |cookie| mac(&cookie, &message[..at + 16]));
        message[at + 16..at + 32].copy_from_slice(&second);
    }

    /// Keeps the cookie of a reply to `message` (section 5.4.7); whether it was authentic.
    pub fn keep_cookie(&mut self, reply: &[u8], message: &[u8]) -> bool {
        if reply.len() != COOKIE || reply[..4] != [3, 0, 0, 0] || reply[4..8] != message[4..8] {
            return false;
        }
        let (_, at) = CODES.into_iter().find(|(kind, _)| message[0] == *kind).expect("a handshake message");
        let cipher = XChaCha20Poly1305::new(&hash(&[b"cookie--", self.peer.as_bytes()]).into());
        let sealed = Payload { msg: &reply[32..], aad: &message[at..at + 16] };
        let opened = cipher.decrypt(&array::<24>(&reply[8..32]).into(), sealed).ok();
        self.cookie = opened.map(|cookie| array(&cookie));
        self.cookie.is_some()
    }

    /// Finishes what an attempt began, by the response (section 5.4.3); `None` if that is not authentic.
    pub fn finish(&self, attempt: &Attempt, response: &[u8]) -> Option<Session> {
        if response.len() != RESPONSE || response[..4] != [2, 0, 0, 0] || response[8..12] != attempt.message[4..8] {
            return None;
        }
        let mut state = attempt.state.clone();
        let point = Point::from(array::<32>(&response[12..44]));
        state.mix(point.as_bytes());
        state.absorb(point.as_bytes());
        state.mix(attempt.ephemeral.diffie_hellman(&point).as_bytes());
        state.mix(self.secret.diffie_hellman(&point).as_bytes());
        let key = state.preshare(&self.preshared);
        state.open(&key, &response[44..60])?;
        let [sending, receiving, _] = kdf(&state.chain, &[]);
        Some(Session { sending, receiving, index: array(&response[4..8]) })
    }

    /// Answers the subject's initiation from our receiver index; `None` if it is not authentic. The stamp that it
    /// brought comes along.
    pub fn answer(&self, initiation: &[u8], index: u32) -> Option<(Vec<u8>, Session, [u8; 12])> {
        if initiation.len() != INITIATION || initiation[..4] != [1, 0, 0, 0] {
            return None;
        }
        let mut state = Symmetric::new(&self.public());
        let point = Point::from(array::<32>(&initiation[8..40]));
        state.mix(point.as_bytes());
        state.absorb(point.as_bytes());
        let key = state.mix(self.secret.diffie_hellman(&point).as_bytes());
        let sender = state.open(&key, &initiation[40..88])?;
        if sender != self.peer.as_bytes() {
            return None;
        }
        let key = state.mix(self.secret.diffie_hellman(&self.peer).as_bytes());
        let stamp = array(&state.open(&key, &initiation[88..116])?);

        let ephemeral = StaticSecret::from(*PrivateKey::generate().expect("a key").octets());
        let own = Point::from(&ephemeral);
        let mut message = [&[2, 0, 0, 0], &index.to_le_bytes()[..], &initiation[4..8], own.as_bytes()].concat();
        state.mix(own.as_bytes());
        state.absorb(own.as_bytes());
        state.mix(ephemeral.diffie_hellman(&point).as_bytes());
        state.mix(ephemeral.diffie_hellman(&self.peer).as_bytes());
        let key = state.preshare(&self.preshared);
        message.extend(state.seal(&key, &[]));
        message.resize(RESPONSE, 0);
        self.sign(&mut message);
        let [receiving, sending, _] = kdf(&state.chain, &[]);
        Some((message, Session { sending, receiving, index: array(&initiation[4..8]) }, stamp))
    }
}

/// The keys of a session, and the subject's receiver index.
#[derive(Clone)]
pub struct Session {
    sending: [u8; 32],
    receiving: [u8; 32],
    /// As on the wire.
    pub index: [u8; 4],
}

impl Session {
    /// A data message (section 5.4.6) with this counter; the packet is not padded.
    pub fn seal(&self, counter: u64, packet: &[u8]) -> Vec<u8> {
        let header = [&[4, 0, 0, 0], &self.index[..], &counter.to_le_bytes()].concat();
        [header, seal(&self.sending, counter, packet, &[])].concat()
    }

    /// The counter and the padded packet of a data message of the subject's; `None` if it is none of this session.
    pub fn open(&self, datagram: &[u8]) -> Option<(u64, Vec<u8>)> {
        if datagram.len() < DATA || datagram[..4] != [4, 0, 0, 0] {
            return None;
        }
        let counter = u64::from_le_bytes(array(&datagram[8..16]));
        Some((counter, open(&self.receiving, counter, &datagram[16..], &[])?))
    }
}
