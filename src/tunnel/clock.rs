//! Notices when the time of day was put right.
//!
//! An initiation carries a time stamp that must grow (TAI64N). boringtun reads the time of day once per engine, so an
//! engine made before a machine without a battery-backed clock learnt the time stays in the past, and its
//! initiations are refused by peers that have seen a later stamp: it must be made anew. A clock that was put *back*
//! calls for the opposite: the old engine's stamps go on growing, those of a new one would be refused.

use std::time::{Duration, Instant, SystemTime};

/// Less is slewing, not a step.
const STEP: Duration = Duration::from_secs(1);

/// Compares the time of day with a clock that is never put right.
#[derive(Debug)]
pub struct ClockWatch {
    now: Instant,
    wall: SystemTime,
}

impl ClockWatch {
    /// Begins to watch.
    pub fn new(now: Instant, wall: SystemTime) -> Self {
        Self { now, wall }
    }

    /// Whether the time of day has been put forward since the last call.
    pub fn put_forward(&mut self, now: Instant, wall: SystemTime) -> bool {
        let expected = self.wall + now.saturating_duration_since(self.now);
        *self = Self { now, wall };
        wall.duration_since(expected).is_ok_and(|ahead| ahead >= STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_step_forward_counts() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let second = Duration::from_secs(1);
        let mut watch = ClockWatch::new(now, wall);
        assert!(!watch.put_forward(now + second, wall + second));
        assert!(!watch.put_forward(now + 2 * second, wall + 2 * second + second / 2), "slewing");
        assert!(watch.put_forward(now + 3 * second, wall + 100 * second));
        assert!(!watch.put_forward(now + 4 * second, wall + 101 * second), "once per step");
        assert!(!watch.put_forward(now + 5 * second, wall + 5 * second), "backwards");
    }
}
