//! One form for every file of a definition: `turnpike policy fmt`.
//!
//! ```text
//!  text ─ read ─▶ Tree ─ shape ─▶ Tree ─ print ─▶ text
//!   toml_edit      tables, keys,    headers, lines,     blanks, breaks,
//!                  whose comment    order of keys       columns
//! ```
//!
//! **Moved**: keys, into the order in which FORMAT lists them, each with the comments directly above and beside it;
//! unknown keys come last, as they are written. Tables that FORMAT writes with a header (`[[hub]]`) get one, those that
//! it writes in one line (`segment`, `uplinks`) come into one, unless a comment stands inside of them.
//!
//! **Not moved**: tables, which people arrange (a department before its services); the items of lists, whose order
//! says what matters more, and which terms sort for themselves; a comment with a blank line below it, over which no key
//! moves either.
//!
//! **Written anew**: one blank line between tables and none between keys, except before a comment that had one; ` = `;
//! strings in double quotes where that takes no escape; lists in one line of at most 120 characters, else, or with two
//! tables or a comment in them, one item to a line; comments beside something from column 38 on, as FORMAT has them;
//! dates with `T` and `Z`; line feeds at line ends. Numbers, and strings that hold escapes or line breaks, stay as they
//! are written.
//!
//! What comes out means what went in, and is its own form; both are asked of every text again before it is handed on,
//! since a file that a council has signed for is at stake. `allotted.toml` is `allot`'s: it is only parsed.

mod order;
mod print;
mod read;
mod shape;
mod tree;

use super::document;
use super::finding::{Code, Finding, Report};
use super::kind::Kind;
use super::source::Source;

/// Why a file is not formatted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It is not UTF-8 or not TOML: every fault with its place.
    #[error("the file is not TOML")]
    Syntax(Vec<Finding>),
    /// A fault of ours: the result would say something else, or would be formatted otherwise again.
    #[error("the formatted text would not say the same")]
    Unsafe,
}

/// A file of a definition in its one form. `path` is relative to the definition's folder; a path that belongs to no
/// kind of file is taken for a file whose tables tell its kind.
///
/// # Errors
/// [`FormatError::Syntax`] where the file is not TOML, [`FormatError::Unsafe`] where turnpike has a fault.
pub fn format(path: &str, octets: &[u8]) -> Result<String, FormatError> {
    let mut report = Report::default();
    let source = document::source(path, octets, &mut report).filter(|source| document::is_toml(source, &mut report));
    let Some(source) = source else { return Err(FormatError::Syntax(report.into_findings())) };
    let table: toml::Table =
        toml::from_str(source.text()).map_err(|error| refused(&source, error.message(), error.span()))?;
    if Kind::of(path).or_else(|| guess(&table)) == Some(Kind::Allotted) {
        return Ok(source.text().to_owned());
    }
    let formatted = once(&source)?;
    let again = once(&Source::new(path, formatted.clone())).map_err(|_| FormatError::Unsafe)?;
    let meant: toml::Table = toml::from_str(&formatted).map_err(|_| FormatError::Unsafe)?;
    // A comment that is lost takes its sign with it. Values are compared as they print, for NaN equals nothing.
    let signs = |text: &str| text.matches('#').count();
    let same = format!("{table:?}") == format!("{meant:?}") && signs(source.text()) == signs(&formatted);
    if same && again == formatted { Ok(formatted) } else { Err(FormatError::Unsafe) }
}

fn once(source: &Source) -> Result<String, FormatError> {
    let mut tree = read::tree(source.text()).map_err(|error| refused(source, error.message(), error.span()))?;
    shape::shape(&mut tree);
    Ok(print::print(&tree))
}

fn refused(source: &Source, message: &str, span: Option<std::ops::Range<usize>>) -> FormatError {
    let mut report = Report::default();
    report.error(source.mark(span.unwrap_or(0..1)), Code::Syntax, message);
    FormatError::Syntax(report.into_findings())
}

/// What kind of file has such tables; `None` where none of them is known.
///
/// ```
/// use turnpike::policy::{Kind, guess};
///
/// let table = "[[edge]]\nname = \"leeds-1\"\n".parse().expect("TOML");
/// assert_eq!(guess(&table), Some(Kind::Council));
/// ```
pub fn guess(root: &toml::Table) -> Option<Kind> {
    use toml::Value::{Integer, Table};
    let has = |keys: &[&str]| keys.iter().any(|key| root.contains_key(*key));
    let numbered = |value: &toml::Value| match value {
        Table(entries) => !entries.is_empty() && entries.values().all(|entry| matches!(entry, Integer(_))),
        _ => false,
    };
    let given = |value: &toml::Value| match value {
        Table(entries) => entries.values().any(|entry| entry.get("number").is_some()),
        _ => false,
    };
    match () {
        () if has(&["link", "management"]) => Some(Kind::Allotted),
        () if root.get("department").is_some_and(given) => Some(Kind::Allotted),
        () if ["council", "service", "agreement"].iter().any(|key| root.get(*key).is_some_and(numbered)) => {
            Some(Kind::Allotted)
        }
        () if has(&["network", "controller", "hub", "class", "sla", "guardrail", "management-allow"]) => {
            Some(Kind::Network)
        }
        () if has(&["agreement"]) => Some(Kind::Agreement),
        () if has(&["test", "as_of"]) => Some(Kind::Tests),
        () if has(&["council", "edge", "department", "service"]) => Some(Kind::Council),
        () => None,
    }
}

#[cfg(test)]
mod tests;
