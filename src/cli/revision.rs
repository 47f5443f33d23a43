//! A definition as a revision of a git repository holds it, read by the program git without a checkout.
//!
//! ```text
//!  REV:PATH ─▶ rev-parse ─▶ tree ─▶ ls-tree: names, modes, sizes ─▶ cat-file --batch: contents
//! ```

use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use super::definition::{FILES, FOLDERS, Folder, most};
use super::{Exit, Failure};
use crate::policy::{Code, Files, Finding};

/// Reads the definition that `revision`, such as `main` or `v1:networks/connect`, has of a folder: of its own if it names one,
/// else of `beside`, the folder that the caller compares it with.
///
/// # Errors
/// 1 if there is no such revision or folder in it, 69 without git.
pub fn read(revision: &str, beside: &Path) -> Result<Folder, Failure> {
    let (name, path) = match revision.split_once(':') {
        Some((name, path)) => (name, Some(path.trim_matches('/').to_owned())),
        None => (revision, None),
    };
    let git = Git { folder: beside };
    let unknown = |said: String| {
        let cause = format!("'{revision}' is no folder, no bundle and no revision of a git repository here: {said}");
        Failure::new(
            Exit::Invalid,
            cause,
            "name a folder, a bundle's file, or a revision such as main or HEAD~1:FOLDER",
        )
    };
    let tree = git.said(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{name}^{{tree}}")])?;
    let tree = tree.map_err(|said| unknown(if said.is_empty() { "git does not know it".to_owned() } else { said }))?;
    let path = match path {
        Some(path) => path,
        None => git.said(&["rev-parse", "--show-prefix"])?.map_err(unknown)?.trim_matches('/').to_owned(),
    };
    let mut folder = Folder { path: PathBuf::from(revision), files: Files::new(), findings: Vec::new() };
    let entries = git.entries(&tree, &path, &mut folder)?;
    if entries.is_empty() && folder.findings.is_empty() {
        let cause = format!("revision {name} has no definition in '{path}'");
        return Err(Failure::new(Exit::Invalid, cause, format!("name the folder of network.toml: {name}:FOLDER")));
    }
    git.contents(&entries, &mut folder.files)?;
    Ok(folder)
}

/// A file of a tree: its name in the definition, and its content's hash.
struct Entry {
    name: String,
    object: String,
}

struct Git<'a> {
    folder: &'a Path,
}

impl Git<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.folder).args(arguments).env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// One line that git says, or its complaint.
    fn said(&self, arguments: &[&str]) -> Result<Result<String, String>, Failure> {
        let output = self.command(arguments).output().map_err(|error| unavailable(&error))?;
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).trim().to_owned();
        Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
    }

    /// The definition's files in a folder of a tree; what cannot be one is a finding.
    fn entries(&self, tree: &str, path: &str, folder: &mut Folder) -> Result<Vec<Entry>, Failure> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let wanted: Vec<String> = FILES
            .iter()
            .map(|name| format!("{prefix}{name}"))
            .chain(FOLDERS.iter().map(|name| format!("{prefix}{name}/")))
            .collect();
        let mut arguments = vec!["ls-tree", "-r", "-z", "-l", "--full-tree", tree, "--"];
        arguments.extend(wanted.iter().map(String::as_str));
        let output = self.command(&arguments).output().map_err(|error| unavailable(&error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Failure::new(
                Exit::Invalid,
                format!("git cannot list '{path}': {said}"),
                "name a folder of the revision",
            ));
        }
        let mut entries = Vec::new();
        for line in output.stdout.split(|&octet| octet == 0).filter(|line| !line.is_empty()) {
            entries.extend(entry(&String::from_utf8_lossy(line), &prefix, folder));
        }
        Ok(entries)
    }

    /// Reads the contents of all entries by one process.
    fn contents(&self, entries: &[Entry], files: &mut Files) -> Result<(), Failure> {
        let mut command = self.command(&["cat-file", "--batch"]);
        let mut child = command.stdin(Stdio::piped()).spawn().map_err(|error| unavailable(&error))?;
        let (Some(mut asking), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(unavailable(&io::ErrorKind::BrokenPipe.into()));
        };
        let read = thread::scope(|scope| {
            scope.spawn(move || entries.iter().try_for_each(|entry| writeln!(asking, "{}", entry.object)));
            let mut answers = BufReader::new(answers);
            entries.iter().try_for_each(|entry| {
                files.insert(entry.name.clone(), content(&mut answers)?);
                Ok(())
            })
        });
        let ended = child.wait();
        read.and_then(|()| ended.map(drop)).map_err(|error: io::Error| unavailable(&error))
    }
}

/// `MODE TYPE HASH SIZE<tab>PATH`, as a file of the definition, if it is one.
fn entry(line: &str, prefix: &str, folder: &mut Folder) -> Option<Entry> {
    let (about, path) = line.split_once('\t')?;
    let name = path.strip_prefix(prefix)?;
    let fields: Vec<&str> = about.split_ascii_whitespace().collect();
    let [mode, _, object, size] = fields.as_slice() else { return None };
    let plain = FILES.contains(&name)
        || name.split_once('/').is_some_and(|(within, file)| FOLDERS.contains(&within) && !file.contains('/'));
    if !plain || !name.ends_with(".toml") {
        return None;
    }
    let mut refuse =
        |code, message: &str, help: &str| folder.findings.push(Finding::of_file(name, code, message, help));
    let most = most(name);
    match (*mode, size.parse::<u64>()) {
        ("100644" | "100755", Ok(size)) if size <= most => {
            Some(Entry { name: name.to_owned(), object: (*object).to_owned() })
        }
        ("100644" | "100755", Ok(size)) => {
            let message = format!("the file has {size} octets; {most} are allowed");
            refuse(Code::TooLarge, &message, "a definition's file is text that people read: split it");
            None
        }
        _ => {
            refuse(Code::NotPlain, "not a plain file", "remove it, or put a plain file there");
            None
        }
    }
}

/// One answer of `cat-file --batch`: a line `HASH TYPE SIZE`, so many octets, and a line break.
fn content(answers: &mut impl io::BufRead) -> io::Result<Vec<u8>> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    let odd = || io::Error::new(io::ErrorKind::InvalidData, format!("git answered '{}'", line.trim()));
    let size: usize = line.trim().rsplit(' ').next().and_then(|size| size.parse().ok()).ok_or_else(odd)?;
    let mut content = vec![0; size];
    answers.read_exact(&mut content)?;
    answers.read_exact(&mut [0])?;
    Ok(content)
}

fn unavailable(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::new(Exit::Unavailable, "the program git was not found", "install it: apt-get install git")
        }
        _ => Failure::new(Exit::Unavailable, format!("git cannot be asked: {error}"), ""),
    }
}
