//! What [`Coalescer`] joins, what it does not, and in which order it comes out.

use etherparse::TcpHeader;

use super::model::{Packet, extend};
use crate::tunnel::segment::checksum::Sum;
use crate::tunnel::segment::{Coalescer, Group, MOST_MEMBERS, SPARE, Split, VnetHeader};

/// A group as it is written to the device.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) header: VnetHeader,
    pub(super) members: Vec<usize>,
    pub(super) octets: Vec<u8>,
}

/// What a coalescer makes of packets, which are known by their positions.
pub(super) fn written(coalescer: &mut Coalescer, packets: &[Vec<u8>]) -> Vec<Written> {
    coalescer.arrange(packets.iter().map(Vec::as_slice).enumerate());
    let write = |group: Group<'_>| {
        let members: Vec<usize> = group.members().collect();
        assert_eq!(members.len(), group.count());
        let payloads = members.iter().flat_map(|position| &packets[*position][group.offset()..]);
        let octets = group.superheader().iter().chain(payloads).copied().collect();
        Written { header: group.header(), members, octets }
    };
    coalescer.groups().map(write).collect()
}

/// The packets of which a group consists, found out by splitting it.
pub(super) fn split_again(written: &Written) -> Vec<Vec<u8>> {
    let mut room = [&written.octets, &[0; SPARE][..]].concat();
    let mut split = Split::new(&written.header, &mut room, written.octets.len()).expect("a group");
    std::iter::from_fn(|| split.next(&mut room).map(|range| room[range].to_vec())).collect()
}

fn groups(packets: &[Vec<u8>]) -> Vec<Vec<usize>> {
    written(&mut Coalescer::new(true, true), packets).into_iter().map(|written| written.members).collect()
}

/// `count` packets of a stream, each of 100 octets of payload.
fn stream(v4: bool, tcp: bool, flow: u8, count: usize) -> Vec<Packet> {
    let mut packets = Vec::new();
    for index in 0..count {
        let mut packet = Packet::new(v4, tcp, flow, vec![u8::try_from(index % 256).expect("fits"); 100]);
        go_on(&mut packet, index, 100);
        packets.push(packet);
    }
    packets
}

/// Makes it the packet with this index in a stream of payloads of `size` octets.
fn go_on(packet: &mut Packet, index: usize, size: usize) {
    if matches!(packet.ip, etherparse::IpHeaders::Ipv4(..)) {
        packet.ipv4().identification = 65_520_u16.wrapping_add(u16::try_from(index).expect("fits"));
    }
    if packet.is_tcp() {
        let offset = u32::try_from(index * size).expect("fits");
        packet.tcp().sequence_number = (u32::MAX - 150).wrapping_add(offset);
    }
}

fn octets(packets: &[Packet]) -> Vec<Vec<u8>> {
    packets.iter().map(Packet::octets).collect()
}

const KINDS: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

#[test]
fn a_stream_becomes_what_the_kernel_would_have_been_given_by_its_sender() {
    for (v4, tcp) in KINDS {
        let mut packets = stream(v4, tcp, 1, 10);
        packets[9].payload.truncate(30);
        if tcp {
            for packet in &mut packets {
                packet.tcp().set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8]).expect("the time stamp option");
            }
            packets[9].tcp().psh = true;
        }
        let mut whole = packets[0].clone();
        whole.payload = packets.iter().flat_map(|packet| packet.payload.clone()).collect();
        if tcp {
            whole.tcp().psh = true;
        }
        let packets = octets(&packets);
        let written = written(&mut Coalescer::new(true, true), &packets);
        assert_eq!(written.len(), 1);
        assert_eq!(written[0].header, whole.vnet(100));
        assert_eq!(written[0].octets, whole.unfinished());
        assert_eq!(split_again(&written[0]), packets);
    }
}

/// The groups of a stream of four whose third packet is another.
fn with_third(v4: bool, tcp: bool, edit: impl Fn(&mut Packet)) -> Vec<Vec<usize>> {
    let mut packets = stream(v4, tcp, 1, 4);
    edit(&mut packets[2]);
    groups(&octets(&packets))
}

/// The same, of octets that may be wrong.
fn with_third_octets(v4: bool, tcp: bool, edit: impl Fn(&mut Vec<u8>)) -> Vec<Vec<usize>> {
    let mut packets = octets(&stream(v4, tcp, 1, 4));
    edit(&mut packets[2]);
    groups(&packets)
}

#[test]
fn a_packet_that_differs_in_its_ip_header_is_not_joined() {
    for tcp in [true, false] {
        assert_eq!(with_third(true, tcp, |_| {}), [vec![0, 1, 2, 3]]);
        assert_eq!(with_third(false, tcp, |_| {}), [vec![0, 1, 2, 3]]);
        // What follows would fit to it, or is as the first were: it cannot be joined over it.
        let apart = [vec![0, 1], vec![2], vec![3]];
        assert_eq!(with_third(true, tcp, |packet| packet.ipv4().time_to_live = 63), apart);
        assert_eq!(with_third(true, tcp, |packet| packet.ipv4().ecn = etherparse::IpEcn::ONE), apart);
        assert_eq!(with_third(true, tcp, |packet| packet.ipv4().dont_fragment = false), apart);
        assert_eq!(with_third(true, tcp, |packet| packet.ipv4().identification += 5), apart);
        assert_eq!(with_third(true, tcp, |packet| packet.ipv4().more_fragments = true), apart);
        assert_eq!(with_third(true, tcp, |packet| packet.ipv4().options = [1, 1, 1, 0].into()), apart);
        assert_eq!(with_third_octets(true, tcp, |octets| octets[6] |= 0x80), apart, "the reserved bit");
        assert_eq!(with_third(false, tcp, |packet| packet.ipv6().0.hop_limit = 63), apart);
        assert_eq!(with_third(false, tcp, |packet| packet.ipv6().0.traffic_class = 1), apart);
        let label = 7_u32.try_into().expect("20 bits");
        assert_eq!(with_third(false, tcp, |packet| packet.ipv6().0.flow_label = label), apart);
        assert_eq!(with_third(false, tcp, |packet| extend(packet, 1, 0)), apart);
    }
}

#[test]
fn a_tcp_packet_that_differs_is_not_joined() {
    let differ = |edit: fn(&mut TcpHeader)| [true, false].map(|v4| with_third(v4, true, |packet| edit(packet.tcp())));
    let edits: [fn(&mut TcpHeader); 14] = [
        |header| header.fin = true,
        |header| header.syn = true,
        |header| header.rst = true,
        |header| header.urg = true,
        |header| header.ece = true,
        |header| header.cwr = true,
        |header| header.ns = true,
        |header| header.ack = false,
        |header| header.window_size += 1,
        |header| header.acknowledgment_number += 1,
        |header| header.urgent_pointer = 1,
        |header| header.sequence_number += 1,
        |header| header.sequence_number = header.sequence_number.wrapping_sub(100),
        |header| header.set_options_raw(&[1, 1, 1, 0]).expect("fits"),
    ];
    for edit in edits {
        assert_eq!(differ(edit), [[vec![0, 1], vec![2], vec![3]], [vec![0, 1], vec![2], vec![3]]]);
    }
    assert_eq!(differ(|header| header.psh = true), [[vec![0, 1, 2], vec![3]], [vec![0, 1, 2], vec![3]]], "PSH closes");
}

#[test]
fn no_flag_is_joined_but_ack() {
    let groups_of = |edit: fn(&mut TcpHeader)| {
        let mut packets = stream(true, true, 1, 3);
        packets.iter_mut().for_each(|packet| edit(packet.tcp()));
        groups(&octets(&packets))
    };
    assert_eq!(groups_of(|_| {}), [[0, 1, 2]]);
    let edits: [fn(&mut TcpHeader); 5] = [
        |header| header.ece = true,
        |header| header.cwr = true,
        |header| header.ns = true,
        |header| header.urg = true,
        |header| header.psh = true,
    ];
    for edit in edits {
        assert_eq!(groups_of(edit), [[0], [1], [2]]);
    }
}

#[test]
fn options_must_be_equal() {
    let groups_of = |options: [[u8; 4]; 4]| {
        let mut packets = stream(true, true, 1, 4);
        for (packet, options) in packets.iter_mut().zip(options) {
            packet.tcp().set_options_raw(&options).expect("fits");
        }
        groups(&octets(&packets))
    };
    assert_eq!(groups_of([[1, 1, 1, 1]; 4]), [[0, 1, 2, 3]]);
    assert_eq!(groups_of([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 0]]), [[0, 1], [2, 3]]);
}

#[test]
fn payloads_are_equal_but_the_last() {
    for (v4, tcp) in KINDS {
        let apart = [vec![0, 1], vec![2], vec![3]];
        let beyond = |packet: &mut Packet| packet.payload.extend([1; 100]);
        let twice = if tcp { apart.to_vec() } else { vec![vec![0, 1], vec![2, 3]] };
        assert_eq!(with_third(v4, tcp, beyond), twice, "a longer one begins anew");
        assert_eq!(with_third(v4, tcp, |packet| packet.payload.clear()), apart);
        let expected = [vec![0, 1, 2], vec![3]];
        assert_eq!(with_third(v4, tcp, |packet| packet.payload.truncate(99)), expected, "closes");
    }
}

#[test]
fn a_corrupt_packet_travels_alone_and_unchanged() {
    for (v4, tcp) in KINDS {
        let alone = [vec![0, 1], vec![2], vec![3]];
        let last = if v4 { 19 } else { 39 } + if tcp { 100 } else { 80 };
        assert_eq!(with_third_octets(v4, tcp, |octets| octets[last] ^= 4), alone, "payload");
        let checksum = if v4 { 20 } else { 40 } + if tcp { 16 } else { 6 };
        assert_eq!(with_third_octets(v4, tcp, |octets| octets[checksum] ^= 4), alone);
        let mut packets = octets(&stream(v4, tcp, 1, 4));
        packets[0][checksum] ^= 4;
        let written = written(&mut Coalescer::new(true, true), &packets);
        let members: Vec<&[usize]> = written.iter().map(|written| written.members.as_slice()).collect();
        assert_eq!(members, [&[0][..], &[1, 2, 3]], "the first is found out by the second");
        assert_eq!((written[0].header, &written[0].octets), (VnetHeader::NONE, &packets[0]));
    }
    assert_eq!(with_third_octets(true, true, |octets| octets[10] ^= 4), [vec![0, 1], vec![2], vec![3]], "IPv4");
    let no_checksum = |octets: &mut Vec<u8>| octets[26..28].fill(0);
    assert_eq!(with_third_octets(true, false, no_checksum), [vec![0, 1], vec![2], vec![3]], "UDP without");
}

/// A checksum field after a word under it became less by one.
fn make_up_for_one(octets: &mut [u8], checksum: usize) {
    let former = Sum::of(&octets[checksum..checksum + 2]);
    octets[checksum..checksum + 2].copy_from_slice(&(former + Sum::word(1)).fold().to_be_bytes());
}

#[test]
fn octets_behind_the_stated_end_do_not_become_payload() {
    // All checksums are right over what is there: only the stated lengths are one too short.
    for tcp in [true, false] {
        let v4 = |octets: &mut Vec<u8>| {
            octets[3] -= 1;
            make_up_for_one(octets, 10);
        };
        assert_eq!(with_third_octets(true, tcp, v4), [vec![0, 1], vec![2], vec![3]]);
        assert_eq!(with_third_octets(false, tcp, |octets| octets[5] -= 1), [vec![0, 1], vec![2], vec![3]]);
    }
    for (v4, header) in [(true, 20), (false, 40)] {
        let udp = |octets: &mut Vec<u8>| {
            octets[header + 5] -= 1;
            make_up_for_one(octets, header + 6);
        };
        assert_eq!(with_third_octets(v4, false, udp), [vec![0, 1], vec![2], vec![3]]);
    }
}

#[test]
fn identifications_count_up_or_are_fixed_where_nobody_may_look_at_them() {
    let groups_of = |atomic: bool, identifications: [u16; 5]| {
        let mut packets = stream(true, true, 1, 5);
        for (packet, identification) in packets.iter_mut().zip(identifications) {
            let header = packet.ipv4();
            (header.identification, header.dont_fragment) = (identification, atomic);
        }
        groups(&octets(&packets))
    };
    for atomic in [true, false] {
        assert_eq!(groups_of(atomic, [65_534, 65_535, 0, 1, 2]), [[0, 1, 2, 3, 4]]);
        assert_eq!(groups_of(atomic, [7, 8, 10, 11, 12]), [vec![0, 1], vec![2, 3, 4]]);
        assert_eq!(groups_of(atomic, [7, 8, 8, 9, 10]), [vec![0, 1], vec![2, 3, 4]]);
    }
    assert_eq!(groups_of(true, [0; 5]), [[0, 1, 2, 3, 4]]);
    assert_eq!(groups_of(true, [0, 0, 1, 2, 3]), [vec![0, 1], vec![2, 3, 4]]);
    assert_eq!(groups_of(false, [0; 5]), [[0], [1], [2], [3], [4]]);
}

#[test]
fn flows_interleave_and_groups_stand_by_their_first_members() {
    let flows: Vec<Vec<Vec<u8>>> = (0..16).map(|flow| octets(&stream(flow % 2 == 0, flow % 3 == 0, flow, 3))).collect();
    let mixed: Vec<Vec<u8>> = (0..3).flat_map(|index| flows.iter().map(move |flow| flow[index].clone())).collect();
    let expected: Vec<Vec<usize>> = (0..16).map(|flow| vec![flow, flow + 16, flow + 32]).collect();
    assert_eq!(groups(&mixed), expected);
}

#[test]
fn ports_and_protocols_tell_flows_apart() {
    let pair = |edit: fn(&mut TcpHeader)| {
        let mut packets = stream(true, true, 1, 4);
        edit(packets[1].tcp());
        edit(packets[3].tcp());
        for (index, packet) in packets.iter_mut().enumerate() {
            go_on(packet, index / 2, 100);
        }
        groups(&octets(&packets))
    };
    assert_eq!(pair(|header| header.source_port += 1), [[0, 2], [1, 3]]);
    assert_eq!(pair(|header| header.destination_port += 1), [[0, 2], [1, 3]]);
}

#[test]
fn more_flows_than_the_table_holds_are_still_right() {
    let flows: Vec<Vec<Vec<u8>>> = (0..40).map(|flow| octets(&stream(true, true, flow, 3))).collect();
    let mixed: Vec<Vec<u8>> = (0..3).flat_map(|index| flows.iter().map(move |flow| flow[index].clone())).collect();
    let written = written(&mut Coalescer::new(true, true), &mixed);
    let mut split: Vec<Vec<u8>> = written.iter().flat_map(split_again).collect();
    for (flow, packets) in flows.iter().enumerate() {
        let own: Vec<Vec<u8>> = split.iter().filter(|packet| usize::from(packet[15]) == flow).cloned().collect();
        assert_eq!(&own, packets);
    }
    split.sort();
    let mut expected = mixed;
    expected.sort();
    assert_eq!(split, expected);
}

#[test]
fn what_may_be_of_any_flow_closes_all_and_what_is_of_none_does_not() {
    let around = |middle: Vec<u8>| {
        let packets = octets(&stream(true, false, 1, 4));
        groups(&[packets[0].clone(), packets[1].clone(), middle, packets[2].clone(), packets[3].clone()])
    };
    let other = |edit: fn(&mut Packet)| {
        let mut packet = stream(true, false, 2, 1).remove(0);
        edit(&mut packet);
        packet.octets()
    };
    assert_eq!(around(other(|packet| packet.ipv4().more_fragments = true)), [vec![0, 1], vec![2], vec![3, 4]]);
    let later = |packet: &mut Packet| packet.ipv4().fragment_offset = 1.try_into().expect("13 bits");
    assert_eq!(around(other(later)), [vec![0, 1], vec![2], vec![3, 4]]);
    let mut hop_by_hop = stream(false, false, 2, 1).remove(0);
    extend(&mut hop_by_hop, 1, 0);
    assert_eq!(around(hop_by_hop.octets()), [vec![0, 1], vec![2], vec![3, 4]]);
    let aside = [vec![0, 1, 3, 4], vec![2]];
    assert_eq!(around(other(|_| {})), aside, "another flow");
    let mut icmp = other(|_| {});
    icmp[9] = 1;
    assert_eq!(around(icmp), aside, "ICMP");
    let mut icmp = stream(false, false, 2, 1).remove(0).octets();
    icmp[6] = 58;
    assert_eq!(around(icmp), aside, "ICMPv6");
    assert_eq!(around(Vec::new()), aside, "nothing");
    assert_eq!(around(vec![0x45; 10]), aside, "no packet");
}

#[test]
fn a_group_has_at_most_64_members_and_65535_octets() {
    for (v4, tcp) in KINDS {
        let sizes: Vec<usize> = groups(&octets(&stream(v4, tcp, 1, 150))).iter().map(Vec::len).collect();
        assert_eq!(sizes, [MOST_MEMBERS, MOST_MEMBERS, 22]);
        let headers = stream(v4, tcp, 1, 1)[0].offsets().1;
        let fitting = (65_535 - headers) / 1420;
        let mut packets = Vec::new();
        for index in 0..fitting + 1 {
            let mut packet = Packet::new(v4, tcp, 1, vec![7; 1420]);
            go_on(&mut packet, index, 1420);
            packets.push(packet.octets());
        }
        let sizes: Vec<usize> = groups(&packets).iter().map(Vec::len).collect();
        assert_eq!(sizes, [fitting, 1]);
    }
}

#[test]
fn joining_has_switches_and_a_limit() {
    let tcp = octets(&stream(true, true, 1, 4));
    let udp = octets(&stream(false, false, 2, 4));
    let both: Vec<Vec<u8>> = tcp.iter().zip(&udp).flat_map(|(left, right)| [left.clone(), right.clone()]).collect();
    let mut coalescer = Coalescer::new(false, false);
    let mut sizes = |set: fn(&mut Coalescer)| -> Vec<usize> {
        set(&mut coalescer);
        written(&mut coalescer, &both).iter().map(|written| written.members.len()).collect()
    };
    assert_eq!(sizes(|_| {}), [1; 8]);
    assert_eq!(sizes(|coalescer| coalescer.set_kinds(true, false)), [4, 1, 1, 1, 1]);
    assert_eq!(sizes(|coalescer| coalescer.set_kinds(false, true)), [1, 4, 1, 1, 1]);
    assert_eq!(sizes(|coalescer| coalescer.set_kinds(true, true)), [4, 4]);
    assert_eq!(sizes(|coalescer| coalescer.set_most(3)), [3, 3, 1, 1]);
    assert_eq!(sizes(|coalescer| coalescer.set_most(0)), [1; 8], "1 is the least");
    let many = octets(&stream(true, true, 1, 70));
    coalescer.set_most(1000);
    assert_eq!(written(&mut coalescer, &many)[0].members.len(), MOST_MEMBERS);
}

/// A stream is joined when its second packet has 0 as the checksum at `at`, and not when it has 0xffff, which is right as
/// well. Splitting writes 0.
fn is_kept_apart_by_all_ones(packets: &[Packet], at: usize) {
    let mut octets = octets(packets);
    assert_eq!(octets[1][at..at + 2], [0, 0]);
    assert_eq!(groups(&octets), [[0, 1, 2]]);
    octets[1][at..at + 2].fill(0xff);
    assert_eq!(groups(&octets), [[0], [1], [2]]);
}

#[test]
fn a_tcp_checksum_of_all_ones_comes_back_as_it_was() {
    let mut packets = stream(true, true, 1, 3);
    // What the checksum lacks to 0 is added to the first word of the payload.
    let lacking = Sum::of(&packets[1].octets()[36..38]) + Sum::of(&packets[1].payload[..2]);
    packets[1].payload[..2].copy_from_slice(&lacking.fold().to_be_bytes());
    is_kept_apart_by_all_ones(&packets, 36);
}

#[test]
fn an_ipv4_checksum_of_all_ones_comes_back_as_it_was() {
    let mut packets = stream(true, true, 1, 3);
    // What the checksum lacks to 0 is added to the identification.
    let second = packets[1].octets();
    let lacking = (Sum::of(&second[10..12]) + Sum::of(&second[4..6])).fold();
    for (packet, identification) in packets.iter_mut().zip(lacking.wrapping_sub(1)..) {
        packet.ipv4().identification = identification;
    }
    is_kept_apart_by_all_ones(&packets, 10);
}
