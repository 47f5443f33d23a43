//! What a notice says, who said it, and that no octet of it can be another.

use proptest::prelude::*;

use super::super::statement::{LONGEST_STATEMENT, StatementError, digest_line, unsigned};
use super::*;
use crate::identity::Signer;

const TERMS: &str = "sha256:7bbb68c946e63e84522194caeaecf277faeb87c6822323820ed0aebb72abb137";

fn notice() -> Notice {
    Notice {
        network: "connect".parse().expect("a name"),
        agreement: "A-142".parse().expect("an id"),
        council: Some("leeds".parse().expect("a name")),
        by: "siro@leeds.example".to_owned(),
        number: 7,
        effect: Effect::Revoke,
        terms: TERMS.to_owned(),
        why: Some("the data have moved: \"é\"".to_owned()),
        at: "2026-11-02T10:00:00Z".parse().expect("a date"),
    }
}

fn signer() -> Signer {
    Signer::generate().expect("entropy")
}

/// A notice's octets with one value in the place of another, signed or not.
fn with(from: &str, to: &str) -> Vec<u8> {
    let octets = SignedNotice::sign(notice(), &signer()).to_octets();
    let text = String::from_utf8(octets).expect("JSON");
    assert!(text.contains(from), "canary: {from} in {text}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn a_notice_reads_back_and_is_its_signers() {
    let signer = signer();
    for council in [Some("leeds".parse().expect("a name")), None] {
        let effect = if council.is_some() { Effect::Refuse } else { Effect::Suspend };
        let signed = SignedNotice::sign(Notice { council, effect, ..notice() }, &signer);
        let read = SignedNotice::parse(&signed.to_octets()).expect("its own octets");
        assert_eq!(read, signed);
        assert!(read.signed_by(&signer.verifier()));
        assert!(!read.signed_by(&self::signer().verifier()));
    }
}

/// The JSON and what is signed were written down by hand, by the documentation of [`Notice`] alone; the hash is `sha256sum`'s.
#[test]
fn what_is_signed_is_what_another_implementation_signs() {
    let signer = signer();
    let signed = SignedNotice::sign(notice(), &signer);
    let json = "{\"agreement\":\"A-142\",\"at\":\"2026-11-02T10:00:00Z\",\"by\":\"siro@leeds.example\",\"council\":\"leeds\",\
         \"effect\":\"revoke\",\"network\":\"connect\",\"number\":7,\"terms\":\"sha256:7bbb68c946e63e84522194caeaecf277faeb87c\
         6822323820ed0aebb72abb137\",\"turnpike-notice\":1,\"why\":\"the data have moved: \\\"é\\\"\"}";
    assert_eq!(String::from_utf8(unsigned(&signed.content)).expect("JSON"), json);
    let message = "turnpike notice 1\n41e4b495db38549819c9ff980adc9b276372820cbec96ef9cff1669e3c000fef";
    assert_eq!(digest_line(&signed.content), message);
    assert!(signer.verifier().verifies(message.as_bytes(), &signed.signature));
    assert!(!signer.verifier().verifies(json.as_bytes(), &signed.signature));
}

#[test]
fn each_cause_of_refusal_is_told() {
    let hash_in_capitals = TERMS.to_uppercase().replace("SHA256", "sha256");
    let cases: Vec<(Vec<u8>, StatementError<NoticeError>)> = vec![
        (vec![b' '; LONGEST_STATEMENT + 1], StatementError::TooLong(LONGEST_STATEMENT + 1)),
        (b"{\"turnpike-notice\":1".to_vec(), StatementError::Truncated(20)),
        (with("notice\":1", "notice\":2"), StatementError::UnknownVersion(2)),
        (with("\"number\":7", "\"number\":0"), StatementError::Content(NoticeError::Number(0))),
        (
            with("\"number\":7", "\"number\":9007199254740992"),
            StatementError::Content(NoticeError::Number(MAX_NOTICE_NUMBER + 1)),
        ),
        (with("\"number\":7", "\"number\": 7"), StatementError::NotCanonical),
        (with("10:00:00Z", "11:00:00+01:00"), StatementError::NotCanonical),
        (with("10:00:00Z", "10:00:00.5Z"), StatementError::NotCanonical),
        (with(TERMS, &hash_in_capitals), StatementError::Content(NoticeError::Terms)),
        (with("siro@leeds.example", ""), StatementError::Content(NoticeError::Text("by"))),
        (with("siro@leeds.example", "siro\u{202e}"), StatementError::Content(NoticeError::Text("by"))),
        (with("siro@leeds.example", &"s".repeat(MAX_TEXT + 1)), StatementError::Content(NoticeError::Text("by"))),
        (with("the data", "\\u001b[2Jthe data"), StatementError::Content(NoticeError::Text("why"))),
        (
            with("\"council\":\"leeds\"", "\"council\":null"),
            StatementError::Content(NoticeError::NotOperators(Effect::Revoke)),
        ),
    ];
    for (octets, expected) in cases {
        assert_eq!(SignedNotice::parse(&octets), Err(expected), "{}", String::from_utf8_lossy(&octets));
    }
    let mute = SignedNotice::sign(Notice { council: None, effect: Effect::Suspend, why: None, ..notice() }, &signer());
    assert_eq!(SignedNotice::parse(&mute.to_octets()), Err(StatementError::Content(NoticeError::NoReason)));
}

#[test]
fn what_is_no_notice_is_refused_as_none() {
    let unsigned = String::from_utf8(unsigned(&notice())).expect("JSON");
    let others: [Vec<u8>; 9] = [
        Vec::new(),
        b"null".to_vec(),
        b"{}".to_vec(),
        unsigned.clone().into_bytes(),
        with("\"network\":\"connect\",", ""),
        with("\"network\"", "\"extra\":1,\"network\""),
        with("\"revoke\"", "\"grant\""),
        with("\"A-142\"", "\"a-142\""),
        with("2026-11-02T10", "yesterday"),
    ];
    for octets in others {
        let refused = SignedNotice::parse(&octets);
        assert!(
            matches!(refused, Err(StatementError::Other { .. })),
            "{refused:?} {}",
            String::from_utf8_lossy(&octets)
        );
    }
}

#[test]
fn the_longest_notice_that_may_be_made_can_be_read() {
    let long = Notice { by: "\"".repeat(MAX_TEXT), why: Some("\\".repeat(MAX_TEXT)), ..notice() };
    let octets = SignedNotice::sign(Notice { number: MAX_NOTICE_NUMBER, ..long }, &signer()).to_octets();
    assert!(octets.len() <= LONGEST_STATEMENT && SignedNotice::parse(&octets).is_ok(), "{}", octets.len());
}

/// The fuzzer begins with them.
#[test]
fn the_stored_seeds_are_notices() {
    let seeds = [
        include_bytes!("../../../fuzz/seeds/notice/council").as_slice(),
        include_bytes!("../../../fuzz/seeds/notice/operator"),
    ];
    let councils = seeds.map(|seed| SignedNotice::parse(seed).map(|read| read.content.council.is_some()));
    assert_eq!(councils, [Ok(true), Ok(false)]);
}

#[test]
fn every_effect_has_a_word_and_only_resting_is_the_operators() {
    for (word, effect) in Effect::WORDS {
        assert_eq!((effect.as_str(), serde_json::to_string(&effect).expect("JSON")), (word, format!("\"{word}\"")));
        assert_eq!(effect.is_operators(), matches!(effect, Effect::Suspend | Effect::Lift));
    }
}

#[test]
fn every_octet_changed_or_taken_away_is_refused() {
    let signer = signer();
    let octets = SignedNotice::sign(notice(), &signer).to_octets();
    let believed = |octets: &[u8]| SignedNotice::parse(octets).is_ok_and(|read| read.signed_by(&signer.verifier()));
    assert!(believed(&octets), "canary");
    for at in 0..octets.len() {
        for bit in 0..8 {
            let mut other = octets.clone();
            other[at] ^= 1 << bit;
            assert!(!believed(&other), "octet {at}, bit {bit}: {}", String::from_utf8_lossy(&other));
        }
        assert!(!believed(&octets[..at]), "cut off at {at}");
    }
}

proptest! {
    #[test]
    fn what_can_be_made_reads_back_and_nothing_else_is_like_it(
        number in 1..=MAX_NOTICE_NUMBER,
        by in "[^\\p{C}]{1,80}",
        why in proptest::option::of("\\PC{1,80}"),
        effect in prop::sample::select(Effect::WORDS.as_slice()),
        second in -60_000_000_000_i64..250_000_000_000,
    ) {
        let at = Timestamp::from_second(second).expect("in range");
        let made = Notice { number, by, why, effect: effect.1, at, ..notice() };
        let octets = SignedNotice::sign(made.clone(), &signer()).to_octets();
        let value: serde_json::Value = serde_json::from_slice(&octets).expect("JSON");
        prop_assert_eq!(&octets, &serde_json_canonicalizer::to_vec(&value).expect("JSON"));
        match made.check() {
            Ok(()) => prop_assert_eq!(SignedNotice::parse(&octets).map(|read| read.content), Ok(made)),
            Err(error) => prop_assert_eq!(SignedNotice::parse(&octets), Err(StatementError::Content(error))),
        }
    }

    #[test]
    fn no_octets_are_read_as_a_notice_in_another_form(octets in "\\{.{0,300}\\}") {
        if let Ok(read) = SignedNotice::parse(octets.as_bytes()) {
            prop_assert_eq!(read.to_octets(), octets.into_bytes());
        }
    }
}
