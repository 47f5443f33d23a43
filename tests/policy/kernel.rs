//! The kernel against the evaluator: random definitions, packets at the edges of what is allowed, one verdict.
//!
//! ```text
//!  seed ─▶ files ─▶ resolve ─┬─▶ Evaluator ────────────────────────────────────────▶ expected ─┐
//!                            └─▶ compile ─▶ ruleset ─▶ nft ─▶ e0, hub, e1: TUN → TUN ─▶ outcome ─┴─▶ equal?
//! ```
//!
//! The evaluator knows the definition alone, never the ruleset. What connection tracking makes of its verdicts is said by
//! [`oracle`]. Every batch has a canary, which must come out, and so has every tally some of each kind that pass.
//!
//! It takes a minute and a million cases: `TURNPIKE_SECONDS` and `TURNPIKE_CASES` at least, both being 0 for a single definition,
//! and begins with the definition `TURNPIKE_SEED`, as a mismatch tells it. `make policy-soak DURATION=3600` is the long form.

mod case;
mod conversation;
mod draw;
mod mutants;
pub mod network;
mod oracle;
#[expect(dead_code, reason = "shared with the kernel's own tests")]
#[path = "../kernel/packet.rs"]
mod packet;
pub mod random;
#[expect(dead_code, reason = "shared with the kernel's own tests")]
#[path = "../kernel/router.rs"]
mod router;
mod tally;
mod trial;
mod way;
mod world;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use turnpike::lab::guard::skip;

use tally::{Count, Tally};
use trial::Trial;
use world::NONE;

/// Changes that each definition goes through.
const CHANGES: usize = 8;
/// How often a long run says how far it is.
const TOLD: Duration = Duration::from_secs(60);

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time after 1970");
    since.as_secs()
}

/// Trials on two threads until `seconds` are over and there were cases enough, or there is a mismatch.
fn trials(seed: u64, seconds: u64, least: u64) -> Tally {
    let start = Instant::now();
    let (all, told) = (Mutex::new(Tally::default()), Mutex::new(start));
    let lane = |lane: u64| {
        let mut at = seed.wrapping_add(lane);
        loop {
            let mut tally = Tally::default();
            Trial::run(at, &NONE, CHANGES, &mut tally);
            at = at.wrapping_add(2);
            let mut all = all.lock().expect("the other lane");
            all.join(tally);
            if !all.mismatches.is_empty() || start.elapsed() > Duration::from_secs(seconds) && all.cases() >= least {
                return;
            }
            let mut told = told.lock().expect("the other lane");
            if told.elapsed() > TOLD {
                *told = Instant::now();
                eprintln!("{:>6} s {:>12} cases", start.elapsed().as_secs(), all.cases());
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| lane(1));
        lane(0);
    });
    all.into_inner().expect("both lanes")
}

#[test]
fn the_kernel_decides_as_the_evaluator_does() {
    if skip("the_kernel_decides_as_the_evaluator_does") {
        return;
    }
    let seed = from_environment("TURNPIKE_SEED").unwrap_or_else(|| now() * 1000);
    let seconds = from_environment("TURNPIKE_SECONDS").unwrap_or(60);
    let least = from_environment("TURNPIKE_CASES").unwrap_or(1_000_000);
    eprintln!("seed {seed}");
    let start = Instant::now();
    let tally = trials(seed, seconds, least);
    tally.mismatches.iter().take(5).for_each(|mismatch| eprintln!("{mismatch}"));
    eprintln!(
        "{} definitions with {CHANGES} changes each in {} s, from seed {seed}",
        tally.definitions,
        start.elapsed().as_secs()
    );
    eprintln!("{tally}");
    assert!(tally.mismatches.is_empty(), "TURNPIKE_SEED with the seed of a mismatch repeats it");
    for (kind, Count { sent, arrived }) in &tally.kinds {
        let passing = !matches!(*kind, "stray" | "incomplete fragments");
        assert!(*sent > 100 && (*arrived > 20) == passing, "{kind}: {arrived} of {sent}");
    }
    assert_eq!(tally.kinds.len(), 13);
}

#[test]
fn mutants_of_the_compiler_are_found() {
    if skip("mutants_of_the_compiler_are_found") {
        return;
    }
    for (name, mutant) in &mutants::MUTANTS {
        let mut tally = Tally::default();
        let found = (1..=20).any(|seed| {
            Trial::run(seed, mutant, 2, &mut tally);
            !tally.mismatches.is_empty()
        });
        eprintln!("{name}: found within {} cases", tally.cases());
        assert!(found, "not found in {} cases: {name}", tally.cases());
    }
}
