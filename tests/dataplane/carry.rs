//! What the tunnel is for: packets of both families cross it, over both families.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use turnpike::dataplane::Dataplane;
use turnpike::identity::PrivateKey;
use turnpike::lab::guard::{Namespace, skip, veth, wait_until};

use crate::lab::{Pair, SOON, endpoint, plan, start};

pub const OUTER: [(&str, &str); 2] =
    [("192.0.2.1:51820", "192.0.2.2:51820"), ("[2001:db8::1]:51820", "[2001:db8::2]:51820")];

#[test]
fn both_families_cross_over_both_families() {
    if skip("both_families_cross_over_both_families") {
        return;
    }
    for (left, right) in OUTER {
        let pair = Pair::new(left, right);
        for inner in ["10.50.0.2", "fd50::2"] {
            assert!(pair.left.reaches(inner), "{inner} over {right}");
            for size in [0, 1, 15, 16, 17, 1000, 1372, 4000] {
                assert!(pair.left.ping_once(inner, size), "{size} octets to {inner} over {right}");
            }
        }
        let link = pair.left.link();
        assert!(link.alive && link.handshakes == 1, "{link:?}");
        assert_eq!(link.endpoint, Some(right.parse().expect("an address")));
        assert_eq!(pair.left.drops("malformed_outgoing"), 0);
        assert!(link.sent_packets > 18 && link.received_bytes > 12_000, "{link:?}");
    }
}

/// Sends 4 MiB each way at once and compares them.
pub fn exchange(to: &'static str, pair: &Pair) {
    const OCTETS: usize = 4 << 20;
    let address: SocketAddr = to.parse().expect("an address");
    let pattern: Vec<u8> = (0..OCTETS).map(|n| u8::try_from(n * n % 253).expect("small")).collect();
    let listener = pair.right.namespace.enter(|| TcpListener::bind(address).expect("a port")).expect("right");
    let stream = pair.left.namespace.enter(|| TcpStream::connect_timeout(&address, SOON)).expect("left");
    let stream = stream.expect("a connection");
    let (peer, _) = listener.accept().expect("a connection");
    let both = |mut stream: TcpStream| {
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        let mut writer = stream.try_clone().expect("a clone");
        let sent = pattern.clone();
        let write = thread::spawn(move || writer.write_all(&sent));
        let mut received = vec![0; OCTETS];
        stream.read_exact(&mut received).expect("all of it");
        write.join().expect("no panic").expect("all of it");
        received
    };
    thread::scope(|scope| {
        let there = scope.spawn(|| both(peer));
        assert!(both(stream) == pattern);
        assert!(there.join().expect("no panic") == pattern);
    });
}

#[test]
fn tcp_carries_both_ways_at_once_unchanged() {
    if skip("tcp_carries_both_ways_at_once_unchanged") {
        return;
    }
    let pair = Pair::new(OUTER[0].0, OUTER[0].1);
    exchange("10.50.0.2:4000", &pair);
    exchange("[fd50::2]:4000", &pair);
}

/// Two sides with a router between them whose second wire takes 1,300 octets, and who says nothing about it.
fn behind_a_narrow_wire() -> (Namespace, Namespace, Namespace, [Dataplane; 2]) {
    let made = |label| Namespace::new(label).expect("root");
    let (left, router, right) = (made("left"), made("router"), made("right"));
    veth(&left, "eth0", &router, "left").expect("a wire");
    veth(&right, "eth0", &router, "right").expect("a wire");
    let at = |namespace: &Namespace, device: &str, address: &str| namespace.address(device, address).expect(address);
    at(&left, "eth0", "192.0.2.1/24");
    at(&router, "left", "192.0.2.254/24");
    at(&right, "eth0", "198.51.100.1/24");
    at(&router, "right", "198.51.100.254/24");
    left.route("default", "via 192.0.2.254").expect("a route");
    right.route("default", "via 198.51.100.254").expect("a route");
    router.sysctl("net.ipv4.ip_forward", "1").expect("a router");
    router.ip("link set right mtu 1300").expect("narrow");
    right.ip("link set eth0 mtu 1300").expect("narrow");
    // No ICMP of the router's own leaves it.
    router.ip("rule add iif lo ipproto icmp prohibit").expect("silent");
    let keys = [PrivateKey::generate().expect("entropy"), PrivateKey::generate().expect("entropy")];
    let planes = [start(&left, &["10.50.0.1/24"]), start(&right, &["10.50.0.2/24"])];
    let to = |address: &str| endpoint(&format!("{address}:51820"));
    planes[0].apply(plan(&keys[0], &keys[1], to("198.51.100.1"), &["10.50.0.2/32"])).expect("a good plan");
    planes[1].apply(plan(&keys[1], &keys[0], to("192.0.2.1"), &["10.50.0.1/32"])).expect("a good plan");
    (left, router, right, planes)
}

#[test]
fn datagrams_too_long_for_a_silent_router_are_fragmented() {
    if skip("datagrams_too_long_for_a_silent_router_are_fragmented") {
        return;
    }
    let (left, _router, _right, _planes) = behind_a_narrow_wire();
    let ping = |size: &str, more: &[&str]| {
        let mut command = left.command("ping");
        let output = command.args(["-n", "-c", "1", "-W", "2", "-s", size]).args(more).output().expect("ping");
        output.status.success()
    };
    assert!(wait_until(SOON, || ping("56", &["10.50.0.2"])));
    assert!(!ping("1372", &["-M", "do", "198.51.100.1"]), "canary: outside the tunnel, such packets are lost");
    assert!(ping("1372", &["10.50.0.2"]));
}
