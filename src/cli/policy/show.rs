//! `turnpike policy show`: who reaches what, as a table or as a matrix.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::explain;
use crate::cli::{Exit, Failure, definition, output};
use crate::identity::{Id, Name};
use crate::policy::model::Model;
use crate::policy::{Reach, reach};

#[derive(Debug, Args)]
#[command(after_help = "Agreements that are not in force are not shown: `turnpike agreement list` has all.\n\n\
    Examples:\n  turnpike policy show examples/three-councils\n  \
    turnpike policy show . --council leeds --matrix\n  turnpike policy show . --at 2027-04-01T00:00:00Z --json")]
pub(super) struct Arguments {
    /// The definition's folder.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Only what this council's departments reach, and who reaches its services.
    #[arg(long, value_name = "NAME")]
    council: Option<Name>,
    /// Services as rows, departments as columns.
    #[arg(long, conflicts_with = "json")]
    matrix: bool,
    /// As of this time (RFC 3339, with offset) instead of now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Print the rows as a JSON array.
    #[arg(long)]
    json: bool,
}

/// One row.
#[derive(Serialize)]
struct Row {
    department: String,
    service: String,
    ports: Vec<String>,
    reaches: &'static str,
    agreements: Vec<String>,
    guardrails: Vec<String>,
    until: Option<String>,
}

/// Runs it.
///
/// # Errors
/// 1: the definition does not hold.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let model = definition::load(&arguments.dir, definition::instant(arguments.at))?.model;
    if let Some(council) = &arguments.council {
        explain::known_council(&model, council)?;
    }
    let concerned = |reach: &Reach| match &arguments.council {
        Some(council) => reach.department.council == *council || reach.service.council == *council,
        None => true,
    };
    let rows: Vec<Row> = reach(&model).iter().filter(|reach| concerned(reach)).map(|it| row(&model, it)).collect();
    if arguments.json {
        output::print_json(&rows)?;
    } else if rows.is_empty() {
        output::print("nobody reaches anything\n")?;
    } else if arguments.matrix {
        output::print(&matrix(&rows))?;
    } else {
        output::print(&table(&rows))?;
    }
    Ok(Exit::Fine)
}

fn row(model: &Model, reach: &Reach) -> Row {
    let service = model.services.iter().find(|service| service.name == reach.service);
    let texts = |ids: &BTreeSet<Id>| ids.iter().map(ToString::to_string).collect();
    let ends = |id: &Id| model.agreements.iter().find(|agreement| agreement.id == *id).map(|found| found.not_after);
    // As long as one of them goes on, so does the flow.
    let until: Option<Vec<Timestamp>> = reach.agreements.iter().filter_map(ends).collect();
    Row {
        department: reach.department.to_string(),
        service: reach.service.to_string(),
        ports: service.map(|service| service.ports.iter().map(ToString::to_string).collect()).unwrap_or_default(),
        reaches: match reach.passing {
            (0, _) => "nothing",
            (passing, all) if passing == all => "all",
            _ => "in part",
        },
        agreements: texts(&reach.agreements),
        guardrails: texts(&reach.guardrails),
        until: until.and_then(|ends| ends.into_iter().max()).map(|end| end.to_string()),
    }
}

fn table(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let until = row.until.clone().unwrap_or_else(|| "open".to_owned());
        let reaches = match row.guardrails.as_slice() {
            [] => row.reaches.to_owned(),
            guardrails => format!("{} ({})", row.reaches, guardrails.join(", ")),
        };
        let (department, service) = (row.department.clone(), row.service.clone());
        [department, service, row.ports.join(", "), reaches, row.agreements.join(", "), until]
    };
    output::table(["department", "service", "ports", "reaches", "by", "until"], rows.iter().map(line))
}

/// `●` all, `◐` in part, `○` granted but nothing passes, `·` nothing granted; with a legend.
fn matrix(rows: &[Row]) -> String {
    let departments: BTreeSet<&str> = rows.iter().map(|row| row.department.as_str()).collect();
    let services: BTreeSet<&str> = rows.iter().map(|row| row.service.as_str()).collect();
    let width = services.iter().map(|name| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (number, department) in (1..).zip(&departments) {
        text += &format!("{number:>4} = {department}\n");
    }
    text += &format!("\n{:width$}", "");
    for number in 1..=departments.len() {
        text += &format!("{number:>4}");
    }
    for service in &services {
        text += &format!("\n{service:width$}");
        for department in &departments {
            let found = rows.iter().find(|row| row.department == *department && row.service == *service);
            let mark = found.map_or('·', |row| match row.reaches {
                "all" => '●',
                "in part" => '◐',
                _ => '○',
            });
            text += &format!("   {mark}");
        }
    }
    text + "\n\n● all  ◐ in part  ○ granted, but a guardrail or an address family leaves nothing  · not granted\n"
}
