//! That the controller lives, and what time it is: a statement for all gateways of a network, signed by its online key.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::statement::{Content, Statement, second};
use crate::identity::Name;

/// What a heartbeat says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The network.
    pub network: Name,
    /// Which of the network's heartbeats it is: from 1, rising.
    pub number: u64,
    /// When it was signed, to the second.
    #[serde(with = "second")]
    pub at: Timestamp,
}

/// A number that no heartbeat has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the number of a heartbeat is 1 to {highest}, not {0}", highest = super::MAX_GENERATION)]
pub struct BadNumber(u64);

impl Content for Heartbeat {
    const KIND: &'static str = "heartbeat";
    type Refusal = BadNumber;

    fn check(&self) -> Result<(), BadNumber> {
        // RFC 8785, section 3.2.2.3: beyond it, JSON's numbers are not exact.
        if (1..=super::MAX_GENERATION).contains(&self.number) { Ok(()) } else { Err(BadNumber(self.number)) }
    }
}

/// A heartbeat with its signature.
pub type SignedHeartbeat = Statement<Heartbeat>;

#[cfg(test)]
mod tests {
    use super::super::statement::{LONGEST_STATEMENT, StatementError};
    use super::*;
    use crate::identity::Signer;

    fn heartbeat() -> Heartbeat {
        let at = "2026-11-22T10:00:00Z".parse().expect("a time");
        Heartbeat { network: "connect".parse().expect("a name"), number: 7, at }
    }

    fn refused(octets: &[u8]) -> StatementError<BadNumber> {
        SignedHeartbeat::parse(octets).expect_err("a refusal")
    }

    #[test]
    fn a_heartbeat_reads_back_and_holds_for_its_signer_alone() {
        let (controller, other) = (Signer::generate().expect("entropy"), Signer::generate().expect("entropy"));
        let signed = SignedHeartbeat::sign(heartbeat(), &controller);
        let read = SignedHeartbeat::parse(&signed.to_octets()).expect("a heartbeat");
        assert_eq!(read, signed);
        assert!(read.signed_by(&controller.verifier()));
        assert!(!read.signed_by(&other.verifier()));
    }

    #[test]
    fn no_octet_of_it_can_be_changed() {
        let controller = Signer::generate().expect("entropy");
        let good = SignedHeartbeat::sign(heartbeat(), &controller).to_octets();
        for at in 0..good.len() {
            for flip in [1, 0x20, 0x80] {
                let mut changed = good.clone();
                changed[at] ^= flip;
                assert!(!holds(&changed, &controller), "octet {at} by {flip}");
            }
            assert!(SignedHeartbeat::parse(&good[..at]).is_err(), "cut at {at}");
        }
        assert!(holds(&good, &controller));
    }

    fn holds(octets: &[u8], controller: &Signer) -> bool {
        SignedHeartbeat::parse(octets).is_ok_and(|read| read.signed_by(&controller.verifier()))
    }

    #[test]
    fn each_fault_has_its_own_error() {
        let controller = Signer::generate().expect("entropy");
        let good = String::from_utf8(SignedHeartbeat::sign(heartbeat(), &controller).to_octets()).expect("text");
        let other = |text: &str| matches!(refused(text.as_bytes()), StatementError::Other { .. });
        assert!(other("{}") && other("") && other("[]"));
        let none = good.replace("\"number\":7", "\"number\":0");
        assert_eq!(refused(none.as_bytes()), StatementError::Content(BadNumber(0)));
        assert!(other(&good.replace("\"at\"", "\"when\"")));
        let later = good.replace("heartbeat\":1", "heartbeat\":2");
        assert_eq!(refused(later.as_bytes()), StatementError::UnknownVersion(2));
        let spaced = good.replace("\":7", "\": 7");
        assert_eq!(refused(spaced.as_bytes()), StatementError::NotCanonical);
        let long = vec![b' '; LONGEST_STATEMENT + 1];
        assert_eq!(refused(&long), StatementError::TooLong(LONGEST_STATEMENT + 1));
    }
}
