//! Which links are ticked, and when.

use std::sync::Arc;
use std::time::Duration;

use super::world::{SOCKET, TICK, Wish, World, packet};
use crate::identity::PrivateKey;
use crate::tunnel::batch::LARGEST;
use crate::tunnel::{Hop, LinkConfig, LinkSlot, Manner, Priority};

const LINK: LinkSlot = LinkSlot(0);

fn there() -> Vec<u8> {
    packet("10.0.0.1", "10.1.0.1", 1, 100)
}

/// Whether the endpoint's link is ticked within 200 ms; else it turns once a second.
fn is_ticked(world: &World, end: usize) -> bool {
    world.ends[end].shard.next_tick() <= world.moment.now + TICK
}

#[test]
fn a_link_is_ticked_from_its_first_packet_on_at_both_ends() {
    let mut world = World::pair(Wish::default(), |_| {});
    world.run(TICK);
    assert!(!is_ticked(&world, 0) && !is_ticked(&world, 1), "nothing to do");
    world.send(0, &there()).expect("waits");
    assert!(is_ticked(&world, 0) && !is_ticked(&world, 1));
    world.settle();
    assert!(is_ticked(&world, 0) && is_ticked(&world, 1));
}

#[test]
fn a_link_that_wants_a_session_is_ticked_when_its_peers_address_is_known() {
    let mut world = World::new(2, |_| {});
    let (key, identity) = (world.ends[1].key.public(), Arc::clone(&world.ends[0].identity));
    let restless = Manner { keepalive: Some(Duration::from_secs(25)), ..Manner::default() };
    let config = LinkConfig { socket: SOCKET, identity, key, preshared: None, manner: Manner::default() };
    let slot = world.ends[0].shard.add(config, world.moment.now).expect("room");
    world.ends[0].shard.tune(slot, restless);
    assert!(!is_ticked(&world, 0));
    let address = world.ends[1].address;
    world.ends[0].shard.place(slot, address);
    assert!(is_ticked(&world, 0));
    world.ends[0].shard.tune(slot, Manner::default());
    world.run(TICK);
    assert!(!is_ticked(&world, 0), "it was not restless any more when its turn came");
    world.ends[0].shard.tune(slot, restless);
    assert!(is_ticked(&world, 0));
    world.ends[0].shard.remove(slot);
    world.run(TICK);
    assert!(!is_ticked(&world, 0));
}

#[test]
fn a_handshake_for_which_there_was_no_room_begins_at_the_next_tick() {
    let mut world = World::pair(Wish::default(), |_| {});
    let moment = world.moment;
    let (shard, out) = world.ends[0].out();
    while out.has_room() {
        let path = shard.link(LINK).and_then(|link| link.path()).expect("a path");
        let priority = Priority::Data;
        out.commit(LARGEST, Hop { link: None, socket: SOCKET, path, tos: 0, priority, train: false });
    }
    let mut room = there();
    let length = room.len();
    room.resize(length + 16, 0);
    shard.send_on(LINK, (&mut room, length), Priority::Data, moment, out).expect("waits");
    out.clear();
    world.run(TICK);
    assert_eq!(world.ends[1].delivered, [there()]);
}

#[test]
fn a_thousand_handshakes_that_are_due_at_once_begin_in_portions() {
    let mut world = World::new(1, |_| {});
    let address = "198.51.100.2:1".parse().expect("an address");
    let end = &mut world.ends[0];
    let manner = Manner { warm: true, ..Manner::default() };
    for number in 0..1000_u32 {
        let octets: Vec<u8> = number.to_be_bytes().repeat(8);
        let key = PrivateKey::from_octets(octets.try_into().expect("32 octets")).public();
        let identity = Arc::clone(&end.identity);
        let config = LinkConfig { socket: SOCKET, identity, key, preshared: None, manner };
        let slot = end.shard.add(config, world.moment.now).expect("room");
        end.shard.place(slot, address);
    }
    world.skip(TICK);
    let moment = world.moment;
    let (shard, out) = world.ends[0].out();
    let mut portions = 0;
    let mut begun = 0;
    while shard.next_tick() <= moment.now {
        shard.tick(moment, out);
        assert!(out.len() <= 4, "{} at once", out.len());
        begun += out.len();
        portions += 1;
        out.clear();
    }
    assert_eq!(begun, 1000);
    assert!((250..=251).contains(&portions), "{portions}");
}
