//! One string, or several: `real = "10.0.0.0/24"` or `real = ["10.0.0.0/24", "fd00::/64"]`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use toml::Spanned;

/// A string or a list of strings.
#[derive(Clone, Debug)]
pub(in crate::policy) enum Texts {
    One(String),
    Many(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany)
    }
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
        Ok(Texts::One(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element()? {
            texts.push(text);
        }
        Ok(Texts::Many(texts))
    }
}

impl Texts {
    /// The strings, each with its span; `whole` is the span of the value.
    pub(in crate::policy) fn list(whole: &Spanned<Self>) -> Vec<Spanned<String>> {
        match whole.get_ref() {
            Self::One(text) => vec![Spanned::new(whole.span(), text.clone())],
            Self::Many(texts) => texts.clone(),
        }
    }
}
