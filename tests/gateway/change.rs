//! A new bundle while traffic flows, a restart without its source, an end.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::signal::Signal;
use turnpike::lab::guard::{skip, wait_until};

use crate::place::{Build, CLAIMS4, PATIENCE, Place};
use crate::talk::{echo, exchange, fetch, open, reaches};

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

#[test]
fn a_service_manager_is_told_of_readiness_reload_and_stop() {
    if skip("a_service_manager_is_told_of_readiness_reload_and_stop") {
        return;
    }
    let place = Place::new();
    let path = place.path("notify");
    let manager = UnixDatagram::bind(&path).expect("bound");
    manager.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let hear = || {
        let mut octets = [0; 1024];
        let length = manager.recv(&mut octets).expect("a notification");
        String::from_utf8_lossy(&octets[..length]).into_owned()
    };
    // The watchdog's own messages come in between.
    let next = || std::iter::repeat_with(hear).find(|text| !text.starts_with("WATCHDOG=1")).expect("endless");
    let mut command = place.command("leeds-1");
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000");
    let mut gateway = place.leeds.spawn(command).expect("spawned");
    let ready = next();
    assert!(ready.contains("READY=1") && ready.contains("STATUS=gateway leeds-1 of connect: generation 1"), "{ready}");
    assert!(hear().starts_with("WATCHDOG=1"));
    gateway.signal(Signal::SIGHUP).expect("signalled");
    let reloading = next();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert!(next().contains("READY=1"));
    gateway.signal(Signal::SIGTERM).expect("signalled");
    assert!(next().contains("STOPPING=1"));
    assert!(gateway.wait(PATIENCE).is_some_and(|status| status.success()));
}

#[test]
fn a_full_disk_keeps_no_bundle_and_hinders_no_change() {
    if skip("a_full_disk_keeps_no_bundle_and_hinders_no_change") {
        return;
    }
    let place = Place::new();
    let state = place.state("leeds-1");
    std::fs::create_dir_all(&state).expect("a folder");
    let script = format!("mount -t tmpfs -o size=1m tmpfs {} && exec \"$@\"", state.display());
    let mut command = place.leeds.command("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_turnpike")]);
    command.args(place.arguments("leeds-1"));
    let _others = [place.start("hub-a"), place.start("bradford-1")];
    let mut gateway = place.leeds.spawn(command).expect("spawned");
    place.wait_for("hub-a", |status| status.links.iter().all(|link| link.up));
    let says = |line: &str| {
        let reached = || place.leeds.enter(|| std::net::TcpStream::connect("127.0.0.1:9587").is_ok()).expect("entered");
        reached() && fetch(&place.leeds, "127.0.0.1", 9587, "/metrics").lines().any(|found| found == line)
    };
    assert!(wait_until(PATIENCE, || says("turnpike_config_generation 1")), "{}", gateway.log());
    assert!(!says("turnpike_condition{condition=\"state-unwritable\"} 1"), "{}", gateway.log());
    let fill = format!("dd if=/dev/zero of={}/filler bs=4096 || true", state.display());
    let inside = ["--mount", "--target", &gateway.pid().to_string(), "sh", "-c", &fill].map(str::to_owned);
    place.leeds.run("nsenter", inside.iter().map(String::as_str)).expect("filled");
    place.build(Build { generation: 2, ..Build::default() });
    gateway.signal(Signal::SIGHUP).expect("signalled");
    assert!(wait_until(PATIENCE, || says("turnpike_config_generation 2")), "{}", gateway.log());
    assert!(says("turnpike_condition{condition=\"state-unwritable\"} 1"), "{}", gateway.log());
    echo(&place.claims, 443);
    open(&place.benefits, CLAIMS4, 443);
}
