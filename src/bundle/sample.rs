//! Two gateways' small contents, for tests.

use std::collections::BTreeMap;

use super::*;
use crate::identity::{Name, PrivateKey, Signer};

pub(super) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

pub(super) fn key(seed: u8) -> crate::identity::PublicKey {
    PrivateKey::from_octets([seed; 32]).public()
}

/// The edge's only uplink has the public half of the private key of sevens.
pub(super) fn contents() -> Vec<Contents> {
    vec![edge(), hub()]
}

pub(crate) fn edge() -> Contents {
    let rule = |port, agreement| Rule {
        department: 1,
        destination: [100, 70, 36, 20].into(),
        matching: Match::Port { protocol: 6, port },
        agreement,
    };
    let policy = Policy {
        network: name("connect"),
        gateway: name("leeds-1"),
        site: name("leeds-civic"),
        role: Role::Edge,
        overlay: vec!["100.64.0.0/10".parse().expect("a prefix")],
        management: "100.127.0.0/16".parse().expect("a prefix"),
        address: [100, 127, 0, 2].into(),
        allotted: vec!["100.70.35.0/24".parse().expect("a prefix"), "100.70.36.0/24".parse().expect("a prefix")],
        departments: vec![
            department(1, "leeds/revenues", "100.70.35.0/24"),
            department(2, "york/tax", "100.70.36.0/24"),
        ],
        services: vec![Service {
            number: 1,
            name: "york/records".parse().expect("a name"),
            department: 2,
            hosts: vec![[100, 70, 36, 20].into()],
            ports: vec!["tcp/443".parse().expect("a port"), "tcp/80".parse().expect("a port")],
        }],
        agreements: vec![agreement(1, "A-1"), agreement(4, "A-4")],
        rules: vec![rule(80, 4), rule(443, 1)],
        signed_after: None,
        shadowed: vec![rule(443, 4)],
        guardrails: Vec::new(),
        signers: vec![signatory()],
        routes: vec![Route { prefix: "100.64.0.0/10".parse().expect("a prefix"), to: NextHop::Relays }],
    };
    let membership = Membership {
        network: name("connect"),
        gateway: name("leeds-1"),
        uplinks: vec![Uplink { name: name("fibre"), device: Some("eth0".into()), endpoints: Vec::new(), key: key(7) }],
        links: vec![Link {
            number: 1,
            uplink: name("fibre"),
            gateway: name("hub-a"),
            site: name("hub-a"),
            relay: true,
            key: key(9),
            endpoints: vec!["192.0.2.1:51820".parse().expect("an endpoint")],
        }],
    };
    Contents { policy, membership, narrowing: Narrowing::none(name("connect"), name("leeds-1")) }
}

fn hub() -> Contents {
    let edge = edge();
    let policy = Policy {
        gateway: name("hub-a"),
        site: name("hub-a"),
        role: Role::Relay,
        address: [100, 127, 0, 1].into(),
        routes: Vec::new(),
        ..edge.policy
    };
    let uplink = Uplink { name: name("hub-a"), device: None, endpoints: Vec::new(), key: key(9) };
    let membership =
        Membership { network: name("connect"), gateway: name("hub-a"), uplinks: vec![uplink], links: Vec::new() };
    Contents { policy, membership, narrowing: Narrowing::none(name("connect"), name("hub-a")) }
}

fn department(number: u32, name: &str, overlay: &str) -> Department {
    let site = name.split('/').next().unwrap_or_default();
    Department {
        number,
        name: name.parse().expect("a name"),
        site: site.parse().expect("a name"),
        overlay: vec![overlay.parse().expect("a prefix")],
        segment: None,
    }
}

fn signatory() -> Signatory {
    // A public key of RFC 8032, section 7.1.
    let key = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".parse().expect("a key");
    Signatory { council: name("leeds"), by: "siro@leeds.example".to_owned(), key }
}

fn agreement(number: u32, id: &str) -> Agreement {
    Agreement {
        number,
        id: id.parse().expect("an id"),
        service: 1,
        from: vec![1],
        class: name("routine"),
        lease_seconds: 259_200,
        not_before: None,
        not_after: None,
        hours: None,
        settled: vec![Settled { council: None, number: 1 }, Settled { council: Some(name("leeds")), number: 3 }],
    }
}

/// Operator and controller, with the trust that names them.
pub(super) struct Keys {
    pub(super) operator: Signer,
    pub(super) controller: Signer,
    pub(super) trust: Trust,
}

impl Keys {
    pub(super) fn new() -> Self {
        let (operator, controller) = (Signer::generate().expect("entropy"), Signer::generate().expect("entropy"));
        let trust =
            Trust { network: name("connect"), operator: operator.verifier(), controller: controller.verifier() };
        Self { operator, controller, trust }
    }

    pub(super) fn seal(&self, contents: Vec<Contents>, generation: u64) -> BTreeMap<Name, Vec<u8>> {
        let encoded = Encoded::new(contents).expect("good contents");
        encoded.seal(generation, &self.operator, &self.controller).expect("a generation")
    }

    /// The edge's bundle of generation 5.
    pub(super) fn edge(&self) -> Vec<u8> {
        self.seal(contents(), 5).remove(&name("leeds-1")).expect("the edge")
    }
}
