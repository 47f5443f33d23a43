//! The operator's denials, and who may reach management addresses.

use std::collections::BTreeMap;

use toml::Spanned;

use super::reader::Reader;
use super::{Draft, claim};
use crate::identity::Name;
use crate::net::{PortMatch, Protocol};
use crate::policy::document::{Document, NetworkFile};
use crate::policy::finding::Code;
use crate::policy::model::{Guardrail, Object, Subject};
use crate::policy::source::Source;

impl Draft {
    pub(super) fn guardrails(&mut self, document: &Document<NetworkFile>) {
        let source = &document.source;
        let mut taken = BTreeMap::new();
        for written in document.value.guardrails.iter().map(Spanned::get_ref) {
            let id = Reader { source, report: &mut self.report }.id(&written.id);
            let (deny, to) = (self.subject(source, &written.deny), self.object(source, &written.to));
            let Some(id) = id else { continue };
            let mark = source.mark(written.id.span());
            let new = claim(&mut taken, &id, mark.clone(), "guardrail", &mut self.report);
            if let (true, Some(deny), Some(to)) = (new, deny, to) {
                self.guardrails.push(Guardrail { id, deny, to, why: written.why.clone(), origin: mark.origin });
            }
        }
        self.guardrails.sort_by(|a, b| a.id.cmp(&b.id));
    }

    fn subject(&mut self, source: &Source, text: &Spanned<String>) -> Option<Subject> {
        let word = text.get_ref();
        if word == "any" {
            return Some(Subject::Any);
        }
        if is_prefix(word) {
            return self.overlay_prefix(source, text).map(Subject::Prefix);
        }
        if word.contains('/') {
            return self.names.department(source, text, &mut self.report).map(Subject::Department);
        }
        let name = Reader { source, report: &mut self.report }.name(text)?;
        if self.names.councils.contains_key(&name) {
            return Some(Subject::Council(name));
        }
        let known = self.names.councils.keys().map(Name::as_str);
        self.report.unknown(source.mark(text.span()), "council", word, known);
        None
    }

    fn object(&mut self, source: &Source, text: &Spanned<String>) -> Option<Object> {
        let word = text.get_ref();
        if word == "any" {
            return Some(Object::Any);
        }
        if is_prefix(word) {
            return self.overlay_prefix(source, text).map(Object::Prefix);
        }
        let first = word.split('/').next().unwrap_or_default();
        let council = first.parse().is_ok_and(|name: Name| self.names.councils.contains_key(&name));
        match word.parse::<PortMatch>() {
            Ok(port) => return Some(Object::Port(port)),
            Err(error) if Protocol::named(first).is_some() && !council => {
                self.report.error(source.mark(text.span()), Code::BadPort, error.to_string());
                return None;
            }
            Err(_) => {}
        }
        let name = Reader { source, report: &mut self.report }.qualified(text, "tcp/23, leeds/hb-claims or any")?;
        if self.names.services.contains_key(&name) {
            return Some(Object::Service(name));
        }
        if self.names.departments.contains_key(&name) {
            return Some(Object::Department(name));
        }
        let known: Vec<_> = self.names.services.keys().chain(self.names.departments.keys()).collect();
        let known: Vec<_> = known.into_iter().map(ToString::to_string).collect();
        let mark = source.mark(text.span());
        self.report.unknown(mark, "service or department", word, known.iter().map(String::as_str));
        None
    }

    fn overlay_prefix(&mut self, source: &Source, text: &Spanned<String>) -> Option<crate::net::Prefix> {
        let prefix = Reader { source, report: &mut self.report }.prefix(text)?;
        if !self.overlay.iter().any(|overlay| overlay.overlaps(prefix)) {
            let message = format!("{prefix} lies outside of the overlay: the guardrail never applies");
            let help = "guardrails judge overlay addresses, not real ones";
            self.report.warning(source.mark(text.span()), Code::Useless, message).advise(help);
        }
        Some(prefix)
    }

    pub(super) fn management_allows(&mut self, document: &Document<NetworkFile>) {
        let source = &document.source;
        for allow in &document.value.management_allows {
            let written = allow.get_ref();
            if let Some(from) = &written.from {
                self.names.department(source, from, &mut self.report);
            }
            let mut reader = Reader { source, report: &mut self.report };
            reader.names(&written.to);
            reader
                .warning(allow.span(), Code::Unsupported, "[[management-allow]] has no effect in this version")
                .advise("nobody reaches management addresses through the overlay yet");
        }
    }
}

/// Names hold neither dots nor colons; every prefix does.
fn is_prefix(word: &str) -> bool {
    word.contains(['.', ':'])
}
