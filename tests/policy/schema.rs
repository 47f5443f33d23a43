//! The JSON Schemas and the parser, held together from both sides.
//!
//! What the parser refuses for its form alone, the schema of the file refuses; what the schema refuses, the parser
//! refuses. Where a schema cannot say it, [`UNSAID`] says why, and each line of it is used, or it is one too many.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jsonschema::Validator;
use toml::Value;
use toml::value::Datetime;
use turnpike::policy::{Code, Files, Finding, Kind, Severity};

use crate::bad;
use crate::definition::{base, lines, replaced, resolve};
use crate::mutated::{Way, each_key, mutated, parse, shipped};

/// The causes of refusal that one value, key or table shows by itself. The others take two places to see (names that
/// lead nowhere or stand twice, addresses inside of others, numbers given out) or a database (zones).
const FORM: &[Code] = &[
    Code::UnknownKey,
    Code::MissingKey,
    Code::WrongType,
    Code::BadValue,
    Code::Empty,
    Code::BadName,
    Code::BadId,
    Code::BadPrefix,
    Code::BadAddress,
    Code::BadUrl,
    Code::BadPort,
    Code::BadDuration,
    Code::BadDate,
    Code::BadHours,
    Code::BadKey,
    Code::BadHash,
    Code::BadDevice,
];

/// What a schema cannot say: the cause, a part of its message, why.
const UNSAID: &[(Code, &str, &str)] = &[
    (Code::BadPort, "descends", "a pattern does not compare numbers"),
    (Code::BadPort, "is not a port from 1 to 65535", "tcp/0 would be a council's, if one were called tcp"),
    (Code::BadPort, "is not an ICMP query", "icmp/x would be a council's, if one were called icmp"),
    (Code::BadAddress, "is not the address of a host", "the ends of a subnet depend on its length"),
    (Code::BadDate, "the agreement ends before it begins", "two dates are not compared"),
    (Code::BadHours, "begins when it ends", "two times of day are not compared"),
    (Code::BadKey, "not an Ed25519 public key", "a pattern knows no curve"),
    (Code::MissingKey, "'at' is missing, and council", "it depends on the number of the council's edges"),
];

struct Schemas(BTreeMap<Kind, Validator>);

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
    let validator = |kind: Kind| {
        let schema = serde_json::from_str(kind.schema()).expect("JSON");
        let built = jsonschema::draft7::options().should_validate_formats(true).build(&schema);
        (kind, built.unwrap_or_else(|error| panic!("{kind}: {error}")))
    };
    Schemas(Kind::ALL.into_iter().map(validator).collect())
});

/// What the schema of a file has against it; nothing where it holds.
fn objections(path: &str, value: &Value) -> Vec<String> {
    let kind = Kind::of(path).unwrap_or_else(|| panic!("{path} has a kind"));
    let json = json(value);
    SCHEMAS.0[&kind].iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// A file as editors' support of TOML hands it to a validator: a date is a string of its text.
fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.clone().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(truth) => (*truth).into(),
        Value::Datetime(date) => date.to_string().into(),
        Value::Array(list) => list.iter().map(json).collect(),
        Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
    }
}

/// The errors in a file that are of its form alone.
fn formal<'a>(found: &'a [Finding], path: &'a str) -> impl Iterator<Item = &'a Finding> {
    let here = move |finding: &&Finding| finding.severity == Severity::Error && finding.origin.file == path;
    found.iter().filter(here).filter(|finding| FORM.contains(&finding.code))
}

fn unsaid(finding: &Finding) -> Option<&'static str> {
    let known = UNSAID.iter().find(|(code, part, _)| *code == finding.code && finding.message.contains(part));
    known.map(|&(_, part, _)| part)
}

/// Counts what was compared, and which exceptions were needed.
#[derive(Default)]
struct Tally {
    refused_by_both: usize,
    taken_by_both: usize,
    exceptions: BTreeSet<&'static str>,
    wrong: String,
}

impl Tally {
    fn compare(&mut self, name: &str, files: &Files, path: &str, value: &Value) {
        let found = resolve(files).err().unwrap_or_default();
        let objections = objections(path, value);
        let errors = found.iter().any(|finding| finding.severity == Severity::Error && finding.origin.file == path);
        match (objections.is_empty(), formal(&found, path).next()) {
            (true, None) => self.taken_by_both += 1,
            (true, Some(finding)) => match unsaid(finding) {
                Some(part) => drop(self.exceptions.insert(part)),
                None => self.wrong += &format!("{name}: the parser alone refuses it: {finding}\n"),
            },
            (false, _) if !errors => {
                self.wrong += &format!("{name}: the schema alone refuses it: {}\n", objections.join("; "));
            }
            (false, _) => self.refused_by_both += 1,
        }
    }
}

#[test]
fn every_shipped_file_is_as_its_schema_says() {
    for (name, files) in shipped() {
        for (path, _) in files.iter() {
            assert_eq!(objections(path, &parse(&files, path)), Vec::<String>::new(), "{name}/{path}");
        }
    }
}

#[test]
fn every_example_in_a_schema_is_as_the_schema_says() {
    let mut count = 0;
    for kind in Kind::ALL {
        let schema: serde_json::Value = serde_json::from_str(kind.schema()).expect("JSON");
        for below in tables(&schema) {
            let Some(examples) = below["examples"].as_array() else { continue };
            let mut own = below.clone();
            own["definitions"] = schema["definitions"].clone();
            let validator = jsonschema::draft7::options().should_validate_formats(true).build(&own).expect("a schema");
            for example in examples {
                assert!(validator.is_valid(example), "{kind}: {example} in {}", below["title"]);
                count += 1;
            }
        }
    }
    assert!(count > 60, "{count} examples");
}

/// Every object of a schema.
fn tables(schema: &serde_json::Value) -> Vec<&serde_json::Value> {
    let below: Vec<&serde_json::Value> = match schema {
        serde_json::Value::Object(object) => object.values().collect(),
        serde_json::Value::Array(list) => list.iter().collect(),
        _ => return Vec::new(),
    };
    let own = schema.is_object().then_some(schema);
    own.into_iter().chain(below.into_iter().flat_map(tables)).collect()
}

#[test]
fn every_key_has_a_title_and_a_description_and_every_table_is_closed() {
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Allotted) {
        let schema: serde_json::Value = serde_json::from_str(kind.schema()).expect("JSON");
        for table in tables(&schema).into_iter().filter(|table| table["type"] == "object") {
            assert_eq!(table["additionalProperties"], false, "{kind}: {}", table["title"]);
            for (key, below) in table["properties"].as_object().expect("keys") {
                assert!(below["title"].is_string() && below["description"].is_string(), "{kind}: {key}");
            }
        }
    }
}

#[test]
fn what_bears_one_name_is_one_thing_in_all_schemas() {
    let mut known: BTreeMap<String, serde_json::Value> = BTreeMap::new();
    for kind in Kind::ALL {
        let schema: serde_json::Value = serde_json::from_str(kind.schema()).expect("JSON");
        for (name, definition) in schema["definitions"].as_object().expect("definitions") {
            let first = known.entry(name.clone()).or_insert_with(|| definition.clone());
            assert_eq!(first, definition, "{kind}: {name}");
        }
    }
}

#[test]
fn every_variant_that_is_refused_for_its_form_is_refused_by_the_schema() {
    let mut tally = Tally::default();
    // A date in quotes is what JSON cannot tell from a date: see below.
    let told = |(name, bad): &&(String, bad::Bad)| bad.code != "syntax" && name != "wrong-type-of-date";
    for (name, bad) in bad::variants().iter().filter(told) {
        let files = bad.files();
        tally.compare(name, &files, &bad.file, &parse(&files, &bad.file));
    }
    assert!(tally.wrong.is_empty(), "{}", tally.wrong);
    assert!(
        tally.refused_by_both > 60 && tally.taken_by_both > 30,
        "{} {}",
        tally.refused_by_both,
        tally.taken_by_both
    );
}

/// Texts that are no value of some key, and values of some other.
const TEXTS: &[&str] = &[
    "",
    " ",
    "-",
    ".",
    "..",
    "/",
    "0",
    "X",
    "a\u{202e}b",
    "a\n",
    "}; flush ruleset",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "any",
    "always",
    "e:th0",
    "A-1234567890",
    "G-7",
    "leeds/hb/claims",
    "tag:",
    "tcp/65536",
    "tcp/443-",
    "udp/007",
    "icmp/redirect",
    "icmp/echo-request",
    "gre",
    "quic/443",
    "1.2.3.4.5",
    "1.2.3.256",
    "01.2.3.4",
    "1.2.3.4/33",
    "10.0.0.0/8",
    "10.0.0.0/",
    "::/129",
    "fd00::1::2",
    "fd00:1:2:3:4:5:6:7:8",
    "::ffff:10.0.0.1",
    "192.0.2.1:0",
    "192.0.2.1:65536",
    "[2001:db8::1]:443",
    "[::]:443",
    "0.0.0.0:443",
    "239.0.0.1:443",
    "72",
    "0h",
    "3h30m",
    "4d",
    "Mon 07:00-25:00 UTC",
    "Mon-Fri 07:00-19:00",
    "Mon 07:00-19:00,Tue 00:00-24:00 UTC",
    "https://",
    "https://:80",
    "ftp://x.example",
    "http://a b",
    "sha256:00",
    "ed25519:AAAA",
    "0mbit",
    ".5 Gbit/s",
    "80 parrots",
    "2026-06-01T10:00:00",
];

/// Other values for one value: other types, other numbers, other texts.
fn others(value: &Value) -> Vec<Value> {
    let date: Datetime = "2026-06-01T10:00:00Z".parse().expect("a date");
    let local: Datetime = "2026-06-01".parse().expect("a date");
    let types: Vec<Value> = vec![
        Value::String("x".into()),
        Value::Integer(1),
        Value::Float(0.5),
        Value::Boolean(true),
        Value::Datetime(date),
        Value::Array(Vec::new()),
        Value::Array(vec![Value::Integer(1)]),
        Value::Array(vec![Value::Array(vec![Value::String("x".into())])]),
        Value::Array(vec![Value::Table(toml::Table::new())]),
        Value::Table(toml::Table::new()),
    ];
    let numbers = [0, -1, 100, 101, 4095, 65_536, 16_777_216, 4_294_967_296, i64::MAX];
    let texts = TEXTS.iter().map(|text| Value::String((*text).into()));
    let more: Vec<Value> = match value {
        Value::String(text) => {
            texts.chain([Value::String(format!("{text}x")), Value::String(format!("{text} "))]).collect()
        }
        Value::Integer(_) => numbers.map(Value::Integer).to_vec(),
        Value::Float(_) => [-0.5, 100.5, 1e300].map(Value::Float).into(),
        Value::Datetime(_) => vec![Value::Datetime(local)],
        Value::Array(list) if list.first().is_some_and(Value::is_str) => {
            let first = |text| [text].into_iter().chain(list.iter().skip(1).cloned()).collect();
            let doubled = list.iter().chain(list.first()).cloned().collect();
            texts.map(|text| Value::Array(first(text))).chain([Value::Array(doubled)]).collect()
        }
        Value::Boolean(_) | Value::Array(_) | Value::Table(_) => Vec::new(),
    };
    types
        .into_iter()
        .chain(more)
        .filter(|other| std::mem::discriminant(other) != std::mem::discriminant(value) || other != value)
        .collect()
}

/// Whether JSON cannot tell two values apart that TOML can: a date from its text, 1.0 from 1.
fn alike(one: &Value, other: &Value) -> bool {
    let text = |value: &Value| matches!(value, Value::String(_) | Value::Datetime(_));
    std::mem::discriminant(one) != std::mem::discriminant(other) && text(one) && text(other)
}

/// Whether a key in allotted.toml names what is given out.
fn is_name(path: &str, way: &Way) -> bool {
    path == "allotted.toml" && way.len() == 2
}

/// The way to a key without places in lists and names of what is given out: what the format knows of it.
fn kind_of_way(path: &str, way: &Way) -> String {
    let known =
        |(depth, step): &(usize, &String)| step.parse::<usize>().is_err() && (*depth != 1 || path != "allotted.toml");
    let steps: Vec<_> = way.iter().enumerate().filter(known).map(|(_, step)| step.as_str()).collect();
    format!("{:?} {} {}", Kind::of(path), way.len(), steps.join("."))
}

/// Does things to every key that the format has, once, and has parser and schema judge what comes of it.
fn judged(mut edits: impl FnMut(&Files, &str, &Way) -> Vec<(String, Files)>) -> Tally {
    let mut seen = BTreeSet::new();
    let mut tally = Tally::default();
    each_key(|name, files, path, way| {
        if seen.insert(kind_of_way(path, way)) {
            for (what, edited) in edits(files, path, way) {
                tally.compare(&format!("{name} {what}"), &edited, path, &parse(&edited, path));
            }
        }
    });
    assert!(seen.len() > 90, "{} keys", seen.len());
    tally
}

#[test]
fn parser_and_schema_agree_on_keys_that_are_missing_or_called_otherwise() {
    let tally = judged(|files, path, way| {
        let removed = mutated(files, path, way, |table, key| drop(table.remove(key)));
        let renamed = ["x", "X", "x/y", "x y", "Z-1"].map(|new| {
            let renamed = mutated(files, path, way, |table, key| {
                let value = table.remove(key).expect("the key");
                table.insert(if is_name(path, way) { new.to_owned() } else { format!("{key}{new}") }, value);
            });
            (format!("renamed to {new}"), renamed)
        });
        renamed.into_iter().chain([("removed".to_owned(), removed)]).collect()
    });
    assert!(tally.wrong.is_empty(), "{}", tally.wrong);
    assert!(
        tally.refused_by_both > 400 && tally.taken_by_both > 30,
        "{} {}",
        tally.refused_by_both,
        tally.taken_by_both
    );
}

#[test]
fn parser_and_schema_agree_on_values_of_other_types_and_forms() {
    let tally = judged(|files, path, way| {
        let mut value = None;
        mutated(files, path, way, |table, key| value = table.get(key).cloned());
        let value = value.expect("the value");
        let others = others(&value).into_iter().filter(|other| !alike(&value, other));
        let changed = |other: Value| {
            let changed = mutated(files, path, way, |table, key| drop(table.insert(key.to_owned(), other.clone())));
            (format!("= {other}"), changed)
        };
        others.map(changed).collect()
    });
    assert!(tally.wrong.is_empty(), "{}", tally.wrong);
    assert!(
        tally.refused_by_both > 2_000 && tally.taken_by_both > 200,
        "{} {}",
        tally.refused_by_both,
        tally.taken_by_both
    );
}

#[test]
fn what_a_schema_cannot_say_it_does_not_say() {
    let cases = [
        ("councils/leeds.toml", "udp/5000-5010", "udp/5010-5000"),
        ("network.toml", "tcp/23", "tcp/0"),
        ("network.toml", "tcp/23", "icmp/redirect"),
        ("councils/bradford.toml", "172.16.0.1/20", "172.16.0.0/20"),
        ("agreements/A-142.toml", "2027-03-31T23:59:59+01:00", "2025-03-31T23:59:59+01:00"),
        ("agreements/A-9.toml", "07:00-19:00", "07:00-07:00"),
        (
            "councils/leeds.toml",
            "tNJ9lMiVA0FlXlnrmAfvaMsCbWs23ynEQkENneV7Buk=",
            "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
        ("councils/bradford.toml", "at = \"bradford-1\"\n", ""),
    ];
    let mut tally = Tally::default();
    for (path, from, to) in cases {
        let files = replaced(base(), path, from, to);
        let found = resolve(&files).expect_err("it is refused");
        assert!(formal(&found, path).next().is_some(), "{path}, {to}:\n{}", lines(&found));
        tally.compare(to, &files, path, &parse(&files, path));
    }
    assert!(tally.wrong.is_empty(), "{}", tally.wrong);
    let listed: BTreeSet<&str> = UNSAID.iter().map(|&(_, part, _)| part).collect();
    assert_eq!(tally.exceptions, listed, "every exception is one");
}

#[test]
fn a_date_in_quotes_and_a_whole_number_with_a_point_look_alike_in_json() {
    let quoted = replaced(base(), "tests/claims.toml", "2027-04-01T00:00:00+01:00", "\"2027-04-01T00:00:00+01:00\"");
    let pointed = replaced(base(), "tests/claims.toml", "port = 443", "port = 443.0");
    for files in [quoted, pointed] {
        let found = resolve(&files).expect_err("the parser tells them apart");
        assert_eq!(found.iter().map(|finding| finding.code).collect::<Vec<_>>(), [Code::WrongType]);
        assert_eq!(objections("tests/claims.toml", &parse(&files, "tests/claims.toml")), Vec::<String>::new());
    }
}

#[test]
fn the_command_prints_one_schema_or_all_by_kind() {
    let run = |arguments: &[&str]| {
        let ran = std::process::Command::new(env!("CARGO_BIN_EXE_turnpike"))
            .args(["policy", "schema"])
            .args(arguments)
            .output();
        let ran = ran.expect("it runs");
        (ran.status.code(), String::from_utf8(ran.stdout).expect("UTF-8"))
    };
    let all: serde_json::Value = serde_json::from_str(&run(&[]).1).expect("JSON");
    for kind in Kind::ALL {
        assert_eq!(run(&[kind.as_str()]), (Some(0), kind.schema().to_owned()));
        assert_eq!(all[kind.as_str()], serde_json::from_str::<serde_json::Value>(kind.schema()).expect("JSON"));
    }
    assert_eq!(run(&["lab"]).0, Some(64));
}
