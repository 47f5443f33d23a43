//! CoDel (RFC 8289): whether a queue has stood for too long, judged by how long its packets have waited.
//!
//! ```text
//!   waited < target, or nothing else waits                        every interval / √count
//!          ┌──────────────┐  waited ≥ target for an interval  ┌───────────────┐
//!          │   passing    │ ────────────────────────────────▶ │  signalling   │ ──▶ one packet is dropped or marked
//!          └──────────────┘ ◀──────────────────────────────── └───────────────┘
//!                                   waited < target
//! ```

use std::time::{Duration, Instant};

/// The target is a twentieth of the interval (RFC 8289, section 4.4).
const TARGETS: u32 = 20;

/// What CoDel remembers of one queue.
#[derive(Clone, Copy, Debug)]
pub struct Codel {
    /// For how long a queue may stand.
    target: Duration,
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
    /// For a queue that is to be told when it has stood for longer than `interval`, about the longest usual round trip of
    /// what goes through it (RFC 8289, section 4.3).
    pub const fn new(interval: Duration) -> Self {
        let target = match interval.checked_div(TARGETS) {
            Some(target) => target,
            None => Duration::ZERO,
        };
        Self { target, deadline: None, next: None, count: 0, former: None }
    }

    fn interval(&self) -> Duration {
        TARGETS * self.target
    }

    /// Whether the packet that leaves the queue now, after having waited for `sojourn`, is to carry the signal. `standing`
    /// says whether more packets wait behind it.
    pub fn signals(&mut self, sojourn: Duration, standing: bool, now: Instant) -> bool {
        if sojourn < self.target || !standing {
            self.deadline = None;
            if self.next.take().is_some() {
                self.former = Some((self.count, now));
            }
            return false;
        }
        let interval = self.interval();
        match self.next {
            Some(next) if now >= next => {
                self.count += 1;
                self.next = Some(next + self.spacing());
                true
            }
            Some(_) => false,
            None if now >= *self.deadline.get_or_insert(now + interval) => {
                self.begin(now);
                true
            }
            None => false,
        }
    }

    /// Signalling begins, at the former rate if it ended a short while ago (RFC 8289, section 5.5).
    fn begin(&mut self, now: Instant) {
        let recent = |at: Instant| now.saturating_duration_since(at) < 16 * self.interval();
        self.count = match self.former {
            Some((count, at)) if count > 2 && recent(at) => count - 2,
            Some(_) | None => 1,
        };
        self.next = Some(now + self.spacing());
    }

    /// The control law: `interval / √count`.
    fn spacing(&self) -> Duration {
        self.interval().div_f64(f64::from(self.count.max(1)).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn codel() -> Codel {
        Codel::new(100 * MS)
    }

    /// Signals within `span` when every packet waits for `sojourn`, one packet each millisecond.
    fn run(codel: &mut Codel, begun: Instant, span: u32, sojourn: Duration, standing: bool) -> Vec<u32> {
        (0..span).filter(|ms| codel.signals(sojourn, standing, begun + *ms * MS)).collect()
    }

    #[test]
    fn a_queue_that_stands_is_signalled_ever_faster() {
        let signals = run(&mut codel(), Instant::now(), 500, 6 * MS, true);
        assert_eq!(signals, [100, 200, 271, 329, 379, 424, 464], "100 ms, then each 100 ms / √n");
    }

    #[test]
    fn a_short_wait_a_burst_and_the_last_packet_are_not_signalled() {
        let now = Instant::now();
        assert!(run(&mut codel(), now, 1000, 4 * MS, true).is_empty(), "below the target");
        assert!(run(&mut codel(), now, 1000, 50 * MS, false).is_empty(), "nothing else waits");
        let mut codel = codel();
        assert!(run(&mut codel, now, 90, 50 * MS, true).is_empty(), "a burst of 90 ms");
        assert!(!codel.signals(MS, true, now + 91 * MS));
        assert!(run(&mut codel, now + 92 * MS, 90, 50 * MS, true).is_empty(), "and another");
    }

    #[test]
    fn a_queue_that_stands_again_soon_is_signalled_at_the_former_rate() {
        let now = Instant::now();
        let mut codel = codel();
        assert_eq!(run(&mut codel, now, 500, 6 * MS, true).len(), 7);
        assert!(!codel.signals(MS, true, now + 500 * MS));
        let again = run(&mut codel, now + 510 * MS, 250, 6 * MS, true);
        assert_eq!(again[..3], [100, 145, 186], "the former count less two");
    }
}
