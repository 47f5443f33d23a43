//! Socket addresses as system calls take them, in as few octets as the two families need.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use nix::sys::socket::{SockaddrIn, SockaddrIn6};

use super::length_of;

/// An address of either family.
#[derive(Clone, Copy)]
pub(super) union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Name {
    /// The length that a system call is told when it may write any address.
    pub(super) fn room() -> libc::socklen_t {
        length_of::<Self>()
    }

    /// Writes an address; its length.
    pub(super) fn set(&mut self, to: SocketAddr) -> libc::socklen_t {
        match to {
            SocketAddr::V4(to) => {
                self.v4 = *SockaddrIn::from(to).as_ref();
                length_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(to) => {
                self.v6 = *SockaddrIn6::from(to).as_ref();
                length_of::<libc::sockaddr_in6>()
            }
        }
    }

    /// The address of `length` octets that a system call has written; `None` when it wrote none.
    pub(super) fn get(&self, length: libc::socklen_t) -> Option<SocketAddr> {
        // SAFETY: both variants begin with the family; they are integers, which any octets are values of.
        let family = libc::c_int::from(unsafe { self.v4.sin_family });
        if family == libc::AF_INET && length >= length_of::<libc::sockaddr_in>() {
            // SAFETY: as above.
            let name = unsafe { self.v4 };
            let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            return Some(SocketAddr::new(IpAddr::V4(address), u16::from_be(name.sin_port)));
        }
        if family == libc::AF_INET6 && length >= length_of::<libc::sockaddr_in6>() {
            // SAFETY: as above.
            let name = unsafe { self.v6 };
            let (address, port) = (Ipv6Addr::from(name.sin6_addr.s6_addr), u16::from_be(name.sin6_port));
            return Some(SocketAddrV6::new(address, port, 0, name.sin6_scope_id).into());
        }
        None
    }
}
