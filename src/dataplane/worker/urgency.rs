//! How urgent the worker's work is to the scheduler.
//!
//! ```text
//!              ≥ 2 % of a processor, ≤ 90 %
//!   ordinary ───────────────────────────────▶ round robin
//!       ▲                                          │
//!       └──────────────────────────────────────────┘
//!              < 1 %, or > 90 %, or woken for every packet
//! ```
//!
//! Linux forwards in softirqs, before any program. A worker of the ordinary class waits its turn instead, up to some
//! milliseconds at each end of a tunnel, while programs compute beside it; that is most of the delay of a loaded
//! tunnel. In a real-time class it runs when a packet comes. It leaves that class when it has taken nearly the whole
//! processor, so that others always get their share; and when it is idle, where the ordinary class wakes it sooner, on
//! the processor that has its data. And where small packets come one by one: to be woken for each of them at once, before
//! its sender has made the next, costs four times as much as to find some of them together.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use crate::dataplane::Scheduling;
use crate::sys::schedule::{self, Class};

/// How often the worker's share is looked at, at most.
const PERIOD: Duration = Duration::from_millis(100);
/// Per mille of a processor: from `LOADED` on there is load, below `IDLE` none; above `HOG` others would starve.
const LOADED: u128 = 20;
const IDLE: u128 = 10;
const HOG: u128 = 900;

/// Rounds per second of a worker that is woken for every packet: superpackets make 5,000 at most.
const BUSTLE: u128 = 15_000;
/// How long such a worker is left alone.
const CALM: Duration = Duration::from_secs(5);

/// How a worker stands with the scheduler.
#[derive(Debug)]
pub(super) struct Urgency {
    class: Class,
    /// Whether it is to change: not asked for, or refused.
    fixed: bool,
    looked: Instant,
    worked: Duration,
    rounds: u64,
    /// Not to become urgent before this.
    calm: Option<Instant>,
}

impl Urgency {
    pub(super) fn new(scheduling: Scheduling, now: Instant) -> Self {
        let fixed = scheduling == Scheduling::Ordinary;
        Self { class: Class::Ordinary, fixed, looked: now, worked: Duration::ZERO, rounds: 0, calm: None }
    }

    /// Looks at how much the calling thread has worked since the last time, now in so many rounds since it began, and
    /// puts it where it belongs.
    pub(super) fn look(&mut self, rounds: u64, now: Instant) {
        let passed = now.saturating_duration_since(self.looked);
        if self.fixed || passed < PERIOD {
            return;
        }
        let Ok(worked) = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from) else { return };
        let share = worked.saturating_sub(self.worked).as_nanos() * 1000 / passed.as_nanos().max(1);
        let bustle = u128::from(rounds.saturating_sub(self.rounds)) * 1_000_000_000 / passed.as_nanos().max(1);
        (self.looked, self.worked, self.rounds) = (now, worked, rounds);
        if bustle > BUSTLE {
            self.calm = Some(now + CALM);
        }
        let calm = self.calm.is_some_and(|until| now < until);
        let class = if calm { Class::Ordinary } else { next(self.class, share) };
        if class != self.class {
            self.enter(class);
        }
    }

    fn enter(&mut self, class: Class) {
        match schedule::enter(class) {
            Ok(()) => self.class = class,
            Err(errno) => {
                self.fixed = true;
                let remedy = if errno == Errno::EPERM { "; CAP_SYS_NICE would allow it" } else { "" };
                tracing::info!("packets may wait for other programs: no real-time scheduling: {errno}{remedy}");
            }
        }
    }
}

/// Where a worker belongs that used so many per mille of a processor.
fn next(class: Class, share: u128) -> Class {
    match class {
        Class::Ordinary if (LOADED..=HOG).contains(&share) => Class::RoundRobin,
        Class::RoundRobin if !(IDLE..=HOG).contains(&share) => Class::Ordinary,
        stays => stays,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_urgent_but_neither_idleness_nor_what_would_starve_others() {
        use Class::{Ordinary, RoundRobin};
        let after = |class, shares: &[u128]| shares.iter().fold(class, |class, share| next(class, *share));
        assert_eq!(after(Ordinary, &[0, 19]), Ordinary);
        assert_eq!(after(Ordinary, &[20]), RoundRobin);
        assert_eq!(after(Ordinary, &[900]), RoundRobin);
        assert_eq!(after(Ordinary, &[901, 1000]), Ordinary);
        assert_eq!(after(RoundRobin, &[15, 500, 900, 10]), RoundRobin);
        assert_eq!(after(RoundRobin, &[9]), Ordinary);
        assert_eq!(after(RoundRobin, &[901]), Ordinary);
    }

    #[test]
    fn a_worker_that_is_to_be_ordinary_stays_so_whatever_it_does() {
        let now = Instant::now();
        let mut urgency = Urgency::new(Scheduling::Ordinary, now);
        urgency.look(1, now + PERIOD);
        assert_eq!((urgency.class, urgency.looked), (Class::Ordinary, now));
    }

    #[test]
    fn who_is_woken_for_every_packet_is_left_alone_for_a_while() {
        let begun = Instant::now();
        let mut urgency = Urgency::new(Scheduling::Urgent, begun);
        let mut rounds = 0;
        let mut after = |rounds_per_second: u64, milliseconds: u64| {
            rounds += rounds_per_second / 10;
            let now = begun + Duration::from_millis(milliseconds);
            urgency.look(rounds, now);
            urgency.calm.is_some_and(|until| now < until)
        };
        assert!(!after(5_000, 100));
        assert!(after(100_000, 200), "and even if it becomes quieter then, since that may be the effect:");
        assert!(after(5_000, 300));
        assert!(after(1_000, 5_100));
        assert!(!after(5_000, 5_300));
    }
}
