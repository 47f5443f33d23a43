//! Addresses that move and vanish, and what strangers and false peers send.

use std::net::UdpSocket as StdSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use turnpike::lab::guard::skip;

use crate::lab::{Pair, SOON};

fn connected() -> Pair {
    let pair = Pair::new("192.0.2.1:51820", "192.0.2.2:51820");
    assert!(pair.left.reaches("10.50.0.2"));
    pair
}

#[test]
fn a_peer_that_moves_is_followed_without_a_handshake() {
    if skip("a_peer_that_moves_is_followed_without_a_handshake") {
        return;
    }
    for (old, new, prefix) in [("192.0.2.1", "192.0.2.77", 24), ("2001:db8::1", "2001:db8::77", 64)] {
        let at = |address: &str| if prefix == 24 { format!("{address}:51820") } else { format!("[{address}]:51820") };
        let right = if prefix == 24 { at("192.0.2.2") } else { at("2001:db8::2") };
        let pair = Pair::new(&at(old), &right);
        assert!(pair.left.reaches("10.50.0.2"));
        pair.left.namespace.ip(&format!("address del {old}/{prefix} dev eth0")).expect("gone");
        pair.left.namespace.address("eth0", &format!("{new}/{prefix}")).expect("an address");
        assert!(pair.left.ping_once("10.50.0.2", 56), "the first packet from the new address passes");
        assert!(pair.right.ping_once("10.50.0.1", 56));
        let link = pair.right.link();
        assert_eq!(link.endpoint.map(|endpoint| endpoint.ip().to_string()), Some(new.into()));
        assert_eq!((link.handshakes, link.endpoint_changes), (1, 1));
    }
}

#[test]
fn a_source_address_that_is_ours_no_more_is_forgotten_at_the_first_error() {
    if skip("a_source_address_that_is_ours_no_more_is_forgotten_at_the_first_error") {
        return;
    }
    for (second, prefix, outer) in [("192.0.2.3", 24, "192.0.2.3:51820"), ("2001:db8::3", 64, "[2001:db8::3]:51820")] {
        let left = if prefix == 24 { "192.0.2.1:51820" } else { "[2001:db8::1]:51820" };
        let pair = Pair::new(left, outer);
        pair.right.namespace.address("eth0", &format!("{second}/{prefix}")).expect("an address");
        assert!(pair.left.reaches("10.50.0.2"));
        assert_eq!(
            pair.left.link().endpoint.map(|endpoint| endpoint.ip().to_string()),
            Some(second.into()),
            "answers leave from the address that was asked"
        );
        pair.right.namespace.ip(&format!("address del {second}/{prefix} dev eth0")).expect("gone");
        assert!(pair.right.ping_once("10.50.0.1", 56), "the first packet passes, from another address");
        assert_eq!(pair.right.drops("send_failed"), 0);
        assert_eq!(pair.right.link().handshakes, 1);
        assert_ne!(pair.left.link().endpoint.map(|endpoint| endpoint.ip().to_string()), Some(second.into()));
    }
}

#[test]
fn a_peer_cannot_send_from_an_address_that_is_not_its_own() {
    if skip("a_peer_cannot_send_from_an_address_that_is_not_its_own") {
        return;
    }
    let pair = connected();
    pair.left.namespace.address("tp0", "10.66.0.1/32").expect("an address");
    pair.right.namespace.route("10.66.0.1", "dev tp0").expect("a route");
    let spoof =
        |from: &str| pair.left.output("ping", &["-n", "-c", "1", "-W", "1", "-I", from, "10.50.0.2"]).status.success();
    assert!(spoof("10.50.0.1"), "canary: its own");
    assert!(!spoof("10.66.0.1"));
    assert_eq!(pair.right.drops("foreign_source"), 1);
    assert!(spoof("10.50.0.1"), "canary again");
}

#[test]
fn traffic_survives_a_flood_of_rubbish() {
    if skip("traffic_survives_a_flood_of_rubbish") {
        return;
    }
    let pair = connected();
    let stop = AtomicBool::new(false);
    let flood = || {
        let socket = StdSocket::bind("0.0.0.0:0").expect("a port");
        let sizes = [0_usize, 1, 31, 32, 64, 92, 148, 149, 1500, 65_507];
        let mut sent = 0_usize;
        while !stop.load(Ordering::Relaxed) {
            let size = sizes[sent % sizes.len()];
            let mut octets: Vec<u8> = (0..size).map(|n| u8::try_from((n * 31 + sent) % 256).expect("small")).collect();
            if let Some(kind) = octets.first_chunk_mut::<4>() {
                *kind = [u8::try_from(sent % 5).expect("small"), 0, 0, 0];
            }
            // A full buffer is no fault of the tunnel's.
            socket.send_to(&octets, "192.0.2.2:51820").ok();
            sent += 1;
            if sent.is_multiple_of(64) {
                thread::park_timeout(Duration::from_millis(1));
            }
        }
        sent
    };
    thread::scope(|scope| {
        let flooder = scope.spawn(|| pair.left.namespace.enter(flood).expect("left"));
        let output = pair.left.output("ping", &["-n", "-c", "40", "-i", "0.05", "-W", "2", "10.50.0.2"]);
        stop.store(true, Ordering::Relaxed);
        let sent = flooder.join().expect("no panic");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(" 0% packet loss"), "{said}");
        assert!(sent > 1000, "canary: there was a flood of {sent}");
    });
    for reason in ["malformed_datagram", "bad_mac", "unknown_receiver"] {
        assert!(pair.right.drops(reason) > 10, "{reason}: {}", pair.right.drops(reason));
    }
    assert_eq!(pair.right.drops("panicked"), 0);
    assert_eq!(pair.left.link().handshakes, 1);
}

#[test]
fn a_destination_without_a_peer_is_answered_as_unreachable() {
    if skip("a_destination_without_a_peer_is_answered_as_unreachable") {
        return;
    }
    let pair = Pair::apart(None, None);
    pair.left.apply();
    for (to, why) in [
        ("10.50.0.99", "Destination Host Unreachable"),
        ("10.50.0.2", "Destination Host Unreachable"),
        ("fd50::99", "Address unreachable"),
        ("fd50::2", "Address unreachable"),
    ] {
        let output = pair.left.output("ping", &["-n", "-c", "1", "-W", "2", to]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(why), "{to}: {said}");
    }
    assert!(pair.left.drops("no_route") >= 2 && pair.left.drops("no_endpoint") >= 2);
}

#[test]
fn a_long_datagram_in_a_session_carries_a_long_packet() {
    if skip("a_long_datagram_in_a_session_carries_a_long_packet") {
        return;
    }
    let pair = connected();
    for side in [&pair.left, &pair.right] {
        side.namespace.ip("link set tp0 mtu 34736").expect("an MTU");
    }
    let crosses = || pair.left.ping_once("10.50.0.2", 34_000);
    assert!(turnpike::lab::guard::wait_until(SOON, crosses), "the new MTU is seen");
    assert_eq!(pair.right.drops("oversized") + pair.right.drops("tun_refused"), 0);
}
