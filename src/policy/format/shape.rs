//! What has a header gets one, what FORMAT writes in one line comes into one line, keys come into FORMAT's order.
//!
//! A comment is never parted from what it stands at: where one stands inside of what would have to be taken apart,
//! that stays as it is written.

use super::order;
use super::tree::{Entry, Inline, Item, List, Part, Piece, Section, Tree, Value};

/// Brings the tree into shape.
pub(super) fn shape(tree: &mut Tree) {
    give_headers(&mut tree.sections);
    fold(&mut tree.sections);
    for section in &mut tree.sections {
        let path: Vec<String> = section.path.iter().map(|part| part.name.clone()).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        undot(section, &path);
        sort(&mut section.pieces, &path);
    }
}

/// `hub = [{ … }]` becomes `[[hub]]`, `network = { … }` and `network.name = …` become `[network]`; they stand where
/// the table in which they stood ends.
fn give_headers(sections: &mut Vec<Section>) {
    let mut at = 0;
    while at < sections.len() {
        let Some(section) = sections.get_mut(at) else { return };
        let mut made: Vec<Section> = Vec::new();
        let mut kept = Vec::new();
        for piece in std::mem::take(&mut section.pieces) {
            match piece {
                Piece::Entry(entry) if deserves_header(section, &entry) => add(section, entry, &mut made),
                Piece::Entry(_) | Piece::Note(_) => kept.push(piece),
            }
        }
        section.pieces = kept;
        sections.splice(at + 1..at + 1, made);
        at += 1;
    }
}

fn deserves_header(section: &Section, entry: &Entry) -> bool {
    let mut path = section.names();
    let Some(first) = entry.path.first() else { return false };
    path.push(&first.name);
    if !order::has_header(&path) {
        return false;
    }
    let table = |item: &Item| matches!(item.value, Value::Table(_));
    match &entry.value {
        _ if entry.path.len() > 1 => section.path.is_empty(),
        Value::Table(_) => entry.value.is_bare(),
        Value::List(list) => !list.items.is_empty() && list.items.iter().all(table) && entry.value.is_bare(),
        Value::Scalar(_) => false,
    }
}

/// Adds the tables that an entry becomes, or its key to the one that its dotted siblings became.
fn add(parent: &Section, mut entry: Entry, made: &mut Vec<Section>) {
    let rest = entry.path.split_off(1);
    let path: Vec<Part> = parent.path.iter().cloned().chain(entry.path).collect();
    if !rest.is_empty() {
        let same = |section: &&mut Section| section.path.last().map(|it| &it.name) == path.last().map(|it| &it.name);
        let dotted = Entry { path: rest, ..entry };
        match made.iter_mut().find(same) {
            Some(section) => section.pieces.push(Piece::Entry(dotted)),
            None => made.push(Section { path, pieces: vec![Piece::Entry(dotted)], ..Section::default() }),
        }
        return;
    }
    let (tables, many) = match entry.value {
        Value::Table(table) => (vec![table], false),
        Value::List(list) => (list.items.into_iter().filter_map(table_of).collect(), true),
        Value::Scalar(_) => (Vec::new(), false),
    };
    let first = made.len();
    let section = |table: Inline| Section {
        path: path.clone(),
        many,
        pieces: table.entries.into_iter().map(Piece::Entry).collect(),
        ..Section::default()
    };
    made.extend(tables.into_iter().map(section));
    if let Some(section) = made.get_mut(first) {
        section.above = entry.above;
        section.beside = entry.beside;
    }
}

fn table_of(item: Item) -> Option<Inline> {
    match item.value {
        Value::Table(table) => Some(table),
        Value::Scalar(_) | Value::List(_) => None,
    }
}

/// `[[edge.uplinks]]` and `[department.segment]` become a line of the table to which they belong.
fn fold(sections: &mut Vec<Section>) {
    for (parent, key) in order::inline() {
        let mut at = 0;
        while at < sections.len() {
            if sections.get(at).is_some_and(|section| section.names() == [parent]) {
                fold_into(sections, at, [parent, key]);
            }
            at += 1;
        }
    }
}

fn fold_into(sections: &mut Vec<Section>, at: usize, path: [&str; 2]) {
    let next = sections.iter().skip(at + 1).position(|section| section.names() == [path[0]]);
    let end = next.map_or(sections.len(), |next| at + 1 + next);
    let below = sections.get(at + 1..end).unwrap_or_default();
    let (own, deeper): (Vec<_>, Vec<_>) = below
        .iter()
        .enumerate()
        .filter(|(_, it)| it.names().starts_with(&path))
        .partition(|(_, it)| it.names() == path);
    if own.is_empty() || !deeper.is_empty() || !own.iter().all(|(_, section)| section.is_bare()) {
        return;
    }
    let places: Vec<usize> = own.iter().map(|(place, _)| at + 1 + place).collect();
    let mut folded: Vec<Section> = places.iter().rev().map(|&place| sections.remove(place)).collect();
    folded.reverse();
    if let (Some(section), Some(entry)) = (sections.get_mut(at), folded_entry(folded)) {
        section.pieces.push(Piece::Entry(entry));
    }
}

fn folded_entry(folded: Vec<Section>) -> Option<Entry> {
    let (last, many) = folded.first().map(|section| (section.path.last().cloned(), section.many))?;
    let mut tables: Vec<Value> = folded.into_iter().map(|section| Value::Table(inline_of(section.pieces))).collect();
    let value = if many {
        let item = |value| Item { above: Vec::new(), value, beside: None };
        Value::List(List { items: tables.into_iter().map(item).collect(), below: Vec::new() })
    } else {
        tables.pop()?
    };
    Some(Entry { above: Vec::new(), path: vec![last?], value, beside: None })
}

fn inline_of(pieces: Vec<Piece>) -> Inline {
    let plain = |entry| Entry { above: Vec::new(), ..entry };
    Inline { entries: pieces.into_iter().filter_map(entry_of).map(plain).collect(), below: Vec::new() }
}

/// `segment.device = "eth1"` becomes `segment = { device = "eth1" }`.
fn undot(section: &mut Section, path: &[&str]) {
    for (_, key) in order::inline().filter(|(parent, _)| path == [*parent]) {
        let dotted = |piece: &Piece| match piece {
            Piece::Entry(entry) => entry.path.len() > 1 && entry.path.first().is_some_and(|part| part.name == key),
            Piece::Note(_) => false,
        };
        let bare = |piece: &Piece| matches!(piece, Piece::Entry(entry) if entry.is_bare());
        let all_bare = section.pieces.iter().filter(|piece| dotted(piece)).all(bare);
        let Some(first) = section.pieces.iter().position(dotted).filter(|_| all_bare) else { continue };
        let mut table = Inline::default();
        let mut part = None;
        for mut entry in section.pieces.extract_if(.., |piece| dotted(piece)).filter_map(entry_of) {
            let rest = entry.path.split_off(1);
            part = entry.path.pop();
            table.entries.push(Entry { path: rest, above: Vec::new(), ..entry });
        }
        let value = Value::Table(table);
        let path = part.into_iter().collect();
        section.pieces.insert(first, Piece::Entry(Entry { above: Vec::new(), path, value, beside: None }));
    }
}

fn entry_of(piece: Piece) -> Option<Entry> {
    match piece {
        Piece::Entry(entry) => Some(entry),
        Piece::Note(_) => None,
    }
}

/// Sorts the keys between two notes; no key moves over a note.
fn sort(pieces: &mut [Piece], table: &[&str]) {
    for run in pieces.split_mut(|piece| matches!(piece, Piece::Note(_))) {
        run.sort_by_key(|piece| match piece {
            Piece::Entry(entry) => rank(table, entry),
            Piece::Note(_) => 0,
        });
    }
    for piece in pieces {
        if let Piece::Entry(Entry { path, value, .. }) = piece
            && let [part] = path.as_slice()
        {
            let path: Vec<&str> = table.iter().copied().chain([part.name.as_str()]).collect();
            sort_inside(value, &path);
        }
    }
}

/// Sorts the keys of tables in one line.
fn sort_inside(value: &mut Value, path: &[&str]) {
    match value {
        Value::Scalar(_) => {}
        Value::List(list) => list.items.iter_mut().for_each(|item| sort_inside(&mut item.value, path)),
        Value::Table(table) if table.is_bare() => table.entries.sort_by_key(|entry| rank(path, entry)),
        Value::Table(_) => {}
    }
}

fn rank(table: &[&str], entry: &Entry) -> usize {
    entry.path.first().map_or(0, |part| order::rank(table, &part.name))
}
