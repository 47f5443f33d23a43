//! Hours by the wall's clock, where it is turned and where it is not.

use jiff::civil::{Weekday, date};

use super::*;

fn hours(text: &str) -> Hours {
    text.parse().expect("hours")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

#[test]
fn hours_are_days_times_and_a_zone() {
    assert_eq!(Hours::parse("always"), Ok(None));
    for good in [
        "Mon-Fri 07:00-19:00 Europe/London",
        "Mon-Fri 07:00-19:00, Sat 22:00-02:00 Europe/London",
        "Sat-Mon 00:00-24:00 UTC",
    ] {
        assert_eq!(hours(good).text(), good);
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
        assert_eq!(Hours::parse(text), Err(error), "{text}");
    }
}

#[test]
fn windows_become_spans_of_the_week_over_midnight_and_over_its_end() {
    assert_eq!(hours("Mon-Tue 07:00-19:00 UTC").week(), [(420, 1140), (1860, 2580)]);
    assert_eq!(hours("Sun 22:00-02:00 UTC").week(), [(0, 120), (9960, WEEK)]);
    assert_eq!(hours("Sat-Mon 00:00-24:00 UTC").week(), [(0, DAY), (5 * DAY, WEEK)]);
    assert_eq!(hours("Mon 07:00-08:00, Mon 08:00-09:00 UTC").week(), [(420, 540)]);
}

#[test]
fn windows_that_have_a_minute_in_common_are_found_and_those_that_touch_are_not() {
    let twice = hours("Mon-Fri 07:00-19:00, Wed 18:59-20:00 UTC");
    assert_eq!(twice.overlap(), Some(&["Mon-Fri 07:00-19:00".to_owned(), "Wed 18:59-20:00".to_owned()]));
    assert_eq!(hours("Mon-Fri 07:00-19:00, Wed 19:00-20:00 UTC").overlap(), None);
}

#[test]
fn spans_are_written_as_people_do_and_read_back() {
    let written = |text: &str| hours("Mon 00:00-00:01 UTC").with_week(hours(text).week().to_vec());
    for (text, words) in [
        ("Fri-Sun 00:00-24:00, Mon-Thu 00:00-24:00 UTC", "Mon-Sun 00:00-24:00 UTC"),
        ("Mon-Fri 07:00-12:00, Tue 13:00-14:00 UTC", "Mon-Fri 07:00-12:00, Tue 13:00-14:00 UTC"),
        ("Sat 22:00-02:00 UTC", "Sat 22:00-24:00, Sun 00:00-02:00 UTC"),
    ] {
        assert_eq!(written(text).text(), words);
        assert_eq!(hours(words).week(), hours(text).week());
    }
}

#[test]
fn the_first_second_is_in_and_the_last_one_is_out() {
    let office = hours("Mon-Fri 07:00-19:00 Europe/London");
    for (instant, open) in [
        ("2026-01-05T06:59:59.999999999Z", false),
        ("2026-01-05T07:00:00Z", true),
        ("2026-01-05T18:59:59.999999999Z", true),
        ("2026-01-05T19:00:00Z", false),
        ("2026-01-10T12:00:00Z", false),
        // In summer the wall is an hour ahead.
        ("2026-07-06T06:00:00Z", true),
        ("2026-07-06T18:00:00Z", false),
        // A leap day is a day as any other: in 2028 it is a Tuesday.
        ("2028-02-29T07:00:00Z", true),
        ("1970-01-01T07:00:00+01:00", true),
        ("2106-02-08T07:00:00Z", true),
    ] {
        assert_eq!(office.contains(at(instant)), open, "{instant}");
    }
}

#[test]
fn where_the_clock_is_turned_the_wall_decides() {
    // In London 01:00 to 02:00 is left out on 29 March 2026, and comes twice on 25 October.
    let left_out = hours("Sun 01:15-01:45 Europe/London");
    let spring = at("2026-03-29T00:00:00Z");
    let minutes =
        |from: Timestamp| (0..240).filter(|i| left_out.contains(from + SignedDuration::from_mins(*i))).count();
    assert_eq!(minutes(spring), 0);
    assert_eq!(minutes(at("2026-10-25T00:00:00Z")), 60);
    assert_eq!(minutes(at("2026-10-18T00:00:00Z")), 30);
    // A window that begins in the hour that is left out begins when the clock is past it.
    let over = hours("Sun 01:30-03:00 Europe/London");
    assert!(!over.contains(at("2026-03-29T00:59:59Z")) && over.contains(at("2026-03-29T01:00:00Z")));
}

#[test]
fn nothing_changes_between_two_looks() {
    let texts = [
        "Mon-Fri 07:00-19:00, Sat 22:00-02:00 Europe/London",
        "Sun 01:15-01:45 Europe/London",
        "Sat-Mon 00:00-24:00 Pacific/Apia",
        "Sun 02:15-02:30 Australia/Lord_Howe",
    ];
    for text in texts {
        let hours = hours(text);
        // Apia left out the whole of 30 December 2011.
        for start in ["2011-12-24T00:00:00Z", "2026-03-22T00:00:07.5Z", "2026-10-01T00:00:00Z"].map(at) {
            let end = start + SignedDuration::from_hours(24 * 14);
            let (mut looked, mut open) = (hours.next_look(start).expect("a look"), hours.contains(start));
            let mut changes = 0;
            let mut instant = start;
            while instant < end {
                if instant >= looked {
                    changes += u32::from(open != hours.contains(looked));
                    (open, looked) = (hours.contains(looked), hours.next_look(looked).expect("a look"));
                    assert!(looked > instant - SignedDuration::from_secs(61));
                }
                assert_eq!(hours.contains(instant), open, "{text} at {instant}");
                instant += SignedDuration::from_secs(61);
            }
            assert!(changes > 0, "{text} from {start} has seen no change");
        }
    }
}

#[test]
fn the_wall_of_the_zone_is_asked_and_not_that_of_utc() {
    let tokyo = hours("Mon 00:00-01:00 Asia/Tokyo");
    let sunday = date(2026, 1, 4).at(15, 30, 0, 0).in_tz("UTC").expect("an instant").timestamp();
    assert!(tokyo.contains(sunday));
    assert_eq!(date(2026, 1, 4).weekday(), Weekday::Sunday);
}
