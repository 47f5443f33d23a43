//! UDP sockets for tunnels: both families on one port, many datagrams per system call, sticky source addresses.
//!
//! `recvmmsg(2)` fills an [`Intake`] that the caller owns; `sendmmsg(2)` takes datagrams from anywhere. Each
//! received datagram says which of our addresses it was sent to (`IP_PKTINFO`, `IPV6_PKTINFO`), so that the
//! answer can leave from there.

use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::ptr::null_mut;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SetSockOpt, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind, getsockname,
    setsockopt, socket, sockopt,
};

use crate::net::Family;

/// Octets of each socket buffer.
const BUFFER: usize = 8 << 20;
/// Datagrams per system call.
pub const BATCH: usize = 32;
/// Octets of a received datagram, at most.
const SLOT: usize = 65_536;
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
        let v4 = open(Family::V4, port, device, mark)?;
        let port = v4.as_ref().map_or(port, |(_, port)| *port);
        let v6 = open(Family::V6, port, device, mark)?;
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

    /// Receives what has come in one family, at most [`BATCH`] datagrams, into `intake`.
    ///
    /// # Errors
    /// `EAGAIN` when nothing has come.
    pub fn receive(&self, family: Family, intake: &mut Intake) -> Result<usize, Errno> {
        intake.count = 0;
        let fd = match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        };
        let fd = fd.as_ref().ok_or(Errno::EAGAIN)?;
        intake.fill(fd)
    }

    /// Sends datagrams of one family (the first's; it stops before another's). How many were taken; an error is that
    /// of the first.
    ///
    /// # Errors
    /// `EAGAIN` when the buffer is full; what the network stack answers otherwise.
    pub fn send(&self, datagrams: &[Outgoing<'_>]) -> Result<usize, Errno> {
        let Some(first) = datagrams.first() else { return Ok(0) };
        let family = Family::of(first.to.ip());
        let run = datagrams.iter().take(BATCH).take_while(|datagram| Family::of(datagram.to.ip()) == family).count();
        let fd = match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        };
        send_run(fd.as_ref().ok_or(Errno::EAFNOSUPPORT)?, &datagrams[..run])
    }
}

/// A datagram to send.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// What.
    pub octets: &'a [u8],
    /// Where to.
    pub to: SocketAddr,
    /// From which of our addresses; `None` leaves the choice to the routing table.
    pub source: Option<IpAddr>,
}

/// A datagram that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// What.
    pub octets: &'a [u8],
    /// Who sent it.
    pub from: SocketAddr,
    /// To which of our addresses.
    pub local: Option<IpAddr>,
}

/// Room for [`BATCH`] datagrams, used again and again.
#[derive(Debug)]
pub struct Intake {
    space: Box<[u8]>,
    arrived: [Option<Arrived>; BATCH],
    count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Arrived {
    length: usize,
    from: SocketAddr,
    local: Option<IpAddr>,
}

impl Default for Intake {
    fn default() -> Self {
        Self { space: vec![0; BATCH * SLOT].into_boxed_slice(), arrived: [None; BATCH], count: 0 }
    }
}

impl Intake {
    /// What came last, in order. Datagrams without a usable sender are left out.
    pub fn iter(&self) -> impl Iterator<Item = Incoming<'_>> {
        let slots = self.space.chunks(SLOT).zip(&self.arrived).take(self.count);
        slots.filter_map(|(space, arrived)| {
            let Arrived { length, from, local } = (*arrived)?;
            Some(Incoming { octets: space.get(..length)?, from, local })
        })
    }

    fn fill(&mut self, fd: &OwnedFd) -> Result<usize, Errno> {
        let mut names: [libc::sockaddr_storage; BATCH] = zeroes();
        let mut controls = [Control([0; CONTROL]); BATCH];
        let mut vectors: [libc::iovec; BATCH] = zeroes();
        let mut headers: [libc::mmsghdr; BATCH] = zeroes();
        for (i, space) in self.space.chunks_mut(SLOT).enumerate() {
            vectors[i] = libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: space.len() };
            let header = &mut headers[i].msg_hdr;
            header.msg_name = (&raw mut names[i]).cast();
            header.msg_namelen = length_of::<libc::sockaddr_storage>();
            header.msg_iov = &raw mut vectors[i];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut controls[i]).cast();
            header.msg_controllen = CONTROL;
        }
        let most = u32::try_from(BATCH).unwrap_or(1);
        // SAFETY: every header points to one name, one vector and one control buffer of the stated lengths, each
        // vector to a slot of `space` of its own; all of them live until after the call.
        let taken =
            unsafe { libc::recvmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), most, libc::MSG_DONTWAIT, null_mut()) };
        let taken = usize::try_from(Errno::result(taken)?).unwrap_or(0);
        for i in 0..taken {
            let length = usize::try_from(headers[i].msg_len).unwrap_or(SLOT);
            let local = local_address(&headers[i].msg_hdr);
            self.arrived[i] = address_of(&names[i]).map(|from| Arrived { length, from, local });
        }
        self.count = taken;
        Ok(taken)
    }
}

fn open(family: Family, port: u16, device: Option<&str>, mark: u32) -> Result<Option<(OwnedFd, u16)>, BindError> {
    let domain = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = match socket(domain, SockType::Datagram, flags, None) {
        Err(Errno::EAFNOSUPPORT) => return Ok(None),
        result => result.map_err(system("open a UDP socket"))?,
    };
    if device.is_some() {
        bind_to_device(&fd, device)?;
    }
    if mark != 0 {
        set(&fd, sockopt::Mark, &mark, "mark datagrams")?;
    }
    match family {
        Family::V4 => {
            set(&fd, sockopt::Ipv4PacketInfo, &true, "ask for destination addresses")?;
            allow_fragments(&fd)?;
        }
        Family::V6 => {
            set(&fd, sockopt::Ipv6V6Only, &true, "separate the families")?;
            set(&fd, sockopt::Ipv6RecvPacketInfo, &true, "ask for destination addresses")?;
        }
    }
    enlarge(&fd)?;
    bind_port(&fd, family, port).map(|bound| bound.map(|port| (fd, port)))
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
    let never = libc::IP_PMTUDISC_DONT;
    let (value, length) = (std::ptr::from_ref(&never).cast(), length_of::<libc::c_int>());
    // SAFETY: IP_MTU_DISCOVER reads one integer, which lives until after the call.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, value, length) };
    Errno::result(result).map(|_| ()).map_err(system("allow fragments"))
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

/// Octets for one control message of either family, and then some.
const CONTROL: usize = 64;

/// A control buffer, aligned as `cmsghdr` asks.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// Marks the C structures that are valid when all their octets are zero.
trait Zero {}
impl Zero for libc::sockaddr_storage {}
impl Zero for libc::iovec {}
impl Zero for libc::mmsghdr {}

fn zeroes<T: Zero>() -> [T; BATCH] {
    // SAFETY: `Zero` is implemented here alone, for structures of integers and raw pointers.
    unsafe { zeroed() }
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

fn address_of(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let name = std::ptr::from_ref(name).cast::<libc::sockaddr>();
    let length = length_of::<libc::sockaddr_storage>();
    // SAFETY: `name` points to a whole `sockaddr_storage`, of which the kernel has written the beginning.
    let address = unsafe { nix::sys::socket::SockaddrStorage::from_raw(name, Some(length)) }?;
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4(SocketAddrV4::from(*v4)));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::V6(SocketAddrV6::from(*v6)))
}

/// The destination address of a datagram that was received.
fn local_address(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel has written the control buffer of `header` and its length.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header inside the buffer.
    while let Some(control) = unsafe { message.as_ref() } {
        // SAFETY: the data of a header that the kernel has written follow it, as long as its type says.
        let data = unsafe { libc::CMSG_DATA(message) };
        match (control.cmsg_level, control.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: IP_PKTINFO carries an `in_pktinfo`; it may lie unaligned.
                let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                return Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: IPV6_PKTINFO carries an `in6_pktinfo`; it may lie unaligned.
                let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            // SAFETY: as above.
            _ => message = unsafe { libc::CMSG_NXTHDR(header, message) },
        }
    }
    None
}

fn send_run(fd: &OwnedFd, run: &[Outgoing<'_>]) -> Result<usize, Errno> {
    let mut names: [libc::sockaddr_storage; BATCH] = zeroes();
    let mut controls = [Control([0; CONTROL]); BATCH];
    let mut vectors: [libc::iovec; BATCH] = zeroes();
    let mut headers: [libc::mmsghdr; BATCH] = zeroes();
    for (i, datagram) in run.iter().enumerate().take(BATCH) {
        // The kernel only reads through this pointer: it is the buffer of a send.
        let base = datagram.octets.as_ptr().cast_mut().cast();
        vectors[i] = libc::iovec { iov_base: base, iov_len: datagram.octets.len() };
        let header = &mut headers[i].msg_hdr;
        header.msg_namelen = write_name(&mut names[i], datagram.to);
        header.msg_name = (&raw mut names[i]).cast();
        header.msg_iov = &raw mut vectors[i];
        header.msg_iovlen = 1;
        if let Some(source) = datagram.source {
            header.msg_control = (&raw mut controls[i]).cast();
            header.msg_controllen = CONTROL;
            header.msg_controllen = write_source(header, source);
        }
    }
    let number = u32::try_from(run.len().min(BATCH)).unwrap_or(0);
    // SAFETY: the first `number` headers point to names, vectors and control buffers of the stated lengths, the
    // vectors to the datagrams' octets; all of them live until after the call, which only reads them.
    let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), number, libc::MSG_DONTWAIT) };
    Errno::result(sent).map(|sent| usize::try_from(sent).unwrap_or(0))
}

fn write_name(name: &mut libc::sockaddr_storage, to: SocketAddr) -> libc::socklen_t {
    let name = std::ptr::from_mut(name);
    match to {
        // SAFETY: a `sockaddr_storage` is large and aligned enough for every address; the source is a plain
        // structure of the family's own type.
        SocketAddr::V4(to) => unsafe {
            name.cast::<libc::sockaddr_in>().write(*SockaddrIn::from(to).as_ref());
            length_of::<libc::sockaddr_in>()
        },
        // SAFETY: as above.
        SocketAddr::V6(to) => unsafe {
            name.cast::<libc::sockaddr_in6>().write(*SockaddrIn6::from(to).as_ref());
            length_of::<libc::sockaddr_in6>()
        },
    }
}

/// Writes the control message that chooses the source address; the octets used.
fn write_source(header: &libc::msghdr, source: IpAddr) -> usize {
    match source {
        IpAddr::V4(source) => {
            let spec = libc::in_addr { s_addr: u32::from(source).to_be() };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: spec, ipi_addr: libc::in_addr { s_addr: 0 } };
            write_control(header, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }
        IpAddr::V6(source) => {
            let address = libc::in6_addr { s6_addr: source.octets() };
            let info = libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 };
            write_control(header, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }
    }
}

fn write_control<T: Copy>(header: &libc::msghdr, level: libc::c_int, kind: libc::c_int, value: T) -> usize {
    let length = u32::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: `header` has a control buffer of CONTROL octets, zeroed and aligned for `cmsghdr`, which is larger than
    // CMSG_SPACE of either structure; so the first header and its data lie within.
    unsafe {
        let Some(control) = libc::CMSG_FIRSTHDR(header).as_mut() else { return 0 };
        control.cmsg_level = level;
        control.cmsg_type = kind;
        control.cmsg_len = usize::try_from(libc::CMSG_LEN(length)).unwrap_or(0);
        libc::CMSG_DATA(control).cast::<T>().write_unaligned(value);
        usize::try_from(libc::CMSG_SPACE(length)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UdpSocket, family: Family) -> Vec<(Vec<u8>, SocketAddr, Option<IpAddr>)> {
        let mut intake = Intake::default();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while std::time::Instant::now() < deadline {
            if socket.receive(family, &mut intake).is_ok_and(|count| count > 0) {
                return intake.iter().map(|d| (d.octets.to_vec(), d.from, d.local)).collect();
            }
            std::thread::yield_now();
        }
        Vec::new()
    }

    #[test]
    fn datagrams_cross_with_the_address_they_were_sent_to() {
        let (here, there) =
            (UdpSocket::bind(0, None, 0).expect("a port"), UdpSocket::bind(0, None, 0).expect("a port"));
        for local in ["127.0.0.2", "127.0.0.3"] {
            let local: IpAddr = local.parse().expect("an address");
            let to = SocketAddr::new(local, there.port());
            let datagrams = [b"one".as_slice(), b"two", &[7; 3000]].map(|octets| Outgoing { octets, to, source: None });
            assert_eq!(here.send(&datagrams), Ok(3));
            let came = receive(&there, Family::V4);
            assert_eq!(came.iter().map(|(octets, ..)| octets.len()).collect::<Vec<_>>(), [3, 3, 3000]);
            assert!(came.iter().all(|(_, from, to)| from.port() == here.port() && *to == Some(local)));
        }
    }

    #[test]
    fn the_source_address_is_chosen_by_the_sender_and_refused_when_it_is_not_ours() {
        let (here, there) =
            (UdpSocket::bind(0, None, 0).expect("a port"), UdpSocket::bind(0, None, 0).expect("a port"));
        let to = SocketAddr::from(([127, 0, 0, 1], there.port()));
        let from = |source: &str| Outgoing { octets: b"x", to, source: Some(source.parse().expect("an address")) };
        assert_eq!(here.send(&[from("127.0.0.9")]), Ok(1));
        assert_eq!(receive(&there, Family::V4)[0].1, SocketAddr::from(([127, 0, 0, 9], here.port())));
        assert!(here.send(&[from("192.0.2.77")]).is_err());
        assert_eq!(here.send(&[from("127.0.0.1")]), Ok(1), "the next is not affected");
    }

    #[test]
    fn a_port_in_use_is_named() {
        let taken = UdpSocket::bind(0, None, 0).expect("a port").port();
        let first = UdpSocket::bind(taken, None, 0).expect("free again");
        assert_eq!(UdpSocket::bind(first.port(), None, 0).err(), Some(BindError::PortInUse(first.port())));
    }

    #[test]
    fn a_missing_device_is_named() {
        let error = UdpSocket::bind(0, Some("nosuchdevice0"), 0).err();
        assert_eq!(error, Some(BindError::DeviceMissing("nosuchdevice0".into())));
    }
}
