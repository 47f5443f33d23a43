//! Every key of every shipped file: renamed, given another type, taken away where it is required. All are refused.

use toml::{Table, Value};
use turnpike::policy::Files;

use crate::definition::{allotted, base, folder, here, resolve, text};

/// The way to a value: keys and, as numbers, places in lists.
pub type Way = Vec<String>;

/// The keys that the format requires, by file and table.
const REQUIRED: &[(&str, &str, &[&str])] = &[
    ("network.toml", "network", &["name", "overlay", "management"]),
    ("network.toml", "hub", &["name", "endpoints"]),
    ("network.toml", "class", &["name", "lease"]),
    ("network.toml", "guardrail", &["id", "deny", "to"]),
    ("councils/", "council", &["name"]),
    ("councils/", "edge", &["name", "uplinks"]),
    ("councils/", "uplinks", &["name", "device"]),
    ("councils/", "department", &["name", "segment", "gateway", "real"]),
    ("councils/", "segment", &["device"]),
    ("councils/", "service", &["name", "department", "ports"]),
    ("agreements/", "agreement", &["id", "service", "from", "class"]),
    ("agreements/", "notice", &["effect", "by", "number", "at", "terms"]),
    ("tests/", "test", &["from", "to", "expect"]),
    ("", "", &["network", "council", "agreement"]),
];

pub fn shipped() -> [(&'static str, Files); 2] {
    let example = folder(&here("examples/three-councils"));
    [("base", base()), ("examples/three-councils", allotted(example))]
}

pub fn parse(files: &Files, path: &str) -> Value {
    Value::Table(text(files, path).parse::<Table>().unwrap_or_else(|error| panic!("{path}: {error}")))
}

/// The ways to all keys below a value.
fn ways(value: &Value, way: &Way, found: &mut Vec<Way>) {
    let step = |name: String| way.iter().cloned().chain([name]).collect::<Way>();
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                found.push(step(key.clone()));
                ways(value, &step(key.clone()), found);
            }
        }
        Value::Array(list) => {
            for (place, value) in list.iter().enumerate() {
                ways(value, &step(place.to_string()), found);
            }
        }
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

/// Changes the table that holds the last key of a way.
fn change(root: &mut Value, way: &[String], edit: impl FnOnce(&mut Table, &str)) {
    let (last, before) = way.split_last().expect("a key");
    let mut value = root;
    for step in before {
        value = match value {
            Value::Array(list) => &mut list[step.parse::<usize>().expect("a place")],
            other => &mut other[step.as_str()],
        };
    }
    edit(value.as_table_mut().expect("a table"), last);
}

pub fn mutated(files: &Files, path: &str, way: &[String], edit: impl FnOnce(&mut Table, &str)) -> Files {
    let mut root = parse(files, path);
    change(&mut root, way, edit);
    let mut files = files.clone();
    files.insert(path, toml::to_string(&root).expect("TOML"));
    files
}

pub fn each_key(mut check: impl FnMut(&str, &Files, &str, &Way)) -> usize {
    let mut count = 0;
    for (name, files) in shipped() {
        resolve(&files).unwrap_or_else(|found| panic!("{name} holds: {found:?}"));
        for (path, _) in files.iter() {
            let mut found = Vec::new();
            ways(&parse(&files, path), &Way::new(), &mut found);
            count += found.len();
            for way in &found {
                check(&format!("{name}/{path}: {}", way.join(".")), &files, path, way);
            }
        }
    }
    count
}

#[test]
fn a_renamed_key_is_refused() {
    let count = each_key(|name, files, path, way| {
        let renamed = mutated(files, path, way, |table, key| {
            let value = table.remove(key).expect("the key");
            table.insert(format!("{key}x"), value);
        });
        assert!(resolve(&renamed).is_err(), "{name} renamed");
    });
    assert!(count > 300, "{count} keys");
}

#[test]
fn a_value_of_another_type_is_refused() {
    each_key(|name, files, path, way| {
        let other = mutated(files, path, way, |table, key| {
            let other = match table[key] {
                Value::Boolean(_) => Value::Integer(7),
                _ => Value::Boolean(true),
            };
            table.insert(key.to_owned(), other);
        });
        assert!(resolve(&other).is_err(), "{name} of another type");
    });
}

#[test]
fn a_required_key_that_is_missing_is_refused() {
    let mut removed = 0;
    each_key(|name, files, path, way| {
        let (key, before) = way.split_last().expect("a key");
        let table = before.iter().rev().find(|step| step.parse::<usize>().is_err()).map_or("", String::as_str);
        let required = |(file, owner, keys): &&(&str, &str, &[&str])| {
            path.starts_with(file) && *owner == table && keys.contains(&key.as_str())
        };
        // [council] and [agreement] are also tables of allotted.toml, where all that is allotted is required.
        if REQUIRED.iter().find(required).is_none() && path != "allotted.toml" {
            return;
        }
        let files = mutated(files, path, way, |table, key| {
            table.remove(key);
        });
        let unused = path == "allotted.toml" && (key == "overlay" || table == "service" || table == "agreement");
        assert!(unused || resolve(&files).is_err(), "{name} removed");
        removed += 1;
    });
    assert!(removed > 100, "{removed} keys removed");
}
