//! An event as one line of JSON, and as fields of the journal.
//!
//! Whatever is not printable ASCII is escaped, so that no control, direction or line-ending character reaches a
//! terminal or splits a line, also if a device or a later field carries one.

use std::fmt::Write as _;
use std::io;

use serde::Serialize as _;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use super::{Event, Verdict};
use crate::net::Protocol;

/// What the journal knows events of this kind by: `journalctl MESSAGE_ID=…`.
const MESSAGE_ID: &str = "6f0e3ad0c7b94b0f9d1c57a1b2e8d443";

impl Event {
    /// Reads an event back from a line of JSON; `None` for anything else, and for another form.
    pub fn from_json(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok().filter(|event: &Self| event.schema == super::SCHEMA)
    }

    /// One JSON object of printable ASCII on one line, with its line end.
    ///
    /// # Errors
    /// None in practice: all keys are texts.
    pub fn to_json_line(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = Vec::with_capacity(1024);
        self.serialize(&mut Serializer::with_formatter(&mut line, Ascii))?;
        line.push(b'\n');
        Ok(line)
    }

    /// The journal's fields, one `NAME=value` a line (systemd's native protocol): the event's own as `TURNPIKE_…`.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_journal(&self) -> Result<Vec<u8>, serde_json::Error> {
        let priority = match self.verdict {
            Verdict::Allowed => 6,
            Verdict::Denied => 5,
        };
        let mut text = format!(
            "MESSAGE={}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=turnpike\nMESSAGE_ID={MESSAGE_ID}\n",
            plain(&self.sentence())
        );
        if let serde_json::Value::Object(fields) = serde_json::to_value(self)? {
            for (name, value) in fields {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                text.push_str(&format!("TURNPIKE_{}={}\n", name.to_ascii_uppercase(), plain(&value)));
            }
        }
        Ok(text.into_bytes())
    }

    /// One line for people.
    fn sentence(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Allowed => "allowed",
            Verdict::Denied => "denied",
        };
        let mut text = format!("{verdict} ({}", self.reason.label());
        for id in [&self.agreement, &self.guardrail].into_iter().flatten() {
            text.push_str(&format!(" {id}"));
        }
        text.push(')');
        if let (Some(source), Some(destination), Some(protocol)) = (self.source, self.destination, self.protocol) {
            let named = |name: &Option<crate::identity::Qualified>| {
                name.as_ref().map(|name| format!(" {name}")).unwrap_or_default()
            };
            text.push_str(&format!(": {source}{} -> {destination}", named(&self.source_department)));
            text.push_str(&named(if self.service.is_some() { &self.service } else { &self.destination_department }));
            text.push_str(&format!(" {}", Protocol(protocol)));
            if let Some(number) = self.destination_port.or(self.icmp_type.map(u16::from)) {
                text.push_str(&format!("/{number}"));
            }
        }
        text.push_str(&format!(", {} packets", self.packets));
        if self.suppressed > 0 {
            text.push_str(&format!(", {} more of this reason not told", self.suppressed));
        }
        text
    }
}

fn is_plain(character: char) -> bool {
    matches!(character, ' '..='~')
}

/// Printable ASCII as it is, a backslash doubled, all else as `\u{…}`.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => plain.push_str("\\\\"),
            _ if is_plain(character) => plain.push(character),
            _ => plain.extend(character.escape_unicode()),
        }
    }
    plain
}

/// JSON's own escapes (RFC 8259, section 7) for everything beyond ASCII as well.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.chars().all(is_plain) {
            return CompactFormatter.write_string_fragment(writer, fragment);
        }
        let mut escaped = String::with_capacity(fragment.len() * 2);
        for character in fragment.chars() {
            if is_plain(character) {
                escaped.push(character);
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(escaped, "\\u{unit:04x}").map_err(io::Error::other)?;
                }
            }
        }
        writer.write_all(escaped.as_bytes())
    }
}
