//! Where a peer is: where its last authentic handshake message or packet came from.

use std::net::SocketAddr;

use super::world::{Datagram, Wish, World, packet};
use crate::tunnel::{LinkSlot, Outcome, Reason};

const LINK: LinkSlot = LinkSlot(0);

fn elsewhere() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 9], 4711))
}

fn moved(datagram: &Datagram) -> Datagram {
    Datagram { from: elsewhere(), ..datagram.clone() }
}

/// A pair, and the datagram by which 0 begins, not yet given to 1.
fn begun() -> (World, Datagram) {
    let mut world = World::pair(Wish::default(), |_| {});
    world.send(0, &packet("10.0.0.1", "10.1.0.1", 1, 20)).expect("waits");
    let initiation = world.take(0).remove(0);
    (world, initiation)
}

fn connected() -> World {
    let (mut world, initiation) = begun();
    world.give(1, &initiation).expect("answered");
    world.settle();
    world
}

fn data(world: &mut World) -> Datagram {
    world.send(0, &packet("10.0.0.1", "10.1.0.1", 1, 20)).expect("sent");
    world.take(0).remove(0)
}

#[test]
fn an_initiation_roams() {
    let (mut world, initiation) = begun();
    world.give(1, &moved(&initiation)).expect("answered");
    assert_eq!(world.peer_of(1, LINK), Some(elsewhere()));
    assert_eq!(world.take(1)[0].to, elsewhere(), "the answer goes there");
    assert_eq!(world.stats(1, LINK).endpoint_changes, 1);
}

#[test]
fn a_response_roams() {
    let (mut world, initiation) = begun();
    world.give(1, &initiation).expect("answered");
    let response = world.take(1).remove(0);
    world.give(0, &moved(&response)).expect("a session");
    assert_eq!(world.peer_of(0, LINK), Some(elsewhere()));
}

#[test]
fn data_roams_and_the_answer_leaves_from_the_address_it_came_to() {
    let mut world = connected();
    let mut datagram = moved(&data(&mut world));
    datagram.to = SocketAddr::from(([192, 0, 2, 33], 51820));
    assert_eq!(world.give(1, &datagram), Ok(Outcome::ToTun(LINK)));
    let path = world.ends[1].shard.link(LINK).and_then(|link| link.path()).expect("a path");
    assert_eq!((path.to, path.source), (elsewhere(), Some(datagram.to.ip())));
    world.ends[1].shard.forget_source(LINK);
    let path = world.ends[1].shard.link(LINK).and_then(|link| link.path()).expect("a path");
    assert_eq!((path.to, path.source), (elsewhere(), None));
}

#[test]
fn authentic_data_with_rubbish_inside_roams_and_is_dropped_by_its_own_reason() {
    let mut world = connected();
    let mut rubbish = vec![0x99; 64];
    let moment = world.moment;
    let (shard, out) = world.ends[0].out();
    shard.send_on(LINK, (&mut rubbish, 32), crate::tunnel::Priority::Data, moment, out).expect("sent");
    let datagram = moved(&world.take(0)[0]);
    assert_eq!(world.give(1, &datagram), Err(Reason::MalformedPacket));
    assert_eq!(world.peer_of(1, LINK), Some(elsewhere()));
    assert!(world.ends[1].delivered.len() == 1, "the first packet alone");
}

#[test]
fn a_cookie_does_not_roam() {
    let (mut world, initiation) = begun();
    let before = world.peer_of(0, LINK);
    // Five from one address are within its allowance, the sixth is challenged.
    for _ in 0..5 {
        world.give(1, &initiation).ok();
    }
    world.take(1);
    assert_eq!(world.give(1, &moved_address(&initiation)), Err(Reason::Challenged));
    assert_eq!(world.peer_of(1, LINK), Some(initiation.from), "nor does sending one");
    let cookie = world.take(1).remove(0);
    assert_eq!(cookie.kind(), 3);
    assert_eq!(world.give(0, &Datagram { from: elsewhere(), ..cookie.clone() }), Ok(Outcome::Consumed));
    assert_eq!(world.peer_of(0, LINK), before);
    let mut forged = cookie;
    forged.octets[40] ^= 1;
    assert_eq!(world.give(0, &forged), Err(Reason::Unauthentic));
}

/// The same host, another port: still the same source for its allowance.
fn moved_address(datagram: &Datagram) -> Datagram {
    Datagram { from: SocketAddr::new(datagram.from.ip(), 9), ..datagram.clone() }
}

#[test]
fn what_is_not_authentic_does_not_roam() {
    let mut world = connected();
    let home = world.peer_of(1, LINK);
    let good = data(&mut world);
    let mut forged = moved(&good);
    *forged.octets.last_mut().expect("octets") ^= 1;
    assert_eq!(world.give(1, &forged), Err(Reason::Unauthentic));
    assert_eq!(world.peer_of(1, LINK), home);
    assert_eq!(world.give(1, &good), Ok(Outcome::ToTun(LINK)));
    assert_eq!(world.give(1, &moved(&good)), Err(Reason::Replayed), "nor does a replay");
    assert_eq!(world.peer_of(1, LINK), home);
    let (mut world, initiation) = begun();
    world.give(1, &initiation).expect("answered");
    world.skip(std::time::Duration::from_secs(1));
    assert_eq!(world.give(1, &moved(&initiation)), Err(Reason::StaleHandshake), "nor a replayed initiation");
    assert_eq!(world.peer_of(1, LINK), Some(initiation.from));
}
