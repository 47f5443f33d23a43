//! `turnpike policy explain`: why somebody may reach something, or not, and what would change it.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::bundle::{Judgement, Role, Rule};
use crate::cli::{Exit, Failure, definition, output};
use crate::identity::{Name, Qualified};
use crate::net::{Aim, Flow, Protocol};
use crate::policy::explain::{Answer, Change, Elsewhere, End, Explainer, Explanation, Missing, Part, Remedy, Step};
use crate::policy::model::{Model, Origin};
use crate::policy::{From, Question, Tier, To, Verdict, explain, nearest, printable};
use crate::ruleset;

#[derive(Debug, Args)]
#[command(
    after_help = "Whether it passes or not, the exit code is 0: what to rely on belongs into the definition's tests.\n\
    Where parts of a department fare differently, each is told.\n\n\
    Examples:\n  \
    turnpike policy explain examples/three-councils --from bradford/benefits --to leeds/hb-claims\n  \
    turnpike policy explain . --from 10.9.4.7 --to 100.70.35.20 --proto tcp --port 443 --at 2027-04-01T00:00:00Z\n  \
    turnpike policy explain . --from bradford/housing --to leeds/hb-claims --gateway leeds-1 --json"
)]
pub(super) struct Arguments {
    /// The definition's folder.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Who asks: council/department, or a real or overlay address.
    #[arg(long, value_name = "WHO")]
    from: String,
    /// For what: council/service, or a real or overlay address (with --proto, and with --port where it has ports).
    #[arg(long, value_name = "WHAT")]
    to: String,
    /// tcp, udp, sctp, icmp (an echo request), icmpv6, gre, esp, ah or a number [default: all of the service's].
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    proto: Option<Protocol>,
    /// The destination port [default: all of the service's].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// As of this time (RFC 3339, with offset) instead of now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// What this gateway does alone, whether or not it is on the way.
    #[arg(long, value_name = "NAME")]
    gateway: Option<Name>,
    /// Print the explanation as JSON.
    #[arg(long)]
    json: bool,
}

fn protocol(text: &str) -> Result<Protocol, String> {
    let number = || text.parse().ok().map(Protocol);
    Protocol::named(text).or_else(number).ok_or_else(|| format!("'{text}' is neither a protocol's name nor its number"))
}

/// Runs it.
///
/// # Errors
/// 1: the definition or the question does not hold.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let resolved = definition::load(&arguments.dir, arguments.at.unwrap_or_else(Timestamp::now))?;
    let model = &resolved.model;
    let question = question(model, arguments)?;
    if let Some(gateway) = &arguments.gateway {
        known_gateway(model, gateway)?;
    }
    let explanation = Explainer::new(model).explain(&question, arguments.gateway.as_ref());
    if arguments.json {
        output::print_json(&Json::of(model, &question, &explanation))?;
    } else {
        output::print(&text(model, &question, &explanation))?;
    }
    Ok(Exit::Fine)
}

fn question(model: &Model, arguments: &Arguments) -> Result<Question, Failure> {
    let from = match address(model, "--from", &arguments.from)? {
        Some(address) => From::Address(address),
        None => {
            let names: Vec<&Qualified> = model.departments.iter().map(|department| &department.name).collect();
            From::Department(known("--from", "department", &arguments.from, &names)?)
        }
    };
    let to = match address(model, "--to", &arguments.to)? {
        Some(address) => To::Address(address),
        None => {
            let names: Vec<&Qualified> = model.services.iter().map(|service| &service.name).collect();
            To::Service(known("--to", "service", &arguments.to, &names)?)
        }
    };
    let (protocol, port) = (arguments.proto, arguments.port);
    let wrong = |cause: String, help: &str| Err(Failure::new(Exit::Usage, cause, help));
    match (&to, protocol, port) {
        (_, None, Some(_)) => wrong("--port without --proto".to_owned(), "add --proto tcp, udp or sctp"),
        (_, Some(protocol), Some(_)) if !protocol.has_ports() => {
            wrong(format!("{protocol} has no ports"), "leave --port out")
        }
        (To::Address(_), None, _) => wrong("an address needs a protocol".to_owned(), "add --proto tcp --port 443"),
        (To::Address(_), Some(protocol), None) if protocol.has_ports() => {
            wrong(format!("{protocol} to an address needs a port"), "add --port 443")
        }
        _ => Ok(Question { from, to, protocol, port }),
    }
}

/// The overlay address that is meant, if it is an address.
fn address(model: &Model, option: &str, text: &str) -> Result<Option<IpAddr>, Failure> {
    let Ok(address) = text.parse::<IpAddr>() else { return Ok(None) };
    explain::overlay_of(model, address).map(Some).map_err(|Elsewhere { address, candidates }| {
        let shown = |(name, overlay): &(Qualified, IpAddr)| format!("{overlay} of {name}");
        let some: Vec<String> = candidates.iter().take(5).map(shown).collect();
        let more = candidates.len().saturating_sub(some.len());
        let rest = if more > 0 { format!(", and {more} others") } else { String::new() };
        let cause = format!("{option} {address} is a real address of {} departments", candidates.len());
        let help = format!("name the department, or one of the overlay addresses: {}{rest}", some.join(", "));
        Failure::new(Exit::Usage, cause, help)
    })
}

fn known(option: &str, kind: &str, text: &str, names: &[&Qualified]) -> Result<Qualified, Failure> {
    if let Some(found) = names.iter().find(|name| name.to_string() == text) {
        return Ok((*found).clone());
    }
    let texts: Vec<String> = names.iter().map(ToString::to_string).collect();
    let help = match nearest(text, texts.iter().map(String::as_str)) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("it takes council/{kind}, or an address"),
    };
    Err(Failure::new(Exit::Usage, format!("{option}: there is no {kind} '{}'", printable(text)), help))
}

/// Refuses a gateway that the network does not have.
pub(super) fn known_gateway(model: &Model, gateway: &Name) -> Result<(), Failure> {
    let hubs = model.hubs.iter().map(|hub| &hub.name);
    let names = hubs.chain(model.edges.iter().map(|edge| &edge.name)).map(Name::as_str);
    known_name("--gateway", "gateway", gateway, names.collect())
}

/// Refuses a council that the network does not have.
pub(super) fn known_council(model: &Model, council: &Name) -> Result<(), Failure> {
    let names = model.councils.iter().map(|council| council.name.as_str());
    known_name("--council", "council", council, names.collect())
}

fn known_name(option: &str, kind: &str, name: &Name, names: Vec<&str>) -> Result<(), Failure> {
    if names.contains(&name.as_str()) {
        return Ok(());
    }
    let near = nearest(name.as_str(), names.iter().copied());
    let help =
        near.map_or_else(|| format!("it takes a {kind} of the definition"), |near| format!("did you mean '{near}'?"));
    Err(Failure::new(Exit::Usage, format!("{option}: there is no {kind} '{name}'"), help))
}

fn text(model: &Model, question: &Question, explanation: &Explanation<'_>) -> String {
    let mut text = String::new();
    if explanation.answers.is_empty() {
        return format!(
            "DENIED   {question}, as of {}\n  because      the two have no address family, protocol or port in common\n",
            explanation.at
        );
    }
    for answer in &explanation.answers {
        let word = if answer.verdict.allows() { "ALLOWED" } else { "DENIED " };
        text += &format!("{word}  {question}, as of {}\n", explanation.at);
        for (title, line) in Told::of(model, answer).lines() {
            text += &format!("  {title:<12} {line}\n");
        }
    }
    text
}

fn flow_text(flow: &Flow) -> String {
    let aim = match flow.aim {
        Aim::Port(port) => format!("{}/{port}", flow.protocol),
        Aim::Icmp(kind) => format!("{} type {kind}", flow.protocol),
        Aim::Nothing => flow.protocol.to_string(),
    };
    format!("{} → {} {aim}", flow.source, flow.destination)
}

fn place(origin: &Origin) -> String {
    format!("{}:{}", origin.file, origin.line)
}

/// One answer in JSON; the text is made from the same.
#[derive(Serialize)]
struct Told {
    flow: String,
    flows: usize,
    verdict: &'static str,
    tier: &'static str,
    reason: String,
    from: Whereabouts,
    to: Whereabouts,
    service: Option<Named>,
    agreement: Option<Agreed>,
    guardrail: Option<Named>,
    path: Vec<Station>,
    remedy: Vec<String>,
}

#[derive(Serialize)]
struct Json {
    question: String,
    at: String,
    answers: Vec<Told>,
}

impl Json {
    fn of(model: &Model, question: &Question, explanation: &Explanation<'_>) -> Self {
        let answers = explanation.answers.iter().map(|answer| Told::of(model, answer)).collect();
        Self { question: question.to_string(), at: explanation.at.to_string(), answers }
    }
}

#[derive(Serialize)]
struct Whereabouts {
    overlay: String,
    real: Option<String>,
    department: Option<String>,
    gateway: Option<String>,
    device: Option<String>,
    mapping: Option<[String; 2]>,
    place: Option<String>,
}

#[derive(Serialize)]
struct Named {
    name: String,
    why: Option<String>,
    place: String,
}

#[derive(Serialize)]
struct Agreed {
    id: String,
    place: String,
    by: String,
    class: String,
    hours: String,
    not_before: Option<String>,
    not_after: Option<String>,
    reference: Option<String>,
    consents: Vec<String>,
}

#[derive(Serialize)]
struct Station {
    gateway: String,
    role: &'static str,
    part: &'static str,
    passes: bool,
    table: String,
}

impl Told {
    fn of(model: &Model, answer: &Answer<'_>) -> Self {
        let service = answer.service.map(|service| Named {
            name: service.name.to_string(),
            why: None,
            place: place(&service.origin),
        });
        let guardrail = answer.guardrail.map(|guardrail| Named {
            name: guardrail.id.to_string(),
            why: guardrail.why.as_deref().map(printable),
            place: place(&guardrail.origin),
        });
        Self {
            flow: flow_text(&answer.flow),
            flows: answer.flows,
            verdict: if answer.verdict.allows() { "allow" } else { "deny" },
            tier: answer.verdict.tier().label(),
            reason: reason(answer),
            from: Whereabouts::of(&answer.source),
            to: Whereabouts::of(&answer.destination),
            service,
            agreement: agreed(answer),
            guardrail,
            path: answer.path.iter().map(|step| Station::of(model, answer, step)).collect(),
            remedy: remedy(model, &answer.remedy),
        }
    }

    /// Titles and lines for people.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("flow", format!("{}{}", self.flow, alike(self.flows))),
            ("tier", format!("{}: {}", self.tier, self.reason)),
            ("from", self.from.line()),
            ("to", self.to.line()),
        ];
        lines.extend(self.service.iter().map(|service| ("service", service.line())));
        lines.extend(self.guardrail.iter().map(|guardrail| ("guardrail", guardrail.line())));
        lines.extend(self.agreement.iter().flat_map(Agreed::lines));
        lines.extend(self.path.iter().map(|station| ("at", station.line())));
        let title = if self.verdict == "allow" { "to stop it" } else { "to allow it" };
        lines.extend(self.remedy.iter().map(|change| (title, change.clone())));
        lines
    }
}

fn alike(flows: usize) -> String {
    if flows == 1 { String::new() } else { format!(", and {} others alike", flows - 1) }
}

fn reason(answer: &Answer<'_>) -> String {
    match &answer.verdict {
        Verdict::Allow { port, .. } => {
            let id = answer.agreement.map(|agreement| agreement.id.to_string()).unwrap_or_default();
            format!("agreement {id} allows it, by {port}")
        }
        Verdict::Deny(reason) => match answer.verdict.tier() {
            Tier::Guardrail => format!("{reason} denies it, whatever was agreed"),
            Tier::Agreement | Tier::Default => reason.to_string(),
        },
    }
}

impl Whereabouts {
    fn of(end: &End<'_>) -> Self {
        let department = end.department;
        Self {
            overlay: end.overlay.to_string(),
            real: end.real.map(|real| real.to_string()),
            department: department.map(|department| department.name.to_string()),
            gateway: department.map(|department| department.at.to_string()),
            device: department.map(|department| department.device.clone()),
            mapping: end.mapping.map(|mapping| [mapping.real.to_string(), mapping.overlay.to_string()]),
            place: department.map(|department| place(&department.origin)),
        }
    }

    fn line(&self) -> String {
        let (Some(department), Some(gateway), Some(device)) = (&self.department, &self.gateway, &self.device) else {
            return format!("{}, which is no department's", self.overlay);
        };
        let mapped = match (&self.real, &self.mapping) {
            (Some(real), Some([from, to])) if from != to => format!(" = {real} by {from} ↔ {to}"),
            _ => " (real and overlay)".to_owned(),
        };
        let at = self.place.as_deref().unwrap_or_default();
        format!("{}{mapped}, {department} at {gateway} on {device} ({at})", self.overlay)
    }
}

impl Named {
    fn line(&self) -> String {
        let why = self.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{}{why} ({})", self.name, self.place)
    }
}

fn agreed(answer: &Answer<'_>) -> Option<Agreed> {
    let agreement = answer.agreement?;
    let by = match &answer.verdict {
        Verdict::Allow { port, .. } => port.to_string(),
        Verdict::Deny(_) => String::new(),
    };
    let consent = |consent: &crate::policy::model::Consent| {
        let at = consent.at.map(|at| format!(" at {at}")).unwrap_or_default();
        format!("{} by {}{at}", consent.council, printable(&consent.by))
    };
    Some(Agreed {
        id: agreement.id.to_string(),
        place: place(&agreement.origin),
        by,
        class: agreement.class.to_string(),
        hours: agreement.hours.clone(),
        not_before: agreement.not_before.map(|date| date.to_string()),
        not_after: agreement.not_after.map(|date| date.to_string()),
        reference: agreement.reference.as_deref().map(printable),
        consents: agreement.consents.iter().map(consent).collect(),
    })
}

impl Agreed {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("agreement", format!("{} ({}), class {}", self.id, self.place, self.class))];
        lines.extend(self.reference.iter().map(|reference| ("reference", reference.clone())));
        lines.push(("consents", self.consents.join("; ")));
        let open = |date: &Option<String>| date.clone().unwrap_or_else(|| "open".to_owned());
        let (begin, end) = (open(&self.not_before), open(&self.not_after));
        lines.push(("time", format!("{begin} to {end}, hours {}", self.hours)));
        lines
    }
}

impl Station {
    fn of(model: &Model, answer: &Answer<'_>, step: &Step) -> Self {
        let passes = matches!(step.judgement, Judgement::Allowed(_));
        Self {
            gateway: step.gateway.to_string(),
            role: match step.role {
                Role::Edge => "edge",
                Role::Relay => "hub",
            },
            part: step.part.label(),
            passes: passes && step.part != Part::Nothing,
            table: table(model, answer, step),
        }
    }

    fn line(&self) -> String {
        let what = match self.part {
            "begins" => "segment → tunnel, after the mapping",
            "relays" => "tunnel → tunnel",
            "ends" => "tunnel → segment, before the mapping",
            "local" => "segment → segment",
            _ => "not on the way",
        };
        let verdict = if self.passes { "passes" } else { "drops" };
        format!("{} ({}, {what}) {verdict}: {}", self.gateway, self.role, self.table)
    }
}

/// What a gateway's table answers.
fn table(model: &Model, answer: &Answer<'_>, step: &Step) -> String {
    let department = |number: u32| model.departments.iter().find(|known| known.number == number);
    match &step.judgement {
        Judgement::Allowed(rule) => {
            // Between segments both addresses are real.
            let real = answer.destination.real.filter(|_| step.part == Part::Local);
            let asked = Rule { destination: real.unwrap_or(rule.destination), ..*rule };
            let id = model.agreements.iter().find(|agreement| agreement.number == rule.agreement);
            let id = id.map(|agreement| agreement.id.to_string()).unwrap_or_default();
            match ruleset::element(&asked) {
                Some((map, key)) => format!("{map} {{ {key} }} → {} ({id})", rule.agreement),
                None => format!("a rule of {id}"),
            }
        }
        Judgement::Guarded(id) => format!("guardrail {id}"),
        Judgement::NoRule(number) => {
            let name = department(*number).map(|department| department.name.to_string()).unwrap_or_default();
            format!("no rule of {name} (department {number}) for it")
        }
        Judgement::UnknownSource => "no department has the source here".to_owned(),
    }
}

fn remedy(model: &Model, remedy: &Remedy) -> Vec<String> {
    match remedy {
        Remedy::Missing(Missing::Source) => vec!["give a department a prefix that holds the source".to_owned()],
        Remedy::Missing(Missing::Destination) => {
            vec!["give a department a prefix that holds the destination, and a service there".to_owned()]
        }
        Remedy::Changes(changes) => changes.iter().map(|change| change_text(model, change)).collect(),
    }
}

fn change_text(model: &Model, change: &Change) -> String {
    let file = |id: &crate::identity::Id| {
        let found = model.agreements.iter().find(|agreement| agreement.id == *id);
        found.map(|agreement| place(&agreement.origin)).unwrap_or_default()
    };
    let councils = |id: &crate::identity::Id, more: Option<&Name>| {
        let found = model.agreements.iter().find(|agreement| agreement.id == *id);
        let mut names: Vec<&Name> = found.iter().flat_map(|agreement| &agreement.councils).chain(more).collect();
        names.sort();
        names.dedup();
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let own = |name: &Qualified| name.council.to_string();
    match change {
        Change::LiftGuardrail(id) => {
            let found = model.guardrails.iter().find(|guardrail| guardrail.id == *id);
            let place = found.map(|guardrail| place(&guardrail.origin)).unwrap_or_default();
            format!("the operator removes or narrows guardrail {id} ({place})")
        }
        Change::Consent { agreement, councils } => {
            let names: Vec<String> = councils.iter().map(ToString::to_string).collect();
            let (names, file) = (names.join(", "), file(agreement));
            format!("{names} consents to {agreement} ({file}): turnpike agreement sign DIR {agreement} --council …")
        }
        Change::Begin { agreement, begins } => format!(
            "wait until {begins}, when {agreement} ({}) begins; or an earlier not_before, signed again by {}",
            file(agreement),
            councils(agreement, None)
        ),
        Change::Extend { agreement, ended } => format!(
            "{agreement} ({}) ended at {ended}: a later not_after, signed again by {}",
            file(agreement),
            councils(agreement, None)
        ),
        Change::DoWithout { agreement, what } => format!(
            "{agreement} ({}) does without {what}, which this version cannot enforce, signed again by {}",
            file(agreement),
            councils(agreement, None)
        ),
        Change::AddConsumer { agreement, department } => format!(
            "{agreement} ({}) names {department} in 'from', signed again by {}",
            file(agreement),
            councils(agreement, Some(&department.council))
        ),
        Change::NewAgreement { service, department } => {
            let (one, other) = (own(service), own(department));
            let both = if one == other { one } else { format!("{one} and {other}") };
            format!("a new agreement: service = \"{service}\", from = [\"{department}\"], signed by {both}")
        }
        Change::AddPort { service, port } => {
            format!("{service} answers on {port} too: every agreement about it is then signed again")
        }
        Change::NewService { provider, host, port, department } => {
            format!(
                "{provider} has a service at {host} with ports = [\"{port}\"], and an agreement about it names {department}"
            )
        }
        Change::Withdraw { agreement, last: true, .. } => format!("remove {agreement} ({})", file(agreement)),
        Change::Withdraw { agreement, department, last: false } => {
            format!("remove {department} from {agreement} ({}), which is then signed again", file(agreement))
        }
    }
}
