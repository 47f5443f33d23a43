//! Every file of `bad/` breaks the base in one place; each is refused there, for that reason, with that advice.
//!
//! A file names the `file` to break, the text to `replace` and what to put there (`with`); then the finding expected:
//! its `code`, the `point` at which it stands (the first place of that text in the broken file, or in `at_file`), and
//! parts of its `message` and `help`. It is the only error, unless `others` says that more follow from it.

use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;
use turnpike::policy::{Files, Finding, Severity};

use crate::definition::{base, here, lines, replaced, resolve, text, write};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bad {
    pub file: String,
    replace: String,
    with: String,
    pub code: String,
    at_file: Option<String>,
    point: String,
    message: String,
    help: Option<String>,
    #[serde(default)]
    others: bool,
}

pub fn variants() -> Vec<(String, Bad)> {
    let entries = std::fs::read_dir(here("tests/policy/bad")).expect("the folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let bad = toml::from_str(&std::fs::read_to_string(&path).expect("text"));
        let bad = bad.unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, bad)
    };
    paths.into_iter().map(read).collect()
}

impl Bad {
    pub fn files(&self) -> Files {
        replaced(base(), &self.file, &self.replace, &self.with)
    }

    /// File, line and column at which the finding is expected.
    fn place(&self) -> (String, u32, u32) {
        let file = self.at_file.clone().unwrap_or_else(|| self.file.clone());
        let text = text(&self.files(), &file);
        let at = text.find(&self.point).unwrap_or_else(|| panic!("{file} holds {:?}", self.point));
        let line = text[..at].matches('\n').count() + 1;
        let column = text[..at].rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (file, u32::try_from(line).expect("short"), u32::try_from(column).expect("short"))
    }

    fn is(&self, finding: &Finding) -> bool {
        let (file, line, column) = self.place();
        let origin = &finding.origin;
        (origin.file.as_str(), origin.line, origin.column) == (file.as_str(), line, column)
            && finding.code.as_str() == self.code
            && finding.message.contains(&self.message)
            && self.help.as_ref().is_none_or(|help| finding.help.as_ref().is_some_and(|given| given.contains(help)))
    }
}

#[test]
fn the_base_holds() {
    resolve(&base()).unwrap_or_else(|found| panic!("the base holds:\n{}", lines(&found)));
}

#[test]
fn every_variant_is_refused_where_and_for_what_is_wrong() {
    let variants = variants();
    assert!(variants.len() >= 40, "{} variants", variants.len());
    let mut wrong = String::new();
    for (name, bad) in &variants {
        let found = resolve(&bad.files()).err().unwrap_or_default();
        let errors: Vec<_> = found.iter().filter(|finding| finding.severity == Severity::Error).cloned().collect();
        if !errors.iter().any(|finding| bad.is(finding)) || (!bad.others && errors.len() > 1) {
            wrong += &format!("{name}, expected {:?} {}:\n{}\n", bad.place(), bad.code, lines(&errors));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_command_refuses_each_with_exit_1_and_its_place_on_stderr() {
    for (name, bad) in variants().iter().step_by(7) {
        let folder = tempfile::tempdir().expect("a folder");
        write(&bad.files(), folder.path());
        let output = Command::new(env!("CARGO_BIN_EXE_turnpike")).args(["policy", "check"]).arg(folder.path()).output();
        let output = output.expect("it runs");
        let (file, line, column) = bad.place();
        let place = format!("{}:{line}:{column}", folder.path().join(file).display());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {stderr}");
        assert!(stderr.contains(&place) && stderr.contains(&format!("error[{}]", bad.code)), "{name}: {stderr}");
        assert!(output.stdout.is_empty(), "{name}");
    }
}

#[test]
fn one_run_tells_every_fault() {
    let mut files = base();
    for name in ["unknown-class", "real-with-host-bits", "range-descends", "unknown-hub", "endpoint-without-port"] {
        let (_, bad) = variants().into_iter().find(|(known, _)| known == name).expect("the variant");
        files = replaced(files, &bad.file, &bad.replace, &bad.with);
    }
    let found = resolve(&files).expect_err("it is broken");
    let codes: Vec<_> = found.iter().map(|finding| finding.code.as_str()).collect();
    for code in ["unknown-name", "host-bits", "bad-port", "bad-address"] {
        assert!(codes.contains(&code), "{code} among\n{}", lines(&found));
    }
}
