//! What is refused: each test begins or ends with the whole bundle being taken.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::sample::{Keys, contents, edge, key, name};
use super::*;

/// The edge's bundle with one thing changed, still canonical.
fn changed(octets: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(octets).expect("JSON");
    change(&mut value);
    serde_json_canonicalizer::to_vec(&value).expect("JSON")
}

fn section_of(octets: &[u8], section: Section) -> Value {
    let value: Value = serde_json::from_slice(octets).expect("JSON");
    value[section.to_string()].clone()
}

const SECTIONS: [Section; 3] = [Section::Policy, Section::Membership, Section::Narrowing];

#[test]
fn a_sealed_bundle_opens_as_what_was_sealed() {
    let keys = Keys::new();
    for (gateway, octets) in keys.seal(contents(), 5) {
        let bundle = open(&octets, &keys.trust).expect("the whole");
        let sealed = contents().into_iter().find(|c| c.policy.gateway == gateway).expect("sealed");
        assert_eq!((bundle.generation, &bundle.gateway), (5, &gateway));
        assert_eq!(
            (&bundle.policy, &bundle.membership, &bundle.narrowing),
            (&sealed.policy, &sealed.membership, &sealed.narrowing)
        );
        assert_eq!(open_unverified(&octets), Ok(bundle));
    }
}

#[test]
fn sealing_is_deterministic() {
    let keys = Keys::new();
    let mut turned = contents();
    turned.reverse();
    assert_eq!(keys.seal(contents(), 5), keys.seal(turned, 5));
    assert_ne!(keys.seal(contents(), 5), keys.seal(contents(), 6));
}

#[test]
fn a_bundle_truncated_at_any_octet_is_refused() {
    let keys = Keys::new();
    let whole = keys.edge();
    for length in 0..whole.len() {
        let refusal = open(&whole[..length], &keys.trust).expect_err("a part");
        assert!(
            length == 0 || matches!(refusal, BundleError::Truncated(at) if at == length),
            "cut at {length}: {refusal}"
        );
    }
    assert!(open(&whole, &keys.trust).is_ok());
}

#[test]
fn a_bundle_with_a_bit_flipped_in_any_octet_is_refused() {
    let keys = Keys::new();
    let whole = keys.edge();
    for place in 0..whole.len() {
        // Bit 5 turns letters' case, which a lenient decoder would forgive.
        for bit in [place % 8, 5] {
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << bit;
            assert!(open(&flipped, &keys.trust).is_err(), "bit {bit} of octet {place}");
        }
    }
    assert!(open(&whole, &keys.trust).is_ok());
}

proptest! {
    #[test]
    fn a_bundle_with_any_octet_changed_inserted_or_removed_is_refused(
        place in any::<prop::sample::Index>(), octet in any::<u8>(), kind in 0..3,
    ) {
        let keys = Keys::new();
        let whole = keys.edge();
        let mut other = whole.clone();
        let place = place.index(whole.len());
        match kind {
            0 => other[place] = octet,
            1 => other.insert(place, octet),
            _ => drop(other.remove(place)),
        }
        prop_assert_eq!(open(&other, &keys.trust).is_ok(), other == whole);
    }

    #[test]
    fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(open(&octets, &Keys::new().trust).is_err());
    }
}

#[test]
fn what_is_no_bundle_is_named_so() {
    let trust = Keys::new().trust;
    for text in ["", "null", "[]", "{}", "hello", "{\"turnpike-bundle\":\"1\"}", "{\"turnpike-bundle\":1}", "\0\0"] {
        assert!(matches!(open(text.as_bytes(), &trust), Err(BundleError::NotABundle(_))), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(open(deep.as_bytes(), &trust), Err(BundleError::NotABundle(_))));
}

#[test]
fn another_version_is_refused_before_anything_else_is_read() {
    let trust = Keys::new().trust;
    for version in [0, 2, u64::MAX] {
        let text = format!("{{\"anything\":[1],\"turnpike-bundle\":{version}}}");
        assert_eq!(open(text.as_bytes(), &trust), Err(BundleError::UnknownVersion(version)));
    }
}

#[test]
fn a_bundle_over_the_limit_is_refused_unread() {
    let octets = vec![b' '; MAX_OCTETS + 1];
    assert_eq!(open(&octets, &Keys::new().trust), Err(BundleError::TooLarge(MAX_OCTETS + 1)));
}

#[test]
fn a_bundle_in_another_form_of_json_is_refused() {
    let keys = Keys::new();
    let value: Value = serde_json::from_slice(&keys.edge()).expect("JSON");
    let pretty = serde_json::to_vec_pretty(&value).expect("JSON");
    assert_eq!(open(&pretty, &keys.trust), Err(BundleError::NotCanonical));
    let mut newline = keys.edge();
    newline.push(b'\n');
    assert_eq!(open(&newline, &keys.trust), Err(BundleError::NotCanonical));
}

#[test]
fn a_changed_content_does_not_match_its_hash() {
    let keys = Keys::new();
    for section in SECTIONS {
        let forged = changed(&keys.edge(), |value| {
            let part = &mut value[section.to_string()];
            part["content"] = part["content"].as_str().expect("text").replace("leeds-1", "leeds-2").into();
        });
        assert_eq!(open(&forged, &keys.trust), Err(BundleError::WrongHash(section)));
    }
}

#[test]
fn a_content_with_a_new_hash_lacks_the_signature() {
    let keys = Keys::new();
    for section in SECTIONS {
        let forged = changed(&keys.edge(), |value| {
            let part = &mut value[section.to_string()];
            let content = part["content"].as_str().expect("text").replace("leeds-1", "leeds-2");
            part["hash"] = Digest::of(&[content.as_bytes()]).to_string().into();
            part["content"] = content.into();
        });
        assert_eq!(open(&forged, &keys.trust), Err(BundleError::WrongSignature(section)));
    }
}

#[test]
fn another_keys_signature_is_refused_section_by_section() {
    let (keys, stranger) = (Keys::new(), Keys::new());
    let (ours, theirs) = (keys.edge(), stranger.edge());
    for section in SECTIONS {
        let forged = changed(&ours, |value| value[section.to_string()] = section_of(&theirs, section));
        assert_eq!(open(&forged, &keys.trust), Err(BundleError::WrongSignature(section)));
    }
    assert!(open(&theirs, &stranger.trust).is_ok());
}

#[test]
fn the_controllers_key_cannot_sign_policy() {
    let keys = Keys::new();
    let stolen = Encoded::new(contents()).expect("contents").seal(5, &keys.controller, &keys.controller);
    let stolen = stolen.expect("a generation").remove(&name("leeds-1")).expect("the edge");
    assert_eq!(open(&stolen, &keys.trust), Err(BundleError::WrongSignature(Section::Policy)));
}

#[test]
fn a_signature_does_not_serve_for_another_generation_gateway_or_network() {
    let keys = Keys::new();
    for section in SECTIONS {
        for (field, other) in [("generation", Value::from(6)), ("gateway", "hub-a".into()), ("network", "other".into())]
        {
            let forged = changed(&keys.edge(), |value| value[section.to_string()][field] = other);
            assert_eq!(open(&forged, &keys.trust), Err(BundleError::WrongSignature(section)), "{field}");
        }
    }
}

#[test]
fn sections_of_different_gateways_or_generations_are_refused_though_each_is_genuine() {
    let keys = Keys::new();
    let later = keys.seal(contents(), 6);
    let hub = &keys.seal(contents(), 5)[&name("hub-a")];
    for section in [Section::Membership, Section::Narrowing] {
        for other in [&later[&name("leeds-1")], hub] {
            let mixed = changed(&keys.edge(), |value| value[section.to_string()] = section_of(other, section));
            let refusal = open(&mixed, &keys.trust);
            assert!(matches!(refusal, Err(BundleError::Mixed { section: s, .. }) if s == section), "{refusal:?}");
        }
    }
}

#[test]
fn a_genuine_bundle_of_another_network_is_refused() {
    let keys = Keys::new();
    let trust = Trust { network: name("other"), ..keys.trust.clone() };
    assert_eq!(
        open(&keys.edge(), &trust),
        Err(BundleError::OtherNetwork { offered: name("connect"), trusted: name("other") })
    );
}

#[test]
fn contents_that_would_be_refused_are_not_sealed() {
    let refused = |change: fn(&mut Contents)| {
        let mut contents = edge();
        change(&mut contents);
        Encoded::new([contents]).err()
    };
    assert_eq!(refused(|_| ()), None);
    let cases: [fn(&mut Contents); 13] = [
        |c| c.policy.rules.reverse(),
        |c| c.policy.rules[0].agreement = 9,
        |c| c.policy.rules[0].matching = Match::Port { protocol: 1, port: 1 },
        |c| c.policy.departments[0].number = 1 << 24,
        |c| c.policy.departments.swap(0, 1),
        |c| c.membership.links[0].uplink = name("lte"),
        |c| c.membership.uplinks[0].device = Some("a\nb".into()),
        |c| c.membership.gateway = name("york-1"),
        |c| c.narrowing.revoked = vec![2, 1],
        |c| c.policy.signers.extend(edge().policy.signers),
        |c| c.policy.agreements[0].settled.reverse(),
        |c| c.policy.agreements[0].settled[1].council = None,
        |c| c.policy.agreements[0].settled[0].number = 0,
    ];
    for (number, case) in cases.into_iter().enumerate() {
        assert!(matches!(refused(case), Some(SealError::Malformed { .. })), "case {number}");
    }
    assert_eq!(Encoded::new([]).err(), Some(SealError::Empty));
    let keys = Keys::new();
    for generation in [0, MAX_GENERATION + 1] {
        let sealed = Encoded::new(contents()).expect("contents").seal(generation, &keys.operator, &keys.controller);
        assert_eq!(sealed, Err(SealError::Generation(generation)));
    }
}

#[test]
fn overlapping_ranges_for_one_key_are_not_sealed() {
    let mut contents = edge();
    let rule = contents.policy.rules[0];
    let range = |first, last| Rule { matching: Match::Ports { protocol: 6, first, last }, ..rule };
    contents.policy.rules = vec![range(1, 100), range(101, 200)];
    assert!(Encoded::new([contents.clone()]).is_ok());
    contents.policy.rules = vec![range(1, 100), range(100, 200)];
    assert!(Encoded::new([contents]).is_err());
}

fn own(uplink: &str, seed: u8, gateway: Option<&str>) -> Own {
    Own {
        identity: gateway.map(|gateway| (name("connect"), name(gateway))),
        keys: BTreeMap::from([(name(uplink), key(seed))]),
    }
}

#[test]
fn a_bundle_is_admitted_by_the_gateway_that_it_is_for_alone() {
    let keys = Keys::new();
    let bundle = open(&keys.edge(), &keys.trust).expect("the whole");
    assert_eq!(bundle.admit(&own("fibre", 7, None), None), Ok(()));
    assert_eq!(bundle.admit(&own("fibre", 7, Some("leeds-1")), None), Ok(()));
    let refusal = bundle.admit(&own("fibre", 7, Some("york-1")), None);
    assert!(matches!(refusal, Err(AdmissionError::OtherGateway { .. })), "{refusal:?}");
    let refusal = bundle.admit(&own("fibre", 8, None), None);
    assert!(matches!(refusal, Err(AdmissionError::OtherKey { .. })), "{refusal:?}");
    let refusal = bundle.admit(&own("lte", 7, None), None);
    assert!(matches!(refusal, Err(AdmissionError::NoKey { .. })), "{refusal:?}");
}

#[test]
fn the_generation_never_falls_and_says_one_thing() {
    let keys = Keys::new();
    let own = own("fibre", 7, Some("leeds-1"));
    let at = |contents, generation| {
        let octets = keys.seal(contents, generation).remove(&name("leeds-1")).expect("the edge");
        open(&octets, &keys.trust).expect("the whole")
    };
    let floor = at(contents(), 5).floor();
    assert_eq!(at(contents(), 4).admit(&own, Some(&floor)), Err(AdmissionError::Older { offered: 4, floor: 5 }));
    assert_eq!(at(contents(), 5).admit(&own, Some(&floor)), Ok(()));
    assert_eq!(at(contents(), 6).admit(&own, Some(&floor)), Ok(()));
    let mut other = contents();
    other[0].policy.rules.truncate(1);
    assert_eq!(at(other.clone(), 5).admit(&own, Some(&floor)), Err(AdmissionError::Forked(5)));
    let number_alone = Floor { digest: None, ..floor };
    assert_eq!(at(other, 5).admit(&own, Some(&number_alone)), Ok(()));
    assert!(at(contents(), 4).admit(&own, Some(&number_alone)).is_err());
}

#[test]
fn a_revoked_agreement_leaves_what_a_further_agreement_allows() {
    let keys = Keys::new();
    let revoke = |revoked: Vec<u32>, suspended: Vec<u32>| {
        let mut contents = edge();
        (contents.narrowing.revoked, contents.narrowing.suspended) = (revoked, suspended);
        let octets = keys.seal(vec![contents], 5).remove(&name("leeds-1")).expect("the edge");
        let policy = open(&octets, &keys.trust).expect("the whole").effective_policy();
        let rules = policy.rules.iter().map(|rule| match rule.matching {
            Match::Port { port, .. } => (port, rule.agreement),
            other => panic!("{other:?}"),
        });
        (rules.collect::<Vec<_>>(), policy.agreements.len())
    };
    assert_eq!(revoke(vec![], vec![]), (vec![(80, 4), (443, 1)], 2));
    assert_eq!(revoke(vec![1], vec![]), (vec![(80, 4), (443, 4)], 1));
    assert_eq!(revoke(vec![], vec![4]), (vec![(443, 1)], 1));
    assert_eq!(revoke(vec![1], vec![4]), (vec![], 0));
    assert_eq!(revoke(vec![99], vec![]), (vec![(80, 4), (443, 1)], 2));
}

proptest! {
    #[test]
    fn narrowing_only_removes(
        revoked in proptest::collection::btree_set(0..6_u32, 0..4),
        suspended in proptest::collection::btree_set(0..6_u32, 0..4),
    ) {
        let mut contents = edge();
        contents.narrowing.revoked = revoked.into_iter().collect();
        contents.narrowing.suspended = suspended.into_iter().collect();
        let narrowed = contents.narrowing.apply(&contents.policy);
        let flows = |policy: &Policy| -> Vec<_> {
            policy.rules.iter().map(|rule| (rule.department, rule.destination, rule.matching)).collect()
        };
        let before = flows(&contents.policy);
        prop_assert!(flows(&narrowed).iter().all(|flow| before.contains(flow)));
        prop_assert!(narrowed.rules.iter().all(|rule| !contents.narrowing.removes(rule.agreement)));
        let rest = Policy { agreements: vec![], rules: vec![], shadowed: vec![], ..narrowed };
        prop_assert_eq!(rest, Policy { agreements: vec![], rules: vec![], shadowed: vec![], ..contents.policy });
    }
}
