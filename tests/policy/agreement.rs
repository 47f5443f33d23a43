//! The life of an agreement by `turnpike agreement`: from a draft to its end, and what is refused on the way.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use turnpike::bundle::{Effect, SignedNotice};
use turnpike::policy;

use crate::command::{Ran, on_disk, run};
use crate::definition::{Small, allotted, folder, resolved, signer};

const FILE: &str = "agreements/A-1.toml";

/// Two councils that might agree, and their signers' keys. Council `c0` provides, `c1` uses; `c2` has no part. A clerk may
/// sign for each of `c0` and `c1`.
struct Desk {
    folder: tempfile::TempDir,
    dir: String,
}

impl Desk {
    fn new() -> Self {
        let mut small = Small::new();
        for council in 0..3 {
            small.council(council);
            small.department(council, 0, 24);
        }
        let clerk = signer("clerk").verifier();
        for council in 0..2 {
            let path = format!("councils/c{council}.toml");
            let text = crate::definition::text(&small.files, &path);
            let more = format!("[[council.signer]]\nby = \"clerk\"\nkey = \"{clerk}\"\n\n[[edge]]");
            small.files.insert(path, text.replacen("[[edge]]", &more, 1));
        }
        small.service(0, 0, 1, "[\"tcp/443\"]");
        small.agreement(1, "c0/s0", &["c1/d0".to_owned()]);
        small.append(FILE, "# Claims, as both officers asked for.\nreference = \"DSA-1\"   # in law\n");
        let (folder, dir) = on_disk(&allotted(small.files));
        for name in ["c0", "c1", "c2", "clerk", "operator"] {
            let pem = signer(name).to_pem().expect("a key");
            std::fs::write(folder.path().join(format!("{name}.pem")), pem.as_bytes()).expect("a file");
        }
        Self { folder, dir }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path(FILE)).expect("the file")
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let before = std::fs::read_to_string(self.path(name)).expect("the file");
        assert!(before.contains(from), "{name} holds {from:?}: {before}");
        std::fs::write(self.path(name), before.replacen(from, to, 1)).expect("the file");
    }

    /// `turnpike agreement VERB DIR A-1 --council C --by WHO --key KEY.pem MORE`.
    fn says(&self, verb: &str, council: &str, (by, key): (&str, &str), more: &[&str]) -> Ran {
        let key = self.path(&format!("{key}.pem"));
        let party = ["agreement", verb, &self.dir, "A-1", "--council", council, "--by", by, "--key", &key];
        run(&party.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
    }

    /// The same by the council's own signer, which succeeds and leaves the agreement in this state.
    fn done(&self, verb: &str, council: &str, more: &[&str], state: &str) {
        let ran = self.says(verb, council, (&format!("siro@{council}"), council), more);
        assert_eq!(ran.code, 0, "{verb} by {council}: {}", ran.stderr);
        assert!(ran.stdout.contains(&format!("A-1 is {state}: ")), "{verb} by {council}: {}", ran.stdout);
        assert_eq!(self.shown()["state"], state, "{verb} by {council}");
    }

    fn operator(&self, more: &[&str]) -> Ran {
        let who = ["agreement", "suspend", &self.dir, "A-1", "--operator", "--by", "noc"];
        run(&who.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
    }

    fn shown(&self) -> serde_json::Value {
        serde_json::from_str(&run(&["agreement", "show", &self.dir, "A-1", "--json"]).stdout).expect("JSON")
    }

    fn agreed(&self) {
        self.done("propose", "c1", &[], "proposed");
        self.done("accept", "c0", &[], "active");
    }

    /// Does something that is refused with this code and cause, and changes nothing.
    fn refused(&self, code: i32, cause: &str, attempt: impl Fn() -> Ran) {
        let before = self.text();
        let ran = attempt();
        assert!(ran.code == code && ran.stderr.contains(cause), "{code}, {cause}: {} {}", ran.code, ran.stderr);
        assert!(ran.code == 64 || ran.stderr.contains("  help: "), "a remedy for {cause}: {}", ran.stderr);
        assert_eq!(self.text(), before, "{cause}");
        let names = |folder: &Path| -> Vec<PathBuf> {
            std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
        };
        assert_eq!(names(&self.folder.path().join("agreements")).len(), 1, "nothing is left beside it: {cause}");
    }
}

#[test]
fn an_agreement_is_proposed_accepted_suspended_lifted_revoked_and_renewed() {
    let desk = Desk::new();
    assert_eq!(desk.shown()["state"], "draft");
    desk.agreed();
    desk.done("suspend", "c0", &["--why", "an audit"], "suspended");
    desk.done("suspend", "c0", &["--lift"], "active");
    assert_eq!(desk.operator(&["--why", "a breach"]).code, 0);
    assert_eq!(desk.shown()["state"], "suspended");
    assert_eq!(desk.operator(&["--why", "none after all", "--lift"]).code, 0);
    assert_eq!(desk.shown()["state"], "active");
    desk.done("revoke", "c1", &["--why", "moved"], "revoked");
    desk.refused(1, "council 'c1' has revoked these terms", || desk.says("propose", "c0", ("siro@c0", "c0"), &[]));
    desk.refused(1, "council 'c1' has revoked these terms", || desk.says("sign", "c0", ("siro@c0", "c0"), &[]));
    // Other terms are a draft again, and the notices stay: their numbers go on.
    desk.edit("councils/c0.toml", "\"tcp/443\"", "\"tcp/8443\"");
    assert_eq!(desk.shown()["state"], "draft");
    desk.agreed();
    desk.done("revoke", "c0", &[], "revoked");
    let notices = desk.shown()["notices"].as_array().expect("a list").clone();
    let told: Vec<_> =
        notices.iter().map(|it| format!("{} {} {}", it["council"], it["effect"], it["number"])).collect();
    assert_eq!(
        told,
        [
            "\"c0\" \"suspend\" 1",
            "\"c0\" \"lift\" 2",
            "null \"suspend\" 1",
            "null \"lift\" 2",
            "\"c1\" \"revoke\" 1",
            "\"c0\" \"revoke\" 3"
        ]
    );
    let text = desk.text();
    assert!(text.contains("# Claims, as both officers asked for.\nreference = \"DSA-1\"   # in law\n"), "{text}");
    let signed = |text: &str| text.split_once("[[agreement.consent]]").expect("a consent").1.to_owned();
    let form = policy::format(FILE, text.as_bytes()).expect("TOML");
    assert_eq!(signed(&form), signed(&text), "what is written is in its form");
}

#[test]
fn a_bundle_says_how_far_notices_are_settled_and_who_may_sign_further_ones() {
    let desk = Desk::new();
    desk.agreed();
    for lift in [&[][..], &["--lift"]] {
        assert_eq!(desk.operator(&[&["--why", "a breach"], lift].concat()).code, 0);
        desk.done("suspend", "c1", lift, if lift.is_empty() { "suspended" } else { "active" });
    }
    let policies = policy::compile(&resolved(&folder(desk.folder.path())).model);
    for gateway in ["hub", "e0", "e1"] {
        let policy = &policies[&gateway.parse().expect("a name")];
        let settled: Vec<_> = policy.agreements[0]
            .settled
            .iter()
            .map(|it| (it.council.as_ref().map(ToString::to_string), it.number))
            .collect();
        assert_eq!(settled, [(None, 2), (Some("c1".to_owned()), 2)], "{gateway}");
        let signers: Vec<_> = policy.signers.iter().map(|it| format!("{} {}", it.council, it.by)).collect();
        assert_eq!(signers, ["c0 clerk", "c0 siro@c0", "c1 clerk", "c1 siro@c1"], "{gateway}: not c2's");
    }
    assert!(policies[&"e2".parse().expect("a name")].signers.is_empty());
}

#[test]
fn an_edit_voids_the_consents_and_the_field_is_named() {
    let desk = Desk::new();
    desk.agreed();
    desk.edit("councils/c0.toml", "\"tcp/443\"", "\"tcp/8443\"");
    let field = "the consent is for other terms than these: ports was [\"tcp/443\"] and is [\"tcp/8443\"]";
    let check = run(&["policy", "check", &desk.dir, "--strict"]);
    assert!(check.code == 4 && check.stderr.contains(field), "{} {}", check.code, check.stderr);
    for ran in [run(&["agreement", "show", &desk.dir, "A-1"]), run(&["agreement", "list", &desk.dir])] {
        let one_line: String = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(ran.code == 4 && one_line.contains(field), "{} {}", ran.code, ran.stdout);
    }
    assert_eq!(desk.shown()["consents"][0]["fault"], field);
    assert_eq!(desk.shown()["consents"][0]["by"], "siro@c0");
    // A text that is not what was consented to is not believed.
    desk.edit(FILE, "\"ports\":[\"tcp/443\"]", "\"ports\":[\"tcp/1\"]");
    let check = run(&["policy", "check", &desk.dir]);
    assert!(
        check.stderr.contains("for other terms than these;") && !check.stderr.contains("tcp/1\""),
        "{}",
        check.stderr
    );
    assert!(check.stderr.contains("git log -p -- agreements/A-1.toml councils/c0.toml"), "{}", check.stderr);
}

#[test]
fn whoever_may_not_consent_is_told_why_and_nothing_changes() {
    let desk = Desk::new();
    let own = |council: &'static str| (["siro@c0", "siro@c1"][usize::from(council == "c1")], council);
    let key = "is not the one that councils/c1.toml has for 'siro@c1'";
    desk.refused(1, key, || desk.says("propose", "c1", ("siro@c1", "c0"), &[]));
    desk.refused(1, "'mallory' is no signer of council 'c1'", || desk.says("propose", "c1", ("mallory", "c1"), &[]));
    desk.refused(1, "council 'c2' has no part in A-1", || desk.says("propose", "c2", ("siro@c2", "c2"), &[]));
    desk.refused(1, "there is no agreement 'A-2'", || run(&["agreement", "terms", &desk.dir, "A-2"]));
    desk.refused(1, "cannot read the key", || desk.says("propose", "c1", ("siro@c1", "none"), &[]));
    std::fs::write(desk.path("bad.pem"), "-----BEGIN PRIVATE KEY-----\n").expect("a file");
    desk.refused(1, "bad.pem", || desk.says("propose", "c1", ("siro@c1", "bad"), &[]));
    desk.refused(4, "no other council has proposed these terms of A-1", || desk.says("accept", "c0", own("c0"), &[]));
    desk.done("propose", "c1", &[], "proposed");
    desk.refused(1, "are proposed already, by 'siro@c1'", || desk.says("propose", "c0", own("c0"), &[]));
    desk.refused(1, "council 'c1' has consented to A-1 already", || desk.says("accept", "c1", ("clerk", "clerk"), &[]));
    let hash = format!("sha256:{}", "0".repeat(64));
    desk.refused(1, &format!("not {hash}"), || desk.says("accept", "c0", own("c0"), &["--terms", &hash]));
    let terms = run(&["agreement", "terms", &desk.dir, "A-1"]).stdout;
    let (json, hash) = terms.trim_end().split_once('\n').expect("two lines");
    let ran = desk.says("accept", "c0", own("c0"), &["--terms", hash]);
    assert!(ran.code == 0 && ran.stdout.contains(json), "what is consented to is printed: {}", ran.stdout);
    desk.refused(1, "council 'c0' has consented to A-1 already", || desk.says("accept", "c0", own("c0"), &[]));
    desk.refused(1, "council 'c0' has consented to these terms", || {
        desk.says("refuse", "c0", own("c0"), &["--why", "x"])
    });
}

#[test]
fn one_person_consents_for_one_council() {
    let desk = Desk::new();
    let ran = desk.says("propose", "c1", ("clerk", "clerk"), &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let twice = "'clerk' has consented for council 'c1'";
    for verb in ["accept", "sign"] {
        desk.refused(1, twice, || desk.says(verb, "c0", ("clerk", "clerk"), &[]));
    }
    // By the same key under another name, it is the same person.
    let (siro, clerk) = (signer("c0").verifier().to_string(), signer("clerk").verifier().to_string());
    desk.edit("councils/c0.toml", &siro, &clerk);
    desk.refused(1, twice, || desk.says("accept", "c0", ("siro@c0", "clerk"), &[]));
    desk.edit("councils/c0.toml", &clerk, &siro);
    desk.done("accept", "c0", &[], "active");
}

#[test]
fn who_has_refused_suspended_or_revoked_has_done_so() {
    let desk = Desk::new();
    desk.done("propose", "c1", &[], "proposed");
    desk.done("refuse", "c0", &["--why", "no basis in law"], "draft");
    let shown = desk.shown();
    assert!(shown["reasons"].to_string().contains("council 'c0' has refused these terms: no basis in law"), "{shown}");
    let refused = "council 'c0' has refused these terms";
    for verb in ["accept", "propose", "sign", "revoke"] {
        desk.refused(1, refused, || desk.says(verb, "c0", ("siro@c0", "c0"), &[]));
    }
    let desk = Desk::new();
    desk.agreed();
    let own = ("siro@c0", "c0");
    desk.refused(1, "council 'c0' has not suspended A-1", || desk.says("suspend", "c0", own, &["--lift"]));
    desk.done("suspend", "c0", &[], "suspended");
    desk.refused(1, "council 'c0' has suspended A-1 already", || desk.says("suspend", "c0", own, &[]));
    let other = ("siro@c1", "c1");
    desk.refused(1, "council 'c1' has not suspended A-1", || desk.says("suspend", "c1", other, &["--lift"]));
    desk.refused(1, "the operator has not suspended A-1", || desk.operator(&["--why", "x", "--lift"]));
    desk.refused(1, "'why' is 1 to 1000 octets", || desk.says("suspend", "c1", other, &["--why", "\u{202e}"]));
    desk.refused(64, "--why", || desk.operator(&[]));
    desk.refused(64, "--council", || run(&["agreement", "suspend", &desk.dir, "A-1", "--by", "noc"]));
    desk.refused(64, "--out FILE", || desk.operator(&["--why", "x", "--key", &desk.path("operator.pem")]));
    desk.done("revoke", "c0", &[], "revoked");
    desk.refused(1, "council 'c0' has revoked these terms", || desk.says("revoke", "c1", other, &[]));
}

#[test]
fn what_is_written_for_gateways_is_what_they_verify() {
    let desk = Desk::new();
    desk.agreed();
    let out = desk.path("notice.json");
    let read = || SignedNotice::parse(&std::fs::read(&out).expect("a file")).expect("a notice");
    let key = desk.path("operator.pem");
    let ran = desk.operator(&["--why", "a breach", "--key", &key, "--out", &out]);
    assert!(ran.code == 0 && ran.stdout.contains(&format!("turnpike gateway narrow {out}")), "{}", ran.stdout);
    let notice = read();
    assert!(notice.signed_by(&signer("operator").verifier()) && notice.content.council.is_none());
    assert!(!desk.text().contains("why = \"a breach\"\nsignature"), "the operator signs no file: {}", desk.text());
    desk.done("revoke", "c1", &["--out", &out], "revoked");
    let notice = read();
    assert!(notice.signed_by(&signer("c1").verifier()) && !notice.signed_by(&signer("c0").verifier()));
    assert_eq!(
        (notice.content.effect, notice.content.number, notice.content.by.as_str()),
        (Effect::Revoke, 1, "siro@c1")
    );
    assert!(desk.text().contains(&notice.signature.to_string()), "the file has the same");
}

#[test]
fn list_and_show_tell_the_state_and_only_a_consent_that_is_missing_is_4() {
    let desk = Desk::new();
    let list = |more: &[&str]| run(&[&["agreement", "list", &desk.dir], more].concat());
    assert_eq!((list(&[]).code, list(&["--state", "draft"]).code, list(&["--state", "active"]).code), (4, 4, 0));
    desk.agreed();
    let shown = desk.shown();
    assert_eq!((shown["state"].as_str(), shown["standing"].as_str()), (Some("active"), Some("in force")));
    assert_eq!((&shown["consents"][1]["by"], &shown["consents"][1]["given"]), (&"siro@c1".into(), &true.into()));
    assert!(shown["consents"][1]["at"].is_string() && shown["consents"][1]["fault"].is_null());
    desk.done("suspend", "c0", &["--why", "an audit"], "suspended");
    assert_eq!(list(&[]).code, 0, "resting is no missing consent");
    assert_eq!(run(&["policy", "check", &desk.dir, "--strict"]).code, 0);
    let text = run(&["agreement", "show", &desk.dir, "A-1"]).stdout;
    assert!(text.contains("A-1 (number 1): suspended, void as of "), "{text}");
    assert!(text.contains("notice      c0: suspend, number 1 by siro@c0 at 20"), "{text}");
    assert!(text.contains("council 'c0' has suspended it: an audit"), "{text}");
    desk.done("revoke", "c0", &[], "revoked");
    assert_eq!(list(&[]).code, 0, "nor is what is over");
    assert!(
        list(&["--state", "revoked"]).stdout.contains("A-1") && !list(&["--state", "active"]).stdout.contains("A-1")
    );
    assert_eq!(list(&["--state", "dead"]).code, 64);
    desk.edit(FILE, "reference =", "not_after = 2026-01-01T00:00:00Z\nreference =");
    assert_eq!(desk.shown()["state"], "expired");
}

#[test]
fn a_folder_that_cannot_be_written_to_stays_as_it_is() {
    let desk = Desk::new();
    let nowhere = desk.path("no/such/folder/notice.json");
    desk.refused(69, "cannot write", || desk.says("revoke", "c0", ("siro@c0", "c0"), &["--out", &nowhere]));
    let everyone = |path: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("one's own");
    };
    for folder in ["", "councils", "agreements"] {
        everyone(&desk.path(folder), 0o555);
    }
    let binary = desk.path("../").to_owned() + &format!("turnpike-{}", std::process::id());
    std::fs::copy(env!("CARGO_BIN_EXE_turnpike"), &binary).expect("a copy where everyone may go");
    desk.refused(77, "cannot write", || {
        let key = desk.path("c1.pem");
        let arguments = ["agreement", "propose", &desk.dir, "A-1", "--council", "c1", "--by", "siro@c1", "--key", &key];
        let mut command = Command::new(&binary);
        command.args(arguments);
        if nix::unistd::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        let output = command.output().expect("it runs");
        Ran {
            code: output.status.code().expect("it exits"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    });
    std::fs::remove_file(binary).expect("one's own");
    for folder in ["", "councils", "agreements"] {
        everyone(&desk.path(folder), 0o755);
    }
}
