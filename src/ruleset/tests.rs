//! What is compiled from which policy, and what a change of policy changes.

use std::net::IpAddr;

use super::*;
use crate::bundle::{Agreement, Department, Destination, Guardrail, Match, Policy, Role};
use crate::net::Interface;

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect(text)
}

fn devices() -> Devices {
    Devices { tunnel: "tp0".into(), mtu: 1420, wans: vec!["eth0".into()] }
}

fn rule(port: u16, agreement: u32) -> Rule {
    let destination: IpAddr = parse("100.64.1.20");
    Rule { department: 2, destination, matching: Match::Port { protocol: 6, port }, agreement }
}

/// An edge at which department 1 stands; department 2 may reach its host .20 by TCP.
fn edge() -> Policy {
    let department = |number, name: &str, overlay: &str, segment| Department {
        number,
        name: parse(name),
        site: parse("site"),
        overlay: vec![parse(overlay)],
        segment,
    };
    let segment = Segment {
        device: "eth1".into(),
        vlan: None,
        gateway: vec![parse::<Interface>("192.168.1.1/24")],
        via: Vec::new(),
        mappings: vec![Mapping { real: parse("192.168.1.0/24"), overlay: parse("100.64.1.0/24") }],
    };
    Policy {
        network: parse("connect"),
        gateway: parse("leeds-1"),
        site: parse("leeds-1"),
        role: Role::Edge,
        overlay: vec![parse("100.64.0.0/10")],
        management: parse("100.127.0.0/16"),
        address: parse("100.127.0.2"),
        allotted: vec![parse("100.64.1.0/24"), parse("100.64.2.0/24")],
        departments: vec![
            department(1, "leeds/a", "100.64.1.0/24", Some(segment)),
            department(2, "york/a", "100.64.2.0/24", None),
        ],
        services: Vec::new(),
        agreements: vec![Agreement {
            number: 7,
            id: parse("A-7"),
            service: 1,
            from: vec![2],
            class: parse("routine"),
            lease_seconds: 259_200,
            not_before: None,
            not_after: None,
            hours: None,
            settled: Vec::new(),
        }],
        rules: vec![rule(443, 7)],
        signed_after: None,
        shadowed: Vec::new(),
        guardrails: Vec::new(),
        signers: Vec::new(),
        routes: Vec::new(),
    }
}

fn compiled(policy: &Policy) -> Ruleset {
    Ruleset::compile(policy, &devices()).expect("it compiles")
}

fn commands(batch: &Batch) -> Vec<serde_json::Value> {
    let json = serde_json::to_value(batch).expect("JSON");
    json["nftables"].as_array().expect("commands").clone()
}

#[test]
fn an_equal_policy_changes_nothing() {
    let nothing = diff(&compiled(&edge()), &compiled(&edge()));
    assert!(nothing.is_empty());
    assert_eq!(nothing.len(), 0);
    let mut more = edge();
    more.rules.push(rule(444, 7));
    let something = diff(&compiled(&edge()), &compiled(&more));
    assert!(!something.is_empty() && something.len() == 1);
}

#[test]
fn elements_are_counted_and_a_table_without_them_has_none() {
    let ruleset = compiled(&edge());
    let listed = commands(&ruleset.load_all());
    let elements = |command: &serde_json::Value| {
        command.pointer("/add/element/elem").and_then(|elements| elements.as_array().map(Vec::len)).unwrap_or(0)
    };
    assert_eq!(ruleset.len(), listed.iter().map(elements).sum::<usize>());
    assert!(!ruleset.is_empty());
    let bare = ruleset.without_elements();
    assert!(bare.is_empty());
    assert_eq!(bare.len(), 0);
    assert_eq!(bare.shape(), ruleset.shape());
}

#[test]
fn a_rule_stands_in_one_map_under_one_key_as_nft_writes_it() {
    assert_eq!(element(&rule(443, 7)), Some(("m_port4".to_owned(), "0x80000002 . 100.64.1.20 . 6 . 443".to_owned())));
    let never = Rule { matching: Match::Icmp { protocol: 58, kind: 128 }, ..rule(443, 7) };
    assert_eq!(element(&never), None, "there is no ICMPv6 over IPv4");
}

#[test]
fn an_mtu_below_that_of_ipv6_is_refused() {
    let of = |mtu| Ruleset::compile(&edge(), &Devices { mtu, ..devices() });
    assert_eq!(of(1279), Err(CompileError::Mtu(1279)));
    assert!(of(1280).is_ok());
}

#[test]
fn a_new_rule_is_one_element_and_a_changed_one_is_deleted_and_added() {
    let mut policy = edge();
    policy.rules = vec![rule(443, 8), rule(444, 7)];
    let map =
        |elements| serde_json::json!({"family": "inet", "table": "turnpike", "name": "m_port4", "elem": elements});
    let key = |port| serde_json::json!({"concat": [0x8000_0002_u32, "100.64.1.20", 6, port]});
    assert_eq!(
        commands(&diff(&compiled(&edge()), &compiled(&policy))),
        [
            serde_json::json!({"delete": {"element": map(serde_json::json!([key(443)]))}}),
            serde_json::json!({"add": {"element": map(serde_json::json!([[key(443), 8], [key(444), 7]]))}}),
        ]
    );
}

#[test]
fn only_the_chains_that_change_are_refilled_and_the_table_is_never_deleted() {
    let mut policy = edge();
    policy.guardrails = vec![Guardrail {
        id: parse("G-1"),
        from: Vec::new(),
        to: Destination { prefixes: Vec::new(), ports: vec![Match::Port { protocol: 6, port: 23 }] },
    }];
    let batch = diff(&compiled(&edge()), &compiled(&policy));
    let flushed: Vec<_> = commands(&batch).iter().filter_map(|c| c.pointer("/flush/chain/name").cloned()).collect();
    // In each direction where it denies, and where it only keeps a packet from being looked up; between segments too.
    let tunnel = ["c_guard_back", "c_guard_go"].into_iter().chain(["c_local_guard_back", "c_local_guard_go"]);
    let all = tunnel.chain(["c_local_try_back", "c_local_try_go", "c_try_back", "c_try_go"]);
    assert_eq!(flushed, all.collect::<Vec<_>>());
    assert!(commands(&batch).iter().all(|c| c.pointer("/delete/table").is_none()));
    let back = diff(&compiled(&policy), &compiled(&edge()));
    assert!(commands(&back).iter().any(|c| c.pointer("/delete/counter/name") == Some(&"g_G_1".into())));
}

#[test]
fn another_role_is_another_shape_and_replaces_the_table() {
    let relay = Policy { role: Role::Relay, ..edge() };
    assert_ne!(compiled(&edge()).shape(), compiled(&relay).shape());
}

#[test]
fn whoever_loads_removes_the_early_table_first() {
    for batch in [compiled(&edge()).load_all(), compiled(&edge()).refill()] {
        let name = |kind: &str, at: usize| commands(&batch)[at].pointer(&format!("/{kind}/table/name")).cloned();
        assert_eq!((name("add", 0), name("delete", 1)), (Some(EARLY_TABLE.into()), Some(EARLY_TABLE.into())));
    }
}

#[test]
fn a_change_of_elements_needs_no_nft_and_a_change_of_prefixes_or_chains_does() {
    let old = compiled(&edge());
    let mut fewer = edge();
    let gone = fewer.rules.remove(0);
    let batch = diff(&old, &compiled(&fewer)).then(old.alive());
    let (map, _) = elements::element(&gone).expect("an element");
    let changes = batch.changes().expect("elements alone");
    let deleted: Vec<_> = batch.deleted().map(|elements| (elements.set().to_owned(), elements.len())).collect();
    assert_eq!(deleted, [(map, 1)]);
    assert_eq!(changes[changes.len() - 2], Change::Flush { table: TABLE, set: "s_alive" });
    assert!(matches!(changes.last(), Some(Change::Add(elements)) if elements.set() == "s_alive" && !elements.counts()));
    let mut guarded = edge();
    let to = Destination { prefixes: Vec::new(), ports: vec![Match::Protocol { protocol: 47 }] };
    guarded.guardrails.push(Guardrail { id: parse("G-1"), from: Vec::new(), to });
    assert_eq!(diff(&old, &compiled(&guarded)).changes(), None, "chains");
    let mut narrower = edge();
    narrower.allotted.truncate(1);
    assert_eq!(diff(&old, &compiled(&narrower)).changes(), None, "prefixes");
    assert_eq!(Batch::default().changes(), Some(Vec::new()));
}

#[test]
fn elements_say_whose_they_are_how_many_and_whether_they_count() {
    let mut more = edge();
    more.rules.extend([rule(444, 7), rule(445, 7)]);
    let batch = diff(&compiled(&more), &compiled(&edge()));
    let [elements] = batch.deleted().collect::<Vec<_>>()[..] else { panic!("one set") };
    assert_eq!((elements.table(), elements.set(), elements.len()), (TABLE, "m_port4", 2));
    assert!(!elements.is_empty() && elements.counts());
    assert_eq!(elements.octets().count(), 2);
}

#[test]
fn a_set_or_base_chain_of_another_shape_has_the_table_made_anew() {
    let old = compiled(&edge()).table;
    let replaces = |new: &Table| {
        let batch = batch::diff(&old, new);
        commands(&batch).iter().any(|command| command.pointer("/delete/table").is_some())
    };
    assert!(!replaces(&old), "the control");
    let mut counting = old.clone();
    counting.sets.get_mut("m_port4").expect("the map").shape.counter = false;
    assert!(replaces(&counting));
    let mut based = old.clone();
    based.chains.get_mut("c_raw").expect("the chain").base = None;
    assert!(replaces(&based));
    assert!(replaces(&Table { name: EARLY_TABLE, ..old.clone() }));
}

#[test]
fn an_opening_lets_nothing_pass_before_its_second_half() {
    let whole = compiled(&edge());
    let [closed, rest] = whole.opening();
    let adds = |batch: &Batch| -> Vec<String> {
        let names = commands(batch);
        let names =
            names.iter().filter_map(|command| command.pointer("/add/element/name")?.as_str().map(str::to_owned));
        names.collect()
    };
    let (first, second) = (adds(&closed), adds(&rest));
    assert!(!first.contains(&"s_alive".to_owned()) && second.contains(&"s_alive".to_owned()));
    assert!(first.iter().all(|name| !second.contains(name)), "none twice");
    let filled = whole.table.sets.iter().filter(|(_, set)| !set.elements.is_empty());
    let all: std::collections::BTreeSet<String> = filled.map(|(name, _)| name.clone()).collect();
    assert_eq!(first.into_iter().chain(second).collect::<std::collections::BTreeSet<_>>(), all);
    let changes = rest.changes().expect("no nft");
    assert_eq!(changes[..2], [Change::AddTable(EARLY_TABLE), Change::DeleteTable(EARLY_TABLE)]);
}

#[test]
fn devices_that_nft_would_read_as_something_else_are_refused() {
    for name in ["", "eth*", "@s_alive", "eth0 ", "e\"th", "..", "a-name-of-16-oct", "}; flush ruleset"] {
        let devices = Devices { tunnel: name.into(), ..devices() };
        assert_eq!(Ruleset::compile(&edge(), &devices), Err(CompileError::Device(name.into())));
    }
    let devices = Devices { wans: vec!["eth1".into()], ..devices() };
    assert_eq!(Ruleset::compile(&edge(), &devices), Err(CompileError::DeviceTwice("eth1".into())));
}

#[test]
fn each_nonsense_is_refused_by_its_own_error() {
    let refused = |change: &dyn Fn(&mut Policy)| {
        let mut policy = edge();
        change(&mut policy);
        Ruleset::compile(&policy, &devices()).expect_err("a refusal")
    };
    assert_eq!(refused(&|p| p.rules[0].department = 1 << 24), CompileError::DepartmentNumber(1 << 24));
    let overlapping = parse("100.64.1.128/25");
    assert_eq!(
        refused(&|p| p.allotted.push(overlapping)),
        CompileError::Overlap { set: "s_allotted4".into(), one: parse("100.64.1.0/24"), other: overlapping }
    );
    assert!(matches!(refused(&|p| p.rules.push(rule(443, 9))), CompileError::Twice { .. }));
    assert!(matches!(refused(&|p| p.rules[0].agreement = 0), CompileError::Rule { .. }));
    assert!(matches!(
        refused(&|p| p.rules[0].matching = Match::Icmp { protocol: 58, kind: 128 }),
        CompileError::Rule { .. }
    ));
    // ESP has no ports, and a range does not end before it begins.
    for matching in [
        Match::Port { protocol: 50, port: 443 },
        Match::Ports { protocol: 50, first: 1, last: 2 },
        Match::Ports { protocol: 6, first: 2, last: 1 },
    ] {
        assert!(matches!(refused(&|p| p.rules[0].matching = matching), CompileError::Rule { .. }), "{matching:?}");
    }
    for real in ["192.168.0.0/23", "fd00::/24"] {
        let unequal = Mapping { real: parse(real), overlay: parse("100.64.1.0/24") };
        let segment = |p: &mut Policy| p.departments[0].segment.as_mut().expect("a segment").mappings = vec![unequal];
        assert_eq!(refused(&segment), CompileError::UnequalMapping(unequal));
    }
    let ranges = |ranges: &[(u16, u16)]| {
        let matching = |&(first, last)| Match::Ports { protocol: 6, first, last };
        ranges.iter().map(|range| Rule { matching: matching(range), ..rule(1, 7) }).collect::<Vec<_>>()
    };
    assert_eq!(
        refused(&|p| p.rules = ranges(&[(1, 10), (10, 20)])),
        CompileError::OverlappingRanges { first: 10, last: 20 }
    );
}

#[test]
fn more_port_ranges_than_the_kernel_survives_are_refused() {
    let mut policy = edge();
    let ranges = |count: u16| -> Vec<Rule> {
        (1..=count)
            .map(|at| Rule { matching: Match::Ports { protocol: 6, first: at * 10, last: at * 10 + 5 }, ..rule(1, 7) })
            .collect()
    };
    policy.rules = ranges(5000);
    assert!(Ruleset::compile(&policy, &devices()).is_ok());
    policy.rules = ranges(5001);
    assert_eq!(Ruleset::compile(&policy, &devices()), Err(CompileError::TooManyRanges { count: 5001 }));
}

#[test]
fn names_from_people_never_reach_a_rule() {
    let json = compiled(&edge()).load_all().to_json().expect("JSON");
    for name in ["leeds", "york", "connect", "A-7", "routine"] {
        assert!(!json.contains(name), "{name}");
    }
}

#[test]
fn without_records_what_would_be_told_is_counted_and_nothing_else_changes() {
    let (told, mute) = (compiled(&edge()), compiled(&edge()).without_records());
    assert_eq!(told.shape(), mute.shape(), "one takes the other's place in place");
    let (told, mute) = (&told.table.chains, &mute.table.chains);
    let mut changed = 0;
    for (name, chain) in told {
        let left: Vec<_> = chain.rules.iter().filter(|rule| !format!("{rule:?}").contains("Log(")).cloned().collect();
        assert_eq!(mute[name].rules, left, "{name}");
        if left.len() < chain.rules.len() {
            changed += 1;
            // The rule that follows counts what is not told and has the same end.
            assert_eq!((chain.rules.len(), left.len()), (2, 1), "{name}");
            assert_eq!(chain.rules[0].last(), left[0].last(), "{name}");
        }
    }
    assert!(changed >= 12, "{changed}");
}

#[test]
fn each_transaction_is_about_the_table_that_it_is_named_after() {
    let tables = |batch: Batch| {
        let json: serde_json::Value = serde_json::from_str(&batch.to_json().expect("JSON")).expect("JSON");
        let commands = json["nftables"].as_array().expect("commands").iter();
        let objects = commands.flat_map(|command| command.as_object().expect("a command").values());
        let named = objects.flat_map(|object| object.as_object().expect("an object"));
        let tables: std::collections::BTreeSet<String> = named
            .map(|(kind, object)| {
                object[if kind == "table" { "name" } else { "table" }].as_str().expect("a name").into()
            })
            .collect();
        tables.into_iter().collect::<Vec<_>>()
    };
    let ruleset = compiled(&edge());
    assert_eq!(tables(ruleset.alive()), [TABLE]);
    assert_eq!(tables(early_drop()), [EARLY_TABLE]);
    assert_eq!(tables(remove()), [TABLE]);
    assert_eq!(tables(ruleset.refill()), [TABLE, EARLY_TABLE], "it takes the early one's place");
    assert_eq!(tables(ruleset.load_all()), [TABLE, EARLY_TABLE]);
}

#[test]
fn each_reason_is_counted_by_a_counter_of_its_own() {
    let table = compiled(&edge()).table;
    let names: std::collections::BTreeSet<String> = Reason::ALL.iter().map(|reason| reason.counter()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    for name in names {
        assert!(table.counters.contains(&name), "{name} is declared");
        let counts =
            |chain: &Chain| chain.rules.iter().any(|rule| format!("{rule:?}").contains(&format!("\"{name}\"")));
        assert!(table.chains.values().any(counts), "{name} is counted by");
    }
}
