//! All agreements: read and resolved in lots, their signatures judged lot by lot.
//!
//! ```text
//!  paths ─ lots ─▶ read ─▶ begin ─▶ all signatures of the lot at once ─▶ end ─▶ agreements, findings
//! ```
//!
//! Nobody needs the files of a lot after it, so they are not kept. What is wrong is told by a second walk in order: the
//! search for the nearest known names is bounded over all of them.

use std::collections::BTreeMap;

use super::agreement::Desk;
use super::{Draft, claim};
use crate::identity::all_hold;
use crate::policy::document;
use crate::policy::finding::Report;
use crate::policy::model::Agreement;
use crate::policy::parallel;
use crate::policy::source::Files;
use crate::policy::terms::Terms;

/// Agreements of a lot. The more, the quicker are signatures judged; the fewer, the less memory do their files take.
const LOT: usize = 1024;

/// What came of a lot.
struct Lot {
    /// About files that could not be read.
    unread: Report,
    report: Report,
    made: Vec<(Agreement, Terms)>,
}

impl Draft {
    /// Reads and resolves agreements; if something cannot be read, here or before, all are only read.
    pub(super) fn agreements(&mut self, files: &Files, paths: &[&str], unread: &mut Report) {
        let lots: Vec<&[&str]> = paths.chunks(LOT).collect();
        let resolved = !unread.has_errors();
        let mut lots = parallel::map(&lots, |paths| self.lot(files, paths, resolved));
        lots.iter_mut().for_each(|lot| unread.absorb(std::mem::take(&mut lot.unread)));
        if unread.has_errors() {
            return;
        }
        if lots.iter().any(|lot| lot.report.has_errors()) || !self.take(lots) {
            self.agreements_in_order(files, paths);
        }
        self.agreements.sort_by(|a, b| a.id.cmp(&b.id));
    }

    fn lot(&self, files: &Files, paths: &[&str], resolved: bool) -> Lot {
        let mut unread = Report::default();
        let documents: Vec<_> = paths.iter().filter_map(|path| document::agreement(files, path, &mut unread)).collect();
        let mut desk = Desk { draft: self, report: Report::terse() };
        if !resolved || unread.has_errors() {
            return Lot { unread, report: desk.report, made: Vec::new() };
        }
        let pending: Vec<_> = documents.iter().filter_map(|document| desk.begin(document)).collect();
        let signatures: Vec<_> = pending.iter().flat_map(|pending| desk.signatures(pending)).collect();
        let proven = all_hold(&signatures);
        let made = pending.into_iter().map(|pending| desk.end(pending, proven)).collect();
        Lot { unread, report: desk.report, made }
    }

    /// Takes what came of the lots, unless an id stands twice.
    fn take(&mut self, lots: Vec<Lot>) -> bool {
        let ids = || lots.iter().flat_map(|lot| &lot.made).map(|(agreement, _)| &agreement.id);
        let mut sorted: Vec<_> = ids().collect();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return false;
        }
        for Lot { report, made, .. } in lots {
            self.report.absorb(report);
            for (agreement, terms) in made {
                self.put(agreement, terms);
            }
        }
        true
    }

    fn put(&mut self, agreement: Agreement, terms: Terms) {
        if self.keeps_terms {
            self.terms.insert(agreement.id.clone(), terms);
        }
        self.agreements.push(agreement);
    }

    /// One after the other, for everything that is to be said about them: something is wrong.
    fn agreements_in_order(&mut self, files: &Files, paths: &[&str]) {
        let mut ids = BTreeMap::new();
        let mut desk = Desk { report: std::mem::take(&mut self.report), draft: self };
        for path in paths {
            let Some(document) = document::agreement(files, path, &mut desk.report) else { continue };
            let Some(pending) = desk.begin(&document) else { continue };
            if claim(&mut ids, pending.id(), pending.mark(), "agreement", &mut desk.report) {
                desk.end(pending, false);
            }
        }
        self.report = desk.report;
    }
}
