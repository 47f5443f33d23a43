//! From `toml_edit`'s lossless document to the [`Tree`]: whose comment is whose.

use toml_edit::{Array, Decor, Document, InlineTable, Item as Node, Key, RawString, Table, TomlError, Value as Raw};

use super::tree::{Entry, Inline, Item, Line, List, Part, Piece, Section, Tree, Value, blank};

/// Reads a file.
pub(super) fn tree(text: &str) -> Result<Tree, TomlError> {
    let document = Document::parse(text)?.into_mut();
    let mut tables = Vec::new();
    headers(document.as_table(), &mut Vec::new(), false, &mut tables);
    tables.sort_by_key(|(position, header)| (!header.path.is_empty(), *position));
    let mut sections: Vec<_> = tables.into_iter().map(|(_, header)| section(&header)).collect();
    if sections.first().is_none_or(|first| !first.path.is_empty()) {
        sections.insert(0, Section::default());
    }
    Ok(Tree { sections, below: lines(raw(Some(document.trailing()))) })
}

/// A table that has a header, or is the root.
struct Header<'a> {
    table: &'a Table,
    path: Vec<&'a Key>,
    many: bool,
}

fn headers<'a>(table: &'a Table, path: &mut Vec<&'a Key>, many: bool, found: &mut Vec<(isize, Header<'a>)>) {
    let unwritten = table.is_dotted() || (table.is_implicit() && table.get_values().is_empty());
    if !unwritten {
        found.push((table.position().unwrap_or_default(), Header { table, path: path.clone(), many }));
    }
    for (name, node) in table.iter() {
        let Some(key) = table.key(name) else { continue };
        path.push(key);
        match node {
            Node::Table(below) => headers(below, path, false, found),
            Node::ArrayOfTables(list) => list.iter().for_each(|below| headers(below, path, true, found)),
            Node::None | Node::Value(_) => {}
        }
        path.pop();
    }
}

fn section(header: &Header<'_>) -> Section {
    let decor = header.table.decor();
    let mut pieces = Vec::new();
    for (path, value) in header.table.get_values() {
        let (note, above) = parted(lines(prefix(path.last().map(|key| key.leaf_decor()))));
        pieces.extend(note.map(Piece::Note));
        let (beside, _) = comment(suffix(value.decor()));
        pieces.push(Piece::Entry(Entry { above, path: parts(&path), value: value_of(value), beside }));
    }
    Section {
        path: parts(&header.path),
        many: header.many,
        above: lines(prefix(Some(decor))),
        beside: comment(suffix(decor)).0,
        pieces,
    }
}

/// Divides the lines above a key: comments with a blank line below them belong to no key.
fn parted(mut above: Vec<Line>) -> (Option<Vec<Line>>, Vec<Line>) {
    let last = above.iter().rposition(|line| *line == Line::Blank);
    match last {
        Some(last) if !blank(above.get(..last).unwrap_or_default()) => {
            let own = above.split_off(last + 1);
            above.truncate(last);
            (Some(above), own)
        }
        Some(_) | None => (None, above),
    }
}

fn parts(path: &[&Key]) -> Vec<Part> {
    path.iter().map(|key| Part { name: key.get().to_owned(), text: key_text(key) }).collect()
}

fn value_of(value: &Raw) -> Value {
    let written =
        |raw: Option<&RawString>, default: String| raw.and_then(RawString::as_str).map_or(default, Into::into);
    match value {
        Raw::String(text) => {
            let repr = written(text.as_repr().map(|it| it.as_raw()), text.display_repr().into_owned());
            Value::Scalar(string(&repr, text.value()))
        }
        Raw::Integer(number) => Value::Scalar(number.display_repr().into_owned()),
        Raw::Float(number) => Value::Scalar(number.display_repr().into_owned()),
        Raw::Boolean(truth) => Value::Scalar(truth.display_repr().into_owned()),
        Raw::Datetime(date) => Value::Scalar(datetime(&date.display_repr())),
        Raw::Array(array) => Value::List(list(array)),
        Raw::InlineTable(table) => Value::Table(inline(table)),
    }
}

fn list(array: &Array) -> List {
    let mut items: Vec<Item> = Vec::new();
    let mut waiting = Vec::new();
    for value in array {
        let above = behind(
            std::mem::take(&mut waiting),
            prefix(Some(value.decor())),
            items.last_mut().map(|it| &mut it.beside),
        );
        let (beside, rest) = comment(suffix(value.decor()));
        waiting = rest;
        items.push(Item { above, value: value_of(value), beside });
    }
    let below = behind(waiting, raw(Some(array.trailing())), items.last_mut().map(|it| &mut it.beside));
    List { items, below }
}

fn inline(table: &InlineTable) -> Inline {
    let mut entries: Vec<Entry> = Vec::new();
    let mut waiting = Vec::new();
    for (path, value) in table.get_values() {
        let before = prefix(path.last().map(|key| key.leaf_decor()));
        let above = behind(std::mem::take(&mut waiting), before, entries.last_mut().map(|it| &mut it.beside));
        let (beside, rest) = comment(suffix(value.decor()));
        waiting = rest;
        entries.push(Entry { above, path: parts(&path), value: value_of(value), beside });
    }
    let below = behind(waiting, raw(Some(table.trailing())), entries.last_mut().map(|it| &mut it.beside));
    Inline { entries, below }
}

/// What stands between a comma or bracket and the next value: a comment on the same line is the former value's, if
/// it has none yet.
fn behind(mut lines: Vec<Line>, text: &str, former: Option<&mut Option<String>>) -> Vec<Line> {
    let (beside, rest) = comment(text);
    match (beside, former) {
        (Some(comment), Some(former)) if former.is_none() && lines.is_empty() => *former = Some(comment),
        (Some(comment), _) => lines.push(Line::Comment(comment)),
        (None, _) => {}
    }
    lines.extend(rest);
    lines
}

/// The comment before the first line break, and the lines after it.
fn comment(text: &str) -> (Option<String>, Vec<Line>) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let first = first.trim_matches(BLANKS);
    ((!first.is_empty()).then(|| first.to_owned()), lines(rest))
}

/// Whole lines; what follows the last line break is indentation, or a comment at the end of the file.
fn lines(text: &str) -> Vec<Line> {
    let mut pieces: Vec<_> = text.split('\n').map(|line| line.trim_matches(BLANKS)).collect();
    pieces.pop_if(|last| last.is_empty());
    let line = |text: &str| if text.is_empty() { Line::Blank } else { Line::Comment(text.to_owned()) };
    let mut lines: Vec<_> = pieces.into_iter().map(line).collect();
    lines.dedup_by(|a, b| *a == Line::Blank && *b == Line::Blank);
    lines
}

const BLANKS: [char; 3] = [' ', '\t', '\r'];

fn prefix(decor: Option<&Decor>) -> &str {
    raw(decor.and_then(Decor::prefix))
}

fn suffix(decor: &Decor) -> &str {
    raw(decor.suffix())
}

fn raw(text: Option<&RawString>) -> &str {
    text.and_then(RawString::as_str).unwrap_or_default()
}

/// Bare where it can be; a literal key in double quotes where that takes no escape.
fn key_text(key: &Key) -> String {
    let name = key.get();
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !name.is_empty() && name.bytes().all(bare) {
        return name.to_owned();
    }
    string(&key.display_repr(), name)
}

/// In double quotes, if that takes no escape; what is in double quotes already, or holds a line break, stays as it
/// is written, since `\u202e` and the character that it stands for do not look the same.
fn string(written: &str, value: &str) -> String {
    let plain = |c: char| c != '"' && c != '\\' && (c == '\t' || !c.is_control());
    let basic = written.starts_with('"') && !written.starts_with("\"\"\"");
    if basic || !value.chars().all(plain) { written.to_owned() } else { format!("\"{value}\"") }
}

/// RFC 3339 with `T` and `Z`; TOML allows a blank and lower case as well.
fn datetime(written: &str) -> String {
    let separated = |(at, c): (usize, char)| if at == DATE && matches!(c, ' ' | 't') { 'T' } else { c };
    let text: String = written.chars().enumerate().map(separated).collect();
    text.strip_suffix('z').map(|text| format!("{text}Z")).unwrap_or(text)
}

/// `2026-04-01`.
const DATE: usize = 10;
