//! The definition's own tests: facts that the policy must keep, whoever edits it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::evaluate::{Evaluator, Verdict};
use super::model::{Model, Origin};
use super::question::{Question, flows};
use crate::net::Flow;

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What is asked.
    pub question: Question,
    /// The instant that the test itself names.
    pub at: Option<Timestamp>,
    /// The instant that its file names.
    pub as_of: Timestamp,
    /// Whether the flow shall pass.
    pub allow: bool,
    /// Why, in the author's words.
    pub why: Option<String>,
    /// Where it stands.
    pub origin: Origin,
}

/// What a test came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The instant as of which it was judged.
    pub at: Timestamp,
    /// Whether every flow had the expected verdict.
    pub passed: bool,
    /// The flow that tells: the first with another verdict than expected, else the first. `None` if there is none,
    /// because the two sides have no address family, protocol or port in common: nothing passes.
    pub witness: Option<(Flow, Verdict)>,
    /// How many flows were judged.
    pub flows: usize,
}

/// Judges the tests, each as of its own instant, else `at`, else its file's.
pub fn run(model: &Model, cases: &[Case], at: Option<Timestamp>) -> Vec<Outcome> {
    let mut evaluators: BTreeMap<Timestamp, Evaluator> = BTreeMap::new();
    let mut outcomes = Vec::new();
    for case in cases {
        let at = case.at.or(at).unwrap_or(case.as_of);
        let evaluator = evaluators.entry(at).or_insert_with(|| Evaluator::at(model, at));
        let flows = flows(model, &case.question);
        let mut judged = flows.iter().map(|flow| (*flow, evaluator.evaluate(flow)));
        let first = judged.clone().next();
        let other = judged.find(|(_, verdict)| verdict.allows() != case.allow);
        let passed = other.is_none() && (first.is_some() || !case.allow);
        outcomes.push(Outcome { at, passed, witness: other.or(first), flows: flows.len() });
    }
    outcomes
}
