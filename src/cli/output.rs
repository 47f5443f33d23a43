//! What commands write to stdout: text, tables and JSON, and quietly nothing more once the reader has gone.

use std::io::{ErrorKind, Write as _};

use comfy_table::{Table, presets};
use serde::Serialize;

use super::{Exit, Failure};
use crate::policy::steers;

/// Writes `text` to stdout. A reader that has gone, such as `head`, is no fault.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Unavailable, format!("cannot write to standard output: {error}"), ""))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a value to stdout as JSON, indented, with a line break at its end. What would steer a terminal is escaped, which to
/// a machine is the same.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(Exit::Internal, format!("cannot write JSON: {error}"), ""))?;
    print(&format!("{}\n", escaped(&text)))
}

/// JSON has no such character outside of strings but the line breaks that indent it, and escapes those within.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && steers(c) {
            out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// A table of left-aligned columns under their names, each line ended; empty without a row.
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head).add_rows(rows);
    if table.is_empty() { String::new() } else { format!("{}\n", table.trim_fmt()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_steers_no_terminal_and_says_the_same() {
        let hostile = serde_json::json!({"why": "\u{202e}gnp\u{7f}\u{85}\u{1b}[m\n\u{feff}é"});
        let text = serde_json::to_string_pretty(&hostile).expect("JSON");
        let told = escaped(&text);
        assert!(told.chars().all(|c| c == '\n' || !steers(c)), "{told}");
        assert!(told.contains("\\u202egnp\\u007f\\u0085") && told.contains('é'), "{told}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&told).expect("JSON"), hostile);
    }

    #[test]
    fn a_table_lines_up_and_has_no_blanks_at_line_ends() {
        let rows = [["hub-a".to_owned(), "3".to_owned()], ["b".to_owned(), "12".to_owned()]];
        assert_eq!(table(["gateway", "links"], rows), " gateway  links\n hub-a    3\n b        12\n");
        assert_eq!(table(["gateway"], []), "");
    }
}
