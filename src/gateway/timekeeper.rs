//! What a gateway knows of the time and of the controller's silence, whatever its clock says.
//!
//! ```text
//!  BOOTTIME ──▶ settle: silence and the known time go on, suspended or not, whoever sets the clock
//!  heartbeat ─▶ hear:   silence ends; the clock is confirmed if it says about what the heartbeat says
//!  new boot ──▶ wake:   the known time is a floor; silence goes on from what was written, and a while more
//! ```
//!
//! Once confirmed, time is what BOOTTIME adds to it: setting the clock changes nothing until the next heartbeat. Before, nobody
//! vouches for the clock, and [`Clock::Unconfirmed`] says what is known. What is written in between is [`Memory`].

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::bundle::{Clock, Heartbeat, Moment};
use crate::sys::clock::Reading;

/// How often [`Memory`] is written. Each start of the machine is charged with as much silence, so that starting it again
/// and again does not stop the count.
pub const PERIOD: Duration = Duration::from_secs(60);

/// How far clock and heartbeat may be apart for the one to confirm the other: as for Kerberos (RFC 4120, section 5.5.1 and
/// section 8.2), whose tickets have the same use for a clock.
pub const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Who vouches for the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authority {
    /// The controller's heartbeats.
    #[default]
    Heartbeat,
    /// The host, whose time service is authenticated (RFC 8915) or is a clock of its own.
    Host,
}

/// What outlives the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// The boot of the machine in which it was written.
    boot: String,
    /// BOOTTIME then.
    boottime: Duration,
    /// The later of clock and known time then.
    latest: Timestamp,
    /// The time that was vouched for, gone on since.
    known: Option<Timestamp>,
    /// Whether it is the time, as against a floor.
    confirmed: bool,
    /// The number of the last heartbeat; 0 for none.
    heartbeat: u64,
    /// The last generation that was taken.
    generation: u64,
    /// How long the controller had not been heard.
    silence: Duration,
}

/// Why a heartbeat is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    /// It was taken, or a later one.
    #[error("heartbeat {number} comes after heartbeat {last}: numbers rise")]
    Replayed {
        /// Its number.
        number: u64,
        /// The last one taken.
        last: u64,
    },
    /// It is of a time that has not come.
    #[error("the heartbeat is of {at}, and it is {now}")]
    Future {
        /// When it says that it was signed.
        at: Timestamp,
        /// The confirmed time.
        now: Timestamp,
    },
    /// Its number is new and its time is not.
    #[error("the heartbeat is of {at}, and {known} has passed")]
    Older {
        /// When it says that it was signed.
        at: Timestamp,
        /// The time that is known to have passed.
        known: Timestamp,
    },
}

/// The keeper of the time.
#[derive(Clone, Debug)]
pub struct Timekeeper {
    memory: Memory,
    authority: Authority,
}

impl Timekeeper {
    /// Goes on from what was written, if anything was.
    pub fn wake(memory: Option<Memory>, boot: &str, reading: Reading, authority: Authority) -> Self {
        let Reading { wall, boottime } = reading;
        let fresh = || Memory {
            boot: boot.to_owned(),
            boottime,
            latest: wall,
            known: None,
            confirmed: false,
            heartbeat: 0,
            generation: 0,
            silence: Duration::ZERO,
        };
        let memory = match memory {
            None => fresh(),
            Some(memory) if memory.boot == boot => memory,
            Some(memory) => {
                // The machine was off for nobody knows how long: as long as the clock says, and at least a while.
                let off = wall.duration_since(memory.latest);
                let off = Duration::try_from(off).unwrap_or_default().max(PERIOD);
                let silence = memory.silence.saturating_add(off);
                Memory { boot: boot.to_owned(), boottime, confirmed: false, silence, ..memory }
            }
        };
        let mut keeper = Self { memory, authority };
        keeper.settle(reading);
        keeper
    }

    /// Lets the time go on to what the clocks say now.
    pub fn settle(&mut self, reading: Reading) {
        let passed = reading.boottime.saturating_sub(self.memory.boottime);
        let memory = &mut self.memory;
        memory.boottime = reading.boottime.max(memory.boottime);
        memory.silence = memory.silence.saturating_add(passed);
        memory.known = memory.known.map(|known| later(known, passed));
        memory.latest = memory.known.map_or(reading.wall, |known| known.max(reading.wall));
    }

    /// What time it is.
    pub fn clock(&self) -> Clock {
        let Memory { latest, known, confirmed, .. } = self.memory;
        match (self.authority, known) {
            (Authority::Host, _) => Clock::Confirmed(latest),
            (Authority::Heartbeat, Some(known)) if confirmed => Clock::Confirmed(known),
            (Authority::Heartbeat, known) => {
                Clock::Unconfirmed { latest, floor: known.unwrap_or(Timestamp::UNIX_EPOCH) }
            }
        }
    }

    /// What agreements depend on.
    pub fn moment(&self) -> Moment {
        Moment { clock: self.clock(), silence: self.memory.silence }
    }

    /// The number of the last heartbeat; 0 for none.
    pub fn heartbeat(&self) -> u64 {
        self.memory.heartbeat
    }

    /// What is to be written.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Takes a heartbeat whose network and signature have been verified. `reading` is what it was settled with last.
    ///
    /// # Errors
    /// [`Unheard`]: nothing has changed.
    pub fn hear(&mut self, heartbeat: &Heartbeat, reading: Reading) -> Result<(), Unheard> {
        let Heartbeat { number, at, .. } = *heartbeat;
        let last = self.memory.heartbeat;
        if number <= last {
            return Err(Unheard::Replayed { number, last });
        }
        if let Clock::Confirmed(now) = self.clock()
            && at.duration_since(now) > TOLERANCE
        {
            return Err(Unheard::Future { at, now });
        }
        if let Some(known) = self.memory.known.filter(|known| !self.memory.confirmed && at < *known) {
            return Err(Unheard::Older { at, known });
        }
        let near = reading.wall.duration_since(at).abs() <= TOLERANCE;
        let memory = &mut self.memory;
        memory.heartbeat = number;
        memory.known = memory.known.max(Some(at)).max(near.then_some(reading.wall));
        memory.confirmed |= near;
        memory.latest = memory.latest.max(at);
        // One that was long on its way says how long ago the controller lived.
        let known = if memory.confirmed { memory.known.unwrap_or(at) } else { memory.latest };
        let age = Duration::try_from(known.duration_since(at)).unwrap_or_default();
        memory.silence = memory.silence.min(age);
        Ok(())
    }

    /// That a bundle of this generation was taken: a new one is a sign of life of who signed it.
    pub fn take(&mut self, generation: u64) {
        if generation > self.memory.generation {
            self.memory.generation = generation;
            self.memory.silence = Duration::ZERO;
        }
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn noon() -> Timestamp {
        at("2026-11-22T12:00:00Z")
    }

    fn reading(wall: Timestamp, boottime: u64) -> Reading {
        Reading { wall, boottime: Duration::from_secs(boottime) }
    }

    fn heartbeat(number: u64, at: Timestamp) -> Heartbeat {
        Heartbeat { network: "connect".parse().expect("a name"), number, at }
    }

    fn seconds(count: i64) -> SignedDuration {
        SignedDuration::from_secs(count)
    }

    /// A machine that started at noon, with a gateway that has heard heartbeat 1.
    fn confirmed() -> Timekeeper {
        let now = reading(noon(), 100);
        let mut keeper = Timekeeper::wake(None, "one", now, Authority::Heartbeat);
        keeper.hear(&heartbeat(1, noon()), now).expect("heard");
        keeper
    }

    #[test]
    fn nobody_vouches_for_a_clock_until_a_heartbeat_says_the_same() {
        let now = reading(noon(), 100);
        let mut keeper = Timekeeper::wake(None, "one", now, Authority::Heartbeat);
        let floor = Timestamp::UNIX_EPOCH;
        assert_eq!(keeper.clock(), Clock::Unconfirmed { latest: noon(), floor });
        // Six minutes off: the controller lives, and the clock is not confirmed.
        keeper.hear(&heartbeat(1, noon() - seconds(360)), now).expect("heard");
        assert_eq!(keeper.clock(), Clock::Unconfirmed { latest: noon(), floor: noon() - seconds(360) });
        assert_eq!(keeper.moment().silence, Duration::ZERO, "it began to count just now");
        keeper.hear(&heartbeat(2, noon() - seconds(240)), now).expect("heard");
        assert_eq!(keeper.clock(), Clock::Confirmed(noon()));
    }

    #[test]
    fn a_host_that_vouches_for_its_clock_needs_no_heartbeat_and_never_goes_below_what_is_known() {
        let mut keeper = Timekeeper::wake(None, "one", reading(noon(), 100), Authority::Host);
        assert_eq!(keeper.clock(), Clock::Confirmed(noon()));
        keeper.hear(&heartbeat(1, noon()), reading(noon(), 100)).expect("heard");
        keeper.settle(reading(at("1970-01-01T00:00:00Z"), 110));
        assert_eq!(keeper.clock(), Clock::Confirmed(noon() + seconds(10)));
    }

    #[test]
    fn once_confirmed_setting_the_clock_changes_nothing() {
        for wall in ["1970-01-01T00:00:00Z", "2026-11-21T12:00:10Z", "2036-11-22T12:00:10Z", "2106-02-07T06:28:15Z"] {
            let mut keeper = confirmed();
            keeper.settle(reading(at(wall), 110));
            assert_eq!(keeper.clock(), Clock::Confirmed(noon() + seconds(10)), "{wall}");
            assert_eq!(keeper.moment().silence, Duration::from_secs(10), "{wall}");
        }
    }

    #[test]
    fn a_suspended_machine_and_a_restarted_process_know_how_long_it_was() {
        let keeper = confirmed();
        // BOOTTIME goes on while a machine is suspended.
        let now = reading(noon() + seconds(7200), 7300);
        let again = Timekeeper::wake(Some(keeper.memory().clone()), "one", now, Authority::Heartbeat);
        assert_eq!(again.clock(), Clock::Confirmed(noon() + seconds(7200)));
        assert_eq!(again.moment().silence, Duration::from_secs(2 * HOUR));
    }

    #[test]
    fn a_new_boot_knows_a_floor_and_no_time_and_is_charged_with_silence() {
        let memory = confirmed().memory().clone();
        // The clock stood still while it was off.
        let again = Timekeeper::wake(Some(memory.clone()), "two", reading(noon(), 5), Authority::Heartbeat);
        assert_eq!(again.clock(), Clock::Unconfirmed { latest: noon(), floor: noon() });
        assert_eq!(again.moment().silence, PERIOD);
        // It was turned back: the floor holds.
        let back = at("1999-12-31T00:00:00Z");
        let again = Timekeeper::wake(Some(memory.clone()), "two", reading(back, 5), Authority::Heartbeat);
        assert_eq!(again.clock(), Clock::Unconfirmed { latest: noon(), floor: noon() });
        // An hour passed, by the clock.
        let hour = noon() + seconds(3600);
        let again = Timekeeper::wake(Some(memory), "two", reading(hour, 5), Authority::Heartbeat);
        assert_eq!(again.moment().silence, Duration::from_secs(HOUR));
    }

    #[test]
    fn starting_it_again_and_again_with_the_clock_turned_back_uses_a_lease_up() {
        let mut memory = confirmed().memory().clone();
        let mut before = Duration::ZERO;
        for boot in 0..100 {
            // Each time it runs for ten seconds, less than lies between two writings.
            let now = reading(noon(), 5);
            let mut keeper = Timekeeper::wake(Some(memory), &format!("boot {boot}"), now, Authority::Heartbeat);
            memory = keeper.memory().clone();
            keeper.settle(reading(noon(), 15));
            assert!(keeper.moment().silence >= before + PERIOD);
            before = memory.silence;
        }
        assert_eq!(before, 100 * PERIOD);
    }

    #[test]
    fn each_heartbeat_that_is_not_taken_has_its_own_error_and_changes_nothing() {
        let keeper = confirmed();
        let now = reading(noon(), 100);
        let refused = |number, at| {
            let mut tried = keeper.clone();
            let error = tried.hear(&heartbeat(number, at), now).expect_err("a refusal");
            assert_eq!(tried.memory(), keeper.memory());
            error
        };
        assert_eq!(refused(1, noon()), Unheard::Replayed { number: 1, last: 1 });
        let future = noon() + seconds(301);
        assert_eq!(refused(2, future), Unheard::Future { at: future, now: noon() });
        let mut tried = keeper.clone();
        assert_eq!(tried.hear(&heartbeat(2, noon() + seconds(300)), now), Ok(()), "that much clocks may differ");
    }

    #[test]
    fn after_a_new_boot_a_heartbeat_from_before_the_floor_is_refused_whatever_its_number() {
        let memory = confirmed().memory().clone();
        let back = reading(noon() - seconds(HOUR.try_into().expect("few")), 5);
        let mut again = Timekeeper::wake(Some(memory), "two", back, Authority::Heartbeat);
        let old = noon() - seconds(3600);
        assert_eq!(again.hear(&heartbeat(9, old), back), Err(Unheard::Older { at: old, known: noon() }));
        // One that is newer than the floor ends the silence, and does not confirm a clock that is an hour behind.
        again.hear(&heartbeat(10, noon() + seconds(60)), back).expect("heard");
        let known = noon() + seconds(60);
        assert_eq!(again.clock(), Clock::Unconfirmed { latest: known, floor: known });
        assert_eq!(again.moment().silence, Duration::ZERO);
    }

    #[test]
    fn a_heartbeat_that_was_long_on_its_way_does_not_take_the_time_back_nor_end_all_silence() {
        let mut keeper = confirmed();
        let later = reading(noon() + seconds(7200), 7300);
        keeper.settle(later);
        keeper.hear(&heartbeat(2, noon() + seconds(3600)), later).expect("heard");
        assert_eq!(keeper.clock(), Clock::Confirmed(noon() + seconds(7200)));
        assert_eq!(keeper.moment().silence, Duration::from_secs(HOUR));
    }

    #[test]
    fn a_new_generation_is_a_sign_of_life_and_the_same_one_again_is_none() {
        let mut keeper = confirmed();
        keeper.take(7);
        keeper.settle(reading(noon(), 400));
        keeper.take(7);
        assert_eq!(keeper.moment().silence, Duration::from_secs(300));
        keeper.take(8);
        assert_eq!(keeper.moment().silence, Duration::ZERO);
    }
}
