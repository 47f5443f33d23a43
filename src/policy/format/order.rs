//! Which tables and keys there are, in the order in which FORMAT lists them.

/// Tables with a header of their own, and their keys. What has no place here comes after what has, as it is written.
const TABLES: &[(&str, &[&str])] = &[
    ("", &["as_of"]),
    ("network", &["name", "overlay", "management", "reserved"]),
    ("controller", &["urls", "addresses"]),
    ("hub", &["name", "endpoints", "device"]),
    ("class", &["name", "lease"]),
    ("sla", &["name", "rtt_ms", "jitter_ms", "loss_percent"]),
    ("guardrail", &["id", "deny", "to", "why"]),
    ("management-allow", &["from", "to"]),
    ("council", &["name", "title", "region", "signer"]),
    ("council.signer", &["by", "key"]),
    ("edge", &["name", "site", "uplinks"]),
    ("department", &["name", "at", "segment", "gateway", "via", "real", "overlay", "tags"]),
    ("service", &["name", "department", "hosts", "host", "ports"]),
    (
        "agreement",
        &[
            "id",
            "service",
            "from",
            "identity",
            "roles",
            "class",
            "hours",
            "not_before",
            "not_after",
            "reference",
            "proposed",
            "consent",
            "notice",
        ],
    ),
    ("agreement.consent", &["council", "by", "at", "terms", "signature"]),
    ("agreement.notice", &["effect", "council", "by", "number", "at", "terms", "why", "signature"]),
    ("test", &["from", "to", "proto", "port", "at", "identity", "expect", "why"]),
];

/// Tables that are written in one line below another, and their keys.
const INLINE: &[(&str, &[&str])] = &[
    ("edge.uplinks", &["name", "device", "metered", "priority", "sla", "rate"]),
    ("department.segment", &["device", "vlan"]),
];

fn find(tables: &[(&str, &'static [&'static str])], path: &[&str]) -> Option<&'static [&'static str]> {
    // A name with a dot in it is nobody's.
    let plain = path.iter().all(|name| !name.contains('.'));
    let path = path.join(".");
    tables.iter().find(|(table, _)| plain && *table == path).map(|&(_, keys)| keys)
}

/// Whether FORMAT gives the table a header.
pub(super) fn has_header(path: &[&str]) -> bool {
    find(TABLES, path).is_some()
}

/// The tables that FORMAT writes in one line: the table above each, and its key there.
pub(super) fn inline() -> impl Iterator<Item = (&'static str, &'static str)> {
    INLINE.iter().filter_map(|(path, _)| path.split_once('.'))
}

/// Where a key stands in its table: keys that the format does not know come last.
pub(super) fn rank(table: &[&str], key: &str) -> usize {
    let keys = find(TABLES, table).or_else(|| find(INLINE, table)).unwrap_or_default();
    keys.iter().position(|known| *known == key).unwrap_or(keys.len())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::policy::Kind;

    /// Every table of a schema, with its keys; `items` and `anyOf` are passed through.
    fn tables(schema: &Value, path: &str, found: &mut Vec<(String, BTreeSet<String>)>) {
        if let Some(properties) = schema["properties"].as_object() {
            found.push((path.to_owned(), properties.keys().cloned().collect()));
            for (key, below) in properties {
                tables(below, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, found);
            }
        }
        tables_in(&schema["items"], path, found);
    }

    fn tables_in(schema: &Value, path: &str, found: &mut Vec<(String, BTreeSet<String>)>) {
        if schema.is_object() {
            tables(schema, path, found);
        }
    }

    #[test]
    fn the_order_has_every_key_of_the_schemas_and_no_other() {
        let mut known: Vec<(String, BTreeSet<String>)> = TABLES
            .iter()
            .chain(INLINE)
            .filter(|(table, _)| !table.is_empty())
            .map(|(table, keys)| ((*table).to_owned(), keys.iter().map(|key| (*key).to_owned()).collect()))
            .collect();
        let mut found = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Allotted) {
            tables(&serde_json::from_str(kind.schema()).expect("JSON"), "", &mut found);
        }
        found.retain(|(table, _)| !table.is_empty());
        known.sort();
        found.sort();
        assert_eq!(known, found);
    }

    #[test]
    fn an_unknown_key_comes_last() {
        assert!(rank(&["hub"], "name") < rank(&["hub"], "device"));
        assert!(rank(&["hub"], "device") < rank(&["hub"], "colour"));
        assert_eq!(rank(&["hub", "x"], "name"), rank(&["hub", "x"], "a"));
        assert_eq!(rank(&["council.signer"], "key"), rank(&["council.signer"], "by"));
    }
}
