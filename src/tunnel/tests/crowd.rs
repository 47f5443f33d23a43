//! Many links at once.

use std::sync::Arc;
use std::time::Duration;

use super::world::{End, SOCKET, Wish, World, packet};
use crate::identity::PrivateKey;
use crate::tunnel::{LinkConfig, LinkSlot, Manner, Moment, Priority, Reason};

/// Gives an endpoint links to peers that nobody is.
fn strangers(end: &mut End, links: u32, moment: Moment) -> Vec<LinkSlot> {
    let address = "203.0.113.1:1".parse().expect("an address");
    let add = |number: u32| {
        let octets: Vec<u8> = (number + 1).to_be_bytes().repeat(8);
        let key = PrivateKey::from_octets(octets.try_into().expect("32 octets")).public();
        let identity = Arc::clone(&end.identity);
        let config = LinkConfig { socket: SOCKET, identity, key, preshared: None, manner: Manner::default() };
        let slot = end.shard.add(config, moment.now).expect("room");
        end.shard.place(slot, address);
        slot
    };
    (0..links).map(add).collect()
}

#[test]
fn packets_that_wait_on_many_links_take_8_mebioctets_at_most() {
    let mut world = World::new(1, |_| {});
    let moment = world.moment;
    let links = strangers(&mut world.ends[0], 100, moment);
    for link in &links {
        for number in 0..128 {
            let mut room = packet("10.0.0.1", "10.1.0.1", number, 1380);
            room.resize(1416, 0);
            let (shard, out) = world.ends[0].out();
            shard.send_on(*link, (&mut room, 1400), Priority::Data, moment, out).expect("waits, or is counted");
            out.clear();
        }
    }
    let fit = (8 << 20) / 1400;
    assert_eq!(world.ends[0].shard.stored, fit * 1400);
    assert_eq!(world.drops(0, Reason::QueueFull), 12_800 - u64::try_from(fit).expect("few"));
    let shard = &mut world.ends[0].shard;
    links.into_iter().for_each(|link| shard.remove(link));
    assert_eq!(shard.stored, 0);
}

#[test]
fn what_waited_and_left_makes_room_again() {
    let mut world = World::pair(Wish::default(), |_| {});
    world.send(0, &packet("10.0.0.1", "10.1.0.1", 1, 100)).expect("waits");
    assert_eq!(world.ends[0].shard.stored, 120);
    world.settle();
    assert_eq!(world.ends[0].shard.stored, 0);
    assert_eq!(world.ends[1].delivered.len(), 1);
}

#[test]
fn the_places_and_numbers_of_links_that_go_are_used_again() {
    let mut world = World::new(1, |_| {});
    let moment = world.moment;
    let end = &mut world.ends[0];
    for _ in 0..5 {
        let links = strangers(end, 50, moment);
        assert_eq!(links.iter().map(|link| link.0).max(), Some(49));
        links.into_iter().for_each(|link| end.shard.remove(link));
    }
    assert!(end.shard.next_tick() > moment.now + Duration::from_millis(500), "nobody is left to be ticked");
}
