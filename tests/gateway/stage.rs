//! A bundle beside the one in force: what it would do is counted, and nothing of it is done.

use std::process::{Command, Output};

use turnpike::lab::guard::{skip, wait_until};

use crate::place::{Build, CLAIMS4, PATIENCE, Place};
use crate::talk::{echo, exchange, open, reaches};

fn command(place: &Place, gateway: &str, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnpike"));
    command.arg("gateway").args(words).arg("--state").arg(place.state(gateway)).output().expect("it runs")
}

/// What is staged would do: `would`, packets seen, whether it is in use now.
fn rows(place: &Place, gateway: &str) -> Vec<(String, u64, bool)> {
    let told = command(place, gateway, &["staged", "--json"]);
    let page: serde_json::Value = serde_json::from_slice(&told.stdout).expect("JSON");
    let row = |row: &serde_json::Value| {
        let would = row["would"].as_str().expect("a word").to_owned();
        (would, row["packets"].as_u64().expect("a count"), row["in_use"].as_bool().expect("a flag"))
    };
    page["rows"].as_array().expect("rows").iter().map(row).collect()
}

#[test]
fn what_a_staged_bundle_would_deny_is_counted_and_passes() {
    if skip("what_a_staged_bundle_would_deny_is_counted_and_passes") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    echo(&place.claims, 443);
    let nothing = command(&place, "leeds-1", &["staged"]);
    assert_eq!(nothing.status.code(), Some(1), "{nothing:?}");
    place.build(Build { generation: 2, agreed: false, ..Build::default() });
    let bundle = place.bundle("leeds-1");
    let staged = command(&place, "leeds-1", &["stage", bundle.to_str().expect("a path")]);
    assert!(staged.status.success(), "{staged:?}");
    let all = rows(&place, "leeds-1");
    assert!(
        !all.is_empty() && all.iter().all(|(would, packets, used)| would == "deny" && *packets == 0 && !used),
        "{all:?}"
    );
    let mut flow = open(&place.benefits, CLAIMS4, 443);
    let seen = || rows(&place, "leeds-1").iter().any(|(_, packets, used)| *packets > 0 && *used);
    assert!(wait_until(PATIENCE, seen), "{:?}", rows(&place, "leeds-1"));
    let text = command(&place, "leeds-1", &["staged"]);
    assert_eq!(text.status.code(), Some(3));
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("would deny bradford/benefits → leeds/claims") && text.contains("by A-101"), "{text}");
    assert!(text.contains("for instance 100.70.2.30 → 100.70.1.20 tcp/443"), "{text}");
    // The one in force is in force.
    assert!(exchange(&mut flow) && place.status("leeds-1").configuration.generation == 1);
}

#[test]
fn what_a_staged_bundle_would_allow_is_counted_and_refused() {
    if skip("what_a_staged_bundle_would_allow_is_counted_and_refused") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    echo(&place.claims, 443);
    let build = |generation, agreed| Build { generation, agreed, ..Build::default() };
    place.rebuild(build(2, false));
    place.build(build(3, true));
    let bundle = place.bundle("bradford-1");
    assert!(command(&place, "bradford-1", &["stage", bundle.to_str().expect("a path")]).status.success());
    assert!(!reaches(&place.benefits, CLAIMS4, 443));
    let seen = || rows(&place, "bradford-1").iter().any(|(would, packets, _)| would == "allow" && *packets > 0);
    assert!(wait_until(PATIENCE, seen), "{:?}", rows(&place, "bradford-1"));
    assert!(!reaches(&place.benefits, CLAIMS4, 443));
    // Once it is in force there is nothing beside it.
    place.rebuild(build(3, true));
    assert!(reaches(&place.benefits, CLAIMS4, 443));
    assert_eq!(command(&place, "bradford-1", &["staged"]).status.code(), Some(1));
    let damaged = place.path("damaged.bundle");
    std::fs::write(&damaged, b"{").expect("written");
    assert_eq!(command(&place, "bradford-1", &["stage", damaged.to_str().expect("a path")]).status.code(), Some(1));
}
