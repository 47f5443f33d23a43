//! Changes of elements, which the kernel takes without nft.

use serde::{Serialize, Serializer};

use super::octets::{self, Element};
use super::table::{Key, Shape, Value, element_expression};

/// Elements of one set, or the keys of some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elements {
    pub(super) table: &'static str,
    pub(super) set: String,
    pub(super) shape: Shape,
    pub(super) elements: Vec<(Key, Value)>,
}

/// A step of a batch that is about elements, or about a whole table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A table is made, if it is not there.
    AddTable(&'a str),
    /// A table goes.
    DeleteTable(&'a str),
    /// Elements come.
    Add(&'a Elements),
    /// Elements go.
    Delete(&'a Elements),
    /// All elements of a set go.
    Flush {
        /// The set's table.
        table: &'a str,
        /// The set.
        set: &'a str,
    },
}

impl Elements {
    /// Their table.
    pub fn table(&self) -> &str {
        self.table
    }

    /// Their set or map.
    pub fn set(&self) -> &str {
        &self.set
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there are none: never in a batch.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Whether the set counts per element.
    pub fn counts(&self) -> bool {
        self.shape.counter
    }

    /// As the kernel takes them.
    pub fn octets(&self) -> impl Iterator<Item = Element> {
        self.elements.iter().map(|(key, value)| octets::element(&self.shape, key, *value))
    }
}

impl Serialize for Elements {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let elements: Vec<_> = self.elements.iter().map(|(key, value)| element_expression(key, *value)).collect();
        let mut object = serializer.serialize_struct("element", 4)?;
        object.serialize_field("family", super::FAMILY)?;
        object.serialize_field("table", self.table)?;
        object.serialize_field("name", &self.set)?;
        object.serialize_field("elem", &elements)?;
        object.end()
    }
}
