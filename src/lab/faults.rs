//! Faults and changes made on purpose, each with what must come of it.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::identity::Name;
use crate::net::Family;
use crate::ruleset::{ALIVE_SECONDS, FAMILY, TABLE};

use super::guard::{Namespace, wait_for, wait_until};
use super::plan::{Attempt, By};
use super::probe::{BRIEF, Outcome, PATIENT, attempt};
use super::raise::{Definition, Lab, LabError, Watcher};
use super::topology::Host;
use super::traffic::{Download, Stream};
use super::trial::{Row, SPOOFED, consumer, denials};

/// An attempt that a fault is shown on.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The attempt.
    pub attempt: Attempt,
    /// What decides about it.
    pub by: By,
    /// The gateway of its consumer.
    pub gateway: Name,
}

/// A change must have come into force after this long.
const IN_FORCE: Duration = Duration::from_secs(10);

fn row(subject: &str, what: impl Into<String>, expected: &str) -> Row {
    Row {
        subject: subject.to_owned(),
        what: what.into(),
        expected: expected.to_owned(),
        actual: String::new(),
        by: String::new(),
        evidence: String::new(),
        ok: false,
    }
}

/// The row of a fault that this definition has nothing to show on.
pub fn not_shown(subject: &str, lacks: &str) -> Row {
    Row { actual: format!("cannot be shown: the definition has no {lacks}"), ..row(subject, "", "") }
}

/// Whether the attempt of a subject, which must pass, does.
fn passes(lab: &Lab, subject: &Subject) -> bool {
    answered(lab, subject, PATIENT)
}

/// Whether the attempt of a subject, which must be stopped, passes all the same.
fn leaks(lab: &Lab, subject: &Subject) -> bool {
    answered(lab, subject, BRIEF)
}

/// Whether a subject comes to pass soon.
fn comes_to_pass(lab: &Lab, subject: &Subject) -> bool {
    wait_until(IN_FORCE, || answered(lab, subject, BRIEF))
}

fn answered(lab: &Lab, Subject { attempt: tried, .. }: &Subject, patience: Duration) -> bool {
    match (consumer(&lab.network, tried), lab.network.host_at(tried.to)) {
        (Some(from), Some(target)) => match attempt(from, target, tried.to, tried.kind, &lab.servers, patience) {
            Outcome::Answered(_) => true,
            Outcome::Stopped | Outcome::Fault(_) => false,
        },
        _ => false,
    }
}

/// Sends echo requests from addresses that are not the host's: one that nobody has, one of another department.
///
/// # Errors
/// [`LabError`].
pub fn spoof(lab: &Lab, echo: &Subject) -> Result<Vec<Row>, LabError> {
    let Some(host) = consumer(&lab.network, &echo.attempt) else { return Ok(vec![not_shown("spoofing", "host")]) };
    let family = Family::of(echo.attempt.to);
    let foreign = match family {
        Family::V4 => IpAddr::from([198, 18, 99, 9]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 9]),
    };
    let others = lab.network.hosts.iter().filter(|other| other.plan.department != host.plan.department);
    let mut sources = vec![("nobody's address", foreign)];
    sources
        .extend(others.filter_map(|other| other.overlay(family)).next().map(|a| ("another department's address", a)));
    let control = passes(lab, echo);
    sources.into_iter().map(|(whose, source)| spoof_one(lab, echo, host, whose, source, control)).collect()
}

fn spoof_one(
    lab: &Lab,
    echo: &Subject,
    host: &Host,
    whose: &str,
    source: IpAddr,
    control: bool,
) -> Result<Row, LabError> {
    let before = lab.fleet.status(&echo.gateway)?;
    let bits = Family::of(source).bits();
    host.namespace.ip(&format!("address add {source}/{bits} dev lo"))?;
    let (from, to) = (source.to_string(), echo.attempt.to.to_string());
    let passed = host.namespace.run("ping", ["-n", "-c", "3", "-i", "0.2", "-W", "1", "-I", &from, &to]).is_ok();
    host.namespace.ip(&format!("address del {source}/{bits} dev lo"))?;
    let counted = wait_for(Duration::from_secs(3), || {
        let after = lab.fleet.status(&echo.gateway).ok()?;
        denials(&before, &after, SPOOFED)
    });
    let row = row("spoofed source", format!("{} sends from {whose} {source}", host.plan.department), "dropped");
    Ok(Row {
        actual: if passed { "passed" } else { "dropped" }.to_owned(),
        by: if control { "its own address passes" } else { "its own address does not pass either" }.to_owned(),
        evidence: counted.as_ref().map(ToString::to_string).unwrap_or_default(),
        ok: !passed && control && counted.is_some(),
        ..row
    })
}

/// Revokes the agreement by which a download runs, while it runs, and puts it in force again.
///
/// # Errors
/// [`LabError`].
pub fn revoke(lab: &mut Lab, definition: &Definition, web: &Subject, canary: &Subject) -> Result<Row, LabError> {
    let By::Agreement(id) = &web.by else { return Ok(not_shown("revocation", "agreement with a web service")) };
    let row = row("revocation", format!("{id} is revoked while a download by it runs"), "stops");
    let revoked = lab.path("definition-without");
    copy_without(&definition.folder, &revoked, id).map_err(file(format!("copying to {}", revoked.display())))?;
    let Some(host) = consumer(&lab.network, &web.attempt) else { return Ok(not_shown("revocation", "host")) };
    let download = Download::start(&host.namespace, SocketAddr::new(web.attempt.to, 80))?;
    if !wait_until(IN_FORCE, || download.received() > 1 << 20) {
        return Ok(Row { actual: "the download did not begin".into(), ..row });
    }
    lab.fleet.build(&revoked)?;
    let running = download.advances();
    let told = Instant::now();
    lab.fleet.reload()?;
    let stopped = wait_until(IN_FORCE, || download.idle() > Duration::from_millis(700));
    let after = download.last().saturating_duration_since(told);
    let canary_passes = passes(lab, canary);
    let closed = !leaks(lab, web);
    drop(download);
    lab.fleet.build(&definition.folder)?;
    lab.fleet.reload()?;
    let again = comes_to_pass(lab, web);
    let verdict = match (running, stopped && closed, canary_passes, again) {
        (false, ..) => "the download stood before the revocation".to_owned(),
        (_, false, ..) => "the download goes on".to_owned(),
        (.., false, _) => "others stopped, too".to_owned(),
        (.., false) => "stopped, and does not pass when agreed again".to_owned(),
        (true, true, true, true) => format!("stopped after {} ms", after.as_millis()),
    };
    Ok(Row {
        actual: verdict,
        by: id.clone(),
        evidence: format!("{} goes on", canary.by),
        ok: running && stopped && closed && canary_passes && again,
        ..row
    })
}

/// Flushes all rules on a hub while repair is paused: nothing may pass. Then lets it repair.
///
/// # Errors
/// [`LabError`].
pub fn flush_paused(lab: &Lab, hub: &Name, allowed: &Subject, forbidden: &Subject) -> Result<Row, LabError> {
    let row = row("flush, repair paused", format!("nft flush ruleset on {hub}"), "nothing passes");
    let Some(namespace) = lab.network.gateways.get(hub) else { return Ok(not_shown("flush", "hub")) };
    let control = passes(lab, allowed);
    lab.fleet.pause_repair(hub, 60)?;
    namespace.run("nft", ["flush", "ruleset"])?;
    let leaked = thread::scope(|scope| {
        let other = scope.spawn(|| leaks(lab, forbidden));
        leaks(lab, allowed) || other.join().unwrap_or(true)
    });
    let empty = namespace.run("nft", ["list", "ruleset"])?.trim().is_empty();
    lab.fleet.resume_repair(hub)?;
    let again = comes_to_pass(lab, allowed);
    let actual = match (control, empty, leaked, again) {
        (false, ..) => "the allowed flow did not pass before",
        (_, false, ..) => "the rules were repaired although repair was paused",
        (.., true, _) => "something passed",
        (.., false) => "nothing passed, but nothing passes after the repair either",
        (true, true, false, true) => "nothing passed",
    };
    Ok(Row {
        actual: actual.to_owned(),
        by: "no gate mark, no route".to_owned(),
        evidence: "passes after the repair".to_owned(),
        ok: control && empty && !leaked && again,
        ..row
    })
}

/// Flushes all rules on a hub three times while a forbidden datagram is sent every millisecond.
///
/// # Errors
/// [`LabError`].
pub fn flush_repaired(lab: &Lab, hub: &Name, allowed: &Subject, forbidden: &Subject) -> Result<Row, LabError> {
    let row = row("flush, repaired", format!("nft flush ruleset on {hub}, three times"), "nothing forbidden passes");
    let (Some(namespace), Some(from), Some(target)) = (
        lab.network.gateways.get(hub),
        consumer(&lab.network, &forbidden.attempt),
        lab.network.host_at(forbidden.attempt.to),
    ) else {
        return Ok(not_shown("flush", "hub or forbidden flow"));
    };
    let stream = Stream::between(from, target, forbidden.attempt.to).map_err(file("opening datagram sockets"))?;
    let stop = AtomicBool::new(false);
    let (repaired, (sent, received)) = thread::scope(|scope| {
        let sender = scope.spawn(|| stream.run(&stop));
        let repaired = (0..3).all(|_| {
            let flushed = namespace.run("nft", ["flush", "ruleset"]).is_ok();
            flushed && wait_until(IN_FORCE, || has_table(namespace)) && comes_to_pass(lab, allowed)
        });
        stop.store(true, Ordering::Relaxed);
        (repaired, sender.join().unwrap_or((0, u64::MAX)))
    });
    let control = stream.control();
    Ok(Row {
        actual: match (repaired, received) {
            (false, _) => "the rules were not repaired".to_owned(),
            (true, received) => format!("{received} of {sent} forbidden datagrams passed"),
        },
        by: "repaired each time".to_owned(),
        evidence: "the allowed passes after each".to_owned(),
        ok: repaired && sent > 100 && received == 0 && control,
        ..row
    })
}

fn has_table(namespace: &Namespace) -> bool {
    namespace.run("nft", ["list", "table", FAMILY, TABLE]).is_ok()
}

/// A gateway that was killed, and when.
#[derive(Debug)]
pub struct Killed {
    gateway: Name,
    at: Instant,
    was_alive: bool,
}

/// Kills a gateway.
pub fn kill(lab: &mut Lab, gateway: &Name) -> Killed {
    let was_alive = alive(lab, gateway);
    lab.fleet.kill(gateway);
    Killed { gateway: gateway.clone(), at: Instant::now(), was_alive }
}

/// Waits until a killed gateway has closed by itself, looks at it, and starts it again.
///
/// # Errors
/// [`LabError`].
pub fn killed(lab: &mut Lab, killed: &Killed, allowed: &Subject, watcher: &Watcher<'_>) -> Result<Row, LabError> {
    let Killed { gateway, at, was_alive } = killed;
    let row = row("killed gateway", format!("{gateway} is killed"), "closes by itself");
    let limit = Duration::from_secs(u64::from(ALIVE_SECONDS) + 3).saturating_sub(at.elapsed());
    let closed = wait_until(limit, || watcher.check().is_err() || !alive(lab, gateway));
    watcher.check()?;
    let after = at.elapsed();
    let still_table = lab.network.gateways.get(gateway).is_some_and(has_table);
    let leaked = leaks(lab, allowed);
    if let Some(namespace) = lab.network.gateways.get(gateway) {
        lab.fleet.start(gateway, namespace)?;
    }
    let again = lab.fleet.wait().is_ok() && comes_to_pass(lab, allowed);
    let actual = match (was_alive, closed && !leaked, again) {
        (false, ..) => "was not open before".to_owned(),
        (_, false, _) => "is still open".to_owned(),
        (.., false) => "closed, and does not come back when started again".to_owned(),
        (true, true, true) => format!("closed within {:.0} s", after.as_secs_f64()),
    };
    Ok(Row {
        actual,
        by: "the alive element ran out".to_owned(),
        evidence: if still_table { "its rules stand" } else { "its rules are gone" }.to_owned(),
        ok: *was_alive && closed && !leaked && still_table && again,
        ..row
    })
}

/// Whether the element that every allowing path asks for is there.
fn alive(lab: &Lab, gateway: &Name) -> bool {
    let Some(namespace) = lab.network.gateways.get(gateway) else { return false };
    namespace.run("nft", ["list", "set", FAMILY, TABLE, "s_alive"]).is_ok_and(|listing| listing.contains("elements"))
}

fn file(what: impl Into<String>) -> impl FnOnce(io::Error) -> LabError {
    let what = what.into();
    move |error| LabError::File { what, cause: error.to_string() }
}

/// Copies a definition but for one agreement.
fn copy_without(from: &Path, to: &Path, id: &str) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_without(&entry.path(), &target, id)?;
        } else if entry.file_name() != format!("{id}.toml").as_str() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
