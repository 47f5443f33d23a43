//! `turnpike bundle show`: what is inside a bundle, and whether it is genuine.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::role;
use crate::bundle::{self, Agreement, Bundle, BundleError, MAX_OCTETS, Moment, NextHop, Policy, Trust};
use crate::cli::output::{print, print_json, table};
use crate::cli::{Exit, Failure};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  turnpike bundle show bundles/leeds-1.bundle --trust bundles.keys/trust.toml
  turnpike bundle show bundles/leeds-1.bundle --json | jq .policy.rules")]
pub(super) struct Show {
    /// The bundle.
    #[arg(value_name = "FILE")]
    bundle: PathBuf,
    /// The trust file to verify it with; without one, hashes are checked and signatures are not.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Opens a bundle without verifying its signatures: for whoever wants to know what it says.
///
/// # Errors
/// 1: it is damaged, or no bundle; 69 and 77: it cannot be read.
pub(in crate::cli) fn opened(path: &Path) -> Result<Bundle, Failure> {
    bundle::open_unverified(&read(path)?).map_err(|error| refused(path, &error))
}

/// Opens the bundle and prints it.
pub(super) fn run(arguments: &Show) -> Result<Exit, Failure> {
    let octets = read(&arguments.bundle)?;
    let opened = match &arguments.trust {
        Some(path) => bundle::open(&octets, &trust(path)?),
        None => bundle::open_unverified(&octets),
    };
    let bundle = opened.map_err(|error| refused(&arguments.bundle, &error))?;
    if arguments.json {
        print_json(&document(&bundle, arguments.trust.is_some()))?;
    } else {
        print(&page(&bundle, arguments.trust.as_deref()))?;
    }
    Ok(Exit::Fine)
}

/// Reads a trust file.
fn trust(path: &Path) -> Result<Trust, Failure> {
    let octets = read(path)?;
    Trust::from_toml(&String::from_utf8_lossy(&octets)).map_err(|error| {
        let remedy = "use the trust.toml that 'turnpike bundle build' wrote beside the bundles";
        Failure::new(Exit::Invalid, format!("{}: {error}", path.display()), remedy)
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    octets(path, MAX_OCTETS)
}

/// A file's octets: one more than `most`, if it has more, so that it can be refused as too long.
pub(in crate::cli) fn octets(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let longest = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut octets = Vec::new();
    let read = File::open(path).and_then(|file| file.take(longest).read_to_end(&mut octets));
    match read {
        Ok(_) => Ok(octets),
        Err(error) => {
            let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
            let exit = if denied { Exit::NoPermission } else { Exit::Unavailable };
            Err(Failure::new(exit, format!("cannot read {}: {error}", path.display()), "name a file that you may read"))
        }
    }
}

fn refused(path: &Path, error: &BundleError) -> Failure {
    let remedy = match error {
        BundleError::TooLarge(_)
        | BundleError::Truncated(_)
        | BundleError::NotABundle(_)
        | BundleError::NotCanonical
        | BundleError::WrongHash(_)
        | BundleError::Mixed { .. } => "fetch the bundle again: this copy is damaged or has been tampered with",
        BundleError::UnknownVersion(_) => "use the version of turnpike that built it, or a later one",
        BundleError::WrongSignature(_) | BundleError::OtherNetwork { .. } => {
            "use a bundle and a trust file of the same build; if they are, do not use the bundle"
        }
        BundleError::Malformed { .. } => "build it again with this version of turnpike",
    };
    Failure::new(Exit::Invalid, format!("{}: {error}", path.display()), remedy)
}

fn document(bundle: &Bundle, verified: bool) -> Value {
    json!({
        "network": bundle.network,
        "gateway": bundle.gateway,
        "generation": bundle.generation,
        "digest": bundle.digest,
        "verified": verified,
        "policy": bundle.policy,
        "membership": bundle.membership,
        "narrowing": bundle.narrowing,
    })
}

fn page(bundle: &Bundle, trust: Option<&Path>) -> String {
    let Bundle { network, gateway, generation, policy, membership, narrowing, digest } = bundle;
    let now = Timestamp::now();
    let mut text = format!(
        "gateway {gateway} ({}) at site {}, network {network}, generation {generation}\n{digest}\n",
        role(policy.role),
        policy.site
    );
    text += &match trust {
        Some(path) => format!("verified: hashes and signatures of all three sections hold, by {}\n", path.display()),
        None => "not verified: hashes hold, signatures were not checked; give --trust FILE\n".to_owned(),
    };
    let links = membership.links.iter().map(|link| {
        let endpoints: Vec<String> = link.endpoints.iter().map(ToString::to_string).collect();
        [link.number.to_string(), link.uplink.to_string(), link.gateway.to_string(), endpoints.join(" ")]
    });
    let routes = policy.routes.iter().map(|route| {
        let to = match &route.to {
            NextHop::Relays => "the relays".to_owned(),
            NextHop::Site(site) => site.to_string(),
        };
        [route.prefix.to_string(), to]
    });
    for part in [
        table(["link", "uplink", "to", "endpoints"], links),
        table(["route", "to"], routes),
        departments(policy),
        agreements(bundle, now),
    ] {
        if !part.is_empty() {
            text += "\n";
            text += &part;
        }
    }
    let (rules, guardrails) = (bundle.effective_policy().rules.len(), policy.guardrails.len());
    let removed = narrowing.revoked.len() + narrowing.suspended.len();
    text += &format!("\n{rules} rules, {guardrails} guardrails, {removed} agreements revoked or suspended\n");
    text
}

fn departments(policy: &Policy) -> String {
    let rows = policy.departments.iter().map(|department| {
        let overlay: Vec<String> = department.overlay.iter().map(ToString::to_string).collect();
        let segment = department.segment.as_ref().map_or("", |segment| segment.device.as_str());
        let (name, site) = (department.name.to_string(), department.site.to_string());
        [department.number.to_string(), name, site, overlay.join(" "), segment.to_owned()]
    });
    table(["department", "name", "site", "overlay", "segment"], rows)
}

/// What becomes of an agreement at a gateway that knows the time and hears the controller.
fn standing(bundle: &Bundle, agreement: &Agreement, now: Timestamp) -> String {
    let withheld = bundle.narrowing.withholds(agreement.number).or_else(|| Moment::at(now).withholds(agreement));
    withheld.map_or_else(|| "in force".to_owned(), |why| why.to_string())
}

fn agreements(bundle: &Bundle, now: Timestamp) -> String {
    let policy = &bundle.policy;
    let named = |number: u32| {
        let found = policy.departments.iter().find(|department| department.number == number);
        found.map_or_else(|| number.to_string(), |department| department.name.to_string())
    };
    let rows = policy.agreements.iter().map(|agreement| {
        let service = policy.services.iter().find(|service| service.number == agreement.service);
        let from: Vec<String> = agreement.from.iter().map(|&number| named(number)).collect();
        [
            agreement.id.to_string(),
            service.map_or_else(String::new, |service| service.name.to_string()),
            from.join(" "),
            agreement.class.to_string(),
            standing(bundle, agreement, now),
        ]
    });
    table(["agreement", "service", "from", "class", "standing"], rows)
}
