//! The definition's own tests: facts that the policy must keep, whoever edits it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::evaluate::{Evaluator, Verdict};
use super::model::{Agreement, Model, Origin};
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
    /// The numbers of the agreements by which some of them passed.
    pub agreements: BTreeSet<u32>,
}

/// The agreements in force of which no test saw a flow pass: nothing would tell if one of them ended.
pub fn untouched<'m>(model: &'m Model, outcomes: &[Outcome]) -> Vec<&'m Agreement> {
    let touched: BTreeSet<u32> = outcomes.iter().flat_map(|outcome| &outcome.agreements).copied().collect();
    let missed = |agreement: &&Agreement| agreement.in_force() && !touched.contains(&agreement.number);
    model.agreements.iter().filter(missed).collect()
}

/// Judges the tests, each as of its own instant, else `at`, else its file's.
pub fn run(model: &Model, cases: &[Case], at: Option<Timestamp>) -> Vec<Outcome> {
    let mut evaluators: BTreeMap<Timestamp, Evaluator> = BTreeMap::new();
    let mut outcomes = Vec::new();
    for case in cases {
        let at = case.at.or(at).unwrap_or(case.as_of);
        let evaluator = evaluators.entry(at).or_insert_with(|| Evaluator::at(model, at));
        let flows = flows(model, &case.question);
        let judged: Vec<(Flow, Verdict)> = flows.iter().map(|flow| (*flow, evaluator.evaluate(flow))).collect();
        let agreements = judged.iter().filter_map(|(_, verdict)| verdict.agreement()).collect();
        let other = judged.iter().find(|(_, verdict)| verdict.allows() != case.allow);
        let passed = other.is_none() && (!judged.is_empty() || !case.allow);
        let witness = other.or(judged.first()).cloned();
        outcomes.push(Outcome { at, passed, witness, flows: flows.len(), agreements });
    }
    outcomes
}
