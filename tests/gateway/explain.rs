//! `turnpike explain`: what a gateway's bundle says, and whether its kernel agrees.

use std::process::Output;

use serde_json::Value;
use turnpike::gateway::control::{self, Request, Response};
use turnpike::lab::guard::{skip, veth, wait_until};

use crate::place::{Build, CLAIMS4, PATIENCE, Place};

/// What came of asking.
struct Told {
    code: i32,
    page: Value,
}

impl Told {
    /// Verdict of the bundle, of the kernel, and the kernel's state, of the only answer.
    fn verdicts(&self) -> (&str, &str, &str) {
        assert_eq!(self.page["answers"].as_array().map(Vec::len), Some(1), "{:#}", self.page);
        let text = |path: &str| self.page.pointer(path).and_then(Value::as_str).unwrap_or_default();
        (text("/answers/0/verdict"), text("/answers/0/kernel/verdict"), text("/kernel/state"))
    }

    fn text(&self, path: &str) -> &str {
        self.page.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("{path} in {:#}", self.page))
    }
}

fn run(place: &Place, gateway: &str, words: &[&str], more: &[&str]) -> Output {
    let mut command = place.namespace(gateway).command(env!("CARGO_BIN_EXE_turnpike"));
    if let [first, rest @ ..] = words {
        command = place.namespace(gateway).command(first);
        command.args(rest).arg(env!("CARGO_BIN_EXE_turnpike"));
    }
    command.arg("explain").arg("--state").arg(place.state(gateway)).args(more);
    command.output().expect("it runs")
}

fn explain(place: &Place, gateway: &str, more: &[&str]) -> Told {
    let output = run(place, gateway, &[], &[more, &["--json"]].concat());
    let page = serde_json::from_slice(&output.stdout);
    let page = page.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    Told { code: output.status.code().expect("it exits"), page }
}

const CLAIMS: [&str; 8] = ["--from", "bradford/benefits", "--to", CLAIMS4, "--proto", "tcp", "--port", "443"];

fn ssh(from: &str) -> [&str; 8] {
    ["--from", from, "--to", CLAIMS4, "--proto", "tcp", "--port", "22"]
}

fn pause(place: &Place, gateway: &str) {
    let paused = control::ask(&place.state(gateway), &Request::PauseRepair { seconds: 60 });
    assert!(matches!(paused, Ok(Response::Done(_))), "{paused:?}");
}

#[test]
fn each_gateway_explains_its_part_and_its_kernel_agrees() {
    if skip("each_gateway_explains_its_part_and_its_kernel_agrees") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    for (gateway, part) in [("bradford-1", "begins"), ("hub-a", "relays"), ("leeds-1", "ends")] {
        let told = explain(&place, gateway, &CLAIMS);
        assert_eq!((told.code, told.verdicts()), (0, ("allow", "allow", "agrees")), "{gateway}: {:#}", told.page);
        assert_eq!(told.text("/answers/0/path/0/part"), part);
        assert_eq!(
            told.text("/answers/0/path/0/table"),
            "m_port4 { 0x80000002 . 100.70.1.20 . 6 . 443 } → 101 (A-101)"
        );
        assert_eq!(told.text("/answers/0/agreement/id"), "A-101");
        assert_eq!(told.page["answers"][0]["agreement"]["lease_seconds"], 259_200);
        assert_eq!(told.text("/answers/0/service/name"), "leeds/claims");
        let denied = explain(&place, gateway, &ssh("bradford/benefits"));
        assert_eq!((denied.code, denied.verdicts()), (0, ("deny", "deny", "agrees")), "{gateway}");
    }
    // Real addresses where they stand, and all of a service in both families.
    let real = ["--from", "192.168.1.30", "--to", CLAIMS4, "--proto", "tcp", "--port", "443"];
    let told = explain(&place, "bradford-1", &real);
    assert_eq!(told.text("/answers/0/from/overlay"), "100.70.2.30");
    assert_eq!(told.page["answers"][0]["from"]["mapping"], serde_json::json!(["192.168.1.0/24", "100.70.2.0/24"]));
    let told = explain(&place, "leeds-1", &["--from", "bradford/benefits", "--to", "leeds/claims"]);
    assert_eq!(told.page["answers"].as_array().map(Vec::len), Some(2), "tcp/443 and echo: {:#}", told.page);
    assert_eq!((told.code, told.text("/kernel/state")), (0, "agrees"));
    let trusted = explain(
        &place,
        "leeds-1",
        &[&CLAIMS[..], &["--trust", place.path("trust.toml").to_str().expect("UTF-8")]].concat(),
    );
    assert_eq!((trusted.code, &trusted.page["verified"]), (0, &Value::Bool(true)));
    let text = run(&place, "leeds-1", &[], &CLAIMS);
    let text = String::from_utf8(text.stdout).expect("UTF-8");
    assert!(text.starts_with("ALLOWED") && text.ends_with("the kernel agrees\n"), "{text}");
}

#[test]
fn what_a_foreign_hand_does_to_the_kernel_is_named_and_told_by_the_exit_code() {
    if skip("what_a_foreign_hand_does_to_the_kernel_is_named_and_told_by_the_exit_code") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    let nft = |words: &[&str]| place.leeds.run("nft", words.iter().copied()).expect("it is done");
    let element = "{ 0x80000002 . 100.70.1.20 . tcp . 443 }";
    pause(&place, "leeds-1");
    nft(&["delete", "element", "inet", "turnpike", "m_port4", element]);
    let told = explain(&place, "leeds-1", &CLAIMS);
    assert_eq!((told.code, told.verdicts()), (3, ("allow", "deny", "differs")), "{:#}", told.page);
    let what = told.text("/answers/0/kernel/differences/0/what");
    assert_eq!(what, "m_port4 { 0x80000002 . 100.70.1.20 . 6 . 443 } is missing");
    assert!(told.text("/answers/0/kernel/differences/0/remedy").contains("repair resume"), "{:#}", told.page);
    // What it does not touch goes on in agreement.
    assert_eq!(explain(&place, "leeds-1", &ssh("bradford/benefits")).code, 0);

    nft(&["add", "element", "inet", "turnpike", "m_range4", "{ 0x80000002 . 100.70.1.20 . tcp . 20-30 : 7 }"]);
    let told = explain(&place, "leeds-1", &ssh("bradford/benefits"));
    assert_eq!((told.code, told.verdicts()), (3, ("deny", "allow", "differs")), "{:#}", told.page);
    assert!(told.text("/answers/0/kernel/differences/0/what").contains("→ 7 stands there and should not"));

    nft(&["insert", "rule", "inet", "turnpike", "c_policy", "accept"]);
    let told = explain(&place, "leeds-1", &CLAIMS);
    assert_eq!((told.code, told.text("/answers/0/kernel/verdict")), (3, "unknown"), "{:#}", told.page);
    assert!(told.text("/kernel/differences/0/what").starts_with("chain c_policy has"), "{:#}", told.page);

    let resumed = control::ask(&place.state("leeds-1"), &Request::ResumeRepair);
    assert!(matches!(resumed, Ok(Response::Done(_))), "{resumed:?}");
    place.wait_for("leeds-1", |status| !status.drift.present);
    for question in [CLAIMS, ssh("bradford/benefits")] {
        assert_eq!(explain(&place, "leeds-1", &question).code, 0);
    }
}

#[test]
fn a_gateway_that_is_closed_says_so_whether_flushed_or_dead() {
    if skip("a_gateway_that_is_closed_says_so_whether_flushed_or_dead") {
        return;
    }
    let place = Place::new();
    let leeds = place.start("leeds-1");
    pause(&place, "leeds-1");
    place.leeds.run("nft", ["flush", "ruleset"]).expect("flushed");
    let told = explain(&place, "leeds-1", &CLAIMS);
    assert_eq!(
        (told.code, told.text("/answers/0/kernel/verdict"), told.text("/kernel/state")),
        (3, "deny", "closed"),
        "{:#}",
        told.page
    );
    assert!(told.text("/kernel/differences/0/what").contains("there is no table turnpike"), "{:#}", told.page);
    let resumed = control::ask(&place.state("leeds-1"), &Request::ResumeRepair);
    assert!(matches!(resumed, Ok(Response::Done(_))), "{resumed:?}");

    assert!(leeds.stop(PATIENCE).expect("stopped").success());
    let told = explain(&place, "leeds-1", &CLAIMS);
    assert_eq!(
        (told.code, told.verdicts()),
        (0, ("allow", "allow", "agrees")),
        "it stays open for a while: {:#}",
        told.page
    );
    assert_eq!(told.page["running"], false);
    let left = told.page["kernel"]["closes_in_seconds"].as_u64().expect("a time");
    assert!(left <= 30, "{left}");
    place.leeds.run("nft", ["flush", "set", "inet", "turnpike", "s_alive"]).expect("as it runs out");
    let told = explain(&place, "leeds-1", &CLAIMS);
    assert_eq!((told.code, told.verdicts()), (3, ("allow", "deny", "closed")), "{:#}", told.page);
    assert!(told.text("/kernel/differences/0/remedy").contains("turnpike gateway run"), "{:#}", told.page);
}

#[test]
fn a_guardrail_and_a_neighbour_are_explained_by_what_decides() {
    if skip("a_guardrail_and_a_neighbour_are_explained_by_what_decides") {
        return;
    }
    let place = Place::new();
    veth(&place.leeds, "eth2", &place.claims, "eth2").expect("a wire");
    place.build(Build { generation: 2, guarded: true, neighbours: true, ..Build::default() });
    let _leeds = place.start("leeds-1");
    let told = explain(&place, "leeds-1", &ssh("bradford/benefits"));
    assert_eq!((told.code, told.verdicts()), (0, ("deny", "deny", "agrees")), "{:#}", told.page);
    assert_eq!((told.text("/answers/0/tier"), told.text("/answers/0/guardrail/name")), ("guardrail", "G-1"));
    let near = ["--from", "leeds/housing", "--to", CLAIMS4, "--proto", "tcp", "--port", "443"];
    let told = explain(&place, "leeds-1", &near);
    assert_eq!((told.code, told.verdicts()), (0, ("allow", "allow", "agrees")), "{:#}", told.page);
    assert_eq!(told.text("/answers/0/path/0/part"), "local");
    // Between segments both addresses are real.
    assert_eq!(told.text("/answers/0/path/0/table"), "m_port4 { 0x80000003 . 192.168.1.20 . 6 . 443 } → 101 (A-101)");
    place.leeds.run("nft", ["flush", "chain", "inet", "turnpike", "c_local_guard_go"]).expect("flushed");
    let repaired = || explain(&place, "leeds-1", &ssh("leeds/housing")).code == 0;
    assert!(wait_until(PATIENCE, repaired), "the gateway repairs it");
}

#[test]
fn who_may_not_ask_the_kernel_gets_the_bundles_answer_and_another_exit_code() {
    if skip("who_may_not_ask_the_kernel_gets_the_bundles_answer_and_another_exit_code") {
        return;
    }
    let place = Place::new();
    let _leeds = place.start("leeds-1");
    let without = |capability: &str, more: &[&str]| {
        let drop = format!("-{capability}");
        run(&place, "leeds-1", &["setpriv", "--bounding-set", &drop, "--inh-caps", &drop], more)
    };
    let output = without("net_admin", &CLAIMS);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(77), "{text}");
    assert!(text.starts_with("ALLOWED") && text.contains("the kernel cannot be asked\n"), "{text}");
    let output = without("sys_admin", &CLAIMS);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains("its chains could not be compared"), "{text}");
}

#[test]
fn questions_and_states_that_do_not_hold_are_refused_with_a_remedy() {
    if skip("questions_and_states_that_do_not_hold_are_refused_with_a_remedy") {
        return;
    }
    let place = Place::new();
    let complaint = |output: Output, code: i32| {
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        stderr
    };
    let never = complaint(run(&place, "leeds-1", &[], &CLAIMS), 69);
    assert!(never.contains("no gateway has taken a bundle") && never.contains("help:"), "{never}");
    let leeds = place.start("leeds-1");
    let typo = complaint(run(&place, "leeds-1", &[], &["--from", "bradford/benefit", "--to", "leeds/claims"]), 64);
    assert!(typo.contains("did you mean 'bradford/benefits'?"), "{typo}");
    assert!(leeds.stop(PATIENCE).expect("stopped").success());
    let foreign = place.path("foreign.toml");
    let key = turnpike::identity::Signer::generate().expect("entropy").verifier();
    std::fs::write(&foreign, format!("network = \"connect\"\noperator = \"{key}\"\ncontroller = \"{key}\"\n"))
        .expect("written");
    let forged = run(&place, "leeds-1", &[], &[&CLAIMS[..], &["--trust", foreign.to_str().expect("UTF-8")]].concat());
    assert!(complaint(forged, 1).contains("signature"), "a bundle of another signer");
    for entry in std::fs::read_dir(place.state("leeds-1")).expect("the state").flatten() {
        if entry.file_name().to_string_lossy().starts_with("bundle.") {
            std::fs::write(entry.path(), "turnpike-state 1 sha256:00\n{}").expect("damaged");
        }
    }
    assert!(complaint(run(&place, "leeds-1", &[], &CLAIMS), 69).contains("is damaged"));
}
