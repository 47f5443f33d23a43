//! From the [`Tree`] to text: blanks, line breaks and columns are given here alone.

use super::tree::{Entry, Inline, Item, Line, List, Part, Piece, Section, Tree, Value};

/// The width in which a list has to fit to stay in one line, in characters, without the comment beside it.
pub(super) const WIDTH: usize = 120;

/// The column, from 0, at which a comment beside something stands, if that is not too long.
const COMMENTS: usize = 37;

/// The blanks before a comment that finds its column taken.
const GAP: usize = 3;

const INDENT: usize = 2;

/// Writes a file.
pub(super) fn print(tree: &Tree) -> String {
    let mut printer = Printer::default();
    for section in &tree.sections {
        printer.section(section);
    }
    printer.fresh = false;
    printer.lines(&tree.below, 0);
    let text = printer.out.trim_end_matches('\n');
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

#[derive(Default)]
struct Printer {
    out: String,
    /// Nothing stands below the last header yet.
    fresh: bool,
}

impl Printer {
    fn section(&mut self, section: &Section) {
        if !section.path.is_empty() {
            self.header(section);
        }
        for piece in &section.pieces {
            match piece {
                Piece::Note(lines) => {
                    self.lines(lines, 0);
                    self.blank();
                }
                Piece::Entry(entry) => {
                    self.above(&entry.above, 0);
                    self.entry(entry, 0, 0);
                    self.beside(entry.beside.as_deref());
                    self.end();
                }
            }
        }
    }

    /// A blank line, what stands at the end of the table before, a blank line, the header's own comment, the header.
    fn header(&mut self, section: &Section) {
        self.fresh = false;
        let own = section.above.iter().rposition(|line| *line == Line::Blank).map_or(0, |blank| blank + 1);
        let (before, own) = section.above.split_at(own);
        self.lines(before, 0);
        self.blank();
        self.lines(own, 0);
        let (open, close) = if section.many { ("[[", "]]") } else { ("[", "]") };
        self.out.push_str(&format!("{open}{}{close}", dotted(&section.path)));
        self.beside(section.beside.as_deref());
        self.end();
        self.fresh = true;
    }

    /// The lines above a key: a blank line stays where a comment follows.
    fn above(&mut self, lines: &[Line], indent: usize) {
        if !super::tree::blank(lines) {
            self.lines(lines, indent);
        }
    }

    fn lines(&mut self, lines: &[Line], indent: usize) {
        for line in lines {
            match line {
                Line::Blank => self.blank(),
                Line::Comment(text) => {
                    self.indent(indent);
                    self.out.push_str(text);
                    self.end();
                }
            }
        }
    }

    /// One blank line, unless there is one already or nothing to part.
    fn blank(&mut self) {
        if !(self.fresh || self.out.is_empty() || self.out.ends_with("\n\n")) {
            self.out.push('\n');
        }
    }

    fn end(&mut self) {
        self.out.push('\n');
        self.fresh = false;
    }

    fn indent(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    fn beside(&mut self, comment: Option<&str>) {
        let Some(comment) = comment else { return };
        let column = self.column();
        self.indent(if column < COMMENTS { COMMENTS - column } else { GAP });
        self.out.push_str(comment);
    }

    /// Characters in the line so far.
    fn column(&self) -> usize {
        self.out.rsplit('\n').next().unwrap_or_default().chars().count()
    }

    fn entry(&mut self, entry: &Entry, indent: usize, after: usize) {
        self.out.push_str(&dotted(&entry.path));
        self.out.push_str(" = ");
        self.value(&entry.value, indent, after);
    }

    /// A value; `after` characters will follow it in its last line.
    fn value(&mut self, value: &Value, indent: usize, after: usize) {
        let flat = flat(value).filter(|text| match value {
            Value::List(list) => self.fits(list, text, after),
            Value::Scalar(_) | Value::Table(_) => true,
        });
        match (flat, value) {
            (Some(text), _) => self.out.push_str(&text),
            (None, Value::List(list)) => self.list(list, indent),
            (None, Value::Table(table)) => self.table(table, indent),
            (None, Value::Scalar(text)) => self.out.push_str(text),
        }
    }

    /// Whether a list stays in one line: it is short, has at most one table and no text of several lines.
    fn fits(&self, list: &List, text: &str, after: usize) -> bool {
        let tables = list.items.iter().filter(|item| matches!(item.value, Value::Table(_))).count();
        list.items.is_empty()
            || (tables < 2 && !text.contains('\n') && self.column() + text.chars().count() + after <= WIDTH)
    }

    fn list(&mut self, list: &List, indent: usize) {
        self.open('[');
        for item in &list.items {
            self.lines(&item.above, indent + INDENT);
            self.indent(indent + INDENT);
            self.value(&item.value, indent + INDENT, 1);
            self.out.push(',');
            self.beside(item.beside.as_deref());
            self.end();
        }
        self.close(&list.below, indent, ']');
    }

    fn table(&mut self, table: &Inline, indent: usize) {
        self.open('{');
        for entry in &table.entries {
            self.above(&entry.above, indent + INDENT);
            self.indent(indent + INDENT);
            self.entry(entry, indent + INDENT, 1);
            self.out.push(',');
            self.beside(entry.beside.as_deref());
            self.end();
        }
        self.close(&table.below, indent, '}');
    }

    fn open(&mut self, bracket: char) {
        self.out.push(bracket);
        self.end();
        self.fresh = true;
    }

    fn close(&mut self, below: &[Line], indent: usize, bracket: char) {
        let end = below.iter().rposition(|line| *line != Line::Blank).map_or(0, |last| last + 1);
        self.lines(below.get(..end).unwrap_or_default(), indent + INDENT);
        self.indent(indent);
        self.out.push(bracket);
        self.fresh = false;
    }
}

/// A value in one line, if no comment stands in it.
fn flat(value: &Value) -> Option<String> {
    if !value.is_bare() {
        return None;
    }
    Some(match value {
        Value::Scalar(text) => text.clone(),
        Value::List(list) => format!("[{}]", joined(&list.items, |Item { value, .. }| flat(value))?),
        Value::Table(table) if table.entries.is_empty() => "{}".to_owned(),
        Value::Table(table) => {
            let entry = |entry: &Entry| Some(format!("{} = {}", dotted(&entry.path), flat(&entry.value)?));
            format!("{{ {} }}", joined(&table.entries, entry)?)
        }
    })
}

fn joined<T>(list: &[T], text: impl Fn(&T) -> Option<String>) -> Option<String> {
    Some(list.iter().map(text).collect::<Option<Vec<_>>>()?.join(", "))
}

fn dotted(path: &[Part]) -> String {
    path.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(".")
}
