//! Which agreements of the bundle in force are honoured now, and the kernel brought to that without a new bundle.
//!
//! ```text
//!  Timekeeper ─▶ Moment ─┐
//!  narrowing, notices ───┼─▶ withheld ─ other than before? ─▶ Ruleset ─▶ one transaction of what differs
//!  bundle ───────────────┘
//! ```
//!
//! Whatever is due and could not be done is tried again at each look, and meanwhile the alive element is not renewed: what should
//! have ended ends with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::control::Caller;
use super::error::GatewayError;
use super::notices::Notices;
use super::raise::{Gateway, Target};
use super::timekeeper::{Authority, Memory, PERIOD, Timekeeper};
use crate::bundle::{Bundle, Clock, Moment, Notice, SignedHeartbeat, Withheld};
use crate::store::gateway::{Record, What, recall};
use crate::sys::clock;
use crate::telemetry::conditions::Condition;

/// How often the clocks are looked at when nothing is due: a clock that was set is noticed within it, and a machine that
/// was suspended needs no more to find what it missed.
pub const GLANCE: Duration = Duration::from_millis(500);

/// How far a clock may move against BOOTTIME without having been set: both are steered by the same time service.
const SLACK: SignedDuration = SignedDuration::from_millis(50);

/// What of a bundle's agreements is not honoured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Honour {
    /// Why, by number.
    pub withheld: BTreeMap<u32, Withheld>,
    /// BOOTTIME at which that may be otherwise.
    pub until: Option<Duration>,
    /// By which clock that was found.
    by: Course,
}

/// A clock, as against BOOTTIME: the same until somebody sets or confirms it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Course {
    confirmed: bool,
    ahead: SignedDuration,
}

impl Course {
    fn of(moment: &Moment, boottime: Duration) -> Self {
        let (confirmed, now) = match moment.clock {
            Clock::Confirmed(now) => (true, now),
            Clock::Unconfirmed { latest, .. } => (false, latest),
        };
        let boottime = SignedDuration::try_from(boottime).unwrap_or(SignedDuration::MAX);
        Self { confirmed, ahead: now.as_duration().saturating_sub(boottime) }
    }

    fn differs(self, other: Self) -> bool {
        self.confirmed != other.confirmed || self.ahead.saturating_sub(other.ahead).abs() > SLACK
    }
}

impl Honour {
    /// What is honoured of `bundle` at `moment`, when BOOTTIME says `boottime`.
    pub fn of(bundle: &Bundle, notices: &Notices, moment: &Moment, boottime: Duration) -> Self {
        let mut withheld = bundle.policy.withheld(moment);
        withheld.extend(notices.withheld(&bundle.policy));
        let narrowed = bundle.policy.agreements.iter().map(|agreement| agreement.number);
        withheld.extend(narrowed.filter_map(|number| Some((number, bundle.narrowing.withholds(number)?))));
        let until = moment.lasts(&bundle.policy).map(|wait| boottime.saturating_add(wait));
        Self { withheld, until, by: Course::of(moment, boottime) }
    }

    /// Whether it may be otherwise by now.
    fn is_due(&self, moment: &Moment, boottime: Duration) -> bool {
        self.until.is_some_and(|until| until <= boottime) || self.by.differs(Course::of(moment, boottime))
    }

    /// Whether an agreement is honoured.
    pub fn holds(&self, agreement: u32) -> bool {
        !self.withheld.contains_key(&agreement)
    }
}

/// What is not honoured of the bundle in a state folder that no gateway uses, and why.
pub fn at_rest(state: &Path, bundle: &Bundle) -> BTreeMap<u32, String> {
    let memory = recall::<Memory>(state, Record::Clock).unwrap_or_default();
    let reading = clock::now();
    let moment = Timekeeper::wake(memory, &clock::boot(), reading, Authority::Heartbeat).moment();
    let notices = recall(state, Record::Notices).ok().flatten().unwrap_or_default();
    let honour = Honour::of(bundle, &notices, &moment, reading.boottime);
    honour.withheld.iter().map(|(number, why)| (*number, why.to_string())).collect()
}

impl Gateway {
    /// Looks at the clocks, and does what is due. Gives how long nothing will be.
    pub async fn keep_time(&mut self) -> Duration {
        let reading = clock::now();
        self.timekeeper.settle(reading);
        if self.written.is_none_or(|at| reading.boottime.saturating_sub(at) >= PERIOD) {
            self.write_clock();
        }
        let moment = self.timekeeper.moment();
        if self.overdue.is_some() || self.target.honour.is_due(&moment, reading.boottime) {
            self.honour_at(&moment, reading.boottime).await;
        }
        let wait = self.target.honour.until.map(|until| until.saturating_sub(clock::now().boottime));
        // What could not be done is not tried without a pause.
        let wait = wait.filter(|_| self.overdue.is_none());
        wait.map_or(GLANCE, |wait| wait.min(GLANCE))
    }

    /// What agreements depend on now, and BOOTTIME.
    pub fn moment(&mut self) -> (Moment, Duration) {
        let reading = clock::now();
        self.timekeeper.settle(reading);
        (self.timekeeper.moment(), reading.boottime)
    }

    /// Brings the kernel to what is honoured at a moment.
    pub async fn honour_at(&mut self, moment: &Moment, boottime: Duration) {
        let honour = Honour::of(&self.target.bundle, &self.notices, moment, boottime);
        if honour.withheld.keys().eq(self.target.honour.withheld.keys()) && self.overdue.is_none() {
            self.target.honour = honour;
            return;
        }
        self.overdue = match self.rehonour(honour).await {
            Ok(()) => None,
            Err(error) => {
                tracing::error!(%error, "agreements that begin or end now could not be brought to the kernel");
                Some(Condition::HonourFailed { cause: error.to_string() })
            }
        };
    }

    async fn rehonour(&mut self, honour: Honour) -> Result<(), GatewayError> {
        let policy = self.target.bundle.policy.without(|number| !honour.holds(number));
        let ruleset = self.target.ruleset_of(&policy, &self.settings, self.mute.is_some())?;
        self.enforcer.put(Arc::clone(&ruleset)).await?;
        for (number, reason) in &honour.withheld {
            if self.target.honour.holds(*number) {
                tracing::info!(agreement = number, %reason, "an agreement is no longer honoured");
            }
        }
        for number in self.target.honour.withheld.keys().filter(|number| honour.holds(**number)) {
            tracing::info!(agreement = number, "an agreement is honoured");
        }
        (self.target.policy, self.target.ruleset, self.target.honour) = (policy, ruleset, honour);
        self.recorder.rename(|| self.target.directory(&self.settings));
        Ok(())
    }

    /// Takes the octets of a heartbeat.
    ///
    /// # Errors
    /// In words: what is wrong with it. Nothing has changed then.
    pub async fn hear(&mut self, octets: &[u8]) -> Result<String, String> {
        let signed =
            SignedHeartbeat::parse(octets).map_err(|error| format!("the heartbeat cannot be read: {error}"))?;
        let own = &self.trust.network;
        if signed.content.network != *own {
            return Err(format!("the heartbeat is of network '{}', and this is '{own}'", signed.content.network));
        }
        if !signed.signed_by(&self.trust.controller) {
            return Err("the heartbeat's signature is not that of the controller's key".to_owned());
        }
        let reading = clock::now();
        self.timekeeper.settle(reading);
        self.timekeeper.hear(&signed.content, reading).map_err(|error| error.to_string())?;
        self.write_clock();
        let moment = self.timekeeper.moment();
        self.honour_at(&moment, reading.boottime).await;
        let number = signed.content.number;
        Ok(match moment.clock {
            Clock::Confirmed(now) => format!("heartbeat {number} was taken; it is {now}"),
            Clock::Unconfirmed { latest, .. } => format!(
                "heartbeat {number} of {} was taken, and does not confirm this machine's clock, {}: agreements with hours rest. \
                 Set the clock and hand over a new one. Known to have passed: {latest}",
                signed.content.at, reading.wall
            ),
        })
    }

    /// Takes the octets of a notice.
    ///
    /// # Errors
    /// In words: what is wrong with it. Nothing has changed then.
    pub async fn narrow(&mut self, octets: &[u8], caller: Caller) -> Result<String, String> {
        let policy = &self.target.bundle.policy;
        let notice = self.notices.take(octets, policy, &self.trust).map_err(|error| error.to_string())?;
        self.write_notices();
        let (moment, boottime) = self.moment();
        self.honour_at(&moment, boottime).await;
        let Notice { agreement, effect, by, number, why, .. } = notice;
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let said = format!("{agreement}: {effect}, number {number} by {by}{why}");
        self.log(What::Narrowed, self.target.bundle.generation, caller, Some(said.clone()));
        match &self.overdue {
            None => Ok(said),
            Some(condition) => Err(format!("it was taken, and is tried again: {}", condition.text())),
        }
    }

    /// Writes the notices that were taken, for a restart.
    pub fn write_notices(&mut self) {
        if let Err(error) = self.state.remember(Record::Notices, &self.notices) {
            tracing::error!(%error, "a notice could not be written: a restart would not know of it");
            self.troubles.state = Some(Condition::StateUnwritable { cause: error.to_string() });
        }
    }

    /// Writes what is known of the time, for a restart.
    pub fn write_clock(&mut self) {
        self.written = Some(clock::now().boottime);
        let written = self.state.remember(Record::Clock, self.timekeeper.memory());
        if let Err(error) = written {
            tracing::warn!(%error, "what is known of the time could not be written");
            self.troubles.state = Some(Condition::StateUnwritable { cause: error.to_string() });
        }
    }

    /// What is to be said of the clock and the leases.
    pub fn time_conditions(&self) -> Vec<Condition> {
        let withheld = &self.target.honour.withheld;
        let count = |wanted: fn(&Withheld) -> bool| withheld.values().filter(|reason| wanted(reason)).count();
        let (vague, ended) = (
            count(|reason| matches!(reason, Withheld::ClockUnconfirmed)),
            count(|reason| matches!(reason, Withheld::LeaseEnded(_))),
        );
        let unconfirmed = (vague > 0).then_some(Condition::ClockUnconfirmed { agreements: vague });
        let silence = self.timekeeper.moment().silence.as_secs();
        let lease = (ended > 0).then_some(Condition::LeaseEnded { agreements: ended, silence });
        unconfirmed.into_iter().chain(lease).chain(self.overdue.clone()).collect()
    }
}

impl Target {
    /// The agreements of the bundle that are not honoured, with the reasons.
    pub fn withheld(&self) -> impl Iterator<Item = (&crate::bundle::Agreement, &Withheld)> {
        let all = self.bundle.policy.agreements.iter();
        all.filter_map(|agreement| Some((agreement, self.honour.withheld.get(&agreement.number)?)))
    }
}
