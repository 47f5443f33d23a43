//! States of agreements: what holds whatever is edited, signed and said, in whatever order.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::prelude::*;
use turnpike::bundle::{Effect, Notice, SignedNotice};
use turnpike::identity::{Id, Name, Signer};
use turnpike::policy::model::{Agreement, State, Void};
use turnpike::policy::{self, Code, Files, Finding, Paper, Severity};

use crate::definition::{Small, allotted, lines, signer, text, time};

const FILE: &str = "agreements/A-1.toml";
const PORTS: [&str; 3] = ["tcp/443", "tcp/8443", "tcp/9443"];

/// Who signs: by what name, with whose key, and for which councils. The last two are one person.
const PEOPLE: [(&str, &str, &[&str]); 4] = [
    ("siro@c0", "c0", &["c0"]),
    ("siro@c1", "c1", &["c1"]),
    ("clerk", "clerk", &["c0", "c1"]),
    ("alias", "clerk", &["c1"]),
];

#[derive(Clone, Debug)]
enum Step {
    /// The service answers on another port.
    Edit(usize),
    /// Someone consents to the terms as they are, genuinely or with another's key.
    Consent { council: usize, person: usize, genuine: bool },
    /// A consent is taken out of the file.
    Withdraw(usize),
    /// A council or (2) the operator says something about these terms or, `stale`, about others.
    Say { party: usize, effect: Effect, stale: bool, genuine: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let effect = prop::sample::select(Effect::WORDS.as_slice()).prop_map(|(_, effect)| effect);
    prop_oneof![
        2 => (0..PORTS.len()).prop_map(Step::Edit),
        6 => (0..2_usize, 0..PEOPLE.len(), prop::bool::weighted(0.9))
            .prop_map(|(council, person, genuine)| Step::Consent { council, person, genuine }),
        1 => (0..8_usize).prop_map(Step::Withdraw),
        4 => (0..3_usize, effect, prop::bool::weighted(0.2), prop::bool::weighted(0.8))
            .prop_map(|(party, effect, stale, genuine)| Step::Say { party, effect, stale, genuine }),
    ]
}

/// A consent as it was written, for a second judgement of it.
#[derive(Clone)]
struct Given {
    council: usize,
    person: usize,
    terms: String,
    genuine: bool,
    text: String,
}

/// A definition of one agreement between two councils, and all that was done to it.
#[derive(Clone)]
struct World {
    ground: Files,
    port: usize,
    consents: Vec<Given>,
    notices: Vec<String>,
    numbers: BTreeMap<usize, u64>,
    /// The hashes of terms that were revoked.
    revoked: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        let mut small = Small::new();
        for council in 0..2 {
            small.council(council);
            small.department(council, 0, 24);
            let path = format!("councils/c{council}.toml");
            let name = format!("c{council}");
            let mut signers = String::new();
            for (by, key, _) in PEOPLE.iter().filter(|(_, own, of)| *own != name && of.contains(&name.as_str())) {
                let key = signer(key).verifier();
                signers += &format!("[[council.signer]]\nby = \"{by}\"\nkey = \"{key}\"\n\n");
            }
            let before = text(&small.files, &path);
            small.files.insert(path, before.replacen("[[edge]]", &format!("{signers}[[edge]]"), 1));
        }
        small.service(0, 0, 1, "[\"PORT\"]");
        small.agreement(1, "c0/s0", &["c1/d0".to_owned()]);
        let (consents, notices) = (Vec::new(), Vec::new());
        let mut world = Self {
            ground: small.files,
            port: 0,
            consents,
            notices,
            numbers: BTreeMap::new(),
            revoked: BTreeSet::new(),
        };
        let numbered = allotted(world.files());
        world.ground.insert("allotted.toml", text(&numbered, "allotted.toml"));
        world
    }

    fn files(&self) -> Files {
        let mut files = self.ground.clone();
        let council = text(&files, "councils/c0.toml").replacen("PORT", PORTS[self.port], 1);
        files.insert("councils/c0.toml", council);
        let consents = self.consents.iter().map(|given| given.text.as_str());
        let tables: String = consents.chain(self.notices.iter().map(String::as_str)).collect();
        files.insert(FILE, text(&self.ground, FILE) + &tables);
        files
    }

    fn paper(&self) -> Result<Paper, Vec<Finding>> {
        let id: Id = "A-1".parse().expect("an id");
        Ok(policy::paper(&self.files(), &id, now())?.expect("the agreement"))
    }

    fn hash(&self) -> String {
        let bare = Self { notices: Vec::new(), consents: Vec::new(), ..self.clone() };
        bare.paper().expect("it holds").terms.hash()
    }

    fn consent(&mut self, council: usize, person: usize, genuine: bool) {
        let (by, key, _) = PEOPLE[person];
        let key = if genuine { signer(key) } else { signer("mallory") };
        let terms = self.paper().expect("it holds").terms;
        let (hash, signature) = (terms.hash(), terms.sign(&key));
        let text = format!(
            "\n[[agreement.consent]]\ncouncil = \"c{council}\"\nby = \"{by}\"\nterms = \"{hash}\"\nsignature = \"{signature}\"\n"
        );
        self.consents.push(Given { council, person, terms: hash, genuine, text });
    }

    fn say(&mut self, party: usize, effect: Effect, terms: &str, genuine: bool) {
        let number = self.numbers.get(&party).copied().unwrap_or(0) + 1;
        self.numbers.insert(party, number);
        let council = (party < 2).then(|| format!("c{party}"));
        let key = if genuine { council.as_deref().map(signer) } else { council.as_ref().map(|_| signer("mallory")) };
        self.notices.push(written(council.as_deref(), number, effect, terms, key.as_ref()));
    }

    /// Whether, by what was written, both councils have consented to these terms by two persons.
    fn consented(&self, hash: &str) -> bool {
        let holds = |given: &&Given| {
            let may = PEOPLE[given.person].2.contains(&format!("c{}", given.council).as_str());
            given.genuine && given.terms == hash && may
        };
        let of = |council| self.consents.iter().filter(holds).filter(move |given| given.council == council);
        let two =
            |a: &Given, b: &Given| PEOPLE[a.person].0 != PEOPLE[b.person].0 && PEOPLE[a.person].1 != PEOPLE[b.person].1;
        of(0).any(|a| of(1).any(|b| two(a, b)))
    }
}

fn now() -> Timestamp {
    time("2026-06-01T10:00:00Z")
}

/// A notice as a file has it, signed where there is a key.
fn written(council: Option<&str>, number: u64, effect: Effect, terms: &str, key: Option<&Signer>) -> String {
    let by = council.map_or_else(|| "noc".to_owned(), |council| format!("siro@{council}"));
    let notice = Notice {
        network: "small".parse().expect("a name"),
        agreement: "A-1".parse().expect("an id"),
        council: council.map(|council| council.parse().expect("a name")),
        by: by.clone(),
        number,
        effect,
        terms: terms.to_owned(),
        why: Some("so".to_owned()),
        at: now(),
    };
    let council = council.map(|council| format!("council = \"{council}\"\n")).unwrap_or_default();
    let signature = key
        .map(|key| format!("signature = \"{}\"\n", SignedNotice::sign(notice.clone(), key).signature))
        .unwrap_or_default();
    format!(
        "\n[[agreement.notice]]\neffect = \"{effect}\"\n{council}by = \"{by}\"\nnumber = {number}\nat = 2026-06-01T10:00:00Z\n\
         terms = \"{terms}\"\nwhy = \"so\"\n{signature}"
    )
}

fn agreement(world: &World) -> Agreement {
    world.paper().unwrap_or_else(|found| panic!("it holds:\n{}", lines(&found))).agreement
}

/// Says something, and holds what it does against what it may do.
fn said(world: &World, party: usize, effect: Effect, stale: bool, genuine: bool) -> Option<World> {
    let (before, hash) = (agreement(world), world.hash());
    let terms = if stale { format!("sha256:{}", "0".repeat(64)) } else { hash.clone() };
    let mut next = world.clone();
    next.say(party, effect, &terms, genuine);
    let council: Option<Name> = (party < 2).then(|| format!("c{party}").parse().expect("a name"));
    let paper = match next.paper() {
        Ok(paper) => paper,
        Err(found) => {
            let forged = !genuine && council.is_some() && !stale;
            let denied = council.is_none() && !effect.is_operators();
            assert!(forged || denied, "{}", lines(&found));
            let code = if denied { Code::BadValue } else { Code::BadNotice };
            assert!(found.iter().all(|it| it.code == code && it.origin.file == FILE), "{}", lines(&found));
            return None;
        }
    };
    assert!(genuine || council.is_none() || stale, "what is forged about these terms is an error");
    let after = paper.agreement;
    let lifted = Void::Suspended { by: council.clone(), why: Some("so".to_owned()) };
    let lifts = effect == Effect::Lift && before.void.contains(&lifted);
    let gone: Vec<_> = before.void.iter().filter(|void| !after.void.contains(void)).collect();
    let moot = after.state() == State::Revoked;
    assert!(
        gone.iter().all(|void| (lifts && **void == lifted) || (moot && matches!(void, Void::ConsentMissing(_)))),
        "{effect} took {gone:?} away"
    );
    assert!(!after.in_force() || before.in_force() || lifts, "{effect} put it in force");
    if stale && council.is_some() {
        assert_eq!(after.void, before.void, "about other terms");
    } else if effect == Effect::Revoke {
        assert_eq!(after.state(), State::Revoked);
        next.revoked.insert(hash);
    } else if effect != Effect::Lift {
        assert!(!after.in_force(), "{effect}");
    }
    let highest = after.settled().into_iter().find(|(of, _)| *of == council).map(|(_, number)| number);
    assert!(!genuine && council.is_some() || highest == next.numbers.get(&party).copied(), "{highest:?}");
    Some(next)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn none_is_active_without_two_persons_and_no_notice_but_a_lift_gives_anything_back(
        steps in prop::collection::vec(step(), 1..14),
    ) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Edit(port) => world.port = port,
                Step::Consent { council, person, genuine } => world.consent(council, person, genuine),
                Step::Withdraw(at) if at < world.consents.len() => drop(world.consents.remove(at)),
                Step::Withdraw(_) => {}
                Step::Say { party, effect, stale, genuine } => {
                    if let Some(next) = said(&world, party, effect, stale, genuine) {
                        world = next;
                    }
                }
            }
            let (agreement, hash) = (agreement(&world), world.hash());
            let state = agreement.state();
            if matches!(state, State::Active | State::Suspended) {
                prop_assert!(world.consented(&hash), "{state} without consent");
            }
            prop_assert_eq!(state == State::Active, agreement.in_force());
            prop_assert_eq!(state == State::Revoked, world.revoked.contains(&hash));
            prop_assert_eq!(state == State::Draft, agreement.state() != State::Revoked && (
                agreement.consents.is_empty() || agreement.void.iter().any(|void| matches!(void, Void::Refused { .. }))));
            let resolved = policy::resolve(&world.files(), now()).expect("it holds");
            let told = policy::compile(&resolved.model).values().any(|policy| !policy.agreements.is_empty());
            prop_assert_eq!(told, agreement.in_force(), "what compiles is what is in force");
        }
    }
}

/// A world in which both councils have consented.
fn agreed() -> World {
    let mut world = World::new();
    world.consent(0, 0, true);
    world.consent(1, 1, true);
    assert_eq!(agreement(&world).state(), State::Active, "canary");
    world
}

fn errors(found: &[Finding]) -> Vec<(Code, &str)> {
    let errors = found.iter().filter(|it| it.severity == Severity::Error);
    errors.map(|it| (it.code, it.message.as_str())).collect()
}

#[test]
fn a_signer_who_is_taken_out_of_the_councils_file_takes_no_revocation_along() {
    let mut world = agreed();
    world.say(1, Effect::Revoke, &world.hash(), true);
    let mut files = world.files();
    let council = text(&files, "councils/c1.toml");
    files.insert("councils/c1.toml", council.replacen("siro@c1", "another@c1", 1));
    let found = policy::resolve(&files, now()).expect_err("it is refused");
    let message = "council 'c1' is said to revoke the agreement, and 'siro@c1' is no signer of council 'c1'";
    assert_eq!(errors(&found), [(Code::BadNotice, message)]);
    let error = found.iter().find(|it| it.severity == Severity::Error).expect("an error");
    assert!(error.help.as_ref().is_some_and(|help| help.contains("turnpike agreement revoke DIR ID --council c1")));
    assert_eq!(error.origin.file, FILE);
}

#[test]
fn every_field_of_a_notice_is_signed() {
    let mut world = agreed();
    world.say(0, Effect::Suspend, &world.hash(), true);
    let whole = world.files();
    policy::resolve(&whole, now()).expect("canary");
    let changes = [
        ("effect = \"suspend\"", "effect = \"lift\""),
        ("number = 1", "number = 2"),
        ("at = 2026-06-01T10:00:00Z", "at = 2026-06-01T10:00:01Z"),
        ("why = \"so\"", "why = \"no\""),
        ("why = \"so\"\n", ""),
        ("by = \"siro@c0\"\nnumber", "by = \"clerk\"\nnumber"),
        ("council = \"c0\"\nby = \"siro@c0\"\nnumber", "council = \"c1\"\nby = \"siro@c1\"\nnumber"),
    ];
    for (from, to) in changes {
        let mut files = whole.clone();
        let before = text(&files, FILE);
        assert!(before.contains(from), "{from} in {before}");
        files.insert(FILE, before.replacen(from, to, 1));
        let found = policy::resolve(&files, now()).expect_err(to);
        assert_eq!(errors(&found).iter().map(|(code, _)| *code).collect::<Vec<_>>(), [Code::BadNotice], "{to}");
    }
    let mut files = whole;
    let network = text(&files, "network.toml").replacen("\"small\"", "\"other\"", 1);
    files.insert("network.toml", network);
    assert!(policy::resolve(&files, now()).is_err(), "a notice is of its network");
}

#[test]
fn a_notice_about_other_terms_is_history_and_one_of_a_stranger_has_no_effect() {
    let mut world = agreed();
    let zeros = format!("sha256:{}", "0".repeat(64));
    world.say(0, Effect::Revoke, &zeros, true);
    world.say(1, Effect::Revoke, &zeros, false);
    let resolved = policy::resolve(&world.files(), now()).expect("it holds");
    assert!(resolved.model.agreements[0].in_force());
    let told: Vec<_> = resolved.warnings.iter().filter(|it| it.code == Code::NoticeVoid).collect();
    assert_eq!(told.len(), 1, "the forged one is named: {told:?}");
    assert_eq!(resolved.model.agreements[0].settled(), [(Some("c0".parse().expect("a name")), 1)], "and not counted");
}

#[test]
fn the_operators_suspension_outlives_the_terms_and_a_councils_does_not() {
    let mut world = agreed();
    world.say(0, Effect::Suspend, &world.hash(), true);
    world.say(2, Effect::Suspend, &world.hash(), true);
    let by = |world: &World| {
        let void = agreement(world).void;
        let by = |void: &Void| match void {
            Void::Suspended { by, .. } => Some(by.as_ref().map(ToString::to_string)),
            _ => None,
        };
        void.iter().filter_map(by).collect::<Vec<_>>()
    };
    assert_eq!(by(&world), [None, Some("c0".to_owned())]);
    world.port = 1;
    assert_eq!(by(&world), [None]);
    world.consent(0, 0, true);
    world.consent(1, 1, true);
    assert_eq!(agreement(&world).state(), State::Suspended);
    world.say(2, Effect::Lift, &world.hash(), true);
    assert_eq!(agreement(&world).state(), State::Active);
}
