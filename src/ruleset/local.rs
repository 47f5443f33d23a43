//! Who stands here, in the addresses that their own segments know.
//!
//! ```text
//!  segment A ── real ──▶ gateway ── real ──▶ segment B          judged in `forward`, where both are real
//!             or overlay ▶ mapping ▲
//! ```
//!
//! What goes from a segment to another of the same gateway meets no tunnel, so neither of its addresses ever is an overlay
//! one when it is judged. Rules and guardrails are in overlay terms; for these packets they are put in real ones here. The
//! mapping is one to one and real prefixes of one gateway do not overlap, so nothing is lost.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::bundle::{Destination, Guardrail, Mapping, Policy, Rule};
use crate::net::Prefix;

/// The departments that stand at this gateway.
pub(super) struct Local {
    departments: BTreeSet<u32>,
    mappings: Vec<Mapping>,
}

impl Local {
    pub(super) fn new(policy: &Policy) -> Self {
        let here = policy.departments.iter().filter_map(|department| Some((department, department.segment.as_ref()?)));
        let (mut departments, mut mappings) = (BTreeSet::new(), Vec::new());
        for (department, segment) in here {
            departments.insert(department.number);
            mappings.extend(segment.mappings.iter().copied());
        }
        Self { departments, mappings }
    }

    /// Whether a department, by its number, stands here.
    pub(super) fn has(&self, department: u32) -> bool {
        self.departments.contains(&department)
    }

    /// The real address of a rule's destination, if both of its ends stand here.
    pub(super) fn destination(&self, rule: &Rule) -> Option<IpAddr> {
        let both = self.departments.contains(&rule.department);
        let real = |mapping: &Mapping| mapping.overlay.translate(rule.destination, mapping.real);
        self.mappings.iter().find_map(real).filter(|_| both)
    }

    /// What guardrails deny between departments that stand here, each with its number. Those that deny nothing there are left
    /// out.
    pub(super) fn guardrails(&self, numbered: &[(u32, Guardrail)]) -> Vec<(u32, Guardrail)> {
        numbered.iter().filter_map(|(number, guardrail)| Some((*number, self.guardrail(guardrail)?))).collect()
    }

    fn guardrail(&self, guardrail: &Guardrail) -> Option<Guardrail> {
        let Guardrail { id, from, to } = guardrail;
        let to = Destination { prefixes: self.real(&to.prefixes)?, ports: to.ports.clone() };
        Some(Guardrail { id: id.clone(), from: self.real(from)?, to })
    }

    /// The real prefixes behind overlay prefixes. Of none, which means all, none; `None` if nothing of them stands here.
    fn real(&self, overlay: &[Prefix]) -> Option<Vec<Prefix>> {
        let mut real: Vec<Prefix> = self
            .mappings
            .iter()
            .flat_map(|mapping| overlay.iter().filter_map(|prefix| common(*mapping, *prefix)))
            .collect();
        real.sort_unstable();
        real.dedup();
        (overlay.is_empty() || !real.is_empty()).then_some(real)
    }
}

/// The real prefix behind what a mapping and an overlay prefix have in common.
fn common(mapping: Mapping, overlay: Prefix) -> Option<Prefix> {
    if overlay.covers(mapping.overlay) {
        return Some(mapping.real);
    }
    let first = mapping.overlay.translate(overlay.address(), mapping.real)?;
    Prefix::new(first, overlay.length()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Match;

    fn prefix(text: &str) -> Prefix {
        text.parse().expect("a prefix")
    }

    fn local() -> Local {
        let mapping = |real, overlay| Mapping { real: prefix(real), overlay: prefix(overlay) };
        Local {
            departments: BTreeSet::from([1, 2]),
            mappings: vec![
                mapping("192.168.1.0/24", "100.64.1.0/24"),
                mapping("fd00:1::/64", "fd64:1::/64"),
                mapping("100.64.2.0/24", "100.64.2.0/24"),
            ],
        }
    }

    #[test]
    fn a_rule_is_local_only_if_both_ends_stand_here() {
        let real = |department, destination: &str| {
            let destination = destination.parse().expect("an address");
            let rule = Rule { department, destination, matching: Match::Any, agreement: 7 };
            local().destination(&rule).map(|address| address.to_string())
        };
        assert_eq!(real(1, "100.64.2.20").as_deref(), Some("100.64.2.20"));
        assert_eq!(real(2, "100.64.1.20").as_deref(), Some("192.168.1.20"));
        assert_eq!(real(2, "fd64:1::20").as_deref(), Some("fd00:1::20"));
        assert_eq!(real(3, "100.64.1.20"), None, "from elsewhere");
        assert_eq!(real(1, "100.64.3.20"), None, "to elsewhere");
    }

    #[test]
    fn guardrails_are_put_in_real_addresses_as_far_as_they_concern_who_stands_here() {
        let real = |from: &[&str], to: &[&str]| {
            let prefixes = |texts: &[&str]| texts.iter().map(|text| prefix(text)).collect::<Vec<_>>();
            let to = Destination { prefixes: prefixes(to), ports: Vec::new() };
            let guardrail = Guardrail { id: "G-1".parse().expect("an id"), from: prefixes(from), to };
            let texts = |prefixes: Vec<Prefix>| prefixes.iter().map(ToString::to_string).collect::<Vec<_>>();
            local()
                .guardrails(&[(1, guardrail)])
                .pop()
                .map(|(_, denial)| (texts(denial.from), texts(denial.to.prefixes)))
        };
        let some = |from: &[&str], to: &[&str]| {
            let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            Some((texts(from), texts(to)))
        };
        assert_eq!(real(&[], &[]), some(&[], &[]), "whatever denies all denies it here too");
        assert_eq!(real(&["100.64.1.128/25"], &[]), some(&["192.168.1.128/25"], &[]));
        assert_eq!(real(&["100.64.0.0/16"], &[]), some(&["100.64.2.0/24", "192.168.1.0/24"], &[]));
        assert_eq!(real(&[], &["fd64:1::20/128"]), some(&[], &["fd00:1::20/128"]));
        assert_eq!(real(&["100.64.3.0/24"], &[]), None, "nobody who stands here");
        assert_eq!(real(&[], &["100.64.3.20/32"]), None);
    }
}
