//! The chains by which a packet travels, and where each is called.
//!
//! ```text
//!  hook         priority
//!  prerouting     -300  c_raw      sources at segments; foreign devices carry no overlay; alive; at relays: notrack
//!  prerouting     -150  c_in       from the tunnel: POLICY                              (after conntrack at -200)
//!  prerouting     -100  c_dnat     from tunnel and segments: mapping overlay → real
//!  forward           0  c_forward  segment ↔ tunnel, and at relays tunnel ↔ tunnel; TCP segment size;
//!                                  segment ↔ segment: POLICY
//!  postrouting     100  c_snat     to the tunnel: mapping real → overlay
//!  postrouting     110  c_out      to the tunnel: POLICY; elsewhere: no overlay
//!  input, output     0  c_input, c_output   only what concerns the tunnel or a segment
//! ```
//!
//! The policy itself is in `judge`. Fragments are put together before all of it (nf_defrag, priority -400, which
//! the table's use of connection tracking turns on, also at relays) and taken apart again after it.

use nftables::expr::{Expression, FibFlag, FibResult};
use nftables::types::{NfChainType, NfHook};

use super::elements::{FAMILIES, per};
use super::judge::Ground;
use super::statement::{
    Netmap, Own, Rule, Side, Stmt, accept, address, any_of, clamp, concat, fib, field, goto, icmp, iif, is, limit,
    lookup, mark, marked, negotiates_tcp, notrack, number, of, oif, outside, prefix, set_mark, state, text, tracked,
    within,
};
use super::table::Table;
use super::tell::{self, refuse};
use super::{Devices, METRICS_PORT, Reason, judge, marks};
use crate::bundle::{Policy, Role};
use crate::net::{Family, Prefix};

const RAW: i32 = -300;
const POLICY_IN: i32 = -150;
const DESTINATION_NAT: i32 = -100;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;
const POLICY_OUT: i32 = 110;

/// New connections to the management address, and echo requests to any of our addresses, per second.
const MANAGEMENT_RATE: u32 = 50;

/// What the chains need to know beside what stands in sets.
pub(super) struct Place<'a> {
    pub(super) policy: &'a Policy,
    pub(super) devices: &'a Devices,
}

/// Adds all chains and the counters that they count by.
pub(super) fn add(table: &mut Table, place: &Place) {
    table.counters.extend(Reason::ALL.iter().map(|reason| reason.counter()));
    let (filter, nat) = (NfChainType::Filter, NfChainType::NAT);
    table.base("c_raw", filter, NfHook::Prerouting, RAW, place.raw());
    table.chain("c_raw_tunnel", place.raw_tunnel());
    table.chain("c_raw_segment", raw_segment());
    table.base("c_in", filter, NfHook::Prerouting, POLICY_IN, vec![vec![place.comes_by_tunnel(), goto("c_in_tunnel")]]);
    table.chain("c_in_tunnel", place.in_tunnel());
    table.base("c_dnat", nat, NfHook::Prerouting, DESTINATION_NAT, place.mapping(Side::Destination));
    table.chain("c_local", local());
    table.base("c_forward", filter, NfHook::Forward, FILTER, place.forward());
    table.base("c_snat", nat, NfHook::Postrouting, SOURCE_NAT, place.mapping(Side::Source));
    table.base("c_out", filter, NfHook::Postrouting, POLICY_OUT, place.out());
    table.chain("c_out_tunnel", place.out_tunnel());
    for family in FAMILIES {
        table.chain(per(family, "c_out_segment"), out_segment(family));
    }
    table.base("c_input", filter, NfHook::Input, FILTER, place.input());
    table.chain("c_input_tunnel", place.input_tunnel());
    table.chain("c_input_segment", input_segment());
    table.base("c_output", filter, NfHook::Output, FILTER, place.output());
    table.chain("c_output_tunnel", place.output_tunnel());
    table.chain("c_output_segment", output_segment());
    judge::add(table, place.policy.role);
    tell::add(table);
}

fn refuse_if(condition: impl IntoIterator<Item = Stmt>, reason: Reason) -> Rule {
    condition.into_iter().chain(refuse(reason)).collect()
}

impl Place<'_> {
    fn relays(&self) -> bool {
        self.policy.role == Role::Relay
    }

    fn tunnel(&self) -> nftables::expr::Expression<'static> {
        text(self.devices.tunnel.clone())
    }

    pub(super) fn comes_by_tunnel(&self) -> Stmt {
        is(iif(), self.tunnel())
    }

    fn leaves_by_tunnel(&self) -> Stmt {
        is(oif(), self.tunnel())
    }

    /// Whether the address is our management address.
    fn ours(&self, side: Side) -> Stmt {
        let address_of = self.policy.address;
        is(address(Family::of(address_of), side), prefix(Prefix::host(address_of)))
    }

    fn in_management(&self, side: Side) -> Stmt {
        let management = self.policy.management;
        is(address(management.family(), side), prefix(management))
    }

    fn raw(&self) -> Vec<Rule> {
        let mut rules = vec![
            vec![self.comes_by_tunnel(), goto("c_raw_tunnel")],
            vec![within(iif(), "s_segment"), goto("c_raw_segment")],
            vec![is(iif(), text("lo")), accept()],
        ];
        for family in FAMILIES {
            let (source, destination) = (address(family, Side::Source), address(family, Side::Destination));
            rules.push(refuse_if([within(source, &per(family, "s_allotted"))], Reason::Foreign));
            rules.push(refuse_if([within(destination.clone(), &per(family, "s_allotted"))], Reason::Foreign));
            rules.push(refuse_if([within(destination, &per(family, "s_address"))], Reason::Foreign));
        }
        rules
    }

    fn raw_tunnel(&self) -> Vec<Rule> {
        let mut rules = vec![refuse_if([outside(iif(), "s_alive")], Reason::NotAlive), vec![set_mark(number(0u8))]];
        for family in FAMILIES {
            rules.push(refuse_if([within(address(family, Side::Source), &per(family, "s_own"))], Reason::Spoofed));
        }
        if self.relays() {
            for family in FAMILIES {
                rules.push(vec![outside(address(family, Side::Destination), &per(family, "s_own")), notrack()]);
            }
        }
        rules
    }

    fn in_tunnel(&self) -> Vec<Rule> {
        let mut rules = vec![vec![self.ours(Side::Destination), accept()]];
        if self.relays() {
            rules.push(vec![state("untracked"), goto("c_transit")]);
        }
        rules.push(vec![goto("c_policy")]);
        rules
    }

    /// The mapping of one family per rule; none where real and overlay prefixes are equal.
    fn mapping(&self, side: Side) -> Vec<Rule> {
        FAMILIES.iter().flat_map(|&family| self.mapping_of(family, side)).collect()
    }

    fn mapping_of(&self, family: Family, side: Side) -> Vec<Rule> {
        let segments = self.policy.departments.iter().filter_map(|department| department.segment.as_ref());
        let mut pairs: Vec<(Prefix, Prefix)> = segments
            .flat_map(|segment| &segment.mappings)
            .filter(|mapping| mapping.real.family() == family && mapping.real != mapping.overlay)
            .map(|mapping| match side {
                Side::Source => (mapping.real, mapping.overlay),
                Side::Destination => (mapping.overlay, mapping.real),
            })
            .collect();
        pairs.sort_unstable();
        if pairs.is_empty() {
            return Vec::new();
        }
        let netmap = Netmap::new(family, side, &pairs);
        match side {
            Side::Source => vec![vec![self.leaves_by_tunnel(), Stmt::Own(Own::Snat(netmap))]],
            Side::Destination => [self.comes_by_tunnel(), within(iif(), "s_segment")]
                .map(|comes| vec![comes, Stmt::Own(Own::Dnat(netmap.clone()))])
                .into(),
        }
    }

    fn forward(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (family, headers) in [(Family::V4, 40), (Family::V6, 60)] {
            let segment = self.devices.mtu.saturating_sub(headers);
            for crosses in [self.comes_by_tunnel(), self.leaves_by_tunnel()] {
                rules.push(vec![crosses, of(family), negotiates_tcp(), clamp(segment)]);
            }
        }
        let gate = marked(marks::GATE);
        let mut inward = vec![self.comes_by_tunnel(), within(oif(), "s_segment"), gate.clone()];
        if self.relays() {
            inward.push(tracked());
            rules.push(vec![
                self.comes_by_tunnel(),
                self.leaves_by_tunnel(),
                gate.clone(),
                state("untracked"),
                accept(),
            ]);
        }
        inward.push(accept());
        rules.push(inward);
        rules.push(vec![within(iif(), "s_segment"), self.leaves_by_tunnel(), gate.clone(), accept()]);
        rules.push(vec![within(iif(), "s_segment"), within(oif(), "s_segment"), gate, goto("c_local")]);
        let ends =
            [self.comes_by_tunnel(), self.leaves_by_tunnel(), within(iif(), "s_segment"), within(oif(), "s_segment")];
        rules.extend(ends.map(|end| refuse_if([end], Reason::NotForwarded)));
        rules
    }

    fn out(&self) -> Vec<Rule> {
        let mut rules = vec![vec![self.leaves_by_tunnel(), goto("c_out_tunnel")]];
        for family in FAMILIES {
            rules.push(vec![within(oif(), "s_segment"), of(family), goto(per(family, "c_out_segment"))]);
        }
        rules.push(vec![is(oif(), text("lo")), accept()]);
        for family in FAMILIES {
            for side in [Side::Source, Side::Destination] {
                rules.push(refuse_if([within(address(family, side), &per(family, "s_allotted"))], Reason::Leak));
            }
        }
        rules
    }

    fn out_tunnel(&self) -> Vec<Rule> {
        let mut rules =
            vec![refuse_if([outside(oif(), "s_alive")], Reason::NotAlive), vec![self.ours(Side::Source), accept()]];
        if self.relays() {
            rules.push(vec![self.comes_by_tunnel(), state("untracked"), accept()]);
        }
        rules.push(vec![goto("c_policy")]);
        rules
    }

    fn input(&self) -> Vec<Rule> {
        vec![
            vec![self.comes_by_tunnel(), goto("c_input_tunnel")],
            vec![within(iif(), "s_segment"), goto("c_input_segment")],
        ]
    }

    /// To the management address, from management addresses: metrics and echo requests.
    fn input_tunnel(&self) -> Vec<Rule> {
        let family = Family::of(self.policy.address);
        let mut rules = vec![judge::error(family, [self.ours(Side::Destination), accept()])];
        let between = || [self.in_management(Side::Source), self.ours(Side::Destination)];
        let with = |more: Vec<Stmt>| between().into_iter().chain(more).chain([accept()]).collect::<Rule>();
        rules.push(with(vec![state("established")]));
        rules.push(with(vec![is(field("tcp", "dport"), number(METRICS_PORT)), limit(MANAGEMENT_RATE)]));
        rules.push(with(vec![echo_request(family), limit(MANAGEMENT_RATE)]));
        rules.push(refuse(Reason::Input).to_vec());
        rules
    }

    fn output(&self) -> Vec<Rule> {
        vec![
            vec![self.leaves_by_tunnel(), goto("c_output_tunnel")],
            vec![within(oif(), "s_segment"), goto("c_output_segment")],
        ]
    }

    fn output_tunnel(&self) -> Vec<Rule> {
        let between = || [self.ours(Side::Source), self.in_management(Side::Destination)];
        let with = |more: Vec<Stmt>| between().into_iter().chain(more).chain([accept()]).collect::<Rule>();
        let family = Family::of(self.policy.address);
        let mut rules = vec![judge::error(family, [self.ours(Side::Source), accept()])];
        rules.push(with(vec![state("established")]));
        rules.push(with(vec![is(field("tcp", "dport"), number(METRICS_PORT))]));
        rules.push(with(vec![echo_request(family)]));
        rules.push(refuse(Reason::Output).to_vec());
        rules
    }
}

/// Between segments. A source that does not belong where it came from has no gate mark and never gets here.
fn local() -> Vec<Rule> {
    vec![refuse_if([outside(iif(), "s_alive")], Reason::NotAlive), vec![goto(Ground::Local.chain("policy"))]]
}

fn echo_request(family: Family) -> Stmt {
    is(field(icmp(family), "type"), text("echo-request"))
}

/// Only a department's real addresses, at its own segment; to ourselves anything, which `c_input` judges.
fn raw_segment() -> Vec<Rule> {
    let stands_here = || within(concat([iif(), mark()]), "s_port");
    let route_back = fib(FibResult::Oif, [FibFlag::Saddr, FibFlag::Iif]);
    let mut rules = vec![vec![set_mark(number(0u8))]];
    for family in FAMILIES {
        rules.push(vec![set_mark(lookup(address(family, Side::Source), &per(family, "m_real")))]);
    }
    rules.push(refuse_if([stands_here(), is(route_back, Expression::Boolean(false))], Reason::Spoofed));
    rules.push(vec![stands_here(), set_mark(number(marks::GATE)), accept()]);
    rules.push(vec![set_mark(number(0u8))]);
    let near = ["local", "broadcast", "multicast", "anycast"].map(text);
    rules.push(vec![is(fib(FibResult::Type, [FibFlag::Daddr]), any_of(near)), accept()]);
    rules.push(refuse(Reason::Spoofed).to_vec());
    rules
}

/// An overlay address leaves by a segment only where it is a real address there.
fn out_segment(family: Family) -> Vec<Rule> {
    let destination = || address(family, Side::Destination);
    vec![
        vec![outside(destination(), &per(family, "s_allotted")), accept()],
        vec![set_mark(number(0u8))],
        vec![set_mark(lookup(destination(), &per(family, "m_real")))],
        vec![within(concat([oif(), mark()]), "s_port"), set_mark(number(0u8)), accept()],
        refuse(Reason::Leak).to_vec(),
    ]
}

/// Echo requests to our address, neighbour discovery (RFC 4861: hop limit 255), and answers to what we asked.
fn input_segment() -> Vec<Rule> {
    let mut rules = vec![vec![state("established"), accept()]];
    for family in FAMILIES {
        let echo = echo_request(family);
        rules.push(vec![
            echo,
            within(address(family, Side::Destination), &per(family, "s_address")),
            limit(MANAGEMENT_RATE),
            accept(),
        ]);
    }
    let neighbours = any_of(["nd-neighbor-solicit", "nd-neighbor-advert"].map(text));
    rules.push(vec![is(field("icmpv6", "type"), neighbours), is(field("ip6", "hoplimit"), number(255u8)), accept()]);
    rules.extend(judge::errors([accept()]));
    rules.push(refuse(Reason::Input).to_vec());
    rules
}

/// Echo, ICMP errors and neighbour discovery, and answers to what was let in.
fn output_segment() -> Vec<Rule> {
    let v4 = ["echo-request", "echo-reply", "destination-unreachable", "time-exceeded", "parameter-problem"];
    let v6 = ["destination-unreachable", "packet-too-big", "time-exceeded", "parameter-problem"];
    let neighbours = ["echo-request", "echo-reply", "nd-neighbor-solicit", "nd-neighbor-advert"];
    vec![
        vec![state("established"), accept()],
        vec![is(field("icmp", "type"), any_of(v4.map(text))), accept()],
        vec![is(field("icmpv6", "type"), any_of(v6.into_iter().chain(neighbours).map(text))), accept()],
        refuse(Reason::Output).to_vec(),
    ]
}
