//! From what changes between addresses to rows that people read.
//!
//! ```text
//!  share: way, service, flows, window, agreements, causes
//!    └─ consumer ─ host ─ ranges of sources
//!         hosts with the same ranges ─▶ consumers with the same hosts ─▶ row
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cause::{Asked, Cause};
use super::host::{Host, Piece, covering, follows};
use super::side::{Grant, Side, Window};
use super::space::{Space, Words};
use super::when::{self, When};
use super::{By, Consumer, Cover, Row, Way};
use crate::identity::Qualified;
use crate::net::{Family, Flow};

/// What flows have in common that are told in one row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Share {
    way: Way,
    service: Qualified,
    window: Window,
    when: When,
    flows: Words,
    by: Vec<By>,
    causes: Vec<Cause>,
}

/// First and last address.
type Range = (IpAddr, IpAddr);

/// Ranges of sources with the flows that each is about, by consumer and host.
type Consumers = BTreeMap<Qualified, BTreeMap<IpAddr, Vec<(Range, Space)>>>;

/// Rows in the making.
pub struct Rows<'a> {
    old: &'a Side,
    new: &'a Side,
    shares: BTreeMap<Share, Consumers>,
}

/// One way of a change for one range of sources.
struct Part<'a> {
    way: Way,
    side: &'a Side,
    other: &'a Side,
    window: Window,
    when: &'a When,
    source: IpAddr,
}

impl<'a> Rows<'a> {
    /// None yet.
    pub fn new(old: &'a Side, new: &'a Side) -> Self {
        Self { old, new, shares: BTreeMap::new() }
    }

    /// Adds what changes about a host for a range of sources.
    pub fn add(&mut self, host: &Host<'_>, piece: &Piece) {
        let (old, new, source) = (self.old, self.new, piece.first);
        for change in &piece.changes {
            let (window, when) = (change.window, &change.when);
            let lost = Part { way: Way::Lost, side: old, other: new, window, when, source };
            let gained = Part { way: Way::Gained, side: new, other: old, window, when, source };
            for (part, grants, space) in [(lost, host.old, &change.lost), (gained, host.new, &change.gained)] {
                for (share, consumer, space) in part.shares(covering(grants, source), space) {
                    let consumers = self.shares.entry(share).or_default();
                    let ranges = consumers.entry(consumer).or_default().entry(host.address).or_default();
                    match ranges.last_mut() {
                        Some(((_, last), before)) if follows(*last, source) && *before == space => *last = piece.last,
                        _ => ranges.push(((source, piece.last), space)),
                    }
                }
            }
        }
    }

    /// All rows: what is lost before what is gained, by service.
    pub fn finish(self) -> Vec<Row> {
        let Self { old, new, shares } = self;
        let rows = shares.into_iter().flat_map(|(share, consumers)| {
            let side = match share.way {
                Way::Lost => old,
                Way::Gained => new,
            };
            rows(side, &share, consumers)
        });
        rows.collect()
    }
}

impl Part<'_> {
    /// Flows by the services whose grants let them pass, each of them once.
    fn shares(&self, grants: &[Grant], space: &Space) -> Vec<(Share, Qualified, Space)> {
        let meets = |grant: &&Grant| {
            let open = self.when.is_empty() || grant.hours.as_ref().is_none_or(|hours| when::meets(self.when, hours));
            open && grant.window.from < self.window.until && self.window.from < grant.window.until
        };
        let mut open: Vec<&Grant> = grants.iter().filter(meets).collect();
        open.sort_by_key(|grant| self.side.agreements[grant.agreement].number);
        let (mut left, mut shares) = (space.clone(), Vec::new());
        while let Some(first) = open.iter().find(|grant| !grant.space.and(&left).is_empty()) {
            let service = first.service;
            let own: Vec<&Grant> = open.iter().filter(|grant| grant.service == service).copied().collect();
            let offered = own.iter().fold(Space::default(), |space, grant| space.or(&grant.space));
            let share = left.and(&offered);
            left = left.minus(&share);
            let consumer = self.side.departments[first.consumer].name.clone();
            shares.push((self.share(first, &own, &share), consumer, share));
        }
        shares
    }

    fn share(&self, first: &Grant, grants: &[&Grant], space: &Space) -> Share {
        let (mut by, mut causes) = (BTreeSet::new(), BTreeSet::new());
        for grant in grants.iter().filter(|grant| !grant.space.and(space).is_empty()) {
            let deal = &self.side.agreements[grant.agreement];
            by.insert(By { agreement: deal.id.clone(), origin: deal.origin.clone() });
            let Self { way, side, other, window, source, .. } = *self;
            causes.extend(Asked { way, side, other, grant, source, space, window }.causes());
        }
        Share {
            way: self.way,
            service: self.side.services[first.service].name.clone(),
            window: self.window,
            when: self.when.clone(),
            flows: space.words(Family::of(first.host)),
            by: by.into_iter().collect(),
            causes: causes.into_iter().collect(),
        }
    }
}

/// The rows of flows that have all in common but their ends.
fn rows(side: &Side, share: &Share, consumers: Consumers) -> Vec<Row> {
    let mut alike: BTreeMap<Vec<IpAddr>, (Vec<Consumer>, Vec<Cover>)> = BTreeMap::new();
    for (department, hosts) in consumers {
        let mut parts: BTreeMap<Vec<Range>, (Vec<IpAddr>, Vec<Cover>)> = BTreeMap::new();
        for (host, ranges) in hosts {
            let part = if is_whole(side, &department, host, &ranges) {
                Vec::new()
            } else {
                ranges.iter().map(|(range, _)| *range).collect()
            };
            let entry = parts.entry(part).or_default();
            entry.0.push(host);
            entry.1.extend(ranges.into_iter().map(|((first, last), space)| Cover { first, last, host, space }));
        }
        for (part, (hosts, cover)) in parts {
            let hosts = if is_all(side, share, &department, &hosts) { Vec::new() } else { hosts };
            let entry = alike.entry(hosts).or_default();
            entry.0.push(Consumer { department: department.clone(), part });
            entry.1.extend(cover);
        }
    }
    alike.into_iter().filter_map(|(hosts, (from, cover))| row(share, hosts, from, cover)).collect()
}

/// Whether the ranges are all that a department has of the host's family.
fn is_whole(side: &Side, department: &Qualified, host: IpAddr, ranges: &[(Range, Space)]) -> bool {
    let party = side.department_at(department).and_then(|at| side.departments.get(at));
    let own = party.into_iter().flat_map(|party| &party.overlay).filter(|prefix| prefix.family() == Family::of(host));
    let own: Vec<Range> = own.map(|prefix| (prefix.address(), prefix.last())).collect();
    own.iter().eq(ranges.iter().map(|(range, _)| range))
}

/// Whether they are all hosts of the service that have a family in common with the department.
fn is_all(side: &Side, share: &Share, department: &Qualified, hosts: &[IpAddr]) -> bool {
    let (Some(offer), Some(party)) = (
        side.service_at(&share.service).and_then(|at| side.services.get(at)),
        side.department_at(department).and_then(|at| side.departments.get(at)),
    ) else {
        return false;
    };
    let reached = |host: &&IpAddr| party.overlay.iter().any(|prefix| prefix.family() == Family::of(**host));
    let all: BTreeSet<&IpAddr> = offer.hosts.iter().filter(reached).collect();
    all == hosts.iter().collect()
}

fn row(share: &Share, hosts: Vec<IpAddr>, from: Vec<Consumer>, cover: Vec<Cover>) -> Option<Row> {
    let witness = cover.iter().find_map(|cover| {
        let (protocol, aim) = cover.space.sample(Family::of(cover.host))?;
        Some(Flow { source: usual(cover.first, cover.last), destination: cover.host, protocol, aim })
    })?;
    let at = when::first(share.window, &share.when)?;
    Some(Row {
        way: share.way,
        from,
        service: share.service.clone(),
        hosts,
        flows: share.flows.clone(),
        window: share.window,
        when: share.when.clone(),
        by: share.by.clone(),
        causes: share.causes.clone(),
        witness: (witness, at),
        cover,
    })
}

/// An address of a range: not its first, which in a prefix is nobody's.
fn usual(first: IpAddr, last: IpAddr) -> IpAddr {
    match first {
        _ if first == last => first,
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address).saturating_add(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address).saturating_add(1)).into(),
    }
}
