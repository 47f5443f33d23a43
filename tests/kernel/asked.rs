//! The kernel asked by netlink: single elements as packets find them, and chains that can be compared.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use turnpike::bundle::{Destination, Guardrail, Match, Rule};
use turnpike::lab::guard::{Namespace, skip};
use turnpike::net::{Aim, Flow, Protocol};
use turnpike::ruleset::{self, Held, Part, Probe, Ruleset, SegmentEnd, TABLE, Way};
use turnpike::sys::netns::{self, Handle};
use turnpike::sys::nftables::{Chain, Kernel, Nft};

use crate::place::{Gateway, one_of_each, parse, policy, rule, tcp};
use crate::router::devices;

fn nft(space: &Namespace) -> Nft {
    Nft::new().within(Handle::open(&space.path()).expect("the namespace"))
}

fn compiled(gateway: Gateway, rules: &[Rule], guardrails: &[Guardrail]) -> Ruleset {
    Ruleset::compile(&policy(gateway, rules, guardrails), &devices()).expect("it compiles")
}

fn no_telnet() -> Vec<Guardrail> {
    let to =
        Destination { prefixes: Vec::new(), ports: vec![tcp(23), Match::Ports { protocol: 17, first: 1, last: 9 }] };
    vec![Guardrail { id: parse("G-1"), from: vec![parse("100.64.1.0/24"), parse("fd64:1::/64")], to }]
}

/// What another kernel's namespace makes of the chains.
fn elsewhere(ruleset: &Ruleset) -> BTreeMap<String, Chain> {
    let nft = Nft::new().within(netns::passing().expect("a namespace"));
    nft.apply(&ruleset.without_elements().refill()).expect("a load");
    nft.kernel().expect("a socket").chains(TABLE).expect("chains")
}

fn flow(source: &str, destination: &str, protocol: Protocol, aim: Aim) -> Flow {
    Flow { source: parse(source), destination: parse(destination), protocol, aim }
}

/// From tunnel to tunnel.
fn transit(flow: Flow, department: u32) -> Way {
    Way { flow, tunnel: "tp0".into(), department: Some(department), input: None, output: None }
}

fn held(kernel: &mut Kernel, probe: &Probe) -> Held {
    match kernel.element(TABLE, &probe.set, &probe.octets).expect("an answer").map(|element| element.value) {
        None => Held::Nothing,
        Some(None) => Held::Member,
        Some(Some(value)) => Held::Mark(u32::from_ne_bytes(value.as_slice().try_into().expect("a mark"))),
    }
}

/// The agreement that the kernel finds; every answer on the way is the one that was compiled.
fn agreement(kernel: &mut Kernel, ruleset: &Ruleset, way: &Way) -> Option<u32> {
    let mut found = None;
    for probe in ruleset.probes(way) {
        let held = held(kernel, &probe);
        assert_eq!(held, probe.expected, "{probe:?}");
        match (probe.part, held) {
            (Part::Agreement, Held::Mark(mark)) => found = found.or(Some(mark)),
            (Part::Agreement | Part::Alive | Part::Place | Part::Department, _) => {}
        }
    }
    found
}

#[test]
fn every_kind_of_element_is_found_as_a_packet_finds_it() {
    if skip("every_kind_of_element_is_found_as_a_packet_finds_it") {
        return;
    }
    let (icmp, icmp6) = (Protocol::ICMP, Protocol::ICMPV6);
    let (udp, sctp) = (Protocol::UDP, Protocol::SCTP);
    let port = Aim::Port;
    let asked = [
        (1, "100.64.1.9", "100.64.3.20", Protocol::TCP, port(443), Some(7)),
        (1, "100.64.1.9", "100.64.3.20", Protocol::TCP, port(444), None),
        (1, "100.64.1.9", "100.64.3.20", udp, port(5000), Some(7)),
        (1, "100.64.1.9", "100.64.3.20", udp, port(5500), Some(7)),
        (1, "100.64.1.9", "100.64.3.20", udp, port(5999), Some(7)),
        (1, "100.64.1.9", "100.64.3.20", udp, port(4999), None),
        (1, "100.64.1.9", "100.64.3.20", udp, port(6000), None),
        (1, "100.64.1.9", "100.64.3.20", icmp, Aim::Icmp(8), Some(7)),
        (1, "100.64.1.9", "100.64.3.20", icmp, Aim::Icmp(13), None),
        (2, "100.64.2.9", "100.64.3.20", Protocol::ESP, Aim::Nothing, Some(8)),
        (3, "100.64.3.9", "100.64.4.20", Protocol::GRE, Aim::Nothing, Some(9)),
        (1, "fd64:1::9", "fd64:3::20", Protocol::TCP, port(443), Some(7)),
        (1, "fd64:1::9", "fd64:3::20", sctp, port(40_000), Some(7)),
        (1, "fd64:1::9", "fd64:3::20", icmp6, Aim::Icmp(128), Some(7)),
        (1, "fd64:1::9", "fd64:3::21", udp, port(53), Some(10)),
        (1, "fd64:1::9", "fd64:3::22", udp, port(53), None),
    ];
    let ruleset = compiled(Gateway::Hub, &one_of_each(), &no_telnet());
    let space = Namespace::new("asked").expect("a namespace");
    nft(&space).load(&ruleset).expect("a load");
    let mut kernel = nft(&space).kernel().expect("a socket");
    for (department, source, destination, protocol, aim, expected) in asked {
        let way = transit(flow(source, destination, protocol, aim), department);
        assert_eq!(agreement(&mut kernel, &ruleset, &way), expected, "{way:?}");
    }
    // From a segment, and between two of them, where both addresses are real.
    let near = [rule(1, "100.64.2.20", tcp(443), 7), rule(1, "100.64.3.20", tcp(443), 8)];
    let ruleset = compiled(Gateway::Leeds, &near, &[]);
    let space = Namespace::new("asked").expect("a namespace");
    nft(&space).load(&ruleset).expect("a load");
    let mut kernel = nft(&space).kernel().expect("a socket");
    let input = Some(SegmentEnd { device: "eth1".into(), real: parse("192.168.1.9") });
    let out = flow("100.64.1.9", "100.64.3.20", Protocol::TCP, port(443));
    let way = Way { input: input.clone(), ..transit(out, 1) };
    assert_eq!(agreement(&mut kernel, &ruleset, &way), Some(8));
    let local = flow("192.168.1.9", "100.64.2.20", Protocol::TCP, port(443));
    let way = Way { input, output: Some("eth2".into()), ..transit(local, 1) };
    assert_eq!(agreement(&mut kernel, &ruleset, &way), Some(7));
    let alive =
        kernel.element(TABLE, "s_alive", b"eth1\0\0\0\0\0\0\0\0\0\0\0\0").expect("an answer").expect("it stands");
    assert!(alive.expires.is_some_and(|left| left > 10_000 && left <= 30_000), "{alive:?}");
    assert!(!kernel.has_table("elsewhere").expect("an answer") && kernel.has_table(TABLE).expect("an answer"));
}

#[test]
fn chains_are_equal_wherever_they_were_loaded_and_however_and_a_foreign_hand_shows() {
    if skip("chains_are_equal_wherever_they_were_loaded_and_however_and_a_foreign_hand_shows") {
        return;
    }
    for gateway in [Gateway::Leeds, Gateway::Hub] {
        let (bare, guarded) = (compiled(gateway, &one_of_each(), &[]), compiled(gateway, &one_of_each(), &no_telnet()));
        let space = Namespace::new("chains").expect("a namespace");
        nft(&space).load(&bare).expect("a load");
        let mut kernel = nft(&space).kernel().expect("a socket");
        let mut chains = || kernel.chains(TABLE).expect("chains");
        assert_eq!(chains(), elsewhere(&bare), "{gateway:?}");
        assert_ne!(chains(), elsewhere(&guarded));
        // By a difference the anonymous sets get other numbers, and by a refill again.
        nft(&space).apply(&ruleset::diff(&bare, &guarded)).expect("a diff");
        assert_eq!(chains(), elsewhere(&guarded));
        nft(&space).apply(&guarded.refill()).expect("a refill");
        assert_eq!(chains(), elsewhere(&guarded));
        nft(&space).apply(&ruleset::diff(&guarded, &bare)).expect("a diff");
        let expected = elsewhere(&bare);
        assert_eq!(chains(), expected);
        for (words, chain) in [
            (&["insert", "rule", "inet", TABLE, "c_policy", "accept"][..], "c_policy"),
            (&["flush", "chain", "inet", TABLE, "c_denied"], "c_denied"),
            (&["chain", "inet", TABLE, "c_forward", "{ policy drop; }"], "c_forward"),
            // An anonymous set with another element.
            (&["replace"], "c_go4"),
        ] {
            if words == ["replace"] {
                let listed = space.run("nft", ["-a", "list", "chain", "inet", TABLE, chain]).expect("a listing");
                let line = listed.lines().find(|line| line.contains("m_port4")).expect("the rule");
                let (rule, handle) = line.split_once(" # handle ").expect("a handle");
                let changed = rule.replacen("sctp", "udplite", 1).replacen("132", "136", 1);
                assert_ne!(rule, changed, "{rule}");
                let command = format!("replace rule inet {TABLE} {chain} handle {handle} {}", changed.trim());
                space.run("nft", [command.as_str()]).expect("replaced");
            } else {
                space.run("nft", words.iter().copied()).expect("it is done");
            }
            let held = chains();
            let wrong: Vec<_> =
                expected.keys().filter(|&name| held[name].difference(&expected[name]).is_some()).collect();
            assert_eq!(wrong, [chain], "{words:?}");
            nft(&space).apply(&bare.load_all()).expect("a load");
            assert_eq!(chains(), expected);
        }
    }
}

#[test]
fn an_answer_takes_no_longer_among_many_elements() {
    const MANY: u32 = 50_000;
    if skip("an_answer_takes_no_longer_among_many_elements") {
        return;
    }
    let space = Namespace::new("many").expect("a namespace");
    let host = |number: u32| IpAddr::from((u32::from_be_bytes([100, 64, 3, 0]) + number % 256).to_be_bytes());
    let port = |number: u32| u16::try_from(number / 256 + 1).expect("a port");
    let rules: Vec<Rule> = (0..MANY)
        .map(|number| Rule { destination: host(number), ..rule(1, "100.64.3.0", tcp(port(number)), number + 1) })
        .collect();
    let ruleset = compiled(Gateway::Hub, &rules, &[]);
    nft(&space).load(&ruleset).expect("a load");
    let mut kernel = nft(&space).kernel().expect("a socket");
    let began = Instant::now();
    for number in (0..MANY).step_by(500) {
        let source = parse("100.64.1.9");
        let flow = Flow { source, destination: host(number), protocol: Protocol::TCP, aim: Aim::Port(port(number)) };
        assert_eq!(agreement(&mut kernel, &ruleset, &transit(flow, 1)), Some(number + 1));
    }
    let answers = began.elapsed();
    let began = Instant::now();
    assert_eq!(kernel.chains(TABLE).expect("chains"), elsewhere(&ruleset));
    eprintln!(
        "100 answers among {MANY} elements in {answers:?}, all chains and a load elsewhere in {:?}",
        began.elapsed()
    );
    assert!(answers < Duration::from_secs(2), "{answers:?}");
}
