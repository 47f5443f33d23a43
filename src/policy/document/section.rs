//! The top-level tables of a file, each read by itself; serde's complaints become findings.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::policy::finding::{Code, Report};
use crate::policy::source::{Mark, Source};

/// The root of a file, as yet unread.
pub(super) struct Sections<'a> {
    pub(super) source: &'a Source,
    table: DeTable<'a>,
    asked: Vec<&'static str>,
}

impl<'a> Sections<'a> {
    /// Parses a file; reports every fault of syntax that the parser finds.
    pub(super) fn parse(source: &'a Source, report: &mut Report) -> Option<Self> {
        let (table, errors) = DeTable::parse_recoverable(source.text());
        for error in &errors {
            let mark = source.mark(error.span().unwrap_or(0..1));
            report.error(mark, Code::Syntax, error.message()).advise("the file must be TOML (https://toml.io)");
        }
        errors.is_empty().then(|| Self { source, table: table.into_inner(), asked: Vec::new() })
    }

    /// A value that stands once, if it is there and reads well.
    pub(super) fn one<T: DeserializeOwned>(&mut self, key: &'static str, report: &mut Report) -> Option<Spanned<T>> {
        self.asked.push(key);
        let value = self.table.remove(key)?;
        item(self.source, value, report)
    }

    /// A table that must stand once.
    pub(super) fn required<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        report: &mut Report,
    ) -> Option<Spanned<T>> {
        if !self.table.contains_key(key) {
            let message = format!("the table [{key}] is missing");
            report.error(Mark::file(&self.source.file), Code::MissingKey, message);
        }
        self.one(key, report)
    }

    /// An array of tables: those that read well.
    pub(super) fn many<T: DeserializeOwned>(&mut self, key: &'static str, report: &mut Report) -> Vec<Spanned<T>> {
        self.asked.push(key);
        let Some(value) = self.table.remove(key) else { return Vec::new() };
        let mark = self.source.mark(value.span());
        match value.into_inner() {
            DeValue::Array(items) => items.into_iter().filter_map(|value| item(self.source, value, report)).collect(),
            other => {
                let message = format!("'{key}' is one {}, where a list of tables belongs", other.type_str());
                report.error(mark, Code::WrongType, message).advise(format!("write [[{key}]]"));
                Vec::new()
            }
        }
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self, report: &mut Report) {
        for key in self.table.keys() {
            let finding = report.error(
                self.source.mark(key.span()),
                Code::UnknownKey,
                format!("unknown key '{}'", key.get_ref()),
            );
            finding.advise(format!("keys here: {}", self.asked.join(", ")));
            finding.suggest(key.get_ref(), self.asked.iter().copied());
        }
    }
}

fn item<T: DeserializeOwned>(source: &Source, value: Spanned<DeValue<'_>>, report: &mut Report) -> Option<Spanned<T>> {
    let span = value.span();
    match T::deserialize(ValueDeserializer::from(value)) {
        Ok(read) => Some(Spanned::new(span, read)),
        Err(error) => {
            complain(source, error.span().unwrap_or(span), error.message(), report);
            None
        }
    }
}

/// Serde tells of unknown and missing fields in fixed words with the names in backquotes.
fn complain(source: &Source, span: Range<usize>, message: &str, report: &mut Report) {
    let mark = source.mark(span);
    let mut quoted = message.split('`').skip(1).step_by(2);
    let first = quoted.next().unwrap_or_default();
    if message.starts_with("unknown field") {
        let known: Vec<_> = quoted.collect();
        let finding = report.error(mark, Code::UnknownKey, format!("unknown key '{first}'"));
        finding.advise(format!("keys here: {}", known.join(", ")));
        finding.suggest(first, known);
    } else if message.starts_with("missing field") {
        report.error(mark, Code::MissingKey, format!("the key '{first}' is missing"));
    } else {
        report.error(mark, Code::WrongType, message);
    }
}
