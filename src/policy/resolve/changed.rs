//! What an edit changed in the terms that a council consented to.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::policy::terms::Terms;

/// As much of a value as is told, in characters.
const LONGEST: usize = 200;

/// What differs between the text that was proposed and the terms as they are, such as `ports was ["tcp/443"] and is
/// ["tcp/8443"]`. `None` unless that text is what `hash` was made of: only then has somebody consented to it.
pub(super) fn changes(proposed: &str, hash: &str, terms: &Terms) -> Option<String> {
    if hash != format!("sha256:{}", hex::encode(Sha256::digest(proposed))) {
        return None;
    }
    let read = |json: &str| serde_json::from_str::<BTreeMap<String, Value>>(json).ok();
    let (before, after) = (read(proposed)?, read(terms.json())?);
    let told = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), |value| shortened(value.to_string()));
    let added = after.keys().filter(|key| !before.contains_key(*key));
    let differing = before.keys().chain(added).filter(|key| before.get(*key) != after.get(*key));
    let lines: Vec<String> =
        differing.map(|key| format!("{key} was {} and is {}", told(before.get(key)), told(after.get(key)))).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}
