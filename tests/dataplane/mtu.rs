//! Datagrams are padded no further than a packet may be long: by the device's MTU, or by that of its route.

use turnpike::lab::guard::{Namespace, skip, wait_until};
use turnpike::sys::mtu::{Facts, MtuWatch};
use turnpike::sys::tun::Tun;

use crate::lab::{Pair, SOON, Side};

/// The far side takes no datagram of 1,360 octets, IP header included: a packet of 1,297 octets becomes one when it is
/// padded to 1,300, and no longer than 1,359 when it may be padded to 1,299 alone.
fn deaf_to_one_length() -> Pair {
    let pair = Pair::new("192.0.2.1:51820", "192.0.2.2:51820");
    for side in [&pair.left, &pair.right] {
        side.namespace.ip("link set tp0 mtu 1300").expect("an MTU");
    }
    assert!(pair.left.reaches("10.50.0.2") && pair.left.reaches("fd50::2"));
    let rules = "table inet t { chain c { type filter hook input priority 0; meta length 1360 drop; }; }";
    pair.right.namespace.run("nft", [rules]).expect("a filter");
    pair
}

/// Whether an echo in packets of 1,297 octets comes back.
fn passes(from: &Namespace, to: &str) -> bool {
    let size = if to.contains(':') { "1249" } else { "1269" };
    let mut command = from.command("ping");
    command.args(["-n", "-c", "1", "-W", "1", "-s", size, to]).output().expect("ping").status.success()
}

fn each_has_a_route(pair: &Pair, verb: &str, mtu: &str) {
    for (side, to) in [(&pair.left, ["10.50.0.2/32", "fd50::2/128"]), (&pair.right, ["10.50.0.1/32", "fd50::1/128"])] {
        for prefix in to {
            let family = if prefix.contains(':') { "-6" } else { "-4" };
            side.namespace.ip(&format!("{family} route {verb} {prefix} dev tp0 {mtu}")).expect("a route");
        }
    }
}

#[test]
fn the_padding_follows_the_mtu_of_the_route() {
    if skip("the_padding_follows_the_mtu_of_the_route") {
        return;
    }
    let pair = deaf_to_one_length();
    for to in ["10.50.0.2", "fd50::2"] {
        assert!(!passes(&pair.left.namespace, to), "canary: {to} by the device's MTU");
    }
    each_has_a_route(&pair, "add", "mtu 1299");
    for to in ["10.50.0.2", "fd50::2"] {
        assert!(wait_until(SOON, || passes(&pair.left.namespace, to)), "{to} by the route's");
    }
    each_has_a_route(&pair, "replace", "");
    for to in ["10.50.0.2", "fd50::2"] {
        assert!(wait_until(SOON, || !passes(&pair.left.namespace, to)), "{to} by the device's again");
    }
}

/// Sends a packet of 1,297 octets in `within`, and says how long the datagrams were that came of it.
fn lengths_sent(side: &Side, within: &Namespace) -> Vec<u64> {
    let counted: String =
        (1290..1400).map(|length| format!("udp dport 51820 meta length {length} counter;\n")).collect();
    let rules = format!(
        "table inet lengths {{}}; delete table inet lengths;
         table inet lengths {{ chain c {{ type filter hook output priority 0; {counted} }}; }}"
    );
    side.namespace.run("nft", [rules.as_str()]).expect("counters");
    let mut command = within.command("ping");
    command.args(["-n", "-c", "1", "-W", "1", "-s", "1269", "10.50.0.2"]).output().expect("ping");
    let table = side.namespace.run("nft", ["list", "table", "inet", "lengths"]).expect("the table");
    let counts = |line: &str| {
        let after = |word: &str| line.split_ascii_whitespace().skip_while(|other| *other != word).nth(1)?.parse().ok();
        after("packets").filter(|packets: &u64| *packets > 0).and(after("length"))
    };
    table.lines().filter_map(counts).collect()
}

#[test]
fn a_device_that_was_moved_is_followed() {
    if skip("a_device_that_was_moved_is_followed") {
        return;
    }
    let pair = Pair::new("192.0.2.1:51820", "192.0.2.2:51820");
    assert!(pair.left.reaches("10.50.0.2"));
    let elsewhere = Namespace::new("elsewhere").expect("root");
    pair.left.namespace.ip(&format!("link set tp0 netns {}", elsewhere.path().display())).expect("moved");
    elsewhere.address("tp0", "10.50.0.1/24").expect("an address");
    let becomes = |length: u64, within: &Namespace, what: &str| {
        let came = wait_until(SOON, || lengths_sent(&pair.left, within) == [length]);
        assert!(came, "{what}: {:?}", lengths_sent(&pair.left, within));
    };
    becomes(1372, &elsewhere, "1,312 octets, and 60 of headers");
    elsewhere.ip("link set tp0 mtu 1300").expect("an MTU");
    becomes(1360, &elsewhere, "the device's MTU there");
    elsewhere.ip("route add 10.50.0.2/32 dev tp0 mtu 1299").expect("a route");
    becomes(1359, &elsewhere, "the route's MTU there");
    let home = &pair.left.namespace;
    elsewhere.ip(&format!("link set tp0 netns {}", home.path().display())).expect("moved back");
    home.address("tp0", "10.50.0.1/24").expect("an address");
    becomes(1360, home, "the route is gone, the device's MTU is not");
}

#[test]
fn the_kernel_tells_the_routes_of_one_device_that_have_an_mtu() {
    if skip("the_kernel_tells_the_routes_of_one_device_that_have_an_mtu") {
        return;
    }
    let at = Namespace::new("routes").expect("root");
    let [tun, _other] = ["tp0", "tp1"].map(|name| at.enter(|| Tun::create(name)).expect("root").expect("a device"));
    at.address("tp0", "10.50.0.1/24").expect("an address");
    at.address("tp1", "10.51.0.1/24").expect("an address");
    at.ip("link set tp0 mtu 1400").expect("an MTU");
    let checked = at.enter(|| {
        let mut watch = MtuWatch::open().expect("netlink");
        let look = |watch: &mut MtuWatch| watch.look(&tun.name().expect("a name")).expect("the device");
        assert_eq!(look(&mut watch), Facts { mtu: 1400, routes: vec![] });
        assert!(!watch.drain().expect("events"), "all happened before");
        at.ip("route add 10.60.0.0/16 dev tp0").expect("a route");
        at.ip("route add 10.61.0.0/16 dev tp1 mtu 1000").expect("a route");
        assert!(!watch.drain().expect("events"), "nothing that changes anything");
        for words in [
            "route add 10.0.0.0/8 dev tp0 mtu 1300",
            "route add 10.1.0.0/16 dev tp0 table 200 mtu lock 1200",
            "route add 10.62.0.0/16 mtu 1100 nexthop dev tp1 nexthop dev tp0",
            "route add unreachable 10.63.0.0/16",
            "-6 route add fd60::/64 dev tp0 mtu 1280",
            "-6 route add fd61::/64 dev tp0",
        ] {
            at.ip(words).expect("a route");
        }
        assert!(watch.drain().expect("events"));
        let route = |text: &str, mtu| (text.parse().expect("a prefix"), mtu);
        let mut expected = vec![
            route("10.0.0.0/8", Some(1300)),
            route("10.1.0.0/16", Some(1200)),
            route("10.50.0.0/24", None),
            route("10.60.0.0/16", None),
            route("10.62.0.0/16", Some(1100)),
            route("fd60::/64", Some(1280)),
        ];
        expected.sort_unstable();
        assert_eq!(look(&mut watch), Facts { mtu: 1400, routes: expected });
        at.ip("route del 10.60.0.0/16").expect("gone");
        assert!(watch.drain().expect("events"), "now it matters");
        at.ip("link set tp0 mtu 1399").expect("an MTU");
        assert!(watch.drain().expect("events"));
        assert!(watch.look("tp9").is_err(), "no such device");
    });
    checked.expect("the namespace");
}
