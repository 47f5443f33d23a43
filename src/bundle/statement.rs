//! A small signed document: canonical JSON with its version and signature in it.
//!
//! ```text
//!  content ─ sign ─▶ Statement ─ octets ─▶ size ─▶ JSON, version ─▶ canonical? ─▶ fields ─▶ Statement
//!                                                                                           │ signed_by(key)?
//!  {"at":"…","network":"connect","number":7,"signature":"ed25519:…","turnpike-heartbeat":1} ▼
//!                                                                                         believed
//! ```
//!
//! What is signed is `turnpike KIND 1`, a line break and the hexadecimal SHA-256 of the canonical JSON (RFC 8785) without the
//! signature: it begins with its purpose, so that it cannot be read as the signature under something else. Any other form of the
//! same content is refused, so that one statement has one sequence of octets.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::Digest;
use crate::identity::{SignatureBytes, Signed, Signer, Verifier, all_hold};

/// No statement is longer, in octets: 8 KiB.
pub const LONGEST_STATEMENT: usize = 8 << 10;

/// The version of all statements that this program writes and reads.
const VERSION: u64 = 1;

/// What a statement may say.
pub trait Content: Serialize + DeserializeOwned {
    /// One word: `heartbeat`.
    const KIND: &'static str;

    /// What no such statement may say.
    type Refusal: std::error::Error;

    /// That it says nothing of the kind.
    ///
    /// # Errors
    /// The first thing that is wrong.
    fn check(&self) -> Result<(), Self::Refusal>;
}

/// Why octets are no statement of this kind, or one says what none may say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError<R: std::error::Error> {
    /// More than [`LONGEST_STATEMENT`].
    #[error("{0} octets are more than it may have ({LONGEST_STATEMENT})")]
    TooLong(usize),
    /// The end is missing.
    #[error("it is truncated: it ends after {0} octets in the middle")]
    Truncated(usize),
    /// It is something else.
    #[error("it is no {kind}: {cause}")]
    Other {
        /// What was expected.
        kind: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// A later program wrote it.
    #[error("its format is version {0}, and this program reads version {VERSION}")]
    UnknownVersion(u64),
    /// It says what such a statement says, but not in the canonical form.
    #[error("it is not in canonical form (RFC 8785)")]
    NotCanonical,
    /// It says what none may say.
    #[error(transparent)]
    Content(R),
}

/// A content with a signature that has yet to be judged: see [`Self::signed_by`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement<T> {
    /// What it says.
    pub content: T,
    /// The signature.
    pub signature: SignatureBytes,
}

impl<T: Content> Statement<T> {
    /// Signs. What [`Content::check`] refuses can be signed, and will not be read by anyone.
    pub fn sign(content: T, signer: &Signer) -> Self {
        let signature = signer.sign(digest_line(&content).as_bytes());
        Self { content, signature }
    }

    /// Whether this key has signed it.
    pub fn signed_by(&self, key: &Verifier) -> bool {
        all_hold(&[claim(&self.content, key, &self.signature)])
    }

    /// Reads a statement; nothing of it may be believed before [`Self::signed_by`] says yes for a key that is trusted.
    ///
    /// # Errors
    /// [`StatementError`], one per cause; no octets whatever make it panic.
    pub fn parse(octets: &[u8]) -> Result<Self, StatementError<T::Refusal>> {
        if octets.len() > LONGEST_STATEMENT {
            return Err(StatementError::TooLong(octets.len()));
        }
        let other = |cause: String| StatementError::Other { kind: T::KIND, cause };
        let refuse = |error: serde_json::Error| {
            if error.is_eof() && octets.first() == Some(&b'{') {
                StatementError::Truncated(octets.len())
            } else {
                other(error.to_string())
            }
        };
        let mut fields: Map<String, Value> = serde_json::from_slice(octets).map_err(refuse)?;
        match fields.remove(&version_key::<T>()).as_ref().and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(version) => return Err(StatementError::UnknownVersion(version)),
            None => return Err(other(format!("it lacks \"{}\":{VERSION}", version_key::<T>()))),
        }
        let signature = fields.remove("signature").and_then(|value| value.as_str()?.parse().ok());
        let signature = signature.ok_or_else(|| other("it lacks its signature, ed25519:…".to_owned()))?;
        let content: T = serde_json::from_value(Value::Object(fields)).map_err(|error| other(error.to_string()))?;
        let statement = Self { content, signature };
        if statement.to_octets() != octets {
            return Err(StatementError::NotCanonical);
        }
        statement.content.check().map_err(StatementError::Content)?;
        Ok(statement)
    }

    /// The canonical JSON: what a file or message holds, without a line break at its end.
    pub fn to_octets(&self) -> Vec<u8> {
        let mut fields = fields(&self.content);
        fields.insert("signature".to_owned(), self.signature.to_string().into());
        canonical(&fields)
    }
}

/// The claim that `signature` is this key's over a content: to be judged with others.
pub fn claim<T: Content>(content: &T, key: &Verifier, signature: &SignatureBytes) -> Signed<String> {
    Signed { key: *key, message: digest_line(content), signature: *signature }
}

fn version_key<T: Content>() -> String {
    format!("turnpike-{}", T::KIND)
}

/// What is signed.
pub(super) fn digest_line<T: Content>(content: &T) -> String {
    format!("turnpike {} {VERSION}\n{}", T::KIND, Digest::of(&[&unsigned(content)]).hex())
}

/// The canonical JSON without a signature.
pub(super) fn unsigned<T: Content>(content: &T) -> Vec<u8> {
    canonical(&fields(content))
}

/// All but the signature. The encoder fails for no text and no number.
fn fields<T: Content>(content: &T) -> Map<String, Value> {
    let mut fields = match serde_json::to_value(content) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    };
    fields.insert(version_key::<T>(), VERSION.into());
    fields
}

fn canonical(fields: &Map<String, Value>) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(fields).unwrap_or_default()
}

/// Times to the second, as statements have them.
pub(super) mod second {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
