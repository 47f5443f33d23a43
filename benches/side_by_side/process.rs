//! Processes that are waited for within a bound, and what the kernel accounts to others.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::time::ClockId;
use nix::unistd::Pid;
use turnpike::lab::guard::{Process, wait_for};

use crate::failure::{Failure, program, system};

/// Signals that ask for the end. They only set a flag, so that everything is removed on the way out.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches SIGINT, SIGTERM and SIGHUP from now on.
    ///
    /// # Errors
    /// Those of `sigaction(2)`.
    pub fn catch() -> io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    /// Whether somebody asked.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes on unless somebody asked for the end.
    ///
    /// # Errors
    /// [`Failure::Interrupted`].
    pub fn check(&self) -> Result<(), Failure> {
        if self.is_set() { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// Waits for a fact, at most `within`; `None` if it did not come to hold.
    ///
    /// # Errors
    /// [`Failure::Interrupted`].
    pub fn wait_for<T>(&self, within: Duration, mut fact: impl FnMut() -> Option<T>) -> Result<Option<T>, Failure> {
        let answer = wait_for(within, || if self.is_set() { Some(None) } else { fact().map(Some) });
        match answer {
            Some(None) => Err(Failure::Interrupted),
            Some(Some(value)) => Ok(Some(value)),
            None => Ok(None),
        }
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// [`Failure::Interrupted`].
    pub fn pass(&self, time: Duration) -> Result<(), Failure> {
        self.wait_for(time, || None::<()>).map(drop)
    }

    /// Waits for the end of a process and gives what it printed. It is killed if it takes longer than `within`.
    ///
    /// # Errors
    /// [`Failure::Program`] if it fails or takes too long; [`Failure::Interrupted`].
    pub fn finish(&self, mut process: Process, within: Duration) -> Result<String, Failure> {
        let ended = self.wait_for(within, || process.exited())?;
        match ended {
            Some(status) if status.success() => Ok(process.log()),
            Some(status) => Err(program(format!("'{}' ended with {status}", process.line()), &process.log())),
            None => Err(program(format!("'{}' took longer than {within:?}", process.line()), &process.log())),
        }
    }
}

/// The CPU time of a process, user and system, all threads, also those that ended: what `/proc/PID/stat` has in ticks
/// of 10 ms, in nanoseconds (`clock_getcpuclockid(3)`).
#[derive(Clone, Copy, Debug)]
pub struct CpuTime(ClockId);

impl CpuTime {
    /// That of this process id.
    ///
    /// # Errors
    /// [`Failure::System`] if there is no such process.
    pub fn of(pid: u32) -> Result<Self, Failure> {
        // The C library makes the clock of another process out of a number beyond the kernel's PID_MAX_LIMIT.
        let number = i32::try_from(pid).ok().filter(|number| (1..=1 << 22).contains(number)).ok_or(Errno::ESRCH);
        let clock = number.and_then(|number| ClockId::pid_cpu_clock_id(Pid::from_raw(number)));
        clock.map(Self).map_err(system(format!("reading the CPU time of process {pid}")))
    }

    /// So far.
    ///
    /// # Errors
    /// [`Failure::System`] if the process has ended.
    pub fn so_far(self) -> Result<Duration, Failure> {
        self.0.now().map(Duration::from).map_err(system("reading a CPU clock: its process has ended"))
    }
}

/// Resident memory of a process in MiB.
///
/// # Errors
/// [`Failure::System`] if there is no such process.
pub fn resident_mib(pid: u32) -> Result<f64, Failure> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).map_err(system(format!("reading {path}")))?;
    resident_of(&status).ok_or_else(|| program(format!("{path} has no VmRSS"), &status))
}

/// `VmRSS` of a `/proc/PID/status`, in MiB.
pub fn resident_of(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibioctets: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibioctets / 1024.0)
}
