//! Who reaches what: every consumer of every agreement in force, held against the evaluator.

use std::collections::{BTreeMap, BTreeSet};

use super::evaluate::{Evaluator, Verdict};
use super::model::Model;
use super::question::{From, Question, To, flows};
use crate::identity::{Id, Qualified};

/// That a department reaches a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The consumer.
    pub department: Qualified,
    /// The service.
    pub service: Qualified,
    /// The agreements in force between the two, sorted.
    pub agreements: BTreeSet<Id>,
    /// The guardrails that take something away, or all. Sorted.
    pub guardrails: BTreeSet<Id>,
    /// How many of the flows that stand for it pass, of how many. 0 of 0 if they have no address family in common.
    pub passing: (usize, usize),
}

/// All of it, by department and service.
pub fn reach(model: &Model) -> Vec<Reach> {
    let mut pairs: BTreeMap<(&Qualified, &Qualified), BTreeSet<Id>> = BTreeMap::new();
    for agreement in model.agreements.iter().filter(|agreement| agreement.in_force()) {
        for department in &agreement.from {
            pairs.entry((department, &agreement.service)).or_default().insert(agreement.id.clone());
        }
    }
    let evaluator = Evaluator::new(model);
    pairs.into_iter().map(|((from, to), agreements)| judge(model, &evaluator, from, to, agreements)).collect()
}

fn judge(
    model: &Model,
    evaluator: &Evaluator,
    department: &Qualified,
    service: &Qualified,
    agreements: BTreeSet<Id>,
) -> Reach {
    let (department, service) = (department.clone(), service.clone());
    let (from, to) = (From::Department(department.clone()), To::Service(service.clone()));
    let all = flows(model, &Question { from, to, protocol: None, port: None });
    let mut guardrails = BTreeSet::new();
    let mut passing = 0;
    for flow in &all {
        match evaluator.evaluate(flow) {
            Verdict::Allow { .. } => passing += 1,
            Verdict::Deny(super::Reason::Guardrail(id)) => {
                guardrails.insert(id);
            }
            Verdict::Deny(_) => {}
        }
    }
    Reach { department, service, agreements, guardrails, passing: (passing, all.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::model::{Object, Subject, Void};
    use crate::policy::sample::{agreement, guardrail, model, name, prefix};

    #[test]
    fn what_is_granted_and_what_is_left_of_it_are_told_apart() {
        let mut void = agreement(3, "gov/sministry", &["york/a"]);
        void.void.push(Void::ConsentMissing(name("gov")));
        let model = Model {
            agreements: vec![
                agreement(1, "leeds/sa", &["hull/a", "york/a"]),
                agreement(2, "leeds/sa", &["hull/a"]),
                void,
            ],
            guardrails: vec![guardrail(1, Subject::Prefix(prefix("100.70.5.0/25")), Object::Any)],
            ..model()
        };
        let told: Vec<_> = reach(&model)
            .into_iter()
            .map(|reach| {
                let whole = reach.passing.0 == reach.passing.1 && reach.passing.1 > 0;
                (reach.department.to_string(), reach.agreements.len(), reach.guardrails.len(), whole)
            })
            .collect();
        assert_eq!(told, [("hull/a".to_owned(), 2, 1, false), ("york/a".to_owned(), 1, 0, true)]);
    }
}
