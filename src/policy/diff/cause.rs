//! Why flows pass on one side alone: what the other side lacks, or has against them.

use std::net::IpAddr;

use super::Way;
use super::side::{Deal, Grant, Offer, Side, Window, space};
use super::space::Space;
use crate::bundle::Hours;
use crate::net::Family;
use crate::policy::Origin;

/// What a cause is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The agreement is there on one side alone.
    Agreement,
    /// A council's consent, or something that cannot be enforced.
    Void,
    /// The agreement's dates.
    Dates,
    /// The agreement's hours.
    Hours,
    /// Whether the agreement names the consumer.
    Consumer,
    /// The service: whether it is there, and which one the agreement is about.
    Service,
    /// The service's hosts.
    Hosts,
    /// What the service answers on.
    Ports,
    /// A department's overlay prefix, or whether it is there.
    Department,
    /// A guardrail.
    Guardrail,
}

impl Kind {
    /// The word in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Agreement => "agreement",
            Self::Void => "consent",
            Self::Dates => "dates",
            Self::Hours => "hours",
            Self::Consumer => "consumer",
            Self::Service => "service",
            Self::Hosts => "hosts",
            Self::Ports => "ports",
            Self::Department => "department",
            Self::Guardrail => "guardrail",
        }
    }
}

/// Why flows pass on one side alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// What it is about.
    pub kind: Kind,
    /// In a few words, without a full stop.
    pub text: String,
    /// Where that stands, on the new side if it is there.
    pub origin: Option<Origin>,
}

/// What is asked about: flows of a grant that the other side does not let pass.
pub struct Asked<'a> {
    /// Which way.
    pub way: Way,
    /// The side on which they pass.
    pub side: &'a Side,
    /// The other one.
    pub other: &'a Side,
    /// By which grant.
    pub grant: &'a Grant,
    /// One of the sources.
    pub source: IpAddr,
    /// The flows.
    pub space: &'a Space,
    /// When.
    pub window: Window,
}

impl Asked<'_> {
    /// Every reason that there is, sorted.
    pub fn causes(&self) -> Vec<Cause> {
        let mut causes = self.guardrails();
        let deal = &self.side.agreements[self.grant.agreement];
        match self.other.agreement_at(&deal.id).map(|at| &self.other.agreements[at]) {
            None => {
                let word = self.word("removed", "new");
                causes.push(cause(Kind::Agreement, format!("agreement {} is {word}", deal.id), deal.origin.clone()));
            }
            Some(other) => {
                self.agreement(deal, other, &mut causes);
                self.service(deal, other, &mut causes);
            }
        }
        causes.sort();
        causes.dedup();
        causes
    }

    fn word<'w>(&self, lost: &'w str, gained: &'w str) -> &'w str {
        match self.way {
            Way::Lost => lost,
            Way::Gained => gained,
        }
    }

    /// Of two texts, one of this side and one of the other, the old one first.
    fn turn(&self, this: &str, other: &str) -> String {
        let (old, new) = match self.way {
            Way::Lost => (this, other),
            Way::Gained => (other, this),
        };
        format!("{old} → {new}")
    }

    /// Of two places, the one on the new side.
    fn newest(&self, this: Option<&Origin>, other: Option<&Origin>) -> Option<Origin> {
        match self.way {
            Way::Lost => other.or(this),
            Way::Gained => this.or(other),
        }
        .cloned()
    }

    fn guardrails(&self) -> Vec<Cause> {
        let (host, family) = (self.grant.host, Family::of(self.grant.host));
        let denying =
            self.other.denials.iter().filter(|denial| {
                denial.concerns(self.source, host) && !denial.space(family).and(self.space).is_empty()
            });
        let told = denying.map(|denial| {
            let id = &denial.guardrail.id;
            let here = self.side.denials.iter().find(|own| own.guardrail.id == *id);
            let text = match (here, self.way) {
                (Some(_), Way::Lost) => format!("guardrail {id} denies more"),
                (Some(_), Way::Gained) => format!("guardrail {id} denies less"),
                (None, Way::Lost) => format!("guardrail {id} is new"),
                (None, Way::Gained) => format!("guardrail {id} is removed"),
            };
            let own = here.and_then(|own| own.origin.as_ref());
            cause(Kind::Guardrail, text, self.newest(own, denial.origin.as_ref()))
        });
        told.collect()
    }

    fn agreement(&self, deal: &Deal, other: &Deal, causes: &mut Vec<Cause>) {
        let place = || self.newest(deal.origin.as_ref(), other.origin.as_ref());
        for void in &other.void {
            let text = match self.way {
                Way::Lost => format!("{}: {void}", deal.id),
                Way::Gained => format!("{}: it is no longer so that {void}", deal.id),
            };
            causes.push(cause(Kind::Void, text, place()));
        }
        if !other.window.covers(self.window) {
            let turn = self.turn(&deal.window.to_string(), &other.window.to_string());
            causes.push(cause(Kind::Dates, format!("{}: {turn}", deal.id), place()));
        }
        if deal.hours != other.hours {
            let words = |hours: &Option<Hours>| hours.as_ref().map_or("always", Hours::text).to_owned();
            let turn = self.turn(&words(&deal.hours), &words(&other.hours));
            causes.push(cause(Kind::Hours, format!("{}: {turn}", deal.id), place()));
        }
        let consumer = &self.side.departments[self.grant.consumer].name;
        if !other.from.contains(consumer) {
            let word = self.word("no longer names", "now names");
            causes.push(cause(Kind::Consumer, format!("{} {word} {consumer}", deal.id), place()));
        } else {
            self.moved(consumer, self.source, causes);
        }
    }

    fn service(&self, deal: &Deal, other: &Deal, causes: &mut Vec<Cause>) {
        let offer = &self.side.services[self.grant.service];
        let named = other.service.as_ref();
        if named != Some(&offer.name) {
            let there = named.map_or_else(|| "none".to_owned(), ToString::to_string);
            let turn = self.turn(&offer.name.to_string(), &there);
            let place = self.newest(deal.origin.as_ref(), other.origin.as_ref());
            causes.push(cause(Kind::Service, format!("{}: {turn}", deal.id), place));
            return;
        }
        let Some(there) = self.other.service_at(&offer.name).map(|at| &self.other.services[at]) else {
            let word = self.word("removed", "new");
            causes.push(cause(Kind::Service, format!("service {} is {word}", offer.name), offer.origin.clone()));
            return;
        };
        self.hosts(offer, there, causes);
        let family = Family::of(self.grant.host);
        if !self.space.minus(&space(&there.ports, family)).is_empty() {
            let list = |offer: &Offer| offer.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let turn = self.turn(&list(offer), &list(there));
            let place = self.newest(offer.origin.as_ref(), there.origin.as_ref());
            causes.push(cause(Kind::Ports, format!("{}: {turn}", offer.name), place));
        }
    }

    fn hosts(&self, offer: &Offer, there: &Offer, causes: &mut Vec<Cause>) {
        let host = self.grant.host;
        if there.hosts.contains(&host) {
            return;
        }
        let place = || self.newest(offer.origin.as_ref(), there.origin.as_ref());
        if offer.department != there.department {
            let name = |offer: &Offer| offer.department.as_ref().map(ToString::to_string).unwrap_or_default();
            let text = format!("{} stands at {}", offer.name, self.turn(&name(offer), &name(there)));
            causes.push(cause(Kind::Service, text, place()));
        } else if !offer.department.as_ref().is_some_and(|name| self.moved(name, host, causes)) {
            let word = self.word("no longer at", "now at");
            causes.push(cause(Kind::Hosts, format!("{} is {word} {host}", offer.name), place()));
        }
    }

    /// Tells that a department does not have this overlay address on the other side, if so.
    fn moved(&self, name: &crate::identity::Qualified, address: IpAddr, causes: &mut Vec<Cause>) -> bool {
        let party = |side: &Side| side.department_at(name).and_then(|at| side.departments.get(at).cloned());
        let (Some(here), there) = (party(self.side), party(self.other)) else { return false };
        let Some(there) = there else {
            let word = self.word("removed", "new");
            causes.push(cause(Kind::Department, format!("department {name} is {word}"), here.origin));
            return true;
        };
        if there.overlay.iter().any(|prefix| prefix.contains(address)) {
            return false;
        }
        let list = |prefixes: &[crate::net::Prefix]| {
            let family = prefixes.iter().filter(|prefix| prefix.family() == Family::of(address));
            let texts: Vec<String> = family.map(ToString::to_string).collect();
            if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
        };
        let turn = self.turn(&list(&here.overlay), &list(&there.overlay));
        let place = self.newest(here.origin.as_ref(), there.origin.as_ref());
        causes.push(cause(Kind::Department, format!("overlay of {name}: {turn}"), place));
        true
    }
}

fn cause(kind: Kind, text: String, origin: Option<Origin>) -> Cause {
    Cause { kind, text, origin }
}
