//! What the kernel may leave to the reader of a TUN device: cutting superpackets, completing checksums.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;

/// Both families: bits of `TUNSETOFFLOAD` (`linux/if_tun.h`).
const TCP: libc::c_uint = libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
/// Linux knows them since 6.2, and only together.
const UDP: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// Which superpackets a device yields, for both families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segmentation {
    /// TCP (TSO).
    pub tcp: bool,
    /// UDP (USO), which Linux has since 6.2.
    pub udp: bool,
}

impl Segmentation {
    /// This, and then ever less: what to try in turn.
    pub(super) fn downgrades(self) -> [Self; 4] {
        [self, Self { udp: false, ..self }, Self { tcp: false, ..self }, Self::default()]
    }

    /// A superpacket's checksum is left to whoever cuts it, so segmentation implies that of the rest too.
    fn bits(self) -> libc::c_uint {
        let tcp = if self.tcp { TCP | libc::TUN_F_CSUM } else { 0 };
        let udp = if self.udp { UDP | libc::TUN_F_CSUM } else { 0 };
        tcp | udp
    }
}

/// `EINVAL` when the kernel lacks some of it; nothing is changed then.
pub(super) fn set(file: &File, segmentation: Segmentation) -> Result<(), Errno> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    let result =
        unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(segmentation.bits())) };
    Errno::result(result).map(|_| ())
}

/// Sets how many octets the header before each packet has.
pub(super) fn set_header_size(file: &File, size: usize) -> Result<(), Errno> {
    let size = libc::c_int::try_from(size).map_err(|_| Errno::EINVAL)?;
    // SAFETY: TUNSETVNETHDRSZ reads one integer, which lives until after the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) };
    Errno::result(result).map(|_| ())
}
