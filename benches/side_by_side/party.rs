//! One end of a WireGuard session, as a peer of a subject: boringtun's engine, without a socket.
//!
//! It is used as it is, and not as turnpike wraps it: who is measured must not change with whom it is measured by.

use std::net::{IpAddr, Ipv4Addr};

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use turnpike::identity::{PrivateKey, PublicKey};

use crate::failure::{Failure, program};

/// Octets that a data message has beside the packet in it.
pub const OVERHEAD: usize = 32;
/// boringtun asks for a source, of which it makes cookies.
const SOURCE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// What a datagram is that comes from a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer to an initiation.
    Response,
    /// A cookie instead of it.
    Cookie,
    /// A packet or a keepalive.
    Data,
}

/// What a datagram is, and the number of the party that it is for: the upper 24 bits of its receiver index.
pub fn kind(datagram: &[u8]) -> Option<(Kind, usize)> {
    let (kind, at) = match (datagram.first()?, datagram.len()) {
        (2, 92) => (Kind::Response, 8),
        (3, 64) => (Kind::Cookie, 4),
        (4, OVERHEAD..) => (Kind::Data, 4),
        _ => return None,
    };
    let index = u32::from_le_bytes(*datagram.get(at..)?.first_chunk()?);
    Some((kind, usize::try_from(index >> 8).ok()?))
}

/// One end.
pub struct Party {
    tunn: Tunn,
    ready: bool,
}

impl Party {
    /// Without a session yet. `number` has 24 bits.
    pub fn new(key: &PrivateKey, peer: &PublicKey, number: usize) -> Self {
        let (key, peer) = (x25519::StaticSecret::from(*key.octets()), x25519::PublicKey::from(*peer.octets()));
        let number = u32::try_from(number).unwrap_or(u32::MAX) & 0x00ff_ffff;
        Self { tunn: Tunn::new(key, peer, None, None, number, None), ready: false }
    }

    /// Whether it has a session that it began.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Writes an initiation, also if the one before was not answered.
    ///
    /// # Errors
    /// [`Failure::Program`].
    pub fn initiate(&mut self, out: &mut [u8]) -> Result<usize, Failure> {
        match self.tunn.format_handshake_initiation(out, true) {
            TunnResult::WriteToNetwork(message) => Ok(message.len()),
            other => Err(program("an initiation cannot be made", &format!("{other:?}"))),
        }
    }

    /// Takes a response or a cookie: the length of the confirmation that is to be sent, if any.
    pub fn consume(&mut self, message: &[u8], out: &mut [u8]) -> Option<usize> {
        match self.tunn.decapsulate(SOURCE, message, out) {
            TunnResult::WriteToNetwork(confirmation) => {
                self.ready = true;
                Some(confirmation.len())
            }
            TunnResult::Done | TunnResult::Err(_) => None,
            TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => None,
        }
    }

    /// Seals a packet as it is; its length is a multiple of 16 or the MTU, as the protocol asks.
    ///
    /// # Errors
    /// [`Failure::Program`] without a session.
    pub fn seal(&mut self, packet: &[u8], out: &mut [u8]) -> Result<usize, Failure> {
        if !self.ready {
            return Err(program("a peer has no session to seal with", ""));
        }
        match self.tunn.encapsulate(packet, out) {
            TunnResult::WriteToNetwork(message) => Ok(message.len()),
            other => Err(program("a peer cannot seal", &format!("{other:?}"))),
        }
    }

    /// Opens a data message: the packet in it, if it is authentic and has one.
    pub fn open<'a>(&mut self, message: &[u8], out: &'a mut [u8]) -> Option<&'a [u8]> {
        if out.len() < message.len() {
            return None;
        }
        match self.tunn.decapsulate(SOURCE, message, out) {
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => Some(packet),
            TunnResult::Done | TunnResult::Err(_) | TunnResult::WriteToNetwork(_) => None,
        }
    }
}
