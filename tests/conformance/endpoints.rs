//! Where peers are: ports and addresses that change, answers that leave from where they were asked, other ways.

use std::net::UdpSocket;
use std::time::Duration;

use turnpike::lab::guard::{Namespace, veth, wait_until};

use crate::bench::{SOON, Wire, introduce};
use crate::rig::Rig;
use crate::scenario::scenarios;

scenarios! {
    Light:
        another_listen_port_is_told_by_the_next_packet,
        a_port_in_use_is_refused_and_the_old_one_serves_on,
        a_peer_that_moves_is_followed_by_the_same_session,
        a_tunnel_moves_between_the_families,
        a_dead_endpoint_is_replaced_by_the_one_that_speaks,
        answers_leave_from_the_address_that_was_asked,
        a_source_address_that_is_gone_is_forgotten;
    Waits:
        a_keepalive_holds_a_translators_mapping_open;
}

fn another_listen_port_is_told_by_the_next_packet(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    assert!(left.reaches("10.9.0.2"), "no session");
    let handshake = left.handshake(&right.key);
    for port in [40_404, 40_405] {
        left.set(&format!("listen-port {port}"));
        assert_eq!(left.wg("show", "listen-port").expect("shown").trim(), port.to_string());
        assert!(!left.is_deaf_to("10.9.0.2"), "the next packet passes");
        assert_eq!(right.shown("endpoints", &left.key), Some(format!("192.0.2.1:{port}")));
        assert!(!right.is_deaf_to("10.9.0.1"), "and back");
    }
    assert_eq!(left.handshake(&right.key), handshake, "by the same session");
    let free = wire.left.enter(|| UdpSocket::bind("0.0.0.0:40404")).expect("left");
    assert!(free.is_ok(), "the old port is given back");
}

fn a_port_in_use_is_refused_and_the_old_one_serves_on(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    left.set("listen-port 40404");
    let taken = wire.left.enter(|| UdpSocket::bind("0.0.0.0:40405")).expect("left").expect("a socket");
    let refused = left.wg("set", "listen-port 40405");
    assert!(refused.is_err_and(|error| error.to_string().contains("Address already in use")), "refused by its name");
    assert!(left.reaches("10.9.0.2") && right.reaches("10.9.0.1"), "the old one serves");
    drop(taken);
    left.set("listen-port 40405");
    assert!(left.reaches("10.9.0.2") && right.reaches("10.9.0.1"), "once it is free");
}

/// A host that changes its network: the new address is there before the old one goes.
fn readdress(at: &Namespace, old: &str, new: &str) {
    at.sysctl("net.ipv4.conf.eth0.promote_secondaries", "1").expect("a sysctl");
    at.address("eth0", new).expect("the new address");
    at.ip(&format!("address del {old} dev eth0")).expect("the old one");
}

fn a_peer_that_moves_is_followed_by_the_same_session(rig: &Rig) {
    for (outer, old, new, shown) in [
        ("192.0.2.2", "192.0.2.1/24", "192.0.2.31/24", "192.0.2.31:"),
        ("2001:db8::2", "2001:db8::1/64", "2001:db8::31/64", "[2001:db8::31]:"),
    ] {
        let wire = Wire::new();
        let [left, right] = rig.pair(&wire, outer);
        assert!(left.reaches("10.9.0.2"), "no session");
        let handshake = left.handshake(&right.key);
        readdress(left.at, old, new);
        assert!(left.reaches_within("10.9.0.2", Duration::from_secs(3)), "from the new address");
        let endpoint = right.shown("endpoints", &left.key).expect("an endpoint");
        assert!(endpoint.starts_with(shown), "{endpoint}");
        assert!(right.reaches_within("fd09::1", Duration::from_secs(3)), "and back");
        assert_eq!(left.handshake(&right.key), handshake, "by the same session");
    }
}

fn a_tunnel_moves_between_the_families(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    assert!(left.reaches("10.9.0.2"), "no session");
    for (endpoint, shown) in [("[2001:db8::2]:51820", "[2001:db8::1]:"), ("192.0.2.2:51820", "192.0.2.1:")] {
        left.set(&format!("peer {} endpoint {endpoint}", right.key));
        assert!(left.reaches("10.9.0.2"), "by {endpoint}");
        let follows = || right.shown("endpoints", &left.key).is_some_and(|at| at.starts_with(shown));
        assert!(wait_until(SOON, follows), "the other end follows");
        assert!(right.reaches("fd09::1"), "and back");
    }
}

fn a_dead_endpoint_is_replaced_by_the_one_that_speaks(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.66");
    assert!(left.is_deaf_to("10.9.0.2"), "nobody is there");
    left.set("listen-port 51820");
    right.set(&format!("peer {} endpoint 192.0.2.1:51820", left.key));
    assert!(right.reaches("10.9.0.1"), "the other end begins");
    assert_eq!(left.shown("endpoints", &right.key).as_deref(), Some("192.0.2.2:51820"), "and is believed");
    assert!(left.reaches_within("fd09::2", Duration::from_secs(2)), "at once");
}

fn answers_leave_from_the_address_that_was_asked(rig: &Rig) {
    let wire = Wire::new();
    wire.right.address("eth0", "192.0.2.3/24").expect("a second address");
    wire.right.address("eth0", "2001:db8::3/64").expect("a second address");
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    // One that belongs to another device than the one it is reached by.
    wire.right.address("lo", "198.51.100.1/32").expect("its address");
    wire.left.route("198.51.100.0/24", "via 192.0.2.2").expect("a route");
    for endpoint in [
        "192.0.2.2:51820",
        "[2001:db8::2]:51820",
        "192.0.2.3:51820",
        "[2001:db8::3]:51820",
        "198.51.100.1:51820",
        "192.0.2.2:51820",
    ] {
        left.set(&format!("peer {} endpoint {endpoint}", right.key));
        assert!(left.reaches("10.9.0.2"), "{endpoint} answers");
        assert_eq!(left.shown("endpoints", &right.key).as_deref(), Some(endpoint), "from where it was asked");
    }
}

fn a_source_address_that_is_gone_is_forgotten(rig: &Rig) {
    let wire = Wire::new();
    wire.right.address("eth0", "192.0.2.3/24").expect("a second address");
    wire.right.address("eth0", "2001:db8::3/64").expect("a second address");
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    for (gone, at) in [("192.0.2.3/24", "192.0.2.3:51820"), ("2001:db8::3/64", "[2001:db8::3]:51820")] {
        left.set(&format!("peer {} endpoint {at}", right.key));
        assert!(left.reaches("10.9.0.2"), "{at} answers");
        assert_eq!(left.shown("endpoints", &right.key).as_deref(), Some(at), "from where it was asked");
        wire.right.ip(&format!("address del {gone} dev eth0")).expect("gone");
        assert!(right.reaches_within("10.9.0.1", Duration::from_secs(3)), "from another address, soon");
        assert!(left.shown("endpoints", &right.key).is_some_and(|now| now != at), "which is told");
    }
}

/// left ── translator that forgets UDP after 2 s ── right
struct Translated {
    left: Namespace,
    _translator: Namespace,
    right: Namespace,
}

impl Translated {
    fn new() -> Self {
        let [left, translator, right] =
            ["left", "nat", "right"].map(|label| Namespace::new(label).expect("a namespace"));
        veth(&left, "eth0", &translator, "inside").expect("a wire");
        veth(&right, "eth0", &translator, "outside").expect("a wire");
        for (at, device, address) in [
            (&left, "eth0", "10.1.0.2/24"),
            (&translator, "inside", "10.1.0.1/24"),
            (&translator, "outside", "192.0.2.1/24"),
            (&right, "eth0", "192.0.2.2/24"),
        ] {
            at.address(device, address).expect("an address");
        }
        left.route("default", "via 10.1.0.1").expect("a route");
        translator.sysctl("net.ipv4.ip_forward", "1").expect("forwarding");
        let rules = "table ip n { chain p { type nat hook postrouting priority 100; oifname outside masquerade; }; \
                     chain f { type filter hook forward priority 0; policy drop; ct state established accept; \
                     iifname inside accept; }; }";
        translator.run("nft", [rules]).expect("address translation");
        for timeout in ["udp_timeout", "udp_timeout_stream"] {
            translator.sysctl(&format!("net.netfilter.nf_conntrack_{timeout}"), "2").expect("a short memory");
        }
        Self { left, _translator: translator, right }
    }
}

fn a_keepalive_holds_a_translators_mapping_open(rig: &Rig) {
    let place = Translated::new();
    let (left, right) = (rig.node(&place.left, "wgl"), rig.node(&place.right, "wgr"));
    introduce(&left, &right, "192.0.2.2".parse().expect("an address"));
    assert!(left.reaches("10.9.0.2"), "no session");
    assert!(right.shown("endpoints", &left.key).is_some_and(|at| at.starts_with("192.0.2.1:")), "the translator's");
    let silence = || std::thread::park_timeout(Duration::from_secs(4));
    silence();
    assert!(right.is_deaf_to("10.9.0.1"), "the translator has forgotten");
    left.set(&format!("peer {} persistent-keepalive 1", right.key));
    silence();
    assert!(right.reaches_within("10.9.0.1", Duration::from_secs(1)), "kept in mind");
    left.set(&format!("peer {} persistent-keepalive off", right.key));
    silence();
    assert!(right.is_deaf_to("10.9.0.1"), "forgotten again");
}
