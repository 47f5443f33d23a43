//! The kernel's clocks, and what it knows about them (`adjtimex(2)`), as the host's time service left it there.

use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// What the clocks say at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `CLOCK_REALTIME`, which anybody with the right to may set.
    pub wall: Timestamp,
    /// `CLOCK_BOOTTIME`, which nobody can set, and which goes on while the machine is suspended (`clock_gettime(2)`).
    pub boottime: Duration,
}

/// Reads both.
pub fn now() -> Reading {
    let boottime = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    // Every kernel since 2.6.39 has it.
    Reading { wall: Timestamp::now(), boottime: boottime.unwrap_or_default() }
}

/// What tells one start of this machine from another (`random(4)`); empty where the kernel does not tell.
pub fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The kernel's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// Whether a time service keeps it synchronised.
    pub synchronised: bool,
    /// How far it may be off, in seconds.
    pub error_bound: f64,
}

/// Reads the clock's state; `None` where the kernel does not tell.
pub fn read() -> Option<Clock> {
    // SAFETY: all zeros are a valid timex (plain numbers), and mode 0 only reads into it.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    if state < 0 {
        return None;
    }
    let microseconds = u32::try_from(timex.maxerror).unwrap_or(u32::MAX);
    let synchronised = state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0;
    Some(Clock { synchronised, error_bound: f64::from(microseconds) / 1e6 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boottime_goes_on_and_a_boot_has_one_name() {
        let before = now();
        assert!(before.boottime > Duration::ZERO && now().boottime >= before.boottime);
        assert_eq!((boot().len(), boot()), (36, boot()));
    }

    #[test]
    fn the_clock_can_be_read_without_privilege_and_its_bound_is_no_nonsense() {
        if let Some(clock) = read() {
            assert!(clock.error_bound >= 0.0 && clock.error_bound < 5000.0, "{clock:?}");
        }
    }
}
