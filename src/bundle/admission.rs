//! Whether a genuine bundle may replace what a gateway has: the checks that need the gateway's own state.

use std::collections::BTreeMap;

use super::{Bundle, Digest};
use crate::identity::{Name, PublicKey};

/// Who a gateway is, as far as it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Network and gateway of the bundles taken so far; `None` before the first.
    pub identity: Option<(Name, Name)>,
    /// The public halves of the private keys held, by uplink; on a hub by the hub's own name.
    pub keys: BTreeMap<Name, PublicKey>,
}

/// The highest generation taken so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Its number.
    pub generation: u64,
    /// The digest of the bundle's octets; `None` where only the number is known.
    pub digest: Option<Digest>,
}

/// Why a genuine bundle is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// It is for another gateway than the one that runs here.
    #[error("the bundle is for gateway '{offered}' of network '{network}', and this is '{own}' of '{own_network}'")]
    OtherGateway {
        /// The bundle's gateway.
        offered: Name,
        /// The bundle's network.
        network: Name,
        /// This gateway.
        own: Name,
        /// This gateway's network.
        own_network: Box<Name>,
    },
    /// No private key is held for one of its uplinks.
    #[error("the bundle is for gateway '{gateway}', and no key is held for its uplink '{uplink}'")]
    NoKey {
        /// The bundle's gateway.
        gateway: Name,
        /// The uplink.
        uplink: Name,
    },
    /// The private key held for an uplink is not the one that peers were told of.
    #[error(
        "the bundle names the public key {offered} for uplink '{uplink}' of '{gateway}', and the key held is {held}"
    )]
    OtherKey {
        /// The bundle's gateway.
        gateway: Name,
        /// The uplink.
        uplink: Box<Name>,
        /// The public key in the bundle.
        offered: PublicKey,
        /// The public half of the key held.
        held: PublicKey,
    },
    /// The generation would fall.
    #[error("the bundle is of generation {offered}, and generation {floor} has been taken: it never falls")]
    Older {
        /// The bundle's generation.
        offered: u64,
        /// The highest taken so far.
        floor: u64,
    },
    /// Two different bundles bear the same generation.
    #[error("the bundle is of generation {0}, which has been taken with other content")]
    Forked(u64),
}

impl Bundle {
    /// Whether this bundle may be taken by the gateway `own` after `floor`. The same bundle again is fine.
    ///
    /// # Errors
    /// Another gateway's bundle, keys that are not held, a generation that falls or says two things.
    pub fn admit(&self, own: &Own, floor: Option<&Floor>) -> Result<(), AdmissionError> {
        self.is_for(own)?;
        match floor {
            Some(floor) if self.generation < floor.generation => {
                Err(AdmissionError::Older { offered: self.generation, floor: floor.generation })
            }
            Some(floor)
                if self.generation == floor.generation && floor.digest.is_some_and(|digest| digest != self.digest) =>
            {
                Err(AdmissionError::Forked(self.generation))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The floor that taking this bundle sets.
    pub fn floor(&self) -> Floor {
        Floor { generation: self.generation, digest: Some(self.digest) }
    }

    fn is_for(&self, own: &Own) -> Result<(), AdmissionError> {
        if let Some((network, gateway)) = &own.identity
            && (network, gateway) != (&self.network, &self.gateway)
        {
            return Err(AdmissionError::OtherGateway {
                offered: self.gateway.clone(),
                network: self.network.clone(),
                own: gateway.clone(),
                own_network: Box::new(network.clone()),
            });
        }
        self.membership.uplinks.iter().try_for_each(|uplink| {
            let (gateway, name) = (self.gateway.clone(), uplink.name.clone());
            match own.keys.get(&uplink.name) {
                None => Err(AdmissionError::NoKey { gateway, uplink: name }),
                Some(&held) if held != uplink.key => {
                    Err(AdmissionError::OtherKey { gateway, uplink: Box::new(name), offered: uplink.key, held })
                }
                Some(_) => Ok(()),
            }
        })
    }
}
