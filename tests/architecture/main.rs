//! The layer table of `src/lib.rs`, held by reading the sources: imports go downward only, pure layers stay
//! pure, unsafe code stays in `sys`, boringtun in one file, and every file says what it is.

mod scan;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use scan::{Mention, Source};

/// Every module of `src/`, with its layer. A module may import lower layers, and its own.
const LAYERS: &[(&str, u8)] = &[
    ("net", 0),
    ("identity", 0),
    ("policy", 1),
    ("bundle", 1),
    ("ruleset", 1),
    ("event", 1),
    ("tunnel", 2),
    ("reconcile", 2),
    ("sys", 3),
    ("telemetry", 3),
    ("store", 3),
    ("http", 3),
    ("dataplane", 4),
    ("controller", 5),
    ("gateway", 5),
    ("uapi", 5),
    ("lab", 5),
    ("cli", 6),
];

/// Imports within one layer that are allowed, with the reason in DESIGN's words.
const SIDEWAYS: &[(&str, &str)] = &[
    // The compiler's results are the bundle's types.
    ("policy", "bundle"),
    // What a gateway loads is compiled from the bundle.
    ("ruleset", "bundle"),
    // What the ruleset tells of is named by the bundle's names.
    ("event", "ruleset"),
    ("event", "bundle"),
];

/// Where the core is pure: no I/O, no clock, no logging, no runtime.
const PURE_UP_TO: u8 = 2;

/// Paths that no pure layer may name.
const IMPURE: &[&str] =
    &["tokio", "tracing", "std::fs", "std::net::UdpSocket", "std::net::TcpStream", "std::env", "std::process"];

/// Functions that read a clock.
const CLOCKS: &[&str] = &["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now"];

/// The one file that may name boringtun; it reads its own clock, so it may too.
const ENGINE: &str = "tunnel/peer.rs";

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|&(_, layer)| layer)
}

/// Everything that `source` does against the rules, one sentence each.
fn faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |line: usize, text: String| faults.push(format!("{}:{line}: {text}", source.path));
    if !source.has_module_doc {
        fault(1, "has no module documentation".into());
    }
    for line in &source.unsafe_lines {
        if source.module != "sys" {
            fault(*line, "unsafe code belongs in sys".into());
        }
    }
    for mention in &source.mentions {
        if mention.path.first().is_some_and(|first| first == "boringtun") && source.path != ENGINE {
            fault(mention.line, format!("only {ENGINE} may name boringtun"));
        }
        if let Some(text) = import_fault(&source.module, mention).or_else(|| purity_fault(source, mention)) {
            fault(mention.line, text);
        }
    }
    faults
}

fn import_fault(module: &str, mention: &Mention) -> Option<String> {
    let own = layer(module)?;
    let target = mention.module()?;
    if target == module || SIDEWAYS.contains(&(module, target)) {
        return None;
    }
    let Some(other) = layer(target) else {
        return Some(format!("names crate::{target}, which is not in the layer table"));
    };
    (other >= own).then(|| format!("{module} (L{own}) imports {target} (L{other})"))
}

fn purity_fault(source: &Source, mention: &Mention) -> Option<String> {
    let pure = layer(&source.module).is_some_and(|layer| layer <= PURE_UP_TO);
    if !pure || mention.in_test || source.path == ENGINE {
        return None;
    }
    let path = mention.path.join("::");
    let impure = IMPURE.iter().any(|banned| path == *banned || path.starts_with(&format!("{banned}::")));
    let clock = CLOCKS.iter().any(|clock| path.ends_with(clock));
    (impure || clock).then(|| format!("{} is pure and may not name {path}", source.module))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources: Vec<_> = rust_files(&root)
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(&root).expect("below src").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("a source file");
            Source::read(&relative, &text).expect("a Rust file")
        })
        .collect();
    let test_modules: Vec<_> = sources.iter().flat_map(|source| source.test_modules.clone()).collect();
    sources.iter_mut().for_each(|source| source.judge_as_test_if_declared(&test_modules));
    sources
}

#[test]
fn the_sources_keep_the_layer_table() {
    let sources = sources();
    assert!(sources.len() > 100, "the sources were found");
    let faults: Vec<_> = sources.iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_module_stands_in_the_table_and_every_row_has_a_module() {
    let found: BTreeSet<_> = sources().iter().map(|source| source.module.clone()).filter(|m| !m.is_empty()).collect();
    let listed: BTreeSet<_> = LAYERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, listed);
}

/// A violating file for each rule, and the words that its fault must have.
const VIOLATIONS: &[(&str, &str, &str)] = &[
    ("net/a.rs", "//! Doc.\nuse crate::policy::Model;", "net (L0) imports policy (L1)"),
    ("net/a.rs", "//! Doc.\nuse crate::{net::Prefix, sys::{tun, udp}};", "net (L0) imports sys (L3)"),
    ("tunnel/a.rs", "//! Doc.\npub use crate::dataplane::Plan as P;", "tunnel (L2) imports dataplane (L4)"),
    ("tunnel/a.rs", "//! Doc.\nfn f() { crate::dataplane::start() }", "tunnel (L2) imports dataplane (L4)"),
    ("tunnel/a.rs", "//! Doc.\nfn f() { println!(\"{}\", crate::cli::x()) }", "tunnel (L2) imports cli (L6)"),
    ("tunnel/deep/a.rs", "//! Doc.\nuse super::super::super::gateway::Apply;", "tunnel (L2) imports gateway (L5)"),
    ("bundle/a.rs", "//! Doc.\nuse crate::policy::Model;", "bundle (L1) imports policy (L1)"),
    ("gateway/a.rs", "//! Doc.\nuse crate::uapi::Server;", "gateway (L5) imports uapi (L5)"),
    ("policy/a.rs", "//! Doc.\nuse crate::nowhere::X;", "not in the layer table"),
    ("policy/a.rs", "//! Doc.\nuse std::{fs, io};", "policy is pure and may not name std::fs"),
    ("policy/a.rs", "//! Doc.\nfn f() { let _ = std::time::Instant::now(); }", "policy is pure"),
    ("tunnel/a.rs", "//! Doc.\nfn f() { tracing::info!(\"x\") }", "tunnel is pure and may not name tracing"),
    ("tunnel/a.rs", "//! Doc.\nuse boringtun::noise::Tunn;", "only tunnel/peer.rs may name boringtun"),
    ("dataplane/a.rs", "//! Doc.\nfn f() { unsafe { g() } }", "unsafe code belongs in sys"),
    ("dataplane/a.rs", "fn f() {}", "has no module documentation"),
];

#[test]
fn each_rule_bites() {
    for (path, text, expected) in VIOLATIONS {
        let faults = faults(&Source::read(path, text).expect("a Rust file"));
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{text}\ngave {faults:?}");
    }
}

#[test]
fn what_is_allowed_passes() {
    for (path, text) in [
        ("policy/a.rs", "//! Doc.\nuse crate::bundle::Policy;\nuse crate::net::Prefix;\nuse super::model::Model;"),
        ("tunnel/peer.rs", "//! Doc.\nuse boringtun::noise::Tunn;\nfn f() { std::time::Instant::now(); }"),
        ("sys/tun.rs", "//! Doc.\nfn f() { unsafe { g() } }"),
        ("policy/a.rs", "//! Doc.\n#[cfg(test)]\nmod tests { use std::fs; }"),
    ] {
        assert_eq!(faults(&Source::read(path, text).expect("a Rust file")), Vec::<String>::new(), "{text}");
    }
}
