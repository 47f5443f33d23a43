//! nftables' words: statements and expressions in the JSON form of libnftables-json(5).
//!
//! The `nftables` crate's schema serves for what it expresses. [`Own`] has the same form for what it does not:
//! prefix NAT, which needs `netmap`, and `notrack`, which it writes as a bare string that nft refuses.

use nftables::expr::{
    BinaryOperation, CT, Expression, Fib, FibFlag, FibResult, Map, Meta, MetaKey, NamedExpression, Payload,
    PayloadField, SetItem, TcpOption,
};
use nftables::stmt::{Counter, JumpTarget, Limit, Log, Mangle, Match, Operator, Statement};
use serde::{Deserialize, Serialize};

use crate::net::{Family, Prefix};

/// An expression that owns its text.
pub type Expr = Expression<'static>;

/// One rule: its statements in order.
pub type Rule = Vec<Stmt>;

/// A statement of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stmt {
    /// What the `nftables` crate lacks. First, since the crate would read a part of it and drop the rest.
    Own(Own),
    /// What it has.
    Schema(Statement<'static>),
}

/// Statements of our own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Own {
    /// Leave the packet out of connection tracking.
    Notrack(()),
    /// Prefix NAT of the source.
    Snat(Netmap),
    /// Prefix NAT of the destination.
    Dnat(Netmap),
}

/// 1:1 prefix NAT by a map from prefix to prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Netmap {
    family: String,
    addr: Expr,
    flags: String,
    type_flags: String,
}

impl Netmap {
    /// Maps the address `of` (`saddr` or `daddr`) by the pairs.
    pub fn new(family: Family, of: Side, pairs: &[(Prefix, Prefix)]) -> Self {
        let pairs = pairs
            .iter()
            .map(|&(from, to)| SetItem::Element(Expression::List(vec![prefix(from), prefix(to)])))
            .collect();
        let data = Expression::Named(NamedExpression::Set(pairs));
        let addr = Expression::Named(NamedExpression::Map(Box::new(Map { key: address(family, of), data })));
        Self { family: header(family).to_owned(), addr, flags: "netmap".to_owned(), type_flags: "prefix".to_owned() }
    }
}

/// Source or destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The packet's source.
    Source,
    /// The packet's destination.
    Destination,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

/// nftables' name of the IP header.
pub fn header(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// nftables' name of the family's ICMP.
pub fn icmp(family: Family) -> &'static str {
    match family {
        Family::V4 => "icmp",
        Family::V6 => "icmpv6",
    }
}

/// A name or symbol.
pub fn text(text: impl Into<String>) -> Expr {
    Expression::String(text.into().into())
}

/// A number.
pub fn number(number: impl Into<u32>) -> Expr {
    Expression::Number(number.into())
}

/// A prefix, or the address alone if it has no other.
pub fn prefix(prefix: Prefix) -> Expr {
    let addr = text(prefix.address().to_string());
    if prefix.length() == prefix.family().bits() {
        return addr;
    }
    Expression::Named(NamedExpression::Prefix(nftables::expr::Prefix {
        addr: Box::new(addr),
        len: prefix.length().into(),
    }))
}

/// The numbers or addresses from `first` to `last`, both included.
pub fn range(first: Expr, last: Expr) -> Expr {
    Expression::Range(Box::new(nftables::expr::Range { range: [first, last] }))
}

/// Any one of several.
pub fn any_of(items: impl IntoIterator<Item = Expr>) -> Expr {
    Expression::Named(NamedExpression::Set(items.into_iter().map(SetItem::Element).collect()))
}

/// Several fields as one key.
pub fn concat(fields: impl IntoIterator<Item = Expr>) -> Expr {
    Expression::Named(NamedExpression::Concat(fields.into_iter().collect()))
}

/// What the kernel knows about the packet.
pub fn meta(key: MetaKey) -> Expr {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

/// The packet's mark.
pub fn mark() -> Expr {
    meta(MetaKey::Mark)
}

/// The device that the packet came by.
pub fn iif() -> Expr {
    meta(MetaKey::Iifname)
}

/// The device that the packet leaves by.
pub fn oif() -> Expr {
    meta(MetaKey::Oifname)
}

/// A header's field.
pub fn field(protocol: &'static str, field: &'static str) -> Expr {
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(PayloadField {
        protocol: protocol.into(),
        field: field.into(),
    })))
}

/// The packet's source or destination address.
pub fn address(family: Family, side: Side) -> Expr {
    field(header(family), if side == Side::Source { "saddr" } else { "daddr" })
}

/// The packet's source or destination port: of TCP, UDP and SCTP alike.
pub fn port(side: Side) -> Expr {
    field("th", if side == Side::Source { "sport" } else { "dport" })
}

/// What connection tracking knows.
pub fn ct(key: &'static str) -> Expr {
    Expression::Named(NamedExpression::CT(CT { key: key.into(), family: None, dir: None }))
}

/// Asks the routing tables.
pub fn fib(result: FibResult, flags: impl IntoIterator<Item = FibFlag>) -> Expr {
    Expression::Named(NamedExpression::Fib(Fib { result, flags: flags.into_iter().collect() }))
}

/// The value of `key` in a named map. The rule ends if there is none.
pub fn lookup(key: Expr, map: &str) -> Expr {
    Expression::Named(NamedExpression::Map(Box::new(Map { key, data: text(format!("@{map}")) })))
}

/// The rule goes on if both are equal.
pub fn is(left: Expr, right: Expr) -> Stmt {
    Stmt::Schema(Statement::Match(Match { left, right, op: Operator::EQ }))
}

/// The rule goes on if they differ.
pub fn is_not(left: Expr, right: Expr) -> Stmt {
    Stmt::Schema(Statement::Match(Match { left, right, op: Operator::NEQ }))
}

/// The rule goes on if the named set holds the key.
pub fn within(key: Expr, set: &str) -> Stmt {
    is(key, text(format!("@{set}")))
}

/// The rule goes on unless the named set holds the key.
pub fn outside(key: Expr, set: &str) -> Stmt {
    is_not(key, text(format!("@{set}")))
}

/// The rule goes on if connection tracking's state is this.
pub fn state(state: &'static str) -> Stmt {
    Stmt::Schema(Statement::Match(Match { left: ct("state"), right: text(state), op: Operator::IN }))
}

/// The rule goes on if connection tracking's state is any of these. Costs what one costs: a mask.
pub fn any_state(states: [&'static str; 2]) -> Stmt {
    let states = Expression::List(states.map(text).into());
    Stmt::Schema(Statement::Match(Match { left: ct("state"), right: states, op: Operator::IN }))
}

/// The rule goes on unless the packet is left out of connection tracking.
pub fn tracked() -> Stmt {
    is_not(ct("state"), text("untracked"))
}

/// The rule goes on for packets of this family.
pub fn of(family: Family) -> Stmt {
    is(meta(MetaKey::Nfproto), text(if family == Family::V4 { "ipv4" } else { "ipv6" }))
}

/// The rule goes on if the bit is set in the packet's mark.
pub fn marked(bit: u32) -> Stmt {
    is(Expression::BinaryOperation(Box::new(BinaryOperation::AND(mark(), number(bit)))), number(bit))
}

/// The TCP flags under the mask; the mask and `flags` are two at least.
fn tcp_flags(mask: [&'static str; 2]) -> Expr {
    let [a, b] = mask;
    let mask = Expression::BinaryOperation(Box::new(BinaryOperation::OR(vec![text(a), text(b)])));
    Expression::BinaryOperation(Box::new(BinaryOperation::AND(field("tcp", "flags"), mask)))
}

/// The rule goes on for a TCP packet that opens a connection: SYN without ACK.
pub fn opens_tcp() -> Stmt {
    is(tcp_flags(["syn", "ack"]), text("syn"))
}

/// The rule goes on for a TCP packet that opens no connection.
pub fn continues_tcp() -> Stmt {
    is_not(tcp_flags(["syn", "ack"]), text("syn"))
}

/// The rule goes on for a TCP packet that carries a maximum segment size: SYN, also with ACK.
pub fn negotiates_tcp() -> Stmt {
    is(tcp_flags(["syn", "rst"]), text("syn"))
}

/// Lowers the TCP maximum segment size; the kernel never raises it (nft_exthdr_tcp_set_eval, since 4.14).
pub fn clamp(segment: u16) -> Stmt {
    let key =
        Expression::Named(NamedExpression::TcpOption(TcpOption { name: "maxseg".into(), field: Some("size".into()) }));
    Stmt::Schema(Statement::Mangle(Mangle { key, value: number(segment) }))
}

/// Sets the packet's mark.
pub fn set_mark(value: Expr) -> Stmt {
    Stmt::Schema(Statement::Mangle(Mangle { key: mark(), value }))
}

/// Sets the connection's mark; does nothing to a packet that is not tracked.
pub fn set_ct_mark(value: Expr) -> Stmt {
    Stmt::Schema(Statement::Mangle(Mangle { key: ct("mark"), value }))
}

/// The rule goes on while no more than `rate` packets per second come, with a burst of as many again.
pub fn limit(rate: u32) -> Stmt {
    Stmt::Schema(Statement::Limit(Limit {
        rate,
        rate_unit: None,
        per: Some("second".into()),
        burst: Some(rate),
        burst_unit: None,
        inv: None,
    }))
}

/// Sends a record with the packet's first `snap` octets to whoever listens to the nflog group, and goes on.
pub fn log(prefix: impl Into<String>, group: u16, snap: u16) -> Stmt {
    Stmt::Schema(Statement::Log(Some(Log {
        prefix: Some(prefix.into().into()),
        group: Some(group.into()),
        snaplen: Some(snap.into()),
        queue_threshold: None,
        level: None,
        flags: None,
    })))
}

/// Counts by a named counter.
pub fn count(counter: impl Into<String>) -> Stmt {
    Stmt::Schema(Statement::Counter(Counter::Named(counter.into().into())))
}

/// Ends this hook's chain: the packet goes on to the next.
pub fn accept() -> Stmt {
    Stmt::Schema(Statement::Accept(None))
}

/// Ends the packet.
pub fn drop() -> Stmt {
    Stmt::Schema(Statement::Drop(None))
}

/// Goes on in another chain and comes back.
pub fn jump(chain: impl Into<String>) -> Stmt {
    Stmt::Schema(Statement::Jump(JumpTarget { target: chain.into().into() }))
}

/// Goes on in another chain and does not come back.
pub fn goto(chain: impl Into<String>) -> Stmt {
    Stmt::Schema(Statement::Goto(JumpTarget { target: chain.into().into() }))
}

/// Goes back to the chain that jumped here.
pub fn back() -> Stmt {
    Stmt::Schema(Statement::Return(None))
}

/// Leaves the packet out of connection tracking.
pub fn notrack() -> Stmt {
    Stmt::Own(Own::Notrack(()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Every kind of statement that `chains`, `judge` and `guardrails` use.
    pub(in crate::ruleset) fn every_kind() -> Vec<Stmt> {
        let pair = |a: &str, b: &str| (a.parse().expect("a prefix"), b.parse().expect("a prefix"));
        let netmap = |pairs: &[(Prefix, Prefix)]| Netmap::new(Family::V4, Side::Source, pairs);
        vec![
            is(iif(), text("tp0")),
            within(concat([iif(), mark()]), "s_port"),
            outside(oif(), "s_alive"),
            is(field("icmp", "type"), any_of([number(3u8), number(11u8)])),
            is(port(Side::Destination), range(number(5u8), number(9u8))),
            is(meta(MetaKey::L4proto), number(6u8)),
            is(fib(FibResult::Oif, [FibFlag::Saddr, FibFlag::Iif]), Expression::Boolean(false)),
            state("established"),
            any_state(["new", "related"]),
            tracked(),
            of(Family::V6),
            marked(1 << 31),
            opens_tcp(),
            continues_tcp(),
            negotiates_tcp(),
            clamp(1380),
            set_mark(number(0u8)),
            set_mark(lookup(address(Family::V6, Side::Source), "m_department6")),
            set_ct_mark(lookup(concat([mark(), address(Family::V4, Side::Destination)]), "m_any4")),
            limit(50),
            log("turnpike spoofed", 9587, 96),
            count("n_spoofed"),
            accept(),
            drop(),
            jump("c_go"),
            goto("c_denied"),
            back(),
            notrack(),
            Stmt::Own(Own::Snat(netmap(&[
                pair("192.168.1.0/24", "100.64.1.0/24"),
                pair("10.0.0.1/32", "100.64.2.1/32"),
            ]))),
            Stmt::Own(Own::Dnat(netmap(&[pair("100.64.1.0/24", "192.168.1.0/24")]))),
        ]
    }

    #[test]
    fn every_statement_that_we_emit_survives_a_round_trip() {
        for statement in every_kind() {
            let json = serde_json::to_string(&statement).expect("JSON");
            assert_eq!(serde_json::from_str::<Stmt>(&json).expect(&json), statement, "{json}");
        }
    }

    #[test]
    fn what_the_crate_would_lose_is_written_in_full() {
        let json = |statement: &Stmt| serde_json::to_value(statement).expect("JSON");
        assert_eq!(json(&notrack()), serde_json::json!({"notrack": null}));
        assert_eq!(
            json(&log("turnpike spoofed", 9587, 96)),
            serde_json::json!({"log": {"prefix": "turnpike spoofed", "group": 9587, "snaplen": 96}})
        );
        let pairs = [("192.168.1.0/24".parse().expect("a prefix"), "100.64.1.0/24".parse().expect("a prefix"))];
        assert_eq!(
            json(&Stmt::Own(Own::Snat(Netmap::new(Family::V4, Side::Source, &pairs)))),
            serde_json::json!({"snat": {
                "family": "ip",
                "addr": {"map": {
                    "key": {"payload": {"protocol": "ip", "field": "saddr"}},
                    "data": {"set": [[
                        {"prefix": {"addr": "192.168.1.0", "len": 24}},
                        {"prefix": {"addr": "100.64.1.0", "len": 24}},
                    ]]},
                }},
                "flags": "netmap",
                "type_flags": "prefix",
            }})
        );
    }
}
