//! Floods of handshakes: cookies are asked for, established traffic goes on, memory stays.
//!
//! The sources are the 65,536 addresses of 198.18.0.0/16, all local to the right end (RFC 2544 sets them aside for
//! such tests).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use turnpike::lab::guard::Namespace;
use turnpike::sys::udp::{BATCH, Outgoing, Sender, UdpSocket};

use crate::bench::{Node, Wire};
use crate::client::{ANSWER, Client, SUBJECT, meet, stamp};
use crate::noise::{Attempt, COOKIE, INITIATION, Party, RESPONSE};
use crate::rig::Rig;
use crate::scenario::scenarios;

use turnpike::identity::PrivateKey;

scenarios! {
    Alone:
        under_load_an_address_must_be_proved_by_a_cookie,
        established_traffic_survives_a_flood_of_initiations,
        a_flood_of_junk_costs_established_traffic_nothing,
        an_honest_peer_gets_through_a_flood;
}

/// How many sources a flood has: each stays below what a subject may take from one.
const SOURCES: usize = 10_000;
/// Initiations each millisecond: more than one core can look into, so that answering lags behind.
const OVERLOAD: usize = 40;
/// Datagrams each millisecond of which a subject can make short work.
const BEARABLE: usize = 5;

/// Makes 198.18.0.0/16 addresses of the right end, and known to the left one.
fn prepare(wire: &Wire) {
    wire.right.ip("route add local 198.18.0.0/16 dev lo").expect("a route");
    wire.left.route("198.18.0.0/16", "via 192.0.2.2").expect("a route");
    // Nobody waits for what the floods' sources are told.
    wire.right.sysctl("net.ipv4.icmp_ratelimit", "0").expect("a sysctl");
}

/// Sends datagrams from many sources at a pace, until told to stop.
struct Flood<'a> {
    stop: &'a AtomicBool,
    sent: &'a AtomicUsize,
}

impl Flood<'_> {
    fn run(&self, at: &Namespace, per_millisecond: usize, datagrams: &[Vec<u8>]) {
        let socket = at.enter(|| UdpSocket::bind(0, None, 0)).expect("a namespace").expect("a port");
        let to: SocketAddr = SUBJECT.parse().expect("an address");
        let outgoing = |number: usize| {
            let octets = datagrams[number % datagrams.len()].as_slice();
            Outgoing { octets, segment: None, to, source: Some(source(number % SOURCES)), tos: 0 }
        };
        let (began, mut number, mut sender) = (Instant::now(), 0, Sender::default());
        while !self.stop.load(Ordering::Relaxed) {
            let due = usize::try_from(began.elapsed().as_millis()).expect("short") * per_millisecond;
            while number < due {
                let most = due.min(number + BATCH);
                // A full buffer is no fault of the subject's.
                number += socket.send(&mut sender, (number..most).map(outgoing)).unwrap_or(1);
            }
            self.sent.store(number, Ordering::Relaxed);
            std::thread::park_timeout(Duration::from_micros(300));
        }
    }
}

fn source(number: usize) -> IpAddr {
    (u32::from(Ipv4Addr::new(198, 18, 0, 1)) + u32::try_from(number).expect("few")).to_be_bytes().into()
}

/// Initiations with a right first code, from parties that are nobody's peers.
fn initiations(node: &Node<'_>, count: usize) -> Vec<Vec<u8>> {
    let party = Party::new(&PrivateKey::generate().expect("a key"), &node.key);
    (0..count).map(|n| party.initiation(u32::try_from(n).expect("few"), stamp(SystemTime::now())).message).collect()
}

/// Runs `work` during a flood; how many datagrams were sent, and what came of the work.
fn during<T>(at: &Namespace, per_millisecond: usize, datagrams: &[Vec<u8>], work: impl FnOnce() -> T) -> (usize, T) {
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let flood = Flood { stop: &stop, sent: &sent };
    let done = std::thread::scope(|scope| {
        scope.spawn(|| flood.run(at, per_millisecond, datagrams));
        let guard = Stop(&stop);
        let done = work();
        drop(guard);
        done
    });
    (sent.load(Ordering::Relaxed), done)
}

/// Stops the flood also where the work panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends initiations until one is answered by a message of this length; answers may be late.
fn answer_of(client: &mut Client, length: usize, within: Duration) -> Option<(Vec<u8>, Attempt)> {
    let until = Instant::now() + within;
    let mut attempts = Vec::new();
    while Instant::now() < until {
        let attempt = client.attempt();
        client.send(&attempt.message);
        attempts.push(attempt);
        let heard = client.receive(Duration::from_millis(150)).filter(|heard| heard.len() == length);
        let answered = |heard: &Vec<u8>| {
            // A cookie's receiver stands in octets 4 to 7, a response's in 8 to 11.
            let receiver = heard.get(if length == COOKIE { 4..8 } else { 8..12 })?;
            attempts.iter().position(|attempt| attempt.message.get(4..8) == Some(receiver))
        };
        if let Some((heard, position)) = heard.and_then(|heard| answered(&heard).map(|position| (heard, position))) {
            return Some((heard, attempts.swap_remove(position)));
        }
    }
    None
}

fn under_load_an_address_must_be_proved_by_a_cookie(rig: &Rig) {
    let wire = Wire::new();
    let (node, mut client) = meet(rig, &wire);
    prepare(&wire);
    let datagrams = initiations(&node, 1000);
    during(&wire.right, OVERLOAD, &datagrams, || {
        std::thread::park_timeout(Duration::from_millis(300));
        let (cookie, attempt) = answer_of(&mut client, COOKIE, ANSWER).expect("a cookie instead of an answer");
        let mut false_cookie = cookie.clone();
        false_cookie[40] ^= 1;
        assert!(!client.party.keep_cookie(&false_cookie, &attempt.message), "a changed one is not authentic");
        // With a code by another cookie it is not served.
        client.party.cookie = Some([9; 16]);
        let (cookie, attempt) = answer_of(&mut client, COOKIE, ANSWER).expect("a wrong proof is none");
        assert!(client.party.keep_cookie(&cookie, &attempt.message), "authentic");
        let (response, attempt) = answer_of(&mut client, RESPONSE, ANSWER).expect("with a right proof it is served");
        let session = client.party.finish(&attempt, &response).expect("authentic");
        assert!(client.reaches(&session, 0, 1), "a session");
        // The proof is of an address: from another port or address it is none.
        let mut elsewhere = Client::new(&node, &wire.right, "198.18.77.77:4000", 2);
        elsewhere.party = client.party.clone();
        elsewhere.index = client.index + 1000;
        assert!(answer_of(&mut elsewhere, COOKIE, ANSWER).is_some(), "the proof of one address is none of another");
    });
    std::thread::park_timeout(Duration::from_millis(2200));
    client.party.cookie = None;
    client.handshake();
}

/// Resident memory of the subject's process in KiB.
fn resident(node: &Node<'_>) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.process.pid())).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    line.split_ascii_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number")
}

/// Two interfaces of the subject, with a session and a ping every 10 ms for 4 s through the flood.
fn endures(rig: &Rig, datagrams: impl FnOnce(&Node<'_>) -> Vec<Vec<u8>>) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    left.set("listen-port 51820");
    prepare(&wire);
    assert!(left.reaches("10.9.0.2"), "no session");
    let datagrams = datagrams(&left);
    // What is set aside once for a flood is no growth.
    during(&wire.right, BEARABLE, &datagrams, || std::thread::park_timeout(Duration::from_secs(2)));
    let before = resident(&left);
    let words = ["-n", "-q", "-c", "400", "-i", "0.01", "-W", "2", "10.9.0.1"];
    let (sent, said) = during(&wire.right, BEARABLE, &datagrams, || right.at.run("ping", words));
    let said = said.expect("answers");
    println!("{sent} datagrams; {}", said.lines().rev().take(2).collect::<Vec<_>>().join("; "));
    assert!(sent > 10_000, "a flood of {sent}");
    let received: u32 =
        said.split(" received").next().and_then(|text| text.rsplit(' ').next()?.parse().ok()).unwrap_or(0);
    assert!(received >= 399, "established traffic lost {}: {said}", 400 - received);
    let grown = resident(&left).saturating_sub(before);
    assert!(grown < 16 << 10, "memory grew by {grown} KiB");
}

fn established_traffic_survives_a_flood_of_initiations(rig: &Rig) {
    endures(rig, |node| initiations(node, 2000));
}

fn a_flood_of_junk_costs_established_traffic_nothing(rig: &Rig) {
    endures(rig, |_| {
        let piece = |n: usize| {
            let length = [INITIATION, RESPONSE, COOKIE, 32, 100, 1400][n % 6];
            let mut octets: Vec<u8> = (0..length).map(|at| (at * 31 + n * 17).to_le_bytes()[0]).collect();
            octets[..4].copy_from_slice(&[[1, 2, 3, 4, 4, 4][n % 6], 0, 0, 0]);
            octets
        };
        (0..2000).map(piece).collect()
    });
}

/// Both ends follow the protocol's cookies by themselves.
fn an_honest_peer_gets_through_a_flood(rig: &Rig) {
    let wire = Wire::new();
    let [left, right] = rig.pair(&wire, "192.0.2.2");
    left.set("listen-port 51820");
    prepare(&wire);
    let datagrams = initiations(&left, 1000);
    during(&wire.right, OVERLOAD, &datagrams, || {
        std::thread::park_timeout(Duration::from_millis(300));
        right.set(&format!("peer {} endpoint {SUBJECT}", left.key));
        assert!(right.reaches_within("10.9.0.1", Duration::from_secs(16)), "with the cookie's help, at the next try");
    });
}
