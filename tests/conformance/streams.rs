//! TCP and UDP of both families, whole and in order, one stream and fifty, at MTUs of every kind.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use turnpike::lab::guard::{Namespace, wait_until};

use crate::bench::{Node, SOON, Wire};
use crate::rig::Rig;
use crate::scenario::scenarios;

scenarios! {
    Light:
        tcp_passes_whole_in_both_directions_over_ipv4,
        tcp_passes_whole_in_both_directions_over_ipv6,
        tcp_passes_whole_at_the_largest_mtu,
        udp_passes_in_order_and_unchanged,
        the_mtu_of_a_route_bounds_the_padding,
        a_smaller_mtu_holds_at_once;
    Alone:
        fifty_streams_end_well;
}

/// How long a stream may stand still.
const PATIENCE: Duration = Duration::from_secs(15);

/// Datagrams that are on their way at once.
const BURST: usize = 50;

/// Octets that differ everywhere, so that nothing can be lost, doubled or exchanged unseen.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut octets = Vec::with_capacity(length + 8);
    while octets.len() < length {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        octets.extend(state.to_le_bytes());
    }
    octets.truncate(length);
    octets
}

/// Carries `length` octets from one end to an address of the other and compares them.
fn carry(from: &Namespace, to: &Namespace, address: &str, seed: u64, length: usize) -> Result<(), String> {
    let address: SocketAddr = address.parse().expect("an address");
    let listener = to.enter(|| TcpListener::bind(address)).expect("a namespace").expect("a listener");
    let connect = || TcpStream::connect_timeout(&address, PATIENCE);
    let mut stream = from.enter(connect).expect("a namespace").map_err(|error| format!("connecting: {error}"))?;
    let (mut accepted, _) = listener.accept().map_err(|error| format!("accepting: {error}"))?;
    accepted.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
    let sent = noise(seed, length);
    let received = std::thread::scope(|scope| {
        let writer = scope.spawn(|| stream.write_all(&sent).and_then(|()| stream.shutdown(std::net::Shutdown::Write)));
        let mut received = Vec::with_capacity(length);
        let read = accepted.read_to_end(&mut received);
        writer.join().expect("no panic").map_err(|error| format!("writing: {error}"))?;
        read.map_err(|error| format!("reading after {} octets: {error}", received.len()))?;
        Ok::<_, String>(received)
    })?;
    if received == sent { Ok(()) } else { Err(format!("{} octets became {} others", sent.len(), received.len())) }
}

/// One stream in each direction and of each family.
fn carry_all(left: &Node<'_>, right: &Node<'_>, length: usize) {
    assert!(left.reaches("10.9.0.2"), "no session");
    for (from, to, address) in [
        (left, right, "10.9.0.2:7001"),
        (right, left, "10.9.0.1:7001"),
        (left, right, "[fd09::2]:7001"),
        (right, left, "[fd09::1]:7001"),
    ] {
        carry(from.at, to.at, address, 7, length).unwrap_or_else(|error| panic!("to {address}: {error}"));
    }
}

fn tcp_passes_whole_in_both_directions_over_ipv4(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    carry_all(&left, &right, 8 << 20);
}

fn tcp_passes_whole_in_both_directions_over_ipv6(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "2001:db8::2");
    carry_all(&left, &right, 8 << 20);
}

fn set_mtu(nodes: [&Node<'_>; 2], mtu: u32) {
    for node in nodes {
        node.at.ip(&format!("link set {} mtu {mtu}", node.device)).expect("an MTU");
    }
}

/// 34,736 is the largest MTU that Linux's tests use. Outside, the datagrams are fragments.
fn tcp_passes_whole_at_the_largest_mtu(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    set_mtu([&left, &right], 34_736);
    carry_all(&left, &right, 4 << 20);
}

/// Bursts, each of which begins when the one before has arrived: it is content and order that count, not speed, and a queue
/// that never empties may be shortened.
fn udp_passes_in_order_and_unchanged(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    assert!(left.reaches("10.9.0.2"), "no session");
    for (from, to, address) in [(&left, &right, "10.9.0.2:7002"), (&right, &left, "[fd09::1]:7002")] {
        let address: SocketAddr = address.parse().expect("an address");
        let receiver = to.at.enter(|| UdpSocket::bind(address)).expect("a namespace").expect("a socket");
        // What is lost shall not be lost behind the tunnel.
        setsockopt(&receiver, sockopt::RcvBufForce, &(8 << 20)).expect("a buffer");
        let any = SocketAddr::new(if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 0);
        let sender = from.at.enter(|| UdpSocket::bind(any)).expect("a namespace").expect("a socket");
        let datagrams: Vec<Vec<u8>> =
            (0..1500_u16).map(|n| noise(u64::from(n) + 1, 8 + usize::from(n) * 37 % 1360)).collect();
        let arrived = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for (number, burst) in datagrams.chunks(BURST).enumerate() {
                    if !wait_until(PATIENCE, || arrived.load(Ordering::Relaxed) == number * BURST) {
                        return;
                    }
                    for datagram in burst {
                        assert_eq!(sender.send_to(datagram, address).expect("sent"), datagram.len());
                    }
                }
            });
            receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
            let mut octets = [0; 2000];
            for number in 0..datagrams.len() {
                let length = receiver.recv(&mut octets).unwrap_or_else(|_| panic!("lost at {number}, to {address}"));
                let came = datagrams.iter().position(|datagram| *datagram == octets[..length]);
                assert_eq!(came, Some(number), "to {address}");
                arrived.store(number + 1, Ordering::Relaxed);
            }
        });
    }
}

fn fifty_streams_end_well(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    assert!(left.reaches("10.9.0.2"), "no session");
    for streams in [4, 5, 50] {
        let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
            let run = |n: u16| {
                let (from, to, address) = match n % 3 {
                    0 => (&left, &right, format!("10.9.0.2:{}", 7100 + n)),
                    1 => (&right, &left, format!("10.9.0.1:{}", 7100 + n)),
                    _ => (&left, &right, format!("[fd09::2]:{}", 7100 + n)),
                };
                let (from, to) = (from.at, to.at);
                scope.spawn(move || carry(from, to, &address, n.into(), 1 << 20))
            };
            let running: Vec<_> = (0..streams).map(run).collect();
            running.into_iter().map(|stream| stream.join().expect("no panic")).collect()
        });
        let failed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        assert!(failed.is_empty(), "{} of {streams}: {failed:?}", failed.len());
    }
}

/// A packet of 1,297 octets over a route with an MTU of 1,299 is padded to 1,299, not to 1,300 or more: outside these
/// are 1,359 octets.
fn the_mtu_of_a_route_bounds_the_padding(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    set_mtu([&left, &right], 1300);
    assert!(left.reaches("10.9.0.2"), "no session");
    for (at, rules) in [(left.at, "192.0.2.1"), (right.at, "192.0.2.2")] {
        let rules = format!(
            "table ip t {{ chain i {{ type filter hook input priority 0; ip daddr {rules} ip length 1360-1500 drop; }}; }}"
        );
        at.run("nft", [rules.as_str()]).expect("a rule");
    }
    let ping = |size: &str| left.at.run("ping", ["-n", "-c", "1", "-W", "1", "-s", size, "10.9.0.2"]).is_ok();
    assert!(!ping("1269"), "padded to the device's 1,300 it is longer than the way takes");
    left.at.route("10.9.0.2/32", &format!("dev {} mtu 1299", left.device)).expect("a route");
    right.at.route("10.9.0.1/32", &format!("dev {} mtu 1299", right.device)).expect("a route");
    assert!(wait_until(SOON, || ping("1269")), "padded to the route's 1,299");
}

fn a_smaller_mtu_holds_at_once(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    assert!(left.reaches("10.9.0.2"), "no session");
    for mtu in [1420, 1280, 1400, 576, 1420] {
        set_mtu([&left, &right], mtu);
        carry(left.at, right.at, "10.9.0.2:7003", mtu.into(), 2 << 20).unwrap_or_else(|error| panic!("{mtu}: {error}"));
    }
}
