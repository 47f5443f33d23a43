//! Keys that change while the interface lives, and keys that are none.

use std::net::UdpSocket;
use std::time::Duration;

use turnpike::identity::PrivateKey;
use turnpike::lab::guard::Namespace;

use crate::bench::Wire;
use crate::rig::Rig;
use crate::scenario::scenarios;

scenarios! {
    Light:
        a_new_private_key_begins_new_sessions_at_once,
        a_peer_with_the_interfaces_own_key_is_passed_over,
        a_preshared_key_must_be_the_same_on_both_ends,
        keys_are_shown_as_they_were_set_and_can_be_unset,
        nothing_is_sent_to_keys_of_low_order;
}

fn key() -> PrivateKey {
    PrivateKey::generate().expect("a key")
}

fn a_new_private_key_begins_new_sessions_at_once(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    assert!(left.reaches("10.9.0.2"), "no session");
    let next = key();
    left.private_key(&next);
    assert!(left.is_deaf_to("10.9.0.2"), "nobody knows that key yet");
    right.set(&format!("peer {} remove peer {} allowed-ips 10.9.0.1/32,fd09::1/128", left.key, next.public()));
    assert!(left.reaches("10.9.0.2"), "it is known now");
    assert_eq!(left.wg("show", "public-key").expect("shown").trim(), next.public().to_string());
}

fn a_peer_with_the_interfaces_own_key_is_passed_over(rig: &Rig) {
    let at = Namespace::new("alone").expect("a namespace");
    let node = rig.node(&at, "wg0");
    let peers = || node.wg("show", "peers").expect("peers");
    node.set(&format!("peer {} allowed-ips 10.0.0.0/8", node.key));
    assert_eq!(peers(), "", "the key is its own");
    let next = key();
    node.set(&format!("peer {} allowed-ips 10.0.0.0/8", next.public()));
    assert_eq!(peers().trim(), next.public().to_string());
    node.private_key(&next);
    assert_eq!(peers(), "", "the key became its own");
    node.private_key(&key());
    node.set(&format!("peer {}", next.public()));
    assert_eq!(peers().trim(), next.public().to_string(), "the key is its own no more");
}

fn a_preshared_key_must_be_the_same_on_both_ends(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    let (one, other) = (rig.bench.preshared("one"), rig.bench.preshared("other"));
    left.set(&format!("peer {} preshared-key {one}", right.key));
    assert!(left.is_deaf_to("10.9.0.2"), "one end alone has a preshared key");
    right.set(&format!("peer {} preshared-key {other}", left.key));
    assert!(left.is_deaf_to("10.9.0.2"), "the preshared keys differ");
    right.set(&format!("peer {} preshared-key {one}", left.key));
    assert!(left.reaches("10.9.0.2"), "they are the same");
    for end in [(&left, &right.key), (&right, &left.key)] {
        end.0.set(&format!("peer {} preshared-key /dev/null", end.1));
    }
    assert!(left.reaches("10.9.0.2") && right.reaches("fd09::1"), "both have none");
}

fn keys_are_shown_as_they_were_set_and_can_be_unset(rig: &Rig) {
    let at = Namespace::new("alone").expect("a namespace");
    let node = rig.node(&at, "wg0");
    let (private, peer) = (key(), key().public());
    let value = |what: &str| node.wg("show", what).expect("shown").trim().to_owned();
    node.private_key(&private);
    let preshared = rig.bench.preshared("psk");
    node.set(&format!("peer {peer} preshared-key {preshared}"));
    assert_eq!(value("private-key"), *private.to_base64());
    assert_eq!(value("public-key"), private.public().to_string());
    let secret = std::fs::read_to_string(&preshared).expect("the key");
    assert_eq!(node.shown("preshared-keys", &peer).as_deref(), Some(secret.as_str()));
    node.set(&format!("private-key /dev/null peer {peer} preshared-key /dev/null"));
    assert_eq!(value("private-key"), "(none)");
    assert_eq!(node.shown("preshared-keys", &peer).as_deref(), Some("(none)"));
    assert_eq!(value("peers"), peer.to_string(), "the peer has stayed");
}

/// Points of order 1, 2, 4 and 8, and their other encodings: the shared secret would be zero (RFC 7748, section 6.1).
const LOW_ORDER: [&str; 7] = [
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=",
    "X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc=",
    "7P///////////////////////////////////////38=",
    "7f///////////////////////////////////////38=",
    "7v///////////////////////////////////////38=",
];

fn nothing_is_sent_to_keys_of_low_order(rig: &Rig) {
    let at = Namespace::new("alone").expect("a namespace");
    let node = rig.node(&at, "wg0");
    let ear = at.enter(|| UdpSocket::bind("127.0.0.1:1111")).expect("a namespace").expect("a socket");
    for point in LOW_ORDER {
        // A refusal would be as good.
        drop(node.wg("set", &format!("peer {point} persistent-keepalive 1 endpoint 127.0.0.1:1111")));
    }
    at.ip("link set wg0 up").expect("up");
    ear.set_read_timeout(Some(Duration::from_secs(2))).expect("a time-out");
    assert!(ear.recv(&mut [0; 256]).is_err(), "an initiation to a key that is none");
    node.set(&format!("peer {} persistent-keepalive 1 endpoint 127.0.0.1:1111", key().public()));
    assert_eq!(ear.recv(&mut [0; 256]).expect("an initiation to a key that is one"), 148);
}
