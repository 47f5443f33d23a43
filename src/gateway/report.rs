//! The status document, put together from the bundle in force and from what the parts observe.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::planner::{self, Planner};
use super::raise::Target;
use super::routing;
use super::timekeeper::Timekeeper;
use crate::bundle::{self, Clock, Membership, Policy};
use crate::dataplane::{LinkSnapshot, OffloadState, SchedulingState, Snapshot};
use crate::identity::{Name, Qualified};
use crate::ruleset::{self, Count, Counters, Instrument, Reason};
use crate::sys::{clock, host};
use crate::telemetry::status::{
    Agreement, Allowed, Denied, Drop, HandedOver, Host, Lease, Link, Mapping, Offload, Policy as PolicyStatus,
    Scheduling, Site, State, Time, Uplink, Withheld, Worker,
};

/// What no agreement allows.
const NO_AGREEMENT: &str = "no_agreement";

/// What met a guardrail.
const GUARDRAIL: &str = "guardrail";

/// The ways out, with the ports that they have.
pub fn uplinks(membership: &Membership, planner: &Planner, snapshot: &Snapshot) -> Vec<Uplink> {
    let port = |uplink: &bundle::Uplink| {
        let id = planner.socket_of(&uplink.name)?;
        snapshot.sockets.iter().find(|socket| socket.id == id).map(|socket| socket.port)
    };
    let up = |uplink: &bundle::Uplink| {
        let own = membership.links.iter().filter(|link| link.uplink == uplink.name);
        own.into_iter().any(|link| observed(snapshot, link.number).is_some_and(|link| link.alive))
    };
    let status = |uplink: &bundle::Uplink| Uplink {
        name: uplink.name.clone(),
        device: uplink.device.clone(),
        port: port(uplink).unwrap_or_else(|| planner::port(uplink)),
        up: up(uplink),
    };
    membership.uplinks.iter().map(status).collect()
}

/// The places that routes lead to.
pub fn sites(policy: &Policy, membership: &Membership, snapshot: &Snapshot) -> Vec<Site> {
    let mut sites: BTreeMap<String, Site> = BTreeMap::new();
    for route in &policy.routes {
        let name = Planner::place(&route.to);
        let leads = |link: &&bundle::Link| match &route.to {
            bundle::NextHop::Relays => link.relay,
            bundle::NextHop::Site(site) => link.site == *site,
        };
        let site = sites.entry(name.clone()).or_insert_with(|| {
            let links: Vec<u32> = membership.links.iter().filter(leads).map(|link| link.number).collect();
            let up = links.iter().any(|&number| observed(snapshot, number).is_some_and(|link| link.alive));
            Site { name, prefixes: Vec::new(), links, up }
        });
        site.prefixes.push(route.prefix);
    }
    sites.into_values().collect()
}

/// The tunnels.
pub fn links(membership: &Membership, snapshot: &Snapshot) -> Vec<Link> {
    membership.links.iter().map(|link| self::link(link, observed(snapshot, link.number))).collect()
}

fn observed(snapshot: &Snapshot, number: u32) -> Option<&LinkSnapshot> {
    snapshot.links.iter().find(|link| link.id.0 == number)
}

fn link(link: &bundle::Link, seen: Option<&LinkSnapshot>) -> Link {
    let count = |field: fn(&LinkSnapshot) -> u64| seen.map_or(0, field);
    Link {
        number: link.number,
        uplink: link.uplink.clone(),
        gateway: link.gateway.clone(),
        site: link.site.clone(),
        relay: link.relay,
        key: link.key,
        endpoint: seen.and_then(|seen| seen.endpoint),
        up: seen.is_some_and(|seen| seen.alive),
        last_handshake: seen.and_then(|seen| seen.last_handshake).and_then(|time| Timestamp::try_from(time).ok()),
        handshake_rtt_seconds: seen.and_then(|seen| seen.handshake_rtt).map(|rtt| rtt.as_secs_f64()),
        received_bytes: count(|seen| seen.received_bytes),
        sent_bytes: count(|seen| seen.sent_bytes),
        received_packets: count(|seen| seen.received_packets),
        sent_packets: count(|seen| seen.sent_packets),
        handshakes: count(|seen| seen.handshakes),
        endpoint_changes: count(|seen| seen.endpoint_changes),
        estimated_loss: seen.map_or(0.0, |seen| f64::from(seen.estimated_loss)),
        trains: seen.is_some_and(|seen| seen.trains),
    }
}

/// The departments that stand here.
pub fn mappings(policy: &Policy) -> Vec<Mapping> {
    routing::local(policy)
        .flat_map(|(department, segment)| {
            segment.mappings.iter().map(|mapping| Mapping {
                department: department.name.clone(),
                device: ruleset::segment_device(segment),
                real: mapping.real,
                overlay: mapping.overlay,
                via: segment.via.iter().copied().find(|via| via.is_ipv4() == mapping.real.address().is_ipv4()),
            })
        })
        .collect()
}

/// The agreements in force with what passed by them.
pub fn agreements(policy: &Policy, counters: &Counters) -> Vec<Agreement> {
    policy.agreements.iter().filter_map(|agreement| self::agreement(policy, agreement, counters)).collect()
}

fn agreement(policy: &Policy, agreement: &bundle::Agreement, counters: &Counters) -> Option<Agreement> {
    let service = policy.services.iter().find(|service| service.number == agreement.service)?;
    let mut total = Count::default();
    for (instrument, count) in counters {
        if let Instrument::Agreement { agreement: number, .. } = instrument
            && *number == agreement.number
        {
            total.packets += count.packets;
            total.bytes += count.bytes;
        }
    }
    Some(Agreement {
        number: agreement.number,
        id: agreement.id.clone(),
        service: service.name.clone(),
        from: agreement.from.iter().filter_map(|&number| department(policy, number).cloned()).collect(),
        packets: total.packets,
        bytes: total.bytes,
    })
}

/// The agreements that are not honoured now.
pub fn withheld(target: &Target) -> Vec<Withheld> {
    let told = |(agreement, reason): (&bundle::Agreement, &bundle::Withheld)| Withheld {
        number: agreement.number,
        id: agreement.id.clone(),
        reason: reason.label().to_owned(),
        text: reason.to_string(),
    };
    target.withheld().map(told).collect()
}

/// What is known of the time, and the leases that depend on it.
pub fn time(timekeeper: &Timekeeper, target: &Target) -> Time {
    let moment = timekeeper.moment();
    let (confirmed, now) = match moment.clock {
        Clock::Confirmed(now) => (true, now),
        Clock::Unconfirmed { latest, .. } => (false, latest),
    };
    let agreements = &target.bundle.policy.agreements;
    let classes: BTreeMap<&Name, u64> = agreements.iter().map(|it| (&it.class, it.lease_seconds)).collect();
    let lease = |(class, seconds): (&Name, u64)| Lease {
        class: class.clone(),
        seconds,
        left_seconds: Duration::from_secs(seconds).saturating_sub(moment.silence).as_secs_f64(),
    };
    Time {
        confirmed,
        now: Some(now),
        heartbeat: timekeeper.heartbeat(),
        silence_seconds: moment.silence.as_secs_f64(),
        leases: classes.into_iter().map(lease).collect(),
    }
}

fn department(policy: &Policy, number: u32) -> Option<&Qualified> {
    policy.departments.iter().find(|department| department.number == number).map(|department| &department.name)
}

/// What the policy let through and what it did not. Every reason is there, also at 0.
pub fn policy(policy: &Policy, counters: &Counters, rules: usize) -> PolicyStatus {
    PolicyStatus {
        rules: u64::try_from(rules).unwrap_or(u64::MAX),
        allowed: allowed(policy, counters),
        denied: denied(policy, counters),
    }
}

fn allowed(policy: &Policy, counters: &Counters) -> Vec<Allowed> {
    let departments: BTreeMap<u32, &bundle::Department> =
        policy.departments.iter().map(|department| (department.number, department)).collect();
    let services: BTreeMap<u32, &bundle::Service> =
        policy.services.iter().map(|service| (service.number, service)).collect();
    let mut allowed: BTreeMap<(&Qualified, &Qualified), Allowed> = BTreeMap::new();
    for agreement in &policy.agreements {
        let Some(service) = services.get(&agreement.service) else { continue };
        for department in agreement.from.iter().filter_map(|number| departments.get(number)) {
            let key = Instrument::Agreement { agreement: agreement.number, department: department.number };
            let count = counters.get(&key).copied().unwrap_or_default();
            let entry = allowed.entry((&department.name, &service.name)).or_insert_with(|| Allowed {
                department: department.name.clone(),
                site: department.site.clone(),
                service: service.name.clone(),
                packets: 0,
                bytes: 0,
            });
            entry.packets += count.packets;
            entry.bytes += count.bytes;
        }
    }
    allowed.into_values().collect()
}

fn denied(policy: &Policy, counters: &Counters) -> Vec<Denied> {
    let count = |instrument: Instrument| counters.get(&instrument).copied().unwrap_or_default();
    let mut denied = Vec::new();
    for department in &policy.departments {
        let number = department.number;
        let reasons = [(NO_AGREEMENT, Instrument::Denied(number)), (GUARDRAIL, Instrument::Guarded(number))];
        denied.extend(reasons.map(|(reason, instrument)| Denied {
            department: Some(department.name.clone()),
            site: Some(department.site.clone()),
            reason: reason.to_owned(),
            packets: count(instrument.clone()).packets,
            bytes: count(instrument).bytes,
        }));
    }
    denied.extend(Reason::ALL.iter().map(|&reason| Denied {
        department: None,
        site: None,
        reason: reason.label().to_owned(),
        packets: count(Instrument::Dropped(reason)).packets,
        bytes: count(Instrument::Dropped(reason)).bytes,
    }));
    denied
}

/// What the data plane dropped.
pub fn drops(snapshot: &Snapshot) -> Vec<Drop> {
    snapshot.drops.iter().map(|&(reason, packets)| Drop { reason: reason.to_owned(), packets }).collect()
}

/// What the kernel takes off the data plane, and what not.
pub fn offloads(snapshot: &Snapshot) -> Vec<Offload> {
    let state = |state| match state {
        OffloadState::On => State::On,
        OffloadState::Off => State::Off,
        OffloadState::Missing => State::Missing,
        OffloadState::Refused => State::Refused,
    };
    let told = |&(offload, found): &(crate::dataplane::Offload, _)| Offload {
        name: offload.label().to_owned(),
        state: state(found),
    };
    snapshot.offloads.iter().map(told).collect()
}

/// The workers, what they hand over to each other, and how they compete for processors.
pub fn workers(snapshot: &Snapshot) -> Vec<Worker> {
    let scheduling = |state| match state {
        SchedulingState::Urgent => Scheduling::Urgent,
        SchedulingState::Ordinary => Scheduling::Ordinary,
        SchedulingState::Refused => Scheduling::Refused,
    };
    let workers = snapshot.workers.iter().map(|worker| Worker {
        links: u64::try_from(worker.links).unwrap_or(u64::MAX),
        handed_over: HandedOver {
            packets: worker.handed.packets,
            initiations: worker.handed.initiations,
            datagrams: worker.handed.datagrams,
        },
        scheduling: scheduling(worker.scheduling),
    });
    workers.collect()
}

/// What the host has.
pub fn host(state: &Path) -> Host {
    let number = |name: &str| host::sysctl(name).and_then(|text| text.parse().ok());
    let disk = host::disk(state).ok();
    let clock = clock::read();
    Host {
        disk_free_bytes: disk.map(|(free, _)| free),
        disk_size_bytes: disk.map(|(_, size)| size),
        clock_synchronised: clock.map(|clock| clock.synchronised),
        clock_error_bound_seconds: clock.map(|clock| clock.error_bound),
        conntrack_entries: number("net.netfilter.nf_conntrack_count"),
        conntrack_limit: number("net.netfilter.nf_conntrack_max"),
    }
}
