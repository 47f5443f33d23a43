//! Gives out numbers, management addresses and overlay prefixes: pure, deterministic, and never the same twice.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::allotted::{Allotted, Given, MOST_DEPARTMENTS, link_names};
use super::finding::{Code, Finding, Report};
use super::resolve::{self, Draft};
use super::source::{Files, Mark};
use crate::net::{Family, Prefix};

/// The text of `allotted.toml` once everything in the definition has what it needs: what the old one has, and in
/// the order of names what it lacks. Equal to the old one if it lacks nothing.
///
/// # Errors
/// All errors if the definition does not hold otherwise, or if numbers, addresses or prefixes have run out.
pub fn allot(files: &Files) -> Result<String, Vec<Finding>> {
    let mut draft = resolve::timeless(files)?;
    let mut report = Report::default();
    let before = draft.allotted.clone();
    number_all(&mut draft, &mut report);
    overlays(&mut draft, &mut report);
    management(&mut draft, &mut report);
    if report.has_errors() {
        return Err(report.into_findings());
    }
    let old = files.get("allotted.toml").and_then(|text| std::str::from_utf8(text).ok());
    Ok(match old {
        Some(old) if draft.allotted == before => old.to_owned(),
        _ => draft.allotted.to_toml(),
    })
}

fn number_all(draft: &mut Draft, report: &mut Report) {
    let Draft { allotted, .. } = draft;
    let Allotted { councils, departments, services, agreements, links, .. } = allotted;
    number(councils, draft.councils.iter().map(|council| council.name.clone()), "council", report);
    number(services, draft.services.iter().map(|service| service.name.clone()), "service", report);
    number(agreements, draft.agreements.iter().map(|agreement| agreement.id.clone()), "agreement", report);
    let mut names: Vec<_> = link_names(&draft.edges, &draft.hubs).collect();
    names.sort();
    number(links, names, "link", report);
    let mut next = departments.values().map(|given| given.number).max().unwrap_or(0);
    for department in &draft.departments {
        if departments.contains_key(&department.name) {
            continue;
        }
        next += 1;
        if next > MOST_DEPARTMENTS {
            exhausted(report, "department numbers");
            return;
        }
        departments.insert(department.name.clone(), Given { number: next, overlay: Vec::new() });
    }
}

/// Numbers the names that have none, in their order, above every number ever given.
fn number<K: Ord>(given: &mut BTreeMap<K, u32>, names: impl IntoIterator<Item = K>, kind: &str, report: &mut Report) {
    let mut next = given.values().copied().max().unwrap_or(0).checked_add(1);
    for name in names {
        if given.contains_key(&name) {
            continue;
        }
        let Some(number) = next else {
            exhausted(report, &format!("{kind} numbers"));
            return;
        };
        given.insert(name, number);
        next = number.checked_add(1);
    }
}

fn exhausted(report: &mut Report, what: &str) {
    let message = format!("all {what} have been given out");
    report.error(Mark::file("allotted.toml"), Code::Exhausted, message);
}

fn overlays(draft: &mut Draft, report: &mut Report) {
    let mut taken = Taken::default();
    for prefix in draft.reserved.iter().chain(draft.management.iter().map(|(prefix, _)| prefix)) {
        taken.take(*prefix);
    }
    for mapping in draft.departments.iter().flat_map(|department| &department.mappings) {
        taken.take(mapping.overlay);
    }
    for prefix in draft.allotted.departments.values().flat_map(|given| &given.overlay) {
        taken.take(*prefix);
    }
    let kept = draft.kept();
    for (name, reals) in draft.unmapped.clone() {
        for real in reals {
            if draft.allotted.overlay_of(&name, real, &kept).is_some() {
                continue;
            }
            let own = draft.overlay.iter().filter(|overlay| overlay.family() == real.family());
            let Some(free) = own.into_iter().find_map(|overlay| taken.first_free(*overlay, real.length())) else {
                let message = format!("the overlay has no free /{} for department '{name}'", real.length());
                let mark = draft.overlay_marks.get(&name).cloned().unwrap_or_else(|| Mark::file("network.toml"));
                report
                    .error(mark, Code::Exhausted, message)
                    .advise("widen the network's overlay, or shorten 'reserved'");
                continue;
            };
            taken.take(free);
            if let Some(given) = draft.allotted.departments.get_mut(&name) {
                given.overlay.push(free);
            }
        }
    }
}

fn management(draft: &mut Draft, report: &mut Report) {
    let Some((prefix, mark)) = draft.management.clone() else { return };
    let mut taken = Taken::default();
    for address in draft.allotted.management.values().flatten() {
        taken.take(Prefix::host(*address));
    }
    if prefix.length() + 1 < prefix.family().bits() {
        taken.take(Prefix::host(prefix.address()));
        taken.take(Prefix::host(prefix.last()));
    }
    let hubs = draft.hubs.iter().map(|hub| hub.name.clone());
    let mut gateways: Vec<_> = hubs.chain(draft.edges.iter().map(|edge| edge.name.clone())).collect();
    gateways.sort();
    for gateway in gateways {
        if draft.allotted.management_of(&gateway, prefix).is_some() {
            continue;
        }
        let Some(free) = taken.first_free(prefix, prefix.family().bits()) else {
            let message = format!("the management prefix {prefix} has no address left for gateway '{gateway}'");
            report.error(mark, Code::Exhausted, message).advise("use a shorter management prefix");
            return;
        };
        taken.take(free);
        draft.allotted.management.entry(gateway).or_default().push(free.address());
    }
}

/// Addresses that are not free, as disjoint ranges: first address to last.
#[derive(Debug, Default)]
struct Taken {
    v4: BTreeMap<u128, u128>,
    v6: BTreeMap<u128, u128>,
}

impl Taken {
    fn ranges(&mut self, family: Family) -> &mut BTreeMap<u128, u128> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// Adds a prefix; ranges that touch are joined, so that a full network is searched in one step.
    fn take(&mut self, prefix: Prefix) {
        let (mut first, mut last) = (number_of(prefix.address()), number_of(prefix.last()));
        let ranges = self.ranges(prefix.family());
        let before = ranges.range(..=last.saturating_add(1)).rev();
        let touching: Vec<_> =
            before.take_while(|&(_, &end)| end.saturating_add(1) >= first).map(|(&start, &end)| (start, end)).collect();
        for (start, end) in touching {
            ranges.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        ranges.insert(first, last);
    }

    /// The first prefix of a length inside `network` that is free.
    fn first_free(&mut self, network: Prefix, length: u8) -> Option<Prefix> {
        let family = network.family();
        let bits = family.bits();
        if length < network.length() || length > bits {
            return None;
        }
        let rest = bits - length;
        let size = 1u128.checked_shl(u32::from(rest))?;
        let end = number_of(network.last());
        let ranges = self.ranges(family);
        let mut start = number_of(network.address());
        loop {
            let last = start.checked_add(size - 1).filter(|last| *last <= end)?;
            match ranges.range(..=last).next_back().filter(|&(_, &taken)| taken >= start) {
                None => return Prefix::new(address_of(start, family)?, length).ok(),
                Some((_, &taken)) => start = (taken.checked_add(1)?.checked_add(size - 1)? >> rest) << rest,
            }
        }
    }
}

fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn address_of(number: u128, family: Family) -> Option<IpAddr> {
    match family {
        Family::V4 => u32::try_from(number).ok().map(|number| Ipv4Addr::from(number).into()),
        Family::V6 => Some(Ipv6Addr::from(number).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().expect("a prefix")
    }

    #[test]
    fn the_first_free_prefix_skips_what_is_taken() {
        let mut taken = Taken::default();
        let network = prefix("100.64.0.0/22");
        let next = |taken: &mut Taken, length| {
            let free = taken.first_free(network, length)?;
            taken.take(free);
            Some(free)
        };
        taken.take(prefix("100.64.0.128/25"));
        assert_eq!(next(&mut taken, 25), Some(prefix("100.64.0.0/25")));
        assert_eq!(next(&mut taken, 23), Some(prefix("100.64.2.0/23")));
        assert_eq!(next(&mut taken, 24), Some(prefix("100.64.1.0/24")));
        assert_eq!(next(&mut taken, 32), None);
        assert_eq!(taken.v4.len(), 1);
        assert_eq!(taken.first_free(network, 21), None);
    }

    #[test]
    fn the_ends_of_the_address_space_are_no_trap() {
        let mut taken = Taken::default();
        taken.take(prefix("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"));
        taken.take(prefix("::/0"));
        assert_eq!(taken.first_free(prefix("::/0"), 0), None);
        assert_eq!(taken.first_free(prefix("ffff::/32"), 64), None);
        assert_eq!(taken.first_free(prefix("255.255.255.255/32"), 32), Some(prefix("255.255.255.255/32")));
    }
}
