//! The narrowing section: what has been revoked or suspended since the policy was signed. It only removes.

use serde::{Deserialize, Serialize};

use super::{Policy, settle};
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

    /// Whether the agreement of this number is revoked or suspended.
    pub fn removes(&self, agreement: u32) -> bool {
        self.revoked.contains(&agreement) || self.suspended.contains(&agreement)
    }

    /// The policy without the agreements that are revoked or suspended. A flow that a further agreement also
    /// allows goes on under that one's number.
    pub fn apply(&self, policy: &Policy) -> Policy {
        let mut narrowed = policy.clone();
        narrowed.agreements.retain(|agreement| !self.removes(agreement.number));
        let left = policy.rules.iter().chain(&policy.shadowed).filter(|rule| !self.removes(rule.agreement));
        (narrowed.rules, narrowed.shadowed) = settle(left.copied());
        narrowed
    }
}
