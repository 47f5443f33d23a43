//! From a bundle to the data plane's plan: uplinks become sockets, peers links, places sites.
//!
//! On an edge every overlay prefix leads to "the relays", by whichever hub lives. On a hub it leads to a site;
//! other relays may speak for sites that are not their own, which `also_from` says.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bundle::{Link, Membership, NextHop, Policy, Uplink};
use crate::dataplane::{Endpoint, LinkId, LinkPlan, Plan, SiteId, SitePlan, SocketId, SocketPlan};
use crate::identity::{Name, PrivateKey};
use crate::tunnel::Marking;

/// Where NAT stands between an edge and its hub, this keeps its mapping: RFC 4787 asks for at least 120 s of
/// patience, but home routers and LTE carriers have 30.
const KEEPALIVE: Duration = Duration::from_secs(25);

/// Makes plans; remembers which number it gave to which name, so that what stays keeps its session.
#[derive(Debug, Default)]
pub struct Planner {
    sockets: BTreeMap<Name, SocketId>,
    sites: BTreeMap<Option<Name>, SiteId>,
    marking: Marking,
}

impl Planner {
    /// One whose links all mark their datagrams so.
    pub fn marking(marking: Marking) -> Self {
        Self { marking, ..Self::default() }
    }

    /// The plan for a bundle's sections. Another `revision` than before sends links back to their configured
    /// endpoints.
    pub fn plan(
        &mut self,
        membership: &Membership,
        policy: &Policy,
        keys: &BTreeMap<Name, PrivateKey>,
        revision: u64,
    ) -> Plan {
        let sockets: Vec<SocketPlan> = membership.uplinks.iter().map(|uplink| self.socket(uplink, keys)).collect();
        let links = membership.links.iter().map(|link| self.link(link, revision)).collect();
        let relays: Vec<LinkId> = membership.links.iter().filter(|link| link.relay).map(id).collect();
        let mut sites: BTreeMap<SiteId, SitePlan> = BTreeMap::new();
        let mut routes = Vec::new();
        for route in &policy.routes {
            let own: Vec<LinkId> = match &route.to {
                NextHop::Relays => relays.clone(),
                NextHop::Site(site) if *site == policy.site => continue,
                NextHop::Site(site) => membership.links.iter().filter(|link| link.site == *site).map(id).collect(),
            };
            let site = self.site(&route.to);
            let also_from = relays.iter().filter(|relay| !own.contains(relay)).copied().collect();
            sites.entry(site).or_insert(SitePlan { id: site, links: own, also_from });
            routes.push((route.prefix, site));
        }
        Plan { sockets, sites: sites.into_values().collect(), links, routes, mark: 0 }
    }

    /// The site's name, or `relays`.
    pub fn place(to: &NextHop) -> String {
        match to {
            NextHop::Relays => "relays".to_owned(),
            NextHop::Site(site) => site.to_string(),
        }
    }

    /// The socket of an uplink, if a plan had it.
    pub fn socket_of(&self, uplink: &Name) -> Option<SocketId> {
        self.sockets.get(uplink).copied()
    }

    fn socket(&mut self, uplink: &Uplink, keys: &BTreeMap<Name, PrivateKey>) -> SocketPlan {
        SocketPlan {
            id: self.socket_id(&uplink.name),
            key: keys.get(&uplink.name).cloned(),
            port: port(uplink),
            device: uplink.device.clone(),
        }
    }

    fn socket_id(&mut self, uplink: &Name) -> SocketId {
        let next = SocketId(u32::try_from(self.sockets.len()).unwrap_or(u32::MAX));
        *self.sockets.entry(uplink.clone()).or_insert(next)
    }

    fn site(&mut self, to: &NextHop) -> SiteId {
        let next = SiteId(u32::try_from(self.sites.len()).unwrap_or(u32::MAX));
        let key = match to {
            NextHop::Relays => None,
            NextHop::Site(site) => Some(site.clone()),
        };
        *self.sites.entry(key).or_insert(next)
    }

    fn link(&mut self, link: &Link, revision: u64) -> LinkPlan {
        let finds_peer = link.endpoints.first();
        LinkPlan {
            id: id(link),
            socket: self.socket_id(&link.uplink),
            key: link.key,
            preshared: None,
            endpoint: finds_peer.map(|&address| Endpoint { address, revision }),
            keepalive: finds_peer.map(|_| KEEPALIVE),
            warm: true,
            marking: self.marking,
            mtu: None,
        }
    }
}

fn id(link: &Link) -> LinkId {
    LinkId(link.number)
}

/// The UDP port that an uplink listens on: that of its first endpoint; 0 where peers do not look for it.
pub fn port(uplink: &Uplink) -> u16 {
    uplink.endpoints.first().map_or(0, std::net::SocketAddr::port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::sample;

    fn keys() -> BTreeMap<Name, PrivateKey> {
        [("fibre".parse().expect("a name"), PrivateKey::from_octets([7; 32]))].into()
    }

    #[test]
    fn on_an_edge_every_route_leads_to_the_relays_by_all_links_to_them() {
        let edge = sample::edge();
        let plan = Planner::default().plan(&edge.membership, &edge.policy, &keys(), 1);
        let relays: Vec<LinkId> = edge.membership.links.iter().filter(|link| link.relay).map(id).collect();
        assert_eq!(plan.sites.iter().map(|site| site.links.clone()).collect::<Vec<_>>(), [relays]);
        assert_eq!(plan.routes, [(edge.policy.routes[0].prefix, plan.sites[0].id)]);
        assert_eq!(plan.sockets[0].device.as_deref(), Some("eth0"));
        assert_eq!(plan.sockets[0].port, 0, "nobody looks for an edge");
    }

    #[test]
    fn what_stays_keeps_its_number_over_plans() {
        let mut edge = sample::edge();
        let mut planner = Planner::default();
        let first = planner.plan(&edge.membership, &edge.policy, &keys(), 1);
        let prefix = "100.70.35.0/24".parse().expect("a prefix");
        let to = NextHop::Site("york".parse().expect("a name"));
        edge.policy.routes.insert(0, crate::bundle::Route { prefix, to });
        let second = planner.plan(&edge.membership, &edge.policy, &keys(), 1);
        assert!(second.sites.contains(&first.sites[0]), "the relays are the same site as before");
        assert_eq!(second.sockets, first.sockets);
        assert_eq!(second.links, first.links);
    }

    #[test]
    fn a_relay_may_speak_for_a_site_that_is_not_its_own_and_our_own_site_has_no_route() {
        let mut edge = sample::edge();
        let (far, own) = ("york".parse().expect("a name"), edge.policy.site.clone());
        let route = |text: &str, site| crate::bundle::Route {
            prefix: text.parse().expect("a prefix"),
            to: NextHop::Site(site),
        };
        edge.policy.routes = vec![route("100.70.35.0/24", own), route("100.70.36.0/24", far)];
        let plan = Planner::default().plan(&edge.membership, &edge.policy, &keys(), 1);
        assert_eq!(plan.routes.len(), 1);
        assert_eq!(plan.sites[0].links, []);
        assert_eq!(plan.sites[0].also_from, edge.membership.links.iter().map(id).collect::<Vec<_>>());
    }
}
