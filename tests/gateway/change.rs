//! A new bundle while traffic flows, a restart without its source, an end.

use std::time::Duration;

use nix::sys::signal::Signal;
use turnpike::lab::guard::{skip, wait_until};

use crate::place::{Build, CLAIMS4, PATIENCE, Place};
use crate::talk::{echo, exchange, open, reaches};

#[test]
fn a_revoked_agreement_stops_an_established_flow_and_its_return_lets_it_go_on() {
    if skip("a_revoked_agreement_stops_an_established_flow_and_its_return_lets_it_go_on") {
        return;
    }
    let place = Place::new();
    let mut running = place.up();
    echo(&place.claims, 443);
    let mut flow = open(&place.benefits, CLAIMS4, 443);
    flow.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    place.build(Build { generation: 2, agreed: false, ..Build::default() });
    // One end is enough.
    running[1].signal(Signal::SIGHUP).expect("signalled");
    place.wait_for("leeds-1", |status| status.configuration.generation == 2);
    assert!(!exchange(&mut flow), "an established flow went on");
    assert!(!reaches(&place.benefits, CLAIMS4, 443));
    place.build(Build { generation: 3, ..Build::default() });
    running[1].signal(Signal::SIGHUP).expect("signalled");
    let status = place.wait_for("leeds-1", |status| status.configuration.generation == 3);
    assert_eq!((status.configuration.applied_total, status.configuration.refused_total), (3, 0));
    assert_eq!(status.drift.ruleset_repairs, 0, "our own transactions are no drift");
    open(&place.benefits, CLAIMS4, 443);
}

#[test]
fn a_bad_bundle_changes_nothing_and_is_told() {
    if skip("a_bad_bundle_changes_nothing_and_is_told") {
        return;
    }
    let place = Place::new();
    let mut running = place.up();
    echo(&place.claims, 443);
    let mut flow = open(&place.benefits, CLAIMS4, 443);
    let before = place.kernel("bradford-1");
    let bundle = place.bundle("bradford-1");
    place.build(Build { generation: 2, agreed: false, ..Build::default() });
    let octets = std::fs::read(&bundle).expect("a bundle");
    std::fs::write(&bundle, &octets[..octets.len() / 2]).expect("truncated");
    running[2].signal(Signal::SIGHUP).expect("signalled");
    let status = place.wait_for("bradford-1", |status| status.configuration.refused_total == 1);
    assert_eq!(status.configuration.generation, 1);
    assert!(status.configuration.last_error.as_ref().is_some_and(|error| error.contains("truncated")), "{status:#?}");
    assert!(status.conditions.iter().any(|condition| condition.id == "bundle-refused"));
    assert!(exchange(&mut flow), "the flow went on");
    assert_eq!(shape(&before), shape(&place.kernel("bradford-1")));
    std::fs::write(&bundle, &octets).expect("whole again");
    running[2].signal(Signal::SIGHUP).expect("signalled");
    let status = place.wait_for("bradford-1", |status| status.configuration.generation == 2);
    assert!(!status.conditions.iter().any(|condition| condition.id == "bundle-refused"));
    assert!(!exchange(&mut flow), "the agreement is gone");
}

/// A listing without what changes by itself.
fn shape(listing: &str) -> String {
    let is_live = |line: &&str| !line.contains("expires") && !line.contains("packets") && !line.contains("valid_lft");
    listing.lines().filter(is_live).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_restart_goes_on_by_the_last_good_bundle_where_its_source_is_gone() {
    if skip("a_restart_goes_on_by_the_last_good_bundle_where_its_source_is_gone") {
        return;
    }
    let place = Place::new();
    let [_hub, _leeds, bradford] = place.up();
    echo(&place.claims, 443);
    open(&place.benefits, CLAIMS4, 443);
    assert!(bradford.stop(PATIENCE).expect("stopped").success());
    std::fs::remove_file(place.bundle("bradford-1")).expect("removed");
    let _again = place.start("bradford-1");
    place.wait_for_tunnels();
    let status = place.status("bradford-1");
    assert_eq!(status.configuration.source, turnpike::telemetry::status::Source::State);
    assert!(status.conditions.iter().any(|condition| condition.id == "running-from-state"), "{:?}", status.conditions);
    open(&place.benefits, CLAIMS4, 443);
}

#[test]
fn a_stopped_gateway_leaves_its_ruleset_and_no_tunnel() {
    if skip("a_stopped_gateway_leaves_its_ruleset_and_no_tunnel") {
        return;
    }
    let place = Place::new();
    let [_hub, leeds, _bradford] = place.up();
    echo(&place.claims, 443);
    open(&place.benefits, CLAIMS4, 443);
    assert!(leeds.stop(PATIENCE).expect("stopped").success());
    let table = place.leeds.run("nft", ["list", "table", "inet", "turnpike"]).expect("the table stays");
    assert!(table.contains("s_alive"));
    assert!(place.leeds.ip("link show turnpike0").is_err(), "the device is gone");
    assert!(!reaches(&place.benefits, CLAIMS4, 443));
    let _again = place.start("leeds-1");
    place.wait_for_tunnels();
    open(&place.benefits, CLAIMS4, 443);
}

#[test]
fn a_killed_gateway_closes_by_itself() {
    if skip("a_killed_gateway_closes_by_itself") {
        return;
    }
    let place = Place::new();
    let [_hub, mut leeds, _bradford] = place.up();
    leeds.signal(Signal::SIGKILL).expect("killed");
    assert!(leeds.wait(PATIENCE).is_some());
    let alive = || {
        let listed = place.leeds.run("nft", ["list", "set", "inet", "turnpike", "s_alive"]);
        listed.expect("the table stays").contains("expires")
    };
    assert!(alive(), "it is alive for a while, so that a restart loses nothing");
    assert!(wait_until(Duration::from_secs(35), || !alive()), "the element ran out");
    echo(&place.claims, 443);
    assert!(!reaches(&place.benefits, CLAIMS4, 443));
    let _again = place.start("leeds-1");
    place.wait_for_tunnels();
    open(&place.benefits, CLAIMS4, 443);
}
