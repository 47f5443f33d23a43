//! CoDel (RFC 8289): whether a queue has stood for too long, judged by how long its packets have waited.
//!
//! ```text
//!   waited < 5 ms, or nothing else waits                       every 100 ms / √count
//!          ┌──────────────┐   waited ≥ 5 ms for 100 ms    ┌───────────────┐
//!          │   passing    │ ────────────────────────────▶ │  signalling   │ ──▶ one packet is dropped or marked
//!          └──────────────┘ ◀──────────────────────────── └───────────────┘
//!                                 waited < 5 ms
//! ```

use std::time::{Duration, Instant};

/// A queue may stand for this long (RFC 8289, section 4.4).
const TARGET: Duration = Duration::from_millis(5);
/// It must have stood longer than the target for this time: about the longest usual round trip (section 4.3).
const INTERVAL: Duration = Duration::from_millis(100);

/// What CoDel remembers of one queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codel {
    /// When a queue that stands will have stood for an interval.
    deadline: Option<Instant>,
    /// When to signal next; `None` while all pass.
    next: Option<Instant>,
    /// Signals since signalling began.
    count: u32,
    /// What `count` was when the last signalling ended, and when that was.
    former: Option<(u32, Instant)>,
}

impl Codel {
    /// Whether the packet that leaves the queue now, after having waited for `sojourn`, is to carry the signal. `standing`
    /// says whether more packets wait behind it.
    pub fn signals(&mut self, sojourn: Duration, standing: bool, now: Instant) -> bool {
        if sojourn < TARGET || !standing {
            self.deadline = None;
            if self.next.take().is_some() {
                self.former = Some((self.count, now));
            }
            return false;
        }
        match self.next {
            Some(next) if now >= next => {
                self.count += 1;
                self.next = Some(next + spacing(self.count));
                true
            }
            Some(_) => false,
            None if now >= *self.deadline.get_or_insert(now + INTERVAL) => {
                self.begin(now);
                true
            }
            None => false,
        }
    }

    /// Signalling begins, at the former rate if it ended a short while ago (RFC 8289, section 5.5).
    fn begin(&mut self, now: Instant) {
        let recent = |at: Instant| now.saturating_duration_since(at) < 16 * INTERVAL;
        self.count = match self.former {
            Some((count, at)) if count > 2 && recent(at) => count - 2,
            Some(_) | None => 1,
        };
        self.next = Some(now + spacing(self.count));
    }
}

/// The control law: `INTERVAL / √count`.
fn spacing(count: u32) -> Duration {
    INTERVAL.div_f64(f64::from(count.max(1)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Signals within `span` when every packet waits for `sojourn`, one packet each millisecond.
    fn run(codel: &mut Codel, begun: Instant, span: u32, sojourn: Duration, standing: bool) -> Vec<u32> {
        (0..span).filter(|ms| codel.signals(sojourn, standing, begun + *ms * MS)).collect()
    }

    #[test]
    fn a_queue_that_stands_is_signalled_ever_faster() {
        let signals = run(&mut Codel::default(), Instant::now(), 500, 6 * MS, true);
        assert_eq!(signals, [100, 200, 271, 329, 379, 424, 464], "100 ms, then each 100 ms / √n");
    }

    #[test]
    fn a_short_wait_a_burst_and_the_last_packet_are_not_signalled() {
        let now = Instant::now();
        assert!(run(&mut Codel::default(), now, 1000, 4 * MS, true).is_empty(), "below the target");
        assert!(run(&mut Codel::default(), now, 1000, 50 * MS, false).is_empty(), "nothing else waits");
        let mut codel = Codel::default();
        assert!(run(&mut codel, now, 90, 50 * MS, true).is_empty(), "a burst of 90 ms");
        assert!(!codel.signals(MS, true, now + 91 * MS));
        assert!(run(&mut codel, now + 92 * MS, 90, 50 * MS, true).is_empty(), "and another");
    }

    #[test]
    fn a_queue_that_stands_again_soon_is_signalled_at_the_former_rate() {
        let now = Instant::now();
        let mut codel = Codel::default();
        assert_eq!(run(&mut codel, now, 500, 6 * MS, true).len(), 7);
        assert!(!codel.signals(MS, true, now + 500 * MS));
        let again = run(&mut codel, now + 510 * MS, 250, 6 * MS, true);
        assert_eq!(again[..3], [100, 145, 186], "the former count less two");
    }
}
