//! A council's people and edges, and the sites at which the edges stand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use toml::Spanned;

use super::reader::Reader;
use super::{Draft, claim};
use crate::identity::Name;
use crate::policy::document::{CouncilFile, Document, Edge, Rate, Signer, Uplink};
use crate::policy::finding::Code;
use crate::policy::model::{self, CouncilSigner};
use crate::policy::source::{Mark, Source};

impl Draft {
    pub(super) fn council(&mut self, document: &Document<CouncilFile>) {
        let source = &document.source;
        let mut reader = Reader { source, report: &mut self.report };
        let Some(council) = document.value.council.as_ref().map(Spanned::get_ref) else { return };
        let Some(name) = reader.name(&council.name) else { return };
        if name.as_str() != document.stem {
            reader
                .error(council.name.span(), Code::FileName, format!("council '{name}' stands in {}", source.file))
                .advise(format!("a council's file bears its name: councils/{name}.toml"));
        }
        let region = council.region.as_ref().and_then(|region| reader.name(region));
        let signers = council.signers.iter().filter_map(|signer| signer_of(&mut reader, signer)).collect();
        let title = council.title.clone().unwrap_or_else(|| name.to_string());
        let mark = source.mark(council.name.span());
        if claim(&mut self.names.councils, &name, mark, "council", &mut self.report) {
            self.councils.push(model::Council { number: 0, name: name.clone(), title, region, signers });
        }
        for edge in &document.value.edges {
            self.edge(source, &name, edge.get_ref());
        }
        self.councils.sort_by(|a, b| a.name.cmp(&b.name));
        self.edges.sort_by(|a, b| a.name.cmp(&b.name));
    }

    fn edge(&mut self, source: &Source, council: &Name, edge: &Edge) {
        let uplinks = self.uplinks(source, edge);
        let mut reader = Reader { source, report: &mut self.report };
        let name = reader.name(&edge.name);
        let site = edge.site.as_ref().map(|site| reader.name(site));
        let Some(name) = name else { return };
        let mark = source.mark(edge.name.span());
        if !claim(&mut self.names.gateways, &name, mark, "gateway", &mut self.report) {
            return;
        }
        let site = site.flatten().unwrap_or_else(|| name.clone());
        let mark = source.mark(edge.site.as_ref().unwrap_or(&edge.name).span());
        self.site(council, &site, mark);
        let management = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        self.edges.push(model::Edge { name, council: council.clone(), site, uplinks, management });
    }

    /// A site belongs to one council, has at most two edges and is no hub.
    fn site(&mut self, council: &Name, site: &Name, mark: Mark) {
        let edges: Vec<_> = self.edges.iter().filter(|edge| edge.site == *site).collect();
        if let Some(other) = edges.iter().find(|edge| edge.council != *council) {
            let message = format!("the site '{site}' is council '{}'s", other.council);
            self.report.error(mark, Code::Duplicate, message).advise("sites have names of their own: choose another");
        } else if edges.len() >= 2 {
            let message = format!("the site '{site}' has more than two edges");
            self.report.error(mark, Code::Placement, message).advise("a site is served by one or two edges");
        }
    }

    /// What can only be known when all edges are: no site bears a hub's name.
    pub(super) fn sites(&mut self) {
        let hubs: BTreeSet<_> = self.hubs.iter().map(|hub| &hub.name).collect();
        for edge in self.edges.iter().filter(|edge| hubs.contains(&edge.site)) {
            let origin = self.names.gateways.get(&edge.name).cloned();
            let Some(origin) = origin else { continue };
            let message = format!("the site '{}' of edge '{}' bears a hub's name", edge.site, edge.name);
            self.report
                .error(Mark { origin, width: 1 }, Code::Duplicate, message)
                .advise("a hub is a site of its own name: choose another");
        }
    }

    fn uplinks(&mut self, source: &Source, edge: &Edge) -> Vec<model::Uplink> {
        if edge.uplinks.get_ref().is_empty() {
            let mark = source.mark(edge.uplinks.span());
            self.report.error(mark, Code::Empty, "the edge has no uplink").advise("it needs at least one way out");
        }
        let mut taken = BTreeMap::new();
        let mut uplinks = Vec::new();
        for uplink in edge.uplinks.get_ref().iter().map(Spanned::get_ref) {
            let Some(read) = self.uplink(source, uplink) else { continue };
            let mark = source.mark(uplink.name.span());
            if claim(&mut taken, &read.name, mark, "uplink", &mut self.report) {
                uplinks.push(read);
            }
        }
        uplinks
    }

    fn uplink(&mut self, source: &Source, uplink: &Uplink) -> Option<model::Uplink> {
        let mut reader = Reader { source, report: &mut self.report };
        let priority = match &uplink.priority {
            None => Some(1),
            Some(written) => {
                let priority = u32::try_from(*written.get_ref()).ok().filter(|priority| *priority > 0);
                if priority.is_none() {
                    reader.error(written.span(), Code::BadValue, "a priority is 1 or more");
                }
                priority
            }
        };
        if let Some(sla) = &uplink.sla
            && let Some(name) = reader.name(sla)
            && !self.slas.contains(&name)
        {
            let known = self.slas.iter().map(Name::as_str);
            reader.report.unknown(source.mark(sla.span()), "SLA", name.as_str(), known);
        }
        if let Some(rate) = &uplink.rate
            && !is_rate(rate.get_ref())
        {
            reader.error(rate.span(), Code::BadValue, "a rate is a number and a unit, such as 80mbit");
        }
        let later = [
            ("metered", uplink.metered.as_ref().map(Spanned::span)),
            ("priority", uplink.priority.as_ref().map(Spanned::span)),
            ("sla", uplink.sla.as_ref().map(Spanned::span)),
            ("rate", uplink.rate.as_ref().map(Spanned::span)),
        ];
        for (key, span) in later {
            if let Some(span) = span {
                let message = format!("'{key}' has no effect in this version");
                reader.warning(span, Code::Unsupported, message).advise("every uplink is used as it comes");
            }
        }
        let (name, device) = (reader.name(&uplink.name), reader.device(&uplink.device));
        let metered = uplink.metered.as_ref().is_some_and(|metered| *metered.get_ref());
        Some(model::Uplink { name: name?, device: device?, metered, priority: priority? })
    }
}

fn signer_of(reader: &mut Reader<'_>, signer: &Spanned<Signer>) -> Option<CouncilSigner> {
    let written = signer.get_ref();
    let by = written.by.as_ref().map(|by| reader.plain(by));
    let key = written.key.as_ref().map(|key| reader.parse(key, Code::BadKey));
    let (Some(by), Some(key)) = (by, key) else {
        reader.warning(signer.span(), Code::Useless, "a signer without 'by' or 'key': it cannot consent");
        return None;
    };
    Some(CouncilSigner { by: by?, key: key? })
}

fn is_rate(rate: &Rate) -> bool {
    match rate {
        Rate::Bits(bits) => *bits > 0,
        Rate::Text(text) => {
            let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            let number = &text[..text.len() - unit.len()];
            let known = ["bit", "kbit", "mbit", "gbit", "bit/s", "kbit/s", "mbit/s", "gbit/s"];
            number.parse::<f64>().is_ok_and(|number| number > 0.0)
                && known.contains(&unit.trim_start().to_ascii_lowercase().as_str())
        }
    }
}
