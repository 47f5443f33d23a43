//! The tunnel's time limits, on a clock that the test advances: boringtun's own is replaced (`mock-clock`), hence a
//! build of its own: `cargo test --features mock-clock --test clock`.

#[path = "../../src/tunnel/tests/world.rs"]
mod world;

use std::net::SocketAddr;
use std::time::Duration;

use mock_instant::MockClock;
use turnpike::tunnel::{LinkSlot, Reason};
pub(crate) use turnpike::{identity, net, tunnel};
use world::{Datagram, TICK, Wish, World, packet};

const LINK: LinkSlot = LinkSlot(0);
const WARM: Wish = Wish { keepalive: None, warm: true, preshared: None };

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn pair(wish: Wish) -> World {
    World::pair(wish, MockClock::advance)
}

fn there() -> Vec<u8> {
    packet("10.0.0.1", "10.1.0.1", 1, 100)
}

fn back() -> Vec<u8> {
    packet("10.1.0.1", "10.0.0.1", 2, 100)
}

/// A pair with a session that 0 began.
fn connected(wish: Wish) -> World {
    let mut world = pair(wish);
    assert!(world.crosses(0, 1, &there()));
    world
}

#[test]
fn traffic_goes_on_over_every_rekey_without_a_lost_packet() {
    let mut world = connected(Wish::default());
    for _ in 0..3000 {
        assert!(world.crosses(0, 1, &there()), "at {:?}", world.elapsed());
        assert!(world.crosses(1, 0, &back()), "at {:?}", world.elapsed());
        world.run(TICK);
    }
    assert_eq!(world.stats(0, LINK).handshakes, 6, "the first, and one each 120 s in 600 s");
    assert_eq!(world.sent(1, 1, Duration::ZERO), 0, "by the initiator alone");
}

#[test]
fn a_session_is_rejected_after_180_s() {
    let mut world = connected(Wish::default());
    world.run(seconds(1));
    world.send(0, &there()).expect("sealed");
    let late = world.take(0).remove(0);
    world.lost = |_| true;
    world.run(seconds(178));
    assert!(world.alive(1));
    world.run(seconds(2));
    assert!(!world.alive(1) && !world.alive(0));
    assert_eq!(world.give(1, &late), Err(Reason::NoSession));
}

#[test]
fn a_failing_handshake_is_tried_for_90_s_and_then_nothing_is_sent() {
    let mut world = pair(Wish::default());
    world.lost = |_| true;
    world.send(0, &there()).expect("waits");
    world.run(seconds(91));
    let tried = world.sent(0, 1, Duration::ZERO);
    assert!((17..=19).contains(&tried), "every 5 s: {tried}");
    assert_eq!(world.drops(0, Reason::QueueExpired), 1, "what waited is dropped and counted");
    world.run(seconds(300));
    assert_eq!(world.sent(0, 1, Duration::ZERO), tried);
    world.lost = |_| false;
    assert!(world.crosses(0, 1, &there()), "the next packet begins again");
}

#[test]
fn a_warm_link_begins_again_after_90_s_by_itself() {
    let mut world = pair(WARM);
    world.lost = |_| true;
    world.run(seconds(91));
    let given_up = world.elapsed();
    world.run(seconds(6));
    assert!(world.sent(0, 1, given_up) >= 1, "within 5 s of pause");
    world.lost = |_| false;
    world.run(seconds(6));
    assert!(world.alive(0) && world.alive(1));
}

#[test]
fn two_ends_that_expire_together_do_not_begin_together() {
    let mut world = pair(WARM);
    world.lost = |_| true;
    world.run(seconds(100));
    let first = |end: usize| {
        let from = world.ends[end].address;
        let after = |(at, datagram): &&(Duration, Datagram)| *at > seconds(89) && datagram.from == from;
        world.log.iter().find(after).map(|(at, _)| *at).expect("begun again")
    };
    assert_ne!(first(0), first(1));
}

#[test]
fn after_540_s_of_silence_the_first_packet_brings_a_session() {
    let mut world = connected(Wish::default());
    world.run(seconds(600));
    assert!(!world.alive(0) && !world.alive(1));
    let before = world.log.len();
    world.run(seconds(600));
    assert_eq!(world.log.len(), before, "silence");
    assert!(world.crosses(0, 1, &there()));
    world.run(seconds(700));
    assert!(world.crosses(1, 0, &back()), "from either end");
}

#[test]
fn a_handshake_that_begins_just_before_540_s_is_not_forgotten() {
    let mut world = pair(Wish::default());
    world.run(seconds(538));
    world.lost = |_| true;
    world.send(0, &there()).expect("waits");
    world.run(seconds(3));
    world.lost = |_| false;
    world.run(seconds(6));
    assert_eq!(world.ends[1].delivered, [there()]);
}

#[test]
fn a_warm_link_lives_for_hours_with_one_handshake_each_120_s() {
    let mut world = connected(WARM);
    for _ in 0..120 {
        world.run(seconds(30));
        assert!(world.alive(0) && world.alive(1), "at {:?}", world.elapsed());
    }
    let handshakes = world.stats(0, LINK).handshakes;
    assert!((27..=31).contains(&handshakes), "{handshakes} in an hour");
    assert!(world.crosses(1, 0, &back()));
}

#[test]
fn keepalives_on_a_warm_link_come_each_10_s_from_both_ends_and_only_with_a_session() {
    let mut world = connected(WARM);
    let begun = world.elapsed() + TICK;
    world.run(seconds(100));
    for end in [0, 1] {
        let sent = world.sent(end, 4, begun);
        assert!((9..=11).contains(&sent), "{sent} from {end}");
    }
    let mut dead = pair(WARM);
    dead.lost = |_| true;
    dead.run(seconds(100));
    assert_eq!(dead.sent(0, 4, Duration::ZERO) + dead.sent(1, 4, Duration::ZERO), 0);
    let mut cold = connected(Wish::default());
    cold.run(seconds(1));
    assert!(cold.crosses(0, 1, &there()));
    let begun = cold.elapsed() + TICK;
    cold.run(seconds(100));
    // One, 10 s after the data: WireGuard's passive keepalive.
    assert_eq!(cold.sent(0, 4, begun) + cold.sent(1, 4, begun), 1);
}

#[test]
fn the_first_packet_after_a_pause_makes_no_needless_handshake_on_a_warm_link() {
    let mut world = connected(WARM);
    world.run(seconds(60));
    assert!(world.crosses(0, 1, &there()));
    world.run(seconds(3));
    assert_eq!(world.stats(0, LINK).handshakes, 1);
    // What it avoids: boringtun takes the pause for silence of the peer (its issue 363).
    let mut cold = connected(Wish::default());
    cold.run(seconds(60));
    assert!(cold.crosses(0, 1, &there()));
    cold.run(seconds(3));
    assert_eq!(cold.stats(0, LINK).handshakes, 2);
}

#[test]
fn a_persistent_keepalive_keeps_its_interval_and_the_session() {
    let mut world = connected(Wish { keepalive: Some(seconds(25)), ..Wish::default() });
    let begun = world.elapsed();
    world.run(seconds(600));
    let sent = world.sent(0, 4, begun) + world.sent(1, 4, begun);
    assert!((22..=60).contains(&sent), "{sent}");
    assert!(world.alive(0) && world.alive(1));
    assert!(world.stats(0, LINK).handshakes <= 6, "{:?}", world.stats(0, LINK));
}

#[test]
fn time_passes_before_a_handshake_message_is_taken() {
    let mut world = pair(Wish::default());
    // Nobody ticks for 100 s, as on a machine that was suspended.
    world.skip(seconds(100));
    assert!(world.crosses(0, 1, &there()));
    world.run(seconds(100));
    assert!(world.alive(1), "its session is 100 s old, not 200");
    assert_eq!(world.stats(1, LINK).handshakes, 1);
}

#[test]
fn under_a_flood_a_peer_that_proves_its_address_is_let_in() {
    let mut world = World::new(3, MockClock::advance);
    world.connect(0, 1, Wish::default(), &["10.1.0.0/16"]);
    world.connect(1, 0, Wish::default(), &["10.0.0.0/16"]);
    world.connect(2, 1, Wish::default(), &["0.0.0.0/0"]);
    world.send(2, &there()).expect("waits");
    let stranger = world.take(2).remove(0);
    world.lost = |datagram| datagram.from.ip() == std::net::IpAddr::from([198, 51, 100, 3]);
    let mut number = 0;
    let mut flood = |world: &mut World| {
        for _ in 0..1100 {
            number += 1;
            let from = SocketAddr::from((u32::to_be_bytes(0x0b00_0000 + number), 9));
            world.bring(1, &Datagram { from, ..stranger.clone() }).ok();
        }
    };
    flood(&mut world);
    world.send(0, &there()).expect("waits");
    world.settle();
    for tick in 0..60 {
        world.skip(TICK);
        // Before the peer's own message, and so often that load never ends.
        if tick % 4 == 0 {
            flood(&mut world);
        }
        for end in [0, 1] {
            world.tick(end);
        }
        world.settle();
    }
    assert!(world.drops(1, Reason::Challenged) > 1000, "canary: there was a flood");
    assert_eq!(world.stats(0, LINK).handshakes, 1);
    assert_eq!(world.ends[1].delivered, [there()]);
}

#[test]
fn with_one_datagram_in_ten_lost_the_tunnel_never_stays_deaf() {
    let mut world = connected(WARM);
    world.lost = |datagram| datagram.octets.iter().map(|octet| u32::from(*octet)).sum::<u32>() % 10 == 0;
    let mut deaf = 0;
    for _ in 0..1800 {
        let came = world.crosses(0, 1, &there());
        deaf = if came { 0 } else { deaf + 1 };
        assert!(deaf < 15, "deaf for {deaf} s at {:?}", world.elapsed());
        world.run(seconds(1));
    }
}
