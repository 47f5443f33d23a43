//! Agreements: who may use what, and why some compile to nothing.

use std::collections::BTreeSet;

use toml::Spanned;

use super::Draft;
use super::consent::{Consents, Measure, State};
use super::notice::{self, Context, Judged, Notices};
use super::reader::Reader;
use crate::bundle::{self, Hours, HoursError, standing};
use crate::identity::{Id, Name, Qualified, Signed};
use crate::policy::document::{self, AgreementFile, Document};
use crate::policy::finding::{Code, Report, nearest};
use crate::policy::model::{self, Void};
use crate::policy::source::{Mark, Source};
use crate::policy::terms::{Terms, Wording};

/// What can be read of an agreement without looking elsewhere.
struct Plain {
    id: Id,
    service: Qualified,
    class: Name,
    identity: &'static str,
    hours: Option<Hours>,
    not_before: Option<jiff::Timestamp>,
    not_after: Option<jiff::Timestamp>,
    roles: Vec<String>,
}

/// The consumers.
#[derive(Default)]
struct Consumers {
    /// As written: departments, and tags that stand for some.
    wording: BTreeSet<String>,
    /// All that are meant.
    departments: BTreeSet<Qualified>,
}

/// Resolves agreements with what is known of everything else.
pub(super) struct Desk<'a> {
    pub(super) draft: &'a Draft,
    pub(super) report: Report,
}

/// An agreement of which all is known but whether its consents hold.
pub(super) struct Pending<'a> {
    document: &'a Document<AgreementFile>,
    written: &'a document::Agreement,
    plain: Plain,
    service: &'a model::Service,
    consumers: Consumers,
    consents: Consents,
    notices: Notices,
    terms: Terms,
    /// Where its id stands.
    mark: Mark,
}

impl Pending<'_> {
    pub(super) fn id(&self) -> &Id {
        &self.plain.id
    }

    pub(super) fn mark(&self) -> Mark {
        self.mark.clone()
    }
}

impl<'a> Desk<'a> {
    /// Reads an agreement up to its terms.
    pub(super) fn begin<'d>(&mut self, document: &'d Document<AgreementFile>) -> Option<Pending<'d>>
    where
        'a: 'd,
    {
        let written = document.value.agreement.as_ref().map(Spanned::get_ref)?;
        let source = &document.source;
        let plain = self.plain(document, written);
        let consumers = self.consumers(source, &written.from);
        let consents = Consents::read(source, written, &self.draft.names, &mut self.report);
        let context = Context { source, network: self.draft.network.as_ref(), names: &self.draft.names };
        let id = plain.as_ref().map(|plain| &plain.id);
        let notices = Notices::read(&context, id, written, &mut self.report);
        let (plain, consumers) = (plain?, consumers?);
        let service = self.draft.service(&plain.service)?;
        let councils = consumers.departments.iter().map(|department| department.council.clone());
        let councils: BTreeSet<_> = councils.chain([plain.service.council.clone()]).collect();
        let terms = terms_of(&plain, service, &consumers, councils.into_iter().collect())?;
        let mark = source.mark(written.id.span());
        Some(Pending { document, written, plain, service, consumers, consents, notices, terms, mark })
    }

    /// Judges its consents and notices, by themselves if they are not `proven` to have right signatures, and its time.
    pub(super) fn end(&mut self, pending: Pending<'_>, proven: bool) -> (model::Agreement, Terms) {
        let Pending { document, written, plain, service, consumers, consents, notices, terms, mark } = pending;
        let source = &document.source;
        let signers = |council: &Name| self.draft.signers(council);
        let Judged { counted, void: narrowed } = notices.judge(source, &terms, signers, proven, &mut self.report);
        let dead = narrowed.iter().any(|(void, _)| matches!(void, Void::Revoked { .. }));
        let proposed = written.proposed.as_ref().map(|text| text.get_ref().as_str());
        let states = consents.judge(&Measure { terms: &terms, proposed, signers, proven });
        self.strangers(source, &terms, &consents);
        // What is revoked lacks nothing that anybody could give.
        let mut void = if dead { Vec::new() } else { self.missing(source, &plain, &states, &mark) };
        void.extend(notice::told(source, narrowed, &mut self.report));
        void.extend(self.dates(&plain, source, written));
        void.extend(self.unsupported(&plain, service, source, written));
        let (from, apart) = self.apart(consumers.departments, source, written);
        if from.is_empty() && !apart.is_empty() {
            void.push(Void::Unsupported("consumers that all stand on VLANs".to_owned()));
        }
        let agreement = model::Agreement {
            number: 0,
            id: plain.id,
            service: plain.service,
            from,
            apart,
            councils: terms.councils.clone(),
            consents: states.iter().filter_map(State::given).collect(),
            lacking: states.iter().filter_map(State::lacking).collect(),
            notices: counted,
            class: plain.class,
            not_before: plain.not_before,
            not_after: plain.not_after,
            hours: plain.hours,
            reference: written.reference.clone(),
            void,
            origin: mark.origin,
        };
        (agreement, terms)
    }

    /// The signatures that its consents depend on.
    pub(super) fn signatures(&self, pending: &Pending<'_>) -> Vec<Signed<String>> {
        let signers = |council: &Name| self.draft.signers(council);
        let mut signatures = pending.consents.signatures(&pending.terms, signers);
        signatures.extend(pending.notices.signatures(signers));
        signatures
    }

    fn plain(&mut self, document: &Document<AgreementFile>, written: &document::Agreement) -> Option<Plain> {
        let source = &document.source;
        let id = Reader { source, report: &mut self.report }.id(&written.id);
        if let Some(id) = &id
            && id.as_str() != document.stem
        {
            let message = format!("agreement {id} stands in {}", source.file);
            let help = format!("an agreement's file bears its id: agreements/{id}.toml");
            self.report.error(source.mark(written.id.span()), Code::FileName, message).advise(help);
        }
        let service = self.draft.names.service(source, &written.service, &mut self.report);
        let class = self.draft.names.class(source, &written.class, &mut self.report);
        let mut reader = Reader { source, report: &mut self.report };
        let words = [("none", "none"), ("directory", "directory"), ("card", "card")];
        let identity = written.identity.as_ref().map_or(Some("none"), |text| reader.choice(text, &words));
        let roles = roles(&mut reader, &written.roles);
        let proposed = written.proposed.as_ref().is_none_or(|text| reader.plain(text).is_some());
        let hours = written.hours.as_ref().map_or(Some(None), |text| hours_of(source, &mut reader, text));
        let not_before = written.not_before.as_ref().map(|date| reader.date(date));
        let not_after = written.not_after.as_ref().map(|date| reader.date(date));
        if let (Some(Some(begin)), Some(Some(end)), Some(date)) = (not_before, not_after, &written.not_after)
            && end < begin
        {
            reader.error(date.span(), Code::BadDate, "the agreement ends before it begins");
        }
        let dates_hold = not_before.is_none_or(|date| date.is_some()) && not_after.is_none_or(|date| date.is_some());
        (dates_hold && proposed).then_some(())?;
        Some(Plain {
            id: id?,
            service: service?,
            class: class?,
            identity: identity?,
            hours: hours?,
            not_before: not_before.flatten(),
            not_after: not_after.flatten(),
            roles: roles?,
        })
    }

    fn consumers(&mut self, source: &Source, from: &Spanned<Vec<Spanned<String>>>) -> Option<Consumers> {
        if from.get_ref().is_empty() {
            let mark = source.mark(from.span());
            self.report
                .error(mark, Code::Empty, "the agreement names no department")
                .advise("from = [\"COUNCIL/NAME\"]");
            return None;
        }
        let mut consumers = Consumers::default();
        let mut complete = true;
        for text in from.get_ref() {
            let meant = match text.get_ref().strip_prefix("tag:") {
                Some(tag) => self.tagged(source, text, tag),
                None => self.consumer(source, text).map(|name| vec![name]),
            };
            complete &= meant.is_some();
            consumers.departments.extend(meant.unwrap_or_default());
            if !consumers.wording.insert(text.get_ref().clone()) {
                let message = format!("'{}' stands twice", text.get_ref());
                self.report.error(source.mark(text.span()), Code::Duplicate, message);
            }
        }
        complete.then_some(consumers)
    }

    fn consumer(&mut self, source: &Source, text: &Spanned<String>) -> Option<Qualified> {
        let whole = text.get_ref().parse().is_ok_and(|name: Name| self.draft.names.councils.contains_key(&name));
        if whole {
            let message = format!("'{}' is a whole council", text.get_ref());
            let help = "agreements name departments, never whole councils";
            self.report.error(source.mark(text.span()), Code::Placement, message).advise(help);
            return None;
        }
        self.draft.names.department(source, text, &mut self.report)
    }

    /// The departments that have a tag.
    fn tagged(&mut self, source: &Source, text: &Spanned<String>, tag: &str) -> Option<Vec<Qualified>> {
        let known = tag.parse::<Name>().ok().filter(|tag| self.draft.names.tags.contains(tag));
        let Some(known) = known else {
            let tags = self.draft.names.tags.iter().map(Name::as_str);
            self.report.unknown(source.mark(text.span()), "department with the tag", tag, tags);
            return None;
        };
        let bears = |department: &&model::Department| department.tags.contains(&known);
        Some(self.draft.departments.iter().filter(bears).map(|department| department.name.clone()).collect())
    }

    /// The councils whose consent is missing or does not hold.
    fn missing(&mut self, source: &Source, plain: &Plain, states: &[State], mark: &Mark) -> Vec<Void> {
        let mut void = Vec::new();
        for state in states {
            let Some(fault) = state.fault() else { continue };
            let council = state.council();
            let mark = state.mark().map_or_else(|| mark.clone(), |span| source.mark(span));
            let message = format!("council '{council}' has not consented: {fault}; the agreement compiles to nothing");
            let files = format!("{} councils/{}.toml", source.file, plain.service.council);
            self.report.warning(mark, Code::ConsentMissing, message).advise(state.remedy(&files));
            void.push(Void::ConsentMissing(council.clone()));
        }
        void
    }

    /// Tells of consents that nobody has asked for.
    fn strangers(&mut self, source: &Source, terms: &Terms, consents: &Consents) {
        for (council, span) in consents.councils() {
            if !terms.councils.contains(council) {
                let message = format!("council '{council}' has no part in this agreement");
                self.report.warning(source.mark(span), Code::ConsentVoid, message).advise("remove the consent");
            }
        }
    }

    /// Why its dates and hours keep it from being in force now.
    fn dates(&mut self, plain: &Plain, source: &Source, written: &document::Agreement) -> Option<Void> {
        let at = self.draft.at;
        let untimely = standing(plain.not_before, plain.not_after, plain.hours.as_ref(), at)?;
        let void = Void::of(untimely)?;
        match (&void, &written.not_before, &written.not_after) {
            (Void::NotYet(begin), Some(date), _) => {
                let message = format!("the agreement begins at {begin}, after {at}: until then it compiles to nothing");
                self.report.warning(source.mark(date.span()), Code::NotYet, message);
            }
            (Void::Ended(end), _, Some(date)) => {
                let message = format!("the agreement ended at {end}, before {at}: it compiles to nothing");
                self.report
                    .warning(source.mark(date.span()), Code::Ended, message)
                    .advise("remove the file, or agree on new dates and sign again");
            }
            // Twice a day is no news.
            _ => {}
        }
        Some(void)
    }

    fn unsupported(
        &mut self,
        plain: &Plain,
        service: &model::Service,
        source: &Source,
        written: &document::Agreement,
    ) -> Vec<Void> {
        let mut lacks = Vec::new();
        if let (true, Some(text)) = (plain.identity != "none", &written.identity) {
            lacks.push((text.span(), format!("identity = \"{}\"", plain.identity)));
        }
        if let Some(role) = written.roles.first() {
            lacks.push((role.span(), "roles".to_owned()));
        }
        if let Some(vlan) = self.draft.department(&service.department).and_then(|department| department.vlan) {
            lacks.push((written.service.span(), format!("the provider's segment on VLAN {vlan}")));
        }
        let mut void = Vec::new();
        for (span, what) in lacks {
            let message = format!("this version cannot enforce {what}: the agreement compiles to nothing");
            self.report.warning(source.mark(span), Code::Unsupported, message);
            void.push(Void::Unsupported(what));
        }
        void
    }

    /// Divides the consumers into those whose flows pass and those that stand on a VLAN, which get nothing yet.
    fn apart(
        &mut self,
        departments: BTreeSet<Qualified>,
        source: &Source,
        written: &document::Agreement,
    ) -> (Vec<Qualified>, Vec<Qualified>) {
        let (mut from, mut apart) = (Vec::new(), Vec::new());
        for name in departments {
            let Some(consumer) = self.draft.department(&name) else { continue };
            let Some(vlan) = consumer.vlan else {
                from.push(name);
                continue;
            };
            let text = written.from.get_ref().iter().find(|text| *text.get_ref() == name.to_string());
            let mark = source.mark(text.map_or(written.from.span(), Spanned::span));
            let message = format!(
                "'{name}' stands on VLAN {vlan}, which is not enforced yet: for it the agreement compiles to nothing"
            );
            self.report.warning(mark, Code::Unsupported, message);
            apart.push(name);
        }
        (from, apart)
    }
}

fn terms_of(plain: &Plain, service: &model::Service, consumers: &Consumers, councils: Vec<Name>) -> Option<Terms> {
    let from: Vec<_> = consumers.wording.iter().cloned().collect();
    let wording = Wording {
        id: plain.id.as_str(),
        service: &plain.service,
        hosts: &service.hosts,
        ports: &service.ports,
        from: &from,
        identity: plain.identity,
        roles: &plain.roles,
        class: &plain.class,
        hours: plain.hours.as_ref().map_or("always", Hours::text),
        not_before: plain.not_before,
        not_after: plain.not_after,
    };
    Terms::new(&wording, councils)
}

fn roles(reader: &mut Reader<'_>, texts: &[Spanned<String>]) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    for text in texts {
        let role = reader.plain(text)?;
        if !seen.insert(role) {
            reader.error(text.span(), Code::Duplicate, format!("the role '{text}' stands twice"));
        }
    }
    Some(seen.into_iter().collect())
}

/// The hours, if they are any; `Some(None)` for `always`.
fn hours_of(source: &Source, reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<Option<Hours>> {
    let error = match Hours::parse(text.get_ref()) {
        Ok(hours) => {
            if let Some([one, other]) = hours.as_ref().and_then(Hours::overlap) {
                let message = format!("'{one}' and '{other}' have a time in common");
                let help = "both count; leave out what stands twice";
                reader.report.warning(source.mark(text.span()), Code::Overlap, message).advise(help);
            }
            return Some(hours);
        }
        Err(error) => error,
    };
    let zones = match &error {
        HoursError::UnknownZone(_) => bundle::zones(),
        HoursError::Malformed(_)
        | HoursError::BadDay(_)
        | HoursError::BadTime(_)
        | HoursError::NoTime(_)
        | HoursError::NoZone => Vec::new(),
    };
    let zone = text.get_ref().rsplit(' ').next().unwrap_or_default();
    let near = nearest(zone, zones.iter().map(String::as_str)).map(|near| format!("did you mean '{near}'?"));
    let code = if zones.is_empty() { Code::BadHours } else { Code::BadZone };
    let example = "write \"always\", or hours such as \"Mon-Fri 07:00-19:00 Europe/London\"";
    reader.error(text.span(), code, error.to_string()).advise(near.unwrap_or_else(|| example.to_owned()));
    None
}
