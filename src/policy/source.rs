//! The definition's files as bytes, and where in them something stands.

use std::collections::BTreeMap;
use std::ops::Range;

use super::model::Origin;

/// The files of a definition: path relative to its folder, with `/` between the parts, and content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// No files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a file.
    pub fn insert(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), content.into());
    }

    /// Takes a file away.
    pub fn remove(&mut self, path: &str) -> Option<Vec<u8>> {
        self.0.remove(path)
    }

    /// A file's content.
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(Vec::as_slice)
    }

    /// All files, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(path, content)| (path.as_str(), content.as_slice()))
    }
}

/// A file's text with the starts of its lines, so that an offset becomes a line and a column at once.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: String,
    text: String,
    starts: Vec<usize>,
    ascii: bool,
}

impl Source {
    pub(super) fn new(file: &str, text: String) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.to_owned(), ascii: text.is_ascii(), text, starts }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where a span of octets stands.
    pub(super) fn mark(&self, span: Range<usize>) -> Mark {
        let line = self.starts.partition_point(|&start| start <= span.start).saturating_sub(1);
        let start = self.starts.get(line).copied().unwrap_or(0);
        let end = self.starts.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let origin = Origin {
            file: self.file.clone(),
            line: count(line + 1),
            column: count(self.characters(start..span.start) + 1),
        };
        Mark { origin, width: count(self.characters(span.start..span.end.min(end)).max(1)) }
    }

    fn characters(&self, range: Range<usize>) -> usize {
        if self.ascii {
            return range.len();
        }
        self.text.get(range.clone()).map_or(range.len(), |text| text.chars().count())
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A place and how many characters of its line it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) origin: Origin,
    pub(super) width: u32,
}

impl Mark {
    /// The beginning of a file, for what is missing from it.
    pub(super) fn file(file: &str) -> Self {
        Self { origin: Origin { file: file.to_owned(), line: 1, column: 1 }, width: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_count_from_one() {
        let source = Source::new("a.toml", "é = 1\nü = \"x\"\n".into());
        let at = source.text().find("\"x\"").expect("it is there");
        let mark = source.mark(at..at + 3);
        assert_eq!((mark.origin.line, mark.origin.column, mark.width), (2, 5, 3));
        let beyond = source.mark(1000..1001);
        assert_eq!(beyond.origin.line, 3);
    }
}
