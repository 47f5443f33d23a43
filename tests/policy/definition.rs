//! Definitions for tests: the base, which uses every key of the format, and small ones made up on the spot.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use turnpike::identity::Signer;
use turnpike::policy::{self, Files, Finding, Resolved};

/// A time at which the base's agreements hold.
pub const NOW: &str = "2026-06-01T10:00:00+01:00";

pub fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn base() -> Files {
    folder(&here("tests/policy/base"))
}

/// Reads a definition as the command line does.
pub fn folder(path: &Path) -> Files {
    let folder = turnpike::cli::definition::read(path).expect("a readable folder");
    assert_eq!(folder.findings, [], "{}", path.display());
    folder.files
}

pub fn write(files: &Files, folder: &Path) {
    for (path, content) in files.iter() {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, content).expect("a file");
    }
}

pub fn text(files: &Files, path: &str) -> String {
    String::from_utf8(files.get(path).unwrap_or_else(|| panic!("{path} is there")).to_vec()).expect("UTF-8")
}

/// Replaces the first of a text in a file.
pub fn replaced(mut files: Files, path: &str, from: &str, to: &str) -> Files {
    let before = text(&files, path);
    assert!(before.contains(from), "{path} holds {from:?}");
    files.insert(path, before.replacen(from, to, 1));
    files
}

pub fn resolve(files: &Files) -> Result<Resolved, Vec<Finding>> {
    policy::resolve(files, time(NOW))
}

pub fn resolved(files: &Files) -> Resolved {
    resolve(files).unwrap_or_else(|found| panic!("it holds:\n{}", lines(&found)))
}

pub fn lines(found: &[Finding]) -> String {
    found.iter().map(|finding| format!("{finding}\n")).collect()
}

pub fn allotted(mut files: Files) -> Files {
    let text = policy::allot(&files).unwrap_or_else(|found| panic!("it can be allotted:\n{}", lines(&found)));
    files.insert("allotted.toml", text);
    files
}

/// Who signs for a council in tests, always by the same key: PKCS #8 (RFC 8410, section 7).
pub fn signer(council: &str) -> Signer {
    let mut octets = hex::decode("302e020100300506032b657004220420").expect("hexadecimal");
    octets.extend(Sha256::digest(council));
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(octets));
    Signer::from_pem(&pem).expect("a key")
}

/// A definition of councils `c0`, `c1`, … with one edge each and departments and services as asked for; for every
/// council its own [`signer`] signs.
pub struct Small {
    pub files: Files,
}

impl Small {
    pub fn new() -> Self {
        let network = "[network]\nname = \"small\"\noverlay = [\"100.64.0.0/10\", \"fd64::/48\"]\n\
            management = \"100.127.0.0/16\"\n\n[[hub]]\nname = \"hub\"\nendpoints = [\"192.0.2.1:51820\"]\n\n\
            [[class]]\nname = \"routine\"\nlease = \"72h\"\n";
        let mut files = Files::new();
        files.insert("network.toml", network);
        Self { files }
    }

    pub fn guardrail(&mut self, number: usize, deny: &str, to: &str) {
        self.append(
            "network.toml",
            &format!("\n[[guardrail]]\nid = \"G-{number}\"\ndeny = \"{deny}\"\nto = \"{to}\"\n"),
        );
    }

    pub fn council(&mut self, council: usize) {
        let key = signer(&format!("c{council}")).verifier();
        let text = format!(
            "[council]\nname = \"c{council}\"\n[[council.signer]]\nby = \"siro@c{council}\"\nkey = \"{key}\"\n\n\
             [[edge]]\nname = \"e{council}\"\nuplinks = [{{ name = \"wan\", device = \"eth0\" }}]\n"
        );
        self.files.insert(format!("councils/c{council}.toml"), text);
    }

    /// A department with the real prefix `10.X.Y.0/length` and an IPv6 one of its own.
    pub fn department(&mut self, council: usize, department: usize, length: u8) {
        let slot = department * 16;
        let text = format!(
            "\n[[department]]\nname = \"d{department}\"\nsegment = {{ device = \"eth{}\" }}\n\
             gateway = [\"10.{slot}.0.1/{length}\", \"fd00:{department}::1/64\"]\n\
             real = [\"10.{slot}.0.0/{length}\", \"fd00:{department}::/64\"]\n",
            department + 1
        );
        self.append(&format!("councils/c{council}.toml"), &text);
    }

    /// A service of department `d0` at its hosts 2 to 2 + `hosts` - 1, and at one IPv6 host.
    pub fn service(&mut self, council: usize, service: usize, hosts: usize, ports: &str) {
        let mut list = String::new();
        for host in 0..hosts {
            write!(list, "\"10.0.0.{}\", ", host + 2).expect("a String takes it");
        }
        let text = format!(
            "\n[[service]]\nname = \"s{service}\"\ndepartment = \"d0\"\nhosts = [{list}\"fd00:0::2\"]\nports = {ports}\n"
        );
        self.append(&format!("councils/c{council}.toml"), &text);
    }

    pub fn agreement(&mut self, number: usize, service: &str, from: &[String]) {
        let from: Vec<_> = from.iter().map(|name| format!("\"{name}\"")).collect();
        let text = format!(
            "[agreement]\nid = \"A-{number}\"\nservice = \"{service}\"\nfrom = [{}]\nclass = \"routine\"\n",
            from.join(", ")
        );
        self.files.insert(format!("agreements/A-{number}.toml"), text);
    }

    pub fn append(&mut self, path: &str, more: &str) {
        let mut before = text(&self.files, path);
        before.push_str(more);
        self.files.insert(path, before);
    }

    /// Adds the consent of every council concerned to every agreement.
    pub fn sign(&mut self) {
        let all = policy::terms(&self.files).unwrap_or_else(|found| panic!("it holds:\n{}", lines(&found)));
        for (id, terms) in all {
            for council in &terms.councils {
                let consent = format!(
                    "\n[[agreement.consent]]\ncouncil = \"{council}\"\nby = \"siro@{council}\"\nterms = \"{}\"\nsignature = \"{}\"\n",
                    terms.hash(),
                    terms.sign(&signer(council.as_str()))
                );
                self.append(&format!("agreements/{id}.toml"), &consent);
            }
        }
    }
}
