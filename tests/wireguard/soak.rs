//! Traffic over rekeys, which come 120 s after a handshake (WireGuard paper, section 6.1), and for long.
//!
//! `TURNPIKE_SOAK_SECONDS` makes it longer: 600 are five rekeys of each pair. `make soak` does both for half an hour.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use turnpike::lab::guard::{Process, wait_until};

use turnpike::lab::guard::Namespace;

use crate::bench::{Bench, Node, Wire};
use crate::engine::{Engine, pair, possible};
use crate::traffic::{Probes, Trickle};

use Engine::{Turnpike, WireguardGo};

/// A session's initiator makes a new one after this many seconds.
const REKEY_SECONDS: u64 = 120;

/// Time for what comes after the last rekey, and for each to be up to a second late.
const AFTERMATH: Duration = Duration::from_secs(15);

/// What a lost handshake message costs at least (REKEY_TIMEOUT). Whatever is shorter and loses nothing is a process that
/// did not get a processor.
const DEAF: Duration = Duration::from_secs(5);

/// How long to run: over one rekey at least.
fn seconds() -> u64 {
    let seconds = std::env::var("TURNPIKE_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds.unwrap_or(REKEY_SECONDS).max(REKEY_SECONDS)
}

/// How many rekeys to run over.
fn rekeys() -> u64 {
    seconds() / REKEY_SECONDS
}

/// How long that takes.
fn duration() -> Duration {
    Duration::from_secs(rekeys() * REKEY_SECONDS) + AFTERMATH
}

/// One tunnel under traffic of both families in both directions.
struct Load {
    probes: Vec<Probes>,
    /// Probes that pass no tunnel: what they miss, the machine missed.
    control: Probes,
    trickles: Vec<Trickle>,
    handshakes: BTreeSet<u64>,
}

impl Load {
    fn start(left: &Namespace, right: &Namespace) -> Self {
        let address = |text: &str| text.parse().expect("an address");
        let probes = [(left, right, "10.9.0.2:7000"), (right, left, "[fd09::1]:7000")];
        let trickles =
            [(left, right, "10.9.0.2:7001"), (right, left, "10.9.0.1:7001"), (left, right, "[fd09::2]:7001")];
        Self {
            probes: probes.map(|(from, to, at)| Probes::start(from, to, address(at))).into(),
            control: Probes::start(left, left, address("127.0.0.1:7002")),
            trickles: trickles.map(|(from, to, at)| Trickle::start(from, to, address(at))).into(),
            handshakes: BTreeSet::new(),
        }
    }

    fn end(self, name: &str) {
        for trickle in self.trickles {
            let messages = trickle.end().unwrap_or_else(|error| panic!("{name}: a TCP connection was lost: {error}"));
            eprintln!("{name}: one TCP connection carried {messages} messages");
        }
        let paused = self.control.end().deaf;
        eprintln!("{name}: without the tunnel, the longest time without an answer was {paused:?}");
        for probes in self.probes {
            let heard = probes.end();
            eprintln!("{name}: {heard:?}");
            assert!(heard.deaf < DEAF + paused, "{name}: {heard:?}");
            assert!(heard.answered + heard.sent / 100 >= heard.sent, "{name}: more than 1 % lost: {heard:?}");
        }
        let seen = self.handshakes.len() - 1;
        eprintln!("{name}: {seen} rekeys");
        assert!(u64::try_from(seen).expect("a few") >= rekeys(), "{name}: {seen} rekeys, {} expected", rekeys());
    }
}

#[test]
fn rekeys_break_no_connection_and_leave_no_deaf_interval() {
    if !possible("rekeys_break_no_connection_and_leave_no_deaf_interval") {
        return;
    }
    let runs = [[Turnpike, WireguardGo], [WireguardGo, Turnpike]];
    let benches = runs.map(|engines| (engines, Bench::new(), Wire::new()));
    let pairs: Vec<[Node<'_>; 2]> = benches
        .iter()
        .map(|(engines, bench, wire)| {
            let [left, right] = pair(bench, wire, *engines, "192.0.2.2".parse().expect("an address"));
            assert!(left.reaches("10.9.0.2") && right.reaches("fd09::1"), "{}", left.process.log());
            [left, right]
        })
        .collect();
    let mut loads: Vec<Load> = benches.iter().map(|(_, _, wire)| Load::start(&wire.left, &wire.right)).collect();
    let (begun, lasts) = (Instant::now(), duration());
    while begun.elapsed() < lasts {
        for (load, [left, right]) in loads.iter_mut().zip(&pairs) {
            load.handshakes.insert(left.handshake(&right.key));
        }
        std::thread::park_timeout(Duration::from_secs(1));
    }
    for (load, (engines, _, _)) in loads.into_iter().zip(&benches) {
        load.end(&format!("{:?} to {:?}", engines[0], engines[1]));
    }
}

/// How often the left end moves: to another port, to another address, in turn.
const STAY: Duration = Duration::from_secs(10);

/// KiB by which memory may grow in each sixth of the time without being suspicious.
const STEP: u64 = 64;
/// KiB by which it may grow in all, once load has run for a sixth of the time.
const BURSTS: u64 = 4096;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    after: Duration,
    /// Resident memory in KiB.
    memory: u64,
    descriptors: usize,
}

impl Held {
    fn by(process: &Process, after: Duration) -> Self {
        let at = format!("/proc/{}", process.pid());
        let status = std::fs::read_to_string(format!("{at}/status")).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        let memory = line.trim().trim_end_matches(" kB").parse().expect("a number");
        let descriptors = std::fs::read_dir(format!("{at}/fd")).expect("its descriptors").count();
        Self { after, memory, descriptors }
    }
}

/// The most that was held in each sixth of the time.
fn sixths(held: &[Held], lasts: Duration) -> [Held; 6] {
    std::array::from_fn(|number| {
        let from = lasts / 6 * u32::try_from(number).expect("few");
        let to = if number == 5 { lasts * 2 } else { from + lasts / 6 };
        let within = held.iter().filter(|held| held.after >= from && held.after < to);
        let most = within.copied().reduce(|one, other| Held {
            after: other.after,
            memory: one.memory.max(other.memory),
            descriptors: one.descriptors.max(other.descriptors),
        });
        most.expect("samples")
    })
}

/// A leak grows all the time. Buffers that a burst has filled for the first time keep their memory, which is bounded.
fn assert_flat(name: &str, held: &[Held], lasts: Duration) {
    let sixths = sixths(held, lasts);
    let memory = sixths.map(|held| held.memory);
    eprintln!("{name}: {memory:?} KiB; {:?} descriptors", sixths.map(|held| held.descriptors));
    let steps = memory[1..].windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    assert!(steps.clone().any(|step| step <= STEP), "{name} grows all the time: {memory:?} KiB");
    assert!(steps.sum::<u64>() <= BURSTS, "{name} has grown by more than buffers do: {memory:?} KiB");
    assert!(sixths[5].descriptors <= sixths[1].descriptors, "{name}: {sixths:?}");
}

#[test]
#[ignore = "takes as long as it is told to: make soak"]
fn load_roaming_and_rekeys_leave_no_memory_behind_and_no_session_stuck() {
    if !possible("load_roaming_and_rekeys_leave_no_memory_behind_and_no_session_stuck") {
        return;
    }
    let (bench, wire) = (Bench::new(), Wire::new());
    let [left, right] = pair(&bench, &wire, [Turnpike, Turnpike], "192.0.2.2".parse().expect("an address"));
    assert!(left.reaches("10.9.0.2") && right.reaches("fd09::1"), "{}", left.process.log());
    // Else the second address would go with the first.
    wire.left.sysctl("net.ipv4.conf.eth0.promote_secondaries", "1").expect("a setting");
    let lasts = duration();
    let server = bench.spawn(right.at, &["iperf3", "--server", "--forceflush"]);
    assert!(wait_until(AFTERMATH, || server.log().contains("listening")), "{}", server.log());
    let time = lasts.as_secs().to_string();
    let words = ["iperf3", "--client", "10.9.0.2", "--bidir", "--bitrate", "100M", "--time", &time, "--interval", "0"];
    let mut stream = bench.spawn(left.at, &words);
    let mut load = Load::start(&wire.left, &wire.right);
    let begun = Instant::now();
    let (mut moves, mut held) = (0_usize, [Vec::new(), Vec::new()]);
    while begun.elapsed() < lasts {
        std::thread::park_timeout(Duration::from_secs(1));
        load.handshakes.insert(left.handshake(&right.key));
        for (held, node) in held.iter_mut().zip([&left, &right]) {
            held.push(Held::by(&node.process, begun.elapsed()));
        }
        if begun.elapsed() > STAY * u32::try_from(moves + 1).expect("few moves") {
            moves += 1;
            roam(&left, moves);
        }
    }
    let ended = stream.wait(AFTERMATH);
    assert!(ended.is_some_and(|status| status.success()), "the stream broke: {}", stream.log());
    eprintln!("{}", stream.log());
    eprintln!("{moves} moves");
    for (name, held) in ["left", "right"].iter().zip(&held) {
        assert_flat(name, held, lasts);
    }
    assert!(left.reaches("10.9.0.2") && right.reaches("fd09::1"), "a session is stuck: {}", left.process.log());
    load.end("load and roaming");
}

/// The left end of the wire changes its port or, every other time, its address.
fn roam(left: &Node<'_>, moves: usize) {
    if moves % 2 == 1 {
        return left.set(&format!("listen-port {}", 40_000 + moves));
    }
    let addresses = ["192.0.2.1/24", "192.0.2.3/24"];
    let (from, to) = if moves.is_multiple_of(4) { (addresses[1], addresses[0]) } else { (addresses[0], addresses[1]) };
    left.at.address("eth0", to).expect("an address");
    left.at.ip(&format!("address delete {from} dev eth0")).expect("an address less");
}
