//! The table's sets and maps, filled from the policy: all that an everyday change touches.
//!
//! ```text
//!  s_alive        device                                   the tunnel and segments, for 30 s at a time
//!  s_segment      device                                   segments
//!  s_port         device . department                      who stands on which segment
//!  m_real4/6      prefix → department                      sources at segments, as the legacy hosts know them
//!  m_department4/6 prefix → department                     overlay sources and destinations
//!  s_own4/6       prefix                                   overlays that stand here, and our management address
//!  s_address4/6   address                                  ours: on segments, and for management
//!  s_allotted4/6  prefix                                   what no WAN may carry
//!  m_port4/6      department . destination . protocol . port → agreement      destinations are overlay addresses, but
//!                                                          real ones where both ends stand here
//!  m_range4/6     the same with a range of ports, 5,000 at most
//!  m_icmp4/6      department . destination . type → agreement       m_echo4/6: the same for the answers' type
//!  m_protocol4/6  department . destination . protocol → agreement
//!  m_any4/6       department . destination → agreement
//!  s_peer4/6      department . destination                 pairs with any agreement, for ICMP errors at relays
//!  s_agreement    agreement                                those in force whose flows are tracked here
//!  s_denied, s_guarded   department                        with a counter each
//! ```

use std::net::IpAddr;

use super::local::Local;
use super::table::{Field, Key, Shape, Table, Twice, Value, address_type, text};
use super::{ALIVE_SECONDS, CompileError, Devices, RANGE_LIMIT, marks, segment_device};
use crate::bundle::{Agreement, Department, Match, Policy, Role, Rule, Segment};
use crate::net::{Family, Prefix, Protocol};

/// The set that closes what a gateway that died left open.
pub(super) const ALIVE: &str = "s_alive";

pub(super) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The set's name with its family's digit.
pub(super) fn per(family: Family, name: &str) -> String {
    format!("{name}{}", if family == Family::V4 { 4 } else { 6 })
}

/// Declares and fills every set.
pub(super) fn fill(table: &mut Table, policy: &Policy, devices: &Devices, local: &Local) -> Result<(), CompileError> {
    declare(table, policy.role);
    table.insert(ALIVE, [Field::device(&devices.tunnel)], Value::For(ALIVE_SECONDS));
    add_address(table, policy.address);
    add_prefix(table, "s_own", Prefix::host(policy.address), Value::Member);
    for &prefix in &policy.allotted {
        add_prefix(table, "s_allotted", prefix, Value::Member);
    }
    for department in &policy.departments {
        add_department(table, department)?;
    }
    for agreement in policy.agreements.iter().filter(|agreement| is_tracked(agreement, policy, local)) {
        table.insert("s_agreement", [Field::Mark(agreement.number)], Value::Member);
    }
    for rule in &policy.rules {
        if let Some(destination) = local.destination(rule) {
            add_rule(table, &Rule { destination, ..*rule })?;
            continue;
        }
        add_rule(table, rule)?;
        if policy.role == Role::Relay {
            let key = [Field::Mark(department(rule.department)?), Field::Address(rule.destination)];
            table.insert(&per(Family::of(rule.destination), "s_peer"), key, Value::Member);
        }
    }
    table.sort().map_err(|Twice { set, key }| CompileError::Twice { set, key: text(&key) })?;
    check_prefixes(table)?;
    FAMILIES.iter().try_for_each(|&family| check_ranges(table, family))
}

/// Whether its flows are tracked here: at a relay only those that begin or end there, and others have no mark.
fn is_tracked(agreement: &Agreement, policy: &Policy, local: &Local) -> bool {
    let provider = || {
        let at = policy.services.binary_search_by_key(&agreement.service, |service| service.number).ok()?;
        policy.services.get(at).map(|service| service.department)
    };
    policy.role == Role::Edge
        || agreement.from.iter().any(|department| local.has(*department))
        || provider().is_none_or(|department| local.has(department))
}

fn declare(table: &mut Table, role: Role) {
    table.declare(ALIVE, Shape::set(&["ifname"]).expiring());
    table.declare("s_segment", Shape::set(&["ifname"]));
    table.declare("s_port", Shape::set(&["ifname", "mark"]));
    table.declare("s_agreement", Shape::set(&["mark"]));
    table.declare("s_denied", Shape::set(&["mark"]).counting());
    table.declare("s_guarded", Shape::set(&["mark"]).counting());
    for family in FAMILIES {
        declare_family(table, role, family);
    }
}

fn declare_family(table: &mut Table, role: Role, family: Family) {
    let address = address_type(family);
    let kind = if family == Family::V4 { "icmp_type" } else { "icmpv6_type" };
    for name in ["m_real", "m_department"] {
        table.declare(per(family, name), Shape::map(&[address]).of_intervals());
    }
    for name in ["s_own", "s_allotted"] {
        table.declare(per(family, name), Shape::set(&[address]).of_intervals());
    }
    table.declare(per(family, "s_address"), Shape::set(&[address]));
    let port = Shape::map(&["mark", address, "inet_proto", "inet_service"]).counting();
    table.declare(per(family, "m_range"), port.clone().of_intervals());
    table.declare(per(family, "m_port"), port);
    for name in ["m_icmp", "m_echo"] {
        table.declare(per(family, name), Shape::map(&["mark", address, kind]).counting());
    }
    table.declare(per(family, "m_protocol"), Shape::map(&["mark", address, "inet_proto"]).counting());
    table.declare(per(family, "m_any"), Shape::map(&["mark", address]).counting());
    if role == Role::Relay {
        table.declare(per(family, "s_peer"), Shape::set(&["mark", address]));
    }
}

fn department(number: u32) -> Result<u32, CompileError> {
    marks::department(number).ok_or(CompileError::DepartmentNumber(number))
}

fn add_address(table: &mut Table, address: IpAddr) {
    table.insert(&per(Family::of(address), "s_address"), [Field::Address(address)], Value::Member);
}

fn add_prefix(table: &mut Table, set: &str, prefix: Prefix, value: Value) {
    table.insert(&per(prefix.family(), set), [Field::Prefix(prefix)], value);
}

fn add_department(table: &mut Table, of: &Department) -> Result<(), CompileError> {
    let mark = department(of.number)?;
    for set in ["s_denied", "s_guarded"] {
        table.insert(set, [Field::Mark(mark)], Value::Member);
    }
    for &prefix in &of.overlay {
        add_prefix(table, "m_department", prefix, Value::Mark(mark));
    }
    let Some(segment) = &of.segment else { return Ok(()) };
    for &prefix in &of.overlay {
        add_prefix(table, "s_own", prefix, Value::Member);
    }
    add_segment(table, mark, segment)
}

fn add_segment(table: &mut Table, mark: u32, segment: &Segment) -> Result<(), CompileError> {
    let device = Field::device(&segment_device(segment));
    table.insert(ALIVE, [device], Value::For(ALIVE_SECONDS));
    table.insert("s_segment", [device], Value::Member);
    table.insert("s_port", [device, Field::Mark(mark)], Value::Member);
    for gateway in &segment.gateway {
        add_address(table, gateway.address());
    }
    for mapping in &segment.mappings {
        if mapping.real.family() != mapping.overlay.family() || mapping.real.length() != mapping.overlay.length() {
            return Err(CompileError::UnequalMapping(*mapping));
        }
        add_prefix(table, "m_real", mapping.real, Value::Mark(mark));
    }
    Ok(())
}

fn add_rule(table: &mut Table, rule: &Rule) -> Result<(), CompileError> {
    let family = Family::of(rule.destination);
    let (map, key) = element(rule)?;
    if let Match::Icmp { kind, .. } = rule.matching
        && let Some(answer) = answer(family, kind)
    {
        let mut echo = key.clone();
        echo.truncate(2);
        echo.push(Field::Number(answer.into()));
        table.insert(&per(family, "m_echo"), echo, Value::Mark(rule.agreement));
    }
    table.insert(&map, key, Value::Mark(rule.agreement));
    Ok(())
}

fn nonsense(rule: &Rule, why: &'static str) -> CompileError {
    CompileError::Rule { rule: Box::new(*rule), why }
}

/// The map in which a rule stands, and its key there.
pub(super) fn element(rule: &Rule) -> Result<(String, Key), CompileError> {
    let family = Family::of(rule.destination);
    let mark = Field::Mark(department(rule.department)?);
    if rule.agreement == 0 {
        return Err(nonsense(rule, "agreement number 0 means none"));
    }
    let (map, fields) = match rule.matching {
        Match::Port { protocol, port } if Protocol(protocol).has_ports() => {
            ("m_port", vec![Field::Number(protocol.into()), Field::Number(port)])
        }
        Match::Ports { protocol, first, last } if Protocol(protocol).has_ports() && first <= last => {
            ("m_range", vec![Field::Number(protocol.into()), Field::Range(first, last)])
        }
        Match::Port { .. } | Match::Ports { .. } => return Err(nonsense(rule, "no such ports")),
        Match::Icmp { protocol, kind } if Protocol(protocol) == icmp(family) => {
            ("m_icmp", vec![Field::Number(kind.into())])
        }
        Match::Icmp { .. } => return Err(nonsense(rule, "ICMP of the other family")),
        Match::Protocol { protocol } => ("m_protocol", vec![Field::Number(protocol.into())]),
        Match::Any => ("m_any", Vec::new()),
    };
    Ok((per(family, map), [mark, Field::Address(rule.destination)].into_iter().chain(fields).collect()))
}

fn icmp(family: Family) -> Protocol {
    match family {
        Family::V4 => Protocol::ICMP,
        Family::V6 => Protocol::ICMPV6,
    }
}

/// The message type that answers a query: RFC 792, RFC 950, RFC 4443.
pub(super) fn answer(family: Family, query: u8) -> Option<u8> {
    match (family, query) {
        (Family::V4, 8) => Some(0),
        (Family::V4, 13 | 15 | 17) => Some(query + 1),
        (Family::V6, 128) => Some(129),
        _ => None,
    }
}

/// Refuses prefixes that the kernel would refuse because they overlap. Neighbours tell, since a prefix sorts after whatever
/// covers it.
fn check_prefixes(table: &Table) -> Result<(), CompileError> {
    for (name, set) in &table.sets {
        for [(one, _), (other, _)] in set.elements.array_windows() {
            if let ([Field::Prefix(one), ..], [Field::Prefix(other), ..]) = (one.as_slice(), other.as_slice())
                && one.overlaps(*other)
            {
                return Err(CompileError::Overlap { set: name.clone(), one: *one, other: *other });
            }
        }
    }
    Ok(())
}

/// Refuses more ranges than the kernel survives, and ranges that the kernel would refuse because they overlap.
fn check_ranges(table: &Table, family: Family) -> Result<(), CompileError> {
    let Some(set) = table.sets.get(&per(family, "m_range")) else { return Ok(()) };
    if set.elements.len() > RANGE_LIMIT {
        return Err(CompileError::TooManyRanges { count: set.elements.len() });
    }
    for [(one, _), (other, _)] in set.elements.array_windows() {
        if let (Some((Field::Range(_, end), before)), Some((Field::Range(first, last), rest))) =
            (one.split_last(), other.split_last())
            && before == rest
            && first <= end
        {
            return Err(CompileError::OverlappingRanges { first: *first, last: *last });
        }
    }
    Ok(())
}
