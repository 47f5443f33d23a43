//! What passes under policy and what does not, and how it is told.

use turnpike::lab::guard::{skip, wait_until};

use crate::place::{BENEFITS4, CLAIMS4, CLAIMS6, PATIENCE, Place, is};
use crate::talk::{echo, fetch, open, reaches};

#[test]
fn what_is_agreed_passes_in_both_families_and_nothing_else_does() {
    if skip("what_is_agreed_passes_in_both_families_and_nothing_else_does") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    for port in [443, 22] {
        echo(&place.claims, port);
        echo(&place.benefits, port);
    }
    // The canaries: every server answers its neighbour, and the agreed one across the network.
    open(&place.claims, "192.168.1.20", 22);
    open(&place.benefits, "192.168.1.30", 443);
    open(&place.benefits, CLAIMS4, 443);
    open(&place.benefits, CLAIMS6, 443);
    assert!(!reaches(&place.benefits, CLAIMS4, 22), "another port");
    assert!(!reaches(&place.benefits, CLAIMS6, 22), "another port, IPv6");
    assert!(!reaches(&place.claims, BENEFITS4, 443), "the other direction");
    assert!(!reaches(&place.benefits, "100.70.1.21", 443), "another host");
    open(&place.benefits, CLAIMS4, 443);

    let edge = place.status("bradford-1");
    let agreement = edge.agreements.iter().find(|agreement| agreement.id.as_str() == "A-101").expect("the agreement");
    assert!(agreement.packets >= 10 && agreement.bytes > 500, "{agreement:?}");
    assert!(denied(&edge, "no_agreement", "bradford/benefits") > 0, "{:?}", edge.policy.denied);
    assert!(is(&edge.links[0].gateway, "hub-a") && edge.links[0].received_bytes > 0);
    assert!(place.status("hub-a").links.iter().all(|link| link.endpoint.is_some()));
    assert!(!edge.drift.present && edge.drift.ruleset_repairs + edge.drift.routing_repairs == 0, "{:?}", edge.drift);

    let metrics = fetch(&place.bradford, "127.0.0.1", 9587, "/metrics");
    assert_eq!(metrics, fetch_twice_equal_in_form(&place, &metrics), "metrics change in value only");
    for line in ["turnpike_config_generation 1", "turnpike_tunnel_up{uplink=\"fibre\",hub=\"hub-a\",link=\"2\"} 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.contains("turnpike_agreement_packets_total{agreement=\"A-101\"}"), "{metrics}");
    fetch(&place.bradford, "100.127.0.3", 9587, "/metrics");
}

fn denied(status: &turnpike::telemetry::status::Status, reason: &str, department: &str) -> u64 {
    let of = |denied: &&turnpike::telemetry::status::Denied| {
        denied.reason == reason && denied.department.as_ref().is_some_and(|name| name.to_string() == department)
    };
    status.policy.denied.iter().filter(of).map(|denied| denied.packets).sum()
}

/// The first answer again, if a second one has the same series.
fn fetch_twice_equal_in_form(place: &Place, first: &str) -> String {
    let second = fetch(&place.bradford, "127.0.0.1", 9587, "/metrics");
    let series =
        |text: &str| text.lines().filter_map(|line| line.rsplit_once(' ').map(|(s, _)| s.to_owned())).collect();
    let (one, two): (Vec<String>, Vec<String>) = (series(first), series(&second));
    if one == two { first.to_owned() } else { second }
}

#[test]
fn a_source_that_stands_elsewhere_is_spoofed_and_counted() {
    if skip("a_source_that_stands_elsewhere_is_spoofed_and_counted") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    echo(&place.claims, 443);
    open(&place.benefits, CLAIMS4, 443);
    place.benefits.address("eth0", "172.30.0.9/32").expect("a foreign source");
    place.benefits.ip("route add 100.70.1.0/24 via 192.168.1.1 src 172.30.0.9").expect("a route");
    assert!(!reaches(&place.benefits, CLAIMS4, 443));
    let status = place.status("bradford-1");
    let spoofed = status.policy.denied.iter().find(|denied| denied.reason == "spoofed").expect("the reason");
    assert!(spoofed.packets > 0, "{spoofed:?}");
    place.benefits.ip("route del 100.70.1.0/24").expect("the route goes");
    open(&place.benefits, CLAIMS4, 443);
}

#[test]
fn fragments_pass_under_policy_and_ecn_as_well() {
    if skip("fragments_pass_under_policy_and_ecn_as_well") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    let ping = |to: &str, words: &[&str]| {
        let all: Vec<&str> = ["-n", "-c", "1", "-W", "2"].iter().chain(words).chain([&to]).copied().collect();
        place.benefits.run("ping", all)
    };
    for to in [CLAIMS4, CLAIMS6] {
        assert!(wait_until(PATIENCE, || ping(to, &[]).is_ok()), "canary: {to} answers");
        for size in ["1500", "4000", "20000"] {
            // The first may be lost: routers do not fragment IPv6, but tell its sender how long a packet may be.
            let passes = wait_until(PATIENCE, || ping(to, &["-s", size]).is_ok());
            assert!(passes, "{size} octets to {to}: {:?}", ping(to, &["-s", size]));
        }
    }
    let rules = "table inet t { chain c { type filter hook prerouting priority -300;
        udp dport 51820 ip ecn set ce; iifname turnpike0 ip ecn ce counter; }; }";
    place.hub.run("nft", [rules]).expect("congestion before the hub");
    let ect = ping(CLAIMS4, &["-Q", "2"]);
    assert!(ect.is_ok(), "{ect:?}");
    assert!(ping(CLAIMS4, &["-Q", "0"]).is_err(), "dropped by the hub");
    let dropped = place.status("hub-a").drops.into_iter().find(|drop| drop.reason == "congested");
    assert!(dropped.is_some_and(|drop| drop.packets > 0));
}
