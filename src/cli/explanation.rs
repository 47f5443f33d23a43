//! What both kinds of `explain` have in common: the question on the command line, and how an answer is told, as text and
//! as JSON.
//!
//! ```text
//!  Asked ─▶ Question ─▶ the definition's or a gateway's answers ─▶ Told ─┬▶ lines
//!                                                                        └▶ JSON
//! ```

use std::net::IpAddr;

use clap::Args;
use serde::Serialize;

use super::{Exit, Failure};
use crate::bundle::{Judgement, Role, Rule};
use crate::identity::Qualified;
use crate::net::{Aim, Flow, Protocol};
use crate::policy::explain::{Elsewhere, Part};
use crate::policy::{From, Question, To, nearest, printable};
use crate::ruleset;

/// The question on the command line.
#[derive(Debug, Args)]
pub(super) struct Asked {
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
}

fn protocol(text: &str) -> Result<Protocol, String> {
    let number = || text.parse().ok().map(Protocol);
    Protocol::named(text).or_else(number).ok_or_else(|| format!("'{text}' is neither a protocol's name nor its number"))
}

/// What names and addresses mean to whoever answers.
pub(super) struct Known<'a> {
    /// The departments.
    pub(super) departments: Vec<&'a Qualified>,
    /// The services.
    pub(super) services: Vec<&'a Qualified>,
    /// The overlay address that is meant by one.
    pub(super) overlay_of: &'a dyn Fn(IpAddr) -> Result<IpAddr, Elsewhere>,
}

impl Asked {
    /// The question that is meant.
    ///
    /// # Errors
    /// 64: a name that is not known, an address that several have, a port without a protocol.
    pub(super) fn question(&self, known: &Known<'_>) -> Result<Question, Failure> {
        let from = match known.address("--from", &self.from)? {
            Some(address) => From::Address(address),
            None => From::Department(one_of("--from", "department", &self.from, &known.departments)?),
        };
        let to = match known.address("--to", &self.to)? {
            Some(address) => To::Address(address),
            None => To::Service(one_of("--to", "service", &self.to, &known.services)?),
        };
        let (protocol, port) = (self.proto, self.port);
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
}

impl Known<'_> {
    /// The overlay address that is meant, if it is an address.
    fn address(&self, option: &str, text: &str) -> Result<Option<IpAddr>, Failure> {
        let Ok(address) = text.parse::<IpAddr>() else { return Ok(None) };
        (self.overlay_of)(address).map(Some).map_err(|Elsewhere { address, candidates }| {
            let shown = |(name, overlay): &(Qualified, IpAddr)| format!("{overlay} of {name}");
            let some: Vec<String> = candidates.iter().take(5).map(shown).collect();
            let more = candidates.len().saturating_sub(some.len());
            let rest = if more > 0 { format!(", and {more} others") } else { String::new() };
            let cause = format!("{option} {address} is a real address of {} departments", candidates.len());
            let help = format!("name the department, or one of the overlay addresses: {}{rest}", some.join(", "));
            Failure::new(Exit::Usage, cause, help)
        })
    }
}

fn one_of(option: &str, kind: &str, text: &str, names: &[&Qualified]) -> Result<Qualified, Failure> {
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

/// One answer in JSON; the text is made from the same. A gateway knows no places in files, and no consents.
#[derive(Serialize)]
pub(super) struct Told {
    pub(super) flow: String,
    pub(super) flows: usize,
    pub(super) verdict: &'static str,
    pub(super) tier: &'static str,
    pub(super) reason: String,
    pub(super) from: Whereabouts,
    pub(super) to: Whereabouts,
    pub(super) service: Option<Named>,
    pub(super) agreement: Option<Agreed>,
    pub(super) guardrail: Option<Named>,
    pub(super) path: Vec<Station>,
    pub(super) remedy: Vec<String>,
}

/// One end of a flow.
#[derive(Serialize)]
pub(super) struct Whereabouts {
    pub(super) overlay: String,
    pub(super) real: Option<String>,
    pub(super) department: Option<String>,
    pub(super) gateway: Option<String>,
    pub(super) device: Option<String>,
    pub(super) mapping: Option<[String; 2]>,
    pub(super) place: Option<String>,
}

/// A service or a guardrail.
#[derive(Serialize)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) why: Option<String>,
    pub(super) place: Option<String>,
}

/// An agreement.
#[derive(Serialize)]
pub(super) struct Agreed {
    pub(super) id: String,
    pub(super) place: Option<String>,
    pub(super) by: String,
    pub(super) class: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) number: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease_seconds: Option<u64>,
    pub(super) hours: Option<String>,
    pub(super) not_before: Option<String>,
    pub(super) not_after: Option<String>,
    pub(super) reference: Option<String>,
    pub(super) consents: Vec<String>,
}

/// A gateway on the way.
#[derive(Serialize)]
pub(super) struct Station {
    pub(super) gateway: String,
    pub(super) role: &'static str,
    pub(super) part: &'static str,
    pub(super) passes: bool,
    pub(super) table: String,
}

/// What a gateway does with a flow, and the names of what it speaks of.
pub(super) struct Decided<'a> {
    pub(super) judgement: &'a Judgement,
    pub(super) part: Part,
    /// The destination as its own segment knows it.
    pub(super) real: Option<IpAddr>,
    /// The agreement's id by its number.
    pub(super) agreement: &'a dyn Fn(u32) -> String,
    /// The department's name by its number.
    pub(super) department: &'a dyn Fn(u32) -> String,
}

impl Told {
    /// The answer as people read it, its question in the first line.
    pub(super) fn text(&self, question: &str) -> String {
        let word = if self.verdict == "allow" { "ALLOWED" } else { "DENIED " };
        let mut text = format!("{word}  {question}\n");
        for (title, line) in self.lines() {
            text += &entry(title, &line);
        }
        text
    }

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

/// A line with its title.
pub(super) fn entry(title: &str, line: &str) -> String {
    format!("  {title:<12} {line}\n")
}

/// What is said where a question has no flow at all.
pub(super) fn nothing_in_common(question: &str) -> String {
    format!("DENIED   {question}\n") + &entry("because", "the two have no address family, protocol or port in common")
}

/// A flow's first packet in words.
pub(super) fn flow_text(flow: &Flow) -> String {
    let aim = match flow.aim {
        Aim::Port(port) => format!("{}/{port}", flow.protocol),
        Aim::Icmp(kind) => format!("{} type {kind}", flow.protocol),
        Aim::Nothing => flow.protocol.to_string(),
    };
    format!("{} → {} {aim}", flow.source, flow.destination)
}

fn alike(flows: usize) -> String {
    if flows == 1 { String::new() } else { format!(", and {} others alike", flows - 1) }
}

impl Whereabouts {
    fn line(&self) -> String {
        let Some(department) = &self.department else {
            return format!("{}, which is no department's", self.overlay);
        };
        let mapped = match (&self.real, &self.mapping) {
            (Some(real), Some([from, to])) if from != to => format!(" = {real} by {from} ↔ {to}"),
            (None, None) => String::new(),
            _ => " (real and overlay)".to_owned(),
        };
        let stands = match (&self.gateway, &self.device) {
            (Some(gateway), Some(device)) => format!(" at {gateway} on {device}"),
            (Some(place), None) => format!(" at {place}"),
            (None, _) => String::new(),
        };
        format!("{}{mapped}, {department}{stands}{}", self.overlay, bracketed(self.place.as_ref()))
    }
}

impl Named {
    fn line(&self) -> String {
        let why = self.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{}{why}{}", self.name, bracketed(self.place.as_ref()))
    }
}

fn bracketed(place: Option<&String>) -> String {
    place.map(|place| format!(" ({place})")).unwrap_or_default()
}

impl Agreed {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let number = self.number.map(|number| format!(", number {number}")).unwrap_or_default();
        let lease = self.lease_seconds.map(|seconds| format!(" with a lease of {seconds} s")).unwrap_or_default();
        let place = bracketed(self.place.as_ref());
        let mut lines = vec![("agreement", format!("{}{place}{number}, class {}{lease}", self.id, self.class))];
        lines.extend(self.reference.iter().map(|reference| ("reference", reference.clone())));
        if !self.consents.is_empty() {
            lines.push(("consents", self.consents.join("; ")));
        }
        if let Some(hours) = &self.hours {
            let open = |date: &Option<String>| date.clone().unwrap_or_else(|| "open".to_owned());
            let (begin, end) = (open(&self.not_before), open(&self.not_after));
            lines.push(("time", format!("{begin} to {end}, hours {hours}")));
        }
        lines
    }
}

/// `edge` or `hub`.
pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Edge => "edge",
        Role::Relay => "hub",
    }
}

impl Station {
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

impl Decided<'_> {
    /// What its table answers.
    pub(super) fn table(&self) -> String {
        match self.judgement {
            Judgement::Allowed(rule) => {
                // Between segments both addresses are real.
                let real = self.real.filter(|_| self.part == Part::Local);
                let asked = Rule { destination: real.unwrap_or(rule.destination), ..*rule };
                let id = (self.agreement)(rule.agreement);
                match ruleset::element(&asked) {
                    Some((map, key)) => format!("{map} {{ {key} }} → {} ({id})", rule.agreement),
                    None => format!("a rule of {id}"),
                }
            }
            Judgement::Guarded(id) => format!("guardrail {id}"),
            Judgement::NoRule(number) => {
                format!("no rule of {} (department {number}) for it", (self.department)(*number))
            }
            Judgement::UnknownSource => "no department has the source here".to_owned(),
        }
    }
}
