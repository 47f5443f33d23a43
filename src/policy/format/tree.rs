//! A file as tables, keys, values and comments, without the blanks between them.

/// A file.
#[derive(Debug)]
pub(super) struct Tree {
    /// The root, which has no header, then every table in the order in which the headers stand.
    pub(super) sections: Vec<Section>,
    /// What stands below the last key.
    pub(super) below: Vec<Line>,
}

/// A line without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Blank,
    /// From its `#` on.
    Comment(String),
}

/// A table: its header and what stands below it.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// Empty for the root.
    pub(super) path: Vec<Part>,
    /// `[[…]]` and not `[…]`.
    pub(super) many: bool,
    /// The lines above the header.
    pub(super) above: Vec<Line>,
    /// The comment on the header's line.
    pub(super) beside: Option<String>,
    pub(super) pieces: Vec<Piece>,
}

/// One part of a key or header.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// What it means.
    pub(super) name: String,
    /// How it is written.
    pub(super) text: String,
}

/// What a table holds.
#[derive(Debug)]
pub(super) enum Piece {
    /// Comments that belong to no key: a blank line follows.
    Note(Vec<Line>),
    Entry(Entry),
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    /// The lines above it that belong to it.
    pub(super) above: Vec<Line>,
    /// More than one part where the key is dotted.
    pub(super) path: Vec<Part>,
    pub(super) value: Value,
    /// The comment on its last line.
    pub(super) beside: Option<String>,
}

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    /// As it is to be written.
    Scalar(String),
    List(List),
    Table(Inline),
}

/// `[…]`.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) items: Vec<Item>,
    /// The lines between the last item and the bracket.
    pub(super) below: Vec<Line>,
}

/// One value of a list.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) above: Vec<Line>,
    pub(super) value: Value,
    pub(super) beside: Option<String>,
}

/// `{…}`.
#[derive(Debug, Default)]
pub(super) struct Inline {
    pub(super) entries: Vec<Entry>,
    pub(super) below: Vec<Line>,
}

impl Section {
    /// The names in the header.
    pub(super) fn names(&self) -> Vec<&str> {
        self.path.iter().map(|part| part.name.as_str()).collect()
    }

    /// Whether no comment stands in it or at its header.
    pub(super) fn is_bare(&self) -> bool {
        let bare = |piece: &Piece| matches!(piece, Piece::Entry(entry) if entry.is_bare());
        blank(&self.above) && self.beside.is_none() && self.pieces.iter().all(bare)
    }
}

impl Entry {
    /// Whether no comment stands above, beside or inside it.
    pub(super) fn is_bare(&self) -> bool {
        blank(&self.above) && self.beside.is_none() && self.value.is_bare()
    }
}

impl Value {
    /// Whether no comment stands inside it.
    pub(super) fn is_bare(&self) -> bool {
        match self {
            Self::Scalar(_) => true,
            Self::List(list) => {
                let bare = |item: &Item| blank(&item.above) && item.beside.is_none() && item.value.is_bare();
                blank(&list.below) && list.items.iter().all(bare)
            }
            Self::Table(table) => table.is_bare(),
        }
    }
}

impl Inline {
    /// Whether no comment stands inside it.
    pub(super) fn is_bare(&self) -> bool {
        blank(&self.below) && self.entries.iter().all(Entry::is_bare)
    }
}

/// Whether there is no comment among the lines.
pub(super) fn blank(lines: &[Line]) -> bool {
    lines.iter().all(|line| *line == Line::Blank)
}
