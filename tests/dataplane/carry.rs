//! What the tunnel is for: packets of both families cross it, over both families.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use turnpike::lab::guard::skip;

use crate::lab::{Pair, SOON};

const OUTER: [(&str, &str); 2] =
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
fn exchange(to: &'static str, pair: &Pair) {
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
