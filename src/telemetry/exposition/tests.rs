//! The rendered text against a strict reading of the text format, and the table against NOC conventions.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::*;
use crate::bundle::Role;
use crate::telemetry::conditions::{Condition, Report};
use crate::telemetry::status::{
    Agreement, Allowed, Configuration, Denied, Drift, Drop, HandedOver, Host, Link, Offload, Policy, Scheduling,
    Source, State, Status, Time, Uplink, Worker,
};

fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("a name")
}

fn link(number: u32, last_handshake: Option<Timestamp>) -> Link {
    Link {
        number,
        uplink: name("fibre"),
        gateway: name("hub-a"),
        site: name("hub-a"),
        relay: true,
        key: crate::identity::PublicKey::from_octets([1; 32]),
        endpoint: None,
        up: last_handshake.is_some(),
        last_handshake,
        handshake_rtt_seconds: None,
        received_bytes: 1 << 40,
        sent_bytes: 2,
        received_packets: 3,
        sent_packets: 4,
        handshakes: 5,
        endpoint_changes: 0,
        estimated_loss: 0.25,
        trains: last_handshake.is_some(),
    }
}

fn status(role: Role) -> Status {
    let at = Timestamp::from_second(1_767_225_600).expect("a time");
    let handed_over = HandedOver { packets: 5, initiations: 4, datagrams: 3 };
    let worker = Worker { links: 2, handed_over, scheduling: Scheduling::Refused };
    Status {
        document: 1,
        at,
        version: "1.2.3".into(),
        gateway: name("leeds-1"),
        site: name("leeds-civic"),
        network: name("connect"),
        role,
        pid: 1,
        started: at,
        device: "turnpike0".into(),
        address: [100, 127, 0, 1].into(),
        metrics: vec![],
        configuration: Configuration {
            generation: 7,
            offered: 8,
            source: Source::File,
            applied: at,
            applied_total: 1,
            refused_total: 2,
            failed_total: 0,
            last_error: None,
        },
        uplinks: vec![Uplink { name: name("fibre"), device: Some("eth0".into()), port: 51820, up: true }],
        sites: vec![],
        links: vec![link(1, Some(at)), link(2, None)],
        mappings: vec![],
        agreements: vec![Agreement {
            number: 142,
            id: name("A-142"),
            service: name("leeds/hb-claims"),
            from: vec![name("bradford/benefits")],
            packets: 10,
            bytes: 1000,
        }],
        withheld: Vec::new(),
        time: Time::default(),
        policy: Policy {
            rules: 3,
            allowed: vec![Allowed {
                department: name("bradford/benefits"),
                site: name("bradford-1"),
                service: name("leeds/hb-claims"),
                packets: 10,
                bytes: 1000,
            }],
            denied: vec![Denied { department: None, site: None, reason: "spoofed".into(), packets: 0, bytes: 0 }],
        },
        drops: vec![Drop { reason: "no-route".into(), packets: 0 }],
        offloads: [("udp_gso", State::On), ("udp_gro", State::Refused)]
            .map(|(name, state)| Offload { name: name.into(), state })
            .into(),
        workers: vec![Worker::default(), worker],
        events: crate::telemetry::status::Events { to: "off".into(), written: 5, suppressed: 4, lost: 3 },
        drift: Drift::default(),
        conditions: vec![Report::from(&Condition::NoTunnel)],
        host: Host::default(),
        collectors: vec![crate::telemetry::status::Collector { name: "ruleset".into(), success: true }],
    }
}

fn render(status: Status) -> String {
    Exposition::new().expect("a sound table").render(Arc::new(status)).expect("text")
}

/// One family as it was read back.
#[derive(Debug, Default)]
struct Read {
    help: bool,
    kind: String,
    series: BTreeMap<String, f64>,
}

/// Reads the text format strictly: HELP and TYPE before the first sample, families in one piece, no series twice.
fn parse(text: &str) -> BTreeMap<String, Read> {
    let mut families: BTreeMap<String, Read> = BTreeMap::new();
    assert!(text.ends_with('\n'));
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (family, help) = rest.split_once(' ').expect("a help text");
            assert!(!help.is_empty() && !families.contains_key(family), "{line}");
            current = family.to_owned();
            families.entry(current.clone()).or_default().help = true;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (family, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(family, current, "{line}");
            families.get_mut(family).expect("help came first").kind = kind.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let family = series.split('{').next().expect("a name");
            assert_eq!(family, current, "{line}");
            let read = families.get_mut(family).expect("help came first");
            assert!(!read.kind.is_empty(), "{line}");
            assert!(read.series.insert(series.to_owned(), value.parse().expect("a number")).is_none(), "{line}");
        }
    }
    families
}

#[test]
fn the_text_reads_back_strictly_with_help_type_and_value() {
    let families = parse(&render(status(Role::Edge)));
    let value = |series: &str| families[series.split('{').next().unwrap()].series.get(series).copied();
    assert_eq!(value("turnpike_config_generation"), Some(7.0));
    assert_eq!(value("turnpike_config_apply_total{result=\"refused\"}"), Some(2.0));
    assert_eq!(value("turnpike_config_apply_total{result=\"failed\"}"), Some(0.0));
    assert_eq!(value("turnpike_agreement_bytes_total{agreement=\"A-142\"}"), Some(1000.0));
    assert_eq!(
        value("turnpike_tunnel_receive_bytes_total{uplink=\"fibre\",hub=\"hub-a\",link=\"1\"}"),
        Some(1_099_511_627_776.0)
    );
    assert_eq!(value("turnpike_policy_denied_packets_total{department=\"\",reason=\"spoofed\"}"), Some(0.0));
    assert!(families.values().all(|family| family.help));
}

#[test]
fn a_handshake_that_never_was_is_absent_not_zero() {
    let families = parse(&render(status(Role::Edge)));
    let series: Vec<&String> = families["turnpike_tunnel_last_handshake_timestamp_seconds"].series.keys().collect();
    assert_eq!(series.len(), 1, "{series:?}");
    assert!(series[0].contains("link=\"1\""));
    assert_eq!(families["turnpike_tunnel_up"].series.len(), 2);
}

#[test]
fn an_offload_is_in_one_state_and_a_tunnel_goes_in_trains_or_not() {
    let families = parse(&render(status(Role::Edge)));
    let states = &families["turnpike_dataplane_offload_state"].series;
    let value = |offload, state| {
        states[&format!("turnpike_dataplane_offload_state{{offload=\"{offload}\",state=\"{state}\"}}")]
    };
    assert_eq!((value("udp_gso", "on"), value("udp_gso", "refused")), (1.0, 0.0));
    assert_eq!((value("udp_gro", "on"), value("udp_gro", "refused")), (0.0, 1.0));
    for offload in ["udp_gso", "udp_gro"] {
        let sum: f64 = ["on", "off", "missing", "refused"].map(|state| value(offload, state)).iter().sum();
        assert_eq!(sum, 1.0, "{offload}");
    }
    let trains: Vec<f64> = families["turnpike_tunnel_trains"].series.values().copied().collect();
    assert_eq!(trains, [1.0, 0.0]);
}

#[test]
fn each_worker_has_a_series_and_what_they_hand_over_is_summed() {
    let families = parse(&render(status(Role::Edge)));
    let links: Vec<f64> = families["turnpike_dataplane_worker_links"].series.values().copied().collect();
    assert_eq!(links, [0.0, 2.0]);
    let handed = &families["turnpike_dataplane_handed_over_total"];
    assert_eq!(handed.kind, "counter");
    let kinds = ["packet", "initiation", "datagram"];
    let of = |kind| handed.series[&format!("turnpike_dataplane_handed_over_total{{kind=\"{kind}\"}}")];
    assert_eq!(kinds.map(of), [5.0, 4.0, 3.0]);
    let name = "turnpike_dataplane_worker_scheduling";
    let of = |worker, class| families[name].series[&format!("{name}{{worker=\"{worker}\",class=\"{class}\"}}")];
    assert_eq!([of(0, "ordinary"), of(0, "refused"), of(1, "refused"), of(1, "urgent")], [1.0, 0.0, 1.0, 0.0]);
}

#[test]
fn a_hub_counts_by_site_and_department_and_by_nothing_finer() {
    let families = parse(&render(status(Role::Relay)));
    assert!(families.contains_key("turnpike_hub_policy_allowed_packets_total"));
    for fine in ["turnpike_policy_allowed_packets_total", "turnpike_agreement_packets_total"] {
        assert!(!families.contains_key(fine), "{fine}");
    }
}

#[test]
fn names_and_help_keep_the_conventions() {
    let mut names = BTreeSet::new();
    for instrument in INSTRUMENTS {
        assert!(names.insert(instrument.name), "{} is there twice", instrument.name);
        assert!(instrument.help.ends_with('.'), "{}", instrument.name);
        let total = instrument.name.ends_with("_total");
        assert_eq!(total, instrument.kind == Kind::Counter, "{}", instrument.name);
        assert!(!instrument.labels.contains(&"endpoint"), "an endpoint as a label makes a series per roam");
    }
}

#[test]
fn every_sample_has_its_instruments_labels_and_stays_within_its_budget() {
    for role in [Role::Edge, Role::Relay] {
        let status = status(role);
        for instrument in INSTRUMENTS {
            let samples = (instrument.read)(&status);
            assert!(samples.len() <= instrument.budget, "{}", instrument.name);
            assert!(samples.iter().all(|(labels, _)| labels.len() == instrument.labels.len()), "{}", instrument.name);
        }
    }
}
