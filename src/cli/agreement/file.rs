//! What commands write into an agreement's file; all else in it stays as it was written.

use jiff::Timestamp;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use crate::bundle::Notice;
use crate::identity::{Name, SignatureBytes};
use crate::policy::Terms;

/// A council's consent.
pub(super) struct Consent<'a> {
    pub(super) council: &'a Name,
    pub(super) by: &'a str,
    pub(super) terms: &'a Terms,
    pub(super) signature: SignatureBytes,
    pub(super) at: Timestamp,
}

impl Consent<'_> {
    /// Adds it, in place of an older one by the same person, and the text that it is for. `None` if the file has another
    /// form.
    pub(super) fn put(&self, document: &mut DocumentMut) -> Option<()> {
        let agreement = agreement(document)?;
        agreement.insert("proposed", value(self.terms.json()));
        let consents = tables(agreement, "consent")?;
        consents.retain(|table| {
            text(table, "council") != Some(self.council.as_str()) || text(table, "by") != Some(self.by)
        });
        let mut table = Table::new();
        table.insert("council", value(self.council.as_str()));
        table.insert("by", value(self.by));
        table.insert("at", date(self.at)?);
        table.insert("terms", value(self.terms.hash()));
        table.insert("signature", value(self.signature.to_string()));
        consents.push(table);
        Some(())
    }
}

/// Adds a notice. `None` if the file has another form.
pub(super) fn put_notice(
    document: &mut DocumentMut,
    notice: &Notice,
    signature: Option<&SignatureBytes>,
) -> Option<()> {
    let mut table = Table::new();
    table.insert("effect", value(notice.effect.as_str()));
    if let Some(council) = &notice.council {
        table.insert("council", value(council.as_str()));
    }
    table.insert("by", value(notice.by.as_str()));
    table.insert("number", value(i64::try_from(notice.number).ok()?));
    table.insert("at", date(notice.at)?);
    table.insert("terms", value(notice.terms.as_str()));
    if let Some(why) = &notice.why {
        table.insert("why", value(why.as_str()));
    }
    if let Some(signature) = signature {
        table.insert("signature", value(signature.to_string()));
    }
    tables(agreement(document)?, "notice")?.push(table);
    Some(())
}

/// The highest number of a party's notices in the file, whether they count or not; 0 if there is none.
pub(super) fn last_number(document: &DocumentMut, council: Option<&Name>) -> u64 {
    let notices = document.get("agreement").and_then(|agreement| agreement.get("notice"));
    let notices = notices.and_then(Item::as_array_of_tables).into_iter().flatten();
    let own = notices.filter(|table| text(table, "council") == council.map(Name::as_str));
    let number = |table: &Table| table.get("number").and_then(Item::as_integer);
    own.filter_map(number).filter_map(|number| u64::try_from(number).ok()).max().unwrap_or(0)
}

fn agreement(document: &mut DocumentMut) -> Option<&mut Table> {
    document.get_mut("agreement").and_then(Item::as_table_mut)
}

fn tables<'a>(agreement: &'a mut Table, key: &str) -> Option<&'a mut ArrayOfTables> {
    agreement.entry(key).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new())).as_array_of_tables_mut()
}

fn text<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.get(key).and_then(Item::as_str)
}

fn date(at: Timestamp) -> Option<Item> {
    let text = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    text.parse::<toml_edit::Datetime>().ok().map(value)
}
