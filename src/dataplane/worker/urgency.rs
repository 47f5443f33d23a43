//! How urgent the worker's work is to the scheduler.
//!
//! ```text
//!              ≥ 2 % of a processor
//!   ordinary ───────────────────────▶ round robin, for 90 ms of work in each 100 ms
//!       ▲                                  │
//!       └──────────────────────────────────┘
//!              < 1 %, or woken for every packet
//! ```
//!
//! Linux forwards in softirqs, before any program. A worker of the ordinary class waits its turn instead, up to some
//! milliseconds at each end of a tunnel, while programs compute beside it; that is most of the delay of a loaded
//! tunnel. In a real-time class it runs when a packet comes. It leaves that class for the rest of a period when it has
//! used most of it, so that others always get their share, and the kernel need not enforce it with a pause of 50 ms
//! (`sched_rt_runtime_us`). And when it is idle, where the ordinary class wakes it sooner, on the processor that has its
//! data. And where small packets come one by one: to be woken for each of them at once, before its sender has made the
//! next, costs four times as much as to find some of them together.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use crate::dataplane::{Scheduling, SchedulingState};
use crate::sys::schedule::{self, Class};

/// The worker's share is that of a period.
const PERIOD: Duration = Duration::from_millis(100);
/// The work of one during which it may be urgent.
const BUDGET: Duration = Duration::from_millis(90);
/// Per mille of a processor: from `LOADED` on there is load, below `IDLE` none.
const LOADED: u128 = 20;
const IDLE: u128 = 10;

/// Rounds per second of a worker that is woken for every packet: superpackets make 5,000 at most.
const BUSTLE: u128 = 15_000;
/// How long such a worker is left alone.
const CALM: Duration = Duration::from_secs(5);

/// How a worker stands with the scheduler.
#[derive(Debug)]
pub(in crate::dataplane) struct Urgency {
    class: Class,
    state: SchedulingState,
    course: Course,
}

impl Urgency {
    pub(super) fn new(scheduling: Scheduling, now: Instant) -> Self {
        let state = match scheduling {
            Scheduling::Urgent => SchedulingState::Urgent,
            Scheduling::Ordinary => SchedulingState::Ordinary,
        };
        Self { class: Class::Ordinary, state, course: Course::new(now) }
    }

    /// What was asked for and permitted.
    pub(in crate::dataplane) fn state(&self) -> SchedulingState {
        self.state
    }

    /// Finds out for the calling thread whether it may be urgent, so that nobody is surprised under load.
    pub(super) fn probe(&mut self) {
        if self.state == SchedulingState::Urgent {
            self.enter(Class::RoundRobin);
            self.enter(Class::Ordinary);
        }
    }

    /// Looks at how much the calling thread has worked, now in so many rounds since it began, and puts it where it
    /// belongs.
    pub(super) fn look(&mut self, rounds: u64, now: Instant) {
        // Who is ordinary is so until the period is over: it need not be asked what it has worked.
        let settled = self.class == Class::Ordinary && !self.course.is_over(now);
        if settled || self.state != SchedulingState::Urgent {
            return;
        }
        let Ok(worked) = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from) else { return };
        let class = self.course.class(worked, rounds, now);
        if class != self.class {
            self.enter(class);
        }
    }

    fn enter(&mut self, class: Class) {
        match schedule::enter(class) {
            Ok(()) => self.class = class,
            Err(errno) => {
                self.state = SchedulingState::Refused;
                let remedy = if errno == Errno::EPERM { "; CAP_SYS_NICE would allow it" } else { "" };
                tracing::info!("packets may wait for other programs: no real-time scheduling: {errno}{remedy}");
            }
        }
    }
}

/// What a worker has done in the last period, and in this one.
#[derive(Debug)]
struct Course {
    /// When this period began, after how much work and how many rounds.
    since: Instant,
    worked: Duration,
    rounds: u64,
    /// Whether there was load in the last period.
    loaded: bool,
    /// Not to become urgent before this.
    calm: Option<Instant>,
}

impl Course {
    fn new(now: Instant) -> Self {
        Self { since: now, worked: Duration::ZERO, rounds: 0, loaded: false, calm: None }
    }

    /// Whether this period is over.
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= PERIOD
    }

    /// Where a worker belongs that has worked for so long and in so many rounds since it began.
    fn class(&mut self, worked: Duration, rounds: u64, now: Instant) -> Class {
        if self.is_over(now) {
            let passed = now.saturating_duration_since(self.since);
            let rate = |amount: u128, unit: u128| amount * unit / passed.as_nanos();
            let share = rate(worked.saturating_sub(self.worked).as_nanos(), 1000);
            self.loaded = share >= if self.loaded { IDLE } else { LOADED };
            if rate(rounds.saturating_sub(self.rounds).into(), 1_000_000_000) > BUSTLE {
                self.calm = Some(now + CALM);
            }
            (self.since, self.worked, self.rounds) = (now, worked, rounds);
        }
        let spent = worked.saturating_sub(self.worked) >= BUDGET;
        let calm = self.calm.is_some_and(|until| now < until);
        if self.loaded && !spent && !calm { Class::RoundRobin } else { Class::Ordinary }
    }
}

#[cfg(test)]
mod tests {
    use Class::{Ordinary, RoundRobin};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The class after each period of 100 ms, in which a worker works for so many thousandths of it.
    fn classes<const N: usize>(shares: [u32; N]) -> [Class; N] {
        let begun = Instant::now();
        let mut course = Course::new(begun);
        let (mut worked, mut now) = (Duration::ZERO, begun);
        shares.map(|share| {
            worked += share * PERIOD / 1000;
            now += PERIOD;
            course.class(worked, 0, now)
        })
    }

    #[test]
    fn load_is_urgent_and_idleness_is_not() {
        assert_eq!(classes([0, 19]), [Ordinary; 2]);
        assert_eq!(
            classes([20, 15, 10, 9, 19, 20]),
            [RoundRobin, RoundRobin, RoundRobin, Ordinary, Ordinary, RoundRobin]
        );
        assert_eq!(classes([900, 1000, 1000]), [RoundRobin; 3]);
    }

    #[test]
    fn others_get_the_rest_of_each_period() {
        let begun = Instant::now();
        let mut course = Course::new(begun);
        // It never rests: what it has worked is what has passed.
        let urgent = |course: &mut Course, ms: u32| course.class(ms * MS, 0, begun + ms * MS) == RoundRobin;
        assert!(urgent(&mut course, 100));
        let urgent: Vec<u32> = (100..400).step_by(10).filter(|ms| urgent(&mut course, *ms)).collect();
        let rest = (100..400).step_by(10).filter(|ms| !urgent.contains(ms)).collect::<Vec<u32>>();
        assert_eq!(rest, [190, 290, 390]);
    }

    #[test]
    fn a_worker_that_is_to_be_ordinary_stays_so_whatever_it_does() {
        let now = Instant::now();
        let mut urgency = Urgency::new(Scheduling::Ordinary, now);
        urgency.probe();
        urgency.look(1, now + PERIOD);
        assert_eq!((urgency.class, urgency.course.since), (Ordinary, now));
        assert_eq!(urgency.state(), SchedulingState::Ordinary);
    }

    #[test]
    fn who_is_woken_for_every_packet_is_left_alone_for_a_while() {
        let begun = Instant::now();
        let mut course = Course::new(begun);
        let (mut rounds, mut worked) = (0, Duration::ZERO);
        let mut after = |rounds_per_second: u64, ms: u32| {
            rounds += rounds_per_second / 10;
            worked += PERIOD / 2;
            course.class(worked, rounds, begun + ms * MS)
        };
        assert_eq!(after(5_000, 100), RoundRobin);
        assert_eq!(after(100_000, 200), Ordinary);
        assert_eq!(after(5_000, 300), Ordinary, "although it is quieter then, since that may be the effect");
        assert_eq!(after(1_000, 5_100), Ordinary);
        assert_eq!(after(5_000, 5_300), RoundRobin);
    }
}
