//! What strangers can send, and what it costs.

use std::net::SocketAddr;
use std::time::Duration;

use super::world::{Datagram, SOCKET, Wish, World, packet};
use crate::identity::PrivateKey;
use crate::tunnel::batch::LARGEST;
use crate::tunnel::{Handled, Hop, LinkSlot, Outcome, Priority, Reason};

const LINK: LinkSlot = LinkSlot(0);

/// A pair with a session, and a stranger (2) who knows the public key of 1.
fn with_stranger() -> World {
    let mut world = World::new(3, |_| {});
    world.connect(0, 1, Wish::default(), &["10.1.0.0/16"]);
    world.connect(1, 0, Wish::default(), &["10.0.0.0/16"]);
    world.connect(2, 1, Wish::default(), &["0.0.0.0/0"]);
    let there = packet("10.0.0.1", "10.1.0.1", 1, 20);
    assert!(world.crosses(0, 1, &there));
    world
}

fn initiation(world: &mut World) -> Datagram {
    world.send(2, &packet("10.9.0.1", "10.1.0.1", 1, 20)).expect("waits");
    world.take(2).into_iter().find(|datagram| datagram.kind() == 1).expect("an initiation")
}

fn from(datagram: &Datagram, number: u32) -> Datagram {
    let address = (0x0a00_0000 + number).to_be_bytes();
    Datagram { from: SocketAddr::from((address, 9)), ..datagram.clone() }
}

/// The live session carries both ways, without a new handshake.
fn carries(world: &mut World) {
    let there = packet("10.0.0.1", "10.1.0.1", 1, 20);
    assert!(world.crosses(0, 1, &there));
    let back = packet("10.1.0.1", "10.0.0.1", 1, 20);
    assert!(world.crosses(1, 0, &back));
    assert_eq!(world.stats(0, LINK).handshakes, 1);
}

#[test]
fn a_stranger_gets_no_answer() {
    let mut world = with_stranger();
    let initiation = initiation(&mut world);
    assert_eq!(world.give(1, &initiation), Err(Reason::UnknownPeer));
    assert!(world.take(1).is_empty());
    carries(&mut world);
}

#[test]
fn a_stranger_who_does_not_know_our_key_costs_one_hash() {
    let mut world = with_stranger();
    let mut initiation = initiation(&mut world);
    initiation.octets[120] ^= 1;
    for _ in 0..1000 {
        assert_eq!(world.give(1, &initiation), Err(Reason::BadMac));
    }
    assert!(world.take(1).is_empty());
    carries(&mut world);
}

#[test]
fn a_flood_from_many_addresses_must_prove_them_while_a_thousand_messages_wait() {
    let mut world = with_stranger();
    let initiation = initiation(&mut world);
    let answers: Vec<_> = (0..2000).map(|number| world.bring(1, &from(&initiation, number))).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == Ok(Outcome::Waits)).count(), 1024);
    assert_eq!(answers.iter().filter(|answer| **answer == Err(Reason::Challenged)).count(), 976);
    assert!(world.take(1).iter().all(|datagram| datagram.kind() == 3), "cookies");
    carries(&mut world);
    assert_eq!(world.shake(1), vec![Err(Reason::UnknownPeer); 1024], "they waited while packets passed");
    assert_eq!(world.bring(1, &from(&initiation, 5000)), Err(Reason::Challenged), "load lasts for a second");
    world.skip(Duration::from_secs(1));
    assert_eq!(world.give(1, &from(&initiation, 5001)), Err(Reason::UnknownPeer));
}

#[test]
fn a_message_with_a_wrong_code_does_not_wait() {
    let mut world = with_stranger();
    let mut initiation = initiation(&mut world);
    initiation.octets[120] ^= 1;
    for number in 0..2000 {
        assert_eq!(world.bring(1, &from(&initiation, number)), Err(Reason::BadMac));
    }
    initiation.octets[120] ^= 1;
    assert_eq!(world.bring(1, &initiation), Ok(Outcome::Waits), "nor does it bring about load");
}

#[test]
fn one_flooder_is_challenged_alone() {
    let mut world = with_stranger();
    let initiation = initiation(&mut world);
    let answers: Vec<_> = (0..200).map(|_| world.give(1, &from(&initiation, 1))).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == Err(Reason::UnknownPeer)).count(), 5);
    world.take(1);
    assert_eq!(world.give(1, &from(&initiation, 2)), Err(Reason::UnknownPeer), "another source is heard");
    carries(&mut world);
}

#[test]
fn handshakes_wait_for_room_and_are_not_lost() {
    let mut world = with_stranger();
    world.send(0, &packet("10.0.0.1", "10.1.0.1", 1, 20)).expect("sent");
    world.take(0);
    let initiation = begin(&mut world, 0);
    let moment = world.moment;
    assert_eq!(world.bring(1, &initiation), Ok(Outcome::Waits));
    let path = world.ends[1].shard.link(LINK).and_then(|link| link.path()).expect("a path");
    let (shard, out) = world.ends[1].out();
    while out.has_room() {
        let priority = Priority::Data;
        out.commit(LARGEST, Hop { link: None, socket: SOCKET, path, tos: 0, priority, train: false });
    }
    assert_eq!(shard.handshake(moment, out), None);
    assert!(shard.has_handshakes());
    out.clear();
    assert_eq!(shard.handshake(moment, out), Some(Ok(Handled::Here(LINK))));
    assert_eq!(shard.handshake(moment, out), None);
    assert!(!shard.has_handshakes());
}

#[test]
fn who_was_at_an_address_last_is_tried_first_and_then_everyone() {
    let mut world = World::new(3, |_| {});
    let first = world.connect(1, 0, Wish::default(), &["10.0.0.0/16"]);
    let second = world.connect(1, 2, Wish::default(), &["10.2.0.0/16"]);
    world.connect(0, 1, Wish::default(), &["10.1.0.0/16"]);
    world.connect(2, 1, Wish::default(), &["10.1.0.0/16"]);
    let initiation = begin(&mut world, 0);
    assert_eq!(world.work_off(1, &initiation), Ok(first));
    let there = initiation.from;
    world.settle();
    let others = Datagram { from: there, ..begin(&mut world, 2) };
    assert_eq!(world.work_off(1, &others), Ok(second), "another peer, where the first one was");
    world.take(1);

    let again = begin(&mut world, 0);
    assert_eq!(world.work_off(1, &again), Ok(first), "found by its key");
    world.settle();
    let keys = std::mem::take(&mut world.ends[1].shard.by_key);
    let again = begin(&mut world, 0);
    assert_eq!(world.work_off(1, &again), Ok(first), "found by its address");
    world.settle();
    let elsewhere = from(&begin(&mut world, 0), 1);
    assert_eq!(world.work_off(1, &elsewhere), Err(Reason::UnknownPeer), "canary: no key is known");
    world.ends[1].shard.by_key = keys;
    assert_eq!(world.work_off(1, &elsewhere), Ok(first));
    world.ends[1].shard.remove(first);
    assert_eq!(world.work_off(1, &elsewhere), Err(Reason::UnknownPeer), "who is gone is not tried");
}

#[test]
fn what_is_gone_when_a_messages_turn_comes_is_named() {
    let mut world = with_stranger();
    let initiation = begin(&mut world, 0);
    world.bring(1, &initiation).expect("waits");
    world.ends[1].shard.set_identity(SOCKET, None);
    assert_eq!(world.shake(1), [Err(Reason::NoKey)]);
    let identity = std::sync::Arc::clone(&world.ends[1].identity);
    world.ends[1].shard.set_identity(SOCKET, Some(identity));
    world.give(1, &initiation).expect("answered");
    let response = world.take(1).remove(0);
    world.bring(0, &response).expect("waits");
    world.bring(1, &initiation).expect("waits");
    for end in [0, 1] {
        world.ends[end].shard.remove(LINK);
    }
    assert_eq!(world.shake(0), [Err(Reason::UnknownReceiver)]);
    assert_eq!(world.shake(1), [Err(Reason::UnknownPeer)]);
}

/// An initiation.
fn begin(world: &mut World, end: usize) -> Datagram {
    world.skip(Duration::from_millis(50));
    let moment = world.moment;
    let (shard, out) = world.ends[end].out();
    shard.with_link(LINK, moment, out, crate::tunnel::Link::initiate);
    world.take(end).remove(0)
}

#[test]
fn a_peer_makes_at_most_fifty_sessions_a_second() {
    let mut world = with_stranger();
    let begin = |world: &mut World, after: Duration| {
        world.skip(after);
        let moment = world.moment;
        let (shard, out) = world.ends[0].out();
        shard.with_link(LINK, moment, out, crate::tunnel::Link::initiate);
        let initiation = world.take(0).remove(0);
        let result = world.give(1, &initiation);
        world.settle();
        result
    };
    assert_eq!(begin(&mut world, Duration::from_millis(20)), Ok(Outcome::Waits));
    assert_eq!(begin(&mut world, Duration::from_millis(19)), Err(Reason::PeerLimited));
}

#[test]
fn rubbish_is_dropped_by_cause() {
    let mut world = with_stranger();
    let datagram = |octets: Vec<u8>| Datagram {
        from: SocketAddr::from(([203, 0, 113, 1], 1)),
        to: SocketAddr::from(([203, 0, 113, 2], 1)),
        tos: 0,
        octets,
    };
    let typed = |kind: u8, length: usize| {
        let mut octets = vec![0x5a; length];
        octets[..4].copy_from_slice(&[kind, 0, 0, 0]);
        datagram(octets)
    };
    assert_eq!(world.give(1, &datagram(vec![])), Err(Reason::MalformedDatagram));
    assert_eq!(world.give(1, &typed(9, 100)), Err(Reason::MalformedDatagram));
    assert_eq!(world.give(1, &typed(1, 148)), Err(Reason::BadMac));
    for (kind, length) in [(2, 92), (3, 64), (4, 32), (4, 65_507)] {
        assert_eq!(world.give(1, &typed(kind, length)), Err(Reason::UnknownReceiver));
    }
    carries(&mut world);
}

#[test]
fn oversized_and_forged_data_for_a_live_session_is_refused_and_the_session_lives() {
    let mut world = with_stranger();
    world.send(0, &packet("10.0.0.1", "10.1.0.1", 1, 20)).expect("sent");
    let good = world.take(0).remove(0);
    for length in [32, 33, 100, 1500, 65_000, 65_535] {
        let mut forged = good.clone();
        forged.octets.resize(length, 0xaa);
        assert_eq!(world.give(1, &forged), Err(Reason::Unauthentic), "{length} octets");
    }
    let mut exhausted = good.clone();
    exhausted.octets[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(world.give(1, &exhausted), Err(Reason::CounterExhausted));
    let mut larger = good.clone();
    larger.octets.resize(70_000, 0xaa);
    assert_eq!(world.give(1, &larger), Err(Reason::Oversized));
    assert_eq!(world.drops(1, Reason::Panicked), 0);
    assert_eq!(world.give(1, &good), Ok(Outcome::ToTun(LINK)), "canary: the authentic one passes");
    assert_eq!(world.give(1, &good), Err(Reason::Replayed));
    carries(&mut world);
}

#[test]
fn a_socket_without_a_key_answers_nobody() {
    let mut world = with_stranger();
    let initiation = initiation(&mut world);
    world.ends[1].shard.set_identity(SOCKET, None);
    assert_eq!(world.give(1, &initiation), Err(Reason::NoKey));
}

#[test]
fn secrets_do_not_show_in_debug() {
    let key = PrivateKey::from_octets([0xab; 32]);
    let wish = Wish { preshared: Some(0xcd), ..Wish::default() };
    let world = World::pair(wish, |_| {});
    let identity = crate::tunnel::Identity::new(&key);
    for text in [format!("{:?}", world.ends[0].shard), format!("{identity:?}")] {
        for secret in ["171, 171", "205, 205", "abab", "cdcd"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}
