//! What is given out stays given out: append-only, disjoint, the same for the same definition.

use std::collections::BTreeMap;

use proptest::prelude::*;
use toml::{Table, Value};
use turnpike::net::Prefix;
use turnpike::policy::{self, Files};

use crate::definition::{Small, allotted, base, lines, replaced, resolve, resolved, text};

/// The lines of allotted.toml by table and key, a department's overlay as a list.
fn entries(files: &Files) -> BTreeMap<(String, String), Value> {
    let table: Table = text(files, "allotted.toml").parse().expect("TOML");
    let mut entries = BTreeMap::new();
    for (kind, names) in table {
        for (name, value) in names.as_table().expect("a table").clone() {
            entries.insert((kind.clone(), name), value);
        }
    }
    entries
}

fn prefixes(entries: &BTreeMap<(String, String), Value>) -> Vec<Prefix> {
    let overlays = entries.iter().filter(|((kind, _), _)| kind == "department");
    let lists = overlays.map(|(_, value)| value["overlay"].as_array().expect("a list").clone());
    lists.flatten().map(|text| text.as_str().expect("text").parse().expect("a prefix")).collect()
}

/// Departments by council, each with the length of its real prefix.
type Shape = BTreeMap<usize, BTreeMap<usize, u8>>;

fn shape() -> impl Strategy<Value = Shape> {
    let departments = prop::collection::btree_map(0..8_usize, 20..=30_u8, 0..5);
    prop::collection::btree_map(0..5_usize, departments, 0..4)
}

fn files_of(shape: &Shape, old: Option<String>) -> Files {
    let mut small = Small::new();
    for (council, departments) in shape {
        small.council(*council);
        for (department, length) in departments {
            small.department(*council, *department, *length);
        }
    }
    if let Some(old) = old {
        small.files.insert("allotted.toml", old);
    }
    small.files
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_ever_given_twice_however_the_definition_changes(shapes in prop::collection::vec(shape(), 1..6)) {
        let mut old: Option<String> = None;
        let mut before = BTreeMap::new();
        for shape in &shapes {
            let files = allotted(files_of(shape, old.clone()));
            prop_assert_eq!(&allotted(files.clone()), &files, "it is complete");
            let now = entries(&files);
            for (key, value) in &before {
                let kept = now.get(key).expect("lines are never removed");
                prop_assert!(extends(kept, value), "{:?}: {} became {}", key, value, kept);
            }
            unique(&now)?;
            let model = resolved(&files).model;
            prop_assert!(model.departments.iter().all(|department| department.number > 0 && department.mappings.len() == 2));
            old = Some(text(&files, "allotted.toml"));
            before = now;
        }
    }
}

/// Numbers never change; lists only grow.
fn extends(now: &Value, before: &Value) -> bool {
    match (now, before) {
        (Value::Array(now), Value::Array(before)) => now.starts_with(before),
        (Value::Table(now), Value::Table(before)) => before.iter().all(|(key, value)| extends(&now[key], value)),
        (now, before) => now == before,
    }
}

fn unique(entries: &BTreeMap<(String, String), Value>) -> Result<(), TestCaseError> {
    let mut numbers: Vec<(String, i64)> = Vec::new();
    for ((kind, _), value) in entries {
        let number = value.as_integer().or_else(|| value.get("number").and_then(Value::as_integer));
        numbers.extend(number.map(|number| (kind.clone(), number)));
    }
    let count = numbers.len();
    numbers.sort();
    numbers.dedup();
    prop_assert_eq!(numbers.len(), count);
    let prefixes = prefixes(entries);
    for (place, one) in prefixes.iter().enumerate() {
        prop_assert!(!prefixes[..place].iter().any(|other| other.overlaps(*one)), "{one} overlaps");
    }
    Ok(())
}

#[test]
fn a_number_of_a_department_that_is_gone_is_never_anothers() {
    let one: Shape = [(0, [(0, 24), (1, 24)].into())].into();
    let other: Shape = [(0, [(0, 24), (2, 24)].into())].into();
    let files = allotted(files_of(&one, None));
    let files = allotted(files_of(&other, Some(text(&files, "allotted.toml"))));
    let now = entries(&files);
    let line = |name: &str| now[&("department".to_owned(), name.to_owned())].clone();
    assert_eq!(line("c0/d1")["number"].as_integer(), Some(2));
    assert_eq!(line("c0/d2")["number"].as_integer(), Some(3));
    assert_ne!(line("c0/d1")["overlay"], line("c0/d2")["overlay"]);
}

#[test]
fn the_same_definition_gives_the_same_octets() {
    let mut fresh = base();
    fresh.remove("allotted.toml");
    assert_eq!(text(&allotted(fresh.clone()), "allotted.toml"), text(&allotted(fresh), "allotted.toml"));
    assert_eq!(allotted(base()), base(), "the base's own is complete");
}

#[test]
fn prefixes_keep_clear_of_management_reserved_and_chosen_ones() {
    let mut fresh = base();
    fresh.remove("allotted.toml");
    let taken =
        ["100.64.0.0/24", "100.127.0.0/16", "100.80.0.0/16"].map(|text| text.parse::<Prefix>().expect("a prefix"));
    for prefix in prefixes(&entries(&allotted(fresh))) {
        assert!(!taken.iter().any(|taken| taken.overlaps(prefix)), "{prefix}");
    }
}

#[test]
fn a_reservation_that_comes_later_moves_a_department_and_keeps_its_old_prefix() {
    let files = replaced(base(), "network.toml", "\"100.64.0.0/24\"", "\"100.64.0.0/24\", \"100.64.16.0/20\"");
    let found = resolve(&files).expect_err("housing has no prefix now");
    assert!(lines(&found).contains("bradford/housing"), "{}", lines(&found));
    let files = allotted(files);
    let now = entries(&files);
    let overlay = now[&("department".to_owned(), "bradford/housing".to_owned())]["overlay"].as_array().expect("a list");
    assert_eq!(overlay.len(), 2);
    assert_eq!(overlay[0].as_str(), Some("100.64.16.0/20"));
    resolved(&files);
}

#[test]
fn a_full_overlay_is_an_error_that_names_the_department() {
    let mut small = Small::new();
    small.files = replaced(small.files, "network.toml", "100.64.0.0/10", "100.64.0.0/30");
    small.council(0);
    small.department(0, 0, 24);
    let found = policy::allot(&small.files).expect_err("there is no room");
    assert_eq!(found[0].code.as_str(), "exhausted");
    assert!(found[0].message.contains("c0/d0"), "{}", found[0].message);
}

#[test]
fn an_invalid_definition_is_given_nothing() {
    let files = replaced(base(), "councils/leeds.toml", "10.7.1.1", "10.8.1.1");
    assert_eq!(policy::allot(&files).expect_err("it is invalid")[0].code.as_str(), "outside");
}
