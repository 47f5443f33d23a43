//! Sessions begin, carry, are renewed and survive.

use std::sync::Arc;
use std::time::Duration;

use super::world::{TICK, Wish, World, packet};
use crate::identity::{PresharedKey, PrivateKey};
use crate::tunnel::{Identity, LinkSlot, Outcome, Priority, Reason, Site};

const LINK: LinkSlot = LinkSlot(0);

fn pair() -> World {
    World::pair(Wish::default(), |_| {})
}

/// A pair with a session.
fn connected() -> World {
    let mut world = pair();
    let there = packet("10.0.0.1", "10.1.0.1", 1, 100);
    assert!(world.crosses(0, 1, &there));
    world
}

#[test]
fn packets_of_both_families_cross_both_ways() {
    let mut world = connected();
    for (source, destination) in [("10.0.0.1", "10.1.0.1"), ("fd00::1", "fd01::1")] {
        let there = packet(source, destination, 2, 77);
        assert!(world.crosses(0, 1, &there));
        let back = packet(destination, source, 3, 0);
        assert!(world.crosses(1, 0, &back));
    }
    for end in [0, 1] {
        assert_eq!(world.stats(end, LINK).handshakes, 1);
        assert_eq!(world.stats(end, LINK).last_handshake, Some(world.moment.wall));
        assert!(world.alive(end));
    }
}

#[test]
fn packets_before_a_session_wait_in_order_and_begin_one_handshake() {
    let mut world = pair();
    for number in 0..200 {
        world.send(0, &packet("10.0.0.1", "10.1.0.1", number, 20)).expect("waits");
    }
    let sent = world.take(0);
    assert_eq!(sent.iter().map(super::world::Datagram::kind).collect::<Vec<_>>(), [1], "one initiation, no data");
    world.give(1, &sent[0]).expect("an initiation");
    world.settle();
    let order: Vec<u8> = world.ends[1].delivered.iter().map(|packet| packet[20]).collect();
    assert_eq!(order, (72..200).collect::<Vec<u8>>(), "the oldest were dropped, the others are in order");
    assert_eq!(world.drops(0, Reason::QueueFull), 72);
    assert_eq!(world.sent(0, 1, Duration::ZERO) + world.sent(1, 1, Duration::ZERO), 1);
}

#[test]
fn the_answering_side_sends_nothing_before_the_initiator_confirmed() {
    let mut world = pair();
    world.send(0, &packet("10.0.0.1", "10.1.0.1", 1, 20)).expect("waits");
    let initiation = world.take(0).remove(0);
    world.give(1, &initiation).expect("answered");
    let response = world.take(1).remove(0);
    assert!(!world.alive(1));
    assert_eq!(world.stats(1, LINK).handshakes, 0);
    world.send(1, &packet("10.1.0.1", "10.0.0.1", 2, 20)).expect("waits");
    assert!(world.take(1).iter().all(|datagram| datagram.kind() != 4), "no data yet");
    world.give(0, &response).expect("a session");
    world.settle();
    assert_eq!(world.ends[0].delivered.len(), 1);
    assert_eq!(world.stats(1, LINK).handshakes, 1);
}

#[test]
fn a_session_carries_for_180_s_to_the_instant_without_a_tick() {
    let mut world = connected();
    let there = packet("10.0.0.1", "10.1.0.1", 1, 100);
    world.skip(Duration::from_secs(180) - Duration::from_nanos(1));
    world.send(0, &there).expect("sealed");
    world.send(0, &there).expect("sealed");
    let [early, late] = world.take(0).try_into().expect("two datagrams");
    assert_eq!(world.give(1, &early), Ok(Outcome::ToTun(LINK)));
    world.skip(Duration::from_nanos(1));
    assert!(!world.alive(0) && !world.alive(1));
    assert_eq!(world.give(1, &late), Err(Reason::NoSession), "nor by what arrives");
    world.send(0, &there).expect("waits");
    assert!(world.take(0).iter().all(|datagram| datagram.kind() == 1), "for a new session");
}

#[test]
fn an_index_is_a_random_number_the_workers_number_and_a_counter() {
    let mut world = pair();
    world.send(1, &packet("10.1.0.1", "10.0.0.1", 1, 20)).expect("waits");
    let initiation = world.take(1).remove(0);
    assert_eq!(initiation.octets[4..6], [1, 1], "first session, worker 1");
    assert_eq!(world.give(0, &initiation), Ok(Outcome::Waits));
    let response = world.take(0).remove(0);
    assert_eq!(response.octets[9], 1, "where a socket filter finds the worker in a response");
    world.give(1, &response).expect("a session");
    let data = world.take(1).remove(0);
    assert_eq!(data.octets[5], 0, "and in data");
}

#[test]
fn every_datagram_counts_with_its_overhead() {
    let mut world = connected();
    // Initiation, keepalive and a packet of 120 octets padded to 128; a response.
    assert_eq!(world.stats(0, LINK).sent_bytes, 148 + 32 + 160);
    assert_eq!(world.stats(0, LINK).sent_packets, 3);
    assert_eq!(world.stats(1, LINK).received_bytes, 148 + 32 + 160);
    assert_eq!(world.stats(1, LINK).received_packets, 3);
    assert_eq!(world.stats(0, LINK).received_bytes, 92);
    world.pass(1, 0, &packet("10.1.0.1", "10.0.0.1", 1, 0));
    assert_eq!(world.stats(0, LINK).received_bytes, 92 + 64);
}

#[test]
fn a_new_preshared_key_costs_no_packet_and_holds_from_the_next_handshake() {
    let mut world = connected();
    let key = |octet| PresharedKey::from_octets([octet; 32]);
    let moment = world.moment;
    for (end, octet) in [(0, 7), (1, 7)] {
        let (shard, out) = world.ends[end].out();
        shard.renew(LINK, key(octet), moment, out);
    }
    let there = packet("10.0.0.1", "10.1.0.1", 1, 100);
    assert!(world.crosses(0, 1, &there));
    assert_eq!(world.stats(0, LINK).handshakes, 1, "the old session goes on");
    world.skip(Duration::from_millis(100));
    let moment = world.moment;
    let (shard, out) = world.ends[0].out();
    shard.with_link(LINK, moment, out, crate::tunnel::Link::initiate);
    world.settle();
    assert_eq!(world.stats(0, LINK).handshakes, 2);
    assert!(world.crosses(0, 1, &there));
    // Another key on one side alone: no handshake succeeds.
    let (shard, out) = world.ends[0].out();
    shard.renew(LINK, key(8), moment, out);
    world.skip(Duration::from_millis(100));
    let moment = world.moment;
    let (shard, out) = world.ends[0].out();
    shard.with_link(LINK, moment, out, crate::tunnel::Link::initiate);
    world.settle();
    assert_eq!(world.stats(0, LINK).handshakes, 2);
    assert!(world.drops(0, Reason::Unauthentic) > 0);
    assert!(world.crosses(0, 1, &there), "and the old session still carries");
}

#[test]
fn a_clock_that_was_put_forward_makes_engines_anew_without_losing_a_packet() {
    let mut world = connected();
    let before = world.take_initiation(0);
    world.moment.wall += Duration::from_secs(3600);
    world.tick(0);
    let there = packet("10.0.0.1", "10.1.0.1", 1, 100);
    assert!(world.crosses(0, 1, &there), "the old session goes on");
    let after = world.take_initiation(0);
    assert_ne!(before[5..8], after[5..8], "another engine, hence another id, begins the next handshake");
    assert!(world.crosses(0, 1, &there));
}

#[test]
fn a_clock_that_was_put_back_changes_nothing() {
    let mut world = connected();
    let before = world.take_initiation(0);
    world.skip(Duration::from_millis(100));
    world.moment.wall -= Duration::from_secs(3600);
    world.tick(0);
    world.settle();
    assert_eq!(before[5..8], world.take_initiation(0)[5..8], "its stamps go on growing; new ones would not");
}

impl World {
    /// Makes `end` begin a handshake, carries it out, and gives the initiation.
    fn take_initiation(&mut self, end: usize) -> Vec<u8> {
        self.skip(Duration::from_millis(50));
        let moment = self.moment;
        let (shard, out) = self.ends[end].out();
        shard.with_link(LINK, moment, out, crate::tunnel::Link::initiate);
        let sent = self.take(end);
        for datagram in &sent {
            self.give(1 - end, datagram).expect("accepted");
        }
        self.settle();
        sent.into_iter().find(|datagram| datagram.kind() == 1).expect("an initiation").octets
    }
}

#[test]
fn another_key_pair_of_ours_begins_anew_at_once() {
    let mut world = connected();
    let key = PrivateKey::generate().expect("entropy");
    let identity = Arc::new(Identity::new(&key));
    let moment = world.moment;
    let (shard, out) = world.ends[0].out();
    shard.set_identity(super::world::SOCKET, Some(Arc::clone(&identity)));
    shard.rekey(LINK, identity, moment, out);
    let sent = world.take(0);
    assert_eq!(sent.iter().map(super::world::Datagram::kind).collect::<Vec<_>>(), [1]);
    assert_eq!(world.give(1, &sent[0]), Err(Reason::UnknownPeer), "the other side does not know the key yet");
    assert!(!world.alive(0));
}

#[test]
fn a_panic_of_one_peer_is_contained_and_its_sessions_begin_anew() {
    let mut world = World::new(3, |_| {});
    world.connect(0, 1, Wish::default(), &["10.1.0.0/16"]);
    world.connect(0, 2, Wish::default(), &["10.2.0.0/16"]);
    for other in [1, 2] {
        world.connect(other, 0, Wish::default(), &["10.0.0.0/16"]);
    }
    let (one, two) = (packet("10.0.0.1", "10.1.0.1", 1, 20), packet("10.0.0.1", "10.2.0.1", 2, 20));
    assert!(world.crosses(0, 1, &one));
    assert!(world.crosses(0, 2, &two));
    world.ends[0].shard.links[0].as_mut().expect("a link").break_engine();
    world.send(0, &one).expect("taken, and lost within");
    assert_eq!(world.drops(0, Reason::Panicked), 1);
    assert!(world.crosses(0, 2, &two), "the other peer's session lives");
    assert_eq!(world.stats(0, LinkSlot(1)).handshakes, 1);
    world.skip(Duration::from_millis(100));
    assert!(world.crosses(0, 1, &one), "and the broken one is back after a handshake");
    assert_eq!(world.stats(0, LINK).handshakes, 2);
}

#[test]
fn the_first_link_that_lives_carries() {
    let mut world = World::new(3, |_| {});
    let first = world.connect(0, 1, Wish::default(), &[]);
    let second = world.connect(0, 2, Wish::default(), &[]);
    for other in [1, 2] {
        world.connect(other, 0, Wish::default(), &["10.0.0.0/16"]);
    }
    let both = vec![first, second];
    world.ends[0].own(Site { links: both.clone(), senders: both }, &["10.9.0.0/16"]);
    world.lost = |datagram| datagram.to.ip() == std::net::IpAddr::from([198, 51, 100, 2]);
    let there = packet("10.0.0.1", "10.9.0.1", 1, 20);
    world.send(0, &there).expect("waits on the first");
    world.settle();
    assert_eq!(world.stats(0, second).handshakes, 1, "the second was tried too");
    assert!(world.crosses(0, 2, &there), "and carries, since the first is dead");
    world.lost = |_| false;
    world.ends[0].shard.remove(first);
    assert!(world.crosses(0, 2, &there), "also when the first is gone");
}

#[test]
fn what_cannot_be_sent_is_dropped_by_cause_and_its_sender_told() {
    let mut world = pair();
    world.ends[0].own(Site::default(), &["10.8.0.0/16"]);
    let cases = [
        (packet("10.0.0.1", "10.7.0.1", 1, 20), Reason::NoRoute),
        (packet("10.0.0.1", "10.8.0.1", 1, 20), Reason::NoLink),
        (packet("fe80::1", "fe80::2", 1, 20), Reason::LinkLocal),
        (vec![0; 40], Reason::MalformedOutgoing),
        (vec![], Reason::MalformedOutgoing),
    ];
    for (packet, reason) in cases {
        let before = world.drops(0, reason);
        assert_eq!(world.send(0, &packet), Err(reason));
        assert_eq!(world.drops(0, reason), before + 1);
    }
    assert!(world.take(0).is_empty());
}

#[test]
fn a_link_without_an_address_says_so() {
    let mut world = pair();
    let config = world.ends[0].shard.link(LINK).expect("a link").config().clone();
    world.ends[0].shard.remove(LINK);
    let slot = world.ends[0].shard.add(config, world.moment.now).expect("room");
    assert_eq!(slot, LINK);
    assert_eq!(world.send(0, &packet("10.0.0.1", "10.1.0.1", 1, 20)), Err(Reason::NoEndpoint));
}

#[test]
fn the_caller_can_choose_the_link() {
    let mut world = connected();
    let mut room = packet("10.0.0.1", "10.55.0.1", 9, 44);
    room.resize(room.len() + 16, 0);
    let moment = world.moment;
    let (shard, out) = world.ends[0].out();
    shard.send_on(LINK, (&mut room, 64), Priority::Control, moment, out).expect("sent");
    assert_eq!(shard.send_on(LinkSlot(7), (&mut room, 64), Priority::Control, moment, out), Err(Reason::NoLink));
    world.ends[1].delivered.clear();
    world.settle();
    assert_eq!(world.ends[1].delivered.len(), 1);
}

#[test]
fn a_persistent_keepalive_begins_a_session_by_itself() {
    let wish = Wish { keepalive: Some(Duration::from_secs(25)), ..Wish::default() };
    let mut world = World::pair(wish, |_| {});
    world.run(TICK);
    assert!(world.alive(0) && world.alive(1));
    let mut quiet = pair();
    quiet.run(TICK);
    assert!(quiet.log.is_empty(), "without it, nothing is sent");
}
