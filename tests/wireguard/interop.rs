//! Tunnels between turnpike and wireguard-go: either begins, either family outside, both inside.

use std::net::IpAddr;
use std::time::Duration;

use turnpike::lab::guard::wait_until;

use crate::bench::{Bench, Node, SOON, Wire};
use crate::engine::{Engine, pair, possible};

use Engine::{Turnpike, WireguardGo};

/// Both families inside, from the end that knows the other's address, then back.
fn both_ways(left: &Node<'_>, right: &Node<'_>) {
    for to in ["10.9.0.2", "fd09::2"] {
        assert!(left.reaches(to), "{to}\nleft: {}\nright: {}", left.process.log(), right.process.log());
    }
    for to in ["10.9.0.1", "fd09::1"] {
        assert!(right.reaches(to), "{to}\nleft: {}\nright: {}", left.process.log(), right.process.log());
    }
}

fn carries(engines: [Engine; 2], outer: &str) {
    let (bench, wire) = (Bench::new(), Wire::new());
    let outer: IpAddr = outer.parse().expect("an address");
    let [left, right] = pair(&bench, &wire, engines, outer);
    both_ways(&left, &right);
    let first = left.handshake(&right.key);
    assert_ne!(first, 0);
    assert!(right.handshake(&left.key).abs_diff(first) <= 1, "both ends tell the time of the same handshake");
    let endpoint = right.shown("endpoints", &left.key).expect("an endpoint that was learnt");
    assert_eq!(endpoint.starts_with('['), outer.is_ipv6(), "{endpoint}");
    let transfer = left.wg("show", "transfer").expect("counters");
    let counted: Vec<u64> = transfer.split_ascii_whitespace().skip(1).filter_map(|text| text.parse().ok()).collect();
    assert!(counted.len() == 2 && counted.iter().all(|octets| *octets > 500), "{transfer}");
}

#[test]
fn turnpike_begins_over_ipv4() {
    if possible("turnpike_begins_over_ipv4") {
        carries([Turnpike, WireguardGo], "192.0.2.2");
    }
}

#[test]
fn turnpike_begins_over_ipv6() {
    if possible("turnpike_begins_over_ipv6") {
        carries([Turnpike, WireguardGo], "2001:db8::2");
    }
}

#[test]
fn wireguard_go_begins_over_ipv4() {
    if possible("wireguard_go_begins_over_ipv4") {
        carries([WireguardGo, Turnpike], "192.0.2.2");
    }
}

#[test]
fn wireguard_go_begins_over_ipv6() {
    if possible("wireguard_go_begins_over_ipv6") {
        carries([WireguardGo, Turnpike], "2001:db8::2");
    }
}

#[test]
fn turnpike_speaks_with_itself() {
    if possible("turnpike_speaks_with_itself") {
        carries([Turnpike, Turnpike], "192.0.2.2");
    }
}

#[test]
fn a_preshared_key_must_be_the_same_on_both_ends() {
    if !possible("a_preshared_key_must_be_the_same_on_both_ends") {
        return;
    }
    for engines in [[Turnpike, WireguardGo], [WireguardGo, Turnpike]] {
        let (bench, wire) = (Bench::new(), Wire::new());
        let [left, right] = pair(&bench, &wire, engines, "192.0.2.2".parse().expect("an address"));
        let (one, other) = (bench.preshared("one"), bench.preshared("other"));
        left.set(&format!("peer {} preshared-key {one}", right.key));
        right.set(&format!("peer {} preshared-key {other}", left.key));
        assert!(left.is_deaf_to("10.9.0.2"));
        right.set(&format!("peer {} preshared-key {one}", left.key));
        both_ways(&left, &right);
        assert_ne!(left.shown("preshared-keys", &right.key).as_deref(), Some("(none)"));
    }
}

/// The end of the wire that has address `192.0.2.OLD` gets another one, as a laptop that changes networks.
fn moves(node: &Node<'_>, old: u8, new: u8) {
    node.at.ip(&format!("address add 192.0.2.{new}/24 dev eth0")).expect("the new address");
    node.at.ip(&format!("address del 192.0.2.{old}/24 dev eth0")).expect("the old one");
    // Deleting the first address of a subnet deletes the others unless promote_secondaries is set.
    drop(node.at.ip(&format!("address add 192.0.2.{new}/24 dev eth0")));
}

#[test]
fn a_tunnel_survives_either_end_changing_its_address() {
    if !possible("a_tunnel_survives_either_end_changing_its_address") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    let [left, right] = pair(&bench, &wire, [Turnpike, WireguardGo], "192.0.2.2".parse().expect("an address"));
    both_ways(&left, &right);
    let handshake = left.handshake(&right.key);
    moves(&left, 1, 31);
    assert!(left.reaches("10.9.0.2"), "{}", left.process.log());
    assert!(right.shown("endpoints", &left.key).is_some_and(|at| at.starts_with("192.0.2.31:")));
    assert!(right.reaches("10.9.0.1"));
    moves(&right, 2, 32);
    // This wireguard-go clings to a source address that is gone, but not over another port.
    right.set("listen-port 51821");
    // Only the one that moved can tell.
    assert!(right.reaches("10.9.0.1"), "{}", left.process.log());
    assert_eq!(left.shown("endpoints", &right.key).as_deref(), Some("192.0.2.32:51821"));
    assert!(left.reaches("fd09::2"));
    assert_eq!(left.handshake(&right.key), handshake, "by the same session");
}

#[test]
fn a_tunnel_moves_between_the_families() {
    if !possible("a_tunnel_moves_between_the_families") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    let [left, right] = pair(&bench, &wire, [Turnpike, WireguardGo], "192.0.2.2".parse().expect("an address"));
    both_ways(&left, &right);
    left.set(&format!("peer {} endpoint [2001:db8::2]:51820", right.key));
    assert!(left.reaches("10.9.0.2"));
    assert!(wait_until(SOON, || right
        .shown("endpoints", &left.key)
        .is_some_and(|at| at.starts_with("[2001:db8::1]:"))));
    both_ways(&left, &right);
}

#[test]
fn packets_from_prefixes_that_are_not_the_peers_do_not_come_out() {
    if !possible("packets_from_prefixes_that_are_not_the_peers_do_not_come_out") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    let [left, right] = pair(&bench, &wire, [WireguardGo, Turnpike], "192.0.2.2".parse().expect("an address"));
    both_ways(&left, &right);
    left.at.address(left.device, "10.9.0.77/32").expect("an address that is not ours to speak from");
    let from_77 = || left.at.run("ping", ["-n", "-c", "2", "-i", "0.2", "-W", "1", "-I", "10.9.0.77", "10.9.0.2"]);
    let received = || -> u64 {
        let counters = right.at.run("cat", ["/proc/net/dev"]).expect("counters");
        let line = counters.lines().find(|line| line.trim_start().starts_with("wgr:")).expect("the device");
        line.split_ascii_whitespace().nth(2).and_then(|text| text.parse().ok()).expect("packets")
    };
    let before = received();
    assert!(from_77().is_err());
    assert_eq!(received(), before);
    right.set(&format!("peer {} allowed-ips 10.9.0.1/32,10.9.0.77/32", left.key));
    assert!(from_77().is_ok(), "once it is allowed, it is answered: {}", right.process.log());
}

#[test]
fn a_persistent_keepalive_keeps_a_silent_tunnel_awake() {
    if !possible("a_persistent_keepalive_keeps_a_silent_tunnel_awake") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    let [left, right] = pair(&bench, &wire, [Turnpike, WireguardGo], "192.0.2.2".parse().expect("an address"));
    left.set(&format!("peer {} persistent-keepalive 1", right.key));
    assert!(wait_until(SOON, || right.handshake(&left.key) != 0), "nobody sent a packet: {}", left.process.log());
    let received = || -> u64 {
        let table = right.wg("show", "transfer").expect("counters");
        table.split_ascii_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("octets")
    };
    let before = received();
    assert!(wait_until(Duration::from_secs(6), || received() >= before + 3 * 32), "three keepalives of 32 octets");
}
