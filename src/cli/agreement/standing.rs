//! How an agreement stands, for people and machines.

use jiff::Timestamp;
use serde::Serialize;

use crate::bundle::Notice;
use crate::identity::Name;
use crate::policy;
use crate::policy::model::{Agreement, Model, Void};

/// An agreement for people and machines.
#[derive(Serialize)]
pub(super) struct Standing {
    id: String,
    number: u32,
    state: &'static str,
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
    notices: Vec<Said>,
}

#[derive(Serialize)]
struct Consent {
    council: String,
    given: bool,
    by: Option<String>,
    at: Option<String>,
    /// Why it does not count.
    fault: Option<String>,
}

/// A notice, without its signature, which holds.
#[derive(Serialize)]
struct Said {
    effect: &'static str,
    /// None is the operator.
    council: Option<String>,
    by: String,
    number: u64,
    at: String,
    terms: String,
    why: Option<String>,
}

impl Standing {
    pub(super) fn of(model: &Model, agreement: &Agreement) -> Self {
        let service = model.services.iter().find(|service| service.name == agreement.service);
        Self {
            id: agreement.id.to_string(),
            number: agreement.number,
            state: agreement.state().label(),
            standing: if agreement.in_force() { "in force" } else { "void" },
            reasons: agreement.void.iter().map(|void| reason(agreement, void)).collect(),
            service: agreement.service.to_string(),
            hosts: service.map_or(Vec::new(), |service| texts(&service.hosts)),
            ports: service.map_or(Vec::new(), |service| texts(&service.ports)),
            from: texts(&agreement.from),
            apart: texts(&agreement.apart),
            class: agreement.class.to_string(),
            not_before: agreement.not_before.map(|date| date.to_string()),
            not_after: agreement.not_after.map(|date| date.to_string()),
            reference: agreement.reference.clone(),
            consents: agreement.councils.iter().filter_map(|council| consent(agreement, council)).collect(),
            notices: agreement.notices.iter().map(said).collect(),
        }
    }

    pub(super) fn row(&self) -> [String; 5] {
        let reasons = self.reasons.join("; ");
        [self.id.clone(), self.state.to_owned(), self.service.clone(), self.from.join(", "), reasons]
    }

    pub(super) fn text(&self, at: Timestamp) -> String {
        let Self { id, number, state, standing, .. } = self;
        let mut lines = vec![format!("agreement {id} (number {number}): {state}, {standing} as of {at}")];
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
            line("consent", consent.text());
        }
        for said in &self.notices {
            line("notice", said.text());
        }
        lines.join("\n") + "\n"
    }
}

impl Consent {
    fn text(&self) -> String {
        let Self { council, by, at, fault, .. } = self;
        let by = by.as_ref().map(|by| format!(" by {}", policy::printable(by))).unwrap_or_default();
        let at = at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
        match fault {
            Some(fault) => format!("{council}: MISSING: {}", policy::printable(fault)),
            None => format!("{council}: given{by}{at}"),
        }
    }
}

impl Said {
    fn text(&self) -> String {
        let Self { effect, council, by, number, at, why, .. } = self;
        let who = council.as_deref().unwrap_or("the operator");
        let why = why.as_ref().map(|why| format!(": {}", policy::printable(why))).unwrap_or_default();
        format!("{who}: {effect}, number {number} by {} at {at}{why}", policy::printable(by))
    }
}

/// A reason against an agreement; of a consent that is missing, what is wrong with it.
fn reason(agreement: &Agreement, void: &Void) -> String {
    let of = |council: &Name| agreement.lacking.iter().find(|lacking| lacking.council == *council);
    let more = match void {
        Void::ConsentMissing(council) => of(council).map(|lacking| format!(": {}", lacking.fault)),
        Void::NotYet(_)
        | Void::Ended(_)
        | Void::OutsideHours(_)
        | Void::Unsupported(_)
        | Void::Suspended { .. }
        | Void::Refused { .. }
        | Void::Revoked { .. } => None,
    };
    policy::printable(&format!("{void}{}", more.unwrap_or_default()))
}

fn consent(agreement: &Agreement, council: &Name) -> Option<Consent> {
    let date = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let council = council.clone();
    if let Some(lacking) = agreement.lacking.iter().find(|lacking| lacking.council == council) {
        let (by, at, fault) = (lacking.by.clone(), date(lacking.at), Some(lacking.fault.clone()));
        return Some(Consent { council: council.to_string(), given: false, by, at, fault });
    }
    let given = agreement.consents.iter().find(|consent| consent.council == council)?;
    let (by, at) = (Some(given.by.clone()), date(given.at));
    Some(Consent { council: council.to_string(), given: true, by, at, fault: None })
}

fn said(notice: &Notice) -> Said {
    let Notice { council, by, number, effect, terms, why, at, .. } = notice;
    Said {
        effect: effect.as_str(),
        council: council.as_ref().map(ToString::to_string),
        by: by.clone(),
        number: *number,
        at: at.to_string(),
        terms: terms.clone(),
        why: why.clone(),
    }
}

fn texts<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}
