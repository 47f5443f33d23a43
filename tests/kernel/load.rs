//! nft takes what is compiled, and what it lists afterwards is what was meant.

use std::time::{Duration, Instant};

use turnpike::bundle::{Destination, Guardrail, Match, Rule};
use turnpike::lab::guard::{Namespace, skip};
use turnpike::ruleset::{self, Instrument, Listing, Remarks, Ruleset};
use turnpike::sys::netns::Handle;
use turnpike::sys::nftables::{Change, Nft, NftError};

use crate::place::{Gateway, one_of_each, parse, policy, rule, ruleset, tcp};
use crate::router::devices;

fn nft(space: &Namespace) -> Nft {
    Nft::new().within(Handle::open(&space.path()).expect("the namespace"))
}

fn tables(space: &Namespace) -> String {
    space.run("nft", ["list", "tables"]).expect("a list")
}

fn guardrails() -> Vec<Guardrail> {
    let to = |prefixes: &[&str], ports: Vec<Match>| Destination {
        prefixes: prefixes.iter().map(|prefix| parse(prefix)).collect(),
        ports,
    };
    vec![
        Guardrail { id: parse("G-1"), from: Vec::new(), to: to(&[], vec![tcp(23), Match::Any]) },
        Guardrail {
            id: parse("G-2"),
            from: vec![parse("100.64.1.0/24"), parse("fd64:1::/64")],
            to: to(
                &["100.64.3.20/32", "100.64.4.0/24"],
                vec![
                    Match::Ports { protocol: 17, first: 1, last: 9 },
                    Match::Icmp { protocol: 1, kind: 8 },
                    Match::Icmp { protocol: 58, kind: 128 },
                    Match::Protocol { protocol: 47 },
                ],
            ),
        },
    ]
}

#[test]
fn every_kind_of_rule_is_taken_at_edge_and_hub_and_again_in_place() {
    if skip("every_kind_of_rule_is_taken_at_edge_and_hub_and_again_in_place") {
        return;
    }
    for gateway in [Gateway::Leeds, Gateway::York, Gateway::Hub] {
        let space = Namespace::new(gateway.name()).expect("a namespace");
        let compiled =
            Ruleset::compile(&policy(gateway, &one_of_each(), &guardrails()), &devices()).expect("it compiles");
        nft(&space).load(&compiled).expect("the first load");
        let first = nft(&space).listing().expect("a listing");
        let mut kernel = nft(&space).kernel().expect("a socket");
        assert!(kernel.has_chain(ruleset::TABLE, compiled.shape()).expect("an answer"));
        assert!(!kernel.has_chain(ruleset::TABLE, "c_other").expect("an answer"));
        nft(&space).load(&compiled).expect("a load in place");
        let second = nft(&space).listing().expect("a listing");
        assert_eq!(first.fingerprint(), second.fingerprint(), "{}", gateway.name());
    }
}

#[test]
fn an_element_diff_leads_to_the_same_table_as_a_load() {
    if skip("an_element_diff_leads_to_the_same_table_as_a_load") {
        return;
    }
    let mut changed = one_of_each();
    changed.remove(0);
    changed[0].agreement = 9;
    changed.push(rule(1, "100.64.3.20", Match::Ports { protocol: 17, first: 6000, last: 6001 }, 7));
    changed.push(rule(2, "100.64.3.21", Match::Any, 8));
    for gateway in [Gateway::Leeds, Gateway::Hub] {
        let (old, bare) = (policy(gateway, &one_of_each(), &guardrails()), policy(gateway, &one_of_each(), &[]));
        let mut new = policy(gateway, &changed, &[]);
        new.departments.remove(3);
        new.allotted[0] = parse("100.64.1.0/25");
        let compile = |policy| Ruleset::compile(policy, &devices()).expect("it compiles");
        let steps = [compile(&bare), compile(&new), compile(&old)];
        let space = Namespace::new("diff").expect("a namespace");
        let (nft, mut at) = (nft(&space), compile(&old));
        nft.load(&at).expect("a load");
        for next in steps {
            nft.apply(&ruleset::diff(&at, &next)).expect("a diff");
            let by_diff = nft.listing().expect("a listing").fingerprint();
            nft.apply(&next.refill()).expect("a refill");
            assert_eq!(nft.listing().expect("a listing").fingerprint(), by_diff, "the diff leaves nothing out");
            at = next;
        }
    }
}

/// nft is given no time in which to do anything.
#[test]
fn what_is_about_elements_alone_needs_no_nft_and_is_refused_as_a_whole() {
    if skip("what_is_about_elements_alone_needs_no_nft_and_is_refused_as_a_whole") {
        return;
    }
    for gateway in [Gateway::Leeds, Gateway::Hub] {
        let mut changed = one_of_each();
        changed.retain(|rule| rule.matching != tcp(443));
        changed[0].agreement = 9;
        let (all, fewer) = (ruleset(gateway, &one_of_each()), ruleset(gateway, &changed));
        let space = Namespace::new("commit").expect("a namespace");
        let (nft, hurried) = (nft(&space), nft(&space).timeout(Duration::ZERO));
        nft.load(&all).expect("a load");
        let before = nft.listing().expect("a listing").fingerprint();
        let batch = ruleset::diff(&all, &fewer).then(fewer.alive());
        assert!(hurried.apply(&batch).expect("without nft") != 0);
        let after = nft.listing().expect("a listing").fingerprint();
        nft.apply(&fewer.refill()).expect("a refill");
        assert_eq!(nft.listing().expect("a listing").fingerprint(), after, "as nft does it");
        // The elements are gone: the kernel takes nothing of it, not even what it could.
        let changes = batch.changes().expect("elements alone");
        assert!(matches!(nft.commit(&changes), Err(NftError::System { .. })));
        assert!(matches!(hurried.apply(&batch), Err(NftError::TimedOut(_) | NftError::Refused(_))), "nft is asked why");
        assert_eq!(nft.listing().expect("a listing").fingerprint(), after);
        hurried.apply(&ruleset::diff(&fewer, &all)).expect("back");
        assert_eq!(nft.listing().expect("a listing").fingerprint(), before);
    }
}

#[test]
fn what_deleted_elements_counted_is_read_before_they_go() {
    if skip("what_deleted_elements_counted_is_read_before_they_go") {
        return;
    }
    let (all, none) = (ruleset(Gateway::Hub, &one_of_each()), ruleset(Gateway::Hub, &[]));
    let space = Namespace::new("counts").expect("a namespace");
    let nft = nft(&space);
    nft.load(&all).expect("a load");
    let batch = ruleset::diff(&all, &none);
    let listed = nft.listing().expect("a listing").counters();
    let agreement = |instrument: &Instrument| matches!(instrument, Instrument::Agreement { .. });
    let listed: Vec<_> = listed.into_iter().filter(|(instrument, _)| agreement(instrument)).collect();
    let last = ruleset::sum(&nft.last_counts(&batch).expect("an answer"));
    assert!(listed.len() > 2, "canary: {listed:?}");
    assert_eq!(last.into_iter().collect::<Vec<_>>(), listed);
    nft.apply(&batch).expect("a diff");
    assert_eq!(nft.last_counts(&batch).expect("an answer"), []);
}

#[test]
fn a_table_of_another_shape_is_replaced_and_the_early_table_goes_with_the_load() {
    if skip("a_table_of_another_shape_is_replaced_and_the_early_table_goes_with_the_load") {
        return;
    }
    let space = Namespace::new("early").expect("a namespace");
    let nft = nft(&space);
    nft.apply(&ruleset::early_drop()).expect("the early table");
    assert!(tables(&space).contains(ruleset::EARLY_TABLE));
    space
        .run("nft", ["add table inet turnpike; add set inet turnpike s_alive { type mark; }"])
        .expect("a foreign table");
    nft.load(&ruleset(Gateway::Hub, &[])).expect("a load");
    assert_eq!(tables(&space), "table inet turnpike\n");
    nft.load(&ruleset(Gateway::Leeds, &[])).expect("another role");
    assert_eq!(tables(&space), "table inet turnpike\n");
}

#[test]
fn a_refused_transaction_leaves_everything_as_it_was() {
    if skip("a_refused_transaction_leaves_everything_as_it_was") {
        return;
    }
    let space = Namespace::new("refused").expect("a namespace");
    let nft = nft(&space);
    nft.apply(&ruleset::early_drop()).expect("the early table");
    space
        .run("nft", ["add table inet turnpike; add set inet turnpike s_alive { type mark; }"])
        .expect("a foreign table");
    let before = space.run("nft", ["list", "ruleset"]).expect("a list");
    assert!(matches!(nft.apply(&ruleset(Gateway::Hub, &[]).refill()), Err(NftError::Refused(_))));
    assert_eq!(space.run("nft", ["list", "ruleset"]).expect("a list"), before);
}

#[test]
fn changes_are_heard_of_with_who_made_them_and_a_foreign_one_changes_the_fingerprint() {
    if skip("changes_are_heard_of_with_who_made_them_and_a_foreign_one_changes_the_fingerprint") {
        return;
    }
    let space = Namespace::new("watch").expect("a namespace");
    let nft = nft(&space);
    let mut watch = nft.watch().expect("a watch");
    let loaded = ruleset(Gateway::Leeds, &one_of_each());
    assert_eq!(nft.load(&loaded).expect("a load").len(), 2);
    let changes = watch.wait(Duration::from_secs(5)).expect("changes");
    let [Change::Generation { name, by, .. }, Change::Generation { name: other, by: another, .. }] = changes.as_slice()
    else {
        panic!("{changes:?}")
    };
    assert_eq!((name.as_str(), *by != 0), ("nft", true));
    assert!(other != "nft" && *another != 0 && another != by, "the elements need no nft: {changes:?}");
    let ours = nft.listing().expect("a listing").fingerprint();
    nft.apply(&loaded.alive()).expect("alive");
    assert_eq!(watch.wait(Duration::from_secs(5)).expect("changes").len(), 1);
    assert_eq!(nft.listing().expect("a listing").fingerprint(), ours);
    assert_eq!(watch.wait(Duration::from_millis(50)).expect("changes"), []);
    space.run("nft", ["add element inet turnpike s_agreement { 99 }"]).expect("a foreign change");
    assert!(!watch.wait(Duration::from_secs(5)).expect("changes").is_empty());
    assert_ne!(nft.listing().expect("a listing").fingerprint(), ours);
    nft.load(&loaded).expect("a repair in place");
    assert_eq!(nft.listing().expect("a listing").fingerprint(), ours);
    space.run("nft", ["flush", "ruleset"]).expect("a flush");
    assert!(matches!(nft.listing(), Err(NftError::NoTable)));
    nft.load(&loaded).expect("a repair");
    assert_eq!(nft.listing().expect("a listing").fingerprint(), ours);
}

#[test]
fn the_script_for_people_leads_to_the_same_table_as_a_load() {
    if skip("the_script_for_people_leads_to_the_same_table_as_a_load") {
        return;
    }
    for gateway in [Gateway::Leeds, Gateway::Hub] {
        let guardrail = Guardrail {
            id: parse("G-1"),
            from: vec![parse("100.64.1.0/25")],
            to: Destination {
                prefixes: vec![parse("100.64.3.20/32")],
                ports: vec![tcp(23), Match::Icmp { protocol: 1, kind: 8 }],
            },
        };
        let policy = policy(gateway, &one_of_each(), &[guardrail]);
        let ruleset = Ruleset::compile(&policy, &devices()).expect("it compiles");
        let mut remarks = Remarks::default();
        remarks.agreements.insert(7, "A-7 agreements/A-7.toml:1".into());
        remarks.departments.insert(1, "leeds/a councils/leeds.toml:1".into());
        remarks.guardrails.insert(parse("G-1"), "G-1 network.toml:1".into());
        let script = ruleset.script(&remarks).expect("words");
        for remark in ["# A-7 agreements/A-7.toml:1, for leeds/a councils/leeds.toml:1", "# G-1 network.toml:1"] {
            assert!(script.contains(remark), "{script}");
        }
        let space = Namespace::new("script").expect("a namespace");
        let nft = nft(&space);
        nft.load(&ruleset).expect("a load");
        let loaded = nft.listing().expect("a listing").fingerprint();
        space.run("nft", ["flush", "ruleset"]).expect("a flush");
        let file = std::env::temp_dir().join(format!("turnpike-{}-{}.nft", std::process::id(), gateway.name()));
        std::fs::write(&file, &script).expect("a file");
        let read = space.run("nft", ["-f", file.to_str().expect("a path")]);
        std::fs::remove_file(&file).expect("removed");
        read.unwrap_or_else(|error| panic!("{error}\n{script}"));
        assert_eq!(nft.listing().expect("a listing").fingerprint(), loaded, "{script}");
    }
}

/// So many hosts with 200 ports each, by an agreement each.
fn many(hosts: u16) -> Vec<Rule> {
    let ports =
        |host: u16| (1..=200).map(move |port| rule(1, &format!("100.64.3.{host}"), tcp(port), u32::from(host) + 1));
    (0..hosts).flat_map(ports).collect()
}

#[test]
fn without_permission_or_time_the_error_says_so() {
    if skip("without_permission_or_time_the_error_says_so") {
        return;
    }
    let space = Namespace::new("time").expect("a namespace");
    let hurried = nft(&space).timeout(Duration::ZERO);
    // So much that nft cannot have read it by then.
    let large = ruleset(Gateway::Hub, &many(50)).refill();
    assert_eq!(hurried.apply(&large), Err(NftError::TimedOut(Duration::ZERO)));
}

#[test]
fn fifty_thousand_rules_load_and_change_within_seconds() {
    if skip("fifty_thousand_rules_load_and_change_within_seconds") {
        return;
    }
    let space = Namespace::new("scale").expect("a namespace");
    let nft = nft(&space);
    let rules = many(250);
    let (first, second) = (ruleset(Gateway::Hub, &rules), ruleset(Gateway::Hub, &rules[1..]));
    let timed = |what: &str, work: &dyn Fn()| {
        let started = Instant::now();
        work();
        eprintln!("50,000 rules: {what} {:?}", started.elapsed());
    };
    timed("load", &|| assert!(nft.load(&first).is_ok()));
    timed("revoke one", &|| assert!(nft.apply(&ruleset::diff(&first, &second)).is_ok()));
    timed("refill", &|| assert!(nft.load(&first).is_ok()));
    let listing = std::cell::RefCell::new(None::<Listing>);
    timed("list", &|| drop(listing.replace(Some(nft.listing().expect("a listing")))));
    let listing = listing.take().expect("a listing");
    // Agreements, departments twice, reasons, and what is not told of twelve causes.
    assert_eq!(listing.counters().len(), 250 + 8 + 10 + 12);
    timed("alive", &|| assert!(nft.apply(&first.alive()).is_ok()));
}
