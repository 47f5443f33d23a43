//! What the kernel tells about our table, read back: counters, totals over their resets, and a fingerprint.
//!
//! ```text
//!  sys::nftables ─ object, set ─▶ Reading ─▶ Listing ─┬ fingerprint: is it still what we loaded?
//!                                                     └ tallies ─▶ Totals ─▶ counters since the gateway began
//! ```
//!
//! A foreign hand may have added anything: what is not ours is part of the fingerprint, and counts nothing.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest as _, Sha256};

use super::elements::ALIVE;
use super::{Cause, Reason, guardrails, marks, octets, tell};
use crate::identity::Id;

/// Something that is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Instrument {
    /// What passed by an agreement, in both directions, by its number and that of the consumer's department.
    Agreement {
        /// The agreement's number.
        agreement: u32,
        /// The number of the department that opened the flow.
        department: u32,
    },
    /// What no agreement allows, by the number of the source's department.
    Denied(u32),
    /// What met a guardrail, by the number of the source's department.
    Guarded(u32),
    /// What met this guardrail.
    Guardrail(Id),
    /// What was dropped for another reason.
    Dropped(Reason),
    /// What was over the rate at which the kernel tells of this cause. Counted above as well.
    Untold(Cause),
}

/// Packets and octets of them (with IP header).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub bytes: u64,
}

impl Count {
    fn plus(self, other: Self) -> Self {
        Self { packets: self.packets.saturating_add(other.packets), bytes: self.bytes.saturating_add(other.bytes) }
    }

    /// What came since `before`; all of it if the counter began anew in between.
    pub fn since(self, before: Self) -> Self {
        match (self.packets.checked_sub(before.packets), self.bytes.checked_sub(before.bytes)) {
            (Some(packets), Some(bytes)) => Self { packets, bytes },
            _ => self,
        }
    }
}

/// Sums per instrument.
pub type Counters = BTreeMap<Instrument, Count>;

/// A table as the kernel holds it.
#[derive(Clone, Debug)]
pub struct Listing {
    tallies: Vec<Tally>,
    fingerprint: Fingerprint,
}

/// One counter of the kernel's, by a name that stays the same from listing to listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    name: Vec<u8>,
    instrument: Instrument,
    count: Count,
}

/// What tells two states of a table apart: SHA-256 over what is in it without handles, counts and expiry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// An element as the kernel holds it.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Its key in octets; of a range, the first.
    pub key: &'a [u8],
    /// The mark that it is mapped to.
    pub mark: Option<u32>,
    /// What it counted.
    pub count: Option<Count>,
    /// A digest of all that does not change by itself.
    pub digest: [u8; 32],
}

impl Tally {
    /// What a named counter counted, if it is one of ours.
    pub fn of_counter(name: &str, count: Count) -> Option<Self> {
        let instrument = match (Reason::counted(name), tell::counted(name)) {
            (Some(reason), _) => Instrument::Dropped(reason),
            (None, Some(cause)) => Instrument::Untold(cause),
            (None, None) => Instrument::Guardrail(guardrails::counted(name)?),
        };
        Some(Self { name: name.as_bytes().to_vec(), instrument, count })
    }

    /// What an element counted, if its set is one of ours that count. `ranges`: whether it is one of ranges of keys.
    pub fn of_element(set: &str, ranges: bool, told: Told<'_>) -> Option<Self> {
        let department = || Some(octets::leading_mark(told.key, ranges)? & marks::DEPARTMENT);
        let instrument = match (set, told.mark) {
            ("s_denied", None) => Instrument::Denied(department()?),
            ("s_guarded", None) => Instrument::Guarded(department()?),
            (_, Some(agreement)) => Instrument::Agreement { agreement, department: department()? },
            (_, None) => return None,
        };
        Some(Self { name: [set.as_bytes(), b"\0", told.key].concat(), instrument, count: told.count? })
    }
}

/// A table that is read piece by piece, in whatever order the kernel tells of them.
#[derive(Debug, Default)]
pub struct Reading {
    tallies: Vec<Tally>,
    digests: BTreeMap<(&'static str, String), [u8; 32]>,
}

impl Reading {
    /// Takes up a chain, set or counter by a digest of what does not change by itself.
    pub fn object(&mut self, kind: &'static str, name: &str, digest: [u8; 32]) {
        self.digests.insert((kind, name.to_owned()), digest);
    }

    /// Takes up what a counter counted.
    pub fn counter(&mut self, name: &str, count: Count) {
        self.tallies.extend(Tally::of_counter(name, count));
    }

    /// Takes up a set's elements. `ranges`: whether its keys of several fields have ranges in them.
    pub fn elements<'a>(&mut self, set: &str, ranges: bool, elements: impl IntoIterator<Item = Told<'a>>) {
        let mut digests = Vec::new();
        for told in elements {
            self.tallies.extend(Tally::of_element(set, ranges, told));
            digests.push(told.digest);
        }
        // The kernel lists them by hash, and one of them twice while it makes its table larger.
        digests.sort_unstable();
        digests.dedup();
        if set != ALIVE {
            self.object("elements", set, Sha256::digest(digests.as_flattened()).into());
        }
    }

    /// The whole.
    pub fn finish(self) -> Listing {
        let mut hash = Sha256::new();
        for ((kind, name), digest) in &self.digests {
            hash.update(kind);
            hash.update(name.len().to_be_bytes());
            hash.update(name);
            hash.update(digest);
        }
        Listing { tallies: self.tallies, fingerprint: Fingerprint(hash.finalize().into()) }
    }
}

impl Listing {
    /// The counts, summed per instrument. They begin anew with each refill, and an element that is deleted takes
    /// its count with it: [`Totals`] goes on over both.
    pub fn counters(&self) -> Counters {
        sum(&self.tallies)
    }

    /// The fingerprint of the whole.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint.clone()
    }
}

/// Sums per instrument.
pub fn sum(tallies: &[Tally]) -> Counters {
    let mut sums = Counters::new();
    for Tally { instrument, count, .. } in tallies {
        add(&mut sums, instrument, *count);
    }
    sums
}

fn add(sums: &mut Counters, instrument: &Instrument, count: Count) {
    match sums.get_mut(instrument) {
        Some(sum) => *sum = sum.plus(count),
        None => drop(sums.insert(instrument.clone(), count)),
    }
}

/// Counts since the gateway began, over refills and deleted elements.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    last: HashMap<Vec<u8>, Count>,
    sums: Counters,
}

impl Totals {
    /// Adds what came since the last listing.
    pub fn absorb(&mut self, listing: &Listing) {
        let before = std::mem::take(&mut self.last);
        for tally in &listing.tallies {
            let since = tally.count.since(before.get(&tally.name).copied().unwrap_or_default());
            add(&mut self.sums, &tally.instrument, since);
            self.last.insert(tally.name.clone(), tally.count);
        }
    }

    /// Adds what some counters counted since the last listing: of elements that are about to go.
    pub fn note(&mut self, tallies: &[Tally]) {
        for tally in tallies {
            let before = self.last.insert(tally.name.clone(), tally.count).unwrap_or_default();
            add(&mut self.sums, &tally.instrument, tally.count.since(before));
        }
    }

    /// The sums.
    pub fn counters(&self) -> &Counters {
        &self.sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(key: &[u8], mark: Option<u32>, packets: u64, bytes: u64) -> Told<'_> {
        let digest = Sha256::digest([key, &mark.unwrap_or_default().to_be_bytes()].concat()).into();
        Told { key, mark, count: Some(Count { packets, bytes }), digest }
    }

    fn key(department: u32, rest: &str) -> Vec<u8> {
        [&(0x8000_0000 | department).to_ne_bytes(), rest.as_bytes()].concat()
    }

    fn reading(packets: u64) -> Reading {
        let mut reading = Reading::default();
        let [one, two, seven] = [key(1, "a"), key(2, "b"), key(7, "")];
        reading.elements(
            "m_port4",
            false,
            [told(&one, Some(142), packets, 100 * packets), told(&two, Some(142), 1, 5_000_000_000)],
        );
        reading.elements("s_denied", false, [told(&seven, None, 3, 180)]);
        reading.elements(ALIVE, false, [told(&packets.to_be_bytes(), None, 0, 0)]);
        for (name, packets) in [("n_spoofed", 7), ("g_G_1", 2), ("u_no_agreement", 4), ("somebody's", 2)] {
            reading.counter(name, Count { packets, bytes: 60 * packets });
            reading.object("counter", name, [0; 32]);
        }
        reading.object("chain", "c_policy", [9; 32]);
        reading
    }

    fn listing(packets: u64) -> Listing {
        reading(packets).finish()
    }

    fn allowed(department: u32) -> Instrument {
        Instrument::Agreement { agreement: 142, department }
    }

    #[test]
    fn counts_are_summed_per_agreement_and_consumer_in_64_bits() {
        let expected = [
            (allowed(1), Count { packets: 10, bytes: 1_000 }),
            (allowed(2), Count { packets: 1, bytes: 5_000_000_000 }),
            (Instrument::Denied(7), Count { packets: 3, bytes: 180 }),
            (Instrument::Guardrail("G-1".parse().expect("an id")), Count { packets: 2, bytes: 120 }),
            (Instrument::Dropped(Reason::Spoofed), Count { packets: 7, bytes: 420 }),
            (Instrument::Untold(Cause::NoAgreement), Count { packets: 4, bytes: 240 }),
        ];
        assert_eq!(listing(10).counters(), BTreeMap::from(expected));
        let turned = [&0x8000_0003_u32.to_be_bytes()[..], &[0; 8]].concat();
        let tally = Tally::of_element("m_range4", true, told(&turned, Some(142), 1, 60)).expect("it counts");
        assert_eq!(tally.instrument, allowed(3));
    }

    #[test]
    fn totals_go_on_when_a_counter_begins_anew() {
        let mut totals = Totals::default();
        for packets in [10, 12, 4] {
            totals.absorb(&listing(packets));
        }
        assert_eq!(totals.counters()[&allowed(1)].packets, 10 + 2 + 4);
    }

    #[test]
    fn what_an_element_counted_before_it_went_is_added_once() {
        let mut totals = Totals::default();
        totals.absorb(&listing(10));
        let (one, seven) = (key(1, "a"), key(7, ""));
        let last = [Tally::of_element("m_port4", false, told(&one, Some(142), 15, 1_500)).expect("it counts")];
        totals.note(&last);
        totals.note(&last);
        assert_eq!(totals.counters()[&allowed(1)], Count { packets: 15, bytes: 1_500 });
        let mut without = Reading::default();
        without.elements("s_denied", false, [told(&seven, None, 3, 180)]);
        totals.absorb(&without.finish());
        // It is there again, and begins anew.
        totals.absorb(&listing(2));
        assert_eq!(totals.counters()[&allowed(1)].packets, 15 + 2);
        assert_eq!(totals.counters()[&Instrument::Denied(7)].packets, 3);
    }

    #[test]
    fn a_fingerprint_ignores_counts_order_and_what_keeps_alive_alone() {
        let before = listing(1).fingerprint();
        assert_eq!(before, listing(99).fingerprint());
        let other = |change: &dyn Fn(&mut Reading)| {
            let mut reading = reading(1);
            change(&mut reading);
            reading.finish().fingerprint()
        };
        let [one, two] = [key(1, "a"), key(2, "b")];
        let elements = |reading: &mut Reading, told: Vec<Told<'_>>| reading.elements("m_port4", false, told);
        let (first, second) = (told(&one, Some(142), 0, 0), told(&two, Some(142), 0, 0));
        assert_eq!(before, other(&|reading| elements(reading, vec![second, first])));
        assert_eq!(before, other(&|reading| elements(reading, vec![first, second, first])), "one told of twice");
        let changes: [&dyn Fn(&mut Reading); 5] = [
            &|reading| elements(reading, vec![first]),
            &|reading| elements(reading, vec![first, told(&two, Some(143), 0, 0)]),
            &|reading| reading.object("chain", "c_policy", [8; 32]),
            &|reading| reading.object("chain", "c_other", [9; 32]),
            &|reading| reading.elements("s_own4", false, [first]),
        ];
        changes.iter().for_each(|change| assert_ne!(before, other(change)));
    }
}
