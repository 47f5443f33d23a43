//! `agreements/<ID>.toml`: one agreement, its consents and notices.

use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use super::{Root, Sections, tables};
use crate::policy::finding::Report;

type Text = Spanned<String>;

#[derive(Debug)]
pub(in crate::policy) struct AgreementFile {
    pub(in crate::policy) agreement: Option<Spanned<Agreement>>,
}

impl Root for AgreementFile {
    fn read(mut sections: Sections<'_>, report: &mut Report) -> Self {
        let file = Self { agreement: sections.required("agreement", report) };
        sections.finish(report);
        file
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Agreement {
    pub(in crate::policy) id: Text,
    pub(in crate::policy) service: Text,
    pub(in crate::policy) from: Spanned<Vec<Text>>,
    pub(in crate::policy) identity: Option<Text>,
    #[serde(default)]
    pub(in crate::policy) roles: Vec<Text>,
    pub(in crate::policy) class: Text,
    pub(in crate::policy) hours: Option<Text>,
    pub(in crate::policy) not_before: Option<Spanned<Datetime>>,
    pub(in crate::policy) not_after: Option<Spanned<Datetime>>,
    pub(in crate::policy) reference: Option<String>,
    /// The text that consents are for.
    pub(in crate::policy) proposed: Option<Text>,
    #[serde(default, rename = "consent")]
    pub(in crate::policy) consents: Vec<Spanned<Consent>>,
    #[serde(default, rename = "notice")]
    pub(in crate::policy) notices: Vec<Spanned<Notice>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Consent {
    pub(in crate::policy) council: Option<Text>,
    pub(in crate::policy) by: Option<Text>,
    pub(in crate::policy) at: Option<Spanned<Datetime>>,
    pub(in crate::policy) terms: Option<Text>,
    pub(in crate::policy) signature: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Notice {
    pub(in crate::policy) effect: Text,
    pub(in crate::policy) council: Option<Text>,
    pub(in crate::policy) by: Text,
    pub(in crate::policy) number: Spanned<i64>,
    pub(in crate::policy) at: Spanned<Datetime>,
    pub(in crate::policy) terms: Text,
    pub(in crate::policy) why: Option<Text>,
    pub(in crate::policy) signature: Option<Text>,
}

tables! {
    Agreement: "a table",
    Consent: "a table",
    Notice: "a table",
}
