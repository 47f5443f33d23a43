//! How an agreement stands, derived from its consents, its notices and its dates; nobody writes it down.
//!
//! ```text
//!            propose            accept (all)          suspend
//!   draft ───────────▶ proposed ───────────▶ active ◀─────────▶ suspended     not_after passed: expired, from each
//!     ▲                    │                                      lift
//!     └──── refuse ────────┘      revoke, from each: revoked. Those terms are dead: other terms begin as a draft
//! ```

use std::fmt;

use jiff::Timestamp;

use super::model::Agreement;
use crate::bundle::{Hours, Withheld, standing};
use crate::identity::Name;

/// How an agreement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// No council has consented, or one has refused these terms.
    Draft,
    /// Some councils have consented, others not yet.
    Proposed,
    /// All have. It may begin later, or ask for what this version cannot enforce.
    Active,
    /// A council or the operator has it rest.
    Suspended,
    /// Its end has passed.
    Expired,
    /// A council has revoked these terms, for good.
    Revoked,
}

impl State {
    /// Every state, in the order of an agreement's life.
    pub const ALL: [Self; 6] =
        [Self::Draft, Self::Proposed, Self::Active, Self::Suspended, Self::Expired, Self::Revoked];

    /// The word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Proposed => "proposed",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A word for no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no state '{0}'")]
pub struct StateError(String);

impl std::str::FromStr for State {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        Self::ALL.into_iter().find(|state| state.label() == text).ok_or_else(|| StateError(text.to_owned()))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// A reason for which an agreement compiles to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Void {
    /// No valid consent of this council.
    #[error("council '{0}' has not consented")]
    ConsentMissing(Name),
    /// It begins later.
    #[error("{}", Withheld::NotYet(*.0))]
    NotYet(Timestamp),
    /// It has ended.
    #[error("{}", Withheld::Ended(*.0))]
    Ended(Timestamp),
    /// It may be used at other hours.
    #[error("{}", Withheld::OutsideHours(.0.clone()))]
    OutsideHours(Hours),
    /// It asks for something that this version cannot enforce, such as `identity = "card"`.
    #[error("this version cannot enforce {0}")]
    Unsupported(String),
    /// It rests.
    #[error("{} has suspended it{}", party(by.as_ref()), because(why.as_ref()))]
    Suspended {
        /// The council that has it rest; `None` is the operator.
        by: Option<Name>,
        /// Why.
        why: Option<String>,
    },
    /// A council has refused these terms.
    #[error("council '{council}' has refused these terms{}", because(why.as_ref()))]
    Refused {
        /// The council.
        council: Name,
        /// Why.
        why: Option<String>,
    },
    /// A council has ended these terms for good.
    #[error("council '{council}' has revoked these terms")]
    Revoked {
        /// The council.
        council: Name,
    },
}

impl Void {
    /// What keeps an agreement from being in force at this time, if it is the time.
    pub fn of(untimely: Withheld) -> Option<Self> {
        match untimely {
            Withheld::NotYet(begin) => Some(Self::NotYet(begin)),
            Withheld::Ended(end) => Some(Self::Ended(end)),
            Withheld::OutsideHours(hours) => Some(Self::OutsideHours(hours)),
            Withheld::Revoked | Withheld::Suspended | Withheld::ClockUnconfirmed | Withheld::LeaseEnded(_) => None,
        }
    }

    /// Whether no passing of time removes it.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::NotYet(_) | Self::Ended(_) | Self::OutsideHours(_) => false,
            Self::ConsentMissing(_)
            | Self::Unsupported(_)
            | Self::Suspended { .. }
            | Self::Refused { .. }
            | Self::Revoked { .. } => true,
        }
    }

    /// Where in an agreement's life this leaves it, if it says anything of that.
    fn state(&self) -> Option<State> {
        match self {
            Self::ConsentMissing(_) => Some(State::Proposed),
            Self::Refused { .. } => Some(State::Draft),
            Self::Suspended { .. } => Some(State::Suspended),
            Self::Ended(_) => Some(State::Expired),
            Self::Revoked { .. } => Some(State::Revoked),
            Self::NotYet(_) | Self::OutsideHours(_) | Self::Unsupported(_) => None,
        }
    }
}

/// A party, as people read it; `None` is the operator.
pub(crate) fn party(council: Option<&Name>) -> String {
    council.map_or_else(|| "the operator".to_owned(), |name| format!("council '{name}'"))
}

fn because(why: Option<&String>) -> String {
    why.map(|why| format!(": {why}")).unwrap_or_default()
}

/// A council whose consent an agreement lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The council.
    pub council: Name,
    /// Who has signed for it without effect, if anybody has.
    pub by: Option<String>,
    /// When, as that consent says.
    pub at: Option<Timestamp>,
    /// Why it does not count.
    pub fault: String,
}

impl Agreement {
    /// Whether its rules are compiled.
    pub fn in_force(&self) -> bool {
        self.void.is_empty()
    }

    /// Its hours as they are written: `always` where it has none.
    pub fn hours(&self) -> &str {
        self.hours.as_ref().map_or("always", Hours::text)
    }

    /// Whether its rules would be compiled at another instant than the model's.
    pub fn in_force_at(&self, at: Timestamp) -> bool {
        self.lasting_void().next().is_none() && self.untimely(at).is_none()
    }

    /// Whether gateways are told of it: it is in force, or will be without anybody's doing.
    pub fn is_told(&self, at: Timestamp) -> bool {
        self.lasting_void().next().is_none() && !matches!(self.untimely(at), Some(Withheld::Ended(_)))
    }

    /// Why its dates and hours keep it from being in force at an instant.
    fn untimely(&self, at: Timestamp) -> Option<Withheld> {
        standing(self.not_before, self.not_after, self.hours.as_ref(), at)
    }

    /// The reasons against it that no passing of time removes.
    pub fn lasting_void(&self) -> impl Iterator<Item = &Void> {
        self.void.iter().filter(|void| void.is_lasting())
    }

    /// How it stands: of several reasons that which weighs most says it.
    pub fn state(&self) -> State {
        let any = |state| self.void.iter().any(|void| void.state() == Some(state));
        if any(State::Revoked) {
            State::Revoked
        } else if any(State::Expired) {
            State::Expired
        } else if any(State::Draft) || (any(State::Proposed) && self.consents.is_empty()) {
            State::Draft
        } else if any(State::Proposed) {
            State::Proposed
        } else if any(State::Suspended) {
            State::Suspended
        } else {
            State::Active
        }
    }

    /// The highest number of each party's notices, by party: no gateway takes an older one of them. `None`, the operator,
    /// comes first.
    pub fn settled(&self) -> Vec<(Option<Name>, u64)> {
        let mut settled: Vec<(Option<Name>, u64)> = Vec::new();
        for notice in &self.notices {
            match settled.iter_mut().find(|(council, _)| *council == notice.council) {
                Some((_, number)) => *number = notice.number.max(*number),
                None => settled.push((notice.council.clone(), notice.number)),
            }
        }
        settled.sort_unstable();
        settled
    }
}
