//! `turnpike policy fmt`: the files of a definition in their one form.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::cli::definition::{self, Folder, LARGEST, Staged};
use crate::cli::{Exit, Failure, output};
use crate::policy::{self, Files, Finding, FormatError};

#[derive(Debug, Args)]
#[command(after_help = "\
Keys come into the order of the format, lists break at 120 characters, one blank line parts
tables. Comments stay where they are, tables and the items of lists too. What the definition
says does not change, so that no consent is voided. If a file is not TOML, or changes meanwhile,
none is written. allotted.toml is left as `policy allot` wrote it.

Exit codes: 0 fine, 1 invalid, 3 files are not in their form (--check).

Examples:
  turnpike policy fmt examples/three-councils
  turnpike policy fmt . --check
  turnpike policy fmt - < councils/leeds.toml")]
pub(super) struct Arguments {
    /// The definition's folder; `-` formats one file, from standard input to standard output.
    dir: PathBuf,
    /// Write nothing; name the files that are not in their form, and exit 3 if there are any.
    #[arg(long)]
    check: bool,
    /// Print what was found and done as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `turnpike policy fmt`.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.dir == Path::new("-") {
        return one(arguments);
    }
    let folder = definition::read(&arguments.dir)?;
    folder.whole().map_err(|found| folder.failure(&found))?;
    let differing = differing(&folder)?;
    if !arguments.check {
        write(&folder, &differing)?;
    }
    tell(arguments, &folder.files, &differing)?;
    Ok(if arguments.check && !differing.is_empty() { Exit::Differences } else { Exit::Fine })
}

/// A file that is not in its form, and that form.
struct Differing {
    file: String,
    form: String,
}

fn differing(folder: &Folder) -> Result<Vec<Differing>, Failure> {
    let mut found: Vec<Finding> = Vec::new();
    let mut differing = Vec::new();
    for (file, octets) in folder.files.iter() {
        match policy::format(file, octets) {
            Ok(form) if form.as_bytes() != octets => differing.push(Differing { file: file.to_owned(), form }),
            Ok(_) => {}
            Err(FormatError::Syntax(more)) => found.extend(more),
            Err(FormatError::Unsafe) => return Err(unsafe_form(file)),
        }
    }
    if found.is_empty() { Ok(differing) } else { Err(folder.failure(&found)) }
}

fn unsafe_form(file: &str) -> Failure {
    let cause = format!("{} cannot be formatted without a change of what it says", policy::printable(file));
    Failure::new(Exit::Internal, cause, "nothing was written; this is a fault of turnpike: please report the file")
}

/// Writes all files or none: the new ones are laid beside the old, the old ones looked at again, and only then each
/// takes its place.
fn write(folder: &Folder, differing: &[Differing]) -> Result<(), Failure> {
    let stage = |it: &Differing| Staged::new(&folder.path.join(&it.file), &it.form);
    let staged: Vec<Staged> = differing.iter().map(stage).collect::<Result<_, _>>()?;
    let now = definition::read(&folder.path)?;
    let changed = |it: &&Differing| now.files.get(&it.file) != folder.files.get(&it.file);
    if let Some(changed) = differing.iter().find(changed) {
        let cause = format!("{} has changed meanwhile", folder.path.join(&changed.file).display());
        return Err(Failure::new(Exit::Unavailable, cause, "nothing was written: run it again"));
    }
    staged.into_iter().try_for_each(Staged::commit)
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    files: usize,
    differing: Vec<&'a str>,
    written: bool,
}

fn tell(arguments: &Arguments, files: &Files, differing: &[Differing]) -> Result<(), Failure> {
    let all = files.iter().count();
    let names: Vec<&str> = differing.iter().map(|it| it.file.as_str()).collect();
    if arguments.json {
        return output::print_json(&Json {
            files: all,
            written: !arguments.check && !names.is_empty(),
            differing: names,
        });
    }
    let lines: String = names.iter().map(|name| format!("{}\n", policy::printable(name))).collect();
    let done = if arguments.check { "files are not in their form" } else { "files formatted" };
    output::print(&format!("{lines}{} of {all} {done}\n", names.len()))
}

/// One file from standard input to standard output.
fn one(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.json {
        return Err(Failure::new(Exit::Usage, "--json does not go with -", "leave it out: the file itself is printed"));
    }
    let mut octets = Vec::new();
    let read = std::io::stdin().lock().take(LARGEST + 1).read_to_end(&mut octets);
    read.map_err(|error| Failure::new(Exit::Unavailable, format!("cannot read standard input: {error}"), ""))?;
    if octets.len() as u64 > LARGEST {
        let cause = format!("the file has more than {LARGEST} octets");
        return Err(Failure::new(Exit::Invalid, cause, "a definition's file is text that people read: split it"));
    }
    let form = policy::format("-", &octets).map_err(|error| match error {
        FormatError::Syntax(found) => {
            let mut files = Files::new();
            files.insert("-", octets.clone());
            let folder = Folder { path: PathBuf::new(), files, findings: Vec::new() };
            Failure { cause: "the file is not TOML".to_owned(), ..folder.failure(&found) }
        }
        FormatError::Unsafe => unsafe_form("-"),
    })?;
    if arguments.check {
        return Ok(if form.as_bytes() == octets { Exit::Fine } else { Exit::Differences });
    }
    output::print(&form)?;
    Ok(Exit::Fine)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_changes_under_the_hand_keeps_every_file_as_it_was() {
        let dir = tempfile::tempdir().expect("a folder");
        let network = dir.path().join("network.toml");
        fs::write(&network, "network={name='x'}\n").expect("a file");
        fs::create_dir(dir.path().join("tests")).expect("a folder");
        fs::write(dir.path().join("tests/a.toml"), "as_of=2026-06-01T10:00:00Z\n").expect("a file");
        let folder = definition::read(dir.path()).expect("a folder");
        let differing = differing(&folder).expect("they are TOML");
        assert_eq!(differing.len(), 2);
        fs::write(dir.path().join("tests/a.toml"), "as_of=2026-06-02T10:00:00Z\n").expect("a file");
        let failure = write(&folder, &differing).expect_err("it has changed");
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.cause.contains("tests/a.toml has changed"), "{}", failure.cause);
        assert_eq!(fs::read_to_string(&network).expect("a file"), "network={name='x'}\n");
        let beside = |path: &Path| fs::read_dir(path).expect("a folder").count();
        assert_eq!((beside(dir.path()), beside(&dir.path().join("tests"))), (2, 1), "nothing is left beside them");
        let folder = definition::read(dir.path()).expect("a folder");
        write(&folder, &super::differing(&folder).expect("they are TOML")).expect("nothing has changed since");
        assert_eq!(fs::read_to_string(&network).expect("a file"), "[network]\nname = \"x\"\n");
    }
}
