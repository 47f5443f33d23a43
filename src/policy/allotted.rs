//! What was ever given out: numbers, management addresses, overlay prefixes. It only grows.
//!
//! `allotted.toml` has one table per kind, one line per name, in the order in which they were given; the line of
//! something that is gone stays, so that its number is never another's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::str::FromStr;

use toml::Spanned;

use super::document::{AllottedDepartment, AllottedFile, Document, Entries};
use super::finding::{Code, Report};
use super::model::{Edge, Hub, Link};
use super::source::Source;
use crate::identity::{Id, Name, Qualified};
use crate::net::Prefix;

/// Everything given out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Allotted {
    pub(super) councils: BTreeMap<Name, u32>,
    pub(super) departments: BTreeMap<Qualified, Given>,
    pub(super) services: BTreeMap<Qualified, u32>,
    pub(super) agreements: BTreeMap<Id, u32>,
    pub(super) links: BTreeMap<LinkName, u32>,
    pub(super) management: BTreeMap<Name, Vec<IpAddr>>,
}

/// What a department was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) number: u32,
    /// Oldest first.
    pub(super) overlay: Vec<Prefix>,
}

/// The network's overlay, and what departments may not be given of it: management, reserved and chosen prefixes.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) overlay: Vec<Prefix>,
    pub(super) taken: Vec<Prefix>,
}

impl Kept {
    fn allows(&self, prefix: Prefix) -> bool {
        self.overlay.iter().any(|overlay| overlay.covers(prefix)) && !self.taken.iter().any(|it| it.overlaps(prefix))
    }
}

/// A department's number has to fit the packet mark beside the gate bit.
pub(super) const MOST_DEPARTMENTS: u32 = (1 << 24) - 1;

/// `edge/uplink/hub`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkName {
    edge: Name,
    uplink: Name,
    hub: Name,
}

impl FromStr for LinkName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = |_| format!("'{text}' is not EDGE/UPLINK/HUB");
        match text.split('/').collect::<Vec<_>>().as_slice() {
            [edge, uplink, hub] => Ok(Self {
                edge: edge.parse().map_err(malformed)?,
                uplink: uplink.parse().map_err(malformed)?,
                hub: hub.parse().map_err(malformed)?,
            }),
            _ => Err(format!("'{text}' is not EDGE/UPLINK/HUB")),
        }
    }
}

impl std::fmt::Display for LinkName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.edge, self.uplink, self.hub)
    }
}

/// Every link that a network has, sorted.
pub(super) fn link_names<'a>(edges: &'a [Edge], hubs: &'a [Hub]) -> impl Iterator<Item = LinkName> + 'a {
    edges.iter().flat_map(move |edge| {
        edge.uplinks.iter().flat_map(move |uplink| {
            let name = move |hub: &Hub| LinkName {
                edge: edge.name.clone(),
                uplink: uplink.name.clone(),
                hub: hub.name.clone(),
            };
            hubs.iter().map(name)
        })
    })
}

impl Allotted {
    /// Reads the file; reports what was given twice.
    pub(super) fn read(document: &Document<AllottedFile>, report: &mut Report) -> Self {
        let (source, file) = (&document.source, &document.value);
        let allotted = Self {
            councils: numbers(&file.councils, source, report),
            departments: departments(&file.departments, source, report),
            services: numbers(&file.services, source, report),
            agreements: numbers(&file.agreements, source, report),
            links: numbers(&file.links, source, report),
            management: management(&file.management, source, report),
        };
        disjoint(&file.departments, source, report);
        allotted
    }

    /// The youngest address given to a gateway that still lies in the management prefix.
    pub(super) fn management_of(&self, gateway: &Name, prefix: Prefix) -> Option<IpAddr> {
        self.management.get(gateway)?.iter().rev().find(|address| prefix.contains(**address)).copied()
    }

    /// The youngest prefix given to a department that still fits its real prefix and the network.
    pub(super) fn overlay_of(&self, department: &Qualified, real: Prefix, kept: &Kept) -> Option<Prefix> {
        let fits = |prefix: &&Prefix| {
            prefix.family() == real.family() && prefix.length() == real.length() && kept.allows(**prefix)
        };
        self.departments.get(department)?.overlay.iter().rev().find(fits).copied()
    }

    /// The links of these gateways that have no number.
    pub(super) fn missing_links<'a>(
        &'a self,
        edges: &'a [Edge],
        hubs: &'a [Hub],
    ) -> impl Iterator<Item = LinkName> + 'a {
        link_names(edges, hubs).filter(|link| !self.links.contains_key(link))
    }

    /// The links of these gateways, by number.
    pub(super) fn links_of(&self, edges: &[Edge], hubs: &[Hub]) -> Vec<Link> {
        let mut links: Vec<_> = link_names(edges, hubs)
            .filter_map(|name| {
                let number = *self.links.get(&name)?;
                Some(Link { number, edge: name.edge, uplink: name.uplink, hub: name.hub })
            })
            .collect();
        links.sort_by_key(|link| link.number);
        links
    }

    /// The file.
    pub(super) fn to_toml(&self) -> String {
        let mut text = String::from(
            "# Written by `turnpike policy allot`. What is given out is never given again: lines are only added.\n",
        );
        table(&mut text, "council", &self.councils, |number| *number, ToString::to_string);
        let given = |given: &Given| format!("{{ number = {}, overlay = [{}] }}", given.number, quoted(&given.overlay));
        table(&mut text, "department", &self.departments, |given| given.number, given);
        table(&mut text, "service", &self.services, |number| *number, ToString::to_string);
        table(&mut text, "agreement", &self.agreements, |number| *number, ToString::to_string);
        table(&mut text, "link", &self.links, |number| *number, ToString::to_string);
        let first = |addresses: &Vec<IpAddr>| addresses.first().copied();
        table(&mut text, "management", &self.management, first, |addresses| format!("[{}]", quoted(addresses)));
        text
    }
}

fn table<K: ToString + Ord, V, O: Ord>(
    text: &mut String,
    title: &str,
    entries: &BTreeMap<K, V>,
    order: impl Fn(&V) -> O,
    value: impl Fn(&V) -> String,
) {
    if entries.is_empty() {
        return;
    }
    let mut lines: Vec<_> = entries.iter().collect();
    lines.sort_by_key(|(_, value)| order(value));
    text.push_str(&format!("\n[{title}]\n"));
    for (key, entry) in lines {
        let key = key.to_string();
        let key = if key.contains('/') { format!("\"{key}\"") } else { key };
        text.push_str(&format!("{key} = {}\n", value(entry)));
    }
}

fn quoted<T: ToString>(list: &[T]) -> String {
    let texts: Vec<_> = list.iter().map(|item| format!("\"{}\"", item.to_string())).collect();
    texts.join(", ")
}

fn key_of<K: FromStr>(key: &Spanned<String>, source: &Source, report: &mut Report) -> Option<K>
where
    K::Err: std::fmt::Display,
{
    match key.get_ref().parse() {
        Ok(name) => Some(name),
        Err(error) => {
            report.error(source.mark(key.span()), Code::BadName, error.to_string());
            None
        }
    }
}

/// Reads a number and claims it.
fn number(
    written: &Spanned<i64>,
    most: u32,
    taken: &mut BTreeMap<u32, String>,
    owner: &str,
    source: &Source,
    report: &mut Report,
) -> Option<u32> {
    let mark = source.mark(written.span());
    let Some(number) = u32::try_from(*written.get_ref()).ok().filter(|number| (1..=most).contains(number)) else {
        report.error(mark, Code::BadValue, format!("{written} is not a number from 1 to {most}"));
        return None;
    };
    if let Some(other) = taken.insert(number, owner.to_owned()) {
        report
            .error(mark, Code::Duplicate, format!("the number {number} was given to '{other}' and '{owner}'"))
            .advise("remove the line that was added last and run `turnpike policy allot DIR`");
    }
    Some(number)
}

fn numbers<K>(entries: &Entries<i64>, source: &Source, report: &mut Report) -> BTreeMap<K, u32>
where
    K: FromStr + Ord,
    K::Err: std::fmt::Display,
{
    let mut taken = BTreeMap::new();
    let mut read = BTreeMap::new();
    for (key, written) in entries {
        let name = key_of(key, source, report);
        let number = number(written, u32::MAX, &mut taken, key.get_ref(), source, report);
        if let (Some(name), Some(number)) = (name, number) {
            read.insert(name, number);
        }
    }
    read
}

fn departments(
    entries: &Entries<AllottedDepartment>,
    source: &Source,
    report: &mut Report,
) -> BTreeMap<Qualified, Given> {
    let mut taken = BTreeMap::new();
    let mut read = BTreeMap::new();
    for (key, entry) in entries {
        let name = key_of(key, source, report);
        let written = entry.get_ref();
        let number = number(&written.number, MOST_DEPARTMENTS, &mut taken, key.get_ref(), source, report);
        let overlay = written.overlay.iter().filter_map(|text| prefix(text, source, report)).collect();
        if let (Some(name), Some(number)) = (name, number) {
            read.insert(name, Given { number, overlay });
        }
    }
    read
}

fn prefix(text: &Spanned<String>, source: &Source, report: &mut Report) -> Option<Prefix> {
    match text.get_ref().parse() {
        Ok(prefix) => Some(prefix),
        Err(error) => {
            report.error(source.mark(text.span()), Code::BadPrefix, error.to_string());
            None
        }
    }
}

/// No address was given to two departments, whether they live or not.
fn disjoint(entries: &Entries<AllottedDepartment>, source: &Source, report: &mut Report) {
    let mut given: Vec<(Prefix, &str, &Spanned<String>)> = Vec::new();
    for (key, entry) in entries {
        let texts = entry.get_ref().overlay.iter();
        given.extend(texts.filter_map(|text| Some((text.get_ref().parse().ok()?, key.get_ref().as_str(), text))));
    }
    given.sort_by_key(|(prefix, ..)| *prefix);
    let mut outer: Option<(Prefix, &str)> = None;
    for (prefix, owner, text) in given {
        match outer {
            Some((first, other)) if first.overlaps(prefix) => {
                let mut message = String::new();
                if write!(message, "{first} was given to '{other}' and {prefix} to '{owner}'").is_ok() {
                    report.error(source.mark(text.span()), Code::Overlap, message);
                }
            }
            _ => outer = Some((prefix, owner)),
        }
    }
}

fn management(
    entries: &Entries<Vec<Spanned<String>>>,
    source: &Source,
    report: &mut Report,
) -> BTreeMap<Name, Vec<IpAddr>> {
    let mut taken: BTreeMap<IpAddr, String> = BTreeMap::new();
    let mut read = BTreeMap::new();
    for (key, texts) in entries {
        let mut addresses = Vec::new();
        for text in texts.get_ref() {
            let mark = source.mark(text.span());
            let Ok(address) = text.get_ref().parse() else {
                report.error(mark, Code::BadAddress, format!("'{}' is not an IP address", text.get_ref()));
                continue;
            };
            if let Some(other) = taken.insert(address, key.get_ref().clone()) {
                let message = format!("{address} was given to '{other}' and '{}'", key.get_ref());
                report.error(mark, Code::Duplicate, message);
            }
            addresses.push(address);
        }
        if let Some(name) = key_of(key, source, report) {
            read.insert(name, addresses);
        }
    }
    read
}
