//! What the kernel would have put on the wire is what [`Split`] makes, whatever the user does behind each packet.

use etherparse::{Ipv6FragmentHeader, ip_number};
use proptest::collection::vec;
use proptest::prelude::*;

use super::model::{Packet, any_packet, extend};
use crate::tunnel::segment::checksum::Sum;
use crate::tunnel::segment::{Gso, Malformed, SPARE, Split, VnetHeader};

/// All packets, with the octets behind each overwritten before the next is asked for.
fn split(header: &VnetHeader, packet: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut room = [packet, &[0x5a; SPARE]].concat();
    let mut split = Split::new(header, &mut room, packet.len())?;
    let mut packets = Vec::new();
    loop {
        let (remaining, stride) = (split.remaining(), split.stride());
        let Some(range) = split.next(&mut room) else {
            assert_eq!((remaining, stride), (0, 0));
            return Ok(packets);
        };
        assert_eq!(stride, range.len());
        assert_eq!(remaining, split.remaining() + 1);
        packets.push(room[range.clone()].to_vec());
        room[range.end..range.end + SPARE].fill(0xee);
    }
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|octet| u8::try_from(octet % 251).expect("fits")).collect()
}

fn refused(edit: impl FnOnce(&mut VnetHeader, &mut Vec<u8>)) -> Option<Malformed> {
    let packet = Packet::new(true, true, 1, payload(3000));
    let (mut header, mut octets) = (packet.vnet(1000), packet.unfinished());
    edit(&mut header, &mut octets);
    split(&header, &octets).err()
}

#[test]
fn flags_belong_to_the_first_or_the_last_packet_alone() {
    let mut packet = Packet::new(true, true, 1, payload(2500));
    let header = packet.tcp();
    (header.fin, header.psh, header.cwr, header.ece) = (true, true, true, true);
    let packets = split(&packet.vnet(1000), &packet.unfinished()).expect("split");
    let flags: Vec<u8> = packets.iter().map(|packet| packet[33]).collect();
    assert_eq!(flags, [0b1101_0000, 0b0101_0000, 0b0101_1001]);
}

#[test]
fn a_checksum_is_completed_and_never_0() {
    for (v4, tcp) in [(true, true), (true, false), (false, true), (false, false)] {
        let packet = Packet::new(v4, tcp, 1, payload(333));
        assert_eq!(split(&packet.vnet(0), &packet.unfinished()), Ok(vec![packet.octets()]));
        assert_eq!(split(&VnetHeader::NONE, &packet.octets()), Ok(vec![packet.octets()]));
    }
    // The two last octets make the sum 0xffff.
    let mut packet = Packet::new(true, false, 1, payload(100));
    let octets = packet.octets();
    packet.payload.extend([0, 0]);
    let short = u16::from_be_bytes([octets[26], octets[27]]);
    let unfinished = |packet: &Packet| split(&packet.vnet(0), &packet.unfinished()).expect("one packet").remove(0);
    // Two octets more count twice: in the UDP header and in the pseudo header.
    let filler = Sum::word(short) + Sum::word(!4);
    packet.payload[100..].copy_from_slice(&filler.fold().to_be_bytes());
    let completed = unfinished(&packet);
    assert_eq!(completed[26..28], [0xff, 0xff]);
    assert_eq!(completed, packet.octets());
    assert_eq!(split(&packet.vnet(200), &packet.unfinished()), Ok(vec![packet.octets()]), "and when it is split");
}

#[test]
fn what_cannot_be_split_is_refused() {
    assert_eq!(refused(|_, _| {}), None);
    assert_eq!(refused(|header, _| header.hdr_len = 999), None, "a hint that may be wrong");
    assert_eq!(refused(|header, _| header.gso_type |= 0x80), None, "the ECN bit");
    assert_eq!(refused(|header, _| header.gso_size = 0), Some(Malformed::SegmentSize));
    assert_eq!(refused(|header, _| header.gso_type = 3), Some(Malformed::Kind), "UFO");
    assert_eq!(refused(|header, _| header.gso_type = Gso::Tcp6.octet()), Some(Malformed::Kind));
    assert_eq!(refused(|header, _| header.gso_type = Gso::Udp.octet()), Some(Malformed::Kind));
    assert_eq!(refused(|header, _| header.csum_start += 4), Some(Malformed::Checksum));
    assert_eq!(refused(|header, _| header.csum_offset = 6), Some(Malformed::Checksum));
    assert_eq!(refused(|_, octets| octets[9] = 47), Some(Malformed::Protocol));
    assert_eq!(refused(|_, octets| octets[6] |= 0x20), Some(Malformed::Fragment));
    assert_eq!(refused(|_, octets| octets[7] = 1), Some(Malformed::Fragment));
    assert_eq!(refused(|_, octets| octets[32] = 0x40), Some(Malformed::Header), "a TCP header of 16 octets");
    assert_eq!(refused(|_, octets| octets[0] = 0x44), Some(Malformed::Header), "an IPv4 header of 16 octets");
    assert_eq!(refused(|_, octets| octets[0] = 0x55), Some(Malformed::Header), "version 5");
    assert_eq!(refused(|_, octets| octets[3] += 1), Some(Malformed::Length), "cut short");
    assert_eq!(refused(|_, octets| octets[3] -= 1), Some(Malformed::Length), "with more behind it");
    assert_eq!(refused(|_, octets| octets.truncate(30)), Some(Malformed::Length));
    assert_eq!(refused(|_, octets| octets.clear()), Some(Malformed::Header));
}

#[test]
fn lengths_of_udp_and_ipv6_must_be_the_packets_own() {
    for (v4, at) in [(true, 25), (false, 45), (false, 5)] {
        let udp = Packet::new(v4, false, 1, payload(3000));
        for step in [1, -1] {
            let mut octets = udp.unfinished();
            octets[at] = octets[at].wrapping_add_signed(step);
            assert_eq!(split(&udp.vnet(1000), &octets), Err(Malformed::Length), "octet {at} by {step}");
        }
    }
}

#[test]
fn a_tcp_header_ends_within_the_packet() {
    let packet = Packet::new(true, true, 1, payload(39));
    let mut octets = packet.unfinished();
    octets[32] = 0xe0;
    assert!(split(&packet.vnet(10), &octets).is_ok(), "56 of 59 octets");
    octets[32] = 0xf0;
    assert_eq!(split(&packet.vnet(10), &octets), Err(Malformed::Header));
}

#[test]
fn the_kind_must_be_the_packets_own() {
    let kinds = [(true, true, Gso::Tcp4), (false, true, Gso::Tcp6), (true, false, Gso::Udp), (false, false, Gso::Udp)];
    for (v4, tcp, own) in kinds {
        let packet = Packet::new(v4, tcp, 1, payload(3000));
        for gso in [Gso::Tcp4, Gso::Tcp6, Gso::Udp] {
            let header = VnetHeader { gso_type: gso.octet(), ..packet.vnet(1000) };
            let expected = if gso == own { Ok(3) } else { Err(Malformed::Kind) };
            assert_eq!(split(&header, &packet.unfinished()).map(|packets| packets.len()), expected);
        }
    }
}

#[test]
fn a_checksum_outside_the_packet_is_refused() {
    let packet = Packet::new(true, true, 1, payload(10));
    let place = |start, offset| {
        let header = VnetHeader { csum_start: start, csum_offset: offset, ..packet.vnet(0) };
        split(&header, &packet.unfinished()).map(|packets| packets.len())
    };
    assert_eq!(place(20, 28), Ok(1), "the last two octets");
    assert_eq!(place(20, 29), Err(Malformed::Checksum));
    assert_eq!(place(51, 0), Err(Malformed::Checksum));
    assert_eq!(place(u16::MAX, u16::MAX), Err(Malformed::Checksum));
}

#[test]
fn a_packet_needs_the_room_behind_it() {
    let packet = Packet::new(true, true, 1, payload(3000));
    for (spare, outcome) in [(SPARE, None), (SPARE - 1, Some(Malformed::Room)), (0, Some(Malformed::Room))] {
        let mut room = [packet.unfinished(), vec![0; spare]].concat();
        let length = room.len() - spare;
        assert_eq!(Split::new(&packet.vnet(1000), &mut room, length).err(), outcome, "{spare} octets");
    }
    let mut room = vec![0; 70_000];
    assert_eq!(Split::new(&VnetHeader::NONE, &mut room, 65_536).err(), Some(Malformed::Room));
}

#[test]
fn fragments_of_ipv6_are_refused_and_long_headers_are_not() {
    let mut packet = Packet::new(false, true, 1, payload(3000));
    packet.ipv6().1.fragment = Some(Ipv6FragmentHeader::new(ip_number::TCP, 0_u16.try_into().expect("0"), true, 7));
    assert_eq!(split(&packet.vnet(1000), &packet.unfinished()), Err(Malformed::Fragment));
    let mut packet = Packet::new(false, true, 1, payload(3000));
    extend(&mut packet, 32, 32);
    assert_eq!(split(&packet.vnet(1000), &packet.unfinished()), Ok(packet.segments(1000)));
    let (header, mut octets) = (packet.vnet(1000), packet.unfinished());
    octets.truncate(300);
    octets[4..6].copy_from_slice(&260_u16.to_be_bytes());
    assert_eq!(split(&header, &octets), Err(Malformed::Header), "they end nowhere");
}

#[test]
fn the_checksum_follows_the_kernel_where_a_routing_header_follows() {
    // The field's sum is of the final destination, which the IPv6 header does not show.
    let packet = Packet::new(false, true, 1, payload(2000));
    let (header, mut octets) = (packet.vnet(1000), packet.unfinished());
    octets[39] ^= 0xff;
    for mut segment in split(&header, &octets).expect("split") {
        segment[39] ^= 0xff;
        assert!(packet.segments(1000).contains(&segment));
    }
}

proptest! {
    #[test]
    fn packets_are_those_of_the_reference(packet in any_packet(), size in prop_oneof![1_u16..300, 1_u16..3000]) {
        let expected = packet.segments(usize::from(size));
        prop_assert_eq!(split(&packet.vnet(size), &packet.unfinished()), Ok(expected));
    }

    #[test]
    fn a_superpacket_with_a_whole_checksum_is_split_as_well(packet in any_packet(), size in 1_u16..3000) {
        let header = VnetHeader { flags: 0, csum_start: 0, csum_offset: 0, ..packet.vnet(size) };
        prop_assert_eq!(split(&header, &packet.octets()), Ok(packet.segments(usize::from(size))));
    }

    #[test]
    fn no_octets_make_it_panic(
        packet in any_packet(), mut header in any::<[u8; 10]>(), kind in 0_usize..4, cut in 0_usize..200,
        edits in vec((0_usize..120, any::<u8>()), 0..4), room in 0_usize..20_100, mercy in any::<bool>(),
    ) {
        header[1] = [0, 1, 4, 5][kind];
        let header = if mercy { packet.vnet(u16::from(header[4])) } else { VnetHeader::from_octets(header) };
        let mut octets = packet.unfinished();
        octets.truncate(octets.len().saturating_sub(if mercy { 0 } else { cut }));
        for (at, octet) in edits {
            if let Some(place) = octets.get_mut(at) {
                *place = octet;
            }
        }
        let length = octets.len();
        octets.extend([0; SPARE]);
        if let Ok(mut split) = Split::new(&header, &mut octets, length) {
            let before = split.remaining();
            // Not the same room, as its contract asks: still no panic.
            octets.truncate(if mercy { octets.len() } else { room });
            let mut count = 0;
            while count <= before && split.next(&mut octets).is_some() {
                count += 1;
            }
            prop_assert!(count <= before);
        }
    }
}
