//! The definition's own tests: their sources and targets found.

use jiff::Timestamp;
use toml::Spanned;

use super::Draft;
use super::reader::Reader;
use crate::net::{Family, Protocol};
use crate::policy::cases::Case;
use crate::policy::document::{self, CaseFile, Document};
use crate::policy::finding::Code;
use crate::policy::question::{From, Question, To};
use crate::policy::source::Source;

/// 2026-01-05T12:00:00Z.
const AS_OF: i64 = 1_767_614_400;

impl Draft {
    pub(super) fn case_file(&mut self, document: &Document<CaseFile>) {
        let source = &document.source;
        let written = document.value.as_of.as_ref();
        let as_of = written.and_then(|date| Reader { source, report: &mut self.report }.date(date));
        let as_of = as_of.or_else(|| Timestamp::from_second(AS_OF).ok()).unwrap_or_default();
        for case in &document.value.cases {
            if let Some(case) = self.case(source, case, as_of) {
                self.cases.push(case);
            }
        }
    }

    fn case(&mut self, source: &Source, case: &Spanned<document::Case>, as_of: Timestamp) -> Option<Case> {
        let written = case.get_ref();
        let from = self.case_source(source, &written.from);
        let to = self.case_target(source, &written.to);
        let mut reader = Reader { source, report: &mut self.report };
        let protocol = written.proto.as_ref().map(|text| protocol(&mut reader, text));
        let port = written.port.as_ref().map(|number| port(&mut reader, number));
        let at = written.at.as_ref().map(|date| reader.date(date));
        if let Some(identity) = &written.identity {
            reader.choice(identity, &[("none", ()), ("directory", ()), ("card", ())])?;
        }
        let allow = reader.choice(&written.expect, &[("allow", true), ("deny", false)]);
        let port_fits = fits(&mut reader, case, to.as_ref(), protocol.flatten());
        let case = Case {
            question: Question { from: from?, to: to?, protocol: unwrapped(protocol)?, port: unwrapped(port)? },
            at: unwrapped(at)?,
            as_of,
            allow: allow?,
            why: written.why.clone(),
            origin: source.mark(case.span()).origin,
        };
        port_fits.then_some(case)
    }

    fn case_source(&mut self, source: &Source, text: &Spanned<String>) -> Option<From> {
        if text.get_ref().contains(['.', ':']) {
            return Reader { source, report: &mut self.report }.address(text).map(From::Address);
        }
        self.names.department(source, text, &mut self.report).map(From::Department)
    }

    fn case_target(&mut self, source: &Source, text: &Spanned<String>) -> Option<To> {
        if text.get_ref().contains(['.', ':']) {
            return Reader { source, report: &mut self.report }.address(text).map(To::Address);
        }
        self.names.service(source, text, &mut self.report).map(To::Service)
    }
}

/// `None` where a value is written and wrong; `Some(None)` where none is written.
fn unwrapped<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

fn protocol(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<Protocol> {
    let found = Protocol::named(text.get_ref());
    if found.is_none() {
        let known = ["tcp", "udp", "sctp", "icmp", "icmpv6", "gre", "esp", "ah"];
        let finding = reader.error(text.span(), Code::BadValue, format!("'{}' is not a protocol", text.get_ref()));
        finding.advise(format!("one of: {}", known.join(", ")));
        finding.suggest(text.get_ref(), known);
    }
    found
}

fn port(reader: &mut Reader<'_>, number: &Spanned<i64>) -> Option<u16> {
    let port = u16::try_from(*number.get_ref()).ok().filter(|port| *port > 0);
    if port.is_none() {
        reader.error(number.span(), Code::BadPort, format!("{number} is not a port")).advise("1 to 65535");
    }
    port
}

/// Port and protocol belong together, and an address needs both.
fn fits(reader: &mut Reader<'_>, case: &Spanned<document::Case>, to: Option<&To>, protocol: Option<Protocol>) -> bool {
    let written = case.get_ref();
    if let Some(port) = &written.port {
        let fault = match (&written.proto, protocol) {
            (None, _) => Some("a port without 'proto'".to_owned()),
            (Some(_), Some(protocol)) if !protocol.has_ports() => Some(format!("{protocol} has no ports")),
            _ => None,
        };
        if let Some(message) = fault {
            reader
                .error(port.span(), Code::BadPort, message)
                .advise("write proto = \"tcp\", \"udp\" or \"sctp\" with it");
            return false;
        }
    }
    let Some(To::Address(address)) = to else { return true };
    let (code, message) = match (&written.proto, protocol) {
        (None, _) => (Code::MissingKey, "a test to an address needs 'proto'"),
        (Some(_), Some(protocol)) if protocol.has_ports() && written.port.is_none() => {
            (Code::MissingKey, "a test to an address needs 'port'")
        }
        (Some(_), Some(Protocol::ICMPV6)) if Family::of(*address) == Family::V4 => {
            (Code::Family, "icmpv6 to an IPv4 address")
        }
        _ => return true,
    };
    reader.error(written.to.span(), code, message).advise("to = \"100.70.35.20\", proto = \"tcp\", port = 443");
    false
}
