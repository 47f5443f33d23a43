//! The Merkle tree over all gateways' policy sections (RFC 9162, section 2.1).
//!
//! One signature of the operator's thus covers a whole generation, and each gateway is shown only its own
//! section and the hashes beside its way to the root.

use serde::{Deserialize, Serialize};

use super::Digest;

const LEAF: &[u8] = &[0];
const NODE: &[u8] = &[1];

/// The hash of a leaf. Its prefix differs from a node's, so that no node can pass for a leaf.
pub(super) fn leaf(content: &[u8]) -> Digest {
    Digest::of(&[LEAF, content])
}

fn node(left: &Digest, right: &Digest) -> Digest {
    Digest::of(&[NODE, left.octets(), right.octets()])
}

/// A tree of at least one leaf.
pub(super) struct Tree {
    /// From the leaves up; the last level is the root alone.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// Builds the tree; `None` without a leaf.
    pub(super) fn new(leaves: Vec<Digest>) -> Option<Self> {
        let mut level = leaves;
        let mut levels = Vec::new();
        while level.len() > 1 {
            // A node without a sibling goes up as it is, which gives the same tree as RFC 9162's split.
            let above = level
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => node(left, right),
                    single => single[0],
                })
                .collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        if level.is_empty() {
            return None;
        }
        levels.push(level);
        Some(Self { levels })
    }

    pub(super) fn root(&self) -> Digest {
        self.levels[self.levels.len() - 1][0]
    }

    pub(super) fn leaves(&self) -> u64 {
        u64::try_from(self.levels[0].len()).unwrap_or(u64::MAX)
    }

    /// The proof for the leaf at `index`, which must exist.
    pub(super) fn proof(&self, index: usize) -> Proof {
        let path = self
            .levels
            .iter()
            .enumerate()
            .filter_map(|(height, level)| level.get((index >> height) ^ 1))
            .copied()
            .collect();
        Proof { index: u64::try_from(index).unwrap_or(u64::MAX), leaves: self.leaves(), path }
    }
}

/// What leads from one leaf to the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proof {
    /// The leaf's place, from 0.
    pub(super) index: u64,
    /// Leaves in the tree.
    pub(super) leaves: u64,
    /// The hashes beside the way, from the leaf up.
    pub(super) path: Vec<Digest>,
}

impl Proof {
    /// The root that the proof leads to from `leaf` (RFC 9162, section 2.1.3.2); `None` if its parts do not fit.
    pub(super) fn root(&self, leaf: Digest) -> Option<Digest> {
        let (mut index, mut last) = (self.index, self.leaves.checked_sub(1)?);
        if index > last {
            return None;
        }
        let mut hash = leaf;
        for beside in &self.path {
            if last == 0 {
                return None;
            }
            if index & 1 == 1 || index == last {
                hash = node(beside, &hash);
                while index & 1 == 0 && index != 0 {
                    index >>= 1;
                    last >>= 1;
                }
            } else {
                hash = node(&hash, beside);
            }
            index >>= 1;
            last >>= 1;
        }
        (last == 0).then_some(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(size: u8) -> (Vec<Digest>, Tree) {
        let leaves: Vec<Digest> = (0..size).map(|n| leaf(&[n])).collect();
        let tree = Tree::new(leaves.clone()).expect("leaves");
        (leaves, tree)
    }

    #[test]
    fn every_leaf_of_every_tree_is_proven_and_no_other_content_is() {
        for size in 1..=33 {
            let (leaves, tree) = tree(size);
            for (index, &hash) in leaves.iter().enumerate() {
                let proof = tree.proof(index);
                assert_eq!(proof.root(hash), Some(tree.root()), "leaf {index} of {size}");
                assert_ne!(proof.root(leaf(b"forged")), Some(tree.root()), "leaf {index} of {size}");
            }
        }
    }

    #[test]
    fn a_proof_holds_at_its_own_place_alone() {
        let (leaves, tree) = tree(11);
        for (index, &leaf) in leaves.iter().enumerate() {
            let proof = tree.proof(index);
            for other in (0..20).filter(|&other| other != proof.index) {
                let moved = Proof { index: other, ..proof.clone() };
                assert_ne!(moved.root(leaf), Some(tree.root()), "{index} as {other}");
            }
            for cut in 0..proof.path.len() {
                let short = Proof { path: proof.path[..cut].to_vec(), ..proof.clone() };
                assert_ne!(short.root(leaf), Some(tree.root()), "{index} cut to {cut}");
            }
        }
    }

    #[test]
    fn the_root_is_that_of_rfc_6962_test_vectors() {
        // The reference tree of the Certificate Transparency project over its eight test inputs.
        let inputs =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let leaves = inputs.iter().map(|text| leaf(&hex::decode(text).expect("hex"))).collect();
        assert_eq!(
            Tree::new(leaves).expect("leaves").root().hex(),
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
        );
    }

    #[test]
    fn a_tree_without_leaves_does_not_exist() {
        assert!(Tree::new(Vec::new()).is_none());
        assert_eq!(Proof { index: 0, leaves: 0, path: Vec::new() }.root(leaf(b"")), None);
    }
}
