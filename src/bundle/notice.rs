//! A notice: by it a council, or the operator, narrows one agreement, without anyone else having to agree.
//!
//! ```text
//!  Notice ─ sign ─▶ SignedNotice ─ octets ─▶ size ─▶ JSON, version ─▶ canonical? ─▶ fields ─▶ SignedNotice
//!                                                                                             │ signed_by(key)?
//!            suspend ◀──▶ lift     (the same party's; all else is for good)                   ▼
//!            refuse, revoke                                                                 believed
//! ```
//!
//! It is canonical JSON (RFC 8785) with a signature over its hash, so that one notice has one sequence of octets. Its
//! number rises with each notice of a party about an agreement: an older one that is shown again is known as such.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Digest;
use crate::identity::{Id, Name, SignatureBytes, Signed, Signer, Verifier, all_hold, steers};

/// The version of notices that this program writes and reads.
const VERSION: u64 = 1;

/// The largest signed notice, in octets: 8 KiB.
pub const MAX_NOTICE_OCTETS: usize = 8 << 10;

/// The highest number: beyond it, JSON's numbers are not exact (RFC 8785, section 3.2.2.3).
pub const MAX_NOTICE_NUMBER: u64 = (1 << 53) - 1;

/// The longest text that a person may write into a notice, in octets: JSON makes six of one at most.
const MAX_TEXT: usize = 1000;

/// What a notice does to an agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// A council does not agree to these terms, and will not.
    Refuse,
    /// The agreement rests until the same party lifts that.
    Suspend,
    /// Ends the same party's suspension: the only effect that gives something back.
    Lift,
    /// A council has ended the agreement on these terms for good.
    Revoke,
}

impl Effect {
    /// Every effect, with the word for it.
    pub const WORDS: [(&'static str, Self); 4] =
        [("refuse", Self::Refuse), ("suspend", Self::Suspend), ("lift", Self::Lift), ("revoke", Self::Revoke)];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Suspend => "suspend",
            Self::Lift => "lift",
            Self::Revoke => "revoke",
        }
    }

    /// Whether the operator may do it: what councils agree on is theirs to refuse and to end.
    pub fn is_operators(self) -> bool {
        match self {
            Self::Suspend | Self::Lift => true,
            Self::Refuse | Self::Revoke => false,
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a party says about an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The overlay network's name.
    pub network: Name,
    /// The agreement.
    pub agreement: Id,
    /// The council that says so; `None` is the operator.
    pub council: Option<Name>,
    /// The person, such as an e-mail address: 1 to 1000 octets.
    pub by: String,
    /// 1 to [`MAX_NOTICE_NUMBER`], rising with each notice of this party about this agreement.
    pub number: u64,
    /// What it does.
    pub effect: Effect,
    /// The terms that it is about: `sha256:` and 64 hexadecimal digits.
    pub terms: String,
    /// Why, for people: up to 1000 octets. The operator has to say.
    pub why: Option<String>,
    /// When it was signed, to the second; it is not compared with anything.
    pub at: Timestamp,
}

/// A notice with a signature that has yet to be judged: see [`SignedNotice::signed_by`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNotice {
    /// What it says.
    pub notice: Notice,
    /// Over `turnpike notice 1`, a line break and the hexadecimal SHA-256 of its canonical JSON without this.
    pub signature: SignatureBytes,
}

/// Why octets are no notice, or a notice says what none may say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoticeError {
    /// More than [`MAX_NOTICE_OCTETS`].
    #[error("{0} octets are more than a notice may have ({MAX_NOTICE_OCTETS})")]
    TooLarge(usize),
    /// The end is missing.
    #[error("the notice is truncated: it ends after {0} octets in the middle")]
    Truncated(usize),
    /// It is something else.
    #[error("not a notice: {0}")]
    NotANotice(String),
    /// A later program wrote it.
    #[error("the notice's format is version {0}, and this program reads version {VERSION}")]
    UnknownVersion(u64),
    /// It says what a notice says, but not in the canonical form.
    #[error("the notice is not in canonical form (RFC 8785)")]
    NotCanonical,
    /// Its number is not 1 to [`MAX_NOTICE_NUMBER`].
    #[error("the number of a notice is 1 to {MAX_NOTICE_NUMBER}, not {0}")]
    Number(u64),
    /// Its terms are not the hash of terms.
    #[error("its terms are not sha256: and 64 of 0-9, a-f")]
    Terms,
    /// `by` or `why` is empty, too long, or would steer a terminal.
    #[error("'{0}' is 1 to {MAX_TEXT} octets of text without control characters")]
    Text(&'static str),
    /// The operator gave no reason.
    #[error("the operator has to say why")]
    NoReason,
    /// The operator may not do this.
    #[error("to {0} is the councils' alone: the operator may suspend, and lift that")]
    NotOperators(Effect),
}

/// As it is written. The keys stand in the order of RFC 8785; texts and numbers up to 2^53 are written by serde_json as
/// that asks.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    agreement: Id,
    at: String,
    by: String,
    council: Option<Name>,
    effect: Effect,
    network: Name,
    number: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<SignatureBytes>,
    terms: String,
    #[serde(rename = "turnpike-notice")]
    version: u64,
    why: Option<String>,
}

/// The one field that every version has.
#[derive(Deserialize)]
struct Versioned {
    #[serde(rename = "turnpike-notice")]
    version: u64,
}

impl Notice {
    /// That it says nothing that no notice may say.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), NoticeError> {
        let plain =
            |text: &str| (1..=MAX_TEXT).contains(&text.len()) && !text.trim().is_empty() && !text.chars().any(steers);
        if !(1..=MAX_NOTICE_NUMBER).contains(&self.number) {
            return Err(NoticeError::Number(self.number));
        }
        if !is_hash(&self.terms) {
            return Err(NoticeError::Terms);
        }
        if !plain(&self.by) {
            return Err(NoticeError::Text("by"));
        }
        match &self.why {
            Some(why) if !plain(why) => return Err(NoticeError::Text("why")),
            None if self.council.is_none() => return Err(NoticeError::NoReason),
            Some(_) | None => {}
        }
        if self.council.is_none() && !self.effect.is_operators() {
            return Err(NoticeError::NotOperators(self.effect));
        }
        Ok(())
    }

    /// Signs it. What [`Self::check`] refuses can be signed, and will not be read by anyone.
    pub fn sign(self, signer: &Signer) -> SignedNotice {
        let signature = signer.sign(self.message().as_bytes());
        SignedNotice { notice: self, signature }
    }

    /// The claim that `signature` is this key's over this notice: to be judged with others.
    pub fn signed(&self, key: &Verifier, signature: &SignatureBytes) -> Signed<String> {
        Signed { key: *key, message: self.message(), signature: *signature }
    }

    /// What is signed begins with its purpose, so that it cannot be read as the signature under something else.
    fn message(&self) -> String {
        format!("turnpike notice 1\n{}", Digest::of(&[&self.octets(None)]).hex())
    }

    fn octets(&self, signature: Option<&SignatureBytes>) -> Vec<u8> {
        let written = Written {
            agreement: self.agreement.clone(),
            at: date(self.at),
            by: self.by.clone(),
            council: self.council.clone(),
            effect: self.effect,
            network: self.network.clone(),
            number: self.number,
            signature: signature.copied(),
            terms: self.terms.clone(),
            version: VERSION,
            why: self.why.clone(),
        };
        // The encoder fails for no text and no number.
        serde_json::to_vec(&written).unwrap_or_default()
    }
}

impl SignedNotice {
    /// Reads a notice; nothing of it may be believed before [`Self::signed_by`] says yes for a key that is trusted.
    ///
    /// # Errors
    /// [`NoticeError`], one per cause; no octets whatever make it panic.
    pub fn parse(octets: &[u8]) -> Result<Self, NoticeError> {
        if octets.len() > MAX_NOTICE_OCTETS {
            return Err(NoticeError::TooLarge(octets.len()));
        }
        let refuse = |error: serde_json::Error| {
            if error.is_eof() && octets.first() == Some(&b'{') {
                NoticeError::Truncated(octets.len())
            } else {
                NoticeError::NotANotice(error.to_string())
            }
        };
        match serde_json::from_slice::<Versioned>(octets).map_err(refuse)?.version {
            VERSION => {}
            other => return Err(NoticeError::UnknownVersion(other)),
        }
        let signed = serde_json::from_slice::<Written>(octets).map_err(refuse)?.read()?;
        if signed.to_octets() != octets {
            return Err(NoticeError::NotCanonical);
        }
        signed.notice.check()?;
        Ok(signed)
    }

    /// The canonical JSON: what a file or message holds, without a line break at its end.
    pub fn to_octets(&self) -> Vec<u8> {
        self.notice.octets(Some(&self.signature))
    }

    /// Whether this key has signed it.
    pub fn signed_by(&self, key: &Verifier) -> bool {
        all_hold(&[self.notice.signed(key, &self.signature)])
    }
}

impl Written {
    fn read(self) -> Result<SignedNotice, NoticeError> {
        let other = |what: &str| NoticeError::NotANotice(what.to_owned());
        let at = Timestamp::from_str(&self.at).map_err(|_| other("'at' is not a date"))?;
        let signature = self.signature.ok_or_else(|| other("it is not signed"))?;
        let Self { agreement, by, council, effect, network, number, terms, why, .. } = self;
        let notice = Notice { network, agreement, council, by, number, effect, terms, why, at };
        Ok(SignedNotice { notice, signature })
    }
}

fn is_hash(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.strip_prefix("sha256:").is_some_and(|digits| digits.len() == 64 && digits.bytes().all(hex))
}

fn date(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests;
