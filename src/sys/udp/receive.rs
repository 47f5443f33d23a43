//! Receiving: up to [`BATCH`] slots per system call, each one datagram or a run of them side by side.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::time::SystemTime;

use nix::errno::Errno;

use super::control::{Control, Notes};
use super::name::Name;
use super::slots::Slots;
use super::{BATCH, UdpSocket};
use crate::net::Family;

/// Octets of a slot: more than any datagram or run has.
const SLOT: usize = 65_536;

/// A datagram that came, or with `UDP_GRO` a run of them from one sender to one of our addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// What.
    pub octets: &'a [u8],
    /// Each datagram has this many octets, the last may have fewer. For one alone the length of `octets`, at least 1.
    pub segment: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// To which of our addresses.
    pub local: Option<IpAddr>,
    /// Its traffic class: DSCP in the upper six bits, ECN in the lower two. One run has one.
    pub tos: u8,
    /// When the kernel received it, or the first of a run: with [`UdpSocket::set_timestamps`].
    pub received: Option<SystemTime>,
}

impl<'a> Incoming<'a> {
    /// Whether it is a run of several.
    pub fn is_train(&self) -> bool {
        self.segment < self.octets.len()
    }

    /// The datagrams, in order.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        // An empty datagram is one too.
        let empty = self.octets.is_empty().then_some(self.octets);
        self.octets.chunks(self.segment.max(1)).chain(empty)
    }
}

/// Room for [`BATCH`] slots of 64 KiB, used again and again. Memory is taken only for those that ever were filled.
#[derive(Debug)]
pub struct Intake {
    slots: Slots,
    /// The octets of all slots, one after the other.
    space: NonNull<[u8]>,
    /// How many slots the last call has filled.
    count: usize,
}

// SAFETY: the space belongs to the intake alone; only its own slots point into it.
unsafe impl Send for Intake {}

impl Default for Intake {
    fn default() -> Self {
        // Zeros of this size are fresh pages, not yet backed by memory.
        let space = NonNull::from(Box::leak(vec![0; BATCH * SLOT].into_boxed_slice()));
        let mut intake = Self { slots: Slots::new(), space, count: 0 };
        for i in 0..BATCH {
            let base = intake.slot(i);
            intake.slots.point(i, base, SLOT);
            intake.slots.limit(i, Name::room(), Control::ROOM);
        }
        intake
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        // SAFETY: the space came out of a box, and nobody has it but this.
        drop(unsafe { Box::from_raw(self.space.as_ptr()) });
    }
}

impl UdpSocket {
    /// Receives what has come in one family into `intake`: at most `most` slots, 1 to [`BATCH`]. Fewer keep what one
    /// turn touches in the processor's cache when each slot carries a long run. How many came.
    ///
    /// # Errors
    /// `EAGAIN` when nothing has come.
    pub fn receive(&self, family: Family, intake: &mut Intake, most: usize) -> Result<usize, Errno> {
        intake.reset();
        let fd = self.of(family).ok_or(Errno::EAGAIN)?;
        intake.fill(fd, most.clamp(1, BATCH))
    }
}

impl Intake {
    /// What came last, in order. Datagrams without a usable sender are left out.
    pub fn iter(&self) -> impl Iterator<Item = Incoming<'_>> {
        (0..self.count).filter_map(|i| self.get(i))
    }

    fn get(&self, i: usize) -> Option<Incoming<'_>> {
        let (header, name, control) = self.slots.written(i);
        let length = usize::try_from(header.msg_len).ok().filter(|length| *length <= SLOT)?;
        // SAFETY: slot `i` lies within the space, whose octets all have a value, and only `fill` writes to it.
        let octets = unsafe { std::slice::from_raw_parts(self.slot(i), length) };
        let from = name.get(header.msg_hdr.msg_namelen)?;
        let Notes { local, segment, tos, received } = control.notes(header.msg_hdr.msg_controllen);
        Some(Incoming { octets, segment: segment.unwrap_or(length).max(1), from, local, tos, received })
    }

    /// Where a slot's octets begin, `i` being below [`BATCH`].
    fn slot(&self, i: usize) -> *mut u8 {
        self.space.as_ptr().cast::<u8>().wrapping_add(i * SLOT)
    }

    /// Makes room again where the last call has written lengths.
    fn reset(&mut self) {
        for i in 0..self.count {
            self.slots.limit(i, Name::room(), Control::ROOM);
        }
        self.count = 0;
    }

    fn fill(&mut self, fd: &OwnedFd, most: usize) -> Result<usize, Errno> {
        let headers = self.slots.headers();
        if most == 1 {
            // SAFETY: as below, of the first header.
            let length = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut (*headers).msg_hdr, libc::MSG_DONTWAIT) };
            self.slots.set_length(usize::try_from(Errno::result(length)?).unwrap_or(0));
            self.count = 1;
            return Ok(1);
        }
        let most = u32::try_from(most).unwrap_or(1);
        // SAFETY: `most` is at most BATCH. Every header points to one name, one vector and one control buffer of the
        // stated lengths in the slots, each vector to octets of its own in the space.
        let taken = unsafe { libc::recvmmsg(fd.as_raw_fd(), headers, most, libc::MSG_DONTWAIT, null_mut()) };
        self.count = usize::try_from(Errno::result(taken)?).unwrap_or(0);
        Ok(self.count)
    }
}
