//! Several workers: whose peers are spread over them, whose flows stay in order, and who are changed as one.
//!
//! ```text
//!  hub, three workers                             edges, one worker each
//!  tp0 10.50.0.1   ═════ tunnels ═════   tp0 10.50.N.1   (N = 1 …)
//!  eN 192.0.2.(4N+1) ───── wires ───── eth0 192.0.2.(4N+2)
//! ```

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use turnpike::dataplane::{End, Handed, LinkId, LinkPlan, Options, Plan, SiteId, SitePlan};
use turnpike::identity::{PresharedKey, PrivateKey};
use turnpike::lab::guard::{Namespace, skip, veth, wait_until};
use turnpike::sys::udp::{self, Outgoing, Sender};

use crate::lab::{SOON, Side, endpoint, plan, prefix, start_with};

const WORKERS: u8 = 3;

struct Star {
    hub: Side,
    edges: Vec<Side>,
}

impl Star {
    fn new(number: u8) -> Self {
        let key = PrivateKey::generate().expect("entropy");
        let hub = Namespace::new("hub").expect("root");
        let edges: Vec<Side> = (1..=number).map(|edge| raise_edge(&hub, &key, edge)).collect();
        let options = Options { workers: WORKERS, ..Options::default() };
        let plane = start_with(&hub, &["10.50.0.1/16"], options);
        let mut whole = plan(&key, &key, None, &[]);
        let template = whole.links.remove(0);
        whole.sites.clear();
        for (id, edge) in (1..).zip(&edges) {
            let key = edge.plan.sockets[0].key.as_ref().expect("a key").public();
            whole.links.push(LinkPlan { id: LinkId(id), key, ..template.clone() });
            whole.sites.push(SitePlan { id: SiteId(id), links: vec![LinkId(id)], also_from: vec![] });
            whole.routes.push((prefix(&format!("10.50.{id}.0/24")), SiteId(id)));
        }
        let star = Self { hub: Side { plane, plan: whole, namespace: hub }, edges };
        star.hub.apply();
        star.edges.iter().for_each(Side::apply);
        star
    }

    /// Every edge reaches the hub, and the hub every edge.
    fn is_whole(&self) -> bool {
        let there = self.edges.iter().all(|edge| edge.reaches("10.50.0.1"));
        there && (1..=self.edges.len()).all(|edge| self.hub.reaches(&inner(edge)))
    }

    fn handed(&self) -> Handed {
        let handed = self.hub.observe().workers.into_iter().map(|worker| worker.handed);
        handed.fold(Handed::default(), |sum, one| Handed {
            packets: sum.packets + one.packets,
            initiations: sum.initiations + one.initiations,
            datagrams: sum.datagrams + one.datagrams,
        })
    }
}

fn inner(edge: usize) -> String {
    format!("10.50.{edge}.1")
}

fn raise_edge(hub: &Namespace, key: &PrivateKey, edge: u8) -> Side {
    let namespace = Namespace::new("edge").expect("root");
    let device = format!("e{edge}");
    veth(hub, &device, &namespace, "eth0").expect("a wire");
    let here = 4 * edge + 1;
    hub.address(&device, &format!("192.0.2.{here}/30")).expect("an address");
    namespace.address("eth0", &format!("192.0.2.{}/30", here + 1)).expect("an address");
    let address = format!("{}/16", inner(edge.into()));
    let plane = start_with(&namespace, &[&address], Options { workers: 1, ..Options::default() });
    let own = PrivateKey::generate().expect("entropy");
    let to = endpoint(&format!("192.0.2.{here}:51820"));
    let plan = plan(&own, key, to, &["10.50.0.0/16"]);
    Side { plane, plan, namespace }
}

/// A socket inside, in the namespace of `side`.
fn socket(side: &Side, at: &str) -> UdpSocket {
    let socket = side.namespace.enter(|| UdpSocket::bind(at)).expect("the namespace").expect("a port");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    socket
}

/// Sends numbered datagrams in bursts, singly and in superpackets, until told to stop.
fn pour(side: &Side, to: SocketAddr, stop: &AtomicBool) {
    let bind = || udp::UdpSocket::bind(0, None, 0).expect("a port");
    let (from, mut sender) = (side.namespace.enter(bind).expect("the namespace"), Sender::default());
    let mut number = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        for together in [1, 1, 20, 3, 40_usize] {
            let mut octets = Vec::new();
            for _ in 0..together {
                octets.extend_from_slice(&number.to_be_bytes());
                octets.resize(octets.len() + 996, 7);
                number += 1;
            }
            let segment = (together > 1).then_some(1000);
            // A full queue loses some, which is no change of order.
            from.send(&mut sender, [Outgoing { octets: &octets, segment, to, source: None, tos: 0 }])
                .unwrap_or_default();
        }
        thread::park_timeout(Duration::from_micros(300));
    }
}

/// Receives until the flow dries up: how many came, and how many of them after one that was sent later.
fn order(socket: &UdpSocket, stop: &AtomicBool) -> (usize, usize) {
    let (mut came, mut late, mut newest) = (0, 0, None);
    let mut room = [0; 2048];
    loop {
        let Ok(length) = socket.recv(&mut room) else {
            if stop.load(Ordering::Relaxed) {
                return (came, late);
            }
            continue;
        };
        assert_eq!(length, 1000);
        let number = u32::from_be_bytes([room[0], room[1], room[2], room[3]]);
        came += 1;
        late += usize::from(newest.is_some_and(|newest| number <= newest));
        newest = newest.max(Some(number));
    }
}

#[test]
fn every_fat_flow_stays_in_order_while_all_workers_are_busy() {
    if skip("every_fat_flow_stays_in_order_while_all_workers_are_busy") {
        return;
    }
    let star = Star::new(3);
    assert!(star.is_whole());
    let workers = star.hub.observe().workers;
    assert_eq!(workers.iter().map(|worker| worker.links).collect::<Vec<_>>(), [1, 1, 1]);
    let stop = AtomicBool::new(false);
    let results: Vec<(usize, usize)> = thread::scope(|scope| {
        let mut receivers = Vec::new();
        for (number, edge) in (1..).zip(&star.edges) {
            let (there, here) = (format!("{}:4000", inner(number)), format!("10.50.0.1:{}", 4000 + number));
            let (stop, hub) = (&stop, &star.hub);
            for (from, to, at) in [(hub, edge, there), (edge, hub, here)] {
                let receiving = socket(to, &at);
                receivers.push(scope.spawn(move || order(&receiving, stop)));
                scope.spawn(move || pour(from, at.parse().expect("an address"), stop));
            }
        }
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until {
            thread::park_timeout(Duration::from_millis(100));
        }
        stop.store(true, Ordering::Relaxed);
        receivers.into_iter().map(|receiver| receiver.join().expect("no panic")).collect()
    });
    assert!(results.iter().all(|(came, late)| *came > 1000 && *late == 0), "{results:?}");
    let handed = star.handed();
    assert!(handed.packets > 200, "canary: two of three flows went from the reader to their owner: {handed:?}");
    assert_eq!(handed.datagrams, 0);
}

#[test]
fn sessions_reach_their_worker_through_handshakes_roaming_and_plan_changes() {
    if skip("sessions_reach_their_worker_through_handshakes_roaming_and_plan_changes") {
        return;
    }
    let mut star = Star::new(5);
    assert!(star.is_whole());
    for round in 1..=4_u16 {
        // Another port alone: the session roams.
        for (number, edge) in (0..).zip(&mut star.edges) {
            edge.plan.sockets[0].port = 52_000 + 10 * round + number;
            edge.apply();
            assert!(edge.reaches("10.50.0.1"));
        }
        let links = star.hub.observe().links;
        assert!(links.iter().all(|link| link.endpoint_changes == 1 && link.handshakes == 1), "{links:?}");
        // Other keys: all begin anew.
        for (edge, link) in star.edges.iter_mut().zip(&mut star.hub.plan.links) {
            let key = PrivateKey::generate().expect("entropy");
            link.key = key.public();
            edge.plan.sockets[0].key = Some(key);
        }
        let receipt = star.hub.plane.apply(star.hub.plan.clone()).expect("a good plan");
        assert_eq!((receipt.remade.len(), receipt.added.len(), receipt.removed.len()), (5, 0, 0));
        star.edges.iter().for_each(Side::apply);
        assert!(star.is_whole(), "round {round}");
    }
    let handed = star.handed();
    assert!(handed.initiations > 0, "canary: the kernel spreads initiations: {handed:?}");
    assert_eq!(handed.datagrams, 0, "all else it steers exactly");
    for side in star.edges.iter().chain([&star.hub]) {
        for reason in ["worker_busy", "unknown_receiver", "unauthentic", "panicked"] {
            assert_eq!(side.drops(reason), 0, "{reason}");
        }
    }
    assert_ne!(star.handed().packets, 0);
}

/// Gives the hub a new key and its links a preshared key in all plans; applies those of the edges.
fn rekey(star: &mut Star, preshared: u8) {
    let key = PrivateKey::generate().expect("entropy");
    star.hub.plan.sockets[0].key = Some(key.clone());
    for (edge, link) in star.edges.iter_mut().zip(&mut star.hub.plan.links) {
        edge.plan.links[0].key = key.public();
        edge.plan.links[0].preshared = PresharedKey::from_octets([preshared; 32]);
        link.preshared = PresharedKey::from_octets([preshared; 32]);
        edge.apply();
    }
}

/// A process that another test starts holds all descriptors for a moment.
fn is_free_soon(namespace: &Namespace) -> bool {
    let free = || namespace.enter(|| udp::UdpSocket::bind(51820, None, 0).is_ok()).expect("the namespace");
    wait_until(SOON, free)
}

#[test]
fn a_new_preshared_key_and_another_private_key_of_the_hub_reach_all_workers() {
    if skip("a_new_preshared_key_and_another_private_key_of_the_hub_reach_all_workers") {
        return;
    }
    let mut star = Star::new(3);
    assert!(star.is_whole());
    rekey(&mut star, 5);
    assert!(!star.edges[0].ping_once("10.50.0.1", 56), "canary: the hub has its old key");
    let receipt = star.hub.plane.apply(star.hub.plan.clone()).expect("a good plan");
    assert_eq!(receipt.remade.len(), 3);
    assert!(star.is_whole());
    let cleared = star.hub.plane.apply(Plan::default()).expect("an empty plan");
    assert_eq!(cleared.removed, [LinkId(1), LinkId(2), LinkId(3)]);
    assert!(is_free_soon(&star.hub.namespace), "no worker holds the port any more");
    rekey(&mut star, 6);
    let receipt = star.hub.plane.apply(star.hub.plan.clone()).expect("a good plan");
    assert_eq!(receipt.added, [LinkId(1), LinkId(2), LinkId(3)]);
    assert!(star.is_whole());
}

#[test]
fn sites_that_come_to_share_a_link_come_to_one_worker() {
    if skip("sites_that_come_to_share_a_link_come_to_one_worker") {
        return;
    }
    let mut star = Star::new(3);
    assert!(star.is_whole());
    let serving = |star: &Star| {
        let mut links: Vec<usize> = star.hub.observe().workers.iter().map(|worker| worker.links).collect();
        links.sort_unstable();
        links
    };
    assert_eq!(serving(&star), [1, 1, 1]);
    star.hub.plan.sites[0].links.push(LinkId(2));
    let receipt = star.hub.plane.apply(star.hub.plan.clone()).expect("a good plan");
    assert_eq!((receipt.added, receipt.removed, receipt.remade), (vec![], vec![], vec![LinkId(2)]));
    assert_eq!(serving(&star), [0, 1, 2]);
    rekey(&mut star, 7);
    star.hub.apply();
    assert!(star.is_whole());
}

#[test]
fn a_relay_on_another_worker_may_speak_for_a_site_and_nobody_else_may() {
    if skip("a_relay_on_another_worker_may_speak_for_a_site_and_nobody_else_may") {
        return;
    }
    let mut star = Star::new(3);
    star.hub.plan.sites[0].also_from = vec![LinkId(2)];
    star.hub.apply();
    assert!(star.is_whole());
    let at_hub = socket(&star.hub, "10.50.0.1:4000");
    // Replies go to the site's own link; only the way here is in question.
    let speak = |edge: usize| {
        let side = &star.edges[edge - 1];
        side.namespace.address("tp0", "10.50.1.77/32").expect("an address");
        let from = socket(side, "10.50.1.77:0");
        from.send_to(b"hello", "10.50.0.1:4000").expect("sent");
        at_hub.recv(&mut [0; 16]).is_ok()
    };
    assert!(speak(1), "its own link");
    assert!(speak(2), "a relay, on another worker");
    assert_eq!(star.hub.drops("foreign_source"), 0);
    assert!(!speak(3));
    assert_eq!(star.hub.drops("foreign_source"), 1);
}

#[test]
fn a_run_that_belongs_to_several_workers_is_handed_over() {
    if skip("a_run_that_belongs_to_several_workers_is_handed_over") {
        return;
    }
    let star = Star::new(1);
    assert!(star.is_whole());
    let bind = || udp::UdpSocket::bind(0, None, 0).expect("a port");
    let from = star.edges[0].namespace.enter(bind).expect("the namespace");
    let to = "192.0.2.5:51820".parse().expect("an address");
    // Messages for nobody, of these types and for these workers, in one piece.
    let send = |messages: &[(u8, u8)]| {
        let message = |&(kind, worker): &(u8, u8)| {
            let mut octets = [0x55; 148];
            octets[..8].copy_from_slice(&[kind, 0, 0, 0, 1, worker, 99, 99]);
            octets
        };
        let run: Vec<u8> = messages.iter().flat_map(message).collect();
        let train = Outgoing { octets: &run, segment: Some(148), to, source: None, tos: 0 };
        assert_eq!(from.send(&mut Sender::default(), [train]), Ok(1));
    };
    send(&(0..30).map(|number| (4, number % WORKERS)).collect::<Vec<_>>());
    let judged = |reason, number| wait_until(SOON, || star.hub.drops(reason) == number);
    assert!(judged("unknown_receiver", 30), "each by its owner: {:?}", star.hub.observe().drops);
    assert_eq!(star.handed().datagrams, 20);
    // Initiations behind data do not get around the one who admits them all.
    send(&(0..10).map(|number| if number == 0 { (4, 0) } else { (1, 0) }).collect::<Vec<_>>());
    assert!(judged("unknown_receiver", 31) && judged("bad_mac", 9), "{:?}", star.hub.observe().drops);
    assert_eq!(star.handed().datagrams, 29);
}

#[test]
fn all_workers_end_when_the_device_is_deleted_and_when_asked() {
    if skip("all_workers_end_when_the_device_is_deleted_and_when_asked") {
        return;
    }
    let star = Star::new(1);
    star.hub.namespace.ip("link del tp0").expect("deleted");
    assert!(wait_until(SOON, || star.hub.plane.ended() == Some(End::DeviceGone)));
    assert!(star.hub.plane.observe().is_err());
    assert!(is_free_soon(&star.hub.namespace), "no worker holds the port any more");
    let options = Options { workers: WORKERS, ..Options::default() };
    let plane = start_with(&star.hub.namespace, &["10.50.0.1/16"], options);
    plane.apply(star.hub.plan.clone()).expect("a good plan");
    assert_eq!(plane.stop(), End::Stopped);
    assert!(is_free_soon(&star.hub.namespace));
}
