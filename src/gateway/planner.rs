//! From a bundle to the data plane's plan: uplinks become sockets, peers links, places sites.
//!
//! On an edge every overlay prefix leads to "the relays", by whichever hub lives. On a hub it leads to a site;
//! other relays may speak for sites that are not their own, which `also_from` says.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bundle::{Bundle, Link, NextHop, Policy, Uplink};
use crate::dataplane::{Endpoint, LinkId, LinkPlan, Plan, SiteId, SitePlan, SocketId, SocketPlan};
use crate::identity::{Name, PrivateKey};

/// Where NAT stands between an edge and its hub, this keeps its mapping: RFC 4787 asks for at least 120 s of
/// patience, but home routers and LTE carriers have 30.
const KEEPALIVE: Duration = Duration::from_secs(25);

/// Makes plans; remembers which number it gave to which name, so that what stays keeps its session.
#[derive(Debug, Default)]
pub struct Planner {
    sockets: BTreeMap<Name, SocketId>,
    sites: BTreeMap<Option<Name>, SiteId>,
}

impl Planner {
    /// The plan for a bundle. A link without a private key for its uplink is left out; admission saw to that.
    pub fn plan(&mut self, bundle: &Bundle, policy: &Policy, keys: &BTreeMap<Name, PrivateKey>, mark: u32) -> Plan {
        let membership = &bundle.membership;
        let sockets: Vec<SocketPlan> = membership.uplinks.iter().map(|uplink| self.socket(uplink, keys)).collect();
        let links = membership.links.iter().map(|link| self.link(link, bundle.generation)).collect();
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
        Plan { sockets, sites: sites.into_values().collect(), links, routes, mark }
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

    fn link(&mut self, link: &Link, generation: u64) -> LinkPlan {
        let finds_peer = link.endpoints.first();
        LinkPlan {
            id: id(link),
            socket: self.socket_id(&link.uplink),
            key: link.key,
            preshared: None,
            endpoint: finds_peer.map(|&address| Endpoint { address, revision: generation }),
            keepalive: finds_peer.map(|_| KEEPALIVE),
            warm: true,
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
