//! Whom a gateway believes: a small TOML file that it is given once.
//!
//! ```toml
//! network = "connect"
//! operator = "ed25519:…"      # signs policy, offline
//! controller = "ed25519:…"    # signs membership and narrowing, online
//! ```

use serde::{Deserialize, Serialize};

use crate::identity::{Name, Verifier};

/// Whom a gateway believes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// The only network whose bundles are taken.
    pub network: Name,
    /// The operator's key: policy.
    pub operator: Verifier,
    /// The controller's key: membership and narrowing.
    pub controller: Verifier,
}

/// A text is no trust file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a trust file (network, operator, controller): {0}")]
pub struct TrustError(String);

impl Trust {
    /// Reads the file's text.
    ///
    /// # Errors
    /// Not TOML, a key missing or unknown, or a value that is no name or Ed25519 public key.
    pub fn from_toml(text: &str) -> Result<Self, TrustError> {
        toml::from_str(text).map_err(|error| TrustError(error.to_string().trim_end().to_owned()))
    }

    /// The file's text.
    pub fn to_toml(&self) -> String {
        let Self { network, operator, controller } = self;
        format!("network = \"{network}\"\noperator = \"{operator}\"\ncontroller = \"{controller}\"\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Signer;

    #[test]
    fn a_trust_file_reads_back_and_tolerates_nothing_else() {
        let trust = Trust {
            network: "connect".parse().expect("a name"),
            operator: Signer::generate().expect("entropy").verifier(),
            controller: Signer::generate().expect("entropy").verifier(),
        };
        let text = trust.to_toml();
        assert_eq!(Trust::from_toml(&text), Ok(trust));
        for bad in [
            String::new(),
            format!("{text}extra = 1\n"),
            text.replace("ed25519:", "rsa:"),
            text.replace("operator", "operators"),
            text.replace("\"connect\"", "\"Connect\""),
        ] {
            assert!(Trust::from_toml(&bad).is_err(), "{bad}");
        }
    }
}
