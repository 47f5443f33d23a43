//! One transaction for nft, made from whole tables or from the difference of two.
//!
//! ```text
//!  of elements alone, as on most days ─▶ changes() ─▶ netlink, in microseconds each
//!  with tables, chains or prefixes    ─▶ to_json() ─▶ nft
//! ```
//!
//! Everything in a batch comes into force at one instant, or nothing does. A batch never deletes a table to add it
//! again, except [`replace`]: chains and sets are changed in place, so that no packet meets a table half filled.

use std::cmp::Ordering;

use nftables::types::{NfChainPolicy, NfChainType, NfHook};
use serde::Serialize;

use super::FAMILY;
use super::change::{Change, Elements};
use super::octets;
use super::statement::Rule;
use super::table::{Base, Chain, Declaration, Key, Set, Table, Value};

/// One transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Batch {
    #[serde(rename = "nftables")]
    commands: Vec<Command>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Command {
    Add(Object),
    Delete(Object),
    Flush(Object),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Object {
    Table { family: String, name: String },
    Chain(ChainObject),
    Set(Declaration),
    Map(Declaration),
    Counter { family: String, table: String, name: String },
    Element(Elements),
    Rule { family: String, table: String, chain: String, expr: Rule },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ChainObject {
    family: String,
    table: String,
    name: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<NfChainType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hook: Option<NfHook>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prio: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<NfChainPolicy>,
}

impl Batch {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Commands in it: elements of one set count as one.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// What `nft -j -f -` reads.
    ///
    /// # Errors
    /// None in practice: all keys are texts.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// This, then that, in one transaction.
    pub fn then(mut self, next: Self) -> Self {
        self.commands.extend(next.commands);
        self
    }

    /// The steps, if all of them are about elements or whole tables and the kernel takes one element of each set for one of
    /// ours: then they can be had without nft.
    pub fn changes(&self) -> Option<Vec<Change<'_>>> {
        self.commands.iter().map(Command::change).collect()
    }

    /// The elements that go one by one.
    pub fn deleted(&self) -> impl Iterator<Item = &Elements> {
        self.commands.iter().filter_map(|command| match command {
            Command::Delete(Object::Element(elements)) => Some(elements),
            Command::Add(_) | Command::Delete(_) | Command::Flush(_) => None,
        })
    }

    pub(super) fn add_table(&mut self, name: &str) {
        self.commands.push(Command::Add(table_object(name)));
    }

    /// Removes a table, whether or not it is there: deleting one that is missing would fail.
    pub(super) fn remove_table(&mut self, name: &str) {
        self.add_table(name);
        self.commands.push(Command::Delete(table_object(name)));
    }

    fn add_elements(&mut self, table: &Table, name: &str, set: &Set) {
        self.elements(Command::Add, table.name, name, set, set.elements.clone());
    }

    fn elements(
        &mut self,
        command: fn(Object) -> Command,
        table: &'static str,
        name: &str,
        set: &Set,
        elements: Vec<(Key, Value)>,
    ) {
        if !elements.is_empty() {
            let elements = Elements { table, set: name.to_owned(), shape: set.shape.clone(), elements };
            self.commands.push(command(Object::Element(elements)));
        }
    }

    fn declare(&mut self, table: &str, name: &str, set: &Set) {
        self.commands.push(Command::Add(set_object(set, Declaration::new(table, name, &set.shape))));
    }

    fn flush_set(&mut self, table: &str, name: &str, set: &Set) {
        self.commands.push(Command::Flush(set_object(set, Declaration::named(table, name))));
    }

    fn add_rules(&mut self, table: &str, chain: &str, rules: &[Rule]) {
        self.commands.extend(rules.iter().map(|rule| {
            let (family, table, chain) = (FAMILY.to_owned(), table.to_owned(), chain.to_owned());
            Command::Add(Object::Rule { family, table, chain, expr: rule.clone() })
        }));
    }
}

impl Command {
    fn change(&self) -> Option<Change<'_>> {
        match self {
            Self::Add(Object::Table { name, .. }) => Some(Change::AddTable(name)),
            Self::Delete(Object::Table { name, .. }) => Some(Change::DeleteTable(name)),
            Self::Add(Object::Element(elements)) if octets::is_plain(&elements.shape) => Some(Change::Add(elements)),
            Self::Delete(Object::Element(elements)) if octets::is_plain(&elements.shape) => {
                Some(Change::Delete(elements))
            }
            Self::Flush(Object::Set(declaration) | Object::Map(declaration)) => {
                let (table, set) = declaration.name();
                Some(Change::Flush { table, set })
            }
            Self::Add(_) | Self::Delete(_) | Self::Flush(_) => None,
        }
    }
}

/// Fills the table in place, whatever of the same shape is there; makes it if it is not.
pub(super) fn refill(table: &Table) -> Batch {
    let mut batch = Batch::default();
    batch.add_table(table.name);
    for name in &table.counters {
        batch.commands.push(Command::Add(counter_object(table.name, name)));
    }
    for (name, set) in &table.sets {
        batch.declare(table.name, name, set);
    }
    for (name, chain) in &table.chains {
        batch.commands.push(Command::Add(chain_object(table.name, name, chain.base)));
    }
    for name in table.chains.keys() {
        batch.commands.push(Command::Flush(chain_object(table.name, name, None)));
    }
    for (name, set) in &table.sets {
        batch.flush_set(table.name, name, set);
        batch.add_elements(table, name, set);
    }
    for (name, chain) in &table.chains {
        batch.add_rules(table.name, name, &chain.rules);
    }
    batch
}

/// Puts the table in the place of one of any shape.
pub(super) fn replace(table: &Table) -> Batch {
    let mut batch = Batch::default();
    batch.remove_table(table.name);
    batch.then(refill(table))
}

/// Fills the empty sets of a table with those elements that need no nft: an empty one of the same shape.
pub(super) fn fill(table: &Table) -> Batch {
    let mut batch = Batch::default();
    for (name, set) in table.sets.iter().filter(|(_, set)| octets::is_plain(&set.shape)) {
        batch.add_elements(table, name, set);
    }
    batch
}

/// Empties a set and fills it again.
pub(super) fn refill_set(table: &Table, name: &str) -> Batch {
    let mut batch = Batch::default();
    if let Some(set) = table.sets.get(name) {
        batch.flush_set(table.name, name, set);
        batch.add_elements(table, name, set);
    }
    batch
}

/// Whether one table can become the other in place: no set or base chain has another shape under the same name.
fn same_shapes(old: &Table, new: &Table) -> bool {
    let sets = old.sets.iter().all(|(name, set)| new.sets.get(name).is_none_or(|other| other.shape == set.shape));
    let chains = |(name, chain): (&String, &Chain)| new.chains.get(name).is_none_or(|other| other.base == chain.base);
    old.name == new.name && sets && old.chains.iter().all(chains)
}

/// What turns one table into the other. Expiring sets are left alone: who keeps them alive fills them.
pub(super) fn diff(old: &Table, new: &Table) -> Batch {
    if !same_shapes(old, new) {
        return replace(new);
    }
    let mut batch = Batch::default();
    declare_new(&mut batch, old, new);
    let changed = |name: &String, chain: &Chain| old.chains.get(name).is_none_or(|was| was.rules != chain.rules);
    for (name, _) in new.chains.iter().filter(|(name, chain)| changed(name, chain) && old.chains.contains_key(*name)) {
        batch.commands.push(Command::Flush(chain_object(new.name, name, None)));
    }
    for name in old.chains.keys().filter(|name| !new.chains.contains_key(*name)) {
        batch.commands.push(Command::Flush(chain_object(new.name, name, None)));
    }
    for (name, set) in &new.sets {
        diff_set(&mut batch, new, name, old.sets.get(name).map(|set| set.elements.as_slice()), set);
    }
    for (name, chain) in new.chains.iter().filter(|(name, chain)| changed(name, chain)) {
        batch.add_rules(new.name, name, &chain.rules);
    }
    delete_old(&mut batch, old, new);
    batch
}

fn declare_new(batch: &mut Batch, old: &Table, new: &Table) {
    for name in new.counters.difference(&old.counters) {
        batch.commands.push(Command::Add(counter_object(new.name, name)));
    }
    for (name, set) in new.sets.iter().filter(|(name, _)| !old.sets.contains_key(*name)) {
        batch.declare(new.name, name, set);
    }
    for (name, chain) in new.chains.iter().filter(|(name, _)| !old.chains.contains_key(*name)) {
        batch.commands.push(Command::Add(chain_object(new.name, name, chain.base)));
    }
}

fn delete_old(batch: &mut Batch, old: &Table, new: &Table) {
    for name in old.chains.keys().filter(|name| !new.chains.contains_key(*name)) {
        batch.commands.push(Command::Delete(chain_object(new.name, name, None)));
    }
    for (name, set) in old.sets.iter().filter(|(name, _)| !new.sets.contains_key(*name)) {
        batch.commands.push(Command::Delete(set_object(set, Declaration::named(new.name, name))));
    }
    for name in old.counters.difference(&new.counters) {
        batch.commands.push(Command::Delete(counter_object(new.name, name)));
    }
}

fn diff_set(batch: &mut Batch, table: &Table, name: &str, old: Option<&[(Key, Value)]>, new: &Set) {
    let old = old.unwrap_or_default();
    if new.shape.timeout && !old.is_empty() {
        return;
    }
    let (gone, come) = changes(old, &new.elements);
    if new.shape.interval && !new.shape.counter && !gone.is_empty() {
        // nft 1.0.6 judges overlaps of what is added before it takes away what is deleted.
        batch.flush_set(table.name, name, new);
        batch.add_elements(table, name, new);
        return;
    }
    batch.elements(Command::Delete, table.name, name, new, gone);
    batch.elements(Command::Add, table.name, name, new, come);
}

type Pairs = Vec<(Key, Value)>;

/// The keys to delete and the elements to add, found in one walk through both. A value cannot be changed, only deleted
/// and added: "File exists" otherwise.
fn changes(mut old: &[(Key, Value)], mut new: &[(Key, Value)]) -> (Pairs, Pairs) {
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    loop {
        // Nearly all are the same.
        let same = old.iter().zip(new).take_while(|(was, is)| was == is).count();
        (old, new) = (&old[same..], &new[same..]);
        let order = match (old.first(), new.first()) {
            (Some((was, _)), Some((is, _))) => was.cmp(is),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return (gone, come),
        };
        if order != Ordering::Greater {
            gone.extend(old.split_off_first().map(|(key, _)| (key.clone(), Value::Member)));
        }
        if order != Ordering::Less {
            come.extend(new.split_off_first().cloned());
        }
    }
}

fn table_object(name: &str) -> Object {
    Object::Table { family: FAMILY.to_owned(), name: name.to_owned() }
}

fn counter_object(table: &str, name: &str) -> Object {
    Object::Counter { family: FAMILY.to_owned(), table: table.to_owned(), name: name.to_owned() }
}

fn set_object(set: &Set, declaration: Declaration) -> Object {
    if set.shape.map { Object::Map(declaration) } else { Object::Set(declaration) }
}

fn chain_object(table: &str, name: &str, base: Option<Base>) -> Object {
    Object::Chain(ChainObject {
        family: FAMILY.to_owned(),
        table: table.to_owned(),
        name: name.to_owned(),
        kind: base.map(|base| base.kind),
        hook: base.map(|base| base.hook),
        prio: base.map(|base| base.priority),
        policy: base.map(|base| base.policy),
    })
}
