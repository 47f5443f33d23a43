//! A small signed document: canonical JSON with its version and signature in it.
//!
//! ```text
//!  {"at":"…","network":"connect","number":7,"signature":"ed25519:…","turnpike-heartbeat":1}
//!   content, as canonical JSON (RFC 8785) ─ SHA-256 ─▶ "turnpike heartbeat 1\n" + hex ─ Ed25519 ─▶ signature
//! ```
//!
//! Any other form of the same content is refused, so that one statement has one sequence of octets.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::identity::{SignatureBytes, Signer, Verifier};

/// No statement is longer, in octets.
pub const LONGEST_STATEMENT: usize = 8192;

/// The version of all statements that this program writes and reads.
const VERSION: u64 = 1;

/// What a statement may say.
pub trait Content: Serialize + DeserializeOwned {
    /// One word: `heartbeat`.
    const KIND: &'static str;

    /// What is wrong in it beyond its form.
    ///
    /// # Errors
    /// In words.
    fn check(&self) -> Result<(), String>;
}

/// Why octets are no statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// More than [`LONGEST_STATEMENT`].
    #[error("{0} octets are more than a {1} may have ({LONGEST_STATEMENT})")]
    TooLong(usize, &'static str),
    /// It is something else.
    #[error("not a {kind}: {cause}")]
    Other {
        /// What was expected.
        kind: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// A later program wrote it.
    #[error("the {1} is of version {0}, and this program reads version {VERSION}")]
    UnknownVersion(u64, &'static str),
    /// It says what such a statement says, but not in the canonical form.
    #[error("the {0} is not in canonical form (RFC 8785)")]
    NotCanonical(&'static str),
}

/// A content with a signature over it, whose worth is for [`Self::signed_by`] to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement<T> {
    /// What it says.
    pub content: T,
    /// The signature.
    pub signature: SignatureBytes,
}

impl<T: Content> Statement<T> {
    /// Signs.
    pub fn sign(content: T, signer: &Signer) -> Self {
        let signature = signer.sign(message(&content).as_bytes());
        Self { content, signature }
    }

    /// Whether the signature is this key's.
    pub fn signed_by(&self, key: &Verifier) -> bool {
        key.verifies(message(&self.content).as_bytes(), &self.signature)
    }

    /// Reads a statement; says nothing of whose it is.
    ///
    /// # Errors
    /// [`StatementError`], one per cause; no octets whatever make it panic.
    pub fn parse(octets: &[u8]) -> Result<Self, StatementError> {
        let kind = T::KIND;
        // Whoever looks at such a file with an editor leaves a line's end in it.
        let octets = octets.strip_suffix(b"\n").unwrap_or(octets);
        if octets.len() > LONGEST_STATEMENT {
            return Err(StatementError::TooLong(octets.len(), kind));
        }
        let other = |cause: String| StatementError::Other { kind, cause };
        let mut fields: Map<String, Value> =
            serde_json::from_slice(octets).map_err(|error| other(error.to_string()))?;
        match fields.remove(&version_key::<T>()).as_ref().map(Value::as_u64) {
            Some(Some(VERSION)) => {}
            Some(Some(version)) => return Err(StatementError::UnknownVersion(version, kind)),
            Some(None) | None => return Err(other(format!("it lacks \"{}\":{VERSION}", version_key::<T>()))),
        }
        let signature = fields.remove("signature").and_then(|value| value.as_str()?.parse().ok());
        let signature = signature.ok_or_else(|| other("it lacks its signature, ed25519:…".to_owned()))?;
        let content: T = serde_json::from_value(Value::Object(fields)).map_err(|error| other(error.to_string()))?;
        content.check().map_err(other)?;
        let statement = Self { content, signature };
        if statement.to_octets() == octets { Ok(statement) } else { Err(StatementError::NotCanonical(kind)) }
    }

    /// The octets that [`Self::parse`] reads.
    pub fn to_octets(&self) -> Vec<u8> {
        let mut fields = fields(&self.content);
        fields.insert(version_key::<T>(), VERSION.into());
        fields.insert("signature".to_owned(), self.signature.to_string().into());
        canonical(&fields)
    }
}

fn version_key<T: Content>() -> String {
    format!("turnpike-{}", T::KIND)
}

fn message<T: Content>(content: &T) -> String {
    format!("turnpike {} {VERSION}\n{}", T::KIND, hex::encode(Sha256::digest(canonical(&fields(content)))))
}

/// A content's fields: none for what is no struct, which no signature then holds for.
fn fields<T: Content>(content: &T) -> Map<String, Value> {
    match serde_json::to_value(content) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    }
}

fn canonical(fields: &Map<String, Value>) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(fields).unwrap_or_default()
}
