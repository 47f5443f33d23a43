//! What one gateway does with the first packet of a flow, by its bundle alone: the same order of questions as its table in
//! the kernel.
//!
//! ```text
//!  source ─▶ department? ─▶ guardrail? ─▶ rule, the most exact kind of match first ─▶ agreement
//! ```

use super::policy::{Guardrail, Match, Policy, Rule};
use crate::identity::Id;
use crate::net::{Aim, Flow, Prefix};

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The source is no department's that this gateway knows of.
    UnknownSource,
    /// The operator denies it.
    Guarded(Id),
    /// This rule lets it pass.
    Allowed(Rule),
    /// No rule lets it pass that its department, by number, may open.
    NoRule(u32),
}

impl Policy {
    /// Judges a flow in overlay terms.
    pub fn judge(&self, flow: &Flow) -> Judgement {
        let of = |prefixes: &[Prefix]| prefixes.iter().any(|prefix| prefix.contains(flow.source));
        let Some(source) = self.departments.iter().find(|department| of(&department.overlay)) else {
            return Judgement::UnknownSource;
        };
        if let Some(guardrail) = self.guardrails.iter().find(|guardrail| guardrail.hits(flow)) {
            return Judgement::Guarded(guardrail.id.clone());
        }
        // Sorted by department and destination.
        let key = (source.number, flow.destination);
        let first = self.rules.partition_point(|rule| (rule.department, rule.destination) < key);
        let own = self.rules[first..].iter().take_while(|rule| (rule.department, rule.destination) == key);
        match own.filter(|rule| rule.matching.hits(flow)).min_by_key(|rule| rule.matching) {
            Some(rule) => Judgement::Allowed(*rule),
            None => Judgement::NoRule(source.number),
        }
    }
}

impl Guardrail {
    /// Whether it denies a flow.
    pub fn hits(&self, flow: &Flow) -> bool {
        let inside = |prefixes: &[Prefix], address| {
            prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.contains(address))
        };
        let ports = &self.to.ports;
        inside(&self.from, flow.source)
            && inside(&self.to.prefixes, flow.destination)
            && (ports.is_empty() || ports.iter().any(|matching| matching.hits(flow)))
    }
}

impl Match {
    /// Whether a flow is what it asks for.
    pub fn hits(&self, flow: &Flow) -> bool {
        match *self {
            Self::Port { protocol, port } => flow.protocol.0 == protocol && flow.aim == Aim::Port(port),
            Self::Ports { protocol, first, last } => match flow.aim {
                Aim::Port(port) => flow.protocol.0 == protocol && (first..=last).contains(&port),
                Aim::Icmp(_) | Aim::Nothing => false,
            },
            Self::Icmp { protocol, kind } => flow.protocol.0 == protocol && flow.aim == Aim::Icmp(kind),
            Self::Protocol { protocol } => flow.protocol.0 == protocol,
            Self::Any => true,
        }
    }
}
