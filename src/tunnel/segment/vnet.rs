//! The header before each packet of a TUN device with `IFF_VNET_HDR`: `struct virtio_net_hdr`
//! (`include/uapi/linux/virtio_net.h`), which says what the packet still lacks.
//!
//! ```text
//!  0      1         2         4          6            8              10
//!  | flags | gso_type | hdr_len | gso_size | csum_start | csum_offset |   then the IP packet
//! ```

/// What the kernel says about a packet that it gives, and is told about one that it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// [`Self::NEEDS_CSUM`], [`Self::DATA_VALID`].
    pub flags: u8,
    /// What the packet is to be split into, see [`Self::gso`].
    pub gso_type: u8,
    /// Octets of all headers together. A hint: on forwarded packets it may be wrong.
    pub hdr_len: u16,
    /// Octets of payload in each packet but the last.
    pub gso_size: u16,
    /// Where the checksum begins, in octets from the packet's first.
    pub csum_start: u16,
    /// Where the checksum is written, in octets from `csum_start`.
    pub csum_offset: u16,
}

/// What a packet is to be split into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gso {
    /// It is one packet.
    None,
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP datagrams of their own, over either (Linux 6.2).
    Udp,
}

impl VnetHeader {
    /// Its length, in octets.
    pub const LENGTH: usize = 10;
    /// The checksum field holds only the pseudo header's sum: `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
    pub const NEEDS_CSUM: u8 = 1;
    /// The checksum was verified: `VIRTIO_NET_HDR_F_DATA_VALID`.
    pub const DATA_VALID: u8 = 2;
    /// One packet, nothing to be done or known: `VIRTIO_NET_HDR_GSO_NONE`.
    pub const NONE: Self =
        Self { flags: 0, gso_type: GSO_NONE, hdr_len: 0, gso_size: 0, csum_start: 0, csum_offset: 0 };
    /// One packet, whose checksum was verified.
    pub const VALID: Self = Self { flags: Self::DATA_VALID, ..Self::NONE };

    /// From what the device wrote, in native byte order (without `TUNSETVNETLE` and `TUNSETVNETBE`).
    pub fn from_octets(octets: [u8; Self::LENGTH]) -> Self {
        let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1] = octets;
        Self {
            flags,
            gso_type,
            hdr_len: u16::from_ne_bytes([h0, h1]),
            gso_size: u16::from_ne_bytes([g0, g1]),
            csum_start: u16::from_ne_bytes([s0, s1]),
            csum_offset: u16::from_ne_bytes([o0, o1]),
        }
    }

    /// As the device reads it.
    pub fn octets(&self) -> [u8; Self::LENGTH] {
        let [h0, h1] = self.hdr_len.to_ne_bytes();
        let [g0, g1] = self.gso_size.to_ne_bytes();
        let [s0, s1] = self.csum_start.to_ne_bytes();
        let [o0, o1] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, h0, h1, g0, g1, s0, s1, o0, o1]
    }

    /// Whether the checksum is still to be completed.
    pub fn needs_checksum(&self) -> bool {
        self.flags & Self::NEEDS_CSUM != 0
    }

    /// What the packet is to be split into; `None` for a kind that was never asked for (UFO, or newer than Linux 6.2).
    /// That its first packet carries CWR (`VIRTIO_NET_HDR_GSO_ECN`) makes no difference: the TCP header says it.
    pub fn gso(&self) -> Option<Gso> {
        match self.gso_type & !GSO_ECN {
            GSO_NONE => Some(Gso::None),
            GSO_TCPV4 => Some(Gso::Tcp4),
            GSO_TCPV6 => Some(Gso::Tcp6),
            GSO_UDP_L4 => Some(Gso::Udp),
            _ => None,
        }
    }
}

impl Gso {
    /// The `gso_type` that says so.
    pub const fn octet(self) -> u8 {
        match self {
            Self::None => GSO_NONE,
            Self::Tcp4 => GSO_TCPV4,
            Self::Tcp6 => GSO_TCPV6,
            Self::Udp => GSO_UDP_L4,
        }
    }
}

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_has_its_place() {
        let [h, g, s, o] = [0x0102_u16, 0x0304, 0x0506, 0x0708].map(u16::to_ne_bytes);
        let octets = [3, 0x84, h[0], h[1], g[0], g[1], s[0], s[1], o[0], o[1]];
        let header = VnetHeader::from_octets(octets);
        let expected = VnetHeader {
            flags: VnetHeader::NEEDS_CSUM | VnetHeader::DATA_VALID,
            gso_type: 0x84,
            hdr_len: 0x0102,
            gso_size: 0x0304,
            csum_start: 0x0506,
            csum_offset: 0x0708,
        };
        assert_eq!(header, expected);
        assert_eq!(header.octets(), octets);
    }

    #[test]
    fn kinds_are_told_apart_and_others_refused() {
        let kind = |gso_type| VnetHeader { gso_type, ..VnetHeader::NONE }.gso();
        for gso in [Gso::None, Gso::Tcp4, Gso::Tcp6, Gso::Udp] {
            assert_eq!(kind(gso.octet()), Some(gso));
        }
        assert_eq!(kind(0x81), Some(Gso::Tcp4), "the ECN bit");
        assert_eq!(kind(3), None, "UFO");
        assert_eq!(kind(6), None);
    }
}
