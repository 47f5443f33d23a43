//! What the benchmark calculates and reads, without a network: a test target of its own, since a benchmark has none.

#![allow(dead_code, reason = "the benchmark uses what these tests do not")]

mod bed;
mod crowd;
mod echo;
mod failure;
mod flood;
mod machine;
mod measure;
mod options;
mod party;
mod process;
mod record;
mod statistics;
mod storm;
mod stream;
mod subject;
mod table;
mod traffic_tests;
mod train;

use std::time::Duration;

use measure::{Goal, Measure};
use options::{Options, Section, rotation};
use record::{Record, merge};
use subject::Subject;
use turnpike::identity::PrivateKey;

use Subject::{BoringtunCli, Turnpike, WireguardGo};

#[test]
fn a_median_is_the_middle_or_the_mean_of_two() {
    assert_eq!(statistics::median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(statistics::median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    assert_eq!(statistics::median(&[7.0]), Some(7.0));
    assert_eq!(statistics::median(&[]), None);
}

#[test]
fn a_percentile_is_a_value_that_was_measured() {
    let values: Vec<f64> = (1..=300).rev().map(f64::from).collect();
    assert_eq!(statistics::percentile(&values, 50), Some(150.0));
    assert_eq!(statistics::percentile(&values, 99), Some(297.0));
    assert_eq!(statistics::percentile(&values, 100), Some(300.0));
    assert_eq!(statistics::percentile(&values, 0), Some(1.0));
    assert_eq!(statistics::percentile(&[5.0], 99), Some(5.0));
    assert_eq!(statistics::percentile(&[], 99), None);
}

#[test]
fn extremes_are_the_smallest_and_the_largest() {
    assert_eq!(statistics::extremes(&[2.0, -1.0, 9.0]), Some((-1.0, 9.0)));
    assert_eq!(statistics::extremes(&[]), None);
}

fn read(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Options, String> {
    let variable =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Options::read(arguments.iter().map(|word| (*word).to_owned()), variable)
}

#[test]
fn without_wishes_everything_is_measured_in_five_rounds() {
    let options = read(&["--bench"], &[("ONLY", ""), ("SUBJECTS", " ")]).expect("options");
    assert_eq!((options.sections.as_slice(), options.rounds), (Section::SHORT.as_slice(), 5));
    assert_eq!(options.subjects, Subject::ALL);
    assert!(options.limit < Duration::from_secs(600));
    assert_eq!(read(&["--bench", "long"], &[]).expect("options").sections, Section::LONG);
}

#[test]
fn wishes_are_lists_and_a_wrong_word_is_named_with_the_right_ones() {
    let wishes = [("ONLY", "ping, relay"), ("SUBJECTS", "wireguard-go turnpike"), ("ROUNDS", "3")];
    let options = read(&[], &wishes).expect("options");
    assert_eq!(options.sections, [Section::Ping, Section::Relay]);
    assert_eq!((options.subjects, options.rounds), (vec![WireguardGo, Turnpike], 3));
    let refused = |name, value| read(&[], &[(name, value)]).expect_err("a wrong word");
    assert_eq!(refused("ONLY", "pong"), "ONLY=pong is not one of relay, direct, small, ping");
    assert_eq!(refused("SUBJECTS", "kernel"), "SUBJECTS=kernel is not one of turnpike, wireguard-go, boringtun-cli");
    for rounds in ["0", "-1", "101", "many"] {
        assert!(refused("ROUNDS", rounds).contains("from 1 to 100"), "{rounds}");
    }
    assert!(read(&["short"], &[]).is_err());
}

#[test]
fn each_round_begins_with_another_subject_and_has_all() {
    assert_eq!(rotation(&Subject::ALL, 0), [Turnpike, WireguardGo, BoringtunCli]);
    assert_eq!(rotation(&Subject::ALL, 1), [WireguardGo, BoringtunCli, Turnpike]);
    assert_eq!(rotation(&Subject::ALL, 5), [BoringtunCli, Turnpike, WireguardGo]);
    assert_eq!(rotation(&[Turnpike], 4), [Turnpike]);
    assert_eq!(rotation(&[], 4), []);
}

fn record(values: &[(Measure, Subject, f64)]) -> Record {
    let mut record = Record::default();
    values.iter().for_each(|(measure, subject, value)| record.add(*measure, *subject, *value));
    record
}

#[test]
fn an_entry_has_the_names_unit_median_and_extremes_that_its_readers_expect() {
    let relay = Measure::RelayCpu;
    let runs = [(relay, Turnpike, 3.0), (relay, Turnpike, 1.0), (relay, Turnpike, 2.0), (relay, WireguardGo, 4.5)];
    let json = serde_json::to_value(record(&runs).entries()).expect("JSON");
    let expected = serde_json::json!([
        {"measure": "relay_cpu_s_per_gb", "subject": "turnpike", "unit": "s/GB",
         "median": 2.0, "min": 1.0, "max": 3.0, "runs": [3.0, 1.0, 2.0]},
        {"measure": "relay_cpu_s_per_gb", "subject": "wireguard-go", "unit": "s/GB",
         "median": 4.5, "min": 4.5, "max": 4.5, "runs": [4.5]},
    ]);
    assert_eq!(json, expected);
}

#[test]
fn measures_have_names_of_their_own() {
    let names: std::collections::BTreeSet<_> = Measure::ALL.iter().map(|measure| measure.name()).collect();
    assert_eq!(names.len(), Measure::ALL.len());
}

#[test]
fn new_entries_replace_those_of_the_same_measure_and_subject_alone() {
    let old =
        record(&[(Measure::RelayCpu, Turnpike, 9.0), (Measure::Tcp, Turnpike, 1.0), (Measure::Tcp, WireguardGo, 2.0)]);
    let new = record(&[(Measure::Tcp, Turnpike, 5.0), (Measure::SmallLoss, Turnpike, 0.0)]);
    let merged = merge(old.entries(), new.entries());
    let said: Vec<_> = merged.iter().map(|it| (it.measure.as_str(), it.subject.as_str(), it.median)).collect();
    let expected = [
        ("relay_cpu_s_per_gb", "turnpike", 9.0),
        ("tcp_gbit_per_s", "turnpike", 5.0),
        ("tcp_gbit_per_s", "wireguard-go", 2.0),
        ("small_loss_ratio", "turnpike", 0.0),
    ];
    assert_eq!(said, expected);
}

fn reached(measure: Measure, values: [Option<f64>; 3]) -> Option<bool> {
    let pairs = Subject::ALL.into_iter().zip(values);
    let known: Vec<_> = pairs.filter_map(|(subject, value)| Some((measure, subject, value?))).collect();
    record(&known).standing(measure).map(|standing| standing.reached)
}

#[test]
fn a_ratio_is_judged_against_the_peer_that_the_goal_names() {
    let relay = |own, go, boringtun| reached(Measure::RelayCpu, [own, go, boringtun]);
    assert_eq!(relay(Some(2.0), Some(4.0), Some(1.0)), Some(true));
    assert_eq!(relay(Some(2.1), Some(4.0), Some(9.0)), Some(false));
    assert_eq!(relay(Some(2.0), None, Some(9.0)), None, "nothing to compare with");
    assert_eq!(relay(None, Some(4.0), Some(9.0)), None);
    let tcp = |own, go| reached(Measure::Tcp, [Some(own), Some(go), Some(9.9)]);
    assert_eq!((tcp(4.5, 3.0), tcp(4.4, 3.0)), (Some(true), Some(false)));
}

#[test]
fn the_best_peer_is_the_one_with_least_delay_and_nothing_lost_beats_all() {
    let ping = |own| reached(Measure::PingLoadedTail, [Some(own), Some(20.0), Some(8.0)]);
    assert_eq!((ping(4.0), ping(4.1)), (Some(true), Some(false)));
    let loss = |own, go, boringtun| reached(Measure::SmallLoss, [Some(own), Some(go), Some(boringtun)]);
    assert_eq!(loss(0.001, 0.2, 0.01), Some(true));
    assert_eq!(loss(0.01, 0.2, 0.01), Some(false), "as much is not less");
    assert_eq!(loss(0.0, 0.0, 0.2), Some(true));
    assert_eq!(loss(0.001, 0.0, 0.2), Some(false));
}

#[test]
fn a_measure_can_be_judged_against_another_of_turnpikes_own() {
    let own = |two, many| record(&[(Measure::Relay2Cpu, Turnpike, two), (Measure::Relay388Cpu, Turnpike, many)]);
    let standing = own(2.0, 3.0).standing(Measure::Relay388Cpu).expect("both are known");
    assert_eq!((standing.ratio, standing.against), (Some(1.5), Some("relay_2_cpu_s_per_gb")));
    assert!(standing.reached);
    assert!(own(2.0, 3.1).standing(Measure::Relay388Cpu).is_some_and(|standing| !standing.reached));
    assert_eq!(record(&[(Measure::Relay388Cpu, Turnpike, 3.0)]).standing(Measure::Relay388Cpu), None);
}

#[test]
fn memory_has_a_limit_of_its_own() {
    assert_eq!(reached(Measure::MemoryAfterTcp, [Some(24.0), None, None]), Some(true));
    assert_eq!(reached(Measure::MemoryAfterTcp, [Some(24.1), Some(100.0), None]), Some(false));
    assert_eq!(Measure::MemoryAfterTcp.goal(), Some(Goal::Within(24.0)));
}

#[test]
fn the_table_shows_medians_extremes_ratio_goal_and_verdict() {
    let relay = Measure::RelayCpu;
    let text = table::render(&record(&[
        (relay, Turnpike, 1.5),
        (relay, Turnpike, 1.25),
        (relay, Turnpike, 2.0),
        (relay, WireguardGo, 4.0),
        (Measure::Tcp, WireguardGo, 3.0),
    ]));
    let words = |line: &str| {
        line.split("  ").map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let lines: Vec<_> = text.lines().map(words).collect();
    let relay = [
        "relay_cpu_s_per_gb",
        "s/GB",
        "1.50 (1.25 to 2.00)",
        "4.00",
        "-",
        "0.38 x wireguard-go",
        "<= 0.5 x wireguard-go",
        "yes",
    ];
    assert_eq!(lines[1], relay);
    assert_eq!(lines[2], ["tcp_gbit_per_s", "Gbit/s", "-", "3.00", "-", ">= 1.5 x wireguard-go", "not compared"]);
}

#[test]
fn a_file_becomes_a_table_of_medians_in_markdown() {
    let known = record(&[
        (Measure::Tcp, Turnpike, 5.0),
        (Measure::Tcp, BoringtunCli, 1.5),
        (Measure::SmallLoss, WireguardGo, 0.25),
    ]);
    let expected = "| measure | unit | turnpike | wireguard-go | boringtun-cli |\n\
                    |---|---|---:|---:|---:|\n\
                    | `tcp_gbit_per_s` | Gbit/s | 5.00 |  | 1.50 |\n\
                    | `small_loss_ratio` | ratio |  | 0.250 |  |\n";
    assert_eq!(table::markdown(&known.entries()), expected);
}

#[test]
fn numbers_are_shown_with_three_digits() {
    let shown: Vec<_> = [0.0, 1234.5, 12.345, 1.2345, 0.12345, 0.012345, 0.00012].map(table::short).to_vec();
    assert_eq!(shown, ["0", "1234", "12.3", "1.23", "0.123", "0.0123", "0.00012"]);
}

#[test]
fn echoes_are_read_by_their_numbers_and_lost_ones_count_as_a_second() {
    let said = "PING 10.9.0.3 (10.9.0.3) 56(84) bytes of data.\n\
                64 bytes from 10.9.0.3: icmp_seq=1 ttl=64 time=9.99 ms\n\
                64 bytes from 10.9.0.3: icmp_seq=4 ttl=64 time=0.018 ms\n\
                64 bytes from 10.9.0.3: icmp_seq=2 ttl=64 time=1.25 ms\n\
                64 bytes from 10.9.0.3: icmp_seq=2 ttl=64 time=77.0 ms (DUP!)\n\
                64 bytes from 10.9.0.3: icmp_seq=5 ttl=64 time=3.00 ms\n\
                \n--- 10.9.0.3 ping statistics ---\n\
                5 packets transmitted, 4 received, 20% packet loss, time 41ms\n\
                rtt min/avg/max/mdev = 0.018/3.564/9.990/3.9 ms\n";
    assert_eq!(echo::times(said, 1, 3), [1.25, echo::LOST, 0.018]);
    assert_eq!(echo::times("", 20, 2), [echo::LOST, echo::LOST]);
}

#[test]
fn a_stream_is_read_from_the_receivers_sum() {
    let said = r#"{"end": {"sum_sent": {"bytes": 9, "bits_per_second": 9.0},
                           "sum_received": {"bytes": 2500000000, "bits_per_second": 4e9}}}"#;
    assert_eq!(stream::carried(said), Some(stream::Carried { octets: 2.5e9, bits_per_second: 4e9 }));
    assert_eq!(stream::carried(r#"{"error": "unable to connect"}"#), None);
    assert_eq!(stream::carried(r#"{"end": {"sum_received": {"bytes": 0, "bits_per_second": 0}}}"#), None);
    assert_eq!(stream::carried(""), None);
}

#[test]
fn packets_are_counted_once_whatever_their_order() {
    let mut seen = flood::Seen::default();
    for number in [5_u64, 0, 1, 5, 200, 64, 63, 64] {
        seen.mark(&[number.to_be_bytes().as_slice(), &[0; 56]].concat());
    }
    seen.mark(&[0; 7]);
    seen.mark(&u64::MAX.to_be_bytes());
    assert_eq!(seen.count, 6);
}

#[test]
fn packets_fall_due_at_the_rate_and_what_does_not_arrive_is_lost() {
    assert_eq!(flood::due(Duration::ZERO), 0);
    assert_eq!(flood::due(Duration::from_millis(1)), 110);
    assert_eq!(flood::due(Duration::from_secs(4)), 440_000);
    let loss = |offered, delivered| flood::Counted { offered, delivered }.loss();
    assert!((loss(1000, 750) - 0.25).abs() < 1e-9);
    assert!(loss(1000, 1000).abs() < 1e-9 && loss(0, 0).abs() < 1e-9);
}

#[test]
fn the_cpu_clock_of_a_process_runs_as_the_kernels_account_of_it() {
    let clock = process::CpuTime::of(std::process::id()).expect("our own");
    let (clock_before, stat_before) = (clock.so_far().expect("a time"), ticks());
    let mut state = 1_u64;
    while ticks() < stat_before + 30 {
        state = std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    let measured = (clock.so_far().expect("a time") - clock_before).as_secs_f64();
    // A tick is 10 ms, and other tests of this process run meanwhile: both clocks count them.
    let accounted = f64::from(u32::try_from(ticks() - stat_before).expect("few")) / 100.0;
    assert!((measured - accounted).abs() < 0.05, "{measured} against {accounted}");
    for nobody in [0, 1 << 22, u32::MAX] {
        assert!(process::CpuTime::of(nobody).is_err(), "there is no process {nobody}");
    }
}

/// User and system time of this process in ticks: fields 14 and 15 of `/proc/PID/stat`.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("our own");
    let fields = stat.rsplit_once(')').expect("a name").1.split_ascii_whitespace().skip(11).take(2);
    fields.map(|field| field.parse::<u64>().expect("ticks")).sum()
}

#[test]
fn resident_memory_is_read_in_mebioctets() {
    assert_eq!(process::resident_of("Name:\tx\nVmHWM:\t  9999 kB\nVmRSS:\t    3072 kB\n"), Some(3.0));
    assert_eq!(process::resident_of("Name:\tkthreadd\n"), None);
    assert!(process::resident_mib(std::process::id()).is_ok_and(|mib| mib > 1.0));
}

#[test]
fn a_configuration_has_its_peers_with_and_without_endpoint() {
    let key = PrivateKey::from_octets([0x41; 32]);
    let peer = |endpoint: Option<&str>| bed::Peer {
        key: key.public(),
        allowed: "10.9.0.3/32".into(),
        endpoint: endpoint.map(str::to_owned),
    };
    let text = bed::configuration(&key, &[peer(None), peer(Some("192.0.2.1:51820"))]);
    let one = format!("[Peer]\nPublicKey = {}\nAllowedIPs = 10.9.0.3/32\n", key.public());
    let head = format!("[Interface]\nPrivateKey = {}\nListenPort = 51820\n", key.to_base64().as_str());
    assert_eq!(text, format!("{head}{one}{one}Endpoint = 192.0.2.1:51820\n"));
}

#[test]
fn the_ruleset_has_an_element_for_each_port_of_each_pair() {
    let text = bed::ruleset(&[(bed::A, bed::B), (bed::B, bed::A)]);
    assert_eq!(text.matches("10.9.0.2 . 10.9.0.3 . tcp . 5201").count(), 1);
    assert_eq!(text.matches("10.9.0.3 . 10.9.0.2 . udp . 7000").count(), 1);
    assert!(text.contains("policy drop"));
}

#[test]
fn fields_of_system_files_are_read_without_quotes() {
    let text = "processor\t: 0\nmodel name\t: Fast: 3\nmodel name\t: other\n";
    assert_eq!(machine::field(text, "model name", ':').as_deref(), Some("Fast: 3"));
    assert_eq!(machine::field("A=\"b c\"\n", "A", '=').as_deref(), Some("b c"));
    assert_eq!(machine::field("", "A", '='), None);
}

#[test]
fn what_a_hypervisor_keeps_back_is_the_eighth_number() {
    let at = |text| machine::ticks(text).expect("ticks");
    let (begun, then) = (at("cpu  10 0 20 60 0 0 0 10 5 0\ncpu0 1"), at("cpu  20 0 30 120 0 0 0 30 9 0\n"));
    assert_eq!(machine::share(begun, then), Some(20), "20 of 100, guests not counted twice");
    assert_eq!(machine::share(begun, begun), None, "no time has passed");
    assert!(machine::ticks("cpu 1 2 3").is_none() && machine::ticks("").is_none());
}
