//! Packets pass: both families inside and outside, up to the largest MTU, whole and in pieces.

use turnpike::lab::guard::{Namespace, wait_until};

use crate::bench::{Node, SOON, Wire};
use crate::rig::{Rig, transfer};
use crate::scenario::scenarios;

scenarios! {
    Light:
        pings_of_both_families_pass_over_ipv4,
        pings_of_both_families_pass_over_ipv6,
        packets_as_large_as_the_mtu_pass_up_to_34736_octets,
        what_is_longer_than_the_wire_allows_is_fragmented_outside,
        fragments_pass_inside,
        counters_are_exact_to_the_octet,
}

/// Ten pings, of which none may be lost. For the last answer ping(8) waits no longer than its interval, so it must
/// not be short.
fn ping_ten(at: &Namespace, to: &str) {
    let said = at.run("ping", ["-n", "-q", "-c", "10", "-i", "0.1", "-W", "1", to]).expect("ten answers");
    assert!(said.contains(" 0% packet loss"), "{to}: {said}");
}

/// Pings in all four combinations of direction and inner family. The first brings up the session.
fn ping_all(left: &Node<'_>, right: &Node<'_>) {
    assert!(left.reaches("10.9.0.2"), "no session");
    for (node, to) in [(left, "10.9.0.2"), (left, "fd09::2"), (right, "10.9.0.1"), (right, "fd09::1")] {
        ping_ten(node.at, to);
    }
    assert_ne!(left.handshake(&right.key), 0, "the time of the handshake is told");
    assert!(left.handshake(&right.key).abs_diff(right.handshake(&left.key)) <= 1, "of the same one at both ends");
}

fn pings_of_both_families_pass_over_ipv4(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    ping_all(&left, &right);
    assert!(right.shown("endpoints", &left.key).is_some_and(|at| at.starts_with("192.0.2.1:")), "learnt");
}

fn pings_of_both_families_pass_over_ipv6(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "2001:db8::2");
    ping_all(&left, &right);
    assert!(right.shown("endpoints", &left.key).is_some_and(|at| at.starts_with("[2001:db8::1]:")), "learnt");
}

/// Sets the MTU of both devices, and sees that unfragmentable packets of exactly that size pass in both directions.
fn passes_at(left: &Node<'_>, right: &Node<'_>, mtu: u32) {
    for node in [left, right] {
        node.at.ip(&format!("link set {} mtu {mtu}", node.device)).expect("an MTU");
    }
    // Echoes have 28 octets of headers in IPv4 and 48 in IPv6.
    for (node, to, size) in [(left, "10.9.0.2", mtu - 28), (right, "10.9.0.1", mtu - 28), (left, "fd09::2", mtu - 48)] {
        let size = size.to_string();
        let ping = || node.at.run("ping", ["-n", "-c", "1", "-W", "1", "-M", "do", "-s", &size, to]).is_ok();
        assert!(wait_until(SOON, ping), "{mtu} octets to {to}");
    }
    let beyond = (mtu - 27).to_string();
    let refused = left.at.run("ping", ["-n", "-c", "1", "-W", "1", "-M", "do", "-s", &beyond, "10.9.0.2"]);
    assert!(refused.is_err(), "one octet more does not pass at {mtu}");
}

fn packets_as_large_as_the_mtu_pass_up_to_34736_octets(rig: &Rig) {
    let wire = Wire::new();
    for end in [&wire.left, &wire.right] {
        end.ip("link set eth0 mtu 65000").expect("a large MTU");
    }
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    for mtu in [1280, 1301, 1420, 9000, 34_736] {
        passes_at(&left, &right, mtu);
    }
}

fn what_is_longer_than_the_wire_allows_is_fragmented_outside(rig: &Rig) {
    for outer in ["192.0.2.2", "2001:db8::2"] {
        let wire = Wire::new();
        let [left, right] = rig.pair(&wire, outer);
        assert!(left.reaches("10.9.0.2"), "no session");
        for mtu in [1500, 4000, 34_736] {
            passes_at(&left, &right, mtu);
        }
    }
}

fn fragments_pass_inside(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    assert!(left.reaches("10.9.0.2"), "no session");
    for (node, to) in [(&left, "10.9.0.2"), (&left, "fd09::2"), (&right, "10.9.0.1"), (&right, "fd09::1")] {
        let said = node.at.run("ping", ["-n", "-q", "-c", "5", "-i", "0.1", "-W", "1", "-s", "20000", to]);
        assert!(said.as_ref().is_ok_and(|said| said.contains(" 0% packet loss")), "20,000 octets to {to}: {said:?}");
    }
}

/// 148 octets of initiation, 92 of response; an echo of 84 octets is padded to 96 and has 32 octets around it. The
/// initiator may confirm the session by a keepalive of 32 octets (WireGuard paper, sections 5.4 and 6.5).
fn counters_are_exact_to_the_octet(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    ping_ten(&wire.left, "10.9.0.2");
    let (initiator, responder) = (transfer(&left), transfer(&right));
    let keepalive = initiator.1 % 128 - 148 % 128;
    assert!([0, 32].contains(&keepalive), "148 + 10 * 128, or 32 more, sent: {initiator:?}");
    assert_eq!(initiator, (92 + 10 * 128, 148 + 10 * 128 + keepalive), "initiator: received, sent");
    assert_eq!(responder, (initiator.1, initiator.0), "responder: received, sent");
}
