//! What is told of which flow, that nothing is told twice or not at all, and that no name breaks a line.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::bundle::{
    Agreement, Department, Destination, Guardrail, Mapping, Match, Policy, Role, Rule, Segment, Service,
};
use crate::net::Protocol;
use crate::ruleset::Reason;

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect(text)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a time")
}

fn department(number: u32, name: &str, overlay: &str, real: Option<&str>) -> Department {
    let segment = real.map(|real| Segment {
        device: "eth1".into(),
        vlan: None,
        gateway: Vec::new(),
        via: Vec::new(),
        mappings: vec![Mapping { real: parse(real), overlay: parse(overlay) }],
    });
    Department { number, name: parse(name), site: parse("leeds-1"), overlay: vec![parse(overlay)], segment }
}

/// Leeds, where department 1 stands; 2 may reach its host .20 by tcp/443 and by anything at .21.
fn policy() -> Policy {
    let host = |host: &str, matching, agreement| Rule { department: 2, destination: parse(host), matching, agreement };
    let agreement = |number, id: &str, service| Agreement {
        number,
        id: parse(id),
        service,
        from: vec![2],
        class: parse("routine"),
        lease_seconds: 3600,
        not_before: None,
        not_after: None,
        hours: None,
        settled: Vec::new(),
    };
    let service = |number, name: &str, host: &str, port: &str| Service {
        number,
        name: parse(name),
        department: 1,
        hosts: vec![parse(host)],
        ports: vec![parse(port)],
    };
    let guardrail = |id: &str, port| Guardrail {
        id: parse(id),
        from: Vec::new(),
        to: Destination { prefixes: Vec::new(), ports: vec![Match::Port { protocol: 6, port }] },
    };
    let mut rules = vec![
        host("100.64.1.20", Match::Port { protocol: 6, port: 443 }, 7),
        host("100.64.1.20", Match::Ports { protocol: 6, first: 400, last: 500 }, 9),
        host("100.64.1.21", Match::Any, 8),
    ];
    rules.sort_unstable();
    Policy {
        network: parse("connect"),
        gateway: parse("leeds-1"),
        site: parse("leeds-civic"),
        role: Role::Edge,
        overlay: vec![parse("100.64.0.0/10")],
        management: parse("100.127.0.0/16"),
        address: parse("100.127.0.2"),
        allotted: Vec::new(),
        departments: vec![
            department(1, "leeds/revenues", "100.64.1.0/24", Some("192.168.1.0/24")),
            department(2, "york/benefits", "100.64.2.0/24", None),
        ],
        services: vec![
            service(1, "leeds/claims", "100.64.1.20", "tcp/443"),
            service(2, "leeds/files", "100.64.1.21", "any"),
        ],
        agreements: vec![agreement(7, "A-7", 1), agreement(8, "A-8", 2), agreement(9, "A-9", 1)],
        rules,
        signed_after: None,
        shadowed: Vec::new(),
        guardrails: vec![guardrail("G-1", 23), guardrail("G-2", 25)],
        signers: Vec::new(),
        routes: Vec::new(),
    }
}

fn flow(cause: Cause, source: &str, destination: &str, port: u16) -> Flow {
    Flow {
        cause,
        hook: Hook::Prerouting,
        mark: 0,
        input: Some("tp0".into()),
        output: None,
        source: parse(source),
        destination: parse(destination),
        protocol: 6,
        aim: Aim::Port(port),
    }
}

fn directory() -> Directory {
    Directory::new(&policy(), 5, "tp0")
}

fn name(name: &Option<crate::identity::Qualified>) -> String {
    name.as_ref().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn a_flow_that_passed_has_its_agreement_service_and_departments() {
    let event = directory().describe(&flow(Cause::Opened, "100.64.2.9", "100.64.1.20", 443), at(0));
    assert_eq!((event.verdict, event.tier, event.reason.label()), (Verdict::Allowed, Tier::Agreement, "agreement"));
    assert_eq!(event.agreement, Some(parse("A-7")), "the one port goes before the range");
    assert_eq!(
        (name(&event.source_department), name(&event.destination_department)),
        ("york/benefits".into(), "leeds/revenues".into())
    );
    assert_eq!(name(&event.service), "leeds/claims");
    assert_eq!((event.destination_real, event.source_real), (Some(parse("192.168.1.20")), None));
    assert_eq!((event.direction, event.generation), (Some(Direction::Inbound), 5));
    let other =
        |host: &str, port| directory().describe(&flow(Cause::Opened, "100.64.2.9", host, port), at(0)).agreement;
    assert_eq!(other("100.64.1.20", 444), Some(parse("A-9")));
    assert_eq!(other("100.64.1.21", 9), Some(parse("A-8")));
    assert_eq!(other("100.64.1.22", 443), None);
    assert_eq!(other("100.64.1.20", 501), None);
}

#[test]
fn a_flow_that_was_refused_names_no_agreement_and_the_guardrail_that_it_met() {
    let denied = directory().describe(&flow(Cause::NoAgreement, "100.64.2.9", "100.64.1.20", 443), at(0));
    assert_eq!((denied.verdict, denied.tier, denied.agreement), (Verdict::Denied, Tier::Default, None));
    assert_eq!(name(&denied.service), "leeds/claims", "what it asked for");
    for (mark, expected) in [(1, Some("G-1")), (2, Some("G-2")), (3, None), (0, None)] {
        let met = Flow { mark, ..flow(Cause::Guardrail, "100.64.2.9", "100.64.1.20", 23) };
        assert_eq!(directory().describe(&met, at(0)).guardrail, expected.map(parse), "{mark}");
    }
    let marked = Flow { mark: 1, ..flow(Cause::NoAgreement, "100.64.2.9", "100.64.1.20", 23) };
    assert_eq!(directory().describe(&marked, at(0)).guardrail, None);
}

#[test]
fn real_addresses_are_put_in_overlay_terms_where_the_hook_saw_them() {
    let spoofed = Flow {
        input: Some("eth1".into()),
        ..flow(Cause::Dropped(Reason::NotForwarded), "192.168.1.5", "100.64.2.9", 80)
    };
    let event = directory().describe(&spoofed, at(0));
    assert_eq!((event.source, event.source_real), (Some(parse("100.64.1.5")), Some(parse("192.168.1.5"))));
    assert_eq!((name(&event.source_department), event.direction), ("leeds/revenues".into(), Some(Direction::Outbound)));
    // The same octets by the tunnel are nobody's: they are told as they were seen.
    let event = directory().describe(&Flow { input: Some("tp0".into()), ..spoofed.clone() }, at(0));
    assert_eq!((event.source, event.source_real, event.source_department), (Some(parse("192.168.1.5")), None, None));
    // Behind the mapping, on the way to the tunnel, both are overlay.
    let leaving = Flow { hook: Hook::Postrouting, output: Some("tp0".into()), source: parse("100.64.1.5"), ..spoofed };
    let event = directory().describe(&leaving, at(0));
    assert_eq!((event.source, event.source_real), (Some(parse("100.64.1.5")), Some(parse("192.168.1.5"))));
}

#[test]
fn the_way_of_a_packet_is_told_by_its_devices() {
    let relay = Directory::new(&Policy { role: Role::Relay, ..policy() }, 1, "tp0");
    let way = |of: &Directory, hook, input: &str, output: &str| {
        let named = |device: &str| (!device.is_empty()).then(|| device.to_owned());
        let (input, output) = (named(input), named(output));
        of.describe(&Flow { hook, input, output, ..flow(Cause::NoAgreement, "1.2.3.4", "5.6.7.8", 1) }, at(0)).direction
    };
    let edge = directory();
    for (hook, input, output, expected) in [
        (Hook::Prerouting, "tp0", "", Direction::Inbound),
        (Hook::Postrouting, "eth1", "tp0", Direction::Outbound),
        (Hook::Forward, "eth1", "eth1", Direction::Local),
        (Hook::Input, "tp0", "", Direction::Input),
        (Hook::Output, "", "tp0", Direction::Output),
        (Hook::Prerouting, "wan0", "", Direction::Outside),
        (Hook::Postrouting, "wan0", "eth1", Direction::Inbound),
    ] {
        assert_eq!(way(&edge, hook, input, output), Some(expected), "{hook:?} {input} {output}");
    }
    assert_eq!(way(&relay, Hook::Prerouting, "tp0", ""), Some(Direction::Transit));
    assert_eq!(way(&relay, Hook::Postrouting, "tp0", "tp0"), Some(Direction::Transit));
}

fn record(gatherer: &mut Gatherer, flow: Flow, port: u16, second: i64) {
    let directory = directory();
    gatherer.record(flow, Some(port), 60, at(second), |flow| directory.describe(flow, at(second)));
}

fn flush(gatherer: &mut Gatherer, took: Duration) -> Flushed {
    gatherer.flush(took, at(10), |cause| directory().blank(cause, at(10)))
}

#[test]
fn packets_of_one_flow_are_one_event_and_keep_a_source_port_only_if_it_is_the_same() {
    let mut gatherer = Gatherer::new();
    let denied = |port| flow(Cause::NoAgreement, "100.64.2.9", "100.64.1.20", port);
    for (source_port, second) in [(40_000, 1), (40_001, 3)] {
        record(&mut gatherer, denied(80), source_port, second);
    }
    record(&mut gatherer, denied(81), 40_000, 2);
    let Flushed { events, suppressed } = flush(&mut gatherer, WINDOW);
    assert_eq!((events.len(), suppressed), (2, 0));
    let told: Vec<_> =
        events.iter().map(|event| (event.packets, event.bytes, event.source_port, event.suppressed)).collect();
    assert_eq!(told, [(2, 120, None, 0), (1, 60, Some(40_000), 0)], "the largest first");
    assert_eq!((events[0].first, events[0].last, events[0].time), (Some(at(1)), Some(at(3)), at(10)));
    assert!(gatherer.is_empty() && flush(&mut gatherer, WINDOW).events.is_empty());
}

#[test]
fn a_flood_is_bounded_and_hides_no_other_kind_and_the_sum_is_whole() {
    let mut gatherer = Gatherer::new();
    let source = |number: u32| IpAddr::from((0x6440_0200 + number).to_be_bytes()).to_string();
    for number in 0..50_000 {
        record(&mut gatherer, flow(Cause::NoAgreement, &source(number), "100.64.1.20", 80), 1, 1);
    }
    record(&mut gatherer, flow(Cause::Opened, "100.64.2.9", "100.64.1.20", 443), 1, 1);
    gatherer.untold(Cause::NoAgreement, 1_000_000);
    let Flushed { events, suppressed } = flush(&mut gatherer, WINDOW);
    assert_eq!(events.len(), 400 + 1, "the policy's burst, and the flow that passed");
    let of = |cause: Cause| events.iter().filter(move |event| event.reason == cause);
    let sum: u64 = of(Cause::NoAgreement).map(|event| event.packets + event.suppressed).sum();
    assert_eq!((sum, suppressed), (1_050_000, 1_050_000 - 400));
    assert_eq!(of(Cause::NoAgreement).filter(|event| event.suppressed > 0).count(), 1, "told once");
    // The next window has 10 s' worth of tokens, and no more.
    for number in 0..1_000 {
        record(&mut gatherer, flow(Cause::NoAgreement, &source(number), "100.64.1.20", 80), 1, 1);
    }
    assert_eq!(flush(&mut gatherer, WINDOW).events.len(), 200);
}

#[test]
fn what_the_kernel_did_not_tell_is_told_without_addresses_if_nothing_else_is() {
    let mut gatherer = Gatherer::new();
    gatherer.untold(Cause::Dropped(Reason::Spoofed), 7);
    gatherer.untold(Cause::Guardrail, 0);
    let Flushed { events, suppressed } = flush(&mut gatherer, WINDOW);
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((event.suppressed, event.packets, event.source, suppressed), (7, 0, None, 7));
    assert_eq!((event.reason.label(), event.tier, event.first), ("spoofed", Tier::Protection, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn whatever_comes_the_sum_is_whole_at_the_end_of_each_window(
        windows in proptest::collection::vec((0..8_000_u32, 0..3_u64, 0..500_u64, 0..20_u64), 1..4)
    ) {
        let mut gatherer = Gatherer::new();
        for (packets, kinds, untold, seconds) in windows {
            for number in 0..packets {
                let source = IpAddr::from((0x6440_0000 + number % 5_000).to_be_bytes()).to_string();
                let cause = match u64::from(number) % (kinds + 1) {
                    0 => Cause::NoAgreement,
                    1 => Cause::Opened,
                    _ => Cause::Dropped(Reason::Input),
                };
                let flow = flow(cause, &source, "100.64.1.20", 80);
                gatherer.record(flow, None, 1, at(1), |_| directory_blank(cause));
            }
            gatherer.untold(Cause::Dropped(Reason::Leak), untold);
            let flushed = gatherer.flush(Duration::from_secs(seconds), at(2), directory_blank);
            let told: u64 = flushed.events.iter().map(|event| event.packets + event.suppressed).sum();
            prop_assert_eq!(told, u64::from(packets) + untold);
            let suppressed: u64 = flushed.events.iter().map(|event| event.suppressed).sum();
            prop_assert_eq!(suppressed, flushed.suppressed);
            prop_assert!(flushed.events.len() <= 1_000 + 400 + 100 + 12);
        }
    }
}

fn directory_blank(cause: Cause) -> Event {
    thread_local!(static DIRECTORY: Directory = directory());
    DIRECTORY.with(|directory| directory.blank(cause, at(0)))
}

/// Names that a line must survive: ends of line, terminal controls, direction, what looks like an end of the field.
const HOSTILE: &[&str] = &[
    "eth\n1",
    "eth\r\n1",
    "\u{1b}[31m",
    "\u{9b}2J",
    "\u{202e}1hte",
    "\u{2066}x",
    "\u{2028}",
    "\u{feff}",
    "\u{7f}\0\t",
    "\"},{\"",
    "\\u000a",
    "é\u{301}",
    "\u{10ffff}",
    "}; flush ruleset",
];

#[test]
fn no_name_breaks_a_line_or_reaches_a_terminal_raw() {
    for hostile in HOSTILE {
        let mut event = directory().describe(&flow(Cause::Opened, "100.64.2.9", "100.64.1.20", 443), at(0));
        event.device_in = Some((*hostile).to_owned());
        event.device_out = Some(format!("{hostile}\n"));
        let line = String::from_utf8(event.to_json_line().expect("a line")).expect("text");
        let (body, end) = line.split_at(line.len() - 1);
        assert!(end == "\n" && body.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{body}");
        assert_eq!(serde_json::from_str::<Event>(body).expect(body), event, "nothing is lost");
        let journal = String::from_utf8(event.to_journal().expect("fields")).expect("text");
        assert!(
            journal.ends_with('\n') && journal.bytes().all(|octet| octet == b'\n' || (b' '..=b'~').contains(&octet))
        );
        let names: Vec<&str> = journal.lines().map(|line| line.split_once('=').expect("a field").0).collect();
        assert_eq!(names.len(), 4 + serde_json::to_value(&event).expect("an object").as_object().expect("one").len());
        assert!(names.iter().all(|name| name.bytes().all(|octet| octet.is_ascii_uppercase() || octet == b'_')));
    }
}

#[test]
fn the_form_of_a_line_is_this() {
    let mut gatherer = Gatherer::new();
    let denied = Flow {
        aim: Aim::Icmp(8),
        protocol: Protocol::ICMP.0,
        ..flow(Cause::NoAgreement, "100.64.2.9", "100.64.1.20", 0)
    };
    let directory = directory();
    gatherer.record(denied, None, 84, at(1), |flow| directory.describe(flow, at(1)));
    let events = flush(&mut gatherer, WINDOW).events;
    assert_eq!(
        String::from_utf8(events[0].to_json_line().expect("a line")).expect("text"),
        concat!(
            r#"{"schema":1,"time":"2023-11-14T22:13:30Z","network":"connect","gateway":"leeds-1","site":"leeds-civic","#,
            r#""generation":5,"verdict":"denied","reason":"no_agreement","tier":"default","direction":"inbound","#,
            r#""source":"100.64.2.9","source_department":"york/benefits","destination":"100.64.1.20","#,
            r#""destination_real":"192.168.1.20","destination_department":"leeds/revenues","protocol":1,"icmp_type":8,"#,
            r#""device_in":"tp0","packets":1,"bytes":84,"first":"2023-11-14T22:13:21Z","last":"2023-11-14T22:13:21Z","#,
            r#""suppressed":0}"#,
            "\n"
        )
    );
    let journal = String::from_utf8(events[0].to_journal().expect("fields")).expect("text");
    for line in [
        "MESSAGE=denied (no_agreement): 100.64.2.9 york/benefits -> 100.64.1.20 leeds/revenues icmp/8, 1 packets",
        "PRIORITY=5",
        "SYSLOG_IDENTIFIER=turnpike",
        "TURNPIKE_SOURCE_DEPARTMENT=york/benefits",
        "TURNPIKE_SUPPRESSED=0",
    ] {
        assert!(journal.lines().any(|found| found == line), "{line} is not in\n{journal}");
    }
}

/// The shortest of some runs over the same flows, among so many rules.
fn naming(rules: u32) -> Duration {
    let mut policy = policy();
    let host = |number: u32| IpAddr::from((u32::from_be_bytes([100, 64, 128, 0]) + number).to_be_bytes());
    let rule = |number: u32| {
        let matching = Match::Port { protocol: 6, port: 443 };
        Rule { department: 2, destination: host(number), matching, agreement: number + 10 }
    };
    let agreement = |number: u32| Agreement {
        number: number + 10,
        id: parse(&format!("A-{}", number + 10)),
        service: number + 10,
        ..policy.agreements[0].clone()
    };
    let service =
        |number: u32| Service { number: number + 10, hosts: vec![host(number)], ..policy.services[0].clone() };
    let agreements: Vec<_> = (0..rules).map(agreement).collect();
    let services: Vec<_> = (0..rules).map(service).collect();
    policy.agreements.extend(agreements);
    policy.services.extend(services);
    policy.rules.extend((0..rules).map(rule));
    policy.rules.sort_unstable();
    let directory = Directory::new(&policy, 5, "tp0");
    let flows: Vec<Flow> = (0..500)
        .map(|step| Flow {
            destination: host(step * (rules / 500)),
            ..flow(Cause::Opened, "100.64.2.9", "100.64.1.20", 443)
        })
        .collect();
    let run = || {
        let began = std::time::Instant::now();
        for flow in &flows {
            assert!(directory.describe(flow, at(0)).agreement.is_some());
        }
        began.elapsed()
    };
    (0..7).map(|_| run()).min().unwrap_or_default()
}

#[test]
fn naming_a_flow_takes_no_longer_among_100_000_rules() {
    let (few, many) = (naming(500), naming(100_000));
    // Two hundred times as many: a search one by one would take a hundred times as long.
    assert!(many < few * 12, "{few:?} among 500 rules, {many:?} among 100,000");
}
