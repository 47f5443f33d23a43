//! Changes to a living interface: what is not changed does not notice.

use std::time::Duration;

use turnpike::identity::PrivateKey;
use turnpike::lab::guard::{GuardError, Namespace, veth};

use crate::bench::{Bench, Node, Wire};
use crate::engine::{Engine, pair, possible};
use crate::traffic::Probes;

use Engine::{Turnpike, WireguardGo};

/// turnpike in the middle at 10.9.0.1, with wireguard-go at 10.9.0.2 (left) and 10.9.0.3 (right).
struct Hub {
    bench: Bench,
    hub: Namespace,
    left: Namespace,
    right: Namespace,
}

impl Hub {
    fn new() -> Self {
        let [hub, left, right] = ["hub", "left", "right"].map(|label| Namespace::new(label).expect("a namespace"));
        for (end, device, net) in [(&left, "eth1", "192.0.2"), (&right, "eth2", "198.51.100")] {
            veth(&hub, device, end, "eth0").expect("a wire");
            hub.address(device, &format!("{net}.1/24")).expect("an address");
            end.address("eth0", &format!("{net}.2/24")).expect("an address");
        }
        Self { bench: Bench::new(), hub, left, right }
    }

    /// Hub, left, right; only the outer two know an endpoint.
    fn nodes(&self) -> [Node<'_>; 3] {
        let hub = Turnpike.start(&self.bench, &self.hub, "wgh");
        hub.inner("10.9.0.1/24", "fd09::1/64");
        hub.set("listen-port 51820");
        let ends = [(&self.left, "wgl", 2, "192.0.2.1"), (&self.right, "wgr", 3, "198.51.100.1")];
        let [left, right] = ends.map(|(at, device, number, outer)| {
            let node = WireguardGo.start(&self.bench, at, device);
            node.inner(&format!("10.9.0.{number}/24"), &format!("fd09::{number}/64"));
            hub.set(&format!("peer {} allowed-ips 10.9.0.{number}/32", node.key));
            node.set(&format!("peer {} endpoint {outer}:51820 allowed-ips 10.9.0.0/24", hub.key));
            assert!(node.reaches("10.9.0.1"), "{}", hub.process.log());
            node
        });
        [hub, left, right]
    }
}

#[test]
fn one_peers_changes_leave_the_others_sessions_alone() {
    if !possible("one_peers_changes_leave_the_others_sessions_alone") {
        return;
    }
    let bed = Hub::new();
    let [hub, left, right] = bed.nodes();
    let handshake = hub.handshake(&left.key);
    let probes = Probes::start(&bed.hub, &bed.left, "10.9.0.2:7000".parse().expect("an address"));

    let endpoint = hub.shown("endpoints", &right.key).expect("an endpoint");
    hub.set(&format!("peer {} remove", right.key));
    assert!(hub.is_deaf_to("10.9.0.3"), "a removed peer");
    hub.set(&format!("peer {} endpoint {endpoint} allowed-ips 10.9.0.3/32", right.key));
    assert!(hub.reaches("10.9.0.3"), "added again: {}", hub.process.log());
    hub.set(&format!("peer {} allowed-ips 10.9.0.3/32,10.8.0.0/16 persistent-keepalive 5", right.key));
    hub.set("fwmark 0x10");
    for _ in 0..20 {
        let other = PrivateKey::generate().expect("a key").public();
        hub.set(&format!("peer {other} allowed-ips 10.7.0.0/16"));
        hub.set(&format!("peer {other} remove"));
    }
    assert!(right.reaches("10.9.0.1"));

    let heard = probes.end();
    assert!(heard.deaf < Duration::from_secs(1), "{heard:?}");
    assert_eq!(hub.handshake(&left.key), handshake, "by the same session");
}

#[test]
fn a_prefix_moves_from_one_peer_to_another() {
    if !possible("a_prefix_moves_from_one_peer_to_another") {
        return;
    }
    let bed = Hub::new();
    let [hub, left, right] = bed.nodes();
    for end in [&left, &right] {
        end.at.address(end.device, "10.9.0.50/32").expect("an address that both have");
    }
    let received = |node: &Node<'_>| -> u64 {
        let table = node.wg("show", "transfer").expect("counters");
        table.split_ascii_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("octets")
    };
    for (owner, other) in [(&left, &right), (&right, &left)] {
        let own = if owner.device == left.device { "10.9.0.2/32" } else { "10.9.0.3/32" };
        hub.set(&format!("peer {} allowed-ips {own},10.9.0.50/32", owner.key));
        let before = (received(owner), received(other));
        assert!(hub.reaches("10.9.0.50"), "{}", hub.process.log());
        assert!(received(owner) > before.0);
        assert_eq!(received(other), before.1);
    }
}

#[test]
fn a_new_private_key_begins_new_sessions_at_once() -> Result<(), GuardError> {
    if !possible("a_new_private_key_begins_new_sessions_at_once") {
        return Ok(());
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    let [left, right] = pair(&bench, &wire, [Turnpike, WireguardGo], "192.0.2.2".parse().expect("an address"));
    assert!(left.reaches("10.9.0.2"));
    let key = PrivateKey::generate().expect("a key");
    left.private_key(&key);
    assert!(left.is_deaf_to("10.9.0.2"), "nobody knows that key yet");
    right.set(&format!("peer {} remove peer {} allowed-ips 10.9.0.1/32,fd09::1/128", left.key, key.public()));
    assert!(left.reaches("10.9.0.2"), "{}", left.process.log());
    assert_eq!(left.wg("show", "public-key")?.trim(), key.public().to_string());
    Ok(())
}

#[test]
fn another_listen_port_is_told_by_the_next_packet() {
    if !possible("another_listen_port_is_told_by_the_next_packet") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    let [left, right] = pair(&bench, &wire, [Turnpike, WireguardGo], "192.0.2.2".parse().expect("an address"));
    assert!(left.reaches("10.9.0.2"));
    let handshake = left.handshake(&right.key);
    left.set("listen-port 40404");
    assert!(left.reaches("10.9.0.2"), "{}", left.process.log());
    assert_eq!(right.shown("endpoints", &left.key).as_deref(), Some("192.0.2.1:40404"));
    assert!(right.reaches("10.9.0.1"));
    assert_eq!(left.handshake(&right.key), handshake, "by the same session");
}

#[test]
fn a_port_in_use_is_refused_and_changes_nothing() {
    if !possible("a_port_in_use_is_refused_and_changes_nothing") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    let [left, right] = pair(&bench, &wire, [Turnpike, WireguardGo], "192.0.2.2".parse().expect("an address"));
    left.set("listen-port 40404");
    let taken = wire.left.enter(|| std::net::UdpSocket::bind("0.0.0.0:40405")).expect("left").expect("a socket");
    let other = PrivateKey::generate().expect("a key").public();
    let before = left.wg("showconf", "").expect("a configuration");
    let refused = left.wg("set", &format!("listen-port 40405 fwmark 5 peer {other} allowed-ips 10.9.0.2/32"));
    assert!(refused.is_err_and(|error| error.to_string().contains("Address already in use")));
    assert_eq!(left.wg("showconf", "").expect("a configuration"), before);
    assert!(left.reaches("10.9.0.2"));
    drop(taken);
    left.set("listen-port 40405");
    assert!(left.reaches("10.9.0.2") && right.reaches("10.9.0.1"), "{}", left.process.log());
}
