//! A difference for people: plain, and as Markdown.

use jiff::Timestamp;

use super::replay::Replayed;
use crate::cli::output;
use crate::policy::diff::{Diff, Row, Way, Window};
use crate::policy::{Origin, printable};

/// As a review tells of changed lines: `-` what is lost, `+` what is gained, `~` what leads to other machines.
pub(super) fn plain(diff: &Diff, start: Timestamp, replayed: Option<&Replayed>) -> String {
    let mut text = String::new();
    for row in &diff.rows {
        let sign = if row.way == Way::Lost { '-' } else { '+' };
        text += &format!("{sign} {} → {}  {}\n", consumers(row), service(row), row.flows);
        for detail in [when(row, start), by(row)].into_iter().flatten() {
            text += &format!("      {detail}\n");
        }
        for cause in &row.causes {
            text += &format!("    {}{}\n", printable(&cause.text), place(cause.origin.as_ref()));
        }
        text += &format!("      for instance {}\n", witness(row));
    }
    for moved in &diff.remapped {
        let (department, overlay) = (&moved.department, moved.overlay);
        let place = place(moved.origin.as_ref());
        text += &format!("~ {department} {overlay}: other machines, {} → {}{place}\n", moved.old, moved.new);
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text += &summary(diff);
    text.push('\n');
    if let Some(replayed) = replayed {
        text += &flows(replayed);
    }
    text
}

/// A table that a pull request shows, with what is long folded away.
pub(super) fn markdown(diff: &Diff, start: Timestamp, replayed: Option<&Replayed>) -> String {
    let mut text = format!("### Reachability: {}\n", summary(diff));
    for (way, title) in [(Way::Lost, "Lost"), (Way::Gained, "Gained")] {
        let rows: Vec<&Row> = diff.rows.iter().filter(|row| row.way == way).collect();
        if rows.is_empty() {
            continue;
        }
        let open = if rows.len() <= 20 { " open" } else { "" };
        text += &format!("\n<details{open}><summary><b>{title}</b> ({})</summary>\n\n", rows.len());
        text += "| who | reaches | flows | when | by | why |\n|---|---|---|---|---|---|\n";
        for row in rows {
            let causes: Vec<String> = row
                .causes
                .iter()
                .map(|cause| format!("{}{}", cell(&cause.text), place(cause.origin.as_ref())))
                .collect();
            let agreements: Vec<String> = row.by.iter().map(|by| by.agreement.to_string()).collect();
            let when = when(row, start).unwrap_or_default();
            text += &format!(
                "| {} | {} | {} | {} | {} | {} |\n",
                cell(&consumers(row)),
                cell(&service(row)),
                cell(&row.flows.to_string()),
                cell(&when),
                cell(&agreements.join(", ")),
                causes.join("<br>"),
            );
        }
        text += "\n</details>\n";
    }
    if !diff.remapped.is_empty() {
        text += "\n**Other machines behind the same overlay addresses**\n\n| department | overlay | before | now |\n|---|---|---|---|\n";
        for moved in &diff.remapped {
            text += &format!("| {} | {} | {} | {} |\n", moved.department, moved.overlay, moved.old, moved.new);
        }
    }
    if let Some(replayed) = replayed {
        text += &format!(
            "\n<details><summary><b>Recorded flows</b></summary>\n\n```\n{}```\n\n</details>\n",
            flows(replayed)
        );
    }
    text
}

/// One cell of a table of Markdown: nothing in it ends the cell or begins HTML.
fn cell(text: &str) -> String {
    printable(text).replace('&', "&amp;").replace('<', "&lt;").replace('|', "\\|")
}

fn summary(diff: &Diff) -> String {
    if diff.is_empty() {
        return "nobody gains or loses anything".to_owned();
    }
    let [gained, lost] = diff.counts();
    let (departments, services) = diff.concerned();
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    format!(
        "{gained} gained, {lost} lost, {} remapped; {} and {} concerned",
        diff.remapped.len(),
        plural(departments, "department"),
        plural(services, "service"),
    )
}

fn consumers(row: &Row) -> String {
    let told = row.from.iter().map(|consumer| {
        let part: Vec<String> = consumer.part.iter().map(|(first, last)| range(*first, *last)).collect();
        if part.is_empty() {
            consumer.department.to_string()
        } else {
            format!("{} ({})", consumer.department, part.join(", "))
        }
    });
    told.collect::<Vec<_>>().join(", ")
}

fn range(first: std::net::IpAddr, last: std::net::IpAddr) -> String {
    if first == last { first.to_string() } else { format!("{first} to {last}") }
}

fn service(row: &Row) -> String {
    let hosts: Vec<String> = row.hosts.iter().map(ToString::to_string).collect();
    if hosts.is_empty() { row.service.to_string() } else { format!("{} at {}", row.service, hosts.join(", ")) }
}

/// From when and until when; nothing for from now on.
fn when(row: &Row, start: Timestamp) -> Option<String> {
    let from = if row.window.from > start.as_second() { row.window.from } else { i64::MIN };
    let window = Window { from, ..row.window };
    let dates = (window != Window::ALWAYS).then(|| window.to_string());
    let hours = row.when.iter().map(|hours| hours.to_string());
    let all: Vec<String> = dates.into_iter().chain(hours).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

fn by(row: &Row) -> Option<String> {
    let all: Vec<String> = row.by.iter().map(|by| format!("{}{}", by.agreement, place(by.origin.as_ref()))).collect();
    (!all.is_empty()).then(|| format!("by {}", all.join(", ")))
}

fn witness(row: &Row) -> String {
    let (flow, at) = row.witness;
    format!("{} → {} {} at {at}", flow.source, flow.destination, flow.asks())
}

fn place(origin: Option<&Origin>) -> String {
    origin.map(|origin| format!(" ({}:{})", printable(&origin.file), origin.line)).unwrap_or_default()
}

fn flows(replayed: &Replayed) -> String {
    let rows = replayed.conversations.iter().map(|it| {
        let source = it.source_department.clone().unwrap_or_default();
        [
            it.becomes.to_owned(),
            source,
            it.source.to_string(),
            it.service.clone(),
            it.destination.to_string(),
            it.flow.clone(),
            it.agreement.clone().unwrap_or_default(),
            it.packets.to_string(),
            it.last_seen.to_string(),
        ]
    });
    let head = ["becomes", "department", "source", "service", "destination", "flow", "by", "packets", "last seen"];
    let mut text = output::table(head, rows);
    let Replayed { conversations, events, unreadable, incomplete } = replayed;
    let count = conversations.len();
    text += &format!("{count} recorded conversations are concerned, of {events} events\n");
    for (number, what) in [(unreadable, "lines are no events"), (incomplete, "events do not say who talked to whom")] {
        if *number > 0 {
            text += &format!("{number} {what}\n");
        }
    }
    text
}
