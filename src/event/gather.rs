//! Many packets, few events: flows are gathered for a window, and at its end so many events are let out as the
//! budget allows. Everything else is counted.
//!
//! ```text
//!                     ┌ opened flows              50 events/s
//!  record ─▶ lane ────┼ refused by policy         20 events/s    a flood in one lane takes nothing from another
//!                     └ refused by protection      5 events/s
//!               │
//!               └ up to 2,048 flows ─▶ flush: largest first, while there are tokens ─▶ Event
//!                 others ───────────────────────────────────── counted by cause ────▶ the cause's next `suppressed`
//! ```
//!
//! A cause with something suppressed and no event of its own in a window gets one without addresses, so that the sum
//! is whole at the end of each window.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use super::{Event, Flow, Tier};
use crate::ruleset::Cause;

/// How long packets are gathered.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Flows that a lane holds in a window.
const FLOWS: usize = 2_048;

/// Gathers packets, window by window.
#[derive(Debug)]
pub struct Gatherer {
    lanes: [Lane; 3],
    suppressed: BTreeMap<Cause, u64>,
}

/// What a window came to.
#[derive(Debug, Default)]
pub struct Flushed {
    /// The events to write.
    pub events: Vec<Event>,
    /// Packets that are told by their `suppressed` alone.
    pub suppressed: u64,
}

#[derive(Debug)]
struct Lane {
    flows: HashMap<Flow, Event>,
    bucket: Bucket,
}

/// Tokens, each worth an event.
#[derive(Debug)]
struct Bucket {
    per_second: u64,
    burst: u64,
    /// In microseconds' worth of an event per second, so that nothing is rounded away.
    millionths: u64,
}

impl Default for Gatherer {
    fn default() -> Self {
        Self::new()
    }
}

impl Gatherer {
    /// Empty, with full buckets.
    pub fn new() -> Self {
        let lane = |per_second, burst| Lane { flows: HashMap::new(), bucket: Bucket::full(per_second, burst) };
        Self { lanes: [lane(50, 1_000), lane(20, 400), lane(5, 100)], suppressed: BTreeMap::new() }
    }

    /// Whether nothing was gathered or suppressed since the last flush.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.flows.is_empty()) && self.suppressed.is_empty()
    }

    /// Adds a packet that the kernel told of at this time. `describe` makes the event of a flow that is new.
    pub fn record(
        &mut self,
        flow: Flow,
        source_port: Option<u16>,
        length: u32,
        at: Timestamp,
        describe: impl FnOnce(&Flow) -> Event,
    ) {
        let lane = &mut self.lanes[lane(flow.cause)];
        if lane.flows.len() >= FLOWS && !lane.flows.contains_key(&flow) {
            return self.untold(flow.cause, 1);
        }
        let event = lane.flows.entry(flow).or_insert_with_key(|flow| Event { source_port, ..describe(flow) });
        event.packets += 1;
        event.bytes += u64::from(length);
        event.first.get_or_insert(at);
        event.last = Some(at);
        if event.source_port != source_port {
            event.source_port = None;
        }
    }

    /// Counts packets that nothing else is known of.
    pub fn untold(&mut self, cause: Cause, packets: u64) {
        if packets > 0 {
            let count = self.suppressed.entry(cause).or_default();
            *count = count.saturating_add(packets);
        }
    }

    /// Ends a window that took so long, at this time. `blank` makes an event without addresses.
    pub fn flush(&mut self, took: Duration, at: Timestamp, blank: impl Fn(Cause) -> Event) -> Flushed {
        let mut events = Vec::new();
        for lane in &mut self.lanes {
            lane.bucket.fill(took);
            let mut gathered: Vec<(Flow, Event)> = lane.flows.drain().collect();
            gathered
                .sort_unstable_by(|(one, a), (other, b)| (Reverse(a.packets), one).cmp(&(Reverse(b.packets), other)));
            for (_, event) in gathered {
                if lane.bucket.take() {
                    events.push(Event { time: at, ..event });
                } else {
                    *self.suppressed.entry(event.reason).or_default() += event.packets;
                }
            }
        }
        let suppressed = std::mem::take(&mut self.suppressed);
        let total = suppressed.values().sum();
        for (cause, packets) in suppressed {
            match events.iter_mut().find(|event| event.reason == cause) {
                Some(event) => event.suppressed = packets,
                None => events.push(Event { suppressed: packets, time: at, ..blank(cause) }),
            }
        }
        Flushed { events, suppressed: total }
    }
}

fn lane(cause: Cause) -> usize {
    match Tier::of(cause) {
        Tier::Agreement => 0,
        Tier::Guardrail | Tier::Default => 1,
        Tier::Protection => 2,
    }
}

impl Bucket {
    fn full(per_second: u64, burst: u64) -> Self {
        Self { per_second, burst, millionths: burst * 1_000_000 }
    }

    fn fill(&mut self, passed: Duration) {
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let more = micros.saturating_mul(self.per_second);
        self.millionths = self.millionths.saturating_add(more).min(self.burst * 1_000_000);
    }

    fn take(&mut self) -> bool {
        let left = self.millionths.checked_sub(1_000_000);
        self.millionths = left.unwrap_or(self.millionths);
        left.is_some()
    }
}
