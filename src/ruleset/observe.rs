//! What nft tells about our table, read back: counters, totals over their resets, and a fingerprint.
//!
//! Read leniently, with counters of 64 bits: other versions of nft may tell more, and a foreign hand may have
//! added anything.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::{Cause, Reason, guardrails, marks, tell};
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

/// Our table as `nft -j list table` tells it.
#[derive(Clone, Debug)]
pub struct Listing {
    objects: Vec<Json>,
}

/// The output is not the JSON of libnftables-json(5).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nft's answer cannot be read: {0}")]
pub struct ListingError(pub String);

/// What tells two states of a table apart: SHA-256 over its listing without handles, counts and expiry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(String);

impl Listing {
    /// Reads nft's output.
    ///
    /// # Errors
    /// [`ListingError`].
    pub fn parse(json: &str) -> Result<Self, ListingError> {
        let mut document: Json = serde_json::from_str(json).map_err(|error| ListingError(error.to_string()))?;
        match document.get_mut("nftables").map(Json::take) {
            Some(Json::Array(objects)) => Ok(Self { objects }),
            _ => Err(ListingError("no \"nftables\" in it".to_owned())),
        }
    }

    /// Whether the table has a chain of this name.
    pub fn has_chain(&self, name: &str) -> bool {
        self.objects.iter().any(|object| object.pointer("/chain/name").and_then(Json::as_str) == Some(name))
    }

    /// The counts, summed per instrument. They begin anew with each refill, and an element that is deleted takes
    /// its count with it: [`Totals`] goes on over both.
    pub fn counters(&self) -> Counters {
        let mut sums = Counters::new();
        for (_, instrument, count) in self.counts() {
            add(&mut sums, instrument, count);
        }
        sums
    }

    /// The fingerprint of the whole table.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        for object in &self.objects {
            let mut object = object.clone();
            if object.get("metainfo").is_some() {
                continue;
            }
            strip(&mut object);
            hash.update(object.to_string());
        }
        Fingerprint(hex::encode(hash.finalize()))
    }

    /// Every counter with a name that stays the same from listing to listing.
    fn counts(&self) -> Vec<(String, Instrument, Count)> {
        self.objects.iter().flat_map(|object| named_count(object).into_iter().chain(element_counts(object))).collect()
    }
}

fn named_count(object: &Json) -> Option<(String, Instrument, Count)> {
    let counter = object.get("counter")?;
    let name = counter.get("name")?.as_str()?;
    let instrument = match (Reason::counted(name), tell::counted(name)) {
        (Some(reason), _) => Instrument::Dropped(reason),
        (None, Some(cause)) => Instrument::Untold(cause),
        (None, None) => Instrument::Guardrail(guardrails::counted(name)?),
    };
    Some((name.to_owned(), instrument, count(counter)))
}

fn element_counts(object: &Json) -> Vec<(String, Instrument, Count)> {
    let Some(set) = object.get("map").or_else(|| object.get("set")) else { return Vec::new() };
    let (Some(name), Some(elements)) =
        (set.get("name").and_then(Json::as_str), set.get("elem").and_then(Json::as_array))
    else {
        return Vec::new();
    };
    elements.iter().filter_map(|element| element_count(name, element)).collect()
}

fn element_count(set: &str, element: &Json) -> Option<(String, Instrument, Count)> {
    let (key, value) = match element.as_array().map(Vec::as_slice) {
        Some([key, value]) => (key, Some(value)),
        _ => (element, None),
    };
    let (key, counter) = (key.pointer("/elem/val")?, key.pointer("/elem/counter")?);
    let number = |json: &Json| json.as_u64().and_then(|number| u32::try_from(number).ok());
    let department = || number(key).map(|mark| mark & marks::DEPARTMENT);
    let instrument = match (set, value) {
        ("s_denied", None) => Instrument::Denied(department()?),
        ("s_guarded", None) => Instrument::Guarded(department()?),
        (_, Some(agreement)) => {
            let consumer = number(key.pointer("/concat/0")?)? & marks::DEPARTMENT;
            Instrument::Agreement { agreement: number(agreement)?, department: consumer }
        }
        _ => return None,
    };
    Some((format!("{set} {key}"), instrument, count(counter)))
}

fn count(counter: &Json) -> Count {
    let field = |name| counter.get(name).and_then(Json::as_u64).unwrap_or_default();
    Count { packets: field("packets"), bytes: field("bytes") }
}

fn add(sums: &mut Counters, instrument: Instrument, count: Count) {
    let sum = sums.entry(instrument).or_default();
    *sum = sum.plus(count);
}

/// Takes out what changes by itself, and puts elements in an order of their own: the kernel lists them by hash.
fn strip(json: &mut Json) {
    match json {
        Json::Object(fields) => {
            for name in ["handle", "expires", "packets", "bytes"] {
                fields.remove(name);
            }
            if fields.get("name").and_then(Json::as_str) == Some("s_alive") {
                fields.remove("elem");
            }
            fields.values_mut().for_each(strip);
            if let Some(Json::Array(elements)) = fields.get_mut("elem") {
                elements.sort_by_cached_key(Json::to_string);
            }
        }
        Json::Array(items) => items.iter_mut().for_each(strip),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// Counts since the gateway began, over refills and deleted elements. What an element counted between the last
/// listing and its deletion is lost.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    last: BTreeMap<String, Count>,
    sums: Counters,
}

impl Totals {
    /// Adds what came since the last listing.
    pub fn absorb(&mut self, listing: &Listing) {
        let mut last = BTreeMap::new();
        for (name, instrument, count) in listing.counts() {
            let before = self.last.get(&name).copied().unwrap_or_default();
            add(&mut self.sums, instrument, count.since(before));
            last.insert(name, count);
        }
        self.last = last;
    }

    /// The sums.
    pub fn counters(&self) -> &Counters {
        &self.sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(packets: u64, expires: u32) -> Listing {
        let bytes = packets * 100;
        Listing::parse(
            &serde_json::json!({"nftables": [
                {"metainfo": {"version": "1.0.6"}},
                {"table": {"family": "inet", "name": "turnpike", "handle": packets}},
                {"set": {"name": "s_alive", "handle": 2, "elem": [{"elem": {"val": "tp0", "timeout": 30, "expires": expires}}]}},
                {"set": {"name": "s_denied", "elem": [
                    {"elem": {"val": 2_147_483_655_u32, "counter": {"packets": 3, "bytes": 180}}}]}},
                {"map": {"name": "m_port4", "elem": [
                    [{"elem": {"val": {"concat": [1, "a"]}, "counter": {"packets": packets, "bytes": bytes}}}, 142],
                    [{"elem": {"val": {"concat": [2, "b"]}, "counter": {"packets": 1, "bytes": 5_000_000_000_u64}}}, 142]]}},
                {"counter": {"name": "n_spoofed", "packets": 7, "bytes": 420}},
                {"counter": {"name": "g_G_1", "packets": 2, "bytes": 120}},
                {"counter": {"name": "u_no_agreement", "packets": 4, "bytes": 240}},
                {"counter": {"name": "somebody's", "packets": 2, "bytes": 120}},
                {"chain": {"name": "c_policy", "handle": 9}},
            ]})
            .to_string(),
        )
        .expect("a listing")
    }

    fn allowed(department: u32) -> Instrument {
        Instrument::Agreement { agreement: 142, department }
    }

    #[test]
    fn counts_are_summed_per_agreement_and_consumer_in_64_bits() {
        let counters = listing(10, 30).counters();
        let expected = [
            (allowed(1), Count { packets: 10, bytes: 1_000 }),
            (allowed(2), Count { packets: 1, bytes: 5_000_000_000 }),
            (Instrument::Denied(7), Count { packets: 3, bytes: 180 }),
            (Instrument::Guardrail("G-1".parse().expect("an id")), Count { packets: 2, bytes: 120 }),
            (Instrument::Dropped(Reason::Spoofed), Count { packets: 7, bytes: 420 }),
            (Instrument::Untold(Cause::NoAgreement), Count { packets: 4, bytes: 240 }),
        ];
        assert_eq!(counters, BTreeMap::from(expected));
    }

    #[test]
    fn totals_go_on_when_a_counter_begins_anew() {
        let mut totals = Totals::default();
        for packets in [10, 12, 4] {
            totals.absorb(&listing(packets, 30));
        }
        let sum = totals.counters()[&allowed(1)];
        assert_eq!(sum.packets, 10 + 2 + 4);
    }

    #[test]
    fn a_fingerprint_ignores_counts_handles_and_expiry_alone() {
        let before = listing(1, 30);
        assert_eq!(before.fingerprint(), listing(99, 2).fingerprint());
        let mut after = before.clone();
        after.objects.pop();
        assert_ne!(before.fingerprint(), after.fingerprint());
        assert!(before.has_chain("c_policy") && !after.has_chain("c_policy"));
    }

    #[test]
    fn an_unreadable_answer_is_said_to_be_so() {
        for text in ["", "{}", "[]", r#"{"nftables": 1}"#] {
            assert!(Listing::parse(text).is_err(), "{text}");
        }
    }
}
