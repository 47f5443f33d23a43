//! A hub: relays without connection tracking, and the ministry behind it judged as at an edge.

use turnpike::bundle::{Match, Policy, Rule};
use turnpike::lab::guard::skip;
use turnpike::ruleset::{self, Instrument};

use crate::packet::{ACK, Ends, SYN, fragments, icmp, tcp, udp};
use crate::place::{self, Gateway, policy, rule};
use crate::router::{Router, TUNNEL, WAN, compile};

const MINISTRY: &str = "eth1";

fn rules() -> Vec<Rule> {
    vec![
        rule(1, "100.64.3.20", place::tcp(443), 7),
        rule(1, "100.64.3.20", Match::Ports { protocol: 17, first: 5000, last: 5999 }, 7),
        rule(1, "100.64.3.20", Match::Icmp { protocol: 1, kind: 8 }, 7),
        rule(3, "100.64.4.20", place::tcp(443), 9),
        rule(4, "100.64.3.20", Match::Any, 10),
        rule(1, "fd64:3::20", place::tcp(443), 7),
        rule(1, "fd64:3::20", Match::Ports { protocol: 17, first: 5000, last: 5999 }, 7),
    ]
}

fn hub() -> Policy {
    policy(Gateway::Hub, &rules(), &[])
}

fn flows() -> [Ends; 2] {
    [Ends::new("100.64.1.5", "100.64.3.20"), Ends::new("fd64:1::5", "fd64:3::20")]
}

#[test]
fn a_relay_passes_what_is_granted_in_both_directions_without_having_seen_the_beginning() {
    if skip("a_relay_passes_what_is_granted_in_both_directions_without_having_seen_the_beginning") {
        return;
    }
    let router = Router::new(&hub());
    for ends in flows() {
        assert_eq!(router.passes(TUNNEL, TUNNEL, &tcp(ends.back(), (443, 40_000), ACK, b"x")).ends, ends.back());
        router.passes(TUNNEL, TUNNEL, &tcp(ends.back(), (443, 40_000), SYN | ACK, b""));
        router.passes(TUNNEL, TUNNEL, &tcp(ends, (40_000, 443), SYN, b""));
        router.passes(TUNNEL, TUNNEL, &udp(ends.back(), (5999, 40_000), b"x"));
        router.passes(TUNNEL, TUNNEL, &udp(ends, (40_000, 5000), b"x"));
        router.blocks(TUNNEL, TUNNEL, &tcp(ends.back(), (443, 40_000), SYN, b""));
        router.blocks(TUNNEL, TUNNEL, &tcp(ends.back(), (444, 40_000), ACK, b""));
        router.blocks(TUNNEL, TUNNEL, &udp(ends, (40_000, 4999), b"x"));
        router.blocks(TUNNEL, TUNNEL, &udp(ends.back(), (6000, 40_000), b"x"));
    }
    let counters = router.counters();
    assert_eq!(counters[&Instrument::Agreement { agreement: 7, department: 1 }].packets, 10);
    assert_eq!(counters[&Instrument::Denied(1)].packets, 2);
    assert_eq!(counters[&Instrument::Denied(3)].packets, 6);
}

#[test]
fn a_relay_keeps_no_connection_of_others() {
    if skip("a_relay_keeps_no_connection_of_others") {
        return;
    }
    let router = Router::new(&hub());
    let tracked = || router.space.run("cat", ["/proc/sys/net/netfilter/nf_conntrack_count"]).expect("a count");
    for ends in flows() {
        router.passes(TUNNEL, TUNNEL, &tcp(ends, (40_000, 443), SYN, b""));
    }
    assert_eq!(tracked(), "0\n");
    router.passes(TUNNEL, MINISTRY, &tcp(Ends::new("100.64.3.5", "100.64.4.20"), (40_000, 443), SYN, b""));
    assert_eq!(tracked(), "1\n");
}

#[test]
fn a_department_behind_the_hub_is_judged_and_mapped_as_at_an_edge() {
    if skip("a_department_behind_the_hub_is_judged_and_mapped_as_at_an_edge") {
        return;
    }
    let router = Router::new(&hub());
    let ends = Ends::new("100.64.3.5", "100.64.4.20");
    let there = router.passes(TUNNEL, MINISTRY, &tcp(ends, (40_000, 443), SYN, b""));
    assert_eq!(there.ends, Ends::new("100.64.3.5", "10.4.0.20"));
    assert_eq!(
        router.passes(MINISTRY, TUNNEL, &tcp(there.ends.back(), (443, 40_000), SYN | ACK, b"")).ends,
        ends.back()
    );
    let out = Ends::new("10.4.0.9", "100.64.3.20");
    assert_eq!(
        router.passes(MINISTRY, TUNNEL, &udp(out, (1, 2), b"")).ends.source,
        Ends::new("100.64.4.9", "::").source
    );
    router.blocks(TUNNEL, MINISTRY, &tcp(Ends::new("100.64.1.5", "100.64.4.20"), (40_000, 443), SYN, b""));
    router.blocks(TUNNEL, MINISTRY, &tcp(Ends::new("100.64.3.5", "10.4.0.20"), (40_000, 443), SYN, b""));
    router.blocks(TUNNEL, MINISTRY, &udp(Ends::new("100.64.3.21", "100.64.4.9"), (2, 1), b""));
    router.blocks(MINISTRY, TUNNEL, &udp(Ends::new("10.5.0.9", "100.64.3.20"), (1, 2), b""));
    router.blocks(MINISTRY, TUNNEL, &udp(Ends::new("10.4.0.9", "100.64.1.20"), (1, 2), b""));
    // The ministry's address does not come from the tunnel.
    router.blocks(TUNNEL, TUNNEL, &udp(Ends::new("100.64.4.9", "100.64.3.20"), (1, 2), b""));
}

#[test]
fn a_deleted_element_stops_a_relayed_flow_at_once_in_both_directions() {
    if skip("a_deleted_element_stops_a_relayed_flow_at_once_in_both_directions") {
        return;
    }
    let router = Router::new(&hub());
    let [ends, other] = flows();
    let packets = [tcp(ends, (40_000, 443), ACK, b""), tcp(ends.back(), (443, 40_000), ACK, b"")];
    packets.iter().for_each(|packet| drop(router.passes(TUNNEL, TUNNEL, packet)));
    let revoked = compile(&policy(Gateway::Hub, &rules()[1..], &[]));
    router.nft.apply(&ruleset::diff(&compile(&hub()), &revoked)).expect("a diff");
    packets.iter().for_each(|packet| router.blocks(TUNNEL, TUNNEL, packet));
    router.passes(TUNNEL, TUNNEL, &tcp(other, (40_000, 443), ACK, b""));
}

#[test]
fn a_flushed_hub_relays_nothing() {
    if skip("a_flushed_hub_relays_nothing") {
        return;
    }
    let router = Router::new(&hub());
    let packets = [
        tcp(flows()[0], (40_000, 443), SYN, b""),
        tcp(flows()[1], (40_000, 443), SYN, b""),
        tcp(Ends::new("100.64.3.5", "10.4.0.20"), (40_000, 443), SYN, b""),
    ];
    router.passes(TUNNEL, TUNNEL, &packets[0]);
    router.shell("nft flush ruleset");
    for packet in &packets {
        [TUNNEL, MINISTRY, WAN].iter().for_each(|to| {
            let seen = router.through(TUNNEL, to, packet);
            assert!(
                seen.iter().all(|seen| seen.protocol == 1
                    && seen.ends.source == "100.127.0.1".parse::<std::net::IpAddr>().expect("ours")),
                "{seen:?}"
            );
        });
    }
    router.nft.load(&compile(&hub())).expect("a repair");
    router.passes(TUNNEL, TUNNEL, &packets[0]);
}

#[test]
fn fragments_of_a_granted_datagram_pass_a_relay_and_of_another_do_not() {
    if skip("fragments_of_a_granted_datagram_pass_a_relay_and_of_another_do_not") {
        return;
    }
    let router = Router::new(&hub());
    let payload = vec![7; 3000];
    for ends in flows() {
        crate::fragmented(&router, (TUNNEL, TUNNEL), &udp(ends, (40_000, 5000), &payload), ends);
        crate::fragmented(&router, (TUNNEL, TUNNEL), &udp(ends.back(), (5000, 40_000), &payload), ends.back());
        for piece in fragments(&udp(ends, (40_000, 80), &payload), 1200, 9) {
            router.blocks(TUNNEL, TUNNEL, &piece);
        }
        let mut lone = fragments(&udp(ends, (40_000, 5000), &payload), 1200, 10);
        router.blocks(TUNNEL, TUNNEL, &lone.remove(1));
    }
}

#[test]
fn an_icmp_error_passes_a_relay_between_hosts_that_have_an_agreement() {
    if skip("an_icmp_error_passes_a_relay_between_hosts_that_have_an_agreement") {
        return;
    }
    let router = Router::new(&hub());
    let ends = flows()[0];
    let error = |from: &str, kind| icmp(Ends::new(from, "100.64.1.5"), kind, 1, [0; 4], &udp(ends, (1, 5000), b"abcd"));
    router.passes(TUNNEL, TUNNEL, &error("100.64.3.20", 3));
    router.passes(TUNNEL, TUNNEL, &icmp(ends, 3, 3, [0; 4], &udp(ends.back(), (5000, 1), b"abcd")));
    router.blocks(TUNNEL, TUNNEL, &error("100.64.3.21", 3));
    router.blocks(TUNNEL, TUNNEL, &error("100.64.3.20", 5));
}
