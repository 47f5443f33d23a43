//! The closing table: every measure, every subject, and how turnpike stands.

use comfy_table::{Table, presets};

use crate::measure::{Against, Goal, Measure};
use crate::record::{Entry, Record, Standing};
use crate::statistics::extremes;
pub use crate::statistics::short;
use crate::subject::Subject;

/// Renders what was measured, one line per measure.
pub fn render(record: &Record) -> String {
    let mut table = Table::new();
    let head = ["measure", "unit"].into_iter().chain(Subject::ALL.map(Subject::name));
    table.load_style(presets::NOTHING).set_header(head.chain(["ratio", "goal", "reached"]));
    for measure in record.measures() {
        let standing = record.standing(measure);
        let mut row = vec![measure.name().to_owned(), measure.unit().to_owned()];
        row.extend(Subject::ALL.map(|subject| cell(record, measure, subject)));
        row.push(standing.as_ref().map(ratio).unwrap_or_default());
        row.push(measure.goal().map(goal).unwrap_or_default());
        row.push(verdict(standing.as_ref(), measure).to_owned());
        table.add_row(row);
    }
    format!("{}\n", table.trim_fmt())
}

/// All entries of the file as a table in Markdown: medians, for a README.
pub fn markdown(entries: &[Entry]) -> String {
    let names = Subject::ALL.map(Subject::name).join(" | ");
    let mut text = format!("| measure | unit | {names} |\n|---|---|{}\n", "---:|".repeat(Subject::ALL.len()));
    let known = |measure: Measure| entries.iter().filter(move |entry| entry.measure == measure.name());
    for measure in Measure::ALL.into_iter().filter(|measure| known(*measure).next().is_some()) {
        let cells = Subject::ALL.map(|subject| {
            let entry = known(measure).find(|entry| entry.subject == subject.name());
            entry.map_or_else(String::new, |entry| short(entry.median))
        });
        text.push_str(&format!("| `{}` | {} | {} |\n", measure.name(), measure.unit(), cells.join(" | ")));
    }
    text
}

/// A median with its extremes: `1.85 (1.80 to 1.92)`.
fn cell(record: &Record, measure: Measure, subject: Subject) -> String {
    let runs = record.runs(measure, subject);
    match (record.median(measure, subject), extremes(runs)) {
        (Some(median), Some((min, max))) if runs.len() > 1 => {
            format!("{} ({} to {})", short(median), short(min), short(max))
        }
        (Some(median), _) => short(median),
        (None, _) => "-".to_owned(),
    }
}

fn ratio(standing: &Standing) -> String {
    match (standing.ratio, standing.against) {
        (Some(ratio), Some(other)) => format!("{ratio:.2} x {other}"),
        (None, Some(other)) => format!("against {other}"),
        (_, None) => String::new(),
    }
}

fn goal(goal: Goal) -> String {
    let whom = |against: Against| match against {
        Against::Peer(subject) => subject.name(),
        Against::Best => "the best peer",
        Against::Itself(measure) => measure.name(),
    };
    match goal {
        Goal::AtMost(times, against) => format!("<= {times} x {}", whom(against)),
        Goal::AtLeast(times, against) => format!(">= {times} x {}", whom(against)),
        Goal::Least => "less than any peer".to_owned(),
        Goal::Within(most) => format!("<= {most}"),
    }
}

fn verdict(standing: Option<&Standing>, measure: Measure) -> &'static str {
    match standing {
        Some(Standing { reached: true, .. }) => "yes",
        Some(Standing { reached: false, .. }) => "NO",
        None if measure.goal().is_some() => "not compared",
        None => "",
    }
}
