//! Tables that are written as tables.
//!
//! Serde takes a list for a struct as well, its fields by their order: `hub = [["hub-a", ["192.0.2.1:51820"]]]` would be
//! a hub. No reader of a definition would know what stands where, so only tables are taken.

/// Reads structs, whose derived reading is `remote = "Self"`, from tables alone; the text says what was expected.
macro_rules! tables {
    ($($name:ident: $expected:literal),+ $(,)?) => {
        $(impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Table;
                impl<'de> serde::de::Visitor<'de> for Table {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<$name, A::Error> {
                        // The derived one, which stands on the type itself.
                        <$name>::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    }
                }
                deserializer.deserialize_map(Table)
            }
        })+
    };
}

pub(super) use tables;
