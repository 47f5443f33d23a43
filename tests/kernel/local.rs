//! Two segments of one edge: Leeds' departments 1 at eth1, mapped, and 2 at eth2, whose overlay is its real prefix.

use std::time::Duration;

use turnpike::bundle::{Destination, Guardrail, Match, Policy, Rule};
use turnpike::lab::guard::{skip, wait_until};
use turnpike::ruleset::{self, Instrument, Reason};

use crate::packet::{ACK, Ends, SYN, icmp, tcp, udp};
use crate::place::{self, Gateway, parse, policy, rule};
use crate::router::{Router, TUNNEL, WAN, compile};

const A: &str = "eth1";
const B: &str = "eth2";

/// Department 1 may reach .20 of department 2 on tcp/443; that one may reach .20 of department 1 on tcp/80 and by echo
/// request, and everything at its .21.
fn rules() -> Vec<Rule> {
    vec![
        rule(1, "100.64.2.20", place::tcp(443), 21),
        rule(2, "100.64.1.20", place::tcp(80), 22),
        rule(2, "100.64.1.20", Match::Icmp { protocol: 1, kind: 8 }, 22),
        rule(2, "100.64.1.21", Match::Any, 23),
    ]
}

fn leeds() -> Policy {
    policy(Gateway::Leeds, &rules(), &[])
}

/// A host of one segment to one of the other.
fn ends(from: &str, to: &str) -> Ends {
    Ends::new(from, to)
}

fn packets(router: &Router, instrument: &Instrument) -> u64 {
    router.counters().get(instrument).map_or(0, |count| count.packets)
}

#[test]
fn a_local_agreement_opens_the_way_between_two_segments_and_only_that_way() {
    if skip("a_local_agreement_opens_the_way_between_two_segments_and_only_that_way") {
        return;
    }
    let router = Router::new(&leeds());
    let there = ends("192.168.1.5", "100.64.2.20");
    assert_eq!(router.passes(A, B, &tcp(there, (40_000, 443), SYN, b"")).ends, there);
    assert_eq!(router.passes(B, A, &tcp(there.back(), (443, 40_000), SYN | ACK, b"")).ends, there.back());
    router.blocks(A, B, &tcp(there, (40_000, 444), SYN, b""));
    router.blocks(A, B, &udp(there, (40_000, 443), b""));
    router.blocks(A, B, &tcp(ends("192.168.1.5", "100.64.2.21"), (40_000, 443), SYN, b""));
    router.blocks(B, A, &tcp(there.back(), (443, 40_001), SYN, b""));
    assert_eq!(packets(&router, &Instrument::Agreement { agreement: 21, department: 1 }), 2);
    assert_eq!((packets(&router, &Instrument::Denied(1)), packets(&router, &Instrument::Denied(2))), (3, 1));
}

#[test]
fn a_neighbours_service_answers_at_its_real_and_at_its_overlay_address() {
    if skip("a_neighbours_service_answers_at_its_real_and_at_its_overlay_address") {
        return;
    }
    let router = Router::new(&leeds());
    let arrives = ends("100.64.2.5", "192.168.1.20");
    for (id, port, asked) in [(1, 40_000, "192.168.1.20"), (2, 40_001, "100.64.1.20")] {
        let there = ends("100.64.2.5", asked);
        assert_eq!(router.passes(B, A, &tcp(there, (port, 80), SYN, b"")).ends, arrives);
        let answer = tcp(arrives.back(), (80, port), SYN | ACK, b"");
        assert_eq!(router.passes(A, B, &answer).ends, there.back(), "from the address that was asked");
        router.blocks(B, A, &tcp(there, (port, 81), SYN, b""));
        let (request, reply) = (icmp(there, 8, 0, [0, id, 0, 1], b""), icmp(arrives.back(), 0, 0, [0, id, 0, 1], b""));
        router.passes(B, A, &request);
        assert_eq!(router.passes(A, B, &reply).ends, there.back());
        let open = udp(ends("100.64.2.5", &asked.replace(".20", ".21")), (port, 9), b"abcdefgh");
        let through = router.passes(B, A, &open);
        let unreachable = icmp(through.ends.back(), 3, 3, [0; 4], &udp(through.ends, (port, 9), b"abcdefgh"));
        assert_eq!(router.passes(A, B, &unreachable).protocol, 1, "an error about a flow");
        let other = udp(through.ends, (port + 7, 9), b"abcdefgh");
        router.blocks(A, B, &icmp(through.ends.back(), 3, 3, [0; 4], &other));
    }
}

#[test]
fn a_revoked_local_agreement_stops_its_flows_at_once_in_both_directions() {
    if skip("a_revoked_local_agreement_stops_its_flows_at_once_in_both_directions") {
        return;
    }
    let router = Router::new(&leeds());
    let there = |flags| tcp(ends("192.168.1.5", "100.64.2.20"), (40_000, 443), flags, b"");
    let back = |flags| tcp(ends("100.64.2.20", "192.168.1.5"), (443, 40_000), flags, b"");
    router.passes(A, B, &there(SYN));
    router.passes(B, A, &back(SYN | ACK));
    router.passes(A, B, &there(ACK));
    let kept: Vec<Rule> = rules().into_iter().filter(|rule| rule.agreement != 21).collect();
    let revoked = compile(&policy(Gateway::Leeds, &kept, &[]));
    router.nft.apply(&ruleset::diff(&compile(&leeds()), &revoked)).expect("a diff");
    router.blocks(A, B, &there(ACK));
    router.blocks(B, A, &back(ACK));
    router.nft.apply(&ruleset::diff(&revoked, &compile(&leeds()))).expect("a diff");
    router.passes(A, B, &there(ACK));
    router.passes(B, A, &back(ACK));
}

#[test]
fn a_guardrail_in_overlay_terms_holds_between_segments() {
    if skip("a_guardrail_in_overlay_terms_holds_between_segments") {
        return;
    }
    let half = Guardrail {
        id: parse("G-1"),
        from: vec![parse("100.64.2.0/25")],
        to: Destination { prefixes: vec![parse("100.64.1.21/32")], ports: vec![place::tcp(23)] },
    };
    let router = Router::new(&policy(Gateway::Leeds, &rules(), &[half]));
    for asked in ["192.168.1.21", "100.64.1.21"] {
        router.blocks(B, A, &tcp(ends("100.64.2.5", asked), (40_000, 23), SYN, b""));
        router.passes(B, A, &tcp(ends("100.64.2.5", asked), (40_000, 24), SYN, b""));
        router.passes(B, A, &tcp(ends("100.64.2.200", asked), (40_000, 23), SYN, b""));
    }
    assert_eq!(packets(&router, &Instrument::Guardrail(parse("G-1"))), 2);
    assert_eq!(packets(&router, &Instrument::Guarded(2)), 2);
}

#[test]
fn between_segments_nobody_may_use_anothers_address() {
    if skip("between_segments_nobody_may_use_anothers_address") {
        return;
    }
    let router = Router::new(&leeds());
    let open = |source: &str| tcp(ends(source, "100.64.2.20"), (40_000, 443), SYN, b"");
    router.passes(A, B, &open("192.168.1.5"));
    for source in ["192.168.3.5", "100.64.1.5", "203.0.113.9"] {
        router.blocks(A, B, &open(source));
    }
    assert_eq!(packets(&router, &Instrument::Dropped(Reason::Spoofed)), 3);
}

#[test]
fn the_way_between_segments_closes_with_the_gateway_and_without_a_ruleset() {
    if skip("the_way_between_segments_closes_with_the_gateway_and_without_a_ruleset") {
        return;
    }
    let router = Router::new(&leeds());
    let ruleset = compile(&leeds());
    let open = tcp(ends("192.168.1.5", "100.64.2.20"), (40_000, 443), SYN, b"");
    let mapped = tcp(ends("100.64.2.5", "100.64.1.20"), (40_000, 80), SYN, b"");
    router.nft.apply(&ruleset.alive_for(1)).expect("alive");
    router.passes(A, B, &open);
    wait_until(Duration::from_millis(1200), || false);
    router.blocks(A, B, &open);
    router.blocks(B, A, &mapped);
    assert_eq!(packets(&router, &Instrument::Dropped(Reason::NotAlive)), 2);
    router.nft.apply(&ruleset.alive()).expect("alive");
    router.passes(A, B, &open);
    router.passes(B, A, &mapped);
    router.shell("nft flush ruleset");
    for (from, to, packet) in [(A, B, &open), (B, A, &mapped)] {
        for to in [to, TUNNEL, WAN] {
            router.blocks(from, to, packet);
        }
    }
    router.nft.load(&ruleset).expect("a repair");
    router.passes(A, B, &open);
    router.passes(B, A, &mapped);
}
