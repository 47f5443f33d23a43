//! The gateways that a flow meets, and what each decides by its own bundle.

use super::place::End;
use crate::bundle::{Judgement, Role};
use crate::identity::Name;
use crate::net::Flow;
use crate::policy::compile::compile_for;
use crate::policy::model::Model;

/// A gateway on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub gateway: Name,
    /// Edge or relay.
    pub role: Role,
    /// What it has to do with the flow.
    pub part: Part,
    /// What it decides about the first packet.
    pub judgement: Judgement,
}

/// What a gateway has to do with a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The source stands here: judged on leaving by the tunnel, after the mapping of the source.
    Begins,
    /// It comes from one tunnel and goes into another.
    Relays,
    /// The destination stands here: judged on coming from the tunnel, before the mapping of the destination.
    Ends,
    /// Both stand here: judged between the two segments.
    Local,
    /// Nothing: no packet of the flow comes here.
    Nothing,
}

impl Part {
    /// Its name in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Begins => "begins",
            Self::Relays => "relays",
            Self::Ends => "ends",
            Self::Local => "local",
            Self::Nothing => "nothing",
        }
    }
}

/// The steps in their order; of one gateway if it is named.
pub(super) fn path(
    model: &Model,
    source: &End<'_>,
    destination: &End<'_>,
    flow: &Flow,
    only: Option<&Name>,
) -> Vec<Step> {
    let mut parts = parts(model, source, destination);
    if let Some(only) = only {
        parts.retain(|(gateway, _)| *gateway == only);
        if parts.is_empty() {
            parts.push((only, Part::Nothing));
        }
    }
    let names: Vec<&Name> = parts.iter().map(|(gateway, _)| *gateway).collect();
    let policies = compile_for(model, source.department.map(|department| &department.name), &names);
    let step = |policy: &crate::bundle::Policy| {
        let (_, part) = *parts.iter().find(|(gateway, _)| **gateway == policy.gateway)?;
        let judgement = policy.at(model.at).judge(flow);
        Some(Step { gateway: policy.gateway.clone(), role: policy.role, part, judgement })
    };
    policies.iter().filter_map(step).collect()
}

fn parts<'m>(model: &'m Model, source: &End<'m>, destination: &End<'m>) -> Vec<(&'m Name, Part)> {
    let home = |end: &End<'m>| end.department.map(|department| &department.at);
    let (from, to) = (home(source), home(destination));
    if let (Some(from), true) = (from, from == to) {
        return vec![(from, Part::Local)];
    }
    let hubs = model.hubs.iter().map(|hub| &hub.name);
    let ends: Vec<&Name> = from.into_iter().chain(to).collect();
    let relays = hubs.filter(|hub| from.is_some() && !ends.contains(hub)).map(|hub| (hub, Part::Relays));
    // One end at a hub: no other relays in between.
    let at_hub = ends.iter().any(|end| model.hubs.iter().any(|hub| hub.name == **end));
    let begins = from.map(|gateway| (gateway, Part::Begins));
    let ends = to.map(|gateway| (gateway, Part::Ends));
    begins.into_iter().chain(relays.filter(|_| !at_hub)).chain(ends).collect()
}
