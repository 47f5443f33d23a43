//! Why a flow passes or does not: what [`evaluate`](super::evaluate()) decided, with everything that had a part in it.
//!
//! ```text
//!  Question ─▶ flows ─ Evaluator ─▶ answers, alike ones together ─┬▶ ends     addresses through the mappings
//!                                                                 ├▶ causes   agreement, guardrail, service
//!                                                                 ├▶ path     each gateway by its own bundle
//!                                                                 └▶ remedy   the smallest change to the opposite
//! ```
//!
//! Nothing is decided here: verdicts are the evaluator's, and what a gateway does is asked of what `compile` makes for it.

mod path;
mod place;
mod remedy;

use jiff::Timestamp;

use super::evaluate::{Evaluator, Reason, Verdict};
use super::model::{Agreement, Department, Guardrail, Model, Service};
use super::question::{Question, flows};
use crate::identity::Name;
use crate::net::Flow;

pub use path::{Part, Step};
pub use place::{Elsewhere, End, overlay_of};
pub use remedy::{Change, Missing, Remedy};

/// All that can be said about a question.
#[derive(Clone, Debug)]
pub struct Explanation<'m> {
    /// The instant as of which it was judged.
    pub at: Timestamp,
    /// The answers, each other than the others; the one to most flows first. Empty if the two sides have no address family,
    /// protocol or port in common: then nothing can pass.
    pub answers: Vec<Answer<'m>>,
}

/// One verdict and what led to it.
#[derive(Clone, Debug)]
pub struct Answer<'m> {
    /// One of the flows that it is given to, about which the rest is.
    pub flow: Flow,
    /// How many of the question's flows it is given to.
    pub flows: usize,
    /// The decision.
    pub verdict: Verdict,
    /// Where the flow begins.
    pub source: End<'m>,
    /// Where it would end.
    pub destination: End<'m>,
    /// The service by which it is allowed, or the first that has the destination.
    pub service: Option<&'m Service>,
    /// The agreement by which it is allowed.
    pub agreement: Option<&'m Agreement>,
    /// The guardrail by which it is denied.
    pub guardrail: Option<&'m Guardrail>,
    /// The gateways that it meets, in their order; hubs that could take each other's place together.
    pub path: Vec<Step>,
    /// What would turn the decision into its opposite.
    pub remedy: Remedy,
}

/// A model, ready to be asked.
#[derive(Debug)]
pub struct Explainer<'m> {
    model: &'m Model,
    evaluator: Evaluator,
}

impl<'m> Explainer<'m> {
    /// Of a model as of the instant at which it was resolved.
    pub fn new(model: &'m Model) -> Self {
        Self { model, evaluator: Evaluator::new(model) }
    }

    /// Explains what becomes of a question's flows, at one gateway if it is named, be it on their path or not.
    pub fn explain(&self, question: &Question, only: Option<&Name>) -> Explanation<'m> {
        let mut alike: Vec<(Verdict, Flow, usize)> = Vec::new();
        for flow in flows(self.model, question) {
            let verdict = self.evaluator.evaluate(&flow);
            match alike.iter_mut().find(|(known, _, _)| is_alike(known, &verdict)) {
                Some((_, _, number)) => *number += 1,
                None => alike.push((verdict, flow, 1)),
            }
        }
        alike.sort_by_key(|(_, _, number)| std::cmp::Reverse(*number));
        let answer = |(verdict, flow, flows)| self.answer(flow, flows, verdict, only);
        Explanation { at: self.model.at, answers: alike.into_iter().map(answer).collect() }
    }

    fn answer(&self, flow: Flow, flows: usize, verdict: Verdict, only: Option<&Name>) -> Answer<'m> {
        let (source, destination) = (End::of(self.model, flow.source), End::of(self.model, flow.destination));
        let agreement = match verdict {
            Verdict::Allow { agreement, .. } => self.model.agreements.iter().find(|known| known.number == agreement),
            Verdict::Deny(_) => None,
        };
        let guardrail = match &verdict {
            Verdict::Deny(Reason::Guardrail(id)) => self.model.guardrails.iter().find(|known| known.id == *id),
            Verdict::Deny(Reason::UnknownSource | Reason::UnknownDestination | Reason::NoAgreement)
            | Verdict::Allow { .. } => None,
        };
        Answer {
            flow,
            flows,
            service: self.service(agreement, &flow),
            agreement,
            guardrail,
            path: path::path(self.model, &source, &destination, &flow, only),
            remedy: remedy::find(self.model, &flow, &verdict),
            verdict,
            source,
            destination,
        }
    }

    fn service(&self, agreement: Option<&Agreement>, flow: &Flow) -> Option<&'m Service> {
        let agreed = |service: &&Service| agreement.is_some_and(|agreement| agreement.service == service.name);
        let here = |service: &&Service| service.overlay_hosts.contains(&flow.destination);
        let asked = |service: &&Service| service.ports.iter().any(|port| flow.is(*port));
        let services = || self.model.services.iter().filter(here);
        services().find(agreed).or_else(|| services().find(asked)).or_else(|| services().next())
    }
}

/// Whether two verdicts are one answer: the same agreement or the same reason.
fn is_alike(one: &Verdict, other: &Verdict) -> bool {
    match (one, other) {
        (Verdict::Allow { agreement, .. }, Verdict::Allow { agreement: other, .. }) => agreement == other,
        (Verdict::Deny(reason), Verdict::Deny(other)) => reason == other,
        (Verdict::Allow { .. }, Verdict::Deny(_)) | (Verdict::Deny(_), Verdict::Allow { .. }) => false,
    }
}

/// The department that has an overlay address.
fn department_of(model: &Model, address: std::net::IpAddr) -> Option<&Department> {
    let has = |department: &&Department| department.mappings.iter().any(|mapping| mapping.overlay.contains(address));
    model.departments.iter().find(has)
}

#[cfg(test)]
mod tests;
