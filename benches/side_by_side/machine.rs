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
