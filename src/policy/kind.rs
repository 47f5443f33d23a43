//! The five kinds of file that a definition has.

use std::fmt;
use std::str::FromStr;

/// What a file of a definition is about; its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `network.toml`.
    Network,
    /// `councils/<council>.toml`.
    Council,
    /// `agreements/<ID>.toml`.
    Agreement,
    /// `tests/<any>.toml`.
    Tests,
    /// `allotted.toml`.
    Allotted,
}

/// Why a text is no [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of file: network, council, agreement, tests or allotted")]
pub struct KindError;

impl Kind {
    /// All of them, in FORMAT's order.
    pub const ALL: [Self; 5] = [Self::Network, Self::Council, Self::Agreement, Self::Tests, Self::Allotted];

    /// The kind of the file at this path, relative to the definition's folder; `None` if it belongs to none.
    pub fn of(path: &str) -> Option<Self> {
        let inside = |folder: &str| {
            let name = path.strip_prefix(folder)?.strip_suffix(".toml")?;
            (!name.contains('/')).then_some(())
        };
        match path {
            "network.toml" => Some(Self::Network),
            "allotted.toml" => Some(Self::Allotted),
            _ if inside("councils/").is_some() => Some(Self::Council),
            _ if inside("agreements/").is_some() => Some(Self::Agreement),
            _ if inside("tests/").is_some() => Some(Self::Tests),
            _ => None,
        }
    }

    /// `network`, `council`, `agreement`, `tests` or `allotted`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Council => "council",
            Self::Agreement => "agreement",
            Self::Tests => "tests",
            Self::Allotted => "allotted",
        }
    }

    /// Which files are of this kind, as a pattern that editors and shells understand.
    pub fn files(self) -> &'static str {
        match self {
            Self::Network => "network.toml",
            Self::Council => "councils/*.toml",
            Self::Agreement => "agreements/*.toml",
            Self::Tests => "tests/*.toml",
            Self::Allotted => "allotted.toml",
        }
    }

    /// The JSON Schema (draft 7) of such a file, as editors' support of TOML takes it.
    ///
    /// TOML's dates are no type of JSON: as those editors do, a validator is given a date as a string of its text
    /// (`2026-04-01T00:00:00+01:00`), so that a schema cannot tell a date from its text in quotes. Nor can it say what
    /// takes two places to see: names that lead nowhere or stand twice, containment of prefixes, consents. All else
    /// that the parser refuses, it refuses, and it refuses nothing that the parser takes; `tests/policy/schema.rs`
    /// lists the exceptions and holds both to it.
    pub fn schema(self) -> &'static str {
        match self {
            Self::Network => include_str!("schema/network.json"),
            Self::Council => include_str!("schema/council.json"),
            Self::Agreement => include_str!("schema/agreement.json"),
            Self::Tests => include_str!("schema/tests.json"),
            Self::Allotted => include_str!("schema/allotted.json"),
        }
    }
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(KindError)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_tells_its_kind() {
        assert_eq!(Kind::of("network.toml"), Some(Kind::Network));
        assert_eq!(Kind::of("councils/leeds.toml"), Some(Kind::Council));
        assert_eq!(Kind::of("agreements/A-1.toml"), Some(Kind::Agreement));
        assert_eq!(Kind::of("tests/claims.toml"), Some(Kind::Tests));
        assert_eq!(Kind::of("allotted.toml"), Some(Kind::Allotted));
        for other in ["lab.toml", "councils/leeds.md", "councils/old/leeds.toml", "councils", ""] {
            assert_eq!(Kind::of(other), None, "{other}");
        }
    }

    #[test]
    fn every_kind_reads_back_and_its_schema_is_json() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert!(serde_json::from_str::<serde_json::Value>(kind.schema()).is_ok(), "{kind}");
        }
        assert_eq!("councils".parse::<Kind>(), Err(KindError));
    }
}
