//! The two sides of a difference, from folders, bundles and revisions of git.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Arguments;
use crate::bundle::Policy;
use crate::cli::definition::{self, Folder};
use crate::cli::policy::explain::{known_council, known_gateway};
use crate::cli::{Exit, Failure, bundle, revision};
use crate::identity::Name;
use crate::policy;
use crate::policy::diff::Side;
use crate::policy::model::Model;

/// What an argument names.
enum Named {
    Folder(Folder),
    Bundle(Box<Policy>),
}

/// What it holds.
enum Given {
    Definition(Box<Model>),
    Bundle(Box<Policy>),
}

/// Reads both sides.
///
/// # Errors
/// As [`super::run`].
pub(super) fn read(arguments: &Arguments, at: Timestamp) -> Result<[Side; 2], Failure> {
    let Arguments { old, new, .. } = arguments;
    let given = match [named(old, new)?, named(new, old)?] {
        // Gateways are told what all agreements come to.
        [Named::Folder(old), Named::Folder(new)] if arguments.gateway.is_none() => both(&old, &new, at)?,
        [old, new] => [given(old, at)?, given(new, at)?],
    };
    if let Some(council) = &arguments.council {
        known(&given, |model| known_council(model, council))?;
    }
    if let Some(gateway) = &arguments.gateway {
        known(&given, |model| known_gateway(model, gateway))?;
    }
    match one_gateway(&given, arguments.gateway.as_ref())? {
        Some(gateway) => {
            let [old, new] = given.map(|given| of_gateway(given, &gateway));
            Ok([old?, new?])
        }
        None => Ok(given.map(|given| match given {
            Given::Definition(model) => Side::of_model(&model),
            Given::Bundle(policy) => Side::of_policy(&policy),
        })),
    }
}

/// What one argument names, beside the other.
fn named(argument: &str, other: &str) -> Result<Named, Failure> {
    let path = Path::new(argument);
    if path.is_dir() {
        return Ok(Named::Folder(definition::read(path)?));
    }
    if path.exists() {
        return Ok(Named::Bundle(Box::new(bundle::opened(path)?.effective_policy())));
    }
    let other = Path::new(other);
    let beside = if other.is_dir() { other.to_owned() } else { PathBuf::from(".") };
    Ok(Named::Folder(revision::read(argument, &beside)?))
}

fn given(named: Named, at: Timestamp) -> Result<Given, Failure> {
    match named {
        Named::Bundle(policy) => Ok(Given::Bundle(policy)),
        Named::Folder(folder) => match folder.resolve(at) {
            Ok(resolved) => Ok(Given::Definition(Box::new(resolved.model))),
            Err(found) => Err(folder.failure(&found)),
        },
    }
}

/// Two definitions, of which only what can differ is resolved.
fn both(old: &Folder, new: &Folder, at: Timestamp) -> Result<[Given; 2], Failure> {
    for folder in [old, new] {
        folder.whole().map_err(|found| folder.failure(&found))?;
    }
    let [before, after] = policy::resolve_both(&old.files, &new.files, at);
    let model = |resolved: Result<policy::Resolved, Vec<policy::Finding>>, folder: &Folder| match resolved {
        Ok(resolved) => Ok(Given::Definition(Box::new(resolved.model))),
        Err(found) => Err(folder.failure(&found)),
    };
    Ok([model(before, old)?, model(after, new)?])
}

/// That at least one definition knows a name; bundles do not say all that there is.
fn known(given: &[Given; 2], ask: impl Fn(&Model) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut answers = given.iter().filter_map(|given| match given {
        Given::Definition(model) => Some(ask(model)),
        Given::Bundle(_) => None,
    });
    match answers.next() {
        Some(Err(error)) if answers.all(|other| other.is_err()) => Err(error),
        _ => Ok(()),
    }
}

/// The gateway as which both sides are looked at: the one that was asked for, or whose bundle is among them.
fn one_gateway(given: &[Given; 2], asked: Option<&Name>) -> Result<Option<Name>, Failure> {
    let of_bundles = given.iter().filter_map(|given| match given {
        Given::Bundle(policy) => Some(&policy.gateway),
        Given::Definition(_) => None,
    });
    let mut names: Vec<&Name> = of_bundles.chain(asked).collect();
    names.dedup();
    match names.as_slice() {
        [] => Ok(None),
        [name] => Ok(Some((*name).clone())),
        [one, other, ..] => Err(Failure::new(
            Exit::Usage,
            format!("what {one} is told cannot be compared with what {other} is told"),
            "compare bundles of one gateway",
        )),
    }
}

fn of_gateway(given: Given, gateway: &Name) -> Result<Side, Failure> {
    match given {
        Given::Bundle(policy) => Ok(Side::of_policy(&policy)),
        Given::Definition(model) => match policy::compile(&model).remove(gateway) {
            Some(policy) => Ok(Side::of_policy(&policy)),
            // It is not there yet, or not any more: nothing is granted.
            None => Ok(Side::default()),
        },
    }
}
