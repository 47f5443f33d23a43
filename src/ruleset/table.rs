//! A table as a value: its sets, maps, counters and chains, by generated names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use arrayvec::ArrayVec;
use nftables::types::{NfChainPolicy, NfChainType, NfHook};
use serde::Serialize;

use super::statement::{self as nft, Expr, Rule};
use crate::net::{Family, Prefix};

/// A table of the family `inet`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Sets and maps by name.
    pub sets: BTreeMap<String, Set>,
    /// Named counters.
    pub counters: BTreeSet<String>,
    /// Chains by name.
    pub chains: BTreeMap<String, Chain>,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where the kernel calls it; `None` for one that only others call.
    pub base: Option<Base>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// Where the kernel calls a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// `filter` or `nat`.
    pub kind: NfChainType,
    /// The hook.
    pub hook: NfHook,
    /// Lower is earlier.
    pub priority: i32,
    /// What becomes of a packet that reaches the end.
    pub policy: NfChainPolicy,
}

/// A set, or a map if it has values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// What it holds.
    pub shape: Shape,
    /// Its elements, by key once [sorted](Table::sort).
    pub elements: Vec<(Key, Value)>,
}

/// A key of a set that has two values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twice {
    /// The set.
    pub set: String,
    /// The key.
    pub key: Key,
}

/// What a set is declared to hold. Never changes while it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// nftables' types of the key's fields.
    pub key: Vec<&'static str>,
    /// Whether it maps to a mark.
    pub map: bool,
    /// Whether keys are prefixes or ranges.
    pub interval: bool,
    /// Whether each element has a counter.
    pub counter: bool,
    /// Whether elements can expire.
    pub timeout: bool,
}

/// A key: its fields in order. In place, since there are very many.
pub type Key = ArrayVec<Field, 4>;

/// One field of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// A device's name.
    Device(Device),
    /// A packet or connection mark.
    Mark(u32),
    /// An address.
    Address(IpAddr),
    /// A prefix, in sets of intervals.
    Prefix(Prefix),
    /// A protocol number, ICMP type or port.
    Number(u16),
    /// Ports from and to, in sets of intervals.
    Range(u16, u16),
}

/// A device's name as the kernel holds it: IFNAMSIZ octets (`linux/if.h`), zeros behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device(pub [u8; 16]);

/// What an element holds beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing: an element of a set.
    Member,
    /// Nothing, and it expires after so many seconds.
    For(u32),
    /// A mark: an element of a map.
    Mark(u32),
}

impl Field {
    /// A device by name, of which no more than 15 octets count.
    pub fn device(name: &str) -> Self {
        let mut octets = [0; 16];
        octets.iter_mut().zip(name.bytes().take(15)).for_each(|(octet, of_name)| *octet = of_name);
        Self::Device(Device(octets))
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0.iter().position(|&octet| octet == 0).unwrap_or(self.0.len());
        String::from_utf8_lossy(&self.0[..length]).fmt(f)
    }
}

impl Shape {
    /// A set of exact keys.
    pub fn set(key: &[&'static str]) -> Self {
        Self { key: key.to_vec(), map: false, interval: false, counter: false, timeout: false }
    }

    /// A map of exact keys to marks.
    pub fn map(key: &[&'static str]) -> Self {
        Self { map: true, ..Self::set(key) }
    }

    /// The same with prefixes or ranges as keys.
    pub fn of_intervals(self) -> Self {
        Self { interval: true, ..self }
    }

    /// The same with a counter per element.
    pub fn counting(self) -> Self {
        Self { counter: true, ..self }
    }

    /// The same with elements that expire.
    pub fn expiring(self) -> Self {
        Self { timeout: true, ..self }
    }
}

impl Set {
    /// Without elements.
    pub fn new(shape: Shape) -> Self {
        Self { shape, elements: Vec::new() }
    }

    /// What a key is mapped to, once the elements are sorted.
    pub fn get(&self, key: &Key) -> Option<Value> {
        let at = self.elements.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        self.elements.get(at).map(|(_, value)| *value)
    }
}

impl Table {
    /// Adds an element to a set that is declared.
    pub fn insert(&mut self, set: &str, key: impl IntoIterator<Item = Field>, value: Value) {
        if let Some(set) = self.sets.get_mut(set) {
            set.elements.push((key.into_iter().collect(), value));
        }
    }

    /// Brings all elements into their order, each once.
    ///
    /// # Errors
    /// [`Twice`].
    pub fn sort(&mut self) -> Result<(), Twice> {
        for (name, set) in &mut self.sets {
            // Most of them come in order.
            set.elements.sort_by(|(one, _), (other, _)| one.cmp(other));
            set.elements.dedup();
            if let Some([(key, _), _]) = set.elements.array_windows().find(|[(one, _), (other, _)]| one == other) {
                return Err(Twice { set: name.clone(), key: key.clone() });
            }
        }
        Ok(())
    }

    /// Declares a set.
    pub fn declare(&mut self, name: impl Into<String>, shape: Shape) {
        self.sets.insert(name.into(), Set::new(shape));
    }

    /// Adds a chain that other chains call.
    pub fn chain(&mut self, name: impl Into<String>, rules: Vec<Rule>) {
        self.chains.insert(name.into(), Chain { base: None, rules });
    }

    /// Adds a chain that the kernel calls, and that lets pass what reaches its end.
    pub fn base(&mut self, name: &str, kind: NfChainType, hook: NfHook, priority: i32, rules: Vec<Rule>) {
        let base = Some(Base { kind, hook, priority, policy: NfChainPolicy::Accept });
        self.chains.insert(name.to_owned(), Chain { base, rules });
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(name) => write!(f, "\"{name}\""),
            Self::Mark(mark) => write!(f, "{mark:#010x}"),
            Self::Address(address) => address.fmt(f),
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl Field {
    fn expression(&self) -> Expr {
        match self {
            Self::Device(name) => nft::text(name.to_string()),
            Self::Mark(mark) => nft::number(*mark),
            Self::Address(address) => nft::text(address.to_string()),
            Self::Prefix(prefix) => nft::prefix(*prefix),
            Self::Number(number) => nft::number(*number),
            Self::Range(first, last) => nft::range(nft::number(*first), nft::number(*last)),
        }
    }
}

/// The key as nft's own language writes it.
pub fn text(key: &[Field]) -> String {
    let fields: Vec<String> = key.iter().map(ToString::to_string).collect();
    fields.join(" . ")
}

/// The key as nftables writes it.
fn key_expression(key: &[Field]) -> Expr {
    match key {
        [one] => one.expression(),
        several => nft::concat(several.iter().map(Field::expression)),
    }
}

/// The element as nftables writes it: its key, or `[key, value]` in a map.
pub fn element_expression(key: &[Field], value: Value) -> Expr {
    let key = key_expression(key);
    match value {
        Value::Member => key,
        Value::Mark(mark) => Expr::List(vec![key, nft::number(mark)]),
        Value::For(seconds) => Expr::Named(nftables::expr::NamedExpression::Elem(nftables::expr::Elem {
            val: Box::new(key),
            timeout: Some(seconds),
            expires: None,
            comment: None,
            counter: None,
        })),
    }
}

/// nftables' type of an address of this family.
pub fn address_type(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    }
}

/// The declaration of a set or map, whose form the `nftables` crate knows without `stmt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Declaration {
    family: String,
    table: String,
    name: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    key: Option<KeyType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stmt: Vec<BTreeMap<String, ()>>,
}

/// nft takes a list of one for a concatenation, which its elements then are not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum KeyType {
    One(String),
    Several(Vec<String>),
}

impl KeyType {
    fn of(fields: &[&'static str]) -> Option<Self> {
        match fields {
            [] => None,
            [one] => Some(Self::One((*one).to_owned())),
            several => Some(Self::Several(several.iter().map(|&field| field.to_owned()).collect())),
        }
    }
}

impl Declaration {
    /// Declares `name` of `table`.
    pub fn new(table: &str, name: &str, shape: &Shape) -> Self {
        let flags = [("interval", shape.interval), ("timeout", shape.timeout)];
        Self {
            family: "inet".to_owned(),
            table: table.to_owned(),
            name: name.to_owned(),
            key: KeyType::of(&shape.key),
            map: shape.map.then(|| "mark".to_owned()),
            flags: flags.iter().filter(|(_, on)| *on).map(|(flag, _)| (*flag).to_owned()).collect(),
            stmt: if shape.counter { vec![BTreeMap::from([("counter".to_owned(), ())])] } else { Vec::new() },
        }
    }

    /// The table and the set's name.
    pub fn name(&self) -> (&str, &str) {
        (&self.table, &self.name)
    }

    /// Names a set or map, to flush or delete it.
    pub fn named(table: &str, name: &str) -> Self {
        let nothing = Shape { key: Vec::new(), map: false, interval: false, counter: false, timeout: false };
        Self::new(table, name, &nothing)
    }
}
