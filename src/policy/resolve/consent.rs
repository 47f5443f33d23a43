//! Consents: whose they are, and whether they hold for the terms as they stand.

use std::ops::Range;

use jiff::Timestamp;
use toml::Spanned;

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

/// A council's consent, best first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    None,
    BadSignature,
    OtherTerms,
    NoSigner(String),
    Incomplete,
    Absent,
}

/// How a council's consent stands.
pub(super) struct State {
    fault: Fault,
    given: Option<model::Consent>,
    span: Option<Range<usize>>,
}

fn hash(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<String> {
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

    /// The best of a council's consents: one that holds suffices.
    /// `proven`: that all [`Self::signatures`] hold.
    pub(super) fn judge(&self, council: &Name, terms: &Terms, signers: &[CouncilSigner], proven: bool) -> State {
        let own = self.0.iter().filter(|consent| consent.council.as_ref() == Some(council));
        let judged = own.map(|consent| (consent.fault(terms, signers, proven), consent));
        let Some((fault, best)) = judged.min_by(|(a, _), (b, _)| a.cmp(b)) else {
            return State { fault: Fault::Absent, given: None, span: None };
        };
        let by = best.by.clone().filter(|_| fault == Fault::None);
        let given = by.map(|by| model::Consent { council: council.clone(), by, at: best.at });
        State { fault, given, span: Some(best.span.clone()) }
    }

    /// The councils named, each with its place.
    pub(super) fn councils(&self) -> impl Iterator<Item = (&Name, Range<usize>)> {
        self.0.iter().filter_map(|consent| Some((consent.council.as_ref()?, consent.span.clone())))
    }
}

impl Consent {
    fn fault(&self, terms: &Terms, signers: &[CouncilSigner], proven: bool) -> Fault {
        let (keys, signature) = match (self.keys(terms, signers), &self.signature) {
            (Ok(keys), Some(signature)) => (keys, signature),
            (Err(fault), _) => return fault,
            (Ok(_), None) => return Fault::Incomplete,
        };
        let proven = proven && keys.len() == 1;
        if proven || keys.iter().any(|key| terms.signed_by(key, signature)) { Fault::None } else { Fault::BadSignature }
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
        if *hash != terms.hash() { Err(Fault::OtherTerms) } else { Ok(keys) }
    }
}

impl State {
    /// What is wrong with it; `None` when it holds.
    pub(super) fn fault(&self) -> Option<String> {
        match &self.fault {
            Fault::None => None,
            Fault::BadSignature => Some("the signature does not verify with the signer's key".to_owned()),
            Fault::OtherTerms => Some("the consent is for other terms than these".to_owned()),
            Fault::NoSigner(by) => Some(format!("'{by}' is no signer of the council")),
            Fault::Incomplete => Some("the consent lacks 'by', 'terms' or 'signature'".to_owned()),
            Fault::Absent => Some("there is no consent of the council".to_owned()),
        }
    }

    /// The consent, when it holds.
    pub(super) fn given(&self) -> Option<model::Consent> {
        self.given.clone()
    }

    pub(super) fn mark(&self) -> Option<Range<usize>> {
        self.span.clone()
    }

    pub(super) fn remedy(&self, council: &Name) -> String {
        format!("read the terms, then `turnpike agreement sign DIR ID --council {council} --by WHO --key FILE`")
    }
}
