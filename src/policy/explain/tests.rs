//! What is told about flows of a model: who decides, through what, and that the proposed changes do what they say.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::bundle::{Hours, Judgement};
use crate::identity::Qualified;
use crate::net::{Aim, Protocol};
use crate::policy::model::{Object, Subject, Void};
use crate::policy::question::{From, To};
use crate::policy::sample::{agreement, guardrail, model, models, name, prefix, qualified};
use crate::policy::{compile, evaluate};

fn flow(from: &str, to: &str, port: u16) -> Flow {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    Flow { source: address(from), destination: address(to), protocol: Protocol::TCP, aim: Aim::Port(port) }
}

fn between(from: &str, to: &str) -> Question {
    Question { from: From::Department(qualified(from)), to: To::Service(qualified(to)), protocol: None, port: None }
}

/// The only answer to a question.
fn answer<'m>(model: &'m Model, question: &Question) -> Answer<'m> {
    let mut answers = Explainer::new(model).explain(question, None).answers;
    assert_eq!(answers.len(), 1, "{answers:#?}");
    answers.remove(0)
}

fn with(agreements: Vec<Agreement>, guardrails: Vec<Guardrail>) -> Model {
    Model { agreements, guardrails, ..model() }
}

fn told(path: &[Step]) -> Vec<(String, Part, bool)> {
    let allowed = |step: &Step| matches!(step.judgement, Judgement::Allowed(_));
    path.iter().map(|step| (step.gateway.to_string(), step.part, allowed(step))).collect()
}

fn step(gateway: &str, part: Part, allowed: bool) -> (String, Part, bool) {
    (gateway.to_owned(), part, allowed)
}

#[test]
fn an_allowed_flow_is_followed_from_gateway_to_gateway() {
    let model = with(
        vec![agreement(1, "leeds/sa", &["york/a", "leeds/b"]), agreement(2, "gov/sministry", &["york/a"])],
        vec![],
    );
    let relayed = answer(&model, &between("york/a", "leeds/sa"));
    assert_eq!(relayed.agreement.map(|agreement| agreement.number), Some(1));
    assert_eq!(
        told(&relayed.path),
        [step("york-1", Part::Begins, true), step("hub-a", Part::Relays, true), step("leeds-1", Part::Ends, true)]
    );
    let (source, destination) = (relayed.source.real, relayed.destination.real);
    assert!(source.is_some() && source != Some(relayed.source.overlay), "{:?}", relayed.source);
    assert_eq!(destination.map(|real| real.to_string()).as_deref(), Some("192.168.1.20"));
    let behind_the_hub = answer(&model, &between("york/a", "gov/sministry"));
    assert_eq!(told(&behind_the_hub.path), [step("york-1", Part::Begins, true), step("hub-a", Part::Ends, true)]);
    let neighbours = answer(&model, &between("leeds/b", "leeds/sa"));
    assert_eq!(told(&neighbours.path), [step("leeds-1", Part::Local, true)]);
}

#[test]
fn a_gateway_aside_is_asked_only_by_name() {
    let model = with(vec![agreement(1, "leeds/sa", &["york/a"])], vec![]);
    let at = |gateway: &str| {
        let explanation = Explainer::new(&model).explain(&between("york/a", "leeds/sa"), Some(&name(gateway)));
        told(&explanation.answers[0].path)
    };
    assert_eq!(at("leeds-1"), [step("leeds-1", Part::Ends, true)]);
    assert_eq!(at("hull-1"), [step("hull-1", Part::Nothing, false)]);
}

#[test]
fn parts_of_a_department_that_fare_differently_are_told_apart() {
    let half = guardrail(1, Subject::Prefix(prefix("100.70.5.0/25")), Object::Any);
    let model = with(vec![agreement(1, "york/sa", &["hull/a"])], vec![half]);
    let answers = Explainer::new(&model).explain(&between("hull/a", "york/sa"), None).answers;
    let verdicts: Vec<bool> = answers.iter().map(|answer| answer.verdict.allows()).collect();
    assert_eq!((verdicts.len(), verdicts.contains(&true), verdicts.contains(&false)), (2, true, true));
    let guarded = answers.iter().find(|answer| !answer.verdict.allows()).expect("the denied half");
    assert_eq!(guarded.guardrail.map(|guardrail| guardrail.id.to_string()).as_deref(), Some("G-1"));
    assert_eq!(guarded.remedy, Remedy::Changes(vec![Change::LiftGuardrail("G-1".parse().expect("an id"))]));
}

#[test]
fn the_smallest_change_is_the_one_that_needs_the_fewest_signatures() {
    let id = |text: &str| text.parse().expect("an id");
    let remedy = |model: &Model| answer(model, &between("york/a", "leeds/sa")).remedy;
    let mut unsigned = agreement(1, "leeds/sa", &["york/a"]);
    unsigned.void = vec![Void::ConsentMissing(name("york"))];
    let others = agreement(2, "leeds/sa", &["hull/a"]);
    let consent = Change::Consent { agreement: id("A-1"), councils: vec![name("york")] };
    assert_eq!(remedy(&with(vec![unsigned, others.clone()], vec![])), Remedy::Changes(vec![consent]));
    let consumer = Change::AddConsumer { agreement: id("A-2"), department: qualified("york/a") };
    assert_eq!(remedy(&with(vec![others], vec![])), Remedy::Changes(vec![consumer]));
    let new = Change::NewAgreement { service: qualified("leeds/sa"), department: qualified("york/a") };
    assert_eq!(remedy(&with(vec![], vec![])), Remedy::Changes(vec![new]));
}

#[test]
fn whatever_no_policy_can_bring_about_is_named() {
    let model = with(vec![], vec![]);
    let remedy = |from: &str, to: &str| {
        let (from, to) = (flow(from, to, 443).source, flow(from, to, 443).destination);
        let question =
            Question { from: From::Address(from), to: To::Address(to), protocol: Some(Protocol::TCP), port: Some(443) };
        answer(&model, &question).remedy
    };
    assert_eq!(remedy("100.71.0.1", "100.70.2.20"), Remedy::Missing(Missing::Source));
    assert_eq!(remedy("100.70.4.1", "100.71.0.1"), Remedy::Missing(Missing::Destination));
}

#[test]
fn a_real_address_means_the_overlay_address_behind_which_it_is_or_several() {
    let model = model();
    let meant = |text: &str| overlay_of(&model, text.parse().expect("an address"));
    assert_eq!(meant("100.70.2.20").map(|address| address.to_string()).ok().as_deref(), Some("100.70.2.20"));
    assert_eq!(meant("203.0.113.1").map(|address| address.to_string()).ok().as_deref(), Some("203.0.113.1"));
    let several = meant("192.168.1.20").expect_err("every department has it");
    assert!(several.candidates.len() > 2, "{several:?}");
    let (first, overlay) = &several.candidates[0];
    assert_eq!(End::of(&model, *overlay).department.map(|department| &department.name), Some(first));
}

/// Makes a change in a model, with all its signatures.
fn make(model: &mut Model, change: &Change) {
    let number = model.agreements.iter().map(|agreement| agreement.number).max().unwrap_or(0) + 1;
    let made = |service: &Qualified, department: &Qualified| Agreement {
        service: service.clone(),
        ..agreement(number, "leeds/sa", &[&department.to_string()])
    };
    let changed = |model: &mut Model, id: &crate::identity::Id, change: &dyn Fn(&mut Agreement)| {
        model.agreements.iter_mut().filter(|agreement| agreement.id == *id).for_each(change);
    };
    // Other terms are nobody's to have refused.
    let signed = |agreement: &mut Agreement| {
        agreement.void.retain(|void| match void {
            Void::ConsentMissing(_) | Void::Refused { .. } | Void::Revoked { .. } => false,
            Void::Suspended { by, .. } => by.is_none(),
            Void::NotYet(_) | Void::Ended(_) | Void::OutsideHours(_) | Void::Unsupported(_) => true,
        });
    };
    match change {
        Change::LiftGuardrail(id) => model.guardrails.retain(|guardrail| guardrail.id != *id),
        Change::Consent { agreement, councils } => changed(model, agreement, &|agreement| {
            agreement
                .void
                .retain(|void| !councils.iter().any(|council| *void == Void::ConsentMissing(council.clone())));
        }),
        Change::Lift { agreement, by } => changed(model, agreement, &|agreement| {
            agreement.void.retain(|void| !matches!(void, Void::Suspended { by: known, .. } if known == by));
        }),
        Change::Begin { agreement, .. } => changed(model, agreement, &|agreement| {
            agreement.not_before = None;
            agreement.void.retain(|void| !matches!(void, Void::NotYet(_) | Void::ConsentMissing(_)));
        }),
        Change::Extend { agreement, .. } => changed(model, agreement, &|agreement| {
            agreement.not_after = None;
            agreement.void.retain(|void| !matches!(void, Void::Ended(_)));
            signed(agreement);
        }),
        Change::AtOtherHours { agreement, .. } => changed(model, agreement, &|agreement| {
            agreement.hours = None;
            agreement.void.retain(|void| !matches!(void, Void::OutsideHours(_)));
            signed(agreement);
        }),
        Change::DoWithout { agreement, what } => changed(model, agreement, &|agreement| {
            agreement.void.retain(|void| *void != Void::Unsupported(what.clone()));
            signed(agreement);
        }),
        Change::AddConsumer { agreement, department } => changed(model, agreement, &|agreement| {
            agreement.from.push(department.clone());
            signed(agreement);
        }),
        Change::NewAgreement { service, department } => model.agreements.push(made(service, department)),
        Change::AddPort { service, port } => {
            model.services.iter_mut().filter(|known| known.name == *service).for_each(|known| known.ports.push(*port));
        }
        Change::NewService { provider, host, port, department } => {
            let name = qualified(&format!("{}/new", provider.council));
            model.agreements.push(made(&name, department));
            let like = model.services[0].clone();
            let (ports, overlay_hosts) = (vec![*port], vec![*host]);
            model.services.push(Service {
                name,
                department: provider.clone(),
                ports,
                overlay_hosts,
                number: 999,
                ..like
            });
        }
        Change::Withdraw { agreement, department, last } => changed(model, agreement, &|agreement| {
            assert_eq!(*last, agreement.from.len() == 1);
            agreement.from.retain(|name| name != department);
        }),
    }
}

/// Some agreements begin later, have ended, or lack something.
fn varied() -> impl Strategy<Value = Model> {
    let kinds = prop::collection::vec(0..12_u8, 7);
    (models(), kinds).prop_map(|(mut model, kinds)| {
        let at = model.at;
        let day = jiff::SignedDuration::from_hours(24);
        for (agreement, kind) in model.agreements.iter_mut().zip(kinds) {
            match kind {
                0 => {
                    agreement.not_before = Some(at + day);
                    agreement.void.push(Void::NotYet(at + day));
                }
                1 => {
                    agreement.not_after = Some(at - day);
                    agreement.void.push(Void::Ended(at - day));
                }
                2 => agreement.void.push(Void::Unsupported("roles".to_owned())),
                3 => agreement.void.push(Void::Suspended { by: Some(name("leeds")), why: None }),
                4 => agreement.void.push(Void::Suspended { by: None, why: Some("a breach".to_owned()) }),
                5 => agreement.void.push(Void::Refused { council: name("york"), why: None }),
                6 => agreement.void.push(Void::Revoked { council: name("york") }),
                // It is a Thursday's first second.
                7 => {
                    let hours: Hours = "Mon 07:00-08:00 UTC".parse().expect("hours");
                    agreement.void.push(Void::OutsideHours(hours.clone()));
                    agreement.hours = Some(hours);
                }
                8 => agreement.hours = Some("Thu 00:00-00:01 UTC".parse().expect("hours")),
                _ => {}
            }
        }
        model
    })
}

fn some_flow() -> impl Strategy<Value = Flow> {
    let from = ["100.70.1.9", "100.70.2.9", "100.70.3.9", "100.70.4.9", "100.70.5.9", "100.70.5.200"];
    let to = ["100.70.1.20", "100.70.2.20", "100.70.3.20", "100.70.4.20", "100.70.5.20", "100.70.5.21"];
    let aims = [
        (Protocol::TCP, Aim::Port(443)),
        (Protocol::TCP, Aim::Port(23)),
        (Protocol::TCP, Aim::Port(300)),
        (Protocol::UDP, Aim::Port(443)),
        (Protocol::ICMP, Aim::Icmp(8)),
        (Protocol::ICMP, Aim::Icmp(17)),
        (Protocol::ESP, Aim::Nothing),
        (Protocol(200), Aim::Nothing),
    ];
    let select = |of: [&'static str; 6]| prop::sample::select(of.to_vec());
    (select(from), select(to), prop::sample::select(aims.to_vec())).prop_map(|(from, to, (protocol, aim))| Flow {
        protocol,
        aim,
        ..flow(from, to, 1)
    })
}

proptest! {
    #[test]
    fn the_proposed_changes_turn_the_decision_and_none_of_them_is_idle(model in varied(), flow in some_flow()) {
        let verdict = evaluate(&model, &flow);
        let Remedy::Changes(changes) = remedy::find(&model, &flow, &verdict) else {
            let known = |address| department_of(&model, address).is_some();
            prop_assert!(!known(flow.source) || !known(flow.destination));
            return Ok(());
        };
        let after = |changes: &[&Change]| {
            let mut model = model.clone();
            changes.iter().for_each(|change| make(&mut model, change));
            evaluate(&model, &flow).allows()
        };
        let all: Vec<&Change> = changes.iter().collect();
        prop_assert_eq!(after(&all), !verdict.allows(), "{:?} by {:?}", verdict, changes);
        for idle in &changes {
            let fewer: Vec<&Change> = changes.iter().filter(|change| *change != idle).collect();
            prop_assert_eq!(after(&fewer), verdict.allows(), "{:?} is idle", idle);
        }
    }

    #[test]
    fn every_gateway_is_told_as_its_whole_bundle_judges(model in varied(), flow in some_flow()) {
        let policies = compile(&model);
        let (source, destination) = (End::of(&model, flow.source), End::of(&model, flow.destination));
        let gateways = policies.keys().map(Some).chain([None]);
        for only in gateways {
            for step in path::path(&model, &source, &destination, &flow, only) {
                prop_assert_eq!(&step.judgement, &policies[&step.gateway].at(model.at).judge(&flow), "{:?}", step);
            }
        }
    }
}
