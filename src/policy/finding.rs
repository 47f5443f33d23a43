//! What is wrong with a definition, or worth a word: place, cause, remedy.

use std::fmt;

use super::model::Origin;
use super::source::Mark;
use crate::identity::steers;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The definition is refused.
    Error,
    /// The definition holds, but something in it has no effect.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal),+ $(,)?) => {
        /// The cause of a finding, stable for machines.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $variant),+ }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As it is printed: lower-case words and dashes.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

codes! {
    /// Not TOML.
    Syntax = "syntax",
    /// Not UTF-8.
    NotUtf8 = "not-utf-8",
    /// Larger than a file of the definition may be.
    TooLarge = "too-large",
    /// A symlink, device or other thing that is no plain file or folder.
    NotPlain = "not-a-plain-file",
    /// A file that must be there is not.
    MissingFile = "missing-file",
    /// A file's name and its content disagree, or the name is not allowed.
    FileName = "file-name",
    /// A key that the format does not know.
    UnknownKey = "unknown-key",
    /// A key that the format asks for.
    MissingKey = "missing-key",
    /// A value of another type than the format asks for.
    WrongType = "wrong-type",
    /// A value that is not one of those allowed.
    BadValue = "bad-value",
    /// A list that must not be empty.
    Empty = "empty",
    /// Not a name.
    BadName = "bad-name",
    /// Not an id.
    BadId = "bad-id",
    /// Not a prefix.
    BadPrefix = "bad-prefix",
    /// A prefix with host bits.
    HostBits = "host-bits",
    /// Not an address, or not one that can be used here.
    BadAddress = "bad-address",
    /// Not a URL.
    BadUrl = "bad-url",
    /// Not a protocol and port.
    BadPort = "bad-port",
    /// Not a duration.
    BadDuration = "bad-duration",
    /// Not a date with an offset, or dates in the wrong order.
    BadDate = "bad-date",
    /// Not hours.
    BadHours = "bad-hours",
    /// Not a time zone of the database.
    BadZone = "bad-zone",
    /// Not a key or signature.
    BadKey = "bad-key",
    /// Not a hash.
    BadHash = "bad-hash",
    /// Not a device's name.
    BadDevice = "bad-device",
    /// Two address families where one is asked for, or one that lacks its partner.
    Family = "family",
    /// The same thing twice.
    Duplicate = "duplicate",
    /// A name that leads nowhere.
    UnknownName = "unknown-name",
    /// Something stands where it may not.
    Placement = "placement",
    /// Two prefixes share addresses, or two windows of hours a time.
    Overlap = "overlap",
    /// A prefix or address lies outside of where it must lie.
    Outside = "outside",
    /// Real and overlay prefix differ in length.
    UnequalLength = "unequal-length",
    /// Numbers or prefixes have not been given out.
    NotAllotted = "not-allotted",
    /// No number, address or prefix is left.
    Exhausted = "exhausted",
    /// A council has not consented, or its consent does not hold.
    ConsentMissing = "consent-missing",
    /// A consent that does not count.
    ConsentVoid = "consent-void",
    /// A notice that is not what its council signed, or out of order.
    BadNotice = "bad-notice",
    /// A notice that does not count.
    NoticeVoid = "notice-void",
    /// An agreement that rests.
    Suspended = "suspended",
    /// An agreement whose terms a council has refused.
    Refused = "refused",
    /// An agreement whose terms a council has revoked.
    Revoked = "revoked",
    /// An agreement that begins later.
    NotYet = "not-yet",
    /// An agreement that has ended.
    Ended = "ended",
    /// Something that this version cannot enforce.
    Unsupported = "unsupported",
    /// Something without effect.
    Useless = "useless",
    /// An agreement that lets a department reach what another one lets it reach already.
    Twice = "agreed-twice",
    /// An agreement of which guardrails leave nothing.
    Guarded = "guarded",
    /// More than a gateway's kernel can hold.
    TooMany = "too-many",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// Its cause, for machines.
    pub code: Code,
    /// Where.
    pub origin: Origin,
    /// How many characters of the line it concerns, at least 1.
    pub width: u32,
    /// Its cause, for people. Holds no control characters.
    pub message: String,
    /// What to do, where something can be advised.
    pub help: Option<String>,
}

impl Finding {
    /// An error that concerns a whole file.
    pub fn of_file(file: &str, code: Code, message: &str, help: &str) -> Self {
        let Mark { origin, width } = Mark::file(file);
        let mut finding =
            Self { severity: Severity::Error, code, origin, width, message: printable(message), help: None };
        finding.advise(help);
        finding
    }

    /// Sets what to do about it.
    pub(super) fn advise(&mut self, help: impl AsRef<str>) {
        self.help = Some(printable(help.as_ref()));
    }

    /// Advises the nearest of the known names, if one is near.
    pub(super) fn suggest<S: AsRef<str> + Ord>(&mut self, word: &str, known: impl IntoIterator<Item = S>) {
        if let Some(near) = nearest(word, known) {
            self.advise(format!("did you mean '{}'?", near.as_ref()));
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { file, line, column } = &self.origin;
        write!(f, "{}:{line}:{column}: {}[{}]: {}", printable(file), self.severity.as_str(), self.code, self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// Replaces what would steer a terminal (control characters, changes of direction) by its escape.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// The known word nearest to `word`, if it is near enough to be a slip of the finger.
pub fn nearest<S: AsRef<str> + Ord>(word: &str, known: impl IntoIterator<Item = S>) -> Option<S> {
    const LONGEST: usize = 80;
    if word.len() > LONGEST {
        return None;
    }
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter(|candidate| {
            let length = candidate.as_ref().len();
            length <= LONGEST && length.abs_diff(word.len()) <= 3 * allowed
        })
        .map(|candidate| (strsim::osa_distance(word, candidate.as_ref()), candidate))
        .filter(|&(distance, _)| distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Collects findings.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
    errors: usize,
    /// Whether unknown names come without the nearest known one.
    terse: bool,
}

impl Report {
    /// Searching for the nearest name costs; nobody reads this many.
    const SUGGESTED: usize = 200;

    /// One that searches for no nearest names: for work that is done again if it finds an error.
    pub(super) fn terse() -> Self {
        Self { terse: true, ..Self::default() }
    }

    /// Adds another's findings after its own.
    pub(super) fn absorb(&mut self, other: Self) {
        self.errors += other.errors;
        self.findings.extend(other.findings);
    }

    pub(super) fn error(&mut self, mark: Mark, code: Code, message: impl AsRef<str>) -> &mut Finding {
        self.errors += 1;
        self.add(Severity::Error, mark, code, message.as_ref())
    }

    pub(super) fn warning(&mut self, mark: Mark, code: Code, message: impl AsRef<str>) -> &mut Finding {
        self.add(Severity::Warning, mark, code, message.as_ref())
    }

    /// A name that leads nowhere, with the nearest one that does.
    pub(super) fn unknown<S: AsRef<str> + Ord>(
        &mut self,
        mark: Mark,
        kind: &str,
        word: &str,
        known: impl IntoIterator<Item = S>,
    ) -> &mut Finding {
        let suggest = self.findings.len() < Self::SUGGESTED && !self.terse;
        let finding = self.error(mark, Code::UnknownName, format!("there is no {kind} '{word}'"));
        if suggest {
            finding.suggest(word, known);
        }
        finding
    }

    fn add(&mut self, severity: Severity, mark: Mark, code: Code, message: &str) -> &mut Finding {
        let Mark { origin, width } = mark;
        let at = self.findings.len();
        self.findings.push(Finding { severity, code, origin, width, message: printable(message), help: None });
        &mut self.findings[at]
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// All findings, by place.
    pub(super) fn into_findings(mut self) -> Vec<Finding> {
        self.findings.sort_by(|a, b| (&a.origin, a.severity, a.code).cmp(&(&b.origin, b.severity, b.code)));
        self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_a_slip_of_the_finger_away() {
        let known = ["leeds/hb-claims", "leeds/hb-clinics", "bradford/benefits"];
        assert_eq!(nearest("leeds/hb-clams", known), Some("leeds/hb-claims"));
        assert_eq!(nearest("york/x", known), None);
        assert_eq!(nearest(&"a".repeat(100_000), known), None);
    }

    #[test]
    fn nothing_printed_steers_a_terminal() {
        assert_eq!(printable("a\u{1b}[31m\n\0\u{202e}b"), "a\\u{1b}[31m\\n\\u{0}\\u{202e}b");
        assert_eq!(printable("é '}; flush ruleset'"), "é '}; flush ruleset'");
    }

    #[test]
    fn every_code_has_a_text_of_its_own() {
        let mut texts: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Code::ALL.len());
    }
}
