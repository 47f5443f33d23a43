//! Round trips, by `ping(8)`.

use std::time::Duration;

use turnpike::lab::guard::Namespace;

use crate::bed::B;
use crate::failure::{Failure, program};
use crate::process::Interrupt;

/// Echoes that are sent to be measured.
const ECHOES: usize = 300;
/// Echoes before them.
const WARM_UP: usize = 20;
/// An echo that does not come back counts as having taken this long, in milliseconds.
pub const LOST: f64 = 1000.0;

/// The round trips of echoes to [`B`], one each 10 ms, in milliseconds; lost ones as [`LOST`].
///
/// # Errors
/// [`Failure`]; also if less than half of them come back.
pub fn round_trips(from: &Namespace, interrupt: &Interrupt) -> Result<Vec<f64>, Failure> {
    let mut command = from.command("ping");
    let count = (ECHOES + WARM_UP).to_string();
    command.args(["-n", "-c", &count, "-i", "0.01", "-W", "1", &B.to_string()]);
    let said = interrupt.finish(from.spawn(command)?, Duration::from_secs(15))?;
    let times = times(&said, WARM_UP, ECHOES);
    if times.iter().filter(|time| **time < LOST).count() * 2 < ECHOES {
        return Err(program("less than half of the echoes came back", &said));
    }
    Ok(times)
}

/// Reads the times of `count` echoes after the first `skipped` from ping's lines.
pub fn times(said: &str, skipped: usize, count: usize) -> Vec<f64> {
    let mut times = vec![LOST; count];
    for line in said.lines().filter(|line| !line.contains("DUP!")) {
        let number = field(line, "icmp_seq=").and_then(|text| text.parse::<usize>().ok());
        let time = field(line, "time=").and_then(|text| text.parse::<f64>().ok());
        // Sequence numbers begin with 1.
        let place = number.and_then(|number| number.checked_sub(skipped + 1));
        if let (Some(place), Some(time)) = (place, time)
            && let Some(slot) = times.get_mut(place)
        {
            *slot = time;
        }
    }
    times
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(name)?;
    rest.split_ascii_whitespace().next()
}
