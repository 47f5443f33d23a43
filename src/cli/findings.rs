//! Findings for people, with the line that they are about, and for machines.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::{Failure, output};
use crate::policy::{Files, Finding, Origin, printable, steers};

/// A finding in JSON.
#[derive(Serialize)]
struct Json<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    severity: &'a str,
    code: &'a str,
    message: &'a str,
    help: Option<&'a str>,
}

/// Prints an array of objects, one per finding.
pub(super) fn print_json(findings: &[Finding]) -> Result<(), Failure> {
    let objects: Vec<_> = findings
        .iter()
        .map(|finding| Json {
            file: &finding.origin.file,
            line: finding.origin.line,
            column: finding.origin.column,
            severity: finding.severity.as_str(),
            code: finding.code.as_str(),
            message: &finding.message,
            help: finding.help.as_deref(),
        })
        .collect();
    output::print_json(&objects)
}

/// Every finding with its place, its line and what to do, in the form of rustc's messages.
pub(super) fn render(findings: &[Finding], files: &Files, folder: &Path) -> String {
    let mut text = String::new();
    for finding in findings {
        // Writing to a String does not fail.
        if write(&mut text, finding, files, folder).is_err() {
            break;
        }
    }
    text
}

fn write(out: &mut String, finding: &Finding, files: &Files, folder: &Path) -> std::fmt::Result {
    let Origin { file, line, column } = &finding.origin;
    writeln!(out, "{}[{}]: {}", finding.severity.as_str(), finding.code, finding.message)?;
    let path = printable(&folder.join(file).to_string_lossy());
    let number = line.to_string();
    let blank = " ".repeat(number.len());
    writeln!(out, "{blank}--> {path}:{line}:{column}")?;
    if let Some(source) = line_of(files, file, *line) {
        let (shown, skipped) = excerpt(source, *column, finding.width);
        let carets = usize::try_from(finding.width).unwrap_or(1).clamp(1, SHOWN - skipped.min(SHOWN - 1));
        writeln!(out, "{blank} |")?;
        writeln!(out, "{number} | {shown}")?;
        writeln!(out, "{blank} | {}{}", " ".repeat(skipped), "^".repeat(carets))?;
    }
    if let Some(help) = &finding.help {
        writeln!(out, "{blank} = help: {help}")?;
    }
    writeln!(out)
}

/// Characters of a line that are shown.
const SHOWN: usize = 160;

fn line_of<'a>(files: &'a Files, file: &str, line: u32) -> Option<&'a str> {
    let text = std::str::from_utf8(files.get(file)?).ok()?;
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    text.lines().nth(line).filter(|line| !line.trim().is_empty())
}

/// The line, each character that steers a terminal as `?`, cut around the column if it is long; and how many
/// characters stand before the column.
fn excerpt(line: &str, column: u32, width: u32) -> (String, usize) {
    let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let width = usize::try_from(width).unwrap_or(1);
    let start = if column + width <= SHOWN { 0 } else { column.saturating_sub(SHOWN / 4) };
    let plain = |c: char| if steers(c) { '?' } else { c };
    let shown = line.chars().map(|c| if c == '\t' { ' ' } else { c });
    (shown.skip(start).take(SHOWN).map(plain).collect(), column - start)
}
