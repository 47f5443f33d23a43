//! Which agreements of its bundle a gateway honours at an instant, and when that may change.
//!
//! ```text
//!  Moment: clock ────▶ begun? ended? within its hours? ─┐
//!          silence ──▶ lease                            ├─▶ Withheld, or honoured
//!  Narrowing ────────▶ revoked? suspended? ─────────────┘
//! ```
//!
//! A clock that nobody vouches for since the machine started closes what it could open by being wrong: hours, and what had not
//! begun as far as is known. An end it can only bring nearer.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Agreement, Hours, Policy, settle};

/// What a gateway knows of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// It is this time.
    Confirmed(Timestamp),
    /// Nobody has vouched for the clock since the machine started.
    Unconfirmed {
        /// The clock's time, or `floor` if that is later.
        latest: Timestamp,
        /// The last time that was vouched for: it has passed.
        floor: Timestamp,
    },
}

/// What the honouring of agreements depends on, at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time.
    pub clock: Clock,
    /// How long the controller has not been heard.
    pub silence: Duration,
}

/// Why an agreement of the bundle is not honoured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// It was revoked.
    #[error("it was revoked")]
    Revoked,
    /// It was suspended.
    #[error("it is suspended")]
    Suspended,
    /// It begins later.
    #[error("it begins at {0}")]
    NotYet(Timestamp),
    /// It has ended.
    #[error("it ended at {0}")]
    Ended(Timestamp),
    /// It may be used at other hours.
    #[error("it may be used {0} alone")]
    OutsideHours(Hours),
    /// It depends on the time of day, or on a beginning, and the clock is not confirmed.
    #[error("the clock is not confirmed since the machine started")]
    ClockUnconfirmed,
    /// The controller has not been heard for the lease of its class.
    #[error("the controller has not been heard for {0} s, the lease of its class")]
    LeaseEnded(u64),
}

impl Withheld {
    /// Every name that [`Self::label`] gives.
    pub const LABELS: [&'static str; 7] =
        ["revoked", "suspended", "not-yet", "ended", "outside-hours", "clock-unconfirmed", "lease-ended"];

    /// Its stable name.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Suspended => "suspended",
            Self::NotYet(_) => "not-yet",
            Self::Ended(_) => "ended",
            Self::OutsideHours(_) => "outside-hours",
            Self::ClockUnconfirmed => "clock-unconfirmed",
            Self::LeaseEnded(_) => "lease-ended",
        }
    }
}

/// Why what has these dates and hours is not in force at an instant. Dates count in whole seconds, and both belong to its time.
pub fn standing(
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    hours: Option<&Hours>,
    at: Timestamp,
) -> Option<Withheld> {
    let early = || not_before.filter(|begin| at.as_second() < begin.as_second()).map(Withheld::NotYet);
    let late = || not_after.filter(|end| at.as_second() > end.as_second()).map(Withheld::Ended);
    let outside = || hours.filter(|hours| !hours.contains(at)).cloned().map(Withheld::OutsideHours);
    early().or_else(late).or_else(outside)
}

impl Moment {
    /// At this time, and the controller has just been heard.
    pub fn at(at: Timestamp) -> Self {
        Self { clock: Clock::Confirmed(at), silence: Duration::ZERO }
    }

    /// Why the agreement is not honoured.
    pub fn withholds(&self, agreement: &Agreement) -> Option<Withheld> {
        let Agreement { not_before, not_after, hours, lease_seconds, .. } = agreement;
        let timely = match self.clock {
            Clock::Confirmed(at) => standing(*not_before, *not_after, hours.as_ref(), at),
            Clock::Unconfirmed { latest, floor } => {
                let vague = hours.is_some() || not_before.is_some_and(|begin| floor.as_second() < begin.as_second());
                standing(*not_before, *not_after, None, latest).or(vague.then_some(Withheld::ClockUnconfirmed))
            }
        };
        let ended = self.silence >= Duration::from_secs(*lease_seconds);
        timely.or(ended.then_some(Withheld::LeaseEnded(*lease_seconds)))
    }

    /// How long it takes at least until another agreement is honoured, or one is not any more, if nothing is heard.
    /// `None` if time alone changes nothing.
    pub fn lasts(&self, policy: &Policy) -> Option<Duration> {
        let mut hours: BTreeMap<&str, &Hours> = BTreeMap::new();
        let mut bounds: Vec<Timestamp> = Vec::new();
        let mut leases: Vec<Duration> = Vec::new();
        for agreement in &policy.agreements {
            hours.extend(agreement.hours.as_ref().map(|hours| (hours.text(), hours)));
            bounds.extend(agreement.not_before);
            // The first second that is not in it.
            bounds.extend(agreement.not_after.and_then(|end| end.checked_add(SignedDuration::from_secs(1)).ok()));
            leases.push(Duration::from_secs(agreement.lease_seconds));
        }
        let now = match self.clock {
            Clock::Confirmed(at) => at,
            Clock::Unconfirmed { latest, .. } => latest,
        };
        bounds.extend(hours.values().filter_map(|hours| hours.next_look(now)));
        let whole = bounds.into_iter().filter_map(|bound| Timestamp::from_second(bound.as_second()).ok());
        let times = whole.filter(|bound| *bound > now).map(|bound| bound.duration_since(now).unsigned_abs());
        let leases = leases.into_iter().filter(|lease| *lease > self.silence).map(|lease| lease - self.silence);
        times.chain(leases).min()
    }
}

impl Policy {
    /// The agreements that are not honoured at a moment, and why, by number.
    pub fn withheld(&self, moment: &Moment) -> BTreeMap<u32, Withheld> {
        // What had begun when this was signed has begun.
        let clock = match moment.clock {
            Clock::Unconfirmed { latest, floor } => {
                let floor = self.signed_after.map_or(floor, |signed| signed.max(floor));
                Clock::Unconfirmed { latest: latest.max(floor), floor }
            }
            confirmed @ Clock::Confirmed(_) => confirmed,
        };
        let moment = Moment { clock, ..*moment };
        let withheld = |agreement: &Agreement| Some((agreement.number, moment.withholds(agreement)?));
        self.agreements.iter().filter_map(withheld).collect()
    }

    /// The policy without some of its agreements. A flow that a further agreement also allows goes on under that one's number.
    pub fn without(&self, removed: impl Fn(u32) -> bool) -> Self {
        let mut left = self.clone();
        left.agreements.retain(|agreement| !removed(agreement.number));
        if left.agreements.len() == self.agreements.len() {
            return left;
        }
        let rules = self.rules.iter().chain(&self.shadowed).filter(|rule| !removed(rule.agreement));
        (left.rules, left.shadowed) = settle(rules.copied());
        left
    }

    /// What is in force at this time, while the controller is heard.
    pub fn at(&self, at: Timestamp) -> Self {
        let withheld = self.withheld(&Moment::at(at));
        self.without(|number| withheld.contains_key(&number))
    }
}
