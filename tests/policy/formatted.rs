//! `turnpike policy fmt`: what a definition says, and every comment in it, outlives any way of writing it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use proptest::prelude::*;
use turnpike::policy::{self, Files, FormatError, Kind};

use crate::bad;
use crate::definition::{base, folder, here, replaced, resolve, text, write};
use crate::mutated::shipped;
use crate::refused::torn;

/// Every file in its form; `None` if one is not TOML.
fn formatted(files: &Files) -> Option<Files> {
    let mut after = Files::new();
    for (path, octets) in files.iter() {
        match policy::format(path, octets) {
            Ok(form) => after.insert(path, form),
            Err(FormatError::Syntax(found)) => {
                assert!(!found.is_empty(), "{path}");
                return None;
            }
            Err(FormatError::Unsafe) => panic!("{path}:\n{}", String::from_utf8_lossy(octets)),
        }
    }
    Some(after)
}

/// What a definition means, or why it is refused, without the places at which it says so.
fn meaning(files: &Files) -> Result<String, Vec<String>> {
    let placeless = |text: String| {
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once(".toml:") {
            out.push_str(before);
            rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
        }
        out + rest
    };
    let findings = |found: &[policy::Finding]| {
        let said =
            found.iter().map(|it| placeless(format!("{:?} {} {} {:?}", it.severity, it.code, it.message, it.help)));
        let mut said: Vec<String> = said.collect();
        said.sort();
        said
    };
    let resolved = resolve(files).map_err(|found| findings(&found))?;
    let said = format!(
        "{:?}\n{:?}\n{:?}\n{:?}",
        resolved.model,
        resolved.cases,
        policy::terms(files).map(|terms| terms.values().map(|terms| terms.json().to_owned()).collect::<Vec<_>>()),
        findings(&resolved.warnings)
    );
    Ok(without_numbers(&said, &["line: ", "column: "]))
}

fn without_numbers(text: &str, after: &[&str]) -> String {
    after.iter().fold(text.to_owned(), |text, label| {
        let mut pieces = text.split(label);
        let first = pieces.next().unwrap_or_default().to_owned();
        pieces.fold(first, |out, piece| out + piece.trim_start_matches(|c: char| c.is_ascii_digit()))
    })
}

#[test]
fn every_shipped_file_is_in_its_form() {
    for folder in [here("tests/policy/base"), here("examples/three-councils")].map(|path| folder(&path)) {
        for (path, octets) in folder.iter() {
            let form = policy::format(path, octets).unwrap_or_else(|error| panic!("{path}: {error:?}"));
            assert_eq!(form, text(&folder, path), "{path}");
        }
    }
}

#[test]
fn the_formats_own_examples_keep_every_comment_at_its_column() {
    let council = "[[edge]]\nname = \"leeds-1\"\n\
        site = \"leeds-civic\"                 # default: the edge's name. A site is a place served by one or two edges\n\
        uplinks = [\n  { name = \"fibre\", device = \"eth0\" },\n  \
        { name = \"lte\", device = \"wwan0\", metered = true, priority = 2 },   # (later) priority, metered\n]\n\n\
        [[department]]\nname = \"revenues\"\n\
        gateway = \"192.168.1.1/24\"           # our address on the segment\n\
        # behind a core switch instead: gateway = \"10.255.0.1/30\", via = \"10.255.0.2\"\n\
        real = \"192.168.1.0/24\"              # string, or one per family\n";
    assert_eq!(policy::format("councils/leeds.toml", council.as_bytes()).as_deref(), Ok(council));
}

#[test]
fn what_is_refused_is_refused_for_the_same_in_its_form() {
    let mut compared = 0;
    for (name, bad) in bad::variants() {
        let files = bad.files();
        let Some(after) = formatted(&files) else {
            assert!(["syntax", "not-utf-8"].contains(&bad.code.as_str()), "{name}");
            continue;
        };
        assert_eq!(meaning(&after), meaning(&files), "{name}");
        compared += 1;
    }
    assert!(compared > 100, "{compared} compared");
}

/// A line of a file, written as somebody in a hurry might; `mark` makes each comment one of a kind.
fn scribbled(line: &str, how: u8, mark: usize) -> String {
    let plain = !line.contains('#') && !line.is_empty();
    let entry = line.split_once(" = ").filter(|_| !line.starts_with([' ', '#']));
    match (how, entry) {
        (0, _) => format!("{line}\n# note {mark}\n\n"),
        (1, _) => format!("# above {mark}\n{line}\n"),
        (2, _) if plain && !line.starts_with(' ') => format!("{line}# beside {mark}\n"),
        (3, Some((key, value))) => format!("\t{key}={value}  \n"),
        (4, Some((key, value))) if !value.contains('\'') => format!("'{key}' =\t{}\r\n", value.replace('"', "'")),
        (5, Some((key, value))) if plain && value.len() > 2 && value.starts_with('[') && value.ends_with(']') => {
            format!(
                "{key} = [ # open {mark}\n{}, # last {mark}\n\n# closed {mark}\n]\n",
                value.trim_matches(['[', ']'])
            )
        }
        (6, Some((key, value))) if plain && value.starts_with("{ ") => {
            value.trim_matches(['{', '}', ' ']).split(", ").map(|entry| format!("{key}.{entry}\n")).collect()
        }
        (7, _) => format!("\n\n{line}\n"),
        _ => format!("{line}\n"),
    }
}

/// A shipped definition, scribbled on: comments, blanks, quotes, dots; the keys of each table in another order.
fn scribbles() -> impl Strategy<Value = (Files, Files)> {
    let picks = prop::collection::vec((0..24_u8, any::<u16>()), 400);
    (0..2_usize, picks).prop_map(|(which, picks)| {
        let (_, files) = shipped().into_iter().nth(which).expect("one of two");
        let mut after = files.clone();
        let mut picks = picks.into_iter().cycle();
        for (path, _) in files.iter().filter(|(path, _)| *path != "allotted.toml") {
            after.insert(path, scribbled_file(&text(&files, path), &mut picks));
        }
        (files, after)
    })
}

fn scribbled_file(text: &str, picks: &mut impl Iterator<Item = (u8, u16)>) -> String {
    let mut out = String::new();
    let mut run: Vec<(u16, String)> = Vec::new();
    let mut mark = 0;
    for line in text.lines().chain(["["]) {
        let (how, order) = picks.next().unwrap_or_default();
        let entry = line.contains(" = ") && !line.starts_with([' ', '#']) && !line.ends_with('[');
        mark += 1;
        if !entry {
            run.sort_by_key(|(order, _)| *order);
            out.extend(run.drain(..).map(|(_, line)| line));
        }
        match (entry, line) {
            (true, _) => run.push((order, scribbled(line, how, mark))),
            (false, "[") => {}
            // Inside of a list of several lines only whole lines may come.
            (false, _) if line.starts_with([' ', ']']) || line.ends_with('[') => out.push_str(&format!("{line}\n")),
            (false, _) => out.push_str(&scribbled(line, how, mark)),
        }
    }
    out
}

fn comments(text: &str) -> Vec<String> {
    // No string of the shipped files holds the sign.
    let mut found: Vec<_> =
        text.lines().filter_map(|line| line.split_once('#')).map(|(_, it)| it.trim().to_owned()).collect();
    found.sort();
    found
}

/// Which key or header each comment beside something stands at.
fn at_what(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.split_once("# beside "));
    let key = |code: &str| code.split('=').next().unwrap_or_default().trim_matches([' ', '\t', '\'']).to_owned();
    let mut found: Vec<_> = lines.map(|(code, comment)| (key(code), comment.to_owned())).collect();
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_a_definition_is_written_its_form_says_the_same_with_every_comment((files, scribbled) in scribbles()) {
        prop_assert_eq!(meaning(&scribbled), meaning(&files), "the scribbles themselves change nothing");
        let after = formatted(&scribbled).expect("it is TOML");
        prop_assert_eq!(meaning(&after), meaning(&files));
        for (path, _) in scribbled.iter() {
            let (before, after) = (text(&scribbled, path), text(&after, path));
            prop_assert_eq!(comments(&before), comments(&after), "{}\n{}", before, after);
            prop_assert_eq!(at_what(&before), at_what(&after), "{}\n{}", before, after);
            let again = policy::format(path, after.as_bytes());
            prop_assert_eq!(again.as_deref(), Ok(after.as_str()));
        }
    }

    #[test]
    fn the_form_of_a_torn_definition_holds_or_not_as_it_did(files in torn()) {
        if let Some(after) = formatted(&files) {
            let (before, after) = (meaning(&files), meaning(&after));
            prop_assert_eq!(before.is_ok(), after.is_ok());
            prop_assert!(before.is_err() || before == after);
        }
    }

    #[test]
    fn no_text_makes_formatting_panic_or_say_something_else(text in "[\\]\\[{}=.,#'\"\\\\ \n\ra-c1:-]{0,60}") {
        for path in ["network.toml", "-"] {
            prop_assert_ne!(policy::format(path, text.as_bytes()), Err(FormatError::Unsafe));
        }
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_turnpike")).args(["policy", "fmt"]).args(arguments).output().expect("it runs")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn on_disk(files: &Files) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    write(files, folder.path());
    let path = folder.path().to_str().expect("UTF-8").to_owned();
    (folder, path)
}

/// Everything in a folder, temporary files among it.
fn everything(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(everything(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).expect("a file")));
        }
    }
    found.sort();
    found
}

/// The base with two files that are not in their form.
fn untidy() -> Files {
    let files = replaced(base(), "network.toml", "name = \"connect\"", "name='connect'");
    replaced(files, "councils/leeds.toml", "name = \"leeds\"", "name=\"leeds\"")
}

#[test]
fn check_names_the_files_exits_3_and_writes_nothing() {
    let (folder, dir) = on_disk(&untidy());
    let before = everything(folder.path());
    let ran = run(&[&dir, "--check"]);
    assert_eq!(ran.status.code(), Some(3));
    assert_eq!(out(&ran), "councils/leeds.toml\nnetwork.toml\n2 of 9 files are not in their form\n");
    assert_eq!(everything(folder.path()), before);
    let ran = run(&[&dir, "--check", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let files = ["councils/leeds.toml", "network.toml"];
    assert_eq!(told, serde_json::json!({ "files": 9, "differing": files, "written": false }));
}

#[test]
fn fmt_writes_what_differs_and_leaves_no_other_file() {
    let (folder, dir) = on_disk(&untidy());
    assert_eq!(run(&[&dir]).status.code(), Some(0));
    let (tidy, _) = on_disk(&base());
    let named = |folder: &Path| -> Vec<_> {
        let strip = |(path, content): (String, Vec<u8>)| (path.replace(&folder.display().to_string(), ""), content);
        everything(folder).into_iter().map(strip).collect()
    };
    assert_eq!(named(folder.path()), named(tidy.path()));
    let ran = run(&[&dir, "--check"]);
    assert_eq!((ran.status.code(), out(&ran)), (Some(0), "0 of 9 files are not in their form\n".to_owned()));
}

#[test]
fn a_file_that_is_not_toml_is_named_with_its_place_and_none_is_written() {
    let (folder, dir) = on_disk(&replaced(untidy(), "tests/claims.toml", "[[test]]", "[[test"));
    let before = everything(folder.path());
    let ran = run(&[&dir]);
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{told}");
    assert!(told.contains("tests/claims.toml:3:") && told.contains("error[syntax]"), "{told}");
    assert_eq!(everything(folder.path()), before);
}

#[test]
fn where_one_file_cannot_be_written_none_is() {
    let mut files = untidy();
    // Beside a file of such a name there is no room for a longer one.
    files.insert(format!("tests/{}.toml", "z".repeat(249)), "as_of=2026-06-01T10:00:00Z\n");
    let (folder, dir) = on_disk(&files);
    let before = everything(folder.path());
    let ran = run(&[&dir]);
    assert_eq!(ran.status.code(), Some(69), "{ran:?}");
    assert_eq!(everything(folder.path()), before);
    std::fs::remove_file(folder.path().join(format!("tests/{}.toml", "z".repeat(249)))).expect("it was there");
    assert_eq!(run(&[&dir]).status.code(), Some(0), "the others can be written");
    assert_ne!(everything(folder.path()), before);
}

#[test]
fn one_file_goes_from_standard_input_to_standard_output() {
    let form = |text: &str, more: &[&str]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_turnpike"))
            .args(["policy", "fmt", "-"])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
        child.wait_with_output().expect("it ends")
    };
    let ran = form("[[hub]]\nendpoints=[]\nname='a'\n", &[]);
    assert_eq!((ran.status.code(), out(&ran).as_str()), (Some(0), "[[hub]]\nname = \"a\"\nendpoints = []\n"));
    let ran = form("[[hub]]\nname='a'\n", &["--check"]);
    assert_eq!((ran.status.code(), out(&ran).as_str()), (Some(3), ""));
    let ran = form("[[hub]\n", &[]);
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!((ran.status.code(), out(&ran).as_str()), (Some(1), ""));
    assert!(told.contains("--> -:1:"), "{told}");
    assert_eq!(form("", &["--json"]).status.code(), Some(64));
}

#[test]
fn every_file_of_the_base_has_a_kind() {
    for (path, _) in base().iter() {
        assert!(Kind::of(path).is_some(), "{path}");
    }
}
