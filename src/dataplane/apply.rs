//! A plan becomes the workers' states: sockets first, since they alone can fail, then each worker's links, then routes.
//!
//! ```text
//!  Dataplane::apply      worker 0                  the others            worker 0
//!  check, homes, keys ─▶ prepare: all sockets ─▶ apply their parts ─▶ applies its part
//!                           │ fails: all is as it was
//! ```
//!
//! Worker 0 comes last, because it reads the TUN device: nothing is handed to a worker before that knows of it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::dataplane::check::Change;
use crate::dataplane::homes::Assignment;
use crate::dataplane::offload::Offload;
use crate::dataplane::sockets::Table;
use crate::dataplane::worker::Worker;
use crate::dataplane::{
    LinkId, LinkPlan, LinkSnapshot, Plan, Receipt, Snapshot, SocketId, SocketSnapshot, WorkerSnapshot,
};
use crate::identity::PrivateKey;
use crate::sys::udp::BindError;
use crate::tunnel::{Foreign, Homes, Identity, LinkConfig, LinkSlot, Manner, Moment, Site};

/// What all workers have in common under one plan, and what the next one begins with.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    homes: Assignment,
    keys: HashMap<SocketId, (PrivateKey, Arc<Identity>)>,
}

/// A plan that can no longer fail, for every worker to take its part of.
#[derive(Debug)]
pub(super) struct Ready {
    change: Arc<Change>,
    common: Common,
    table: Table,
    homes: Arc<Homes>,
}

/// A worker's part of the plan as it was applied, and where it is.
#[derive(Debug, Default)]
pub(super) struct State {
    keys: HashMap<SocketId, Arc<Identity>>,
    links: BTreeMap<LinkId, Placed>,
}

/// A link of the plan.
#[derive(Debug)]
struct Placed {
    plan: LinkPlan,
    /// `None` while its socket has no key.
    slot: Option<LinkSlot>,
}

impl Common {
    /// What the workers shall have in common under another plan. One key pair of a socket is shared by all, so that a
    /// cookie that one of them has made proves its bearer's address to the others.
    pub(super) fn next(&self, plan: &Plan, workers: u8) -> Self {
        let keys = plan.sockets.iter().filter_map(|socket| {
            let key = socket.key.as_ref()?;
            let kept = self.keys.get(&socket.id).filter(|(former, _)| former == key).cloned();
            Some((socket.id, kept.unwrap_or_else(|| (key.clone(), Arc::new(Identity::new(key))))))
        });
        Self { homes: self.homes.next(plan, workers), keys: keys.collect() }
    }
}

impl Ready {
    /// A plan whose sockets are there.
    pub(super) fn new(change: Arc<Change>, common: Common, table: Table) -> Self {
        let peers = common.homes.links(&change.plan).filter_map(|(link, worker)| {
            let foreign = Foreign { worker, link: link.id.0 };
            Some(((table.slot(link.socket)?, link.key), foreign))
        });
        let homes = Arc::new(Homes::new(common.homes.sites().to_vec(), peers));
        Self { change, common, table, homes }
    }

    /// What the next plan begins with.
    pub(super) fn into_common(self: Arc<Self>) -> Common {
        Arc::try_unwrap(self).map_or_else(|shared| shared.common.clone(), |own| own.common)
    }

    /// The links of one worker.
    fn links(&self, worker: u8) -> impl Iterator<Item = &LinkPlan> {
        self.change.plan.links.iter().filter(move |link| self.common.homes.of(link.id) == worker)
    }
}

impl Worker {
    /// Opens and changes the sockets for all workers, or leaves everything as it was.
    pub(super) fn prepare(&self, change: &Change) -> Result<Table, BindError> {
        self.sockets.prepare(&change.plan)
    }

    /// Takes this worker's part of a plan.
    pub(super) fn apply(&mut self, ready: &Ready, moment: Moment) -> Receipt {
        let freed = self.sockets.adopt(&ready.table, &self.epoll);
        if !self.sockets.has_gro() && self.offloads.miss(Offload::UdpGro) && self.shard.worker() == 0 {
            tracing::info!(offload = Offload::UdpGro.label(), "the kernel does not have this offload");
        }
        for slot in freed {
            self.shard.set_identity(slot, None);
        }
        let plan = &ready.change.plan;
        let mut receipt = Receipt::default();
        let rekeyed = self.apply_keys(plan, &ready.common);
        self.remove_links(ready, &mut receipt);
        for link in ready.links(self.shard.worker()) {
            self.apply_link(link, rekeyed.contains(&link.socket), moment, &mut receipt);
        }
        let sites = plan.sites.iter().map(|site| Site {
            links: self.slots(&site.links),
            senders: self.slots(&site.links).into_iter().chain(self.slots(&site.also_from)).collect(),
        });
        let sites = sites.collect();
        self.shard.set_routes(Arc::clone(&ready.change.routes), sites);
        self.shard.set_homes(Arc::clone(&ready.homes));
        receipt
    }

    /// Where a link of this worker is, by the number in its name.
    pub(super) fn slot_of(&self, number: u32) -> Option<LinkSlot> {
        self.state.links.get(&LinkId(number))?.slot
    }

    /// What is, now.
    pub(super) fn observe(&self, moment: Moment) -> Snapshot {
        Snapshot {
            sockets: self.sockets.iter().map(|(_, open)| SocketSnapshot { id: open.id, port: open.port() }).collect(),
            links: self.state.links.iter().map(|(id, placed)| self.observe_link(*id, placed, moment)).collect(),
            drops: self.shard.drops().iter().map(|(reason, number)| (reason.label(), number)).collect(),
            offloads: self.offloads.iter().collect(),
            workers: vec![WorkerSnapshot {
                links: self.state.links.len(),
                handed: self.handed(),
                scheduling: self.urgency.state(),
            }],
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
    fn apply_keys(&mut self, plan: &Plan, common: &Common) -> Vec<SocketId> {
        let mut former = std::mem::take(&mut self.state.keys);
        let mut rekeyed = Vec::new();
        for socket in &plan.sockets {
            let Some(slot) = self.sockets.slot(socket.id) else { continue };
            let identity = common.keys.get(&socket.id).map(|(_, identity)| identity);
            let kept = former.remove(&socket.id).zip(identity).is_some_and(|(kept, now)| Arc::ptr_eq(&kept, now));
            if !kept {
                rekeyed.push(socket.id);
            }
            self.shard.set_identity(slot, identity.cloned());
            self.state.keys.extend(identity.map(|identity| (socket.id, Arc::clone(identity))));
        }
        rekeyed
    }

    /// Removes links that are gone, and those that come back as another peer: before any is added, so that a key
    /// can move from one link to another.
    fn remove_links(&mut self, ready: &Ready, receipt: &mut Receipt) {
        let wanted: HashMap<LinkId, &LinkPlan> = ready.links(self.shard.worker()).map(|link| (link.id, link)).collect();
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
        let identity = self.state.keys.get(&link.socket).map(Arc::clone);
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
