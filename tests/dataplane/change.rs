//! Plans applied to a running tunnel: what they leave as it was goes on, what they cannot have changes nothing.

use std::time::{Duration, Instant};

use turnpike::dataplane::{
    ApplyError, Dataplane, End, Endpoint, LinkId, Options, Plan, PlanError, SiteId, SocketId, SocketPlan,
};
use turnpike::identity::{PresharedKey, PrivateKey};
use turnpike::lab::guard::{Namespace, skip, wait_for, wait_until};
use turnpike::net::Prefix;
use turnpike::sys::tun::{Tun, TunError};
use turnpike::sys::udp::{BindError, UdpSocket};

use crate::lab::{LINK, Pair, SITE, SOCKET, SOON, plan};

fn connected() -> Pair {
    let pair = Pair::new("192.0.2.1:51820", "192.0.2.2:51820");
    assert!(pair.left.reaches("10.50.0.2"));
    pair
}

#[test]
fn a_plan_that_changes_nothing_keeps_the_session() {
    if skip("a_plan_that_changes_nothing_keeps_the_session") {
        return;
    }
    let pair = connected();
    let receipt = pair.left.plane.apply(pair.left.plan.clone()).expect("a good plan");
    assert_eq!(receipt, Default::default());
    assert!(pair.left.ping_once("10.50.0.2", 56));
    assert_eq!(pair.left.link().handshakes, 1);
}

#[test]
fn another_port_keeps_the_session_and_the_peer_follows() {
    if skip("another_port_keeps_the_session_and_the_peer_follows") {
        return;
    }
    let mut pair = connected();
    pair.right.plan.sockets[0].port = 51999;
    pair.right.apply();
    assert_eq!(pair.right.observe().sockets[0].port, 51999);
    assert!(pair.right.ping_once("10.50.0.1", 56), "the side that moved speaks first");
    assert!(pair.left.ping_once("10.50.0.2", 56));
    let link = pair.left.link();
    assert_eq!(link.endpoint.map(|endpoint| endpoint.port()), Some(51999));
    assert_eq!((link.handshakes, link.endpoint_changes), (1, 1));
}

#[test]
fn a_plan_that_cannot_be_had_leaves_everything_as_it_was() {
    if skip("a_plan_that_cannot_be_had_leaves_everything_as_it_was") {
        return;
    }
    let pair = connected();
    let taken = pair.left.namespace.enter(|| UdpSocket::bind(0, None, 0).expect("a port")).expect("left");
    let with = |edit: &dyn Fn(&mut Plan)| {
        let mut plan = pair.left.plan.clone();
        // All else that the plan asks for must not happen either.
        plan.links.clear();
        plan.sites.clear();
        plan.routes.clear();
        edit(&mut plan);
        pair.left.plane.apply(plan).expect_err("a bad plan")
    };
    let in_use = with(&|plan| plan.sockets[0].port = taken.port());
    assert_eq!(in_use, ApplyError::Socket(BindError::PortInUse(taken.port())));
    let missing = with(&|plan| plan.sockets[0].device = Some("nosuch0".into()));
    assert_eq!(missing, ApplyError::Socket(BindError::DeviceMissing("nosuch0".into())));
    let second = SocketPlan { id: SocketId(2), key: None, port: taken.port(), device: None };
    let in_use = with(&|plan| plan.sockets.push(second.clone()));
    assert_eq!(in_use, ApplyError::Socket(BindError::PortInUse(taken.port())));
    let nowhere = with(&|plan| plan.routes.push((crate::lab::prefix("10.0.0.0/8"), SiteId(77))));
    assert_eq!(nowhere, ApplyError::Invalid(PlanError::SiteMissing(SiteId(77))));
    assert!(pair.left.ping_once("10.50.0.2", 56));
    assert_eq!(pair.left.observe().sockets[0].port, 51820);
    assert_eq!(pair.left.link().handshakes, 1);
}

#[test]
fn a_socket_can_be_bound_to_a_device_and_freed_again() {
    if skip("a_socket_can_be_bound_to_a_device_and_freed_again") {
        return;
    }
    let mut pair = connected();
    pair.left.plan.sockets[0].device = Some("eth0".into());
    pair.left.plan.mark = 0x0100_0000;
    pair.left.apply();
    assert!(pair.left.ping_once("10.50.0.2", 56));
    pair.left.plan.sockets[0].device = Some("lo".into());
    pair.left.apply();
    assert!(!pair.left.ping_once("10.50.0.2", 56), "nothing leaves by loopback");
    pair.left.plan.sockets[0].device = None;
    pair.left.apply();
    assert!(pair.left.ping_once("10.50.0.2", 56));
    assert_eq!(pair.left.link().handshakes, 1);
}

#[test]
fn another_key_pair_brings_a_new_session_at_once() {
    if skip("another_key_pair_brings_a_new_session_at_once") {
        return;
    }
    let mut pair = connected();
    let key = PrivateKey::generate().expect("entropy");
    pair.right.plan.links[0].key = key.public();
    assert_eq!(pair.right.plane.apply(pair.right.plan.clone()).expect("a good plan").remade, [LINK]);
    assert!(!pair.left.ping_once("10.50.0.2", 56), "the old key is nobody's now");
    pair.left.plan.sockets[0].key = Some(key);
    assert_eq!(pair.left.plane.apply(pair.left.plan.clone()).expect("a good plan").remade, [LINK]);
    assert!(wait_until(Duration::from_secs(2), || pair.left.link().alive), "no packet was needed");
    assert!(pair.left.ping_once("10.50.0.2", 56));
}

#[test]
fn a_preshared_key_on_both_sides_loses_nothing() {
    if skip("a_preshared_key_on_both_sides_loses_nothing") {
        return;
    }
    let mut pair = connected();
    for side in [&mut pair.left, &mut pair.right] {
        side.plan.links[0].preshared = PresharedKey::from_octets([9; 32]);
        assert_eq!(side.plane.apply(side.plan.clone()).expect("a good plan").remade, [LINK]);
    }
    assert!(pair.left.ping_once("10.50.0.2", 56));
    assert_eq!(pair.left.link().handshakes, 1, "the old session goes on until the next handshake");
}

#[test]
fn a_link_and_a_route_that_go_stop_the_traffic_and_come_back() {
    if skip("a_link_and_a_route_that_go_stop_the_traffic_and_come_back") {
        return;
    }
    let pair = connected();
    let mut without_route = pair.right.plan.clone();
    without_route.routes.clear();
    pair.right.plane.apply(without_route).expect("a good plan");
    assert!(!pair.left.ping_once("10.50.0.2", 56));
    assert!(pair.right.drops("foreign_source") > 0);
    let receipt = pair.right.plane.apply(Plan::default()).expect("an empty plan");
    assert_eq!(receipt.removed, [LINK]);
    assert!(pair.right.observe().links.is_empty() && pair.right.observe().sockets.is_empty());
    // A process that another test begins holds our old socket, and with it the port, until it becomes a program.
    let receipt = wait_for(SOON, || pair.right.plane.apply(pair.right.plan.clone()).ok()).expect("a good plan");
    assert_eq!(receipt.added, [LINK]);
    assert!(pair.right.reaches("10.50.0.1"));
}

#[test]
fn another_revision_returns_to_the_same_endpoint() {
    if skip("another_revision_returns_to_the_same_endpoint") {
        return;
    }
    let mut pair = connected();
    let home = pair.left.plan.links[0].endpoint.expect("an endpoint").address;
    pair.right.namespace.ip("address del 192.0.2.2/24 dev eth0").expect("gone");
    pair.right.namespace.address("eth0", "192.0.2.22/24").expect("an address");
    assert!(pair.right.reaches("10.50.0.1"));
    assert_ne!(pair.left.link().endpoint, Some(home));
    pair.left.apply();
    assert_ne!(pair.left.link().endpoint, Some(home), "the same plan moves nobody");
    pair.left.plan.links[0].endpoint = Some(Endpoint { address: home, revision: 1 });
    pair.left.apply();
    assert_eq!(pair.left.link().endpoint, Some(home));
}

#[test]
fn without_a_key_nothing_is_sent_and_with_one_the_link_comes_up() {
    if skip("without_a_key_nothing_is_sent_and_with_one_the_link_comes_up") {
        return;
    }
    let mut pair = Pair::apart(None, crate::lab::endpoint("192.0.2.2:51820"));
    pair.right.apply();
    let key = pair.left.plan.sockets[0].key.take();
    pair.left.apply();
    assert!(!pair.left.ping_once("10.50.0.2", 56));
    let link = pair.left.link();
    assert_eq!((link.sent_packets, link.endpoint.map(|endpoint| endpoint.port())), (0, Some(51820)));
    pair.left.plan.sockets[0].key = key;
    pair.left.apply();
    assert!(pair.left.reaches("10.50.0.2"));
}

#[test]
fn a_deleted_device_ends_the_data_plane_and_says_so() {
    if skip("a_deleted_device_ends_the_data_plane_and_says_so") {
        return;
    }
    let pair = connected();
    assert_eq!(pair.left.plane.ended(), None);
    pair.left.namespace.ip("link del tp0").expect("deleted");
    assert!(wait_until(SOON, || pair.left.plane.ended() == Some(End::DeviceGone)));
    assert_eq!(pair.left.plane.wait(), End::DeviceGone);
    assert_eq!(pair.left.plane.apply(Plan::default()), Err(ApplyError::Stopped));
    assert!(pair.left.plane.observe().is_err());
    assert_eq!(pair.right.plane.stop(), End::Stopped);
}

#[test]
fn a_device_in_use_is_refused_by_name() {
    if skip("a_device_in_use_is_refused_by_name") {
        return;
    }
    let namespace = Namespace::new("busy").expect("root");
    namespace
        .enter(|| {
            let first = Tun::create("tp7").expect("a TUN device");
            assert_eq!(first.name(), Ok("tp7".into()));
            assert_eq!(Tun::create("tp7").err(), Some(TunError::Busy("tp7".into())));
            assert_eq!(Tun::create("lo").err(), Some(TunError::Busy("lo".into())));
            first.set_mtu(9000).expect("an MTU");
            assert_eq!(first.mtu(), Ok(9000));
        })
        .expect("the namespace");
}

#[test]
fn a_hundred_and_thirty_thousand_prefixes_are_applied_within_two_seconds() {
    if skip("a_hundred_and_thirty_thousand_prefixes_are_applied_within_two_seconds") {
        return;
    }
    let pair = connected();
    let mut large = pair.left.plan.clone();
    for high in 0..510_u32 {
        for low in 0..256_u32 {
            let octets = (0x1000_0000 + (high << 16) + (low << 8)).to_be_bytes();
            large.routes.push((Prefix::new(octets.into(), 24).expect("a prefix"), SITE));
        }
    }
    assert_eq!(large.routes.len(), 130_560 + 2);
    let begun = Instant::now();
    pair.left.plane.apply(large).expect("a good plan");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(pair.left.ping_once("10.50.0.2", 56));
    assert_eq!(pair.left.link().handshakes, 1);
}

#[test]
fn five_hundred_peers_are_configured_within_a_second() {
    if skip("five_hundred_peers_are_configured_within_a_second") {
        return;
    }
    let namespace = Namespace::new("many").expect("root");
    let start = || Dataplane::start(Tun::create("tp0").expect("a device"), Options::default()).expect("a data plane");
    let plane = namespace.enter(start).expect("the namespace");
    let own = PrivateKey::generate().expect("entropy");
    let mut whole = plan(&own, &own, None, &[]);
    let template = whole.links.remove(0);
    for id in 0..500 {
        let key = PrivateKey::generate().expect("entropy").public();
        whole.links.push(turnpike::dataplane::LinkPlan { id: LinkId(id), socket: SOCKET, key, ..template.clone() });
    }
    whole.sites[0].links = vec![LinkId(7)];
    let begun = Instant::now();
    assert_eq!(plane.apply(whole).expect("a good plan").added.len(), 500);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}
