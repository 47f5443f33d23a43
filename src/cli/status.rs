//! `turnpike status`: how a gateway is, now.

use std::path::PathBuf;

use clap::Args;
use jiff::{SignedDuration, Timestamp, Unit};

use super::gateway::{STATE, unanswered};
use super::output::{print, print_json, table};
use super::{Exit, Failure};
use crate::bundle::Role;
use crate::gateway::control::{self, Request, Response};
use crate::telemetry::conditions::{Report, Severity};
use crate::telemetry::status::{
    Configuration, Drift, Events, Link, Offload, Scheduling, Source, State, Status, Time, Worker,
};

/// The offload by which datagrams leave in trains.
const TRAINS: &str = "udp_gso";

/// Arguments of `turnpike status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  turnpike status
  turnpike status --json | jq '.conditions'")]
pub struct Arguments {
    /// The gateway's state folder.
    #[arg(long, value_name = "DIR", default_value = STATE)]
    state: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Asks the gateway and prints its answer.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let status = match control::ask(&arguments.state, &Request::Status).map_err(|error| unanswered(&error))? {
        Response::Status(status) => status,
        Response::InForce(_) | Response::Staged(_) => {
            return Err(Failure::new(Exit::Internal, "the gateway answered another question", ""));
        }
        Response::Refused(refusal) => {
            return Err(Failure::new(Exit::Unavailable, refusal.cause, refusal.remedy));
        }
        Response::Done(text) | Response::Error(text) => return Err(Failure::new(Exit::Unavailable, text, "try again")),
    };
    if arguments.json {
        print_json(&*status)?;
    } else {
        print(&page(&status))?;
    }
    Ok(Exit::Fine)
}

fn page(status: &Status) -> String {
    let mut text = heading(status);
    let parts = [
        sites(status),
        links(status),
        mappings(status),
        agreements(status),
        withheld(status),
        denied(status),
        drops(status),
    ];
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        text += "\n";
        text += &part;
    }
    text += "\n";
    text += &time(&status.time);
    text += &workers(&status.workers);
    text += &offloads(&status.offloads, &status.links);
    text += &events(&status.events);
    text += &drift(&status.drift, status.at);
    text += &conditions(&status.conditions);
    text
}

/// Where flows are told, and what of them is not told one by one.
fn events(events: &Events) -> String {
    match events.to.as_str() {
        "" => String::new(),
        "off" => "events: off\n".to_owned(),
        to => format!(
            "events: {} written to {to}; {} packets suppressed, {} lost\n",
            events.written, events.suppressed, events.lost
        ),
    }
}

fn heading(status: &Status) -> String {
    let role = match status.role {
        Role::Edge => "edge",
        Role::Relay => "hub",
    };
    let metrics: Vec<String> = status.metrics.iter().map(ToString::to_string).collect();
    format!(
        "{} ({role}) at site {}, network {}; device {}, management {}, process {}\n{}metrics at {}\n",
        status.gateway,
        status.site,
        status.network,
        status.device,
        status.address,
        status.pid,
        configuration(&status.configuration, status.at),
        if metrics.is_empty() { "no address".to_owned() } else { metrics.join(", ") },
    )
}

fn configuration(configuration: &Configuration, now: Timestamp) -> String {
    let source = match configuration.source {
        Source::File => "the bundle file",
        Source::State => "the last good bundle in the state",
    };
    let mut text = format!(
        "generation {} by {source}, applied {}; {} applied, {} refused, {} failed\n",
        configuration.generation,
        ago(configuration.applied, now),
        configuration.applied_total,
        configuration.refused_total,
        configuration.failed_total,
    );
    if let Some(error) = &configuration.last_error {
        text += &format!("last change not made: {error}\n");
    }
    text
}

fn sites(status: &Status) -> String {
    let rows = status.sites.iter().map(|site| {
        let prefixes: Vec<String> = site.prefixes.iter().map(ToString::to_string).collect();
        let links: Vec<String> = site.links.iter().map(ToString::to_string).collect();
        [site.name.clone(), up(site.up).to_owned(), prefixes.join(" "), links.join(" ")]
    });
    table(["site", "state", "prefixes", "links"], rows)
}

fn links(status: &Status) -> String {
    let rows = status.links.iter().map(|link| {
        [
            link.number.to_string(),
            link.uplink.to_string(),
            link.gateway.to_string(),
            up(link.up).to_owned(),
            link.endpoint.map_or_else(|| "not found yet".to_owned(), |endpoint| endpoint.to_string()),
            link.last_handshake.map_or_else(|| "never".to_owned(), |time| ago(time, status.at)),
            link.handshake_rtt_seconds.map_or_else(String::new, |rtt| format!("{:.1} ms", rtt * 1000.0)),
            octets(link.received_bytes),
            octets(link.sent_bytes),
        ]
    });
    table(["link", "uplink", "to", "state", "endpoint", "handshake", "rtt", "received", "sent"], rows)
}

fn mappings(status: &Status) -> String {
    let rows = status.mappings.iter().map(|mapping| {
        [
            mapping.department.to_string(),
            mapping.device.clone(),
            mapping.real.to_string(),
            mapping.overlay.to_string(),
            mapping.via.map_or_else(String::new, |via| via.to_string()),
        ]
    });
    table(["department", "segment", "real", "overlay", "via"], rows)
}

fn agreements(status: &Status) -> String {
    let rows = status.agreements.iter().map(|agreement| {
        let from: Vec<String> = agreement.from.iter().map(ToString::to_string).collect();
        [
            agreement.id.to_string(),
            agreement.service.to_string(),
            from.join(" "),
            agreement.packets.to_string(),
            octets(agreement.bytes),
        ]
    });
    table(["agreement", "service", "from", "packets", "octets"], rows)
}

/// What of the bundle is not honoured now.
fn withheld(status: &Status) -> String {
    let rows = status.withheld.iter().map(|withheld| [withheld.id.to_string(), withheld.text.clone()]);
    table(["not honoured", "because"], rows)
}

/// By what time agreements are judged, and how long each class is honoured if the controller stays silent.
fn time(time: &Time) -> String {
    let Some(now) = time.now else { return String::new() };
    let confirmed = if time.confirmed { "confirmed" } else { "NOT confirmed since the machine started" };
    let heard =
        if time.heartbeat == 0 { "no heartbeat yet".to_owned() } else { format!("heartbeat {}", time.heartbeat) };
    let leases = time.leases.iter().map(|lease| match lease.left_seconds {
        left if left > 0.0 => format!("{} {}", lease.class, span(left)),
        _ => format!("{} ENDED", lease.class),
    });
    let leases: Vec<String> = leases.collect();
    format!(
        "time: {now:.0}, {confirmed}; {heard}, controller silent for {}; leases left: {}\n",
        span(time.silence_seconds),
        leases.join(", ")
    )
}

/// A duration in hours, minutes and whole seconds: `71h 59m 40s`.
fn span(seconds: f64) -> String {
    format!("{:#}", SignedDuration::try_from_secs_f64(seconds.floor()).unwrap_or(SignedDuration::MAX))
}

/// What was denied; reasons at 0 are left to `--json`.
fn denied(status: &Status) -> String {
    let rows = status.policy.denied.iter().filter(|denied| denied.packets > 0).map(|denied| {
        let department = denied.department.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        [denied.reason.clone(), department, denied.packets.to_string(), octets(denied.bytes)]
    });
    table(["denied by", "department", "packets", "octets"], rows)
}

fn drops(status: &Status) -> String {
    let rows = status.drops.iter().filter(|drop| drop.packets > 0);
    table(["dropped by the tunnel", "packets"], rows.map(|drop| [drop.reason.clone(), drop.packets.to_string()]))
}

/// Which offloads are not in use, and how many links go without one; nothing where all are.
fn offloads(offloads: &[Offload], links: &[Link]) -> String {
    let idle = offloads.iter().filter(|offload| offload.state != State::On);
    let mut parts: Vec<String> = idle.map(|offload| format!("{} {}", offload.name, offload.state.label())).collect();
    let trains = offloads.iter().any(|offload| offload.name == TRAINS && offload.state == State::On);
    let single = links.iter().filter(|link| !link.trains).count();
    if trains && single > 0 {
        parts.push(format!("{TRAINS} refused on the path of {single} of {} links", links.len()));
    }
    if parts.is_empty() { String::new() } else { format!("offloads: {}\n", parts.join(", ")) }
}

/// How many workers share the links, and how they are scheduled; nothing of a gateway that tells of none.
fn workers(workers: &[Worker]) -> String {
    let Some(first) = workers.first() else { return String::new() };
    let links: Vec<String> = workers.iter().map(|worker| worker.links.to_string()).collect();
    let share = if links.len() > 1 { format!(", with {} links", links.join(" + ")) } else { String::new() };
    let class = match first.scheduling {
        Scheduling::Urgent => "",
        Scheduling::Ordinary => "; packets may wait for other programs, as --scheduling says",
        Scheduling::Refused => "; packets may wait for other programs: grant CAP_SYS_NICE",
    };
    format!("workers: {}{share}{class}\n", links.len())
}

fn drift(drift: &Drift, now: Timestamp) -> String {
    let repairs = drift.ruleset_repairs + drift.routing_repairs;
    let mut text = match (drift.present, repairs) {
        (true, _) => "drift: something is not as it should be\n".to_owned(),
        (false, 0) => "drift: none\n".to_owned(),
        (false, _) => format!("drift: none now; {repairs} repairs\n"),
    };
    if let (Some(time), Some(found)) = (drift.last_repair, &drift.last_found) {
        text += &format!("  last repair {}: {found}\n", ago(time, now));
    }
    text
}

fn conditions(conditions: &[Report]) -> String {
    if conditions.is_empty() {
        return "conditions: all is well\n".to_owned();
    }
    let mut text = "conditions:\n".to_owned();
    for condition in conditions {
        let severity = match condition.severity {
            Severity::Warning => "warning",
            Severity::Alarm => "ALARM",
        };
        text += &format!("  {severity} {}: {}\n", condition.id, condition.text);
        if !condition.remedy.is_empty() {
            text += &format!("    help: {}\n", condition.remedy);
        }
    }
    text
}

fn up(up: bool) -> &'static str {
    if up { "up" } else { "DOWN" }
}

fn ago(time: Timestamp, now: Timestamp) -> String {
    let rounded = now.since(time).and_then(|span| span.round(Unit::Second));
    let seconds = rounded.and_then(|span| span.total(Unit::Second)).unwrap_or_default();
    match seconds {
        0.0..120.0 => format!("{seconds:.0} s ago"),
        120.0..7_200.0 => format!("{:.0} min ago", seconds / 60.0),
        7_200.0.. => format!("{:.0} h ago", seconds / 3600.0),
        _ => time.to_string(),
    }
}

/// Octets in units of 1,000, as networks count.
#[allow(clippy::cast_precision_loss)]
fn octets(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloads_are_told_where_one_is_not_in_use() {
        let link = |trains| Link {
            number: 1,
            uplink: "fibre".parse().expect("a name"),
            gateway: "hub-a".parse().expect("a name"),
            site: "hub-a".parse().expect("a name"),
            relay: true,
            key: crate::identity::PublicKey::from_octets([1; 32]),
            endpoint: None,
            up: true,
            last_handshake: None,
            handshake_rtt_seconds: None,
            received_bytes: 0,
            sent_bytes: 0,
            received_packets: 0,
            sent_packets: 0,
            handshakes: 0,
            endpoint_changes: 0,
            estimated_loss: 0.0,
            trains,
        };
        let states =
            |uso, gso| [("tun_uso", uso), (TRAINS, gso)].map(|(name, state)| Offload { name: name.to_owned(), state });
        assert_eq!(offloads(&states(State::On, State::On), &[link(true)]), "");
        assert_eq!(
            offloads(&states(State::Missing, State::On), &[link(true), link(false)]),
            "offloads: tun_uso missing, udp_gso refused on the path of 1 of 2 links\n"
        );
        // Then no link has trains, and no path is to blame.
        assert_eq!(offloads(&states(State::On, State::Off), &[link(false)]), "offloads: udp_gso off\n");
        assert_eq!(offloads(&[], &[link(false)]), "", "a gateway that tells of none");
    }

    #[test]
    fn workers_are_told_with_what_each_serves() {
        let told = |links: &[u64], scheduling| {
            let worker = |&links: &u64| Worker { links, scheduling, ..Worker::default() };
            workers(&links.iter().map(worker).collect::<Vec<_>>())
        };
        assert_eq!(told(&[3, 2], Scheduling::Urgent), "workers: 2, with 3 + 2 links\n");
        assert_eq!(told(&[7], Scheduling::Urgent), "workers: 1\n");
        assert_eq!(told(&[], Scheduling::Refused), "");
        let refused = told(&[7], Scheduling::Refused);
        assert_eq!(refused, "workers: 1; packets may wait for other programs: grant CAP_SYS_NICE\n");
        assert!(told(&[3, 2], Scheduling::Ordinary).contains("links; packets may wait"));
    }

    #[test]
    fn ages_and_octets_are_told_in_the_unit_that_people_would_use() {
        let now = Timestamp::from_second(1_000_000).expect("a time");
        let before = |seconds: i64| Timestamp::from_second(1_000_000 - seconds).expect("a time");
        assert_eq!(ago(before(0), now), "0 s ago");
        assert_eq!(ago(before(119), now), "119 s ago");
        assert_eq!(ago(before(180), now), "3 min ago");
        assert_eq!(ago(before(86_400), now), "24 h ago");
        assert_eq!(octets(9_999), "9999 B");
        assert_eq!(octets(1_500_000), "1500.0 kB");
        assert_eq!(octets(5_000_000_000), "5000.0 MB");
    }
}
