//! Traffic over rekeys, which come 120 s after a handshake (WireGuard paper, section 6.1).
//!
//! `TURNPIKE_SOAK_SECONDS=600` makes it the long form, over five rekeys of each pair.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use turnpike::lab::guard::Namespace;

use crate::bench::{Bench, Node, Wire};
use crate::engine::{Engine, pair, possible};
use crate::traffic::{Probes, Trickle};

use Engine::{Turnpike, WireguardGo};

/// A session's initiator makes a new one after this many seconds.
const REKEY_SECONDS: u64 = 120;

/// Time for what comes after the last rekey, and for each to be up to a second late.
const AFTERMATH: Duration = Duration::from_secs(15);

/// How many rekeys to run over.
fn rekeys() -> u64 {
    let seconds = std::env::var("TURNPIKE_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds.unwrap_or(REKEY_SECONDS).max(REKEY_SECONDS) / REKEY_SECONDS
}

/// One tunnel under traffic of both families in both directions.
struct Load {
    probes: Vec<Probes>,
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
            trickles: trickles.map(|(from, to, at)| Trickle::start(from, to, address(at))).into(),
            handshakes: BTreeSet::new(),
        }
    }

    fn end(self, name: &str) {
        for trickle in self.trickles {
            let messages = trickle.end().unwrap_or_else(|error| panic!("{name}: a TCP connection was lost: {error}"));
            eprintln!("{name}: one TCP connection carried {messages} messages");
        }
        for probes in self.probes {
            let heard = probes.end();
            eprintln!("{name}: {heard:?}");
            assert!(heard.deaf < Duration::from_secs(1), "{name}: {heard:?}");
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
    let (begun, lasts) = (Instant::now(), Duration::from_secs(rekeys() * REKEY_SECONDS) + AFTERMATH);
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
