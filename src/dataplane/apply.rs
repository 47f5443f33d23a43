//! A plan becomes the worker's state: sockets first, since they alone can fail, then links, then routes.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::dataplane::check::Change;
use crate::dataplane::offload::Offload;
use crate::dataplane::worker::Worker;
use crate::dataplane::{ApplyError, LinkId, LinkPlan, LinkSnapshot, Plan, Receipt, Snapshot, SocketId, SocketSnapshot};
use crate::identity::PrivateKey;
use crate::tunnel::{Identity, LinkConfig, LinkSlot, Manner, Moment, Site};

/// The plan as it was applied, and where its parts are.
#[derive(Debug, Default)]
pub(super) struct State {
    keys: HashMap<SocketId, (PrivateKey, Arc<Identity>)>,
    links: BTreeMap<LinkId, Placed>,
}

/// A link of the plan.
#[derive(Debug)]
struct Placed {
    plan: LinkPlan,
    /// `None` while its socket has no key.
    slot: Option<LinkSlot>,
}

impl Worker {
    /// Brings about the change, or leaves everything as it was.
    pub(super) fn apply(&mut self, change: Change, moment: Moment) -> Result<Receipt, ApplyError> {
        let Change { plan, routes } = change;
        let freed = self.sockets.apply(&plan, &self.epoll)?;
        if !self.sockets.has_gro() && self.offloads.miss(Offload::UdpGro) {
            tracing::info!(offload = Offload::UdpGro.label(), "the kernel does not have this offload");
        }
        for slot in freed {
            self.shard.set_identity(slot, None);
        }
        let mut receipt = Receipt::default();
        let rekeyed = self.apply_keys(&plan);
        self.remove_links(&plan, &mut receipt);
        for link in &plan.links {
            self.apply_link(link, rekeyed.contains(&link.socket), moment, &mut receipt);
        }
        let sites = plan.sites.iter().map(|site| Site {
            links: self.slots(&site.links),
            senders: self.slots(&site.links).into_iter().chain(self.slots(&site.also_from)).collect(),
        });
        let sites = sites.collect();
        self.shard.set_routes(routes, sites);
        Ok(receipt)
    }

    /// What is, now.
    pub(super) fn observe(&self, moment: Moment) -> Snapshot {
        Snapshot {
            sockets: self
                .sockets
                .iter()
                .map(|(_, open)| SocketSnapshot { id: open.id, port: open.udp.port() })
                .collect(),
            links: self.state.links.iter().map(|(id, placed)| self.observe_link(*id, placed, moment)).collect(),
            drops: self.shard.drops().iter().map(|(reason, number)| (reason.label(), number)).collect(),
            offloads: self.offloads.iter().collect(),
        }
    }

    fn observe_link(&self, id: LinkId, placed: &Placed, moment: Moment) -> LinkSnapshot {
        let link = placed.slot.and_then(|slot| self.shard.link(slot));
        let stats = link.map(|link| link.stats()).unwrap_or_default();
        let configured = placed.plan.endpoint.map(|endpoint| endpoint.address);
        LinkSnapshot {
            id,
            endpoint: link.map_or(configured, |link| link.path().map(|path| path.to)),
            last_handshake: stats.last_handshake,
            handshake_rtt: link.and_then(|link| link.handshake_rtt()),
            alive: link.is_some_and(|link| link.is_alive(moment.now)),
            received_bytes: stats.received_bytes,
            sent_bytes: stats.sent_bytes,
            received_packets: stats.received_packets,
            sent_packets: stats.sent_packets,
            handshakes: stats.handshakes,
            endpoint_changes: stats.endpoint_changes,
            estimated_loss: link.map_or(0.0, |link| link.estimated_loss()),
            trains: self.offloads.is_on(Offload::UdpGso) && link.is_none_or(|link| link.takes_trains(moment.now)),
        }
    }

    /// Gives every socket its key pair; the sockets whose key pair is another than before.
    fn apply_keys(&mut self, plan: &Plan) -> Vec<SocketId> {
        let mut former = std::mem::take(&mut self.state.keys);
        let mut rekeyed = Vec::new();
        for socket in &plan.sockets {
            let Some(slot) = self.sockets.slot(socket.id) else { continue };
            let kept = former.remove(&socket.id).filter(|(key, _)| Some(key) == socket.key.as_ref());
            if kept.is_none() {
                rekeyed.push(socket.id);
            }
            let made = || socket.key.clone().map(|key| (key.clone(), Arc::new(Identity::new(&key))));
            let entry = kept.or_else(made);
            self.shard.set_identity(slot, entry.as_ref().map(|(_, identity)| Arc::clone(identity)));
            self.state.keys.extend(entry.map(|entry| (socket.id, entry)));
        }
        rekeyed
    }

    /// Removes links that are gone, and those that come back as another peer: before any is added, so that a key
    /// can move from one link to another.
    fn remove_links(&mut self, plan: &Plan, receipt: &mut Receipt) {
        let wanted: HashMap<LinkId, &LinkPlan> = plan.links.iter().map(|link| (link.id, link)).collect();
        let mut gone = Vec::new();
        for (id, placed) in &mut self.state.links {
            match wanted.get(id) {
                None => gone.push(*id),
                Some(link) if link.key == placed.plan.key && link.socket == placed.plan.socket => continue,
                Some(_) => receipt.remade.push(*id),
            }
            if let Some(slot) = placed.slot.take() {
                self.shard.remove(slot);
            }
            placed.plan.endpoint = None;
        }
        for id in &gone {
            self.state.links.remove(id);
        }
        receipt.removed = gone;
    }

    fn apply_link(&mut self, link: &LinkPlan, rekeyed: bool, moment: Moment, receipt: &mut Receipt) {
        let identity = self.state.keys.get(&link.socket).map(|(_, identity)| Arc::clone(identity));
        let former = self.state.links.remove(&link.id);
        if former.is_none() {
            receipt.added.push(link.id);
        }
        let slot = match (former.as_ref().and_then(|placed| placed.slot), identity) {
            (Some(slot), Some(identity)) => {
                let former = former.as_ref().map(|placed| &placed.plan);
                self.change_link(slot, link, former, rekeyed.then_some(identity), moment, receipt);
                Some(slot)
            }
            (Some(slot), None) => {
                self.shard.remove(slot);
                receipt.remade.push(link.id);
                None
            }
            (None, Some(identity)) => self.add_link(link, identity, moment),
            (None, None) => None,
        };
        let address = |plan: &LinkPlan| plan.endpoint;
        let moved = former.as_ref().and_then(|placed| address(&placed.plan)) != link.endpoint;
        let fresh = former.is_none_or(|placed| placed.slot != slot);
        if let (Some(slot), Some(endpoint)) = (slot, link.endpoint)
            && (moved || fresh)
        {
            self.shard.place(slot, normal(endpoint.address));
        }
        self.state.links.insert(link.id, Placed { plan: link.clone(), slot });
    }

    fn add_link(&mut self, link: &LinkPlan, identity: Arc<Identity>, moment: Moment) -> Option<LinkSlot> {
        let config = LinkConfig {
            socket: self.sockets.slot(link.socket)?,
            identity,
            key: link.key,
            preshared: link.preshared.clone(),
            manner: manner(link),
        };
        // The number of links was checked with the plan.
        self.shard.add(config, moment.now).ok()
    }

    fn change_link(
        &mut self,
        slot: LinkSlot,
        link: &LinkPlan,
        former: Option<&LinkPlan>,
        identity: Option<Arc<Identity>>,
        moment: Moment,
        receipt: &mut Receipt,
    ) {
        self.shard.tune(slot, manner(link));
        let preshared = former.map(|former| &former.preshared) != Some(&link.preshared);
        if preshared {
            self.shard.renew(slot, link.preshared.clone(), moment, &mut self.out);
        }
        if let Some(identity) = &identity {
            self.shard.rekey(slot, Arc::clone(identity), moment, &mut self.out);
        }
        if preshared || identity.is_some() {
            receipt.remade.push(link.id);
        }
    }

    fn slots(&self, links: &[LinkId]) -> Vec<LinkSlot> {
        links.iter().filter_map(|id| self.state.links.get(id)?.slot).collect()
    }
}

fn manner(link: &LinkPlan) -> Manner {
    Manner { keepalive: link.keepalive, warm: link.warm, marking: link.marking, mtu: link.mtu }
}

/// An IPv4 address in IPv6's clothes is an IPv4 address: the sockets of the two families are separate.
fn normal(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
