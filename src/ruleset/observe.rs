//! What nft tells about our table, read back: counters, totals over their resets, and a fingerprint.
//!
//! Read leniently, with counters of 64 bits: other versions of nft may tell more, and a foreign hand may have
//! added anything.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;
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

/// What `nft -j list` tells, as far as it is asked for: a table of very many elements takes little room in it.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Tables and chains.
    chains: BTreeSet<(String, String)>,
    /// Every counter with a name that stays the same from listing to listing.
    counts: Vec<(String, Instrument, Count)>,
    fingerprint: Fingerprint,
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
        let unreadable = |error: serde_json::Error| ListingError(error.to_string());
        let answer: Answer<'_> = serde_json::from_str(json).map_err(unreadable)?;
        let mut reading = Reading::default();
        answer.nftables.into_iter().try_for_each(|object| reading.object(object)).map_err(unreadable)?;
        let fingerprint = Fingerprint(hex::encode(reading.hash.finalize()));
        Ok(Self { chains: reading.chains, counts: reading.counts, fingerprint })
    }

    /// Whether a table of this name has a chain of that one.
    pub fn has_chain(&self, table: &str, name: &str) -> bool {
        self.chains.contains(&(table.to_owned(), name.to_owned()))
    }

    /// Whether a table of this name has a chain.
    pub fn has_table(&self, name: &str) -> bool {
        self.chains.iter().any(|(table, _)| table == name)
    }

    /// The counts, summed per instrument. They begin anew with each refill, and an element that is deleted takes
    /// its count with it: [`Totals`] goes on over both.
    pub fn counters(&self) -> Counters {
        let mut sums = Counters::new();
        for (_, instrument, count) in &self.counts {
            add(&mut sums, instrument.clone(), *count);
        }
        sums
    }

    /// The fingerprint of the whole.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint.clone()
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    nftables: Vec<&'a RawValue>,
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// A listing that is read object by object, and a set element by element.
#[derive(Default)]
struct Reading {
    chains: BTreeSet<(String, String)>,
    counts: Vec<(String, Instrument, Count)>,
    hash: Sha256,
}

impl Reading {
    fn object(&mut self, raw: &RawValue) -> Result<(), serde_json::Error> {
        let fields: Fields<'_> = serde_json::from_str(raw.get())?;
        let set = fields.get_key_value("set").or_else(|| fields.get_key_value("map"));
        if let Some((kind, set)) = set {
            return self.set(kind, set);
        }
        let mut object: Json = serde_json::from_str(raw.get())?;
        if object.get("metainfo").is_some() {
            return Ok(());
        }
        let text = |path: &str| object.pointer(path).and_then(Json::as_str).map(str::to_owned);
        self.chains.extend(text("/chain/table").zip(text("/chain/name")));
        self.counts.extend(named_count(&object));
        strip(&mut object);
        self.hash.update(object.to_string());
        Ok(())
    }

    fn set(&mut self, kind: &str, raw: &RawValue) -> Result<(), serde_json::Error> {
        let mut fields: Fields<'_> = serde_json::from_str(raw.get())?;
        let elements = fields.remove("elem");
        let mut set: BTreeMap<String, Json> = BTreeMap::new();
        for (name, value) in fields {
            set.insert(name, serde_json::from_str(value.get())?);
        }
        let name = set.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();
        let mut set = serde_json::json!({ kind: set });
        strip(&mut set);
        self.hash.update(set.to_string());
        let elements: Vec<&RawValue> = match elements {
            Some(elements) => serde_json::from_str(elements.get())?,
            None => Vec::new(),
        };
        let digests = elements.into_iter().map(|element| self.element(&name, element));
        let mut digests = digests.collect::<Result<Vec<_>, _>>()?;
        // The kernel lists them by hash.
        digests.sort_unstable();
        if name != "s_alive" {
            digests.iter().for_each(|digest| self.hash.update(digest));
        }
        Ok(())
    }

    fn element(&mut self, set: &str, raw: &RawValue) -> Result<[u8; 32], serde_json::Error> {
        let mut element: Json = serde_json::from_str(raw.get())?;
        self.counts.extend(element_count(set, &element));
        strip(&mut element);
        Ok(Sha256::digest(element.to_string()).into())
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

/// Takes out what changes by itself.
fn strip(json: &mut Json) {
    match json {
        Json::Object(fields) => {
            for name in ["handle", "expires", "packets", "bytes"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(strip);
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
        for (name, instrument, count) in &listing.counts {
            let before = self.last.get(name).copied().unwrap_or_default();
            add(&mut self.sums, instrument.clone(), count.since(before));
            last.insert(name.clone(), *count);
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
        Listing::parse(&answer(packets, expires).to_string()).expect("a listing")
    }

    fn answer(packets: u64, expires: u32) -> Json {
        let bytes = packets * 100;
        serde_json::json!({"nftables": [
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
                {"chain": {"table": "turnpike", "name": "c_policy", "handle": 9}},
        ]})
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
        assert!(before.has_chain("turnpike", "c_policy") && before.has_table("turnpike"));
        assert!(!before.has_chain("other", "c_policy") && !before.has_table("other"));
        let other = |change: &dyn Fn(&mut Json)| {
            let mut answer = answer(1, 30);
            change(&mut answer["nftables"]);
            Listing::parse(&answer.to_string()).expect("a listing").fingerprint()
        };
        let map = |objects: &mut Json| objects[4]["map"]["elem"].as_array_mut().expect("a list").swap(0, 1);
        assert_eq!(before.fingerprint(), other(&map), "the kernel's order of elements means nothing");
        let changes: [&dyn Fn(&mut Json); 4] = [
            &|objects| drop(objects.as_array_mut().expect("a list").pop()),
            &|objects| drop(objects[4]["map"]["elem"].as_array_mut().expect("a list").pop()),
            &|objects| objects[4]["map"]["elem"][0][1] = 143.into(),
            &|objects| objects[4]["map"]["flags"] = "interval".into(),
        ];
        changes.iter().for_each(|change| assert_ne!(before.fingerprint(), other(change)));
    }

    #[test]
    fn an_unreadable_answer_is_said_to_be_so() {
        for text in ["", "{}", "[]", r#"{"nftables": 1}"#] {
            assert!(Listing::parse(text).is_err(), "{text}");
        }
    }
}
