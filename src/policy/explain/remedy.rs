//! The smallest change of the definition that would turn a decision into its opposite.
//!
//! ```text
//!  denied   guardrails that hit: each is to go ──────────────────────────────────────────┐
//!           agreement: nothing < consents or dates of one < a consumer more < a new one   ├▶ all of these
//!           service:   as it is < a port more < a new one ────────────────────────────────┘
//!  allowed  each agreement that allows it is to lose the consumer
//! ```
//!
//! What is proposed is held against the evaluator by test: made in a model, it turns the verdict.

use std::net::IpAddr;

use jiff::Timestamp;

use super::department_of;
use crate::bundle::Hours;
use crate::identity::{Id, Name, Qualified};
use crate::net::{Aim, Flow, PortMatch, Protocol};
use crate::policy::evaluate::{Verdict, guardrails_against, guardrails_around};
use crate::policy::model::{Agreement, Department, Model, Service, Void};

/// What turns a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// All of these together.
    Changes(Vec<Change>),
    /// No change that is a matter of policy: this is missing first.
    Missing(Missing),
}

/// What a policy cannot bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The source is no department's: somebody has to have it first.
    Source,
    /// The destination is no department's.
    Destination,
}

/// One change of the definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This guardrail, the operator's, is removed or made narrower.
    LiftGuardrail(Id),
    /// These councils consent to an agreement as it stands.
    Consent {
        /// The agreement.
        agreement: Id,
        /// The councils, sorted.
        councils: Vec<Name>,
    },
    /// Whoever has an agreement rest ends that.
    Lift {
        /// The agreement.
        agreement: Id,
        /// The council; `None` is the operator.
        by: Option<Name>,
    },
    /// An agreement begins at that time by itself, or is given an earlier `not_before` and signed again.
    Begin {
        /// The agreement.
        agreement: Id,
        /// When it begins.
        begins: Timestamp,
    },
    /// An agreement's hours come round by themselves, or are widened and signed again.
    AtOtherHours {
        /// The agreement.
        agreement: Id,
        /// Its hours.
        hours: Hours,
    },
    /// An agreement that has ended is given a later `not_after` and signed again.
    Extend {
        /// The agreement.
        agreement: Id,
        /// When it ended.
        ended: Timestamp,
    },
    /// An agreement does without what cannot be enforced yet, and is signed again.
    DoWithout {
        /// The agreement.
        agreement: Id,
        /// What.
        what: String,
    },
    /// An agreement names one more consumer and is signed again by all its councils.
    AddConsumer {
        /// The agreement.
        agreement: Id,
        /// The department.
        department: Qualified,
    },
    /// There is a new agreement, signed by both councils.
    NewAgreement {
        /// The service.
        service: Qualified,
        /// The consumer.
        department: Qualified,
    },
    /// A service answers on one more port. Its agreements are signed again.
    AddPort {
        /// The service.
        service: Qualified,
        /// The port as in `ports`.
        port: PortMatch,
    },
    /// A department has a new service, and there is an agreement about it, signed by both councils.
    NewService {
        /// The department.
        provider: Qualified,
        /// Its host's overlay address.
        host: IpAddr,
        /// The port as in `ports`.
        port: PortMatch,
        /// The consumer.
        department: Qualified,
    },
    /// An agreement loses a consumer and is signed again by those who stay; with its last one it is removed.
    Withdraw {
        /// The agreement.
        agreement: Id,
        /// The department.
        department: Qualified,
        /// Whether it has no other.
        last: bool,
    },
}

/// What would turn this verdict.
pub(super) fn find(model: &Model, flow: &Flow, verdict: &Verdict) -> Remedy {
    let Some(source) = department_of(model, flow.source) else { return Remedy::Missing(Missing::Source) };
    if verdict.allows() {
        return Remedy::Changes(withdrawals(model, flow, source));
    }
    let Some(provider) = department_of(model, flow.destination) else { return Remedy::Missing(Missing::Destination) };
    let mut changes: Vec<Change> =
        guardrails_against(model, source, flow).into_iter().map(Change::LiftGuardrail).collect();
    for change in grant(model, flow, source, provider) {
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    Remedy::Changes(changes)
}

fn withdrawals(model: &Model, flow: &Flow, source: &Department) -> Vec<Change> {
    let in_force = model.agreements.iter().filter(|agreement| agreement.in_force());
    let allowing = in_force.filter(|agreement| {
        let serves = |service: &Service| has(service, flow) && asks(service, flow);
        agreement.from.contains(&source.name) && model.service(&agreement.service).is_some_and(serves)
    });
    let withdraw = |agreement: &Agreement| Change::Withdraw {
        agreement: agreement.id.clone(),
        department: source.name.clone(),
        last: agreement.from.len() == 1,
    };
    allowing.map(withdraw).collect()
}

fn has(service: &Service, flow: &Flow) -> bool {
    service.overlay_hosts.contains(&flow.destination)
}

fn asks(service: &Service, flow: &Flow) -> bool {
    service.ports.iter().any(|port| flow.is(*port))
}

/// The fewest changes by which an agreement allows the flow; none if one does.
fn grant(model: &Model, flow: &Flow, source: &Department, provider: &Department) -> Vec<Change> {
    let hosting = model.services.iter().filter(|service| has(service, flow));
    let by_service = hosting.flat_map(|service| {
        let first = if asks(service, flow) { Vec::new() } else { widened(model, flow, source, service) };
        ways(model, service, source).into_iter().map(move |way| first.iter().cloned().chain(way).collect())
    });
    let (host, port) = (flow.destination, port_of(flow));
    let new = Change::NewService { provider: provider.name.clone(), host, port, department: source.name.clone() };
    // Of equal ones, the first: services and agreements are sorted.
    by_service.chain([vec![new]]).min_by_key(|changes: &Vec<Change>| weight(changes)).unwrap_or_default()
}

/// A service answers on the flow's port too, which guardrails about the service then deny as well.
fn widened(model: &Model, flow: &Flow, source: &Department, service: &Service) -> Vec<Change> {
    let port = Change::AddPort { service: service.name.clone(), port: port_of(flow) };
    let denials = guardrails_around(model, source, flow, &service.name);
    denials.into_iter().map(Change::LiftGuardrail).chain([port]).collect()
}

/// What has to be signed anew weighs more than what only lacks a signature, and a new agreement more than that.
fn weight(changes: &[Change]) -> u32 {
    let of = |change: &Change| match change {
        Change::Consent { .. } | Change::Lift { .. } => 1,
        Change::Begin { .. }
        | Change::Extend { .. }
        | Change::AtOtherHours { .. }
        | Change::DoWithout { .. }
        | Change::AddConsumer { .. } => 4,
        Change::NewAgreement { .. } => 6,
        Change::AddPort { .. } => 10,
        Change::LiftGuardrail(_) => 20,
        Change::NewService { .. } => 30,
        Change::Withdraw { .. } => 0,
    };
    changes.iter().map(of).sum()
}

/// Every way to let a department use a service: by each agreement about it, or by a new one.
fn ways(model: &Model, service: &Service, source: &Department) -> Vec<Vec<Change>> {
    let about = model.agreements.iter().filter(|agreement| agreement.service == service.name);
    let mut ways: Vec<Vec<Change>> = about.filter_map(|agreement| by(agreement, source)).collect();
    ways.push(vec![Change::NewAgreement { service: service.name.clone(), department: source.name.clone() }]);
    ways
}

/// What an agreement lacks to let the department in; `None` if no change of it does.
fn by(agreement: &Agreement, source: &Department) -> Option<Vec<Change>> {
    if agreement.apart.contains(&source.name) {
        return None;
    }
    let id = &agreement.id;
    let mut changes: Vec<Change> = Vec::new();
    if !agreement.from.contains(&source.name) {
        changes.push(Change::AddConsumer { agreement: id.clone(), department: source.name.clone() });
    }
    for void in &agreement.void {
        match void {
            Void::ConsentMissing(_) => {}
            Void::NotYet(begins) => changes.push(Change::Begin { agreement: id.clone(), begins: *begins }),
            Void::Ended(ended) => changes.push(Change::Extend { agreement: id.clone(), ended: *ended }),
            Void::OutsideHours(hours) => {
                changes.push(Change::AtOtherHours { agreement: id.clone(), hours: hours.clone() })
            }
            Void::Unsupported(what) => changes.push(Change::DoWithout { agreement: id.clone(), what: what.clone() }),
            Void::Suspended { .. } | Void::Refused { .. } | Void::Revoked { .. } => {}
        }
    }
    let other_terms = changes.iter().any(makes_other_terms);
    for void in &agreement.void {
        match void {
            // Those terms are dead: others are not.
            Void::Refused { .. } | Void::Revoked { .. } if !other_terms => return None,
            Void::Suspended { by: Some(_), .. } if other_terms => {}
            Void::Suspended { by, .. } => changes.push(Change::Lift { agreement: id.clone(), by: by.clone() }),
            Void::Refused { .. }
            | Void::Revoked { .. }
            | Void::ConsentMissing(_)
            | Void::NotYet(_)
            | Void::Ended(_)
            | Void::OutsideHours(_)
            | Void::Unsupported(_) => {}
        }
    }
    let lacking: Vec<Name> = agreement.void.iter().filter_map(lacking).cloned().collect();
    // Whatever else is changed is signed again by all.
    let as_it_stands = changes.iter().all(|change| matches!(change, Change::Lift { .. }));
    if as_it_stands && !lacking.is_empty() {
        changes.push(Change::Consent { agreement: id.clone(), councils: lacking });
    }
    Some(changes)
}

/// Whether an agreement has other terms after it, whatever the time.
fn makes_other_terms(change: &Change) -> bool {
    match change {
        Change::Extend { .. } | Change::AtOtherHours { .. } | Change::DoWithout { .. } | Change::AddConsumer { .. } => {
            true
        }
        Change::LiftGuardrail(_)
        | Change::Consent { .. }
        | Change::Lift { .. }
        | Change::Begin { .. }
        | Change::NewAgreement { .. }
        | Change::AddPort { .. }
        | Change::NewService { .. }
        | Change::Withdraw { .. } => false,
    }
}

fn lacking(void: &Void) -> Option<&Name> {
    match void {
        Void::ConsentMissing(council) => Some(council),
        Void::NotYet(_)
        | Void::Ended(_)
        | Void::OutsideHours(_)
        | Void::Unsupported(_)
        | Void::Suspended { .. }
        | Void::Refused { .. }
        | Void::Revoked { .. } => None,
    }
}

/// The narrowest entry of a service's ports that describes a flow.
fn port_of(flow: &Flow) -> PortMatch {
    let text = match (flow.aim, flow.protocol) {
        (Aim::Port(port), protocol) => format!("{protocol}/{port}"),
        (Aim::Icmp(8), Protocol::ICMP) | (Aim::Icmp(128), Protocol::ICMPV6) => "icmp/echo-request".to_owned(),
        (Aim::Icmp(13), Protocol::ICMP) => "icmp/timestamp-request".to_owned(),
        (Aim::Icmp(_) | Aim::Nothing, protocol) => protocol.to_string(),
    };
    text.parse().ok().filter(|port| flow.is(*port)).unwrap_or(PortMatch::Any)
}
