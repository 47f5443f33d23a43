//! What a council signs: an agreement's terms in RFC 8785 canonical JSON, their hash, and signatures over it.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::identity::{Name, Qualified, SignatureBytes, Signed, Signer, Verifier, all_hold};
use crate::net::PortMatch;

/// The terms of an agreement: what a consent is for, with the service resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    json: String,
    hash: String,
    /// The councils whose consent it takes: the provider's and every consumer's. Sorted.
    pub councils: Vec<Name>,
}

/// What the terms are made of, as the definition has it; order does not matter.
#[derive(Clone, Copy, Debug)]
pub struct Wording<'a> {
    /// The agreement's id as written.
    pub id: &'a str,
    /// The service.
    pub service: &'a Qualified,
    /// The service's real hosts.
    pub hosts: &'a [IpAddr],
    /// What the service answers on.
    pub ports: &'a [PortMatch],
    /// The consumers as written: departments, or tags.
    pub from: &'a [String],
    /// `none`, `directory` or `card`.
    pub identity: &'a str,
    /// Roles.
    pub roles: &'a [String],
    /// The class.
    pub class: &'a Name,
    /// Hours as written, or `always`.
    pub hours: &'a str,
    /// From when.
    pub not_before: Option<Timestamp>,
    /// Until when.
    pub not_after: Option<Timestamp>,
}

/// Its keys stand in the order of RFC 8785; texts and small numbers are written by serde_json as that asks.
#[derive(Serialize)]
struct Canonical<'a> {
    class: &'a str,
    from: Vec<&'a str>,
    hosts: Vec<String>,
    hours: &'a str,
    id: &'a str,
    identity: &'a str,
    not_after: Option<String>,
    not_before: Option<String>,
    ports: Vec<String>,
    roles: Vec<&'a str>,
    service: String,
    #[serde(rename = "turnpike-terms")]
    version: u8,
}

impl Terms {
    /// Writes the terms down. `None` only if the JSON encoder fails, which it does for no text.
    pub fn new(wording: &Wording<'_>, councils: Vec<Name>) -> Option<Self> {
        let canonical = Canonical {
            version: 1,
            id: wording.id,
            service: wording.service.to_string(),
            hosts: sorted(wording.hosts),
            ports: sorted(wording.ports),
            from: in_order(wording.from),
            identity: wording.identity,
            roles: in_order(wording.roles),
            class: wording.class.as_str(),
            hours: wording.hours,
            not_before: wording.not_before.map(date),
            not_after: wording.not_after.map(date),
        };
        let json = serde_json::to_string(&canonical).ok()?;
        let hash = hex::encode(Sha256::digest(&json));
        Some(Self { json, hash, councils })
    }

    /// The canonical JSON.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// `sha256:` and the JSON's SHA-256 in lower-case hexadecimal.
    pub fn hash(&self) -> String {
        format!("sha256:{}", self.hash)
    }

    /// Signs the terms.
    pub fn sign(&self, signer: &Signer) -> SignatureBytes {
        signer.sign(self.message().as_bytes())
    }

    /// Whether `signature` is this key's over these terms.
    pub fn signed_by(&self, key: &Verifier, signature: &SignatureBytes) -> bool {
        all_hold(&[self.signed(key, signature)])
    }

    /// The claim that `signature` is this key's over these terms: to be judged with others.
    pub(super) fn signed(&self, key: &Verifier, signature: &SignatureBytes) -> Signed<String> {
        Signed { key: *key, message: self.message(), signature: *signature }
    }

    fn message(&self) -> String {
        format!("turnpike terms 1\n{}", self.hash)
    }
}

fn sorted<T: ToString>(list: &[T]) -> Vec<String> {
    let mut texts: Vec<_> = list.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}

fn in_order(list: &[String]) -> Vec<&str> {
    let mut texts: Vec<_> = list.iter().map(String::as_str).collect();
    texts.sort_unstable();
    texts
}

fn date(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The JSON and its hash were made with Python's `json` and `hashlib`, by FORMAT alone.
    #[test]
    fn the_hash_is_what_another_implementation_finds() {
        let ports: Vec<PortMatch> =
            ["udp/5000-5010", "tcp/443"].iter().map(|text| text.parse().expect("a port")).collect();
        let service = "leeds/hb-claims".parse().expect("a name");
        let class = "routine".parse().expect("a name");
        let wording = Wording {
            id: "A-142",
            service: &service,
            hosts: &["192.168.1.20".parse().expect("an address"), "192.168.1.3".parse().expect("an address")],
            ports: &ports,
            from: &["bradford/benefits".into()],
            identity: "none",
            roles: &[],
            class: &class,
            hours: "always",
            not_before: Some("2026-04-01T00:00:00+01:00".parse().expect("a date")),
            not_after: None,
        };
        let terms = Terms::new(&wording, Vec::new()).expect("it encodes");
        assert_eq!(
            terms.json(),
            "{\"class\":\"routine\",\"from\":[\"bradford/benefits\"],\"hosts\":[\"192.168.1.20\",\"192.168.1.3\"],\
             \"hours\":\"always\",\"id\":\"A-142\",\"identity\":\"none\",\"not_after\":null,\
             \"not_before\":\"2026-03-31T23:00:00Z\",\"ports\":[\"tcp/443\",\"udp/5000-5010\"],\"roles\":[],\
             \"service\":\"leeds/hb-claims\",\"turnpike-terms\":1}"
        );
        assert_eq!(terms.hash(), "sha256:dc4ee7839660da51339e74f820a5d4abeba5ae2f454a1732e969b03241b687c4");
    }

    #[test]
    fn the_json_is_canonical_whatever_is_in_it() {
        let service = "a/s".parse().expect("a name");
        let class = "c".parse().expect("a name");
        let roles = ["\u{e9}\"\\/".to_owned(), "\u{1}\u{8}\t\n\u{c}\r\u{1f}\u{7f}\u{20ac}\u{1f600}".to_owned()];
        let wording = Wording {
            id: "A-1",
            service: &service,
            hosts: &["fd00::1".parse().expect("an address")],
            ports: &[],
            from: &[],
            identity: "card",
            roles: &roles,
            class: &class,
            hours: "always",
            not_before: None,
            not_after: Some(Timestamp::UNIX_EPOCH),
        };
        let terms = Terms::new(&wording, Vec::new()).expect("it encodes");
        let value: serde_json::Value = serde_json::from_str(terms.json()).expect("JSON");
        assert_eq!(terms.json(), serde_json_canonicalizer::to_string(&value).expect("JSON"));
    }

    #[test]
    fn a_signature_is_over_the_hash_with_its_purpose_in_front() {
        let service = "a/s".parse().expect("a name");
        let class = "c".parse().expect("a name");
        let wording = Wording {
            id: "A-1",
            service: &service,
            hosts: &[],
            ports: &[],
            from: &[],
            identity: "none",
            roles: &[],
            class: &class,
            hours: "always",
            not_before: None,
            not_after: None,
        };
        let terms = Terms::new(&wording, Vec::new()).expect("it encodes");
        let other = Terms::new(&Wording { id: "A-2", ..wording }, Vec::new()).expect("it encodes");
        let signer = Signer::generate().expect("entropy");
        let signature = terms.sign(&signer);
        assert!(terms.signed_by(&signer.verifier(), &signature));
        assert!(!other.signed_by(&signer.verifier(), &signature));
        let bare = signer.sign(terms.hash().trim_start_matches("sha256:").as_bytes());
        assert!(!terms.signed_by(&signer.verifier(), &bare));
    }
}
