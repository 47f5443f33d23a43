//! From documents to the [`Model`]: every name found, every rule of the format held.
//!
//! ```text
//!  documents ─▶ network ─▶ councils ─▶ guardrails, agreements, cases ─▶ numbers ─▶ Model
//!               hubs       edges,        (consents judged here)         (allotted.toml)
//!               classes    departments, services
//! ```
//! Each step goes on after a fault and collects, so that one run tells everything. Nothing here panics, whatever
//! the files hold. Files are read, and agreements resolved, on all processors; what comes of it does not depend on that.

mod agreement;
mod agreements;
mod both;
mod cases;
mod changed;
mod consent;
mod council;
mod department;
mod guardrail;
mod names;
mod network;
mod notice;
mod numbers;
mod paper;
mod reader;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use jiff::Timestamp;

use super::allotted::Allotted;
use super::cases::Case;
use super::document::{self, Documents};
use super::effects;
use super::finding::{Code, Finding, Report, Severity};
use super::model::{
    Agreement, Class, Council, CouncilSigner, Department, Edge, Guardrail, Hub, Model, Origin, Service,
};
use super::source::{Files, Mark};
use super::terms::Terms;
use crate::identity::{Id, Name, Qualified};
use crate::net::Prefix;

pub use both::both;
use names::Names;
pub use paper::{Paper, paper};

/// A definition that holds.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What it means.
    pub model: Model,
    /// The definition's own tests, in the order of files and lines.
    pub cases: Vec<Case>,
    /// What holds but has no effect.
    pub warnings: Vec<Finding>,
}

/// Resolves a definition as of `at`.
///
/// # Errors
/// All findings, warnings among them, if at least one is an error.
pub fn resolve(files: &Files, at: Timestamp) -> Result<Resolved, Vec<Finding>> {
    let mut draft = Draft { at, ..Draft::default() }.read(files)?;
    numbers::fill(&mut draft);
    draft.finish()
}

/// Resolves what needs no numbers: for terms and consents, which come before allotment.
///
/// # Errors
/// All errors.
pub fn terms(files: &Files) -> Result<BTreeMap<Id, Terms>, Vec<Finding>> {
    Ok(worded(files, true)?.terms)
}

/// A definition without numbers: numbers are 0 and management addresses unspecified until `numbers` has filled
/// them in, and no one outside of `policy` sees it before.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) report: Report,
    pub(super) at: Timestamp,
    pub(super) network: Option<Name>,
    pub(super) overlay: Vec<Prefix>,
    pub(super) management: Option<(Prefix, Mark)>,
    pub(super) reserved: Vec<Prefix>,
    pub(super) urls: Vec<String>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) hubs: Vec<Hub>,
    pub(super) classes: Vec<Class>,
    pub(super) slas: BTreeSet<Name>,
    pub(super) guardrails: Vec<Guardrail>,
    pub(super) councils: Vec<Council>,
    pub(super) edges: Vec<Edge>,
    pub(super) departments: Vec<Department>,
    pub(super) services: Vec<Service>,
    pub(super) agreements: Vec<Agreement>,
    pub(super) cases: Vec<Case>,
    pub(super) terms: BTreeMap<Id, Terms>,
    /// Real prefixes that have no overlay prefix of the council's choice.
    pub(super) unmapped: BTreeMap<Qualified, Vec<Prefix>>,
    /// Where to point when a department's prefixes collide.
    pub(super) overlay_marks: BTreeMap<Qualified, Mark>,
    pub(super) allotted: Allotted,
    names: Names,
    /// Whether the terms are asked for.
    keeps_terms: bool,
}

/// A draft where no instant matters, so that warnings, which depend on one, are not told.
pub(super) fn timeless(files: &Files) -> Result<Draft, Vec<Finding>> {
    worded(files, false)
}

fn worded(files: &Files, keeps_terms: bool) -> Result<Draft, Vec<Finding>> {
    let draft = Draft { keeps_terms, ..Draft::default() };
    draft.read(files).map_err(|mut found| {
        found.retain(|finding| finding.severity == Severity::Error);
        found
    })
}

impl Draft {
    /// Resolves everything but the numbers. What cannot be read is told alone: the rest would be about what is missing.
    fn read(mut self, files: &Files) -> Result<Self, Vec<Finding>> {
        let mut unread = Report::default();
        let documents = self.ground(files, &mut unread);
        self.agreements(files, &document::agreements(files), &mut unread);
        if unread.has_errors() {
            return Err(unread.into_findings());
        }
        for document in &documents.cases {
            self.case_file(document);
        }
        if let Some(document) = &documents.allotted {
            self.allotted = Allotted::read(document, &mut self.report);
        }
        if self.report.has_errors() { Err(self.report.into_findings()) } else { Ok(self) }
    }

    /// Resolves what agreements stand on. Of what was read, what is asked for later is left.
    fn ground(&mut self, files: &Files, unread: &mut Report) -> Documents {
        let mut documents = document::read(files, unread);
        if !unread.has_errors() {
            self.resolve(&documents);
        }
        // Nobody asks for them again, and agreements need the room.
        documents.councils = Vec::new();
        documents
    }

    fn resolve(&mut self, documents: &Documents) {
        if let Some(document) = &documents.network {
            self.network(document);
        }
        for document in &documents.councils {
            self.council(document);
        }
        for document in &documents.councils {
            self.departments(document);
        }
        self.departments.sort_by(|a, b| a.name.cmp(&b.name));
        self.sites();
        self.reals();
        for document in &documents.councils {
            self.services(document);
        }
        self.services.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(document) = &documents.network {
            self.guardrails(document);
            self.management_allows(document);
        }
    }

    fn finish(self) -> Result<Resolved, Vec<Finding>> {
        let mut report = self.report;
        let (false, Some(network), Some((management, _))) = (report.has_errors(), self.network, self.management) else {
            return Err(report.into_findings());
        };
        let model = Model {
            network,
            overlay: self.overlay,
            management,
            reserved: self.reserved,
            controller_urls: self.urls,
            controller_addresses: self.addresses,
            links: self.allotted.links_of(&self.edges, &self.hubs),
            hubs: self.hubs,
            classes: self.classes,
            guardrails: self.guardrails,
            councils: self.councils,
            edges: self.edges,
            departments: self.departments,
            services: self.services,
            agreements: self.agreements,
            at: self.at,
        };
        effects::judge(&model, &mut report);
        if report.has_errors() {
            return Err(report.into_findings());
        }
        Ok(Resolved { model, cases: self.cases, warnings: report.into_findings() })
    }

    /// A department; they are sorted as soon as all are read.
    pub(super) fn department(&self, name: &Qualified) -> Option<&Department> {
        let at = self.departments.binary_search_by(|department| department.name.cmp(name)).ok()?;
        self.departments.get(at)
    }

    /// A council; they are sorted as soon as all are read.
    pub(super) fn council_named(&self, name: &Name) -> Option<&Council> {
        let at = self.councils.binary_search_by(|council| council.name.cmp(name)).ok()?;
        self.councils.get(at)
    }

    /// Who may sign for a council.
    pub(super) fn signers(&self, council: &Name) -> &[CouncilSigner] {
        self.council_named(council).map(|council| council.signers.as_slice()).unwrap_or_default()
    }

    /// A service; they are sorted as soon as all are read.
    pub(super) fn service(&self, name: &Qualified) -> Option<&Service> {
        let at = self.services.binary_search_by(|service| service.name.cmp(name)).ok()?;
        self.services.get(at)
    }
}

/// Claims a name in a set of names: false, and a finding that tells where it stands first, if it is taken.
fn claim<K: Ord + Clone + std::fmt::Display>(
    taken: &mut BTreeMap<K, Origin>,
    key: &K,
    mark: Mark,
    kind: &str,
    report: &mut Report,
) -> bool {
    if let Some(first) = taken.get(key) {
        let message = format!("the {kind} '{key}' stands twice");
        let Origin { file, line, .. } = first;
        report.error(mark, Code::Duplicate, message).advise(format!("the first stands at {file}:{line}: rename one"));
        return false;
    }
    taken.insert(key.clone(), mark.origin);
    true
}
