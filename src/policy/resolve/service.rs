//! Services: hosts inside their department, and what they answer on.

use std::collections::BTreeSet;
use std::net::IpAddr;

use toml::Spanned;

use super::department::council_of;
use super::reader::Reader;
use super::{Draft, claim};
use crate::identity::{Name, Qualified};
use crate::net::{PortMatch, Prefix};
use crate::policy::document::{self, CouncilFile, Document, Texts};
use crate::policy::finding::Code;
use crate::policy::model::{self, Origin};
use crate::policy::source::Source;

impl Draft {
    pub(super) fn services(&mut self, document: &Document<CouncilFile>) {
        let Some(council) = council_of(document) else { return };
        for service in &document.value.services {
            self.service_of(&document.source, &council, service);
        }
    }

    fn service_of(&mut self, source: &Source, council: &Name, service: &Spanned<document::Service>) {
        let written = service.get_ref();
        let hosts = self.hosts(source, service);
        let ports = self.ports(source, written);
        let department = self.owner(source, council, &written.department);
        let mut reader = Reader { source, report: &mut self.report };
        let Some(thing) = reader.name(&written.name) else { return };
        let name = Qualified { council: council.clone(), thing };
        let mark = source.mark(written.name.span());
        if let Some(Origin { file, line, .. }) = self.names.departments.get(&name) {
            let message = format!("'{name}' is a department and a service");
            let help = format!("they share one set of names; the department stands at {file}:{line}");
            self.report.error(mark, Code::Duplicate, message).advise(help);
            return;
        }
        if !claim(&mut self.names.services, &name, mark.clone(), "service", &mut self.report) {
            return;
        }
        let Some(department) = department else { return };
        self.inside(source, &department, &hosts);
        self.services.push(model::Service {
            number: 0,
            name,
            department,
            hosts: hosts.iter().map(|host| *host.get_ref()).collect::<BTreeSet<_>>().into_iter().collect(),
            overlay_hosts: Vec::new(),
            ports,
            origin: mark.origin,
        });
    }

    fn hosts(&mut self, source: &Source, service: &Spanned<document::Service>) -> Vec<Spanned<IpAddr>> {
        let mut reader = Reader { source, report: &mut self.report };
        let written = service.get_ref();
        let texts = match (&written.hosts, &written.host) {
            (Some(hosts), None) => hosts.get_ref().clone(),
            (None, Some(host)) => vec![host.clone()],
            (Some(_), Some(host)) => {
                reader.error(host.span(), Code::Duplicate, "both 'host' and 'hosts'").advise("write one of them");
                return Vec::new();
            }
            (None, None) => {
                let message = "the key 'hosts' is missing";
                reader.error(service.span(), Code::MissingKey, message).advise("hosts = [\"…\"] or host = \"…\"");
                return Vec::new();
            }
        };
        if let (true, Some(hosts)) = (texts.is_empty(), &written.hosts) {
            reader.error(hosts.span(), Code::Empty, "the service has no host");
        }
        let mut seen = BTreeSet::new();
        let mut hosts = Vec::new();
        for text in &texts {
            let Some(host) = reader.address(text) else { continue };
            if !seen.insert(host) {
                reader.error(text.span(), Code::Duplicate, format!("the host {host} stands twice"));
            }
            hosts.push(Spanned::new(text.span(), host));
        }
        hosts
    }

    fn ports(&mut self, source: &Source, written: &document::Service) -> Vec<PortMatch> {
        let mut reader = Reader { source, report: &mut self.report };
        let texts = Texts::list(&written.ports);
        if texts.is_empty() {
            reader.error(written.ports.span(), Code::Empty, "the service has no port").advise("or ports = \"any\"");
        }
        let mut ports = BTreeSet::new();
        for text in &texts {
            let Some(port) = reader.port(text) else { continue };
            if !ports.insert(port) {
                reader.error(text.span(), Code::Duplicate, format!("{port} stands twice"));
            }
        }
        ports.into_iter().collect()
    }

    fn owner(&mut self, source: &Source, council: &Name, text: &Spanned<String>) -> Option<Qualified> {
        let thing = Reader { source, report: &mut self.report }.name(text)?;
        let name = Qualified { council: council.clone(), thing };
        if self.names.departments.contains_key(&name) {
            return Some(name);
        }
        let own = self.names.departments.keys().filter(|known| known.council == *council);
        let own = own.map(|known| known.thing.as_str());
        self.report.unknown(source.mark(text.span()), "department", text.get_ref(), own);
        None
    }

    fn inside(&mut self, source: &Source, department: &Qualified, hosts: &[Spanned<IpAddr>]) {
        let Some(found) = self.department(department) else { return };
        let mapped = found.mappings.iter().map(|mapping| mapping.real);
        let unmapped = self.unmapped.get(department).into_iter().flatten().copied();
        let reals: Vec<Prefix> = mapped.chain(unmapped).collect();
        if reals.is_empty() {
            return;
        }
        let list: Vec<_> = reals.iter().map(ToString::to_string).collect();
        for host in hosts.iter().filter(|host| !reals.iter().any(|real| real.contains(*host.get_ref()))) {
            let message = format!("the host {host} lies outside of its department '{department}'");
            let help = format!("the department's real prefix is {}", list.join(" and "));
            self.report.error(source.mark(host.span()), Code::Outside, message).advise(help);
        }
    }
}
