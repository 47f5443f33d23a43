//! The example of `examples/three-councils`, for tests.

use std::path::Path;

use crate::policy::{Files, Resolved, resolve};

/// The example as of 2026-06-01.
pub(super) fn example() -> Resolved {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/three-councils");
    let mut files = Files::new();
    let mut add = |path: String| files.insert(path.clone(), std::fs::read(root.join(&path)).expect("a file"));
    add("network.toml".into());
    add("allotted.toml".into());
    for folder in ["councils", "agreements", "tests"] {
        for entry in std::fs::read_dir(root.join(folder)).expect("a folder").flatten() {
            add(format!("{folder}/{}", entry.file_name().to_string_lossy()));
        }
    }
    resolve(&files, "2026-06-01T10:00:00Z".parse().expect("a time")).expect("the example")
}
