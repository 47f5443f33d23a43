//! Others' changes to what is ours: noticed by the kernel's own events, undone in place.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::control::LONGEST_PAUSE;
use super::error::GatewayError;
use super::raise::{Gateway, Target, reconcile_to};
use super::routing;
use crate::dataplane::End;
use crate::reconcile::{self, Observed};
use crate::sys::clock;
use crate::telemetry::conditions::Condition;

impl Gateway {
    /// Looks at the whole of what is ours, and repairs it unless that is paused.
    ///
    /// # Errors
    /// [`GatewayError::NoDevice`] if the tunnel's device is gone: then only a new start helps.
    pub async fn look(&mut self) -> Result<(), GatewayError> {
        let paused = self.is_paused(Timestamp::now());
        let outcome = self.look_and_repair(paused).await;
        self.troubles.repair = match outcome {
            Ok(()) => None,
            Err(error @ (GatewayError::NoDevice { .. } | GatewayError::Dataplane(_))) => return Err(error),
            Err(error) => {
                tracing::error!(%error, "a foreign change could not be undone");
                self.drift.present = true;
                Some(Condition::RepairFailed { cause: error.to_string() })
            }
        };
        Ok(())
    }

    async fn look_and_repair(&mut self, paused: bool) -> Result<(), GatewayError> {
        self.check_dataplane()?;
        if !self.netlink.devices().await?.contains_key(&self.settings.device) {
            let device = self.settings.device.clone();
            return Err(GatewayError::NoDevice { device, of: "the tunnel".to_owned() });
        }
        let ruleset = self.enforcer.drifted().await?;
        self.activity.note(self.enforcer.counters(), clock::now().boottime);
        let observed = self.netlink.observe(routing::TABLE).await?;
        let steps = reconcile::steps(&self.target.routing, &observed);
        self.drift.present = ruleset || !steps.is_empty();
        self.troubles.uplinks = self.uplinks_in_overlay(&observed);
        if !self.drift.present || paused {
            return Ok(());
        }
        if ruleset {
            self.enforcer.repair().await?;
            self.drift.ruleset_repairs += 1;
            self.repaired("the ruleset had been changed".to_owned());
        }
        if !steps.is_empty() {
            let taken = reconcile_to(&self.netlink, &self.target.routing).await?;
            self.drift.routing_repairs += 1;
            self.repaired(taken.join("; "));
        }
        self.drift.present = false;
        Ok(())
    }

    /// Uplinks whose own address lies in a prefix allotted to a department: a carrier's NAT took a prefix that the
    /// overlay uses, and the drop of foreign overlay addresses would cut its gateway off.
    fn uplinks_in_overlay(&self, observed: &Observed) -> Vec<Condition> {
        let Target { bundle, policy, .. } = &self.target;
        let mut conditions = Vec::new();
        for uplink in &bundle.membership.uplinks {
            let own = observed.all.addresses.iter().filter(|own| Some(&own.device) == uplink.device.as_ref());
            for address in own.map(|own| own.address) {
                let taken = policy.allotted.iter().find(|prefix| prefix.contains(address.address()));
                conditions.extend(taken.map(|prefix| Condition::UplinkInOverlay {
                    cause: format!("uplink {} has {address}, and {prefix} is allotted to a department", uplink.name),
                }));
            }
        }
        conditions
    }

    /// Whether the workers still run.
    ///
    /// # Errors
    /// [`GatewayError::Dataplane`] with why they do not.
    pub fn check_dataplane(&self) -> Result<(), GatewayError> {
        match self.dataplane.ended() {
            None => Ok(()),
            Some(End::DeviceGone) => Err(GatewayError::Dataplane("the tunnel's device was deleted".to_owned())),
            Some(End::Failed(cause)) => Err(GatewayError::Dataplane(cause)),
            Some(End::Stopped) => Err(GatewayError::Dataplane("it was stopped".to_owned())),
        }
    }

    fn repaired(&mut self, found: String) {
        tracing::warn!(found, "a foreign change was undone");
        self.drift.last_repair = Some(Timestamp::now());
        self.drift.last_found = Some(found);
    }

    /// Leaves foreign changes alone for a while.
    ///
    /// # Errors
    /// In words, if it is not 1 to [`LONGEST_PAUSE`] seconds.
    pub fn pause_repair(&mut self, seconds: u64) -> Result<String, String> {
        if !(1..=LONGEST_PAUSE).contains(&seconds) {
            return Err(format!("repair can be paused for 1 to {LONGEST_PAUSE} seconds"));
        }
        let length = SignedDuration::try_from(Duration::from_secs(seconds)).unwrap_or_default();
        let until = Timestamp::now().saturating_add(length).map_err(|error| error.to_string())?;
        self.drift.paused_until = Some(until);
        tracing::warn!(%until, "foreign changes will not be repaired");
        Ok(format!("repair is paused until {until}"))
    }

    /// Repairs again.
    pub fn resume_repair(&mut self) -> String {
        self.drift.paused_until = None;
        "repair goes on".to_owned()
    }

    /// Whether repair is paused; forgets a pause that is over.
    pub fn is_paused(&mut self, now: Timestamp) -> bool {
        if self.drift.paused_until.is_some_and(|until| until <= now) {
            self.drift.paused_until = None;
        }
        self.drift.paused_until.is_some()
    }
}
