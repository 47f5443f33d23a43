//! The sealing of a generation: from all gateways' contents to one envelope each.

use std::collections::BTreeMap;

use serde::Serialize;

use super::check::Check;
use super::envelope::{
    Envelope, MAX_GENERATION, MAX_OCTETS, Sealed, Section, VERSION, policy_leaf, root_statement, statement,
};
use super::merkle::Tree;
use super::{Digest, Membership, Narrowing, Policy};
use crate::identity::{Name, Signer};

/// What one gateway is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Who may reach what.
    pub policy: Policy,
    /// Who the peers are.
    pub membership: Membership,
    /// What no longer holds.
    pub narrowing: Narrowing,
}

/// Why contents cannot be sealed: each is a fault of the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no gateway.
    #[error("a generation without a gateway cannot be signed")]
    Empty,
    /// A content would be refused when opened.
    #[error("the {section} section of '{gateway}' cannot be sealed: {cause}")]
    Malformed {
        /// Whose.
        gateway: Name,
        /// Which.
        section: Section,
        /// Why.
        cause: String,
    },
    /// The generation is not 1 to [`MAX_GENERATION`].
    #[error("a generation is 1 to {MAX_GENERATION}, not {0}")]
    Generation(u64),
    /// The envelope would be refused when opened.
    #[error("the bundle of '{gateway}' would have {octets} octets, more than {MAX_OCTETS}")]
    TooLarge {
        /// Whose.
        gateway: Name,
        /// How many.
        octets: usize,
    },
}

/// All gateways' contents as the octets that will be signed.
#[derive(Clone, Debug)]
pub struct Encoded {
    network: Name,
    gateways: BTreeMap<Name, [(Section, String); 3]>,
}

impl Encoded {
    /// Encodes the contents of all gateways of a network.
    ///
    /// # Errors
    /// No gateway, or contents that [`super::open`] would refuse, among them those of different networks.
    pub fn new(contents: impl IntoIterator<Item = Contents>) -> Result<Self, SealError> {
        let mut network = None;
        let mut gateways = BTreeMap::new();
        for Contents { policy, membership, narrowing } in contents {
            let gateway = policy.gateway.clone();
            let place = (network.get_or_insert_with(|| policy.network.clone()).clone(), gateway.clone());
            let sections = [
                (Section::Policy, encode(&policy, Section::Policy, &place)?),
                (Section::Membership, encode(&membership, Section::Membership, &place)?),
                (Section::Narrowing, encode(&narrowing, Section::Narrowing, &place)?),
            ];
            gateways.insert(gateway, sections);
        }
        network.map(|network| Self { network, gateways }).ok_or(SealError::Empty)
    }

    /// What tells two generations apart: the digest over all sections of all gateways.
    pub fn digest(&self) -> Digest {
        let lines = self.gateways.iter().flat_map(|(gateway, sections)| {
            sections.iter().map(move |(section, content)| {
                format!("{}\n{gateway}\n{section}\n{}\n", self.network, Digest::of(&[content.as_bytes()]).hex())
            })
        });
        Digest::of(&[lines.collect::<String>().as_bytes()])
    }

    /// Signs each gateway's bundle as of this generation. The same contents, generation and keys give the same octets.
    ///
    /// # Errors
    /// A generation out of range, or a bundle over [`MAX_OCTETS`].
    pub fn seal(
        self,
        generation: u64,
        operator: &Signer,
        controller: &Signer,
    ) -> Result<BTreeMap<Name, Vec<u8>>, SealError> {
        if !(1..=MAX_GENERATION).contains(&generation) {
            return Err(SealError::Generation(generation));
        }
        let Self { network, gateways } = self;
        let leaves = gateways
            .iter()
            .map(|(gateway, [(_, policy), ..])| policy_leaf(&network, gateway, &Digest::of(&[policy.as_bytes()])));
        let tree = Tree::new(leaves.collect()).ok_or(SealError::Empty)?;
        let root = operator.sign(&root_statement(&network, generation, tree.leaves(), &tree.root()));
        let seal = |(index, (gateway, sections)): (usize, (Name, [(Section, String); 3]))| {
            let [policy, membership, narrowing] = sections.map(|(section, content)| {
                let hash = Digest::of(&[content.as_bytes()]);
                let (proof, signature) = match section {
                    Section::Policy => (Some(tree.proof(index)), root),
                    Section::Membership | Section::Narrowing => {
                        (None, controller.sign(&statement(section, &network, &gateway, generation, &hash)))
                    }
                };
                let (network, gateway) = (network.clone(), gateway.clone());
                Sealed { network, gateway, generation, content, hash, proof, signature }
            });
            let envelope = Envelope { version: VERSION, policy, membership, narrowing };
            envelope.into_octets(&gateway).map(|octets| (gateway, octets))
        };
        gateways.into_iter().enumerate().map(seal).collect()
    }
}

impl Envelope {
    fn into_octets(self, gateway: &Name) -> Result<Vec<u8>, SealError> {
        let gateway = || gateway.clone();
        let octets = serde_json_canonicalizer::to_vec(&self).map_err(|error| SealError::Malformed {
            gateway: gateway(),
            section: Section::Policy,
            cause: error.to_string(),
        })?;
        if octets.len() > MAX_OCTETS {
            return Err(SealError::TooLarge { gateway: gateway(), octets: octets.len() });
        }
        Ok(octets)
    }
}

fn encode<T: Serialize + Check>(content: &T, section: Section, place: &(Name, Name)) -> Result<String, SealError> {
    let malformed = |cause: String| SealError::Malformed { gateway: place.1.clone(), section, cause };
    content.check().map_err(malformed)?;
    if content.place() != (&place.0, &place.1) {
        let (network, gateway) = content.place();
        return Err(malformed(format!("it is for gateway '{gateway}' of network '{network}'")));
    }
    serde_json_canonicalizer::to_string(content).map_err(|error| malformed(error.to_string()))
}
