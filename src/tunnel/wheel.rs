//! When which link is ticked: each 200 ms, but not all at once, and not those that have no use for it.
//!
//! ```text
//!   links  0-31   32-63   64-95   …  608-639 │ 640-671 …     groups of 32, a bit each: awake or asleep
//!            │      │       │          │           │
//!   slots    0      1       2    …     19          0  …      20 slots of 10 ms: a slot has each twentieth group
//! ```
//!
//! 5,000 links are 157 groups, so a slot has at most 256 links to visit. A handful of links is one group: then there is
//! one wake-up in 200 ms.

use std::time::{Duration, Instant};

/// Slots in a round.
const SLOTS: usize = 20;
/// How long a slot lasts, in milliseconds: a round takes 200 ms.
const MILLISECONDS: u64 = 10;
/// How often the wheel turns while all links are asleep: clocks are looked after all the same.
const IDLE: Duration = Duration::from_secs(1);
/// Links in a group.
const GROUP: usize = 32;
/// Where the visit of a slot stands when there is nothing more in it.
const DONE: usize = usize::MAX - SLOTS;

/// The wheel.
#[derive(Debug)]
pub struct Wheel {
    epoch: Instant,
    /// The links that are awake, by group.
    awake: Vec<u32>,
    /// How many groups of a slot have a link that is awake.
    stirring: [usize; SLOTS],
    /// The slot that is being visited, or was last, counted from the epoch.
    slot: usize,
    /// The last slot that is due.
    due: usize,
    /// Where the visit stands: the group, and its links that are still to be visited.
    group: usize,
    rest: u32,
    turned: Instant,
}

impl Wheel {
    /// A wheel on which all links are asleep.
    pub fn new(now: Instant) -> Self {
        Self { epoch: now, awake: Vec::new(), stirring: [0; SLOTS], slot: 0, due: 0, group: DONE, rest: 0, turned: now }
    }

    /// Whether a link is awake.
    pub fn is_awake(&self, link: usize) -> bool {
        self.awake.get(link / GROUP).is_some_and(|group| group & bit(link) != 0)
    }

    /// From now on a link is visited.
    pub fn wake(&mut self, link: usize) {
        let group = link / GROUP;
        if self.awake.len() <= group {
            self.awake.resize(group + 1, 0);
        }
        self.stirring[group % SLOTS] += usize::from(self.awake[group] == 0);
        self.awake[group] |= bit(link);
    }

    /// From now on a link is not visited any more.
    pub fn rest(&mut self, link: usize) {
        if !self.is_awake(link) {
            return;
        }
        let group = link / GROUP;
        self.awake[group] &= !bit(link);
        self.stirring[group % SLOTS] -= usize::from(self.awake[group] == 0);
        if group == self.group {
            self.rest &= !bit(link);
        }
    }

    /// Lets time pass. Who was not visited in time is due once, however long it was.
    pub fn turn(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.epoch).as_millis() / u128::from(MILLISECONDS);
        self.due = usize::try_from(elapsed).unwrap_or(usize::MAX).max(self.due);
        self.turned = now;
        if self.slot + SLOTS < self.due {
            self.enter(self.due - SLOTS);
            self.rest = 0;
            self.group = DONE;
        }
    }

    /// The next link that is due.
    pub fn next(&mut self) -> Option<usize> {
        loop {
            if self.rest != 0 {
                let link = self.rest.trailing_zeros();
                self.rest &= self.rest - 1;
                return Some(self.group * GROUP + usize::try_from(link).unwrap_or(0));
            }
            if self.group + SLOTS < self.awake.len() {
                self.group += SLOTS;
                self.rest = self.awake[self.group];
            } else if self.slot < self.due {
                self.enter(self.slot + 1);
            } else {
                self.group = DONE;
                return None;
            }
        }
    }

    /// When the next link is due: at the latest in a second.
    pub fn next_turn(&self) -> Instant {
        let unfinished = self.rest != 0 || self.group + SLOTS < self.awake.len() || self.slot < self.due;
        if unfinished {
            return self.turned;
        }
        let ahead = (1..=SLOTS).find(|ahead| self.stirring[(self.slot + ahead) % SLOTS] > 0);
        ahead.map_or(self.turned + IDLE, |ahead| self.begin(self.slot + ahead))
    }

    fn enter(&mut self, slot: usize) {
        self.slot = slot;
        self.group = slot % SLOTS;
        self.rest = self.awake.get(self.group).copied().unwrap_or(0);
    }

    fn begin(&self, slot: usize) -> Instant {
        let slots = u64::try_from(slot).unwrap_or(u64::MAX);
        self.epoch + Duration::from_millis(slots.saturating_mul(MILLISECONDS))
    }
}

fn bit(link: usize) -> u32 {
    1 << (link % GROUP)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn milliseconds(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    fn visits(wheel: &mut Wheel, now: Instant) -> Vec<usize> {
        wheel.turn(now);
        std::iter::from_fn(|| wheel.next()).collect()
    }

    fn wheel(links: usize) -> (Wheel, Instant) {
        let epoch = Instant::now();
        let mut wheel = Wheel::new(epoch);
        (0..links).for_each(|link| wheel.wake(link));
        (wheel, epoch)
    }

    #[test]
    fn each_of_5000_links_is_visited_once_in_200_ms_and_few_at_a_time() {
        let (mut wheel, epoch) = wheel(5000);
        let mut seen: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for at in 1..=2000 {
            let visited = visits(&mut wheel, epoch + milliseconds(at));
            assert!(visited.len() <= 256, "{} at {at} ms", visited.len());
            visited.into_iter().for_each(|link| seen.entry(link).or_default().push(at));
        }
        assert_eq!(seen.len(), 5000);
        for (link, at) in seen {
            assert_eq!(at.len(), 10, "{link}");
            assert!(at.windows(2).all(|pair| pair[1] - pair[0] == 200), "{link}: {at:?}");
        }
    }

    #[test]
    fn who_follows_next_turn_visits_each_link_in_time_and_wakes_no_oftener_than_needed() {
        for (links, turns) in [(1, 5), (32, 5), (388, 65), (5000, 100)] {
            let (mut wheel, epoch) = wheel(links);
            let mut number = 0;
            let mut seen = vec![0; links];
            loop {
                let now = wheel.next_turn();
                if now > epoch + milliseconds(1000) {
                    break;
                }
                number += 1;
                visits(&mut wheel, now).into_iter().for_each(|link| seen[link] += 1);
            }
            assert_eq!(number, turns, "turns in a second for {links} links");
            assert!(seen.iter().all(|number| *number == 5), "{links} links: {seen:?}");
        }
    }

    #[test]
    fn a_link_that_sleeps_is_not_visited_and_a_wheel_of_sleepers_turns_once_a_second() {
        let (mut wheel, epoch) = wheel(100);
        (0..100).filter(|link| *link != 70).for_each(|link| wheel.rest(link));
        assert_eq!(visits(&mut wheel, epoch + milliseconds(200)), [70]);
        assert!(wheel.is_awake(70) && !wheel.is_awake(71) && !wheel.is_awake(100_000));
        wheel.rest(70);
        wheel.rest(70);
        assert!(visits(&mut wheel, epoch + milliseconds(400)).is_empty());
        assert_eq!(wheel.next_turn(), epoch + milliseconds(1400));
        wheel.wake(5);
        wheel.wake(5);
        assert_eq!(wheel.next_turn(), epoch + milliseconds(600), "group 0 comes again after a round");
        assert_eq!(visits(&mut wheel, epoch + milliseconds(600)), [5]);
    }

    #[test]
    fn after_a_long_time_each_link_is_due_once() {
        let (mut wheel, epoch) = wheel(5000);
        let late = epoch + Duration::from_secs(500 * 86_400);
        let mut visited = visits(&mut wheel, late);
        visited.sort_unstable();
        assert_eq!(visited, (0..5000).collect::<Vec<_>>());
        assert!(wheel.next_turn() > late && wheel.next_turn() <= late + milliseconds(10));
    }

    #[test]
    fn a_visit_can_be_interrupted_and_who_goes_to_sleep_meanwhile_is_left_out() {
        let (mut wheel, epoch) = wheel(700);
        wheel.turn(epoch + milliseconds(200));
        let first: Vec<usize> = (0..10).filter_map(|_| wheel.next()).collect();
        assert_eq!(wheel.next_turn(), epoch + milliseconds(200), "there is more to do at once");
        let sleeper = first[9] + 1;
        wheel.rest(sleeper);
        let rest: Vec<usize> = std::iter::from_fn(|| wheel.next()).collect();
        assert_eq!(first.len() + rest.len(), 699);
        assert!(!rest.contains(&sleeper));
    }
}
