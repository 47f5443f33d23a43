//! Definitions that are allowed and yet meant to hurt: words that steer terminals, times at the ends of time, prefixes of
//! length 0, more ranges than a kernel bears, agreements that another one or a guardrail makes idle.

use std::process::Command;

use turnpike::policy::{self, Files, Finding, Resolved, Severity, compile};

use crate::definition::{NOW, Small, allotted, base, lines, replaced, resolve, resolved, text, write};

/// In TOML: a colour, a bell, an end of line, an end of a block, a change of direction.
const WORDS: &str = r#"x\u001b[31m\u0007\r\n}; flush ruleset\n# \u202egnp.exe\u2066\u200f"#;

/// Nothing in it steers a terminal; line breaks are ours.
fn steers(text: &str) -> Option<char> {
    text.chars().find(|&c| c != '\n' && policy::steers(c))
}

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_turnpike")).args(arguments).output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("UTF-8"))
}

/// Two councils, one agreement signed by both, a guardrail, a test that fails; people's words as asked for.
fn worded(words: &str) -> Files {
    let mut small = Small::new();
    small.guardrail(1, "any", "tcp/23");
    small.append("network.toml", &format!("why = \"{words}\"\n"));
    for council in 0..2 {
        small.council(council);
        small.department(council, 0, 24);
        let (name, path) = (format!("name = \"c{council}\""), format!("councils/c{council}.toml"));
        small.files = replaced(small.files.clone(), &path, &name, &format!("{name}\ntitle = \"{words}\""));
    }
    small.service(0, 0, 2, "[\"tcp/443\", \"tcp/23\"]");
    small.agreement(1, "c0/s0", &["c1/d0".to_owned()]);
    small.append("agreements/A-1.toml", &format!("reference = \"{words}\"\n"));
    small.sign();
    let test = format!(
        "[[test]]\nfrom = \"c1/d0\"\nto = \"c0/s0\"\nproto = \"tcp\"\nport = 443\nat = {NOW}\nexpect = \"deny\"\n\
         why = \"{words}\"\n"
    );
    small.files.insert("tests/one.toml", test);
    allotted(small.files)
}

#[test]
fn words_of_people_reach_no_terminal_and_no_kernel_as_they_are() {
    let (plain, hostile) = (resolved(&worded("plain")), worded(WORDS));
    let folder = tempfile::tempdir().expect("a folder");
    write(&hostile, folder.path());
    let dir = folder.path().to_str().expect("UTF-8");
    // The words are there: what is printed of them is their escape.
    let held = resolved(&hostile);
    assert!(held.model.guardrails[0].why.as_ref().is_some_and(|why| steers(why).is_some()));
    assert!(held.model.agreements[0].in_force());
    assert_eq!(compile(&held.model), compile(&plain.model), "no bundle knows of them");
    let ask = ["--from", "c1/d0", "--to", "c0/s0"];
    let commands: [&[&str]; 10] = [
        &["policy", "check", dir],
        &["policy", "check", dir, "--json"],
        &["policy", "test", dir],
        &["policy", "test", dir, "--json"],
        &["policy", "show", dir],
        &["policy", "render", dir, "--gateway", "e0"],
        &["agreement", "list", dir],
        &["agreement", "show", dir, "A-1"],
        &[&["policy", "explain", dir], &ask[..]].concat(),
        &[&["policy", "explain", dir, "--json"], &ask[..]].concat(),
    ];
    let mut told = 0;
    for command in commands {
        let (code, printed) = run(command);
        assert!(matches!(code, Some(0 | 2)), "{command:?}: {printed}");
        assert_eq!(steers(&printed), None, "{command:?}: {printed:?}");
        told += usize::from(printed.contains("flush ruleset"));
        for line in printed.lines() {
            assert!(!line.starts_with("}; flush ruleset"), "{command:?}: {printed}");
        }
    }
    assert!(told >= 4, "some of them tell the words, escaped: {told}");
    let nft = |files: &Files| {
        let folder = tempfile::tempdir().expect("a folder");
        write(files, folder.path());
        run(&["policy", "render", folder.path().to_str().expect("UTF-8"), "--gateway", "e0"]).1
    };
    let bare = |text: String| {
        text.lines().map(|line| line.split("  #").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let (one, other) = (bare(nft(&worded("plain"))), bare(nft(&hostile)));
    let rules =
        |lines: &[String]| lines.iter().filter(|line| !line.trim_start().starts_with('#')).cloned().collect::<Vec<_>>();
    assert!(rules(&one).len() > 100);
    assert_eq!(rules(&one), rules(&other), "the kernel's text is the same, whatever people write");
}

fn dated(begin: &str, end: &str) -> Result<Resolved, Vec<Finding>> {
    let files = replaced(
        base(),
        "agreements/A-142.toml",
        "not_before = 2026-01-01T00:00:00+00:00",
        &format!("not_before = {begin}"),
    );
    resolve(&replaced(
        files,
        "agreements/A-142.toml",
        "not_after = 2027-03-31T23:59:59+01:00",
        &format!("not_after = {end}"),
    ))
}

#[test]
fn who_signs_or_consents_under_a_name_that_steers_a_terminal_is_refused() {
    for (file, by) in
        [("councils/leeds.toml", "siro@leeds.example"), ("agreements/A-142.toml", "siro@bradford.example")]
    {
        let files = replaced(base(), file, &format!("by = \"{by}\""), &format!("by = \"{WORDS}\""));
        let found = resolve(&files).expect_err("it is refused");
        assert!(found.iter().any(|it| it.code.as_str() == "bad-value" && it.message.contains("control characters")));
        assert!(found.iter().all(|it| steers(&it.to_string()).is_none()), "{}", lines(&found));
    }
}

#[test]
fn dates_at_the_ends_of_time_are_dates_or_refused_and_never_wrap() {
    let held = dated("0001-01-01T00:00:00Z", "9999-12-30T00:00:00Z").expect("it holds");
    let agreement = held.model.agreements.iter().find(|it| it.id.to_string() == "A-142").expect("it is there");
    assert_eq!(agreement.not_before.map(|date| date.to_string()).as_deref(), Some("0001-01-01T00:00:00Z"));
    assert_eq!(agreement.not_after.map(|date| date.to_string()).as_deref(), Some("9999-12-30T00:00:00Z"));
    // Other dates are other terms: the old consents are void, and nothing else is wrong.
    assert!(
        agreement.void.iter().all(|void| matches!(void, policy::model::Void::ConsentMissing(_))),
        "{:?}",
        agreement.void
    );
    for (begin, end, fine) in [
        ("0001-01-01T00:00:00+14:00", "9999-12-30T00:00:00+14:00", true),
        ("0001-01-01T00:00:00-14:00", "9999-12-29T00:00:00-14:00", true),
        ("0000-01-01T00:00:00+23:59", "9999-12-30T00:00:00Z", true),
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00", false),
        ("9999-12-30T00:00:00Z", "0001-01-01T00:00:00Z", false),
    ] {
        let found = dated(begin, end).err().unwrap_or_default();
        let bad = found.iter().any(|it| it.code.as_str() == "bad-date" && it.severity == Severity::Error);
        assert_eq!((found.is_empty(), bad), (fine, !fine), "{begin} to {end}: {}", lines(&found));
    }
}

#[test]
fn consents_tests_and_questions_take_any_time_that_there_is() {
    for at in ["0001-01-01T00:00:00+14:00", "9999-12-30T00:00:00Z"] {
        let consent = replaced(base(), "agreements/A-142.toml", "at = 2026-11-22T00:49:55Z", &format!("at = {at}"));
        let held = resolved(&consent);
        let agreement = held.model.agreements.iter().find(|it| it.id.to_string() == "A-142").expect("it is there");
        assert!(agreement.in_force(), "a consent's own time is not compared");
        let folder = tempfile::tempdir().expect("a folder");
        write(&base(), folder.path());
        let dir = folder.path().to_str().expect("UTF-8");
        let ask = ["policy", "explain", dir, "--from", "bradford/benefits", "--to", "leeds/hb-claims", "--at", at];
        let (code, told) = run(&ask);
        assert!(code == Some(0) && told.starts_with("DENIED"), "{at}: {told}");
        assert_eq!(run(&["policy", "check", dir, "--at", at]).0, Some(0));
        assert_eq!(run(&["policy", "show", dir, "--at", at]).0, Some(0));
    }
    for at in ["9999-12-31T23:59:59-12:00", "10000-01-01T00:00:00Z", "-9999-01-01T00:00:00+23:59"] {
        assert_eq!(run(&["policy", "check", ".", "--at", at]).0, Some(64), "{at}");
    }
    let mut files = base();
    files.insert(
        "tests/late.toml",
        format!("as_of = 9999-12-30T00:00:00Z\n{}", text(&base(), "tests/claims.toml").replacen("as_of", "# as_of", 1)),
    );
    assert!(resolve(&files).is_ok());
}

#[test]
fn now_is_told_to_the_second() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&base(), folder.path());
    let dir = folder.path().to_str().expect("UTF-8");
    for command in [
        &["policy", "check", dir][..],
        &["policy", "explain", dir, "--from", "bradford/benefits", "--to", "leeds/hb-claims"],
    ] {
        let (_, told) = run(command);
        let at = told
            .split("as of ")
            .nth(1)
            .expect("a time")
            .split(['\n', ' '])
            .next()
            .expect("a word")
            .trim_end_matches(':');
        assert_eq!(at.len(), "2026-01-01T00:00:00Z".len(), "{at}");
    }
}

#[test]
fn a_prefix_of_length_0_is_refused_wherever_it_would_swallow_the_rest() {
    let everything =
        |file: &str, from: &str, to: &str| resolve(&replaced(base(), file, from, to)).err().unwrap_or_default();
    for (file, from, to, code) in [
        ("network.toml", "\"100.64.0.0/10\"", "\"0.0.0.0/0\"", "bad-prefix"),
        ("network.toml", "\"fd64:7475:726e::/48\"", "\"::/0\"", "bad-prefix"),
        ("network.toml", "management = \"100.127.0.0/16\"", "management = \"0.0.0.0/0\"", "overlap"),
        ("network.toml", "reserved = [\"100.64.0.0/24\"]", "reserved = [\"0.0.0.0/0\"]", "overlap"),
        ("councils/leeds.toml", "real = [\"192.168.1.0/24\"", "real = [\"0.0.0.0/0\"", "overlap"),
    ] {
        let found = everything(file, from, to);
        assert!(found.iter().any(|it| it.severity == Severity::Error), "{to} in {file} is refused");
        assert!(found.iter().any(|it| it.code.as_str() == code), "{to} in {file}, {code}:\n{}", lines(&found));
    }
    // In a guardrail it means all of its family, and takes from an agreement all that it has there.
    let denied = replaced(base(), "network.toml", "deny = \"bradford/housing\"", "deny = \"0.0.0.0/0\"");
    let held = resolved(&denied);
    let claims = policy::reach(&held.model)
        .into_iter()
        .find(|it| it.service.to_string() == "leeds/hb-claims")
        .expect("it is there");
    assert!(claims.guardrails.iter().any(|id| id.to_string() == "G-2"));
}

/// One provider with ranges, consumers as asked for, all signed.
fn ranged(hosts: usize, ports: &str, consumers: usize) -> Files {
    let mut small = Small::new();
    for council in 0..=consumers {
        small.council(council);
        small.department(council, 0, 24);
    }
    small.service(0, 0, hosts, ports);
    let from: Vec<String> = (1..=consumers).map(|council| format!("c{council}/d0")).collect();
    small.agreement(1, "c0/s0", &from);
    small.sign();
    allotted(small.files)
}

#[test]
fn five_thousand_ranges_hold_and_one_more_is_refused_at_its_service() {
    // 250 hosts, two consumers, ten ranges: 5,000 in IPv4.
    let ports: Vec<String> =
        (0..10).map(|place| format!("\"tcp/{}-{}\"", 1_000 + place * 1_000, 1_500 + place * 1_000)).collect();
    let list = |ports: &[String]| format!("[{}]", ports.join(", "));
    assert!(resolve(&ranged(250, &list(&ports), 2)).is_ok(), "exactly as many as a kernel bears");
    // A short range stands port by port, and is none.
    let short: Vec<String> = ports.iter().cloned().chain(["\"tcp/20000-20063\"".to_owned()]).collect();
    assert!(resolve(&ranged(250, &list(&short), 2)).is_ok());
    let more: Vec<String> = ports.iter().cloned().chain(["\"udp/20000-20064\"".to_owned()]).collect();
    let files = ranged(250, &list(&more), 2);
    let found = resolve(&files).expect_err("one more is refused");
    let errors: Vec<_> = found.iter().filter(|it| it.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1, "{}", lines(&found));
    let error = errors[0];
    let line =
        text(&files, "councils/c0.toml").lines().position(|line| line == "name = \"s0\"").expect("the service") + 1;
    assert_eq!((error.code.as_str(), error.origin.file.as_str()), ("too-many", "councils/c0.toml"));
    assert!(usize::try_from(error.origin.line).expect("small").abs_diff(line) <= 1, "{error}");
    assert!(error.message.contains("5500 ranges of IPv4") && error.message.contains("c0/s0"), "{error}");
    let help = error.help.as_deref().unwrap_or_default();
    assert!(help.contains("A-1 (agreements/A-1.toml:") && help.contains("fewer hosts"), "{help}");
}

#[test]
fn two_agreements_for_one_pair_are_told_with_both_places() {
    let mut small = Small::new();
    for council in 0..2 {
        small.council(council);
        small.department(council, 0, 24);
    }
    small.service(0, 0, 1, "[\"tcp/443\"]");
    for number in [1, 2] {
        small.agreement(number, "c0/s0", &["c1/d0".to_owned()]);
    }
    small.sign();
    let held = resolved(&allotted(small.files.clone()));
    let told: Vec<_> = held.warnings.iter().filter(|it| it.code.as_str() == "agreed-twice").collect();
    assert_eq!(told.len(), 1, "{}", lines(&held.warnings));
    assert_eq!(told[0].origin.file, "agreements/A-2.toml");
    assert!(told[0].message.contains("A-2 lets c1/d0 reach c0/s0, as A-1 does already"), "{}", told[0]);
    assert!(told[0].help.as_deref().is_some_and(|help| help.contains("A-1 (agreements/A-1.toml:2)")), "{}", told[0]);
    // Without its consents the other one is nothing, and nothing is told of it.
    let unsigned = text(&small.files, "agreements/A-2.toml");
    let head = unsigned.split("[[agreement.consent]]").next().expect("a head").to_owned();
    small.files.insert("agreements/A-2.toml", head);
    let held = resolved(&allotted(small.files));
    assert!(held.warnings.iter().all(|it| it.code.as_str() != "agreed-twice"), "{}", lines(&held.warnings));
}

/// Two consumers of one service that answers on these ports, and one guardrail.
fn guarded(ports: &str, deny: &str, to: &str) -> Vec<Finding> {
    let mut small = Small::new();
    small.guardrail(1, deny, to);
    for council in 0..3 {
        small.council(council);
        small.department(council, 0, 24);
    }
    small.service(0, 0, 2, ports);
    small.agreement(1, "c0/s0", &["c1/d0".to_owned(), "c2/d0".to_owned()]);
    small.sign();
    let held = resolved(&allotted(small.files));
    held.warnings.into_iter().filter(|it| it.code.as_str() == "guarded").collect()
}

#[test]
fn an_agreement_that_guardrails_leave_nothing_of_is_named_with_both_places() {
    let told = guarded("[\"tcp/23\"]", "any", "tcp/1-100");
    assert_eq!(told.len(), 1, "{}", lines(&told));
    assert_eq!(told[0].origin.file, "agreements/A-1.toml");
    assert_eq!(told[0].message, "guardrail G-1 leaves nothing of A-1");
    assert!(told[0].help.as_deref().is_some_and(|help| help.contains("G-1 (network.toml:")), "{}", told[0]);
    for (ports, deny, to) in [
        ("\"any\"", "any", "any"),
        ("\"any\"", "any", "c0/d0"),
        ("[\"esp\"]", "any", "esp"),
        ("[\"icmp/echo-request\"]", "any", "c0/s0"),
    ] {
        assert_eq!(guarded(&format!("[{}]", ports.trim_matches(['[', ']'])), deny, to).len(), 1, "{ports} {deny} {to}");
    }
    // Of one consumer alone: it is named.
    let told = guarded("[\"tcp/443\"]", "c2", "c0/s0");
    assert_eq!(told.len(), 1, "{}", lines(&told));
    assert_eq!(told[0].message, "guardrail G-1 leaves nothing of A-1 for c2/d0");
    // A guardrail about another service of the same host takes the ports at both ends, and leaves what is between.
    let mut small = Small::new();
    small.guardrail(1, "any", "c0/s1");
    for council in 0..2 {
        small.council(council);
        small.department(council, 0, 24);
    }
    small.service(0, 0, 1, "[\"tcp/1-1000\"]");
    small.service(0, 1, 1, "[\"tcp/1\", \"tcp/1000\"]");
    small.agreement(1, "c0/s0", &["c1/d0".to_owned()]);
    small.agreement(2, "c0/s1", &["c1/d0".to_owned()]);
    small.sign();
    let told: Vec<_> = resolved(&allotted(small.files)).warnings;
    let told: Vec<_> = told.iter().filter(|it| it.code.as_str() == "guarded").map(|it| it.message.as_str()).collect();
    assert_eq!(told, ["guardrail G-1 leaves nothing of A-2"]);
    // What keeps anything is not told of.
    for (ports, deny, to) in [
        ("[\"tcp/22-23\"]", "any", "tcp/23"),
        ("[\"any\"]", "any", "tcp/23"),
        ("[\"tcp/443\"]", "0.0.0.0/0", "any"),
        ("[\"tcp/443\"]", "any", "udp/443"),
    ] {
        assert_eq!(guarded(ports, deny, to), [], "{ports} {deny} {to}");
    }
}
