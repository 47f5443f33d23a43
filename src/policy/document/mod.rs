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

pub(super) use agreement::{Agreement, AgreementFile, Consent};
pub(super) use allotted::{AllottedFile, Department as AllottedDepartment, Entries};
pub(super) use cases::{Case, CaseFile};
pub(super) use council::{CouncilFile, Department, Edge, Rate, Service, Signer, Uplink};
pub(super) use network::{Class, Controller, Hub, Network, NetworkFile, Sla};
pub(super) use text::Texts;

use super::finding::{Code, Report};
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

/// All files, read.
#[derive(Debug)]
pub(super) struct Documents {
    pub(super) network: Option<Document<NetworkFile>>,
    pub(super) councils: Vec<Document<CouncilFile>>,
    pub(super) agreements: Vec<Document<AgreementFile>>,
    pub(super) cases: Vec<Document<CaseFile>>,
    pub(super) allotted: Option<Document<AllottedFile>>,
}

/// A kind of file: what its root holds.
trait Root: Sized {
    fn read(sections: Sections<'_>, report: &mut Report) -> Self;
}

/// Reads all files that belong to a definition; others are passed over.
pub(super) fn read(files: &Files, report: &mut Report) -> Documents {
    let network = one(files, "network.toml", report);
    if network.is_none() && files.get("network.toml").is_none() {
        report
            .error(Mark::file("network.toml"), Code::MissingFile, "there is no network.toml")
            .advise("every definition has one: the operator's file, with [network] and at least one [[hub]]");
    }
    Documents {
        network,
        councils: folder(files, "councils/", report),
        agreements: folder(files, "agreements/", report),
        cases: folder(files, "tests/", report),
        allotted: one(files, "allotted.toml", report),
    }
}

fn folder<T: Root>(files: &Files, folder: &str, report: &mut Report) -> Vec<Document<T>> {
    let inside = |path: &str| {
        let name = path.strip_prefix(folder)?;
        (!name.contains('/') && name.ends_with(".toml")).then(|| path.to_owned())
    };
    let paths: Vec<_> = files.iter().filter_map(|(path, _)| inside(path)).collect();
    paths.iter().filter_map(|path| one(files, path, report)).collect()
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
