//! "Host unreachable" for a packet from the TUN device that has nowhere to go, as the kernel's WireGuard answers.
//!
//! ICMP type 3 code 1 (RFC 792) and ICMPv6 type 1 code 3 (RFC 4443, section 3.1). The source is the unreachable
//! address itself: a source of this host would be refused as a martian on its way in.

use std::net::IpAddr;

use crate::tunnel::inner;

/// Octets of the packet that an answer quotes: within 576 (RFC 1812, section 4.3.2.3) and 1,280 (RFC 4443).
const QUOTE_V4: usize = 548;
const QUOTE_V6: usize = 1232;

/// Writes the answer to `packet` into `out`; its length. `None` for what must not be answered: ICMP errors,
/// fragments but the first, multicast, packets without a sender (RFC 1122, section 3.2.2; RFC 4443, section 2.4).
pub fn host_unreachable(packet: &[u8], out: &mut [u8]) -> Option<usize> {
    let inner = inner::parse(packet)?;
    if !is_host(inner.source) || !is_host(inner.destination) {
        return None;
    }
    match (inner.source, inner.destination) {
        (IpAddr::V4(_), IpAddr::V4(_)) => answer_v4(packet, out),
        (IpAddr::V6(_), IpAddr::V6(_)) => answer_v6(packet, out),
        _ => None,
    }
}

fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
}

fn answer_v4(packet: &[u8], out: &mut [u8]) -> Option<usize> {
    const ICMP: u8 = 1;
    let header = usize::from(packet.first()? & 15) * 4;
    let later_fragment = packet.get(6..8)? != [0, 0] && (packet[6] & 0x1f != 0 || packet[7] != 0);
    let is_error = packet.get(9)? == &ICMP && !matches!(packet.get(header), Some(0 | 8 | 13..=18));
    if later_fragment || is_error {
        return None;
    }
    let quote = packet.get(..packet.len().min(QUOTE_V4))?;
    let length = 28 + quote.len();
    let answer = out.get_mut(..length)?;
    answer[..28].fill(0);
    answer[0] = 0x45;
    answer[1] = 0xc0; // internetwork control, as Linux marks ICMP errors
    answer[2..4].copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
    answer[8] = 64;
    answer[9] = ICMP;
    answer[12..16].copy_from_slice(&packet[16..20]);
    answer[16..20].copy_from_slice(&packet[12..16]);
    let sum = checksum(0, &answer[..20]);
    answer[10..12].copy_from_slice(&sum.to_be_bytes());
    answer[20] = 3;
    answer[21] = 1;
    answer[28..].copy_from_slice(quote);
    let sum = checksum(0, &answer[20..]);
    answer[22..24].copy_from_slice(&sum.to_be_bytes());
    Some(length)
}

fn answer_v6(packet: &[u8], out: &mut [u8]) -> Option<usize> {
    const ICMPV6: u8 = 58;
    let next = *packet.get(6)?;
    // Errors have types below 128. Behind extension headers the type is not looked for: no answer is always right.
    let is_error = next == ICMPV6 && packet.get(40).is_none_or(|kind| *kind < 128);
    if is_error || matches!(next, 0 | 43 | 44 | 60) {
        return None;
    }
    let quote = packet.get(..packet.len().min(QUOTE_V6))?;
    let length = 48 + quote.len();
    let answer = out.get_mut(..length)?;
    answer[..48].fill(0);
    answer[0] = 0x60;
    let payload = u16::try_from(8 + quote.len()).ok()?;
    answer[4..6].copy_from_slice(&payload.to_be_bytes());
    answer[6] = ICMPV6;
    answer[7] = 64;
    answer[8..24].copy_from_slice(&packet[24..40]);
    answer[24..40].copy_from_slice(&packet[8..24]);
    answer[40] = 1;
    answer[41] = 3;
    answer[48..].copy_from_slice(quote);
    let pseudo = u32::from(payload) + u32::from(ICMPV6);
    let sum = checksum(pseudo, &answer[8..]);
    answer[42..44].copy_from_slice(&sum.to_be_bytes());
    Some(length)
}

/// The Internet checksum (RFC 1071) of `octets`, begun with `sum`.
fn checksum(sum: u32, octets: &[u8]) -> u16 {
    let words = octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum = sum + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, SlicedPacket, TransportSlice};

    use super::*;
    use crate::tunnel::inner::tests::packet;

    fn answer(packet: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0xff; 2000];
        let length = host_unreachable(packet, &mut out)?;
        out.truncate(length);
        Some(out)
    }

    #[test]
    fn an_ipv4_sender_is_told_by_the_unreachable_address_itself() {
        let original = packet("10.0.0.1", "10.9.9.9", 1000);
        let answer = answer(&original).expect("an answer");
        let inner = inner::parse(&answer).expect("a packet");
        assert_eq!((inner.source.to_string(), inner.destination.to_string()), ("10.9.9.9".into(), "10.0.0.1".into()));
        assert_eq!(checksum(0, &answer[..20]), 0);
        assert_eq!(checksum(0, &answer[20..]), 0);
        assert_eq!(answer.len(), 576);
        let sliced = SlicedPacket::from_ip(&answer).expect("IPv4");
        let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("ICMP") };
        assert!(matches!(
            Icmpv4Slice::from_slice(icmp.slice()).map(|slice| slice.icmp_type()),
            Ok(Icmpv4Type::DestinationUnreachable(etherparse::icmpv4::DestUnreachableHeader::Host))
        ));
        assert_eq!(answer[28..], original[..548]);
    }

    #[test]
    fn an_ipv6_sender_likewise() {
        let original = packet("fd00::1", "fd00::9", 100);
        let answer = answer(&original).expect("an answer");
        let sliced = SlicedPacket::from_ip(&answer).expect("IPv6");
        let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("ICMPv6") };
        let icmp = Icmpv6Slice::from_slice(icmp.slice()).expect("ICMPv6");
        assert!(matches!(
            icmp.icmp_type(),
            Icmpv6Type::DestinationUnreachable(etherparse::icmpv6::DestUnreachableCode::Address)
        ));
        let source = "fd00::9".parse::<std::net::Ipv6Addr>().expect("address").octets();
        let destination = "fd00::1".parse::<std::net::Ipv6Addr>().expect("address").octets();
        assert!(icmp.is_checksum_valid(source, destination));
    }

    #[test]
    fn what_must_not_be_answered_is_not() {
        let ok = packet("10.0.0.1", "10.9.9.9", 40);
        assert!(answer(&ok).is_some());
        let with = |edit: fn(&mut Vec<u8>)| {
            let mut packet = ok.clone();
            edit(&mut packet);
            answer(&packet)
        };
        assert!(with(|p| (p[9], p[20]) = (1, 3)).is_none(), "an ICMP error");
        assert!(with(|p| (p[9], p[20]) = (1, 8)).is_some(), "an echo request");
        assert!(with(|p| p[7] = 1).is_none(), "a later fragment");
        assert!(with(|p| p[6] = 0x20).is_some(), "a first fragment");
        assert!(with(|p| p[6] = 0x40).is_some(), "do not fragment");
        assert!(answer(&packet("10.0.0.1", "224.0.0.1", 40)).is_none(), "multicast");
        assert!(answer(&packet("10.0.0.1", "255.255.255.255", 40)).is_none(), "broadcast");
        assert!(answer(&packet("0.0.0.0", "10.9.9.9", 40)).is_none(), "no sender");
        assert!(answer(&packet("fe80::1", "ff02::2", 8)).is_none(), "multicast");
    }
}
