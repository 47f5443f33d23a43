//! The kernel under a hub's whole policy: loads, single changes, and packets meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use turnpike::bundle::Policy;
use turnpike::lab::guard::wait_until;
use turnpike::ruleset::{self, Batch, Ruleset};

use crate::hub::{Flow, Hub, compile, first, flow, forbidden, room, without};
use crate::measure::{Goal, Measure, Record};
use crate::statistics::number;

const ELEMENTS: Measure = Measure::aside("elements on the hub", "1");
const LOAD: Measure = Measure::new("first load on a hub: compile and load", "s", Goal::Median(2.5));
const LOAD_BY_NFT: Measure = Measure::aside("  the load by nft(8) alone", "s");
const COMPILE: Measure = Measure::aside("  of it: compiling the hub's ruleset", "s");
const REVOKED: Measure = Measure::new("one agreement revoked: difference, counts, commit", "ms", Goal::Median(50.0));
const REVOKED_BY_NFT: Measure = Measure::aside("  the transaction by nft(8)", "ms");
const ADDED: Measure = Measure::new("one agreement added: difference, counts, commit", "ms", Goal::Median(50.0));
const ADDED_BY_NFT: Measure = Measure::aside("  that transaction by nft(8)", "ms");
const DIFFERENCE: Measure = Measure::aside("  of it: finding the difference", "ms");
const APPLIES: Measure = Measure::aside("applies under traffic", "1");
const ALLOWED: Measure = Measure::aside("  allowed packets meanwhile", "1");
const FORBIDDEN: Measure = Measure::aside("  forbidden packets meanwhile", "1");
const LOST: Measure = Measure::new("  allowed ones lost", "1", Goal::Every(0.0));
const LEAKED: Measure = Measure::new("  forbidden ones leaked", "1", Goal::Every(0.0));
const CONTROL_LOST: Measure = Measure::new("control: lost while the table is made anew", "1", Goal::AtLeast(1.0));
const CONTROL_LEAKED: Measure = Measure::new("control: leaked while their port is granted", "1", Goal::AtLeast(1.0));
const LAST: Measure = Measure::new("revocation to the last packet of a flow", "ms", Goal::Every(100.0));
const MANY: Measure = Measure::aside("relay under the hub's whole policy", "packets/s");
const FEW: Measure = Measure::aside("relay under 10 rules", "packets/s");
const SHARE: Measure = Measure::new("the first of the second", "%", Goal::AtLeast(97.0));

/// Element differences that are applied under traffic.
const CHANGES: u64 = 1_000;
/// Revocations that are timed.
const REVOCATIONS: usize = 30;
/// How long packets are relayed before the other hub has its turn.
const TURN: Duration = Duration::from_millis(400);
/// Turns of each.
const TURNS: usize = 15;
/// How long what is forbidden is granted, to see that it would be seen.
const HELD: Duration = Duration::from_millis(200);
/// Flows that are relayed in turns.
const FLOWS: usize = 5;

fn said(error: impl ToString) -> String {
    error.to_string()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A hub under its whole policy.
pub struct Loaded<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The hub.
    pub hub: Hub,
    /// What it has loaded.
    pub ruleset: Ruleset,
}

impl<'a> Loaded<'a> {
    /// Compiles and loads it in a new namespace, and says how long that took.
    ///
    /// # Errors
    /// In words.
    pub fn new(policy: &'a Policy, record: &mut Record) -> Result<Self, String> {
        let hub = Hub::raise(policy)?;
        let begun = Instant::now();
        let ruleset = compile(policy)?;
        let compiled = begun.elapsed();
        hub.nft.load(&ruleset).map_err(said)?;
        record.add(LOAD, begun.elapsed().as_secs_f64());
        record.add(COMPILE, compiled.as_secs_f64());
        record.add(ELEMENTS, number(u64::try_from(ruleset.len()).unwrap_or(u64::MAX)));
        Ok(Self { policy, hub, ruleset })
    }

    /// The same load by nft(8) alone, in a namespace that goes again.
    ///
    /// # Errors
    /// In words.
    pub fn by_nft(&self, record: &mut Record) -> Result<(), String> {
        let hub = Hub::raise(self.policy)?;
        let batch = self.ruleset.load_all();
        let begun = Instant::now();
        hub.by_nft(&batch)?;
        record.add(LOAD_BY_NFT, begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Agreements all over the policy.
    fn some(&self, count: usize) -> impl Iterator<Item = u32> {
        let step = (self.policy.agreements.len() / count).max(1);
        self.policy.agreements.iter().step_by(step).map(|agreement| agreement.number).take(count)
    }

    /// Revokes and grants agreements one by one.
    ///
    /// # Errors
    /// In words.
    pub fn changes(&self, rounds: usize, record: &mut Record) -> Result<(), String> {
        for number in self.some(rounds) {
            let other = compile(&without(self.policy, number))?;
            for (measure, from, to) in [(REVOKED, &self.ruleset, &other), (ADDED, &other, &self.ruleset)] {
                let begun = Instant::now();
                let batch = ruleset::diff(from, to);
                record.add(DIFFERENCE, milliseconds(begun.elapsed()));
                self.hub.nft.last_counts(&batch).map_err(said)?;
                self.hub.nft.apply(&batch).map_err(said)?;
                record.add(measure, milliseconds(begun.elapsed()));
            }
            for (measure, from, to) in [(REVOKED_BY_NFT, &self.ruleset, &other), (ADDED_BY_NFT, &other, &self.ruleset)]
            {
                let batch = ruleset::diff(from, to);
                let begun = Instant::now();
                self.hub.by_nft(&batch)?;
                record.add(measure, milliseconds(begun.elapsed()));
            }
        }
        Ok(())
    }

    /// Keeps the tunnel open, which closes 30 s after the last load.
    fn alive(&self) -> Result<(), String> {
        self.hub.nft.apply(&self.ruleset.alive_for(3600)).map(drop).map_err(said)
    }

    fn flows(&self, count: usize, payload: usize) -> Vec<Flow> {
        let step = (self.policy.rules.len() / count).max(1);
        let rules = self.policy.rules.iter().step_by(step);
        rules.filter_map(|rule| flow(self.policy, rule, payload)).take(count).collect()
    }

    /// Applies differences while allowed and forbidden packets pass both ways; then proves that it would see what it
    /// should never see.
    ///
    /// # Errors
    /// In words.
    pub fn traffic(&self, record: &mut Record) -> Result<(), String> {
        self.alive()?;
        let flows = self.flows(FLOWS, 64);
        let used: Vec<u32> = flows.iter().map(|flow| flow.agreement).collect();
        let others: Vec<u32> = self.some(40).filter(|number| !used.contains(number)).take(3).collect();
        let mut batches = Vec::new();
        for number in others {
            let other = compile(&without(self.policy, number))?;
            batches.extend([ruleset::diff(&self.ruleset, &other), ruleset::diff(&other, &self.ruleset)]);
        }
        let seen = self
            .watch(&flows, || (0..CHANGES).zip(batches.iter().cycle()).try_for_each(|(_, batch)| self.apply(batch)))?;
        for (measure, value) in [
            (APPLIES, CHANGES),
            (ALLOWED, seen.allowed),
            (FORBIDDEN, seen.forbidden),
            (LOST, seen.lost),
            (LEAKED, seen.leaked),
        ] {
            record.add(measure, number(value));
        }
        let small = compile(&first(self.policy, 10))?;
        let anew = self.watch(&flows, || {
            self.apply(&ruleset::remove())?;
            self.hub.nft.load(&small).map_err(said)?;
            self.hub.nft.load(&self.ruleset).map_err(said)?;
            self.alive()
        })?;
        record.add(CONTROL_LOST, number(anew.lost));
        let granted = self.granted(&flows)?;
        let leaked = self.watch(&flows, || {
            self.apply(&ruleset::diff(&self.ruleset, &granted))?;
            wait_until(HELD, || false);
            Ok(())
        })?;
        self.apply(&ruleset::diff(&granted, &self.ruleset))?;
        record.add(CONTROL_LEAKED, number(leaked.leaked));
        Ok(())
    }

    /// The policy with the forbidden port granted to the flows' departments.
    fn granted(&self, flows: &[Flow]) -> Result<Ruleset, String> {
        let mut policy = self.policy.clone();
        let own = policy.rules.iter().filter(|rule| flows.iter().any(|flow| flow.agreement == rule.agreement));
        let granted: Vec<_> = own
            .flat_map(|rule| {
                [6, 17].map(|protocol| turnpike::bundle::Rule {
                    matching: turnpike::bundle::Match::Port { protocol, port: 64_999 },
                    ..*rule
                })
            })
            .collect();
        policy.rules.extend(granted);
        policy.rules.sort_unstable();
        policy.rules.dedup();
        compile(&policy)
    }

    fn apply(&self, batch: &Batch) -> Result<(), String> {
        self.hub.nft.apply(batch).map(drop).map_err(said)
    }

    /// Writes allowed and forbidden packets until `work` is done.
    fn watch(&self, flows: &[Flow], work: impl FnOnce() -> Result<(), String>) -> Result<Seen, String> {
        let forbidden: Vec<Flow> = flows.iter().filter_map(forbidden).collect();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (mut seen, mut room) = (Seen::default(), room());
                while !done.load(Ordering::Relaxed) {
                    for (flow, forbidden) in flows.iter().zip(&forbidden) {
                        for packet in [&flow.there, &flow.back] {
                            seen.allowed += 1;
                            seen.lost += u64::from(self.hub.passes(packet, &mut room)? == 0);
                        }
                        for packet in [&forbidden.there, &forbidden.back] {
                            seen.forbidden += 1;
                            seen.leaked += u64::from(self.hub.passes(packet, &mut room)? > 0);
                        }
                    }
                    thread::park_timeout(Duration::from_micros(200));
                }
                Ok::<_, String>(seen)
            });
            let worked = work();
            done.store(true, Ordering::Relaxed);
            let seen = writer.join().map_err(|_| "the one who writes packets panicked".to_owned())??;
            worked.map(|()| seen)
        })
    }

    /// Revokes a flow's agreement while its packets pass both ways, and says when the last one did.
    ///
    /// # Errors
    /// In words.
    pub fn revocations(&self, record: &mut Record) -> Result<(), String> {
        self.alive()?;
        for flow in self.flows(REVOCATIONS, 64) {
            let other = compile(&without(self.policy, flow.agreement))?;
            let begun = Instant::now();
            let (last, count, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
            let tried = AtomicU64::new(0);
            let asked = thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    let mut room = room();
                    while !done.load(Ordering::Relaxed) {
                        for packet in [&flow.there, &flow.back] {
                            if self.hub.passes(packet, &mut room)? > 0 {
                                let now = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                                last.store(now, Ordering::Relaxed);
                                count.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        tried.fetch_add(1, Ordering::Relaxed);
                        thread::park_timeout(Duration::from_micros(50));
                    }
                    Ok::<_, String>(())
                });
                let tries = |more: u64| {
                    let enough = tried.load(Ordering::Relaxed) + more;
                    wait_until(Duration::from_secs(5), || tried.load(Ordering::Relaxed) >= enough)
                };
                tries(50);
                let asked = begun.elapsed();
                let applied = self.apply(&ruleset::diff(&self.ruleset, &other));
                // A packet that still passed would be seen.
                tries(500);
                done.store(true, Ordering::Relaxed);
                writer.join().map_err(|_| "the one who writes packets panicked".to_owned())??;
                applied.map(|()| asked)
            })?;
            let last = Duration::from_nanos(last.into_inner());
            if count.into_inner() < 10 || last < asked {
                return Err(format!("agreement {}: its packets did not pass before", flow.agreement));
            }
            record.add(LAST, milliseconds(last - asked));
            self.apply(&ruleset::diff(&other, &self.ruleset))?;
        }
        Ok(())
    }

    /// Relays packets of the same flows under the whole policy and under ten rules, in turns.
    ///
    /// # Errors
    /// In words.
    pub fn relay(&self, record: &mut Record) -> Result<(), String> {
        self.alive()?;
        let policy = first(self.policy, 10);
        let few = Hub::raise(&policy)?;
        let ruleset = compile(&policy)?;
        few.nft.load(&ruleset).map_err(said)?;
        few.nft.apply(&ruleset.alive_for(3600)).map_err(said)?;
        let flows: Vec<Flow> = policy.rules.iter().filter_map(|rule| flow(&policy, rule, 1300)).collect();
        for turn in 0..=TURNS {
            let speeds = if turn % 2 == 0 {
                let many = speed(&self.hub, &flows)?;
                (many, speed(&few, &flows)?)
            } else {
                let few = speed(&few, &flows)?;
                (speed(&self.hub, &flows)?, few)
            };
            // The first one warms up.
            if turn > 0 {
                record.add(MANY, speeds.0);
                record.add(FEW, speeds.1);
                record.add(SHARE, 100.0 * speeds.0 / speeds.1);
            }
        }
        Ok(())
    }
}

/// What was seen of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    allowed: u64,
    lost: u64,
    forbidden: u64,
    leaked: u64,
}

/// Packets per second that a hub forwards from the device into it again, one after the other, both ways.
fn speed(hub: &Hub, flows: &[Flow]) -> Result<f64, String> {
    let (mut room, mut passed) = (room(), 0_u64);
    let begun = Instant::now();
    while begun.elapsed() < TURN {
        for packet in flows.iter().flat_map(|flow| [&flow.there, &flow.back]) {
            if hub.passes(packet, &mut room)? == 0 {
                return Err("a packet that an agreement allows was not relayed".to_owned());
            }
            passed += 1;
        }
    }
    Ok(number(passed) / begun.elapsed().as_secs_f64())
}
