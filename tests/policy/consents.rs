//! Consents: who must give one, what voids it, and what an agreement without comes to.

use jiff::Timestamp;
use turnpike::policy::model::Void;
use turnpike::policy::{self, Code, Files, Severity};

use crate::definition::{Small, allotted, base, replaced, resolved, time};

const FILE: &str = "agreements/A-142.toml";

fn void_at(files: &Files, id: &str, at: Timestamp) -> Vec<Void> {
    let resolved = policy::resolve(files, at).expect("it holds");
    let mut agreements = resolved.model.agreements.into_iter();
    agreements.find(|agreement| agreement.id.as_str() == id).expect("the agreement").void
}

fn void(files: &Files) -> Vec<Void> {
    void_at(files, "A-142", time(crate::definition::NOW))
}

fn missing(council: &str) -> Void {
    Void::ConsentMissing(council.parse().expect("a name"))
}

#[test]
fn with_every_consent_an_agreement_is_in_force() {
    assert_eq!(void(&base()), []);
}

#[test]
fn the_hash_is_what_another_implementation_finds() {
    // Made with Python's json and hashlib from the base's files, by FORMAT alone.
    let terms = policy::terms(&base()).expect("it holds");
    let id = "A-142".parse().expect("an id");
    assert_eq!(terms[&id].hash(), "sha256:7bbb68c946e63e84522194caeaecf277faeb87c6822323820ed0aebb72abb137");
}

#[test]
fn any_change_of_the_terms_voids_both_consents() {
    let changes = [
        ("councils/leeds.toml", "\"192.168.1.20\"", "\"192.168.1.21\""),
        ("councils/leeds.toml", "\"tcp/443\"", "\"tcp/444\""),
        (FILE, "[\"bradford/benefits\"]", "[\"bradford/benefits\", \"bradford/housing\"]"),
        (FILE, "class = \"routine\"", "class = \"sensitive\""),
        (FILE, "2027-03-31T23:59:59+01:00", "2027-04-30T23:59:59+01:00"),
        (FILE, "not_before = 2026-01-01T00:00:00+00:00\n", ""),
    ];
    for (file, from, to) in changes {
        assert_eq!(void(&replaced(base(), file, from, to)), [missing("bradford"), missing("leeds")], "{to}");
    }
}

#[test]
fn what_is_no_term_voids_nothing() {
    let changes = [
        ("councils/leeds.toml", "Leeds City Council", "Leeds"),
        (FILE, "reference = \"DSA-2026-114\"", "reference = \"DSA-2026-115\""),
        (FILE, "not_before = 2026-01-01T00:00:00+00:00", "not_before = 2026-01-01T01:00:00+01:00"),
        (FILE, "hours = \"always\"\n", ""),
        ("councils/leeds.toml", "\"192.168.1.20\", \"192.168.1.3\"", "\"192.168.1.3\", \"192.168.1.20\""),
    ];
    for (file, from, to) in changes {
        assert_eq!(void(&replaced(base(), file, from, to)), [], "{to}");
    }
}

#[test]
fn a_consent_by_a_stranger_by_another_key_or_of_another_council_does_not_count() {
    let leeds = [missing("leeds")];
    assert_eq!(void(&replaced(base(), FILE, "siro@leeds.example", "clerk@leeds.example")), leeds);
    let other = "ed25519:2mChc1gAZzwxyPYRwZuRpJE7VGr68+3PNefvEjFS65M=";
    let key = "ed25519:tNJ9lMiVA0FlXlnrmAfvaMsCbWs23ynEQkENneV7Buk=";
    assert_eq!(void(&replaced(base(), "councils/leeds.toml", key, other)), leeds);
    assert_eq!(void(&replaced(base(), FILE, "council = \"leeds\"", "council = \"operator\"")), leeds);
    assert_eq!(void(&replaced(base(), FILE, "by = \"siro@leeds.example\"\n", "")), leeds);
}

#[test]
fn a_signature_for_one_agreement_is_none_for_another() {
    let mut small = Small::new();
    for council in 0..2 {
        small.council(council);
        small.department(council, 0, 24);
    }
    small.service(0, 0, 1, "\"any\"");
    small.agreement(1, "c0/s0", &["c1/d0".to_owned()]);
    small.sign();
    let signed = crate::definition::text(&small.files, "agreements/A-1.toml");
    small.files.insert("agreements/A-2.toml", signed.replace("\"A-1\"", "\"A-2\""));
    let files = allotted(small.files);
    let now = time("2026-06-01T00:00:00Z");
    assert_eq!(void_at(&files, "A-1", now), []);
    assert_eq!(void_at(&files, "A-2", now), [missing("c0"), missing("c1")]);
}

#[test]
fn an_agreement_begins_and_ends_with_its_dates_whatever_the_offset() {
    let begin = time("2026-01-01T00:00:00Z");
    let end = time("2027-03-31T22:59:59Z");
    let second = jiff::SignedDuration::from_secs(1);
    assert_eq!(void_at(&base(), "A-142", begin), []);
    assert_eq!(void_at(&base(), "A-142", end), []);
    assert_eq!(void_at(&base(), "A-142", begin - second), [Void::NotYet(begin)]);
    assert_eq!(void_at(&base(), "A-142", end + second), [Void::Ended(end)]);
}

#[test]
fn dates_at_the_change_of_clocks_are_the_instants_that_they_name() {
    // 2026-10-25 in London: 01:30 comes twice, at +01:00 and an hour later at +00:00.
    for (offset, instant) in [("+01:00", "2026-10-25T00:30:00Z"), ("+00:00", "2026-10-25T01:30:00Z")] {
        let date = format!("not_after = 2026-10-25T01:30:00{offset}");
        let files = replaced(base(), FILE, "not_after = 2027-03-31T23:59:59+01:00", &date);
        let terms = policy::terms(&files).expect("it holds");
        let id = "A-142".parse().expect("an id");
        assert!(terms[&id].json().contains(&format!("\"not_after\":\"{instant}\"")), "{}", terms[&id].json());
    }
}

#[test]
fn what_lacks_consent_is_named_and_the_definition_holds() {
    let resolved = resolved(&base());
    let missing = resolved.warnings.iter().filter(|warning| warning.code == Code::ConsentMissing);
    let named: Vec<_> = missing.map(|warning| (warning.origin.file.as_str(), warning.severity)).collect();
    assert!(named.contains(&("agreements/A-7.toml", Severity::Warning)));
    assert!(!named.iter().any(|(file, _)| *file == FILE));
}

#[test]
fn what_cannot_be_enforced_yet_is_named_and_compiles_to_nothing() {
    let resolved = resolved(&base());
    let void = void_at(&base(), "A-9", time(crate::definition::NOW));
    for what in ["identity = \"card\"", "roles"] {
        assert!(void.contains(&Void::Unsupported(what.to_owned())), "{what} in {void:?}");
    }
    let warned = |text: &str| resolved.warnings.iter().any(|warning| warning.message.contains(text));
    for what in ["identity", "roles", "VLAN 120", "[[sla]]", "'metered'", "[[management-allow]]"] {
        assert!(warned(what), "{what}");
    }
}

#[test]
fn neighbours_at_one_edge_may_have_an_agreement() {
    let mut small = Small::new();
    for council in 0..2 {
        small.council(council);
        small.department(council, 0, 24);
        small.department(council, 1, 24);
    }
    small.service(0, 0, 1, "\"any\"");
    small.agreement(1, "c0/s0", &["c0/d1".to_owned(), "c1/d0".to_owned()]);
    small.agreement(2, "c0/s0", &["c0/d1".to_owned()]);
    small.sign();
    let model = resolved(&allotted(small.files)).model;
    assert_eq!(names(&model.agreements[0].from), ["c0/d1", "c1/d0"]);
    assert!(model.agreements.iter().all(turnpike::policy::model::Agreement::in_force));
    assert_eq!(model.agreements[1].councils, ["c0".parse().expect("a name")], "the council's own consent alone");
    let policies = policy::compile(&model);
    let told = |gateway: &str| {
        let policy = &policies[&gateway.parse().expect("a name")];
        policy.agreements.iter().map(|agreement| agreement.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!([told("e0"), told("hub"), told("e1")], [vec!["A-1", "A-2"], vec!["A-1"], vec!["A-1"]]);
}

#[test]
fn a_tag_stands_for_every_department_that_bears_it_and_takes_each_councils_consent() {
    let mut small = Small::new();
    for council in 0..3 {
        small.council(council);
        small.department(council, 0, 24);
        small.department(council, 1, 24);
    }
    let tagged =
        |small: &mut Small, council: usize| small.append(&format!("councils/c{council}.toml"), "tags = [\"x\"]\n");
    tagged(&mut small, 1);
    small.service(0, 0, 1, "\"any\"");
    small.agreement(1, "c0/s0", &["tag:x".to_owned(), "c2/d0".to_owned()]);
    small.sign();
    let agreement = |files: Files| resolved(&allotted(files)).model.agreements.remove(0);
    let before = agreement(small.files.clone());
    assert_eq!((names(&before.from), before.void), (vec!["c1/d1".to_owned(), "c2/d0".to_owned()], vec![]));
    assert!(policy::terms(&small.files).expect("it holds")[&before.id].json().contains("[\"c2/d0\",\"tag:x\"]"));
    tagged(&mut small, 2);
    let with_another_of_a_council = agreement(small.files.clone());
    assert_eq!(names(&with_another_of_a_council.from), ["c1/d1", "c2/d0", "c2/d1"]);
    assert_eq!(with_another_of_a_council.void, [], "both councils have consented to the tag");
    small.council(3);
    small.department(3, 0, 24);
    tagged(&mut small, 3);
    assert_eq!(agreement(small.files).void, [missing("c3")], "nobody has heard of the fourth council");
}

fn names(list: &[turnpike::identity::Qualified]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}
