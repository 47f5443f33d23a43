//! The policies of a small network: Leeds with two departments, York with one, a ministry behind the hub.
//!
//! | number | department | stands at | segment | real | overlay |
//! |---|---|---|---|---|---|
//! | 1 | leeds/a | leeds-1 | eth1 | 192.168.1.0/24, fd00:1::/64 | 100.64.1.0/24, fd64:1::/64 |
//! | 2 | leeds/b | leeds-1 | eth2 | = overlay | 100.64.2.0/24 |
//! | 3 | york/a | york-1 | eth1 | 192.168.1.0/24, fd00:1::/64 | 100.64.3.0/24, fd64:3::/64 |
//! | 4 | gov/m | hub-a | eth1 | 10.4.0.0/24 | 100.64.4.0/24 |

use std::fmt::Debug;
use std::str::FromStr;

use turnpike::bundle::{Agreement, Department, Guardrail, Mapping, Match, NextHop, Policy, Role, Route, Rule, Segment};
use turnpike::net::Prefix;
use turnpike::ruleset::Ruleset;

use crate::router::devices;

/// The overlay, both families.
pub const OVERLAY: [&str; 2] = ["100.64.0.0/10", "fd64::/16"];

pub fn parse<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect(text)
}

/// Which gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    Leeds,
    York,
    Hub,
}

impl Gateway {
    pub fn name(self) -> &'static str {
        match self {
            Self::Leeds => "leeds-1",
            Self::York => "york-1",
            Self::Hub => "hub-a",
        }
    }

    pub fn address(self) -> &'static str {
        match self {
            Self::Leeds => "100.127.0.2",
            Self::York => "100.127.0.3",
            Self::Hub => "100.127.0.1",
        }
    }
}

/// A department as it stands in the network: where, and its segment.
struct Standing {
    number: u32,
    name: &'static str,
    at: Gateway,
    device: &'static str,
    gateway: &'static [&'static str],
    mappings: &'static [(&'static str, &'static str)],
}

const STANDINGS: [Standing; 4] = [
    Standing {
        number: 1,
        name: "leeds/a",
        at: Gateway::Leeds,
        device: "eth1",
        gateway: &["192.168.1.1/24", "fd00:1::1/64"],
        mappings: &[("192.168.1.0/24", "100.64.1.0/24"), ("fd00:1::/64", "fd64:1::/64")],
    },
    Standing {
        number: 2,
        name: "leeds/b",
        at: Gateway::Leeds,
        device: "eth2",
        gateway: &["100.64.2.1/24"],
        mappings: &[("100.64.2.0/24", "100.64.2.0/24")],
    },
    Standing {
        number: 3,
        name: "york/a",
        at: Gateway::York,
        device: "eth1",
        gateway: &["192.168.1.1/24", "fd00:1::1/64"],
        mappings: &[("192.168.1.0/24", "100.64.3.0/24"), ("fd00:1::/64", "fd64:3::/64")],
    },
    Standing {
        number: 4,
        name: "gov/m",
        at: Gateway::Hub,
        device: "eth1",
        gateway: &["10.4.0.1/24"],
        mappings: &[("10.4.0.0/24", "100.64.4.0/24")],
    },
];

fn department(standing: &Standing, seen_from: Gateway) -> Department {
    let mappings: Vec<Mapping> = standing
        .mappings
        .iter()
        .map(|(real, overlay)| Mapping { real: parse(real), overlay: parse(overlay) })
        .collect();
    Department {
        number: standing.number,
        name: parse(standing.name),
        site: parse(standing.at.name()),
        overlay: mappings.iter().map(|mapping| mapping.overlay).collect(),
        segment: (standing.at == seen_from).then(|| Segment {
            device: standing.device.into(),
            vlan: None,
            gateway: standing.gateway.iter().map(|gateway| parse(gateway)).collect(),
            via: Vec::new(),
            mappings,
        }),
    }
}

/// A gateway's policy with these rules and guardrails; every agreement number that a rule names is in force.
pub fn policy(gateway: Gateway, rules: &[Rule], guardrails: &[Guardrail]) -> Policy {
    let mut numbers: Vec<u32> = rules.iter().map(|rule| rule.agreement).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let departments: Vec<Department> = STANDINGS.iter().map(|standing| department(standing, gateway)).collect();
    let allotted: Vec<Prefix> = departments.iter().flat_map(|department| department.overlay.clone()).collect();
    Policy {
        network: parse("connect"),
        gateway: parse(gateway.name()),
        site: parse(gateway.name()),
        role: if gateway == Gateway::Hub { Role::Relay } else { Role::Edge },
        overlay: OVERLAY.iter().map(|prefix| parse(prefix)).collect(),
        management: parse("100.127.0.0/16"),
        address: parse(gateway.address()),
        allotted,
        departments,
        services: Vec::new(),
        agreements: numbers.into_iter().map(agreement).collect(),
        rules: rules.to_vec(),
        signed_after: None,
        shadowed: Vec::new(),
        guardrails: guardrails.to_vec(),
        signers: Vec::new(),
        routes: routes(gateway),
    }
}

fn routes(gateway: Gateway) -> Vec<Route> {
    let overlay = |prefix: &str| Route { prefix: parse(prefix), to: NextHop::Relays };
    let of = |standing: &'static Standing| {
        let to = NextHop::Site(parse(standing.at.name()));
        standing.mappings.iter().map(move |(_, overlay)| Route { prefix: parse(overlay), to: to.clone() })
    };
    match gateway {
        Gateway::Hub => STANDINGS.iter().filter(|standing| standing.at != gateway).flat_map(of).collect(),
        Gateway::Leeds | Gateway::York => OVERLAY.iter().map(|prefix| overlay(prefix)).collect(),
    }
}

fn agreement(number: u32) -> Agreement {
    Agreement {
        number,
        id: parse(&format!("A-{number}")),
        service: 1,
        from: Vec::new(),
        class: parse("routine"),
        lease_seconds: 259_200,
        not_before: None,
        not_after: None,
        hours: None,
        settled: Vec::new(),
    }
}

/// What `compile` makes of it.
pub fn ruleset(gateway: Gateway, rules: &[Rule]) -> Ruleset {
    Ruleset::compile(&policy(gateway, rules, &[]), &devices()).expect("it compiles")
}

pub fn rule(department: u32, destination: &str, matching: Match, agreement: u32) -> Rule {
    Rule { department, destination: parse(destination), matching, agreement }
}

pub fn tcp(port: u16) -> Match {
    Match::Port { protocol: 6, port }
}

/// One rule of each kind, in both families where there is a difference.
pub fn one_of_each() -> Vec<Rule> {
    vec![
        rule(1, "100.64.3.20", tcp(443), 7),
        rule(1, "100.64.3.20", Match::Ports { protocol: 17, first: 5000, last: 5999 }, 7),
        rule(1, "100.64.3.20", Match::Icmp { protocol: 1, kind: 8 }, 7),
        rule(2, "100.64.3.20", Match::Protocol { protocol: 50 }, 8),
        rule(3, "100.64.4.20", Match::Any, 9),
        rule(1, "fd64:3::20", tcp(443), 7),
        rule(1, "fd64:3::20", Match::Ports { protocol: 132, first: 1, last: 65535 }, 7),
        rule(1, "fd64:3::20", Match::Icmp { protocol: 58, kind: 128 }, 7),
        rule(1, "fd64:3::21", Match::Any, 10),
    ]
}
