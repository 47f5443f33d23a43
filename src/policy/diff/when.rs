//! Parts of the week in which the hours of several agreements do not change.
//!
//! ```text
//!  hours of one zone    ▕    ████    ████    ████    ▏
//!                       ▕      ████      ████        ▏
//!  cells               ──0──┼1┼─2─┼3┼ …                 those in which the same hours are open are one part
//!  several zones        every combination of a part of each
//! ```
//!
//! Zones are never converted into one another: what is open in two of them at once is said as both.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::side::{Grant, Window};
use crate::bundle::{Hours, Span};

/// How far a time is looked for that is in two zones' hours at once, in seconds: what their clocks do comes round with the year.
const HORIZON: i64 = 800 * 86_400;

/// A part of all time: within all of these hours; always where there are none.
pub type When = Vec<Hours>;

/// The parts of the week that the grants' hours tell apart.
pub fn parts<'a>(grants: impl Iterator<Item = &'a Grant>) -> Vec<When> {
    let mut zones: BTreeMap<&str, BTreeSet<&Hours>> = BTreeMap::new();
    for hours in grants.filter_map(|grant| grant.hours.as_ref()) {
        zones.entry(hours.zone()).or_default().insert(hours);
    }
    let none: Vec<When> = vec![Vec::new()];
    zones.into_values().fold(none, |whens, hours| {
        let cells = cells(&hours);
        let with =
            |when: &When| cells.iter().map(|cell| when.iter().chain([cell]).cloned().collect()).collect::<Vec<_>>();
        whens.iter().flat_map(with).collect()
    })
}

/// The parts of one zone's week.
fn cells(hours: &BTreeSet<&Hours>) -> Vec<Hours> {
    let Some(first) = hours.first() else { return Vec::new() };
    let mut bounds = BTreeSet::from([0, Hours::WEEK]);
    bounds.extend(hours.iter().flat_map(|hours| hours.week()).flat_map(|&(from, until)| [from, until]));
    let bounds: Vec<u16> = bounds.into_iter().collect();
    let mut cells: BTreeMap<Vec<bool>, Vec<Span>> = BTreeMap::new();
    for &[from, until] in bounds.array_windows() {
        let open = hours.iter().map(|hours| hours.has(from)).collect();
        cells.entry(open).or_default().push((from, until));
    }
    cells.into_values().map(|spans| first.with_week(spans)).collect()
}

/// Whether a grant's hours are open in a part that [`parts`] made of them among others.
pub fn is_open(grant: &Grant, when: &When) -> bool {
    let Some(hours) = &grant.hours else { return true };
    let own = when.iter().find(|part| part.zone() == hours.zone());
    own.and_then(|part| part.week().first()).is_some_and(|&(from, _)| hours.has(from))
}

/// The first instant of a window at which it is that part of the week.
pub fn first(window: Window, when: &When) -> Option<Timestamp> {
    let mut at = Timestamp::from_second(window.from).ok()?;
    let end = window.until.min(window.from.saturating_add(HORIZON));
    while at.as_second() < end {
        if when.iter().all(|hours| hours.contains(at)) {
            return Some(at);
        }
        at = when.iter().filter(|hours| !hours.contains(at)).filter_map(|hours| hours.next_look(at)).min()?;
    }
    None
}

/// Whether some of a part of the week is within these hours.
pub fn meets(when: &When, hours: &Hours) -> bool {
    let overlap = |part: &Hours| {
        let within = |&(from, until): &Span| hours.week().iter().any(|&(begin, end)| begin < until && from < end);
        part.week().iter().any(within)
    };
    when.iter().find(|part| part.zone() == hours.zone()).is_none_or(overlap)
}
