//! Small models for tests, fixed and random.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::model::*;
use crate::bundle::Mapping;
use crate::identity::{Name, Qualified};
use crate::net::{PortMatch, Prefix};

pub(super) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

pub(super) fn qualified(text: &str) -> Qualified {
    text.parse().expect("a name")
}

pub(super) fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}

fn origin() -> Origin {
    Origin { file: "x.toml".into(), line: 1, column: 1 }
}

/// A hub with a ministry behind it, and three councils with an edge each: departments 1 `gov/ministry` at the hub,
/// 2 `leeds/a` and 3 `leeds/b` at `leeds-1`, 4 `york/a` at `york-1`, 5 `hull/a` at `hull-1`. Those of York have
/// IPv4 alone. Every department has a service of its own name with an `s` in front, at its hosts `.20` and `::20`.
pub(crate) fn model() -> Model {
    let departments = vec![
        department(1, "gov/ministry", "hub-a", true),
        department(5, "hull/a", "hull-1", true),
        department(2, "leeds/a", "leeds-1", true),
        department(3, "leeds/b", "leeds-1", true),
        department(4, "york/a", "york-1", false),
    ];
    let mut services: Vec<Service> = departments.iter().map(service).collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    Model {
        network: name("connect"),
        overlay: vec![prefix("100.64.0.0/10"), prefix("fd64:7475:726e::/48")],
        management: prefix("100.127.0.0/16"),
        reserved: Vec::new(),
        controller_urls: Vec::new(),
        controller_addresses: Vec::new(),
        hubs: vec![Hub {
            name: name("hub-a"),
            endpoints: vec!["192.0.2.1:51820".parse().expect("an endpoint")],
            device: None,
            management: [100, 127, 0, 1].into(),
        }],
        classes: vec![Class { name: name("routine"), lease: Duration::from_secs(72 * 3600) }],
        guardrails: Vec::new(),
        councils: Vec::new(),
        edges: vec![edge(2, "hull-1", "hull"), edge(3, "leeds-1", "leeds"), edge(4, "york-1", "york")],
        departments,
        services,
        agreements: Vec::new(),
        links: [(1, "hull-1"), (2, "leeds-1"), (3, "york-1")].map(|(number, edge)| link(number, edge)).into(),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn edge(number: u8, edge: &str, council: &str) -> Edge {
    let fibre = Uplink { name: name("fibre"), device: "eth0".into(), metered: false, priority: 1 };
    Edge {
        name: name(edge),
        council: name(council),
        site: name(council),
        uplinks: vec![fibre],
        management: [100, 127, 0, number].into(),
    }
}

fn link(number: u32, edge: &str) -> Link {
    Link { number, edge: name(edge), uplink: name("fibre"), hub: name("hub-a") }
}

fn department(number: u32, of: &str, at: &str, v6: bool) -> Department {
    let pair = |real: String, overlay: String| Mapping { real: prefix(&real), overlay: prefix(&overlay) };
    let mut mappings = vec![pair("192.168.1.0/24".into(), format!("100.70.{number}.0/24"))];
    if v6 {
        mappings.push(pair(format!("fd00:{number}::/64"), format!("fd64:7475:726e:{number}::/64")));
    }
    let site = if at == "hub-a" { name(at) } else { qualified(of).council };
    Department {
        number,
        name: qualified(of),
        at: name(at),
        site,
        device: format!("seg{number}"),
        vlan: None,
        gateway: vec!["192.168.1.1/24".parse().expect("an address")],
        via: Vec::new(),
        mappings,
        tags: Vec::new(),
        origin: origin(),
    }
}

fn service(department: &Department) -> Service {
    let host = |prefix: Prefix| -> IpAddr {
        match prefix.address() {
            IpAddr::V4(address) => (address | std::net::Ipv4Addr::new(0, 0, 0, 20)).into(),
            IpAddr::V6(address) => (address | std::net::Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 0x20)).into(),
        }
    };
    let Qualified { council, thing } = &department.name;
    Service {
        number: department.number,
        name: qualified(&format!("{council}/s{thing}")),
        department: department.name.clone(),
        hosts: department.mappings.iter().map(|mapping| host(mapping.real)).collect(),
        overlay_hosts: department.mappings.iter().map(|mapping| host(mapping.overlay)).collect(),
        ports: vec!["tcp/443".parse().expect("a port")],
        origin: origin(),
    }
}

pub(crate) fn agreement(number: u32, service: &str, from: &[&str]) -> Agreement {
    Agreement {
        number,
        id: format!("A-{number}").parse().expect("an id"),
        service: qualified(service),
        from: from.iter().map(|consumer| qualified(consumer)).collect(),
        apart: Vec::new(),
        councils: Vec::new(),
        consents: Vec::new(),
        lacking: Vec::new(),
        notices: Vec::new(),
        class: name("routine"),
        not_before: None,
        not_after: None,
        hours: None,
        reference: None,
        void: Vec::new(),
        origin: origin(),
    }
}

pub(super) fn guardrail(number: u32, deny: Subject, to: Object) -> Guardrail {
    Guardrail { id: format!("G-{number}").parse().expect("an id"), deny, to, why: None, origin: origin() }
}

const DEPARTMENTS: [&str; 5] = ["gov/ministry", "hull/a", "leeds/a", "leeds/b", "york/a"];
const SERVICES: [&str; 5] = ["gov/sministry", "hull/sa", "leeds/sa", "leeds/sb", "york/sa"];

fn port() -> impl Strategy<Value = PortMatch> {
    const TEXTS: [&str; 12] = [
        "any",
        "esp",
        "icmp/echo-request",
        "icmp/timestamp-request",
        "tcp/23",
        "tcp/443",
        "tcp/20-30",
        "tcp/20-120",
        "tcp/100-300",
        "udp/443",
        "udp/1-65535",
        "sctp/36412",
    ];
    prop::sample::select(TEXTS.as_slice()).prop_map(|text| text.parse().expect("a port"))
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        Just(Subject::Any),
        prop::sample::select(["gov", "leeds", "york", "nobody"].as_slice())
            .prop_map(|text| Subject::Council(name(text))),
        prop::sample::select(DEPARTMENTS.as_slice()).prop_map(|text| Subject::Department(qualified(text))),
        prop::sample::select(["100.70.2.0/25", "100.70.0.0/16", "fd64:7475:726e:5::/64"].as_slice())
            .prop_map(|text| Subject::Prefix(prefix(text))),
    ]
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        Just(Object::Any),
        port().prop_map(Object::Port),
        prop::sample::select(SERVICES.as_slice()).prop_map(|text| Object::Service(qualified(text))),
        prop::sample::select(DEPARTMENTS.as_slice()).prop_map(|text| Object::Department(qualified(text))),
        prop::sample::select(["100.70.4.20/32", "fd64:7475:726e::/48"].as_slice())
            .prop_map(|text| Object::Prefix(prefix(text))),
    ]
}

/// The fixed model with random ports, agreements (some not in force) and guardrails.
pub(super) fn models() -> impl Strategy<Value = Model> {
    let ports = prop::collection::vec(prop::collection::btree_set(port(), 1..4), SERVICES.len());
    let consumers = prop::sample::subsequence(DEPARTMENTS.to_vec(), 1..=4);
    let agreements =
        prop::collection::vec((prop::sample::select(SERVICES.as_slice()), consumers, prop::bool::weighted(0.8)), 0..7);
    let guardrails = prop::collection::vec((subject(), object()), 0..3);
    (ports, agreements, guardrails).prop_map(|(ports, agreements, guardrails)| {
        let mut model = model();
        for (service, ports) in model.services.iter_mut().zip(ports) {
            service.ports = ports.into_iter().collect();
        }
        model.agreements = (1..)
            .zip(agreements)
            .map(|(number, (service, from, in_force))| {
                let mut made = agreement(number, service, &from);
                made.void = if in_force { Vec::new() } else { vec![Void::ConsentMissing(name("leeds"))] };
                made
            })
            .collect();
        model.guardrails = (1..).zip(guardrails).map(|(number, (deny, to))| guardrail(number, deny, to)).collect();
        model
    })
}
