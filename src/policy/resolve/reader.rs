//! From text to the nouns of `net` and `identity`, with a finding for each text that is none.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use toml::Spanned;
use toml::value::Datetime;

use crate::identity::{Id, Name, Qualified};
use crate::net::{Family, Interface, PortMatch, Prefix, PrefixError};
use crate::policy::document::Texts;
use crate::policy::finding::{Code, Finding, Report, printable};
use crate::policy::source::{Mark, Source};

/// Reads the values of one file.
pub(super) struct Reader<'a> {
    pub(super) source: &'a Source,
    pub(super) report: &'a mut Report,
}

impl Reader<'_> {
    pub(super) fn mark(&self, span: Range<usize>) -> Mark {
        self.source.mark(span)
    }

    pub(super) fn error(&mut self, span: Range<usize>, code: Code, message: impl AsRef<str>) -> &mut Finding {
        self.report.error(self.source.mark(span), code, message)
    }

    pub(super) fn warning(&mut self, span: Range<usize>, code: Code, message: impl AsRef<str>) -> &mut Finding {
        self.report.warning(self.source.mark(span), code, message)
    }

    pub(super) fn parse<T>(&mut self, text: &Spanned<String>, code: Code) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        match text.get_ref().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(text.span(), code, error.to_string());
                None
            }
        }
    }

    pub(super) fn name(&mut self, text: &Spanned<String>) -> Option<Name> {
        self.parse(text, Code::BadName)
    }

    pub(super) fn names(&mut self, texts: &[Spanned<String>]) -> Vec<Name> {
        texts.iter().filter_map(|text| self.name(text)).collect()
    }

    pub(super) fn id(&mut self, text: &Spanned<String>) -> Option<Id> {
        self.parse(text, Code::BadId)
    }

    pub(super) fn qualified(&mut self, text: &Spanned<String>, example: &str) -> Option<Qualified> {
        match text.get_ref().parse() {
            Ok(value) => Some(value),
            Err(_) => {
                let message = format!("'{}' is not COUNCIL/NAME", text.get_ref());
                self.error(text.span(), Code::BadName, message).advise(format!("write it as {example}"));
                None
            }
        }
    }

    pub(super) fn port(&mut self, text: &Spanned<String>) -> Option<PortMatch> {
        self.parse(text, Code::BadPort)
    }

    pub(super) fn address(&mut self, text: &Spanned<String>) -> Option<IpAddr> {
        let parsed = text.get_ref().parse().ok();
        if parsed.is_none() {
            self.error(text.span(), Code::BadAddress, format!("'{}' is not an IP address", text.get_ref()));
        }
        parsed
    }

    /// `ADDRESS:PORT`, the port not 0.
    pub(super) fn endpoint(&mut self, text: &Spanned<String>) -> Option<SocketAddr> {
        let parsed = text.get_ref().parse::<SocketAddr>().ok().filter(|endpoint| endpoint.port() != 0);
        match parsed {
            Some(endpoint) if endpoint.ip().is_unspecified() || endpoint.ip().is_multicast() => {
                self.error(text.span(), Code::BadAddress, format!("nothing can be reached at {endpoint}"));
                None
            }
            Some(endpoint) => Some(endpoint),
            None => {
                self.error(text.span(), Code::BadAddress, format!("'{}' is not ADDRESS:PORT", text.get_ref()))
                    .advise("a literal address and a port from 1 to 65535: 192.0.2.1:51820 or [2001:db8::1]:51820");
                None
            }
        }
    }

    pub(super) fn prefix(&mut self, text: &Spanned<String>) -> Option<Prefix> {
        match text.get_ref().parse() {
            Ok(prefix) => Some(prefix),
            Err(error) => {
                self.prefix_error(text, &error);
                None
            }
        }
    }

    fn prefix_error(&mut self, text: &Spanned<String>, error: &PrefixError) {
        match error {
            PrefixError::HostBits { meant, .. } => {
                self.error(text.span(), Code::HostBits, error.to_string()).advise(format!("write \"{meant}\""));
            }
            PrefixError::Malformed(_) | PrefixError::TooLong { .. } => {
                self.error(text.span(), Code::BadPrefix, error.to_string());
            }
        }
    }

    /// Prefixes, at least one and at most one per family, IPv4 first.
    pub(super) fn prefixes(&mut self, texts: &Spanned<Texts>) -> BTreeMap<Family, Spanned<Prefix>> {
        self.per_family(texts, Self::prefix, |prefix| prefix.family())
    }

    pub(super) fn interfaces(&mut self, texts: &Spanned<Texts>) -> BTreeMap<Family, Spanned<Interface>> {
        let interface = |this: &mut Self, text: &Spanned<String>| this.parse::<Interface>(text, Code::BadPrefix);
        self.per_family(texts, interface, |interface| Family::of(interface.address()))
    }

    pub(super) fn addresses(&mut self, texts: &Spanned<Texts>) -> BTreeMap<Family, Spanned<IpAddr>> {
        self.per_family(texts, Self::address, |&address| Family::of(address))
    }

    fn per_family<T>(
        &mut self,
        texts: &Spanned<Texts>,
        mut read: impl FnMut(&mut Self, &Spanned<String>) -> Option<T>,
        family: impl Fn(&T) -> Family,
    ) -> BTreeMap<Family, Spanned<T>> {
        let list = Texts::list(texts);
        if list.is_empty() {
            self.error(texts.span(), Code::Empty, "the list is empty").advise("name one for each address family used");
        }
        let mut found = BTreeMap::new();
        for text in &list {
            let Some(value) = read(self, text) else { continue };
            let family = family(&value);
            if found.insert(family, Spanned::new(text.span(), value)).is_some() {
                self.error(text.span(), Code::Family, format!("'{}' is a second one of its family", text.get_ref()))
                    .advise("at most one for IPv4 and one for IPv6");
            }
        }
        found
    }

    /// A device as Linux names it, in characters that every tool prints and nftables takes as no pattern.
    pub(super) fn device(&mut self, text: &Spanned<String>) -> Option<String> {
        let device = text.get_ref();
        let plain = |b: u8| b.is_ascii_graphic() && !b"/:*\"\\%".contains(&b);
        if (1..=15).contains(&device.len()) && device.bytes().all(plain) && device != "." && device != ".." {
            return Some(device.clone());
        }
        self.error(text.span(), Code::BadDevice, format!("'{device}' is not the name of a device"))
            .advise("1 to 15 characters, no slash or blank, as `ip link` prints them");
        None
    }

    /// `72h`, `4h`, `90s`; also minutes and days. Not zero, at most ten years.
    pub(super) fn duration(&mut self, text: &Spanned<String>) -> Option<Duration> {
        const LONGEST: u64 = 3660 * 86_400;
        let parsed = seconds(text.get_ref()).filter(|seconds| (1..=LONGEST).contains(seconds));
        if parsed.is_none() {
            self.error(text.span(), Code::BadDuration, format!("'{}' is not a duration", text.get_ref()))
                .advise("write a whole number and s, m, h or d, such as 90s or 72h; from 1s to 3660d");
        }
        parsed.map(Duration::from_secs)
    }

    /// A date with an offset, to the whole second.
    pub(super) fn date(&mut self, date: &Spanned<Datetime>) -> Option<Timestamp> {
        let written = date.get_ref();
        if written.offset.is_none() || written.date.is_none() || written.time.is_none() {
            self.error(date.span(), Code::BadDate, format!("{written} is not a date with time and offset"))
                .advise("write it as 2026-04-01T00:00:00+01:00, or with Z for UTC");
            return None;
        }
        let parsed = written.to_string().parse::<Timestamp>();
        match parsed.and_then(|instant| Timestamp::from_second(instant.as_second())) {
            Ok(instant) => Some(instant),
            Err(_) => {
                self.error(date.span(), Code::BadDate, format!("{written} is not a date"))
                    .advise("to 9999-12-30T22:00:00Z; where there is no end, leave the key out");
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, text: &Spanned<String>, choices: &[(&str, T)]) -> Option<T> {
        let found = choices.iter().find(|(word, _)| word == text.get_ref()).map(|&(_, value)| value);
        if found.is_none() {
            let words: Vec<_> = choices.iter().map(|&(word, _)| word).collect();
            let finding = self.error(text.span(), Code::BadValue, format!("'{}' is not allowed here", text.get_ref()));
            finding.advise(format!("one of: {}", words.join(", ")));
            finding.suggest(text.get_ref(), words);
        }
        found
    }

    /// Text for people and machines: not empty, no control characters.
    pub(super) fn plain(&mut self, text: &Spanned<String>) -> Option<String> {
        let written = text.get_ref();
        if !written.trim().is_empty() && printable(written) == *written {
            return Some(written.clone());
        }
        self.error(text.span(), Code::BadValue, format!("'{written}' is empty or holds control characters"));
        None
    }
}

fn seconds(text: &str) -> Option<u64> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let number = text.get(..text.len() - 1)?;
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn durations_are_a_number_and_one_unit() {
        assert_eq!(seconds("72h"), Some(259_200));
        assert_eq!(seconds("90s"), Some(90));
        for bad in ["", "h", "72", "72H", "1h30m", "-1h", "+1h", "1.5h", "72é", "99999999999999999999s"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
