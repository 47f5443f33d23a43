//! A table as the kernel holds it: counters, and what tells two states of it apart.
//!
//! Reads 200,000 elements in 0.2 s; nft 1.0.6 takes seconds. The kernel tells of a table object by object, and it may
//! change meanwhile: then all of it is read again, a few times.

use std::io;

use sha2::{Digest as _, Sha256};

use super::super::netfilter::{NLM_F_ACK, four, piece, text};
use super::kernel::{
    Kernel, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_KEY_END, NFTA_SET_ELEM_TIMEOUT, absorb, count, datum,
    element_count, elements_of, is_anonymous,
};
use crate::ruleset::{Elements, Listing, Reading, Tally, Told};

const NFT_MSG_GETSET: u8 = 10;
const NFT_MSG_GETGEN: u8 = 16;
const NFT_MSG_GETOBJ: u8 = 19;

const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_DATA_TYPE: u16 = 6;
const NFTA_SET_DATA_LEN: u16 = 7;
const NFTA_SET_TIMEOUT: u16 = 11;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_OBJ_NAME: u16 = 2;
const NFTA_OBJ_TYPE: u16 = 3;
const NFTA_OBJ_DATA: u16 = 4;
const NFT_OBJECT_COUNTER: u32 = 1;
const NFTA_GEN_ID: u16 = 1;

/// `NFT_SET_INTERVAL`, `NFT_SET_CONCAT`.
const RANGES: u32 = 0x4 | 0x80;

/// `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL_END: u32 = 1;

/// How often a table that changes is read.
const TRIES: usize = 5;

impl Kernel {
    /// A table with all that is in it; `None` if it is not there.
    ///
    /// # Errors
    /// As [`Kernel::has_table`].
    pub fn listing(&mut self, table: &str) -> io::Result<Option<Listing>> {
        for _ in 1..TRIES {
            let before = self.generation()?;
            match self.read(table) {
                Ok(listing) if self.generation()? == before => return Ok(listing),
                Err(error) if !is_passing(&error) => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        self.read(table)
    }

    /// What the named counters of a table counted; `None` if it is not there.
    ///
    /// # Errors
    /// As [`Kernel::has_table`].
    pub fn counters(&mut self, table: &str) -> io::Result<Option<Vec<Tally>>> {
        let objects = self.dump(NFT_MSG_GETOBJ, table)?;
        let tallies = |bodies: Vec<Vec<u8>>| {
            let counters = bodies.iter().filter_map(|body| counter(body));
            counters.filter_map(|(name, data)| Tally::of_counter(&name, count(data))).collect()
        };
        Ok(objects.map(tallies))
    }

    /// What elements counted that are there.
    pub(super) fn tallies(&mut self, elements: &Elements) -> io::Result<Vec<Tally>> {
        let mut tallies = Vec::new();
        for element in elements.octets() {
            let held = self.element(elements.table(), elements.set(), &element.key)?;
            let value = held.as_ref().and_then(|held| held.value.as_deref());
            let told = Told {
                key: &element.key,
                mark: value.and_then(|value| value.first_chunk().copied()).map(u32::from_ne_bytes),
                count: held.as_ref().and_then(|held| held.count),
                digest: [0; 32],
            };
            tallies.extend(Tally::of_element(elements.set(), element.last.is_some(), told));
        }
        Ok(tallies)
    }

    fn read(&mut self, table: &str) -> io::Result<Option<Listing>> {
        if !self.has_table(table)? {
            return Ok(None);
        }
        let mut reading = Reading::default();
        for (name, chain) in self.chains(table)? {
            reading.object("chain", &name, chain.digest());
        }
        for body in self.dump(NFT_MSG_GETOBJ, table)?.unwrap_or_default() {
            let name = piece(&body, NFTA_OBJ_NAME).map(text).unwrap_or_default();
            reading.object("object", &name, digest(&body, &[NFTA_OBJ_TYPE]));
            if let Some((name, data)) = counter(&body) {
                reading.counter(&name, count(data));
            }
        }
        for body in self.dump(NFT_MSG_GETSET, table)?.unwrap_or_default() {
            let name = piece(&body, NFTA_SET_NAME).map(text).unwrap_or_default();
            if !is_anonymous(&name) {
                reading.object("set", &name, digest(&body, &SET));
                self.elements(&mut reading, table, &name, &body)?;
            }
        }
        Ok(Some(reading.finish()))
    }

    fn elements(&mut self, reading: &mut Reading, table: &str, set: &str, declared: &[u8]) -> io::Result<()> {
        let ranges = piece(declared, NFTA_SET_FLAGS).and_then(four).is_some_and(|flags| flags & RANGES == RANGES);
        let bodies = self.dump_set(table, set)?;
        let elements = bodies.iter().flat_map(|body| elements_of(body)).filter(|element| !is_floor(element));
        reading.elements(set, ranges, elements.map(told));
        Ok(())
    }

    /// The number of the last transaction.
    fn generation(&mut self) -> io::Result<Option<u32>> {
        let answer = self.ask(NFT_MSG_GETGEN, NLM_F_ACK, |_| {})?.unwrap_or_default();
        Ok(answer.iter().find_map(|body| piece(body, NFTA_GEN_ID).and_then(four)))
    }
}

/// What of a set is part of what it is.
const SET: [u16; 6] =
    [NFTA_SET_FLAGS, NFTA_SET_KEY_TYPE, NFTA_SET_KEY_LEN, NFTA_SET_DATA_TYPE, NFTA_SET_DATA_LEN, NFTA_SET_TIMEOUT];

/// What of an element does not change by itself.
const ELEMENT: [u16; 5] =
    [NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_KEY_END, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_FLAGS, NFTA_SET_ELEM_TIMEOUT];

fn digest(body: &[u8], kinds: &[u16]) -> [u8; 32] {
    let mut hash = Sha256::new();
    kinds
        .iter()
        .filter_map(|&kind| Some((kind, piece(body, kind)?)))
        .for_each(|(kind, value)| absorb(&mut hash, kind, value));
    hash.finalize().into()
}

fn told(element: &[u8]) -> Told<'_> {
    let mark = datum(element, NFTA_SET_ELEM_DATA).and_then(|value| value.first_chunk().copied());
    Told {
        key: datum(element, NFTA_SET_ELEM_KEY).unwrap_or_default(),
        mark: mark.map(u32::from_ne_bytes),
        count: element_count(element),
        digest: digest(element, &ELEMENT),
    }
}

/// Whether it is the end of nothing at the address of zeros, which nft adds to a set of intervals sooner or later.
fn is_floor(element: &[u8]) -> bool {
    let ends = piece(element, NFTA_SET_ELEM_FLAGS).and_then(four).is_some_and(|flags| flags & INTERVAL_END != 0);
    ends && datum(element, NFTA_SET_ELEM_KEY).is_some_and(|key| key.iter().all(|&octet| octet == 0))
}

fn counter(body: &[u8]) -> Option<(String, &[u8])> {
    let is_counter = piece(body, NFTA_OBJ_TYPE).and_then(four) == Some(NFT_OBJECT_COUNTER);
    is_counter.then(|| Some((piece(body, NFTA_OBJ_NAME).map(text)?, piece(body, NFTA_OBJ_DATA)?))).flatten()
}

/// Whether it may not happen again: the kernel was amid a change.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}
