//! Beginnings, ends, hours and leases: what passes changes without anybody's doing.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use turnpike::identity::Signer;
use turnpike::lab::guard::{skip, wait_until};

use crate::place::{Build, CLAIMS4, PATIENCE, Place, Times};
use crate::talk::{echo, exchange, open, reaches};

/// Hours that are open all week.
const ALL_WEEK: &str = "Mon-Sun 00:00-24:00 Europe/London";

fn in_seconds(count: i64) -> Timestamp {
    let now = Timestamp::from_second(Timestamp::now().as_second()).expect("a time");
    now + SignedDuration::from_secs(count)
}

fn timed(generation: u64, times: Times) -> Build {
    Build { generation, times, ..Build::default() }
}

fn rests(place: &Place, gateway: &str) -> Vec<String> {
    place.status(gateway).withheld.into_iter().map(|withheld| withheld.reason).collect()
}

#[test]
fn an_agreement_begins_and_ends_within_a_second_of_its_dates() {
    if skip("an_agreement_begins_and_ends_within_a_second_of_its_dates") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    echo(&place.claims, 443);
    assert!(reaches(&place.benefits, CLAIMS4, 443), "it has no dates yet");
    place.beat(1);
    let (begin, end) = (in_seconds(4), in_seconds(7));
    place.rebuild(timed(2, Times { not_before: Some(begin), not_after: Some(end), ..Times::default() }));
    assert_eq!(rests(&place, "leeds-1"), ["not-yet"]);
    assert!(!reaches(&place.benefits, CLAIMS4, 443), "it began too early");
    let found = wait_until(PATIENCE, || reaches(&place.benefits, CLAIMS4, 443));
    let begun = Timestamp::now();
    assert!(found && begun >= begin, "{begun} is not after {begin}");
    assert!(begun < begin + SignedDuration::from_secs(2), "it began at {begun} instead of {begin}");
    let mut flow = open(&place.benefits, CLAIMS4, 443);
    flow.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let mut last = Timestamp::now();
    while exchange(&mut flow) {
        last = Timestamp::now();
    }
    // The last second belongs to it.
    let over = end + SignedDuration::from_secs(1);
    assert!(last > end, "the flow ended at {last}, before {end} was over");
    assert!(last < over + SignedDuration::from_secs(1), "the flow went on until {last}");
    assert!(!reaches(&place.benefits, CLAIMS4, 443));
    let status = place.status("leeds-1");
    assert_eq!((status.withheld[0].reason.as_str(), status.drift.ruleset_repairs), ("ended", 0));
    assert_eq!(status.configuration.applied_total, 2, "no bundle was applied for it");
}

#[test]
fn hours_rest_until_a_heartbeat_confirms_the_clock_and_a_restart_goes_on() {
    if skip("hours_rest_until_a_heartbeat_confirms_the_clock_and_a_restart_goes_on") {
        return;
    }
    let place = Place::new();
    let [_hub, leeds, _bradford] = place.up();
    echo(&place.claims, 443);
    assert!(reaches(&place.benefits, CLAIMS4, 443), "the control: without hours it needs no clock");
    place.rebuild(timed(2, Times { hours: Some(ALL_WEEK), ..Times::default() }));
    let status = place.status("leeds-1");
    assert!(!status.time.confirmed && status.withheld[0].reason == "clock-unconfirmed");
    assert!(status.conditions.iter().any(|condition| condition.id == "clock-unconfirmed"), "{:?}", status.conditions);
    assert!(!reaches(&place.benefits, CLAIMS4, 443));
    place.beat(1);
    assert!(reaches(&place.benefits, CLAIMS4, 443));
    // A heartbeat is no bundle, and what was known before a restart is known after it.
    assert!(leeds.stop(PATIENCE).expect("stopped").success());
    let mut again = place.start("leeds-1");
    place.wait_for_tunnels();
    assert!(place.status("leeds-1").time.confirmed);
    assert!(reaches(&place.benefits, CLAIMS4, 443));
    // Killed, it knows it too.
    again.signal(Signal::SIGKILL).expect("killed");
    assert!(again.wait(PATIENCE).is_some());
    let _third = place.start("leeds-1");
    assert_eq!((rests(&place, "leeds-1"), place.status("leeds-1").time.heartbeat), (vec![], 1));
}

#[test]
fn outside_its_hours_an_agreement_rests() {
    if skip("outside_its_hours_an_agreement_rests") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    echo(&place.claims, 443);
    place.beat(1);
    // A minute of the week that is neither this one nor next to it.
    let zoned = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let closed = if zoned.hour() == 12 { "Mon-Sun 18:00-18:01 UTC" } else { "Mon-Sun 12:30-12:31 UTC" };
    place.rebuild(timed(2, Times { hours: Some(closed), ..Times::default() }));
    assert_eq!(rests(&place, "bradford-1"), ["outside-hours"]);
    assert!(!reaches(&place.benefits, CLAIMS4, 443));
    place.rebuild(timed(3, Times { hours: Some(ALL_WEEK), ..Times::default() }));
    assert!(reaches(&place.benefits, CLAIMS4, 443));
}

#[test]
fn a_lease_ends_with_silence_and_the_next_heartbeat_begins_it_anew() {
    if skip("a_lease_ends_with_silence_and_the_next_heartbeat_begins_it_anew") {
        return;
    }
    let place = Place::new();
    let [_hub, leeds, _bradford] = place.up();
    echo(&place.claims, 443);
    place.rebuild(timed(2, Times { lease: 6, ..Times::default() }));
    let mut flow = open(&place.benefits, CLAIMS4, 443);
    // The same bundle again, and a new start of the program, are no sign of life.
    assert!(leeds.stop(PATIENCE).expect("stopped").success());
    let _again = place.start("leeds-1");
    let left = place.status("leeds-1").time.leases[0].left_seconds;
    assert!(left < 6.0, "{left} s are left of 6 s");
    let started = Instant::now();
    assert!(wait_until(Duration::from_secs(8), || rests(&place, "leeds-1") == ["lease-ended"]));
    assert!(started.elapsed() < Duration::from_secs_f64(left + 1.0), "it took {:?}", started.elapsed());
    assert!(!exchange(&mut flow), "an established flow went on");
    assert!(place.status("leeds-1").conditions.iter().any(|condition| condition.id == "lease-ended"));
    place.beat(1);
    place.wait_for_tunnels();
    assert!(wait_until(PATIENCE, || reaches(&place.benefits, CLAIMS4, 443)));
}

#[test]
fn a_heartbeat_that_is_not_to_be_believed_is_refused_by_its_cause() {
    if skip("a_heartbeat_that_is_not_to_be_believed_is_refused_by_its_cause") {
        return;
    }
    let place = Place::new();
    let _leeds = place.start("leeds-1");
    let now = Timestamp::now();
    place.hand("leeds-1", &place.heartbeat(5, now).to_octets()).expect("taken");
    let good = String::from_utf8(place.heartbeat(6, now).to_octets()).expect("text");
    let other =
        turnpike::bundle::SignedHeartbeat::sign(place.heartbeat(6, now).content, &Signer::generate().expect("entropy"));
    let future = place.heartbeat(6, now + SignedDuration::from_hours(1));
    let cases = [
        (place.heartbeat(5, now).to_octets(), "numbers rise"),
        (good.replace("connect", "elsewhere").into_bytes(), "network 'elsewhere'"),
        (good.replace("\"number\":6", "\"number\":7").into_bytes(), "signature is not that"),
        (other.to_octets(), "signature is not that"),
        (future.to_octets(), "and it is"),
        (good.as_bytes()[..40].to_vec(), "cannot be read: it is truncated"),
    ];
    for (octets, cause) in cases {
        let refused = place.hand("leeds-1", &octets).expect_err("a refusal");
        assert!(refused.contains(cause), "{refused}");
        assert_eq!(place.status("leeds-1").time.heartbeat, 5);
    }
    place.hand("leeds-1", good.as_bytes()).expect("the control: the good one is taken");
}
