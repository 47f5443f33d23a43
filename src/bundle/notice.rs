//! A notice: by it a council, or the operator, narrows one agreement, without anyone else having to agree.
//!
//! ```text
//!  suspend ◀──▶ lift     the same party's; all else is for good
//!  refuse, revoke
//! ```
//!
//! A [`Statement`] with a number that rises with each notice of a party about an agreement: an older one that is shown again is
//! known as such.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::statement::{Content, Statement, second};
use crate::identity::{Id, Name, steers};

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    #[serde(with = "second")]
    pub at: Timestamp,
}

/// A notice with a signature that has yet to be judged.
pub type SignedNotice = Statement<Notice>;

/// What no notice may say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoticeError {
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

impl Content for Notice {
    const KIND: &'static str = "notice";
    type Refusal = NoticeError;

    fn check(&self) -> Result<(), NoticeError> {
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
}

fn is_hash(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.strip_prefix("sha256:").is_some_and(|digits| digits.len() == 64 && digits.bytes().all(hex))
}

#[cfg(test)]
mod tests;
