//! The network under test, and the bundles that its gateways run by.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use turnpike::bundle::{
    Agreement, Contents, Department, Destination, Effect, Encoded, Guardrail, Heartbeat, Link, Mapping, Match,
    Membership, Narrowing, NextHop, Notice, Policy, Role, Route, Rule, Segment, Service, Settled, Signatory,
    SignedHeartbeat, SignedNotice, Trust, Uplink,
};
use turnpike::gateway::control::{self, Request, Response};
use turnpike::identity::{Name, PrivateKey, Signer};
use turnpike::lab::guard::{Namespace, Process, bridge, veth, wait_for};
use turnpike::telemetry::status::Status;

/// How long anything may take that should take a moment, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const OVERLAY4: &str = "100.64.0.0/10";
pub const OVERLAY6: &str = "fd64:7475:726e::/48";

/// Where the claims service answers, in overlay terms.
pub const CLAIMS4: &str = "100.70.1.20";
pub const CLAIMS6: &str = "fd64:7475:726e:1::20";

/// Where the host that asks stands, in overlay terms.
pub const BENEFITS4: &str = "100.70.2.30";

pub fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect(text)
}

/// Namespaces, keys and signers. Bundles are `FOLDER/NAME.bundle`, keys `FOLDER/keys/NAME`, states `FOLDER/state/NAME`.
pub struct Place {
    pub hub: Namespace,
    pub leeds: Namespace,
    pub bradford: Namespace,
    pub claims: Namespace,
    pub benefits: Namespace,
    folder: tempfile::TempDir,
    operator: Signer,
    controller: Signer,
    siro: Signer,
    keys: BTreeMap<&'static str, PrivateKey>,
}

/// What a build is to say.
#[derive(Clone, Copy)]
pub struct Build {
    pub generation: u64,
    /// Whether bradford/benefits may reach the claims service.
    pub agreed: bool,
    /// Leeds' segment.
    pub segment: &'static str,
    /// Whether a guardrail denies ssh to everybody.
    pub guarded: bool,
    /// Whether leeds/housing stands beside leeds/revenues, on eth2, and may reach the claims service.
    pub neighbours: bool,
    /// When the agreement may be used.
    pub times: Times,
    /// Up to which of Leeds' notices about the agreement it has been told.
    pub settled: u64,
}

/// When an agreement may be used.
#[derive(Clone, Copy)]
pub struct Times {
    pub not_before: Option<Timestamp>,
    pub not_after: Option<Timestamp>,
    pub hours: Option<&'static str>,
    /// In seconds.
    pub lease: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { not_before: None, not_after: None, hours: None, lease: 259_200 }
    }
}

impl Default for Build {
    fn default() -> Self {
        Self {
            generation: 1,
            agreed: true,
            segment: "eth1",
            guarded: false,
            neighbours: false,
            times: Times::default(),
            settled: 0,
        }
    }
}

impl Place {
    pub fn new() -> Self {
        let [hub, leeds, bradford, claims, benefits] =
            ["hub", "leeds", "bradford", "claims", "benefits"].map(|label| Namespace::new(label).expect("a namespace"));
        for any in [&hub, &leeds, &bradford, &claims, &benefits] {
            // Duplicate address detection changes listings a second later, on its own.
            for scope in ["all", "default"] {
                any.sysctl(&format!("net.ipv6.conf.{scope}.accept_dad"), "0").expect("a sysctl");
            }
        }
        for gateway in [&hub, &leeds, &bradford] {
            for (name, value) in [
                ("net.ipv4.ip_forward", "1"),
                ("net.ipv6.conf.all.forwarding", "1"),
                ("net.ipv4.conf.all.rp_filter", "0"),
                ("net.ipv4.conf.default.rp_filter", "0"),
                ("net.ipv4.conf.all.send_redirects", "0"),
            ] {
                gateway.sysctl(name, value).expect("a sysctl");
            }
        }
        for (edge, host, port, wan, real) in
            [(&leeds, &claims, "p0", "192.0.2.11/24", "20"), (&bradford, &benefits, "p1", "192.0.2.12/24", "30")]
        {
            veth(&hub, port, edge, "eth0").expect("a wire");
            edge.address("eth0", wan).expect("an address");
            veth(edge, "eth1", host, "eth0").expect("a wire");
            host.address("eth0", &format!("192.168.1.{real}/24")).expect("an address");
            host.address("eth0", &format!("fd00:1::{real}/64")).expect("an address");
            host.route("default", "via 192.168.1.1").expect("a route");
            host.route("default", "via fd00:1::1").expect("a route");
        }
        bridge(&hub, "wan", &["p0", "p1"]).expect("a bridge");
        hub.address("wan", "192.0.2.1/24").expect("an address");
        let key = |name| (name, PrivateKey::generate().expect("entropy"));
        let signer = || Signer::generate().expect("entropy");
        let place = Self {
            hub,
            leeds,
            bradford,
            claims,
            benefits,
            folder: tempfile::tempdir().expect("a folder"),
            operator: signer(),
            controller: signer(),
            siro: signer(),
            keys: ["hub-a", "leeds-1", "bradford-1"].map(key).into(),
        };
        place.write_keys();
        place.build(Build::default());
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn state(&self, gateway: &str) -> PathBuf {
        self.path("state").join(gateway)
    }

    pub fn bundle(&self, gateway: &str) -> PathBuf {
        self.path(&format!("{gateway}.bundle"))
    }

    pub fn namespace(&self, gateway: &str) -> &Namespace {
        match gateway {
            "hub-a" => &self.hub,
            "leeds-1" => &self.leeds,
            _ => &self.bradford,
        }
    }

    fn write_keys(&self) {
        use std::os::unix::fs::PermissionsExt as _;
        for (gateway, key) in &self.keys {
            let folder = self.path("keys").join(gateway);
            std::fs::create_dir_all(&folder).expect("a folder");
            let file = folder.join(format!("{}.key", uplink(gateway)));
            std::fs::write(&file, key.to_base64().as_bytes()).expect("written");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        }
        let trust = Trust {
            network: parse("connect"),
            operator: self.operator.verifier(),
            controller: self.controller.verifier(),
        };
        std::fs::write(self.path("trust.toml"), trust.to_toml()).expect("written");
    }

    /// Builds and writes all bundles.
    pub fn build(&self, build: Build) {
        self.build_signed(build, &self.operator);
    }

    /// The same, signed by another operator.
    pub fn build_signed(&self, build: Build, operator: &Signer) {
        let contents = ["hub-a", "leeds-1", "bradford-1"].map(|gateway| Contents {
            policy: Policy { signers: vec![self.signatory()], ..policy(gateway, build) },
            membership: self.membership(gateway),
            narrowing: Narrowing::none(parse("connect"), parse(gateway)),
        });
        let encoded = Encoded::new(contents).expect("sound contents");
        let bundles = encoded.seal(build.generation, operator, &self.controller).expect("sealed");
        for (gateway, octets) in bundles {
            std::fs::write(self.bundle(gateway.as_str()), octets).expect("written");
        }
    }

    /// A heartbeat of this number and time, as the controller signs it.
    pub fn heartbeat(&self, number: u64, at: Timestamp) -> SignedHeartbeat {
        SignedHeartbeat::sign(Heartbeat { network: parse("connect"), number, at }, &self.controller)
    }

    /// Hands octets to a gateway as a heartbeat. What it says: how it went, or why not.
    pub fn hand(&self, gateway: &str, octets: &[u8]) -> Result<String, String> {
        let heartbeat = String::from_utf8(octets.to_vec()).expect("text");
        self.told(gateway, &Request::Heartbeat { heartbeat })
    }

    fn signatory(&self) -> Signatory {
        Signatory { council: parse("leeds"), by: "siro@leeds".into(), key: self.siro.verifier() }
    }

    /// A notice of Leeds about the agreement.
    pub fn notice(&self, effect: Effect, number: u64) -> Vec<u8> {
        let notice = Notice {
            network: parse("connect"),
            agreement: parse("A-101"),
            council: Some(parse("leeds")),
            by: "siro@leeds".into(),
            number,
            effect,
            terms: format!("sha256:{}", "0".repeat(64)),
            why: Some("a breach".into()),
            at: Timestamp::UNIX_EPOCH,
        };
        SignedNotice::sign(notice, &self.siro).to_octets()
    }

    /// Hands octets to a gateway as a notice.
    pub fn narrow(&self, gateway: &str, octets: &[u8]) -> Result<String, String> {
        let notice = String::from_utf8(octets.to_vec()).expect("text");
        self.told(gateway, &Request::Narrow { notice })
    }

    fn told(&self, gateway: &str, request: &Request) -> Result<String, String> {
        match control::ask(&self.state(gateway), request).expect("an answer") {
            Response::Done(done) => Ok(done),
            Response::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// Lets all gateways hear the controller.
    pub fn beat(&self, number: u64) {
        let heartbeat = self.heartbeat(number, Timestamp::now()).to_octets();
        for gateway in ["hub-a", "leeds-1", "bradford-1"] {
            self.hand(gateway, &heartbeat).expect("taken");
        }
    }

    /// Builds, and has all gateways take it.
    pub fn rebuild(&self, build: Build) {
        self.build(build);
        for gateway in ["hub-a", "leeds-1", "bradford-1"] {
            let answer = control::ask(&self.state(gateway), &Request::Reload).expect("an answer");
            assert!(matches!(answer, Response::Done(_)), "{gateway}: {answer:?}");
        }
    }

    fn membership(&self, gateway: &str) -> Membership {
        let endpoint = parse("192.0.2.1:51820");
        let own = Uplink {
            name: parse(uplink(gateway)),
            device: (gateway != "hub-a").then(|| "eth0".to_owned()),
            endpoints: if gateway == "hub-a" { vec![endpoint] } else { vec![] },
            key: self.keys[gateway].public(),
        };
        let link = |number, peer: &'static str| Link {
            number,
            uplink: parse(uplink(gateway)),
            gateway: parse(peer),
            site: parse(peer),
            relay: peer == "hub-a",
            key: self.keys[peer].public(),
            endpoints: if peer == "hub-a" { vec![endpoint] } else { vec![] },
        };
        let links = match gateway {
            "hub-a" => vec![link(1, "leeds-1"), link(2, "bradford-1")],
            "leeds-1" => vec![link(1, "hub-a")],
            _ => vec![link(2, "hub-a")],
        };
        Membership { network: parse("connect"), gateway: parse(gateway), uplinks: vec![own], links }
    }

    /// Changes a record of a gateway's state as a sound one.
    pub fn rewrite(&self, gateway: &str, record: &str, change: &dyn Fn(&str) -> String) {
        use sha2::Digest as _;
        let path = self.state(gateway).join(record);
        let text = std::fs::read_to_string(&path).expect("a record");
        let (_, content) = text.split_once('\n').expect("a header");
        let content = change(content);
        let hash = hex::encode(sha2::Sha256::digest(&content));
        std::fs::write(&path, format!("turnpike-state 1 sha256:{hash}\n{content}")).expect("written");
    }

    /// The command that runs a gateway.
    pub fn command(&self, gateway: &str) -> Command {
        let mut command = self.namespace(gateway).command(env!("CARGO_BIN_EXE_turnpike"));
        command.args(self.arguments(gateway));
        command
    }

    pub fn arguments(&self, gateway: &str) -> Vec<std::ffi::OsString> {
        let path = |path: &Path| path.as_os_str().to_owned();
        vec![
            "gateway".into(),
            "run".into(),
            "--bundle".into(),
            path(&self.bundle(gateway)),
            "--keys".into(),
            path(&self.path("keys").join(gateway)),
            "--trust".into(),
            path(&self.path("trust.toml")),
            "--state".into(),
            path(&self.state(gateway)),
        ]
    }

    /// Starts a gateway and waits until it answers.
    pub fn start(&self, gateway: &str) -> Process {
        let mut process = self.namespace(gateway).spawn(self.command(gateway)).expect("spawned");
        let ready = wait_for(PATIENCE, || match process.exited() {
            Some(status) => Some(Err(status)),
            None => self.ask(gateway).map(Ok),
        });
        assert!(matches!(ready, Some(Ok(_))), "{gateway}: {}", process.log());
        process
    }

    /// Starts all three and waits until every tunnel stands.
    pub fn up(&self) -> [Process; 3] {
        let processes = ["hub-a", "leeds-1", "bradford-1"].map(|gateway| self.start(gateway));
        self.wait_for_tunnels();
        processes
    }

    pub fn wait_for_tunnels(&self) {
        for gateway in ["hub-a", "leeds-1", "bradford-1"] {
            self.wait_for(gateway, |status| status.links.iter().all(|link| link.up));
        }
    }

    /// A gateway's status, if it answers.
    pub fn ask(&self, gateway: &str) -> Option<Status> {
        match control::ask(&self.state(gateway), &Request::Status) {
            Ok(Response::Status(status)) => Some(*status),
            Ok(
                Response::InForce(_)
                | Response::Staged(_)
                | Response::Done(_)
                | Response::Error(_)
                | Response::Refused(_),
            )
            | Err(_) => None,
        }
    }

    pub fn status(&self, gateway: &str) -> Status {
        self.ask(gateway).expect("a gateway that answers")
    }

    /// Waits until the status says so.
    pub fn wait_for(&self, gateway: &str, fact: impl Fn(&Status) -> bool) -> Status {
        let found = wait_for(PATIENCE, || self.ask(gateway).filter(&fact));
        found.unwrap_or_else(|| panic!("{gateway}: {:#?}", self.ask(gateway)))
    }

    /// What the kernel has there: ruleset, addresses, routes, rules.
    pub fn kernel(&self, gateway: &str) -> String {
        let at = self.namespace(gateway);
        let mut text = at.run("nft", ["list", "ruleset"]).expect("a listing");
        for words in ["-o address", "-4 route show table all", "-6 route show table all", "rule", "-6 rule"] {
            text += &at.ip(words).expect("a listing");
        }
        text
    }
}

/// A hub's one uplink has its own name.
fn uplink(gateway: &str) -> &str {
    if gateway == "hub-a" { "hub-a" } else { "fibre" }
}

fn department(number: u32, name: &str, site: &str, at: &str, segment: &str) -> Department {
    let overlay = [format!("100.70.{number}.0/24"), format!("fd64:7475:726e:{number}::/64")];
    let mapping = |real: &str, overlay: &str| Mapping { real: parse(real), overlay: parse(overlay) };
    Department {
        number,
        name: parse(name),
        site: parse(site),
        overlay: overlay.iter().map(|text| parse(text)).collect(),
        segment: (site == at).then(|| Segment {
            device: segment.to_owned(),
            vlan: None,
            gateway: vec![parse("192.168.1.1/24"), parse("fd00:1::1/64")],
            via: vec![],
            mappings: vec![mapping("192.168.1.0/24", &overlay[0]), mapping("fd00:1::/64", &overlay[1])],
        }),
    }
}

fn departments(gateway: &str, build: Build) -> Vec<Department> {
    let mut departments = vec![
        department(1, "leeds/revenues", "leeds-1", gateway, build.segment),
        department(2, "bradford/benefits", "bradford-1", gateway, "eth1"),
    ];
    if build.neighbours {
        let mut housing = department(3, "leeds/housing", "leeds-1", gateway, "eth2");
        housing.overlay.truncate(1);
        if let Some(segment) = &mut housing.segment {
            segment.gateway = vec![parse("192.168.2.1/24")];
            segment.mappings = vec![Mapping { real: parse("192.168.2.0/24"), overlay: parse("100.70.3.0/24") }];
        }
        departments.push(housing);
    }
    departments
}

fn no_ssh() -> Guardrail {
    let to = Destination { prefixes: vec![], ports: vec![Match::Port { protocol: 6, port: 22 }] };
    Guardrail { id: parse("G-1"), from: vec![], to }
}

fn policy(gateway: &str, build: Build) -> Policy {
    let relay = gateway == "hub-a";
    let hosts: Vec<IpAddr> = vec![parse(CLAIMS4), parse(CLAIMS6)];
    let consumers = if build.neighbours { 2..=3 } else { 2..=2 };
    let rule = |department: u32, destination: IpAddr| {
        let (protocol, kind) = if destination.is_ipv4() { (1, 8) } else { (58, 128) };
        [Match::Port { protocol: 6, port: 443 }, Match::Icmp { protocol, kind }].map(|matching| Rule {
            department,
            destination,
            matching,
            agreement: 101,
        })
    };
    let agreement = Agreement {
        number: 101,
        id: parse("A-101"),
        service: 1,
        from: if build.neighbours { vec![2, 3] } else { vec![2] },
        class: parse("routine"),
        lease_seconds: build.times.lease,
        not_before: build.times.not_before,
        not_after: build.times.not_after,
        hours: build.times.hours.map(parse),
        settled: match build.settled {
            0 => Vec::new(),
            number => vec![Settled { council: Some(parse("leeds")), number }],
        },
    };
    let to = |site: &str| if relay { NextHop::Site(parse(site)) } else { NextHop::Relays };
    let route = |prefix: &str, site: &str| Route { prefix: parse(prefix), to: to(site) };
    Policy {
        network: parse("connect"),
        gateway: parse(gateway),
        site: parse(gateway),
        role: if relay { Role::Relay } else { Role::Edge },
        overlay: vec![parse(OVERLAY4), parse(OVERLAY6)],
        management: parse("100.127.0.0/16"),
        address: parse(match gateway {
            "hub-a" => "100.127.0.1",
            "leeds-1" => "100.127.0.2",
            _ => "100.127.0.3",
        }),
        allotted: departments(gateway, build).into_iter().flat_map(|department| department.overlay).collect(),
        departments: departments(gateway, build),
        services: vec![Service {
            number: 1,
            name: parse("leeds/claims"),
            department: 1,
            hosts: hosts.clone(),
            ports: vec![parse("tcp/443"), parse("icmp/echo-request")],
        }],
        agreements: if build.agreed { vec![agreement] } else { vec![] },
        rules: if build.agreed {
            consumers.flat_map(|of| hosts.iter().flat_map(move |&host| rule(of, host))).collect()
        } else {
            vec![]
        },
        signed_after: None,
        shadowed: vec![],
        guardrails: if build.guarded { vec![no_ssh()] } else { vec![] },
        signers: Vec::new(),
        routes: if relay {
            vec![
                route("100.70.1.0/24", "leeds-1"),
                route("100.70.2.0/24", "bradford-1"),
                route("fd64:7475:726e:1::/64", "leeds-1"),
                route("fd64:7475:726e:2::/64", "bradford-1"),
            ]
        } else {
            vec![route(OVERLAY4, ""), route(OVERLAY6, "")]
        },
    }
}

/// Names are only compared here.
pub fn is(name: &Name, text: &str) -> bool {
    name.as_str() == text
}
