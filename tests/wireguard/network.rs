//! What a network does to a tunnel: address translation, large packets, many streams, tunnels in tunnels.

use std::time::Duration;

use turnpike::identity::PrivateKey;
use turnpike::lab::guard::{Namespace, veth, wait_until};

use crate::bench::{Bench, SOON, Wire};
use crate::engine::{Engine, pair, possible};

use Engine::{Turnpike, WireguardGo};

fn outer() -> std::net::IpAddr {
    "192.0.2.2".parse().expect("an address")
}

#[test]
fn a_destination_without_peer_is_unreachable_at_once() {
    if !possible("a_destination_without_peer_is_unreachable_at_once") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    let [left, _right] = pair(&bench, &wire, [Turnpike, WireguardGo], outer());
    assert!(left.reaches("10.9.0.2"));
    for to in ["10.9.0.99", "fd09::99"] {
        let output = bench.command(left.at, &["ping", "-n", "-c", "1", "-W", "5", to]).output().expect("ping");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("nreachable"), "{to}: {said}");
    }
}

#[test]
fn a_persistent_keepalive_holds_a_translators_mapping_open() {
    if !possible("a_persistent_keepalive_holds_a_translators_mapping_open") {
        return;
    }
    let bench = Bench::new();
    let [left, nat, right] = ["left", "nat", "right"].map(|label| Namespace::new(label).expect("a namespace"));
    veth(&left, "eth0", &nat, "inside").expect("a wire");
    veth(&right, "eth0", &nat, "outside").expect("a wire");
    let addresses = [
        (&left, "eth0", "10.1.0.2/24"),
        (&nat, "inside", "10.1.0.1/24"),
        (&nat, "outside", "192.0.2.1/24"),
        (&right, "eth0", "192.0.2.2/24"),
    ];
    for (at, device, address) in addresses {
        at.address(device, address).expect("an address");
    }
    left.route("default", "via 10.1.0.1").expect("a route");
    nat.sysctl("net.ipv4.ip_forward", "1").expect("forwarding");
    let rules = "table ip n { chain p { type nat hook postrouting priority 100; oifname outside masquerade; }; \
                 chain f { type filter hook forward priority 0; policy drop; ct state established accept; \
                 iifname inside accept; }; }";
    nat.run("nft", [rules]).expect("address translation");
    for timeout in ["udp_timeout", "udp_timeout_stream"] {
        nat.sysctl(&format!("net.netfilter.nf_conntrack_{timeout}"), "2").expect("a short memory");
    }
    let inner = Turnpike.start(&bench, &left, "wgl");
    let outer = WireguardGo.start(&bench, &right, "wgr");
    inner.inner("10.9.0.1/24", "fd09::1/64");
    outer.inner("10.9.0.2/24", "fd09::2/64");
    outer.set(&format!("listen-port 51820 peer {} allowed-ips 10.9.0.1/32", inner.key));
    inner.set(&format!("peer {} endpoint 192.0.2.2:51820 allowed-ips 10.9.0.2/32", outer.key));
    assert!(inner.reaches("10.9.0.2"));
    assert!(outer.shown("endpoints", &inner.key).is_some_and(|at| at.starts_with("192.0.2.1:")));
    let silence = || std::thread::park_timeout(Duration::from_secs(4));
    silence();
    assert!(outer.is_deaf_to("10.9.0.1"), "the translator has forgotten");
    inner.set(&format!("peer {} persistent-keepalive 1", outer.key));
    silence();
    assert!(outer.reaches_within("10.9.0.1", Duration::from_secs(1)), "{}", inner.process.log());
}

#[test]
fn packets_as_large_as_the_device_allows_pass() {
    if !possible("packets_as_large_as_the_device_allows_pass") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    for end in [&wire.left, &wire.right] {
        end.ip("link set eth0 mtu 65000").expect("a large MTU");
    }
    let [left, right] = pair(&bench, &wire, [Turnpike, WireguardGo], outer());
    for mtu in [1280_u32, 1420, 9000, 34736] {
        for node in [&left, &right] {
            node.at.ip(&format!("link set {} mtu {mtu}", node.device)).expect("an MTU");
        }
        for (node, to) in [(&left, "10.9.0.2"), (&right, "10.9.0.1")] {
            let size = (mtu - 28).to_string();
            let ping =
                || node.at.run("ping", ["-n", "-c", "1", "-W", "1", "-M", "do", "-s", size.as_str(), to]).is_ok();
            assert!(wait_until(SOON, ping), "{mtu} octets to {to}: {}", left.process.log());
        }
    }
}

#[test]
fn fifty_streams_in_each_direction_end_well() {
    if !possible("fifty_streams_in_each_direction_end_well") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    let [left, right] = pair(&bench, &wire, [Turnpike, WireguardGo], outer());
    assert!(left.reaches("10.9.0.2"));
    let server = bench.spawn(right.at, &["iperf3", "--server", "--forceflush"]);
    for (number, direction) in [(1, "--bidir"), (2, "--reverse")] {
        // The server closes its port after each test and opens it again.
        let listens = || server.log().matches("listening").count() == number;
        assert!(wait_until(SOON, listens), "{}", server.log());
        let words = ["iperf3", "--client", "10.9.0.2", "--parallel", "50", "--time", "2", "--bitrate", "2M", direction];
        let report = bench.run(left.at, &words).unwrap_or_else(|error| panic!("{error}\n{}", left.process.log()));
        assert!(report.contains("[SUM]") && report.contains("receiver"), "{report}");
    }
}

#[test]
fn a_tunnel_passes_through_a_tunnel() {
    if !possible("a_tunnel_passes_through_a_tunnel") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    let [left, right] = pair(&bench, &wire, [Turnpike, WireguardGo], outer());
    let within = Turnpike.start(&bench, &wire.left, "wgli");
    let beyond = Turnpike.start(&bench, &wire.right, "wgri");
    for (node, number) in [(&within, 1), (&beyond, 2)] {
        node.inner(&format!("10.19.0.{number}/24"), &format!("fd19::{number}/64"));
        node.at.ip(&format!("link set {} mtu 1340", node.device)).expect("an MTU");
    }
    beyond.set(&format!("listen-port 51821 peer {} allowed-ips 10.19.0.1/32,fd19::1/128", within.key));
    within.set(&format!("peer {} endpoint [fd09::2]:51821 allowed-ips 10.19.0.2/32,fd19::2/128", beyond.key));
    assert!(within.reaches("10.19.0.2") && beyond.reaches("fd19::1"), "{}", within.process.log());
    assert_ne!(left.handshake(&right.key), 0, "through the outer one");
}

#[test]
fn strangers_are_not_answered() {
    if !possible("strangers_are_not_answered") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    let [stranger, known] = pair(&bench, &wire, [WireguardGo, Turnpike], outer());
    assert!(stranger.reaches("10.9.0.2"), "known, it is answered: {}", known.process.log());
    stranger.private_key(&PrivateKey::generate().expect("a key"));
    assert!(stranger.is_deaf_to("10.9.0.2"));
    let handshakes = known.handshake(&stranger.key);
    assert!(stranger.is_deaf_to("fd09::2"));
    assert_eq!(known.handshake(&stranger.key), handshakes);
}
