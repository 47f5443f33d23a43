//! Any octets as one file of a definition that otherwise holds: findings or a model, never a panic.
//! The first octet chooses the file.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use turnpike::policy::{self, Files, resolve};

static EXAMPLE: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/three-councils");
    let folders = ["", "councils", "agreements", "tests"];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(root.join(folder)).expect("the example"));
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml") && !path.ends_with("lab.toml"))
        .map(|path| {
            let name = path.strip_prefix(&root).expect("below").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("a file"))
        })
        .collect();
    files.sort();
    files
});

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, octets) = input;
    let mut files = Files::new();
    for (name, content) in EXAMPLE.iter() {
        files.insert(name.clone(), content.clone());
    }
    let (name, _) = &EXAMPLE[usize::from(choice) % EXAMPLE.len()];
    files.insert(name.clone(), octets);
    match resolve(&files, Timestamp::UNIX_EPOCH) {
        Ok(resolved) => drop(policy::compile(&resolved.model)),
        Err(findings) => assert!(!findings.is_empty()),
    }
});
