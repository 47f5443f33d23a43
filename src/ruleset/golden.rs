//! Whole tables as they are loaded, held to reviewed files: `golden/edge.nft`, `golden/hub.nft` and what is loaded before them.
//!
//! Each line of a table decides something. Where one is meant to change, `TURNPIKE_BLESS=1 cargo test --lib golden` writes the files
//! anew, and the review reads what differs.

use std::net::IpAddr;
use std::path::Path;

use super::*;
use crate::bundle::{Agreement, Department, Destination, Guardrail, Match, Policy, Role, Rule, Segment, Service};

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect(text)
}

/// Department `number` has 100.64.NUMBER.0/24 and fd64:7475:726e:NUMBER::/64; 192.168.NUMBER.0/24 and fd00:NUMBER::/64 behind a device.
fn department(number: u32, device: Option<&str>) -> Department {
    let overlay = [format!("100.64.{number}.0/24"), format!("fd64:7475:726e:{number}::/64")];
    let mapping = |real: String, overlay: &str| crate::bundle::Mapping { real: parse(&real), overlay: parse(overlay) };
    let segment = device.map(|device| Segment {
        device: device.to_owned(),
        vlan: None,
        gateway: vec![parse(&format!("192.168.{number}.1/24")), parse(&format!("fd00:{number}::1/64"))],
        via: Vec::new(),
        mappings: vec![
            mapping(format!("192.168.{number}.0/24"), &overlay[0]),
            mapping(format!("fd00:{number}::/64"), &overlay[1]),
        ],
    });
    Department {
        number,
        name: parse(&format!("leeds/d{number}")),
        site: parse(&format!("site-{number}")),
        overlay: overlay.iter().map(|text| parse(text)).collect(),
        segment,
    }
}

/// The service of a department has its number.
fn service(number: u32) -> Service {
    Service {
        number,
        name: parse(&format!("leeds/s{number}")),
        department: number,
        hosts: Vec::new(),
        ports: Vec::new(),
    }
}

fn agreement(number: u32, service: u32, from: &[u32]) -> Agreement {
    Agreement {
        number,
        id: parse(&format!("A-{number}")),
        service,
        from: from.to_vec(),
        class: parse("routine"),
        lease_seconds: 60,
        not_before: None,
        not_after: None,
        hours: None,
        settled: Vec::new(),
    }
}

fn rules(from: u32, to: u32, agreement: u32) -> Vec<Rule> {
    let [v4, v6]: [IpAddr; 2] = [parse(&format!("100.64.{to}.20")), parse(&format!("fd64:7475:726e:{to}::20"))];
    let port = |protocol, port| Match::Port { protocol, port };
    let both = [
        port(6, 443),
        port(17, 53),
        port(132, 36_412),
        Match::Ports { protocol: 6, first: 8000, last: 8999 },
        Match::Protocol { protocol: 50 },
    ];
    let both = both.into_iter().flat_map(|matching| [(v4, matching), (v6, matching)]);
    let icmp4 = [8, 13, 15, 17].map(|kind| (v4, Match::Icmp { protocol: 1, kind }));
    let icmp6 = [128, 139].map(|kind| (v6, Match::Icmp { protocol: 58, kind }));
    let all = both.chain(icmp4).chain(icmp6);
    let rule = |(destination, matching)| Rule { department: from, destination, matching, agreement };
    let mut rules: Vec<Rule> = all.map(rule).collect();
    rules.sort();
    rules
}

/// One of each form: from anybody or some, to anything or some, by port, range, type, protocol or all.
fn guardrails() -> Vec<Guardrail> {
    let prefixes = |texts: &[&str]| texts.iter().map(|text| parse(text)).collect();
    let guardrail = |id: &str, from: &[&str], to: &[&str], ports: &[Match]| Guardrail {
        id: parse(id),
        from: prefixes(from),
        to: Destination { prefixes: prefixes(to), ports: ports.to_vec() },
    };
    let [d1, d2] = [["100.64.1.0/24", "fd64:7475:726e:1::/64"], ["100.64.2.0/24", "fd64:7475:726e:2::/64"]];
    vec![
        guardrail("G-1", &[], &[], &[Match::Port { protocol: 6, port: 23 }]),
        guardrail("G-2", &d2, &[], &[Match::Ports { protocol: 17, first: 100, last: 200 }]),
        guardrail("G-3", &[], &d1, &[Match::Icmp { protocol: 1, kind: 13 }, Match::Icmp { protocol: 58, kind: 139 }]),
        guardrail("G-4", &d1, &d2, &[Match::Protocol { protocol: 47 }]),
        guardrail("G-5", &["100.64.3.128/25"], &["100.64.2.20/32"], &[]),
        guardrail("G-6", &["fd64:7475:726e:4::/64"], &[], &[Match::Any]),
    ]
}

fn policy(role: Role, own: &[(u32, &str)], rules: Vec<Rule>) -> Policy {
    let departments = (1..=4).map(|number| {
        let device = own.iter().find(|(known, _)| *known == number).map(|(_, device)| *device);
        department(number, device)
    });
    let departments: Vec<Department> = departments.collect();
    Policy {
        network: parse("connect"),
        gateway: parse("leeds-1"),
        site: parse("leeds-1"),
        role,
        overlay: vec![parse("100.64.0.0/10"), parse("fd64:7475:726e::/48")],
        management: parse("100.127.0.0/16"),
        address: parse("100.127.0.2"),
        allotted: departments.iter().flat_map(|department| department.overlay.clone()).collect(),
        departments,
        services: (1..=4).map(service).collect(),
        // Of the last one the service is not told.
        agreements: vec![
            agreement(7, 2, &[1]),
            agreement(8, 3, &[2, 4]),
            agreement(9, 4, &[1]),
            agreement(10, 99, &[3]),
        ],
        signed_after: None,
        rules,
        shadowed: Vec::new(),
        guardrails: guardrails(),
        signers: Vec::new(),
        routes: Vec::new(),
    }
}

fn remarks() -> Remarks {
    let departments = (1..=4).map(|number| (number, format!("leeds/d{number} councils/leeds.toml:{number}"))).collect();
    let agreements = [7, 8].map(|number| (number, format!("A-{number} agreements/A-{number}.toml:2"))).into();
    let guardrails = [(parse("G-1"), "G-1 network.toml:9: no telnet".to_owned())].into();
    Remarks { agreements, departments, guardrails }
}

fn script(policy: &Policy) -> String {
    compiled(policy).script(&remarks()).expect("it has words")
}

fn compiled(policy: &Policy) -> Ruleset {
    let wans = vec!["eth0".to_owned(), "wwan0".to_owned()];
    Ruleset::compile(policy, &Devices { tunnel: "tp0".into(), mtu: 1420, wans }).expect("it compiles")
}

/// A transaction, a command a line.
fn lines(batch: &Batch) -> String {
    let mut json = serde_json::to_value(batch).expect("JSON");
    in_order(&mut json);
    json["nftables"].as_array().expect("commands").iter().map(|command| format!("{command}\n")).collect()
}

/// Flags are a set, which the schema's crate writes in any order.
fn in_order(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::Object(fields) => {
            if let Some(serde_json::Value::Array(flags)) = fields.get_mut("flags") {
                flags.sort_by_key(ToString::to_string);
            }
            fields.values_mut().for_each(in_order);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(in_order),
        _ => {}
    }
}

fn hold(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ruleset/golden").join(name);
    if std::env::var_os("TURNPIKE_BLESS").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let held = std::fs::read_to_string(&path).expect("a file");
    let differs = held.lines().zip(text.lines()).enumerate().find(|(_, (held, now))| held != now);
    assert!(held == text, "{name} is not what it was, first at {differs:?}");
}

/// Two departments stand at it, so that there are local flows too; both are served, and serve.
#[test]
fn an_edge_loads_what_was_reviewed() {
    let rules = [rules(1, 2, 7), rules(2, 1, 7), rules(3, 1, 8), rules(2, 3, 8)].concat();
    hold("edge.nft", &script(&policy(Role::Edge, &[(1, "eth1"), (3, "eth2")], sorted(rules))));
}

/// One department stands at it, the others behind tunnels.
#[test]
fn a_hub_loads_what_was_reviewed() {
    let mut rules = [rules(1, 2, 7), rules(2, 4, 8), rules(4, 3, 7)].concat();
    rules.push(Rule { department: 3, destination: parse("100.64.1.20"), matching: Match::Any, agreement: 8 });
    hold("hub.nft", &script(&policy(Role::Relay, &[(4, "eth1")], sorted(rules))));
}

#[test]
fn what_is_loaded_first_and_what_takes_all_away_are_what_was_reviewed() {
    let told = |batch: &Batch| serde_json::to_string_pretty(batch).expect("JSON") + "\n";
    hold("early.json", &told(&early_drop()));
    hold("remove.json", &told(&remove()));
    hold("trial.json", &(told(&trial(true)) + &told(&trial(false))));
}

#[test]
fn a_first_load_and_changes_are_the_transactions_that_were_reviewed() {
    let plain = Policy { guardrails: Vec::new(), ..policy(Role::Edge, &[(1, "eth1")], rules(2, 1, 7)) };
    hold("load.jsonl", &lines(&compiled(&plain).load_all()));
    let guarded = policy(Role::Edge, &[(1, "eth1"), (3, "eth2")], sorted([rules(2, 1, 8), rules(1, 2, 7)].concat()));
    hold("change.jsonl", &lines(&diff(&compiled(&plain), &compiled(&guarded))));
    hold("change-back.jsonl", &lines(&diff(&compiled(&guarded), &compiled(&plain))));
    let relay = Policy { role: Role::Relay, ..plain.clone() };
    hold("role.jsonl", &lines(&diff(&compiled(&plain), &compiled(&relay))));
}

fn sorted(mut rules: Vec<Rule>) -> Vec<Rule> {
    rules.sort();
    rules
}
