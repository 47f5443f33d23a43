//! What the kernel takes off us: each offload can be absent, and packets are the same with it and without.

use std::net::UdpSocket;
use std::time::Duration;

use turnpike::dataplane::{Offload, OffloadState, Offloads, Options};
use turnpike::lab::guard::{skip, wait_for, wait_until};

use crate::carry::{OUTER, exchange};
use crate::lab::{Pair, SOON, Side};

fn with(offloads: Offloads) -> Pair {
    Pair::with(Options { offloads, ..Options::default() }, OUTER[0].0, OUTER[0].1)
}

fn state(side: &Side, offload: Offload) -> OffloadState {
    side.observe().offloads.into_iter().find(|(one, _)| *one == offload).expect("every offload").1
}

/// Sends UDP datagrams of many lengths, and expects all of them, in order.
fn datagrams(pair: &Pair) {
    let receiver = pair.right.namespace.enter(|| UdpSocket::bind("10.50.0.2:4001")).expect("right").expect("a port");
    let sender = pair.left.namespace.enter(|| UdpSocket::bind("10.50.0.1:4001")).expect("left").expect("a port");
    receiver.set_read_timeout(Some(SOON)).expect("a timeout");
    let mut room = [0; 4096];
    for round in 0..20_u8 {
        let sent: Vec<Vec<u8>> = (0..40).map(|n| vec![round ^ n; 1 + usize::from(n / 10) * 400]).collect();
        for datagram in &sent {
            sender.send_to(datagram, "10.50.0.2:4001").expect("sent");
        }
        for datagram in &sent {
            let length = receiver.recv(&mut room).expect("a datagram");
            assert_eq!(&room[..length], datagram);
        }
    }
}

#[test]
fn everything_crosses_with_and_without_each_offload() {
    if skip("everything_crosses_with_and_without_each_offload") {
        return;
    }
    let sets = Offload::ALL.iter().map(|one| Offloads::ALL.without(*one));
    for offloads in sets.chain([Offloads::ALL, Offloads::NONE]) {
        let pair = with(offloads);
        assert!(pair.left.reaches("10.50.0.2"));
        exchange("10.50.0.2:4000", &pair);
        exchange("[fd50::2]:4000", &pair);
        datagrams(&pair);
        for &offload in Offload::ALL {
            let expected = if offloads.has(offload) { OffloadState::On } else { OffloadState::Off };
            assert_eq!(state(&pair.left, offload), expected, "{offload:?}");
        }
        for side in [&pair.left, &pair.right] {
            for reason in ["malformed_outgoing", "malformed_packet", "tun_refused", "send_failed", "unauthentic"] {
                assert_eq!(side.drops(reason), 0, "{reason} with {offloads:?}");
            }
        }
    }
}

/// How many datagrams the outer path's output has seen, a train being one.
fn outer_packets(side: &Side) -> u64 {
    let listed = side.output("nft", &["-j", "list", "counters"]);
    let text = String::from_utf8(listed.stdout).expect("JSON");
    let (_, rest) = text.split_once("\"packets\": ").or_else(|| text.split_once("\"packets\":")).expect("a counter");
    rest.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).expect("a number")
}

fn count_outer_packets(side: &Side) {
    let rules = "add table inet count\nadd counter inet count outer\n\
                 add chain inet count output { type filter hook output priority 0; }\n\
                 add rule inet count output udp dport 51820 counter name outer";
    assert!(side.output("nft", &[rules]).status.success());
}

#[test]
fn datagrams_leave_in_trains_unless_that_is_switched_off() {
    if skip("datagrams_leave_in_trains_unless_that_is_switched_off") {
        return;
    }
    let ratio = |offloads| {
        let pair = with(offloads);
        count_outer_packets(&pair.left);
        assert!(pair.left.reaches("10.50.0.2"));
        exchange("10.50.0.2:4000", &pair);
        assert_eq!(pair.left.link().trains, offloads.has(Offload::UdpGso));
        let sent = || pair.left.link().sent_packets;
        assert!(sent() > 3000, "{} datagrams of 4 MiB and its answers", sent());
        // Of one instant: the last acknowledgements may still be on their way.
        let counts = wait_for(SOON, || Some((sent(), outer_packets(&pair.left))).filter(|counts| counts.0 == sent()));
        counts.expect("silence")
    };
    let (sent, seen) = ratio(Offloads::ALL.without(Offload::UdpGso));
    assert_eq!(sent, seen, "canary: one by one, both counts agree");
    let (sent, seen) = ratio(Offloads::ALL);
    assert!(seen * 3 < sent, "{sent} datagrams in {seen} trains");
}

#[test]
fn a_path_that_takes_no_trains_gets_datagrams_one_by_one() {
    if skip("a_path_that_takes_no_trains_gets_datagrams_one_by_one") {
        return;
    }
    let pair = with(Offloads::ALL);
    // The kernel refuses trains whose segments are longer than the MTU, and fragments single datagrams.
    for side in [&pair.left, &pair.right] {
        side.namespace.ip("link set eth0 mtu 1400").expect("narrow");
    }
    assert!(pair.left.reaches("10.50.0.2"));
    exchange("10.50.0.2:4000", &pair);
    assert_eq!(state(&pair.left, Offload::UdpGso), OffloadState::On, "for other paths");
    assert!(!pair.left.link().trains, "and it is told");
    for reason in ["send_failed", "send_blocked"] {
        assert_eq!((pair.left.drops(reason), pair.right.drops(reason)), (0, 0), "{reason}");
    }
    assert!(wait_until(Duration::from_secs(1), || pair.left.ping_once("10.50.0.2", 1372)));
}
