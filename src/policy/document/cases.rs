//! `tests/<any>.toml`: facts that the policy must keep.

use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use super::{Root, Sections, tables};
use crate::policy::finding::Report;

type Text = Spanned<String>;

#[derive(Debug)]
pub(in crate::policy) struct CaseFile {
    pub(in crate::policy) as_of: Option<Spanned<Datetime>>,
    pub(in crate::policy) cases: Vec<Spanned<Case>>,
}

impl Root for CaseFile {
    fn read(mut sections: Sections<'_>, report: &mut Report) -> Self {
        let file = Self { as_of: sections.one("as_of", report), cases: sections.many("test", report) };
        sections.finish(report);
        file
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Case {
    pub(in crate::policy) from: Text,
    pub(in crate::policy) to: Text,
    pub(in crate::policy) proto: Option<Text>,
    pub(in crate::policy) port: Option<Spanned<i64>>,
    pub(in crate::policy) at: Option<Spanned<Datetime>>,
    pub(in crate::policy) identity: Option<Text>,
    pub(in crate::policy) expect: Text,
    pub(in crate::policy) why: Option<String>,
}

tables! {
    Case: "a table",
}
