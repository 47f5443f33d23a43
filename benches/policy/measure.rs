//! Every measure: its name, its unit and what is to be reached; and what was measured.

use comfy_table::{Table, presets};
use serde_json::json;

use crate::statistics::{extremes, median, short};

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// A median of at most so much.
    Median(f64),
    /// No run above so much.
    Every(f64),
    /// A median of at least so much.
    AtLeast(f64),
    /// Nothing: it is measured to know it.
    Nothing,
}

/// Something that is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// Its name in the table and in JSON.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// What is to be reached.
    pub goal: Goal,
}

impl Measure {
    /// A measure with a goal.
    pub const fn new(name: &'static str, unit: &'static str, goal: Goal) -> Self {
        Self { name, unit, goal }
    }

    /// A measure that is good to know.
    pub const fn aside(name: &'static str, unit: &'static str) -> Self {
        Self::new(name, unit, Goal::Nothing)
    }

    /// `PASS` or `MISSED`; nothing without a goal.
    pub fn verdict(&self, runs: &[f64]) -> &'static str {
        let median = median(runs).unwrap_or(f64::NAN);
        let most = extremes(runs).map_or(f64::NAN, |(_, most)| most);
        let reached = match self.goal {
            Goal::Median(limit) => median <= limit,
            Goal::Every(limit) => most <= limit,
            Goal::AtLeast(limit) => median >= limit,
            Goal::Nothing => return "",
        };
        if reached { "PASS" } else { "MISSED" }
    }

    fn reach(&self) -> String {
        match self.goal {
            Goal::Median(limit) => format!("<= {limit}"),
            Goal::Every(limit) => format!("every <= {limit}"),
            Goal::AtLeast(limit) => format!(">= {limit}"),
            Goal::Nothing => String::new(),
        }
    }
}

/// What was measured, in the order in which it was begun.
#[derive(Clone, Debug, Default)]
pub struct Record(Vec<(Measure, Vec<f64>)>);

impl Record {
    /// Adds a run, and says so at once: whoever ends a long measurement early keeps what it found.
    pub fn add(&mut self, measure: Measure, value: f64) {
        eprintln!("  {}: {} {}", measure.name.trim_start(), short(value), measure.unit);
        match self.0.iter_mut().find(|(known, _)| known.name == measure.name) {
            Some((_, runs)) => runs.push(value),
            None => self.0.push((measure, vec![value])),
        }
    }

    /// Whether every goal of what was measured is reached.
    pub fn passed(&self) -> bool {
        self.0.iter().all(|(measure, runs)| measure.verdict(runs) != "MISSED")
    }

    /// A line for each measure.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["measure", "unit", "median", "min", "max", "runs", "reach", ""]);
        for (measure, runs) in &self.0 {
            let (least, most) = extremes(runs).unwrap_or_default();
            let middle = median(runs).unwrap_or_default();
            let mut row = vec![measure.name.to_owned(), measure.unit.to_owned()];
            row.extend([middle, least, most].map(short));
            row.extend([runs.len().to_string(), measure.reach(), measure.verdict(runs).to_owned()]);
            table.add_row(row);
        }
        table.trim_fmt()
    }

    /// The same for machines, with every run.
    pub fn json(&self) -> String {
        let entry = |(measure, runs): &(Measure, Vec<f64>)| {
            json!({
                "measure": measure.name, "unit": measure.unit, "median": median(runs), "runs": runs,
                "reach": measure.reach(), "verdict": measure.verdict(runs),
            })
        };
        serde_json::Value::Array(self.0.iter().map(entry).collect()).to_string()
    }
}
