//! Where the bundle comes from: the file that was named, else the last good one.
//!
//! ```text
//!  --bundle FILE ─▶ open (signatures) ─▶ admit (this gateway, generation) ─▶ in force
//!        │ missing, damaged, forged, for another, older
//!        └────────▶ state: newest whole one ─▶ open ─▶ keys held? ─▶ in force, with a condition
//! ```

use std::path::Path;

use super::error::GatewayError;
use super::keys::Keys;
use super::trial::{self, Pending};
use crate::bundle::{self, Bundle, MAX_OCTETS, Trust};
use crate::store::gateway::{Acknowledged, GatewayState, StateError};
use crate::telemetry::conditions::Condition;
use crate::telemetry::status::Source;

/// A bundle that may be applied.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// It, verified.
    pub bundle: Bundle,
    /// Its octets, to be kept.
    pub octets: Vec<u8>,
    /// Where it came from.
    pub source: Source,
    /// What is to be said about that.
    pub conditions: Vec<Condition>,
    /// The trial that it is on since a former process.
    pub pending: Option<Pending>,
}

/// Reads the trust file.
///
/// # Errors
/// [`GatewayError::Unreadable`] and [`GatewayError::Trust`].
pub fn trust(path: &Path) -> Result<Trust, GatewayError> {
    let text = String::from_utf8(read(path)?).unwrap_or_default();
    Trust::from_toml(&text).map_err(|error| GatewayError::Trust { path: path.to_owned(), error })
}

/// Reads, verifies and admits the bundle file.
///
/// # Errors
/// Whatever is wrong with it.
pub fn offered(path: &Path, trust: &Trust, keys: &Keys, taken: Option<&Acknowledged>) -> Result<Chosen, GatewayError> {
    let octets = read(path)?;
    let place = path.display().to_string();
    let bundle = bundle::open(&octets, trust).map_err(|error| GatewayError::Bundle { place: place.clone(), error })?;
    let identity = taken.map(|taken| (taken.network.clone(), taken.gateway.clone()));
    let floor = taken.map(Acknowledged::floor);
    bundle
        .admit(&keys.own(identity), floor.as_ref())
        .map_err(|error| GatewayError::NotAdmitted { place, error: Box::new(error) })?;
    Ok(Chosen { bundle, octets, source: Source::File, conditions: Vec::new(), pending: None })
}

/// The same, unless it was rolled back here: then somebody has to apply it.
///
/// # Errors
/// Those of `offered`, and [`GatewayError::RolledBack`].
pub fn unless_rolled_back(offered: Result<Chosen, GatewayError>, state: &GatewayState) -> Result<Chosen, GatewayError> {
    let chosen = offered?;
    trial::refuse_rolled_back(state.folder(), &chosen.bundle)?;
    Ok(chosen)
}

/// The bundle to start with: the file's, else the newest whole one of the state.
///
/// # Errors
/// [`GatewayError::NoBundle`] if there is neither.
pub fn first(
    path: &Path,
    trust: &Trust,
    keys: &Keys,
    state: &GatewayState,
    pending: Option<&Pending>,
) -> Result<Chosen, GatewayError> {
    if let Err(error @ StateError::Newer(_)) = state.acknowledged() {
        return Err(error.into());
    }
    let (taken, mut conditions) = acknowledged(state);
    if let Some(chosen) = pending.and_then(|pending| on_trial(trust, keys, state, pending)) {
        return Ok(Chosen { conditions, ..chosen });
    }
    match unless_rolled_back(offered(path, trust, keys, taken.as_ref()), state) {
        Ok(chosen) => Ok(Chosen { conditions, ..chosen }),
        Err(cause) => {
            let (kept, broken) = state.bundles()?;
            conditions.extend(broken.iter().map(|error| Condition::StateDamaged { cause: error.to_string() }));
            let usable = kept.into_iter().find_map(|kept| {
                let bundle = bundle::open(&kept.octets, trust).ok()?;
                // The floor holds what is handed in, not what was taken before.
                bundle.admit(&keys.own(None), None).ok()?;
                Some((bundle, kept.octets))
            });
            let Some((bundle, octets)) = usable else {
                return Err(GatewayError::NoBundle { cause: Box::new(cause), state: state.folder().to_owned() });
            };
            conditions.push(Condition::RunningFromState { cause: cause.to_string() });
            Ok(Chosen { bundle, octets, source: Source::State, conditions, pending: None })
        }
    }
}

/// The bundle on trial, from the state.
fn on_trial(trust: &Trust, keys: &Keys, state: &GatewayState, pending: &Pending) -> Option<Chosen> {
    let (kept, _) = state.bundles().ok()?;
    kept.into_iter().find_map(|kept| {
        let bundle = bundle::open(&kept.octets, trust).ok().filter(|bundle| pending.is(bundle))?;
        bundle.admit(&keys.own(None), None).ok()?;
        let pending = Some(pending.clone());
        Some(Chosen { bundle, octets: kept.octets, source: Source::State, conditions: Vec::new(), pending })
    })
}

/// What was acknowledged last. A damaged record falls back to the newest bundle's own name, so that a damaged
/// file never lowers the floor below what is kept.
pub fn acknowledged(state: &GatewayState) -> (Option<Acknowledged>, Vec<Condition>) {
    match state.acknowledged() {
        Ok(taken) => (taken, Vec::new()),
        Err(error @ (StateError::Damaged(_) | StateError::Newer(_) | StateError::Io { .. } | StateError::InUse(_))) => {
            (newest(state), vec![Condition::StateDamaged { cause: error.to_string() }])
        }
    }
}

fn newest(state: &GatewayState) -> Option<Acknowledged> {
    let (kept, _) = state.bundles().ok()?;
    kept.iter().find_map(|kept| bundle::open_unverified(&kept.octets).ok()).as_ref().map(acknowledgement)
}

/// The record of a bundle as acknowledged.
pub fn acknowledgement(bundle: &Bundle) -> Acknowledged {
    Acknowledged {
        network: bundle.network.clone(),
        gateway: bundle.gateway.clone(),
        generation: bundle.generation,
        digest: bundle.digest,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, GatewayError> {
    use std::io::Read as _;
    let unreadable = |error: std::io::Error| GatewayError::Unreadable {
        path: path.to_owned(),
        cause: error.to_string(),
        missing: error.kind() == std::io::ErrorKind::NotFound,
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut octets = Vec::new();
    let limit = u64::try_from(MAX_OCTETS).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut octets).map_err(unreadable)?;
    Ok(octets)
}
