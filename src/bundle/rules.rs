//! Which agreement names a flow that several allow.
//!
//! The kernel asks for one key and takes one answer, so a key stands once and ranges of ports must not overlap.
//! The lowest number wins; what lost is kept as `shadowed`, for a narrowing to fall back on.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Match, Rule};

/// Ranges of ports per family that a gateway holds. At 100,000 the kernel's nft_set_pipapo hangs for minutes; at 5,000 it
/// takes 50 ms.
pub const RANGE_LIMIT: usize = 5_000;

/// Splits what agreements grant into the rules to load and the grants that these hide in whole or part, both sorted.
/// Together they allow what `grants` allow, and so do the rules alone.
pub fn settle(grants: impl IntoIterator<Item = Rule>) -> (Vec<Rule>, Vec<Rule>) {
    let mut ranges: BTreeMap<Ranged, BTreeMap<u32, Vec<Span>>> = BTreeMap::new();
    let mut exact = Vec::new();
    for rule in grants {
        let Rule { department, destination, matching, agreement } = rule;
        match matching {
            Match::Ports { protocol, first, last } => ranges
                .entry(Ranged { department, destination, protocol })
                .or_default()
                .entry(agreement)
                .or_default()
                .push((first, last)),
            Match::Port { .. } | Match::Icmp { .. } | Match::Protocol { .. } | Match::Any => exact.push(rule),
        }
    }
    // Equal keys beside each other, the lowest agreement first.
    exact.sort_unstable();
    exact.dedup();
    let (mut rules, mut shadowed): (Vec<Rule>, Vec<Rule>) = (Vec::with_capacity(exact.len()), Vec::new());
    for rule in exact {
        match rules.last() {
            Some(known) if known.key() == rule.key() => shadowed.push(rule),
            Some(_) | None => rules.push(rule),
        }
    }
    for (key, by_agreement) in ranges {
        key.settle(by_agreement, &mut rules, &mut shadowed);
    }
    rules.sort_unstable();
    shadowed.sort_unstable();
    (rules, shadowed)
}

impl Rule {
    /// What the kernel asks for.
    fn key(&self) -> (u32, IpAddr, Match) {
        (self.department, self.destination, self.matching)
    }
}

/// First and last port, both included.
type Span = (u16, u16);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ranged {
    department: u32,
    destination: IpAddr,
    protocol: u8,
}

impl Ranged {
    fn settle(self, by_agreement: BTreeMap<u32, Vec<Span>>, rules: &mut Vec<Rule>, shadowed: &mut Vec<Rule>) {
        let mut taken: Vec<Span> = Vec::new();
        for (agreement, spans) in by_agreement {
            for span in joined(spans) {
                let left = taken.iter().fold(vec![span], |pieces, &other| {
                    pieces.into_iter().flat_map(|piece| without(piece, other)).collect()
                });
                if left != [span] {
                    shadowed.push(self.rule(agreement, span));
                }
                rules.extend(left.iter().map(|&piece| self.rule(agreement, piece)));
                taken.extend(left);
            }
        }
    }

    fn rule(self, agreement: u32, (first, last): Span) -> Rule {
        let Self { department, destination, protocol } = self;
        Rule { department, destination, matching: Match::Ports { protocol, first, last }, agreement }
    }
}

/// Overlapping and adjacent spans made one, in ascending order.
pub(crate) fn joined(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut out: Vec<Span> = Vec::new();
    for (first, last) in spans {
        match out.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out
}

/// What remains of a span when another is cut out: none, one or two pieces.
pub(crate) fn without((first, last): Span, (cut_first, cut_last): Span) -> Vec<Span> {
    if cut_last < first || last < cut_first {
        return vec![(first, last)];
    }
    let below = cut_first.checked_sub(1).filter(|&end| end >= first).map(|end| (first, end));
    let above = cut_last.checked_add(1).filter(|&start| start <= last).map(|start| (start, last));
    below.into_iter().chain(above).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(department: u32, matching: Match, agreement: u32) -> Rule {
        Rule { department, destination: IpAddr::from([100, 64, 0, 1]), matching, agreement }
    }

    fn tcp(first: u16, last: u16, agreement: u32) -> Rule {
        rule(1, Match::Ports { protocol: 6, first, last }, agreement)
    }

    #[test]
    fn the_lowest_agreement_names_a_key_and_the_others_are_kept() {
        let port = Match::Port { protocol: 6, port: 443 };
        assert_eq!(
            settle([rule(1, port, 7), rule(1, port, 3), rule(2, port, 7)]),
            (vec![rule(1, port, 3), rule(2, port, 7)], vec![rule(1, port, 7)])
        );
    }

    #[test]
    fn overlapping_ranges_are_cut_apart() {
        assert_eq!(
            settle([tcp(1000, 3000, 5), tcp(1500, 2000, 2)]),
            (vec![tcp(1000, 1499, 5), tcp(1500, 2000, 2), tcp(2001, 3000, 5)], vec![tcp(1000, 3000, 5)])
        );
        assert_eq!(settle([tcp(1, 65535, 5), tcp(60000, 65535, 2)]).0, vec![tcp(1, 59999, 5), tcp(60000, 65535, 2)]);
    }

    #[test]
    fn ranges_of_one_agreement_are_joined() {
        assert_eq!(settle([tcp(100, 300, 5), tcp(200, 400, 5), tcp(401, 500, 5)]), (vec![tcp(100, 500, 5)], vec![]));
    }

    fn grants() -> impl Strategy<Value = Vec<Rule>> {
        let span = (1..40_u16, 1..40_u16, 1..5_u32).prop_map(|(a, b, agreement)| tcp(a.min(b), a.max(b), agreement));
        let port = (1..40_u16, 1..5_u32).prop_map(|(port, n)| rule(1, Match::Port { protocol: 6, port }, n));
        proptest::collection::vec(prop_oneof![span, port], 0..12)
    }

    /// The lowest agreement by which each kind of rule allows a port.
    fn named(rules: &[Rule], port: u16, ranged: bool) -> Option<u32> {
        let hit = |rule: &&Rule| match rule.matching {
            Match::Ports { first, last, .. } => ranged && (first..=last).contains(&port),
            Match::Port { port: one, .. } => !ranged && one == port,
            Match::Icmp { .. } | Match::Protocol { .. } | Match::Any => false,
        };
        rules.iter().filter(hit).map(|rule| rule.agreement).min()
    }

    proptest! {
        #[test]
        fn settling_keeps_every_flow_and_its_lowest_agreement(grants in grants()) {
            let (rules, shadowed) = settle(grants.clone());
            let all: Vec<Rule> = rules.iter().chain(&shadowed).copied().collect();
            for port in 0..41 {
                for ranged in [false, true] {
                    prop_assert_eq!(named(&rules, port, ranged), named(&grants, port, ranged));
                    let hits = rules.iter().filter(|rule| named(&[**rule], port, ranged).is_some()).count();
                    prop_assert!(hits <= 1, "port {} stands {} times", port, hits);
                }
            }
            prop_assert_eq!(settle(all).0, rules, "settling again changes nothing");
        }

        #[test]
        fn whatever_is_removed_the_rest_of_the_agreements_still_allow_theirs(grants in grants(), removed in 1..5_u32) {
            let (rules, shadowed) = settle(grants.clone());
            let left = rules.iter().chain(&shadowed).filter(|rule| rule.agreement != removed).copied();
            let expected: Vec<Rule> = grants.into_iter().filter(|rule| rule.agreement != removed).collect();
            prop_assert_eq!(settle(left).0, settle(expected).0);
        }
    }
}
