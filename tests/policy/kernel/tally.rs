//! What was sent and what arrived, by kind.

use std::collections::BTreeMap;
use std::fmt;

/// Sent and arrived.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub sent: u64,
    pub arrived: u64,
}

#[derive(Default)]
pub struct Tally {
    pub kinds: BTreeMap<&'static str, Count>,
    pub definitions: u64,
    pub mismatches: Vec<String>,
}

impl Tally {
    pub fn cases(&self) -> u64 {
        self.kinds.values().map(|count| count.sent).sum()
    }

    pub fn add(&mut self, kind: &'static str, arrived: bool) {
        let count = self.kinds.entry(kind).or_default();
        count.sent += 1;
        count.arrived += u64::from(arrived);
    }

    pub fn join(&mut self, other: Self) {
        for (kind, Count { sent, arrived }) in other.kinds {
            let count = self.kinds.entry(kind).or_default();
            count.sent += sent;
            count.arrived += arrived;
        }
        self.definitions += other.definitions;
        self.mismatches.extend(other.mismatches);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, Count { sent, arrived }) in &self.kinds {
            writeln!(f, "{kind:26} {sent:>10} sent {arrived:>10} arrived")?;
        }
        write!(f, "{} cases, {} mismatches", self.cases(), self.mismatches.len())
    }
}
