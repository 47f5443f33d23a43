//! Very many Ed25519 signatures at once, by few keys: a third of the work of one after the other.
//!
//! ```text
//!  (key A, message, R ‖ S) … ─▶ [8] ( Σ z·R + Σ over keys (Σ z·k)·A - (Σ z·S)·B ) = 0 ?      k = SHA-512(R ‖ A ‖ message)
//! ```
//!
//! The z are 128 bits each of a hash over all signatures, so that whoever makes one cannot choose it to make up for
//! another: the chance to slip by is one in 2^128. One signature is judged by the same equation, that of RFC 8032, section
//! 5.1.7, with its cofactor; so it does not matter which others are beside it. What [`Verifier::verifies`] refuses
//! beyond that (an R beside the group of prime order), only the key's holder can make. A [`Verifier`] is never of small order.

use std::collections::HashMap;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity as _, VartimeMultiscalarMul as _};
use sha2::{Digest as _, Sha256, Sha512};

use super::keys::{SignatureBytes, Verifier};

/// A claim: that `signature` is the key's over `message`.
#[derive(Clone, Debug)]
pub struct Signed<M> {
    /// The key.
    pub key: Verifier,
    /// The message.
    pub message: M,
    /// The signature.
    pub signature: SignatureBytes,
}

/// Whether all claims hold; if not, it is not known which do not.
pub fn all_hold<M: AsRef<[u8]>>(claims: &[Signed<M>]) -> bool {
    sum(claims).is_some_and(|sum| sum.mul_by_cofactor().is_identity())
}

/// The sum whose multiple by 8 has to vanish; `None` if a signature is malformed.
fn sum<M: AsRef<[u8]>>(claims: &[Signed<M>]) -> Option<EdwardsPoint> {
    let challenges: Vec<Scalar> = claims.iter().map(challenge).collect();
    let weights = weights(&seed(claims, &challenges), claims.len());
    let mut base = Scalar::ZERO;
    let mut keys: HashMap<[u8; 32], (EdwardsPoint, Scalar)> = HashMap::new();
    let (mut scalars, mut points) = (Vec::with_capacity(claims.len()), Vec::with_capacity(claims.len()));
    for ((claim, challenge), weight) in claims.iter().zip(challenges).zip(weights) {
        let (commitment, response) = claim.signature.halves();
        base -= weight * Option::<Scalar>::from(Scalar::from_canonical_bytes(*response))?;
        let key = keys.entry(claim.key.octets()).or_insert_with(|| (claim.key.point(), Scalar::ZERO));
        key.1 += weight * challenge;
        scalars.push(weight);
        points.push(CompressedEdwardsY(*commitment).decompress()?);
    }
    let (of_keys, shares): (Vec<EdwardsPoint>, Vec<Scalar>) = keys.into_values().unzip();
    points.extend(of_keys.into_iter().chain([ED25519_BASEPOINT_POINT]));
    scalars.extend(shares.into_iter().chain([base]));
    Some(EdwardsPoint::vartime_multiscalar_mul(scalars, points))
}

fn challenge<M: AsRef<[u8]>>(claim: &Signed<M>) -> Scalar {
    let (commitment, _) = claim.signature.halves();
    let hash = Sha512::new().chain_update(commitment).chain_update(claim.key.octets()).chain_update(&claim.message);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

/// Depends on all that the equation speaks of: a challenge stands for its key and message.
fn seed<M>(claims: &[Signed<M>], challenges: &[Scalar]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(b"turnpike batch 1\n");
    for (claim, challenge) in claims.iter().zip(challenges) {
        let (commitment, response) = claim.signature.halves();
        hash.update(commitment);
        hash.update(response);
        hash.update(challenge.as_bytes());
    }
    hash.finalize().into()
}

/// One for each claim, four of a hash.
fn weights(seed: &[u8; 32], number: usize) -> Vec<Scalar> {
    let four = |block: u64| {
        let hash = Sha512::new_with_prefix(seed).chain_update(block.to_le_bytes()).finalize();
        let (parts, _) = hash.as_slice().as_chunks();
        parts.iter().map(|part| Scalar::from(u128::from_le_bytes(*part))).collect::<Vec<_>>()
    };
    (0..).flat_map(four).take(number).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::Signer;

    fn signed(signer: &Signer, message: &str) -> Signed<Vec<u8>> {
        let message = message.as_bytes().to_vec();
        Signed { key: signer.verifier(), signature: signer.sign(&message), message }
    }

    fn some() -> Vec<Signed<Vec<u8>>> {
        let signers: Vec<Signer> = (0..3).map(|_| Signer::generate().expect("entropy")).collect();
        (0..12).map(|number| signed(&signers[number % 3], &format!("terms {number}"))).collect()
    }

    #[test]
    fn nothing_and_everything_that_was_signed_hold() {
        assert!(all_hold::<Vec<u8>>(&[]));
        let claims = some();
        assert!(all_hold(&claims));
        assert!(claims.iter().all(|claim| all_hold(std::slice::from_ref(claim))));
        assert!(claims.iter().all(|claim| claim.key.verifies(&claim.message, &claim.signature)));
    }

    #[test]
    fn signatures_that_were_swapped_do_not_make_up_for_each_other() {
        let mut claims = some();
        let other = claims[0].signature;
        claims[0].signature = std::mem::replace(&mut claims[3].signature, other);
        assert_eq!(claims[0].key, claims[3].key, "canary: by one key");
        assert!(!all_hold(&claims));
    }

    fn octets_of(signature: &SignatureBytes) -> [u8; 64] {
        let (commitment, response) = signature.halves();
        [*commitment, *response].concat().try_into().expect("64 octets")
    }

    proptest! {
        #[test]
        fn one_bit_anywhere_is_one_too_many(at in 0..12_usize, octet in 0..64_usize, bit in 0..8_u8) {
            let mut claims = some();
            let mut octets = octets_of(&claims[at].signature);
            octets[octet] ^= 1 << bit;
            claims[at].signature = SignatureBytes::from_octets(octets);
            prop_assert!(!all_hold(&claims));
            prop_assert!(!all_hold(&claims[at..=at]));
            claims.remove(at);
            prop_assert!(all_hold(&claims));
            claims[at % 11].message.push(0);
            prop_assert!(!all_hold(&claims));
        }
    }
}
