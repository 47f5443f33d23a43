//! A definition of any size, made by rule: the same size gives the same octets, keys and signatures among them.
//!
//! ```text
//!  Size ─▶ councils × departments × services ─▶ unsigned files ─ policy::terms ─▶ consents of both councils
//!                                                                  policy::allot ─▶ allotted.toml
//! ```
//!
//! Every council has one edge, and the same real prefixes as all others, as councils do. An agreement lets a department
//! use a service of another council, so that all of them pass the hub.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use turnpike::identity::{Name, Signer};
use turnpike::policy::{self, Files, Finding};

/// A time at which all agreements are in force.
pub const AT: &str = "2026-06-01T09:00:00Z";

/// How much there is of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Councils, at least 2.
    pub councils: usize,
    /// Departments of each, 1 to 250.
    pub departments: usize,
    /// Services of each department, 1 to 200.
    pub services: usize,
    /// Agreements, at most as many as there are services.
    pub agreements: usize,
}

/// All councils of a country: 77,600 services, and so many agreements that the hub has more than 100,000 elements.
pub const SCALE: Size = Size { councils: 388, departments: 10, services: 20, agreements: 50_000 };

const NETWORK: &str = r#"[network]
name = "scale"
overlay = ["100.64.0.0/10"]
management = "100.127.0.0/16"

[[hub]]
name = "hub-a"
endpoints = ["192.0.2.1:51820"]

[[class]]
name = "routine"
lease = "72h"

[[class]]
name = "sensitive"
lease = "4h"

[[guardrail]]
id = "G-1"
deny = "any"
to = "tcp/23"
why = "no telnet across councils"

[[guardrail]]
id = "G-2"
deny = "c0/d0"
to = "tcp/3389"
why = "visitors get no desktops"
"#;

/// What services answer on, in turns: two elements of an agreement at the hub, three with ICMP and its answer.
const PORTS: [&str; 4] = [
    r#"["tcp/443", "tcp/80"]"#,
    r#"["tcp/1433", "udp/1434"]"#,
    r#"["tcp/8443", "udp/5000"]"#,
    r#"["tcp/22", "icmp/echo-request"]"#,
];

impl Size {
    /// The whole definition: allotted, and signed by all.
    ///
    /// # Errors
    /// What `policy::terms` or `policy::allot` finds wrong: nothing, within the bounds of [`Size`].
    pub fn definition(self) -> Result<Files, Vec<Finding>> {
        let mut files = Files::new();
        files.insert("network.toml", NETWORK);
        let signers: BTreeMap<Name, Signer> = (0..self.councils).filter_map(signer).collect();
        for (council, signer) in &signers {
            files.insert(format!("councils/{council}.toml"), self.council(council, signer));
        }
        for number in 0..self.agreements {
            files.insert(format!("agreements/A-{}.toml", number + 1), self.agreement(number));
        }
        for (id, terms) in policy::terms(&files)? {
            let path = format!("agreements/{id}.toml");
            let mut text = files.remove(&path).unwrap_or_default();
            for council in &terms.councils {
                let Some(signer) = signers.get(council) else { continue };
                text.extend(consent(council, &terms.hash(), &terms.sign(signer).to_string()).into_bytes());
            }
            files.insert(path, text);
        }
        let allotted = policy::allot(&files)?;
        files.insert("allotted.toml", allotted);
        Ok(files)
    }

    fn council(self, council: &Name, signer: &Signer) -> String {
        let mut text = format!(
            "[council]\nname = \"{council}\"\ntitle = \"Council {council}\"\n\n[[council.signer]]\n\
             by = \"siro@{council}.example\"\nkey = \"{}\"\n\n[[edge]]\nname = \"{council}-1\"\n\
             uplinks = [{{ name = \"fibre\", device = \"eth0\" }}]\n",
            signer.verifier()
        );
        for department in 0..self.departments {
            // Writing to a String cannot fail.
            write!(
                text,
                "\n[[department]]\nname = \"d{department}\"\nsegment = {{ device = \"seg{department}\" }}\n\
                 gateway = \"10.1.{department}.1/24\"\nreal = \"10.1.{department}.0/24\"\n"
            )
            .ok();
            for service in 0..self.services {
                let ports = PORTS[service % PORTS.len()];
                write!(
                    text,
                    "\n[[service]]\nname = \"d{department}-s{service}\"\ndepartment = \"d{department}\"\n\
                     hosts = [\"10.1.{department}.{}\"]\nports = {ports}\n",
                    service + 10
                )
                .ok();
            }
        }
        text
    }

    /// The service and the consumer of an agreement: each service has one at most, each council nearly as many as others.
    fn agreement(self, number: usize) -> String {
        let Self { councils, departments, services, .. } = self;
        let (provider, rest) = (number % councils, number / councils);
        let (department, service) = (rest % departments, rest / departments % services);
        let consumer = (provider + 1 + number * 7 % (councils - 1)) % councils;
        let class = if number.is_multiple_of(10) { "sensitive" } else { "routine" };
        format!(
            "[agreement]\nid = \"A-{}\"\nservice = \"c{provider}/d{department}-s{service}\"\n\
             from = [\"c{consumer}/d{}\"]\nclass = \"{class}\"\nnot_before = 2026-01-01T00:00:00+00:00\n\
             not_after = 2027-03-31T23:59:59+01:00\nreference = \"DSA-2026-{number}\"\n",
            number + 1,
            number * 3 % departments,
        )
    }
}

fn consent(council: &Name, terms: &str, signature: &str) -> String {
    format!(
        "\n[[agreement.consent]]\ncouncil = \"{council}\"\nby = \"siro@{council}.example\"\n\
         at = 2025-12-01T10:00:00+00:00\nterms = \"{terms}\"\nsignature = \"{signature}\"\n"
    )
}

/// A council's name and its key, whose seed is the council's number: PKCS #8 (RFC 8410, section 7).
fn signer(council: usize) -> Option<(Name, Signer)> {
    let mut octets = hex::decode("302e020100300506032b657004220420").ok()?;
    octets.extend([0x42; 24]);
    octets.extend(u64::try_from(council).ok()?.to_be_bytes());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(octets));
    Some((format!("c{council}").parse().ok()?, Signer::from_pem(&pem).ok()?))
}

/// Writes the files into a folder.
///
/// # Errors
/// Those of the file system.
pub fn write(files: &Files, folder: &Path) -> std::io::Result<()> {
    for name in ["councils", "agreements"] {
        std::fs::create_dir_all(folder.join(name))?;
    }
    files.iter().try_for_each(|(path, content)| std::fs::write(folder.join(path), content))
}
