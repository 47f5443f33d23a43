//! The narrowing section: what has been revoked or suspended since the policy was signed. It only removes.

use serde::{Deserialize, Serialize};

use super::{Policy, Withheld};
use crate::identity::Name;

/// Agreements that no longer hold, whatever the policy section says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Narrowing {
    /// The overlay network's name.
    pub network: Name,
    /// The gateway that this is for.
    pub gateway: Name,
    /// Numbers of agreements that have ended for good, sorted.
    pub revoked: Vec<u32>,
    /// Numbers of agreements that rest for a time, sorted.
    pub suspended: Vec<u32>,
}

impl Narrowing {
    /// One that removes nothing.
    pub fn none(network: Name, gateway: Name) -> Self {
        Self { network, gateway, revoked: Vec::new(), suspended: Vec::new() }
    }

    /// Why the agreement of this number is not honoured, if it is not.
    pub fn withholds(&self, agreement: u32) -> Option<Withheld> {
        let revoked = self.revoked.binary_search(&agreement).is_ok();
        let suspended = self.suspended.binary_search(&agreement).is_ok();
        revoked.then_some(Withheld::Revoked).or(suspended.then_some(Withheld::Suspended))
    }

    /// Whether the agreement of this number is revoked or suspended.
    pub fn removes(&self, agreement: u32) -> bool {
        self.withholds(agreement).is_some()
    }

    /// The policy without the agreements that are revoked or suspended: see [`Policy::without`].
    pub fn apply(&self, policy: &Policy) -> Policy {
        policy.without(|agreement| self.removes(agreement))
    }
}
