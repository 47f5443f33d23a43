//! The evaluator against a second reading of the rules: no index, no order, word by word from the definition.

use std::net::IpAddr;

use proptest::prelude::*;
use turnpike::bundle::Match;
use turnpike::net::{Aim, Family, Flow, PortMatch, Protocol};
use turnpike::policy::model::{Model, Object, Subject};
use turnpike::policy::{self, Evaluator, Reason, Verdict, cases};

use crate::definition::{Small, allotted, base, replaced, resolved, time};

const PORTS: [&str; 6] = [
    "[\"tcp/443\"]",
    "[\"tcp/440-450\", \"udp/53\"]",
    "[\"tcp/1-65535\"]",
    "[\"icmp/echo-request\", \"sctp/36412\"]",
    "[\"gre\", \"tcp/23\"]",
    "\"any\"",
];
const DENIED: [&str; 3] = ["any", "c1", "c1/d0"];
const TARGETS: [&str; 5] = ["tcp/23", "c0/s0", "c0/d0", "tcp/445-500", "icmp/echo-request"];

/// Three councils, services with random ports, agreements at random among them, guardrails at random.
fn network() -> impl Strategy<Value = Model> {
    let services = prop::collection::vec((0..PORTS.len(), 1..3_usize), 1..4);
    let agreements = prop::collection::vec((any::<prop::sample::Index>(), 1..3_usize, 0..2_usize), 0..5);
    let guardrails = prop::collection::vec((0..DENIED.len(), 0..TARGETS.len()), 0..3);
    (services, agreements, guardrails).prop_map(|(services, agreements, guardrails)| {
        let mut small = Small::new();
        for council in 0..3 {
            small.council(council);
            small.department(council, 0, 28);
            small.department(council, 1, 28);
        }
        for (number, (ports, hosts)) in services.iter().enumerate() {
            small.service(0, number, *hosts, PORTS[*ports]);
        }
        for (number, (service, council, department)) in agreements.iter().enumerate() {
            let service = format!("c0/s{}", service.index(services.len()));
            small.agreement(number + 1, &service, &[format!("c{council}/d{department}")]);
        }
        for (number, (deny, to)) in guardrails.iter().enumerate() {
            small.guardrail(number + 1, DENIED[*deny], TARGETS[*to]);
        }
        small.sign();
        resolved(&allotted(small.files)).model
    })
}

fn flow(model: &Model, picks: (prop::sample::Index, prop::sample::Index, usize, u8)) -> Flow {
    let (source, destination, protocol, offset) = picks;
    let mappings: Vec<_> = model.departments.iter().flat_map(|department| &department.mappings).collect();
    let from = mappings[source.index(mappings.len())].overlay;
    let hosts: Vec<_> = model.services.iter().flat_map(|service| &service.overlay_hosts).copied().collect();
    let to = hosts[destination.index(hosts.len())];
    let ports = [22, 23, 24, 53, 439, 440, 443, 445, 450, 451, 500, 501, 36412, 65535];
    let port = Aim::Port(ports[usize::from(offset) % ports.len()]);
    let kinds = [0, 8, 13, 128];
    let kind = Aim::Icmp(kinds[usize::from(offset) % kinds.len()]);
    let (protocol, aim) = match protocol {
        0 => (Protocol::TCP, port),
        1 => (Protocol::UDP, port),
        2 => (Protocol::SCTP, port),
        3 => (Protocol::ICMP, kind),
        4 => (Protocol::ICMPV6, kind),
        5 => (Protocol::GRE, Aim::Nothing),
        _ => (Protocol(200), Aim::Nothing),
    };
    Flow { source: if offset % 2 == 0 { from.address() } else { from.last() }, destination: to, protocol, aim }
}

/// What the compiled form of a port asks, applied to a flow.
fn matches(port: turnpike::net::PortMatch, flow: &Flow) -> Vec<Match> {
    let hit = |matching: &Match| match (*matching, flow.aim) {
        (Match::Any, _) => true,
        (Match::Protocol { protocol }, _) => flow.protocol.0 == protocol,
        (Match::Port { protocol, port }, Aim::Port(asked)) => flow.protocol.0 == protocol && port == asked,
        (Match::Ports { protocol, first, last }, Aim::Port(asked)) => {
            flow.protocol.0 == protocol && first <= asked && asked <= last
        }
        (Match::Icmp { protocol, kind }, Aim::Icmp(asked)) => flow.protocol.0 == protocol && kind == asked,
        _ => false,
    };
    policy::matches(port, Family::of(flow.destination)).into_iter().filter(hit).collect()
}

fn kind(matching: &Match) -> u8 {
    match matching {
        Match::Port { .. } => 0,
        Match::Ports { .. } => 1,
        Match::Icmp { .. } => 2,
        Match::Protocol { .. } => 3,
        Match::Any => 4,
    }
}

fn plain(model: &Model, flow: &Flow) -> Verdict {
    let has = |prefixes: &[turnpike::bundle::Mapping], address: IpAddr| {
        prefixes.iter().any(|it| it.overlay.contains(address))
    };
    let Some(source) = model.departments.iter().find(|department| has(&department.mappings, flow.source)) else {
        return Verdict::Deny(Reason::UnknownSource);
    };
    for guardrail in &model.guardrails {
        let from = match &guardrail.deny {
            Subject::Any => true,
            Subject::Council(name) => source.name.council == *name,
            Subject::Department(name) => source.name == *name,
            Subject::Prefix(prefix) => prefix.contains(flow.source),
        };
        let to = match &guardrail.to {
            Object::Any => true,
            Object::Port(port) => !matches(*port, flow).is_empty(),
            Object::Service(name) => model.services.iter().any(|service| {
                service.name == *name
                    && service.overlay_hosts.contains(&flow.destination)
                    && service.ports.iter().any(|port| !matches(*port, flow).is_empty())
            }),
            Object::Department(name) => {
                model.departments.iter().any(|it| it.name == *name && has(&it.mappings, flow.destination))
            }
            Object::Prefix(prefix) => prefix.contains(flow.destination),
        };
        if from && to {
            return Verdict::Deny(Reason::Guardrail(guardrail.id.clone()));
        }
    }
    let mut best: Option<(u8, u32, PortMatch)> = None;
    for agreement in model.agreements.iter().filter(|it| it.in_force() && it.from.contains(&source.name)) {
        for service in model.services.iter().filter(|service| service.name == agreement.service) {
            if service.overlay_hosts.contains(&flow.destination)
                && Family::of(flow.source) == Family::of(flow.destination)
            {
                let hits = |port: &PortMatch| matches(*port, flow).iter().map(|matching| (kind(matching), *port)).min();
                let kinds = service.ports.iter().filter_map(hits);
                best = best.into_iter().chain(kinds.map(|(kind, port)| (kind, agreement.number, port))).min();
            }
        }
    }
    match best {
        Some((_, agreement, port)) => Verdict::Allow { agreement, port },
        None => Verdict::Deny(Reason::NoAgreement),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_readings_agree_on_every_flow(
        model in network(),
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..7_usize, any::<u8>()), 200),
    ) {
        let evaluator = Evaluator::new(&model);
        for picks in picks {
            let flow = flow(&model, picks);
            // Kernel and evaluator never see a packet of two families.
            if Family::of(flow.source) == Family::of(flow.destination) {
                prop_assert_eq!(evaluator.evaluate(&flow), plain(&model, &flow), "{:?}", flow);
            }
        }
    }
}

fn tcp(source: &str, destination: &str, port: u16) -> Flow {
    let address = |text: &str| text.parse().expect("an address");
    Flow { source: address(source), destination: address(destination), protocol: Protocol::TCP, aim: Aim::Port(port) }
}

#[test]
fn each_reason_for_a_denial_has_its_flow() {
    let model = resolved(&base()).model;
    let verdict = |flow: &Flow| policy::evaluate(&model, flow);
    let (benefits, claims) = ("100.64.1.9", "100.64.3.20");
    let by = model.agreements.iter().find(|it| it.id.as_str() == "A-142").expect("the agreement").number;
    assert_eq!(
        verdict(&tcp(benefits, claims, 443)),
        Verdict::Allow { agreement: by, port: "tcp/443".parse().expect("a port") }
    );
    assert_eq!(verdict(&tcp(benefits, claims, 444)), Verdict::Deny(Reason::NoAgreement));
    assert_eq!(verdict(&tcp(benefits, "100.64.3.21", 443)), Verdict::Deny(Reason::UnknownDestination));
    assert_eq!(verdict(&tcp("100.65.0.1", claims, 443)), Verdict::Deny(Reason::UnknownSource));
    assert_eq!(verdict(&tcp(benefits, claims, 23)), Verdict::Deny(Reason::Guardrail("G-1".parse().expect("an id"))));
    assert_eq!(
        verdict(&tcp("100.64.16.1", claims, 443)),
        Verdict::Deny(Reason::Guardrail("G-2".parse().expect("an id")))
    );
}

#[test]
fn the_bases_tests_hold_each_at_its_own_time() {
    let resolved = resolved(&base());
    let outcomes = cases::run(&resolved.model, &resolved.cases, None);
    assert!(outcomes.iter().all(|outcome| outcome.passed), "{outcomes:?}");
    assert_eq!(outcomes[0].at, time("2026-06-01T09:00:00Z"));
    assert_eq!(outcomes[2].at, time("2027-03-31T23:00:00Z"));
    let late = cases::run(&resolved.model, &resolved.cases, Some(time("2030-01-01T00:00:00Z")));
    let passed: Vec<_> = late.iter().map(|outcome| outcome.passed).collect();
    assert_eq!(passed, [false, true, true, true], "in 2030 nothing is in force");
}

#[test]
fn a_test_without_a_time_is_judged_as_of_the_fifth_of_january_2026() {
    let files = replaced(base(), "tests/claims.toml", "as_of = 2026-06-01T10:00:00+01:00\n", "");
    assert_eq!(resolved(&files).cases[0].as_of, time("2026-01-05T12:00:00Z"));
}

#[test]
fn a_test_of_every_port_finds_the_one_that_a_guardrail_takes_out() {
    let rail = "\n[[guardrail]]\nid = \"G-3\"\ndeny = \"any\"\nto = \"udp/5005\"\n\n[[sla]]";
    let resolved = resolved(&replaced(base(), "network.toml", "\n[[sla]]", rail));
    let outcomes = cases::run(&resolved.model, &resolved.cases, None);
    assert!(!outcomes[0].passed);
    let (flow, verdict) = outcomes[0].witness.clone().expect("a flow");
    assert_eq!(flow.aim, Aim::Port(5005));
    assert_eq!(verdict, Verdict::Deny(Reason::Guardrail("G-3".parse().expect("an id"))));
}

#[test]
fn a_test_of_every_address_finds_the_ones_that_a_guardrail_takes_out() {
    let rail = "\n[[guardrail]]\nid = \"G-3\"\ndeny = \"100.64.1.64/30\"\nto = \"any\"\n\n[[sla]]";
    let resolved = resolved(&replaced(base(), "network.toml", "\n[[sla]]", rail));
    let outcomes = cases::run(&resolved.model, &resolved.cases, None);
    let (flow, _) = outcomes[0].witness.clone().expect("a flow");
    assert!(!outcomes[0].passed);
    assert_eq!(flow.source, "100.64.1.64".parse::<IpAddr>().expect("an address"));
}

#[test]
fn a_real_prefix_may_lie_in_the_overlay_where_both_are_equal() {
    let equal = replaced(base(), "councils/leeds.toml", "real = \"10.7.0.0/16\"", "real = \"100.80.0.0/16\"");
    let equal = replaced(equal, "councils/leeds.toml", "host = \"10.7.1.1\"", "host = \"100.80.1.1\"");
    let model = resolved(&equal).model;
    let records = model.services.iter().find(|service| service.name.thing.as_str() == "records").expect("the service");
    assert_eq!(records.hosts, records.overlay_hosts);
}
