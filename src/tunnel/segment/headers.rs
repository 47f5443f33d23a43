//! Where the headers of an IP packet end: what is needed to split it, nothing more.
//!
//! ```text
//!  | IPv4 header, options                | TCP header, options | payload
//!  | IPv6 header | extension headers …   | UDP header          | payload
//!  0                              transport                  header
//! ```

use super::Malformed;

/// Protocol number of TCP.
pub(super) const TCP: u8 = 6;
/// Protocol number of UDP.
pub(super) const UDP: u8 = 17;
/// Octets of an IPv4 header without options.
pub(super) const IPV4: usize = 20;
/// Octets of an IPv6 header.
pub(super) const IPV6: usize = 40;
/// Octets of a TCP header without options.
pub(super) const TCP_HEADER: usize = 20;
/// Octets of a UDP header.
pub(super) const UDP_HEADER: usize = 8;

/// Offsets in a whole packet whose headers were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    /// Whether it is IPv4; IPv6 otherwise.
    pub(super) v4: bool,
    /// Whether it is TCP; UDP otherwise.
    pub(super) tcp: bool,
    /// Where the transport header begins.
    pub(super) transport: usize,
    /// Where the payload begins: the octets of all headers.
    pub(super) end: usize,
}

impl Headers {
    /// Reads the headers of a packet that is TCP or UDP, whole and not longer than it states.
    pub(super) fn read(packet: &[u8]) -> Result<Self, Malformed> {
        let (v4, transport, protocol) = match packet.first().map(|octet| octet >> 4) {
            Some(4) => read_v4(packet)?,
            Some(6) => read_v6(packet)?,
            _ => return Err(Malformed::Header),
        };
        let rest = packet.get(transport..).ok_or(Malformed::Header)?;
        let (tcp, length) = match protocol {
            TCP => (true, tcp_header(rest)?),
            UDP => (false, udp_header(rest)?),
            _ => return Err(Malformed::Protocol),
        };
        Ok(Self { v4, tcp, transport, end: transport + length })
    }

    /// The source and the destination, as they stand in the header. Empty only for a packet that was not read.
    pub(super) fn addresses(self, packet: &[u8]) -> &[u8] {
        packet.get(if self.v4 { 12..20 } else { 8..40 }).unwrap_or(&[])
    }

    /// The number of its protocol.
    pub(super) fn protocol(self) -> u8 {
        if self.tcp { TCP } else { UDP }
    }

    /// How far behind the transport header's begin its checksum lies.
    pub(super) fn checksum_offset(self) -> usize {
        if self.tcp { 16 } else { 6 }
    }
}

fn read_v4(packet: &[u8]) -> Result<(bool, usize, u8), Malformed> {
    let header: &[u8; IPV4] = packet.first_chunk().ok_or(Malformed::Header)?;
    let length = usize::from(header[0] & 15) * 4;
    if length < IPV4 {
        return Err(Malformed::Header);
    }
    if usize::from(u16::from_be_bytes([header[2], header[3]])) != packet.len() {
        return Err(Malformed::Length);
    }
    // More fragments, or an offset. "Do not fragment" and the reserved bit may be set.
    if header[6] & 0x3f != 0 || header[7] != 0 {
        return Err(Malformed::Fragment);
    }
    Ok((true, length, header[9]))
}

fn read_v6(packet: &[u8]) -> Result<(bool, usize, u8), Malformed> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    let header: &[u8; IPV6] = packet.first_chunk().ok_or(Malformed::Header)?;
    if IPV6 + usize::from(u16::from_be_bytes([header[4], header[5]])) != packet.len() {
        return Err(Malformed::Length);
    }
    let (mut next, mut at) = (header[6], IPV6);
    while matches!(next, HOP_BY_HOP | ROUTING | DESTINATION) {
        let [following, length] = *packet.get(at..).and_then(<[u8]>::first_chunk).ok_or(Malformed::Header)?;
        (next, at) = (following, at + (usize::from(length) + 1) * 8);
    }
    if next == FRAGMENT { Err(Malformed::Fragment) } else { Ok((false, at, next)) }
}

fn tcp_header(rest: &[u8]) -> Result<usize, Malformed> {
    let length = usize::from(rest.get(12).ok_or(Malformed::Header)? >> 4) * 4;
    if length < TCP_HEADER || length > rest.len() { Err(Malformed::Header) } else { Ok(length) }
}

fn udp_header(rest: &[u8]) -> Result<usize, Malformed> {
    let header: &[u8; UDP_HEADER] = rest.first_chunk().ok_or(Malformed::Header)?;
    if usize::from(u16::from_be_bytes([header[4], header[5]])) != rest.len() {
        return Err(Malformed::Length);
    }
    Ok(UDP_HEADER)
}

/// A length as a header states it. The packet it is of has at most 65,535 octets.
#[inline]
pub(super) fn low_word(length: usize) -> u16 {
    u16::try_from(length & 0xffff).unwrap_or(0)
}
