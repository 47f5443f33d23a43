//! What only shows once everything is resolved: agreements that have no effect or one that surprises, and more than a
//! kernel can hold.
//!
//! ```text
//!  agreements in force ─┬▶ two for one pair of department and service    warning: which one counts
//!                       ├▶ guardrails leave nothing of one               warning: which guardrail
//!  and those to come     └▶ ranges of ports per gateway and family        error beyond the limit of nft_set_pipapo
//! ```
//!
//! Nothing is decided twice: what is left of an agreement is asked of the evaluator, and ranges are those that `compile`
//! settles.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::compile::{Grant, LISTED_PORTS, grants, overlay};
use super::evaluate::{Evaluator, Reason, Verdict};
use super::finding::{Code, Report};
use super::guardrails::{Denial, denials};
use super::model::{Agreement, Guardrail, Model, Origin, Service};
use super::question::flows_between;
use super::source::Mark;
use crate::bundle::{Match, RANGE_LIMIT, settle};
use crate::identity::{Id, Name, Qualified};
use crate::net::{Family, PortMatch, Protocol};

/// Tells of all of it.
pub(super) fn judge(model: &Model, report: &mut Report) {
    let denials = denials(model);
    let in_force: Vec<Grant<'_>> = grants(model, Agreement::in_force).collect();
    twice(&in_force, report);
    emptied(model, &in_force, &denials, report);
    let told: Vec<Grant<'_>> = grants(model, |agreement| agreement.is_told(model.at)).collect();
    ranges(model, &told, &denials, report);
}

fn mark(origin: &Origin) -> Mark {
    Mark { origin: origin.clone(), width: 1 }
}

fn place(origin: &Origin) -> String {
    format!("{}:{}", origin.file, origin.line)
}

/// Agreements that let a department reach a service which another one lets it reach already.
fn twice(grants: &[Grant<'_>], report: &mut Report) {
    let mut by_pair: BTreeMap<(&Qualified, &Qualified), Vec<&Agreement>> = BTreeMap::new();
    for grant in grants {
        by_pair.entry((&grant.service.name, &grant.consumer.name)).or_default().push(grant.agreement);
    }
    for ((service, consumer), mut agreements) in by_pair {
        agreements.sort_by_key(|agreement| agreement.number);
        let Some((first, others)) = agreements.split_first() else { continue };
        for other in others {
            let message = format!("{} lets {consumer} reach {service}, as {} does already", other.id, first.id);
            let help = format!(
                "its flows count under {} ({}), and go on until both have ended",
                first.id,
                place(&first.origin)
            );
            report.warning(mark(&other.origin), Code::Twice, message).advise(help);
        }
    }
}

/// Agreements of which guardrails leave nothing, for all of their consumers or for some.
fn emptied(model: &Model, grants: &[Grant<'_>], denials: &[Denial], report: &mut Report) {
    let mut touched: BTreeMap<&Id, Vec<&Grant<'_>>> = BTreeMap::new();
    for grant in grants.iter().filter(|grant| denials.iter().any(|denial| touches(denial, grant))) {
        touched.entry(&grant.agreement.id).or_default().push(grant);
    }
    if touched.is_empty() {
        return;
    }
    let evaluator = Evaluator::new(model);
    for grants in touched.into_values() {
        let Some(agreement) = grants.first().map(|grant| grant.agreement) else { continue };
        let (mut consumers, mut causes) = (Vec::new(), BTreeSet::new());
        for grant in grants {
            if let Some(guardrails) = nothing_left(model, &evaluator, grant) {
                consumers.push(&grant.consumer.name);
                causes.extend(guardrails);
            }
        }
        if !consumers.is_empty() {
            tell_emptied(model, agreement, &consumers, &causes, report);
        }
    }
}

/// Whether a guardrail may deny any flow of a grant; it may not, if not.
fn touches(denial: &Denial, grant: &Grant<'_>) -> bool {
    let crate::bundle::Guardrail { from, to, .. } = &denial.guardrail;
    let sources = || overlay(grant.consumer);
    let hosts = &grant.service.overlay_hosts;
    (from.is_empty() || sources().iter().any(|own| from.iter().any(|prefix| prefix.overlaps(*own))))
        && (to.prefixes.is_empty() || hosts.iter().any(|&host| to.prefixes.iter().any(|prefix| prefix.contains(host))))
        && (to.ports.is_empty()
            || grant.service.ports.iter().any(|&port| to.ports.iter().any(|&denied| meets(port, denied))))
}

/// Whether a flow may be both.
fn meets(port: PortMatch, denied: Match) -> bool {
    let icmp = |protocol: u8| [Protocol::ICMP, Protocol::ICMPV6].contains(&Protocol(protocol));
    match (port, denied) {
        (PortMatch::Any, _) | (_, Match::Any) => true,
        (PortMatch::Protocol(own) | PortMatch::Ports { protocol: own, .. }, Match::Protocol { protocol }) => {
            own.0 == protocol
        }
        (PortMatch::Protocol(own), Match::Port { protocol, .. } | Match::Ports { protocol, .. }) => own.0 == protocol,
        (PortMatch::Ports { protocol: own, first, last }, Match::Port { protocol, port }) => {
            own.0 == protocol && (first..=last).contains(&port)
        }
        (PortMatch::Ports { protocol: own, first, last }, Match::Ports { protocol, first: from, last: to }) => {
            own.0 == protocol && first <= to && from <= last
        }
        (PortMatch::Icmp(_), Match::Icmp { protocol, .. } | Match::Protocol { protocol }) => icmp(protocol),
        (PortMatch::Protocol(own), Match::Icmp { protocol, .. }) => own.0 == protocol,
        (PortMatch::Icmp(_), Match::Port { .. } | Match::Ports { .. })
        | (PortMatch::Ports { .. }, Match::Icmp { .. }) => false,
    }
}

/// The guardrails that deny every flow of a grant, if they do.
fn nothing_left(model: &Model, evaluator: &Evaluator, grant: &Grant<'_>) -> Option<BTreeSet<Id>> {
    let mut causes = BTreeSet::new();
    for flow in flows_between(model, grant.consumer, grant.service) {
        match evaluator.evaluate(&flow) {
            Verdict::Deny(Reason::Guardrail(id)) => causes.insert(id),
            Verdict::Deny(Reason::UnknownSource | Reason::UnknownDestination | Reason::NoAgreement)
            | Verdict::Allow { .. } => return None,
        };
    }
    (!causes.is_empty()).then_some(causes)
}

fn tell_emptied(
    model: &Model,
    agreement: &Agreement,
    consumers: &[&Qualified],
    causes: &BTreeSet<Id>,
    report: &mut Report,
) {
    let joined = |texts: Vec<String>| texts.join(", ");
    let guardrails: Vec<&Guardrail> = model.guardrails.iter().filter(|known| causes.contains(&known.id)).collect();
    let ids = joined(guardrails.iter().map(|guardrail| guardrail.id.to_string()).collect());
    let places = joined(guardrails.iter().map(|it| format!("{} ({})", it.id, place(&it.origin))).collect());
    let whom = if consumers.len() == agreement.from.len() {
        String::new()
    } else {
        format!(" for {}", joined(consumers.iter().map(ToString::to_string).collect()))
    };
    let message = format!("guardrail {ids} leaves nothing of {}{whom}", agreement.id);
    let help = format!("a guardrail denies whatever was agreed: narrow {places}, or end {}", agreement.id);
    report.warning(mark(&agreement.origin), Code::Guarded, message).advise(help);
}

/// Who asks for the ranges of one gateway and family.
#[derive(Default)]
struct Held<'m> {
    count: usize,
    by_service: BTreeMap<&'m Qualified, usize>,
}

/// Refuses more ranges of ports than a gateway's kernel is given: the worst gateway, at the service that asks for most.
fn ranges(model: &Model, grants: &[Grant<'_>], denials: &[Denial], report: &mut Report) {
    let held = held(model, grants, denials);
    let worst = held.into_iter().filter(|(_, held)| held.count > RANGE_LIMIT).max_by_key(|(_, held)| held.count);
    let Some(((gateway, family), Held { count, by_service })) = worst else { return };
    let most = by_service.into_iter().max_by_key(|(_, count)| *count);
    let service = |name: &Qualified| model.services.iter().find(|service| service.name == *name);
    let Some((service, most)) = most.and_then(|(name, most)| Some((service(name)?, most))) else { return };
    let family = if family == Family::V4 { "IPv4" } else { "IPv6" };
    let message = format!(
        "{gateway} would hold {count} ranges of {family} ports, of which its kernel bears {RANGE_LIMIT}: \
         {most} of them are to {}",
        service.name
    );
    let agreed = grants.iter().find(|grant| grant.service.name == service.name).map(|grant| grant.agreement);
    let agreed = agreed.map(|it| format!(" in {} ({})", it.id, place(&it.origin))).unwrap_or_default();
    let help = format!(
        "each host, consumer and range longer than {LISTED_PORTS} ports counts: name single ports, or fewer hosts, or \
         fewer consumers{agreed}"
    );
    report.error(mark(&service.origin), Code::TooMany, message).advise(help);
}

fn held<'m>(model: &'m Model, grants: &[Grant<'m>], denials: &[Denial]) -> BTreeMap<(&'m Name, Family), Held<'m>> {
    let long = |port: &PortMatch| matches!(port, PortMatch::Ports { first, last, .. } if last - first >= LISTED_PORTS);
    let ranged: Vec<&Grant<'_>> = grants.iter().filter(|grant| grant.service.ports.iter().any(long)).collect();
    let mut of: HashMap<(u32, IpAddr), &Grant<'m>> = HashMap::new();
    for grant in &ranged {
        of.extend(grant.service.overlay_hosts.iter().map(|&host| ((grant.consumer.number, host), *grant)));
    }
    let is_range = |rule: &crate::bundle::Rule| matches!(rule.matching, Match::Ports { .. });
    let (rules, _) = settle(ranged.iter().flat_map(|grant| grant.rules(denials)).filter(is_range));
    let mut held: BTreeMap<(&Name, Family), Held<'_>> = BTreeMap::new();
    for rule in rules {
        let Some(grant) = of.get(&(rule.department, rule.destination)) else { continue };
        for gateway in grant.gateways(&model.hubs) {
            let at = held.entry((gateway, Family::of(rule.destination))).or_default();
            at.count += 1;
            *at.by_service.entry(name(grant.service)).or_default() += 1;
        }
    }
    held
}

fn name(service: &Service) -> &Qualified {
    &service.name
}
