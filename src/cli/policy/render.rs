//! `turnpike policy render`: the nftables table that a gateway would hold, with remarks.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::explain;
use crate::cli::{Exit, Failure, definition, output};
use crate::identity::Name;
use crate::policy::model::{Model, Origin};
use crate::policy::{self, printable};
use crate::ruleset::{Devices, Remarks, Ruleset};

#[derive(Debug, Args)]
#[command(after_help = "To be read: a gateway compiles the same from its bundle, and loads it by itself.\n\n\
    Example:\n  turnpike policy render examples/three-councils --gateway leeds-1 | less")]
pub(super) struct Arguments {
    /// The definition's folder.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The edge or hub.
    #[arg(long, value_name = "NAME")]
    gateway: Name,
    /// As of this time (RFC 3339, with offset) instead of now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// The tunnel's device there.
    #[arg(long, value_name = "NAME", default_value = "tp0")]
    device: String,
    /// The tunnel's MTU there, in octets.
    #[arg(long, value_name = "OCTETS", default_value_t = 1420)]
    mtu: u16,
}

/// Runs it.
///
/// # Errors
/// 1: the definition does not hold, or the gateway could not load it.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let model = definition::load(&arguments.dir, definition::instant(arguments.at))?.model;
    explain::known_gateway(&model, &arguments.gateway)?;
    let policies = policy::compile(&model);
    let Some(policy) = policies.get(&arguments.gateway) else {
        return Err(Failure::new(Exit::Internal, format!("no policy of {}", arguments.gateway), ""));
    };
    let devices =
        Devices { tunnel: arguments.device.clone(), mtu: arguments.mtu, wans: wans(&model, &arguments.gateway) };
    let refused = |error: &dyn std::fmt::Display| Failure::new(Exit::Invalid, error.to_string(), "");
    let ruleset = Ruleset::compile(&policy.at(model.at), &devices).map_err(|error| refused(&error))?;
    let script = ruleset.script(&remarks(&model)).map_err(|error| refused(&error))?;
    let head = format!("# {} of network '{}' as of {}\n", arguments.gateway, model.network, model.at);
    output::print(&(head + &script))?;
    Ok(Exit::Fine)
}

fn wans(model: &Model, gateway: &Name) -> Vec<String> {
    let uplinks = model.edges.iter().filter(|edge| edge.name == *gateway).flat_map(|edge| &edge.uplinks);
    let hubs = model.hubs.iter().filter(|hub| hub.name == *gateway).filter_map(|hub| hub.device.clone());
    let mut all: Vec<String> = uplinks.map(|uplink| uplink.device.clone()).chain(hubs).collect();
    all.sort();
    all.dedup();
    all
}

fn remarks(model: &Model) -> Remarks {
    let at = |name: String, origin: &Origin| format!("{name} {}:{}", printable(&origin.file), origin.line);
    let of_guardrail = |guardrail: &policy::model::Guardrail| {
        let why = guardrail.why.as_deref().map(|why| format!(": {}", printable(why))).unwrap_or_default();
        at(guardrail.id.to_string(), &guardrail.origin) + &why
    };
    Remarks {
        agreements: model.agreements.iter().map(|it| (it.number, at(it.id.to_string(), &it.origin))).collect(),
        departments: model.departments.iter().map(|it| (it.number, at(it.name.to_string(), &it.origin))).collect(),
        guardrails: model.guardrails.iter().map(|it| (it.id.clone(), of_guardrail(it))).collect(),
    }
}
