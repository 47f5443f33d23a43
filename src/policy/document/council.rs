//! `councils/<council>.toml`: one council's people, edges, departments and services.

use serde::Deserialize;
use toml::Spanned;

use super::{Root, Sections, Texts, tables};
use crate::policy::finding::Report;

type Text = Spanned<String>;

#[derive(Debug)]
pub(in crate::policy) struct CouncilFile {
    pub(in crate::policy) council: Option<Spanned<Council>>,
    pub(in crate::policy) edges: Vec<Spanned<Edge>>,
    pub(in crate::policy) departments: Vec<Spanned<Department>>,
    pub(in crate::policy) services: Vec<Spanned<Service>>,
}

impl Root for CouncilFile {
    fn read(mut sections: Sections<'_>, report: &mut Report) -> Self {
        let file = Self {
            council: sections.required("council", report),
            edges: sections.many("edge", report),
            departments: sections.many("department", report),
            services: sections.many("service", report),
        };
        sections.finish(report);
        file
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Council {
    pub(in crate::policy) name: Text,
    pub(in crate::policy) title: Option<String>,
    pub(in crate::policy) region: Option<Text>,
    #[serde(default, rename = "signer")]
    pub(in crate::policy) signers: Vec<Spanned<Signer>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Signer {
    pub(in crate::policy) by: Option<Text>,
    pub(in crate::policy) key: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Edge {
    pub(in crate::policy) name: Text,
    pub(in crate::policy) site: Option<Text>,
    pub(in crate::policy) uplinks: Spanned<Vec<Spanned<Uplink>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Uplink {
    pub(in crate::policy) name: Text,
    pub(in crate::policy) device: Text,
    pub(in crate::policy) metered: Option<Spanned<bool>>,
    pub(in crate::policy) priority: Option<Spanned<i64>>,
    pub(in crate::policy) sla: Option<Text>,
    pub(in crate::policy) rate: Option<Spanned<Rate>>,
}

/// A rate's form is not settled: a text such as `80mbit`, or a number of bits per second.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a rate such as \"80mbit\"")]
pub(in crate::policy) enum Rate {
    Text(String),
    Bits(u64),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Department {
    pub(in crate::policy) name: Text,
    pub(in crate::policy) at: Option<Text>,
    pub(in crate::policy) segment: Segment,
    pub(in crate::policy) gateway: Spanned<Texts>,
    pub(in crate::policy) via: Option<Spanned<Texts>>,
    pub(in crate::policy) real: Spanned<Texts>,
    pub(in crate::policy) overlay: Option<Spanned<Texts>>,
    #[serde(default)]
    pub(in crate::policy) tags: Vec<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Segment {
    pub(in crate::policy) device: Text,
    pub(in crate::policy) vlan: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Service {
    pub(in crate::policy) name: Text,
    pub(in crate::policy) department: Text,
    pub(in crate::policy) hosts: Option<Spanned<Vec<Text>>>,
    pub(in crate::policy) host: Option<Text>,
    pub(in crate::policy) ports: Spanned<Texts>,
}

tables! {
    Council: "a table",
    Signer: "a table",
    Edge: "a table",
    Uplink: "a table",
    Department: "a table",
    Segment: "a table such as { device = \"eth1\" }",
    Service: "a table",
}
