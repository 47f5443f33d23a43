//! The bundle that a gateway acknowledged last, or has on trial, read from its state without taking it away from the gateway.

use std::path::Path;

use super::super::error::GatewayError;
use super::super::source::acknowledgement;
use super::super::trial;
use crate::bundle::{self, Bundle, Trust};
use crate::store::gateway::{self as state, StateError};

/// A bundle that the gateway took.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// It.
    pub bundle: Bundle,
    /// Whether its signatures were verified now; else they were when the gateway took it.
    pub verified: bool,
    /// What is to be said about the state: damaged files.
    pub remarks: Vec<String>,
}

/// Reads it: of the kept ones the one that was acknowledged last.
///
/// # Errors
/// [`GatewayError::NeverAccepted`], [`GatewayError::State`], and [`GatewayError::Bundle`] for one that is not to be
/// believed.
pub(super) fn read(folder: &Path, trust: Option<&Trust>) -> Result<Accepted, GatewayError> {
    if !folder.is_dir() && !denied(folder) {
        return Err(GatewayError::NeverAccepted { state: folder.to_owned() });
    }
    let (kept, broken) = state::bundles(folder)?;
    if let (true, Some(broken)) = (kept.is_empty(), broken.first()) {
        return Err(broken.clone().into());
    }
    let mut remarks: Vec<String> = broken.iter().map(ToString::to_string).collect();
    let taken = state::acknowledged(folder).unwrap_or_else(|error| {
        remarks.push(error.to_string());
        None
    });
    // What is on trial is in force and not acknowledged yet.
    let pending = trial::pending(folder);
    let is_the_one = |bundle: &Bundle| match &pending {
        Some(pending) => pending.is(bundle),
        None => taken.as_ref().is_none_or(|taken| *taken == acknowledgement(bundle)),
    };
    let (mut failure, mut older) = (None, None);
    for kept in kept {
        let opened = match trust {
            Some(trust) => bundle::open(&kept.octets, trust),
            None => bundle::open_unverified(&kept.octets),
        };
        match opened {
            Ok(bundle) if is_the_one(&bundle) => {
                return Ok(Accepted { bundle, verified: trust.is_some(), remarks });
            }
            Ok(bundle) => older = older.or(Some(bundle)),
            Err(error) => {
                let place = format!("generation {} in {}", kept.generation, folder.display());
                failure = failure.or(Some(GatewayError::Bundle { place, error }));
            }
        }
    }
    // The gateway was about to keep it, or this is what is whole: what it would start with.
    let older =
        older.ok_or_else(|| failure.unwrap_or_else(|| GatewayError::NeverAccepted { state: folder.to_owned() }))?;
    remarks.push(format!("generation {} is not the one that was taken last", older.generation));
    Ok(Accepted { bundle: older, verified: trust.is_some(), remarks })
}

fn denied(folder: &Path) -> bool {
    matches!(state::acknowledged(folder), Err(StateError::Io { denied: true, .. }))
}
