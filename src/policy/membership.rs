//! Who talks to whom: one [`Membership`] per gateway, from the model's links and everyone's public keys.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{self, Model};
use crate::bundle::{Link, Membership, Uplink};
use crate::identity::{Name, PublicKey};

/// Public keys by gateway and uplink; a hub's only uplink bears the hub's name.
pub type Keys = BTreeMap<(Name, Name), PublicKey>;

/// A gateway's public key is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no public key is known for uplink '{uplink}' of gateway '{gateway}'")]
pub struct MissingKey {
    /// The gateway.
    pub gateway: Name,
    /// Its uplink.
    pub uplink: Name,
}

/// Gateway and uplink of every key pair that the network needs.
pub fn keys_needed(model: &Model) -> BTreeSet<(Name, Name)> {
    let hubs = model.hubs.iter().map(|hub| (hub.name.clone(), hub.name.clone()));
    let edges =
        model.edges.iter().flat_map(|edge| edge.uplinks.iter().map(|uplink| (edge.name.clone(), uplink.name.clone())));
    hubs.chain(edges).collect()
}

/// The membership of every gateway, by name.
///
/// # Errors
/// [`MissingKey`] for the first gateway and uplink of [`keys_needed`] that `keys` lacks.
pub fn membership(model: &Model, keys: &Keys) -> Result<BTreeMap<Name, Membership>, MissingKey> {
    let book = Book { model, keys };
    let hubs = model.hubs.iter().map(|hub| book.hub(hub));
    let edges = model.edges.iter().map(|edge| book.edge(edge));
    hubs.chain(edges).map(|made| made.map(|membership| (membership.gateway.clone(), membership))).collect()
}

struct Book<'a> {
    model: &'a Model,
    keys: &'a Keys,
}

impl Book<'_> {
    fn hub(&self, hub: &model::Hub) -> Result<Membership, MissingKey> {
        let uplink = Uplink {
            name: hub.name.clone(),
            device: hub.device.clone(),
            endpoints: hub.endpoints.clone(),
            key: self.key(&hub.name, &hub.name)?,
        };
        let links = self.model.links.iter().filter(|link| link.hub == hub.name).filter_map(|link| {
            let edge = self.model.edges.iter().find(|edge| edge.name == link.edge)?;
            Some(self.key(&link.edge, &link.uplink).map(|key| Link {
                number: link.number,
                uplink: hub.name.clone(),
                gateway: edge.name.clone(),
                site: edge.site.clone(),
                relay: false,
                key,
                endpoints: Vec::new(),
            }))
        });
        Ok(self.membership(&hub.name, vec![uplink], links.collect::<Result<_, _>>()?))
    }

    fn edge(&self, edge: &model::Edge) -> Result<Membership, MissingKey> {
        let uplinks = edge.uplinks.iter().map(|uplink| {
            Ok(Uplink {
                name: uplink.name.clone(),
                device: Some(uplink.device.clone()),
                endpoints: Vec::new(),
                key: self.key(&edge.name, &uplink.name)?,
            })
        });
        let links = self.model.links.iter().filter(|link| link.edge == edge.name).filter_map(|link| {
            let hub = self.model.hubs.iter().find(|hub| hub.name == link.hub)?;
            Some(self.key(&hub.name, &hub.name).map(|key| Link {
                number: link.number,
                uplink: link.uplink.clone(),
                gateway: hub.name.clone(),
                site: hub.name.clone(),
                relay: true,
                key,
                endpoints: hub.endpoints.clone(),
            }))
        });
        Ok(self.membership(&edge.name, uplinks.collect::<Result<_, _>>()?, links.collect::<Result<_, _>>()?))
    }

    fn key(&self, gateway: &Name, uplink: &Name) -> Result<PublicKey, MissingKey> {
        let at = (gateway.clone(), uplink.clone());
        self.keys.get(&at).copied().ok_or(MissingKey { gateway: at.0, uplink: at.1 })
    }

    fn membership(&self, gateway: &Name, mut uplinks: Vec<Uplink>, mut links: Vec<Link>) -> Membership {
        uplinks.sort_by(|a, b| a.name.cmp(&b.name));
        links.sort_by_key(|link| link.number);
        Membership { network: self.model.network.clone(), gateway: gateway.clone(), uplinks, links }
    }
}
