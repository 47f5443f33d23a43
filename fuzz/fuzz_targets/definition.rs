//! Any octets as one file of a definition that otherwise holds: findings or a model, never a panic; and its one form
//! holds or not as it did, means the same and is its own form. The first octet chooses the file.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use turnpike::policy::{self, Files, Finding, FormatError, Resolved, resolve};

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
    let resolved = resolve(&files, Timestamp::UNIX_EPOCH);
    match &resolved {
        Ok(resolved) => drop(policy::compile(&resolved.model)),
        Err(findings) => assert!(!findings.is_empty()),
    }
    format(files, name, octets, &resolved);
});

fn format(mut files: Files, name: &str, octets: &[u8], before: &Result<Resolved, Vec<Finding>>) {
    let form = match policy::format(name, octets) {
        Ok(form) => form,
        Err(FormatError::Syntax(findings)) => {
            assert!(!findings.is_empty() && before.is_err());
            return;
        }
        Err(FormatError::Unsafe) => panic!("its form says something else, or is formatted otherwise again"),
    };
    assert_eq!(policy::format(name, form.as_bytes()).as_deref(), Ok(form.as_str()));
    let meant = before.as_ref().ok().map(|before| meaning(&files, before));
    files.insert(name, form);
    match (before, &resolve(&files, Timestamp::UNIX_EPOCH)) {
        (Ok(_), Ok(after)) => assert_eq!(meant, Some(meaning(&files, after))),
        // Of several faults in one table the first is told: another, where the keys have another order.
        (Err(_), Err(_)) => {}
        (Ok(_), Err(found)) => panic!("its form is refused: {found:?}"),
        (Err(found), Ok(_)) => panic!("its form holds, though it did not: {found:?}"),
    }
}

/// What a definition means, without the places at which it says so.
fn meaning(files: &Files, resolved: &Resolved) -> (String, Vec<String>, usize) {
    let mut model = resolved.model.clone();
    model.departments.iter_mut().for_each(|it| (it.origin.line, it.origin.column) = (0, 0));
    model.services.iter_mut().for_each(|it| (it.origin.line, it.origin.column) = (0, 0));
    model.agreements.iter_mut().for_each(|it| (it.origin.line, it.origin.column) = (0, 0));
    model.guardrails.iter_mut().for_each(|it| (it.origin.line, it.origin.column) = (0, 0));
    let cases = resolved.cases.iter().map(|case| {
        let mut case = case.clone();
        (case.origin.line, case.origin.column) = (0, 0);
        format!("{case:?}")
    });
    let terms = policy::terms(files).expect("what resolves has terms");
    let terms = terms.values().map(|terms| terms.hash().to_owned());
    (format!("{model:?}"), cases.chain(terms).collect(), resolved.warnings.len())
}
