//! A plan, held against itself: names stand once, references lead somewhere, routes are built.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use crate::dataplane::{LinkId, Plan, SiteId, SocketId};
use crate::identity::PublicKey;
use crate::net::Prefix;
use crate::tunnel::{Routes, Shard, SiteSlot};

/// How a plan contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A socket's name stands twice.
    #[error("socket {} stands twice", .0.0)]
    SocketTwice(SocketId),
    /// A site's name stands twice.
    #[error("site {} stands twice", .0.0)]
    SiteTwice(SiteId),
    /// A link's name stands twice.
    #[error("link {} stands twice", .0.0)]
    LinkTwice(LinkId),
    /// Two links on one socket have one public key.
    #[error("the peer {0} stands twice on one socket")]
    PeerTwice(PublicKey),
    /// A prefix stands twice.
    #[error("the prefix {0} stands twice")]
    PrefixTwice(Prefix),
    /// A link names a socket that is not there.
    #[error("socket {} is missing", .0.0)]
    SocketMissing(SocketId),
    /// A site names a link that is not there.
    #[error("link {} is missing", .0.0)]
    LinkMissing(LinkId),
    /// A route names a site that is not there.
    #[error("site {} is missing", .0.0)]
    SiteMissing(SiteId),
    /// More links than a worker holds.
    #[error("{0} links are more than a worker holds")]
    TooManyLinks(usize),
}

/// A plan that agrees with itself, with its routes built.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) plan: Plan,
    pub(super) routes: Arc<Routes>,
}

impl Change {
    /// Checks and builds: in the caller's thread, so that the worker does not stop for it.
    pub(super) fn new(plan: Plan) -> Result<Self, PlanError> {
        let sockets = once(plan.sockets.iter().map(|socket| socket.id)).map_err(PlanError::SocketTwice)?;
        let links = once(plan.links.iter().map(|link| link.id)).map_err(PlanError::LinkTwice)?;
        once(plan.sites.iter().map(|site| site.id)).map_err(PlanError::SiteTwice)?;
        once(plan.links.iter().map(|link| (link.socket, link.key))).map_err(|(_, key)| PlanError::PeerTwice(key))?;
        if !Shard::holds(plan.links.len()) {
            return Err(PlanError::TooManyLinks(plan.links.len()));
        }
        if let Some(link) = plan.links.iter().find(|link| !sockets.contains(&link.socket)) {
            return Err(PlanError::SocketMissing(link.socket));
        }
        let mut named = plan.sites.iter().flat_map(|site| site.links.iter().chain(&site.also_from));
        if let Some(link) = named.find(|link| !links.contains(link)) {
            return Err(PlanError::LinkMissing(*link));
        }
        let routes = Arc::new(routes(&plan)?);
        Ok(Self { plan, routes })
    }
}

fn routes(plan: &Plan) -> Result<Routes, PlanError> {
    let slots: HashMap<SiteId, SiteSlot> =
        plan.sites.iter().enumerate().map(|(slot, site)| (site.id, SiteSlot(slot))).collect();
    let mut entries = Vec::with_capacity(plan.routes.len());
    for (prefix, site) in &plan.routes {
        entries.push((*prefix, *slots.get(site).ok_or(PlanError::SiteMissing(*site))?));
    }
    Routes::build(entries).map_err(PlanError::PrefixTwice)
}

/// The set of what stands once; else what stands twice.
fn once<T: Copy + Eq + Hash>(items: impl Iterator<Item = T>) -> Result<HashSet<T>, T> {
    let mut seen = HashSet::new();
    for item in items {
        if !seen.insert(item) {
            return Err(item);
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::{LinkPlan, SitePlan, SocketPlan};

    fn plan() -> Plan {
        Plan {
            sockets: vec![SocketPlan { id: SocketId(1), key: None, port: 0, device: None }],
            sites: vec![SitePlan { id: SiteId(5), links: vec![LinkId(1)], also_from: vec![LinkId(2)] }],
            links: [1, 2].map(LinkPlan::sample).into(),
            routes: vec![("10.0.0.0/8".parse().expect("a prefix"), SiteId(5))],
            mark: 0,
        }
    }

    #[test]
    fn each_contradiction_is_named() {
        let with = |edit: fn(&mut Plan)| {
            let mut plan = plan();
            edit(&mut plan);
            Change::new(plan).err()
        };
        let prefix = plan().routes[0].0;
        assert_eq!(with(|_| {}), None);
        assert_eq!(with(|p| p.sockets.extend(plan().sockets)), Some(PlanError::SocketTwice(SocketId(1))));
        assert_eq!(with(|p| p.sites.extend(plan().sites)), Some(PlanError::SiteTwice(SiteId(5))));
        assert_eq!(with(|p| p.links[1].id = LinkId(1)), Some(PlanError::LinkTwice(LinkId(1))));
        assert_eq!(with(|p| p.links[1].key = p.links[0].key), Some(PlanError::PeerTwice(plan().links[0].key)));
        assert_eq!(with(|p| p.routes.extend(plan().routes)), Some(PlanError::PrefixTwice(prefix)));
        assert_eq!(with(|p| p.sockets.clear()), Some(PlanError::SocketMissing(SocketId(1))));
        assert_eq!(with(|p| p.links.truncate(1)), Some(PlanError::LinkMissing(LinkId(2))));
        assert_eq!(with(|p| p.routes[0].1 = SiteId(6)), Some(PlanError::SiteMissing(SiteId(6))));
    }
}
