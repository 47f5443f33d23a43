//! On what was measured: figures of two machines cannot be compared, and those of a busy one say little.

use std::fs;

/// A line about the machine: processor, cores, kernel, distribution.
pub fn description() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let parts = [
        field(&read("/proc/cpuinfo"), "model name", ':'),
        Some(format!("{cores} cores")),
        Some(format!("Linux {}", kernel.trim())),
        field(&read("/etc/os-release"), "PRETTY_NAME", '='),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The first value under a name, without quotes.
pub fn field(text: &str, name: &str, sign: char) -> Option<String> {
    let value = text.lines().find_map(|line| {
        let (known, value) = line.split_once(sign)?;
        (known.trim() == name).then_some(value)
    })?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// The load average of the last minute.
pub fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// The processors' time since this was made, as far as it concerns others: what a hypervisor keeps back slows everything
/// down, and in no even way.
pub struct Clock {
    begun: Option<Ticks>,
    /// `None` while it runs.
    stopped: Option<Ticks>,
}

/// Of all processors since the start, in the kernel's ticks.
#[derive(Clone, Copy)]
pub struct Ticks {
    stolen: u64,
    all: u64,
}

impl Clock {
    /// From now on.
    pub fn start() -> Self {
        Self { begun: now(), stopped: None }
    }

    /// Until now.
    pub fn stop(self) -> Self {
        Self { stopped: now(), ..self }
    }

    /// The share of the processors' time that was kept back, in per cent.
    pub fn stolen(&self) -> Option<u64> {
        share(self.begun?, self.stopped.or_else(now)?)
    }
}

fn now() -> Option<Ticks> {
    ticks(&fs::read_to_string("/proc/stat").ok()?)
}

/// The first line: user, nice, system, idle, iowait, irq, softirq, steal, and parts of user and nice (`proc_stat(5)`).
pub fn ticks(text: &str) -> Option<Ticks> {
    let numbers = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let numbers: Vec<u64> = numbers.take(8).map_while(|number| number.parse().ok()).collect();
    Some(Ticks { stolen: *numbers.get(7)?, all: numbers.iter().sum() })
}

/// The stolen share of what has passed, in per cent.
pub fn share(begun: Ticks, now: Ticks) -> Option<u64> {
    (now.stolen.saturating_sub(begun.stolen) * 100).checked_div(now.all.saturating_sub(begun.all))
}
