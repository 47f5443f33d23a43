//! What must hold inside a section beyond its form, so that whoever holds a bundle need not check again.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Agreement, MAX_NOTICE_NUMBER, Match, Membership, Narrowing, Policy, Segment, Settled, Signatory};
use crate::identity::Name;
use crate::net::{Family, Prefix};

/// The highest number of a department: 24 bits of the packet mark.
const MAX_DEPARTMENT: u32 = (1 << 24) - 1;

/// A section's content.
pub(super) trait Check {
    /// The network and gateway that it is for.
    fn place(&self) -> (&Name, &Name);

    /// The first thing that is wrong in it.
    fn check(&self) -> Result<(), String>;
}

impl Check for Policy {
    fn place(&self) -> (&Name, &Name) {
        (&self.network, &self.gateway)
    }

    fn check(&self) -> Result<(), String> {
        one_per_family(&self.overlay, "the overlay")?;
        let departments = ascending(self.departments.iter().map(|d| d.number), "departments")?;
        let services = ascending(self.services.iter().map(|s| s.number), "services")?;
        let agreements = ascending(self.agreements.iter().map(|a| a.number), "agreements")?;
        for department in &self.departments {
            within(department.number, MAX_DEPARTMENT, "a department")?;
            one_per_family(&department.overlay, &department.name.to_string())?;
            if let Some(segment) = &department.segment {
                check_segment(segment, &department.overlay).map_err(|cause| format!("{}: {cause}", department.name))?;
            }
        }
        known(self.services.iter().map(|s| s.department), &departments, "a service's department")?;
        known(self.agreements.iter().map(|a| a.service), &services, "an agreement's service")?;
        known(self.agreements.iter().flat_map(|a| a.from.iter().copied()), &departments, "a consumer")?;
        for (rules, what) in [(&self.rules, "rules"), (&self.shadowed, "shadowed rules")] {
            if !rules.is_sorted_by(|a, b| a < b) {
                return Err(format!("the {what} are not sorted, or one stands twice"));
            }
            known(rules.iter().map(|r| r.department), &departments, "a rule's department")?;
            known(rules.iter().map(|r| r.agreement), &agreements, "a rule's agreement")?;
            rules.iter().try_for_each(|rule| check_match(&rule.matching))?;
        }
        self.agreements.iter().try_for_each(check_settled)?;
        self.check_signers()?;
        self.check_keys()?;
        self.guardrails.iter().flat_map(|g| &g.to.ports).try_for_each(check_match)
    }
}

impl Policy {
    fn check_signers(&self) -> Result<(), String> {
        let key = |signer: &Signatory| (signer.council.clone(), signer.by.clone(), signer.key.to_string());
        if !self.signers.is_sorted_by(|a, b| key(a) < key(b)) {
            return Err("the signers are not sorted, or one stands twice".to_owned());
        }
        Ok(())
    }

    /// One key, one answer: what the kernel's maps ask of the rules.
    fn check_keys(&self) -> Result<(), String> {
        let clash = self.rules.windows(2).any(|pair| {
            let [a, b] = pair else { return false };
            let key = |rule: &super::Rule| (rule.department, rule.destination);
            let overlap = match (a.matching, b.matching) {
                (Match::Ports { protocol: p, last, .. }, Match::Ports { protocol: q, first, .. }) => {
                    p == q && first <= last
                }
                (one, other) => one == other,
            };
            key(a) == key(b) && overlap
        });
        if clash { Err("two rules have the same key".to_owned()) } else { Ok(()) }
    }
}

impl Check for Membership {
    fn place(&self) -> (&Name, &Name) {
        (&self.network, &self.gateway)
    }

    fn check(&self) -> Result<(), String> {
        let uplinks: BTreeSet<&Name> = self.uplinks.iter().map(|uplink| &uplink.name).collect();
        if uplinks.len() != self.uplinks.len() {
            return Err("an uplink stands twice".to_owned());
        }
        self.uplinks.iter().filter_map(|uplink| uplink.device.as_deref()).try_for_each(check_device)?;
        let numbers = ascending(self.links.iter().map(|link| link.number), "links")?;
        if numbers.contains(&0) {
            return Err("a link has the number 0".to_owned());
        }
        match self.links.iter().find(|link| !uplinks.contains(&link.uplink)) {
            Some(link) => Err(format!("link {} uses the uplink '{}', which does not exist", link.number, link.uplink)),
            None => Ok(()),
        }
    }
}

impl Check for Narrowing {
    fn place(&self) -> (&Name, &Name) {
        (&self.network, &self.gateway)
    }

    fn check(&self) -> Result<(), String> {
        ascending(self.revoked.iter().copied(), "revoked agreements")?;
        ascending(self.suspended.iter().copied(), "suspended agreements").map(|_| ())
    }
}

fn check_settled(agreement: &Agreement) -> Result<(), String> {
    let Agreement { id, settled, .. } = agreement;
    if !settled.is_sorted_by(|a, b| a.council < b.council) {
        return Err(format!("what is settled of {id} is not sorted by council, or one stands twice"));
    }
    match settled.iter().find(|settled| !(1..=MAX_NOTICE_NUMBER).contains(&settled.number)) {
        Some(Settled { number, .. }) => Err(format!("the number of a notice about {id} cannot be {number}")),
        None => Ok(()),
    }
}

fn ascending(numbers: impl Iterator<Item = u32>, what: &str) -> Result<BTreeSet<u32>, String> {
    let mut seen = BTreeSet::new();
    for number in numbers {
        if seen.last().is_some_and(|&last| last >= number) {
            return Err(format!("the {what} are not sorted by number, or one stands twice"));
        }
        seen.insert(number);
    }
    Ok(seen)
}

fn within(number: u32, max: u32, what: &str) -> Result<(), String> {
    if (1..=max).contains(&number) { Ok(()) } else { Err(format!("the number of {what} is 1 to {max}, not {number}")) }
}

fn known(mut numbers: impl Iterator<Item = u32>, all: &BTreeSet<u32>, what: &str) -> Result<(), String> {
    match numbers.find(|number| !all.contains(number)) {
        Some(number) => Err(format!("{what} has the number {number}, which is not listed")),
        None => Ok(()),
    }
}

fn one_per_family(prefixes: &[Prefix], what: &str) -> Result<(), String> {
    let families: BTreeSet<Family> = prefixes.iter().map(|prefix| prefix.family()).collect();
    if families.len() == prefixes.len() { Ok(()) } else { Err(format!("{what} has two prefixes of one family")) }
}

fn check_segment(segment: &Segment, overlay: &[Prefix]) -> Result<(), String> {
    check_device(&segment.device)?;
    if segment.vlan.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
        return Err("a VLAN is 1 to 4094".to_owned());
    }
    if segment.gateway.is_empty() {
        return Err("its segment has no address".to_owned());
    }
    for mapping in &segment.mappings {
        let (real, mapped) = (mapping.real, mapping.overlay);
        if real.family() != mapped.family() || real.length() != mapped.length() {
            return Err(format!("{real} and {mapped} differ in family or length"));
        }
        if !overlay.contains(&mapped) {
            return Err(format!("{mapped} is mapped, and is not its overlay prefix"));
        }
    }
    let reals: Vec<Prefix> = segment.mappings.iter().map(|mapping| mapping.real).collect();
    one_per_family(&reals, "its segment")?;
    let vias: Vec<Prefix> = segment.via.iter().map(|&address: &IpAddr| Prefix::host(address)).collect();
    one_per_family(&vias, "its core switch")
}

/// As the kernel's `dev_valid_name` has it, and printable.
fn check_device(device: &str) -> Result<(), String> {
    let good = (1..=15).contains(&device.len())
        && device.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':' && b != b'"')
        && device != "."
        && device != "..";
    if good { Ok(()) } else { Err(format!("{device:?} is not the name of a network device")) }
}

fn check_match(matching: &Match) -> Result<(), String> {
    let good = match *matching {
        Match::Port { protocol, port } => has_ports(protocol) && port > 0,
        Match::Ports { protocol, first, last } => has_ports(protocol) && first > 0 && first <= last,
        Match::Icmp { protocol, .. } => matches!(protocol, 1 | 58),
        Match::Protocol { .. } | Match::Any => true,
    };
    if good { Ok(()) } else { Err(format!("{matching:?} is no match")) }
}

fn has_ports(protocol: u8) -> bool {
    crate::net::Protocol(protocol).has_ports()
}
