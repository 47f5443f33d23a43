//! The attempts made for real, with the evidence of the gateway's own counters.
//!
//! ```text
//!  status ─▶ control (of what must be denied) ─▶ attempt ─▶ status ─▶ Row: expected, actual, by whom, proof
//! ```
//!
//! Departments of one gateway take turns, so that a counter that moved tells of one attempt; gateways do not wait
//! for each other.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::identity::Name;
use crate::policy::model::Model;
use crate::telemetry::status::Status;

use super::fleet::Fleet;
use super::guard::wait_for;
use super::plan::{Attempt, By, Expectation, attempts};
use super::probe::{BRIEF, Kind, Outcome, PATIENT, attempt, control};
use super::raise::{Lab, LabError, Watcher};
use super::topology::{Host, Network};

/// Counters are read again for this long until one has moved.
const COUNTED: Duration = Duration::from_secs(3);

/// The status document's reasons for denials: no agreement, the operator's denial, a source that is not the segment's.
const NO_AGREEMENT: &str = "no_agreement";
const GUARDRAIL: &str = "guardrail";
pub(super) const SPOOFED: &str = "spoofed";

/// One line of the closing table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The agreement, the test, or the fault that was made.
    pub subject: String,
    /// What was tried.
    pub what: String,
    /// `allow` or `deny`, or what else must come of it.
    pub expected: String,
    /// What came of it.
    pub actual: String,
    /// By which agreement or guardrail, or why by none.
    pub by: String,
    /// The counters that moved.
    pub evidence: String,
    /// Whether actual is as expected.
    pub ok: bool,
}

/// What an attempt came to.
#[derive(Clone, Debug)]
struct Trial {
    outcome: Outcome,
    control: Option<Outcome>,
    counted: Option<Counted>,
}

/// A counter that moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// An agreement's id, or the reason of a denial.
    pub name: String,
    /// By how many packets.
    pub packets: u64,
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} +{}", self.name, self.packets)
    }
}

/// Makes every expected attempt, and judges each expectation by it.
///
/// # Errors
/// [`LabError::Interrupted`] alone: whatever else goes wrong is a row that failed.
pub fn try_all(
    lab: &Lab,
    model: &Model,
    expectations: &[Expectation],
    watcher: &Watcher<'_>,
) -> Result<Vec<Row>, LabError> {
    let lists = attempts(model, expectations);
    let interrupted = watcher.interrupted;
    let tried: BTreeMap<Attempt, Trial> = thread::scope(|scope| {
        let run = |(gateway, list)| {
            scope.spawn(move || {
                let quiet = Watcher { say: &|_| {}, interrupted };
                try_in_turn(lab, &gateway, list, &quiet)
            })
        };
        let threads: Vec<_> = lists.into_iter().map(run).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    watcher.check()?;
    Ok(expectations.iter().map(|expectation| judge(expectation, &tried)).collect())
}

fn try_in_turn(lab: &Lab, gateway: &Name, list: Vec<(Attempt, By)>, watcher: &Watcher<'_>) -> Vec<(Attempt, Trial)> {
    let mut before = lab.fleet.status(gateway).ok();
    let mut tried = Vec::new();
    for (attempt, by) in list {
        if watcher.check().is_err() {
            break;
        }
        let (outcome, control) = try_one(lab, &attempt, &by);
        let counted = before.as_ref().and_then(|before| evidence(&lab.fleet, gateway, before, &by));
        before = lab.fleet.status(gateway).ok();
        tried.push((attempt, Trial { outcome, control, counted }));
    }
    tried
}

fn try_one(lab: &Lab, tried: &Attempt, by: &By) -> (Outcome, Option<Outcome>) {
    let (Some(from), Some(target)) = (consumer(&lab.network, tried), lab.network.host_at(tried.to)) else {
        return (Outcome::Fault("the lab has no host there".into()), None);
    };
    let (answers, patience) = match by {
        By::Agreement(_) => (None, PATIENT),
        By::Guardrail(_) | By::Nothing(_) | By::AnotherTime(_) => (Some(control(target, tried.to, tried.kind)), BRIEF),
    };
    (attempt(from, target, tried.to, tried.kind, &lab.servers, patience), answers)
}

/// The host that makes an attempt.
pub fn consumer<'a>(network: &'a Network, attempt: &Attempt) -> Option<&'a Host> {
    match attempt.source {
        Some(address) => network.host_at(address),
        None => network.host_in(&attempt.from),
    }
}

/// Reads a gateway's counters until the one that the verdict should move has moved.
pub fn evidence(fleet: &Fleet, gateway: &Name, before: &Status, by: &By) -> Option<Counted> {
    wait_for(COUNTED, || {
        let after = fleet.status(gateway).ok()?;
        match by {
            By::Agreement(id) => agreement(before, &after, id),
            By::Guardrail(_) => denials(before, &after, GUARDRAIL),
            By::Nothing(_) | By::AnotherTime(_) => denials(before, &after, NO_AGREEMENT),
        }
    })
}

fn agreement(before: &Status, after: &Status, id: &str) -> Option<Counted> {
    let packets = |status: &Status| {
        status.agreements.iter().find(|known| known.id.as_str() == id).map_or(0, |known| known.packets)
    };
    let moved = packets(after).saturating_sub(packets(before));
    (moved > 0).then(|| Counted { name: id.to_owned(), packets: moved })
}

/// By how much the denials for a reason grew between two documents, if they did.
pub fn denials(before: &Status, after: &Status, reason: &str) -> Option<Counted> {
    let packets = |status: &Status| -> u64 {
        let denied = status.policy.denied.iter().filter(|denied| denied.reason == reason);
        denied.map(|denied| denied.packets).sum()
    };
    let moved = packets(after).saturating_sub(packets(before));
    (moved > 0).then(|| Counted { name: reason.to_owned(), packets: moved })
}

fn judge(expectation: &Expectation, tried: &BTreeMap<Attempt, Trial>) -> Row {
    let expected = if expectation.allow { "allow" } else { "deny" };
    let mut row = Row {
        subject: expectation.subject.clone(),
        what: format!("{} → {}", expectation.from, expectation.to),
        expected: expected.to_owned(),
        actual: String::new(),
        by: expectation.by.to_string(),
        evidence: String::new(),
        ok: false,
    };
    let attempt = match &expectation.attempt {
        Ok(attempt) => attempt,
        Err(why) => return Row { actual: why.clone(), ..row },
    };
    row.what = describe(expectation, attempt);
    if matches!(expectation.by, By::AnotherTime(_)) {
        return Row { actual: "not to be tried now".to_owned(), ok: true, ..row };
    }
    let Some(trial) = tried.get(attempt) else { return Row { actual: "not tried".to_owned(), ..row } };
    row.evidence = trial.counted.as_ref().map(ToString::to_string).unwrap_or_default();
    let (actual, passes) = match &trial.outcome {
        Outcome::Answered(how) => (format!("allow: {how}"), Some(true)),
        Outcome::Stopped => ("deny".to_owned(), Some(false)),
        Outcome::Fault(why) => (format!("failed: {why}"), None),
    };
    row.actual = actual;
    row.ok = passes == Some(expectation.allow) && trial.counted.is_some();
    match &trial.control {
        Some(Outcome::Answered(_)) | None => {}
        Some(Outcome::Stopped) => row = Row { actual: "the target itself does not answer".into(), ok: false, ..row },
        Some(Outcome::Fault(why)) => row = Row { actual: format!("no control: {why}"), ok: false, ..row },
    }
    row
}

fn describe(expectation: &Expectation, attempt: &Attempt) -> String {
    let family = if attempt.to.is_ipv6() { " by IPv6" } else { "" };
    match attempt.kind {
        Kind::Echo => format!("{} → {} echo{family}", expectation.from, expectation.to),
        Kind::Tcp(_) | Kind::Udp(_) => format!("{} → {} {}{family}", expectation.from, expectation.to, attempt.kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::plan::expectations;
    use crate::lab::sample::example;

    /// The row of the first expectation about `subject`, after a trial.
    fn judged(subject: &str, outcome: Outcome, control: Option<Outcome>, counted: bool) -> Row {
        let example = example();
        let all = expectations(&example.model, &example.cases);
        let expectation = all.iter().find(|row| row.subject == subject).expect("an expectation");
        let counted = counted.then(|| Counted { name: subject.to_owned(), packets: 3 });
        let attempt = expectation.attempt.clone().expect("an attempt");
        judge(expectation, &BTreeMap::from([(attempt, Trial { outcome, control, counted })]))
    }

    fn answered() -> Outcome {
        Outcome::Answered("answered".into())
    }

    #[test]
    fn an_allowed_attempt_must_be_answered_and_counted() {
        assert!(judged("A-101", answered(), None, true).ok);
        assert!(!judged("A-101", answered(), None, false).ok);
        assert!(!judged("A-101", Outcome::Stopped, None, true).ok);
        assert!(!judged("A-101", Outcome::Fault("reset".into()), None, true).ok);
    }

    #[test]
    fn a_denied_attempt_must_be_stopped_and_counted_while_the_target_answers() {
        assert!(judged("A-107", Outcome::Stopped, Some(answered()), true).ok);
        assert!(!judged("A-107", answered(), Some(answered()), true).ok);
        assert!(!judged("A-107", Outcome::Stopped, Some(answered()), false).ok);
        assert!(!judged("A-107", Outcome::Stopped, Some(Outcome::Stopped), true).ok);
        assert!(!judged("A-107", Outcome::Fault("reset".into()), Some(answered()), true).ok);
    }

    #[test]
    fn an_attempt_that_was_not_made_is_wrong() {
        let example = example();
        let all = expectations(&example.model, &example.cases);
        assert!(all.iter().all(|expectation| !judge(expectation, &BTreeMap::new()).ok));
    }
}
