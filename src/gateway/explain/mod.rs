//! Why a flow passes this gateway or does not: by the bundle that it acknowledged, held against its kernel.
//!
//! ```text
//!  state ─▶ bundle, without what is not honoured now   ─▶ Policy::judge ─▶ answers ─┐
//!                                   └▶ Ruleset::compile ─▶ probes, chains ─┐        ▼
//!  control socket ─▶ device, MTU, generation in force ─────────────────────┤     Explanation
//!  kernel ─▶ elements one by one, chains as octets ────────────────────────┴─▶ agrees, differs, not asked
//! ```
//!
//! Reads only: it takes no lock and makes nothing but a network namespace that is gone when it ends, in which the kernel
//! says what it makes of the chains. It works whether or not the gateway runs.

mod accepted;
mod kernel;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use super::control::{self, ControlError, InForce, Request, Response};
use super::enforcer;
use super::error::GatewayError;
use super::honour;
use crate::bundle::{Agreement, Department, Judgement, Mapping, Match, Policy, Role, Service, Trust};
use crate::identity::{Id, Qualified};
use crate::net::Flow;
use crate::policy::explain::{Elsewhere, Part};
use crate::policy::{Question, flows_at};
use crate::ruleset::{Ruleset, SegmentEnd, Way, segment_device};
use crate::sys::nftables::Nft;

pub use accepted::Accepted;
pub use kernel::{Difference, Kernel, Standing, Unasked};

/// The bundle of a gateway, ready to be asked.
#[derive(Debug)]
pub struct Explainer {
    /// What it acknowledged.
    pub accepted: Accepted,
    /// What is in force by that: without what is not honoured.
    pub policy: Policy,
    /// The agreements that are not, by number, and why.
    pub withheld: BTreeMap<u32, String>,
    /// What the running gateway says; `None` if none runs.
    pub in_force: Option<InForce>,
    ruleset: Ruleset,
    tunnel: String,
}

/// The tunnel's device where no gateway runs that would tell.
#[derive(Clone, Debug)]
pub struct Tunnel {
    /// Its name.
    pub device: String,
    /// Its MTU in octets.
    pub mtu: u32,
}

/// One judgement, and what led to it.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// One of the flows that it is given to, in overlay terms.
    pub flow: Flow,
    /// How many of the question's flows it is given to.
    pub flows: usize,
    /// What the bundle says.
    pub judgement: Judgement,
    /// What this gateway has to do with it.
    pub part: Part,
    /// Where the flow begins.
    pub source: End<'a>,
    /// Where it would end.
    pub destination: End<'a>,
    /// The service by which it is allowed, or the first that has the destination.
    pub service: Option<&'a Service>,
    /// The agreement by which it is allowed.
    pub agreement: Option<&'a Agreement>,
    /// The agreement by which it would be if that were honoured, and why it is not.
    pub withheld: Option<(&'a Agreement, &'a str)>,
}

/// One end of a flow, as far as this gateway knows it.
#[derive(Clone, Debug)]
pub struct End<'a> {
    /// The address that the policy knows.
    pub overlay: IpAddr,
    /// The address that its own segment knows, where it stands here.
    pub real: Option<IpAddr>,
    /// The department, where it is known here.
    pub department: Option<&'a Department>,
    /// The mapping between the two, where it stands here.
    pub mapping: Option<Mapping>,
}

impl Answer<'_> {
    /// Whether this gateway lets the flow pass, as its bundle says.
    pub fn passes(&self) -> bool {
        self.part != Part::Nothing && matches!(self.judgement, Judgement::Allowed(_))
    }
}

impl Explainer {
    /// Reads the state of a gateway. With `trust` the bundle's signatures are verified again; else its hashes, and that it is
    /// the one that the gateway verified and acknowledged.
    ///
    /// # Errors
    /// [`GatewayError`]: no state, no bundle in it, or one that is not to be believed or cannot be compiled.
    pub fn open(state: &Path, trust: Option<&Trust>, otherwise: &Tunnel) -> Result<Self, GatewayError> {
        let accepted = accepted::read(state, trust)?;
        let in_force = in_force(state)?;
        let tunnel = in_force
            .as_ref()
            .map_or_else(|| otherwise.clone(), |running| Tunnel { device: running.device.clone(), mtu: running.mtu });
        let withheld = match &in_force {
            Some(running) => running.withheld.clone(),
            None => honour::at_rest(state, &accepted.bundle),
        };
        let policy = accepted.bundle.policy.without(|number| withheld.contains_key(&number));
        let mute = in_force.as_ref().map_or_else(|| Nft::new().mute().is_some(), |running| running.mute);
        let ruleset = enforcer::compile(&accepted.bundle, &policy, &tunnel.device, tunnel.mtu, mute)?;
        let ruleset = std::sync::Arc::unwrap_or_clone(ruleset);
        Ok(Self { accepted, policy, withheld, in_force, ruleset, tunnel: tunnel.device })
    }

    /// What the bundle says to a question: alike judgements together, the one about most flows first. Empty if the two sides
    /// have no address family, protocol or port in common.
    pub fn explain(&self, question: &Question) -> Vec<Answer<'_>> {
        let mut alike: Vec<(Judgement, Flow, usize)> = Vec::new();
        for flow in flows_at(&self.policy, question) {
            let judgement = self.policy.judge(&flow);
            match alike.iter_mut().find(|(known, _, _)| is_alike(known, &judgement)) {
                Some((_, _, number)) => *number += 1,
                None => alike.push((judgement, flow, 1)),
            }
        }
        alike.sort_by_key(|(_, _, number)| std::cmp::Reverse(*number));
        alike.into_iter().map(|(judgement, flow, flows)| self.answer(judgement, flow, flows)).collect()
    }

    /// Whether the kernel does what the bundle says: for these answers, and as far as all depend on it.
    pub fn ask_kernel(&self, answers: &[Answer<'_>]) -> Kernel {
        let ways: Vec<Way> = answers.iter().map(|answer| self.way(answer)).collect();
        kernel::look(&self.ruleset, &ways, self.in_force.as_ref())
    }

    /// The overlay address that is meant by an overlay or a real one. Only what stands here has a real address.
    ///
    /// # Errors
    /// [`Elsewhere`]: several departments here have it.
    pub fn overlay_of(&self, address: IpAddr) -> Result<IpAddr, Elsewhere> {
        if self.policy.overlay.iter().any(|overlay| overlay.contains(address)) {
            return Ok(address);
        }
        let translated = |department: &Department| {
            let mut mappings = department.segment.iter().flat_map(|segment| &segment.mappings);
            let found = mappings.find_map(|mapping| mapping.real.translate(address, mapping.overlay))?;
            Some((department.name.clone(), found))
        };
        let candidates: Vec<(Qualified, IpAddr)> = self.policy.departments.iter().filter_map(translated).collect();
        match candidates.as_slice() {
            [] => Ok(address),
            [(_, overlay)] => Ok(*overlay),
            _ => Err(Elsewhere { address, candidates }),
        }
    }

    fn answer(&self, judgement: Judgement, flow: Flow, flows: usize) -> Answer<'_> {
        let (source, destination) = (self.end(flow.source), self.end(flow.destination));
        let agreement = match &judgement {
            Judgement::Allowed(rule) => self.policy.agreements.iter().find(|known| known.number == rule.agreement),
            Judgement::UnknownSource | Judgement::Guarded(_) | Judgement::NoRule(_) => None,
        };
        let here = |service: &&Service| service.hosts.contains(&flow.destination);
        let services = || self.policy.services.iter().filter(here);
        let agreed = agreement.and_then(|agreement| services().find(|service| service.number == agreement.service));
        let asked = |service: &&Service| service.ports.iter().any(|port| flow.is(*port));
        let service = agreed.or_else(|| services().find(asked)).or_else(|| services().next());
        let part = match (source.real, destination.real, self.policy.role) {
            (Some(_), Some(_), _) => Part::Local,
            (Some(_), None, _) => Part::Begins,
            (None, Some(_), _) => Part::Ends,
            (None, None, Role::Relay) => Part::Relays,
            (None, None, Role::Edge) => Part::Nothing,
        };
        let withheld = match &judgement {
            Judgement::NoRule(_) => self.withheld_from(&flow),
            Judgement::Allowed(_) | Judgement::UnknownSource | Judgement::Guarded(_) => None,
        };
        Answer { flow, flows, judgement, part, source, destination, service, agreement, withheld }
    }

    /// The agreement that would allow a flow if it were honoured.
    fn withheld_from(&self, flow: &Flow) -> Option<(&Agreement, &str)> {
        let signed = &self.accepted.bundle.policy;
        let Judgement::Allowed(rule) = signed.judge(flow) else { return None };
        let agreement = signed.agreements.iter().find(|known| known.number == rule.agreement)?;
        Some((agreement, self.withheld.get(&rule.agreement)?))
    }

    fn end(&self, overlay: IpAddr) -> End<'_> {
        let has = |department: &&Department| department.overlay.iter().any(|prefix| prefix.contains(overlay));
        let department = self.policy.departments.iter().find(has);
        let mut mappings = department.iter().filter_map(|it| it.segment.as_ref()).flat_map(|it| &it.mappings);
        let mapping = mappings.find(|mapping| mapping.overlay.contains(overlay)).copied();
        let real = mapping.and_then(|mapping| mapping.overlay.translate(overlay, mapping.real));
        End { overlay, real, department, mapping }
    }

    fn way(&self, answer: &Answer<'_>) -> Way {
        let device = |end: &End<'_>| end.department.and_then(|it| it.segment.as_ref()).map(segment_device);
        let mut flow = answer.flow;
        if let (Some(source), Some(destination)) = (answer.source.real, answer.destination.real) {
            (flow.source, flow.destination) = (source, destination);
        }
        let input = device(&answer.source).zip(answer.source.real);
        Way {
            flow,
            tunnel: self.tunnel.clone(),
            department: answer.source.department.map(|department| department.number),
            input: input.map(|(device, real)| SegmentEnd { device, real }),
            output: device(&answer.destination),
        }
    }
}

/// What the gateway says that uses this state; `None` if none runs, or if it is of another version.
fn in_force(state: &Path) -> Result<Option<InForce>, GatewayError> {
    match control::ask(state, &Request::InForce) {
        Ok(Response::InForce(in_force)) => Ok(Some(in_force)),
        Ok(
            Response::Status(_) | Response::Staged(_) | Response::Done(_) | Response::Error(_) | Response::Refused(_),
        )
        | Err(ControlError::NoGateway(_)) => Ok(None),
        Err(error @ (ControlError::Denied(_) | ControlError::Failed { .. })) => {
            Err(GatewayError::Runtime { what: "asking the gateway", cause: error.to_string() })
        }
    }
}

/// Whether two judgements are one answer: the same agreement, the same guardrail or the same want of a rule.
fn is_alike(one: &Judgement, other: &Judgement) -> bool {
    match (one, other) {
        (Judgement::Allowed(rule), Judgement::Allowed(other)) => {
            rule.agreement == other.agreement && kind(rule.matching) == kind(other.matching)
        }
        (one, other) => one == other,
    }
}

/// The kind of map that a match stands in.
fn kind(matching: Match) -> std::mem::Discriminant<Match> {
    std::mem::discriminant(&matching)
}

/// The guardrail by which a flow is denied.
pub fn guardrail(judgement: &Judgement) -> Option<&Id> {
    match judgement {
        Judgement::Guarded(id) => Some(id),
        Judgement::UnknownSource | Judgement::Allowed(_) | Judgement::NoRule(_) => None,
    }
}
