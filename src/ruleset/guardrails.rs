//! The operator's denials as rules, in both directions, each with a counter of its own.
//!
//! Ports that a guardrail denies are not among the policy's rules in the first place; but a rule that grants a whole
//! protocol, or everything, cannot leave one out, so a guardrail is asked before it.
//!
//! ```text
//!  c_guard_go, c_guard_back        by direction: count and drop
//!  c_try_go, c_try_back            where either direction will do: what is denied is not looked up in this
//!                                  direction, and then perhaps in the other
//! ```

use nftables::expr::MetaKey;

use super::elements::{FAMILIES, answer};
use super::judge::Ground;
use super::marks;
use super::statement::{
    Expr, Rule, Side, Stmt, address, any_of, back, count, field, goto, icmp, is, meta, number, port, prefix, range,
    set_mark,
};
use super::table::Table;
use crate::bundle::{Guardrail, Match};
use crate::identity::Id;
use crate::net::{Family, Prefix, Protocol};

const COUNTER: &str = "g_";

/// Adds the chains of one ground, with guardrails and their places in the policy's list, counted from 1.
pub(super) fn add(table: &mut Table, ground: Ground, guardrails: &[(u32, Guardrail)]) {
    table.counters.extend(guardrails.iter().map(|(_, guardrail)| counter(&guardrail.id)));
    for (name, client) in [("go", Side::Source), ("back", Side::Destination)] {
        // The mark says which one it was to whoever reads the record.
        let hit = |place: u32, guardrail: &Guardrail| {
            let said = set_mark(number(place & marks::DEPARTMENT));
            vec![count(counter(&guardrail.id)), said, goto(ground.chain("guarded"))]
        };
        let guard = guardrails.iter().flat_map(|(place, guardrail)| rules(guardrail, client, &hit(*place, guardrail)));
        table.chain(ground.chain(&format!("guard_{name}")), guard.collect());
        let then = vec![goto(ground.chain(name))];
        let skip = guardrails.iter().flat_map(|(_, guardrail)| rules(guardrail, client, &[back()]));
        let name = format!("try_{name}");
        table.chain(ground.chain(&name), skip.chain([then]).collect());
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

fn rules(guardrail: &Guardrail, client: Side, then: &[Stmt]) -> Vec<Rule> {
    let (from, to) = (&guardrail.from, &guardrail.to.prefixes);
    let ports = if guardrail.to.ports.is_empty() { &[Match::Any][..] } else { &guardrail.to.ports };
    let places = if from.is_empty() && to.is_empty() {
        vec![Vec::new()]
    } else {
        FAMILIES.iter().filter_map(|&family| place(family, client, from, to)).collect()
    };
    places
        .iter()
        .flat_map(|place| ports.iter().map(move |what| (place, what)))
        .filter_map(|(place, what)| Some((place, asks(*what, client)?)))
        .map(|(place, asks)| place.iter().cloned().chain(asks).chain(then.iter().cloned()).collect())
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
        Match::Icmp { protocol, kind } => {
            let family = if Protocol(protocol) == Protocol::ICMP { Family::V4 } else { Family::V6 };
            let kind = if client == Side::Source { kind } else { answer(family, kind)? };
            Some(vec![is(field(icmp(family), "type"), number(kind))])
        }
        Match::Protocol { protocol: of } => Some(vec![protocol(of)]),
        Match::Any => Some(Vec::new()),
    }
}
