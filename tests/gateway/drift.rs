//! A foreign hand in the kernel.

use std::time::{Duration, Instant};

use turnpike::gateway::control::{self, Request, Response};
use turnpike::lab::guard::{skip, wait_until};

use crate::place::{CLAIMS4, PATIENCE, Place};
use crate::talk::{echo, open, reaches};

#[test]
fn a_flushed_ruleset_lets_nothing_pass_and_is_back_in_a_moment() {
    if skip("a_flushed_ruleset_lets_nothing_pass_and_is_back_in_a_moment") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    for port in [443, 22] {
        echo(&place.claims, port);
    }
    open(&place.benefits, CLAIMS4, 443);

    let paused = control::ask(&place.state("hub-a"), &Request::PauseRepair { seconds: 60 });
    assert!(matches!(paused, Ok(Response::Done(_))), "{paused:?}");
    place.hub.run("nft", ["flush", "ruleset"]).expect("flushed");
    assert!(!reaches(&place.benefits, CLAIMS4, 443), "without the table there is no route");
    assert!(!reaches(&place.benefits, CLAIMS4, 22));
    let status = place.wait_for("hub-a", |status| status.drift.present);
    assert!(status.conditions.iter().any(|condition| condition.id == "repair-paused"));
    let resumed = control::ask(&place.state("hub-a"), &Request::ResumeRepair);
    assert!(matches!(resumed, Ok(Response::Done(_))), "{resumed:?}");
    open(&place.benefits, CLAIMS4, 443);

    place.hub.run("nft", ["flush", "ruleset"]).expect("flushed");
    let flushed = Instant::now();
    place.wait_for("hub-a", |status| status.drift.ruleset_repairs == 2 && !status.drift.present);
    eprintln!("the ruleset was back after {:?} at most", flushed.elapsed());
    assert!(flushed.elapsed() < Duration::from_secs(5));
    open(&place.benefits, CLAIMS4, 443);
    assert!(!reaches(&place.benefits, CLAIMS4, 22), "what is back is the policy");
}

#[test]
fn a_foreign_rule_in_our_table_goes_and_foreign_tables_stay() {
    if skip("a_foreign_rule_in_our_table_goes_and_foreign_tables_stay") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    for port in [443, 22] {
        echo(&place.claims, port);
    }
    open(&place.benefits, CLAIMS4, 443);
    place.hub.run("nft", ["add", "table", "inet", "theirs"]).expect("another's table");
    place.hub.run("nft", ["insert", "rule", "inet", "turnpike", "c_forward", "accept"]).expect("a foreign rule");
    place.wait_for("hub-a", |status| status.drift.ruleset_repairs == 1 && !status.drift.present);
    let listing = place.hub.run("nft", ["list", "ruleset"]).expect("a listing");
    assert!(listing.contains("table inet theirs"), "{listing}");
    assert!(!reaches(&place.benefits, CLAIMS4, 22));
    open(&place.benefits, CLAIMS4, 443);
}

#[test]
fn routes_rules_and_addresses_that_somebody_took_away_come_back() {
    if skip("routes_rules_and_addresses_that_somebody_took_away_come_back") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    echo(&place.claims, 443);
    open(&place.benefits, CLAIMS4, 443);
    let before = place.kernel("leeds-1").lines().filter(|line| is_ours(line)).count();
    for words in [
        "route flush table 200",
        "rule del pref 2001",
        "-6 rule del pref 2000",
        "address del 192.168.1.1/24 dev eth1",
        "route del unreachable 100.64.0.0/10 metric 1",
    ] {
        place.leeds.ip(words).expect(words);
    }
    let count = || place.kernel("leeds-1").lines().filter(|line| is_ours(line)).count();
    assert!(wait_until(PATIENCE, || count() == before), "{}", place.kernel("leeds-1"));
    let status = place.wait_for("leeds-1", |status| !status.drift.present);
    assert!(status.drift.routing_repairs >= 1, "{:?}", status.drift);
    open(&place.benefits, CLAIMS4, 443);
}

#[test]
fn a_gateway_whose_device_was_deleted_ends_and_says_so() {
    if skip("a_gateway_whose_device_was_deleted_ends_and_says_so") {
        return;
    }
    let place = Place::new();
    let mut leeds = place.start("leeds-1");
    place.leeds.ip("link del turnpike0").expect("deleted");
    let status = leeds.wait(PATIENCE).expect("it ends by itself, for the service manager to start it anew");
    assert!(!status.success());
    assert!(leeds.log().contains("device"), "{}", leeds.log());
    drop(place.start("leeds-1"));
}

fn is_ours(line: &str) -> bool {
    line.contains("proto 84") || line.starts_with("200")
}
