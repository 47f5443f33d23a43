//! What the network outside sees and does: marks, congestion, lengths, and an independent count.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use turnpike::lab::guard::{Namespace, skip, wait_until};
use turnpike::tunnel::{Dscp, Marking};

use crate::lab::{Pair, SOON, Side, endpoint};

const OUTER: [(&str, &str); 2] =
    [("192.0.2.1:51820", "192.0.2.2:51820"), ("[2001:db8::1]:51820", "[2001:db8::2]:51820")];
const INNER: [&str; 2] = ["10.50.0.2", "fd50::2"];

/// Loads one nftables chain in the place of the one before it.
fn load(at: &Namespace, hook: &str, rules: &str) {
    let table = format!(
        "table inet t {{}}; delete table inet t;
         table inet t {{ chain c {{ type filter hook {hook} priority -300; {rules}; }}; }}"
    );
    at.run("nft", [table.as_str()]).expect("a table");
}

/// What the rules with this comment have counted: packets and octets.
fn counted(at: &Namespace, comment: &str) -> (u64, u64) {
    let table = at.run("nft", ["list", "table", "inet", "t"]).expect("the table");
    let wanted = format!("comment \"{comment}\"");
    let counts = table.lines().filter(|line| line.contains(&wanted)).map(|line| {
        let after = |word: &str| line.split_ascii_whitespace().skip_while(|other| *other != word).nth(1)?.parse().ok();
        (after("packets").expect("a counter"), after("bytes").expect("a counter"))
    });
    counts.fold((0, 0), |sum: (u64, u64), count: (u64, u64)| (sum.0 + count.0, sum.1 + count.1))
}

/// One echo request with this octet of DSCP and ECN.
fn ping(side: &Side, to: &str, tos: u8) -> bool {
    side.output("ping", &["-n", "-c", "1", "-W", "1", "-Q", &tos.to_string(), to]).status.success()
}

/// A pair that has been in touch once, by packets of DSCP EF, and counts by kind of message and DSCP what comes outside.
fn marking(marking: Marking, (left, right): (&str, &str)) -> Pair {
    let mut pair = Pair::apart(endpoint(left), endpoint(right));
    let mut rules = String::new();
    for family in ["ip", "ip6"] {
        for dscp in ["cs0", "cs1", "af41", "ef"] {
            // The first octet of the payload is WireGuard's type.
            for (kind, types) in [("handshake", "{ 1, 2 }"), ("data", "4")] {
                rules += &format!(
                    "udp dport 51820 @th,64,8 {types} {family} dscp {dscp} counter comment \"{kind} {dscp}\"; "
                );
            }
        }
    }
    load(&pair.right.namespace, "prerouting", &rules);
    for side in [&mut pair.left, &mut pair.right] {
        side.plan.links[0].marking = marking;
        side.apply();
    }
    assert!(wait_until(SOON, || ping(&pair.left, INNER[0], 0xb8)) && ping(&pair.left, INNER[1], 0xb8));
    pair
}

#[test]
fn datagrams_are_marked_as_the_plan_says() {
    if skip("datagrams_are_marked_as_the_plan_says") {
        return;
    }
    let all = Marking::All(Dscp::new(8).expect("a codepoint"));
    for outer in OUTER {
        for (how, handshake, data) in
            [(Marking::Plain, "af41", "cs0"), (Marking::Carry, "af41", "ef"), (all, "cs1", "cs1")]
        {
            let pair = marking(how, outer);
            let count = |what: &str| counted(&pair.right.namespace, what).0;
            for dscp in ["cs0", "cs1", "af41", "ef"] {
                let (handshakes, packets) = (count(&format!("handshake {dscp}")), count(&format!("data {dscp}")));
                assert_eq!(handshakes > 0, dscp == handshake, "{how}: {handshakes} handshakes are {dscp}");
                // A keepalive carries nothing whose mark could be carried.
                let expected = dscp == data || dscp == "cs0" && how == Marking::Carry;
                assert_eq!(packets > 0, expected, "{how}: {packets} data messages are {dscp}");
            }
        }
    }
}

#[test]
fn congestion_on_the_way_arrives_inside() {
    if skip("congestion_on_the_way_arrives_inside") {
        return;
    }
    for (left, right) in OUTER {
        let pair = Pair::new(left, right);
        for to in INNER {
            assert!(pair.left.reaches(to));
            assert!(ping(&pair.left, to, 0), "canary: without congestion, all packets pass");
        }
        let rules = "udp dport 51820 ip ecn set ce; udp dport 51820 ip6 ecn set ce;
            iifname tp0 ip ecn ce counter comment \"ip\"; iifname tp0 ip6 ecn ce counter comment \"ip6\"";
        load(&pair.right.namespace, "prerouting", rules);
        for (to, family) in INNER.into_iter().zip(["ip", "ip6"]) {
            for ect in [1, 2] {
                assert!(ping(&pair.left, to, ect), "{to} with ECT over {right}");
            }
            assert_eq!(counted(&pair.right.namespace, family).0, 2, "marked inside");
            let before = pair.right.drops("congested");
            assert!(!ping(&pair.left, to, 0), "{to} without ECT over {right}");
            assert_eq!(pair.right.drops("congested"), before + 1);
        }
    }
}

/// A number of `/proc/net/netstat`.
fn netstat(at: &Namespace, name: &str) -> u64 {
    let text = at.enter(|| std::fs::read_to_string("/proc/thread-self/net/netstat")).expect("the namespace");
    let text = text.expect("the kernel's numbers");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
    let found = lines.chunks(2).find_map(|pair| pair[0].iter().position(|word| *word == name).map(|at| pair[1][at]));
    found.expect(name).parse().expect("a number")
}

/// Sends `octets` from left to right by TCP and compares them.
fn transfer(pair: &Pair, to: &str, octets: usize) {
    let address: SocketAddr = to.parse().expect("an address");
    let pattern: Vec<u8> = (0..octets).map(|n| u8::try_from(n * n % 251).expect("small")).collect();
    let listener = pair.right.namespace.enter(|| TcpListener::bind(address)).expect("right").expect("a port");
    let stream = pair.left.namespace.enter(|| TcpStream::connect_timeout(&address, SOON)).expect("left");
    let mut stream = stream.expect("a connection");
    let (mut peer, _) = listener.accept().expect("a connection");
    peer.set_read_timeout(Some(SOON)).expect("a time-out");
    let mut received = vec![0; octets];
    thread::scope(|scope| {
        scope.spawn(|| stream.write_all(&pattern).expect("all of it"));
        peer.read_exact(&mut received).expect("all of it");
    });
    assert!(received == pattern, "unchanged");
}

#[test]
fn tcp_hears_of_congestion_outside() {
    if skip("tcp_hears_of_congestion_outside") {
        return;
    }
    let pair = Pair::new(OUTER[0].0, OUTER[0].1);
    for side in [&pair.left, &pair.right] {
        side.namespace.sysctl("net.ipv4.tcp_ecn", "1").expect("ECN");
    }
    assert!(pair.left.reaches(INNER[0]));
    let marked = || netstat(&pair.right.namespace, "InCEPkts");
    // Too short for a queue to stand.
    transfer(&pair, "10.50.0.2:4000", 1 << 20);
    assert_eq!(marked(), 0);
    let some = "udp dport 51820 ip ecn { ect0, ect1 } numgen random mod 10 < 1 ip ecn set ce counter comment \"ce\"";
    load(&pair.right.namespace, "prerouting", some);
    transfer(&pair, "10.50.0.2:4001", 4 << 20);
    assert!(counted(&pair.right.namespace, "ce").0 > 0, "canary: there was congestion");
    assert!(marked() > 0, "told inside");
    assert_eq!(pair.right.drops("congested"), 0);
}

#[test]
fn counters_are_exact_beside_an_independent_count() {
    if skip("counters_are_exact_beside_an_independent_count") {
        return;
    }
    for ((left, right), header) in OUTER.into_iter().zip([28, 48]) {
        let pair = Pair::apart(endpoint(left), endpoint(right));
        for (side, hook) in [(&pair.left, "output"), (&pair.right, "input")] {
            load(&side.namespace, hook, "udp dport 51820 counter comment \"datagrams\"");
        }
        pair.left.apply();
        pair.right.apply();
        assert!(pair.left.reaches(INNER[0]));
        transfer(&pair, "10.50.0.2:4000", 4 << 20);
        transfer(&pair, "[fd50::2]:4000", 4 << 20);
        let exact = |side: &Side, octets: u64| {
            // What leaves or arrives in one piece of several datagrams has one header.
            let (pieces, whole) = counted(&side.namespace, "datagrams");
            (octets, whole - pieces * header)
        };
        // The last acknowledgements may still be on their way.
        let agree = |(ours, theirs): (u64, u64)| ours == theirs && ours > 8 << 20;
        assert!(
            wait_until(SOON, || agree(exact(&pair.left, pair.left.link().sent_bytes))),
            "sent, and counted by nftables: {:?}",
            exact(&pair.left, pair.left.link().sent_bytes)
        );
        assert!(
            wait_until(SOON, || agree(exact(&pair.right, pair.right.link().received_bytes))),
            "received, and counted by nftables: {:?}",
            exact(&pair.right, pair.right.link().received_bytes)
        );
    }
}

#[test]
fn what_the_kernel_refuses_is_not_counted_as_sent() {
    if skip("what_the_kernel_refuses_is_not_counted_as_sent") {
        return;
    }
    let pair = Pair::new(OUTER[0].0, OUTER[0].1);
    assert!(pair.left.reaches(INNER[0]));
    let counts = || {
        let link = pair.left.link();
        (link.sent_packets, link.sent_bytes)
    };
    let before = counts();
    assert!(pair.left.ping_once(INNER[0], 56));
    assert_eq!(counts(), (before.0 + 1, before.1 + 128), "canary: 84 octets, padded to 96, and 32 around them");
    pair.left.namespace.ip("route add unreachable 192.0.2.2").expect("a route");
    assert!(!pair.left.ping_once(INNER[0], 56));
    assert_eq!(counts(), (before.0 + 1, before.1 + 128));
    assert!(pair.left.drops("send_failed") > 0);
}

/// Outside, nothing above 1,360 octets passes, nor do fragments, and nobody says so.
fn narrow(mtu: Option<u16>) -> Pair {
    let mut pair = Pair::apart(endpoint(OUTER[0].0), endpoint(OUTER[0].1));
    for side in [&mut pair.left, &mut pair.right] {
        side.namespace.ip("link set eth0 mtu 1360").expect("an MTU");
        load(&side.namespace, "prerouting", "iifname eth0 ip frag-off & 0x3fff != 0 drop");
        side.plan.links[0].mtu = mtu;
        side.apply();
    }
    assert!(pair.left.reaches(INNER[0]) && pair.left.reaches(INNER[1]));
    pair
}

fn ping_whole(pair: &Pair, to: &str, size: u16) -> Result<(), String> {
    let output = pair.left.output("ping", &["-n", "-c", "1", "-W", "1", "-M", "do", "-s", &size.to_string(), to]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(()) } else { Err(said + &String::from_utf8_lossy(&output.stderr)) }
}

#[test]
fn a_links_own_mtu_is_told_to_senders_inside() {
    if skip("a_links_own_mtu_is_told_to_senders_inside") {
        return;
    }
    let hole = narrow(None);
    let silent = ping_whole(&hole, INNER[0], 1300).expect_err("canary: a black hole without it");
    assert!(!silent.contains("mtu"), "{silent}");
    let pair = narrow(Some(1300));
    for (to, fits, words) in
        [(INNER[0], 1272, "Frag needed and DF set (mtu = 1300)"), (INNER[1], 1252, "too big: mtu=1300")]
    {
        assert_eq!(ping_whole(&pair, to, fits), Ok(()), "1,300 octets to {to}");
        let said = ping_whole(&pair, to, fits + 1).expect_err("one more");
        assert!(said.contains(words), "{to}: {said}");
        let route = pair.left.output("ip", &["route", "get", to]);
        let route = String::from_utf8_lossy(&route.stdout).into_owned();
        assert!(route.contains("mtu 1300"), "the kernel has learnt it: {route}");
    }
    assert_eq!(pair.left.drops("too_big"), 2);
}

#[test]
fn tcp_finds_its_way_through_a_link_that_is_narrower_than_the_device() {
    if skip("tcp_finds_its_way_through_a_link_that_is_narrower_than_the_device") {
        return;
    }
    let pair = narrow(Some(1300));
    transfer(&pair, "10.50.0.2:4000", 1 << 20);
    transfer(&pair, "[fd50::2]:4000", 1 << 20);
    assert!(pair.left.drops("too_big") > 0, "canary: it had to find out");
}

#[test]
fn what_routers_may_fragment_passes_a_narrow_link() {
    if skip("what_routers_may_fragment_passes_a_narrow_link") {
        return;
    }
    let pair = narrow(Some(1300));
    for side in [&pair.left, &pair.right] {
        load(&side.namespace, "prerouting", "ip frag-off & 0x3fff != 0 counter comment \"fragments\"");
    }
    let words = ["-n", "-c", "1", "-W", "1", "-M", "dont", "-s", "1372", INNER[0]];
    assert!(pair.left.output("ping", &words).status.success());
    assert!(counted(&pair.right.namespace, "fragments").0 > 0, "in pieces outside");
}
