//! Tunnels in tunnels, marks, policy routing, and ways that lead back into the tunnel.

use std::time::Duration;

use turnpike::identity::PrivateKey;
use turnpike::lab::guard::wait_until;

use crate::bench::{Node, SOON, Wire};
use crate::rig::{Rig, transfer};
use crate::scenario::scenarios;

scenarios! {
    Light:
        a_tunnel_passes_through_a_tunnel,
        a_peer_is_reached_through_another_peer_of_the_same_interface,
        a_peer_whose_way_leads_through_itself_harms_nobody,
        datagrams_carry_the_mark_that_is_set,
        a_default_route_through_the_tunnel_does_not_swallow_the_tunnel,
        packets_bound_to_the_device_or_marked_pass;
}

fn a_tunnel_passes_through_a_tunnel(rig: &Rig) {
    let wire = Wire::new();
    let [_left, _right] = rig.pair(&wire, "192.0.2.2");
    let (within, beyond) = (rig.node(&wire.left, "wgli"), rig.node(&wire.right, "wgri"));
    for (node, number) in [(&within, 1), (&beyond, 2)] {
        node.inner(&format!("10.19.0.{number}/24"), &format!("fd19::{number}/64"));
        node.at.ip(&format!("link set {} mtu 1340", node.device)).expect("an MTU");
    }
    beyond.set(&format!("listen-port 51821 peer {} allowed-ips 10.19.0.1/32,fd19::1/128", within.key));
    within.set(&format!("peer {} endpoint [fd09::2]:51821 allowed-ips 10.19.0.2/32,fd19::2/128", beyond.key));
    assert!(within.reaches("10.19.0.2") && beyond.reaches("fd19::1"), "through both");
    let large = within.at.run("ping", ["-n", "-c", "3", "-i", "0.1", "-M", "do", "-s", "1312", "10.19.0.2"]);
    assert!(large.is_ok_and(|said| said.contains(" 0% packet loss")), "packets of the inner one's MTU");
}

/// As an onion: the second peer's endpoint is an inner address of the first.
fn a_peer_is_reached_through_another_peer_of_the_same_interface(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    let second = rig.node(&wire.right, "wgs");
    second.inner("10.29.0.2/24", "fd29::2/64");
    second.set(&format!("listen-port 51822 peer {} allowed-ips 10.29.0.1/32", left.key));
    left.at.address(left.device, "10.29.0.1/24").expect("an address");
    left.set(&format!("peer {} endpoint 10.9.0.2:51822 allowed-ips 10.29.0.2/32", second.key));
    assert!(left.reaches("10.29.0.2"), "through the first peer");
    let first = right.wg("show", "transfer").expect("counters");
    assert!(first.split_ascii_whitespace().nth(1).is_some_and(|octets| octets != "0"), "the first peer carried it");
}

fn a_peer_whose_way_leads_through_itself_harms_nobody(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    assert!(left.reaches("10.9.0.2"), "no session");
    let key = PrivateKey::generate().expect("a key").public();
    left.at.route("10.39.0.0/24", &format!("dev {}", left.device)).expect("a route");
    left.set(&format!("peer {key} endpoint 10.39.0.1:9 allowed-ips 10.39.0.0/24"));
    let before = transfer_all(&left);
    assert!(left.is_deaf_to("10.39.0.1"), "nobody is there");
    std::thread::park_timeout(Duration::from_secs(1));
    assert!(transfer_all(&left) - before < 70_000, "it does not feed upon itself");
    assert!(!left.is_deaf_to("10.9.0.2") && !right.is_deaf_to("10.9.0.1"), "the others go on");
}

/// Octets sent to all peers.
fn transfer_all(node: &Node<'_>) -> u64 {
    let table = node.wg("show", "transfer").expect("counters");
    table.lines().filter_map(|line| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok()).sum()
}

/// The number of packets that a named counter of nftables has seen.
pub fn counted(node: &Node<'_>, rules: &str, name: &str) -> u64 {
    let said = node.at.run("nft", ["list", "counter", "inet", rules, name]).expect("a counter");
    let words: Vec<&str> = said.split_ascii_whitespace().collect();
    let at = words.iter().position(|word| *word == "packets").expect("packets");
    words[at + 1].parse().expect("a number")
}

fn datagrams_carry_the_mark_that_is_set(rig: &Rig) {
    let wire = Wire::new();
    let [left, _right] = rig.pair(&wire, "192.0.2.2");
    let rules = "table inet t { counter seven { }; counter none { }; chain o { type filter hook output priority 0; \
                 udp dport 51820 meta mark 7 counter name seven; udp dport 51820 meta mark 0 counter name none; }; }";
    left.at.run("nft", [rules]).expect("counters");
    left.set("fwmark 7");
    assert!(left.reaches("10.9.0.2"), "no session");
    assert!(counted(&left, "t", "seven") >= 2 && counted(&left, "t", "none") == 0, "handshake and data are marked");
    left.set("fwmark 0");
    let marked = counted(&left, "t", "seven");
    assert!(!left.is_deaf_to("10.9.0.2"), "the same session");
    assert_eq!(counted(&left, "t", "seven"), marked);
    assert!(counted(&left, "t", "none") > 0, "without a mark again");
    // A mark also holds for sockets that are bound anew.
    left.set("fwmark 7");
    left.set("listen-port 40404");
    assert!(!left.is_deaf_to("10.9.0.2"));
    assert!(counted(&left, "t", "seven") > marked, "a socket that was bound anew");
}

/// As `wg-quick` does it for 0.0.0.0/0: what is not marked goes into the tunnel.
fn a_default_route_through_the_tunnel_does_not_swallow_the_tunnel(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    right.at.address("lo", "203.0.113.9/32").expect("an address");
    right.at.address("lo", "2001:db8:9::9/128").expect("an address");
    left.set(&format!("fwmark 51820 peer {} allowed-ips 0.0.0.0/0,::/0", right.key));
    for family in ["-4", "-6"] {
        left.at.ip(&format!("{family} route add default dev {} table 51820", left.device)).expect("a route");
        left.at.ip(&format!("{family} rule add not fwmark 51820 table 51820")).expect("a rule");
        left.at.ip(&format!("{family} rule add table main suppress_prefixlength 0")).expect("a rule");
    }
    for to in ["203.0.113.9", "2001:db8:9::9"] {
        assert!(left.reaches(to), "{to} by the default route");
        let said = left.at.run("ping", ["-n", "-q", "-c", "20", "-i", "0.05", "-W", "1", to]).expect("answers");
        assert!(said.contains(" 0% packet loss"), "{to}: {said}");
    }
    left.set(&format!("peer {} endpoint [2001:db8::2]:51820", right.key));
    assert!(left.reaches("203.0.113.9"), "over the other family");
}

fn packets_bound_to_the_device_or_marked_pass(rig: &Rig) {
    let wire = Wire::new();
    let [left, _right] = rig.pair(&wire, "192.0.2.2");
    assert!(left.reaches("10.9.0.2"), "no session");
    let bound = |to: &str| left.at.run("ping", ["-n", "-c", "1", "-W", "1", "-I", left.device, to]).is_ok();
    assert!(bound("10.9.0.2") && bound("fd09::2"), "bound to the device");
    let rules = "table inet t { chain o { type route hook output priority -150; meta mark set 1; }; }";
    left.at.run("nft", [rules]).expect("a mark");
    assert!(!left.is_deaf_to("10.9.0.2"), "rerouted after a mark was set");
    assert!(bound("10.9.0.2") && bound("fd09::2"), "both");
    assert!(wait_until(SOON, || transfer(&left).0 > 0));
}
