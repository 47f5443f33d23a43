//! Serde for the nouns that are written as text, so that `net` and `identity` stay free of it.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Digest;
use crate::identity::{Id, Name, PublicKey, Qualified, SignatureBytes, Verifier};
use crate::net::{Interface, PortMatch, Prefix};

macro_rules! as_text {
    ($($noun:ty),+ $(,)?) => {$(
        impl Serialize for $noun {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $noun {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )+};
}

as_text!(Digest, Id, Interface, Name, PortMatch, Prefix, PublicKey, Qualified, SignatureBytes, Verifier);
