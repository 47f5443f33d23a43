//! The policy at the size of a country: `make bench-policy`.
//!
//! ```text
//!  definition ─▶ files ─┬▶ check       another process checks, resolves and compiles them: time and memory
//!                       └▶ model ─┬▶ explain
//!                                 └▶ the hub's policy ─▶ traffic   loads, changes and packets in a namespace
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`definition`] | 388 councils, 77,600 services, 50,000 agreements with their signatures, by rule |
//! | [`options`] | what is asked for |
//! | [`check`], [`hub`], [`traffic`] | what is measured |
//! | [`measure`] | names, goals, the table, JSON |
//!
//! Needs root for what stands in namespaces; leaves nothing behind. Ends with 1 if something is not as it is to be reached.

mod boundary;
mod check;
mod definition;
mod hub;
#[path = "../side_by_side/machine.rs"]
#[allow(dead_code, reason = "shared with another benchmark")]
mod machine;
mod measure;
mod options;
#[path = "../side_by_side/statistics.rs"]
#[allow(dead_code, reason = "shared with another benchmark")]
mod statistics;
mod traffic;

use std::path::Path;
use std::process::ExitCode;

use measure::Record;
use nix::unistd::geteuid;
use options::{Options, Section};
use turnpike::bundle::Policy;
use turnpike::policy;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1), |name| std::env::var(name).ok()) {
        Ok(options) => options,
        Err(cause) => return refuse(&cause, 64),
    };
    if let Some(folder) = options.child.as_deref().map(Path::new) {
        let measured = match &options.beside {
            Some(other) => check::child_beside(folder, Path::new(other)),
            None => check::child(folder),
        };
        return measured.map_or_else(|cause| refuse(&cause, 70), |()| ExitCode::SUCCESS);
    }
    let in_namespaces = [Section::Load, Section::Traffic, Section::Revoke, Section::Relay];
    if in_namespaces.iter().any(|section| options.sections.contains(section)) && !geteuid().is_root() {
        return refuse("root is needed for network namespaces; ONLY=check,diff,explain does without", 77);
    }
    let load = machine::load().map_or_else(|| "unknown".to_owned(), |load| load.to_string());
    eprintln!("on {}; load average {load}", machine::description());
    let clock = machine::Clock::start();
    let mut record = Record::default();
    let measured = run(&options, &mut record);
    println!("{}", if options.json { record.json() } else { record.table() });
    eprintln!("the hypervisor kept back {} % of the processors", clock.stolen().unwrap_or(0));
    match measured {
        Err(cause) => refuse(&cause, 70),
        Ok(()) if record.passed() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
    }
}

fn run(options: &Options, record: &mut Record) -> Result<(), String> {
    let has = |section: Section| options.sections.contains(&section);
    eprintln!("making the definition: {:?}", definition::SCALE);
    let files = definition::SCALE.definition().map_err(|found| format!("{} findings", found.len()))?;
    if has(Section::Check) || has(Section::Diff) {
        let written = |files| -> std::io::Result<_> {
            let folder = tempfile::tempdir()?;
            definition::write(files, folder.path())?;
            Ok(folder)
        };
        let folder = written(&files).map_err(|error| error.to_string())?;
        if has(Section::Check) {
            check::check(folder.path(), options.rounds, record)?;
        }
        if has(Section::Diff) {
            let other = written(&check::changed(&files)).map_err(|error| error.to_string())?;
            check::difference(folder.path(), other.path(), options.rounds, record)?;
        }
    }
    let at = definition::AT.parse().map_err(|error| format!("{error}"))?;
    let model = policy::resolve(&files, at).map_err(|found| format!("{} findings", found.len()))?.model;
    drop(files);
    if has(Section::Explain) {
        check::explain(&model, record)?;
    }
    if options.sections.iter().all(|section| [Section::Check, Section::Diff, Section::Explain].contains(section)) {
        return Ok(());
    }
    let hub = model.hubs.first().ok_or("a network without hub")?;
    let hub = policy::compile(&model).remove(&hub.name).ok_or("a hub without policy")?;
    drop(model);
    on_hub(&hub, options, record)
}

fn on_hub(policy: &Policy, options: &Options, record: &mut Record) -> Result<(), String> {
    let has = |section: Section| options.sections.contains(&section);
    let rounds = if has(Section::Load) { options.rounds } else { 1 };
    let mut loaded = None;
    for round in 0..rounds {
        eprintln!("load, round {} of {rounds}", round + 1);
        // The one before goes first: its namespace would slow down the next.
        drop(loaded.take());
        let now = traffic::Loaded::new(policy, record)?;
        if has(Section::Load) {
            now.by_nft(record)?;
        }
        loaded = Some(now);
    }
    let Some(loaded) = loaded else { return Ok(()) };
    if has(Section::Load) {
        eprintln!("one agreement less, one more");
        loaded.changes(options.rounds.max(10), record)?;
    }
    if has(Section::Boundary) {
        eprintln!("hours");
        boundary::boundaries(&loaded, options.rounds, record)?;
    }
    if has(Section::Relay) {
        eprintln!("relay");
        loaded.relay(record)?;
    }
    if has(Section::Revoke) {
        eprintln!("revocations");
        loaded.revocations(record)?;
    }
    if has(Section::Traffic) {
        eprintln!("applies under traffic");
        loaded.traffic(record)?;
    }
    Ok(())
}

fn refuse(cause: &str, code: u8) -> ExitCode {
    eprintln!("policy: {cause}");
    ExitCode::from(code)
}
