//! What of a packet matters to joining, read at little cost: most that is never joined is known by one or two octets.

use crate::tunnel::segment::headers::{IPV4, IPV6, TCP, TCP_HEADER, UDP, UDP_HEADER};

/// What a packet is to the groups that are open.
#[derive(Debug)]
pub(super) enum Sight<'p> {
    /// Of no flow that is joined: ICMP, other protocols, what is no IP packet.
    Foreign,
    /// It may belong to any flow: fragments, options, extension headers, a length that is not the stated one.
    Unclear,
    /// Of a flow.
    Segment(Segment<'p>),
}

/// A packet of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'p> {
    pub(super) packet: &'p [u8],
    /// A number of the flow: equal for packets of one flow, mostly different otherwise. Never 0.
    pub(super) key: u32,
    pub(super) tcp: bool,
    /// Octets of the IP header, and of all headers.
    pub(super) network: usize,
    pub(super) end: usize,
    /// Whether it can be in a group at all, and whether it is then the last.
    pub(super) regular: bool,
    pub(super) closes: bool,
}

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

impl Segment<'_> {
    pub(super) fn v4(&self) -> bool {
        self.network == IPV4
    }

    /// Octets of payload.
    pub(super) fn payload(&self) -> usize {
        self.packet.len().saturating_sub(self.end)
    }

    /// Whether a group can begin with it that others join.
    pub(super) fn begins(&self) -> bool {
        self.regular && !self.closes
    }
}

/// Looks at a packet; `tcp` and `udp` say what is joined.
#[inline]
pub(super) fn read(packet: &[u8], tcp: bool, udp: bool) -> Sight<'_> {
    match packet.first().map(|octet| octet >> 4) {
        Some(4) => read_v4(packet, tcp, udp),
        Some(6) => read_v6(packet, tcp, udp),
        _ => Sight::Foreign,
    }
}

#[inline]
fn read_v4(packet: &[u8], tcp: bool, udp: bool) -> Sight<'_> {
    let Some(header) = packet.first_chunk::<24>() else { return Sight::Foreign };
    if !(tcp && header[9] == TCP || udp && header[9] == UDP) {
        return Sight::Foreign;
    }
    let stated = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // Nothing but "do not fragment" in the word of flags and offset.
    if header[0] != 0x45 || header[6] & 0xbf != 0 || header[7] != 0 || stated != packet.len() {
        return Sight::Unclear;
    }
    let &[.., s0, s1, s2, s3, d0, d1, d2, d3, p0, p1, p2, p3] = header;
    let addresses = u64::from_ne_bytes([s0, s1, s2, s3, d0, d1, d2, d3]);
    let ports = u32::from_ne_bytes([p0, p1, p2, p3]);
    segment(packet, IPV4, header[9] == TCP, mix(addresses, u64::from(ports)))
}

#[inline]
fn read_v6(packet: &[u8], tcp: bool, udp: bool) -> Sight<'_> {
    let Some(header) = packet.first_chunk::<44>() else { return Sight::Foreign };
    if !(tcp && header[6] == TCP || udp && header[6] == UDP) {
        // Hop-by-hop, routing, fragment, authentication, destination options, mobility, HIP, Shim6.
        let extends = matches!(header[6], 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140);
        return if extends { Sight::Unclear } else { Sight::Foreign };
    }
    if IPV6 + usize::from(u16::from_be_bytes([header[4], header[5]])) != packet.len() {
        return Sight::Unclear;
    }
    let words = header[8..40].as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word));
    let ports = u32::from_ne_bytes([header[40], header[41], header[42], header[43]]);
    segment(packet, IPV6, header[6] == TCP, words.fold(u64::from(ports), mix))
}

fn mix(left: u64, right: u64) -> u64 {
    (left ^ right.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[inline]
fn segment(packet: &[u8], network: usize, tcp: bool, mixed: u64) -> Sight<'_> {
    // The lowest bit keeps it from being 0.
    let key = (mixed >> 32) as u32 | 1;
    let transport = packet.get(network..).unwrap_or(&[]);
    let (length, regular, closes) = if tcp { read_tcp(transport) } else { read_udp(transport) };
    Sight::Segment(Segment { packet, key, tcp, network, end: network + length, regular, closes })
}

/// The header's length, whether the packet can be in a group, and whether as the last.
#[inline]
fn read_tcp(transport: &[u8]) -> (usize, bool, bool) {
    let Some(header) = transport.first_chunk::<TCP_HEADER>() else { return (TCP_HEADER, false, false) };
    let length = usize::from(header[12] >> 4) * 4;
    let plain = header[13] & !PSH == ACK && header[12] & 15 == 0 && length >= TCP_HEADER;
    // 0xffff is right where 0 is, but never what splitting writes.
    let regular = plain && length < transport.len() && header[16..18] != [0xff, 0xff];
    (length, regular, header[13] & PSH != 0)
}

#[inline]
fn read_udp(transport: &[u8]) -> (usize, bool, bool) {
    let Some(header) = transport.first_chunk::<UDP_HEADER>() else { return (UDP_HEADER, false, false) };
    let whole = usize::from(u16::from_be_bytes([header[4], header[5]])) == transport.len();
    (UDP_HEADER, whole && UDP_HEADER < transport.len() && header[6..8] != [0, 0], false)
}
