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
        let name = Reader { source, report }.qualified(text, "leeds/hb-claims")?;
        if self.services.contains_key(&name) {
            return Some(name);
        }
        let known = self.services.keys().map(ToString::to_string);
        let finding = report.unknown(source.mark(text.span()), "service", text.get_ref(), known);
        if self.departments.contains_key(&name) {
            finding.advise(format!("'{name}' is a department; a service belongs here"));
        }
        None
    }

    /// A `council/department` that exists.
    pub(super) fn department(&self, source: &Source, text: &Spanned<String>, report: &mut Report) -> Option<Qualified> {
        let name = Reader { source, report }.qualified(text, "bradford/benefits")?;
        if self.departments.contains_key(&name) {
            return Some(name);
        }
        let known = self.departments.keys().map(ToString::to_string);
        let finding = report.unknown(source.mark(text.span()), "department", text.get_ref(), known);
        if self.services.contains_key(&name) {
            finding.advise(format!("'{name}' is a service; a department belongs here"));
        }
        None
    }

    /// A class that exists.
    pub(super) fn class(&self, source: &Source, text: &Spanned<String>, report: &mut Report) -> Option<Name> {
        let class = Reader { source, report }.name(text)?;
        if self.classes.contains_key(&class) {
            return Some(class);
        }
        let known = self.classes.keys().map(Name::as_str);
        report.unknown(source.mark(text.span()), "class", class.as_str(), known);
        None
    }

    /// A council that exists.
    pub(super) fn council(&self, source: &Source, text: &Spanned<String>, report: &mut Report) -> Option<Name> {
        let name = Reader { source, report }.name(text)?;
        if self.councils.contains_key(&name) {
            return Some(name);
        }
        let known = self.councils.keys().map(Name::as_str);
        report.unknown(source.mark(text.span()), "council", name.as_str(), known);
        None
    }
}
