//! `turnpike bundle` as people and scripts meet it: what it writes, what it refuses, and how it exits.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// An instant at which the example's agreements are in force.
const AT: &str = "2026-06-01T10:00:00+01:00";

/// The shipped definition, copied, with an `out` beside it.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { root: tempfile::tempdir().expect("a folder") };
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/three-councils");
        copy(&example, &place.path("definition"));
        place
    }

    /// One in which a build has been made.
    fn built() -> Self {
        let place = Self::new();
        place.build_json();
        place
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_turnpike"));
        command.current_dir(self.root.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("turnpike runs")
    }

    fn build(&self) -> Output {
        self.run(&["bundle", "build", "definition", "--out", "out", "--at", AT])
    }

    fn build_json(&self) -> Value {
        let output = self.run(&["bundle", "build", "definition", "--out", "out", "--at", AT, "--json"]);
        assert_eq!(code(&output), 0, "{}", errors(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn show(&self, bundle: &str) -> Output {
        self.run(&["bundle", "show", bundle, "--trust", "out.keys/trust.toml"])
    }

    /// The first edge's bundle.
    fn edge(&self) -> String {
        let built = self.build_json();
        let gateways = built["gateways"].as_array().expect("gateways");
        let edge = gateways.iter().find(|gateway| gateway["role"] == "edge").expect("an edge");
        edge["bundle"].as_str().expect("a path").to_owned()
    }

    /// The path of an agreement; without it, gateways are told something else.
    fn agreement(&self) -> PathBuf {
        files(&self.path("definition/agreements")).remove(0)
    }

    fn bundles(&self) -> Vec<Vec<u8>> {
        files(&self.path("out")).iter().map(|path| fs::read(path).expect("a file")).collect()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    fs::set_permissions(to, fs::metadata(from).expect("a folder").permissions()).expect("its mode");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("not killed by a signal")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").mode() & 0o7777
}

#[test]
fn a_build_makes_a_bundle_for_every_gateway_and_says_so() {
    let place = Place::new();
    let output = place.build();
    assert_eq!(code(&output), 0, "{}", errors(&output));
    let said = text(&output);
    let bundles = files(&place.path("out"));
    assert!(bundles.len() >= 4, "{bundles:?}");
    for bundle in &bundles {
        let gateway = bundle.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        assert!(said.contains(gateway), "{said}");
        let shown = place.show(bundle.to_str().expect("a path"));
        assert_eq!(code(&shown), 0, "{}", errors(&shown));
        assert!(text(&shown).contains("verified: hashes and signatures"), "{}", text(&shown));
    }
    assert!(said.contains("generation 1: ") && said.contains("keys made"), "{said}");
}

#[test]
fn an_unchanged_build_says_unchanged_and_touches_no_file() {
    let place = Place::built();
    let stamps = || -> Vec<_> {
        let all = [files(&place.path("out")), files(&place.path("out.keys"))].concat();
        all.into_iter().map(|path| (fs::metadata(&path).expect("a file").ino(), path)).collect()
    };
    let before = stamps();
    let again = place.build();
    assert!(text(&again).contains("unchanged, generation 1"), "{}", text(&again));
    assert_eq!(stamps(), before);
    let agreement = fs::read(place.agreement()).expect("a file");
    let path = place.agreement();
    fs::remove_file(&path).expect("removed");
    let later = place.build();
    assert!(text(&later).contains("generation 2: "), "{}{}", text(&later), errors(&later));
    assert_ne!(stamps(), before);
    fs::write(&path, agreement).expect("put back");
    let back = place.build();
    assert!(text(&back).contains("generation 3: "), "{}", text(&back));
}

#[test]
fn the_same_keys_give_the_same_octets_elsewhere() {
    let (one, other) = (Place::built(), Place::new());
    copy(&one.path("out.keys"), &other.path("out.keys"));
    fs::remove_file(other.path("out.keys/generation.toml")).expect("removed");
    other.build_json();
    assert_eq!(one.bundles(), other.bundles());
}

#[test]
fn private_keys_are_for_their_owner_alone_and_stand_in_no_bundle() {
    let place = Place::built();
    let keys = files(&place.path("out.keys"));
    let private: Vec<&PathBuf> =
        keys.iter().filter(|path| path.extension().is_some_and(|e| e == "key" || e == "pem")).collect();
    assert!(private.len() > files(&place.path("out")).len(), "a key per gateway, and one that signs");
    let bundles = String::from_utf8(place.bundles().concat()).expect("text");
    for path in private {
        assert_eq!(mode(path), 0o600, "{}", path.display());
        assert_eq!(mode(path.parent().expect("a folder")), 0o700);
        let key = fs::read_to_string(path).expect("text");
        let secret = key.lines().find(|line| !line.starts_with("-----")).expect("base64");
        assert!(secret.len() > 40 && !bundles.contains(secret), "{}", path.display());
    }
    assert!(!bundles.contains("preshared"));
}

#[test]
fn a_key_that_others_may_read_is_refused_with_the_remedy() {
    let place = Place::built();
    let key = files(&place.path("out.keys")).into_iter().find(|p| p.extension().is_some_and(|e| e == "key"));
    let key = key.expect("a key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("changed");
    let output = place.build();
    assert_eq!(code(&output), 1);
    let said = errors(&output);
    assert!(said.contains("may be read by others (mode 0644)") && said.contains("chmod 600"), "{said}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("changed");
    assert_eq!(code(&place.build()), 0);
    fs::write(&key, "no key\n").expect("written");
    let output = place.build();
    assert_eq!(code(&output), 1);
    assert!(errors(&output).contains("holds no private key"), "{}", errors(&output));
    assert_eq!(fs::read_to_string(&key).expect("text"), "no key\n", "it is left for its owner to look at");
}

#[test]
fn an_invalid_definition_leaves_everything_as_it_was() {
    let place = Place::built();
    let before = place.bundles();
    let network = place.path("definition/network.toml");
    let good = fs::read_to_string(&network).expect("text");
    fs::write(&network, format!("{good}\n[surprise]\n")).expect("written");
    let output = place.build();
    assert_eq!(code(&output), 1);
    assert!(errors(&output).contains("network.toml"), "{}", errors(&output));
    assert_eq!(place.bundles(), before);
    fs::write(&network, good).expect("written");
    assert_eq!(code(&place.build()), 0);
}

#[test]
fn a_truncated_or_forged_bundle_is_refused_and_the_whole_one_is_shown() {
    let place = Place::built();
    let edge = place.edge();
    let whole = fs::read(place.path(&edge)).expect("a file");
    let refused = |octets: &[u8], cause: &str| {
        assert_ne!(octets, whole, "{cause}: the forgery changes something");
        fs::write(place.path("bad.bundle"), octets).expect("written");
        let output = place.show("bad.bundle");
        assert_eq!(code(&output), 1, "{cause}");
        let said = errors(&output);
        assert!(said.contains("bad.bundle") && said.contains(cause) && said.contains("help: "), "{cause}: {said}");
        assert!(output.stdout.is_empty());
    };
    refused(&[], "not a bundle");
    refused(b"hello", "not a bundle");
    for length in [1, 100, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..length], "truncated");
    }
    let replaced =
        |from: &str, to: &str| String::from_utf8(whole.clone()).expect("text").replace(from, to).into_bytes();
    refused(&replaced("\"turnpike-bundle\":1", "\"turnpike-bundle\":2"), "version 2");
    refused(&replaced("\\\"relay\\\":true", "\\\"relay\\\":null"), "membership section's hash");
    refused(&replaced("\"generation\":1,", "\"generation\":9,"), "signature");
    refused(&[whole.as_slice(), b"\n"].concat(), "canonical");
    assert_eq!(code(&place.show(&edge)), 0);
}

#[test]
fn another_networks_trust_refuses_the_bundle() {
    let (place, other) = (Place::built(), Place::built());
    fs::copy(other.path("out.keys/trust.toml"), place.path("other.toml")).expect("copied");
    let edge = place.edge();
    let output = place.run(&["bundle", "show", &edge, "--trust", "other.toml"]);
    assert_eq!(code(&output), 1);
    assert!(errors(&output).contains("signature is not that of the key trusted"), "{}", errors(&output));
    fs::write(place.path("other.toml"), "network = 1\n").expect("written");
    assert_eq!(code(&place.run(&["bundle", "show", &edge, "--trust", "other.toml"])), 1);
    assert_eq!(code(&place.show(&edge)), 0);
}

#[test]
fn json_says_what_the_page_says() {
    let place = Place::built();
    let edge = place.edge();
    let unverified = place.run(&["bundle", "show", &edge, "--json"]);
    let shown: Value = serde_json::from_slice(&unverified.stdout).expect("JSON");
    assert_eq!((&shown["verified"], &shown["generation"]), (&Value::Bool(false), &Value::from(1)));
    let page = text(&place.run(&["bundle", "show", &edge]));
    assert!(page.contains("not verified") && page.contains(shown["gateway"].as_str().expect("a name")), "{page}");
    let verified = place.run(&["bundle", "show", &edge, "--json", "--trust", "out.keys/trust.toml"]);
    assert_eq!(serde_json::from_slice::<Value>(&verified.stdout).expect("JSON")["verified"], true);
}

#[test]
fn what_is_missing_and_what_is_mistyped_have_exit_codes_of_their_own() {
    let place = Place::built();
    assert_eq!(code(&place.run(&["bundle", "show", "nowhere.bundle"])), 69);
    assert_eq!(code(&place.run(&["bundle", "build", "definition"])), 64);
    assert_eq!(code(&place.run(&["bundle", "build", "definition", "--out", ".."])), 64);
    assert_eq!(code(&place.run(&["bundle", "build", "definition", "--out", "out", "--at", "2026-06-01"])), 64);
    fs::write(place.path("file"), "").expect("written");
    assert_eq!(code(&place.run(&["bundle", "build", "definition", "--out", "file"])), 69);
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let place = Place::built();
    let edge = place.edge();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = place.command(&["bundle", "show", &edge, "--json"]);
    let running = command.stdout(writer).stderr(Stdio::piped()).spawn().expect("turnpike runs");
    let output = running.wait_with_output().expect("it ends");
    assert_eq!((code(&output), errors(&output)), (0, String::new()));
}

#[test]
fn a_heartbeat_is_the_controllers_and_its_numbers_rise() {
    use turnpike::bundle::{SignedHeartbeat, Trust};
    let place = Place::built();
    let trust =
        Trust::from_toml(&fs::read_to_string(place.path("out.keys/trust.toml")).expect("text")).expect("a trust");
    let first = place.run(&["bundle", "heartbeat", "out"]);
    assert_eq!(code(&first), 0, "{}", errors(&first));
    let read = |octets: &[u8]| SignedHeartbeat::parse(octets.trim_ascii_end()).expect("a heartbeat");
    let (first, again) = (read(&first.stdout), place.run(&["bundle", "heartbeat", "out", "--out", "hb"]));
    assert_eq!(code(&again), 0, "{}", errors(&again));
    let second = read(&fs::read(place.path("hb")).expect("a file"));
    assert_eq!((first.content.number, second.content.number), (1, 2));
    assert!(first.signed_by(&trust.controller) && second.signed_by(&trust.controller));
    assert_eq!(first.content.network, trust.network);
    fs::write(place.path("out.keys/heartbeat"), "many\n").expect("written");
    let damaged = place.run(&["bundle", "heartbeat", "out"]);
    assert_eq!(code(&damaged), 1, "{}", errors(&damaged));
    fs::remove_file(place.path("out.keys/signing.pem")).expect("removed");
    fs::remove_file(place.path("out.keys/heartbeat")).expect("removed");
    let unsigned = place.run(&["bundle", "heartbeat", "out"]);
    assert_eq!(code(&unsigned), 69, "{}", errors(&unsigned));
    assert!(!place.path("out.keys/signing.pem").exists(), "a key is not made for it");
    assert_eq!(code(&place.run(&["bundle", "heartbeat", "nowhere"])), 69);
}
