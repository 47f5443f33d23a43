//! Sending: up to [`BATCH`] entries per system call, each of which the kernel may cut into datagrams of one length.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;

use super::slots::Slots;
use super::{BATCH, UdpSocket};
use crate::net::Family;

/// A datagram to send, or several of one length to one address.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// What.
    pub octets: &'a [u8],
    /// Cut it into datagrams of this many octets, the last may be shorter: at most [`super::SEGMENTS`] of them, and
    /// 65,507 octets in all (`UDP_SEGMENT`). `None` for one datagram.
    pub segment: Option<u16>,
    /// Where to.
    pub to: SocketAddr,
    /// From which of our addresses; `None` leaves the choice to the routing table.
    pub source: Option<IpAddr>,
    /// The traffic class: DSCP in the upper six bits, ECN in the lower two.
    pub tos: u8,
}

/// Why the first entry could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The socket's buffer is full (`EAGAIN`).
    #[error("the socket takes no more for now")]
    Full,
    /// It was to be cut, and the kernel, the device or the path does not take that: longer than the path's MTU or too
    /// many (`EINVAL`, `EMSGSIZE`), no checksums in hardware or an IPsec route (`EIO`). One by one they may pass, unless
    /// the source address is ours no more, which is `EINVAL` too with IPv6.
    #[error("not to be sent in one piece: {0}")]
    Refused(Errno),
    /// Anything else that the network stack answered.
    #[error("not sent: {0}")]
    Failed(Errno),
}

impl SendError {
    fn new(errno: Errno, segmented: bool) -> Self {
        match errno {
            Errno::EAGAIN => Self::Full,
            Errno::EINVAL | Errno::EMSGSIZE | Errno::EIO if segmented => Self::Refused(errno),
            errno => Self::Failed(errno),
        }
    }
}

/// What a send needs beside the octets, for [`BATCH`] entries: made once, used again and again.
#[derive(Debug)]
pub struct Sender(Slots);

impl Default for Sender {
    fn default() -> Self {
        Self(Slots::new())
    }
}

impl UdpSocket {
    /// Sends datagrams of one family (the first's; it stops before another's), at most [`BATCH`] entries. How many
    /// entries were taken; an error is that of the first.
    ///
    /// # Errors
    /// [`SendError`] by what to do next.
    pub fn send<'a>(
        &self,
        sender: &mut Sender,
        datagrams: impl IntoIterator<Item = Outgoing<'a>>,
    ) -> Result<usize, SendError> {
        let mut datagrams = datagrams.into_iter();
        let Some(first) = datagrams.next() else { return Ok(0) };
        let family = Family::of(first.to.ip());
        let fd = self.of(family).ok_or(SendError::Failed(Errno::EAFNOSUPPORT))?;
        let segmented = first.segment.is_some();
        sender.set(0, &first);
        let mut number = 1;
        for datagram in datagrams.take(BATCH - 1).take_while(|datagram| Family::of(datagram.to.ip()) == family) {
            sender.set(number, &datagram);
            number += 1;
        }
        sender.send(fd, number).map_err(|errno| SendError::new(errno, segmented))
    }
}

impl Sender {
    fn set(&mut self, i: usize, datagram: &Outgoing<'_>) {
        let (name, control) = self.0.parts(i);
        let (name, control) = (name.set(datagram.to), control.set(datagram));
        self.0.limit(i, name, control);
        // The kernel only reads through this pointer: it is the buffer of a send.
        self.0.point(i, datagram.octets.as_ptr().cast_mut(), datagram.octets.len());
    }

    /// Sends the first `number` entries, which were set for this call.
    fn send(&mut self, fd: &OwnedFd, number: usize) -> Result<usize, Errno> {
        let number = u32::try_from(number.min(BATCH)).unwrap_or(0);
        if number == 1 {
            return self.send_first(fd);
        }
        loop {
            // SAFETY: the first `number` headers point to a name, a vector and a control buffer of the stated lengths
            // in the slots, the vectors to octets that the caller of `UdpSocket::send` holds borrowed until after the
            // call, which only reads them.
            let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), self.0.headers(), number, libc::MSG_DONTWAIT) };
            match Errno::result(sent) {
                Err(Errno::EINTR) => {}
                result => return result.map(|sent| usize::try_from(sent).unwrap_or(0)),
            }
        }
    }

    fn send_first(&mut self, fd: &OwnedFd) -> Result<usize, Errno> {
        loop {
            // SAFETY: as above, of the first header.
            let sent =
                unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const (*self.0.headers()).msg_hdr, libc::MSG_DONTWAIT) };
            match Errno::result(sent) {
                Err(Errno::EINTR) => {}
                result => return result.map(|_| 1),
            }
        }
    }
}
