//! Names that become DNS labels, ids of agreements and guardrails, and `council/thing` pairs.

use std::fmt;
use std::str::FromStr;

/// A name: `[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?`, hence a DNS label (RFC 1035, section 2.3.1) of 1 to 32 octets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Short<32>);

/// Why a text is no [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name: 1 to 32 of a-z, 0-9 and '-', beginning and ending with a letter or digit")]
pub struct NameError(pub String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let ok =
            (1..=32).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-');
        let short = Short::new(text).filter(|_| ok);
        short.map(Self).ok_or_else(|| NameError(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A department or service of a council, written `council/thing`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Qualified {
    /// The council.
    pub council: Name,
    /// The department or service; a council's departments and services share one set of names.
    pub thing: Name,
}

impl FromStr for Qualified {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (council, thing) = text.split_once('/').ok_or_else(|| NameError(text.to_owned()))?;
        Ok(Self { council: council.parse()?, thing: thing.parse()? })
    }
}

impl fmt::Display for Qualified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.council, self.thing))
    }
}

/// The id of an agreement or guardrail: `[A-Z]-[0-9]{1,9}`, such as `A-142`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Short<11>);

/// Why a text is no [`Id`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id: one capital letter, '-', 1 to 9 digits, such as A-142")]
pub struct IdError(pub String);

impl Id {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bytes = text.as_bytes();
        let ok = (3..=11).contains(&bytes.len())
            && bytes[0].is_ascii_uppercase()
            && bytes[1] == b'-'
            && bytes[2..].iter().all(u8::is_ascii_digit);
        let short = Short::new(text).filter(|_| ok);
        short.map(Self).ok_or_else(|| IdError(text.to_owned()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Name").field(&self.as_str()).finish()
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Id").field(&self.as_str()).finish()
    }
}

/// At most `MOST` octets of text without NUL, in place: a definition of a country holds a million names, and comparing
/// them is most of the work on it. Ordered as text is: what is shorter ends in NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Short<const MOST: usize> {
    octets: [u8; MOST],
    length: u8,
}

impl<const MOST: usize> Short<MOST> {
    fn new(text: &str) -> Option<Self> {
        let mut octets = [0; MOST];
        octets.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { octets, length: u8::try_from(text.len()).ok()? })
    }

    fn as_str(&self) -> &str {
        let octets = self.octets.get(..usize::from(self.length)).unwrap_or_default();
        // It was made of text.
        std::str::from_utf8(octets).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_of_32_octets() {
        for good in ["a", "0", "leeds-1", &"a".repeat(32)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in
            ["", "-a", "a-", "A", "a_b", "é", "a b", "a\n", "a\0", "\u{202e}a", "}; flush ruleset", &"a".repeat(33)]
        {
            assert_eq!(bad.parse::<Name>(), Err(NameError(bad.to_owned())));
        }
    }

    #[test]
    fn ids_are_a_capital_a_dash_and_digits() {
        assert!("A-142".parse::<Id>().is_ok());
        for bad in ["", "A-", "a-1", "A1", "A-1234567890", "AB-1", "A-1x", "É-1"] {
            assert!(bad.parse::<Id>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_qualified_name_has_exactly_two_parts() {
        assert_eq!("leeds/revenues".parse::<Qualified>().map(|q| q.to_string()), Ok("leeds/revenues".into()));
        for bad in ["leeds", "leeds/", "/x", "a/b/c"] {
            assert!(bad.parse::<Qualified>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_ordered_as_their_texts() {
        let texts = ["a", "a-b", "a0", "aa", "b", "b-1", "b-10", "b-2"];
        let names: Vec<Name> = texts.iter().map(|text| text.parse().expect("a name")).collect();
        assert!(names.is_sorted());
        assert_eq!(names.iter().map(Name::as_str).collect::<Vec<_>>(), texts);
        let ids: Vec<Id> = ["A-1", "A-10", "A-2", "B-1"].iter().map(|text| text.parse().expect("an id")).collect();
        assert!(ids.is_sorted());
    }
}
