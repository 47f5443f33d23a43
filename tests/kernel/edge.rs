//! An edge: Leeds, with a mapped department at eth1 and one whose overlay is its real prefix at eth2.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use turnpike::bundle::{Destination, Guardrail, Match, Policy, Rule};
use turnpike::lab::guard::{skip, wait_until};
use turnpike::ruleset::{self, Count, Counters, Instrument, Reason};

use crate::packet::{ACK, Ends, RST, SYN, fragments, icmp, tcp, udp};
use crate::place::{self, Gateway, parse, policy, rule};
use crate::router::{Router, TUNNEL, WAN, compile};

const A: &str = "eth1";
const B: &str = "eth2";

/// Department 1 may reach York's .20 on tcp/443, udp/5000-5999 and by echo request, in both families; department 2
/// on tcp/443; York may reach Leeds' .20 on tcp/80.
fn rules() -> Vec<Rule> {
    vec![
        rule(1, "100.64.3.20", place::tcp(443), 7),
        rule(1, "100.64.3.20", Match::Ports { protocol: 17, first: 5000, last: 5999 }, 7),
        rule(1, "100.64.3.20", Match::Icmp { protocol: 1, kind: 8 }, 7),
        rule(2, "100.64.3.20", place::tcp(443), 8),
        rule(3, "100.64.1.20", place::tcp(80), 9),
        rule(1, "fd64:3::20", place::tcp(443), 7),
        rule(1, "fd64:3::20", Match::Ports { protocol: 17, first: 5000, last: 5999 }, 7),
        rule(1, "fd64:3::20", Match::Icmp { protocol: 58, kind: 128 }, 7),
    ]
}

fn leeds() -> Policy {
    policy(Gateway::Leeds, &rules(), &[])
}

/// A legacy host of department 1 to York, as its segment sees it, and as the overlay does.
fn out() -> [(Ends, Ends); 2] {
    [
        (Ends::new("192.168.1.5", "100.64.3.20"), Ends::new("100.64.1.5", "100.64.3.20")),
        (Ends::new("fd00:1::5", "fd64:3::20"), Ends::new("fd64:1::5", "fd64:3::20")),
    ]
}

fn packets(counters: &Counters, instrument: &Instrument) -> u64 {
    counters.get(instrument).map_or(0, |count: &Count| count.packets)
}

#[test]
fn a_granted_flow_passes_mapped_in_both_directions_and_both_families() {
    if skip("a_granted_flow_passes_mapped_in_both_directions_and_both_families") {
        return;
    }
    let router = Router::new(&leeds());
    for (real, overlay) in out() {
        let there = router.passes(A, TUNNEL, &tcp(real, (40_000, 443), SYN, b""));
        assert_eq!((there.ends, there.ports()), (overlay, (40_000, 443)));
        let back = router.passes(TUNNEL, A, &tcp(overlay.back(), (443, 40_000), SYN | ACK, b""));
        assert_eq!((back.ends, back.ports()), (real.back(), (443, 40_000)));
        router.blocks(A, TUNNEL, &tcp(real, (40_000, 444), SYN, b""));
        router.blocks(A, TUNNEL, &udp(real, (40_000, 443), b""));
        router.blocks(TUNNEL, A, &tcp(overlay.back(), (443, 40_001), SYN, b""));
        router.blocks(TUNNEL, A, &udp(overlay.back(), (5000, 40_001), b""));
        assert_eq!(router.passes(A, TUNNEL, &udp(real, (40_001, 5999), b"x")).ends, overlay);
        assert_eq!(router.passes(TUNNEL, A, &udp(overlay.back(), (5999, 40_001), b"x")).ends, real.back());
        router.blocks(A, TUNNEL, &udp(real, (40_001, 6000), b"x"));
    }
    let counters = router.counters();
    assert_eq!(packets(&counters, &Instrument::Agreement { agreement: 7, department: 1 }), 8);
    assert_eq!(packets(&counters, &Instrument::Denied(1)), 6);
    assert_eq!(packets(&counters, &Instrument::Denied(3)), 4);
}

#[test]
fn a_service_is_reached_at_its_real_address_by_who_may_alone() {
    if skip("a_service_is_reached_at_its_real_address_by_who_may_alone") {
        return;
    }
    let router = Router::new(&leeds());
    let ends = Ends::new("100.64.3.9", "100.64.1.20");
    let there = router.passes(TUNNEL, A, &tcp(ends, (50_000, 80), SYN, b""));
    assert_eq!(there.ends, Ends::new("100.64.3.9", "192.168.1.20"));
    let back = router.passes(A, TUNNEL, &tcp(there.ends.back(), (80, 50_000), SYN | ACK, b""));
    assert_eq!(back.ends, ends.back());
    router.blocks(TUNNEL, A, &tcp(Ends::new("100.64.4.9", "100.64.1.20"), (50_000, 80), SYN, b""));
    router.blocks(TUNNEL, A, &tcp(Ends::new("100.64.3.9", "100.64.1.21"), (50_000, 80), SYN, b""));
    router.blocks(TUNNEL, A, &tcp(Ends::new("100.64.3.9", "192.168.1.20"), (50_000, 80), SYN, b""));
    router.blocks(A, TUNNEL, &tcp(Ends::new("192.168.1.20", "100.64.3.9"), (80, 50_001), SYN, b""));
}

#[test]
fn where_overlay_equals_real_a_reply_finds_the_segment() {
    if skip("where_overlay_equals_real_a_reply_finds_the_segment") {
        return;
    }
    let router = Router::new(&leeds());
    let ends = Ends::new("100.64.2.5", "100.64.3.20");
    assert_eq!(router.passes(B, TUNNEL, &tcp(ends, (40_000, 443), SYN, b"")).ends, ends);
    assert_eq!(router.passes(TUNNEL, B, &tcp(ends.back(), (443, 40_000), SYN | ACK, b"")).ends, ends.back());
    router.blocks(TUNNEL, B, &tcp(ends.back(), (443, 40_000), SYN, b""));
    router.blocks(B, TUNNEL, &udp(ends, (40_000, 443), b""));
}

#[test]
fn echo_passes_with_its_reply_and_errors_only_as_related() {
    if skip("echo_passes_with_its_reply_and_errors_only_as_related") {
        return;
    }
    let router = Router::new(&leeds());
    for ((real, overlay), (request, reply)) in out().into_iter().zip([(8, 0), (128, 129)]) {
        assert_eq!(router.passes(A, TUNNEL, &icmp(real, request, 0, [0, 1, 0, 1], b"")).ends, overlay);
        assert_eq!(router.passes(TUNNEL, A, &icmp(overlay.back(), reply, 0, [0, 1, 0, 1], b"")).ends, real.back());
        router.blocks(TUNNEL, A, &icmp(overlay.back(), reply, 0, [0, 2, 0, 1], b""));
        router.blocks(TUNNEL, A, &icmp(overlay.back(), request, 0, [0, 3, 0, 1], b""));
        let (port, other) = (udp(overlay, (41_000, 5000), b"abcdefgh"), udp(overlay, (41_001, 5000), b"abcdefgh"));
        router.passes(A, TUNNEL, &udp(real, (41_000, 5000), b"abcdefgh"));
        let unreachable = if request == 8 { (3, 3) } else { (1, 4) };
        let error = |about: &[u8]| icmp(overlay.back(), unreachable.0, unreachable.1, [0; 4], about);
        let seen = router.passes(TUNNEL, A, &error(&port));
        assert_eq!(seen.ends, real.back());
        router.blocks(TUNNEL, A, &error(&other));
        if request == 8 {
            router.blocks(TUNNEL, A, &icmp(overlay.back(), 5, 1, [192, 168, 1, 9], &port));
        }
    }
}

#[test]
fn a_source_that_does_not_belong_there_is_dropped_and_counted() {
    if skip("a_source_that_does_not_belong_there_is_dropped_and_counted") {
        return;
    }
    let router = Router::new(&leeds());
    let open = |source: &str| tcp(Ends::new(source, "100.64.3.20"), (40_000, 443), SYN, b"");
    for source in ["192.168.2.5", "192.168.0.255", "100.64.2.5", "100.64.1.5", "203.0.113.9"] {
        router.blocks(A, TUNNEL, &open(source));
    }
    router.blocks(B, TUNNEL, &open("192.168.1.5"));
    router.blocks(TUNNEL, A, &tcp(Ends::new("100.64.2.5", "100.64.1.20"), (40_000, 80), SYN, b""));
    router.passes(A, TUNNEL, &open("192.168.1.5"));
    router.passes(B, TUNNEL, &open("100.64.2.5"));
    router.blocks(A, TUNNEL, &tcp(Ends::new("fd00:2::5", "fd64:3::20"), (40_000, 443), SYN, b""));
    assert_eq!(packets(&router.counters(), &Instrument::Dropped(Reason::Spoofed)), 8);
}

#[test]
fn a_deleted_element_stops_an_established_flow_at_once_in_both_directions() {
    if skip("a_deleted_element_stops_an_established_flow_at_once_in_both_directions") {
        return;
    }
    let router = Router::new(&leeds());
    let without = |host: &str| {
        let kept: Vec<Rule> =
            rules().into_iter().filter(|rule| rule.destination.to_string() != host || rule.agreement != 7).collect();
        compile(&policy(Gateway::Leeds, &kept, &[]))
    };
    let stays = Ends::new("100.64.2.5", "100.64.3.20");
    router.passes(B, TUNNEL, &tcp(stays, (40_000, 443), SYN, b""));
    router.passes(TUNNEL, B, &tcp(stays.back(), (443, 40_000), SYN | ACK, b""));
    for (real, overlay) in out() {
        let there = |flags| tcp(real, (40_000, 443), flags, b"");
        let back = |flags| tcp(overlay.back(), (443, 40_000), flags, b"");
        router.passes(A, TUNNEL, &there(SYN));
        router.passes(TUNNEL, A, &back(SYN | ACK));
        router.passes(A, TUNNEL, &there(ACK));
        router.passes(TUNNEL, A, &back(ACK));
        let revoked = without(&overlay.destination.to_string());
        router.nft.apply(&ruleset::diff(&compile(&leeds()), &revoked)).expect("a diff");
        router.blocks(A, TUNNEL, &there(ACK));
        router.blocks(TUNNEL, A, &back(ACK));
        router.passes(TUNNEL, B, &tcp(stays.back(), (443, 40_000), ACK, b""));
        router.nft.apply(&ruleset::diff(&revoked, &compile(&leeds()))).expect("a diff");
        router.passes(A, TUNNEL, &there(ACK));
        router.passes(TUNNEL, A, &back(ACK));
    }
}

#[test]
fn a_tunnel_whose_gateway_died_closes_by_itself_and_opens_when_it_is_back() {
    if skip("a_tunnel_whose_gateway_died_closes_by_itself_and_opens_when_it_is_back") {
        return;
    }
    let router = Router::new(&leeds());
    let [(real, overlay), _] = out();
    let there = tcp(real, (40_000, 443), SYN, b"");
    let back = tcp(overlay.back(), (443, 40_000), SYN | ACK, b"");
    router.nft.apply(&compile(&leeds()).alive_for(1)).expect("alive");
    router.passes(A, TUNNEL, &there);
    router.passes(TUNNEL, A, &back);
    wait_until(Duration::from_millis(1200), || false);
    router.blocks(A, TUNNEL, &there);
    router.blocks(TUNNEL, A, &back);
    assert_eq!(packets(&router.counters(), &Instrument::Dropped(Reason::NotAlive)), 2);
    router.nft.apply(&compile(&leeds()).alive()).expect("alive");
    router.passes(A, TUNNEL, &there);
    router.passes(TUNNEL, A, &back);
}

#[test]
fn a_flushed_ruleset_closes_both_ways_for_mapped_and_unmapped() {
    if skip("a_flushed_ruleset_closes_both_ways_for_mapped_and_unmapped") {
        return;
    }
    let router = Router::new(&leeds());
    let [(real, overlay), _] = out();
    let equal = Ends::new("100.64.2.5", "100.64.3.20");
    let cases = [
        (A, TUNNEL, tcp(real, (40_000, 443), SYN, b"")),
        (TUNNEL, A, tcp(overlay.back(), (443, 40_000), SYN | ACK, b"")),
        (B, TUNNEL, tcp(equal, (40_000, 443), SYN, b"")),
        (TUNNEL, B, tcp(equal.back(), (443, 40_000), SYN | ACK, b"")),
    ];
    let control = udp(Ends::new("203.0.113.9", "203.0.113.2"), (1, 9), b"");
    cases.iter().for_each(|(from, to, packet)| drop(router.passes(from, to, packet)));
    router.shell("nft flush ruleset");
    for (from, _, packet) in &cases {
        for to in [A, B, TUNNEL, WAN] {
            if to != *from {
                router.blocks(from, to, packet);
            }
        }
    }
    assert_eq!(router.passes(WAN, WAN, &control).protocol, 1, "the host itself is reachable and answers");
    let straight = tcp(Ends::new("100.64.3.20", "192.168.1.5"), (443, 40_000), SYN, b"");
    router.blocks(TUNNEL, A, &straight);
    router.nft.load(&compile(&leeds())).expect("a repair");
    cases.iter().for_each(|(from, to, packet)| drop(router.passes(from, to, packet)));
}

#[test]
fn a_guardrail_is_counted_by_itself_and_by_department() {
    if skip("a_guardrail_is_counted_by_itself_and_by_department") {
        return;
    }
    let telnet = Guardrail {
        id: parse("G-1"),
        from: Vec::new(),
        to: Destination { prefixes: Vec::new(), ports: vec![place::tcp(23)] },
    };
    let host = Guardrail {
        id: parse("G-2"),
        from: vec![parse("100.64.1.0/24"), parse("fd64:1::/64")],
        to: Destination { prefixes: vec![parse("100.64.3.21/32"), parse("fd64:3::21/128")], ports: Vec::new() },
    };
    let mut granted = rules();
    granted.push(rule(1, "100.64.3.20", place::tcp(23), 7));
    granted.push(rule(1, "fd64:3::21", Match::Any, 7));
    let router = Router::new(&policy(Gateway::Leeds, &granted, &[telnet, host]));
    let [(real, _), (real6, _)] = out();
    router.passes(A, TUNNEL, &tcp(real, (40_000, 443), SYN, b""));
    router.blocks(A, TUNNEL, &tcp(real, (40_000, 23), SYN, b""));
    router.blocks(A, TUNNEL, &tcp(real6, (40_000, 23), SYN, b""));
    router.blocks(A, TUNNEL, &udp(Ends::new("fd00:1::5", "fd64:3::21"), (1, 2), b""));
    router.blocks(TUNNEL, A, &tcp(Ends::new("100.64.3.9", "100.64.1.20"), (5, 23), SYN, b""));
    let counters = router.counters();
    assert_eq!(packets(&counters, &Instrument::Guardrail(parse("G-1"))), 3);
    assert_eq!(packets(&counters, &Instrument::Guardrail(parse("G-2"))), 1);
    assert_eq!(packets(&counters, &Instrument::Guarded(1)), 3);
    assert_eq!(packets(&counters, &Instrument::Guarded(3)), 1);
}

#[test]
fn the_segment_size_is_clamped_in_both_directions_and_both_families() {
    if skip("the_segment_size_is_clamped_in_both_directions_and_both_families") {
        return;
    }
    let router = Router::new(&leeds());
    for ((real, overlay), size) in out().into_iter().zip([1380, 1360]) {
        assert_eq!(router.passes(A, TUNNEL, &tcp(real, (40_000, 443), SYN, b"")).segment_size(), size);
        let answer = tcp(overlay.back(), (443, 40_000), SYN | ACK, b"");
        assert_eq!(router.passes(TUNNEL, A, &answer).segment_size(), size);
    }
}

#[test]
fn fragments_of_a_granted_datagram_pass_and_of_another_do_not() {
    if skip("fragments_of_a_granted_datagram_pass_and_of_another_do_not") {
        return;
    }
    let router = Router::new(&leeds());
    let payload: Vec<u8> = (0..3000_u32).map(|at| at.to_le_bytes()[0]).collect();
    for (real, overlay) in out() {
        crate::fragmented(&router, (A, TUNNEL), &udp(real, (40_000, 5000), &payload), overlay);
        crate::fragmented(&router, (TUNNEL, A), &udp(overlay.back(), (5000, 40_000), &payload), real.back());
        for (id, piece) in fragments(&udp(real, (40_000, 80), &payload), 1200, 9).iter().enumerate() {
            router.blocks(A, TUNNEL, piece);
            assert!(id < 3);
        }
    }
}

#[test]
fn no_overlay_address_leaves_or_enters_by_a_wan() {
    if skip("no_overlay_address_leaves_or_enters_by_a_wan") {
        return;
    }
    let router = Router::new(&leeds());
    router.shell("ip route replace 100.64.4.0/24 dev wan0; ip route add 198.51.100.0/24 dev wan0");
    let to_wan = |source: &str, destination: &str| udp(Ends::new(source, destination), (1, 2), b"");
    router.blocks(A, WAN, &to_wan("192.168.1.5", "100.64.4.20"));
    router.blocks(A, WAN, &to_wan("192.168.1.5", "198.51.100.1"));
    router.blocks(WAN, A, &to_wan("100.64.3.20", "192.168.1.5"));
    router.blocks(WAN, A, &to_wan("198.51.100.1", "192.168.1.5"));
    router.blocks(WAN, TUNNEL, &to_wan("198.51.100.1", "100.64.3.20"));
    router.blocks(WAN, WAN, &to_wan("198.51.100.1", "100.64.4.20"));
    router.blocks(WAN, WAN, &to_wan("198.51.100.1", "192.168.1.1"));
    router.passes(WAN, WAN, &to_wan("198.51.100.1", "203.0.113.3"));
    let counters = router.counters();
    assert_eq!(packets(&counters, &Instrument::Dropped(Reason::Foreign)), 4);
}

#[test]
fn the_gateway_answers_echo_and_metrics_where_it_should_and_its_wan_is_left_alone() {
    if skip("the_gateway_answers_echo_and_metrics_where_it_should_and_its_wan_is_left_alone") {
        return;
    }
    let router = Router::new(&leeds());
    let echo = |source: &str, to: &str| icmp(Ends::new(source, to), 8, 0, [0, 1, 0, 1], b"");
    let open = |source: &str, to: &str, port| tcp(Ends::new(source, to), (40_000, port), SYN, b"");
    let is_reset = |seen: crate::packet::Seen| seen.rest[13] & RST != 0;
    assert_eq!(router.passes(TUNNEL, TUNNEL, &echo("100.127.0.1", "100.127.0.2")).rest[0], 0);
    assert!(is_reset(router.passes(TUNNEL, TUNNEL, &open("100.127.0.1", "100.127.0.2", 9587))));
    router.blocks(TUNNEL, TUNNEL, &open("100.127.0.1", "100.127.0.2", 22));
    router.blocks(TUNNEL, TUNNEL, &echo("100.64.3.20", "100.127.0.2"));
    router.blocks(TUNNEL, TUNNEL, &open("100.64.3.20", "100.127.0.2", 9587));
    router.blocks(TUNNEL, TUNNEL, &echo("100.127.0.1", "192.168.1.1"));
    assert_eq!(router.passes(A, A, &echo("192.168.1.5", "192.168.1.1")).rest[0], 0);
    router.blocks(A, A, &open("192.168.1.5", "192.168.1.1", 22));
    router.blocks(A, A, &open("192.168.1.5", "100.127.0.2", 9587));
    assert!(is_reset(router.passes(WAN, WAN, &open("203.0.113.9", "203.0.113.2", 22))));
    router.blocks(WAN, WAN, &echo("203.0.113.9", "100.127.0.2"));
}

#[test]
fn an_edge_that_was_restarted_takes_up_the_middle_of_a_connection_but_no_opening() {
    if skip("an_edge_that_was_restarted_takes_up_the_middle_of_a_connection_but_no_opening") {
        return;
    }
    let router = Router::new(&leeds());
    let [(real, overlay), _] = out();
    let back = |port, flags| tcp(overlay.back(), (443, port), flags, b"data");
    let there = |port| tcp(real, (port, 443), ACK, b"data");
    for _ in 0..2 {
        assert_eq!(router.passes(TUNNEL, A, &back(40_000, ACK)).ends, real.back());
        assert_eq!(router.passes(A, TUNNEL, &there(40_000)).ends, overlay);
        router.passes(A, TUNNEL, &there(40_001));
        router.passes(TUNNEL, A, &back(40_001, ACK));
    }
    router.blocks(TUNNEL, A, &back(40_002, SYN));
    router.blocks(TUNNEL, A, &tcp(overlay.back(), (444, 40_002), ACK, b""));
}

/// Allowed and forbidden packets alternate without pause while the table is changed in place again and again.
#[test]
fn changes_in_place_lose_nothing_and_leak_nothing_under_traffic() {
    if skip("changes_in_place_lose_nothing_and_leak_nothing_under_traffic") {
        return;
    }
    let router = Router::new(&leeds());
    let [(real, _), _] = out();
    let (allowed, forbidden) = (udp(real, (40_000, 5000), b"yes"), udp(real, (40_000, 6000), b"no"));
    let (mut sent, mut passed, mut leaked, mut changes) = (0_u64, 0_u64, 0_u64, 0_u64);
    let done = AtomicBool::new(false);
    let mut more = rules();
    more.push(rule(1, "100.64.3.99", place::tcp(1), 7));
    let (old, new) = (compile(&leeds()), compile(&policy(Gateway::Leeds, &more, &[])));
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                router.write(A, &allowed);
                router.write(A, &forbidden);
                sent += 1;
                while let Some(packet) = router.read(TUNNEL) {
                    match crate::packet::read(&packet).map(|seen| seen.rest[8..].to_vec()).as_deref() {
                        Some(b"yes") => passed += 1,
                        Some(b"no") => leaked += 1,
                        Some(_) | None => {}
                    }
                }
            }
        });
        for _ in 0..8 {
            router.nft.apply(&ruleset::diff(&old, &new)).expect("a diff");
            router.nft.apply(&compile(&leeds()).alive()).expect("alive");
            router.nft.apply(&ruleset::diff(&new, &old)).expect("a diff");
            router.nft.load(&old).expect("a load in place");
            changes += 4;
        }
        done.store(true, Ordering::Relaxed);
        traffic.join().expect("traffic");
    });
    eprintln!(
        "{changes} changes under {sent} allowed and {sent} forbidden packets: {} lost, {leaked} leaked",
        sent - passed
    );
    assert!(sent > 1000, "traffic stood still");
    assert_eq!((passed, leaked), (sent, 0));
}
