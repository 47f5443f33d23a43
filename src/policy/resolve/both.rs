//! Two definitions that are to be compared: of their agreements only those that can have a part in a difference.
//!
//! ```text
//!  old ─ ground ─┐                       ┌─ agreements whose files differ, and all that
//!                ├─ what differs in it ──┤  name a service that shares a host with theirs, or
//!  new ─ ground ─┘                       └─ something of the ground that differs ─▶ resolved as ever
//! ```
//!
//! Fifty thousand agreements of which a hundred differ take no longer than the ground. A name is looked for in a file's octets; in a
//! file with a backslash it may be written otherwise, so such a file is always taken. What is left out is neither checked nor verified.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use aho_corasick::AhoCorasick;
use jiff::Timestamp;

use super::{Draft, Resolved, numbers};
use crate::identity::Qualified;
use crate::policy::allotted::Allotted;
use crate::policy::document;
use crate::policy::finding::{Finding, Report};
use crate::policy::model::{Guardrail, Object, Service, Subject};
use crate::policy::parallel;
use crate::policy::source::Files;

/// Resolves both as of `at`, as far as they can differ in who reaches what.
///
/// # Errors
/// All findings of each that does not hold.
pub fn both(old: &Files, new: &Files, at: Timestamp) -> [Result<Resolved, Vec<Finding>>; 2] {
    let (before, after) = parallel::join(|| ground(old, at), || ground(new, at));
    let (before, after) = match (before, after) {
        (Ok(before), Ok(after)) => (before, after),
        (before, after) => return [before, after].map(|draft| draft.and_then(Draft::finish)),
    };
    let parts = parts(&before, old, &after, new);
    let resolved = |mut draft: Draft, files: &Files| {
        let mut unread = Report::default();
        let mut paths = document::agreements(files);
        paths.retain(|path| parts.contains(path));
        draft.agreements(files, &paths, &mut unread);
        if unread.has_errors() {
            return Err(unread.into_findings());
        }
        numbers::fill_agreements(&mut draft);
        draft.finish()
    };
    [resolved(before, old), resolved(after, new)]
}

/// What agreements stand on, with its numbers and overlays.
fn ground(files: &Files, at: Timestamp) -> Result<Draft, Vec<Finding>> {
    let (mut draft, mut unread) = (Draft { at, ..Draft::default() }, Report::default());
    let documents = draft.ground(files, &mut unread);
    if unread.has_errors() {
        return Err(unread.into_findings());
    }
    if let Some(document) = &documents.allotted {
        draft.allotted = Allotted::read(document, &mut draft.report);
    }
    if !draft.report.has_errors() {
        numbers::fill(&mut draft);
    }
    if draft.report.has_errors() { Err(draft.report.into_findings()) } else { Ok(draft) }
}

/// The agreements that can have a part in a difference, by path.
fn parts<'a>(before: &Draft, old: &'a Files, after: &Draft, new: &'a Files) -> BTreeSet<&'a str> {
    let all: BTreeSet<&str> = document::agreements(old).into_iter().chain(document::agreements(new)).collect();
    let mut names = Names::default();
    if !names.of_ground(before, after) {
        return all;
    }
    let (differing, same): (BTreeSet<&str>, BTreeSet<&str>) =
        all.into_iter().partition(|path| old.get(path) != new.get(path));
    for files in [old, new] {
        let documents = differing.iter().filter_map(|path| document::agreement(files, path, &mut Report::default()));
        for document in documents {
            let agreement = document.value.agreement.map(toml::Spanned::into_inner);
            names.services.extend(agreement.and_then(|it| it.service.into_inner().parse().ok()));
        }
    }
    names.neighbours([before, after]);
    let patterns = names.patterns();
    // Of no more names than a definition has, none of them empty: it can be made. If not, all are taken.
    let Ok(search) = AhoCorasick::new(patterns) else { return differing.into_iter().chain(same).collect() };
    let has_part = |path: &&str| {
        let octets = old.get(path).unwrap_or_default();
        octets.contains(&b'\\') || search.is_match(octets)
    };
    same.into_iter().filter(has_part).chain(differing).collect()
}

/// What differs between two grounds, by names that agreements use.
#[derive(Default)]
struct Names {
    services: BTreeSet<Qualified>,
    departments: BTreeSet<Qualified>,
    others: BTreeSet<String>,
}

impl Names {
    /// Collects what differs; false if names cannot tell which agreements it concerns.
    fn of_ground(&mut self, before: &Draft, after: &Draft) -> bool {
        let whole = |draft: &Draft| {
            let classes: Vec<_> = draft.classes.iter().map(|class| class.name.clone()).collect();
            (
                draft.network.clone(),
                draft.overlay.clone(),
                draft.management.as_ref().map(|(prefix, _)| *prefix),
                classes,
            )
        };
        if whole(before) != whole(after) {
            return false;
        }
        let key = |it: &super::Department| (it.name.clone(), (it.mappings.clone(), it.tags.clone(), it.vlan));
        let departments = differing(&before.departments, &after.departments, key);
        for draft in [before, after] {
            let tags = draft.departments.iter().filter(|it| departments.contains(&it.name)).flat_map(|it| &it.tags);
            // However a tag is written, its name is in it.
            self.others.extend(tags.map(ToString::to_string));
        }
        self.departments.extend(departments);
        let key = |it: &Service| (it.name.clone(), (it.department.clone(), it.overlay_hosts.clone(), it.ports.clone()));
        self.services.extend(differing(&before.services, &after.services, key));
        let signers = |it: &super::Council| {
            let signers: Vec<_> = it.signers.iter().map(|signer| (signer.by.clone(), signer.key)).collect();
            (it.name.clone(), signers)
        };
        let councils = differing(&before.councils, &after.councils, signers);
        self.councils(&councils, [before, after]);
        let key = |it: &Guardrail| (it.id.clone(), (it.deny.clone(), it.to.clone()));
        let guardrails = differing(&before.guardrails, &after.guardrails, key);
        let concerned =
            [before, after].into_iter().flat_map(|draft| draft.guardrails.iter().map(move |it| (draft, it)));
        concerned.filter(|(_, it)| guardrails.contains(&it.id)).all(|(draft, it)| self.guardrail(draft, it))
    }

    /// Whoever signs for a council signs for what it provides and what its departments use, by name or by tag.
    fn councils(&mut self, councils: &BTreeSet<crate::identity::Name>, drafts: [&Draft; 2]) {
        self.others.extend(councils.iter().map(|name| format!("{name}/")));
        for draft in drafts {
            let own = draft.departments.iter().filter(|it| councils.contains(&it.name.council));
            self.others.extend(own.flat_map(|it| &it.tags).map(ToString::to_string));
        }
    }

    /// The services or departments that a guardrail denies something to or of.
    fn guardrail(&mut self, draft: &Draft, guardrail: &Guardrail) -> bool {
        if is_about_services(&guardrail.to) {
            let protected = draft.services.iter().filter(|service| protects(&guardrail.to, service));
            self.services.extend(protected.map(|service| service.name.clone()));
            return true;
        }
        let mut own: BTreeSet<&Qualified> = BTreeSet::new();
        for department in &draft.departments {
            let denied = match &guardrail.deny {
                Subject::Any => return false,
                Subject::Council(name) => department.name.council == *name,
                Subject::Department(name) => department.name == *name,
                Subject::Prefix(prefix) => department.mappings.iter().any(|it| it.overlay.overlaps(*prefix)),
            };
            if denied {
                own.insert(&department.name);
                self.others.extend(department.tags.iter().map(ToString::to_string));
            }
        }
        self.departments.extend(own.into_iter().cloned());
        true
    }

    /// Adds the services that share a host with one of those that are there.
    fn neighbours(&mut self, drafts: [&Draft; 2]) {
        let mut hosts: BTreeSet<IpAddr> = BTreeSet::new();
        for draft in drafts {
            let own = self.services.iter().filter_map(|name| draft.service(name));
            hosts.extend(own.flat_map(|service| &service.overlay_hosts));
        }
        for draft in drafts {
            let near = draft.services.iter().filter(|it| it.overlay_hosts.iter().any(|host| hosts.contains(host)));
            self.services.extend(near.map(|service| service.name.clone()));
        }
    }

    fn patterns(&self) -> Vec<String> {
        let qualified = self.services.iter().chain(&self.departments).map(ToString::to_string);
        qualified.chain(self.others.iter().cloned()).collect()
    }
}

/// Whether it can be said of which services something is denied.
fn is_about_services(object: &Object) -> bool {
    match object {
        Object::Service(_) | Object::Department(_) | Object::Prefix(_) => true,
        Object::Any | Object::Port(_) => false,
    }
}

fn protects(object: &Object, service: &Service) -> bool {
    match object {
        Object::Service(name) => service.name == *name,
        Object::Department(name) => service.department == *name,
        Object::Prefix(prefix) => service.overlay_hosts.iter().any(|host| prefix.contains(*host)),
        Object::Any | Object::Port(_) => true,
    }
}

/// The keys of what only one list has, or has otherwise.
fn differing<T, K: Ord, V: PartialEq>(old: &[T], new: &[T], key: impl Fn(&T) -> (K, V)) -> BTreeSet<K> {
    let mut before: BTreeMap<K, V> = old.iter().map(&key).collect();
    let mut differing = BTreeSet::new();
    for (name, value) in new.iter().map(&key) {
        if before.remove(&name).as_ref() != Some(&value) {
            differing.insert(name);
        }
    }
    differing.extend(before.into_keys());
    differing
}
