//! `struct ifreq`: how a device is named, made and asked (`netdevice(7)`).

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::TunError;

/// Octets of an interface name with its closing zero.
const NAME: usize = libc::IFNAMSIZ;

/// A request about the device `name`.
pub(super) fn named(name: &str) -> Result<libc::ifreq, TunError> {
    let ok = (1..NAME).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.bytes().any(|octet| octet == b'/' || octet == b':' || octet == 0 || octet.is_ascii_whitespace());
    if !ok {
        return Err(TunError::BadName(name.to_owned()));
    }
    let mut request = empty();
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

/// Makes the named device, or attaches to it.
pub(super) fn attach(file: &File, mut request: libc::ifreq, flags: libc::c_int) -> Result<(), Errno> {
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(|_| Errno::EINVAL)?;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives until after the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    Errno::result(result).map(|_| ())
}

/// The name and the flags of a descriptor's device.
pub(super) fn query(file: &File) -> Result<libc::ifreq, Errno> {
    let mut request = empty();
    // SAFETY: TUNGETIFF writes one `ifreq`, which lives until after the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNGETIFF, &raw mut request) };
    Errno::result(result).map(|_| request)
}

/// The network namespace of a descriptor's device.
pub(super) fn namespace(file: &File) -> Result<OwnedFd, Errno> {
    // SAFETY: TUNGETDEVNETNS takes no argument.
    let fd = Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNGETDEVNETNS) })?;
    // SAFETY: it returned a new descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The flags that [`query`] was answered.
pub(super) fn flags(answer: &libc::ifreq) -> libc::c_int {
    // SAFETY: all variants of the union are integers or arrays of them, which any octets are values of.
    libc::c_int::from(unsafe { answer.ifr_ifru.ifru_flags })
}

/// The name that [`query`] was answered.
pub(super) fn name(answer: &libc::ifreq) -> Option<String> {
    let octets = answer.ifr_name.map(i8::cast_unsigned);
    CStr::from_bytes_until_nul(&octets).ok().map(|name| name.to_string_lossy().into_owned())
}

/// The MTU of the device that `request` names, in this thread's namespace.
pub(super) fn mtu(request: &mut libc::ifreq) -> Result<libc::c_int, Errno> {
    ask(libc::SIOCGIFMTU, request)?;
    // SAFETY: SIOCGIFMTU has set the MTU.
    Ok(unsafe { request.ifr_ifru.ifru_mtu })
}

/// Sets the MTU of the device that `request` names, in this thread's namespace.
pub(super) fn set_mtu(request: &mut libc::ifreq, mtu: libc::c_int) -> Result<(), Errno> {
    request.ifr_ifru.ifru_mtu = mtu;
    ask(libc::SIOCSIFMTU, request)
}

fn ask(code: libc::Ioctl, request: &mut libc::ifreq) -> Result<(), Errno> {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the interface requests read and write one `ifreq`, which lives until after the call.
    let result = unsafe { libc::ioctl(any.as_raw_fd(), code, std::ptr::from_mut(request)) };
    Errno::result(result).map(|_| ())
}

fn empty() -> libc::ifreq {
    // SAFETY: `ifreq` consists of integers, arrays of them and unions of those: all zeros is a value of it.
    unsafe { std::mem::zeroed() }
}
