//! UDP sockets for tunnels: both families on one port, many datagrams per system call, sticky source addresses.
//!
//! ```text
//!  recvmmsg → Intake    each slot one datagram, or with UDP_GRO many of one length from one sender side by side
//!  sendmmsg ← Sender    each entry one datagram, or with UDP_SEGMENT many of one length to one address
//! ```
//!
//! Each received datagram says which of our addresses it was sent to (`IP_PKTINFO`, `IPV6_PKTINFO`), so that the answer
//! can leave from there, and its traffic class (`IP_TOS`, `IPV6_TCLASS`). Nothing is allocated per call.

mod control;
mod name;
mod receive;
mod send;
mod slots;
mod steer;

use std::mem::size_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SetSockOpt, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, getsockname, setsockopt, socket,
    sockopt,
};

use crate::net::Family;

pub use receive::{Incoming, Intake};
pub use send::{Outgoing, SendError, Sender};

/// Octets of each socket buffer.
const BUFFER: usize = 8 << 20;
/// Datagrams, or runs of datagrams, per system call.
pub const BATCH: usize = 64;
/// Datagrams that one entry of a send may be cut into, at most (`UDP_MAX_SEGMENTS` before Linux 6.11).
pub const SEGMENTS: usize = 64;
/// A port of the kernel's choice may be taken in the other family: tries to find another.
const TRIES: usize = 100;

/// Why there is no socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// Another socket has the port.
    #[error("UDP port {0} is in use")]
    PortInUse(u16),
    /// There is no such device.
    #[error("the network device '{0}' does not exist")]
    DeviceMissing(String),
    /// A privilege is missing.
    #[error("no permission to {0}")]
    NotPermitted(&'static str),
    /// Anything else.
    #[error("{what}: {errno}")]
    System {
        /// What was being done.
        what: &'static str,
        /// The operating system's answer.
        errno: Errno,
    },
}

fn system(what: &'static str) -> impl Fn(Errno) -> BindError {
    move |errno| match errno {
        Errno::EPERM | Errno::EACCES => BindError::NotPermitted(what),
        errno => BindError::System { what, errno },
    }
}

/// A port in both families, or in the one that the kernel has.
#[derive(Debug)]
pub struct UdpSocket {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
    port: u16,
}

impl UdpSocket {
    /// Binds `port` (0: one that is free in both families) in this thread's network namespace, on one device or on
    /// all, and marks what is sent (0: not).
    ///
    /// # Errors
    /// [`BindError`] by cause. Without IPv6, or without IPv4, the other family alone is no error.
    pub fn bind(port: u16, device: Option<&str>, mark: u32) -> Result<Self, BindError> {
        let mut tries = if port == 0 { TRIES } else { 1 };
        loop {
            tries -= 1;
            match Self::bind_once(port, device, mark) {
                Err(BindError::PortInUse(_)) if tries > 0 => {}
                result => return result,
            }
        }
    }

    fn bind_once(port: u16, device: Option<&str>, mark: u32) -> Result<Self, BindError> {
        let v4 = open(Family::V4, &Place { port, device, mark, joins: false })?;
        let port = v4.as_ref().map_or(port, |(_, port)| *port);
        let v6 = open(Family::V6, &Place { port, device, mark, joins: false })?;
        let port = v6.as_ref().map_or(port, |(_, port)| *port);
        if v4.is_none() && v6.is_none() {
            return Err(BindError::System { what: "open a UDP socket", errno: Errno::EAFNOSUPPORT });
        }
        Ok(Self { v4: v4.map(|(fd, _)| fd), v6: v6.map(|(fd, _)| fd), port })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The descriptors, with their families.
    pub fn descriptors(&self) -> impl Iterator<Item = (Family, BorrowedFd<'_>)> {
        let v4 = self.v4.iter().map(|fd| (Family::V4, fd.as_fd()));
        v4.chain(self.v6.iter().map(|fd| (Family::V6, fd.as_fd())))
    }

    /// Binds to another device, or to all. Families that succeeded before one fails are not put back.
    ///
    /// # Errors
    /// [`BindError::DeviceMissing`], [`BindError::NotPermitted`].
    pub fn set_device(&self, device: Option<&str>) -> Result<(), BindError> {
        self.descriptors().try_for_each(|(_, fd)| bind_to_device(&fd, device))
    }

    /// Marks what is sent from now on.
    ///
    /// # Errors
    /// [`BindError::NotPermitted`].
    pub fn set_mark(&self, mark: u32) -> Result<(), BindError> {
        self.descriptors().try_for_each(|(_, fd)| set(&fd, sockopt::Mark, &mark, "mark datagrams"))
    }

    /// Asks for runs of datagrams in one piece (`UDP_GRO`, since Linux 5.0), or for each by itself. Whether they come
    /// in one piece from now on, in every family.
    pub fn set_gro(&self, wanted: bool) -> bool {
        self.switch(libc::SOL_UDP, libc::UDP_GRO, wanted)
    }

    /// Asks for the time at which the kernel received each datagram, by the clock of the time of day, so that the time
    /// it lay in the socket's buffer is known. Whether it is told from now on, in every family.
    pub fn set_timestamps(&self, wanted: bool) -> bool {
        self.switch(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, wanted)
    }

    /// How many datagrams the kernel has dropped at these sockets since they were bound: for a full buffer, above all,
    /// or a wrong checksum (`SO_MEMINFO`, since Linux 4.12; 0 before). It counts to 2³² and begins again. What the
    /// kernel had put together (`UDP_GRO`) counts as one.
    pub fn dropped(&self) -> u32 {
        self.descriptors().fold(0, |sum: u32, (_, fd)| sum.wrapping_add(drops(fd)))
    }

    /// Switches an option in every family; whether it is on in all.
    fn switch(&self, level: libc::c_int, option: libc::c_int, wanted: bool) -> bool {
        let done = self.descriptors().filter(|(_, fd)| set_number(fd, level, option, wanted.into()).is_ok()).count();
        wanted && done == self.descriptors().count()
    }

    fn of(&self, family: Family) -> Option<&OwnedFd> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    fn of_mut(&mut self, family: Family) -> &mut Option<OwnedFd> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// Whether the kernel can send a run of datagrams in one piece (`UDP_SEGMENT`, since Linux 4.18). Its network devices
/// and its routes may still refuse one: [`SendError::Refused`].
pub fn supports_segmentation() -> bool {
    let probe = |domain| {
        let fd = socket(domain, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        set_number(&fd, libc::SOL_UDP, libc::UDP_SEGMENT, 1452)
    };
    probe(AddressFamily::Inet).is_ok() || probe(AddressFamily::Inet6).is_ok()
}

/// Where a socket is to be bound.
struct Place<'a> {
    port: u16,
    device: Option<&'a str>,
    mark: u32,
    /// Whether it joins the sockets that share the port.
    joins: bool,
}

/// A socket and its port; `None` without that family.
fn open(family: Family, place: &Place<'_>) -> Result<Option<(OwnedFd, u16)>, BindError> {
    let domain = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = match socket(domain, SockType::Datagram, flags, None) {
        Err(Errno::EAFNOSUPPORT) => return Ok(None),
        result => result.map_err(system("open a UDP socket"))?,
    };
    if place.device.is_some() {
        bind_to_device(&fd, place.device)?;
    }
    if place.mark != 0 {
        set(&fd, sockopt::Mark, &place.mark, "mark datagrams")?;
    }
    if place.joins {
        set(&fd, sockopt::ReusePort, &true, "share a port")?;
    }
    match family {
        Family::V4 => {
            set(&fd, sockopt::Ipv4PacketInfo, &true, "ask for destination addresses")?;
            ask_class(&fd, libc::IPPROTO_IP, libc::IP_RECVTOS)?;
            allow_fragments(&fd)?;
        }
        Family::V6 => {
            set(&fd, sockopt::Ipv6V6Only, &true, "separate the families")?;
            set(&fd, sockopt::Ipv6RecvPacketInfo, &true, "ask for destination addresses")?;
            ask_class(&fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS)?;
        }
    }
    enlarge(&fd)?;
    bind_port(&fd, family, place.port).map(|bound| bound.map(|port| (fd, port)))
}

fn bind_port(fd: &OwnedFd, family: Family, port: u16) -> Result<Option<u16>, BindError> {
    let raw = fd.as_raw_fd();
    let asked = match family {
        Family::V4 => bind(raw, &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))),
        Family::V6 => bind(raw, &SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))),
    };
    match asked {
        // IPv6 can be there and switched off (`disable_ipv6`).
        Err(Errno::EADDRNOTAVAIL) if family == Family::V6 => return Ok(None),
        Err(Errno::EADDRINUSE) => return Err(BindError::PortInUse(port)),
        result => result.map_err(system("bind a UDP port"))?,
    }
    let name = |error: Errno| system("ask for the port")(error);
    let bound = match family {
        Family::V4 => getsockname::<SockaddrIn>(raw).map_err(name)?.port(),
        Family::V6 => getsockname::<SockaddrIn6>(raw).map_err(name)?.port(),
    };
    Ok(Some(bound))
}

/// Clears "do not fragment" on what is sent, as the kernel's WireGuard does: behind a router that drops ICMP, datagrams
/// that are too long would else be lost for ever. IPv6 knows no such bit.
fn allow_fragments(fd: &OwnedFd) -> Result<(), BindError> {
    set_number(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT).map_err(system("allow fragments"))
}

/// Asks for the traffic class of what comes.
fn ask_class(fd: &OwnedFd, level: libc::c_int, option: libc::c_int) -> Result<(), BindError> {
    set_number(fd, level, option, 1).map_err(system("ask for traffic classes"))
}

/// Eight mebioctets, or as much as the administrator allows.
fn enlarge(fd: &OwnedFd) -> Result<(), BindError> {
    if setsockopt(fd, sockopt::RcvBufForce, &BUFFER).is_err() {
        set(fd, sockopt::RcvBuf, &BUFFER, "enlarge the receive buffer")?;
    }
    if setsockopt(fd, sockopt::SndBufForce, &BUFFER).is_err() {
        set(fd, sockopt::SndBuf, &BUFFER, "enlarge the send buffer")?;
    }
    Ok(())
}

fn bind_to_device(fd: &impl AsFd, device: Option<&str>) -> Result<(), BindError> {
    let name = device.unwrap_or_default();
    setsockopt(fd, sockopt::BindToDevice, &name.into()).map_err(|errno| match errno {
        Errno::ENODEV | Errno::EINVAL => BindError::DeviceMissing(name.to_owned()),
        errno => system("bind a socket to a device")(errno),
    })
}

fn set<O: SetSockOpt>(fd: &impl AsFd, option: O, value: &O::Val, what: &'static str) -> Result<(), BindError> {
    setsockopt(fd, option, value).map_err(system(what))
}

/// Sets an option that takes an integer.
fn set_number(fd: &impl AsFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> Result<(), Errno> {
    let fd = fd.as_fd().as_raw_fd();
    let length = length_of::<libc::c_int>();
    // SAFETY: the option reads one integer, which lives until after the call.
    let result = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), length) };
    Errno::result(result).map(|_| ())
}

/// What a socket has dropped, by the last of the numbers that the option yields (`linux/sock_diag.h`).
fn drops(fd: BorrowedFd<'_>) -> u32 {
    let (mut numbers, mut length) = ([0_u32; 9], length_of::<[u32; 9]>());
    let place = (&raw mut numbers).cast();
    // SAFETY: the option writes at most `length` octets to `numbers`, and the length; both live until after the call.
    unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, place, &raw mut length) };
    numbers[8]
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
