//! Very many peers of one hub, in one process: a WireGuard engine and an address each, one socket for all.
//!
//! ```text
//!  peers 198.18.0.1, 198.18.0.2, … (all local to one namespace) ── one UDP socket ── wire ── hub
//! ```
//!
//! A datagram's peer is found by its receiver index, whose upper 24 bits are the peer's number. Segmentation offload is
//! used in both directions, as in the sockets of real peers.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use turnpike::identity::{PrivateKey, PublicKey};
use turnpike::lab::guard::Namespace;

use crate::failure::{Failure, program, system};
use crate::party::{Kind, Party, kind};
use crate::process::Interrupt;

/// Everything beneath it is local where the crowd stands.
pub const OUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// The inner addresses of the crowd.
pub const INNER: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 0);
/// The wire between the hub and the crowd.
pub const HUB_OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The crowd's end of it.
pub const CROWD_OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const BUFFER: usize = 8 << 20;
/// Between two initiations at the start: below what any subject takes for an attack.
const PACE: Duration = Duration::from_millis(15);
/// Without an answer for so long, a peer begins again.
const AGAIN: Duration = Duration::from_secs(2);

/// One of the crowd.
pub struct Peer {
    /// Its handshake and session.
    pub party: Party,
    outer: Ipv4Addr,
    began: Option<Instant>,
}

/// All of them.
pub struct Crowd {
    socket: UdpSocket,
    hub: SocketAddrV4,
    /// The peers, by number.
    pub peers: Vec<Peer>,
    space: Vec<u8>,
    control: Vec<u8>,
}

/// The address of a number beneath a prefix. The last octet is never 0 or 255.
pub fn address(prefix: Ipv4Addr, number: usize) -> Ipv4Addr {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    Ipv4Addr::from(u32::from(prefix) + (number / 250) * 256 + number % 250 + 1)
}

impl Crowd {
    /// Peers with these keys, of a hub at [`HUB_OUTER`] with this key and port.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn new(at: &Namespace, keys: &[PrivateKey], hub_key: PublicKey, port: u16) -> Result<Self, Failure> {
        let socket = at.enter(open)?.map_err(system("opening the crowd's socket"))?;
        let peer = |(number, key): (usize, &PrivateKey)| Peer {
            party: Party::new(key, &hub_key, number),
            outer: address(OUTER, number),
            began: None,
        };
        let peers = keys.iter().enumerate().map(peer).collect();
        let (space, control) = (vec![0; 1 << 16], cmsg_space!(i32));
        Ok(Self { socket, hub: SocketAddrV4::new(HUB_OUTER, port), peers, space, control })
    }

    /// Lets the first `number` peers have sessions with the hub.
    ///
    /// # Errors
    /// [`Failure`]; also if not all have one within a minute.
    pub fn shake_hands(&mut self, number: usize, interrupt: &Interrupt) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut next = Instant::now();
        loop {
            interrupt.check()?;
            let now = Instant::now();
            let waiting = self.peers.iter().take(number).filter(|peer| !peer.party.is_ready()).count();
            if waiting == 0 {
                return Ok(());
            }
            if now > deadline {
                return Err(program(format!("{waiting} of {number} peers have no session after a minute"), ""));
            }
            if now >= next
                && let Some(peer) = self.peers.iter().take(number).position(|peer| peer.wants_to_begin(now))
            {
                self.initiate(peer, now)?;
                next = now + PACE;
            }
            self.wait(Duration::from_millis(5));
            self.receive_handshakes()?;
        }
    }

    fn initiate(&mut self, number: usize, now: Instant) -> Result<(), Failure> {
        let Some(peer) = self.peers.get_mut(number) else { return Ok(()) };
        peer.began = Some(now);
        let mut out = [0; 256];
        let length = peer.party.initiate(&mut out)?;
        self.send(number, &out[..length], None).map(drop).map_err(system("sending an initiation"))
    }

    fn receive_handshakes(&mut self) -> Result<(), Failure> {
        let mut confirmations = Vec::new();
        while let Some((_, length)) = self.receive().map_err(system("receiving from the hub"))? {
            let message = self.space.get(..length).unwrap_or_default();
            let Some((Kind::Response | Kind::Cookie, number)) = kind(message) else { continue };
            let Some(peer) = self.peers.get_mut(number) else { continue };
            let mut out = vec![0; 256];
            if let Some(length) = peer.party.consume(message, &mut out) {
                out.truncate(length);
                confirmations.push((number, out));
            }
        }
        for (number, octets) in confirmations {
            self.send(number, &octets, None).map_err(system("confirming a session"))?;
        }
        Ok(())
    }

    /// Sends from a peer's address: one datagram, or several of `segment` octets, the last of which may be shorter.
    /// Whether the kernel took it now.
    ///
    /// # Errors
    /// Those of `sendmsg(2)`.
    pub fn send(&self, number: usize, octets: &[u8], segment: Option<u16>) -> Result<bool, Errno> {
        let source = self.peers.get(number).map_or(CROWD_OUTER, |peer| peer.outer);
        let any = in_addr { s_addr: 0 };
        let spec = in_addr { s_addr: u32::from(source).to_be() };
        let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: spec, ipi_addr: any };
        let source = ControlMessage::Ipv4PacketInfo(&info);
        let to = SockaddrIn::from(self.hub);
        let (raw, parts, flags) = (self.socket.as_raw_fd(), [IoSlice::new(octets)], MsgFlags::MSG_DONTWAIT);
        let sent = match &segment {
            Some(segment) => sendmsg(raw, &parts, &[source, ControlMessage::UdpGsoSegments(segment)], flags, Some(&to)),
            None => sendmsg(raw, &parts, &[source], flags, Some(&to)),
        };
        match sent {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Receives what has come for one peer into [`Crowd::space`]: the stride of its datagrams and the octets of all;
    /// `None` if nothing has.
    ///
    /// # Errors
    /// Those of `recvmsg(2)`.
    pub fn receive(&mut self) -> Result<Option<(usize, usize)>, Errno> {
        let mut parts = [IoSliceMut::new(&mut self.space)];
        let raw = self.socket.as_raw_fd();
        match recvmsg::<SockaddrIn>(raw, &mut parts, Some(&mut self.control), MsgFlags::MSG_DONTWAIT) {
            Ok(came) => {
                let stride = came.cmsgs()?.find_map(|message| match message {
                    ControlMessageOwned::UdpGroSegments(stride) => usize::try_from(stride).ok(),
                    _ => None,
                });
                Ok(Some((stride.unwrap_or(came.bytes).max(1), came.bytes)))
            }
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// What was received last.
    pub fn space(&self) -> &[u8] {
        &self.space
    }

    /// Opens a datagram of what was received last, for the peer that it is for: what was in it.
    pub fn open<'a>(&mut self, number: usize, at: Range<usize>, out: &'a mut [u8]) -> Option<&'a [u8]> {
        self.peers.get_mut(number)?.party.open(self.space.get(at)?, out)
    }

    /// Lets the peer that it is for take a response or cookie that was received last: the length of its confirmation.
    pub fn consume(&mut self, number: usize, at: Range<usize>, out: &mut [u8]) -> Option<usize> {
        self.peers.get_mut(number)?.party.consume(self.space.get(at)?, out)
    }

    /// Waits until something comes, at most so long.
    pub fn wait(&self, time: Duration) {
        let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        // An interrupted wait is a short one: whoever asked looks at the socket next.
        poll(&mut waiting, PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO)).ok();
    }
}

impl Peer {
    fn wants_to_begin(&self, now: Instant) -> bool {
        !self.party.is_ready() && self.began.is_none_or(|began| now.saturating_duration_since(began) > AGAIN)
    }
}

fn open() -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 51820))?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    setsockopt(&socket, sockopt::SndBufForce, &BUFFER)?;
    setsockopt(&socket, sockopt::UdpGroSegment, &true)?;
    Ok(socket)
}
