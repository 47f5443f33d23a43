//! What this host lets us do and has: capabilities, sysctls, disk. Read, never written.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statvfs::statvfs;

/// `CAP_NET_ADMIN` in `linux/capability.h`.
const CAP_NET_ADMIN: u32 = 12;

/// Whether this process may configure networks: `CAP_NET_ADMIN` in its effective set.
pub fn has_net_admin() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    effective_capabilities(&status).is_some_and(|set| set >> CAP_NET_ADMIN & 1 == 1)
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The program of this name in `PATH`, or in the folders of system programs, which other people's `PATH` lacks.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// When the session of a process began, in BOOTTIME: when its leader did, which `sshd`, `login` and `setsid(1)` start anew.
/// `None` where the leader has ended. Exact to a clock tick, 10 ms, which it may be too early.
pub fn session_began(process: i32) -> Option<Duration> {
    let stat = |process: i32| std::fs::read_to_string(format!("/proc/{process}/stat")).ok();
    let leader = field(&stat(process)?, SESSION)?;
    let ticks: u32 = field(&stat(leader)?, START)?;
    let rate = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten()?;
    Some(Duration::from_secs(u64::from(ticks)) / u32::try_from(rate).ok()?)
}

/// The fields of `/proc/PID/stat` (`proc_pid_stat(5)`), counted from the one after the program's name, which is the second.
const SESSION: usize = 3;
const START: usize = 19;

fn field<T: std::str::FromStr>(stat: &str, place: usize) -> Option<T> {
    // The name stands in brackets, and may have some itself.
    stat.rsplit_once(')')?.1.split_whitespace().nth(place)?.parse().ok()
}

/// The name of the device of this index in our network namespace, lossy where it is no UTF-8; `None` if there is none.
pub fn device(index: u32) -> Option<String> {
    nix::net::if_::if_indextoname(index).ok().map(|name| name.to_string_lossy().into_owned())
}

/// A sysctl's value as text, such as `net.ipv4.ip_forward`; `None` where it cannot be read. A dot inside a
/// device's name is written as a slash, as `sysctl(8)` does.
pub fn sysctl(name: &str) -> Option<String> {
    let path: String = name
        .chars()
        .map(|character| match character {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect();
    std::fs::read_to_string(Path::new("/proc/sys").join(path)).ok().map(|text| text.trim().to_owned())
}

/// Octets that are free and that there are on the file system of `path`.
///
/// # Errors
/// What `statvfs(3)` says.
pub fn disk(path: &Path) -> io::Result<(u64, u64)> {
    let stat = statvfs(path)?;
    let unit = stat.fragment_size();
    Ok((stat.blocks_available() * unit, stat.blocks() * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_is_read_from_its_own_line() {
        let status = "Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t0000000000001000\n";
        assert_eq!(effective_capabilities(status), Some(0x1000));
        assert_eq!(effective_capabilities("CapEff:\tx\n"), None);
    }

    #[test]
    fn a_sysctl_of_a_device_with_a_dot_is_found_by_its_slash() {
        assert!(sysctl("kernel.ostype").is_some_and(|name| name == "Linux"));
        assert_eq!(sysctl("net.ipv4.no-such"), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_not_found() {
        assert!(find_program("sh").is_some());
        assert_eq!(find_program("no-such-program"), None);
    }
}
