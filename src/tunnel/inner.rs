//! The IP packet inside: addresses and length, nothing more (RFC 791, RFC 8200).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the tunnel looks at in an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The length in octets that the header states, which may be less than what was given: the rest is padding.
    pub length: usize,
}

/// Octets of an IPv4 header without options.
const IPV4_HEADER: usize = 20;
/// Octets of an IPv6 header.
const IPV6_HEADER: usize = 40;

/// Reads an IP packet's header. `None` when it is neither IPv4 nor IPv6, or shorter than it states, or states less
/// than its own header.
pub fn parse(packet: &[u8]) -> Option<Inner> {
    match packet.first()? >> 4 {
        4 => parse_v4(packet),
        6 => parse_v6(packet),
        _ => None,
    }
}

fn parse_v4(packet: &[u8]) -> Option<Inner> {
    let header: &[u8; IPV4_HEADER] = packet.first_chunk()?;
    let header_length = usize::from(header[0] & 15) * 4;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fits = header_length >= IPV4_HEADER && length >= header_length && length <= packet.len();
    fits.then(|| Inner {
        source: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
        destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        length,
    })
}

fn parse_v6(packet: &[u8]) -> Option<Inner> {
    let header: &[u8; IPV6_HEADER] = packet.first_chunk()?;
    let length = IPV6_HEADER + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 16] = header.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(octets).into())
    };
    let inner = Inner { source: address(8)?, destination: address(24)?, length };
    (length <= packet.len()).then_some(inner)
}

/// A number that packets of one flow have in common, and others rarely: of their addresses, protocol and, but for
/// fragments, ports.
pub fn flow_hash(packet: &[u8], seed: u64) -> u16 {
    let word =
        |at: usize| packet.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |octets| u64::from_ne_bytes(*octets));
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let (hash, ports) = match packet.first().map(|octet| octet >> 4) {
        Some(4) => {
            let fragment = packet.get(6..8).is_some_and(|field| field[0] & 0x3f != 0 || field[1] != 0);
            let protocol = packet.get(9).copied().unwrap_or(0);
            let behind = usize::from(packet[0] & 15) * 4;
            (mix(mix(seed, word(12)), protocol.into()), (has_ports(protocol) && !fragment).then_some(behind))
        }
        Some(6) => {
            let next = packet.get(6).copied().unwrap_or(0);
            let hash = (8..40).step_by(8).fold(seed, |hash, at| mix(hash, word(at)));
            (mix(hash, next.into()), has_ports(next).then_some(IPV6_HEADER))
        }
        _ => (seed, None),
    };
    let ports = ports.and_then(|at| packet.get(at..)?.first_chunk()).map_or(0, |octets| u32::from_ne_bytes(*octets));
    let hash = mix(hash, ports.into());
    u16::try_from(mix(hash >> 32, hash) >> 48).unwrap_or(0)
}

/// Whether a protocol's header begins with two ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

/// The least MTU in octets that every way of a packet must have, if it has to stay in one piece: IPv4 with "do not
/// fragment" (RFC 791), and IPv6, which routers never fragment (RFC 8200, section 5). `None` for what may be fragmented.
pub fn least_mtu(packet: &[u8]) -> Option<u16> {
    const DO_NOT_FRAGMENT: u8 = 0x40;
    match packet.first()? >> 4 {
        4 => (packet.get(6)? & DO_NOT_FRAGMENT != 0).then_some(68),
        _ => Some(1280),
    }
}

/// Whether an address means this link alone: 169.254.0.0/16 (RFC 3927), fe80::/10 (RFC 4291, section 2.5.6).
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An IP packet with `payload` octets of UDP-like payload.
    pub(crate) fn packet(source: &str, destination: &str, payload: usize) -> Vec<u8> {
        let (source, destination): (IpAddr, IpAddr) =
            (source.parse().expect("address"), destination.parse().expect("address"));
        let mut packet = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let total = u16::try_from(IPV4_HEADER + payload).expect("fits").to_be_bytes();
                let mut header = vec![0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 17, 0, 0];
                header.extend(source.octets());
                header.extend(destination.octets());
                header
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let length = u16::try_from(payload).expect("fits").to_be_bytes();
                let mut header = vec![0x60, 0, 0, 0, length[0], length[1], 17, 64];
                header.extend(source.octets());
                header.extend(destination.octets());
                header
            }
            _ => panic!("two families"),
        };
        packet.extend((0..payload).map(|octet| u8::try_from(octet % 251).expect("fits")));
        packet
    }

    #[test]
    fn addresses_and_length_are_read_in_both_families() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let mut packet = packet(source, destination, 5);
            let length = packet.len();
            packet.extend([0; 11]);
            let inner = parse(&packet).expect("a packet");
            assert_eq!((inner.source.to_string(), inner.destination.to_string()), (source.into(), destination.into()));
            assert_eq!(inner.length, length);
        }
    }

    #[test]
    fn packets_of_one_flow_have_one_hash_and_a_thousand_flows_spread() {
        let with = |source: &str, destination: &str, port: u16| {
            let mut packet = packet(source, destination, 20);
            let behind = packet.len() - 20;
            packet[behind..behind + 2].copy_from_slice(&port.to_be_bytes());
            packet[behind + 10] = 99;
            packet
        };
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let hash = |port| flow_hash(&with(source, destination, port), 3) % 256;
            let ports = with(source, destination, 80).len() - 16;
            assert_eq!(hash(80), flow_hash(&with(source, destination, 80)[..ports], 3) % 256, "whatever follows");
            let buckets: std::collections::BTreeSet<u16> = (0..1000).map(hash).collect();
            assert!(buckets.len() > 230, "{} of 256", buckets.len());
        }
        let mut fragments = [with("10.0.0.1", "10.0.0.2", 1), with("10.0.0.1", "10.0.0.2", 2)];
        assert_ne!(flow_hash(&fragments[0], 3), flow_hash(&fragments[1], 3));
        for fragment in &mut fragments {
            fragment[6] = 0x20;
        }
        assert_eq!(flow_hash(&fragments[0], 3), flow_hash(&fragments[1], 3), "the first has ports, the others do not");
    }

    #[test]
    fn what_must_stay_in_one_piece_has_a_least_mtu() {
        let mut v4 = packet("10.0.0.1", "10.0.0.2", 5);
        assert_eq!(least_mtu(&v4), None);
        v4[6] = 0x40;
        assert_eq!(least_mtu(&v4), Some(68));
        assert_eq!(least_mtu(&packet("fd00::1", "fd00::2", 5)), Some(1280));
    }

    #[test]
    fn what_is_no_ip_packet_is_refused() {
        let v4 = packet("10.0.0.1", "10.0.0.2", 5);
        let v6 = packet("fd00::1", "fd00::2", 5);
        for whole in [&v4, &v6] {
            for length in 0..whole.len() {
                assert_eq!(parse(&whole[..length]), None, "cut to {length}");
            }
        }
        let with = |at: usize, octet: u8| {
            let mut packet = v4.clone();
            packet[at] = octet;
            packet
        };
        assert_eq!(parse(&with(0, 0x55)), None, "version 5");
        assert_eq!(parse(&with(0, 0x44)), None, "header of 16 octets");
        assert_eq!(parse(&with(0, 0x4f)), None, "header longer than the packet");
        assert_eq!(parse(&with(3, 19)), None, "total length below the header");
        assert_eq!(parse(&with(3, 0)), None, "total length 0");
    }
}
