//! TUN devices: a network interface whose packets a process reads and writes (`tuntap.rst` of the Linux kernel).
//!
//! ```text
//!  read   one packet, or with segmentation one superpacket of up to 64 KiB that is to become many
//!         [ header, 10 octets | packet … ]
//!  write  the same: a header that says nothing, or one superpacket that the kernel takes as one
//! ```
//!
//! The header is the kernel's `struct virtio_net_hdr` (`IFF_VNET_HDR`, `linux/virtio_net.h`), in the machine's own byte
//! order. Devices are made with it; a descriptor that was handed over may lack it, and then it reads as zeros.
//!
//! One descriptor per queue, non-blocking, no packet information before the packet (`IFF_NO_PI`). The device goes when
//! its last descriptor is closed, unless it was made persistent.

mod offload;
mod request;

use std::fs::{File, OpenOptions};
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::uio::writev;
use nix::unistd::read;

use super::netns::Handle;
pub use offload::Segmentation;

/// Octets of the header before each packet.
pub const HEADER: usize = 10;
/// Octets of the largest superpacket that a device yields: room for less would cut packets without a word.
pub const LARGEST: usize = 65_536;
/// Octets of both.
pub const ROOM: usize = HEADER + LARGEST;
/// Parts that one packet may be written from, at most.
pub const PARTS: usize = 70;

/// The header's flag for a checksum to complete, `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CHECKSUM: u8 = 1;

/// A TUN device, or one queue of it.
#[derive(Debug)]
pub struct Tun {
    file: File,
    /// Whether the descriptor has the header before each packet.
    headers: bool,
}

/// Why there is no TUN device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TunError {
    /// The kernel has no TUN devices, or the container does not show them.
    #[error("/dev/net/tun is missing: load the kernel module 'tun', or give the container that device")]
    Unavailable,
    /// No CAP_NET_ADMIN.
    #[error("no permission to make or use the device '{0}': CAP_NET_ADMIN is needed")]
    NotPermitted(String),
    /// Another process has it, or it is a device of another kind.
    #[error("the device '{0}' is in use, or is no TUN device")]
    Busy(String),
    /// Longer than Linux allows, empty, or with a slash or blank.
    #[error("'{0}' is no interface name: 1 to 15 octets, no slash, no blank")]
    BadName(String),
    /// A descriptor that was handed over is something else.
    #[error("the descriptor is no TUN device, or one with packet information (IFF_NO_PI is needed)")]
    NotTun,
    /// Anything else.
    #[error("{what}: {errno}")]
    System {
        /// What was being done.
        what: &'static str,
        /// The operating system's answer.
        errno: Errno,
    },
}

fn system(what: &'static str) -> impl FnOnce(Errno) -> TunError {
    move |errno| TunError::System { what, errno }
}

impl Tun {
    /// Makes the device `name` in this thread's network namespace, or attaches to a persistent one. A `%d` in the
    /// name is replaced by a number. It yields no superpackets until [`Tun::set_segmentation`] asks for them.
    ///
    /// # Errors
    /// [`TunError`] by cause.
    pub fn create(name: &str) -> Result<Self, TunError> {
        Self::open(name, 0)
    }

    /// Makes a device with several queues, one [`Tun`] each, at least one. The kernel spreads packets over them by
    /// flow: it prefers the queue into which the flow's other direction was written last, else a hash decides.
    ///
    /// # Errors
    /// [`TunError`] by cause; [`TunError::System`] with `E2BIG` for more queues than the kernel allows (256). A
    /// persistent device must have been made for several queues, else it is [`TunError::Busy`].
    pub fn create_queues(name: &str, queues: usize) -> Result<Vec<Self>, TunError> {
        let first = Self::open(name, libc::IFF_MULTI_QUEUE)?;
        let name = first.name()?;
        let mut all = vec![first];
        while all.len() < queues {
            all.push(Self::open(&name, libc::IFF_MULTI_QUEUE)?);
        }
        Ok(all)
    }

    fn open(name: &str, flags: libc::c_int) -> Result<Self, TunError> {
        let request = request::named(name)?;
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
        let file = file.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO) => TunError::Unavailable,
            Some(Errno::EACCES | Errno::EPERM) => TunError::NotPermitted(name.to_owned()),
            errno => TunError::System { what: "open /dev/net/tun", errno: errno.unwrap_or(Errno::EIO) },
        })?;
        let flags = flags | libc::IFF_TUN | libc::IFF_NO_PI;
        // EINVAL may also mean that the name is that of another kind of device: then the second answer says so again.
        let headers = match request::attach(&file, request, flags | libc::IFF_VNET_HDR) {
            Err(Errno::EINVAL) => request::attach(&file, request, flags).map(|()| false),
            result => result.map(|()| true),
        };
        let headers = headers.map_err(|errno| match errno {
            Errno::EPERM => TunError::NotPermitted(name.to_owned()),
            Errno::EBUSY | Errno::EINVAL | Errno::EEXIST => TunError::Busy(name.to_owned()),
            errno => TunError::System { what: "TUNSETIFF", errno },
        })?;
        Self { file, headers }.prepared()
    }

    /// Takes a descriptor that another process has made, with headers or without, and makes it non-blocking.
    ///
    /// # Errors
    /// [`TunError::NotTun`], [`TunError::System`].
    pub fn from_fd(fd: OwnedFd) -> Result<Self, TunError> {
        let file = File::from(fd);
        let flags = request::query(&file).map(|request| request::flags(&request)).map_err(|_| TunError::NotTun)?;
        if flags & (libc::IFF_TUN | libc::IFF_TAP) != libc::IFF_TUN {
            return Err(TunError::NotTun);
        }
        let set = || {
            let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
            fcntl(&file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))
        };
        set().map_err(system("fcntl on the TUN descriptor"))?;
        let tun = Self { headers: flags & libc::IFF_VNET_HDR != 0, file }.prepared()?;
        if tun.has_packet_information() { Err(TunError::NotTun) } else { Ok(tun) }
    }

    /// Whether four octets stand before each packet that say what it is. The flag that tells (`IFF_NO_PI`) cannot be
    /// read back: `TUNGETIFF` uses its bit for `IFF_NOFILTER` too. But what is shorter than those octets is refused, and
    /// else taken for the begin of an IPv4 packet, which the kernel counts and drops, or refuses by `EIO`, being down.
    fn has_packet_information(&self) -> bool {
        self.write(&[0; HEADER], &[IoSlice::new(&[0x40])]) == Err(Errno::EINVAL)
    }

    /// Undoes what an earlier owner of the device may have set: its header's size, and its offloads.
    fn prepared(self) -> Result<Self, TunError> {
        if self.headers {
            offload::set_header_size(&self.file, HEADER).map_err(system("TUNSETVNETHDRSZ"))?;
        }
        self.set_segmentation(Segmentation::default());
        Ok(self)
    }

    /// Whether packets come and go with a header. Without it there are no superpackets, and checksums are complete.
    pub fn has_headers(&self) -> bool {
        self.headers
    }

    /// Asks the device to yield superpackets, and packets whose checksum is not computed yet (`TUNSETOFFLOAD`). What
    /// the kernel does not have is left out; what the device does from now on is returned. It holds for all queues.
    ///
    /// A superpacket has up to 64 KiB: 47 segments at an MTU of 1420, two more than one UDP datagram of the tunnel may be
    /// cut into. The device's `gso_max_segs` and `gso_max_size` are no remedy: local streams keep to a lower limit, but
    /// the kernel cuts what it forwards beyond it into single packets.
    ///
    /// Packets that are queued already keep their form, and what may be written does not depend on it.
    pub fn set_segmentation(&self, wanted: Segmentation) -> Segmentation {
        let possible = if self.headers { wanted } else { Segmentation::default() };
        possible.downgrades().into_iter().find(|choice| offload::set(&self.file, *choice).is_ok()).unwrap_or_default()
    }

    /// The device's present name.
    ///
    /// # Errors
    /// [`TunError::System`]: `EBADFD` when the device was deleted.
    pub fn name(&self) -> Result<String, TunError> {
        let request = request::query(&self.file).map_err(system("TUNGETIFF"))?;
        request::name(&request).ok_or(TunError::NotTun)
    }

    /// The device's MTU in octets, if it stands in this thread's namespace.
    ///
    /// # Errors
    /// [`TunError::System`]: `ENODEV` when it stands in another namespace.
    pub fn mtu(&self) -> Result<usize, TunError> {
        let mut request = request::query(&self.file).map_err(system("TUNGETIFF"))?;
        let mtu = request::mtu(&mut request).map_err(system("SIOCGIFMTU"))?;
        usize::try_from(mtu).map_err(|_| TunError::NotTun)
    }

    /// Sets the device's MTU in octets, 68 to 65,535.
    ///
    /// # Errors
    /// [`TunError::System`].
    pub fn set_mtu(&self, mtu: u16) -> Result<(), TunError> {
        let mut request = request::query(&self.file).map_err(system("TUNGETIFF"))?;
        request::set_mtu(&mut request, mtu.into()).map_err(system("SIOCSIFMTU"))
    }

    /// The network namespace in which the device stands; it may have been moved since it was made.
    ///
    /// # Errors
    /// [`TunError::System`]: `EINVAL` before Linux 5.2, `EPERM` without CAP_NET_ADMIN there.
    pub fn namespace(&self) -> Result<Handle, TunError> {
        request::namespace(&self.file).map(Handle::from).map_err(system("TUNGETDEVNETNS"))
    }

    /// Reads one packet or superpacket: into the first [`HEADER`] octets of `room` what the kernel says about it, and
    /// behind them the packet, whose length it returns. `room` should be [`ROOM`] octets long: what does not fit is lost.
    ///
    /// # Errors
    /// `EAGAIN` when there is none, `EBADFD` when the device was deleted.
    pub fn read(&self, room: &mut [u8]) -> Result<usize, Errno> {
        if self.headers {
            return read(&self.file, room)?.checked_sub(HEADER).ok_or(Errno::EIO);
        }
        let (header, packet) = room.split_at_mut_checked(HEADER).ok_or(Errno::EINVAL)?;
        header.fill(0);
        read(&self.file, packet)
    }

    /// Writes one packet or superpacket, of up to [`PARTS`] parts that are put together, with one system call. A header
    /// of zeros says that the packet is complete.
    ///
    /// # Errors
    /// `EIO` while the device is down, `EBADFD` when the device was deleted; `EINVAL` for what is no IP packet, for a
    /// header that the kernel does not take, for one that says more than nothing where the device has none, and for
    /// more parts.
    pub fn write(&self, header: &[u8; HEADER], parts: &[IoSlice<'_>]) -> Result<(), Errno> {
        if !self.headers {
            return if says_nothing(header) { writev(&self.file, parts).map(|_| ()) } else { Err(Errno::EINVAL) };
        }
        let header = IoSlice::new(header);
        if let [part] = parts {
            return writev(&self.file, &[header, *part]).map(|_| ());
        }
        let mut all = [header; PARTS + 1];
        let all = all.get_mut(..=parts.len()).ok_or(Errno::EINVAL)?;
        all[1..].copy_from_slice(parts);
        writev(&self.file, all).map(|_| ())
    }
}

/// Whether a header leaves the packet as it is: no checksum to complete (flags), nothing to cut (kind).
fn says_nothing([flags, kind, ..]: &[u8; HEADER]) -> bool {
    flags & NEEDS_CHECKSUM == 0 && *kind == 0
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests;
