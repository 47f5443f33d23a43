//! `turnpike policy diff` as people and scripts use it; that it is exact is proved beside the algorithm.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use turnpike::policy::diff::{Side, diff};
use turnpike::policy::{self, Files};

use crate::command::{Ran, on_disk, run};
use crate::definition::{Small, allotted, lines, text, time};
use crate::kernel::network::Network;
use crate::kernel::random::Random;

/// Two councils; the second one's `d1` reaches `c0/s0`. With a guardrail that denies nothing of it.
fn small() -> Small {
    let mut small = Small::new();
    for council in 0..2 {
        small.council(council);
        small.department(council, 0, 24);
        small.department(council, 1, 24);
        small.service(council, 0, 2, "[\"tcp/443\"]");
    }
    small.guardrail(1, "any", "tcp/23");
    small.agreement(1, "c0/s0", &["c1/d1".to_owned()]);
    small
}

fn signed(mut small: Small) -> Files {
    small.sign();
    allotted(small.files)
}

/// The same without its agreement, under the same numbers and prefixes.
fn without(files: &Files) -> Files {
    let mut files = files.clone();
    files.remove("agreements/A-1.toml").expect("it was there");
    files
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

fn git(folder: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").arg("-C").arg(folder).args(identity).args(arguments).output().expect("git runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn nothing_differs_exits_0_and_a_difference_exits_3_with_its_cause_and_place() {
    let files = signed(small());
    let ((_one, old), (_other, new)) = (on_disk(&files), on_disk(&without(&files)));
    let same = run(&["policy", "diff", &old, &old]);
    assert_eq!((same.code, same.stdout.as_str()), (0, "nobody gains or loses anything\n"), "{}", same.stderr);
    let lost = run(&["policy", "diff", &old, &new]);
    assert_eq!(lost.code, 3, "{}", lost.stderr);
    assert!(lost.stdout.starts_with("- c1/d1 → c0/s0  tcp/443\n"), "{}", lost.stdout);
    assert!(lost.stdout.contains("agreement A-1 is removed (agreements/A-1.toml:2)"), "{}", lost.stdout);
    assert!(
        lost.stdout.ends_with("0 gained, 1 lost, 0 remapped; 1 department and 1 service concerned\n"),
        "{}",
        lost.stdout
    );
    let gained = run(&["policy", "diff", &new, &old]);
    assert!(gained.stdout.starts_with("+ c1/d1 → c0/s0  tcp/443\n"), "{}", gained.stdout);
    assert!(gained.stdout.contains("agreement A-1 is new"), "{}", gained.stdout);
}

#[test]
fn an_edit_of_a_service_says_whose_consent_it_voids() {
    let files = signed(small());
    let mut wider = files.clone();
    wider.insert("councils/c0.toml", text(&files, "councils/c0.toml").replace("tcp/443", "tcp/444"));
    let ((_one, old), (_other, new)) = (on_disk(&files), on_disk(&wider));
    let ran = run(&["policy", "diff", &old, &new]);
    for said in ["council 'c0' has not consented", "council 'c1' has not consented", "c0/s0: tcp/443 → tcp/444"] {
        assert!(ran.stdout.contains(said), "{said}: {}", ran.stdout);
    }
}

#[test]
fn json_and_markdown_say_the_same() {
    let files = signed(small());
    let mut guarded = files.clone();
    let guardrail = "\n[[guardrail]]\nid = \"G-2\"\ndeny = \"any\"\nto = \"c0/s0\"\n";
    guarded.insert("network.toml", text(&files, "network.toml") + guardrail);
    let ((_one, old), (_other, new)) = (on_disk(&files), on_disk(&guarded));
    let ran = run(&["policy", "diff", &old, &new, "--json"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let document = json(&ran);
    assert_eq!((&document["lost"], &document["gained"]), (&1.into(), &0.into()));
    let row = &document["rows"][0];
    assert_eq!(row["way"], "lost");
    assert_eq!(row["causes"][0]["about"], "guardrail");
    assert_eq!(row["causes"][0]["text"], "guardrail G-2 is new");
    assert_eq!(row["causes"][0]["file"], "network.toml");
    assert_eq!((row["witness"]["protocol"].as_u64(), row["witness"]["port"].as_u64()), (Some(6), Some(443)));
    let markdown = run(&["policy", "diff", &old, &new, "--markdown"]).stdout;
    assert!(markdown.contains("| c1/d1 | c0/s0 | tcp/443 |"), "{markdown}");
    assert!(markdown.contains("<details open><summary><b>Lost</b> (1)</summary>"), "{markdown}");
}

#[test]
fn revisions_of_git_are_read_without_a_checkout() {
    let files = signed(small());
    let repository = TempDir::new().expect("a folder");
    let folder = repository.path().join("networks/small");
    std::fs::create_dir_all(&folder).expect("a folder");
    git(repository.path(), &["init", "--quiet"]);
    crate::definition::write(&files, &folder);
    git(repository.path(), &["add", "."]);
    git(repository.path(), &["commit", "--quiet", "-m", "one"]);
    std::fs::remove_file(folder.join("agreements/A-1.toml")).expect("removed");
    let dir = folder.to_str().expect("UTF-8");
    // The working folder against what was committed; the folder is found in the revision by itself.
    let ran = run(&["policy", "diff", "main", dir]);
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.starts_with("- c1/d1 → c0/s0"), "{}", ran.stdout);
    git(repository.path(), &["commit", "--quiet", "-a", "-m", "two"]);
    assert_eq!(run(&["policy", "diff", "main", dir]).code, 0);
    let named = run(&["policy", "diff", "HEAD~1:networks/small", dir]);
    assert_eq!(named.code, 3, "{}{}", named.stdout, named.stderr);
    for (wrong, said) in [
        ("HEAD~7", "is no folder, no bundle and no revision"),
        ("--output=x", "unexpected argument"),
        ("HEAD:elsewhere", "has no definition in 'elsewhere'"),
    ] {
        let ran = run(&["policy", "diff", wrong, dir]);
        assert!(ran.code == 1 || ran.code == 64, "{}", ran.code);
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
}

#[test]
fn a_bundle_stands_for_what_its_gateway_is_told() {
    let files = signed(small());
    let ((_one, old), (_other, new)) = (on_disk(&files), on_disk(&without(&files)));
    let build = |dir: &str| {
        let out = TempDir::new().expect("a folder");
        let path = out.path().join("bundles");
        let ran = run(&["bundle", "build", dir, "--out", path.to_str().expect("UTF-8")]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        (out, path)
    };
    let ((_kept, before), (_also, after)) = (build(&old), build(&new));
    let bundle = |folder: &Path, gateway: &str| folder.join(format!("{gateway}.bundle")).display().to_string();
    let ran = run(&["policy", "diff", &bundle(&before, "e0"), &bundle(&after, "e0")]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stdout.contains("- c1/d1 → c0/s0  tcp/443"), "{}", ran.stdout);
    assert_eq!(run(&["policy", "diff", &bundle(&before, "e0"), &old]).code, 0, "as it was built");
    assert_eq!(run(&["policy", "diff", &bundle(&before, "e0"), &new]).code, 3);
    let ran = run(&["policy", "diff", &bundle(&before, "e0"), &bundle(&before, "e1")]);
    assert_eq!(ran.code, 64, "{}", ran.stderr);
    assert!(ran.stderr.contains("compare bundles of one gateway"), "{}", ran.stderr);
}

#[test]
fn recorded_flows_tell_whose_conversations_would_be_cut() {
    let files = signed(small());
    let ((_one, old), (_other, new)) = (on_disk(&files), on_disk(&without(&files)));
    let witness = json(&run(&["policy", "diff", &old, &new, "--json"]))["rows"][0]["witness"].clone();
    let event = |verdict: &str, port: u16, last: &str| {
        let reason = if verdict == "allowed" { "agreement" } else { "no_agreement" };
        serde_json::json!({
            "schema": 1, "time": last, "network": "small", "gateway": "e0", "site": "c0", "generation": 1,
            "verdict": verdict, "reason": reason, "tier": "agreement", "source": witness["source"],
            "destination": witness["destination"], "destination_port": port, "protocol": 6, "packets": 3, "bytes": 180,
            "suppressed": 0, "source_department": "c1/d1", "agreement": "A-1"
        })
        .to_string()
    };
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("flows.jsonl");
    let lines = [
        event("allowed", 443, "2026-11-01T00:00:00Z"),
        "no event\n{\"schema\": 1}".to_owned(),
        event("allowed", 443, "2026-11-02T00:00:00Z"),
        event("allowed", 80, "2026-11-02T00:00:00Z"),
        event("denied", 443, "2026-11-02T00:00:00Z"),
    ];
    std::fs::write(&path, lines.join("\n")).expect("a file");
    let path = path.to_str().expect("UTF-8");
    let replayed = json(&run(&["policy", "diff", &old, &new, "--json", "--replay", path]))["replay"].clone();
    assert_eq!((&replayed["events"], &replayed["unreadable"]), (&4.into(), &2.into()));
    let conversations = replayed["conversations"].as_array().expect("a list").clone();
    assert_eq!(conversations.len(), 1, "{replayed}");
    assert_eq!(conversations[0]["becomes"], "cut");
    assert_eq!((&conversations[0]["packets"], &conversations[0]["flow"]), (&6.into(), &"tcp/443".into()));
    assert_eq!(conversations[0]["last_seen"], "2026-11-02T00:00:00Z");
    let back = run(&["policy", "diff", &new, &old, "--replay", path]);
    assert!(back.stdout.contains("newly allowed"), "{}", back.stdout);
    assert!(back.stdout.contains("1 recorded conversations are concerned, of 4 events"), "{}", back.stdout);
    assert_eq!(run(&["policy", "diff", &new, &old, "--replay", "/nowhere"]).code, 69);
}

#[test]
fn a_definition_that_does_not_hold_and_a_name_that_nobody_has_are_refused() {
    let files = signed(small());
    let mut broken = files.clone();
    broken.insert("network.toml", "[network]\nname = 7\n");
    let ((_one, good), (_other, bad)) = (on_disk(&files), on_disk(&broken));
    for arguments in [[good.as_str(), bad.as_str()], [bad.as_str(), good.as_str()]] {
        let ran = run(&["policy", "diff", arguments[0], arguments[1]]);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(ran.stderr.contains("network.toml"), "{}", ran.stderr);
    }
    for (option, name) in [("--council", "c9"), ("--gateway", "e9")] {
        let ran = run(&["policy", "diff", &good, &good, option, name]);
        assert_eq!(ran.code, 64, "{}", ran.stderr);
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
    }
    let narrowed = run(&["policy", "diff", &good, &good, "--council", "c0", "--gateway", "e0"]);
    assert_eq!(narrowed.code, 0, "{}", narrowed.stderr);
}

#[test]
fn what_has_no_part_in_a_difference_is_left_out_and_nothing_is_missed() {
    let at = time("2026-06-01T10:00:00Z");
    let (mut spared, mut differing) = (0, 0);
    for seed in 1..=80 {
        let mut random = Random(seed);
        let mut network = Network::random(&mut random);
        let old = network.files();
        for _ in 0..random.below(4) {
            network.edit(&mut random);
        }
        let new = network.files();
        let whole =
            |files: &Files| policy::resolve(files, at).unwrap_or_else(|found| panic!("{}", lines(&found))).model;
        let (before, after) = (whole(&old), whole(&new));
        let [part, rest] = policy::resolve_both(&old, &new, at).map(|it| it.expect("as the whole").model);
        let told = |old, new| format!("{:#?}", diff(&Side::of_model(old), &Side::of_model(new), at));
        let expected = told(&before, &after);
        assert_eq!(told(&part, &rest), expected, "seed {seed}");
        spared += before.agreements.len() - part.agreements.len();
        differing += usize::from(expected.contains("way:"));
    }
    assert!(spared > 100 && differing > 20, "{spared} left out, {differing} differ");
}
