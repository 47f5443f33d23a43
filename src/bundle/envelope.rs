//! The envelope: three sections, each octets with a hash and a signature of its own.
//!
//! ```text
//!  octets ─▶ size ─▶ JSON, version ─▶ canonical? ─▶ hashes ─▶ signatures ─▶ one network,   ─▶ contents ─▶ Bundle
//!                                                                            gateway,          parsed,
//!                                                                            generation?       checked
//! ```
//!
//! A section's content is carried as a JSON string, so what is hashed and signed are the very octets that are
//! parsed, and nothing of it is parsed before its signature holds. The envelope itself is canonical JSON
//! (RFC 8785) and refused in any other form: one bundle has one sequence of octets.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::check::Check;
use super::merkle::{self, Proof};
use super::{Digest, Membership, Narrowing, Policy, Trust};
use crate::identity::{Name, SignatureBytes, Verifier};

/// The version of the envelope that this program writes and reads.
pub const VERSION: u64 = 1;

/// The largest envelope, in octets: 64 MiB.
pub const MAX_OCTETS: usize = 64 << 20;

/// The highest generation: beyond it, JSON's numbers are not exact (RFC 8785, section 3.2.2.3).
pub const MAX_GENERATION: u64 = (1 << 53) - 1;

/// One of the three parts of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// What may pass.
    Policy,
    /// Who the peers are.
    Membership,
    /// What no longer holds.
    Narrowing,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Policy => "policy",
            Self::Membership => "membership",
            Self::Narrowing => "narrowing",
        })
    }
}

/// Why octets are no bundle to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// More than [`MAX_OCTETS`].
    #[error("{0} octets are more than a bundle may have ({MAX_OCTETS})")]
    TooLarge(usize),
    /// The end is missing.
    #[error("the bundle is truncated: it ends after {0} octets in the middle")]
    Truncated(usize),
    /// It is something else.
    #[error("not a bundle: {0}")]
    NotABundle(String),
    /// A later program wrote it.
    #[error("the bundle's format is version {0}, and this program reads version {VERSION}")]
    UnknownVersion(u64),
    /// It says what a bundle says, but not in the canonical form.
    #[error("the bundle is not in canonical form (RFC 8785)")]
    NotCanonical,
    /// The content of a section is not what its hash says.
    #[error("the {0} section's hash does not match its content")]
    WrongHash(Section),
    /// The signature of a section is not that of the key trusted for it, or its proof leads elsewhere.
    #[error("the {0} section's signature is not that of the key trusted for it")]
    WrongSignature(Section),
    /// Two sections are not of the same network, gateway and generation.
    #[error("the {section} section is for {found}, and the policy section for {expected}")]
    Mixed {
        /// The section that differs.
        section: Section,
        /// Network, gateway and generation of that section.
        found: String,
        /// Network, gateway and generation of the policy section.
        expected: String,
    },
    /// It is of a network that is not the trusted one.
    #[error("the bundle is for network '{offered}', and '{trusted}' is trusted")]
    OtherNetwork {
        /// The bundle's.
        offered: Name,
        /// The trust file's.
        trusted: Name,
    },
    /// A signed content is not what such a section must be.
    #[error("the {section} section is malformed: {cause}")]
    Malformed {
        /// The section.
        section: Section,
        /// What is wrong in it.
        cause: String,
    },
}

/// A bundle whose every part has been verified; by [`open_unverified`], one whose signatures have not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The overlay network's name.
    pub network: Name,
    /// The gateway that it is for.
    pub gateway: Name,
    /// Its generation: 1 to [`MAX_GENERATION`].
    pub generation: u64,
    /// Who may reach what, as signed: see [`Bundle::effective_policy`].
    pub policy: Policy,
    /// Who the peers are.
    pub membership: Membership,
    /// What no longer holds.
    pub narrowing: Narrowing,
    /// The digest of the whole envelope.
    pub digest: Digest,
}

impl Bundle {
    /// The policy as signed, without what the narrowing removes.
    pub fn effective_policy(&self) -> Policy {
        self.narrowing.apply(&self.policy)
    }
}

/// Reads and verifies a bundle. Nothing of a section is parsed before its hash and signature hold.
///
/// # Errors
/// [`BundleError`], one per cause; no octets whatever make it panic.
pub fn open(octets: &[u8], trust: &Trust) -> Result<Bundle, BundleError> {
    let envelope = Envelope::parse(octets)?;
    envelope.check_hashes()?;
    envelope.check_signatures(trust)?;
    if envelope.policy.network != trust.network {
        return Err(BundleError::OtherNetwork { offered: envelope.policy.network, trusted: trust.network.clone() });
    }
    envelope.read(octets)
}

/// Reads a bundle without asking who signed it: to show it, never to apply it.
///
/// # Errors
/// As [`open`], except for signatures and the trusted network.
pub fn open_unverified(octets: &[u8]) -> Result<Bundle, BundleError> {
    let envelope = Envelope::parse(octets)?;
    envelope.check_hashes()?;
    envelope.read(octets)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Envelope {
    #[serde(rename = "turnpike-bundle")]
    pub(super) version: u64,
    pub(super) policy: Sealed,
    pub(super) membership: Sealed,
    pub(super) narrowing: Sealed,
}

/// The one field that every version has.
#[derive(Deserialize)]
struct Versioned {
    #[serde(rename = "turnpike-bundle")]
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    pub(super) network: Name,
    pub(super) gateway: Name,
    pub(super) generation: u64,
    pub(super) content: String,
    pub(super) hash: Digest,
    /// On policy alone: the signature is over the root of all gateways' policy sections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) proof: Option<Proof>,
    pub(super) signature: SignatureBytes,
}

impl Envelope {
    fn parse(octets: &[u8]) -> Result<Self, BundleError> {
        if octets.len() > MAX_OCTETS {
            return Err(BundleError::TooLarge(octets.len()));
        }
        let refuse = |error: serde_json::Error| {
            if error.is_eof() && octets.first() == Some(&b'{') {
                BundleError::Truncated(octets.len())
            } else {
                BundleError::NotABundle(error.to_string())
            }
        };
        match serde_json::from_slice::<Versioned>(octets).map_err(refuse)?.version {
            VERSION => {}
            other => return Err(BundleError::UnknownVersion(other)),
        }
        let envelope: Self = serde_json::from_slice(octets).map_err(refuse)?;
        if envelope.policy.proof.is_none() || envelope.sections()[1..].iter().any(|(_, part)| part.proof.is_some()) {
            return Err(BundleError::NotABundle("the policy section, and it alone, must have a proof".to_owned()));
        }
        match serde_json_canonicalizer::to_vec(&envelope) {
            Ok(canonical) if canonical == octets => Ok(envelope),
            Ok(_) | Err(_) => Err(BundleError::NotCanonical),
        }
    }

    fn sections(&self) -> [(Section, &Sealed); 3] {
        [
            (Section::Policy, &self.policy),
            (Section::Membership, &self.membership),
            (Section::Narrowing, &self.narrowing),
        ]
    }

    fn check_hashes(&self) -> Result<(), BundleError> {
        match self.sections().iter().find(|(_, part)| Digest::of(&[part.content.as_bytes()]) != part.hash) {
            Some(&(section, _)) => Err(BundleError::WrongHash(section)),
            None => Ok(()),
        }
    }

    fn check_signatures(&self, trust: &Trust) -> Result<(), BundleError> {
        let failed = self.sections().into_iter().find(|&(section, part)| match section {
            Section::Policy => !part.proven_by(&trust.operator),
            Section::Membership | Section::Narrowing => !part.signed_by(&trust.controller, section),
        });
        match failed {
            Some((section, _)) => Err(BundleError::WrongSignature(section)),
            None => Ok(()),
        }
    }

    /// Parses the contents, once all that stands about them has been checked.
    fn read(self, octets: &[u8]) -> Result<Bundle, BundleError> {
        let expected = self.policy.place();
        if let Some((section, part)) = self.sections().into_iter().find(|(_, part)| part.place() != expected) {
            return Err(BundleError::Mixed { section, found: part.place(), expected });
        }
        let Self { policy: Sealed { network, gateway, generation, .. }, .. } = &self;
        if !(1..=MAX_GENERATION).contains(generation) {
            return Err(BundleError::NotABundle(format!("a generation is 1 to {MAX_GENERATION}")));
        }
        Ok(Bundle {
            network: network.clone(),
            gateway: gateway.clone(),
            generation: *generation,
            policy: self.policy.content(Section::Policy)?,
            membership: self.membership.content(Section::Membership)?,
            narrowing: self.narrowing.content(Section::Narrowing)?,
            digest: Digest::of(&[octets]),
        })
    }
}

impl Sealed {
    fn place(&self) -> String {
        format!("gateway '{}' of network '{}', generation {}", self.gateway, self.network, self.generation)
    }

    fn signed_by(&self, key: &Verifier, section: Section) -> bool {
        key.verifies(&statement(section, &self.network, &self.gateway, self.generation, &self.hash), &self.signature)
    }

    fn proven_by(&self, key: &Verifier) -> bool {
        let leaf = policy_leaf(&self.network, &self.gateway, &self.hash);
        let Some(proof) = &self.proof else { return false };
        let Some(root) = proof.root(leaf) else { return false };
        key.verifies(&root_statement(&self.network, self.generation, proof.leaves, &root), &self.signature)
    }

    fn content<T: DeserializeOwned + Check>(&self, section: Section) -> Result<T, BundleError> {
        let malformed = |cause: String| BundleError::Malformed { section, cause };
        let content: T = serde_json::from_str(&self.content).map_err(|error| malformed(error.to_string()))?;
        if content.place() != (&self.network, &self.gateway) {
            let (network, gateway) = content.place();
            return Err(malformed(format!("its content is for gateway '{gateway}' of network '{network}'")));
        }
        content.check().map_err(malformed)?;
        Ok(content)
    }
}

// What is signed is text, one item a line, that begins with its purpose: names hold no line breaks, so no
// statement can be read as another.

pub(super) fn statement(section: Section, network: &Name, gateway: &Name, generation: u64, hash: &Digest) -> Vec<u8> {
    format!("turnpike bundle {section} 1\n{network}\n{gateway}\n{generation}\n{}", hash.hex()).into_bytes()
}

pub(super) fn root_statement(network: &Name, generation: u64, leaves: u64, root: &Digest) -> Vec<u8> {
    format!("turnpike bundle policy root 1\n{network}\n{generation}\n{leaves}\n{}", root.hex()).into_bytes()
}

pub(super) fn policy_leaf(network: &Name, gateway: &Name, hash: &Digest) -> Digest {
    merkle::leaf(format!("turnpike bundle policy leaf 1\n{network}\n{gateway}\n{}", hash.hex()).as_bytes())
}
