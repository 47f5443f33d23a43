//! What the kernel's addresses, routes and rules should be, what they are, and the steps between: a pure diff.
//!
//! ```text
//!  desired: State ──┐
//!                   ├─▶ steps ─▶ [Step, Step, …]    empty when nothing drifted
//!  observed: Observed
//! ```
//!
//! What turnpike made carries its protocol number ([`PROTOCOL`]) in the kernel, so that only its own is ever
//! removed; what somebody else made exactly as desired is left alone and counts as there.

use std::collections::BTreeSet;

use crate::net::{Family, Interface, Prefix};

/// The routing protocol number with which the kernel stores what is ours (`rtm_protocol`, `FRA_PROTOCOL`,
/// `IFA_PROTO`): free in Linux' `rtnetlink.h` and in iproute2's `rt_protos`.
pub const PROTOCOL: u8 = 84;

/// The metric of all our routes: explicit, since IPv6 turns 0 into 1024.
pub const METRIC: u32 = 1;

/// Addresses, routes and rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Addresses on devices.
    pub addresses: BTreeSet<Address>,
    /// Routes.
    pub routes: BTreeSet<Route>,
    /// Routing rules.
    pub rules: BTreeSet<Rule>,
}

/// What the kernel has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Everything, whoever made it.
    pub all: State,
    /// The part that carries our protocol number.
    pub ours: State,
}

/// An address on a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The device's name.
    pub device: String,
    /// The address with the length of its subnet.
    pub address: Interface,
}

/// A route with [`METRIC`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The table, 254 for main.
    pub table: u32,
    /// The destination.
    pub prefix: Prefix,
    /// Where it leads.
    pub hop: Hop,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hop {
    /// Nowhere: the sender gets ICMP "unreachable".
    Unreachable,
    /// Back to the rules, as if this table had no route.
    Throw,
    /// Onto a device.
    Device(String),
    /// To a router on a device's link.
    Via {
        /// The device's name.
        device: String,
        /// The router.
        gateway: std::net::IpAddr,
    },
}

/// A routing rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// IPv4 or IPv6.
    pub family: Family,
    /// The lower, the sooner asked.
    pub priority: u32,
    /// Only packets that came in by this device.
    pub input: Option<String>,
    /// Only packets to this prefix.
    pub destination: Option<Prefix>,
    /// Only packets whose mark has `value` under `mask`.
    pub mark: Option<Mark>,
    /// What becomes of them.
    pub verdict: RuleVerdict,
}

/// A value under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The bits asked for.
    pub value: u32,
    /// The bits looked at.
    pub mask: u32,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleVerdict {
    /// Look up this table.
    Table(u32),
    /// Nowhere.
    Unreachable,
}

/// One change to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Put the address there.
    AddAddress(Address),
    /// Take our address away.
    RemoveAddress(Address),
    /// Put the route there; `replace` where one of ours to the same prefix stands already.
    PutRoute {
        /// The route.
        route: Route,
        /// Whether one of ours is to be replaced.
        replace: bool,
    },
    /// Take our route away.
    RemoveRoute(Route),
    /// Put the rule there.
    AddRule(Rule),
    /// Take our rule away.
    RemoveRule(Rule),
}

/// The steps from `observed` to `desired`, in an order that never opens a gap: what closes comes first, what a
/// route needs comes before it, and what goes away goes last.
pub fn steps(desired: &State, observed: &Observed) -> Vec<Step> {
    let missing_routes: Vec<&Route> = desired.routes.difference(&observed.all.routes).collect();
    let (closing, leading): (Vec<&Route>, Vec<&Route>) =
        missing_routes.into_iter().partition(|route| matches!(route.hop, Hop::Unreachable | Hop::Throw));
    let put = |route: &Route| Step::PutRoute { route: route.clone(), replace: has_same_key(&observed.ours, route) };
    let mut steps: Vec<Step> = closing.into_iter().map(put).collect();
    steps.extend(desired.rules.difference(&observed.all.rules).cloned().map(Step::AddRule));
    steps.extend(desired.addresses.difference(&observed.all.addresses).cloned().map(Step::AddAddress));
    steps.extend(leading.into_iter().map(put));
    let superfluous = observed.ours.routes.difference(&desired.routes);
    // A route that a `PutRoute` replaced is gone already.
    steps.extend(superfluous.filter(|route| !has_same_key(desired, route)).cloned().map(Step::RemoveRoute));
    steps.extend(observed.ours.addresses.difference(&desired.addresses).cloned().map(Step::RemoveAddress));
    steps.extend(observed.ours.rules.difference(&desired.rules).cloned().map(Step::RemoveRule));
    steps
}

fn has_same_key(state: &State, route: &Route) -> bool {
    state.routes.iter().any(|other| other.table == route.table && other.prefix == route.prefix)
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AddAddress(Address { device, address }) => write!(f, "add address {address} on {device}"),
            Self::RemoveAddress(Address { device, address }) => write!(f, "remove address {address} from {device}"),
            Self::PutRoute { route, replace: false } => write!(f, "add route {route}"),
            Self::PutRoute { route, replace: true } => write!(f, "replace route {route}"),
            Self::RemoveRoute(route) => write!(f, "remove route {route}"),
            Self::AddRule(rule) => write!(f, "add rule {rule}"),
            Self::RemoveRule(rule) => write!(f, "remove rule {rule}"),
        }
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.hop {
            Hop::Unreachable => write!(f, "unreachable {} table {}", self.prefix, self.table),
            Hop::Throw => write!(f, "throw {} table {}", self.prefix, self.table),
            Hop::Device(device) => write!(f, "{} dev {device} table {}", self.prefix, self.table),
            Hop::Via { device, gateway } => {
                write!(f, "{} via {gateway} dev {device} table {}", self.prefix, self.table)
            }
        }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.priority)?;
        if let Some(device) = &self.input {
            write!(f, " iif {device}")?;
        }
        if let Some(prefix) = self.destination {
            write!(f, " to {prefix}")?;
        }
        if let Some(Mark { value, mask }) = self.mark {
            write!(f, " fwmark {value:#x}/{mask:#x}")?;
        }
        match self.verdict {
            RuleVerdict::Table(table) => write!(f, " lookup {table}")?,
            RuleVerdict::Unreachable => f.write_str(" unreachable")?,
        }
        match self.family {
            Family::V4 => Ok(()),
            Family::V6 => f.write_str(" (IPv6)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(device: &str, text: &str) -> Address {
        Address { device: device.into(), address: text.parse().expect("an address") }
    }

    fn route(prefix: &str, hop: Hop) -> Route {
        Route { table: 200, prefix: prefix.parse().expect("a prefix"), hop }
    }

    fn desired() -> State {
        State {
            addresses: [address("eth1", "192.168.1.1/24")].into(),
            routes: [
                route("100.64.0.0/10", Hop::Unreachable),
                route("100.70.0.0/24", Hop::Device("tun".into())),
                route("10.1.0.0/16", Hop::Via { device: "eth1".into(), gateway: [10, 255, 0, 2].into() }),
            ]
            .into(),
            rules: [Rule {
                family: Family::V4,
                priority: 1,
                input: None,
                destination: None,
                mark: Some(Mark { value: 1, mask: 1 }),
                verdict: RuleVerdict::Table(200),
            }]
            .into(),
        }
    }

    #[test]
    fn what_is_as_desired_needs_no_step_whoever_made_it() {
        let ours = Observed { all: desired(), ours: desired() };
        let theirs = Observed { all: desired(), ours: State::default() };
        assert_eq!(steps(&desired(), &ours), []);
        assert_eq!(steps(&desired(), &theirs), []);
    }

    #[test]
    fn what_closes_comes_before_what_leads_and_an_address_before_the_routes_that_need_it() {
        let kinds: Vec<String> = steps(&desired(), &Observed::default()).iter().map(ToString::to_string).collect();
        assert_eq!(
            kinds,
            [
                "add route unreachable 100.64.0.0/10 table 200",
                "add rule 1: fwmark 0x1/0x1 lookup 200",
                "add address 192.168.1.1/24 on eth1",
                "add route 10.1.0.0/16 via 10.255.0.2 dev eth1 table 200",
                "add route 100.70.0.0/24 dev tun table 200",
            ]
        );
    }

    #[test]
    fn only_what_is_ours_is_removed() {
        let mut all = desired();
        all.addresses.insert(address("eth1", "192.168.1.9/24"));
        all.routes.insert(route("10.9.0.0/16", Hop::Unreachable));
        let theirs = Observed { all: all.clone(), ours: State::default() };
        assert_eq!(steps(&desired(), &theirs), []);
        let ours = Observed { all: all.clone(), ours: all };
        assert_eq!(
            steps(&desired(), &ours),
            [
                Step::RemoveRoute(route("10.9.0.0/16", Hop::Unreachable)),
                Step::RemoveAddress(address("eth1", "192.168.1.9/24")),
            ]
        );
    }

    #[test]
    fn another_hop_to_the_same_prefix_is_one_replacement() {
        let mut kernel = desired();
        kernel.routes.remove(&route("100.70.0.0/24", Hop::Device("tun".into())));
        kernel.routes.insert(route("100.70.0.0/24", Hop::Unreachable));
        let observed = Observed { all: kernel.clone(), ours: kernel };
        let wanted = route("100.70.0.0/24", Hop::Device("tun".into()));
        assert_eq!(steps(&desired(), &observed), [Step::PutRoute { route: wanted, replace: true }]);
    }
}
