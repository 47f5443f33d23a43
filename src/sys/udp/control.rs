//! Control messages: what goes beside a datagram (`cmsg(3)`).
//!
//! ```text
//!  sent      source address · traffic class · length of the datagrams that the octets are cut into
//!  received  the address it was sent to · traffic class · length of the datagrams that were put together · when
//! ```

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use super::Outgoing;

/// Octets for all messages of one datagram: 88 are sent at most, 120 received.
const SIZE: usize = 128;
/// Octets of a message's head; its data follow.
const HEAD: usize = size_of::<libc::cmsghdr>();

/// A control buffer, aligned as `cmsghdr` asks.
#[repr(C, align(8))]
pub(super) struct Control([u8; SIZE]);

/// What came beside a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// The address it was sent to.
    pub(super) local: Option<IpAddr>,
    /// The length of each datagram, the last may be shorter; `None` for one alone.
    pub(super) segment: Option<usize>,
    /// Its traffic class.
    pub(super) tos: u8,
    /// When the kernel received it.
    pub(super) received: Option<SystemTime>,
}

impl Control {
    /// The length that a system call is told when it may write.
    pub(super) const ROOM: usize = SIZE;

    /// Writes what a datagram asks for; the octets used, 0 for nothing.
    pub(super) fn set(&mut self, datagram: &Outgoing<'_>) -> usize {
        let mut used = 0;
        match datagram.source {
            None => {}
            Some(IpAddr::V4(source)) => {
                let spec = libc::in_addr { s_addr: u32::from(source).to_be() };
                let any = libc::in_addr { s_addr: 0 };
                let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: spec, ipi_addr: any };
                used = self.put(used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            Some(IpAddr::V6(source)) => {
                let address = libc::in6_addr { s6_addr: source.octets() };
                let info = libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 };
                used = self.put(used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
        }
        if datagram.tos != 0 {
            let (level, kind) = match datagram.to.ip() {
                IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
                IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
            };
            used = self.put(used, level, kind, libc::c_int::from(datagram.tos));
        }
        if let Some(segment) = datagram.segment {
            used = self.put(used, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        }
        used
    }

    /// Appends one message at `at`; where the next one begins.
    fn put<T: Copy>(&mut self, at: usize, level: libc::c_int, kind: libc::c_int, value: T) -> usize {
        let end = at + HEAD + size_of::<T>();
        assert!(end <= SIZE, "the messages of a datagram fit in their buffer");
        // SAFETY: `cmsghdr` consists of integers: all zeros is a value of it.
        let mut head: libc::cmsghdr = unsafe { std::mem::zeroed() };
        head.cmsg_level = level;
        head.cmsg_type = kind;
        head.cmsg_len = HEAD + size_of::<T>();
        // SAFETY: head and value lie within the buffer, by the assertion; the value may lie unaligned.
        unsafe {
            let place = self.0.as_mut_ptr().add(at);
            place.cast::<libc::cmsghdr>().write_unaligned(head);
            place.add(HEAD).cast::<T>().write_unaligned(value);
        }
        aligned(end)
    }

    /// Reads the first `length` octets, which the kernel has written.
    pub(super) fn notes(&self, length: usize) -> Notes {
        let mut notes = Notes::default();
        let mut rest = self.0.get(..length).unwrap_or_default();
        while let Some((head, data, next)) = first(rest) {
            notes.take(&head, data);
            rest = next;
        }
        notes
    }
}

impl Notes {
    fn take(&mut self, head: &libc::cmsghdr, data: &[u8]) {
        match (head.cmsg_level, head.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let address = data.get(offset_of!(libc::in_pktinfo, ipi_spec_dst)..).and_then(<[u8]>::first_chunk);
                self.local = address.map(|octets: &[u8; 4]| Ipv4Addr::from(*octets).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                self.local = data.first_chunk().map(|octets: &[u8; 16]| Ipv6Addr::from(*octets).into());
            }
            // One octet.
            (libc::IPPROTO_IP, libc::IP_TOS) => self.tos = data.first().copied().unwrap_or(0),
            // An integer.
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                self.tos = number(data).and_then(|class| u8::try_from(class).ok()).unwrap_or(0);
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                self.segment =
                    number(data).and_then(|length| usize::try_from(length).ok()).filter(|length| *length > 0);
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => self.received = time(data),
            _ => {}
        }
    }
}

fn time(data: &[u8]) -> Option<SystemTime> {
    let part =
        |at: usize| data.get(at..).and_then(<[u8]>::first_chunk).map(|octets| libc::c_long::from_ne_bytes(*octets));
    let seconds = u64::try_from(part(offset_of!(libc::timespec, tv_sec))?).ok()?;
    let rest = u32::try_from(part(offset_of!(libc::timespec, tv_nsec))?).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, rest))
}

/// The first message in a buffer: its head, its data, and what follows.
fn first(buffer: &[u8]) -> Option<(libc::cmsghdr, &[u8], &[u8])> {
    if buffer.len() < HEAD {
        return None;
    }
    // SAFETY: the buffer holds a whole head; it is of integers, and read unaligned.
    let head = unsafe { buffer.as_ptr().cast::<libc::cmsghdr>().read_unaligned() };
    let data = buffer.get(HEAD..head.cmsg_len)?;
    Some((head, data, buffer.get(aligned(head.cmsg_len)..).unwrap_or_default()))
}

fn number(data: &[u8]) -> Option<libc::c_int> {
    data.first_chunk().map(|octets| libc::c_int::from_ne_bytes(*octets))
}

/// Messages begin at multiples of a word.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(size_of::<usize>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_wrote_is_read_back_whatever_its_order() {
        let mut control = Control([0xff; SIZE]);
        let mut used = control.put(0, libc::SOL_UDP, libc::UDP_GRO, 1452_i32);
        used = control.put(used, libc::IPPROTO_IP, libc::IP_TOS, 0x2e_u8);
        used = control.put(used, libc::IPPROTO_IP, libc::IP_TTL, 64_i32);
        let spec = libc::in_addr { s_addr: u32::from_ne_bytes([192, 0, 2, 7]) };
        let other = libc::in_addr { s_addr: 1 };
        let info = libc::in_pktinfo { ipi_ifindex: 3, ipi_spec_dst: spec, ipi_addr: other };
        used = control.put(used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        let local = Some(IpAddr::from([192, 0, 2, 7]));
        assert_eq!(control.notes(used), Notes { local, segment: Some(1452), tos: 0x2e, received: None });
        assert_eq!(control.notes(0), Notes::default());
    }

    #[test]
    fn a_message_cut_short_is_left_out() {
        let mut control = Control([0xff; SIZE]);
        let used = control.put(0, libc::SOL_UDP, libc::UDP_GRO, 1452_i32);
        assert_eq!(control.notes(used).segment, Some(1452));
        for length in 0..HEAD + 4 {
            assert_eq!(control.notes(length), Notes::default());
        }
    }

    #[test]
    fn all_messages_of_one_datagram_fit() {
        let to = "[2001:db8::1]:1".parse().expect("an address");
        let source = Some("2001:db8::2".parse().expect("an address"));
        let mut control = Control([0xff; SIZE]);
        let used = control.set(&Outgoing { octets: b"", segment: Some(1), to, source, tos: 1 });
        assert!((80..=SIZE).contains(&used));
        assert_eq!(control.set(&Outgoing { octets: b"", segment: None, to, source: None, tos: 0 }), 0);
    }
}
