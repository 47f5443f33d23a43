//! A bundle that has to be confirmed, else the former one comes back.
//!
//! ```text
//!  apply ─▶ written: Pending, the bundle's octets ─▶ kernel ─▶ on trial ─┬─ confirm ──▶ acknowledged
//!                                                                        ├─ the time is up ──┐
//!                                                                        ├─ rollback ────────┼─▶ the former one
//!                                                                        └─ another boot ────┘
//! ```
//!
//! The time is BOOTTIME's. What is on trial is not acknowledged, so that the former generation is no step back. A process that
//! ends in between changes nothing; a machine that starts anew in between starts by the former bundle. What was rolled back is not
//! taken from the bundle file again, only by another `apply`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::activity::silences;
use super::control::Caller;
use super::error::GatewayError;
use super::raise::{Gateway, Target};
use super::source::{self, Chosen};
use crate::bundle::{Bundle, Digest};
use crate::store::gateway::{Record, StateError, Step, What, recall};
use crate::sys::{clock, host};
use crate::telemetry::conditions::Condition;

/// The longest time for which a bundle may be on trial.
pub const LONGEST_TRIAL: Duration = Duration::from_secs(24 * 3600);

/// What a bundle is applied with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// The bundle's file; the one that the gateway was started with if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<PathBuf>,
    /// For how long it is on trial, in seconds; for good if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within: Option<u64>,
    /// Whether it may deny all that passes now.
    #[serde(default)]
    pub deny_all_intended: bool,
}

/// A bundle on trial, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// The boot of the machine in which it was applied.
    boot: String,
    /// BOOTTIME when it was.
    since: Duration,
    /// BOOTTIME when it is rolled back.
    until: Duration,
    /// Its generation.
    generation: u64,
    /// The digest of its octets.
    digest: Digest,
}

/// A bundle on trial.
pub struct Trial {
    /// As it is written.
    pub pending: Pending,
    /// Its octets.
    octets: Vec<u8>,
    /// What comes back; `None` after a restart, when it is in the state alone.
    former: Option<Target>,
}

impl Pending {
    /// Whether a process that starts now goes on with it.
    fn lasts(&self) -> bool {
        self.boot == clock::boot() && clock::now().boottime < self.until
    }

    /// Whether it is this bundle that is on trial.
    pub fn is(&self, bundle: &Bundle) -> bool {
        self.digest == bundle.digest
    }
}

/// A bundle that was rolled back, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolledBack {
    /// Its generation.
    pub generation: u64,
    /// The digest of its octets.
    pub digest: Digest,
}

/// What a state says about a trial that a former process began, and what comes of it: rolled back unless it still lasts.
///
/// # Errors
/// [`StateError`].
pub fn resumed(state: &crate::store::gateway::GatewayState) -> Result<Option<Pending>, StateError> {
    let Some(pending) = recall::<Pending>(state.folder(), Record::Pending)? else { return Ok(None) };
    if pending.lasts() {
        return Ok(Some(pending));
    }
    forget(state, &pending, "the machine or the gateway was not running when its time was up")?;
    Ok(None)
}

/// What a state says is on trial, whoever uses it.
pub fn pending(folder: &Path) -> Option<Pending> {
    recall::<Pending>(folder, Record::Pending).ok().flatten().filter(Pending::lasts)
}

/// Writes that a bundle is rolled back, in an order in which a crash leaves nothing that would bring it back.
fn forget(state: &crate::store::gateway::GatewayState, pending: &Pending, why: &str) -> Result<(), StateError> {
    let Pending { generation, digest, .. } = *pending;
    state.remember(Record::RolledBack, &RolledBack { generation, digest })?;
    state.discard(generation)?;
    state.forget(Record::Pending)?;
    let note = Some(why.to_owned());
    state.log(Step { at: Timestamp::now(), what: What::RolledBack, generation, by: None, note })
}

impl Gateway {
    /// Applies a bundle, on trial if that is asked for.
    ///
    /// # Errors
    /// [`GatewayError`]: the former one stays in force.
    pub async fn apply(&mut self, asked: &Apply, caller: Caller) -> Result<String, GatewayError> {
        let chosen = match self.offered(asked).await {
            Ok(chosen) => chosen,
            Err(error) => return Err(self.refuse(error, caller)),
        };
        let generation = chosen.bundle.generation;
        if chosen.bundle.digest == self.target.bundle.digest {
            return Ok(format!("generation {generation} was in force already"));
        }
        let pending = asked.confirm_within.map(|seconds| Pending {
            boot: clock::boot(),
            since: clock::now().boottime,
            until: clock::now().boottime.saturating_add(Duration::from_secs(seconds)),
            generation,
            digest: chosen.bundle.digest,
        });
        if let Err(error) = self.try_out(chosen, pending).await {
            return Err(self.fail(error, caller));
        }
        match asked.confirm_within {
            None => {
                self.log(What::Applied, generation, caller, None);
                Ok(format!("generation {generation} is in force"))
            }
            Some(seconds) => {
                self.log(What::OnTrial, generation, caller, Some(format!("for {seconds} s")));
                Ok(format!(
                    "generation {generation} is in force for {seconds} s: confirm it from a session opened from now on, or \
                     generation {} comes back",
                    self.trial
                        .as_ref()
                        .and_then(|trial| trial.former.as_ref())
                        .map_or(0, |former| former.bundle.generation)
                ))
            }
        }
    }

    /// The bundle to apply, which may be one that was rolled back.
    async fn offered(&mut self, asked: &Apply) -> Result<Chosen, GatewayError> {
        self.refuse_during_trial()?;
        if asked.confirm_within.is_some_and(|seconds| !(1..=LONGEST_TRIAL.as_secs()).contains(&seconds)) {
            return Err(GatewayError::TrialLength);
        }
        let (taken, _) = self.taken();
        let path = asked.bundle.clone().unwrap_or_else(|| self.settings.bundle.clone());
        let chosen = source::offered(&path, &self.trust, &self.keys, Some(&taken))?;
        self.configuration.offered = chosen.bundle.generation;
        if !asked.deny_all_intended && self.would_silence(&chosen.bundle).await? {
            return Err(GatewayError::DeniesAll);
        }
        Ok(chosen)
    }

    /// Whether a bundle would deny all that passes now.
    async fn would_silence(&mut self, bundle: &Bundle) -> Result<bool, GatewayError> {
        self.enforcer.count().await?;
        let boottime = clock::now().boottime;
        self.activity.note(self.enforcer.counters(), boottime);
        let new = bundle.policy.without(|agreement| bundle.narrowing.removes(agreement));
        Ok(silences(&self.target.policy, &new, self.activity.talking(boottime)))
    }

    /// # Errors
    /// [`GatewayError::OnTrial`] while a bundle is.
    pub fn refuse_during_trial(&self) -> Result<(), GatewayError> {
        match &self.trial {
            None => Ok(()),
            Some(trial) => Err(GatewayError::OnTrial { generation: trial.pending.generation }),
        }
    }

    async fn try_out(&mut self, chosen: Chosen, pending: Option<Pending>) -> Result<(), GatewayError> {
        let Some(pending) = pending else { return self.change_to(chosen, true).await.map(drop) };
        let octets = chosen.octets.clone();
        // Before the kernel, so that whatever ends this process finds the way back.
        self.state.keep_aside(pending.generation, &octets)?;
        self.state.remember(Record::Pending, &pending)?;
        match self.change_to(chosen, false).await {
            Ok(former) => {
                self.trial = Some(Trial { pending, octets, former: Some(former) });
                Ok(())
            }
            Err(error) => {
                let undone = self.state.forget(Record::Pending).and_then(|()| self.state.discard(pending.generation));
                if let Err(error) = undone {
                    tracing::warn!(%error, "the record of a bundle that was not applied could not be removed");
                }
                Err(error)
            }
        }
    }

    /// Acknowledges what is on trial, if whoever asks came in after it was applied.
    ///
    /// # Errors
    /// [`GatewayError`]: it stays on trial.
    pub fn confirm(&mut self, caller: Caller) -> Result<String, GatewayError> {
        let Some(trial) = &self.trial else {
            return Err(GatewayError::NothingOnTrial { rolled_back: self.rolled_back() });
        };
        let opened = caller.process.and_then(host::session_began);
        if opened.is_none_or(|opened| opened < trial.pending.since) {
            return Err(GatewayError::OldSession { generation: trial.pending.generation });
        }
        self.state.forget(Record::Pending)?;
        let Some(Trial { pending, octets, .. }) = self.trial.take() else { return Ok(String::new()) };
        self.acknowledge(octets);
        self.log(What::Confirmed, pending.generation, caller, None);
        Ok(format!("generation {} is confirmed", pending.generation))
    }

    /// The generation that was rolled back last, if it was the last that was on trial.
    fn rolled_back(&self) -> Option<u64> {
        let rolled = recall::<RolledBack>(self.state.folder(), Record::RolledBack).ok().flatten()?;
        (rolled.generation > self.target.bundle.generation).then_some(rolled.generation)
    }

    /// Brings the former bundle back if the time of the one on trial is up. Gives how long that will be.
    pub async fn keep_trial(&mut self) -> Option<Duration> {
        let until = self.trial.as_ref()?.pending.until;
        let left = until.saturating_sub(clock::now().boottime);
        if left.is_zero()
            && let Err(error) = self.roll_back("it was not confirmed in time").await
        {
            tracing::error!(%error, "the former bundle could not be brought back; it is tried again");
            self.overdue = Some(Condition::HonourFailed { cause: error.to_string() });
        }
        Some(left)
    }

    /// Brings the former bundle back.
    ///
    /// # Errors
    /// [`GatewayError`]: it is tried again.
    pub async fn roll_back(&mut self, why: &str) -> Result<String, GatewayError> {
        let Some(mut trial) = self.trial.take() else {
            return Err(GatewayError::NothingOnTrial { rolled_back: self.rolled_back() });
        };
        let outcome = self.bring_back(&mut trial).await;
        if let Err(error) = outcome {
            self.trial = Some(trial);
            return Err(error);
        }
        if let Err(error) = forget(&self.state, &trial.pending, why) {
            tracing::error!(%error, "what was rolled back could not be written");
            self.troubles.state = Some(Condition::StateUnwritable { cause: error.to_string() });
        }
        self.overdue = None;
        let generation = self.target.bundle.generation;
        tracing::warn!(generation, why, "the former bundle is in force again");
        Ok(format!(
            "generation {} was rolled back: generation {generation} is in force again",
            trial.pending.generation
        ))
    }

    async fn bring_back(&mut self, trial: &mut Trial) -> Result<(), GatewayError> {
        let former = match trial.former.take() {
            Some(former) => former,
            None => self.former(&trial.pending)?,
        };
        // Its agreements may have begun and ended meanwhile.
        let (moment, boottime) = self.moment();
        let target = former.at(&self.settings, self.mute.is_some(), &self.notices, &moment, boottime)?;
        if let Err(error) = self.put(&target).await {
            trial.former = Some(target);
            return Err(error);
        }
        self.target = target;
        self.recorder.rename(|| self.target.directory(&self.settings));
        self.configuration.generation = self.target.bundle.generation;
        self.configuration.applied = Timestamp::now();
        Ok(())
    }

    /// The bundle that was acknowledged last, after a restart amid a trial.
    fn former(&mut self, pending: &Pending) -> Result<Target, GatewayError> {
        let (taken, _) = source::acknowledged(&self.state);
        let (kept, _) = self.state.bundles()?;
        let older = kept.into_iter().filter(|kept| kept.generation < pending.generation);
        let mut genuine = older.filter_map(|kept| crate::bundle::open(&kept.octets, &self.trust).ok());
        let bundle = genuine.find(|bundle| taken.as_ref().is_none_or(|taken| taken.digest == bundle.digest));
        let missing = || GatewayError::NeverAccepted { state: self.state.folder().to_owned() };
        let bundle = bundle.ok_or_else(missing)?;
        let moment = self.timekeeper.moment();
        Target::of(bundle, &self.settings, &self.keys, &mut self.planner, self.mute.is_some(), &self.notices, &moment)
    }

    /// What is to be said of a bundle on trial.
    pub fn trial_condition(&self) -> Option<Condition> {
        let trial = self.trial.as_ref()?;
        let left = trial.pending.until.saturating_sub(clock::now().boottime).as_secs();
        Some(Condition::OnTrial { generation: trial.pending.generation, left })
    }

    /// Goes on with a trial that a former process began.
    pub fn resume(&mut self, pending: Pending, octets: Vec<u8>) {
        self.trial = Some(Trial { pending, octets, former: None });
    }

    /// Writes a step of the history.
    pub fn log(&mut self, what: What, generation: u64, caller: Caller, note: Option<String>) {
        let step = Step { at: Timestamp::now(), what, generation, by: caller.user, note };
        if let Err(error) = self.state.log(step) {
            tracing::warn!(%error, "the history could not be written");
        }
    }
}

/// Refuses a bundle that was rolled back.
///
/// # Errors
/// [`GatewayError::RolledBack`].
pub fn refuse_rolled_back(state: &Path, bundle: &Bundle) -> Result<(), GatewayError> {
    match recall::<RolledBack>(state, Record::RolledBack) {
        Ok(Some(rolled)) if rolled.digest == bundle.digest => {
            Err(GatewayError::RolledBack { generation: rolled.generation })
        }
        // What cannot be read forbids nothing.
        Ok(_) | Err(_) => Ok(()),
    }
}
