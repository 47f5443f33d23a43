//! What the network outside sees of a datagram, and what it does to it: marks, congestion, lengths.

use std::sync::Arc;
use std::time::Duration;

use super::world::{Datagram, Wish, World, packet};
use crate::tunnel::segment::VnetHeader;
use crate::tunnel::{Batch, Dscp, LinkSlot, Manner, Marking, Mtus, Outcome, Reason, icmp, wire};

const LINK: LinkSlot = LinkSlot(0);
const HANDSHAKE: u8 = 0x88;
const CE: u8 = 3;

/// A packet of `length` octets from the first endpoint to the second, with this octet of DSCP and ECN.
fn marked(tos: u8, length: usize) -> Vec<u8> {
    let mut packet = packet("10.0.0.1", "10.1.0.1", 1, length - 20);
    packet[1] = tos;
    packet
}

fn behaving(manner: Manner) -> World {
    let mut world = World::pair(Wish::default(), |_| {});
    for end in &mut world.ends {
        end.shard.tune(LINK, manner);
    }
    world
}

/// The octets of DSCP and ECN of each datagram that was sent: initiation, response, data, keepalive.
fn marks(marking: Marking) -> [Vec<u8>; 4] {
    let keepalive = Some(Duration::from_secs(1));
    let mut world = behaving(Manner { marking, keepalive, ..Manner::default() });
    assert_eq!(world.pass(0, 1, &marked(0xb9, 60)), [marked(0xb9, 60)], "it waits for the session");
    assert_eq!(world.pass(0, 1, &marked(0xb9, 60)), [marked(0xb9, 60)]);
    world.run(Duration::from_secs(3));
    let of = |kind: u8, is_keepalive: bool| {
        let sent = world.log.iter().map(|(_, datagram)| datagram);
        let wanted =
            |datagram: &&Datagram| datagram.kind() == kind && (datagram.octets.len() == wire::OVERHEAD) == is_keepalive;
        let mut found: Vec<u8> = sent.filter(wanted).map(|datagram| datagram.tos).collect();
        found.dedup();
        found
    };
    [of(1, false), of(2, false), of(4, false), of(4, true)]
}

#[test]
fn datagrams_are_marked_as_policy_says() {
    let (ecn, all) = (0xb9 & 3, Marking::All(Dscp::new(8).expect("a codepoint")));
    assert_eq!(marks(Marking::Plain), [vec![HANDSHAKE], vec![HANDSHAKE], vec![ecn], vec![0]]);
    assert_eq!(marks(Marking::Carry), [vec![HANDSHAKE], vec![HANDSHAKE], vec![0xb9], vec![0]]);
    assert_eq!(marks(all), [vec![32], vec![32], vec![32 | ecn], vec![32]]);
}

#[test]
fn congestion_outside_is_told_inside_or_the_packet_is_dropped() {
    let mut world = behaving(Manner::default());
    assert!(world.crosses(0, 1, &marked(0, 60)));
    let before = world.stats(1, LINK).received_packets;
    let mut outcome = |inner: u8| {
        world.send(0, &marked(inner, 60)).expect("sent");
        let sent = world.take(0).remove(0);
        world.ends[1].delivered.clear();
        let outcome = world.give(1, &Datagram { tos: sent.tos | CE, ..sent });
        (outcome, world.ends[1].delivered.first().map(|packet| packet[1]))
    };
    assert_eq!(outcome(0xb8 | 2), (Ok(Outcome::ToTun(LINK)), Some(0xb8 | CE)));
    assert_eq!(outcome(0xb8), (Err(Reason::Congested), None));
    assert_eq!(world.drops(1, Reason::Congested), 1);
    assert_eq!(world.stats(1, LINK).received_packets, before + 2, "it was authentic, and counts");
}

/// The ICMP message that the sender of a packet gets when it is refused for its length.
fn told(world: &mut World, header: &VnetHeader, packet: &[u8]) -> Option<Vec<u8>> {
    let (moment, mut packets) = (world.moment, Batch::new(1));
    let mut room = packet.to_vec();
    room.resize(packet.len() + 16, 0);
    let (shard, out) = world.ends[0].out();
    let refused = shard.depart(header, (&mut room, packet.len()), moment, out).err()?;
    assert_eq!(refused.reason, Reason::TooBig);
    shard.tell(refused, packet, moment, &mut packets);
    packets.iter().next().map(|(_, message)| message.to_vec())
}

fn answer(mtu: u16, packet: &[u8]) -> Option<Vec<u8>> {
    let mut message = vec![0; 2000];
    let length = icmp::answer(icmp::Error::TooBig { mtu }, packet, &mut message)?;
    message.truncate(length);
    Some(message)
}

#[test]
fn what_is_longer_than_its_link_carries_is_refused_if_it_must_stay_whole() {
    let mut world = behaving(Manner { mtu: Some(1300), ..Manner::default() });
    let whole = |length: usize| {
        let mut packet = marked(0, length);
        packet[6] = 0x40;
        packet
    };
    assert!(world.crosses(0, 1, &whole(1300)));
    assert_eq!(
        world.log.last().map(|(_, sent)| sent.octets.len()),
        Some(1300 + wire::OVERHEAD),
        "no longer by padding"
    );
    assert_eq!(told(&mut world, &VnetHeader::NONE, &whole(1301)), answer(1300, &whole(1301)));
    assert!(world.crosses(0, 1, &marked(0, 1301)), "routers outside may fragment it");
    let six = packet("fd00::1", "fd01::1", 1, 1261);
    assert_eq!(told(&mut world, &VnetHeader::NONE, &six), answer(1300, &six));
    assert_eq!(world.drops(0, Reason::TooBig), 2);
    for end in &mut world.ends {
        end.shard.tune(LINK, Manner { mtu: Some(1000), ..Manner::default() });
    }
    assert_eq!(told(&mut world, &VnetHeader::NONE, &six), answer(1280, &six), "IPv6 promises 1,280 octets");
    assert!(world.crosses(0, 1, &packet("fd00::1", "fd01::1", 1, 1240)));
    assert_eq!(told(&mut world, &VnetHeader::NONE, &whole(1301)), answer(1000, &whole(1301)));
}

/// A superpacket of TCP: 3,000 octets of payload in segments of `size`.
fn superpacket(size: u16) -> (VnetHeader, Vec<u8>) {
    let mut packet = marked(0, 40 + 3000);
    packet[6] = 0x40;
    packet[9] = 6;
    packet[20 + 12] = 5 << 4;
    let [low, high] = size.to_ne_bytes();
    // struct virtio_net_hdr: NEEDS_CSUM, GSO_TCPV4, hdr_len, gso_size, csum_start, csum_offset.
    let [start, offset] = [20_u16, 16].map(u16::to_ne_bytes);
    let header = VnetHeader::from_octets([1, 1, 0, 0, low, high, start[0], start[1], offset[0], offset[1]]);
    (header, packet)
}

#[test]
fn a_superpacket_counts_by_the_packets_that_it_becomes() {
    let mut world = behaving(Manner { mtu: Some(1300), ..Manner::default() });
    let (header, packet) = superpacket(1260);
    assert_eq!(told(&mut world, &header, &packet), None, "40 octets of headers and 1,260");
    let (header, packet) = superpacket(1261);
    assert_eq!(told(&mut world, &header, &packet), answer(1300, &packet));
}

#[test]
fn answers_are_limited_for_each_kind_by_itself() {
    let mut world = behaving(Manner { mtu: Some(1280), ..Manner::default() });
    let six = packet("fd00::1", "fd01::1", 1, 1300);
    let answered = (0..200).filter(|_| told(&mut world, &VnetHeader::NONE, &six).is_some()).count();
    assert_eq!(answered, 50);
    let (moment, mut packets) = (world.moment, Batch::new(1));
    let nowhere = packet("10.0.0.1", "203.0.113.9", 1, 20);
    let mut room = [nowhere.clone(), vec![0; 16]].concat();
    let (shard, out) = world.ends[0].out();
    let refused = shard.depart(&VnetHeader::NONE, (&mut room, nowhere.len()), moment, out).expect_err("no route");
    shard.tell(refused, &nowhere, moment, &mut packets);
    assert_eq!(packets.len(), 1, "host unreachable is told");
}

#[test]
fn padding_ends_at_the_mtu_of_the_route_also_of_what_waited() {
    let mut world = behaving(Manner::default());
    let prefix = "10.1.0.0/24".parse().expect("a prefix");
    world.ends[0].shard.set_mtus(Arc::new(Mtus::new(1420, [(prefix, Some(1299))])));
    for _ in 0..2 {
        assert!(world.crosses(0, 1, &marked(0, 1297)));
        assert_eq!(world.log.last().map(|(_, sent)| sent.octets.len()), Some(1299 + wire::OVERHEAD));
    }
    let beyond = packet("fd00::1", "fd01::1", 1, 1257);
    assert!(world.crosses(0, 1, &beyond));
    assert_eq!(world.log.last().map(|(_, sent)| sent.octets.len()), Some(1312 + wire::OVERHEAD));
}
