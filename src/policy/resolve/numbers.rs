//! Puts the numbers, management addresses and overlay prefixes that were given out into the model.

use crate::bundle::Mapping;
use crate::policy::allotted::Kept;
use crate::policy::finding::Code;
use crate::policy::resolve::Draft;
use crate::policy::source::Mark;

/// Fills in what `allotted.toml` has; reports, in one finding, what it lacks.
pub(super) fn fill(draft: &mut Draft) {
    let mut missing = Vec::new();
    draft.numbers(&mut missing);
    draft.gateways(&mut missing);
    draft.overlays(&mut missing);
    if draft.has_all(&missing) {
        draft.disjoint_overlays();
        draft.overlay_hosts();
    }
}

/// The same of agreements that came when all else had been filled in.
pub(super) fn fill_agreements(draft: &mut Draft) {
    let mut missing = Vec::new();
    draft.agreement_numbers(&mut missing);
    draft.has_all(&missing);
}

impl Draft {
    /// Reports what is missing, if anything is.
    fn has_all(&mut self, missing: &[String]) -> bool {
        let [first, rest @ ..] = missing else { return true };
        let more = match rest.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!("nothing has been allotted to {first}{more}");
        self.report
            .error(Mark::file("allotted.toml"), Code::NotAllotted, message)
            .advise("run `turnpike policy allot DIR` and commit allotted.toml");
        false
    }
}

impl Draft {
    fn numbers(&mut self, missing: &mut Vec<String>) {
        let allotted = &self.allotted;
        for council in &mut self.councils {
            put(&mut council.number, allotted.councils.get(&council.name), missing, || {
                format!("council '{}'", council.name)
            });
        }
        for department in &mut self.departments {
            let number = allotted.departments.get(&department.name).map(|entry| &entry.number);
            put(&mut department.number, number, missing, || format!("department '{}'", department.name));
        }
        for service in &mut self.services {
            put(&mut service.number, allotted.services.get(&service.name), missing, || {
                format!("service '{}'", service.name)
            });
        }
        self.agreement_numbers(missing);
        let allotted = &self.allotted;
        missing.extend(allotted.missing_links(&self.edges, &self.hubs).map(|link| format!("link '{link}'")));
    }

    fn agreement_numbers(&mut self, missing: &mut Vec<String>) {
        for agreement in &mut self.agreements {
            put(&mut agreement.number, self.allotted.agreements.get(&agreement.id), missing, || {
                format!("agreement {}", agreement.id)
            });
        }
    }

    fn gateways(&mut self, missing: &mut Vec<String>) {
        let Some((management, _)) = self.management else { return };
        let hubs = self.hubs.iter_mut().map(|hub| (&hub.name, &mut hub.management));
        let edges = self.edges.iter_mut().map(|edge| (&edge.name, &mut edge.management));
        for (name, address) in hubs.chain(edges) {
            match self.allotted.management_of(name, management) {
                Some(allotted) => *address = allotted,
                None => missing.push(format!("gateway '{name}'")),
            }
        }
    }

    fn overlays(&mut self, missing: &mut Vec<String>) {
        let kept = self.kept();
        for (name, reals) in &self.unmapped {
            let at = self.departments.binary_search_by(|department| department.name.cmp(name));
            let Some(department) = at.ok().and_then(|at| self.departments.get_mut(at)) else { continue };
            for &real in reals {
                match self.allotted.overlay_of(name, real, &kept) {
                    Some(overlay) => department.mappings.push(Mapping { real, overlay }),
                    None => missing.push(format!("department '{name}', real prefix {real}")),
                }
            }
        }
    }

    /// What decides whether a prefix that was given out can still be used.
    pub(in crate::policy) fn kept(&self) -> Kept {
        let management = self.management.iter().map(|(prefix, _)| *prefix);
        let chosen = self.departments.iter().filter(|department| !self.unmapped.contains_key(&department.name));
        let chosen = chosen.flat_map(|department| department.mappings.iter().map(|mapping| mapping.overlay));
        let taken = self.reserved.iter().copied().chain(management).chain(chosen).collect();
        Kept { overlay: self.overlay.clone(), taken }
    }

    fn overlay_hosts(&mut self) {
        for service in &mut self.services {
            let at = self.departments.binary_search_by(|department| department.name.cmp(&service.department));
            let Some(department) = at.ok().and_then(|at| self.departments.get(at)) else { continue };
            let translate = |host: &std::net::IpAddr| {
                department.mappings.iter().find_map(|mapping| mapping.real.translate(*host, mapping.overlay))
            };
            service.overlay_hosts = service.hosts.iter().filter_map(translate).collect();
            service.overlay_hosts.sort();
        }
    }
}

fn put(place: &mut u32, number: Option<&u32>, missing: &mut Vec<String>, name: impl FnOnce() -> String) {
    match number {
        Some(number) => *place = *number,
        None => missing.push(name()),
    }
}
