//! The subject as a hub between two peers: packets of every kind come out as they went in.
//!
//! ```text
//!  one 10.9.0.2 fd09::2 ══ wg0, which forwards ══ other 10.9.0.3 fd09::3
//! ```
//!
//! Both peers are clients of the test, so that each packet can be made and seen octet by octet. Forwarding takes one
//! from TTL or hop limit and, in IPv4, changes the header's checksum: nothing else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, PacketBuilder};

use crate::bench::{Node, Wire};
use crate::client::{ANSWER, Client, meet};
use crate::noise::Session;
use crate::rig::Rig;
use crate::scenario::scenarios;

scenarios! {
    Light:
        packets_of_every_kind_pass_unchanged,
        every_length_passes_unchanged,
        fragments_pass_as_they_are,
        extension_headers_and_flow_labels_pass_as_they_are,
        a_tcp_stream_keeps_its_segments_and_their_order,
        a_wrong_checksum_inside_is_not_made_right;
}

const ONE: [u8; 4] = [10, 9, 0, 2];
const OTHER: [u8; 4] = [10, 9, 0, 3];

fn v6(number: u8) -> [u8; 16] {
    [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number]
}

/// Two peers and the hub between them.
struct Relay<'a> {
    _hub: Node<'a>,
    one: Client,
    other: Client,
    sending: Session,
    receiving: Session,
    counter: u64,
}

impl<'a> Relay<'a> {
    fn new(rig: &'a Rig, wire: &'a Wire) -> Self {
        let (hub, mut one) = meet(rig, wire);
        let mut other = Client::new(&hub, &wire.right, "192.0.2.2:4003", 3);
        hub.set(&format!("peer {} allowed-ips {}", other.key, other.prefixes()));
        for (name, value) in [
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv6.conf.all.forwarding", "1"),
            ("net.ipv4.conf.all.send_redirects", "0"),
            ("net.ipv4.conf.wg0.send_redirects", "0"),
            ("net.ipv4.conf.all.accept_source_route", "1"),
        ] {
            hub.at.sysctl(name, value).expect("a sysctl");
        }
        let (sending, receiving) = (one.handshake(), other.handshake());
        one.everything();
        other.everything();
        Self { _hub: hub, one, other, sending, receiving, counter: 10 }
    }

    /// Sends these packets and gives those that come out at the other peer, without padding.
    fn pass(&mut self, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        for packet in packets {
            self.one.send(&self.sending.seal(self.counter, packet));
            self.counter += 1;
        }
        let (until, mut out) = (Instant::now() + ANSWER, Vec::new());
        while out.len() < packets.len() {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            let opened = self.other.receive(left).and_then(|datagram| self.receiving.open(&datagram));
            out.extend(opened.map(|(_, padded)| unpadded(padded)).filter(|packet| !packet.is_empty()));
        }
        out
    }

    /// Sends these packets and expects each of them, those of one flow in order.
    fn passes(&mut self, packets: &[Vec<u8>]) {
        let expected = flows(packets.iter().map(|packet| forwarded(packet)));
        let out = flows(self.pass(packets));
        for (flow, packets) in &expected {
            let passed = out.get(flow).map(Vec::as_slice).unwrap_or_default();
            let number = packets.iter().zip(passed).take_while(|(sent, passed)| sent == passed).count();
            let counts = (packets.len(), passed.len());
            assert_eq!(passed.get(number), packets.get(number), "packet {number} of {flow:02x?}, {counts:?}");
        }
        assert_eq!(out.len(), expected.len(), "nothing else came out");
    }
}

/// Packets by flow, in order within each: routers and queues may let flows overtake one another.
fn flows(packets: impl IntoIterator<Item = Vec<u8>>) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut flows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    packets.into_iter().for_each(|packet| flows.entry(flow(&packet)).or_default().push(comparable(packet)));
    flows
}

/// The packet with zero for its identification where that means nothing: in a datagram that is not to be fragmented
/// (RFC 6864, section 4). Joining packets and parting them again may number them anew.
fn comparable(packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 6 || packet[6] & 0x40 == 0 {
        return packet;
    }
    let (mut header, rest) = Ipv4Header::from_slice(&packet).expect("a header");
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "of {header:?}");
    header.identification = 0;
    header.header_checksum = header.calc_header_checksum();
    [header.to_bytes().as_slice(), rest].concat()
}

/// What the packets of one flow have in common: the fragments of a packet, the datagrams between two ports, or else
/// all that stands before the payload's length.
fn flow(packet: &[u8]) -> Vec<u8> {
    let (v4, ports) = (packet[0] >> 4 == 4, [6, 17]);
    match (v4, packet[if v4 { 9 } else { 6 }]) {
        (true, protocol) if packet[6] & 0x3f != 0 || packet[7] != 0 => vec![4, 44, protocol, packet[4], packet[5]],
        (true, protocol) if ports.contains(&protocol) => [&[4, protocol], &packet[20..24]].concat(),
        (true, protocol) => vec![4, protocol, packet[1]],
        (false, 44) => [&[6, 44], &packet[44..48]].concat(),
        (false, next) if ports.contains(&next) => [&packet[..4], &[next], &packet[40..44]].concat(),
        (false, next) => [&packet[..4], &[next]].concat(),
    }
}

/// The packet without the zeros behind it.
fn unpadded(mut packet: Vec<u8>) -> Vec<u8> {
    let length = match packet.first().map(|octet| octet >> 4) {
        Some(4) => usize::from(u16::from_be_bytes([packet[2], packet[3]])),
        Some(6) => 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])),
        _ => 0,
    };
    assert!(packet[length..].iter().all(|octet| *octet == 0) && packet.len() < length + 16, "padding");
    packet.truncate(length);
    packet
}

/// The packet as a router passes it on (RFC 791, RFC 1141).
fn forwarded(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 6 {
        packet[7] -= 1;
        return packet;
    }
    packet[8] -= 1;
    let (mut header, rest) = Ipv4Header::from_slice(&packet).expect("a header");
    header.header_checksum = header.calc_header_checksum();
    [header.to_bytes().as_slice(), rest].concat()
}

/// An IPv4 packet with this protocol and payload.
fn ipv4(protocol: u8, payload: &[u8], change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("short");
    let mut header = Ipv4Header::new(length, 64, IpNumber(protocol), ONE, OTHER).expect("short enough");
    change(&mut header);
    header.header_checksum = header.calc_header_checksum();
    [header.to_bytes().as_slice(), payload].concat()
}

/// An IPv6 packet with this next header and payload.
fn ipv6(next: u8, payload: &[u8], change: impl FnOnce(&mut Ipv6Header)) -> Vec<u8> {
    let mut header = Ipv6Header {
        payload_length: u16::try_from(payload.len()).expect("short"),
        next_header: IpNumber(next),
        hop_limit: 64,
        source: v6(2),
        destination: v6(3),
        ..Ipv6Header::default()
    };
    change(&mut header);
    [header.to_bytes().as_slice(), payload].concat()
}

fn udp(length: usize, number: u16) -> Vec<u8> {
    let payload: Vec<u8> = (0..length).map(|at| (at * 7 + usize::from(number)).to_le_bytes()[0]).collect();
    let mut packet = Vec::new();
    PacketBuilder::ipv4(ONE, OTHER, 64).udp(4000, 5000 + number).write(&mut packet, &payload).expect("room");
    packet
}

fn packets_of_every_kind_pass_unchanged(rig: &Rig) {
    let wire = Wire::new();
    let mut relay = Relay::new(rig, &wire);
    let payload: Vec<u8> = (0..99).collect();
    let mut packets = vec![ipv4(253, &[], |_| {}), ipv6(59, &[], |_| {})];
    for protocol in [2, 17, 47, 50, 89, 132, 253, 255] {
        // What claims to be UDP has a checksum of 0, which means none.
        let payload = if protocol == 17 {
            [&[0x0f, 0xa0, 0x13, 0x88, 0, 20, 0, 0][..], &payload[..12]].concat()
        } else {
            payload.clone()
        };
        packets.push(ipv4(protocol, &payload, |_| {}));
        packets.push(ipv6(if protocol == 17 { 253 } else { protocol }, &payload, |_| {}));
    }
    for dscp in [0, 0x28, 0xb8, 0xfc] {
        packets
            .push(ipv4(253, &payload, |header| header.dscp = etherparse::IpDscp::try_new(dscp >> 2).expect("6 bits")));
        packets.push(ipv6(253, &payload, |header| header.traffic_class = dscp));
    }
    packets.push(ipv4(253, &payload, |header| header.identification = 0xbeef));
    packets.push(ipv4(253, &payload, |header| header.dont_fragment = true));
    packets.push(ipv4(253, &payload, |header| header.time_to_live = 2));
    relay.passes(&packets);
}

fn every_length_passes_unchanged(rig: &Rig) {
    let wire = Wire::new();
    let mut relay = Relay::new(rig, &wire);
    for lengths in [0..70, 500..560, 1330..1393] {
        let packets: Vec<Vec<u8>> = lengths.map(|length| udp(length, 1)).collect();
        for burst in packets.chunks(24) {
            relay.passes(burst);
        }
    }
}

fn fragments_pass_as_they_are(rig: &Rig) {
    let wire = Wire::new();
    let mut relay = Relay::new(rig, &wire);
    let payload: Vec<u8> = (0..=199).collect();
    let v4 = |offset: u16, more: bool| {
        ipv4(17, &payload, |header| {
            header.identification = 77;
            header.more_fragments = more;
            header.fragment_offset = offset.try_into().expect("13 bits");
        })
    };
    // Next header, reserved, offset and flag, identification (RFC 8200, section 4.5).
    let v6 = |offset: u16, more: bool| {
        let field = (offset << 3 | u16::from(more)).to_be_bytes();
        ipv6(44, &[&[17, 0, field[0], field[1], 0, 0, 0, 77], payload.as_slice()].concat(), |_| {})
    };
    // Without conntrack, a router passes fragments one by one, whether or not the others come.
    relay.passes(&[v4(0, true), v4(25, true), v4(50, false), v4(75, true), v6(0, true), v6(25, true), v6(50, false)]);
    relay.passes(&[v4(50, false), v6(25, true), v4(0, true), v6(0, true)]);
}

fn extension_headers_and_flow_labels_pass_as_they_are(rig: &Rig) {
    let wire = Wire::new();
    let mut relay = Relay::new(rig, &wire);
    let mut inner = Vec::new();
    PacketBuilder::ipv6(v6(2), v6(3), 64).udp(4000, 5000).write(&mut inner, &[7; 100]).expect("room");
    let udp = &inner[40..];
    // Options that are padding: next header, length in units of 8 behind the first, PadN of 4.
    let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let with = |next: u8, headers: &[&[u8]]| ipv6(next, &[&headers.concat(), udp].concat(), |_| {});
    let labelled =
        |label: u32, payload: &[u8]| ipv6(17, payload, |header| header.flow_label = label.try_into().expect("20 bits"));
    relay.passes(&[
        with(60, &[&options(17)]),
        with(0, &[&options(17)]),
        with(0, &[&options(60), &options(17)]),
        with(60, &[&options(60), &options(17)]),
        labelled(1, udp),
        labelled(0xf_ffff, udp),
        labelled(0x12345, udp),
    ]);
    // Options of IPv4: a router alert is for routers, so no-operations.
    let optioned = ipv4(253, &[9; 64], |header| {
        header.options = [1_u8, 1, 1, 1, 1, 1, 1, 0].into();
        header.total_len += 8;
    });
    relay.passes(&[optioned]);
}

/// Segments of one flow that could be joined on the way, with one among them that could not.
fn segments(count: u16) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| {
            let length: u16 = if number % 9 == 8 { 300 } else { 1300 };
            let before: u32 = (0..number).map(|n| if n % 9 == 8 { 300 } else { 1300 }).sum();
            let payload: Vec<u8> = (0..length).map(|at| (at + number).to_le_bytes()[0]).collect();
            let mut header = Ipv4Header::new(0, 64, IpNumber::TCP, ONE, OTHER).expect("short enough");
            (header.identification, header.dont_fragment) = (1000 + number, true);
            let builder = PacketBuilder::ip(etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()));
            let mut packet = Vec::new();
            builder.tcp(4000, 5000, 1_000_000 + before, 512).ack(99).write(&mut packet, &payload).expect("room");
            packet
        })
        .collect()
}

fn a_tcp_stream_keeps_its_segments_and_their_order(rig: &Rig) {
    let wire = Wire::new();
    let mut relay = Relay::new(rig, &wire);
    for _ in 0..5 {
        let packets = segments(60);
        relay.passes(&packets);
        // Two flows in turn, and a packet of a third kind among them.
        let mixed: Vec<Vec<u8>> = packets.iter().take(30).flat_map(|packet| [packet.clone(), udp(700, 3)]).collect();
        relay.passes(&mixed);
    }
}

fn a_wrong_checksum_inside_is_not_made_right(rig: &Rig) {
    let wire = Wire::new();
    let mut relay = Relay::new(rig, &wire);
    let mut packets = segments(20);
    for (number, at) in [(3, 600), (11, 36), (12, 37)] {
        packets[number][at] ^= 0x40;
    }
    let mut false_udp = udp(900, 4);
    false_udp[26] ^= 1;
    packets.push(false_udp);
    let expected: Vec<Vec<u8>> = packets.iter().map(|packet| comparable(forwarded(packet))).collect();
    let out: Vec<Vec<u8>> = relay.pass(&packets).into_iter().map(comparable).collect();
    // Whoever drops what is corrupt is forgiven; whoever mends it is not.
    assert!(out.iter().all(|packet| expected.contains(packet)), "something came out that nobody sent");
    let sound = |number: &usize| ![3, 11, 12, 20].contains(number);
    assert!((0..packets.len()).filter(sound).all(|number| out.contains(&expected[number])), "the sound ones pass");
    std::thread::park_timeout(Duration::from_millis(10));
}
