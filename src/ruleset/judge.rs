//! The policy: who may open a flow to whom, with both addresses overlay in both directions.
//!
//! ```text
//!  c_policy   ICMP errors only as related to a flow of an agreement in force
//!             new, the first     ─▶ c_first:    guardrails, c_open, then perhaps c_try_back
//!             direction original ─▶ c_original: guardrails, c_go, then perhaps c_try_back
//!             established        ─▶ c_reply:    guardrails, c_back, then perhaps c_try_go
//!  c_transit  without connection tracking, at relays: c_try_go, and unless it opens TCP c_try_back
//!  c_go       (department of the source,      destination, protocol, destination port) → agreement: accept
//!  c_open     the same, and the flow is told of
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
//! What goes from one segment to another of the same gateway is judged in `forward` by the same chains once more, `c_local…`,
//! in real addresses: see `local`.
//!
//! A flow is told of by the packet that opens it. One that was open before connection tracking knew of it, and whose
//! server speaks first, passes untold.
//!
//! Relays do not know a packet's direction, and the answer to a client that happens to use a guarded port must
//! pass: there a guardrail only keeps the packet from being looked up in the direction in which it denies it.

use nftables::expr::MetaKey;

use super::elements::{FAMILIES, per};
use super::statement::{
    Expr, Rule, Side, Stmt, accept, address, any_of, any_state, concat, continues_tcp, count, ct, drop, field, goto,
    icmp, is, is_not, jump, lookup, mark, meta, number, of, opens_tcp, port, set_ct_mark, set_mark, state, text,
    within,
};
use super::table::Table;
use super::tell::{Cause, drop_for, refuse, told};
use super::{Reason, marks};
use crate::bundle::Role;
use crate::net::{Family, Protocol};

/// Where packets are judged, and so by which addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// On the tunnel's side, where both are overlay.
    Tunnel,
    /// Between two segments of this gateway, where both are real.
    Local,
}

impl Ground {
    pub(super) const ALL: [Self; 2] = [Self::Tunnel, Self::Local];

    /// The name of a chain there.
    pub(super) fn chain(self, name: &str) -> String {
        match self {
            Self::Tunnel => format!("c_{name}"),
            Self::Local => format!("c_local_{name}"),
        }
    }

    /// The map from addresses to departments.
    fn departments(self, family: Family) -> String {
        match self {
            Self::Tunnel => per(family, "m_department"),
            Self::Local => per(family, "m_real"),
        }
    }
}

/// Adds the chains of the policy.
pub(super) fn add(table: &mut Table, role: Role) {
    for ground in Ground::ALL {
        add_tracked(table, ground);
    }
    if role == Role::Relay {
        table.chain("c_transit", transit());
        table.chain("c_transit_denied", transit_denied());
        for family in FAMILIES {
            table.chain(per(family, "c_transit_error"), transit_error(family));
        }
    }
}

fn add_tracked(table: &mut Table, ground: Ground) {
    table.chain(ground.chain("policy"), policy(ground));
    table.chain(ground.chain("unsettled"), unsettled(ground));
    table.chain(ground.chain("first"), tracked(ground, "guard_go", "open", "try_back"));
    table.chain(ground.chain("original"), tracked(ground, "guard_go", "go", "try_back"));
    table.chain(ground.chain("reply"), tracked(ground, "guard_back", "back", "try_go"));
    let [gate, accept] = pass();
    let open = [gate, goto(ground.chain("opened"))];
    for (name, client, then) in
        [("open", Side::Source, &open), ("go", Side::Source, &pass()), ("back", Side::Destination, &pass())]
    {
        let name = ground.chain(name);
        table.chain(&name, families(&name));
        for family in FAMILIES {
            table.chain(per(family, &name), lookups(ground, family, client, then));
        }
    }
    table.chain(ground.chain("opened"), told(Cause::Opened, &accept));
    let unknown = drop_for(Cause::Dropped(Reason::UnknownSource));
    let denied = counted(ground, "s_denied", drop_for(Cause::NoAgreement), Reason::UnknownSource, unknown);
    table.chain(ground.chain("denied"), denied);
    table.chain(ground.chain("guarded"), told(Cause::Guardrail, &goto(ground.chain("guarded_by"))));
    table.chain(ground.chain("guarded_by"), counted(ground, "s_guarded", drop(), Reason::Guarded, drop()));
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

fn policy(ground: Ground) -> Vec<Rule> {
    let [gate, accept] = pass();
    let mut rules = errors([within(ct("mark"), "s_agreement"), gate, accept]);
    rules.push(vec![any_state(["new", "related"]), goto(ground.chain("unsettled"))]);
    rules.push(vec![is(ct("direction"), text("original")), goto(ground.chain("original"))]);
    rules.push(vec![state("established"), goto(ground.chain("reply"))]);
    rules.push(refuse(Reason::Invalid).into());
    rules
}

/// What is no part of an exchange yet: two states share one question in `c_policy`, so that established packets pay
/// nothing for it. UDP that nobody answers stays new; its first packet alone has no agreement as its ct mark.
fn unsettled(ground: Ground) -> Vec<Rule> {
    vec![
        vec![state("new"), is(ct("mark"), number(0u8)), goto(ground.chain("first"))],
        vec![state("new"), goto(ground.chain("original"))],
        refuse(Reason::Invalid).into(),
    ]
}

fn tracked(ground: Ground, guard: &str, first: &str, second: &str) -> Vec<Rule> {
    let to = |name: &str| jump(ground.chain(name));
    let not_tcp = is_not(meta(MetaKey::L4proto), protocol(Protocol::TCP));
    vec![
        vec![to(guard)],
        vec![to(first)],
        vec![continues_tcp(), to(second)],
        vec![not_tcp, state("established"), to(second)],
        vec![goto(ground.chain("denied"))],
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
        rules.extend(department_of(Ground::Tunnel, family, client));
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
fn department_of(ground: Ground, family: Family, side: Side) -> [Rule; 2] {
    let found = lookup(address(family, side), &ground.departments(family));
    [vec![set_mark(number(0u8))], vec![set_mark(found)]]
}

/// Does `then` with what an agreement allows, the department at the `client`'s side being the one that opened the flow.
fn lookups(ground: Ground, family: Family, client: Side, then: &[Stmt]) -> Vec<Rule> {
    let server = client.other();
    let ports = || is(meta(MetaKey::L4proto), any_of([Protocol::TCP, Protocol::UDP, Protocol::SCTP].map(protocol)));
    let key = |fields: Vec<Expr>| concat([mark(), address(family, server)].into_iter().chain(fields));
    let flow = || key(vec![meta(MetaKey::L4proto), port(server)]);
    let kinds = if client == Side::Source { "m_icmp" } else { "m_echo" };
    let kind = field(icmp(family), "type");
    let mut rules: Vec<Rule> = department_of(ground, family, client).into();
    rules.push(allow(vec![ports()], flow(), &per(family, "m_port"), then));
    rules.push(allow(vec![ports()], flow(), &per(family, "m_range"), then));
    rules.push(allow(Vec::new(), key(vec![kind]), &per(family, kinds), then));
    rules.push(allow(Vec::new(), key(vec![meta(MetaKey::L4proto)]), &per(family, "m_protocol"), then));
    rules.push(allow(Vec::new(), key(Vec::new()), &per(family, "m_any"), then));
    rules
}

fn protocol(protocol: Protocol) -> Expr {
    number(protocol.0)
}

fn allow(mut rule: Vec<Stmt>, key: Expr, map: &str, then: &[Stmt]) -> Rule {
    rule.push(set_ct_mark(lookup(key, map)));
    rule.extend(then.iter().cloned());
    rule
}

/// Counts by the source's department and does `then`; without one counts by the reason and does `otherwise`.
fn counted(ground: Ground, set: &str, then: Stmt, unknown: Reason, otherwise: Stmt) -> Vec<Rule> {
    let mut rules = vec![vec![set_mark(number(0u8))]];
    for family in FAMILIES {
        let [_, found] = department_of(ground, family, Side::Source);
        rules.push(found);
    }
    rules.push(vec![within(mark(), set), then]);
    rules.push(vec![count(unknown.counter()), otherwise]);
    rules
}
