//! The exact difference in reachability between two definitions: who reaches what, from which instant on.
//!
//! ```text
//!  old ─ Side ─┐                         ┌─ atoms × slabs ─▶ lost, gained ─┐
//!              ├─ hosts that may differ ─┤                                 ├─▶ rows, each with its causes and a witness
//!  new ─ Side ─┘                         └─ mappings ─▶ other machines ────┘
//! ```
//!
//! Nothing is sampled and nothing is left open: a flow and an instant have another verdict on the two sides if and only if a
//! row covers them. Which agreement allows a flow is no difference while one does. What lies before the instant from which on
//! it is asked is no difference either.

mod cause;
mod host;
mod rows;
mod side;
mod space;
#[cfg(test)]
mod tests;
mod when;

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;

use super::Origin;
use crate::bundle::Hours;
use crate::identity::{Id, Qualified};
use crate::net::{Family, Flow, Prefix};

pub use cause::{Cause, Kind};
pub use side::{Side, Window};
pub use space::{Space, Words};

/// Which way something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// It passed, and does not any more.
    Lost,
    /// It did not pass, and does now.
    Gained,
}

impl Way {
    /// The word in tables and JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Gained => "gained",
        }
    }
}

/// Sources of one department.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Consumer {
    /// The department.
    pub department: Qualified,
    /// Which of its addresses, first and last; empty for all that it has of the hosts' families.
    pub part: Vec<(IpAddr, IpAddr)>,
}

/// An agreement by which something passes on one side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct By {
    /// The agreement.
    pub agreement: Id,
    /// Where it stands, on the side where it allows the flows.
    pub origin: Option<Origin>,
}

/// Flows of one kind that are lost or gained.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which way.
    pub way: Way,
    /// Who opens them.
    pub from: Vec<Consumer>,
    /// To which service.
    pub service: Qualified,
    /// To which of its hosts; empty for all of them.
    pub hosts: Vec<IpAddr>,
    /// Which protocols and ports.
    pub flows: Words,
    /// When.
    pub window: Window,
    /// In which part of the week: within all of these hours; always where there are none.
    pub when: Vec<Hours>,
    /// By which agreements, on the side where they pass.
    pub by: Vec<By>,
    /// Why, by what stands on the other side.
    pub causes: Vec<Cause>,
    /// A flow whose verdict changes, and an instant at which it does.
    pub witness: (Flow, Timestamp),
    /// All that it covers.
    cover: Vec<Cover>,
}

/// Flows between a range of sources and a host.
#[derive(Clone, Debug)]
struct Cover {
    first: IpAddr,
    last: IpAddr,
    host: IpAddr,
    space: Space,
}

impl Row {
    /// Whether the verdict on this flow changes at this instant for what the row tells of.
    pub fn covers(&self, flow: &Flow, at: Timestamp) -> bool {
        (self.window.from..self.window.until).contains(&at.as_second())
            && self.when.iter().all(|hours| hours.contains(at))
            && self.has(flow)
    }

    /// Whether the verdict on this flow changes at any time for what the row tells of.
    pub fn has(&self, flow: &Flow) -> bool {
        let family = Family::of(flow.destination);
        self.cover.iter().any(|cover| {
            cover.host == flow.destination
                && (cover.first..=cover.last).contains(&flow.source)
                && cover.space.contains(flow.protocol, flow.aim, family)
        })
    }
}

/// Overlay addresses behind which there are other machines now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remapped {
    /// The department.
    pub department: Qualified,
    /// Its overlay prefix, which stays.
    pub overlay: Prefix,
    /// The real prefix before.
    pub old: Prefix,
    /// The real prefix now.
    pub new: Prefix,
    /// Where the department stands.
    pub origin: Option<Origin>,
}

/// All that differs.
#[derive(Clone, Debug, Default)]
pub struct Diff {
    /// By way, service and consumer.
    pub rows: Vec<Row>,
    /// By department.
    pub remapped: Vec<Remapped>,
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.remapped.is_empty()
    }

    /// How many rows tell of something gained, and how many of something lost.
    pub fn counts(&self) -> [usize; 2] {
        [Way::Gained, Way::Lost].map(|way| self.rows.iter().filter(|row| row.way == way).count())
    }

    /// How many departments and services it concerns.
    pub fn concerned(&self) -> (usize, usize) {
        let consumers = self.rows.iter().flat_map(|row| &row.from).map(|consumer| &consumer.department);
        let departments: BTreeSet<_> = consumers.chain(self.remapped.iter().map(|moved| &moved.department)).collect();
        let services: BTreeSet<_> = self.rows.iter().map(|row| &row.service).collect();
        (departments.len(), services.len())
    }
}

/// What differs from `start` on.
pub fn diff(old: &Side, new: &Side, start: Timestamp) -> Diff {
    let mut rows = rows::Rows::new(old, new);
    for host in host::hosts(old, new) {
        for piece in host.pieces(old, new, start.as_second()) {
            rows.add(&host, &piece);
        }
    }
    Diff { rows: rows.finish(), remapped: remapped(old, new) }
}

fn remapped(old: &Side, new: &Side) -> Vec<Remapped> {
    let mut remapped = Vec::new();
    for party in &new.departments {
        let Some(before) = old.department_at(&party.name).and_then(|at| old.departments.get(at)) else { continue };
        for mapping in &party.real {
            let was = before.real.iter().find(|was| was.overlay == mapping.overlay && was.real != mapping.real);
            remapped.extend(was.map(|was| Remapped {
                department: party.name.clone(),
                overlay: mapping.overlay,
                old: was.real,
                new: mapping.real,
                origin: party.origin.clone(),
            }));
        }
    }
    remapped
}
