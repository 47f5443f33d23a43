//! How an agreement stands, for people and machines.

use jiff::Timestamp;
use serde::Serialize;

use crate::identity::Name;
use crate::policy;
use crate::policy::model::{Agreement, Model, Void};

/// An agreement for people and machines.
#[derive(Serialize)]
pub(super) struct Standing {
    id: String,
    number: u32,
    standing: &'static str,
    reasons: Vec<String>,
    service: String,
    hosts: Vec<String>,
    ports: Vec<String>,
    from: Vec<String>,
    apart: Vec<String>,
    class: String,
    not_before: Option<String>,
    not_after: Option<String>,
    reference: Option<String>,
    consents: Vec<Consent>,
}

#[derive(Serialize)]
struct Consent {
    council: String,
    given: bool,
}

impl Standing {
    pub(super) fn of(model: &Model, agreement: &Agreement) -> Self {
        let service = model.services.iter().find(|service| service.name == agreement.service);
        let missing = |council: &Name| agreement.void.contains(&Void::ConsentMissing(council.clone()));
        let consent = |council: &Name| Consent { council: council.to_string(), given: !missing(council) };
        Self {
            id: agreement.id.to_string(),
            number: agreement.number,
            standing: if agreement.in_force() { "in force" } else { "void" },
            reasons: agreement.void.iter().map(ToString::to_string).collect(),
            service: agreement.service.to_string(),
            hosts: service.map_or(Vec::new(), |service| texts(&service.hosts)),
            ports: service.map_or(Vec::new(), |service| texts(&service.ports)),
            from: texts(&agreement.from),
            apart: texts(&agreement.apart),
            class: agreement.class.to_string(),
            not_before: agreement.not_before.map(|date| date.to_string()),
            not_after: agreement.not_after.map(|date| date.to_string()),
            reference: agreement.reference.clone(),
            consents: agreement.councils.iter().map(consent).collect(),
        }
    }

    pub(super) fn row(&self) -> [String; 5] {
        let reasons = self.reasons.join("; ");
        [self.id.clone(), self.standing.to_owned(), self.service.clone(), self.from.join(", "), reasons]
    }

    pub(super) fn text(&self, at: Timestamp) -> String {
        let mut lines = vec![format!("agreement {} (number {}): {} as of {at}", self.id, self.number, self.standing)];
        let mut line = |title: &str, text: String| lines.push(format!("  {title:<12}{text}"));
        for reason in &self.reasons {
            line("because", reason.clone());
        }
        line("service", format!("{} ({} at {})", self.service, self.ports.join(", "), self.hosts.join(", ")));
        line("from", self.from.join(", "));
        if !self.apart.is_empty() {
            line("not yet for", self.apart.join(", "));
        }
        line("class", self.class.clone());
        let open = || "open".to_owned();
        let (begin, end) = (self.not_before.clone().unwrap_or_else(open), self.not_after.clone().unwrap_or_else(open));
        line("time", format!("{begin} to {end}"));
        if let Some(reference) = &self.reference {
            line("reference", policy::printable(reference));
        }
        for consent in &self.consents {
            line("consent", format!("{}: {}", consent.council, if consent.given { "given" } else { "MISSING" }));
        }
        lines.join("\n") + "\n"
    }
}

fn texts<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}
