//! `turnpike policy explain`: why somebody may reach something, or not, and what would change it.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::bundle::Judgement;
use crate::cli::explanation::{
    Agreed, Asked, Decided, Known, Named, Station, Told, Whereabouts, flow_text, nothing_in_common, role,
};
use crate::cli::{Exit, Failure, definition, output};
use crate::identity::{Name, Qualified};
use crate::policy::explain::{Answer, Change, Elsewhere, End, Explainer, Explanation, Missing, Part, Remedy, Step};
use crate::policy::model::{Model, Origin};
use crate::policy::{Question, Tier, Verdict, explain, nearest, printable};

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
    #[command(flatten)]
    asked: Asked,
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

/// Runs it.
///
/// # Errors
/// 1: the definition or the question does not hold.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let resolved = definition::load(&arguments.dir, definition::instant(arguments.at))?;
    let model = &resolved.model;
    let question = arguments.asked.question(&known(model, &|address| explain::overlay_of(model, address)))?;
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

fn known<'a>(model: &'a Model, overlay_of: &'a dyn Fn(IpAddr) -> Result<IpAddr, Elsewhere>) -> Known<'a> {
    Known {
        departments: model.departments.iter().map(|department| &department.name).collect(),
        services: model.services.iter().map(|service| &service.name).collect(),
        overlay_of,
    }
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
    let question = format!("{question}, as of {}", explanation.at);
    if explanation.answers.is_empty() {
        return nothing_in_common(&question);
    }
    explanation.answers.iter().map(|answer| told(model, answer).text(&question)).collect()
}

fn place(origin: &Origin) -> String {
    format!("{}:{}", origin.file, origin.line)
}

#[derive(Serialize)]
struct Json {
    question: String,
    at: String,
    answers: Vec<Told>,
}

impl Json {
    fn of(model: &Model, question: &Question, explanation: &Explanation<'_>) -> Self {
        let answers = explanation.answers.iter().map(|answer| told(model, answer)).collect();
        Self { question: question.to_string(), at: explanation.at.to_string(), answers }
    }
}

fn told(model: &Model, answer: &Answer<'_>) -> Told {
    let service = answer.service.map(|service| Named {
        name: service.name.to_string(),
        why: None,
        place: Some(place(&service.origin)),
    });
    let guardrail = answer.guardrail.map(|guardrail| Named {
        name: guardrail.id.to_string(),
        why: guardrail.why.as_deref().map(printable),
        place: Some(place(&guardrail.origin)),
    });
    Told {
        flow: flow_text(&answer.flow),
        flows: answer.flows,
        verdict: if answer.verdict.allows() { "allow" } else { "deny" },
        tier: answer.verdict.tier().label(),
        reason: reason(answer),
        from: whereabouts(&answer.source),
        to: whereabouts(&answer.destination),
        service,
        agreement: agreed(answer),
        guardrail,
        path: answer.path.iter().map(|step| station(model, answer, step)).collect(),
        remedy: remedy(model, &answer.remedy),
    }
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

fn whereabouts(end: &End<'_>) -> Whereabouts {
    let department = end.department;
    Whereabouts {
        overlay: end.overlay.to_string(),
        real: end.real.map(|real| real.to_string()),
        department: department.map(|department| department.name.to_string()),
        gateway: department.map(|department| department.at.to_string()),
        device: department.map(|department| department.device.clone()),
        mapping: end.mapping.map(|mapping| [mapping.real.to_string(), mapping.overlay.to_string()]),
        place: department.map(|department| place(&department.origin)),
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
        place: Some(place(&agreement.origin)),
        by,
        class: agreement.class.to_string(),
        number: None,
        lease_seconds: None,
        hours: Some(agreement.hours().to_owned()),
        not_before: agreement.not_before.map(|date| date.to_string()),
        not_after: agreement.not_after.map(|date| date.to_string()),
        reference: agreement.reference.as_deref().map(printable),
        consents: agreement.consents.iter().map(consent).collect(),
    })
}

fn station(model: &Model, answer: &Answer<'_>, step: &Step) -> Station {
    let passes = matches!(step.judgement, Judgement::Allowed(_));
    let agreement = |number: u32| {
        let found = model.agreements.iter().find(|agreement| agreement.number == number);
        found.map(|agreement| agreement.id.to_string()).unwrap_or_default()
    };
    let department = |number: u32| {
        let found = model.departments.iter().find(|known| known.number == number);
        found.map(|department| department.name.to_string()).unwrap_or_default()
    };
    let decided = Decided {
        judgement: &step.judgement,
        part: step.part,
        real: answer.destination.real,
        agreement: &agreement,
        department: &department,
    };
    Station {
        gateway: step.gateway.to_string(),
        role: role(step.role),
        part: step.part.label(),
        passes: passes && step.part != Part::Nothing,
        table: decided.table(),
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
        Change::Lift { agreement, by } => {
            let (who, whose) = match by {
                Some(council) => (format!("council '{council}'"), format!("--council {council}")),
                None => ("the operator".to_owned(), "--operator".to_owned()),
            };
            let command = format!("turnpike agreement suspend DIR {agreement} --lift {whose} …");
            format!("{who} lifts the suspension of {agreement} ({}): {command}", file(agreement))
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
        Change::AtOtherHours { agreement, hours } => format!(
            "wait for the hours of {agreement} ({}): {hours}; or other hours, signed again by {}",
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
