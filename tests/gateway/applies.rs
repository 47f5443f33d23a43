//! Many bundles on trial, confirmed and rolled back in turn, while legacy hosts talk: what may pass passes, all of it, and what may not
//! does not.

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use turnpike::gateway::Apply;
use turnpike::gateway::control::{self, Request, Response};
use turnpike::lab::guard::skip;

use crate::forbidden::Forbidden;
use crate::place::{Build, CLAIMS4, PATIENCE, Place};

fn applies() -> u64 {
    std::env::var("TURNPIKE_APPLIES").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

/// From a session of its own, as a new login does.
fn confirm(place: &Place) {
    let mut command = Command::new("setsid");
    command
        .args(["--wait", env!("CARGO_BIN_EXE_turnpike"), "gateway", "confirm", "--state"])
        .arg(place.state("leeds-1"));
    assert!(command.stdout(Stdio::null()).status().expect("it runs").success());
}

#[test]
fn over_many_applies_with_confirmation_and_rollback_nothing_is_lost_and_nothing_leaks() {
    if skip("over_many_applies_with_confirmation_and_rollback_nothing_is_lost_and_nothing_leaks") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    let mut ping = place.benefits.command("ping");
    ping.args(["-q", "-i", "0.003", CLAIMS4]);
    let mut ping = place.benefits.spawn(ping).expect("spawned");
    let forbidden = Forbidden::send(&place);
    let ask = |request: &Request| control::ask(&place.state("leeds-1"), request).expect("an answer");
    let mut generation = 1;
    for round in 0..applies() {
        let next = generation + 1;
        // A guardrail that comes and goes: the agreement stays.
        place.build(Build { generation: next, guarded: round.is_multiple_of(2), ..Build::default() });
        let apply = Apply { bundle: None, confirm_within: Some(60), deny_all_intended: false };
        let applied = ask(&Request::Apply(apply));
        assert!(matches!(applied, Response::Done(_)), "{applied:?}");
        if round % 4 < 2 {
            confirm(&place);
            generation = next;
        } else {
            let back = ask(&Request::Rollback);
            assert!(matches!(back, Response::Done(_)), "{back:?}");
        }
    }
    ping.signal(Signal::SIGINT).expect("signalled");
    assert!(ping.wait(PATIENCE).is_some());
    let told = forbidden.told();
    let summary = ping.log();
    let line = summary.lines().find(|line| line.contains("packets transmitted")).expect("a summary").to_owned();
    println!("{} applies: {} forbidden datagrams, {} arrived; {line}", applies(), told.sent, told.arrived);
    assert!(told.sent > 100 && told.arrived == 0, "{told:?}");
    forbidden.control(&place);
    let numbers: Vec<u64> = line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    // The last one may be on its way when the sender ends.
    assert!(numbers[0] > 100 && numbers[0] - numbers[1] <= 1, "{line}");
}
