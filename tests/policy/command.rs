//! `turnpike policy` and `turnpike agreement` as people and scripts use them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::definition::{base, replaced, text, write};

pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn run(arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_turnpike")).args(arguments).output().expect("it runs");
    Ran {
        code: output.status.code().expect("it exits"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

pub fn on_disk(files: &turnpike::policy::Files) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    write(files, folder.path());
    let path = folder.path().to_str().expect("UTF-8").to_owned();
    (folder, path)
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for name in ["", "councils", "agreements", "tests"] {
        for entry in std::fs::read_dir(folder.join(name)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                found.push((path.display().to_string(), std::fs::read(&path).expect("a file")));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn check_exits_0_and_strict_4_where_a_consent_is_missing() {
    let (_folder, dir) = on_disk(&base());
    let at = ["--at", "2026-06-01T10:00:00+01:00"];
    assert_eq!(run(&["policy", "check", &dir, at[0], at[1]]).code, 0);
    assert_eq!(run(&["policy", "check", &dir, at[0], at[1], "--strict"]).code, 4);
    assert_eq!(run(&["agreement", "list", &dir]).code, 4);
    assert_eq!(run(&["agreement", "show", &dir, "A-7"]).code, 4);
    let shown = run(&["agreement", "show", &dir, "A-142", at[0], at[1]]);
    assert_eq!((shown.code, shown.stdout.contains("in force")), (0, true), "{}", shown.stdout);
}

#[test]
fn an_ended_agreement_is_named_and_neither_check_nor_strict_fails_for_it() {
    let mut files = base();
    files.remove("agreements/A-7.toml");
    files.remove("agreements/A-9.toml");
    let (_folder, dir) = on_disk(&files);
    let ran = run(&["policy", "check", &dir, "--strict", "--at", "2028-01-01T00:00:00Z"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("warning[ended]"), "{}", ran.stderr);
}

#[test]
fn a_failed_test_of_the_definition_exits_2_and_invalid_input_before_it() {
    let failing = replaced(base(), "tests/claims.toml", "expect = \"allow\"", "expect = \"deny\"");
    let (_folder, dir) = on_disk(&failing);
    let ran = run(&["policy", "test", &dir]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("tests/claims.toml:3:1"), "{}", ran.stderr);
    let broken = replaced(failing, "network.toml", "lease = \"72h\"", "lease = \"72\"");
    let (_folder, dir) = on_disk(&broken);
    assert_eq!(run(&["policy", "test", &dir]).code, 1);
}

#[test]
fn json_is_for_machines_on_stdout() {
    let (_folder, dir) = on_disk(&replaced(base(), "network.toml", "lease = \"72h\"", "lease = \"72\""));
    let ran = run(&["policy", "check", &dir, "--json"]);
    let found: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let error = found.as_array().expect("an array").iter().find(|it| it["severity"] == "error").expect("an error");
    assert_eq!(ran.code, 1);
    assert_eq!(error["file"], "network.toml");
    assert_eq!((error["line"].as_u64(), error["column"].as_u64()), (Some(22), Some(9)));
    assert_eq!(error["code"], "bad-duration");
    assert!(error["message"].is_string() && error["help"].is_string());
}

#[test]
fn a_wrong_command_line_exits_64() {
    for arguments in
        [&["policy", "check"][..], &["policy", "check", ".", "--at", "yesterday"], &["agreement", "sign", "."]]
    {
        assert_eq!(run(arguments).code, 64, "{arguments:?}");
    }
}

#[test]
fn check_and_test_write_nothing() {
    let mut files = base();
    files.remove("allotted.toml");
    let (folder, dir) = on_disk(&files);
    let before = contents(folder.path());
    let ran = run(&["policy", "check", &dir]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("turnpike policy allot DIR"), "{}", ran.stderr);
    assert_eq!(run(&["policy", "test", &dir]).code, 1);
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn allot_writes_once_and_leaves_no_other_file() {
    let mut files = base();
    files.remove("allotted.toml");
    let (folder, dir) = on_disk(&files);
    assert_eq!(run(&["policy", "allot", &dir]).code, 0);
    let after = contents(folder.path());
    assert_eq!(after.len(), files.iter().count() + 1);
    assert_eq!(run(&["policy", "check", &dir]).code, 0);
    assert_eq!(run(&["policy", "allot", &dir]).code, 0);
    assert_eq!(contents(folder.path()), after);
}

#[test]
fn a_key_is_made_for_its_owner_alone_and_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key.pem");
    let key = key.to_str().expect("UTF-8");
    let made = run(&["agreement", "keygen", "--out", key]);
    assert_eq!(made.code, 0);
    assert!(made.stdout.starts_with("ed25519:") && made.stdout.trim().len() == 52, "{}", made.stdout);
    assert_eq!(std::fs::metadata(key).expect("the key").permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(key).expect("the key");
    assert_eq!(run(&["agreement", "keygen", "--out", key]).code, 1);
    assert_eq!(std::fs::read(key).expect("the key"), before);
}

/// A definition whose two councils have keys of our own; the keys' files.
fn with_keys() -> (tempfile::TempDir, String, [String; 2]) {
    let mut files = base();
    let folder = tempfile::tempdir().expect("a folder");
    let known = [
        ("leeds", "ed25519:tNJ9lMiVA0FlXlnrmAfvaMsCbWs23ynEQkENneV7Buk="),
        ("bradford", "ed25519:2mChc1gAZzwxyPYRwZuRpJE7VGr68+3PNefvEjFS65M="),
    ];
    let keys = known.map(|(council, old)| {
        let path = folder.path().join(format!("{council}.pem")).to_str().expect("UTF-8").to_owned();
        let public = run(&["agreement", "keygen", "--out", &path]).stdout;
        files = replaced(files.clone(), &format!("councils/{council}.toml"), old, public.trim());
        path
    });
    write(&files, folder.path());
    let dir = folder.path().to_str().expect("UTF-8").to_owned();
    (folder, dir, keys)
}

#[test]
fn sign_adds_the_consent_and_keeps_the_rest_of_the_file() {
    let (folder, dir, [leeds, bradford]) = with_keys();
    let at = ["--at", "2026-06-01T10:00:00+01:00"];
    assert_eq!(
        run(&["agreement", "show", &dir, "A-142", at[0], at[1]]).code,
        4,
        "the old signatures are of other keys"
    );
    for (council, key) in [("leeds", &leeds), ("bradford", &bradford)] {
        let by = format!("siro@{council}.example");
        let ran = run(&["agreement", "sign", &dir, "A-142", "--council", council, "--by", &by, "--key", key]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    assert_eq!(run(&["agreement", "show", &dir, "A-142", at[0], at[1]]).code, 0);
    let after = std::fs::read_to_string(folder.path().join("agreements/A-142.toml")).expect("the file");
    let before = text(&base(), "agreements/A-142.toml");
    let head = before.split("[[agreement.consent]]").next().expect("a head");
    assert!(after.starts_with(head.trim_end()), "{after}");
    assert_eq!(after.matches("[[agreement.consent]]").count(), 2, "a new consent takes the place of the old");
}

#[test]
fn sign_refuses_a_strangers_key_a_stranger_and_a_council_without_part() {
    let (folder, dir, [leeds, bradford]) = with_keys();
    let before = contents(folder.path());
    let attempts = [
        ("leeds", "siro@leeds.example", &bradford, "is not the one that councils/leeds.toml has"),
        ("leeds", "clerk@leeds.example", &leeds, "is no signer of council 'leeds'"),
        ("operator", "siro@leeds.example", &leeds, "has no part in A-142"),
    ];
    for (council, by, key, cause) in attempts {
        let ran = run(&["agreement", "sign", &dir, "A-142", "--council", council, "--by", by, "--key", key]);
        assert_eq!(ran.code, 1);
        assert!(ran.stderr.contains(cause), "{}", ran.stderr);
    }
    assert_eq!(run(&["agreement", "terms", &dir, "A-1"]).code, 1);
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn terms_prints_the_json_and_its_hash() {
    let (_folder, dir) = on_disk(&base());
    let ran = run(&["agreement", "terms", &dir, "A-142"]);
    let (json, hash) = ran.stdout.trim_end().split_once('\n').expect("two lines");
    let parsed: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(parsed["turnpike-terms"], 1);
    assert_eq!(hash, "sha256:7bbb68c946e63e84522194caeaecf277faeb87c6822323820ed0aebb72abb137");
}
