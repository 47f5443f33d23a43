//! Reads a definition's folder, and writes the files that turnpike itself may change in it.
//!
//! Only what FORMAT names is read: `network.toml`, `allotted.toml`, and `.toml` in `councils`, `agreements` and
//! `tests`. Symlinks are refused, since a definition is what its folder holds; large files before they are read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::findings;
use super::{Exit, Failure};
use crate::policy::{self, Code, Files, Finding, Resolved, Severity};

/// The largest file that people write and a definition may hold, in octets.
pub const LARGEST: u64 = 1 << 20;

/// The same of `allotted.toml`, which nobody writes: a line for each thing that ever was, 30 octets or so each.
const LARGEST_ALLOTTED: u64 = 64 << 20;

/// The files of a definition.
pub(super) const FILES: [&str; 2] = ["network.toml", "allotted.toml"];
/// The folders of a definition, in which each file ends in `.toml`.
pub(super) const FOLDERS: [&str; 3] = ["councils", "agreements", "tests"];

/// How many octets a file of this name may have.
pub(super) fn most(name: &str) -> u64 {
    if name == "allotted.toml" { LARGEST_ALLOTTED } else { LARGEST }
}

/// A definition's files, and what kept some of them from being read.
#[derive(Debug)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// The files that could be read.
    pub files: Files,
    /// The refusals.
    pub findings: Vec<Finding>,
}

/// The instant as of which a definition is judged: as asked, else now, to the whole second as the definition's own dates.
pub fn instant(at: Option<Timestamp>) -> Timestamp {
    let now = || {
        let now = Timestamp::now();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    };
    at.unwrap_or_else(now)
}

/// Reads and resolves a definition as of `at`; warnings are in the result, for whoever wants to print them.
///
/// # Errors
/// A failure with exit 1 that carries every finding, or 69 and 77 if the folder cannot be read.
pub fn load(path: &Path, at: Timestamp) -> Result<Resolved, Failure> {
    let folder = read(path)?;
    folder.resolve(at).map_err(|found| folder.failure(&found))
}

/// Reads the folder.
///
/// # Errors
/// Exit 1 if there is no such folder, 77 or 69 if it cannot be read.
pub fn read(path: &Path) -> Result<Folder, Failure> {
    let mut folder = Folder { path: path.to_owned(), files: Files::new(), findings: Vec::new() };
    if !fs::metadata(path).map_err(|error| unreadable(path, &error))?.is_dir() {
        let cause = format!("{} is no folder", path.display());
        return Err(Failure::new(Exit::Invalid, cause, "name the folder that holds network.toml"));
    }
    for name in FILES {
        folder.file(name)?;
    }
    for name in FOLDERS {
        folder.folder(name)?;
    }
    Ok(folder)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let (exit, remedy) = match error.kind() {
        io::ErrorKind::NotFound => (Exit::Invalid, "name the folder that holds network.toml"),
        io::ErrorKind::PermissionDenied => (Exit::NoPermission, "run it as a user who may read the definition"),
        _ => (Exit::Unavailable, ""),
    };
    Failure::new(exit, format!("cannot read {}: {error}", path.display()), remedy)
}

impl Folder {
    /// Resolves what was read; a file that could not be read is an error already.
    ///
    /// # Errors
    /// All findings.
    pub fn resolve(&self, at: Timestamp) -> Result<Resolved, Vec<Finding>> {
        self.whole()?;
        policy::resolve(&self.files, at)
    }

    /// That every file could be read.
    ///
    /// # Errors
    /// The refusals.
    pub fn whole(&self) -> Result<(), Vec<Finding>> {
        if self.findings.is_empty() { Ok(()) } else { Err(self.findings.clone()) }
    }

    /// The failure that tells of these findings.
    pub fn failure(&self, found: &[Finding]) -> Failure {
        let errors: Vec<_> = found.iter().filter(|it| it.severity == Severity::Error).cloned().collect();
        let plural = if errors.len() == 1 { "" } else { "s" };
        let cause = format!("the definition in {} has {} error{plural}", self.path.display(), errors.len());
        let mut failure = Failure::new(Exit::Invalid, cause, "");
        failure.detail = findings::render(&errors, &self.files, &self.path);
        failure
    }

    fn folder(&mut self, name: &str) -> Result<(), Failure> {
        let path = self.path.join(name);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(&path, &error)),
            Ok(metadata) if metadata.is_symlink() => {
                self.symlink(name);
                return Ok(());
            }
            Ok(metadata) if !metadata.is_dir() => {
                self.refuse(name, Code::NotPlain, "not a folder", "make it a folder, or remove it");
                return Ok(());
            }
            Ok(_) => {}
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(|error| unreadable(&path, &error))? {
            names.push(entry.map_err(|error| unreadable(&path, &error))?.file_name());
        }
        names.sort();
        for entry in names {
            match entry.to_str() {
                Some(entry) => self.file(&format!("{name}/{entry}"))?,
                None => {
                    let entry = format!("{name}/{}", entry.to_string_lossy());
                    self.refuse(&entry, Code::FileName, "the file's name is not UTF-8", "rename it");
                }
            }
        }
        Ok(())
    }

    /// Takes in one file of the definition; passes over folders and whatever does not end in `.toml`.
    fn file(&mut self, name: &str) -> Result<(), Failure> {
        let path = self.path.join(name);
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(&path, &error)),
            Ok(metadata) => metadata,
        };
        if metadata.is_symlink() {
            self.symlink(name);
        } else if !name.ends_with(".toml") || metadata.is_dir() {
            return Ok(());
        } else if !metadata.is_file() {
            self.refuse(name, Code::NotPlain, "not a plain file", "remove it, or put a plain file there");
        } else {
            return self.content(name, &path);
        }
        Ok(())
    }

    fn content(&mut self, name: &str, path: &Path) -> Result<(), Failure> {
        // O_NOFOLLOW and O_NONBLOCK: what was a plain file a moment ago may be a symlink or a pipe now.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = file.map_err(|error| unreadable(path, &error))?;
        let length = file.metadata().map_err(|error| unreadable(path, &error))?.len();
        let most = most(name);
        let mut content = Vec::new();
        if length <= most {
            content.reserve_exact(usize::try_from(length).unwrap_or_default());
            file.take(most + 1).read_to_end(&mut content).map_err(|error| unreadable(path, &error))?;
        }
        if length > most || content.len() as u64 > most {
            let message = format!("the file has {length} octets; {most} are allowed");
            self.refuse(name, Code::TooLarge, &message, "a definition's file is text that people read: split it");
            return Ok(());
        }
        self.files.insert(name, content);
        Ok(())
    }

    fn symlink(&mut self, name: &str) {
        let help = "put the file itself there: a definition is what its folder holds";
        self.refuse(name, Code::NotPlain, "a symlink", help);
    }

    fn refuse(&mut self, name: &str, code: Code, message: &str, help: &str) {
        self.findings.push(Finding::of_file(name, code, message, help));
    }
}

/// Writes a file so that a crash leaves the old one or the new one: temporary file, fsync, rename, fsync of the
/// folder. The file's mode stays as it was.
///
/// # Errors
/// 77 or 69, naming the file.
pub fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    Staged::new(path, text)?.commit()
}

/// A file's new content, written beside it and not yet in its place; dropped, it leaves nothing.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    temporary: PathBuf,
}

impl Staged {
    /// Writes the content to a temporary file in the same folder.
    ///
    /// # Errors
    /// 77 or 69, naming the file.
    pub fn new(path: &Path, text: &str) -> Result<Self, Failure> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder_of(path).join(format!(".{name}.{}.new", std::process::id()));
        let staged = Self { path: path.to_owned(), temporary };
        write_new(&staged.temporary, path, text).map_err(|error| unwritable(path, &error))?;
        Ok(staged)
    }

    /// Puts the new content in the file's place.
    ///
    /// # Errors
    /// 77 or 69, naming the file.
    pub fn commit(self) -> Result<(), Failure> {
        let renamed = fs::rename(&self.temporary, &self.path);
        let synced = renamed.and_then(|()| File::open(folder_of(&self.path))?.sync_all());
        synced.map_err(|error| unwritable(&self.path, &error))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It is gone where it was renamed; where it cannot be removed, a temporary file that stays is harmless.
        fs::remove_file(&self.temporary).ok();
    }
}

/// The folder in which a file lies, which is this one for a name alone.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_new(temporary: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(temporary)?;
    if let Ok(metadata) = fs::metadata(path) {
        file.set_permissions(metadata.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The failure to write a file.
pub fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::NoPermission,
        _ => Exit::Unavailable,
    };
    Failure::new(exit, format!("cannot write {}: {error}", path.display()), "see that the folder can be written to")
}
