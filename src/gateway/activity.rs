//! Who talks now, by what the kernel has counted.
//!
//! ```text
//!  counters of agreement × department ─ more than before? ─▶ the last time that it was ─▶ talking within 90 s
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::bundle::Policy;
use crate::ruleset::{Counters, Instrument};

/// Whoever was heard within this time is talking now.
const TALKING: Duration = Duration::from_secs(90);

/// Who talked last when, by agreement and department.
#[derive(Clone, Debug, Default)]
pub struct Activity(BTreeMap<(u32, u32), (u64, Duration)>);

impl Activity {
    /// Notes what has been counted by now.
    pub fn note(&mut self, counters: &Counters, boottime: Duration) {
        for (instrument, count) in counters {
            let Instrument::Agreement { agreement, department } = *instrument else { continue };
            let known = self.0.entry((agreement, department)).or_insert((0, Duration::ZERO));
            if count.packets > known.0 {
                *known = (count.packets, boottime);
            }
        }
    }

    /// The agreements and departments that talk now.
    pub fn talking(&self, boottime: Duration) -> impl Iterator<Item = (u32, u32)> {
        let is_recent = move |at: Duration| at > Duration::ZERO && boottime.saturating_sub(at) <= TALKING;
        self.0.iter().filter(move |(_, (_, at))| is_recent(*at)).map(|(pair, _)| *pair)
    }
}

/// Whether a policy denies every conversation that goes on under another one, of which there is at least one.
pub fn silences(old: &Policy, new: &Policy, talking: impl Iterator<Item = (u32, u32)>) -> bool {
    let services: BTreeMap<u32, _> = old.services.iter().map(|service| (service.number, service)).collect();
    let agreements: BTreeMap<u32, _> = old.agreements.iter().map(|agreement| (agreement.number, agreement)).collect();
    // A department keeps its number as long as it exists.
    let granted: BTreeSet<_> = new.rules.iter().map(|rule| (rule.department, rule.destination)).collect();
    let mut any = false;
    for (agreement, department) in talking {
        let service = agreements.get(&agreement).and_then(|agreement| services.get(&agreement.service));
        let Some(service) = service else { continue };
        if service.hosts.iter().any(|&host| granted.contains(&(department, host))) {
            return false;
        }
        any = true;
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::sample;
    use crate::ruleset::Count;

    fn counters(packets: u64) -> Counters {
        let instrument = Instrument::Agreement { agreement: 1, department: 1 };
        [(instrument, Count { packets, bytes: 0 })].into()
    }

    #[test]
    fn who_talks_now_is_who_was_counted_lately() {
        let mut activity = Activity::default();
        let talking = |activity: &Activity, second| activity.talking(Duration::from_secs(second)).count();
        activity.note(&counters(0), Duration::from_secs(10));
        assert_eq!(talking(&activity, 10), 0);
        activity.note(&counters(3), Duration::from_secs(20));
        activity.note(&counters(3), Duration::from_secs(50));
        assert_eq!((talking(&activity, 110), talking(&activity, 111)), (1, 0));
    }

    #[test]
    fn a_policy_silences_all_only_if_none_of_those_who_talk_may_go_on() {
        let old = sample::edge().policy;
        let both = || [(1, 1), (4, 1)].into_iter();
        assert!(!silences(&old, &old, both()));
        assert!(!silences(&old, &old.without(|number| number == 1), both()), "the other one allows it");
        assert!(silences(&old, &old.without(|_| true), both()));
        assert!(!silences(&old, &old.without(|_| true), std::iter::empty()), "nobody talks");
    }
}
