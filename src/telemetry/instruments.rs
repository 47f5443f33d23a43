//! Every metric there is, in one table: name, help, labels, the most series that it may have, and how it is read
//! from the status document.
//!
//! Labels are configured names and closed lists, never something that a packet carries. What never happened is
//! absent where it is a time, and 0 where it is a count.

use jiff::Timestamp;

use super::status::{HandedOver, Lease, Link, Scheduling, State, Status};
use crate::bundle::{Role, Withheld};

/// Counter or gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, but for restarts.
    Counter,
    /// Rises and falls.
    Gauge,
}

/// One series' labels, in the order of [`Instrument::labels`], and its value.
pub type Sample = (Vec<String>, f64);

/// One metric family.
pub struct Instrument {
    /// Its name.
    pub name: &'static str,
    /// What it tells, with its unit.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// No gateway of a network of 388 councils has more series of it.
    pub budget: usize,
    /// Its values.
    pub read: fn(&Status) -> Vec<Sample>,
}

const TUNNEL: &[&str] = &["uplink", "hub", "link"];

macro_rules! instrument {
    ($kind:ident $name:literal [$($label:literal),*] $budget:literal $help:literal $read:expr) => {
        Instrument {
            name: concat!("turnpike_", $name), help: $help, kind: Kind::$kind, labels: &[$($label),*],
            budget: $budget, read: $read,
        }
    };
    ($kind:ident $name:literal tunnel $help:literal $read:expr) => {
        Instrument {
            name: concat!("turnpike_tunnel_", $name), help: $help, kind: Kind::$kind, labels: TUNNEL,
            budget: 1600, read: |status| tunnels(status, $read),
        }
    };
}

/// All metrics.
pub static INSTRUMENTS: &[Instrument] = &[
    instrument!(Gauge "build_info" ["version"] 1 "The program's version; always 1."
        |status| vec![(vec![status.version.clone()], 1.0)]),
    instrument!(Gauge "site_info" ["name", "gateway", "network", "role"] 1 "The gateway and its site; always 1."
        |status| vec![(vec![
            status.site.to_string(), status.gateway.to_string(), status.network.to_string(), role(status.role).into(),
        ], 1.0)]),
    instrument!(Gauge "uplink_info" ["uplink", "device"] 8 "An uplink and the device that it is bound to; always 1."
        |status| status.uplinks.iter().map(|uplink| {
            (vec![uplink.name.to_string(), uplink.device.clone().unwrap_or_default()], 1.0)
        }).collect()),
    instrument!(Gauge "link_up" ["uplink"] 8 "Whether any tunnel of the uplink carries traffic."
        |status| status.uplinks.iter().map(|uplink| (vec![uplink.name.to_string()], flag(uplink.up))).collect()),
    instrument!(Gauge "up" tunnel "Whether the tunnel has a session that could carry a packet now."
        |link| Some(flag(link.up))),
    instrument!(Gauge "last_handshake_timestamp_seconds" tunnel "When the last handshake was completed; absent for never."
        |link| link.last_handshake.map(seconds)),
    instrument!(Counter "handshakes_total" tunnel "Handshakes completed." |link| count(link.handshakes)),
    instrument!(Gauge "handshake_rtt_seconds" tunnel "The last handshake's round trip; absent before the first."
        |link| link.handshake_rtt_seconds),
    instrument!(Gauge "estimated_loss_ratio" tunnel "The estimated share of packets lost towards this gateway."
        |link| Some(link.estimated_loss)),
    instrument!(Counter "endpoint_changes_total" tunnel "Times that the peer was found at another address."
        |link| count(link.endpoint_changes)),
    instrument!(Gauge "trains" tunnel
        "Whether several datagrams leave at once; 0 without the offload udp_gso and where the path refused that."
        |link| Some(flag(link.trains))),
    instrument!(Counter "receive_bytes_total" tunnel "Octets received in authenticated datagrams."
        |link| count(link.received_bytes)),
    instrument!(Counter "transmit_bytes_total" tunnel "Octets sent in datagrams." |link| count(link.sent_bytes)),
    instrument!(Counter "receive_packets_total" tunnel "Authenticated datagrams received."
        |link| count(link.received_packets)),
    instrument!(Counter "transmit_packets_total" tunnel "Datagrams sent." |link| count(link.sent_packets)),
    instrument!(Counter "policy_allowed_packets_total" ["department", "service"] 2000
        "Packets that an edge's policy let through, both directions, by the consumer's department."
        |status| allowed(status, |allowed| allowed.packets)),
    instrument!(Counter "policy_allowed_bytes_total" ["department", "service"] 2000
        "Octets that an edge's policy let through, both directions, by the consumer's department."
        |status| allowed(status, |allowed| allowed.bytes)),
    instrument!(Counter "policy_denied_packets_total" ["department", "reason"] 2000
        "Packets that the policy denied; an empty department where the reason leaves it unknown."
        |status| denied(status, |denied| denied.packets)),
    instrument!(Counter "policy_denied_bytes_total" ["department", "reason"] 2000
        "Octets that the policy denied; an empty department where the reason leaves it unknown."
        |status| denied(status, |denied| denied.bytes)),
    instrument!(Counter "hub_policy_allowed_packets_total" ["site", "department"] 40000
        "Packets that the hub's policy let through, by the consumer's site and department."
        |status| hub_allowed(status, |allowed| allowed.packets)),
    instrument!(Counter "hub_policy_allowed_bytes_total" ["site", "department"] 40000
        "Octets that the hub's policy let through, by the consumer's site and department."
        |status| hub_allowed(status, |allowed| allowed.bytes)),
    instrument!(Gauge "policy_rules" [] 1 "Rules in force." |status| single(count(status.policy.rules))),
    instrument!(Gauge "policy_last_applied_timestamp_seconds" [] 1 "When the policy in force was applied."
        |status| single(Some(seconds(status.configuration.applied)))),
    instrument!(Gauge "agreements_withheld" ["reason"] 8 "Agreements of the bundle that are not honoured now."
        |status| withheld(status)),
    instrument!(Gauge "clock_confirmed" [] 1 "Whether somebody has vouched for the time since the machine started."
        |status| single(Some(flag(status.time.confirmed)))),
    instrument!(Gauge "controller_silence_seconds" [] 1 "How long the controller has not been heard."
        |status| single(Some(status.time.silence_seconds))),
    instrument!(Gauge "lease_expiry_timestamp_seconds" ["class"] 32
        "When the class is no longer honoured, if the controller is not heard until then."
        |status| leases(status)),
    instrument!(Counter "policy_apply_failures_total" [] 1 "Good bundles that could not be applied."
        |status| single(count(status.configuration.failed_total))),
    instrument!(Counter "agreement_packets_total" ["agreement"] 2000
        "Packets that passed by the agreement, both directions; edges only."
        |status| agreements(status, |agreement| agreement.packets)),
    instrument!(Counter "agreement_bytes_total" ["agreement"] 2000
        "Octets that passed by the agreement, both directions; edges only."
        |status| agreements(status, |agreement| agreement.bytes)),
    instrument!(Counter "dataplane_drops_total" ["stage", "reason"] 64 "Packets that the data plane dropped."
        |status| status.drops.iter().map(|drop| {
            (vec!["tunnel".into(), drop.reason.clone()], exact(drop.packets))
        }).collect()),
    instrument!(Gauge "dataplane_offload_state" ["offload", "state"] 24
        "Whether an offload is on, switched off, missing in the kernel or refused by it: 1 for the state that it is in."
        |status| status.offloads.iter().flat_map(|offload| State::ALL.map(|state| {
            (vec![offload.name.clone(), state.label().to_owned()], flag(offload.state == state))
        })).collect()),
    instrument!(Gauge "dataplane_worker_links" ["worker"] 8 "Tunnels that a worker serves: a series for each worker."
        |status| (0..).zip(&status.workers).map(|(number, worker): (u8, _)| {
            (vec![number.to_string()], exact(worker.links))
        }).collect()),
    instrument!(Gauge "dataplane_worker_scheduling" ["worker", "class"] 24
        "How a worker competes for processors: 1 for urgent, ordinary as configured, or refused by the system."
        |status| (0..).zip(&status.workers).flat_map(|(number, worker): (u8, _)| {
            Scheduling::ALL.map(|class| {
                (vec![number.to_string(), class.label().to_owned()], flag(worker.scheduling == class))
            })
        }).collect()),
    instrument!(Counter "dataplane_handed_over_total" ["kind"] 3
    "Packets, handshakes' first messages and other datagrams that workers handed over to each other."
    |status| {
        let handed = |read: fn(&HandedOver) -> u64| status.workers.iter().map(|worker| read(&worker.handed_over)).sum();
        [("packet", handed(|it| it.packets)), ("initiation", handed(|it| it.initiations)),
         ("datagram", handed(|it| it.datagrams))]
            .into_iter().map(|(kind, total)| (vec![kind.to_owned()], exact(total))).collect()
    }),
    instrument!(Gauge "config_generation" [] 1 "The generation in force."
        |status| single(count(status.configuration.generation))),
    instrument!(Gauge "config_desired_generation" [] 1 "The generation last offered, in force or refused."
        |status| single(count(status.configuration.offered))),
    instrument!(Counter "config_apply_total" ["result"] 3 "Bundles offered, by what became of them."
    |status| {
        let configuration = &status.configuration;
        [("applied", configuration.applied_total), ("refused", configuration.refused_total),
         ("failed", configuration.failed_total)]
            .into_iter().map(|(result, total)| (vec![result.to_owned()], exact(total))).collect()
    }),
    instrument!(Counter "config_drift_repairs_total" ["part"] 2 "Foreign changes in the kernel that were undone."
    |status| vec![
        (vec!["ruleset".into()], exact(status.drift.ruleset_repairs)),
        (vec!["routing".into()], exact(status.drift.routing_repairs)),
    ]),
    instrument!(Counter "audit_events_written_total" [] 1 "Events of flows that were written."
        |status| single(count(status.events.written))),
    instrument!(Counter "audit_events_suppressed_total" [] 1
        "Packets refused and flows opened of which only the field suppressed of an event tells."
        |status| single(count(status.events.suppressed))),
    instrument!(Counter "audit_events_lost_total" [] 1
        "Packets refused and flows opened of which nothing tells: not heard of in time, or not written."
        |status| single(count(status.events.lost))),
    instrument!(Gauge "condition" ["condition"] 32 "Conditions that hold now; always 1."
    |status| {
        let mut ids: Vec<&str> = status.conditions.iter().map(|condition| condition.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(|id| (vec![id.to_owned()], 1.0)).collect()
    }),
    instrument!(Gauge "clock_synchronised" [] 1 "Whether a time service keeps the clock synchronised."
        |status| single(status.host.clock_synchronised.map(flag))),
    instrument!(Gauge "clock_error_bound_seconds" [] 1 "How far the clock may be off."
        |status| single(status.host.clock_error_bound_seconds)),
    instrument!(Gauge "conntrack_entries" [] 1 "Flows that the kernel tracks."
        |status| single(status.host.conntrack_entries.and_then(count))),
    instrument!(Gauge "conntrack_limit" [] 1 "Flows that the kernel can track."
        |status| single(status.host.conntrack_limit.and_then(count))),
    instrument!(Gauge "disk_free_bytes" [] 1 "Octets free in the file system of the state."
        |status| single(status.host.disk_free_bytes.and_then(count))),
    instrument!(Gauge "disk_size_bytes" [] 1 "Octets in the file system of the state."
        |status| single(status.host.disk_size_bytes.and_then(count))),
    instrument!(Gauge "collector_success" ["collector"] 8 "Whether this source of metrics could be read."
        |status| status.collectors.iter().map(|source| (vec![source.name.clone()], flag(source.success))).collect()),
];

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// Exact up to 2^53, which at 10 Gbit/s is 83 days of octets; beyond, the nearest.
#[allow(clippy::cast_precision_loss)]
fn exact(value: u64) -> f64 {
    value as f64
}

fn count(value: u64) -> Option<f64> {
    Some(exact(value))
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

fn withheld(status: &Status) -> Vec<Sample> {
    let count = |reason: &str| status.withheld.iter().filter(|withheld| withheld.reason == reason).count();
    let number = |reason| exact(u64::try_from(count(reason)).unwrap_or(u64::MAX));
    Withheld::LABELS.iter().map(|&reason| (vec![reason.to_owned()], number(reason))).collect()
}

fn leases(status: &Status) -> Vec<Sample> {
    let end = |lease: &Lease| seconds(status.time.now.unwrap_or(status.at)) + lease.left_seconds;
    status.time.leases.iter().map(|lease| (vec![lease.class.to_string()], end(lease))).collect()
}

fn single(value: Option<f64>) -> Vec<Sample> {
    value.into_iter().map(|value| (Vec::new(), value)).collect()
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Edge => "edge",
        Role::Relay => "hub",
    }
}

/// The labels of a tunnel say which uplink it leaves by and which hub it leads to. On a hub the tunnel is the
/// peer's uplink to us, so that the peer stands in for the uplink.
fn tunnels(status: &Status, value: fn(&Link) -> Option<f64>) -> Vec<Sample> {
    let labels = |link: &Link| match status.role {
        Role::Edge => vec![link.uplink.to_string(), link.gateway.to_string(), link.number.to_string()],
        Role::Relay => vec![link.gateway.to_string(), status.gateway.to_string(), link.number.to_string()],
    };
    status.links.iter().filter_map(|link| Some((labels(link), value(link)?))).collect()
}

fn allowed(status: &Status, value: fn(&super::status::Allowed) -> u64) -> Vec<Sample> {
    match status.role {
        Role::Edge => {
            let labels =
                |allowed: &super::status::Allowed| vec![allowed.department.to_string(), allowed.service.to_string()];
            status.policy.allowed.iter().map(|allowed| (labels(allowed), exact(value(allowed)))).collect()
        }
        // By department and service a hub would have hundreds of thousands of series.
        Role::Relay => Vec::new(),
    }
}

fn hub_allowed(status: &Status, value: fn(&super::status::Allowed) -> u64) -> Vec<Sample> {
    let mut totals = std::collections::BTreeMap::new();
    match status.role {
        Role::Edge => {}
        Role::Relay => {
            for allowed in &status.policy.allowed {
                let total: &mut u64 =
                    totals.entry((allowed.site.to_string(), allowed.department.to_string())).or_default();
                *total += value(allowed);
            }
        }
    }
    totals.into_iter().map(|((site, department), total)| (vec![site, department], exact(total))).collect()
}

fn denied(status: &Status, value: fn(&super::status::Denied) -> u64) -> Vec<Sample> {
    let labels = |denied: &super::status::Denied| {
        vec![denied.department.as_ref().map(ToString::to_string).unwrap_or_default(), denied.reason.clone()]
    };
    status.policy.denied.iter().map(|denied| (labels(denied), exact(value(denied)))).collect()
}

fn agreements(status: &Status, value: fn(&super::status::Agreement) -> u64) -> Vec<Sample> {
    match status.role {
        Role::Edge => {
            let sample =
                |agreement: &super::status::Agreement| (vec![agreement.id.to_string()], exact(value(agreement)));
            status.agreements.iter().map(sample).collect()
        }
        Role::Relay => Vec::new(),
    }
}
