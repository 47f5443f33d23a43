//! The interface itself: down and up, other names and places, its end, and destinations that nobody owns.

use std::collections::BTreeSet;

use turnpike::lab::guard::{Namespace, wait_until};

use crate::bench::{Node, SOON, Wire};
use crate::rig::Rig;
use crate::scenario::scenarios;

scenarios! {
    Light:
        a_destination_without_peer_is_unreachable_at_once,
        down_stops_traffic_and_up_resumes_it,
        the_sockets_stay_when_the_device_moves_to_another_namespace,
        deleting_the_device_ends_the_process_and_its_socket,
        deleting_the_socket_ends_the_process_and_its_device,
        the_same_name_can_be_had_again_at_once,
}

fn a_destination_without_peer_is_unreachable_at_once(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    assert!(left.reaches("10.9.0.2"), "no session");
    // 10.9.0.99 has no peer; the second peer has no endpoint.
    let other = turnpike::identity::PrivateKey::generate().expect("a key").public();
    left.set(&format!("peer {other} allowed-ips 10.9.0.3/32,fd09::3/128"));
    for to in ["10.9.0.99", "fd09::99", "10.9.0.3", "fd09::3"] {
        let said = left.at.command("ping").args(["-n", "-c", "1", "-W", "3", to]).output().expect("ping");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let why = if to.contains(':') { "Address unreachable" } else { "Destination Host Unreachable" };
        assert!(said.contains(why), "{to}: {said}");
    }
    assert!(left.reaches("10.9.0.2") && right.reaches("fd09::1"), "the others go on");
}

fn down_stops_traffic_and_up_resumes_it(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    assert!(left.reaches("10.9.0.2"), "no session");
    for node in [&left, &right] {
        for _ in 0..3 {
            node.at.ip(&format!("link set {} down", node.device)).expect("down");
            assert!(right.is_deaf_to("10.9.0.1"));
            node.at.ip(&format!("link set {} up", node.device)).expect("up");
        }
        // The kernel forgets IPv6 addresses of a device that goes down.
        assert!(left.reaches("10.9.0.2") && right.reaches("10.9.0.1"), "{} is up again", node.device);
    }
}

fn the_sockets_stay_when_the_device_moves_to_another_namespace(rig: &Rig) {
    let wire = Wire::new();
    let inside = Namespace::new("inside").expect("a namespace without a wire");
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    wire.left.ip(&format!("link set wgl netns {}", inside.path().display())).expect("moved");
    assert!(wire.left.ip("link show wgl").is_err());
    inside.address("wgl", "10.9.0.1/24").expect("an address");
    inside.address("wgl", "fd09::1/64").expect("an address");
    let reaches = |to: &str| wait_until(SOON, || inside.run("ping", ["-n", "-c", "1", "-W", "1", to]).is_ok());
    assert!(reaches("10.9.0.2") && reaches("fd09::2"), "from the other namespace");
    assert!(right.reaches("10.9.0.1"), "and back");
    left.set("listen-port 40404");
    assert!(reaches("10.9.0.2"), "by a socket that was bound after the move");
    assert_eq!(right.shown("endpoints", &left.key).as_deref(), Some("192.0.2.1:40404"));
    inside.ip("link set wgl mtu 1300").expect("an MTU");
    assert!(reaches("10.9.0.2"), "with another MTU");
}

/// What stands in the namespace of a node: its process, also where it went to the background.
fn processes(node: &Node<'_>) -> BTreeSet<i32> {
    let found = node.at.processes();
    assert!(!found.is_empty(), "a process serves {}", node.device);
    found
}

fn is_gone(node: &Node<'_>) -> bool {
    node.at.processes().is_empty()
        && node.at.ip(&format!("link show {}", node.device)).is_err()
        && !node.bench.exists(node.at, &socket(node))
}

fn socket(node: &Node<'_>) -> String {
    format!("/var/run/wireguard/{}.sock", node.device)
}

fn deleting_the_device_ends_the_process_and_its_socket(rig: &Rig) {
    let at = Namespace::new("alone").expect("a namespace");
    let node = rig.node(&at, "wg0");
    at.ip("link set wg0 up").expect("up");
    processes(&node);
    at.ip("link delete wg0").expect("deleted");
    assert!(wait_until(SOON, || at.processes().is_empty()), "the process goes on");
    assert!(wait_until(SOON, || is_gone(&node)), "the socket is left");
}

fn deleting_the_socket_ends_the_process_and_its_device(rig: &Rig) {
    let at = Namespace::new("alone").expect("a namespace");
    let node = rig.node(&at, "wg0");
    processes(&node);
    assert!(rig.bench.exists(&at, &socket(&node)));
    rig.bench.run(&at, &["rm", &socket(&node)]).expect("removed");
    assert!(wait_until(SOON, || at.processes().is_empty()), "the process goes on");
    assert!(wait_until(SOON, || is_gone(&node)), "the device is left");
}

fn the_same_name_can_be_had_again_at_once(rig: &Rig) {
    let at = Namespace::new("alone").expect("a namespace");
    for _ in 0..5 {
        let node = rig.node(&at, "wg0");
        assert_eq!(node.wg("show", "peers").expect("shown"), "");
        at.ip("link delete wg0").expect("deleted");
        assert!(wait_until(SOON, || is_gone(&node)), "nothing is left");
    }
}
