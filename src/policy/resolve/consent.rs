//! Consents: whose they are, and whether they hold for the terms as they stand.

use std::ops::Range;

use jiff::Timestamp;
use toml::Spanned;

use super::changed;
use super::names::Names;
use super::reader::Reader;
use crate::identity::{Name, SignatureBytes, Signed, Verifier};
use crate::policy::document;
use crate::policy::finding::{Code, Report};
use crate::policy::model::{self, CouncilSigner};
use crate::policy::source::Source;
use crate::policy::terms::Terms;

/// An agreement's consents as far as they could be read.
#[derive(Default)]
pub(super) struct Consents(Vec<Consent>);

struct Consent {
    council: Option<Name>,
    by: Option<String>,
    at: Option<Timestamp>,
    terms: Option<String>,
    signature: Option<SignatureBytes>,
    span: Range<usize>,
}

/// What is wrong with a consent, the least first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// The same person consents for this council too, further up.
    Twice(Name),
    BadSignature,
    /// What was another then, if that is known.
    OtherTerms(Option<String>),
    NoSigner(String),
    Incomplete,
    Absent,
}

/// What a consent is judged by.
pub(super) struct Measure<'a, S> {
    pub(super) terms: &'a Terms,
    /// The text that was proposed.
    pub(super) proposed: Option<&'a str>,
    /// Who may sign for a council.
    pub(super) signers: S,
    /// That all [`Consents::signatures`] hold.
    pub(super) proven: bool,
}

/// Whom a consent is from that counts.
struct Person<'a> {
    council: &'a Name,
    by: &'a str,
    key: Verifier,
}

/// How a council's consent stands.
pub(super) struct State {
    council: Name,
    fault: Option<Fault>,
    by: Option<String>,
    at: Option<Timestamp>,
    span: Option<Range<usize>>,
}

pub(super) fn hash(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<String> {
    let digits = text.get_ref().strip_prefix("sha256:").unwrap_or_default();
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digits.len() == 64 && digits.bytes().all(hex) {
        return Some(text.get_ref().clone());
    }
    reader
        .error(text.span(), Code::BadHash, format!("'{}' is not the hash of terms", text.get_ref()))
        .advise("sha256: and 64 of 0-9, a-f; `turnpike agreement terms DIR ID` prints it");
    None
}

impl Consents {
    pub(super) fn read(source: &Source, written: &document::Agreement, names: &Names, report: &mut Report) -> Self {
        let mut consent = |consent: &Spanned<document::Consent>| {
            let written = consent.get_ref();
            let council = written.council.as_ref().and_then(|text| names.council(source, text, report));
            let mut reader = Reader { source, report };
            Consent {
                council,
                at: written.at.as_ref().and_then(|at| reader.date(at)),
                by: written.by.as_ref().and_then(|by| reader.plain(by)),
                terms: written.terms.as_ref().and_then(|terms| hash(&mut reader, terms)),
                signature: written.signature.as_ref().and_then(|text| reader.parse(text, Code::BadKey)),
                span: consent.span(),
            }
        };
        Self(written.consents.iter().map(&mut consent).collect())
    }

    /// The signatures on which it depends whether the consents hold; not those of a person with several keys, of which one
    /// suffices.
    pub(super) fn signatures<'a>(
        &self,
        terms: &Terms,
        signers: impl Fn(&Name) -> &'a [CouncilSigner],
    ) -> Vec<Signed<String>> {
        let signature = |consent: &Consent| {
            let keys = consent.keys(terms, signers(consent.council.as_ref()?)).ok()?;
            match (keys.as_slice(), &consent.signature) {
                ([key], Some(signature)) => Some(terms.signed(key, signature)),
                _ => None,
            }
        };
        self.0.iter().filter_map(signature).collect()
    }

    /// How each council's consent stands, in the order of the councils: one that holds suffices. Whoever consents for several
    /// of them counts for the first in the file alone.
    pub(super) fn judge<'a>(&self, measure: &Measure<'_, impl Fn(&Name) -> &'a [CouncilSigner]>) -> Vec<State> {
        let mut persons: Vec<Person<'_>> = Vec::new();
        let mut best: Vec<Option<(Option<Fault>, &Consent)>> = vec![None; measure.terms.councils.len()];
        for consent in &self.0 {
            let Some(council) = &consent.council else { continue };
            let Ok(place) = measure.terms.councils.binary_search(council) else { continue };
            let fault = consent.person(council, measure, &persons).map(|person| persons.push(person)).err();
            if let Some(found) = best.get_mut(place)
                && found.as_ref().is_none_or(|(known, _)| fault < *known)
            {
                *found = Some((fault, consent));
            }
        }
        let state = |(council, best): (&Name, Option<(Option<Fault>, &Consent)>)| match best {
            None => State { council: council.clone(), fault: Some(Fault::Absent), by: None, at: None, span: None },
            Some((fault, consent)) => {
                let (by, at, span) = (consent.by.clone(), consent.at, Some(consent.span.clone()));
                State { council: council.clone(), fault, by, at, span }
            }
        };
        measure.terms.councils.iter().zip(best).map(state).collect()
    }

    /// The councils named, each with its place.
    pub(super) fn councils(&self) -> impl Iterator<Item = (&Name, Range<usize>)> {
        self.0.iter().filter_map(|consent| Some((consent.council.as_ref()?, consent.span.clone())))
    }
}

impl Consent {
    /// Whom it is from, if it holds and they have not consented for another council.
    fn person<'c, 'a>(
        &'c self,
        council: &'c Name,
        measure: &Measure<'_, impl Fn(&Name) -> &'a [CouncilSigner]>,
        others: &[Person<'_>],
    ) -> Result<Person<'c>, Fault> {
        let terms = measure.terms;
        let keys = self.keys(terms, (measure.signers)(council)).map_err(|fault| match (fault, &self.terms) {
            (Fault::OtherTerms(_), Some(hash)) => {
                Fault::OtherTerms(measure.proposed.and_then(|text| changed::changes(text, hash, terms)))
            }
            (fault, _) => fault,
        })?;
        let (Some(by), Some(signature)) = (&self.by, &self.signature) else { return Err(Fault::Incomplete) };
        let key = match keys.as_slice() {
            [key] if measure.proven => Some(key),
            keys => keys.iter().find(|key| terms.signed_by(key, signature)),
        };
        let key = *key.ok_or(Fault::BadSignature)?;
        let same = |other: &&Person<'_>| other.council != council && (other.by == by || other.key == key);
        match others.iter().find(same) {
            Some(other) => Err(Fault::Twice(other.council.clone())),
            None => Ok(Person { council, by, key }),
        }
    }

    /// The keys by one of which it has to be signed, if it is complete and for these terms.
    fn keys(&self, terms: &Terms, signers: &[CouncilSigner]) -> Result<Vec<Verifier>, Fault> {
        let (Some(by), Some(hash), Some(_)) = (&self.by, &self.terms, &self.signature) else {
            return Err(Fault::Incomplete);
        };
        let keys: Vec<Verifier> = signers.iter().filter(|signer| signer.by == *by).map(|signer| signer.key).collect();
        if keys.is_empty() {
            return Err(Fault::NoSigner(by.clone()));
        }
        if *hash != terms.hash() { Err(Fault::OtherTerms(None)) } else { Ok(keys) }
    }
}

impl State {
    /// What is wrong with it; `None` when it holds.
    pub(super) fn fault(&self) -> Option<String> {
        Some(match self.fault.as_ref()? {
            Fault::Twice(council) => {
                let by = self.by.as_deref().unwrap_or_default();
                format!("'{by}' has consented for council '{council}', and a person counts for one council alone")
            }
            Fault::BadSignature => "the signature does not verify with the signer's key".to_owned(),
            Fault::OtherTerms(None) => "the consent is for other terms than these".to_owned(),
            Fault::OtherTerms(Some(changes)) => format!("the consent is for other terms than these: {changes}"),
            Fault::NoSigner(by) => format!("'{by}' is no signer of the council"),
            Fault::Incomplete => "the consent lacks 'by', 'terms' or 'signature'".to_owned(),
            Fault::Absent => "there is no consent of the council".to_owned(),
        })
    }

    pub(super) fn council(&self) -> &Name {
        &self.council
    }

    /// The consent, when it holds.
    pub(super) fn given(&self) -> Option<model::Consent> {
        let by = self.by.clone().filter(|_| self.fault.is_none())?;
        Some(model::Consent { council: self.council.clone(), by, at: self.at })
    }

    /// That it is missing, when it does not hold.
    pub(super) fn lacking(&self) -> Option<model::Lacking> {
        let fault = self.fault()?;
        Some(model::Lacking { council: self.council.clone(), by: self.by.clone(), at: self.at, fault })
    }

    pub(super) fn mark(&self) -> Option<Range<usize>> {
        self.span.clone()
    }

    /// What to do; `files` are those that the terms are made of.
    pub(super) fn remedy(&self, files: &str) -> String {
        let council = &self.council;
        let sign = format!("`turnpike agreement sign DIR ID --council {council} --by WHO --key FILE`");
        match &self.fault {
            Some(Fault::OtherTerms(None)) => {
                format!("`git log -p -- {files}` shows the text that was consented to; read the terms, then {sign}")
            }
            Some(Fault::Twice(_)) => format!("another signer of council '{council}' reads the terms, then {sign}"),
            Some(
                Fault::BadSignature
                | Fault::OtherTerms(Some(_))
                | Fault::NoSigner(_)
                | Fault::Incomplete
                | Fault::Absent,
            )
            | None => format!("read the terms, then {sign}"),
        }
    }
}
