//! Departments: where they stand, how their segment is reached, real and overlay prefixes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use toml::Spanned;

use super::network::within;
use super::reader::Reader;
use super::{Draft, claim};
use crate::bundle::Mapping;
use crate::identity::{Name, Qualified};
use crate::net::{Family, Interface, Prefix};
use crate::policy::document::{self, CouncilFile, Document};
use crate::policy::finding::Code;
use crate::policy::model;
use crate::policy::source::{Mark, Source};

type PerFamily<T> = BTreeMap<Family, Spanned<T>>;

impl Draft {
    pub(super) fn departments(&mut self, document: &Document<CouncilFile>) {
        let Some(council) = council_of(document) else { return };
        for department in &document.value.departments {
            self.department_of(&document.source, &council, department.get_ref());
        }
    }

    fn department_of(&mut self, source: &Source, council: &Name, written: &document::Department) {
        let mut reader = Reader { source, report: &mut self.report };
        let name = reader.name(&written.name).map(|thing| Qualified { council: council.clone(), thing });
        let device = reader.device(&written.segment.device);
        let vlan = vlan(&mut reader, written);
        let tags = reader.names(&written.tags);
        let real = reader.prefixes(&written.real);
        let gateway = reader.interfaces(&written.gateway);
        let via = written.via.as_ref().map(|via| reader.addresses(via)).unwrap_or_default();
        segment(&mut reader, &real, &gateway, &via, written);
        let overlay = written.overlay.as_ref().map(|overlay| reader.prefixes(overlay));
        let at = self.place(source, council, written);
        let Some(name) = name else { return };
        let mark = source.mark(written.name.span());
        self.names.tags.extend(tags.iter().cloned());
        if !claim(&mut self.names.departments, &name, mark.clone(), "department", &mut self.report) {
            return;
        }
        let mappings = self.mappings(source, &name, &real, overlay.as_ref(), written);
        let (Some((at, site)), Some(device)) = (at, device) else { return };
        self.departments.push(model::Department {
            number: 0,
            name,
            at,
            site,
            device,
            vlan,
            gateway: gateway.into_values().map(Spanned::into_inner).collect(),
            via: via.into_values().map(Spanned::into_inner).collect(),
            mappings,
            tags,
            origin: mark.origin,
        });
    }

    /// The gateway at which a department stands, and its site: a hub, or an edge of its own council.
    fn place(&mut self, source: &Source, council: &Name, written: &document::Department) -> Option<(Name, Name)> {
        let own: Vec<_> = self.edges.iter().filter(|edge| edge.council == *council).collect();
        let Some(at) = &written.at else {
            return match own.as_slice() {
                [edge] => Some((edge.name.clone(), edge.site.clone())),
                edges => {
                    let message = format!("'at' is missing, and council '{council}' has {} edges", edges.len());
                    let help = "name the edge or hub at which the department stands: at = \"…\"";
                    self.report.error(source.mark(written.name.span()), Code::MissingKey, message).advise(help);
                    None
                }
            };
        };
        let name = Reader { source, report: &mut self.report }.name(at)?;
        if let Some(edge) = self.edges.iter().find(|edge| edge.name == name) {
            if edge.council != *council {
                let message = format!("the edge '{name}' is council '{}'s", edge.council);
                self.report
                    .error(source.mark(at.span()), Code::Placement, message)
                    .advise("a department stands at an edge of its own council, or at a hub");
            }
            return Some((name, edge.site.clone()));
        }
        if !self.names.gateways.contains_key(&name) {
            let known = own.iter().map(|edge| &edge.name).chain(self.hubs.iter().map(|hub| &hub.name));
            self.report.unknown(source.mark(at.span()), "edge or hub", name.as_str(), known.map(Name::as_str));
            return None;
        }
        Some((name.clone(), name))
    }

    /// Pairs real with overlay prefixes; what has no overlay prefix of the council's choice is left to allotment.
    fn mappings(
        &mut self,
        source: &Source,
        name: &Qualified,
        real: &PerFamily<Prefix>,
        overlay: Option<&PerFamily<Prefix>>,
        written: &document::Department,
    ) -> Vec<Mapping> {
        let mark = source.mark(written.overlay.as_ref().map_or(written.real.span(), Spanned::span));
        self.overlay_marks.insert(name.clone(), mark);
        let mut reader = Reader { source, report: &mut self.report };
        for prefix in real.values() {
            let equal = overlay.and_then(|overlay| overlay.get(&prefix.get_ref().family()));
            if self.overlay.iter().any(|overlay| overlay.overlaps(*prefix.get_ref()))
                && equal.is_none_or(|equal| equal.get_ref() != prefix.get_ref())
            {
                let message = format!("the real prefix {prefix} shares addresses with the network's overlay");
                reader.error(prefix.span(), Code::Overlap, message).advise("allowed only where 'overlay' equals it");
            }
        }
        let Some(overlay) = overlay else {
            self.unmapped.insert(name.clone(), real.values().map(|prefix| *prefix.get_ref()).collect());
            return Vec::new();
        };
        for prefix in overlay.values().filter(|prefix| !real.contains_key(&prefix.get_ref().family())) {
            let message = format!("the overlay prefix {prefix} has no real prefix of its family");
            reader.error(prefix.span(), Code::Family, message);
        }
        let mut mappings = Vec::new();
        for (family, real) in real {
            let Some(overlay) = overlay.get(family) else {
                let message = format!("the real prefix {real} has no overlay prefix of its family");
                reader.error(real.span(), Code::Family, message).advise("name one for each, or leave 'overlay' out");
                self.unmapped.entry(name.clone()).or_default().push(*real.get_ref());
                continue;
            };
            mappings.push(Mapping { real: *real.get_ref(), overlay: *overlay.get_ref() });
            if let Some((code, message, help)) = mapping_fault(*real.get_ref(), *overlay.get_ref(), &self.overlay) {
                reader.error(overlay.span(), code, message).advise(help);
            }
        }
        mappings
    }

    /// Departments of one gateway share no real addresses; no department's overlay touches another's, the
    /// management prefix or a reserved one. Allotted prefixes are judged with the numbers.
    pub(super) fn reals(&mut self) {
        let mut reals: BTreeMap<Name, Vec<(Prefix, Qualified)>> = BTreeMap::new();
        for department in &self.departments {
            let own = department.mappings.iter().map(|mapping| mapping.real);
            let unmapped = self.unmapped.get(&department.name).into_iter().flatten().copied();
            let list = reals.entry(department.at.clone()).or_default();
            list.extend(own.chain(unmapped).map(|real| (real, department.name.clone())));
        }
        for (gateway, list) in reals {
            for (prefix, later, other, earlier) in collisions(list) {
                let Some(origin) = self.names.departments.get(&later).cloned() else { continue };
                let message = format!("the real prefixes {prefix} and {other} (of '{earlier}') overlap at '{gateway}'");
                self.report
                    .error(Mark { origin, width: 1 }, Code::Overlap, message)
                    .advise("departments of one gateway need real prefixes of their own");
            }
        }
        self.disjoint_overlays();
    }

    /// Reports every pair of overlay prefixes that share addresses.
    pub(super) fn disjoint_overlays(&mut self) {
        let all = self.departments.iter().flat_map(|department| {
            department.mappings.iter().map(|mapping| (mapping.overlay, department.name.clone()))
        });
        for (prefix, later, other, earlier) in collisions(all.collect()) {
            let Some(mark) = self.overlay_marks.get(&later).cloned() else { continue };
            let message = format!("the overlay prefixes {prefix} and {other} (of '{earlier}') overlap");
            self.report.error(mark, Code::Overlap, message).advise("choose another, or leave 'overlay' out");
        }
        let kept = self.reserved.iter().map(|prefix| (*prefix, "reserved"));
        let kept: Vec<_> = kept.chain(self.management.iter().map(|(prefix, _)| (*prefix, "management"))).collect();
        for department in &self.departments {
            for overlay in department.mappings.iter().map(|mapping| mapping.overlay) {
                let Some((prefix, what)) = kept.iter().find(|(prefix, _)| prefix.overlaps(overlay)) else { continue };
                let Some(mark) = self.overlay_marks.get(&department.name).cloned() else { continue };
                let message = format!("the overlay prefix {overlay} shares addresses with the {what} prefix {prefix}");
                self.report.error(mark, Code::Overlap, message).advise("choose another, or leave 'overlay' out");
            }
        }
    }
}

/// The council that a file is about.
pub(super) fn council_of(document: &Document<CouncilFile>) -> Option<Name> {
    document.value.council.as_ref()?.get_ref().name.get_ref().parse().ok()
}

fn mapping_fault(real: Prefix, overlay: Prefix, network: &[Prefix]) -> Option<(Code, String, String)> {
    if real.length() != overlay.length() {
        let message = format!("the overlay prefix {overlay} is not as long as the real prefix {real}");
        return Some((Code::UnequalLength, message, format!("mapping is one to one: use a /{}", real.length())));
    }
    (!within(overlay, network)).then(|| {
        let message = format!("the overlay prefix {overlay} lies outside of the network's overlay");
        let overlays: Vec<_> = network.iter().map(ToString::to_string).collect();
        (Code::Outside, message, format!("the network's overlay is {}", overlays.join(" and ")))
    })
}

fn vlan(reader: &mut Reader<'_>, written: &document::Department) -> Option<u16> {
    let vlan = written.segment.vlan.as_ref()?;
    let tag = u16::try_from(*vlan.get_ref()).ok().filter(|tag| (1..=4094).contains(tag));
    if tag.is_none() {
        reader.error(vlan.span(), Code::BadValue, format!("{vlan} is not a VLAN")).advise("1 to 4094");
    }
    tag
}

/// Our addresses stand inside the real prefixes or, with a core switch, beside it in a transit prefix.
fn segment(
    reader: &mut Reader<'_>,
    real: &PerFamily<Prefix>,
    gateway: &PerFamily<Interface>,
    via: &PerFamily<IpAddr>,
    written: &document::Department,
) {
    for (family, real) in real {
        match gateway.get(family) {
            Some(interface) => attach(reader, *real.get_ref(), interface, via.get(family)),
            None if gateway.is_empty() => {}
            None => {
                let message = format!("no gateway address of the family of {real}");
                reader.error(written.gateway.span(), Code::Family, message).advise("name one address for each family");
            }
        }
    }
    let strays = gateway.iter().map(|(family, it)| (family, it.span(), it.get_ref().to_string()));
    let strays = strays.chain(via.iter().map(|(family, it)| (family, it.span(), it.get_ref().to_string())));
    for (_, span, text) in strays.filter(|(family, ..)| !real.is_empty() && !real.contains_key(family)) {
        reader.error(span, Code::Family, format!("{text} has no real prefix of its family"));
    }
}

fn attach(reader: &mut Reader<'_>, real: Prefix, gateway: &Spanned<Interface>, via: Option<&Spanned<IpAddr>>) {
    let (ours, transit) = (gateway.get_ref().address(), gateway.get_ref().prefix());
    if !usable(ours, transit) {
        let message = format!("{gateway} is not the address of a host");
        reader.error(gateway.span(), Code::BadAddress, message).advise("give our own address on the segment");
        return;
    }
    match via {
        None if !real.covers(transit) => {
            let message = format!("the gateway {gateway} lies outside of the real prefix {real}");
            reader
                .error(gateway.span(), Code::Outside, message)
                .advise("behind a core switch, name the switch as well: via = \"…\"");
        }
        None => {}
        Some(_) if transit.overlaps(real) => {
            let message = format!("the transit prefix {transit} shares addresses with the real prefix {real}");
            reader.error(gateway.span(), Code::Overlap, message).advise("leave 'via' out where hosts are on the link");
        }
        Some(via) if !transit.contains(*via.get_ref()) || !usable(*via.get_ref(), transit) => {
            let message = format!("the core switch {via} is no host of the transit prefix {transit}");
            reader.error(via.span(), Code::Outside, message).advise("gateway and via share one prefix");
        }
        Some(via) if *via.get_ref() == ours => {
            let message = format!("the core switch has our own address {via}");
            reader.error(via.span(), Code::Duplicate, message).advise("'via' is the switch's address");
        }
        Some(_) => {}
    }
}

/// Whether a host may have the address: not an IPv4 subnet's first or last (RFC 1122, section 3.2.1.3), where
/// the subnet is no point-to-point link (RFC 3021); not unspecified, multicast or loopback.
fn usable(address: IpAddr, subnet: Prefix) -> bool {
    let ends = subnet.family() == Family::V4 && subnet.length() < 31;
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback())
        && !(ends && (address == subnet.address() || address == subnet.last()))
}

/// Pairs that overlap, each as (later, its owner, earlier, its owner). Sorted prefixes nest or are disjoint, so one
/// pass with the last of the outer ones finds a partner for every prefix that has one.
fn collisions(mut list: Vec<(Prefix, Qualified)>) -> Vec<(Prefix, Qualified, Prefix, Qualified)> {
    list.sort();
    let mut found = Vec::new();
    let mut outer: Option<(Prefix, Qualified)> = None;
    for (prefix, owner) in list {
        match &outer {
            Some((first, first_owner)) if first.overlaps(prefix) => {
                found.push((prefix, owner, *first, first_owner.clone()));
            }
            _ => outer = Some((prefix, owner)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_with_a_partner_is_found_once() {
        let entry = |prefix: &str, owner: &str| {
            (prefix.parse::<Prefix>().expect("a prefix"), owner.parse::<Qualified>().expect("a name"))
        };
        let list = vec![
            entry("10.1.0.0/16", "a/c"),
            entry("10.0.0.0/8", "a/a"),
            entry("10.2.0.0/16", "a/d"),
            entry("11.0.0.0/8", "a/e"),
        ];
        let pairs: Vec<_> =
            collisions(list).into_iter().map(|(_, later, _, earlier)| format!("{later} {earlier}")).collect();
        assert_eq!(pairs, ["a/c a/a", "a/d a/a"]);
    }
}
