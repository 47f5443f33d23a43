//! Who may send from which address: the owner by the longest match over all sites.

use super::world::{Wish, World, packet};
use crate::tunnel::{LinkSlot, Outcome, Priority, Reason, Site};

/// 0 is the hub. 1 owns 10.0.0.0/8, 2 owns 10.1.0.0/16 inside it.
fn hub() -> World {
    let mut world = World::new(3, |_| {});
    world.connect(0, 1, Wish::default(), &["10.0.0.0/8"]);
    world.connect(0, 2, Wish::default(), &["10.1.0.0/16"]);
    for edge in [1, 2] {
        world.connect(edge, 0, Wish::default(), &["0.0.0.0/0", "::/0"]);
    }
    world
}

/// Whether the hub lets a packet of `edge` with this source through.
fn passes(world: &mut World, edge: usize, source: &str, destination: &str) -> bool {
    let sent = packet(source, destination, 5, 30);
    world.pass(edge, 0, &sent) == [sent]
}

#[test]
fn a_peer_with_a_wide_prefix_cannot_speak_for_anothers_narrow_one() {
    let mut world = hub();
    assert!(passes(&mut world, 1, "10.2.0.1", "10.1.0.1"), "canary: its own");
    assert!(passes(&mut world, 2, "10.1.0.1", "10.2.0.1"), "canary: its own");
    assert!(!passes(&mut world, 1, "10.1.0.1", "10.2.0.1"));
    assert!(!passes(&mut world, 2, "10.2.0.1", "10.1.0.1"));
    assert_eq!(world.drops(0, Reason::ForeignSource), 2);
    assert!(passes(&mut world, 1, "10.2.0.1", "10.1.0.1"), "canary again");
}

#[test]
fn an_address_that_nobody_owns_is_dropped() {
    let mut world = hub();
    assert!(passes(&mut world, 1, "10.2.0.1", "10.1.0.1"), "canary");
    for source in ["11.0.0.1", "fd00::1", "0.0.0.0", "255.255.255.255"] {
        assert!(!passes(&mut world, 1, source, if source.contains(':') { "fd00::2" } else { "10.1.0.1" }));
    }
    assert_eq!(world.drops(0, Reason::ForeignSource), 4);
}

#[test]
fn a_relay_speaks_for_the_sites_that_name_it() {
    let mut world = hub();
    let site = Site { links: vec![], senders: vec![LinkSlot(0)] };
    world.ends[0].own(site, &["172.16.0.0/12"]);
    assert!(passes(&mut world, 1, "172.16.0.1", "10.1.0.1"));
    assert!(!passes(&mut world, 2, "172.16.0.1", "10.1.0.1"));
    assert_eq!(world.send(0, &packet("10.0.0.1", "172.16.0.1", 1, 1)), Err(Reason::NoLink), "but packets go not there");
}

#[test]
fn link_local_packets_are_the_workers_and_never_reach_the_device() {
    let mut world = hub();
    assert!(passes(&mut world, 1, "10.2.0.1", "10.1.0.1"), "canary");
    let mut local = |source: &str, destination: &str| {
        let sent = packet(source, destination, 1, 20);
        let length = sent.len();
        let mut room = [sent, vec![0; 16]].concat();
        let moment = world.moment;
        let (shard, out) = world.ends[1].out();
        shard.send_on(LinkSlot(0), (&mut room, length), Priority::Control, moment, out).expect("sent");
        let datagram = world.take(1).remove(0);
        world.give(0, &datagram)
    };
    assert_eq!(local("fe80::1", "fe80::2"), Ok(Outcome::ToLocal(LinkSlot(0))));
    assert_eq!(local("169.254.0.1", "169.254.0.2"), Ok(Outcome::ToLocal(LinkSlot(0))));
    assert_eq!(local("10.2.0.1", "169.254.0.2"), Err(Reason::ForeignSource));
    assert_eq!(local("fe80::1", "fd00::1"), Err(Reason::ForeignSource));
    assert_eq!((world.ends[0].local.len(), world.ends[0].delivered.len()), (2, 0));
}
