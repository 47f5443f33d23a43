//! The operator's denials in overlay terms: taken out of the rules where that decides them, and kept beside the
//! rules for what no rule's form can express, and so that a hit is counted.

use std::net::IpAddr;

use super::compile::{matches, overlay};
use super::model::{Model, Object, Subject};
use crate::bundle::{Destination, Guardrail, Match, without};
use crate::net::{Family, PortMatch, Prefix};

/// A guardrail that denies something; one whose subject has no department denies nobody and is none.
pub(super) struct Denial {
    pub(super) guardrail: Guardrail,
}

/// The model's guardrails, by id.
pub(super) fn denials(model: &Model) -> Vec<Denial> {
    let denial = |guardrail: &super::model::Guardrail| {
        let from = subject(model, &guardrail.deny)?;
        let to = object(model, &guardrail.to)?;
        Some(Denial { guardrail: Guardrail { id: guardrail.id.clone(), from, to } })
    };
    model.guardrails.iter().filter_map(denial).collect()
}

/// Source prefixes, empty for any; `None` for nobody.
fn subject(model: &Model, subject: &Subject) -> Option<Vec<Prefix>> {
    let of = |keep: &dyn Fn(&super::model::Department) -> bool| {
        some(model.departments.iter().filter(|department| keep(department)).flat_map(overlay).collect())
    };
    match subject {
        Subject::Any => Some(Vec::new()),
        Subject::Council(council) => of(&|department| department.name.council == *council),
        Subject::Department(name) => of(&|department| department.name == *name),
        Subject::Prefix(prefix) => Some(vec![*prefix]),
    }
}

/// What is protected; `None` for nothing.
fn object(model: &Model, object: &Object) -> Option<Destination> {
    let whole = |prefixes| Destination { prefixes, ports: Vec::new() };
    match object {
        Object::Any => Some(whole(Vec::new())),
        Object::Port(port) => Some(Destination { prefixes: Vec::new(), ports: ports(&[*port]) }),
        Object::Service(name) => {
            let service = model.service(name)?;
            let prefixes = some(service.overlay_hosts.iter().map(|&host| Prefix::host(host)).collect())?;
            Some(Destination { prefixes, ports: ports(&service.ports) })
        }
        Object::Department(name) => {
            let department = model.department(name)?;
            some(overlay(department)).map(whole)
        }
        Object::Prefix(prefix) => Some(whole(vec![*prefix])),
    }
}

fn some(mut prefixes: Vec<Prefix>) -> Option<Vec<Prefix>> {
    prefixes.sort_unstable();
    (!prefixes.is_empty()).then_some(prefixes)
}

/// The ports of both families; empty for any.
fn ports(ports: &[PortMatch]) -> Vec<Match> {
    if ports.contains(&PortMatch::Any) {
        return Vec::new();
    }
    let both = |port: &PortMatch| [Family::V4, Family::V6].map(|family| matches(*port, family)).concat();
    let mut all: Vec<Match> = ports.iter().flat_map(both).collect();
    all.sort_unstable();
    all.dedup();
    all
}

impl Denial {
    /// Whether it can deny a flow from or to one of these prefixes.
    pub(super) fn concerns(&self, local: &[Prefix]) -> bool {
        let touches = |prefixes: &[Prefix]| {
            prefixes.is_empty() || prefixes.iter().any(|prefix| local.iter().any(|own| own.overlaps(*prefix)))
        };
        !local.is_empty() && (touches(&self.guardrail.from) || touches(&self.guardrail.to.prefixes))
    }

    /// Whether every flow from `source` to `destination` is its concern.
    fn covers(&self, source: Prefix, destination: IpAddr) -> bool {
        let Guardrail { from, to, .. } = &self.guardrail;
        (from.is_empty() || from.iter().any(|prefix| prefix.covers(source)))
            && (to.prefixes.is_empty() || to.prefixes.iter().any(|prefix| prefix.contains(destination)))
    }
}

/// What is left of a grant from `source` to `destination` once all that is denied for certain has been taken out.
pub(super) fn remainder(denials: &[Denial], source: Prefix, destination: IpAddr, granted: Match) -> Vec<Match> {
    let mut left = vec![granted];
    for denial in denials.iter().filter(|denial| denial.covers(source, destination)) {
        match denial.guardrail.to.ports.as_slice() {
            [] => left.clear(),
            ports => {
                for &denied in ports {
                    left = left.into_iter().flat_map(|granted| subtract(granted, denied)).collect();
                }
            }
        }
    }
    left
}

/// What is left of a match without another, as far as matches can say it: a port cannot be taken out of a whole
/// protocol, and stays for the guardrail itself to deny.
fn subtract(granted: Match, denied: Match) -> Vec<Match> {
    let span = |matching: Match| match matching {
        Match::Port { protocol, port } => Some((protocol, (port, port))),
        Match::Ports { protocol, first, last } => Some((protocol, (first, last))),
        Match::Icmp { .. } | Match::Protocol { .. } | Match::Any => None,
    };
    let whole = match denied {
        Match::Any => true,
        Match::Protocol { protocol } => protocol_of(granted) == Some(protocol),
        Match::Port { .. } | Match::Ports { .. } | Match::Icmp { .. } => denied == granted,
    };
    if whole {
        return Vec::new();
    }
    match (granted, span(granted), span(denied)) {
        (Match::Ports { protocol, .. }, Some((p, span)), Some((q, cut))) if p == q => {
            without(span, cut).into_iter().map(|(first, last)| Match::Ports { protocol, first, last }).collect()
        }
        (_, Some((p, span)), Some((q, cut))) if p == q && without(span, cut).is_empty() => Vec::new(),
        _ => vec![granted],
    }
}

fn protocol_of(matching: Match) -> Option<u8> {
    match matching {
        Match::Port { protocol, .. }
        | Match::Ports { protocol, .. }
        | Match::Icmp { protocol, .. }
        | Match::Protocol { protocol } => Some(protocol),
        Match::Any => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP_23: Match = Match::Port { protocol: 6, port: 23 };

    fn range(first: u16, last: u16) -> Match {
        Match::Ports { protocol: 6, first, last }
    }

    #[test]
    fn what_a_match_can_say_is_taken_out() {
        assert_eq!(subtract(TCP_23, TCP_23), []);
        assert_eq!(subtract(range(1, 100), TCP_23), [range(1, 22), range(24, 100)]);
        assert_eq!(subtract(TCP_23, range(1, 100)), []);
        assert_eq!(subtract(range(1, 100), Match::Protocol { protocol: 6 }), []);
        assert_eq!(subtract(Match::Icmp { protocol: 1, kind: 8 }, Match::Protocol { protocol: 1 }), []);
        assert_eq!(subtract(Match::Any, Match::Any), []);
    }

    #[test]
    fn what_a_match_cannot_say_is_left_to_the_guardrail() {
        for granted in [Match::Any, Match::Protocol { protocol: 6 }, Match::Port { protocol: 17, port: 23 }] {
            assert_eq!(subtract(granted, TCP_23), [granted]);
        }
        assert_eq!(subtract(Match::Any, Match::Protocol { protocol: 6 }), [Match::Any]);
    }
}
