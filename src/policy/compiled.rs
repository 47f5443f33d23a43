//! What the compiled policies allow, held against what the definition says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::model::{Model, Object, Subject};
use super::sample::{agreement, guardrail, model, models, name, prefix, qualified};
use super::*;
use crate::bundle::{Contents, Encoded, Guardrail, Judgement, Match, Narrowing, NextHop, Policy, Role, Rule};
use crate::identity::{PrivateKey, PublicKey};
use crate::net::{Aim, Family, Flow, Protocol};

/// A flow's first packet: source, destination, IP protocol, and destination port or ICMP type.
#[derive(Clone, Copy, Debug)]
struct Opening {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    number: u16,
}

impl Opening {
    fn is(&self, matching: &Match) -> bool {
        match *matching {
            Match::Port { protocol, port } => protocol == self.protocol && port == self.number,
            Match::Ports { protocol, first, last } => {
                protocol == self.protocol && (first..=last).contains(&self.number)
            }
            Match::Icmp { protocol, kind } => protocol == self.protocol && u16::from(kind) == self.number,
            Match::Protocol { protocol } => protocol == self.protocol,
            Match::Any => true,
        }
    }

    fn flow(&self) -> Flow {
        let protocol = Protocol(self.protocol);
        let aim = match protocol {
            Protocol::ICMP | Protocol::ICMPV6 => Aim::Icmp(u8::try_from(self.number).expect("a type")),
            _ if protocol.has_ports() => Aim::Port(self.number),
            _ => Aim::Nothing,
        };
        Flow { source: self.from, destination: self.to, protocol, aim }
    }

    fn hits(&self, guardrail: &Guardrail) -> bool {
        let inside = |prefixes: &[crate::net::Prefix], address| {
            prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.contains(address))
        };
        let ports = &guardrail.to.ports;
        inside(&guardrail.from, self.from)
            && inside(&guardrail.to.prefixes, self.to)
            && (ports.is_empty() || ports.iter().any(|matching| self.is(matching)))
    }

    /// The agreement by which this policy lets the flow pass, as a gateway asks it.
    fn by_rules(&self, policy: &Policy) -> Option<u32> {
        let source = policy.departments.iter().find(|d| d.overlay.iter().any(|prefix| prefix.contains(self.from)))?;
        let asked =
            |rule: &&Rule| rule.department == source.number && rule.destination == self.to && self.is(&rule.matching);
        policy.rules.iter().filter(asked).min_by_key(|rule| kind(&rule.matching)).map(|rule| rule.agreement)
    }

    fn passes(&self, policy: &Policy) -> Option<u32> {
        if policy.guardrails.iter().any(|guardrail| self.hits(guardrail)) { None } else { self.by_rules(policy) }
    }
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

fn openings(model: &Model) -> Vec<Opening> {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let mut sources: Vec<IpAddr> = vec![address("100.70.2.200"), address("100.70.9.1"), address("192.168.1.20")];
    let prefixes = model.departments.iter().flat_map(|d| &d.mappings).map(|mapping| mapping.overlay);
    sources.extend(prefixes.clone().map(|prefix| prefix.address()));
    let mut targets: Vec<IpAddr> = model.services.iter().flat_map(|service| service.overlay_hosts.clone()).collect();
    targets.push(address("100.70.2.21"));
    let packets = [
        (6, 22),
        (6, 23),
        (6, 24),
        (6, 30),
        (6, 31),
        (6, 120),
        (6, 121),
        (6, 300),
        (6, 301),
        (6, 443),
        (17, 443),
        (17, 1),
        (17, 65535),
        (132, 36412),
        (132, 443),
        (1, 8),
        (1, 13),
        (58, 128),
        (58, 8),
        (50, 0),
        (47, 0),
    ];
    let mut all = Vec::new();
    // ICMP of the other family is nothing that a host sends, and policy need not agree on it.
    let real = |opening: &Opening| match Family::of(opening.to) {
        Family::V4 => opening.protocol != 58,
        Family::V6 => opening.protocol != 1,
    };
    for &from in &sources {
        for &to in targets.iter().filter(|&&to| Family::of(to) == Family::of(from)) {
            let made = packets.map(|(protocol, number)| Opening { from, to, protocol, number });
            all.extend(made.into_iter().filter(real));
        }
    }
    all
}

/// The gateways that a flow's packets pass: where its source stands, the hub, where its destination stands; the one
/// alone where both stand.
fn path<'a>(model: &Model, opening: Opening, policies: &'a BTreeMap<crate::identity::Name, Policy>) -> Vec<&'a Policy> {
    let at = |address: IpAddr| {
        let stands = |d: &&model::Department| d.mappings.iter().any(|mapping| mapping.overlay.contains(address));
        model.departments.iter().find(stands).map(|department| department.at.clone())
    };
    let (from, to) = (at(opening.from), at(opening.to));
    let relay = (from != to || from.is_none()).then(|| name("hub-a"));
    let gateways: Vec<_> = relay.into_iter().chain(from).chain(to).collect();
    gateways.iter().map(|gateway| &policies[gateway]).collect()
}

fn keys(model: &Model) -> Keys {
    let public = |seed: usize| PrivateKey::from_octets([u8::try_from(seed).expect("few"); 32]).public();
    keys_needed(model).into_iter().enumerate().map(|(seed, at)| (at, public(seed + 1))).collect()
}

fn compiled(agreements: Vec<model::Agreement>, guardrails: Vec<model::Guardrail>) -> BTreeMap<String, Policy> {
    let model = Model { agreements, guardrails, ..model() };
    compile(&model).into_iter().map(|(gateway, policy)| (gateway.to_string(), policy)).collect()
}

fn told(policy: &Policy) -> Vec<u32> {
    policy.departments.iter().map(|department| department.number).collect()
}

#[test]
fn a_gateway_is_told_of_its_own_departments_and_the_far_ends_of_its_agreements() {
    let agreements = vec![agreement(1, "leeds/sa", &["hull/a", "york/a"]), agreement(2, "gov/sministry", &["york/a"])];
    let policies = compiled(agreements, vec![]);
    assert_eq!(told(&policies["leeds-1"]), [2, 3, 4, 5]);
    assert_eq!(told(&policies["hull-1"]), [2, 5], "not York, which shares an agreement with Hull");
    assert_eq!(told(&policies["york-1"]), [1, 2, 4]);
    assert_eq!(told(&policies["hub-a"]), [1, 2, 4, 5]);
    assert_eq!(policies["hull-1"].agreements[0].from, [5]);
    assert_eq!(policies["leeds-1"].agreements[0].from, [4, 5]);
    let with_segment = |policy: &Policy| -> Vec<u32> {
        policy.departments.iter().filter(|d| d.segment.is_some()).map(|department| department.number).collect()
    };
    assert_eq!(with_segment(&policies["leeds-1"]), [2, 3]);
    assert_eq!(with_segment(&policies["hub-a"]), [1]);
}

#[test]
fn an_edge_sends_everything_to_the_relays_and_a_hub_each_prefix_to_its_site() {
    let policies = compiled(vec![], vec![]);
    let lines = |policy: &Policy| -> Vec<String> {
        let to = |hop: &NextHop| match hop {
            NextHop::Relays => "relays".to_owned(),
            NextHop::Site(site) => site.to_string(),
        };
        policy.routes.iter().map(|route| format!("{} {}", route.prefix, to(&route.to))).collect()
    };
    assert_eq!(lines(&policies["york-1"]), ["100.64.0.0/10 relays", "fd64:7475:726e::/48 relays"]);
    assert_eq!(
        lines(&policies["hub-a"]),
        [
            "100.70.2.0/24 leeds",
            "100.70.3.0/24 leeds",
            "100.70.4.0/24 york",
            "100.70.5.0/24 hull",
            "fd64:7475:726e:2::/64 leeds",
            "fd64:7475:726e:3::/64 leeds",
            "fd64:7475:726e:5::/64 hull",
        ]
    );
    assert_eq!((policies["hub-a"].role, policies["york-1"].role), (Role::Relay, Role::Edge));
}

#[test]
fn an_agreement_that_is_not_in_force_compiles_to_nothing() {
    let mut lapsed = agreement(1, "leeds/sa", &["york/a"]);
    let count = |agreement| compiled(vec![agreement], vec![])["hub-a"].rules.len();
    assert_eq!(count(lapsed.clone()), 1);
    lapsed.void.push(model::Void::ConsentMissing(name("york")));
    assert_eq!(count(lapsed), 0);
}

#[test]
fn an_agreement_has_the_lease_of_its_class_and_none_of_a_class_that_is_not_there() {
    let mut model = model();
    let class = |text: &str, hours: u64| model::Class { name: name(text), lease: Duration::from_secs(hours * 3600) };
    model.classes = vec![class("critical", 1), class("routine", 72)];
    let leases = ["critical", "routine", "unknown"].map(|class| {
        let mut agreement = agreement(1, "leeds/sa", &["york/a"]);
        agreement.class = name(class);
        model.agreements = vec![agreement];
        compile(&model)[&name("leeds-1")].agreements[0].lease_seconds
    });
    assert_eq!(leases, [3600, 72 * 3600, 0]);
}

#[test]
fn short_ranges_stand_port_by_port_and_long_ones_as_ranges() {
    let count = |text: &str| matches(text.parse().expect("a port"), Family::V4).len();
    assert_eq!((count("tcp/1-64"), count("tcp/1-65"), count("udp/65535"), count("udp/1-65535")), (64, 1, 1, 1));
    let icmp = |family| matches("icmp/timestamp-request".parse().expect("a query"), family);
    assert_eq!(icmp(Family::V4), [Match::Icmp { protocol: 1, kind: 13 }]);
    assert_eq!(icmp(Family::V6), []);
}

#[test]
fn a_guardrail_leaves_the_rules_and_is_told_where_it_may_be_hit() {
    let agreements = vec![agreement(1, "leeds/sa", &["hull/a"]), agreement(2, "york/sa", &["hull/a"])];
    let deny = guardrail(1, Subject::Council(name("hull")), Object::Department(qualified("leeds/a")));
    let policies = compiled(agreements, vec![deny]);
    assert_eq!(policies["hub-a"].rules.iter().map(|rule| rule.agreement).collect::<Vec<_>>(), [2]);
    let told: Vec<usize> = ["hub-a", "hull-1", "leeds-1", "york-1"].map(|at| policies[at].guardrails.len()).into();
    assert_eq!(told, [1, 1, 1, 0]);
}

#[test]
fn a_guardrail_on_a_council_without_departments_denies_nobody() {
    let deny = |council: &str| {
        let guardrail = guardrail(1, Subject::Council(name(council)), Object::Any);
        let policies = compiled(vec![agreement(1, "leeds/sa", &["hull/a"])], vec![guardrail]);
        (policies["hub-a"].rules.len(), policies["hub-a"].guardrails.len())
    };
    assert_eq!(deny("empty"), (2, 0));
    assert_eq!(deny("hull"), (0, 1));
}

#[test]
fn a_guardrail_that_rules_cannot_express_stays_beside_them() {
    let agreements = vec![agreement(1, "leeds/sa", &["hull/a"])];
    let half = guardrail(1, Subject::Prefix(prefix("100.70.5.0/25")), Object::Any);
    let policies = compiled(agreements, vec![half]);
    assert_eq!(policies["hub-a"].rules.len(), 2);
    let opening = |from: [u8; 4]| Opening { from: from.into(), to: [100, 70, 2, 20].into(), protocol: 6, number: 443 };
    assert_eq!(opening([100, 70, 5, 1]).passes(&policies["hub-a"]), None);
    assert_eq!(opening([100, 70, 5, 200]).passes(&policies["hub-a"]), Some(1));
}

#[test]
fn membership_joins_both_ends_of_every_link() {
    let model = model();
    let keys = keys(&model);
    let members = membership(&model, &keys).expect("all keys");
    let (hub, edge) = (&members[&name("hub-a")], &members[&name("york-1")]);
    let at = |gateway: &str, uplink: &str| -> PublicKey { keys[&(name(gateway), name(uplink))] };
    assert_eq!(hub.links.len(), 3);
    let (near, far) = (&edge.links[0], hub.links.iter().find(|link| link.number == 3).expect("the link"));
    assert_eq!((near.number, near.key, near.relay), (3, at("hub-a", "hub-a"), true));
    assert_eq!(near.endpoints, hub.uplinks[0].endpoints);
    assert_eq!((far.key, far.relay, &far.site), (at("york-1", "fibre"), false, &name("york")));
    assert_eq!(edge.uplinks[0].key, far.key);
    let mut lacking = keys.clone();
    lacking.remove(&(name("york-1"), name("fibre")));
    assert_eq!(membership(&model, &lacking), Err(MissingKey { gateway: name("york-1"), uplink: name("fibre") }));
}

proptest! {
    #[test]
    fn every_compiled_model_can_be_sealed(model in models()) {
        let members = membership(&model, &keys(&model)).expect("all keys");
        let contents = compile(&model).into_iter().map(|(gateway, policy)| Contents {
            narrowing: Narrowing::none(model.network.clone(), gateway.clone()),
            membership: members[&gateway].clone(),
            policy,
        });
        prop_assert!(Encoded::new(contents).is_ok());
    }

    #[test]
    fn every_gateway_on_a_flows_path_decides_as_the_evaluator_does(model in models()) {
        let policies = compile(&model);
        let evaluator = Evaluator::new(&model);
        for opening in openings(&model) {
            let expected = match evaluator.evaluate(&opening.flow()) {
                Verdict::Allow { agreement, .. } => Some(agreement),
                Verdict::Deny(_) => None,
            };
            for policy in path(&model, opening, &policies) {
                prop_assert_eq!(opening.passes(policy), expected, "{:?} at {}", opening, policy.gateway);
                let judged = match policy.judge(&opening.flow()) {
                    Judgement::Allowed(rule) => Some(rule.agreement),
                    Judgement::Guarded(_) | Judgement::NoRule(_) | Judgement::UnknownSource => None,
                };
                prop_assert_eq!(judged, expected, "{:?} judged by the bundle of {}", opening, policy.gateway);
            }
        }
    }

    #[test]
    fn no_other_gateway_lets_a_flow_pass(model in models()) {
        let policies = compile(&model);
        for opening in openings(&model) {
            let on_path = path(&model, opening, &policies);
            let others = policies.values().filter(|policy| on_path.iter().all(|on| on.gateway != policy.gateway));
            for policy in others {
                prop_assert_eq!(opening.by_rules(policy), None, "{:?} at {}", opening, policy.gateway);
            }
        }
    }
}
