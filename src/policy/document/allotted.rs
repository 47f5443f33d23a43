//! `allotted.toml`: the numbers and prefixes given out, with the dead among them.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{Root, Sections, tables};
use crate::policy::finding::Report;

/// What stands under a table's names.
pub(in crate::policy) type Entries<T> = BTreeMap<Spanned<String>, Spanned<T>>;

#[derive(Debug)]
pub(in crate::policy) struct AllottedFile {
    pub(in crate::policy) councils: Entries<i64>,
    pub(in crate::policy) departments: Entries<Department>,
    pub(in crate::policy) services: Entries<i64>,
    pub(in crate::policy) agreements: Entries<i64>,
    pub(in crate::policy) links: Entries<i64>,
    pub(in crate::policy) management: Entries<Vec<Spanned<String>>>,
}

impl Root for AllottedFile {
    fn read(mut sections: Sections<'_>, report: &mut Report) -> Self {
        fn entries<T>(table: Option<Spanned<Entries<T>>>) -> Entries<T> {
            table.map(Spanned::into_inner).unwrap_or_default()
        }
        let file = Self {
            councils: entries(sections.one("council", report)),
            departments: entries(sections.one("department", report)),
            services: entries(sections.one("service", report)),
            agreements: entries(sections.one("agreement", report)),
            links: entries(sections.one("link", report)),
            management: entries(sections.one("management", report)),
        };
        sections.finish(report);
        file
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Department {
    pub(in crate::policy) number: Spanned<i64>,
    #[serde(default)]
    pub(in crate::policy) overlay: Vec<Spanned<String>>,
}

tables! {
    Department: "a table such as { number = 1, overlay = [] }",
}
