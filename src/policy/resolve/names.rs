//! Every name that is written anywhere, and what is said of one that leads nowhere.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;

use super::reader::Reader;
use crate::identity::{Name, Qualified};
use crate::policy::finding::Report;
use crate::policy::model::Origin;
use crate::policy::source::Source;

/// Every name that is written anywhere, also of things that are wrong otherwise, so that one fault is told once.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) gateways: BTreeMap<Name, Origin>,
    pub(super) classes: BTreeMap<Name, Origin>,
    pub(super) councils: BTreeMap<Name, Origin>,
    pub(super) departments: BTreeMap<Qualified, Origin>,
    pub(super) services: BTreeMap<Qualified, Origin>,
    pub(super) tags: BTreeSet<Name>,
}

impl Names {
    /// A `council/service` that exists.
    pub(super) fn service(&self, source: &Source, text: &Spanned<String>, report: &mut Report) -> Option<Qualified> {
        let own = ("service", "leeds/hb-claims", &self.services);
        qualified(own, ("department", &self.departments), source, text, report)
    }

    /// A `council/department` that exists.
    pub(super) fn department(&self, source: &Source, text: &Spanned<String>, report: &mut Report) -> Option<Qualified> {
        let own = ("department", "bradford/benefits", &self.departments);
        qualified(own, ("service", &self.services), source, text, report)
    }

    /// A class that exists.
    pub(super) fn class(&self, source: &Source, text: &Spanned<String>, report: &mut Report) -> Option<Name> {
        named("class", &self.classes, source, text, report)
    }

    /// A council that exists.
    pub(super) fn council(&self, source: &Source, text: &Spanned<String>, report: &mut Report) -> Option<Name> {
        named("council", &self.councils, source, text, report)
    }
}

/// A name of one kind, by its example and those that exist; one that exists of the other kind is told so.
fn qualified(
    (kind, example, known): (&'static str, &str, &BTreeMap<Qualified, Origin>),
    (other, others): (&str, &BTreeMap<Qualified, Origin>),
    source: &Source,
    text: &Spanned<String>,
    report: &mut Report,
) -> Option<Qualified> {
    let name = Reader { source, report }.qualified(text, example)?;
    if known.contains_key(&name) {
        return Some(name);
    }
    let names = known.keys().map(ToString::to_string);
    let finding = report.unknown(source.mark(text.span()), kind, text.get_ref(), names);
    if others.contains_key(&name) {
        finding.advise(format!("'{name}' is a {other}; a {kind} belongs here"));
    }
    None
}

fn named(
    kind: &'static str,
    known: &BTreeMap<Name, Origin>,
    source: &Source,
    text: &Spanned<String>,
    report: &mut Report,
) -> Option<Name> {
    let name = Reader { source, report }.name(text)?;
    if known.contains_key(&name) {
        return Some(name);
    }
    report.unknown(source.mark(text.span()), kind, name.as_str(), known.keys().map(Name::as_str));
    None
}
