//! Allowed IPs: the longest prefix decides where a packet goes, and who may have sent it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use turnpike::identity::{PrivateKey, PublicKey};
use turnpike::lab::guard::Namespace;

use crate::bench::{Node, Wire};
use crate::rig::{Rig, transfer};
use crate::scenario::scenarios;

scenarios! {
    Light:
        the_longest_prefix_decides_and_moves_between_peers,
        a_more_specific_prefix_of_another_peer_shields_its_addresses,
        sources_outside_the_peers_prefixes_do_not_come_out,
        new_prefixes_replace_the_old_ones,
        prefixes_of_every_length_come_and_go;
    Alone:
        a_hundred_and_thirty_thousand_prefixes_load;
}

fn key() -> PublicKey {
    PrivateKey::generate().expect("a key").public()
}

/// How many octets were sent to this peer.
fn sent_to(node: &Node<'_>, peer: &PublicKey) -> u64 {
    node.shown("transfer", peer).and_then(|text| text.parse().ok()).expect("a counter")
}

/// The prefixes of this peer as shown, sorted.
fn prefixes(node: &Node<'_>, peer: &PublicKey) -> Vec<String> {
    let (table, peer) = (node.wg("show", "allowed-ips").expect("prefixes"), peer.to_string());
    let line = table.lines().find(|line| line.starts_with(&peer)).expect("the peer");
    let mut prefixes: Vec<String> = line.split_ascii_whitespace().skip(1).map(str::to_owned).collect();
    prefixes.sort_unstable();
    prefixes
}

/// Two more addresses at the far end, which two peers of `left` contend for.
fn the_longest_prefix_decides_and_moves_between_peers(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    for (to, wide, narrow) in
        [("10.77.1.1", "10.77.0.0/16", "10.77.1.0/24"), ("fd77:0:1::1", "fd77::/32", "fd77:0:1::/48")]
    {
        right.at.address(right.device, to).expect("an address");
        left.at.route(wide, &format!("dev {}", left.device)).expect("a route");
        let other = key();
        left.set(&format!("peer {} allowed-ips 10.9.0.2/32,fd09::2/128,{wide}", right.key));
        assert!(left.reaches(to), "by the wide prefix");
        left.set(&format!("peer {other} endpoint 192.0.2.2:9 allowed-ips {narrow}"));
        assert!(left.is_deaf_to(to), "the narrow prefix is another peer's");
        assert!(sent_to(&left, &other) > 0, "which is asked for a session");
        left.set(&format!("peer {} allowed-ips 10.9.0.2/32,fd09::2/128,{wide},{narrow}", right.key));
        assert!(left.reaches(to), "the narrow prefix has moved");
        assert_eq!(prefixes(&left, &other), ["(none)"]);
        left.set(&format!("peer {other} allowed-ips {narrow}"));
        assert!(left.is_deaf_to(to), "and moved back");
        left.set(&format!("peer {other} remove"));
        assert!(left.reaches(to), "with its peer it goes");
    }
}

/// Sends a datagram from one end to the other; whether it arrived.
fn arrives(from: &Namespace, to: &Namespace, source: &str, destination: SocketAddr) -> bool {
    let bind = |at: &Namespace, address: SocketAddr| at.enter(|| UdpSocket::bind(address)).expect("a namespace");
    let receiver = bind(to, destination).expect("a socket");
    let sender = bind(from, SocketAddr::new(source.parse().expect("an address"), 0)).expect("a socket");
    receiver.set_read_timeout(Some(Duration::from_secs(1))).expect("a time-out");
    sender.send_to(b"X", destination).expect("sent");
    receiver.recv(&mut [0; 8]).is_ok()
}

fn a_more_specific_prefix_of_another_peer_shields_its_addresses(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    left.set(&format!("peer {} allowed-ips 10.9.0.0/24,fd09::/64", right.key));
    assert!(left.reaches("10.9.0.2"), "no session");
    for (source, destination, narrow) in
        [("10.9.0.2", "10.9.0.1:1111", "10.9.0.2/32"), ("fd09::2", "[fd09::1]:1111", "fd09::2/128")]
    {
        let destination = destination.parse().expect("an address");
        assert!(arrives(right.at, left.at, source, destination), "by the wide prefix");
        let other = key();
        left.set(&format!("peer {other} allowed-ips {narrow}"));
        let before = transfer_of(&left, &right.key);
        assert!(!arrives(right.at, left.at, source, destination), "the address is another peer's");
        assert!(transfer_of(&left, &right.key) > before, "though it came, and was authentic");
        left.set(&format!("peer {other} remove"));
        assert!(arrives(right.at, left.at, source, destination), "once it is gone");
    }
}

/// How many octets were received from this peer.
fn transfer_of(node: &Node<'_>, peer: &PublicKey) -> u64 {
    let table = node.wg("show", "transfer").expect("counters");
    let line = table.lines().find(|line| line.starts_with(&peer.to_string())).expect("the peer");
    line.split_ascii_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number")
}

fn sources_outside_the_peers_prefixes_do_not_come_out(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    assert!(left.reaches("10.9.0.2"), "no session");
    for (own, alien, destination) in
        [("10.9.0.1", "10.9.0.66", "10.9.0.2:1111"), ("fd09::1", "fd09::66", "[fd09::2]:1111")]
    {
        left.at.address(left.device, alien).expect("an address that is not its own");
        let destination = destination.parse().expect("an address");
        let before = transfer(&right).0;
        assert!(!arrives(left.at, right.at, alien, destination), "{alien}");
        assert!(transfer(&right).0 > before, "though it came, and was authentic");
        assert!(arrives(left.at, right.at, own, destination), "{own}");
        right.set(&format!("peer {} allowed-ips 10.9.0.1/32,fd09::1/128,{alien}", left.key));
        assert!(arrives(left.at, right.at, alien, destination), "{alien}, once it is allowed");
    }
}

fn new_prefixes_replace_the_old_ones(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    assert!(left.reaches("10.9.0.2") && left.reaches("fd09::2"), "no session");
    left.set(&format!("peer {} allowed-ips fd09::2/128", right.key));
    assert_eq!(prefixes(&left, &right.key), ["fd09::2/128"]);
    assert!(left.is_deaf_to("10.9.0.2"), "it is nobody's");
    assert!(left.reaches("fd09::2"), "the other has stayed");
    left.set(&format!("peer {} allowed-ips fd09::2/128,10.9.0.0/28,10.9.0.2/28", right.key));
    assert_eq!(prefixes(&left, &right.key), ["10.9.0.0/28", "fd09::2/128"], "host bits are cut off, doubles are one");
    assert!(left.reaches("10.9.0.2"), "it is somebody's again");
    let none = ["wg", "set", left.device, "peer", &right.key.to_string(), "allowed-ips", ""];
    rig.bench.run(left.at, &none).expect("wg set");
    assert_eq!(prefixes(&left, &right.key), ["(none)"]);
}

/// Nested, neighbouring and whole-space prefixes of both families replace one another.
fn prefixes_of_every_length_come_and_go(rig: &Rig) {
    let at = Namespace::new("alone").expect("a namespace");
    let node = rig.node(&at, "wg0");
    let peer = key();
    let v4: Vec<String> = (0..=32).map(|bits| format!("{}/{bits}", masked_v4(bits))).collect();
    let v6: Vec<String> = (0..=128).map(|bits| format!("{}/{bits}", masked_v6(bits))).collect();
    for _ in 0..3 {
        for list in [&v4[..], &v4[7..8], &v6[..], &v6[99..100], &v4[..1], &[v4.clone(), v6.clone()].concat()] {
            node.set(&format!("peer {peer} allowed-ips {}", list.join(",")));
            let mut expected = list.to_vec();
            expected.sort_unstable();
            assert_eq!(prefixes(&node, &peer), expected);
        }
    }
    node.set(&format!("peer {peer} remove"));
    assert_eq!(node.wg("show", "allowed-ips").expect("prefixes"), "");
}

/// The first bits of 0xAAAA….
fn masked_v4(bits: u32) -> Ipv4Addr {
    Ipv4Addr::from(0xAAAA_AAAA & u32::MAX.checked_shl(32 - bits).unwrap_or(0))
}

fn masked_v6(bits: u32) -> Ipv6Addr {
    Ipv6Addr::from(0x3AAA_AAAA_AAAA_AAAA_AAAA_AAAA_AAAA_AAAA & u128::MAX.checked_shl(128 - bits).unwrap_or(0))
}

/// A second or two; several times that for a build with checks and without optimisation.
const LOADED: Duration = Duration::from_secs(if cfg!(debug_assertions) { 12 } else { 3 });

/// 255 * 256 prefixes of each family for one peer, 40 peers with 52 prefixes, 30 peers with hardly any.
fn a_hundred_and_thirty_thousand_prefixes_load(rig: &Rig) {
    let at = Namespace::new("alone").expect("a namespace");
    let node = rig.node(&at, "wg0");
    let private = PrivateKey::generate().expect("a key");
    let interface = format!("[Interface]\nPrivateKey = {}\n", private.to_base64().as_str());
    let mut many = format!("{interface}[Peer]\nPublicKey = {}\n", key());
    for (a, b) in (1..=255).flat_map(|a| (0..=255).map(move |b| (a, b))) {
        many += &format!("AllowedIPs = {a}.{b}.0.0/16,{a}::{b}/128\n");
    }
    let began = Instant::now();
    node.wg("setconf", &rig.bench.write("many.conf", &many)).expect("setconf");
    let took = began.elapsed();
    let shown = node.wg("show", "allowed-ips").expect("prefixes");
    assert_eq!(shown.split_ascii_whitespace().count(), 255 * 256 * 2 + 1);
    println!("130,560 prefixes took {took:?}");
    assert!(took < LOADED, "{took:?}");

    let peer = |a: u32| {
        let list: String = (1..=52).map(|b| format!("AllowedIPs = {a}.{b}.0.0/16\n")).collect();
        format!("[Peer]\nPublicKey = {}\n{list}", key())
    };
    let wide: String = std::iter::once(interface).chain((1..=40).map(peer)).collect();
    node.wg("setconf", &rig.bench.write("wide.conf", &wide)).expect("setconf");
    let shown = node.wg("show", "allowed-ips").expect("prefixes");
    let counts: Vec<usize> = shown.lines().map(|line| line.split_ascii_whitespace().count()).collect();
    assert_eq!(counts, [53; 40]);

    let bare: String = (1..=29).map(|_| format!("[Peer]\nPublicKey = {}\n", key())).collect();
    let last = format!("[Peer]\nPublicKey = {}\nAllowedIPs = 255.2.3.4/32,abcd::255/128\n", key());
    node.wg("setconf", &rig.bench.write("bare.conf", &(bare + &last))).expect("setconf");
    let conf = node.wg("showconf", "").expect("showconf");
    assert_eq!((conf.matches("[Peer]").count(), conf.matches("AllowedIPs").count()), (30, 1), "{conf}");
}
