//! `turnpike agreement sign`: a council's consent, into the agreement's file.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use super::terms_of;
use crate::cli::definition::{self, Folder};
use crate::cli::{Exit, Failure, output};
use crate::identity::{Id, Name, Signer};
use crate::policy::{self, Terms};

#[derive(Debug, Args)]
#[command(after_help = "Read the terms first: `turnpike agreement terms DIR ID`.\n\n\
    Example:\n  turnpike agreement sign . A-142 --council leeds --by siro@leeds.example --key siro.pem")]
pub(super) struct Arguments {
    /// The definition's folder.
    dir: PathBuf,
    /// The agreement's id.
    id: String,
    /// The council that consents.
    #[arg(long)]
    council: String,
    /// The signer, as the council's file names them.
    #[arg(long, value_name = "WHO")]
    by: String,
    /// The signer's private key, from `agreement keygen`.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Runs `turnpike agreement sign`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (folder, id, terms) = terms_of(&arguments.dir, &arguments.id)?;
    let council = concerned(&terms, &id, &arguments.council)?;
    let pem = zeroize::Zeroizing::new(std::fs::read_to_string(&arguments.key).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::NoPermission,
            _ => Exit::Invalid,
        };
        let cause = format!("cannot read the key {}: {error}", arguments.key.display());
        Failure::new(exit, cause, "`turnpike agreement keygen --out FILE` makes one")
    })?);
    let signer = Signer::from_pem(&pem).map_err(|error| {
        let cause = format!("{}: {error}", arguments.key.display());
        Failure::new(Exit::Invalid, cause, "use a key that `turnpike agreement keygen` made")
    })?;
    known_signer(&folder, &council, &arguments.by, &signer)?;
    let file = format!("agreements/{id}.toml");
    let text = folder.files.get(&file).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
    let signed = with_consent(text, &council, &arguments.by, &terms, &signer, Timestamp::now())?;
    definition::replace(&arguments.dir.join(&file), &signed)?;
    output::print(&format!("council '{council}' has consented to {id}: {}\n", terms.hash()))?;
    Ok(Exit::Fine)
}

fn concerned(terms: &Terms, id: &Id, council: &str) -> Result<Name, Failure> {
    let found = terms.councils.iter().find(|known| known.as_str() == council);
    found.cloned().ok_or_else(|| {
        let names: Vec<_> = terms.councils.iter().map(Name::as_str).collect();
        let cause = format!("council '{}' has no part in {id}", policy::printable(council));
        Failure::new(Exit::Invalid, cause, format!("it takes the consent of: {}", names.join(", ")))
    })
}

fn known_signer(folder: &Folder, council: &Name, by: &str, signer: &Signer) -> Result<(), Failure> {
    let signers = policy::signers(&folder.files, council).map_err(|found| folder.failure(&found))?;
    let mut keys = signers.iter().filter(|known| known.by == by).peekable();
    let (cause, remedy) = if keys.peek().is_none() {
        let names: Vec<_> = signers.iter().map(|signer| signer.by.as_str()).collect();
        let cause = format!("'{}' is no signer of council '{council}'", policy::printable(by));
        (cause, format!("its signers are: {}", names.join(", ")))
    } else if keys.any(|known| known.key == signer.verifier()) {
        return Ok(());
    } else {
        let cause = format!("the key {} is not the one that councils/{council}.toml has for '{by}'", signer.verifier());
        (cause, "use that signer's key, or have the council put the new one into its file".to_owned())
    };
    Err(Failure::new(Exit::Invalid, cause, remedy))
}

/// The agreement's file with the consent in it, in place of an older one by the same person; all else stays as it
/// was written.
fn with_consent(
    text: &str,
    council: &Name,
    by: &str,
    terms: &Terms,
    signer: &Signer,
    at: Timestamp,
) -> Result<String, Failure> {
    let unfit =
        || Failure::new(Exit::Invalid, "the agreement's consents are not [[agreement.consent]]", "rewrite them");
    let mut document: DocumentMut = text.parse().map_err(|_| unfit())?;
    let agreement = document.get_mut("agreement").and_then(Item::as_table_mut).ok_or_else(unfit)?;
    let consents = agreement.entry("consent").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let consents = consents.as_array_of_tables_mut().ok_or_else(unfit)?;
    let text_of = |table: &Table, key: &str| table.get(key).and_then(Item::as_str).map(str::to_owned);
    consents.retain(|table| {
        text_of(table, "council").as_deref() != Some(council.as_str()) || text_of(table, "by").as_deref() != Some(by)
    });
    let date = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut consent = Table::new();
    consent.insert("council", value(council.as_str()));
    consent.insert("by", value(by));
    consent.insert("at", value(date.parse::<toml_edit::Datetime>().map_err(|_| unfit())?));
    consent.insert("terms", value(terms.hash()));
    consent.insert("signature", value(terms.sign(signer).to_string()));
    consents.push(consent);
    Ok(document.to_string())
}
