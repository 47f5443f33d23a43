//! That the controller lives, and what time it is: a statement for all gateways of a network, signed by its online key.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::statement::{Content, Statement};
use crate::identity::Name;

/// What a heartbeat says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The network.
    pub network: Name,
    /// Which of the network's heartbeats it is: from 1, rising.
    pub number: u64,
    /// When it was signed.
    pub at: Timestamp,
}

impl Content for Heartbeat {
    const KIND: &'static str = "heartbeat";

    fn check(&self) -> Result<(), String> {
        // RFC 8785, section 3.2.2.3: beyond it, JSON's numbers are not exact.
        let good = (1..=super::MAX_GENERATION).contains(&self.number);
        if good { Ok(()) } else { Err(format!("its number is 1 to {}, not {}", super::MAX_GENERATION, self.number)) }
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

    fn refused(octets: &[u8]) -> StatementError {
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
        let line = [signed.to_octets(), b"\n".to_vec()].concat();
        assert_eq!(SignedHeartbeat::parse(&line), Ok(signed));
    }

    #[test]
    fn no_octet_of_it_can_be_changed() {
        let controller = Signer::generate().expect("entropy");
        let good = SignedHeartbeat::sign(heartbeat(), &controller).to_octets();
        for at in 0..good.len() {
            for flip in [1, 0x20, 0x80] {
                let mut changed = good.clone();
                changed[at] ^= flip;
                let read = SignedHeartbeat::parse(&changed);
                assert!(read.is_err_and(|_| true) || !holds(&changed, &controller), "octet {at} by {flip}");
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
        assert!(other("{}") && other("") && other("[]") && other(&good.replace("\"number\":7", "\"number\":0")));
        assert!(other(&good.replace("\"at\"", "\"when\"")));
        let later = good.replace("heartbeat\":1", "heartbeat\":2");
        assert_eq!(refused(later.as_bytes()), StatementError::UnknownVersion(2, "heartbeat"));
        let spaced = good.replace("\":7", "\": 7");
        assert_eq!(refused(spaced.as_bytes()), StatementError::NotCanonical("heartbeat"));
        let long = vec![b' '; LONGEST_STATEMENT + 1];
        assert_eq!(refused(&long), StatementError::TooLong(LONGEST_STATEMENT + 1, "heartbeat"));
    }
}
