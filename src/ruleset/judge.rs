//! The policy: who may open a flow to whom, with both addresses overlay in both directions.
//!
//! ```text
//!  c_policy   ICMP errors only as related to a flow of an agreement in force
//!             direction original ─▶ c_original: guardrails, c_go, then perhaps c_try_back
//!             established        ─▶ c_reply:    guardrails, c_back, then perhaps c_try_go
//!  c_transit  without connection tracking, at relays: c_try_go, and unless it opens TCP c_try_back
//!  c_go       (department of the source,      destination, protocol, destination port) → agreement: accept
//!  c_back     (department of the destination, source,      protocol, source port)      → agreement: accept
//! ```
//!
//! Each lookup gives the verdict and the agreement at once, counts by the element and sets the ct mark (which does
//! nothing where the packet is not tracked). Each packet is judged, so that a deleted element stops a flow at once.
//!
//! TCP packets that open nothing are tried both ways, because an edge that was restarted sees the middle of a
//! connection, and whoever speaks first would be taken for its opener. So are other packets of an exchange that
//! both ends have taken part in: where nothing tells two flows of one pair of hosts apart (ESP; UDP from port 500
//! to 500), one entry of connection tracking serves both directions, and it may be the other's that was revoked.
//! A relay cannot tell an unsolicited UDP answer from a granted one; both edges can.
//!
//! Relays do not know a packet's direction, and the answer to a client that happens to use a guarded port must
//! pass: there a guardrail only keeps the packet from being looked up in the direction in which it denies it.

use nftables::expr::MetaKey;

use super::elements::{FAMILIES, per};
use super::statement::{
    Expr, Rule, Side, Stmt, accept, address, any_of, concat, continues_tcp, count, ct, drop, field, goto, icmp, is,
    is_not, jump, lookup, mark, meta, number, of, opens_tcp, port, set_ct_mark, set_mark, state, text, within,
};
use super::table::Table;
use super::{Reason, marks};
use crate::bundle::Role;
use crate::net::{Family, Protocol};

/// Adds the chains of the policy.
pub(super) fn add(table: &mut Table, role: Role) {
    table.chain("c_policy", policy());
    table.chain("c_original", tracked("c_guard_go", "c_go", "c_try_back"));
    table.chain("c_reply", tracked("c_guard_back", "c_back", "c_try_go"));
    if role == Role::Relay {
        table.chain("c_transit", transit());
        table.chain("c_transit_denied", transit_denied());
        for family in FAMILIES {
            table.chain(per(family, "c_transit_error"), transit_error(family));
        }
    }
    for (name, client) in [("c_go", Side::Source), ("c_back", Side::Destination)] {
        table.chain(name, families(name));
        for family in FAMILIES {
            table.chain(per(family, name), lookups(family, client));
        }
    }
    table.chain("c_denied", counted("s_denied", Reason::UnknownSource));
    table.chain("c_guarded", counted("s_guarded", Reason::Guarded));
}

/// One rule per family: an ICMP error that belongs to a flow that is tracked.
pub(super) fn errors<const N: usize>(then: [Stmt; N]) -> Vec<Rule> {
    FAMILIES.map(|family| error(family, then.clone())).into()
}

/// The same of one family. Redirects (RFC 792, type 5) and source quench (type 4, RFC 6633) are no errors that a
/// host needs.
pub(super) fn error<const N: usize>(family: Family, then: [Stmt; N]) -> Rule {
    [is_error(family), state("related")].into_iter().chain(then).collect()
}

fn is_error(family: Family) -> Stmt {
    let types: &[u8] = match family {
        Family::V4 => &[3, 11, 12],
        Family::V6 => &[1, 2, 3, 4],
    };
    is(field(icmp(family), "type"), any_of(types.iter().map(|&kind| number(kind))))
}

fn pass() -> [Stmt; 2] {
    [set_mark(number(marks::GATE)), accept()]
}

fn policy() -> Vec<Rule> {
    let [gate, accept] = pass();
    let mut rules = errors([within(ct("mark"), "s_agreement"), gate, accept]);
    rules.push(vec![state("related"), count(Reason::Invalid.counter()), drop()]);
    rules.push(vec![is(ct("direction"), text("original")), goto("c_original")]);
    rules.push(vec![state("established"), goto("c_reply")]);
    rules.push(vec![count(Reason::Invalid.counter()), drop()]);
    rules
}

fn tracked(guard: &'static str, first: &'static str, second: &'static str) -> Vec<Rule> {
    let not_tcp = is_not(meta(MetaKey::L4proto), protocol(Protocol::TCP));
    vec![
        vec![jump(guard)],
        vec![jump(first)],
        vec![continues_tcp(), jump(second)],
        vec![not_tcp, state("established"), jump(second)],
        vec![goto("c_denied")],
    ]
}

fn transit() -> Vec<Rule> {
    let mut rules: Vec<Rule> =
        FAMILIES.map(|family| vec![is_error(family), jump(per(family, "c_transit_error"))]).into();
    rules.push(vec![jump("c_try_go")]);
    rules.push(vec![opens_tcp(), goto("c_transit_denied")]);
    rules.push(vec![jump("c_try_back")]);
    rules.push(vec![goto("c_transit_denied")]);
    rules
}

fn transit_denied() -> Vec<Rule> {
    vec![vec![jump("c_guard_go")], vec![jump("c_guard_back")], vec![goto("c_denied")]]
}

/// Between a department and a host that it has any agreement with: a relay does not see whether the error belongs
/// to a flow. Both edges do.
fn transit_error(family: Family) -> Vec<Rule> {
    let mut rules = Vec::new();
    for client in [Side::Source, Side::Destination] {
        rules.extend(department_of(family, client));
        let pair = within(concat([mark(), address(family, client.other())]), &per(family, "s_peer"));
        rules.push([pair].into_iter().chain(pass()).collect());
    }
    rules
}

fn families(chain: &str) -> Vec<Rule> {
    FAMILIES.map(|family| vec![of(family), goto(per(family, chain))]).into()
}

/// Marks the packet with the department that has the address. First resets the mark, which a lookup that finds
/// nothing leaves as it was.
fn department_of(family: Family, side: Side) -> [Rule; 2] {
    let found = lookup(address(family, side), &per(family, "m_department"));
    [vec![set_mark(number(0u8))], vec![set_mark(found)]]
}

/// Accepts what an agreement allows, the department at the `client`'s side being the one that opened the flow.
fn lookups(family: Family, client: Side) -> Vec<Rule> {
    let server = client.other();
    let ports = || is(meta(MetaKey::L4proto), any_of([Protocol::TCP, Protocol::UDP, Protocol::SCTP].map(protocol)));
    let key = |fields: Vec<Expr>| concat([mark(), address(family, server)].into_iter().chain(fields));
    let flow = || key(vec![meta(MetaKey::L4proto), port(server)]);
    let kinds = if client == Side::Source { "m_icmp" } else { "m_echo" };
    let kind = field(icmp(family), "type");
    let mut rules: Vec<Rule> = department_of(family, client).into();
    rules.push(allow(vec![ports()], flow(), &per(family, "m_port")));
    rules.push(allow(vec![ports()], flow(), &per(family, "m_range")));
    rules.push(allow(Vec::new(), key(vec![kind]), &per(family, kinds)));
    rules.push(allow(Vec::new(), key(vec![meta(MetaKey::L4proto)]), &per(family, "m_protocol")));
    rules.push(allow(Vec::new(), key(Vec::new()), &per(family, "m_any")));
    rules
}

fn protocol(protocol: Protocol) -> Expr {
    number(protocol.0)
}

fn allow(mut rule: Vec<Stmt>, key: Expr, map: &str) -> Rule {
    rule.push(set_ct_mark(lookup(key, map)));
    rule.extend(pass());
    rule
}

/// Reason, counted by the source's department.
fn counted(set: &str, unknown: Reason) -> Vec<Rule> {
    let mut rules = vec![vec![set_mark(number(0u8))]];
    for family in FAMILIES {
        let [_, found] = department_of(family, Side::Source);
        rules.push(found);
    }
    rules.push(vec![within(mark(), set), drop()]);
    rules.push(vec![count(unknown.counter()), drop()]);
    rules
}
