//! The operator's file: the network, its controller, hubs and classes.

use std::net::{IpAddr, Ipv4Addr};

use toml::Spanned;

use super::reader::Reader;
use super::{Draft, claim};
use crate::net::{Family, Prefix};
use crate::policy::document::{Class, Controller, Document, Hub, Network, NetworkFile, Sla};
use crate::policy::finding::Code;
use crate::policy::model;
use crate::policy::source::Source;

impl Draft {
    pub(super) fn network(&mut self, document: &Document<NetworkFile>) {
        let (source, file) = (&document.source, &document.value);
        if let Some(network) = &file.network {
            self.basics(source, network.get_ref());
        }
        if let Some(controller) = &file.controller {
            self.controller(source, controller.get_ref());
        }
        for hub in &file.hubs {
            self.hub(source, hub.get_ref());
        }
        if file.hubs.is_empty() {
            let mark = source.mark(file.network.as_ref().map_or(0..1, Spanned::span));
            self.report.error(mark, Code::Empty, "the network has no hub").advise("add at least one [[hub]]");
        }
        for class in &file.classes {
            self.class(source, class.get_ref());
        }
        for sla in &file.slas {
            self.sla(source, sla);
        }
        self.hubs.sort_by(|a, b| a.name.cmp(&b.name));
        self.classes.sort_by(|a, b| a.name.cmp(&b.name));
    }

    fn basics(&mut self, source: &Source, network: &Network) {
        let mut reader = Reader { source, report: &mut self.report };
        self.network = reader.name(&network.name);
        let overlay = reader.prefixes(&network.overlay);
        for prefix in overlay.values() {
            let shortest = match prefix.get_ref().family() {
                Family::V4 => 8,
                Family::V6 => 32,
            };
            if prefix.get_ref().length() < shortest {
                let message = format!("the overlay {prefix} is shorter than /{shortest}");
                reader.error(prefix.span(), Code::BadPrefix, message);
            }
        }
        self.overlay = overlay.values().map(|prefix| *prefix.get_ref()).collect();
        if let Some(management) = reader.prefix(&network.management) {
            self.management = Some((management, reader.mark(network.management.span())));
        }
        self.reserved = network.reserved.iter().filter_map(|text| reader.prefix(text)).collect();
        self.reserved.sort();
    }

    fn controller(&mut self, source: &Source, controller: &Controller) {
        let mut reader = Reader { source, report: &mut self.report };
        for url in &controller.urls {
            if is_url(url.get_ref()) {
                self.urls.push(url.get_ref().clone());
            } else {
                reader
                    .error(url.span(), Code::BadUrl, format!("'{}' is not the URL of a controller", url.get_ref()))
                    .advise("write it as https://HOST:PORT");
            }
        }
        self.addresses = controller.addresses.iter().filter_map(|text| reader.endpoint(text)).collect();
    }

    fn hub(&mut self, source: &Source, hub: &Hub) {
        let mut reader = Reader { source, report: &mut self.report };
        let name = reader.name(&hub.name);
        let device = hub.device.as_ref().and_then(|device| reader.device(device));
        let endpoints: Vec<_> = hub.endpoints.get_ref().iter().filter_map(|text| reader.endpoint(text)).collect();
        if hub.endpoints.get_ref().is_empty() {
            reader
                .error(hub.endpoints.span(), Code::Empty, "the hub has no endpoints")
                .advise("edges find it by address: endpoints = [\"192.0.2.1:51820\"]");
        }
        let Some(name) = name else { return };
        let mark = source.mark(hub.name.span());
        if claim(&mut self.names.gateways, &name, mark, "gateway", &mut self.report) {
            self.hubs.push(model::Hub { name, endpoints, device, management: IpAddr::V4(Ipv4Addr::UNSPECIFIED) });
        }
    }

    fn class(&mut self, source: &Source, class: &Class) {
        let mut reader = Reader { source, report: &mut self.report };
        let (name, lease) = (reader.name(&class.name), reader.duration(&class.lease));
        let Some(name) = name else { return };
        let mark = source.mark(class.name.span());
        if claim(&mut self.names.classes, &name, mark, "class", &mut self.report)
            && let Some(lease) = lease
        {
            self.classes.push(model::Class { name, lease });
        }
    }

    fn sla(&mut self, source: &Source, sla: &Spanned<Sla>) {
        let mut reader = Reader { source, report: &mut self.report };
        let written = sla.get_ref();
        reader
            .warning(sla.span(), Code::Unsupported, "[[sla]] has no effect in this version")
            .advise("uplinks are not judged by it yet");
        let percent = written.loss_percent.as_ref();
        for (value, most) in [(&written.rtt_ms, f64::MAX), (&written.jitter_ms, f64::MAX)]
            .into_iter()
            .filter_map(|(value, most)| value.as_ref().map(|value| (value, most)))
            .chain(percent.map(|value| (value, 100.0)))
        {
            if !(0.0..=most).contains(value.get_ref()) {
                let message = format!("{value} is out of range");
                reader.error(value.span(), Code::BadValue, message).advise("0 or more; a loss at most 100");
            }
        }
        let Some(text) = &written.name else {
            let message = "an SLA without a name: no uplink can ask for it";
            reader.warning(sla.span(), Code::Useless, message);
            return;
        };
        let Some(name) = reader.name(text) else { return };
        if !self.slas.insert(name) {
            reader.error(text.span(), Code::Duplicate, format!("the SLA '{text}' stands twice"));
        }
    }
}

/// `http://` or `https://`, a host, nothing that a terminal or a header would stumble over.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        !host.is_empty()
            && !host.starts_with(':')
            && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\<>@".contains(&b))
    })
}

/// Whether a prefix lies in one of several.
pub(super) fn within(prefix: Prefix, outer: &[Prefix]) -> bool {
    outer.iter().any(|outer| outer.covers(prefix))
}
