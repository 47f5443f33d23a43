//! What namespaces are on this machine, whose they are, and their removal.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{FOLDER, GuardError, system, wait_until};
use crate::sys::netns::{self, Handle};

/// Whether a process runs; one that has ended and that nobody has waited for yet does not.
pub fn runs(pid: u32) -> bool {
    start_time(pid).is_some()
}

/// The folders of all namespaces whose creators live, of whatever process.
pub fn living() -> Vec<PathBuf> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let lives = |path: &PathBuf| {
        path.file_name().and_then(|name| Creator::of(&name.to_string_lossy())).is_some_and(Creator::lives)
    };
    entries.map(|entry| entry.path()).filter(lives).collect()
}

/// Removes the namespaces of creators that are gone, with what still runs in them, and names them.
///
/// # Errors
/// [`GuardError::System`].
pub fn sweep() -> Result<Vec<String>, GuardError> {
    let entries = match fs::read_dir(FOLDER) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(system(format!("listing {FOLDER}")))?,
    };
    let mut removed = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if Creator::of(&name).is_some_and(Creator::lives) {
            continue;
        }
        clear(&entry.path()).map_err(system(format!("removing {}", entry.path().display())))?;
        removed.push(name);
    }
    Ok(removed)
}

/// Who made a namespace. A process id alone is given out again; with the start time it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Creator {
    pub(super) pid: u32,
    pub(super) started: u64,
}

impl Creator {
    pub(super) fn current() -> io::Result<Self> {
        let pid = std::process::id();
        start_time(pid).map(|started| Self { pid, started }).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Reads the folder's name.
    fn of(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        Some(Self { pid: parts.next()?.parse().ok()?, started: parts.next()?.parse().ok()? })
    }

    fn lives(self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}

/// When a process started, in clock ticks since boot: field 22 of `/proc/PID/stat` (`proc(5)`); `None` if there is
/// no such process or it is dead.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name in parentheses, may hold blanks and parentheses: count from its end.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Ends what runs in the namespace of this folder, unpins it and removes the folder.
pub(super) fn clear(folder: &Path) -> io::Result<()> {
    if let Ok(inode) = Handle::open(&folder.join("net")).and_then(|handle| handle.inode()) {
        // Again until none is left: a process may have forked meanwhile.
        wait_until(Duration::from_secs(5), || {
            let found = processes_in(inode);
            for &pid in &found {
                // One that ended by itself meanwhile needs no signal.
                kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
            found.is_empty()
        });
    }
    remove_folder(folder)
}

/// Makes the folder; again where another process removed the empty [`FOLDER`] in between.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    let missing = |made: &io::Result<()>| made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let mut made = fs::create_dir_all(folder);
    for _ in 0..10 {
        if !missing(&made) {
            break;
        }
        made = fs::create_dir_all(folder);
    }
    made
}

pub(super) fn remove_folder(folder: &Path) -> io::Result<()> {
    netns::remove(&folder.join("net"))?;
    match fs::remove_dir_all(folder) {
        // Another process swept it.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Fails while others have namespaces, as it should.
    fs::remove_dir(FOLDER).ok();
    Ok(())
}

/// The processes, other than ours, whose first thread stands in the namespace with this inode number.
pub(super) fn processes_in(inode: u64) -> BTreeSet<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeSet::new() };
    let own = i32::try_from(std::process::id()).ok();
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| Some(*pid) != own)
        .filter(|pid| fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|file| file.ino() == inode))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_names_its_creator() {
        assert_eq!(Creator::of("4711.815.0.edge"), Some(Creator { pid: 4711, started: 815 }));
        assert_eq!(Creator::of("edge"), None);
    }

    #[test]
    fn this_process_lives_and_another_start_time_is_another_process() {
        let own = Creator::current().expect("our own start time");
        assert!(own.lives());
        assert!(!Creator { started: own.started + 1, ..own }.lives());
    }
}
