//! `network.toml`: the operator's.

use serde::Deserialize;
use toml::Spanned;

use super::{Root, Sections, Texts, tables};
use crate::policy::finding::Report;

type Text = Spanned<String>;

#[derive(Debug)]
pub(in crate::policy) struct NetworkFile {
    pub(in crate::policy) network: Option<Spanned<Network>>,
    pub(in crate::policy) controller: Option<Spanned<Controller>>,
    pub(in crate::policy) hubs: Vec<Spanned<Hub>>,
    pub(in crate::policy) classes: Vec<Spanned<Class>>,
    pub(in crate::policy) slas: Vec<Spanned<Sla>>,
    pub(in crate::policy) guardrails: Vec<Spanned<Guardrail>>,
    pub(in crate::policy) management_allows: Vec<Spanned<ManagementAllow>>,
}

impl Root for NetworkFile {
    fn read(mut sections: Sections<'_>, report: &mut Report) -> Self {
        let file = Self {
            network: sections.required("network", report),
            controller: sections.one("controller", report),
            hubs: sections.many("hub", report),
            classes: sections.many("class", report),
            slas: sections.many("sla", report),
            guardrails: sections.many("guardrail", report),
            management_allows: sections.many("management-allow", report),
        };
        sections.finish(report);
        file
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Network {
    pub(in crate::policy) name: Text,
    pub(in crate::policy) overlay: Spanned<Texts>,
    pub(in crate::policy) management: Text,
    #[serde(default)]
    pub(in crate::policy) reserved: Vec<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Controller {
    #[serde(default)]
    pub(in crate::policy) urls: Vec<Text>,
    #[serde(default)]
    pub(in crate::policy) addresses: Vec<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Hub {
    pub(in crate::policy) name: Text,
    pub(in crate::policy) endpoints: Spanned<Vec<Text>>,
    pub(in crate::policy) device: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Class {
    pub(in crate::policy) name: Text,
    pub(in crate::policy) lease: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Sla {
    pub(in crate::policy) name: Option<Text>,
    pub(in crate::policy) rtt_ms: Option<Spanned<f64>>,
    pub(in crate::policy) jitter_ms: Option<Spanned<f64>>,
    pub(in crate::policy) loss_percent: Option<Spanned<f64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct Guardrail {
    pub(in crate::policy) id: Text,
    pub(in crate::policy) deny: Text,
    pub(in crate::policy) to: Text,
    pub(in crate::policy) why: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(in crate::policy) struct ManagementAllow {
    pub(in crate::policy) from: Option<Text>,
    #[serde(default)]
    pub(in crate::policy) to: Vec<Text>,
}

tables! {
    Network: "a table",
    Controller: "a table",
    Hub: "a table",
    Class: "a table",
    Sla: "a table",
    Guardrail: "a table",
    ManagementAllow: "a table",
}
