//! Which worker each site and link belongs to, and who keeps what from plan to plan.
//!
//! Sites that share a link belong together, and so do all their links: a packet that finds its site finds all its links
//! with one worker. Who has a home keeps it, so that no session moves, unless sites come to share a link that did not
//! before: then links move, and begin anew. Who is new goes where the fewest links are. The first worker reads the TUN
//! device for all: so one alone goes to it, whose packets then need not be handed over, and of equals it comes last.

use std::collections::{BTreeMap, HashMap};

use crate::dataplane::{LinkId, LinkPlan, Plan};

/// The homes under one plan. Empty with one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Assignment {
    links: HashMap<LinkId, u8>,
    /// In the order of the plan.
    sites: Vec<u8>,
}

impl Assignment {
    /// The homes for the next plan, among so many workers.
    pub(super) fn next(&self, plan: &Plan, workers: u8) -> Self {
        if workers < 2 {
            return Self::default();
        }
        let mut groups = Groups::new(plan);
        let mut members: BTreeMap<usize, Vec<LinkId>> = BTreeMap::new();
        for (place, link) in plan.links.iter().enumerate() {
            members.entry(groups.root(place)).or_default().push(link.id);
        }
        let mut loads = vec![0; usize::from(workers)];
        let mut homes: HashMap<usize, u8> = HashMap::new();
        let former = |links: &[LinkId]| links.iter().find_map(|link| self.links.get(link).copied());
        for (root, links) in &members {
            if let Some(home) = former(links) {
                loads[usize::from(home)] += links.len();
                homes.insert(*root, home);
            }
        }
        for (root, links) in &members {
            homes.entry(*root).or_insert_with(|| {
                let alone = loads.iter().all(|load| *load == 0);
                let fewest = || (0..workers).rev().min_by_key(|worker| loads[usize::from(*worker)]).unwrap_or(0);
                let home = if alone { 0 } else { fewest() };
                loads[usize::from(home)] += links.len();
                home
            });
        }
        let mut home = |place: usize| homes.get(&groups.root(place)).copied().unwrap_or(0);
        let sites = groups_of_sites(plan).map(|place| place.map_or(0, &mut home)).collect();
        let links = plan.links.iter().enumerate().map(|(place, link)| (link.id, home(place))).collect();
        Self { links, sites }
    }

    /// The worker of a link.
    pub(super) fn of(&self, link: LinkId) -> u8 {
        self.links.get(&link).copied().unwrap_or(0)
    }

    /// The links of its plan with their workers; none with one worker.
    pub(super) fn links<'a>(&self, plan: &'a Plan) -> impl Iterator<Item = (&'a LinkPlan, u8)> {
        plan.links.iter().filter_map(|link| Some((link, *self.links.get(&link.id)?)))
    }

    /// The workers of the plan's sites.
    pub(super) fn sites(&self) -> &[u8] {
        &self.sites
    }
}

/// For each site the place of its first link in the plan; a site without links has none.
fn groups_of_sites(plan: &Plan) -> impl Iterator<Item = Option<usize>> {
    let places = places(plan);
    plan.sites.iter().map(move |site| site.links.first().and_then(|link| places.get(link).copied()))
}

fn places(plan: &Plan) -> HashMap<LinkId, usize> {
    plan.links.iter().enumerate().map(|(place, link)| (link.id, place)).collect()
}

/// Links that belong together, by their places in the plan: each knows another of its group, up to the group's root.
struct Groups(Vec<usize>);

impl Groups {
    fn new(plan: &Plan) -> Self {
        let mut groups = Self((0..plan.links.len()).collect());
        let places = places(plan);
        for site in &plan.sites {
            let mut links = site.links.iter().filter_map(|link| places.get(link).copied());
            let Some(first) = links.next() else { continue };
            for other in links {
                let (one, other) = (groups.root(first), groups.root(other));
                groups.0[other] = one;
            }
        }
        groups
    }

    fn root(&mut self, place: usize) -> usize {
        let mut at = place;
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::{SiteId, SitePlan};

    /// A plan with these sites, each given by the numbers of its links.
    fn plan(sites: &[&[u32]]) -> Plan {
        let mut numbers: Vec<u32> = sites.iter().flat_map(|links| links.iter().copied()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let site = |(number, links): (u32, &&[u32])| SitePlan {
            id: SiteId(number),
            links: links.iter().map(|id| LinkId(*id)).collect(),
            also_from: vec![],
        };
        let links = numbers.into_iter().map(LinkPlan::sample).collect();
        Plan { sites: (0..).zip(sites).map(site).collect(), links, ..Plan::default() }
    }

    fn homes(assignment: &Assignment, links: impl IntoIterator<Item = u32>) -> Vec<u8> {
        links.into_iter().map(|link| assignment.of(LinkId(link))).collect()
    }

    #[test]
    fn the_first_goes_to_the_reader_of_the_device_which_then_comes_last_of_equals() {
        let sites: Vec<[u32; 1]> = (0..9).map(|number| [number]).collect();
        let sites: Vec<&[u32]> = sites.iter().map(|links| &links[..]).collect();
        let three = Assignment::default().next(&plan(&sites), 3);
        assert_eq!(homes(&three, 0..9), [0, 2, 1, 2, 1, 0, 2, 1, 0]);
        assert_eq!(three.sites(), [0, 2, 1, 2, 1, 0, 2, 1, 0]);
        assert_eq!(Assignment::default().next(&plan(&sites), 1), Assignment::default());
    }

    #[test]
    fn a_site_has_all_its_links_with_one_worker_and_so_have_sites_that_share_one() {
        let plan = plan(&[&[1, 2], &[3], &[4, 5], &[5, 6, 2], &[]]);
        let assignment = Assignment::default().next(&plan, 3);
        let together = homes(&assignment, [1, 2, 4, 5, 6]);
        assert!(together.iter().all(|home| *home == together[0]), "{together:?}");
        assert_ne!(homes(&assignment, [3])[0], together[0]);
        let [first, alone, third, fourth, empty] = assignment.sites() else { panic!("five sites") };
        assert_eq!([first, third, fourth], [&together[0]; 3]);
        assert_eq!((*alone, *empty), (homes(&assignment, [3])[0], 0));
    }

    #[test]
    fn who_has_a_home_keeps_it_and_newcomers_go_where_there_is_room() {
        let first = Assignment::default().next(&plan(&[&[1], &[2], &[3]]), 3);
        let before = homes(&first, [1, 2, 3]);
        let second = first.next(&plan(&[&[9], &[3], &[8], &[1], &[7]]), 3);
        assert_eq!(homes(&second, [1, 3]), [before[0], before[2]]);
        let mut all = homes(&second, [1, 3, 7, 8, 9]);
        assert_eq!(homes(&second, [7]), [before[1]], "the place of the one that left");
        all.sort_unstable();
        assert!([0, 1, 2].iter().all(|worker| all.iter().filter(|home| *home == worker).count() >= 1), "{all:?}");
    }
}
