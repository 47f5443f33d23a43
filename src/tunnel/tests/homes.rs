//! Handshakes of which another worker's peer is one end: admitted by one shard, answered by another.

use std::sync::Arc;

use super::world::{Datagram, SOCKET, Wish, World, packet};
use crate::tunnel::{
    Arrival, Batch, Foreign, Handled, Handshake, Homes, Hop, LinkSlot, Moment, Outcome, Path, Reason, Shard,
};

const LINK: LinkSlot = LinkSlot(0);
const HOME: Foreign = Foreign { worker: 1, link: 7 };

/// The worker that admits initiations for end 1, which serves end 0.
struct Door {
    shard: Shard,
    packets: Batch<Outcome>,
    out: Batch<Hop>,
}

impl Door {
    fn of(world: &World) -> Self {
        let mut shard = Shard::new(2, 0xd002, true, world.moment);
        shard.set_identity(SOCKET, Some(Arc::clone(&world.ends[1].identity)));
        shard.set_homes(Arc::new(Homes::new(vec![1], [((SOCKET, world.ends[0].key.public()), HOME)])));
        Self { shard, packets: Batch::new(2), out: Batch::new(2) }
    }

    fn bring(&mut self, datagram: &Datagram, moment: Moment) -> Result<Outcome, Reason> {
        let via = Path { to: datagram.from, source: Some(datagram.to.ip()) };
        let arrival = Arrival { socket: SOCKET, via, tos: 0, datagram: &datagram.octets };
        self.shard.ingress(arrival, moment, &mut self.packets, &mut self.out)
    }

    /// The initiation that waits, which belongs elsewhere.
    fn pass_on(&mut self, moment: Moment) -> Handshake {
        match self.shard.handshake(moment, &mut self.out) {
            Some(Ok(Handled::Elsewhere(HOME, message))) => message,
            other => panic!("not handed over: {other:?}"),
        }
    }
}

/// A pair, and an initiation of 0 for 1 with the packet that waits for its answer.
fn beginning() -> (World, Datagram, Vec<u8>) {
    let mut world = World::pair(Wish::default(), |_| {});
    let waits = packet("10.0.0.1", "10.1.0.1", 1, 20);
    world.send(0, &waits).expect("kept");
    let initiation = world.take(0).remove(0);
    (world, initiation, waits)
}

#[test]
fn an_initiation_of_another_workers_peer_is_admitted_here_and_answered_there() {
    let (mut world, initiation, waits) = beginning();
    let mut door = Door::of(&world);
    let moment = world.moment;
    assert_eq!(door.bring(&initiation, moment), Ok(Outcome::Waits));
    let message = door.pass_on(moment);
    assert!(door.out.is_empty(), "it is not answered here");
    assert_eq!(world.ends[1].shard.take_admitted(LINK, message.arrival(), moment.now), Ok(Outcome::Waits));
    assert!(world.ends[1].shard.has_handshakes());
    assert_eq!(world.shake(1), [Ok(LINK)]);
    world.settle();
    assert_eq!(world.ends[1].delivered, [waits]);
}

#[test]
fn an_initiation_of_nobodys_peer_is_handed_to_nobody() {
    let (world, initiation, _) = beginning();
    let mut door = Door::of(&world);
    door.shard.set_homes(Arc::default());
    assert_eq!(door.bring(&initiation, world.moment), Ok(Outcome::Waits));
    assert_eq!(door.shard.handshake(world.moment, &mut door.out), Some(Err(Reason::UnknownPeer)));
}

#[test]
fn who_has_another_place_by_now_is_found_all_the_same_and_who_is_gone_is_not() {
    let (mut world, initiation, waits) = beginning();
    let (mut door, moment) = (Door::of(&world), world.moment);
    door.bring(&initiation, moment).expect("admitted");
    let message = door.pass_on(moment);
    let other = LinkSlot(9);
    assert_eq!(world.ends[1].shard.take_admitted(other, message.arrival(), moment.now), Ok(Outcome::Waits));
    assert_eq!(world.shake(1), [Ok(LINK)]);
    world.settle();
    assert_eq!(world.ends[1].delivered, [waits]);
    world.ends[1].shard.take_admitted(LINK, message.arrival(), moment.now).expect("waits");
    world.ends[1].shard.remove(LINK);
    assert_eq!(world.shake(1), [Err(Reason::UnknownPeer)]);
}

#[test]
fn where_the_owner_lags_behind_everyone_must_prove_at_the_door() {
    let (mut world, initiation, _) = beginning();
    let (mut door, moment) = (Door::of(&world), world.moment);
    assert_eq!(door.bring(&initiation, moment), Ok(Outcome::Waits), "canary: nobody lags behind");
    let message = door.pass_on(moment);
    let owner = &mut world.ends[1].shard;
    for _ in 0..1023 {
        owner.take_admitted(LINK, message.arrival(), moment.now).expect("a place");
    }
    assert!(!owner.lags());
    owner.take_admitted(LINK, message.arrival(), moment.now).expect("a place");
    assert!(owner.lags());
    door.shard.lags_elsewhere(moment.now);
    assert_eq!(door.bring(&initiation, moment), Err(Reason::Challenged));
    world.skip(std::time::Duration::from_secs(1));
    assert_eq!(door.bring(&initiation, world.moment), Ok(Outcome::Waits), "it caught up");
}
