//! What a gateway's addresses, routes and rules should be: "no mark, no route".
//!
//! ```text
//!  rule 2000   fwmark GATE/GATE            lookup 200      200: overlay prefixes → the tunnel
//!                                                          but `throw` what stands here: main knows its segment
//!  rule 2001   iif TUNNEL, mark not GATE   unreachable     else a connected route would win where overlay = real
//!              iif SEGMENT, mark not GATE  unreachable     else a connected route would lead to another segment
//!  rule 2002   iif lo to MANAGEMENT        lookup 200      our own packets have no mark when they are routed
//!  main        unreachable OVERLAY                         whatever lost its mark, or never had one
//!              REAL via the core switch                    where a department stands behind one
//! ```
//!
//! The mark is set by our nftables chains alone, so even `nft flush ruleset` closes.

use crate::bundle::{Department, NextHop, Policy, Segment};
use crate::net::{Family, Interface, Prefix};
use crate::reconcile::{Address, Hop, Mark, Route, Rule, RuleVerdict, State};
use crate::ruleset::marks::GATE;
use crate::ruleset::segment_device;
use crate::sys::netlink::MAIN_TABLE;

/// The table of overlay routes.
pub const TABLE: u32 = 200;

/// The priority of the rule that leads there; the next ones close the ways from tunnel and segments without a mark.
pub const PRIORITY: u32 = 2000;

/// The desired state for `policy`, with the tunnel's device `tunnel`, in the families that the kernel has.
pub fn desired(policy: &Policy, tunnel: &str, families: &[Family]) -> State {
    let mut state = State::default();
    for &family in families {
        state.rules.insert(marked(family));
        state.rules.insert(closed(family, tunnel));
        let segments = local(policy).map(|(_, segment)| segment_device(segment));
        state.rules.extend(segments.map(|device| closed(family, &device)));
    }
    state.rules.insert(Rule {
        family: policy.management.family(),
        priority: PRIORITY + 2,
        input: Some("lo".to_owned()),
        destination: Some(policy.management),
        mark: None,
        verdict: RuleVerdict::Table(TABLE),
    });
    let host = Prefix::host(policy.address);
    if let Ok(address) = Interface::new(host.address(), host.length()) {
        state.addresses.insert(Address { device: tunnel.to_owned(), address });
    }
    for &prefix in policy.overlay.iter().chain([&policy.management]) {
        state.routes.insert(Route { table: MAIN_TABLE, prefix, hop: Hop::Unreachable });
    }
    let away = policy.routes.iter().filter(|route| leads_away(&route.to, policy)).map(|route| route.prefix);
    for prefix in away.chain([policy.management]) {
        state.routes.insert(Route { table: TABLE, prefix, hop: Hop::Device(tunnel.to_owned()) });
    }
    for &prefix in local(policy).flat_map(|(department, _)| &department.overlay) {
        state.routes.insert(Route { table: TABLE, prefix, hop: Hop::Throw });
    }
    for segment in policy.departments.iter().filter_map(|department| department.segment.as_ref()) {
        add_segment(&mut state, segment);
    }
    state.routes.retain(|route| families.contains(&route.prefix.family()));
    state.rules.retain(|rule| families.contains(&rule.family));
    state.addresses.retain(|address| families.contains(&Family::of(address.address.address())));
    state
}

/// The departments that stand here, each with its segment.
pub fn local(policy: &Policy) -> impl Iterator<Item = (&Department, &Segment)> {
    policy.departments.iter().filter_map(|department| Some((department, department.segment.as_ref()?)))
}

fn leads_away(next: &NextHop, policy: &Policy) -> bool {
    match next {
        NextHop::Relays => true,
        NextHop::Site(site) => *site != policy.site,
    }
}

/// What has the mark may find the overlay.
fn marked(family: Family) -> Rule {
    Rule {
        family,
        priority: PRIORITY,
        input: None,
        destination: None,
        mark: Some(Mark { value: GATE, mask: GATE }),
        verdict: RuleVerdict::Table(TABLE),
    }
}

/// What comes by `device` without the mark goes nowhere.
fn closed(family: Family, device: &str) -> Rule {
    Rule {
        family,
        priority: PRIORITY + 1,
        input: Some(device.to_owned()),
        destination: None,
        mark: Some(Mark { value: 0, mask: GATE }),
        verdict: RuleVerdict::Unreachable,
    }
}

fn add_segment(state: &mut State, segment: &Segment) {
    let device = &segment_device(segment);
    for &address in &segment.gateway {
        state.addresses.insert(Address { device: device.clone(), address });
    }
    for mapping in &segment.mappings {
        let family = mapping.real.family();
        if let Some(&gateway) = segment.via.iter().find(|via| Family::of(**via) == family) {
            let hop = Hop::Via { device: device.clone(), gateway };
            state.routes.insert(Route { table: MAIN_TABLE, prefix: mapping.real, hop });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{Mapping, sample};

    const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The sample's edge with the department that stands there given a segment.
    fn policy(via: &[&str]) -> Policy {
        let mut policy = sample::edge().policy;
        let overlay = policy.departments[0].overlay[0];
        policy.departments[0].segment = Some(Segment {
            device: "eth1".into(),
            vlan: None,
            gateway: vec!["192.168.1.1/24".parse().expect("an address")],
            via: via.iter().map(|text| text.parse().expect("an address")).collect(),
            mappings: vec![Mapping { real: "192.168.1.0/24".parse().expect("a prefix"), overlay }],
        });
        policy
    }

    fn shown<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
        items.into_iter().map(|item| item.to_string()).collect()
    }

    #[test]
    fn without_the_mark_the_overlay_is_unreachable_and_with_it_the_tunnel_leads_there() {
        let state = desired(&policy(&[]), "tp0", &BOTH);
        let routes = shown(&state.routes);
        for route in [
            "100.64.0.0/10 dev tp0 table 200",
            "throw 100.70.35.0/24 table 200",
            "unreachable 100.64.0.0/10 table 254",
            "unreachable 100.127.0.0/16 table 254",
        ] {
            assert!(routes.iter().any(|found| found == route), "{route} is not in {routes:#?}");
        }
        let rules = shown(&state.rules);
        assert_eq!(
            rules,
            [
                "2000: fwmark 0x80000000/0x80000000 lookup 200",
                "2001: iif eth1 fwmark 0x0/0x80000000 unreachable",
                "2001: iif tp0 fwmark 0x0/0x80000000 unreachable",
                "2002: iif lo to 100.127.0.0/16 lookup 200",
                "2000: fwmark 0x80000000/0x80000000 lookup 200 (IPv6)",
                "2001: iif eth1 fwmark 0x0/0x80000000 unreachable (IPv6)",
                "2001: iif tp0 fwmark 0x0/0x80000000 unreachable (IPv6)",
            ]
        );
    }

    #[test]
    fn a_department_behind_a_core_switch_gets_a_route_and_one_on_the_link_none() {
        let via = |policy| {
            let state = desired(&policy, "tp0", &BOTH);
            shown(state.routes.iter().filter(|route| matches!(route.hop, Hop::Via { .. })))
        };
        assert_eq!(via(policy(&[])), [""; 0]);
        assert_eq!(via(policy(&["192.168.1.254"])), ["192.168.1.0/24 via 192.168.1.254 dev eth1 table 254"]);
    }

    #[test]
    fn a_kernel_without_ipv6_is_asked_for_none() {
        let state = desired(&policy(&[]), "tp0", &[Family::V4]);
        assert!(state.rules.iter().all(|rule| rule.family == Family::V4));
        assert!(state.routes.iter().all(|route| route.prefix.family() == Family::V4));
    }
}
