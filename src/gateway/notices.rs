//! Notices that were handed to this gateway itself: a council, or the operator, narrows an agreement at once.
//!
//! ```text
//!  octets ─▶ notice ─ network? agreement told of? signer? number above all before? ─▶ taken ─▶ written ─▶ withheld
//!                        │            └ the bundle's signers of the council, or the controller's key
//!                        └ what the bundle says is settled counts as taken before
//! ```
//!
//! They outlive bundles, until one says that it has taken them into account. All that they can do is to have an agreement of the
//! bundle rest; a party's `lift` undoes its own `suspend` that came this way, and nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bundle::{Agreement, Effect, Notice, Policy, SignedNotice, Trust, Withheld};
use crate::identity::{Id, Name, Verifier};

/// Those that were taken, as octets that are text. At most two of each party about each agreement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Notices(Vec<String>);

/// Why a notice is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// It is none.
    #[error("the notice cannot be read: {0}")]
    NoNotice(String),
    /// It is of another network.
    #[error("the notice is of network '{offered}', and this is '{own}'")]
    OtherNetwork {
        /// The notice's.
        offered: Name,
        /// This gateway's.
        own: Name,
    },
    /// This gateway has no part in the agreement.
    #[error("this gateway is not told of agreement {0}")]
    UnknownAgreement(Id),
    /// The council has no part in the agreement, or its signers are others.
    #[error("'{by}' is no signer of {council} that this gateway is told of")]
    NoSigner {
        /// Who has signed.
        by: String,
        /// For whom.
        council: String,
    },
    /// The signature is another key's.
    #[error("the notice's signature is not that of '{0}'")]
    WrongSignature(String),
    /// It was taken, or a later one.
    #[error("notice {number} of {party} about {agreement} comes after number {last}: numbers rise")]
    Replayed {
        /// The agreement.
        agreement: Id,
        /// Whose it is.
        party: String,
        /// Its number.
        number: u64,
        /// The last one taken.
        last: u64,
    },
    /// There is nothing that it would lift.
    #[error("{0} did not suspend the agreement at this gateway: what a bundle withholds, a bundle gives back")]
    NothingToLift(String),
}

fn party(council: Option<&Name>) -> String {
    council.map_or_else(|| "the operator".to_owned(), |name| format!("council '{name}'"))
}

impl Notices {
    /// Takes a notice.
    ///
    /// # Errors
    /// [`Untaken`]: nothing has changed.
    pub fn take(&mut self, octets: &[u8], policy: &Policy, trust: &Trust) -> Result<Notice, Untaken> {
        let signed = SignedNotice::parse(octets).map_err(|error| Untaken::NoNotice(error.to_string()))?;
        let notice = &signed.content;
        if notice.network != policy.network {
            let (offered, own) = (notice.network.clone(), policy.network.clone());
            return Err(Untaken::OtherNetwork { offered, own });
        }
        let agreement = policy.agreements.iter().find(|agreement| agreement.id == notice.agreement);
        let agreement = agreement.ok_or_else(|| Untaken::UnknownAgreement(notice.agreement.clone()))?;
        let keys = keys(notice, policy, trust);
        if keys.is_empty() {
            return Err(Untaken::NoSigner { by: notice.by.clone(), council: party(notice.council.as_ref()) });
        }
        if !keys.iter().any(|key| signed.signed_by(key)) {
            return Err(Untaken::WrongSignature(notice.by.clone()));
        }
        self.rises(notice, agreement)?;
        if notice.effect == Effect::Lift
            && self.effect(notice, &[Effect::Suspend, Effect::Lift]) != Some(Effect::Suspend)
        {
            return Err(Untaken::NothingToLift(party(notice.council.as_ref())));
        }
        // An end is for good; of suspensions and lifts the last one counts.
        let same = |other: &Notice| (&other.agreement, &other.council) == (&notice.agreement, &notice.council);
        self.0.retain(|text| {
            read(text).is_some_and(|other| !same(&other) || (is_end(other.effect) && !is_end(notice.effect)))
        });
        self.0.push(String::from_utf8_lossy(&signed.to_octets()).into_owned());
        Ok(signed.content)
    }

    fn rises(&self, notice: &Notice, agreement: &Agreement) -> Result<(), Untaken> {
        let settled = settled(agreement, notice.council.as_ref());
        let taken = self.of(notice).map(|other| other.number).max().unwrap_or(0);
        let last = settled.max(taken);
        if notice.number > last {
            return Ok(());
        }
        Err(Untaken::Replayed {
            agreement: notice.agreement.clone(),
            party: party(notice.council.as_ref()),
            number: notice.number,
            last,
        })
    }

    /// The notices of the same party about the same agreement.
    fn of(&self, notice: &Notice) -> impl Iterator<Item = Notice> {
        let same = move |other: &Notice| (&other.agreement, &other.council) == (&notice.agreement, &notice.council);
        self.0.iter().filter_map(|text| read(text)).filter(same)
    }

    /// The last of these effects that the same party has had on the same agreement.
    fn effect(&self, notice: &Notice, among: &[Effect]) -> Option<Effect> {
        let last = self.of(notice).filter(|other| among.contains(&other.effect)).max_by_key(|other| other.number);
        last.map(|other| other.effect)
    }

    /// The agreements that rest by these notices, by number, as far as a policy has not taken them into account.
    pub fn withheld(&self, policy: &Policy) -> BTreeMap<u32, Withheld> {
        let mut withheld = BTreeMap::new();
        for notice in self.0.iter().filter_map(|text| read(text)) {
            let Some(agreement) = policy.agreements.iter().find(|agreement| agreement.id == notice.agreement) else {
                continue;
            };
            if notice.number <= settled(agreement, notice.council.as_ref()) {
                continue;
            }
            match notice.effect {
                Effect::Revoke | Effect::Refuse => drop(withheld.insert(agreement.number, Withheld::Revoked)),
                Effect::Suspend => drop(withheld.entry(agreement.number).or_insert(Withheld::Suspended)),
                Effect::Lift => {}
            }
        }
        withheld
    }

    /// Forgets what a policy has taken into account. What it is not told of stays: the agreement may come back.
    pub fn settle(&mut self, policy: &Policy) {
        let open = |notice: &Notice| {
            let agreement = policy.agreements.iter().find(|agreement| agreement.id == notice.agreement);
            agreement.is_none_or(|agreement| notice.number > settled(agreement, notice.council.as_ref()))
        };
        self.0.retain(|text| read(text).is_some_and(|notice| open(&notice)));
    }
}

fn is_end(effect: Effect) -> bool {
    match effect {
        Effect::Revoke | Effect::Refuse => true,
        Effect::Suspend | Effect::Lift => false,
    }
}

fn read(text: &str) -> Option<Notice> {
    SignedNotice::parse(text.as_bytes()).ok().map(|signed| signed.content)
}

fn settled(agreement: &Agreement, council: Option<&Name>) -> u64 {
    let of = agreement.settled.iter().filter(|settled| settled.council.as_ref() == council);
    of.map(|settled| settled.number).max().unwrap_or(0)
}

/// The keys by one of which a notice has to be signed.
fn keys(notice: &Notice, policy: &Policy, trust: &Trust) -> Vec<Verifier> {
    let Some(council) = &notice.council else { return vec![trust.controller] };
    let own = policy.signers.iter().filter(|signer| signer.council == *council && signer.by == notice.by);
    own.map(|signer| signer.key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{Settled, Signatory, sample};
    use crate::identity::Signer;

    struct Desk {
        policy: Policy,
        trust: Trust,
        council: Signer,
        operator: Signer,
    }

    impl Desk {
        fn new() -> Self {
            let [council, operator] = [(); 2].map(|()| Signer::generate().expect("entropy"));
            let mut policy = sample::edge().policy;
            let leeds = Signatory { council: name("leeds"), by: "siro@leeds".into(), key: council.verifier() };
            policy.signers = vec![leeds];
            policy.agreements.iter_mut().for_each(|agreement| agreement.settled.clear());
            let network = policy.network.clone();
            let trust = Trust { network, operator: operator.verifier(), controller: operator.verifier() };
            Self { policy, trust, council, operator }
        }

        fn notice(&self, effect: Effect, number: u64) -> Notice {
            Notice {
                network: self.policy.network.clone(),
                agreement: "A-1".parse().expect("an id"),
                council: Some(name("leeds")),
                by: "siro@leeds".into(),
                number,
                effect,
                terms: format!("sha256:{}", "0".repeat(64)),
                why: Some("a breach".into()),
                at: jiff::Timestamp::UNIX_EPOCH,
            }
        }

        fn take(&self, notices: &mut Notices, notice: Notice) -> Result<Notice, Untaken> {
            let signer = if notice.council.is_some() { &self.council } else { &self.operator };
            notices.take(&SignedNotice::sign(notice, signer).to_octets(), &self.policy, &self.trust)
        }
    }

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn a_party_suspends_and_lifts_and_what_it_revokes_stays_revoked() {
        let (desk, mut notices) = (Desk::new(), Notices::default());
        let take = |notices: &mut Notices, effect, number| desk.take(notices, desk.notice(effect, number));
        take(&mut notices, Effect::Suspend, 1).expect("taken");
        assert_eq!(notices.withheld(&desk.policy), BTreeMap::from([(1, Withheld::Suspended)]));
        take(&mut notices, Effect::Lift, 2).expect("taken");
        assert_eq!(notices.withheld(&desk.policy), BTreeMap::new());
        take(&mut notices, Effect::Revoke, 3).expect("taken");
        take(&mut notices, Effect::Suspend, 4).expect("taken");
        take(&mut notices, Effect::Lift, 5).expect("taken");
        assert_eq!(notices.withheld(&desk.policy), BTreeMap::from([(1, Withheld::Revoked)]));
        assert!(notices.0.len() <= 2, "{notices:?}");
    }

    #[test]
    fn one_party_does_not_lift_what_another_has_suspended() {
        let (desk, mut notices) = (Desk::new(), Notices::default());
        desk.take(&mut notices, desk.notice(Effect::Suspend, 1)).expect("taken");
        let operators = |effect, number| Notice { council: None, by: "noc".into(), ..desk.notice(effect, number) };
        let refused = desk.take(&mut notices, operators(Effect::Lift, 1));
        assert_eq!(refused, Err(Untaken::NothingToLift("the operator".into())));
        desk.take(&mut notices, operators(Effect::Suspend, 1)).expect("taken");
        desk.take(&mut notices, operators(Effect::Lift, 2)).expect("taken");
        assert_eq!(notices.withheld(&desk.policy), BTreeMap::from([(1, Withheld::Suspended)]));
    }

    #[test]
    fn each_notice_that_is_not_taken_has_its_own_error_and_changes_nothing() {
        let (desk, mut notices) = (Desk::new(), Notices::default());
        desk.take(&mut notices, desk.notice(Effect::Suspend, 5)).expect("taken");
        let before = notices.clone();
        let good = || desk.notice(Effect::Revoke, 6);
        let mut refused = |notice: Notice| desk.take(&mut notices, notice).expect_err("a refusal");
        let replayed = |number| Untaken::Replayed {
            agreement: "A-1".parse().expect("an id"),
            party: "council 'leeds'".into(),
            number,
            last: 5,
        };
        assert_eq!(refused(Notice { number: 5, ..good() }), replayed(5));
        assert_eq!(refused(Notice { number: 1, ..good() }), replayed(1));
        assert!(matches!(refused(Notice { network: name("other"), ..good() }), Untaken::OtherNetwork { .. }));
        let unknown = "A-99".parse().expect("an id");
        assert!(matches!(refused(Notice { agreement: unknown, ..good() }), Untaken::UnknownAgreement(_)));
        assert!(matches!(refused(Notice { by: "else".into(), ..good() }), Untaken::NoSigner { .. }));
        assert!(matches!(refused(Notice { council: Some(name("york")), ..good() }), Untaken::NoSigner { .. }));
        let forged = SignedNotice::sign(good(), &desk.operator).to_octets();
        assert_eq!(notices.take(&forged, &desk.policy, &desk.trust), Err(Untaken::WrongSignature("siro@leeds".into())));
        assert!(matches!(notices.take(b"{}", &desk.policy, &desk.trust), Err(Untaken::NoNotice(_))));
        assert_eq!(notices, before);
        desk.take(&mut notices, good()).expect("the control: the good one is taken");
    }

    #[test]
    fn what_a_bundle_has_settled_is_forgotten_and_not_taken_again() {
        let (mut desk, mut notices) = (Desk::new(), Notices::default());
        let replayed = SignedNotice::sign(desk.notice(Effect::Revoke, 1), &desk.council).to_octets();
        notices.take(&replayed, &desk.policy, &desk.trust).expect("taken");
        // It was renewed: the new bundle knows the notice.
        desk.policy.agreements[0].settled = vec![Settled { council: Some(name("leeds")), number: 1 }];
        assert_eq!(notices.withheld(&desk.policy), BTreeMap::new());
        notices.settle(&desk.policy);
        assert_eq!(notices, Notices::default());
        let again = notices.take(&replayed, &desk.policy, &desk.trust).expect_err("a refusal");
        assert!(matches!(again, Untaken::Replayed { number: 1, last: 1, .. }), "{again}");
    }
}
