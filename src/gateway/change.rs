//! A new bundle while traffic flows: all of it, or none.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::control::Caller;
use super::error::GatewayError;
use super::raise::{Gateway, Target, bring_up_segments, reconcile_to};
use super::source::{self, Chosen};
use super::{planner, preflight};
use crate::store::gateway::{Acknowledged, What};
use crate::sys::clock;
use crate::telemetry::conditions::Condition;

impl Gateway {
    /// Reads the bundle file again and puts it into force. Whatever is wrong with it, the former state stays.
    ///
    /// # Errors
    /// [`GatewayError`]: it is in the status too.
    pub async fn reload(&mut self, caller: Caller) -> Result<String, GatewayError> {
        self.refuse_during_trial()?;
        let (taken, damaged) = self.taken();
        let offered = source::offered(&self.settings.bundle, &self.trust, &self.keys, Some(&taken));
        match source::unless_rolled_back(offered, &self.state) {
            Err(error) => Err(self.refuse(error, caller)),
            Ok(chosen) => {
                self.configuration.offered = chosen.bundle.generation;
                let same = chosen.bundle.digest == self.target.bundle.digest;
                self.standing = damaged;
                match self.change_to(chosen, true).await {
                    Ok(_) if same => Ok(format!("generation {} was in force already", self.generation())),
                    Ok(_) => {
                        self.log(What::Applied, self.generation(), caller, None);
                        Ok(format!("generation {} is in force", self.generation()))
                    }
                    Err(error) => Err(self.fail(error, caller)),
                }
            }
        }
    }

    /// What no bundle may fall below, and what is wrong with the record of it.
    pub fn taken(&self) -> (Acknowledged, Vec<Condition>) {
        let (taken, damaged) = source::acknowledged(&self.state);
        // What could not be written to disk was acknowledged all the same.
        let in_force = source::acknowledgement(&self.target.bundle);
        (taken.filter(|taken| taken.generation > in_force.generation).unwrap_or(in_force), damaged)
    }

    fn generation(&self) -> u64 {
        self.target.bundle.generation
    }

    /// Notes that a bundle was refused.
    pub fn refuse(&mut self, error: GatewayError, caller: Caller) -> GatewayError {
        self.log(What::Refused, self.configuration.offered, caller, Some(error.to_string()));
        tracing::warn!(%error, "the bundle was refused; the former one stays in force");
        self.configuration.refused_total += 1;
        self.configuration.last_error = Some(error.to_string());
        self.troubles.change = Some(Condition::BundleRefused { cause: error.to_string() });
        error
    }

    /// Notes that a bundle could not be applied.
    pub fn fail(&mut self, error: GatewayError, caller: Caller) -> GatewayError {
        self.log(What::Failed, self.configuration.offered, caller, Some(error.to_string()));
        tracing::error!(%error, "the bundle could not be applied; the former one stays in force");
        self.configuration.failed_total += 1;
        self.configuration.last_error = Some(error.to_string());
        self.troubles.change = Some(Condition::ApplyFailed { cause: error.to_string() });
        error
    }

    /// Puts a bundle into force, and acknowledges it if it is `for_good`. Gives what was in force before.
    ///
    /// # Errors
    /// [`GatewayError`]: the former one is in force again.
    pub async fn change_to(&mut self, chosen: Chosen, for_good: bool) -> Result<Target, GatewayError> {
        let Chosen { bundle, octets, source, .. } = chosen;
        let held: BTreeSet<u16> = self.target.bundle.membership.uplinks.iter().map(planner::port).collect();
        if self.mute.is_some() {
            // The modules may have come since.
            self.mute = preflight::mute().await;
        }
        self.timekeeper.settle(clock::now());
        // A new generation is a sign of life, once it is taken.
        let mut heard = self.timekeeper.clone();
        heard.take(bundle.generation);
        let moment = heard.moment();
        let target = Target::of(
            bundle,
            &self.settings,
            &self.keys,
            &mut self.planner,
            self.mute.is_some(),
            &self.notices,
            &moment,
        )?;
        preflight::bundle(&self.netlink, &target.bundle, &target.policy, &held).await?;
        self.recorder.rename(|| target.directory(&self.settings));
        if let Err(error) = self.put(&target).await {
            self.put_back().await;
            self.recorder.rename(|| self.target.directory(&self.settings));
            return Err(error);
        }
        let former = std::mem::replace(&mut self.target, target);
        self.timekeeper = heard;
        self.overdue = None;
        if for_good {
            self.acknowledge(octets);
        }
        self.write_clock();
        self.configuration.generation = self.generation();
        self.configuration.source = source;
        self.configuration.applied = Timestamp::now();
        self.configuration.applied_total += 1;
        self.configuration.last_error = None;
        self.troubles.change = None;
        Ok(former)
    }

    /// Keeps the bundle in force, and forgets the notices that it has taken into account.
    pub fn acknowledge(&mut self, octets: Vec<u8>) {
        self.keep(octets);
        let before = self.notices.clone();
        self.notices.settle(&self.target.bundle.policy);
        if self.notices != before {
            self.write_notices();
        }
    }

    /// Brings the kernel and the data plane to `target`: the policy first, since it may close.
    pub async fn put(&mut self, target: &Target) -> Result<(), GatewayError> {
        self.enforcer.put(Arc::clone(&target.ruleset)).await?;
        bring_up_segments(&self.netlink, target).await?;
        reconcile_to(&self.netlink, &target.routing).await?;
        let receipt = self.dataplane.apply(target.plan.clone());
        receipt.map(drop).map_err(|error| GatewayError::Dataplane(error.to_string()))
    }

    async fn put_back(&mut self) {
        let ruleset = self.enforcer.put(Arc::clone(&self.target.ruleset)).await;
        let routing = reconcile_to(&self.netlink, &self.target.routing).await.map(drop);
        let plan = self.dataplane.apply(self.target.plan.clone()).map(drop);
        let plan = plan.map_err(|error| GatewayError::Dataplane(error.to_string()));
        for error in [ruleset, routing, plan].into_iter().filter_map(Result::err) {
            tracing::error!(%error, "the former state could not be restored in full");
        }
    }
}
