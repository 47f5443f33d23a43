//! What the demonstration will try, worked out from the definition: every agreement and every test, as attempts.
//!
//! Pure: the expected verdict is [`Evaluator`]'s, the attempt itself is [`probe`](super::probe)'s.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::identity::{Name, Qualified};
use crate::net::{Aim, Family, Flow, Icmp, PortMatch, Protocol};
use crate::policy::cases::Case;
use crate::policy::model::{Agreement, Department, Model};
use crate::policy::{Evaluator, Reason, Verdict, flows};

use super::probe::Kind;

/// A connection to try: everything that tells one from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    /// Who opens it.
    pub from: Qualified,
    /// The consumer's own overlay address, where a test names one; else any host of the department.
    pub source: Option<IpAddr>,
    /// To which overlay address.
    pub to: IpAddr,
    /// What is tried.
    pub kind: Kind,
}

/// One row of the table to come: who asks for the attempt, and what must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The agreement's id, or the file and line of the test.
    pub subject: String,
    /// The consumer, as written.
    pub from: String,
    /// The service, or the address as written.
    pub to: String,
    /// The attempt; what is missing where the lab cannot make it.
    pub attempt: Result<Attempt, String>,
    /// Whether it must pass.
    pub allow: bool,
    /// What decides: an agreement's or guardrail's id, or why there is none.
    pub by: By,
}

/// What decides about a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The agreement that allows it.
    Agreement(String),
    /// The guardrail that denies it.
    Guardrail(String),
    /// Nothing allows it: why.
    Nothing(String),
    /// As of now another verdict holds than at the instant that the test names.
    AnotherTime(Timestamp),
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Agreement(id) => f.write_str(id),
            Self::Guardrail(id) => f.write_str(id),
            Self::Nothing(why) => f.write_str(why),
            Self::AnotherTime(at) => write!(f, "holds as of {at}, not now"),
        }
    }
}

/// What must hold now, agreement by agreement and test by test.
pub fn expectations(model: &Model, cases: &[Case]) -> Vec<Expectation> {
    let planner = Planner { model, now: Evaluator::new(model) };
    let agreements = model.agreements.iter().flat_map(|agreement| planner.of_agreement(agreement));
    agreements.chain(cases.iter().flat_map(|case| planner.of_case(case))).collect()
}

/// The attempts of some expectations, each once, by the gateway of the consumer.
pub fn attempts(model: &Model, expectations: &[Expectation]) -> BTreeMap<Name, Vec<(Attempt, By)>> {
    let mut by_gateway: BTreeMap<Name, Vec<(Attempt, By)>> = BTreeMap::new();
    for expectation in expectations {
        let Ok(attempt) = &expectation.attempt else { continue };
        let Some(department) = find(model, &attempt.from) else { continue };
        let list = by_gateway.entry(department.at.clone()).or_default();
        if list.iter().all(|(known, _)| known != attempt) {
            list.push((attempt.clone(), expectation.by.clone()));
        }
    }
    by_gateway
}

struct Planner<'a> {
    model: &'a Model,
    now: Evaluator,
}

impl Planner<'_> {
    fn of_agreement(&self, agreement: &Agreement) -> Vec<Expectation> {
        let Some(service) = self.model.services.iter().find(|service| service.name == agreement.service) else {
            return Vec::new();
        };
        let mut rows = Vec::new();
        for consumer in agreement.from.iter().filter_map(|name| find(self.model, name)) {
            let families: Vec<Family> = consumer.mappings.iter().map(|mapping| mapping.overlay.family()).collect();
            for &to in service.overlay_hosts.iter().filter(|host| families.contains(&Family::of(**host))) {
                for kind in service.ports.iter().flat_map(|port| kinds(*port)) {
                    let attempt = kind.map(|kind| Attempt { from: consumer.name.clone(), source: None, to, kind });
                    let verdict = attempt.as_ref().ok().map(|attempt| self.verdict(consumer, attempt));
                    rows.push(Expectation {
                        subject: agreement.id.to_string(),
                        from: consumer.name.to_string(),
                        to: service.name.to_string(),
                        allow: verdict.as_ref().is_some_and(Verdict::allows),
                        by: self.by(verdict),
                        attempt,
                    });
                }
            }
        }
        rows
    }

    fn of_case(&self, case: &Case) -> Vec<Expectation> {
        let mut seen = Vec::new();
        let mut rows = Vec::new();
        let at = case.at.unwrap_or(case.as_of);
        let then = Evaluator::at(self.model, at);
        for flow in flows(self.model, &case.question) {
            let key = (flow.destination, flow.protocol, flow.aim);
            if seen.contains(&key) {
                continue;
            }
            seen.push(key);
            let now = self.now.evaluate(&flow);
            let same = now.allows() == then.evaluate(&flow).allows();
            rows.push(Expectation {
                subject: format!("{}:{}", case.origin.file, case.origin.line),
                from: case.question.from.to_string(),
                to: case.question.to.to_string(),
                attempt: self.attempt_of(case, &flow),
                allow: case.allow,
                by: if same { self.by(Some(now)) } else { By::AnotherTime(at) },
            });
        }
        rows
    }

    fn attempt_of(&self, case: &Case, flow: &Flow) -> Result<Attempt, String> {
        let department = self
            .model
            .departments
            .iter()
            .find(|department| department.mappings.iter().any(|mapping| mapping.overlay.contains(flow.source)))
            .ok_or_else(|| format!("{} is no department's", flow.source))?;
        let source = match case.question.from {
            crate::policy::From::Address(address) => Some(address),
            crate::policy::From::Department(_) => None,
        };
        let kind = kind_of(flow).ok_or_else(|| format!("the lab cannot make {} connections", flow.protocol))?;
        Ok(Attempt { from: department.name.clone(), source, to: flow.destination, kind })
    }

    fn verdict(&self, consumer: &Department, attempt: &Attempt) -> Verdict {
        let family = Family::of(attempt.to);
        let (protocol, port) = attempt.kind.on_the_wire(family);
        let aim = match attempt.kind {
            Kind::Tcp(_) | Kind::Udp(_) => Aim::Port(port),
            Kind::Echo => Aim::Icmp(u8::try_from(port).unwrap_or(u8::MAX)),
        };
        let own = consumer.mappings.iter().map(|mapping| mapping.overlay).find(|prefix| prefix.family() == family);
        let source = own.map_or(attempt.to, |prefix| prefix.last());
        self.now.evaluate(&Flow { source, destination: attempt.to, protocol, aim })
    }

    fn by(&self, verdict: Option<Verdict>) -> By {
        match verdict {
            Some(Verdict::Allow { agreement, .. }) => {
                let known = self.model.agreements.iter().find(|known| known.number == agreement);
                By::Agreement(known.map_or_else(|| agreement.to_string(), |known| known.id.to_string()))
            }
            Some(Verdict::Deny(Reason::Guardrail(id))) => By::Guardrail(id.to_string()),
            Some(Verdict::Deny(reason)) => By::Nothing(reason.to_string()),
            None => By::Nothing("the lab cannot try it".into()),
        }
    }
}

fn find<'a>(model: &'a Model, name: &Qualified) -> Option<&'a Department> {
    model.departments.iter().find(|department| department.name == *name)
}

/// What stands for an entry of a service's ports: both ends of a range.
fn kinds(port: PortMatch) -> Vec<Result<Kind, String>> {
    match port {
        PortMatch::Ports { protocol, first, last } => {
            let ends = if first == last { vec![first] } else { vec![first, last] };
            let kind = |port| match protocol {
                Protocol::TCP => Ok(Kind::Tcp(port)),
                Protocol::UDP => Ok(Kind::Udp(port)),
                other => Err(format!("the lab cannot make {other} connections")),
            };
            ends.into_iter().map(kind).collect()
        }
        PortMatch::Icmp(Icmp::EchoRequest) => vec![Ok(Kind::Echo)],
        PortMatch::Any => vec![Ok(Kind::Echo), Ok(Kind::Tcp(1)), Ok(Kind::Udp(65_535))],
        PortMatch::Icmp(Icmp::TimestampRequest) | PortMatch::Protocol(_) => {
            vec![Err(format!("the lab cannot try {port}"))]
        }
    }
}

fn kind_of(flow: &Flow) -> Option<Kind> {
    match (flow.protocol, flow.aim) {
        (Protocol::TCP, Aim::Port(port)) => Some(Kind::Tcp(port)),
        (Protocol::UDP, Aim::Port(port)) => Some(Kind::Udp(port)),
        (protocol, Aim::Icmp(kind)) => {
            (Kind::Echo.on_the_wire(Family::of(flow.destination)) == (protocol, u16::from(kind))).then_some(Kind::Echo)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::sample::example;

    fn rows(subject: &str) -> Vec<(Kind, bool, String)> {
        let example = example();
        let all = expectations(&example.model, &example.cases);
        let own = all.into_iter().filter(|row| row.subject == subject);
        own.map(|row| (row.attempt.expect("an attempt").kind, row.allow, row.by.to_string())).collect()
    }

    #[test]
    fn an_agreement_is_tried_on_every_port_and_at_both_ends_of_a_range() {
        let by = || "A-104".to_owned();
        assert_eq!(
            rows("A-104"),
            [(Kind::Tcp(21), true, by()), (Kind::Tcp(50_000), true, by()), (Kind::Tcp(50_009), true, by())]
        );
    }

    #[test]
    fn a_consumer_in_both_families_is_tried_in_both() {
        let example = example();
        let all = expectations(&example.model, &example.cases);
        let own = all.iter().filter(|row| row.subject == "A-105" && row.from == "wakefield/social-care");
        let to: Vec<IpAddr> = own.filter_map(|row| row.attempt.as_ref().ok()).map(|attempt| attempt.to).collect();
        assert_eq!((to.len(), to.iter().filter(|to| to.is_ipv6()).count()), (6, 3));
    }

    #[test]
    fn what_lacks_consent_and_what_a_guardrail_denies_is_expected_to_be_denied() {
        assert!(rows("A-107").iter().all(|(_, allow, by)| !allow && by == "no agreement in force allows it"));
        assert_eq!(rows("A-109"), [(Kind::Tcp(23), false, "G-1".to_owned())]);
    }

    #[test]
    fn a_test_as_of_another_time_than_now_is_named_as_such() {
        let mut example = example();
        let now = example.model.at;
        let agreement = example.model.agreements.iter_mut().find(|it| it.id.as_str() == "A-104").expect("A-104");
        agreement.not_before = Some(now);
        for case in &mut example.cases {
            case.as_of = "2026-01-05T12:00:00Z".parse().expect("a time");
        }
        let all = expectations(&example.model, &example.cases);
        let other: Vec<&Expectation> = all.iter().filter(|row| matches!(row.by, By::AnotherTime(_))).collect();
        assert!(!other.is_empty() && other.iter().all(|row| row.to == "wakefield/ledger"), "{other:?}");
    }

    #[test]
    fn each_attempt_is_made_once_by_the_gateway_of_its_consumer() {
        let example = example();
        let all = expectations(&example.model, &example.cases);
        let lists = attempts(&example.model, &all);
        let names: Vec<&str> = lists.keys().map(Name::as_str).collect();
        assert_eq!(names, ["bradford-1", "hub-a", "leeds-1", "wakefield-1"]);
        for list in lists.values() {
            let mut sorted: Vec<&Attempt> = list.iter().map(|(attempt, _)| attempt).collect();
            sorted.sort();
            sorted.dedup();
            assert_eq!(sorted.len(), list.len());
        }
    }
}
