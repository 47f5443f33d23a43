//! Bundles on trial: confirmed, rolled back, or lost with the machine.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use turnpike::lab::guard::{skip, wait_until};

use crate::place::{Build, CLAIMS4, PATIENCE, Place};
use crate::talk::{echo, exchange, open, reaches};

/// A command about a gateway: `setsid` makes a session of its own, as a new login does.
fn command(place: &Place, gateway: &str, new_session: bool, words: &[&str]) -> Output {
    let mut command = Command::new(if new_session { "setsid" } else { env!("CARGO_BIN_EXE_turnpike") });
    if new_session {
        command.args(["--wait", env!("CARGO_BIN_EXE_turnpike")]);
    }
    command.arg("gateway").args(words).arg("--state").arg(place.state(gateway));
    command.output().expect("it runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn apply(place: &Place, gateway: &str, within: &str, more: &[&str]) -> Output {
    command(place, gateway, false, &[&["apply", "--confirm-within", within], more].concat())
}

fn history(place: &Place, gateway: &str) -> Vec<String> {
    let listed = command(place, gateway, false, &["history", "--json"]);
    let steps: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let word = |step: &serde_json::Value| format!("{} {}", step["generation"], step["what"].as_str().expect("a word"));
    steps.as_array().expect("steps").iter().map(word).collect()
}

fn revoked(generation: u64) -> Build {
    Build { generation, agreed: false, ..Build::default() }
}

#[test]
fn what_is_not_confirmed_is_rolled_back_in_place_within_a_second() {
    if skip("what_is_not_confirmed_is_rolled_back_in_place_within_a_second") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    echo(&place.claims, 443);
    assert!(reaches(&place.benefits, CLAIMS4, 443));
    place.build(revoked(2));
    let applied = apply(&place, "leeds-1", "4s", &["--deny-all-intended"]);
    let since = Instant::now();
    assert!(applied.status.success(), "{}", text(&applied));
    assert!(!reaches(&place.benefits, CLAIMS4, 443), "what is on trial is in force");
    let status = place.status("leeds-1");
    assert_eq!(status.configuration.generation, 2);
    assert!(status.conditions.iter().any(|condition| condition.id == "on-trial"), "{:?}", status.conditions);
    let again = command(&place, "leeds-1", false, &["apply"]);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
    assert!(text(&again).contains("generation 2 is on trial"), "{}", text(&again));
    let back = || place.status("leeds-1").configuration.generation == 1;
    assert!(wait_until(Duration::from_secs(8), back));
    assert!(since.elapsed() < Duration::from_secs(5), "it took {:?}", since.elapsed());
    open(&place.benefits, CLAIMS4, 443);
    let late = command(&place, "leeds-1", true, &["confirm"]);
    assert_eq!(late.status.code(), Some(5), "{}", text(&late));
    assert!(text(&late).contains("generation 2 was rolled back"), "{}", text(&late));
    assert_eq!(history(&place, "leeds-1"), ["1 started", "2 on-trial", "2 refused", "2 rolled-back"]);
    // The bundle file still holds it: reading it again is not enough, applying it is.
    let reloaded = command(&place, "leeds-1", false, &["reload"]);
    assert!(text(&reloaded).contains("was applied and rolled back"), "{}", text(&reloaded));
    let applied = command(&place, "leeds-1", false, &["apply", "--deny-all-intended"]);
    assert!(applied.status.success(), "{}", text(&applied));
    assert_eq!(place.status("leeds-1").configuration.generation, 2);
}

#[test]
fn a_session_that_was_open_before_cannot_confirm_and_a_new_one_can() {
    if skip("a_session_that_was_open_before_cannot_confirm_and_a_new_one_can") {
        return;
    }
    let place = Place::new();
    let mut running = place.up();
    echo(&place.claims, 443);
    let nothing = command(&place, "leeds-1", true, &["confirm"]);
    assert_eq!(nothing.status.code(), Some(1), "{}", text(&nothing));
    place.build(Build { generation: 2, guarded: true, ..Build::default() });
    assert!(apply(&place, "leeds-1", "60s", &[]).status.success());
    let old = command(&place, "leeds-1", false, &["confirm"]);
    assert_eq!(old.status.code(), Some(1), "{}", text(&old));
    assert!(text(&old).contains("opened after it was applied"), "{}", text(&old));
    // A signal brings no other bundle either.
    place.build(Build { generation: 3, ..Build::default() });
    running[1].signal(Signal::SIGHUP).expect("signalled");
    assert_eq!(place.status("leeds-1").configuration.generation, 2);
    let new = command(&place, "leeds-1", true, &["confirm"]);
    assert!(new.status.success(), "{}", text(&new));
    let status = place.status("leeds-1");
    assert!(!status.conditions.iter().any(|condition| condition.id == "on-trial"));
    let applied = command(&place, "leeds-1", false, &["apply"]);
    assert!(applied.status.success(), "{}", text(&applied));
    assert_eq!(place.status("leeds-1").configuration.generation, 3);
    let steps = history(&place, "leeds-1");
    assert_eq!(steps.last().map(String::as_str), Some("3 applied"), "{steps:?}");
    assert!(steps.contains(&"2 confirmed".to_owned()), "{steps:?}");
}

#[test]
fn a_process_that_dies_goes_on_with_the_trial_and_a_machine_that_starts_anew_does_not() {
    if skip("a_process_that_dies_goes_on_with_the_trial_and_a_machine_that_starts_anew_does_not") {
        return;
    }
    let place = Place::new();
    let [_hub, mut leeds, _bradford] = place.up();
    echo(&place.claims, 443);
    place.build(revoked(2));
    assert!(apply(&place, "leeds-1", "60s", &["--deny-all-intended"]).status.success());
    leeds.signal(Signal::SIGKILL).expect("killed");
    assert!(leeds.wait(PATIENCE).is_some());
    let mut again = place.start("leeds-1");
    let status = place.status("leeds-1");
    assert_eq!(status.configuration.generation, 2);
    assert!(status.conditions.iter().any(|condition| condition.id == "on-trial"), "{:?}", status.conditions);
    again.signal(Signal::SIGKILL).expect("killed");
    assert!(again.wait(PATIENCE).is_some());
    // As another boot of the machine finds it.
    place.rewrite("leeds-1", "pending", &|text| {
        let own = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot");
        text.replace(own.trim(), "00000000-0000-0000-0000-000000000000")
    });
    let _third = place.start("leeds-1");
    place.wait_for_tunnels();
    assert_eq!(place.status("leeds-1").configuration.generation, 1);
    open(&place.benefits, CLAIMS4, 443);
    let steps = history(&place, "leeds-1");
    assert_eq!(&steps[steps.len() - 2..], ["2 rolled-back", "1 started"]);
}

#[test]
fn a_trial_that_is_over_while_nobody_runs_is_rolled_back_at_the_start() {
    if skip("a_trial_that_is_over_while_nobody_runs_is_rolled_back_at_the_start") {
        return;
    }
    let place = Place::new();
    let [_hub, leeds, _bradford] = place.up();
    echo(&place.claims, 443);
    place.build(revoked(2));
    assert!(apply(&place, "leeds-1", "3s", &["--deny-all-intended"]).status.success());
    let since = Instant::now();
    assert!(leeds.stop(PATIENCE).expect("stopped").success());
    assert!(wait_until(PATIENCE, || since.elapsed() > Duration::from_secs(4)));
    let _again = place.start("leeds-1");
    place.wait_for_tunnels();
    assert_eq!(place.status("leeds-1").configuration.generation, 1);
    open(&place.benefits, CLAIMS4, 443);
}

#[test]
fn whoever_asks_may_end_a_trial_at_once() {
    if skip("whoever_asks_may_end_a_trial_at_once") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    echo(&place.claims, 443);
    let mut flow = open(&place.benefits, CLAIMS4, 443);
    flow.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    place.build(revoked(2));
    assert!(apply(&place, "bradford-1", "60s", &["--deny-all-intended"]).status.success());
    assert!(!exchange(&mut flow));
    let back = command(&place, "bradford-1", false, &["rollback"]);
    assert!(back.status.success(), "{}", text(&back));
    open(&place.benefits, CLAIMS4, 443);
    let again = command(&place, "bradford-1", false, &["rollback"]);
    assert_eq!(again.status.code(), Some(5), "{}", text(&again));
}

#[test]
fn a_bundle_that_denies_all_that_passes_now_has_to_be_meant() {
    if skip("a_bundle_that_denies_all_that_passes_now_has_to_be_meant") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    echo(&place.claims, 443);
    place.build(revoked(2));
    // The control: nothing has passed yet.
    let quiet = apply(&place, "hub-a", "60s", &[]);
    assert!(quiet.status.success(), "{}", text(&quiet));
    assert!(command(&place, "hub-a", false, &["rollback"]).status.success());
    let mut flow = open(&place.benefits, CLAIMS4, 443);
    let refused = apply(&place, "leeds-1", "60s", &[]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("--deny-all-intended"), "{}", text(&refused));
    assert!(exchange(&mut flow), "the former one is in force");
    assert_eq!(history(&place, "leeds-1"), ["1 started", "2 refused"]);
}

#[test]
fn what_cannot_be_applied_leaves_the_former_one_and_says_so() {
    if skip("what_cannot_be_applied_leaves_the_former_one_and_says_so") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    echo(&place.claims, 443);
    let mut flow = open(&place.benefits, CLAIMS4, 443);
    place.build(Build { generation: 2, segment: "eth9", ..Build::default() });
    let failed = apply(&place, "leeds-1", "60s", &[]);
    assert_eq!(failed.status.code(), Some(69), "{}", text(&failed));
    assert!(text(&failed).contains("eth9"), "{}", text(&failed));
    assert!(exchange(&mut flow));
    assert_eq!(history(&place, "leeds-1"), ["1 started", "2 failed"]);
    for words in [["apply", "--confirm-within", "0s"], ["apply", "--confirm-within", "25h"]] {
        let refused = command(&place, "leeds-1", false, &words);
        assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    }
    let missing = command(&place, "leeds-1", false, &["apply", "/nowhere.bundle"]);
    assert_eq!(missing.status.code(), Some(69), "{}", text(&missing));
    assert!(place.status("leeds-1").configuration.generation == 1 && exchange(&mut flow));
}

#[test]
fn where_the_way_back_cannot_be_written_down_nothing_is_tried() {
    if skip("where_the_way_back_cannot_be_written_down_nothing_is_tried") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    echo(&place.claims, 443);
    let mut flow = open(&place.benefits, CLAIMS4, 443);
    place.build(revoked(2));
    // Where a folder stands no file can be put.
    let pending = place.state("leeds-1").join("pending");
    std::fs::create_dir(&pending).expect("a folder");
    let refused = apply(&place, "leeds-1", "60s", &["--deny-all-intended"]);
    assert_eq!(refused.status.code(), Some(69), "{}", text(&refused));
    assert!(exchange(&mut flow) && place.status("leeds-1").configuration.generation == 1);
    std::fs::remove_dir(&pending).expect("removed");
    assert!(apply(&place, "leeds-1", "60s", &["--deny-all-intended"]).status.success());
    assert!(!exchange(&mut flow), "the control: it can be tried now");
}
