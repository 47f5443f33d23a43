//! How the data plane tells what it does without, and what is too much for it.

use std::net::UdpSocket;

use nix::sys::signal::Signal;
use turnpike::lab::guard::skip;
use turnpike::telemetry::status::{State, Status};

use crate::place::{PATIENCE, Place};
use crate::talk::fetch;

fn states(status: &Status) -> Vec<(&str, State)> {
    status.offloads.iter().map(|offload| (offload.name.as_str(), offload.state)).collect()
}

/// What `turnpike status` says to people.
fn page(place: &Place, gateway: &str) -> String {
    let state = place.state(gateway);
    let words = ["status", "--state", state.to_str().expect("a path in UTF-8")];
    place.namespace(gateway).run(env!("CARGO_BIN_EXE_turnpike"), words).expect("a page")
}

fn metric(text: &str, series: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn offloads_that_are_switched_off_are_shown_and_the_others_are_on() {
    if skip("offloads_that_are_switched_off_are_shown_and_the_others_are_on") {
        return;
    }
    let place = Place::new();
    let _hub = place.start("hub-a");
    let mut command = place.command("leeds-1");
    command.args(["--without-offload", "tun_tso,udp_gso"]).env("TURNPIKE_WITHOUT_OFFLOADS", "udp_gro");
    let _edge = place.leeds.spawn(command).expect("spawned");
    let edge = place.wait_for("leeds-1", |status| status.links.iter().all(|link| link.up));
    let hub = place.wait_for("hub-a", |status| status.links.iter().any(|link| link.up));

    let off = ["tun_tso", "udp_gso", "udp_gro"];
    let expected: Vec<(&str, State)> = states(&hub)
        .into_iter()
        .map(|(name, state)| (name, if off.contains(&name) { State::Off } else { state }))
        .collect();
    assert_eq!(states(&edge), expected);
    assert_eq!(states(&hub).iter().filter(|(name, state)| off.contains(name) && *state == State::On).count(), 3);
    assert!(edge.links.iter().all(|link| !link.trains) && hub.links.iter().all(|link| link.trains));

    let (said, canary) = (page(&place, "leeds-1"), page(&place, "hub-a"));
    assert!(said.contains("\noffloads: tun_tso off, "), "{said}");
    assert!(said.contains("udp_gso off, udp_gro off\n"), "{said}");
    assert!(!canary.contains("udp_gso off"), "{canary}");
    let metrics = fetch(&place.leeds, "127.0.0.1", 9587, "/metrics");
    for (series, value) in [
        ("turnpike_dataplane_offload_state{offload=\"udp_gso\",state=\"off\"}", 1),
        ("turnpike_dataplane_offload_state{offload=\"udp_gso\",state=\"on\"}", 0),
        ("turnpike_dataplane_offload_state{offload=\"tun_tcp_gro\",state=\"on\"}", 1),
        ("turnpike_tunnel_trains{uplink=\"fibre\",hub=\"hub-a\",link=\"1\"}", 0),
    ] {
        assert_eq!(metric(&metrics, series), Some(value), "{series} in\n{metrics}");
    }
}

#[test]
fn several_workers_share_the_links_and_are_shown() {
    if skip("several_workers_share_the_links_and_are_shown") {
        return;
    }
    let place = Place::new();
    let mut command = place.command("hub-a");
    command.args(["--workers", "2"]).env("TURNPIKE_WORKERS", "3");
    let _hub = place.namespace("hub-a").spawn(command).expect("spawned");
    let mut command = place.command("leeds-1");
    command.args(["--scheduling", "ordinary"]).env("TURNPIKE_WORKERS", "1");
    let _edges = [place.leeds.spawn(command).expect("spawned"), place.start("bradford-1")];
    let hub = place.wait_for("hub-a", |status| status.links.len() == 2 && status.links.iter().all(|link| link.up));
    assert_eq!(hub.workers.iter().map(|worker| worker.links).collect::<Vec<_>>(), [1, 1]);
    let edge = place.status("leeds-1");
    assert_eq!(edge.workers.len(), 1);

    let (said, canary) = (page(&place, "hub-a"), page(&place, "leeds-1"));
    // Whether it is permitted to be urgent depends on where this runs.
    assert!(said.contains("\nworkers: 2, with 1 + 1 links"), "{said}");
    assert!(!said.contains("as --scheduling says"), "{said}");
    let class = "\nworkers: 1; packets may wait for other programs, as --scheduling says\n";
    assert!(canary.contains(class), "{canary}");
    let metrics = fetch(place.namespace("hub-a"), "127.0.0.1", 9587, "/metrics");
    for number in ["0", "1"] {
        let series = format!("turnpike_dataplane_worker_links{{worker=\"{number}\"}}");
        assert_eq!(metric(&metrics, &series), Some(1), "{metrics}");
        let ordinary = format!("turnpike_dataplane_worker_scheduling{{worker=\"{number}\",class=\"ordinary\"}}");
        assert_eq!(metric(&metrics, &ordinary), Some(0), "{metrics}");
    }
    let handed = metric(&metrics, "turnpike_dataplane_handed_over_total{kind=\"initiation\"}");
    assert!(handed.is_some_and(|number| number >= 1), "one admits for all: {metrics}");
}

fn dropped(place: &Place, reason: &str) -> u64 {
    let drops = place.status("hub-a").drops;
    drops.iter().find(|drop| drop.reason == reason).expect("a reason").packets
}

#[test]
fn what_finds_the_receive_buffer_full_is_a_drop_like_any_other() {
    if skip("what_finds_the_receive_buffer_full_is_a_drop_like_any_other") {
        return;
    }
    let place = Place::new();
    let mut hub = place.start("hub-a");
    let sender = place.hub.enter(|| UdpSocket::bind("127.0.0.1:0")).expect("entered").expect("a port");
    // Longer than any train that Linux puts together.
    let junk = [0xff; 60_000];
    let send = |number: u64| {
        for _ in 0..number {
            sender.send_to(&junk, "127.0.0.1:51820").expect("sent");
        }
    };
    send(20);
    place.wait_for("hub-a", |_| dropped(&place, "malformed_datagram") == 20);
    assert_eq!(dropped(&place, "receive_buffer_full"), 0, "canary: they had room");

    hub.signal(Signal::SIGSTOP).expect("stopped");
    send(1000);
    hub.signal(Signal::SIGCONT).expect("goes on");
    let all = |_: &Status| dropped(&place, "malformed_datagram") + dropped(&place, "receive_buffer_full") == 1020;
    place.wait_for("hub-a", all);
    let lost = dropped(&place, "receive_buffer_full");
    assert!(lost > 100, "{lost} of 60 MB into 16 MiB");
    let metrics = fetch(&place.hub, "127.0.0.1", 9587, "/metrics");
    let series = "turnpike_dataplane_drops_total{stage=\"tunnel\",reason=\"receive_buffer_full\"}";
    assert_eq!(metric(&metrics, series), Some(lost), "{metrics}");
    assert!(page(&place, "hub-a").contains("receive_buffer_full"));
    assert!(hub.stop(PATIENCE).expect("stopped").success());
}
