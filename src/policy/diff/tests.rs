//! The difference held against the evaluator on both sides.

use std::net::IpAddr;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::net::{Aim, Protocol};
use crate::policy::model::{Agreement, Model, Object, Subject, Void};
use crate::policy::sample::{agreement, guardrail, model, models, name, prefix, qualified};
use crate::policy::{Evaluator, compile};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("an instant")
}

fn between(old: &Model, new: &Model, start: i64) -> Diff {
    diff(&Side::of_model(old), &Side::of_model(new), at(start))
}

fn with(agreements: Vec<Agreement>) -> Model {
    Model { agreements, ..model() }
}

/// `way consumers → service flows: causes`, a line for each row.
fn told(diff: &Diff) -> Vec<String> {
    let line = |row: &Row| {
        let part = |consumer: &Consumer| match consumer.part.as_slice() {
            [] => consumer.department.to_string(),
            part => format!(
                "{} {}",
                consumer.department,
                part.iter().map(|(a, b)| format!("{a}-{b}")).collect::<Vec<_>>().join(",")
            ),
        };
        let from: Vec<String> = row.from.iter().map(part).collect();
        let causes: Vec<&str> = row.causes.iter().map(|cause| cause.text.as_str()).collect();
        format!("{} {} → {} {}: {}", row.way.label(), from.join(", "), row.service, row.flows, causes.join("; "))
    };
    diff.rows.iter().map(line).collect()
}

#[test]
fn each_cause_is_told() {
    let base = || agreement(1, "leeds/sa", &["hull/a", "york/a"]);
    let old = with(vec![base()]);
    let changed = |change: &dyn Fn(&mut Model)| {
        let mut new = old.clone();
        change(&mut new);
        told(&between(&old, &new, 1000))
    };
    let both = "hull/a, york/a → leeds/sa tcp/443";
    assert_eq!(changed(&|new| new.agreements.clear()), [format!("lost {both}: agreement A-1 is removed")]);
    assert_eq!(
        changed(&|new| new.agreements.push(agreement(2, "leeds/sb", &["york/a"]))),
        ["gained york/a → leeds/sb tcp/443: agreement A-2 is new"]
    );
    assert_eq!(
        changed(&|new| new.agreements[0].void.push(Void::ConsentMissing(name("york")))),
        [format!("lost {both}: A-1: council 'york' has not consented")]
    );
    assert_eq!(
        changed(&|new| new.agreements[0].from = vec![qualified("hull/a")]),
        ["lost york/a → leeds/sa tcp/443: A-1 no longer names york/a"]
    );
    assert_eq!(
        changed(&|new| new.agreements[0].not_after = Some(at(2000))),
        [format!("lost {both}: A-1: at all times → until 1970-01-01T00:33:20Z")]
    );
    assert_eq!(changed(&|new| new.agreements[0].not_before = Some(at(1000))), [] as [String; 0], "not from then on");
    let leeds = |new: &mut Model| new.services.iter().position(|service| service.name == qualified("leeds/sa"));
    assert_eq!(
        changed(&|new| {
            let place = leeds(new).expect("it");
            new.services[place].ports = vec!["tcp/443".parse().expect("a port"), "udp/53".parse().expect("a port")];
        }),
        ["gained hull/a, york/a → leeds/sa udp/53: leeds/sa: tcp/443 → tcp/443, udp/53"]
    );
    assert_eq!(
        changed(&|new| {
            let place = leeds(new).expect("it");
            new.services[place].overlay_hosts[0] = "100.70.2.21".parse().expect("an address");
        })
        .len(),
        4,
        "one lost and one gained, for Hull to one host of two, for York to the only one that it reaches"
    );
    assert_eq!(
        changed(&|new| new.guardrails.push(guardrail(3, Subject::Prefix(prefix("100.70.5.0/25")), Object::Any))),
        ["lost hull/a 100.70.5.0-100.70.5.127 → leeds/sa tcp/443: guardrail G-3 is new"]
    );
    assert_eq!(
        changed(&|new| {
            let hull = new.departments.iter_mut().find(|it| it.name == qualified("hull/a")).expect("hull");
            hull.mappings[0].overlay = prefix("100.70.9.0/24");
        }),
        [
            "lost hull/a → leeds/sa tcp/443: overlay of hull/a: 100.70.5.0/24 → 100.70.9.0/24",
            "gained hull/a → leeds/sa tcp/443: overlay of hull/a: 100.70.5.0/24 → 100.70.9.0/24",
        ]
    );
    let remapped = |new: &mut Model| new.departments[0].mappings[0].real = prefix("10.0.0.0/24");
    let mut new = old.clone();
    remapped(&mut new);
    let diff = between(&old, &new, 0);
    assert_eq!((diff.rows.len(), diff.remapped.len()), (0, 1));
    assert!(!diff.is_empty());
}

#[test]
fn hours_are_compared_by_what_they_mean() {
    let with_hours = |text: &str| {
        let mut one = agreement(1, "leeds/sa", &["york/a"]);
        one.hours = crate::bundle::Hours::parse(text).expect("hours");
        with(vec![one])
    };
    let told = |old: &str, new: &str| -> Vec<String> {
        let rows = between(&with_hours(old), &with_hours(new), 0).rows;
        let when = |row: &Row| row.when.iter().map(|hours| hours.to_string()).collect::<Vec<_>>().join(" and ");
        rows.iter().map(|row| format!("{} {}", row.way.label(), when(row))).collect()
    };
    let office = "Mon-Fri 07:00-19:00 Europe/London";
    assert_eq!(told(office, office), [""; 0]);
    assert_eq!(told(office, "Mon-Wed 07:00-19:00, Thu-Fri 07:00-19:00 Europe/London"), [""; 0]);
    assert_eq!(told("always", "Mon-Sun 00:00-24:00 UTC"), [""; 0]);
    assert_eq!(
        told(office, "Mon-Fri 08:00-20:00 Europe/London"),
        ["lost Mon-Fri 07:00-08:00 Europe/London", "gained Mon-Fri 19:00-20:00 Europe/London"]
    );
    assert_eq!(told("always", "Mon 00:00-24:00 UTC"), ["lost Tue-Sun 00:00-24:00 UTC"]);
    // Another zone with the same clock: nothing that anybody could notice.
    assert_eq!(told("Mon 07:00-08:00 Europe/Berlin", "Mon 07:00-08:00 Europe/Vienna"), [""; 0]);
    let row = &between(&with_hours("Mon 07:00-08:00 UTC"), &with_hours("Mon 07:00-09:00 UTC"), 0).rows[0];
    assert_eq!(row.causes[0].text, "A-1: Mon 07:00-08:00 UTC → Mon 07:00-09:00 UTC");
    assert_eq!(row.witness.1.to_string(), "1970-01-05T08:00:00Z");
}

#[test]
fn another_agreement_for_the_same_is_no_difference() {
    let old = with(vec![agreement(1, "leeds/sa", &["york/a"])]);
    let new = with(vec![agreement(2, "leeds/sa", &["york/a"])]);
    assert!(between(&old, &new, 0).is_empty());
    let wider = with(vec![agreement(2, "leeds/sa", &["york/a", "hull/a"])]);
    assert_eq!(told(&between(&old, &wider, 0)), ["gained hull/a → leeds/sa tcp/443: agreement A-2 is new"]);
}

#[test]
fn a_definition_and_what_a_gateway_was_told_of_it_are_the_same_to_the_gateway() {
    let model = with(vec![agreement(1, "leeds/sa", &["york/a", "hull/a"])]);
    let told_of = |model: &Model, gateway: &str| Side::of_policy(&compile(model)[&name(gateway)]);
    let fewer = with(vec![agreement(1, "leeds/sa", &["york/a"])]);
    assert!(diff(&told_of(&model, "york-1"), &told_of(&fewer, "york-1"), at(0)).is_empty(), "not York's affair");
    assert_eq!(
        told(&diff(&told_of(&model, "leeds-1"), &told_of(&fewer, "leeds-1"), at(0))),
        ["lost hull/a → leeds/sa tcp/443: A-1 no longer names hull/a"]
    );
}

/// In the first hour of a Thursday in UTC, the second one in London; at last Friday's noon.
const INSTANTS: [i64; 12] = [999, 1000, 1199, 1200, 1799, 1800, 1999, 2000, 2001, 3000, 3001, 129_600];

/// Of two zones, with parts in common; the last two say the same.
const HOURS: [&str; 5] = [
    "Thu 00:20-00:40 UTC",
    "Thu 00:00-00:30, Fri 11:00-13:00 UTC",
    "Thu-Fri 01:30-20:00 Europe/London",
    "Mon-Sun 00:00-24:00 UTC",
    "Sat-Fri 00:00-24:00 UTC",
];

type Dates = (Option<i64>, Option<i64>, Option<&'static str>);

fn dates() -> impl Strategy<Value = Vec<Dates>> {
    let date = || prop::option::of(prop::sample::select([1000, 2000, 3000].as_slice()));
    let hours = prop::option::of(prop::sample::select(HOURS.as_slice()));
    prop::collection::vec((date(), date(), hours), 12)
}

/// A model whose agreements have dates and hours.
fn dated() -> impl Strategy<Value = Model> {
    (models(), dates()).prop_map(|(mut model, dates)| {
        for (agreement, (from, until, hours)) in model.agreements.iter_mut().zip(dates) {
            (agreement.not_before, agreement.not_after) = (from.map(at), until.map(at));
            agreement.hours = hours.map(|text| text.parse().expect("hours"));
        }
        model
    })
}

/// Source and destination.
fn ends() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    let v4 = |hosts: &'static [u8]| {
        (1..=6_u8, prop::sample::select(hosts)).prop_map(|(department, host)| IpAddr::from([100, 70, department, host]))
    };
    let v6 = |hosts: &'static [u16]| {
        (1..=6_u16, prop::sample::select(hosts))
            .prop_map(|(department, host)| IpAddr::from([0xfd64, 0x7475, 0x726e, department, 0, 0, 0, host]))
    };
    prop_oneof![(v4(&[0, 1, 127, 128, 255]), v4(&[20, 20, 20, 21])), (v6(&[0, 1, u16::MAX]), v6(&[0x20]))]
}

fn opening(family: Family) -> impl Strategy<Value = (Protocol, Aim)> {
    let own = if family == Family::V4 { Protocol::ICMP } else { Protocol::ICMPV6 };
    let ports = [0, 1, 19, 20, 23, 30, 31, 63, 64, 84, 99, 100, 120, 121, 300, 301, 443, 36412, u16::MAX];
    let port = prop::sample::select(ports.to_vec()).prop_map(Aim::Port);
    let of = |protocols: &'static [Protocol]| prop::sample::select(protocols);
    prop_oneof![
        4 => (of(&[Protocol::TCP, Protocol::UDP, Protocol::SCTP]), port),
        1 => (Just(own), prop::sample::select([0_u8, 8, 13, 128, 129].as_slice()).prop_map(Aim::Icmp)),
        1 => (of(&[Protocol::ESP, Protocol::GRE, Protocol(99)]), Just(Aim::Nothing)),
    ]
}

fn flow() -> impl Strategy<Value = Flow> {
    ends().prop_flat_map(|(source, destination)| {
        opening(Family::of(destination)).prop_map(move |(protocol, aim)| Flow { source, destination, protocol, aim })
    })
}

fn passes(model: &Model, flow: &Flow, at: Timestamp) -> bool {
    Evaluator::at(model, at).evaluate(flow).allows()
}

proptest! {
    #[test]
    fn a_verdict_changes_exactly_where_a_row_says_so(
        old in dated(), new in dated(), flows in prop::collection::vec(flow(), 400), start in prop::sample::select(INSTANTS.as_slice()),
    ) {
        let diff = between(&old, &new, start);
        for second in INSTANTS.into_iter().filter(|second| *second >= start) {
            let instant = at(second);
            let (before, after) = (Evaluator::at(&old, instant), Evaluator::at(&new, instant));
            for flow in &flows {
                let way = match (before.evaluate(flow).allows(), after.evaluate(flow).allows()) {
                    (true, false) => Some(Way::Lost),
                    (false, true) => Some(Way::Gained),
                    (true, true) | (false, false) => None,
                };
                let told: Vec<Way> = diff.rows.iter().filter(|row| row.covers(flow, instant)).map(|row| row.way).collect();
                prop_assert_eq!(&told, &way.into_iter().collect::<Vec<_>>(), "{:?} at {}", flow, instant);
            }
        }
    }

    #[test]
    fn every_row_has_a_witness_and_a_cause(old in dated(), new in dated(), start in prop::sample::select(INSTANTS.as_slice())) {
        for row in between(&old, &new, start).rows {
            let (flow, instant) = row.witness;
            prop_assert!(row.covers(&flow, instant) && instant >= at(start));
            let verdicts = (passes(&old, &flow, instant), passes(&new, &flow, instant));
            prop_assert_eq!(verdicts, if row.way == Way::Lost { (true, false) } else { (false, true) });
            prop_assert!(!row.causes.is_empty() && !row.by.is_empty() && !row.from.is_empty(), "{:?}", row);
        }
    }

    #[test]
    fn nothing_differs_from_itself_and_the_other_way_round_lost_is_gained(old in dated(), new in dated()) {
        prop_assert!(between(&old, &old, 0).is_empty());
        let turned = |way| if way == Way::Lost { Way::Gained } else { Way::Lost };
        let key = |row: &Row, way| format!("{:?} {} {} {:?} {:?} {:?}", way, row.service, row.flows, (row.window, &row.when), row.hosts, row.from);
        let mut there: Vec<String> = between(&old, &new, 0).rows.iter().map(|row| key(row, row.way)).collect();
        let mut back: Vec<String> = between(&new, &old, 0).rows.iter().map(|row| key(row, turned(row.way))).collect();
        there.sort();
        back.sort();
        prop_assert_eq!(there, back);
    }

    #[test]
    fn sets_of_flows_are_what_their_matches_ask(
        ports in prop::collection::vec(prop::sample::select(["any", "esp", "icmp/echo-request", "icmp/timestamp-request", "tcp/1-65535", "tcp/20-120", "tcp/23", "udp/443"].as_slice()), 0..4),
        cut in prop::collection::vec(prop::sample::select(["any", "gre", "icmp/echo-request", "tcp/1-22", "tcp/24-65535", "udp/1-65535", "sctp/36412"].as_slice()), 0..4),
        flows in prop::collection::vec(flow(), 200),
    ) {
        let parsed = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a port")).collect::<Vec<crate::net::PortMatch>>();
        let (ports, cut) = (parsed(&ports), parsed(&cut));
        for flow in flows {
            let family = Family::of(flow.destination);
            let (one, other) = (side::space(&ports, family), side::space(&cut, family));
            let within = |space: &Space| space.contains(flow.protocol, flow.aim, family);
            let asked = |ports: &[crate::net::PortMatch]| ports.iter().any(|port| flow.is(*port));
            prop_assert_eq!(within(&one), asked(&ports));
            prop_assert_eq!(within(&one.minus(&other)), asked(&ports) && !asked(&cut));
            prop_assert_eq!(within(&one.or(&other)), asked(&ports) || asked(&cut));
            prop_assert_eq!(within(&one.and(&other)), asked(&ports) && asked(&cut));
            prop_assert_eq!(one.is_empty(), one.sample(family).is_none());
        }
    }
}

#[test]
fn sets_of_flows_are_said_in_few_words() {
    let words = |ports: &[&str], but: &[&str]| {
        let parsed = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a port")).collect::<Vec<_>>();
        let space = |texts| side::space(&parsed(texts), Family::V4);
        space(ports).minus(&space(but)).words(Family::V4).to_string()
    };
    assert_eq!(words(&["any"], &[]), "any");
    assert_eq!(words(&["any"], &["tcp/23"]), "any but tcp/23");
    assert_eq!(words(&["tcp/1-100", "tcp/101"], &["tcp/23"]), "tcp/1-22, tcp/24-101");
    assert_eq!(words(&["icmp/echo-request", "esp", "udp/53"], &[]), "udp/53, icmp/echo-request, esp");
    assert_eq!(words(&["tcp/0-0".replace("0-0", "1-65535").as_str()], &[]), "tcp/1-65535");
}
