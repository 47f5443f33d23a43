//! An agreement on the desk of somebody who signs: read, judged, changed in memory, judged again, and only then written.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use toml_edit::DocumentMut;

use super::{file, no_agreement};
use crate::bundle::{Content as _, Effect, Notice, SignedNotice};
use crate::cli::definition::{self, Folder, Staged};
use crate::cli::{Exit, Failure};
use crate::identity::{Id, Name, Signer};
use crate::policy::model::{Agreement, State, Void};
use crate::policy::{self, Paper};

/// An agreement, and the person who signs for one of its councils.
#[derive(Debug, Args)]
pub(super) struct Party {
    /// The definition's folder.
    pub(super) dir: PathBuf,
    /// The agreement's id.
    pub(super) id: String,
    /// The council that is spoken for.
    #[arg(long)]
    pub(super) council: String,
    /// The signer, as the council's file names them.
    #[arg(long, value_name = "WHO")]
    pub(super) by: String,
    /// The signer's private key, from `agreement keygen`.
    #[arg(long, value_name = "FILE")]
    pub(super) key: PathBuf,
}

/// A definition and one of its agreements.
pub(super) struct Desk {
    folder: Folder,
    id: Id,
    pub(super) paper: Paper,
    pub(super) now: Timestamp,
}

impl Desk {
    pub(super) fn open(dir: &Path, id: &str) -> Result<Self, Failure> {
        let folder = definition::read(dir)?;
        folder.whole().map_err(|found| folder.failure(&found))?;
        let known = id.parse::<Id>().map_err(|_| no_agreement(id))?;
        let now = definition::instant(None);
        let paper = policy::paper(&folder.files, &known, now).map_err(|found| folder.failure(&found))?;
        let paper = paper.ok_or_else(|| no_agreement(id))?;
        Ok(Self { folder, id: known, paper, now })
    }

    /// The desk at which a party speaks for its council about terms that are not dead, with the council and the party's key.
    pub(super) fn of(party: &Party) -> Result<(Self, Name, Signer), Failure> {
        let desk = Self::open(&party.dir, &party.id)?;
        let (council, signer) = desk.signer(party)?;
        desk.alive()?;
        Ok((desk, council, signer))
    }

    pub(super) fn agreement(&self) -> &Agreement {
        &self.paper.agreement
    }

    /// The council of this name, if it has a part in the agreement.
    pub(super) fn council(&self, council: &str) -> Result<Name, Failure> {
        let councils = &self.paper.terms.councils;
        councils.iter().find(|known| known.as_str() == council).cloned().ok_or_else(|| {
            let names: Vec<_> = councils.iter().map(Name::as_str).collect();
            let cause = format!("council '{}' has no part in {}", policy::printable(council), self.id);
            Failure::new(Exit::Invalid, cause, format!("it takes the consent of: {}", names.join(", ")))
        })
    }

    /// The council, and its signer's key, which has to be the one that the council's file has.
    pub(super) fn signer(&self, party: &Party) -> Result<(Name, Signer), Failure> {
        let council = self.council(&party.council)?;
        let signer = key(&party.key)?;
        self.known(&council, &party.by, &signer)?;
        Ok((council, signer))
    }

    pub(super) fn known(&self, council: &Name, by: &str, signer: &Signer) -> Result<(), Failure> {
        let signers = self.paper.signers.get(council).map(Vec::as_slice).unwrap_or_default();
        let mut keys = signers.iter().filter(|known| known.by == by).peekable();
        let (cause, remedy) = if keys.peek().is_none() {
            let names: Vec<_> = signers.iter().map(|signer| signer.by.as_str()).collect();
            let cause = format!("'{}' is no signer of council '{council}'", policy::printable(by));
            (cause, format!("its signers are: {}", names.join(", ")))
        } else if keys.any(|known| known.key == signer.verifier()) {
            return Ok(());
        } else {
            let key = signer.verifier();
            let cause = format!("the key {key} is not the one that councils/{council}.toml has for '{by}'");
            (cause, "use that signer's key, or have the council put the new one into its file".to_owned())
        };
        Err(Failure::new(Exit::Invalid, cause, remedy))
    }

    /// That nobody has refused or revoked these terms.
    pub(super) fn alive(&self) -> Result<(), Failure> {
        let dead = |void: &&Void| matches!(void, Void::Refused { .. } | Void::Revoked { .. });
        match self.agreement().void.iter().find(dead) {
            Some(void) => {
                let remedy = "that is for good: agree on other terms in the agreement's file, and propose those";
                Err(Failure::new(Exit::Invalid, format!("{}: {void}", self.id), remedy))
            }
            None => Ok(()),
        }
    }

    /// Puts a council's consent into the agreement's file, and says how that leaves it.
    pub(super) fn consent(&self, council: &Name, by: &str, signer: &Signer) -> Result<String, Failure> {
        let terms = &self.paper.terms;
        let consent = file::Consent { council, by, terms, signature: terms.sign(signer), at: self.now };
        let mut document = self.document()?;
        consent.put(&mut document).ok_or_else(unfit)?;
        let (staged, after) = self.stage(&document)?;
        if let Some(lacking) = after.lacking.iter().find(|lacking| lacking.council == *council) {
            let remedy = format!("another signer of council '{council}' consents");
            return Err(Failure::new(Exit::Invalid, lacking.fault.clone(), remedy));
        }
        staged.commit()?;
        Ok(self.told(&after))
    }

    /// The next number for a notice of this party.
    fn number(&self, council: Option<&Name>) -> Result<u64, Failure> {
        Ok(file::last_number(&self.document()?, council).saturating_add(1))
    }

    /// Puts a notice into the agreement's file, with `out` also into one for gateways, and says how that leaves it. A council's
    /// notice is signed in both; the operator's in what gateways are given alone.
    pub(super) fn notice(
        &self,
        notice: Notice,
        signer: Option<&Signer>,
        out: Option<&Path>,
    ) -> Result<String, Failure> {
        notice.check().map_err(|error| Failure::new(Exit::Invalid, error.to_string(), "say it in other words"))?;
        let signed = signer.map(|signer| SignedNotice::sign(notice.clone(), signer));
        let signature = signed.as_ref().filter(|_| notice.council.is_some()).map(|signed| signed.signature);
        let mut document = self.document()?;
        file::put_notice(&mut document, &notice, signature.as_ref()).ok_or_else(unfit)?;
        let (staged, after) = self.stage(&document)?;
        let out = match (out, &signed) {
            (Some(path), Some(signed)) => Some((path, for_gateways(path, signed)?)),
            (Some(_) | None, _) => None,
        };
        staged.commit()?;
        let mut told = self.told(&after);
        if let Some((path, staged)) = out {
            staged.commit()?;
            let path = path.display();
            told += &format!("for a gateway that is running: turnpike gateway narrow {path}\n");
        }
        Ok(told)
    }

    /// A notice of this party about these terms, of which effect and reason have yet to be said.
    pub(super) fn draft(&self, council: Option<&Name>, by: &str) -> Result<Notice, Failure> {
        Ok(Notice {
            network: self.paper.network.clone(),
            agreement: self.id.clone(),
            council: council.cloned(),
            by: by.to_owned(),
            number: self.number(council)?,
            effect: Effect::Suspend,
            terms: self.paper.terms.hash(),
            why: None,
            at: self.now,
        })
    }

    fn name(&self) -> String {
        format!("agreements/{}.toml", self.id)
    }

    fn document(&self) -> Result<DocumentMut, Failure> {
        let text = self.folder.files.get(&self.name()).and_then(|text| std::str::from_utf8(text).ok());
        text.unwrap_or_default().parse().map_err(|_| unfit())
    }

    /// The agreement's new file, beside the old one, and how the agreement stands by it.
    fn stage(&self, document: &DocumentMut) -> Result<(Staged, Agreement), Failure> {
        let (name, text) = (self.name(), document.to_string());
        let mut files = self.folder.files.clone();
        files.insert(name.clone(), text.clone());
        let after = policy::paper(&files, &self.id, self.now).map_err(|found| self.folder.failure(&found))?;
        let after = after.ok_or_else(|| no_agreement(self.id.as_str()))?;
        Ok((Staged::new(&self.folder.path.join(name), &text)?, after.agreement))
    }

    fn told(&self, after: &Agreement) -> String {
        let state = after.state();
        let mut reasons: Vec<String> = after.void.iter().map(ToString::to_string).collect();
        if state == State::Active && reasons.is_empty() {
            reasons.push("every council has consented".to_owned());
        }
        format!("{} is {state}: {}\n", self.id, reasons.join("; "))
    }
}

/// Reads a private key.
pub(super) fn key(path: &Path) -> Result<Signer, Failure> {
    let pem = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::NoPermission,
            _ => Exit::Invalid,
        };
        let cause = format!("cannot read the key {}: {error}", path.display());
        Failure::new(exit, cause, "`turnpike agreement keygen --out FILE` makes one")
    })?);
    Signer::from_pem(&pem).map_err(|error| {
        let cause = format!("{}: {error}", path.display());
        Failure::new(Exit::Invalid, cause, "use a key that `turnpike agreement keygen` made")
    })
}

fn for_gateways(path: &Path, signed: &SignedNotice) -> Result<Staged, Failure> {
    Staged::new(path, &String::from_utf8_lossy(&signed.to_octets()))
}

fn unfit() -> Failure {
    let cause = "the agreement's file does not have [agreement] with [[agreement.consent]] and [[agreement.notice]]";
    Failure::new(Exit::Invalid, cause, "`turnpike policy fmt DIR` brings it into that form")
}
