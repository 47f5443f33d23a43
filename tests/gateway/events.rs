//! Denied and allowed flows as events: who, whereto, why, and that nothing is told twice or left out.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use turnpike::event::{Direction, Event, Tier, Verdict};
use turnpike::lab::guard::{Process, skip, wait_for, wait_until};
use turnpike::telemetry::status;

use crate::place::{BENEFITS4, Build, CLAIMS4, PATIENCE, Place};
use crate::talk::{echo, open, reaches};

/// The events in a file that do not come from noise of the hosts' own.
fn told(file: &Path) -> Vec<Event> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "no line is half written");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn start(place: &Place, gateway: &str, file: &Path) -> Process {
    let mut command = place.command(gateway);
    command.arg("--events").arg(file);
    start_as(place, gateway, command)
}

fn start_as(place: &Place, gateway: &str, command: Command) -> Process {
    let process = place.namespace(gateway).spawn(command).expect("spawned");
    assert!(wait_until(PATIENCE, || place.ask(gateway).is_some()), "{gateway}: {}", process.log());
    process
}

fn name(name: &Option<turnpike::identity::Qualified>) -> String {
    name.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// The event of a reason at a port, as soon as a window with it ended.
fn wait_for_event(file: &Path, reason: &str, port: u16) -> Event {
    let found = || told(file).into_iter().find(|it| it.reason.label() == reason && it.destination_port == Some(port));
    wait_for(PATIENCE, found).unwrap_or_else(|| panic!("no {reason} at {port} in {:#?}", told(file)))
}

#[test]
fn an_allowed_flow_and_a_denied_packet_are_a_line_each_at_both_edges_and_the_hub() {
    if skip("an_allowed_flow_and_a_denied_packet_are_a_line_each_at_both_edges_and_the_hub") {
        return;
    }
    let place = Place::new();
    let file = |gateway: &str| place.path(&format!("{gateway}.jsonl"));
    let _running = ["hub-a", "leeds-1", "bradford-1"].map(|gateway| start(&place, gateway, &file(gateway)));
    place.wait_for_tunnels();
    echo(&place.claims, 443);
    let mut stream = open(&place.benefits, CLAIMS4, 443);
    for _ in 0..50 {
        assert!(crate::talk::exchange(&mut stream), "an established flow goes on untold");
    }
    assert!(!reaches(&place.benefits, CLAIMS4, 22));
    for (gateway, direction) in [("bradford-1", Direction::Outbound), ("leeds-1", Direction::Inbound)] {
        let event = wait_for_event(&file(gateway), "agreement", 443);
        assert_eq!((event.verdict, event.tier, event.packets), (Verdict::Allowed, Tier::Agreement, 1), "{gateway}");
        assert_eq!(event.agreement.as_ref().map(ToString::to_string).as_deref(), Some("A-101"));
        assert_eq!(name(&event.service), "leeds/claims");
        assert_eq!(name(&event.source_department), "bradford/benefits");
        assert_eq!(name(&event.destination_department), "leeds/revenues");
        assert_eq!((event.source, event.destination), (BENEFITS4.parse().ok(), CLAIMS4.parse().ok()));
        assert_eq!((event.direction, event.generation, event.suppressed), (Some(direction), 1, 0));
        let real = if gateway == "leeds-1" { event.destination_real } else { event.source_real };
        assert!(real.is_some_and(|real| real.to_string().starts_with("192.168.1.")), "{event:?}");
    }
    let denied = wait_for_event(&file("bradford-1"), "no_agreement", 22);
    assert_eq!((denied.verdict, denied.tier, &denied.agreement), (Verdict::Denied, Tier::Default, &None));
    assert_eq!(
        (name(&denied.source_department), denied.source_real),
        ("bradford/benefits".into(), "192.168.1.30".parse().ok())
    );
    assert!(denied.packets >= 1 && denied.device_in.as_deref() == Some("eth1"), "{denied:?}");
    // What the consumer's edge stops comes no further, and a hub tells of no flow in transit.
    for gateway in ["hub-a", "leeds-1"] {
        assert!(told(&file(gateway)).iter().all(|event| event.destination_port != Some(22)), "{gateway}");
    }
    assert!(told(&file("hub-a")).iter().all(|event| event.verdict == Verdict::Denied));
    let events = place.status("bradford-1").events;
    assert!(events.written >= 2 && events.lost == 0 && events.to.ends_with("bradford-1.jsonl"), "{events:?}");
}

#[test]
fn a_relay_tells_of_what_it_refuses_in_transit() {
    if skip("a_relay_tells_of_what_it_refuses_in_transit") {
        return;
    }
    let place = Place::new();
    let file = place.path("hub.jsonl");
    // The edges run by an agreement that is gone from the hub's next generation.
    let _edges = ["leeds-1", "bradford-1"].map(|gateway| place.start(gateway));
    place.build(Build { generation: 2, agreed: false, ..Build::default() });
    let _hub = start(&place, "hub-a", &file);
    place.wait_for_tunnels();
    echo(&place.claims, 443);
    assert!(!reaches(&place.benefits, CLAIMS4, 443));
    let event = wait_for(PATIENCE, || told(&file).into_iter().find(|event| event.destination_port == Some(443)));
    let event = event.unwrap_or_else(|| panic!("{:#?}", told(&file)));
    assert_eq!((event.verdict, event.direction, event.generation), (Verdict::Denied, Some(Direction::Transit), 2));
    assert_eq!(event.source, BENEFITS4.parse().ok());
}

#[test]
fn a_flood_of_refusals_is_bounded_and_every_packet_is_told_or_counted() {
    const FLOOD: u64 = 40_000;
    if skip("a_flood_of_refusals_is_bounded_and_every_packet_is_told_or_counted") {
        return;
    }
    let place = Place::new();
    let file = place.path("events.jsonl");
    let _others = ["hub-a", "leeds-1"].map(|gateway| place.start(gateway));
    let edge = start(&place, "bradford-1", &file);
    place.wait_for_tunnels();
    echo(&place.claims, 443);
    let socket = place.benefits.enter(|| UdpSocket::bind("0.0.0.0:0")).expect("entered").expect("bound");
    let denied = || {
        let status = place.status("bradford-1");
        let of = |denied: &&status::Denied| denied.reason == "no_agreement";
        status.policy.denied.iter().filter(of).map(|denied| denied.packets).sum::<u64>()
    };
    for number in 0..FLOOD {
        let port = u16::try_from(1_000 + number % 5_000).expect("a port");
        drop(socket.send_to(b"x", (CLAIMS4, port)));
    }
    // The canary: a flow that is allowed is told amid the flood.
    open(&place.benefits, CLAIMS4, 443);
    wait_for_event(&file, "agreement", 443);
    let refused = denied();
    assert!(refused >= FLOOD / 2, "the flood came through to the policy: {refused}");
    assert!(edge.stop(PATIENCE).expect("stopped").success());
    let events: Vec<Event> = told(&file).into_iter().filter(|event| event.reason.label() == "no_agreement").collect();
    let sum: u64 = events.iter().map(|event| event.packets + event.suppressed).sum();
    assert_eq!(sum, refused, "{} events", events.len());
    assert!(events.len() < 1_000, "{} events", events.len());
    assert!(events.iter().any(|event| event.suppressed > 1_000), "the kernel's own limit is told");
}

/// An nft that takes no rule with `log`, as that of a kernel without nft_log or nfnetlink_log.
fn nft_without_log(place: &Place) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = place.path("bin");
    std::fs::create_dir(&folder).expect("a folder");
    let script = "#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\ncase \"$*\" in *-f*) ;; *) exec nft \"$@\" ;; esac\n\
        input=$(cat)\ncase $input in *'\"log\"'*)\n  \
        echo 'internal:0:0-0: Error: Could not process rule: No such file or directory' >&2\n  exit 1 ;;\nesac\n\
        printf %s \"$input\" | nft \"$@\"\n";
    std::fs::write(folder.join("nft"), script).expect("written");
    std::fs::set_permissions(folder.join("nft"), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    folder
}

#[test]
fn a_kernel_that_cannot_tell_of_flows_carries_them_all_the_same_and_that_is_said() {
    if skip("a_kernel_that_cannot_tell_of_flows_carries_them_all_the_same_and_that_is_said") {
        return;
    }
    let place = Place::new();
    let file = place.path("events.jsonl");
    let _others = ["hub-a", "leeds-1"].map(|gateway| place.start(gateway));
    let path = nft_without_log(&place);
    let mut command = place.command("bradford-1");
    command.arg("--events").arg(&file).env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", path.display()));
    let edge = start_as(&place, "bradford-1", command);
    place.wait_for_tunnels();
    for port in [443, 22] {
        echo(&place.claims, port);
    }
    open(&place.benefits, CLAIMS4, 443);
    assert!(!reaches(&place.benefits, CLAIMS4, 22), "the policy is whole");
    let status = place.wait_for("bradford-1", |status| status.conditions.iter().any(|it| it.id == "events-unheard"));
    let condition = status.conditions.iter().find(|it| it.id == "events-unheard").expect("the condition");
    assert!(condition.text.contains("No such file") && condition.remedy.contains("nfnetlink_log"), "{condition:?}");
    let metrics = crate::talk::fetch(&place.bradford, "127.0.0.1", 9587, "/metrics");
    assert!(metrics.lines().any(|line| line.contains("events-unheard") && line.ends_with(" 1")), "{metrics}");
    let table = place.bradford.run("nft", ["list", "table", "inet", "turnpike"]).expect("a listing");
    assert!(table.contains("chain c_policy") && !table.contains("log prefix"), "{table}");
    // The canary: the same gateway with the kernel's own nft tells of both.
    assert!(edge.stop(PATIENCE).expect("stopped").success());
    let _edge = start(&place, "bradford-1", &file);
    place.wait_for_tunnels();
    open(&place.benefits, CLAIMS4, 443);
    wait_for_event(&file, "agreement", 443);
    let unheard = |status: &status::Status| status.conditions.iter().any(|it| it.id == "events-unheard");
    assert!(!unheard(&place.status("bradford-1")));
}

#[test]
fn events_that_cannot_be_written_are_told_and_stop_nothing() {
    if skip("events_that_cannot_be_written_are_told_and_stop_nothing") {
        return;
    }
    let place = Place::new();
    let folder = place.path("missing");
    let file = folder.join("events.jsonl");
    let _others = ["hub-a", "leeds-1"].map(|gateway| place.start(gateway));
    let _edge = start(&place, "bradford-1", &file);
    place.wait_for_tunnels();
    echo(&place.claims, 443);
    let unwritten = |status: &status::Status| status.conditions.iter().any(|it| it.id == "events-unwritten");
    let status = place.wait_for("bradford-1", unwritten);
    let condition = status.conditions.iter().find(|it| it.id == "events-unwritten").expect("the condition");
    assert!(condition.text.contains("missing/events.jsonl") && condition.remedy.contains("--events"), "{condition:?}");
    open(&place.benefits, CLAIMS4, 443);
    place.wait_for("bradford-1", |status| status.events.lost > 0 && status.events.written == 0);
    let metrics = crate::talk::fetch(&place.bradford, "127.0.0.1", 9587, "/metrics");
    assert!(metrics.lines().any(|line| line == "turnpike_audit_events_written_total 0"), "{metrics}");
    // The canary: with a folder to write to, it writes and says so.
    std::fs::create_dir(&folder).expect("a folder");
    open(&place.benefits, CLAIMS4, 443);
    wait_for_event(&file, "agreement", 443);
    place.wait_for("bradford-1", |status| !unwritten(status) && status.events.written > 0);
}
