//! What the kernel knows about its own clock (`adjtimex(2)`), as the host's time service left it there.

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
    fn the_clock_can_be_read_without_privilege_and_its_bound_is_no_nonsense() {
        if let Some(clock) = read() {
            assert!(clock.error_bound >= 0.0 && clock.error_bound < 5000.0, "{clock:?}");
        }
    }
}
