//! Check, resolve and compile, each time in a process of its own, whose memory is nobody else's; and explain.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use turnpike::cli::definition;
use turnpike::policy::diff::{Side, diff};
use turnpike::policy::explain::Explainer;
use turnpike::policy::model::Model;
use turnpike::policy::{self, Files, From, Question, To};

use crate::definition::AT;
use crate::machine::field;
use crate::measure::{Goal, Measure, Record};

const TOTAL: Measure = Measure::new("check, resolve and compile all gateways", "s", Goal::Median(1.5));
const MEMORY: Measure = Measure::new("its peak resident memory", "MB", Goal::Every(300.0));
const READ: Measure = Measure::aside("  of it: reading 50,390 files", "s");
const RESOLVE: Measure = Measure::aside("  of it: parsing, resolving, 100,000 signatures", "s");
const COMPILE: Measure = Measure::aside("  of it: compiling 389 gateways", "s");
const READY: Measure = Measure::aside("making the evaluator", "ms");
const EXPLAIN: Measure = Measure::new("explain one question", "ms", Goal::Every(50.0));

const DIFF: Measure = Measure::new("exact difference of two that differ in 100", "s", Goal::Median(3.0));
const DIFF_READ: Measure = Measure::aside("  of it: reading both", "s");
const DIFF_RESOLVE: Measure = Measure::aside("  of it: resolving what can differ", "s");
const DIFF_MEMORY: Measure = Measure::new("its peak resident memory with both", "MB", Goal::Every(500.0));

/// How many agreements of the other definition are not there, and how many have another end.
const CHANGED: usize = 50;

/// What the other process measured: seconds and kibibytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    read: f64,
    resolve: f64,
    compile: f64,
    memory: f64,
}

/// Checks a folder and prints [`Figures`]: the other process.
///
/// # Errors
/// In words: the definition is not as it was made.
pub fn child(folder: &Path) -> Result<(), String> {
    let begun = Instant::now();
    let read = definition::read(folder).map_err(|_| "the folder cannot be read".to_owned())?;
    let after_read = begun.elapsed().as_secs_f64();
    let at = AT.parse().map_err(|error| format!("{error}"))?;
    let resolved = read.resolve(at).map_err(|found| format!("{} findings", found.len()))?;
    let after_resolve = begun.elapsed().as_secs_f64();
    let policies = policy::compile(&resolved.model);
    let after_compile = begun.elapsed().as_secs_f64();
    if !resolved.warnings.is_empty() || policies.len() <= 1 {
        return Err(format!("{} warnings, {} gateways", resolved.warnings.len(), policies.len()));
    }
    let memory = memory().ok_or("the kernel does not tell of memory")?;
    let figures = Figures {
        read: after_read,
        resolve: after_resolve - after_read,
        compile: after_compile - after_resolve,
        memory,
    };
    println!("{}", serde_json::to_string(&figures).map_err(|error| error.to_string())?);
    Ok(())
}

/// Finds the difference of two folders and prints [`Figures`], its search as `compile`: the other process.
///
/// # Errors
/// In words: it is not what was changed.
pub fn child_beside(folder: &Path, other: &Path) -> Result<(), String> {
    let begun = Instant::now();
    let read = |folder| definition::read(folder).map_err(|_| "a folder cannot be read".to_owned());
    let (old, new) = (read(folder)?, read(other)?);
    let after_read = begun.elapsed().as_secs_f64();
    let at = AT.parse().map_err(|error| format!("{error}"))?;
    let [old, new] = policy::resolve_both(&old.files, &new.files, at);
    let held = |side: Result<policy::Resolved, _>| side.map_err(|found: Vec<_>| format!("{} findings", found.len()));
    let (old, new) = (held(old)?.model, held(new)?.model);
    let after_resolve = begun.elapsed().as_secs_f64();
    let diff = diff(&Side::of_model(&old), &Side::of_model(&new), at);
    let all = begun.elapsed().as_secs_f64();
    let agreements: BTreeSet<_> = diff.rows.iter().flat_map(|row| &row.by).map(|by| &by.agreement).collect();
    // A few of them may grant what others grant as well.
    if agreements.len() < CHANGED || agreements.len() > 2 * CHANGED {
        return Err(format!("{} agreements make a difference", agreements.len()));
    }
    let memory = memory().ok_or("the kernel does not tell of memory")?;
    let figures =
        Figures { read: after_read, resolve: after_resolve - after_read, compile: all - after_resolve, memory };
    println!("{}", serde_json::to_string(&figures).map_err(|error| error.to_string())?);
    Ok(())
}

/// The same definition without some agreements, and with the consents of others void.
pub fn changed(files: &Files) -> Files {
    let mut changed = files.clone();
    let paths: Vec<String> =
        files.iter().map(|(path, _)| path.to_owned()).filter(|path| path.starts_with("agreements/")).collect();
    for (number, path) in paths.iter().step_by(paths.len() / (2 * CHANGED) + 1).enumerate() {
        let Some(content) = changed.remove(path).filter(|_| number % 2 == 0) else { continue };
        let text = String::from_utf8_lossy(&content).replacen("DSA-2026-", "DSA-2027-", 1);
        changed.insert(path.clone(), text);
    }
    changed
}

/// The most memory that this process ever had resident, in kibibytes.
fn memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    field(&status, "VmHWM", ':')?.trim_end_matches(" kB").parse().ok()
}

/// What another process measures of a folder, perhaps beside another.
fn measured(folder: &Path, beside: Option<&Path>) -> Result<Figures, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    command.arg("--child").arg(folder).stderr(Stdio::inherit());
    if let Some(beside) = beside {
        command.arg("--beside").arg(beside);
    }
    let output = command.output().map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|_| format!("the process that checks ended with {}", output.status))
}

/// Has another process find the difference of two folders.
///
/// # Errors
/// In words.
pub fn difference(folder: &Path, other: &Path, rounds: usize, record: &mut Record) -> Result<(), String> {
    for _ in 0..rounds {
        let figures = measured(folder, Some(other))?;
        record.add(DIFF, figures.read + figures.resolve + figures.compile);
        record.add(DIFF_READ, figures.read);
        record.add(DIFF_RESOLVE, figures.resolve);
        record.add(DIFF_MEMORY, figures.memory * 1024.0 / 1e6);
    }
    Ok(())
}

/// Has another process check the folder.
///
/// # Errors
/// In words.
pub fn check(folder: &Path, rounds: usize, record: &mut Record) -> Result<(), String> {
    for _ in 0..rounds {
        let figures = measured(folder, None)?;
        record.add(TOTAL, figures.read + figures.resolve + figures.compile);
        record.add(READ, figures.read);
        record.add(RESOLVE, figures.resolve);
        record.add(COMPILE, figures.compile);
        record.add(MEMORY, figures.memory * 1024.0 / 1e6);
    }
    Ok(())
}

/// Explains allowed and denied flows all over the definition.
///
/// # Errors
/// In words: no answer, or not the one that was expected.
pub fn explain(model: &Model, record: &mut Record) -> Result<(), String> {
    let begun = Instant::now();
    let explainer = Explainer::new(model);
    record.add(READY, begun.elapsed().as_secs_f64() * 1e3);
    let some = model.agreements.iter().step_by(model.agreements.len() / 20 + 1);
    for (number, agreement) in some.enumerate() {
        let allowed = number % 2 == 0;
        let consumer = agreement.from.first().ok_or("an agreement without consumer")?;
        let provider = model.service(&agreement.service).ok_or("an agreement without service")?;
        // The provider's own department has no agreement about its service.
        let from = if allowed { consumer } else { &provider.department };
        let (from, to) = (From::Department(from.clone()), To::Service(agreement.service.clone()));
        let begun = Instant::now();
        let explained = explainer.explain(&Question { from, to, protocol: None, port: None }, None);
        record.add(EXPLAIN, begun.elapsed().as_secs_f64() * 1e3);
        let passes = explained.answers.iter().all(|answer| answer.verdict.allows());
        if explained.answers.is_empty() || passes != allowed {
            return Err(format!("{} about {}: {passes}, not {allowed}", agreement.id, agreement.service));
        }
    }
    Ok(())
}
