//! `Mon-Fri 07:00-19:00, Sat 22:00-02:00 Europe/London`: checked now, enforced later.

use jiff::tz;

/// Why a text is no hours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HoursError {
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

/// Checks hours; `always` is fine.
pub(super) fn check(text: &str) -> Result<(), HoursError> {
    if text == "always" {
        return Ok(());
    }
    let (windows, zone) = text.rsplit_once(' ').ok_or_else(|| HoursError::Malformed(text.to_owned()))?;
    if zone.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(HoursError::NoZone);
    }
    for window in windows.split(',') {
        check_window(window.trim_matches(' '))?;
    }
    let exact = tz::TimeZone::get(zone).is_ok_and(|found| found.iana_name() == Some(zone));
    if exact { Ok(()) } else { Err(HoursError::UnknownZone(zone.to_owned())) }
}

/// The names of all zones of the database, for the nearest one.
pub(super) fn zones() -> Vec<String> {
    tz::db().available().map(|name| name.to_string()).collect()
}

fn check_window(window: &str) -> Result<(), HoursError> {
    let malformed = || HoursError::Malformed(window.to_owned());
    let (days, times) = window.split_once(' ').ok_or_else(malformed)?;
    let (first, last) = days.split_once('-').unwrap_or((days, days));
    for day in [first, last] {
        if !["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(&day) {
            return Err(HoursError::BadDay(day.to_owned()));
        }
    }
    let (from, to) = times.split_once('-').ok_or_else(malformed)?;
    let (begin, end) = (minutes(from)?, minutes(to)?);
    if begin == 24 * 60 {
        return Err(HoursError::BadTime(from.to_owned()));
    }
    if begin == end { Err(HoursError::NoTime(times.to_owned())) } else { Ok(()) }
}

fn minutes(text: &str) -> Result<u16, HoursError> {
    let bad = || HoursError::BadTime(text.to_owned());
    let number = |part: &str| {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = text.split_once(':').ok_or_else(bad)?;
    let (hour, minute) = (number(hour).ok_or_else(bad)?, number(minute).ok_or_else(bad)?);
    let total = hour * 60 + minute;
    if minute < 60 && total <= 24 * 60 { Ok(total) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_days_times_and_a_zone() {
        for good in [
            "always",
            "Mon-Fri 07:00-19:00 Europe/London",
            "Mon-Fri 07:00-19:00, Sat 22:00-02:00 Europe/London",
            "Sat-Mon 00:00-24:00 UTC",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn each_fault_of_hours_has_its_own_error() {
        use HoursError::*;
        let cases = [
            ("never", Malformed("never".into())),
            ("Mon-Fri 07:00-19:00", NoZone),
            ("Mon-Fry 07:00-19:00 UTC", BadDay("Fry".into())),
            ("Mon 7:00-19:00 UTC", BadTime("7:00".into())),
            ("Mon 07:00-24:01 UTC", BadTime("24:01".into())),
            ("Mon 24:00-02:00 UTC", BadTime("24:00".into())),
            ("Mon 07:00-07:00 UTC", NoTime("07:00-07:00".into())),
            ("Mon 07:00-08:00 Europe/Leeds", UnknownZone("Europe/Leeds".into())),
            ("Mon 07:00-08:00 europe/london", UnknownZone("europe/london".into())),
            ("Mon UTC", Malformed("Mon".into())),
        ];
        for (text, error) in cases {
            assert_eq!(check(text), Err(error), "{text}");
        }
    }
}
