//! `Mon-Fri 07:00-19:00, Sat 22:00-02:00 Europe/London`: when, by the clock on the wall, an agreement may be used.
//!
//! ```text
//!  instant ─ zone ─▶ weekday, time ─▶ minute of the week ─▶ in one of the spans?
//!  Mon 00:00 ├──────█████████──────┼──────█████████──────┼ … Sun 24:00
//! ```
//!
//! The wall's clock decides, also in the nights in which it is turned: a span within the hour that is left out in spring does not
//! occur then, and one within the hour that comes twice in autumn occurs twice. A span that ends before it begins ends on the next
//! day. The end does not belong to it: at 19:00:00 it is over.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::tz::{self, TimeZone};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// Minutes of a week.
const WEEK: u16 = 7 * DAY;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// First minute of the week, and the first one that is not in the span; Monday 00:00 is 0.
pub type Span = (u16, u16);

/// Hours of the week in a time zone, at least a minute. Very many agreements have the same: a clone is a pointer.
#[derive(Clone, Debug)]
pub struct Hours(Arc<Week>);

#[derive(Debug)]
struct Week {
    /// As people wrote it.
    text: String,
    zone: TimeZone,
    /// Sorted, apart from each other.
    spans: Vec<Span>,
    /// Two windows that have a minute in common.
    overlap: Option<[String; 2]>,
}

/// Why a text is no hours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    /// Not `DAYS FROM-TO, … ZONE`.
    #[error("'{0}' is not DAYS FROM-TO, such as Mon-Fri 07:00-19:00")]
    Malformed(String),
    /// No day of the week.
    #[error("'{0}' is not a day: Mon, Tue, Wed, Thu, Fri, Sat or Sun")]
    BadDay(String),
    /// No time of day.
    #[error("'{0}' is not a time of day from 00:00 to 24:00")]
    BadTime(String),
    /// Nothing between beginning and end.
    #[error("'{0}' begins when it ends")]
    NoTime(String),
    /// No zone at the end.
    #[error("the time zone is missing, such as Europe/London")]
    NoZone,
    /// Not a zone of the bundled database.
    #[error("'{0}' is not a time zone of the database")]
    UnknownZone(String),
}

impl Hours {
    /// Minutes of a week.
    pub const WEEK: u16 = WEEK;

    /// Reads hours; `None` for `always`.
    ///
    /// # Errors
    /// [`HoursError`], one per cause.
    pub fn parse(text: &str) -> Result<Option<Self>, HoursError> {
        if text == "always" { Ok(None) } else { text.parse().map(Some) }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The zone's name in the database.
    pub fn zone(&self) -> &str {
        self.0.zone.iana_name().unwrap_or_default()
    }

    /// The spans of the week by the zone's wall clock.
    pub fn week(&self) -> &[Span] {
        &self.0.spans
    }

    /// Whether a minute of the week is within them.
    pub fn has(&self, minute: u16) -> bool {
        self.0.spans.iter().any(|&(from, until)| (from..until).contains(&minute))
    }

    /// Other spans of the same zone's week.
    #[must_use]
    pub fn with_week(&self, mut week: Vec<Span>) -> Self {
        week.sort_unstable();
        let week = joined(week);
        let (text, zone) = (format!("{} {}", words(&week), self.zone()), self.0.zone.clone());
        Self(Arc::new(Week { text, zone, spans: week, overlap: None }))
    }

    /// Two of its windows that have a minute in common, as they were written.
    pub fn overlap(&self) -> Option<&[String; 2]> {
        self.0.overlap.as_ref()
    }

    /// Whether an instant is within them.
    pub fn contains(&self, at: Timestamp) -> bool {
        let second = self.second_of_week(at);
        self.0.spans.iter().any(|&(from, until)| (seconds(from)..seconds(until)).contains(&second))
    }

    /// The first instant after `at` at which [`Self::contains`] may answer otherwise: where a span begins or ends, or the wall's
    /// clock is turned. `None` if that is beyond the years that can be written.
    pub fn next_look(&self, at: Timestamp) -> Option<Timestamp> {
        let second = self.second_of_week(at);
        let bounds = self.0.spans.iter().flat_map(|&(from, until)| [seconds(from), seconds(until)]);
        // Up to the clock's next turn, seconds of the week pass as seconds do.
        let wait = bounds.map(|bound| (bound - second - 1).rem_euclid(seconds(WEEK)) + 1).min()?;
        let whole = Timestamp::from_second(at.as_second()).ok()?;
        let bound = whole.checked_add(SignedDuration::from_secs(wait)).ok();
        let turn = self.0.zone.following(at).next().map(|turn| turn.timestamp());
        bound.into_iter().chain(turn).min()
    }

    fn second_of_week(&self, at: Timestamp) -> i64 {
        let wall = self.0.zone.to_datetime(at);
        let day = i64::from(wall.weekday().to_monday_zero_offset());
        let time = i64::from(wall.hour()) * 3600 + i64::from(wall.minute()) * 60 + i64::from(wall.second());
        day * seconds(DAY) + time
    }
}

fn seconds(minutes: u16) -> i64 {
    i64::from(minutes) * 60
}

impl FromStr for Hours {
    type Err = HoursError;

    fn from_str(text: &str) -> Result<Self, HoursError> {
        let (windows, zone) = text.rsplit_once(' ').ok_or_else(|| HoursError::Malformed(text.to_owned()))?;
        if zone.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(HoursError::NoZone);
        }
        let windows: Vec<&str> = windows.split(',').map(|window| window.trim_matches(' ')).collect();
        let mut spans = Vec::new();
        for (place, window) in windows.iter().enumerate() {
            spans.extend(window_spans(window)?.into_iter().map(|span| (span, place)));
        }
        let zone = zone_named(zone)?;
        spans.sort_unstable();
        let overlapping = spans.windows(2).find(|pair| pair[1].0.0 < pair[0].0.1);
        let overlap = overlapping.map(|pair| [pair[0].1, pair[1].1].map(|place| windows[place].to_owned()));
        let spans = joined(spans.into_iter().map(|(span, _)| span));
        Ok(Self(Arc::new(Week { text: text.to_owned(), zone, spans, overlap })))
    }
}

fn zone_named(name: &str) -> Result<TimeZone, HoursError> {
    // The database also knows names in other case.
    let found = TimeZone::get(name).ok().filter(|zone| zone.iana_name() == Some(name));
    found.ok_or_else(|| HoursError::UnknownZone(name.to_owned()))
}

/// The names of all zones of the database.
pub fn zones() -> Vec<String> {
    tz::db().available().map(|name| name.to_string()).collect()
}

/// The spans of one window, one for each of its days, cut at the end of the week.
fn window_spans(window: &str) -> Result<Vec<Span>, HoursError> {
    let malformed = || HoursError::Malformed(window.to_owned());
    let (days, times) = window.split_once(' ').ok_or_else(malformed)?;
    let (first, last) = days.split_once('-').unwrap_or((days, days));
    let (first, last) = (day(first)?, day(last)?);
    let (from, to) = times.split_once('-').ok_or_else(malformed)?;
    let (begin, end) = (minutes(from)?, minutes(to)?);
    if begin == DAY {
        return Err(HoursError::BadTime(from.to_owned()));
    }
    if begin == end {
        return Err(HoursError::NoTime(times.to_owned()));
    }
    let length = if begin < end { end - begin } else { end + DAY - begin };
    // `Sat-Mon` goes over the end of the week.
    let count = (last + 7 - first) % 7;
    let mut spans = Vec::new();
    for day in (first..=first + count).map(|day| day % 7) {
        let from = day * DAY + begin;
        let until = from + length;
        spans.push((from, until.min(WEEK)));
        spans.extend((until > WEEK).then(|| (0, until - WEEK)));
    }
    Ok(spans)
}

fn day(text: &str) -> Result<u16, HoursError> {
    let place = DAYS.iter().position(|day| *day == text).and_then(|place| u16::try_from(place).ok());
    place.ok_or_else(|| HoursError::BadDay(text.to_owned()))
}

fn minutes(text: &str) -> Result<u16, HoursError> {
    let bad = || HoursError::BadTime(text.to_owned());
    let number = |part: &str| {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = text.split_once(':').ok_or_else(bad)?;
    let (hour, minute) = (number(hour).ok_or_else(bad)?, number(minute).ok_or_else(bad)?);
    let total = hour * 60 + minute;
    if minute < 60 && total <= DAY { Ok(total) } else { Err(bad()) }
}

/// Sorted spans with those that overlap or touch made one.
fn joined(spans: impl IntoIterator<Item = Span>) -> Vec<Span> {
    let mut joined: Vec<Span> = Vec::new();
    for (from, until) in spans {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            Some(_) | None => joined.push((from, until)),
        }
    }
    joined
}

/// Spans as people write them: day by day, days with the same times together.
fn words(week: &[Span]) -> String {
    let mut times: BTreeMap<Span, Vec<u16>> = BTreeMap::new();
    for day in 0..7 {
        let (midnight, next) = (day * DAY, (day + 1) * DAY);
        let own = week.iter().map(|&(from, until)| (from.max(midnight), until.min(next)));
        for (from, until) in own.filter(|(from, until)| from < until) {
            times.entry((from - midnight, until - midnight)).or_default().push(day);
        }
    }
    let mut windows: Vec<(u16, u16, String)> = Vec::new();
    for ((from, until), days) in times {
        for run in days.chunk_by(|day, next| day + 1 == *next) {
            let [first, last] = [run.first(), run.last()].map(|day| day.map_or("", |&day| DAYS[usize::from(day)]));
            let days = if run.len() == 1 { first.to_owned() } else { format!("{first}-{last}") };
            let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
            windows.push((run[0], from, format!("{days} {}-{}", time(from), time(until))));
        }
    }
    windows.sort();
    windows.into_iter().map(|(_, _, text)| text).collect::<Vec<_>>().join(", ")
}

impl PartialEq for Hours {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Hours {}

impl PartialOrd for Hours {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By their text.
impl Ord for Hours {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.text.cmp(&other.0.text)
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl Serialize for Hours {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.text)
    }
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
