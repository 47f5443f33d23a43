//! The files of a definition as they are written: raw structs, every value with its span, no meaning yet.
//!
//! Each table of a file is read by itself, so that one fault does not hide those of the tables beside it.

mod agreement;
mod allotted;
mod cases;
mod council;
mod network;
mod section;
mod table;
mod text;

pub(super) use agreement::{Agreement, AgreementFile, Consent, Notice};
pub(super) use allotted::{AllottedFile, Department as AllottedDepartment, Entries};
pub(super) use cases::{Case, CaseFile};
pub(super) use council::{CouncilFile, Department, Edge, Rate, Service, Signer, Uplink};
pub(super) use network::{Class, Controller, Hub, Network, NetworkFile, Sla};
pub(super) use text::Texts;

use super::finding::{Code, Report};
use super::parallel;
use super::source::{Files, Mark, Source};
use section::Sections;
use table::tables;

/// A file, read.
#[derive(Debug)]
pub(super) struct Document<T> {
    pub(super) source: Source,
    /// The file's name without folder and `.toml`.
    pub(super) stem: String,
    pub(super) value: T,
}

/// All files but the agreements', read.
#[derive(Debug)]
pub(super) struct Documents {
    pub(super) network: Option<Document<NetworkFile>>,
    pub(super) councils: Vec<Document<CouncilFile>>,
    pub(super) cases: Vec<Document<CaseFile>>,
    pub(super) allotted: Option<Document<AllottedFile>>,
}

/// A kind of file: what its root holds.
trait Root: Sized {
    fn read(sections: Sections<'_>, report: &mut Report) -> Self;
}

/// Reads all files that belong to a definition but the agreements, which are many; others are passed over.
pub(super) fn read(files: &Files, report: &mut Report) -> Documents {
    let network = one(files, "network.toml", report);
    if network.is_none() && files.get("network.toml").is_none() {
        report
            .error(Mark::file("network.toml"), Code::MissingFile, "there is no network.toml")
            .advise("every definition has one: the operator's file, with [network] and at least one [[hub]]");
    }
    let (councils, (allotted, found)) = parallel::join(
        || parallel::map(&paths(files, "councils/"), |path| reported(files, path)),
        || reported(files, "allotted.toml"),
    );
    let councils = collected(councils, report);
    let cases = collected(parallel::map(&paths(files, "tests/"), |path| reported(files, path)), report);
    report.absorb(found);
    Documents { network, councils, cases, allotted }
}

/// The paths of the agreements, in order.
pub(super) fn agreements(files: &Files) -> Vec<&str> {
    paths(files, "agreements/")
}

/// Reads one agreement.
pub(super) fn agreement(files: &Files, path: &str, report: &mut Report) -> Option<Document<AgreementFile>> {
    one(files, path, report)
}

fn paths<'a>(files: &'a Files, folder: &str) -> Vec<&'a str> {
    let inside = |path: &&str| {
        let name = path.strip_prefix(folder);
        name.is_some_and(|name| !name.contains('/') && name.ends_with(".toml"))
    };
    files.iter().map(|(path, _)| path).filter(inside).collect()
}

fn reported<T: Root>(files: &Files, path: &str) -> (Option<Document<T>>, Report) {
    let mut report = Report::default();
    let document = one(files, path, &mut report);
    (document, report)
}

fn collected<T>(read: Vec<(Option<T>, Report)>, report: &mut Report) -> Vec<T> {
    let document = |(document, found)| {
        report.absorb(found);
        document
    };
    read.into_iter().filter_map(document).collect()
}

fn one<T: Root>(files: &Files, path: &str, report: &mut Report) -> Option<Document<T>> {
    let source = source(path, files.get(path)?, report)?;
    let value = T::read(Sections::parse(&source, report)?, report);
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.strip_suffix(".toml").unwrap_or(name).to_owned();
    Some(Document { source, stem, value })
}

/// A file's octets as text, if they are UTF-8.
pub(super) fn source(path: &str, octets: &[u8], report: &mut Report) -> Option<Source> {
    match std::str::from_utf8(octets) {
        Ok(text) => Some(Source::new(path, text.to_owned())),
        Err(error) => {
            let line = octets.get(..error.valid_up_to())?.iter().filter(|&&b| b == b'\n').count();
            let mut mark = Mark::file(path);
            mark.origin.line = u32::try_from(line + 1).unwrap_or(u32::MAX);
            report.error(mark, Code::NotUtf8, "the file is not UTF-8").advise("save it as UTF-8 text");
            None
        }
    }
}

/// Whether a file is TOML, whatever it says; if not, every fault is reported.
pub(super) fn is_toml(source: &Source, report: &mut Report) -> bool {
    Sections::parse(source, report).is_some()
}
