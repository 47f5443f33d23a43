//! What became of bundles at this gateway, step by step: the last ones, newest last.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::{Record, recall};
use super::{GatewayState, StateError};

/// How many steps are kept.
pub const STEPS: usize = 256;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When, by this machine's clock.
    pub at: Timestamp,
    /// What happened.
    pub what: What,
    /// The generation that it happened to.
    pub generation: u64,
    /// The user who asked for it, by number; absent where nobody did, and for signals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<u32>,
    /// Why, or what else is to be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What may happen to a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The gateway started by it.
    Started,
    /// It is in force for good.
    Applied,
    /// It is in force until it is confirmed, or for so long.
    OnTrial,
    /// It was confirmed.
    Confirmed,
    /// It was not, and the former one is in force again.
    RolledBack,
    /// A party has narrowed an agreement of it here.
    Narrowed,
    /// It was refused; the former one stayed.
    Refused,
    /// It was good and could not be applied; the former one stayed.
    Failed,
}

impl What {
    /// Its word in tables and JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Applied => "applied",
            Self::OnTrial => "on-trial",
            Self::Confirmed => "confirmed",
            Self::RolledBack => "rolled-back",
            Self::Narrowed => "narrowed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl GatewayState {
    /// Adds a step; the oldest is forgotten. One that is damaged is begun anew.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn log(&self, step: Step) -> Result<(), StateError> {
        let mut steps = history(self.folder()).unwrap_or_default();
        steps.push(step);
        let old = steps.len().saturating_sub(STEPS);
        self.remember(Record::History, &steps[old..].to_vec())
    }
}

/// The steps of a state folder, whoever uses it, oldest first.
///
/// # Errors
/// [`StateError`].
pub fn history(folder: &Path) -> Result<Vec<Step>, StateError> {
    Ok(recall(folder, Record::History)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_steps_are_kept_in_their_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = GatewayState::open(folder.path()).expect("a state");
        assert_eq!(history(folder.path()), Ok(Vec::new()));
        for generation in 1..=u64::try_from(STEPS).expect("few") + 2 {
            let at = Timestamp::UNIX_EPOCH;
            state.log(Step { at, what: What::Applied, generation, by: Some(0), note: None }).expect("written");
        }
        let steps = history(folder.path()).expect("read");
        assert_eq!((steps.len(), steps[0].generation), (STEPS, 3));
    }
}
