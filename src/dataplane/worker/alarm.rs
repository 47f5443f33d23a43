//! The worker's alarm clock: a timer that stays set while packets come and go.
//!
//! A timeout of `epoll_wait` is set and cancelled each time that the worker sleeps, some microseconds for each packet of
//! an idle tunnel. This one is touched only when it has gone off, or is to go off earlier.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// The shortest time that a timer can be set to: 0 would take it back.
const SHORTEST: std::time::Duration = std::time::Duration::from_nanos(1);

/// A timer that can be waited for.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: TimerFd,
    /// When it goes off.
    at: Option<Instant>,
}

impl Alarm {
    /// One that is not set.
    pub(super) fn new() -> Result<Self, Errno> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        Ok(Self { timer: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?, at: None })
    }

    /// Sees to it that it goes off at `at`, or earlier.
    pub(super) fn set(&mut self, at: Instant) -> Result<(), Errno> {
        if self.at.is_some_and(|set| set <= at) {
            return Ok(());
        }
        let pause = at.saturating_duration_since(Instant::now()).max(SHORTEST);
        self.timer.set(Expiration::OneShot(TimeSpec::from_duration(pause)), TimerSetTimeFlags::empty())?;
        self.at = Some(at);
        Ok(())
    }

    /// It has gone off: it can be set again.
    pub(super) fn quiet(&mut self) {
        // What it says, how often it has gone off, does not matter; nor that it has not.
        self.timer.wait().unwrap_or_default();
        self.at = None;
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn goes_off_within(alarm: &Alarm, milliseconds: u8) -> bool {
        let mut fds = [PollFd::new(alarm.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(milliseconds)).expect("a poll") == 1
    }

    #[test]
    fn it_goes_off_at_the_earliest_time_that_it_was_set_to_and_not_before() {
        let mut alarm = Alarm::new().expect("an alarm");
        let begun = Instant::now();
        assert!(!goes_off_within(&alarm, 5));
        alarm.set(begun + Duration::from_secs(60)).expect("set");
        alarm.set(begun + Duration::from_millis(40)).expect("set");
        alarm.set(begun + Duration::from_secs(60)).expect("set");
        assert!(goes_off_within(&alarm, 250));
        assert!(begun.elapsed() >= Duration::from_millis(40));
        alarm.quiet();
        assert!(!goes_off_within(&alarm, 5));
        alarm.set(begun).expect("set");
        assert!(goes_off_within(&alarm, 250), "a time that has passed is due at once");
    }
}
