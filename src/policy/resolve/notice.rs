//! Notices: who has narrowed an agreement since it was agreed, and what is left of it.
//!
//! ```text
//!  [[agreement.notice]] ─ read ─▶ form, order ─ judge ─▶ signed by the council? ─▶ counts ─▶ revoked, refused, suspended
//!                                                         no: an error, or a warning if it is about other terms
//! ```
//!
//! What does not hold never gives anything back: where it is about the terms as they are, the definition is refused, since
//! it cannot be known what the council meant.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::consent::hash;
use super::names::Names;
use super::reader::Reader;
use crate::bundle::{Content as _, Effect, Notice, NoticeError, claim};
use crate::identity::{Id, Name, SignatureBytes, Signed, Verifier, all_hold};
use crate::policy::document;
use crate::policy::finding::{Code, Report};
use crate::policy::model::{CouncilSigner, Void};
use crate::policy::source::Source;
use crate::policy::state::party;
use crate::policy::terms::Terms;

/// An agreement's notices, in the order of the file.
#[derive(Default)]
pub(super) struct Notices(Vec<Entry>);

struct Entry {
    notice: Notice,
    /// A council's; the operator signs no file.
    signature: Option<SignatureBytes>,
    span: Range<usize>,
}

/// What notices come to.
#[derive(Default)]
pub(super) struct Judged {
    /// Those that are signed right and of a party to the agreement.
    pub(super) counted: Vec<Notice>,
    /// What they do to it, with the place of each.
    pub(super) void: Vec<(Void, Range<usize>)>,
}

/// Where notices are read from.
pub(super) struct Context<'a> {
    pub(super) source: &'a Source,
    pub(super) network: Option<&'a Name>,
    pub(super) names: &'a Names,
}

impl Notices {
    /// Reads them, each with what is wrong in its form.
    pub(super) fn read(
        context: &Context<'_>,
        id: Option<&Id>,
        written: &document::Agreement,
        report: &mut Report,
    ) -> Self {
        let mut last: BTreeMap<Option<Name>, i64> = BTreeMap::new();
        let mut notices = Vec::new();
        for written in &written.notices {
            rises(context.source, written.get_ref(), &mut last, report);
            let (Some(network), Some(id)) = (context.network, id) else { continue };
            notices.extend(entry(context, network, id, written, report));
        }
        Self(notices)
    }

    /// The signatures on which they depend; not those of a person with several keys, of which one suffices.
    pub(super) fn signatures<'a>(&self, signers: impl Fn(&Name) -> &'a [CouncilSigner]) -> Vec<Signed<String>> {
        let claim = |entry: &Entry| {
            let (council, signature) = (entry.notice.council.as_ref()?, entry.signature?);
            match entry.keys(signers(council)).as_slice() {
                [key] => Some(claim(&entry.notice, key, &signature)),
                _ => None,
            }
        };
        self.0.iter().filter_map(claim).collect()
    }

    /// Judges all of them; `proven`: that all [`Self::signatures`] hold.
    pub(super) fn judge<'a>(
        self,
        source: &Source,
        terms: &Terms,
        signers: impl Fn(&Name) -> &'a [CouncilSigner],
        proven: bool,
        report: &mut Report,
    ) -> Judged {
        if self.0.is_empty() {
            return Judged::default();
        }
        let hash = terms.hash();
        let mut counted = Vec::new();
        for entry in self.0 {
            if let Some(council) = &entry.notice.council {
                if let Some(fault) = entry.fault(council, signers(council), proven) {
                    entry.complain(source, council, &fault, entry.notice.terms == hash, report);
                    continue;
                }
                if !terms.councils.contains(council) {
                    let message =
                        format!("council '{council}' has no part in this agreement: its notice has no effect");
                    report.warning(source.mark(entry.span), Code::NoticeVoid, message);
                    continue;
                }
            }
            counted.push(entry);
        }
        let void = void(&counted, &hash);
        Judged { counted: counted.into_iter().map(|entry| entry.notice).collect(), void }
    }
}

/// Tells what notices have done to an agreement.
pub(super) fn told(source: &Source, narrowed: Vec<(Void, Range<usize>)>, report: &mut Report) -> Vec<Void> {
    let told = |(void, span): (Void, Range<usize>)| {
        let (code, help) = match &void {
            Void::Suspended { by: Some(by), .. } => {
                let lift = format!("`turnpike agreement suspend DIR ID --lift --council {by} --by WHO --key FILE`");
                (Code::Suspended, format!("the council ends that by {lift}"))
            }
            Void::Suspended { by: None, .. } => {
                let lift = "`turnpike agreement suspend DIR ID --lift --operator --by WHO --why TEXT`";
                (Code::Suspended, format!("the operator ends that by {lift}"))
            }
            Void::Refused { .. } => (Code::Refused, "agree on other terms, and propose those".to_owned()),
            Void::Revoked { .. } => {
                (Code::Revoked, "remove the file, or agree on other terms, and propose those".to_owned())
            }
            Void::ConsentMissing(_)
            | Void::NotYet(_)
            | Void::Ended(_)
            | Void::OutsideHours(_)
            | Void::Unsupported(_) => return void,
        };
        let message = format!("{void}; the agreement compiles to nothing");
        report.warning(source.mark(span), code, message).advise(help);
        void
    };
    narrowed.into_iter().map(told).collect()
}

impl Entry {
    fn keys(&self, signers: &[CouncilSigner]) -> Vec<Verifier> {
        signers.iter().filter(|signer| signer.by == self.notice.by).map(|signer| signer.key).collect()
    }

    /// Why it cannot be believed to be the council's.
    fn fault(&self, council: &Name, signers: &[CouncilSigner], proven: bool) -> Option<String> {
        let keys = self.keys(signers);
        if keys.is_empty() {
            return Some(format!("'{}' is no signer of council '{council}'", self.notice.by));
        }
        let holds =
            |key: &Verifier| self.signature.is_some_and(|signature| all_hold(&[claim(&self.notice, key, &signature)]));
        let proven = proven && keys.len() == 1;
        (!proven && !keys.iter().any(holds)).then(|| "the signature does not verify with the signer's key".to_owned())
    }

    /// A notice about other terms than these changes nothing, and whoever signed it may have left.
    fn complain(&self, source: &Source, council: &Name, fault: &str, these: bool, report: &mut Report) {
        let mark = source.mark(self.span.clone());
        let what = format!("council '{council}' is said to {} the agreement, and {fault}", self.notice.effect);
        if these {
            let help = format!(
                "put back what council '{council}' signed, or have it say so anew: turnpike agreement {} DIR ID --council {council}",
                command(self.notice.effect)
            );
            report.error(mark, Code::BadNotice, what).advise(help);
        } else {
            let help = "it is about other terms than these and has no effect: remove it";
            report.warning(mark, Code::NoticeVoid, what).advise(help);
        }
    }
}

/// What is typed for an effect.
fn command(effect: Effect) -> &'static str {
    match effect {
        Effect::Refuse => "refuse",
        Effect::Suspend | Effect::Lift => "suspend",
        Effect::Revoke => "revoke",
    }
}

/// The numbers of a party rise down the file, whatever else is wrong with its notices.
fn rises(source: &Source, written: &document::Notice, last: &mut BTreeMap<Option<Name>, i64>, report: &mut Report) {
    let council = match &written.council {
        Some(text) => match text.get_ref().parse() {
            Ok(name) => Some(name),
            Err(_) => return,
        },
        None => None,
    };
    let number = *written.number.get_ref();
    let before = last.insert(council.clone(), number);
    if let Some(before) = before.filter(|before| *before >= number) {
        let message =
            format!("number {number} comes after {before}: the numbers of {}'s notices rise", party(council.as_ref()));
        let help = "put them into the order in which they were signed; a number is never given twice";
        report.error(source.mark(written.number.span()), Code::BadNotice, message).advise(help);
    }
}

fn entry(
    context: &Context<'_>,
    network: &Name,
    id: &Id,
    written: &Spanned<document::Notice>,
    report: &mut Report,
) -> Option<Entry> {
    let (span, written) = (written.span(), written.get_ref());
    let source = context.source;
    let council = written.council.as_ref().map(|text| context.names.council(source, text, report));
    let mut reader = Reader { source, report };
    let effect = reader.choice(&written.effect, &Effect::WORDS);
    let by = reader.plain(&written.by);
    let at = reader.date(&written.at);
    let terms = hash(&mut reader, &written.terms);
    let why = written.why.as_ref().map(|why| reader.plain(why));
    let signature = written.signature.as_ref().map(|text| reader.parse::<SignatureBytes>(text, Code::BadKey));
    let number = u64::try_from(*written.number.get_ref()).unwrap_or_default();
    signed_where_due(&mut reader, &span, written);
    let notice = Notice {
        network: network.clone(),
        agreement: id.clone(),
        council: flipped(council)?,
        by: by?,
        number,
        effect: effect?,
        terms: terms?,
        why: flipped(why)?,
        at: at?,
    };
    if let Err(error) = notice.check() {
        let (span, code) = match &error {
            NoticeError::Number(_) => (written.number.span(), Code::BadValue),
            NoticeError::NoReason => (span, Code::MissingKey),
            NoticeError::NotOperators(_) => (written.effect.span(), Code::BadValue),
            NoticeError::Text("why") => (written.why.as_ref().map_or(span, Spanned::span), Code::BadValue),
            NoticeError::Text(_) => (written.by.span(), Code::BadValue),
            NoticeError::Terms => (span, Code::BadValue),
        };
        reader.error(span, code, error.to_string());
        return None;
    }
    Some(Entry { notice, signature: flipped(signature)?, span })
}

/// A key that is not there is fine, one that says nothing is not.
fn flipped<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        Some(Some(value)) => Some(Some(value)),
        Some(None) => None,
        None => Some(None),
    }
}

/// A council signs, and the operator, whose file this is, does not.
fn signed_where_due(reader: &mut Reader<'_>, span: &Range<usize>, written: &document::Notice) {
    match (&written.council, &written.signature) {
        (Some(council), None) => {
            let message =
                format!("the key 'signature' is missing: a notice of council '{}' is signed", council.get_ref());
            reader
                .error(span.clone(), Code::MissingKey, message)
                .advise("`turnpike agreement refuse`, `suspend` and `revoke` sign");
        }
        (None, Some(signature)) => {
            let message = "the operator's notice has no signature here: nobody could say whose it is";
            reader
                .error(signature.span(), Code::BadValue, message)
                .advise("remove it, or name the council that signed");
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
}

/// What notices of the parties do to an agreement with terms of this hash. A council speaks of the terms that it names, the
/// operator of the agreement whatever its terms.
fn void(counted: &[Entry], hash: &str) -> Vec<(Void, Range<usize>)> {
    let mut void: Vec<(Void, Range<usize>)> = Vec::new();
    let mut resting: BTreeMap<Option<&Name>, &Entry> = BTreeMap::new();
    for entry in counted {
        let Notice { council, effect, terms, why, .. } = &entry.notice;
        let about_these = council.is_none() || terms == hash;
        match (effect, council) {
            _ if !about_these => {}
            (Effect::Revoke, Some(council)) => {
                void.push((Void::Revoked { council: council.clone() }, entry.span.clone()));
            }
            (Effect::Refuse, Some(council)) => {
                void.push((Void::Refused { council: council.clone(), why: why.clone() }, entry.span.clone()));
            }
            (Effect::Suspend, council) => {
                resting.insert(council.as_ref(), entry);
            }
            (Effect::Lift, council) => {
                resting.remove(&council.as_ref());
            }
            // The operator may do neither, and none that says so is read.
            (Effect::Revoke | Effect::Refuse, None) => {}
        }
    }
    for (by, Entry { notice, span, .. }) in resting {
        void.push((Void::Suspended { by: by.cloned(), why: notice.why.clone() }, span.clone()));
    }
    void
}
