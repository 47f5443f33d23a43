//! The instant at which the hours of many agreements begin or end, until the kernel has it.

use std::time::Instant;

use turnpike::bundle::{Hours, Moment};
use turnpike::ruleset;

use crate::hub::compile;
use crate::measure::{Goal, Measure, Record};
use crate::statistics::number;
use crate::traffic::Loaded;

const TIMED: Measure = Measure::aside("agreements with the same hours on the hub", "1");
const ENDED: Measure = Measure::new("end of their hours to the kernel", "s", Goal::Every(1.0));
const BEGUN: Measure = Measure::new("beginning of their hours to the kernel", "s", Goal::Every(1.0));

/// How many agreements change at once.
const MANY: usize = 10_000;

const OFFICE: &str = "Mon-Fri 07:00-19:00 Europe/London";

fn said(error: impl ToString) -> String {
    error.to_string()
}

/// Ends and begins the hours of 10,000 agreements in turn, as a gateway does: all that it computes at the instant is measured.
///
/// # Errors
/// In words.
pub fn boundaries(loaded: &Loaded<'_>, rounds: usize, record: &mut Record) -> Result<(), String> {
    let hours: Hours = OFFICE.parse().map_err(said)?;
    let mut policy = loaded.policy.clone();
    let step = (policy.agreements.len() / MANY).max(1);
    policy.agreements.iter_mut().step_by(step).take(MANY).for_each(|agreement| agreement.hours = Some(hours.clone()));
    let timed = policy.agreements.iter().filter(|agreement| agreement.hours.is_some()).count();
    record.add(TIMED, number(u64::try_from(timed).unwrap_or(u64::MAX)));
    let mut before = loaded.ruleset.clone();
    // A Monday.
    let instants = [("2026-06-01T18:00:00Z", ENDED), ("2026-06-02T06:00:00Z", BEGUN)];
    for (instant, measure) in std::iter::repeat_n(instants, rounds).flatten() {
        let moment = Moment::at(instant.parse().map_err(said)?);
        let begun = Instant::now();
        let withheld = policy.withheld(&moment);
        let after = compile(&policy.without(|agreement| withheld.contains_key(&agreement)))?;
        let batch = ruleset::diff(&before, &after).then(after.alive());
        loaded.hub.nft.last_counts(&batch).map_err(said)?;
        loaded.hub.nft.apply(&batch).map_err(said)?;
        record.add(measure, begun.elapsed().as_secs_f64());
        before = after;
    }
    if before == loaded.ruleset { Ok(()) } else { Err("the hours have begun, and something is missing".to_owned()) }
}
