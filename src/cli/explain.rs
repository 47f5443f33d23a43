//! `turnpike explain`: why somebody may reach something through this gateway, or not, and whether its kernel agrees.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::explanation::{
    Agreed, Asked, Decided, Known, Named, Station, Told, Whereabouts, entry, flow_text, nothing_in_common, role,
};
use super::gateway::{DEVICE, MTU, STATE, failure};
use super::output::{print, print_json};
use super::{Exit, Failure};
use crate::bundle::{Hours, Judgement};
use crate::gateway::explain::{Answer, Difference, End, Explainer, Kernel, Standing, Tunnel, guardrail};
use crate::gateway::trust;
use crate::policy::explain::Part;
use crate::ruleset::segment_device;

/// Arguments of `turnpike explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
It answers by the bundle that the gateway acknowledged, read from its state; the gateway need not
run. Then it asks the kernel for the elements and chains that such a packet meets. It changes
nothing.

Exit codes: 0 the kernel agrees, whether the flow passes or not; 3 it differs, or the gateway is
closed; 64 a name or address that is not known here; 69 there is no bundle, or the kernel could
not be asked; 77 the same for lack of permission.

Examples:
  turnpike explain --from bradford/benefits --to leeds/hb-claims
  turnpike explain --from 192.168.1.30 --to 100.70.35.20 --proto tcp --port 443 --json
  turnpike explain --state /tmp/lab/state/leeds-1 --from bradford/housing --to leeds/hb-claims")]
pub struct Arguments {
    /// The gateway's state folder.
    #[arg(long, value_name = "DIR", default_value = STATE)]
    state: PathBuf,
    #[command(flatten)]
    asked: Asked,
    /// Verify the bundle's signatures again, by this trust file.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// The tunnel's device, where no gateway runs that says so.
    #[arg(long, value_name = "NAME", default_value = DEVICE)]
    device: String,
    /// The MTU of that device, where no gateway runs that says so.
    #[arg(long, value_name = "OCTETS", default_value_t = MTU, value_parser = clap::value_parser!(u32).range(1280..=9000))]
    mtu: u32,
    /// Print the explanation as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// See the exit codes in its help.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let trusted = arguments.trust.as_deref().map(trust).transpose().map_err(|error| failure(&error))?;
    let otherwise = Tunnel { device: arguments.device.clone(), mtu: arguments.mtu };
    let explainer = Explainer::open(&arguments.state, trusted.as_ref(), &otherwise).map_err(|error| failure(&error))?;
    let known = Known {
        departments: explainer.policy.departments.iter().map(|department| &department.name).collect(),
        services: explainer.policy.services.iter().map(|service| &service.name).collect(),
        overlay_of: &|address| explainer.overlay_of(address),
    };
    let question = arguments.asked.question(&known)?;
    let answers = explainer.explain(&question);
    let kernel = explainer.ask_kernel(&answers);
    let page = Page::of(&explainer, question.to_string(), &answers, &kernel);
    if arguments.json {
        print_json(&page)?;
    } else {
        print(&page.text())?;
    }
    Ok(exit(&kernel))
}

fn exit(kernel: &Kernel) -> Exit {
    match &kernel.unasked {
        Some(unasked) if unasked.denied => Exit::NoPermission,
        Some(_) => Exit::Unavailable,
        None if kernel.differs() => Exit::Differences,
        None if kernel.chains_unasked.is_some() => Exit::Unavailable,
        None => Exit::Fine,
    }
}

/// All of it, in JSON; the text is made from the same.
#[derive(Serialize)]
struct Page {
    question: String,
    gateway: String,
    role: &'static str,
    network: String,
    generation: u64,
    /// Whether the signatures were verified now.
    verified: bool,
    running: bool,
    remarks: Vec<String>,
    answers: Vec<Held>,
    kernel: Seen,
}

/// An answer, and what the kernel would do.
#[derive(Serialize)]
struct Held {
    #[serde(flatten)]
    told: Told,
    kernel: Verdict,
}

/// What the kernel would do with one answer's flow.
#[derive(Serialize)]
struct Verdict {
    /// `allow`, `deny`, or `unknown` where it could not be asked or its chains differ.
    verdict: &'static str,
    differences: Vec<Differs>,
}

/// What the kernel is like for all of them.
#[derive(Serialize)]
struct Seen {
    /// `agrees`, `differs`, `closed` or `unknown`.
    state: &'static str,
    /// Why it is unknown, or unknown of the chains.
    cause: Option<String>,
    closes_in_seconds: Option<u64>,
    differences: Vec<Differs>,
}

#[derive(Clone, Serialize)]
struct Differs {
    what: String,
    remedy: String,
}

impl Page {
    fn of(explainer: &Explainer, question: String, answers: &[Answer<'_>], kernel: &Kernel) -> Self {
        let bundle = &explainer.accepted.bundle;
        let mut remarks = explainer.accepted.remarks.clone();
        if let Some(running) = explainer.in_force.as_ref().filter(|running| running.digest != bundle.digest) {
            remarks.push(format!("the gateway runs by generation {}, which could not be kept", running.generation));
        }
        let standings = kernel.answers.iter().map(Some).chain(std::iter::repeat(None));
        let held = |(answer, standing): (&Answer<'_>, Option<&Standing>)| Held {
            told: told(explainer, answer),
            kernel: verdict(answer, standing, kernel),
        };
        Self {
            question,
            gateway: bundle.gateway.to_string(),
            role: role(explainer.policy.role),
            network: bundle.network.to_string(),
            generation: bundle.generation,
            verified: explainer.accepted.verified,
            running: explainer.in_force.is_some(),
            remarks,
            answers: answers.iter().zip(standings).map(held).collect(),
            kernel: Seen::of(kernel),
        }
    }

    fn text(&self) -> String {
        let question = format!("{} through {} ({})", self.question, self.gateway, self.role);
        let mut text = String::new();
        if self.answers.is_empty() {
            text += &nothing_in_common(&question);
        }
        for Held { told, kernel } in &self.answers {
            text += &told.text(&question);
            for differs in &kernel.differences {
                text += &entry("but", &format!("{}: {}", differs.what, differs.remedy));
            }
            if kernel.verdict != "unknown" && kernel.verdict != told.verdict {
                let does = if kernel.verdict == "allow" { "lets it pass" } else { "drops it" };
                text += &entry("so", &format!("the kernel {does}"));
            }
        }
        let verified = if self.verified { "its signatures hold" } else { "its signatures held when it was taken" };
        let running = if self.running { "running" } else { "not running" };
        text += &format!(
            "gateway {} of {}, {running}; generation {} from its state: {verified}\n",
            self.gateway, self.network, self.generation
        );
        for remark in &self.remarks {
            text += &format!("  but {remark}\n");
        }
        let of_answers = self.answers.iter().any(|held| !held.kernel.differences.is_empty());
        text + &self.kernel.text(of_answers, self.running)
    }
}

impl Seen {
    fn of(kernel: &Kernel) -> Self {
        let state = match kernel {
            Kernel { unasked: Some(_), .. } => "unknown",
            Kernel { closed: Some(_), .. } => "closed",
            kernel if kernel.differs() => "differs",
            Kernel { chains_unasked: Some(_), .. } => "unknown",
            _ => "agrees",
        };
        let unasked = kernel.unasked.as_ref().map(|unasked| match unasked.remedy.as_str() {
            "" => unasked.cause.clone(),
            remedy => format!("{}: {remedy}", unasked.cause),
        });
        let chains = kernel.chains_unasked.as_ref().map(|cause| format!("its chains could not be compared: {cause}"));
        Self {
            state,
            cause: unasked.or(chains),
            closes_in_seconds: kernel.open_for.as_ref().map(Duration::as_secs),
            differences: kernel.closed.iter().chain(&kernel.differences).map(differs).collect(),
        }
    }

    fn text(&self, of_answers: bool, running: bool) -> String {
        let head = match self.state {
            "agrees" => "the kernel agrees\n",
            "closed" => "the kernel differs: the gateway is closed\n",
            "differs" if of_answers && self.differences.is_empty() => "the kernel differs, as said above\n",
            "differs" => "the kernel differs:\n",
            _ => "the kernel cannot be asked\n",
        };
        let mut text = head.to_owned();
        text.extend(self.cause.iter().map(|cause| format!("  {cause}\n")));
        if let Some(seconds) = self.closes_in_seconds.filter(|_| !running) {
            text += &format!("  nobody renews the alive element: everything drops in {seconds} s\n");
        }
        for differs in &self.differences {
            text += &format!("  {}\n    help: {}\n", differs.what, differs.remedy);
        }
        text
    }
}

fn differs(difference: &Difference) -> Differs {
    Differs { what: difference.what.clone(), remedy: difference.remedy.clone() }
}

fn verdict(answer: &Answer<'_>, standing: Option<&Standing>, kernel: &Kernel) -> Verdict {
    let certain = kernel.unasked.is_none() && kernel.chains_unasked.is_none() && kernel.differences.is_empty();
    let guarded = guardrail(&answer.judgement).is_some();
    let verdict = match standing {
        _ if kernel.closed.is_some() => "deny",
        Some(standing) if certain && standing.passes && !guarded && answer.part != Part::Nothing => "allow",
        Some(_) if certain => "deny",
        Some(_) | None => "unknown",
    };
    let differences = standing.map(|standing| standing.differences.iter().map(differs).collect());
    Verdict { verdict, differences: differences.unwrap_or_default() }
}

fn told(explainer: &Explainer, answer: &Answer<'_>) -> Told {
    let policy = &explainer.policy;
    let service = answer.service.map(|service| Named { name: service.name.to_string(), why: None, place: None });
    let id = guardrail(&answer.judgement);
    Told {
        flow: flow_text(&answer.flow),
        flows: answer.flows,
        verdict: if answer.passes() { "allow" } else { "deny" },
        tier: tier(answer),
        reason: reason(answer),
        from: whereabouts(policy.gateway.as_str(), &answer.source),
        to: whereabouts(policy.gateway.as_str(), &answer.destination),
        service,
        agreement: agreed(answer),
        guardrail: id.map(|id| Named { name: id.to_string(), why: None, place: None }),
        path: vec![station(explainer, answer)],
        remedy: Vec::new(),
    }
}

fn tier(answer: &Answer<'_>) -> &'static str {
    match (&answer.judgement, answer.part) {
        (_, Part::Nothing) => "default",
        (Judgement::Guarded(_), _) => "guardrail",
        (Judgement::Allowed(_), _) => "agreement",
        (Judgement::UnknownSource | Judgement::NoRule(_), _) => "default",
    }
}

fn reason(answer: &Answer<'_>) -> String {
    match (&answer.judgement, answer.part) {
        (_, Part::Nothing) => "neither end stands here, and an edge relays nothing".to_owned(),
        (Judgement::Guarded(id), _) => format!("guardrail {id} denies it, whatever was agreed"),
        (Judgement::UnknownSource, _) => "no department that this gateway knows has the source".to_owned(),
        (Judgement::NoRule(_), _) => match answer.withheld {
            Some((agreement, why)) => {
                format!("agreement {} would allow it, and is not honoured now: {why}", agreement.id)
            }
            None => "no agreement allows it".to_owned(),
        },
        (Judgement::Allowed(_), _) => {
            let id = answer.agreement.map(|agreement| agreement.id.to_string()).unwrap_or_default();
            format!("agreement {id} allows it")
        }
    }
}

fn whereabouts(gateway: &str, end: &End<'_>) -> Whereabouts {
    let segment = end.department.and_then(|department| department.segment.as_ref());
    let site = end.department.map(|department| format!("site {}", department.site));
    Whereabouts {
        overlay: end.overlay.to_string(),
        real: end.real.map(|real| real.to_string()),
        department: end.department.map(|department| department.name.to_string()),
        gateway: if segment.is_some() { Some(gateway.to_owned()) } else { site },
        device: segment.map(segment_device),
        mapping: end.mapping.map(|mapping| [mapping.real.to_string(), mapping.overlay.to_string()]),
        place: None,
    }
}

fn agreed(answer: &Answer<'_>) -> Option<Agreed> {
    let agreement = answer.agreement?;
    let by = answer.service.and_then(|service| service.ports.iter().find(|port| answer.flow.is(**port)));
    Some(Agreed {
        id: agreement.id.to_string(),
        place: None,
        by: by.map(ToString::to_string).unwrap_or_default(),
        class: agreement.class.to_string(),
        number: Some(agreement.number),
        lease_seconds: Some(agreement.lease_seconds),
        hours: Some(agreement.hours.as_ref().map_or("always", Hours::text).to_owned()),
        not_before: agreement.not_before.map(|date| date.to_string()),
        not_after: agreement.not_after.map(|date| date.to_string()),
        reference: None,
        consents: Vec::new(),
    })
}

fn station(explainer: &Explainer, answer: &Answer<'_>) -> Station {
    let policy = &explainer.policy;
    let agreement = |number: u32| {
        let found = policy.agreements.iter().find(|agreement| agreement.number == number);
        found.map(|agreement| agreement.id.to_string()).unwrap_or_default()
    };
    let department = |number: u32| {
        let found = policy.departments.iter().find(|department| department.number == number);
        found.map(|department| department.name.to_string()).unwrap_or_default()
    };
    let decided = Decided {
        judgement: &answer.judgement,
        part: answer.part,
        real: answer.destination.real,
        agreement: &agreement,
        department: &department,
    };
    Station {
        gateway: policy.gateway.to_string(),
        role: role(policy.role),
        part: answer.part.label(),
        passes: answer.passes(),
        table: decided.table(),
    }
}
