//! Very many Ed25519 signatures at once, by few keys: a third of the work of one after the other.
//!
//! `ed25519-zebra` judges by [ZIP 215](https://zips.z.cash/zip-0215): the equation of RFC 8032, section 5.1.7, with its
//! cofactor. By that rule, and not by others, a signature is good alone exactly if it is good among others. What
//! [`Verifier::verifies`] refuses beyond that (an R beside the group of prime order), only the key's holder can make. A
//! [`Verifier`] is never of small order.

use ed25519_zebra::batch::Verifier as Batch;
use ed25519_zebra::{Signature, VerificationKeyBytes};
use rand_core::OsRng;

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
    let mut batch = Batch::new();
    for Signed { key, message, signature } in claims {
        let (key, signature) = (VerificationKeyBytes::from(key.octets()), Signature::from_bytes(signature.octets()));
        batch.queue((key, signature, message));
    }
    batch.verify(OsRng).is_ok()
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

    proptest! {
        #[test]
        fn one_bit_anywhere_is_one_too_many(at in 0..12_usize, octet in 0..64_usize, bit in 0..8_u8) {
            let mut claims = some();
            let mut octets = *claims[at].signature.octets();
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
