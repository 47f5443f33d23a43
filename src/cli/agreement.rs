//! `turnpike agreement terms|keygen|sign|list|show`: what councils consent to, and how.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use super::definition::{self, Folder};
use super::{Exit, Failure, output};
use crate::identity::{Id, KeyError, Name, Signer};
use crate::policy::model::{Agreement, Model, Void};
use crate::policy::{self, Terms};

/// Arguments of `turnpike agreement`.
#[derive(Debug, Args)]
pub struct Agreements {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the terms that a council consents to: canonical JSON, and its hash.
    Terms(One),
    /// Make a signer's key; print its public half for the council's file.
    Keygen(Keygen),
    /// Add a council's consent to an agreement's file.
    Sign(Sign),
    /// List all agreements and their standing.
    List(List),
    /// Show one agreement: what it allows, whose consent it has and lacks.
    Show(Show),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  turnpike agreement terms . A-142")]
struct One {
    /// The definition's folder.
    dir: PathBuf,
    /// The agreement's id.
    id: String,
}

#[derive(Debug, Args)]
#[command(after_help = "The key is PKCS#8 PEM, mode 0600; an existing file is never overwritten.\n\n\
    Example:\n  turnpike agreement keygen --out siro.pem")]
struct Keygen {
    /// Where to write the private key.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Read the terms first: `turnpike agreement terms DIR ID`.\n\n\
    Example:\n  turnpike agreement sign . A-142 --council leeds --by siro@leeds.example --key siro.pem")]
struct Sign {
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

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 fine, 1 invalid, 4 a consent is missing.\n\n\
    Example:\n  turnpike agreement list . --json")]
struct List {
    /// The definition's folder.
    dir: PathBuf,
    /// Judge agreements as of this time (RFC 3339, with offset) instead of now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 fine, 1 invalid, 4 a consent is missing.\n\n\
    Example:\n  turnpike agreement show . A-142")]
struct Show {
    /// The definition's folder.
    dir: PathBuf,
    /// The agreement's id.
    id: String,
    /// Judge the agreement as of this time (RFC 3339, with offset) instead of now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `turnpike agreement`.
///
/// # Errors
/// See the exit codes of each subcommand.
pub fn run(arguments: &Agreements) -> Result<Exit, Failure> {
    match &arguments.command {
        Command::Terms(arguments) => terms(arguments),
        Command::Keygen(arguments) => keygen(arguments),
        Command::Sign(arguments) => sign(arguments),
        Command::List(arguments) => list(arguments),
        Command::Show(arguments) => show(arguments),
    }
}

fn terms(arguments: &One) -> Result<Exit, Failure> {
    let (_, _, terms) = terms_of(&arguments.dir, &arguments.id)?;
    output::print(&format!("{}\n{}\n", terms.json(), terms.hash()))?;
    Ok(Exit::Fine)
}

fn terms_of(dir: &Path, id: &str) -> Result<(Folder, Id, Terms), Failure> {
    let folder = definition::read(dir)?;
    let all = folder.whole().and_then(|()| policy::terms(&folder.files));
    let mut all = all.map_err(|found| folder.failure(&found))?;
    let found = id.parse::<Id>().ok().and_then(|id| all.remove(&id).map(|terms| (id, terms)));
    let (id, terms) = found.ok_or_else(|| no_agreement(id))?;
    Ok((folder, id, terms))
}

fn no_agreement(id: &str) -> Failure {
    let cause = format!("there is no agreement '{}'", policy::printable(id));
    Failure::new(Exit::Invalid, cause, "`turnpike agreement list DIR` names them")
}

fn keygen(arguments: &Keygen) -> Result<Exit, Failure> {
    let signer = Signer::generate().map_err(|error| internal(&error))?;
    let pem = signer.to_pem().map_err(|error| internal(&error))?;
    let path = &arguments.out;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            let cause = format!("{} exists already", path.display());
            Failure::new(Exit::Invalid, cause, "a key is never overwritten: choose another name")
        }
        _ => definition::unwritable(path, &error),
    })?;
    let written = file.write_all(pem.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| definition::unwritable(path, &error))?;
    output::print(&format!("{}\n", signer.verifier()))?;
    Ok(Exit::Fine)
}

fn internal(error: &KeyError) -> Failure {
    Failure::new(Exit::Internal, format!("cannot make a key: {error}"), "")
}

fn sign(arguments: &Sign) -> Result<Exit, Failure> {
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

fn list(arguments: &List) -> Result<Exit, Failure> {
    let model = model_of(&arguments.dir, arguments.at)?;
    let standings: Vec<_> = model.agreements.iter().map(|agreement| Standing::of(&model, agreement)).collect();
    if arguments.json {
        output::print_json(&standings)?;
    } else {
        let rows = standings.iter().map(Standing::row);
        let table = output::table(["agreement", "standing", "service", "from", "because"], rows);
        output::print(&format!("{table}{} agreements as of {}\n", standings.len(), model.at))?;
    }
    Ok(exit_of(&model.agreements))
}

fn show(arguments: &Show) -> Result<Exit, Failure> {
    let model = model_of(&arguments.dir, arguments.at)?;
    let found = model.agreements.iter().find(|agreement| agreement.id.as_str() == arguments.id);
    let agreement = found.ok_or_else(|| no_agreement(&arguments.id))?;
    let standing = Standing::of(&model, agreement);
    if arguments.json {
        output::print_json(&standing)?;
    } else {
        output::print(&standing.text(model.at))?;
    }
    Ok(exit_of(std::slice::from_ref(agreement)))
}

fn model_of(dir: &Path, at: Option<Timestamp>) -> Result<Model, Failure> {
    Ok(definition::load(dir, definition::instant(at))?.model)
}

fn exit_of(agreements: &[Agreement]) -> Exit {
    let missing = |void: &Void| matches!(void, Void::ConsentMissing(_));
    let any = agreements.iter().flat_map(|agreement| &agreement.void).any(missing);
    if any { Exit::ConsentMissing } else { Exit::Fine }
}

/// An agreement for people and machines.
#[derive(Serialize)]
struct Standing {
    id: String,
    number: u32,
    standing: &'static str,
    reasons: Vec<String>,
    service: String,
    hosts: Vec<String>,
    ports: Vec<String>,
    from: Vec<String>,
    apart: Vec<String>,
    class: String,
    not_before: Option<String>,
    not_after: Option<String>,
    reference: Option<String>,
    consents: Vec<Consent>,
}

#[derive(Serialize)]
struct Consent {
    council: String,
    given: bool,
}

impl Standing {
    fn of(model: &Model, agreement: &Agreement) -> Self {
        let service = model.services.iter().find(|service| service.name == agreement.service);
        let missing = |council: &Name| agreement.void.contains(&Void::ConsentMissing(council.clone()));
        let consent = |council: &Name| Consent { council: council.to_string(), given: !missing(council) };
        Self {
            id: agreement.id.to_string(),
            number: agreement.number,
            standing: if agreement.in_force() { "in force" } else { "void" },
            reasons: agreement.void.iter().map(ToString::to_string).collect(),
            service: agreement.service.to_string(),
            hosts: service.map_or(Vec::new(), |service| texts(&service.hosts)),
            ports: service.map_or(Vec::new(), |service| texts(&service.ports)),
            from: texts(&agreement.from),
            apart: texts(&agreement.apart),
            class: agreement.class.to_string(),
            not_before: agreement.not_before.map(|date| date.to_string()),
            not_after: agreement.not_after.map(|date| date.to_string()),
            reference: agreement.reference.clone(),
            consents: agreement.councils.iter().map(consent).collect(),
        }
    }

    fn row(&self) -> [String; 5] {
        let reasons = self.reasons.join("; ");
        [self.id.clone(), self.standing.to_owned(), self.service.clone(), self.from.join(", "), reasons]
    }

    fn text(&self, at: Timestamp) -> String {
        let mut lines = vec![format!("agreement {} (number {}): {} as of {at}", self.id, self.number, self.standing)];
        let mut line = |title: &str, text: String| lines.push(format!("  {title:<12}{text}"));
        for reason in &self.reasons {
            line("because", reason.clone());
        }
        line("service", format!("{} ({} at {})", self.service, self.ports.join(", "), self.hosts.join(", ")));
        line("from", self.from.join(", "));
        if !self.apart.is_empty() {
            line("not yet for", self.apart.join(", "));
        }
        line("class", self.class.clone());
        let open = || "open".to_owned();
        let (begin, end) = (self.not_before.clone().unwrap_or_else(open), self.not_after.clone().unwrap_or_else(open));
        line("time", format!("{begin} to {end}"));
        if let Some(reference) = &self.reference {
            line("reference", policy::printable(reference));
        }
        for consent in &self.consents {
            line("consent", format!("{}: {}", consent.council, if consent.given { "given" } else { "MISSING" }));
        }
        lines.join("\n") + "\n"
    }
}

fn texts<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}
