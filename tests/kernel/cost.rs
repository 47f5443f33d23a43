//! What telling of flows costs packets that are not told of.
//!
//! `cargo test --test kernel cost -- --ignored --nocapture`: the table as it is, in turns with one that asks for the
//! state `related` alone, as if no flow were ever told of.

use std::time::{Duration, Instant};

use turnpike::lab::guard::skip;

use crate::packet::{ACK, Ends, SYN, tcp};
use crate::place::{self, Gateway, policy, rule};
use crate::router::{Router, TUNNEL};

const A: &str = "eth1";
const BATCH: u32 = 500;
const ROUNDS: usize = 60;

/// What a batch takes from the first write to the last read.
fn batch(router: &Router, from: &str, to: &str, packet: &[u8]) -> Duration {
    let start = Instant::now();
    for _ in 0..BATCH {
        router.write(from, packet);
        while router.read(to).is_some() {}
    }
    start.elapsed()
}

/// The quickest batch and the one in the middle, per packet: others' work only ever adds.
fn summary(mut spent: Vec<Duration>) -> (u128, u128) {
    spent.sort_unstable();
    let each = |batch: Duration| batch.as_nanos() / u128::from(BATCH);
    (each(spent[0]), each(spent[spent.len() / 2]))
}

/// Replaces the question for new and related packets in the policy's chain.
fn ask(router: &Router, states: &str, then: &str) {
    let script = format!(
        "handle=$(nft -a list chain inet turnpike c_policy | grep -E 'ct state (new|related)[, ]' | grep -v icmp \
           | sed 's/.*# handle //')
         nft replace rule inet turnpike c_policy handle $handle ct state {states} {then}"
    );
    router.shell(&script);
}

#[test]
#[ignore = "a measurement: it prints, and holds nothing"]
fn what_an_established_packet_costs_with_and_without_telling() {
    if skip("what_an_established_packet_costs_with_and_without_telling") {
        return;
    }
    let router = Router::new(&policy(Gateway::Leeds, &[rule(1, "100.64.3.20", place::tcp(443), 7)], &[]));
    let (real, overlay) = (Ends::new("192.168.1.5", "100.64.3.20"), Ends::new("100.64.1.5", "100.64.3.20"));
    router.passes(A, TUNNEL, &tcp(real, (40_000, 443), SYN, b""));
    router.passes(TUNNEL, A, &tcp(overlay.back(), (443, 40_000), SYN | ACK, b""));
    router.passes(A, TUNNEL, &tcp(real, (40_000, 443), ACK, b""));
    let (there, back) = (tcp(real, (40_000, 443), ACK, b"x"), tcp(overlay.back(), (443, 40_000), ACK, b"x"));
    let mut spent: [Vec<Duration>; 4] = Default::default();
    for _ in 0..ROUNDS {
        for (at, states, then) in
            [(0, "related", "counter name n_invalid drop"), (2, "new,related", "goto c_unsettled")]
        {
            ask(&router, states, then);
            spent[at].push(batch(&router, A, TUNNEL, &there));
            spent[at + 1].push(batch(&router, TUNNEL, A, &back));
        }
    }
    let names = ["without, to the tunnel", "without, from it", "telling, to the tunnel", "telling, from it"];
    for (name, spent) in names.into_iter().zip(spent) {
        let (quickest, middle) = summary(spent);
        println!("{name}: {quickest} ns, median {middle} ns a packet");
    }
}
