//! Packets as octets: made, read, taken apart into fragments.

use std::net::IpAddr;

use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader, TcpOptionElement};

/// The two ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends {
    pub source: IpAddr,
    pub destination: IpAddr,
}

impl Ends {
    pub fn new(source: &str, destination: &str) -> Self {
        Self { source: source.parse().expect("an address"), destination: destination.parse().expect("an address") }
    }

    pub fn back(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }
}

pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

fn ip(ends: Ends, ttl: u8) -> PacketBuilderStep<etherparse::IpHeaders> {
    let header = match (ends.source, ends.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => etherparse::IpHeaders::Ipv4(
            etherparse::Ipv4Header {
                source: source.octets(),
                destination: destination.octets(),
                time_to_live: ttl,
                ..Default::default()
            },
            Default::default(),
        ),
        (IpAddr::V6(source), IpAddr::V6(destination)) => etherparse::IpHeaders::Ipv6(
            etherparse::Ipv6Header {
                source: source.octets(),
                destination: destination.octets(),
                hop_limit: ttl,
                ..Default::default()
            },
            Default::default(),
        ),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => panic!("two families: {ends:?}"),
    };
    PacketBuilder::ip(header)
}

/// A TCP segment; a SYN carries the maximum segment size 1460.
pub fn tcp(ends: Ends, ports: (u16, u16), flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(ports.0, ports.1, 1000, 65_000);
    let on = |bit: u8| flags & bit != 0;
    (header.fin, header.syn, header.rst, header.psh) = (on(1), on(SYN), on(RST), on(8));
    (header.ack, header.urg) = (on(ACK), on(32));
    header.acknowledgment_number = if header.ack { 1001 } else { 0 };
    if header.syn {
        header.set_options(&[TcpOptionElement::MaximumSegmentSize(1460)]).expect("options");
    }
    let mut packet = Vec::new();
    ip(ends, 64).tcp_header(header).write(&mut packet, payload).expect("a packet");
    packet
}

pub fn udp(ends: Ends, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    udp_of_ttl(ends, ports, payload, 64)
}

pub fn udp_of_ttl(ends: Ends, ports: (u16, u16), payload: &[u8], ttl: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    ip(ends, ttl).udp(ports.0, ports.1).write(&mut packet, payload).expect("a packet");
    packet
}

/// An ICMP or ICMPv6 message by the ends' family; `rest` is octets 4 to 7.
pub fn icmp(ends: Ends, kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let ip = ip(ends, 64);
    match ends.source {
        IpAddr::V4(_) => ip.icmpv4_raw(kind, code, rest).write(&mut packet, payload),
        IpAddr::V6(_) => ip.icmpv6_raw(kind, code, rest).write(&mut packet, payload),
    }
    .expect("a packet");
    packet
}

/// A packet of a protocol without ports.
pub fn bare(ends: Ends, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    ip(ends, 64).write(&mut packet, etherparse::IpNumber(protocol), payload).expect("a packet");
    packet
}

/// What a packet shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub ends: Ends,
    pub protocol: u8,
    /// The octets after the IP header.
    pub rest: Vec<u8>,
}

impl Seen {
    /// Source and destination port, or what stands in their place.
    pub fn ports(&self) -> (u16, u16) {
        let at = |from: usize| u16::from_be_bytes([self.rest[from], self.rest[from + 1]]);
        (at(0), at(2))
    }

    /// The TCP maximum segment size, where it is the first option.
    pub fn segment_size(&self) -> u16 {
        assert_eq!(self.rest[20..22], [2, 4], "the first option is the segment size");
        u16::from_be_bytes([self.rest[22], self.rest[23]])
    }
}

/// Reads a whole packet; `None` for what is no IP packet.
pub fn read(packet: &[u8]) -> Option<Seen> {
    match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 15) * 4;
            let address = |from: usize| IpAddr::from(*packet[from..].first_chunk::<4>().expect("an address"));
            let ends = Ends { source: address(12), destination: address(16) };
            Some(Seen { ends, protocol: packet[9], rest: packet[header..].to_vec() })
        }
        6 => {
            let address = |from: usize| IpAddr::from(*packet[from..].first_chunk::<16>().expect("an address"));
            let ends = Ends { source: address(8), destination: address(24) };
            Some(Seen { ends, protocol: packet[6], rest: packet[40..].to_vec() })
        }
        _ => None,
    }
}

/// Cuts a packet into fragments of at most `size` octets of payload (a multiple of 8): RFC 791, RFC 8200.
pub fn fragments(packet: &[u8], size: usize, id: u16) -> Vec<Vec<u8>> {
    let v4 = packet[0] >> 4 == 4;
    let payload = &packet[if v4 { 20 } else { 40 }..];
    let count = payload.len().div_ceil(size);
    let cut = payload.chunks(size).enumerate().map(|(at, part)| {
        let offset = u16::try_from(at * size / 8).expect("an offset");
        let more = at + 1 < count;
        if v4 { fragment_v4(packet, part, offset, more, id) } else { fragment_v6(packet, part, offset, more, id) }
    });
    cut.collect()
}

/// Computes the checksum of an IPv4 header.
fn complete_v4(header: &mut [u8]) {
    header[10..12].fill(0);
    let mut sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = !u16::try_from(sum).expect("16 bits");
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// The same packet with another time to live, or hop limit.
pub fn with_ttl(mut packet: Vec<u8>, ttl: u8) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        packet[8] = ttl;
        let header = usize::from(packet[0] & 15) * 4;
        complete_v4(&mut packet[..header]);
    } else {
        packet[7] = ttl;
    }
    packet
}

/// The same packet with options that ask for nothing: four of RFC 791's no-operations, or a destination options header
/// of RFC 8200 with padding alone.
pub fn with_options(mut packet: Vec<u8>) -> Vec<u8> {
    let at = |packet: &[u8], from: usize| u16::from_be_bytes([packet[from], packet[from + 1]]);
    if packet[0] >> 4 == 4 {
        packet[0] += 1;
        let length = at(&packet, 2) + 4;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet.splice(20..20, [1; 4]);
        complete_v4(&mut packet[..24]);
    } else {
        let length = at(&packet, 4) + 8;
        packet[4..6].copy_from_slice(&length.to_be_bytes());
        let next = std::mem::replace(&mut packet[6], 60);
        packet.splice(40..40, [next, 0, 1, 4, 0, 0, 0, 0]);
    }
    packet
}

/// An SCTP association's first packet (RFC 9260, section 3.3.2), which ends with `tail` as a parameter that nobody knows.
pub fn sctp_init(ends: Ends, ports: (u16, u16), tail: [u8; 4]) -> Vec<u8> {
    let mut made = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    made.extend([0; 8]); // the verification tag, and room for the checksum
    made.extend([1, 0, 0, 28]);
    made.extend([0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1]);
    made.extend([0x80, 0x99, 0, 8]);
    made.extend(tail);
    let checksum = crc32c(&made);
    made[8..12].copy_from_slice(&checksum.to_le_bytes());
    bare(ends, 132, &made)
}

/// RFC 9260, appendix A.
fn crc32c(octets: &[u8]) -> u32 {
    !octets.iter().fold(u32::MAX, |crc, octet| {
        (0..8).fold(crc ^ u32::from(*octet), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

fn fragment_v4(packet: &[u8], part: &[u8], offset: u16, more: bool, id: u16) -> Vec<u8> {
    let mut made = packet[..20].to_vec();
    made[2..4].copy_from_slice(&u16::try_from(20 + part.len()).expect("a length").to_be_bytes());
    made[4..6].copy_from_slice(&id.to_be_bytes());
    made[6..8].copy_from_slice(&(offset | if more { 0x2000 } else { 0 }).to_be_bytes());
    complete_v4(&mut made);
    made.extend(part);
    made
}

fn fragment_v6(packet: &[u8], part: &[u8], offset: u16, more: bool, id: u16) -> Vec<u8> {
    let mut made = packet[..40].to_vec();
    let next = std::mem::replace(&mut made[6], 44);
    made[4..6].copy_from_slice(&u16::try_from(8 + part.len()).expect("a length").to_be_bytes());
    made.extend([next, 0]);
    made.extend((offset << 3 | u16::from(more)).to_be_bytes());
    made.extend(u32::from(id).to_be_bytes());
    made.extend(part);
    made
}
