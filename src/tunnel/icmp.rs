//! ICMP errors for a packet from the TUN device that cannot be carried: there is nobody who would take it, or it is
//! longer than its link carries.
//!
//! | | ICMP (RFC 792, RFC 1191) | ICMPv6 (RFC 4443) |
//! |---|---|---|
//! | [`Error::HostUnreachable`] | type 3 code 1 | type 1 code 3 |
//! | [`Error::TooBig`] | type 3 code 4 | type 2 |
//!
//! The source is the address that the packet was for: a source of this host would be refused as a martian on its way
//! in, and an address of the peer's side is what an answer of a router there would have, so that routes, reverse path
//! filters and connection tracking take it.

use std::net::IpAddr;

use crate::tunnel::inner;
use crate::tunnel::segment::checksum::{Sum, pseudo};

/// Octets of the packet that an answer quotes: within 576 (RFC 1812, section 4.3.2.3) and 1,280 (RFC 4443).
const QUOTE_V4: usize = 548;
const QUOTE_V6: usize = 1232;

const IPV6_HEADER: usize = 40;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// What the sender of a packet is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Nobody is there who would take the packet.
    HostUnreachable,
    /// The packet is longer than `mtu` octets, which its way can carry.
    TooBig {
        /// What is carried in one piece, in octets.
        mtu: u16,
    },
}

impl Error {
    /// ICMP's code in type 3, and the octets 4 to 7 of the message.
    fn v4(self) -> (u8, [u8; 4]) {
        match self {
            Self::HostUnreachable => (1, [0; 4]),
            Self::TooBig { mtu } => (4, u32::from(mtu).to_be_bytes()),
        }
    }

    /// ICMPv6's type and code, and the octets 4 to 7 of the message.
    fn v6(self) -> ([u8; 2], [u8; 4]) {
        match self {
            Self::HostUnreachable => ([1, 3], [0; 4]),
            Self::TooBig { mtu } => ([2, 0], u32::from(mtu).to_be_bytes()),
        }
    }
}

/// Writes the answer to `packet` into `out`; its length. `None` for what must not be answered: ICMP errors, IPv4
/// fragments but the first, multicast, packets without a sender (RFC 1122, section 3.2.2; RFC 4443, section 2.4).
pub fn answer(error: Error, packet: &[u8], out: &mut [u8]) -> Option<usize> {
    let inner = inner::parse(packet)?;
    if !is_host(inner.source) || !is_host(inner.destination) {
        return None;
    }
    match (inner.source, inner.destination) {
        (IpAddr::V4(_), IpAddr::V4(_)) => answer_v4(error, packet, out),
        (IpAddr::V6(_), IpAddr::V6(_)) => answer_v6(error, packet, out),
        _ => None,
    }
}

fn is_host(address: IpAddr) -> bool {
    // 240.0.0.0/4 is nobody's, 255.255.255.255 everybody's (RFC 1112, section 4; RFC 919).
    let reserved = matches!(address, IpAddr::V4(v4) if v4.octets()[0] >= 240);
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || reserved)
}

fn answer_v4(error: Error, packet: &[u8], out: &mut [u8]) -> Option<usize> {
    let header = usize::from(packet.first()? & 15) * 4;
    let later_fragment = packet.get(6)? & 0x1f != 0 || *packet.get(7)? != 0;
    let is_error = packet.get(9)? == &ICMP && !matches!(packet.get(header), Some(0 | 8 | 13..=18));
    if later_fragment || is_error {
        return None;
    }
    let quote = packet.get(..packet.len().min(QUOTE_V4))?;
    let length = 28 + quote.len();
    let answer = out.get_mut(..length)?;
    let (code, rest) = error.v4();
    answer[..28].fill(0);
    answer[0] = 0x45;
    answer[1] = 0xc0; // internetwork control, as Linux marks ICMP errors
    answer[2..4].copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
    answer[8] = 64;
    answer[9] = ICMP;
    answer[12..16].copy_from_slice(&packet[16..20]);
    answer[16..20].copy_from_slice(&packet[12..16]);
    let sum = Sum::of(&answer[..20]);
    answer[10..12].copy_from_slice(&sum.checksum().to_be_bytes());
    answer[20] = 3;
    answer[21] = code;
    answer[24..28].copy_from_slice(&rest);
    answer[28..].copy_from_slice(quote);
    let sum = Sum::of(&answer[20..]);
    answer[22..24].copy_from_slice(&sum.checksum().to_be_bytes());
    Some(length)
}

fn answer_v6(error: Error, packet: &[u8], out: &mut [u8]) -> Option<usize> {
    if may_be_error_v6(packet)? {
        return None;
    }
    let quote = packet.get(..packet.len().min(QUOTE_V6))?;
    let length = IPV6_HEADER + 8 + quote.len();
    let answer = out.get_mut(..length)?;
    let (kind, rest) = error.v6();
    answer[..48].fill(0);
    answer[0] = 0x60;
    let payload = u16::try_from(8 + quote.len()).ok()?;
    answer[4..6].copy_from_slice(&payload.to_be_bytes());
    answer[6] = ICMPV6;
    answer[7] = 64;
    answer[8..24].copy_from_slice(&packet[24..40]);
    answer[24..40].copy_from_slice(&packet[8..24]);
    answer[40..42].copy_from_slice(&kind);
    answer[44..48].copy_from_slice(&rest);
    answer[48..].copy_from_slice(quote);
    let sum = pseudo(&answer[8..40], ICMPV6, u32::from(payload)) + Sum::of(&answer[40..]);
    answer[42..44].copy_from_slice(&sum.checksum().to_be_bytes());
    Some(length)
}

/// Whether an IPv6 packet is an ICMPv6 message of a type below 128, or one whose type cannot be seen: in a later
/// fragment. `None` when its extension headers (RFC 8200, section 4) end nowhere.
fn may_be_error_v6(packet: &[u8]) -> Option<bool> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION: u8 = 60;
    let (mut next, mut at) = (*packet.get(6)?, IPV6_HEADER);
    loop {
        let header: &[u8; 8] = match next {
            ICMPV6 => return Some(packet.get(at).is_none_or(|kind| *kind < 128)),
            HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION => packet.get(at..)?.first_chunk()?,
            _ => return packet.get(at..).map(|_| false),
        };
        let is_later_fragment = next == FRAGMENT && (header[2] != 0 || header[3] & 0xf8 != 0);
        if is_later_fragment {
            return Some(header[0] == ICMPV6);
        }
        at += match next {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        next = header[0];
    }
}

#[cfg(test)]
mod tests {
    use etherparse::icmpv4::DestUnreachableHeader;
    use etherparse::{Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, SlicedPacket, TransportSlice};

    use super::*;
    use crate::tunnel::inner::tests::packet;

    fn answered(error: Error, packet: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0xff; 2000];
        let length = answer(error, packet, &mut out)?;
        out.truncate(length);
        Some(out)
    }

    fn answered_v4(error: Error, original: &[u8]) -> Icmpv4Type {
        let answer = answered(error, original).expect("an answer");
        let inner = inner::parse(&answer).expect("a packet");
        assert_eq!((inner.source.to_string(), inner.destination.to_string()), ("10.9.9.9".into(), "10.0.0.1".into()));
        assert!(Sum::of(&answer[..20]).is_valid());
        assert!(Sum::of(&answer[20..]).is_valid());
        assert_eq!(answer.len(), 576);
        assert_eq!(answer[28..], original[..548]);
        let sliced = SlicedPacket::from_ip(&answer).expect("IPv4");
        let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("ICMP") };
        Icmpv4Slice::from_slice(icmp.slice()).expect("ICMP").icmp_type()
    }

    fn answered_v6(error: Error, original: &[u8]) -> Icmpv6Type {
        let answer = answered(error, original).expect("an answer");
        let inner = inner::parse(&answer).expect("a packet");
        assert_eq!((inner.source.to_string(), inner.destination.to_string()), ("fd00::9".into(), "fd00::1".into()));
        assert!(answer.len() <= 1280);
        assert_eq!(answer[48..], original[..answer.len() - 48]);
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (inner.source, inner.destination) else { panic!("IPv6") };
        let sliced = SlicedPacket::from_ip(&answer).expect("IPv6");
        let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("ICMPv6") };
        let icmp = Icmpv6Slice::from_slice(icmp.slice()).expect("ICMPv6");
        assert!(icmp.is_checksum_valid(source.octets(), destination.octets()));
        icmp.icmp_type()
    }

    #[test]
    fn an_ipv4_sender_is_told_by_the_address_that_it_wanted() {
        let original = packet("10.0.0.1", "10.9.9.9", 1000);
        let kind = answered_v4(Error::HostUnreachable, &original);
        assert_eq!(kind, Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Host));
        let kind = answered_v4(Error::TooBig { mtu: 1380 }, &original);
        let expected = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1380 };
        assert_eq!(kind, Icmpv4Type::DestinationUnreachable(expected));
    }

    #[test]
    fn an_ipv6_sender_likewise() {
        for payload in [100, 1400] {
            let original = packet("fd00::1", "fd00::9", payload);
            let kind = answered_v6(Error::HostUnreachable, &original);
            assert_eq!(kind, Icmpv6Type::DestinationUnreachable(etherparse::icmpv6::DestUnreachableCode::Address));
            let kind = answered_v6(Error::TooBig { mtu: 1380 }, &original);
            assert_eq!(kind, Icmpv6Type::PacketTooBig { mtu: 1380 });
        }
    }

    #[test]
    fn what_must_not_be_answered_is_not() {
        let ok = packet("10.0.0.1", "10.9.9.9", 40);
        let with = |edit: fn(&mut Vec<u8>)| {
            let mut packet = ok.clone();
            edit(&mut packet);
            answered(Error::TooBig { mtu: 1280 }, &packet)
        };
        assert!(with(|_| {}).is_some());
        assert!(with(|p| (p[9], p[20]) = (1, 3)).is_none(), "an ICMP error");
        assert!(with(|p| (p[9], p[20]) = (1, 8)).is_some(), "an echo request");
        assert!(with(|p| p[7] = 1).is_none(), "a later fragment");
        assert!(with(|p| p[6] = 0x20).is_some(), "a first fragment");
        assert!(with(|p| p[6] = 0x40).is_some(), "do not fragment");
        for (source, destination) in [
            ("10.0.0.1", "224.0.0.1"),
            ("10.0.0.1", "255.255.255.255"),
            ("10.0.0.1", "240.0.0.1"),
            ("0.0.0.0", "10.9.9.9"),
            ("127.0.0.1", "10.9.9.9"),
            ("fe80::1", "ff02::2"),
            ("::", "fd00::9"),
        ] {
            let packet = packet(source, destination, 40);
            assert!(answered(Error::HostUnreachable, &packet).is_none(), "{source} to {destination}");
        }
    }

    /// An IPv6 packet with these extension headers before 40 octets of payload, of which `last` is the protocol.
    fn with_headers(headers: &[(u8, &[u8])], last: u8, payload: u8) -> Vec<u8> {
        let mut whole = packet("fd00::1", "fd00::9", 0);
        let mut at = 6;
        for (number, octets) in headers {
            whole[at] = *number;
            at = whole.len();
            whole.extend(*octets);
        }
        whole[at] = last;
        whole.extend([payload; 40]);
        let length = u16::try_from(whole.len() - 40).expect("fits").to_be_bytes();
        whole[4..6].copy_from_slice(&length);
        whole
    }

    #[test]
    fn an_icmpv6_error_is_recognised_behind_extension_headers() {
        const OPTIONS: (u8, &[u8]) = (60, &[0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        const HOPS: (u8, &[u8]) = (0, &[0, 0, 1, 4, 0, 0, 0, 0]);
        const AUTHENTICATION: (u8, &[u8]) = (51, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        const FIRST: (u8, &[u8]) = (44, &[0, 0, 0, 1, 0, 0, 0, 9]);
        const LATER: (u8, &[u8]) = (44, &[0, 0, 0, 9, 0, 0, 0, 9]);
        let chains: [&[(u8, &[u8])]; 6] =
            [&[], &[OPTIONS], &[HOPS, OPTIONS], &[FIRST], &[HOPS, FIRST, OPTIONS], &[AUTHENTICATION]];
        for chain in chains {
            let is_answered =
                |last, kind| answered(Error::TooBig { mtu: 1280 }, &with_headers(chain, last, kind)).is_some();
            assert!(!is_answered(58, 1), "an error behind {chain:?}");
            assert!(!is_answered(58, 127), "an error behind {chain:?}");
            assert!(is_answered(58, 128), "an echo request behind {chain:?}");
            assert!(is_answered(17, 1), "UDP behind {chain:?}");
        }
        let is_answered = |last| answered(Error::TooBig { mtu: 1280 }, &with_headers(&[LATER], last, 200)).is_some();
        assert!(is_answered(17), "a later fragment of UDP");
        assert!(!is_answered(58), "a later fragment of what may be an error");
        let mut endless = with_headers(&[OPTIONS], 17, 0);
        endless[41] = 200;
        assert!(answered(Error::HostUnreachable, &endless).is_none(), "a header longer than the packet");
    }
}
