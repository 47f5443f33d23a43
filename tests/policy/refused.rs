//! What no definition may be: symlinks, huge files, other encodings, folders that are none; and bytes at random.

use std::os::unix::fs::symlink;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use turnpike::policy::{self, Files};

use crate::definition::{base, here, resolve, text, write};

fn check(folder: &std::path::Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_turnpike"))
        .args(["policy", "check", "--json"])
        .arg(folder)
        .output()
        .expect("it runs")
}

/// The refusal of a folder: code and file of the first error.
fn refusal(folder: &std::path::Path) -> (String, String) {
    let output = check(folder);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let of = |key: &str| found[0][key].as_str().expect("text").to_owned();
    (of("code"), of("file"))
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(&base(), folder.path());
    folder
}

#[test]
fn the_base_on_disk_is_not_refused() {
    assert_eq!(check(folder().path()).status.code(), Some(0));
}

#[test]
fn a_symlink_is_refused_whatever_it_leads_to() {
    let folder = folder();
    let path = folder.path().join("councils/york.toml");
    symlink(here("tests/policy/base/councils/leeds.toml"), &path).expect("a symlink");
    assert_eq!(refusal(folder.path()), ("not-a-plain-file".into(), "councils/york.toml".into()));
    std::fs::remove_file(&path).expect("it was there");
    std::fs::rename(folder.path().join("tests"), folder.path().join("other")).expect("renamed");
    symlink("other", folder.path().join("tests")).expect("a symlink");
    assert_eq!(refusal(folder.path()), ("not-a-plain-file".into(), "tests".into()));
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let folder = folder();
    let path = folder.path().join("councils/york.toml");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    assert_eq!(refusal(folder.path()), ("not-a-plain-file".into(), "councils/york.toml".into()));
}

#[test]
fn a_file_of_100_megabytes_is_refused_at_once() {
    let folder = folder();
    let file = std::fs::File::create(folder.path().join("agreements/A-1.toml")).expect("a file");
    file.set_len(100 << 20).expect("it is sparse");
    let began = Instant::now();
    assert_eq!(refusal(folder.path()), ("too-large".into(), "agreements/A-1.toml".into()));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_file_that_is_not_utf_8_is_named_with_its_line() {
    let mut files = base();
    files.insert("agreements/A-7.toml", b"# one\n# two \xff\n".to_vec());
    let found = resolve(&files).expect_err("it is broken");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].code.as_str(), found[0].origin.line), ("not-utf-8", 2));
}

#[test]
fn other_files_and_folders_are_passed_over() {
    let folder = folder();
    std::fs::write(folder.path().join("notes.toml"), "not = [toml").expect("a file");
    std::fs::write(folder.path().join("councils/notes.md"), "not toml").expect("a file");
    std::fs::create_dir(folder.path().join("councils/old.toml")).expect("a folder");
    symlink("nowhere", folder.path().join("link")).expect("a symlink");
    assert_eq!(check(folder.path()).status.code(), Some(0));
}

#[test]
fn a_folder_without_network_toml_or_without_being_there_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(refusal(folder.path()), ("missing-file".into(), "network.toml".into()));
    let output = check(&folder.path().join("nowhere"));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("No such file"));
}

#[test]
fn what_is_printed_of_a_hostile_file_cannot_steer_a_terminal() {
    let folder = folder();
    let path = folder.path().join("agreements/A-7.toml");
    let hostile = "[agreement]\nid = \"A-7\"\nservice = \"leeds/\u{202e}records\"\nfrom = []\nclass = \"\u{200f}x\"\n";
    std::fs::write(path, hostile).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_turnpike")).args(["policy", "check"]).arg(folder.path()).output();
    let stderr = String::from_utf8(output.expect("it runs").stderr).expect("UTF-8");
    assert!(stderr.contains("bad-name"), "{stderr}");
    assert!(!stderr.contains(['\u{202e}', '\u{200f}', '\u{1b}']), "{stderr}");
}

/// Every file of the base with octets replaced, doubled or cut out at some places.
pub fn torn() -> impl Strategy<Value = Files> {
    let places: Vec<String> = base().iter().map(|(path, _)| path.to_owned()).collect();
    let edit = (prop::sample::select(places), any::<prop::sample::Index>(), 0..40_usize, "[ -~\n]{0,12}|\\PC{0,4}");
    prop::collection::vec(edit, 1..6).prop_map(|edits| {
        let mut files = base();
        for (path, at, length, with) in edits {
            let mut octets = text(&files, &path).into_bytes();
            let at = at.index(octets.len() + 1);
            let end = (at + length).min(octets.len());
            octets.splice(at..end, with.into_bytes());
            let whole = String::from_utf8_lossy(&octets).into_owned();
            files.insert(path, whole);
        }
        files
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_edit_of_a_definition_makes_resolving_panic(files in torn()) {
        if let Err(found) = resolve(&files) {
            prop_assert!(found.iter().all(|finding| finding.width > 0 && finding.origin.line > 0 && finding.origin.column > 0));
        }
        policy::allot(&files).ok();
    }

    #[test]
    fn no_bytes_make_resolving_panic(octets in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,200}") {
        for path in ["network.toml", "councils/leeds.toml", "agreements/A-142.toml", "tests/claims.toml", "allotted.toml"] {
            for content in [octets.clone(), text.clone().into_bytes()] {
                let mut files = base();
                files.insert(path, content);
                resolve(&files).ok();
            }
        }
    }
}
