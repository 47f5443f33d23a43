//! Signs the next heartbeat of a network with the keys beside its bundles.
//!
//! ```text
//!  OUT.keys/signing.pem ─┐
//!  OUT.keys/trust.toml  ─┼─▶ number + 1, the time ─▶ signed heartbeat
//!  OUT.keys/heartbeat   ─┘   the last number, written before the heartbeat is given out
//! ```

use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::build::{BuildError, TRUST, failed, key_folder, lock};
use crate::bundle::{Heartbeat, SignedHeartbeat, Trust};
use crate::store::keys;

/// The last number given out.
const NUMBER: &str = "heartbeat";

/// Signs the heartbeat of now for the gateways that `bundle build` made bundles for in `out`.
///
/// # Errors
/// [`BuildError`]: no build was made there, or its keys cannot be read; no number is given out then.
pub fn heartbeat(out: &Path, now: Timestamp) -> Result<SignedHeartbeat, BuildError> {
    let folder = key_folder(out)?;
    let path = folder.join(TRUST);
    let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
    let damaged = |cause: String| BuildError::Record { path: path.clone(), cause };
    let trust = Trust::from_toml(&text).map_err(|error| damaged(error.to_string()))?;
    let _lock = lock(&folder)?;
    let signer = keys::signer(&folder.join("signing.pem"))?;
    if signer.verifier() != trust.controller {
        return Err(damaged("it names another controller's key than the one beside it".to_owned()));
    }
    let path = folder.join(NUMBER);
    let last = match fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse::<u64>()
            .map_err(|error| BuildError::Record { path: path.clone(), cause: error.to_string() })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(failed("read", &path)(error)),
    };
    let number = last.saturating_add(1);
    // A number is lost rather than given out twice.
    keys::replace(&path, format!("{number}\n").as_bytes(), 0o644)?;
    Ok(SignedHeartbeat::sign(Heartbeat { network: trust.network, number, at: now }, &signer))
}
