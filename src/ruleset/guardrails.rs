//! The operator's denials as rules, in both directions, each with a counter of its own.
//!
//! What a guardrail denies is not among the policy's rules in the first place; these say no once more, and count.

use nftables::expr::MetaKey;

use super::elements::FAMILIES;
use super::statement::{
    Expr, Rule, Side, Stmt, address, any_of, count, field, goto, icmp, is, meta, number, port, prefix, range,
};
use super::table::Table;
use crate::bundle::{Guardrail, Match};
use crate::identity::Id;
use crate::net::{Family, Prefix, Protocol};

const COUNTER: &str = "g_";

/// Adds the chains `c_guard_go` and `c_guard_back`.
pub(super) fn add(table: &mut Table, guardrails: &[Guardrail]) {
    table.counters.extend(guardrails.iter().map(|guardrail| counter(&guardrail.id)));
    for (name, client) in [("c_guard_go", Side::Source), ("c_guard_back", Side::Destination)] {
        table.chain(name, guardrails.iter().flat_map(|guardrail| rules(guardrail, client)).collect());
    }
}

/// The counter of a guardrail. An id is a capital letter, a dash and digits, so the name is nobody's invention.
fn counter(id: &Id) -> String {
    format!("{COUNTER}{}", id.as_str().replace('-', "_"))
}

/// The guardrail that a counter counts, if it counts one.
pub(super) fn counted(counter: &str) -> Option<Id> {
    counter.strip_prefix(COUNTER)?.replace('_', "-").parse().ok()
}

fn rules(guardrail: &Guardrail, client: Side) -> Vec<Rule> {
    let (from, to) = (&guardrail.from, &guardrail.to.prefixes);
    let ports = if guardrail.to.ports.is_empty() { &[Match::Any][..] } else { &guardrail.to.ports };
    let places = if from.is_empty() && to.is_empty() {
        vec![Vec::new()]
    } else {
        FAMILIES.iter().filter_map(|&family| place(family, client, from, to)).collect()
    };
    let hit = [count(counter(&guardrail.id)), goto("c_guarded")];
    places
        .iter()
        .flat_map(|place| ports.iter().map(move |what| (place, what)))
        .filter_map(|(place, what)| Some((place, asks(*what, client)?)))
        .map(|(place, asks)| place.iter().cloned().chain(asks).chain(hit.clone()).collect())
        .collect()
}

/// What is asked of the addresses; `None` if the guardrail has no prefix of this family where it has others.
fn place(family: Family, client: Side, from: &[Prefix], to: &[Prefix]) -> Option<Vec<Stmt>> {
    let mut asks = Vec::new();
    for (side, prefixes) in [(client, from), (client.other(), to)] {
        let mut of_family = prefixes.iter().filter(|prefix| prefix.family() == family).peekable();
        if of_family.peek().is_some() {
            asks.push(is(address(family, side), any_of(of_family.map(|&of| prefix(of)))));
        } else if !prefixes.is_empty() {
            return None;
        }
    }
    Some(asks)
}

/// What is asked of protocol and port; `None` for what no packet of that direction can be recognised by.
fn asks(what: Match, client: Side) -> Option<Vec<Stmt>> {
    let protocol = |protocol: u8| is(meta(MetaKey::L4proto), number(protocol));
    let ports = |of: u8, ports: Expr| Some(vec![protocol(of), is(port(client.other()), ports)]);
    match what {
        Match::Port { protocol, port } => ports(protocol, number(port)),
        Match::Ports { protocol, first, last } => ports(protocol, range(number(first), number(last))),
        // The answers have other types; a query that is denied has none.
        Match::Icmp { .. } if client == Side::Destination => None,
        Match::Icmp { protocol, kind } => {
            let family = if Protocol(protocol) == Protocol::ICMP { Family::V4 } else { Family::V6 };
            Some(vec![is(field(icmp(family), "type"), number(kind))])
        }
        Match::Protocol { protocol: of } => Some(vec![protocol(of)]),
        Match::Any => Some(Vec::new()),
    }
}
