//! What was measured: collected run by run, compared, and kept as JSON.
//!
//! ```text
//!  [{"measure": "relay_cpu_s_per_gb", "subject": "turnpike", "unit": "s/GB",
//!    "median": 1.8, "min": 1.7, "max": 1.9, "runs": [1.8, 1.7, 1.9]}, …]
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::measure::{Against, Goal, Measure};
use crate::statistics::{extremes, median};
use crate::subject::Subject;

/// All runs so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    runs: BTreeMap<(Measure, Subject), Vec<f64>>,
}

/// One entry of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// [`Measure::name`].
    pub measure: String,
    /// [`Subject::name`].
    pub subject: String,
    /// [`Measure::unit`].
    pub unit: String,
    /// Of all runs.
    pub median: f64,
    /// Of all runs.
    pub min: f64,
    /// Of all runs.
    pub max: f64,
    /// In the order in which they were made.
    pub runs: Vec<f64>,
}

/// How turnpike stands in a measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// turnpike's median divided by that of whom it is compared with.
    pub ratio: Option<f64>,
    /// With whom, or with which other measure.
    pub against: Option<&'static str>,
    /// Whether the goal is reached.
    pub reached: bool,
}

impl Record {
    /// Adds the value of one run.
    pub fn add(&mut self, measure: Measure, subject: Subject, value: f64) {
        self.runs.entry((measure, subject)).or_default().push(value);
    }

    /// The values of a measure.
    pub fn runs(&self, measure: Measure, subject: Subject) -> &[f64] {
        self.runs.get(&(measure, subject)).map_or(&[], Vec::as_slice)
    }

    /// The median of a measure.
    pub fn median(&self, measure: Measure, subject: Subject) -> Option<f64> {
        median(self.runs(measure, subject))
    }

    /// The measures that some subject has.
    pub fn measures(&self) -> Vec<Measure> {
        Measure::ALL.into_iter().filter(|m| self.runs.keys().any(|(known, _)| known == m)).collect()
    }

    /// As the file has it.
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |(&(measure, subject), runs): (&(Measure, Subject), &Vec<f64>)| {
            let (min, max) = extremes(runs)?;
            Some(Entry {
                measure: measure.name().to_owned(),
                subject: subject.name().to_owned(),
                unit: measure.unit().to_owned(),
                median: median(runs)?,
                min,
                max,
                runs: runs.clone(),
            })
        };
        self.runs.iter().filter_map(entry).collect()
    }

    /// How turnpike stands; `None` where the measure has no goal, or turnpike or whom it is compared with was not
    /// measured.
    pub fn standing(&self, measure: Measure) -> Option<Standing> {
        let own = self.median(measure, Subject::Turnpike)?;
        let compared = |against| {
            let (other, value) = self.other(measure, against)?;
            Some((other, own / value))
        };
        let standing = |(other, ratio): (&'static str, f64), reached: bool| Standing {
            ratio: ratio.is_finite().then_some(ratio),
            against: Some(other),
            reached,
        };
        match measure.goal()? {
            Goal::AtMost(times, against) => compared(against).map(|other| standing(other, other.1 <= times)),
            Goal::AtLeast(times, against) => compared(against).map(|other| standing(other, other.1 >= times)),
            Goal::Least => compared(Against::Best).map(|other| standing(other, own == 0.0 || other.1 < 1.0)),
            Goal::Within(most) => Some(Standing { ratio: None, against: None, reached: own <= most }),
        }
    }

    /// The name and median of whom turnpike is compared with.
    fn other(&self, measure: Measure, against: Against) -> Option<(&'static str, f64)> {
        let peers: &[Subject] = match against {
            Against::Itself(other) => return Some((other.name(), self.median(other, Subject::Turnpike)?)),
            Against::Peer(Subject::WireguardGo) => &[Subject::WireguardGo],
            Against::Peer(Subject::BoringtunCli) => &[Subject::BoringtunCli],
            Against::Peer(Subject::Turnpike) => &[],
            Against::Best => &[Subject::WireguardGo, Subject::BoringtunCli],
        };
        let known = peers.iter().filter_map(|peer| Some((peer.name(), self.median(measure, *peer)?)));
        let rank = |value: f64| if measure.more_is_better() { -value } else { value };
        known.min_by(|a, b| rank(a.1).total_cmp(&rank(b.1)))
    }
}

/// Puts new entries in the place of old ones of the same measure and subject; the other old ones stay.
pub fn merge(old: Vec<Entry>, new: Vec<Entry>) -> Vec<Entry> {
    let same = |a: &Entry, b: &Entry| a.measure == b.measure && a.subject == b.subject;
    let kept = old.into_iter().filter(|entry| !new.iter().any(|other| same(entry, other)));
    let mut all: Vec<Entry> = kept.chain(new.iter().cloned()).collect();
    let place = |entry: &Entry| {
        let measure = Measure::ALL.iter().position(|measure| measure.name() == entry.measure);
        (measure.unwrap_or(usize::MAX), Subject::of(&entry.subject))
    };
    all.sort_by_key(place);
    all
}
