//! What the benchmark makes and reads: a test target of its own, since a benchmark has none.

#[allow(dead_code, reason = "the benchmark uses what these tests do not")]
mod definition;
#[allow(dead_code, reason = "the benchmark uses what these tests do not")]
mod measure;
#[allow(dead_code, reason = "the benchmark uses what these tests do not")]
mod options;
#[path = "../side_by_side/statistics.rs"]
#[allow(dead_code, reason = "the benchmark uses what these tests do not")]
mod statistics;

use definition::{AT, SCALE, Size};
use measure::{Goal, Measure};
use options::{Options, Section};
use turnpike::policy;

const SMALL: Size = Size { councils: 4, departments: 3, services: 5, agreements: 40 };

#[test]
fn the_same_generator_with_few_councils_makes_a_definition_without_any_finding() {
    let files = SMALL.definition().expect("it holds");
    assert_eq!(files, SMALL.definition().expect("it holds"), "the same size gives the same octets");
    let resolved = policy::resolve(&files, AT.parse().expect("a time")).expect("it holds");
    assert_eq!(resolved.warnings, []);
    let model = resolved.model;
    assert_eq!((model.councils.len(), model.departments.len(), model.services.len()), (4, 12, 60));
    assert_eq!(model.agreements.len(), 40);
    assert!(model.agreements.iter().all(|agreement| agreement.in_force() && agreement.consents.len() == 2));
    let policies = policy::compile(&model);
    let hub = &policies[&"hub-a".parse().expect("a name")];
    assert_eq!((policies.len(), hub.rules.len(), hub.agreements.len()), (5, 80, 40), "all pass the hub");
}

#[test]
fn a_consent_that_is_not_the_councils_is_found_among_the_others() {
    let mut files = SMALL.definition().expect("it holds");
    let text = |number: usize| {
        let path = format!("agreements/A-{number}.toml");
        String::from_utf8(files.get(&path).expect("the file").to_vec()).expect("UTF-8")
    };
    let signature = |text: &str| text.rsplit("signature = ").next().expect("a signature").to_owned();
    let (one, other) = (text(1), text(2));
    let swapped = one.replace(&signature(&one), &signature(&other));
    files.insert("agreements/A-1.toml", swapped);
    let resolved = policy::resolve(&files, AT.parse().expect("a time")).expect("it holds");
    let void = resolved.model.agreements.iter().filter(|agreement| !agreement.in_force());
    assert_eq!(void.map(|agreement| agreement.id.as_str()).collect::<Vec<_>>(), ["A-1"]);
    assert_eq!(resolved.warnings.len(), 1);
}

#[test]
fn the_size_of_the_proof_is_what_is_promised() {
    assert_eq!(SCALE.councils * SCALE.departments * SCALE.services, 77_600);
    assert_eq!((SCALE.councils, SCALE.agreements), (388, 50_000));
}

#[test]
fn a_run_can_be_chosen_and_what_is_not_understood_is_refused() {
    let read = |arguments: &[&str], only: &'static str| {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        Options::read(arguments, |name| (name == "ONLY").then(|| only.to_owned()))
    };
    let all = read(&["--bench", "--json"], "").expect("options");
    assert_eq!((all.sections, all.json), (Section::ALL.to_vec(), true));
    assert_eq!(read(&[], "load,check").expect("options").sections, [Section::Load, Section::Check]);
    assert!(read(&[], "lod").is_err());
    assert!(read(&["fast"], "").is_err());
}

#[test]
fn a_goal_is_judged_by_what_it_is_about() {
    let verdict = |goal, runs: &[f64]| Measure::new("x", "s", goal).verdict(runs);
    assert_eq!(verdict(Goal::Median(2.0), &[1.0, 2.0, 9.0]), "PASS");
    assert_eq!(verdict(Goal::Every(2.0), &[1.0, 2.0, 9.0]), "MISSED");
    assert_eq!(verdict(Goal::AtLeast(97.0), &[96.0, 97.0, 98.0]), "PASS");
    assert_eq!(verdict(Goal::AtLeast(97.0), &[96.0]), "MISSED");
    assert_eq!(verdict(Goal::Median(2.0), &[]), "MISSED");
    assert_eq!(verdict(Goal::Nothing, &[5.0]), "");
}
