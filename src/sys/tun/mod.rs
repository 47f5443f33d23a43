//! TUN devices: a network interface whose packets a process reads and writes (`tuntap.rst` of the Linux kernel).
//!
//! One descriptor, non-blocking, one IP packet per read or write, no header before it (`IFF_NO_PI`). The device goes
//! when the last descriptor is closed, unless it was made persistent.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// A TUN device.
#[derive(Debug)]
pub struct Tun(File);

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
    #[error("the descriptor is no TUN device, or not one without packet information (IFF_NO_PI) and virtio headers")]
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

/// Octets of an interface name with its closing zero.
const NAME: usize = libc::IFNAMSIZ;

impl Tun {
    /// Makes the device `name` in this thread's network namespace, or attaches to a persistent one. A `%d` in the
    /// name is replaced by a number.
    ///
    /// # Errors
    /// [`TunError`] by cause.
    pub fn create(name: &str) -> Result<Self, TunError> {
        let mut request = request(name)?;
        let flags = libc::IFF_TUN | libc::IFF_NO_PI;
        request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(|_| TunError::NotTun)?;
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
        let file = file.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO) => TunError::Unavailable,
            Some(Errno::EACCES | Errno::EPERM) => TunError::NotPermitted(name.to_owned()),
            errno => TunError::System { what: "open /dev/net/tun", errno: errno.unwrap_or(Errno::EIO) },
        })?;
        // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives until after the call.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        Errno::result(result).map_err(|errno| match errno {
            Errno::EPERM => TunError::NotPermitted(name.to_owned()),
            Errno::EBUSY | Errno::EINVAL | Errno::EEXIST => TunError::Busy(name.to_owned()),
            errno => TunError::System { what: "TUNSETIFF", errno },
        })?;
        Ok(Self(file))
    }

    /// Takes a descriptor that another process has made, and makes it non-blocking.
    ///
    /// # Errors
    /// [`TunError::NotTun`], [`TunError::System`].
    pub fn from_fd(fd: OwnedFd) -> Result<Self, TunError> {
        let tun = Self(File::from(fd));
        let request = tun.query().map_err(|_| TunError::NotTun)?;
        // SAFETY: TUNGETIFF has set the flags.
        let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
        let wanted = libc::IFF_TUN | libc::IFF_NO_PI;
        if flags & (wanted | libc::IFF_VNET_HDR | libc::IFF_TAP) != wanted {
            return Err(TunError::NotTun);
        }
        let set = || {
            let flags = OFlag::from_bits_retain(fcntl(&tun.0, FcntlArg::F_GETFL)?);
            fcntl(&tun.0, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))
        };
        set().map_err(system("fcntl on the TUN descriptor"))?;
        Ok(tun)
    }

    /// The device's present name.
    ///
    /// # Errors
    /// [`TunError::System`]: `EBADFD` when the device was deleted.
    pub fn name(&self) -> Result<String, TunError> {
        let request = self.query().map_err(system("TUNGETIFF"))?;
        let octets = request.ifr_name.map(i8::cast_unsigned);
        let name = CStr::from_bytes_until_nul(&octets).map_err(|_| TunError::NotTun)?;
        Ok(name.to_string_lossy().into_owned())
    }

    /// The device's MTU in octets, if it stands in this thread's namespace.
    ///
    /// # Errors
    /// [`TunError::System`]: `ENODEV` when it stands in another namespace.
    pub fn mtu(&self) -> Result<usize, TunError> {
        let mut request = self.query().map_err(system("TUNGETIFF"))?;
        interface_request(libc::SIOCGIFMTU, &mut request).map_err(system("SIOCGIFMTU"))?;
        // SAFETY: SIOCGIFMTU has set the MTU.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        usize::try_from(mtu).map_err(|_| TunError::NotTun)
    }

    /// Sets the device's MTU in octets.
    ///
    /// # Errors
    /// [`TunError::System`].
    pub fn set_mtu(&self, mtu: u16) -> Result<(), TunError> {
        let mut request = self.query().map_err(system("TUNGETIFF"))?;
        request.ifr_ifru.ifru_mtu = i32::from(mtu);
        interface_request(libc::SIOCSIFMTU, &mut request).map_err(system("SIOCSIFMTU"))
    }

    /// Reads one packet; its length.
    ///
    /// # Errors
    /// `EAGAIN` when there is none, `EBADFD` when the device was deleted.
    pub fn read(&self, packet: &mut [u8]) -> Result<usize, Errno> {
        (&self.0).read(packet).map_err(|error| errno_of(&error))
    }

    /// Writes one packet.
    ///
    /// # Errors
    /// `EIO` while the device is down, `EINVAL` for what is no IP packet, `EBADFD` when the device was deleted.
    pub fn write(&self, packet: &[u8]) -> Result<(), Errno> {
        (&self.0).write(packet).map(|_| ()).map_err(|error| errno_of(&error))
    }

    fn query(&self) -> Result<libc::ifreq, Errno> {
        let mut request = empty_request();
        // SAFETY: TUNGETIFF writes one `ifreq`, which lives until after the call.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TUNGETIFF, &raw mut request) };
        Errno::result(result).map(|_| request)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn empty_request() -> libc::ifreq {
    // SAFETY: `ifreq` consists of integers, arrays of them and unions of those: all zeros is a value of it.
    unsafe { std::mem::zeroed() }
}

fn request(name: &str) -> Result<libc::ifreq, TunError> {
    let ok = (1..NAME).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.bytes().any(|octet| octet == b'/' || octet == b':' || octet == 0 || octet.is_ascii_whitespace());
    if !ok {
        return Err(TunError::BadName(name.to_owned()));
    }
    let mut request = empty_request();
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

/// Asks about the interface that `request` names, in this thread's namespace.
fn interface_request(code: libc::Ioctl, request: &mut libc::ifreq) -> Result<(), Errno> {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the interface requests read and write one `ifreq`, which lives until after the call.
    let result = unsafe { libc::ioctl(any.as_raw_fd(), code, std::ptr::from_mut(request)) };
    Errno::result(result).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_linux_would_not_take_is_refused_by_itself() {
        for name in ["", "0123456789abcdef", "a/b", "a b", "a\nb", ".", "..", "a:b", "a\0b"] {
            assert_eq!(Tun::create(name).err(), Some(TunError::BadName(name.to_owned())));
        }
    }

    #[test]
    fn a_descriptor_of_something_else_is_refused() {
        let file = File::open("/dev/null").expect("/dev/null");
        assert_eq!(Tun::from_fd(file.into()).err(), Some(TunError::NotTun));
    }
}
