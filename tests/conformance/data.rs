//! Hostile data messages: replayed, late, at the end of the counters, cut, changed, of other sessions, and hollow.

use std::collections::BTreeSet;

use turnpike::lab::guard::wait_until;

use crate::bench::{Node, SOON, Wire};
use crate::client::{Client, SILENCE, meet};
use crate::noise::Session;
use crate::rig::{Rig, transfer};
use crate::scenario::scenarios;

scenarios! {
    Light:
        a_replay_never_passes,
        reordering_within_a_thousand_passes_once,
        what_is_far_older_than_the_newest_does_not_pass,
        counters_at_the_limit_are_refused_and_move_nothing,
        a_flipped_bit_anywhere_passes_nothing,
        a_message_cut_or_lengthened_passes_nothing,
        junk_of_every_type_and_length_is_met_with_silence,
        authentic_messages_with_no_packet_in_them_come_to_nothing,
        the_session_before_the_newest_still_receives,
        a_message_for_another_peers_session_passes_nothing;
}

/// What was sent under these numbers and one honest echo after it; which of all are answered.
fn answered_beside(client: &Client, session: &Session, datagrams: &[Vec<u8>], honest: (u64, u16)) -> BTreeSet<u16> {
    for chunk in datagrams.chunks(64) {
        chunk.iter().for_each(|datagram| client.send(datagram));
        std::thread::park_timeout(std::time::Duration::from_millis(2));
    }
    client.send(&session.seal(honest.0, &client.echo(honest.1)));
    client.answered(session, &[honest.1])
}

fn a_replay_never_passes(rig: &Rig) {
    let wire = Wire::new();
    let (node, mut client) = meet(rig, &wire);
    let session = client.handshake();
    let numbers: Vec<u16> = (1..=100).collect();
    let datagrams: Vec<Vec<u8>> = numbers.iter().map(|n| session.seal((*n).into(), &client.echo(*n))).collect();
    for _ in 0..3 {
        datagrams.iter().for_each(|datagram| client.send(datagram));
    }
    let counts = client.answers(&session, &numbers);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), numbers, "each passes");
    assert!(counts.values().all(|count| *count == 1), "each passes once: {counts:?}");
    assert!(client.reaches(&session, 101, 101), "and the next one");
    // Another address does not make them new, nor is it believed.
    let elsewhere = wire.right.enter(|| std::net::UdpSocket::bind("192.0.2.2:4001")).expect("right").expect("a socket");
    elsewhere.send_to(&datagrams[5], client.to).expect("sent");
    std::thread::park_timeout(SILENCE);
    assert_eq!(node.shown("endpoints", &client.key).as_deref(), Some("192.0.2.2:4000"), "a replay moves nobody");
}

/// The window is 1,024 counters in boringtun and about 8,000 in Linux and wireguard-go.
fn reordering_within_a_thousand_passes_once(rig: &Rig) {
    let wire = Wire::new();
    let (_node, mut client) = meet(rig, &wire);
    let session = client.handshake();
    assert!(client.reaches(&session, 5000, 5000), "the newest comes first");
    let late: Vec<u16> = (4010..5000).step_by(7).rev().collect();
    let datagrams: Vec<Vec<u8>> = late.iter().map(|n| session.seal((*n).into(), &client.echo(*n))).collect();
    datagrams.iter().for_each(|datagram| client.send(datagram));
    let expected: BTreeSet<u16> = late.iter().copied().collect();
    assert_eq!(client.answered(&session, &late), expected, "those that come late");
    let again = answered_beside(&client, &session, &datagrams, (5001, 5001));
    assert_eq!(again, BTreeSet::from([5001]), "none of them a second time");
}

fn what_is_far_older_than_the_newest_does_not_pass(rig: &Rig) {
    let wire = Wire::new();
    let (_node, mut client) = meet(rig, &wire);
    let session = client.handshake();
    for (number, counter) in [(1, 20_000), (2, 300_000), (3, 1 << 33), (4, 1 << 60)] {
        assert!(client.reaches(&session, counter, number), "the newest");
        let old: Vec<Vec<u8>> = [1, 2, 3, counter / 3, counter - 10_000]
            .into_iter()
            .map(|counter| session.seal(counter, &client.echo(1000 + number)))
            .collect();
        let answered = answered_beside(&client, &session, &old, (counter + 1, 100 + number));
        assert_eq!(answered, BTreeSet::from([100 + number]), "older than the window at {counter}");
    }
}

/// REJECT_AFTER_MESSAGES is 2^64 - 2^13 - 1 (section 6.1); Linux's own window makes it a few more.
fn counters_at_the_limit_are_refused_and_move_nothing(rig: &Rig) {
    let wire = Wire::new();
    let (_node, mut client) = meet(rig, &wire);
    let session = client.handshake();
    let beyond: Vec<Vec<u8>> =
        [0, 1, 2, 1000, 4096].into_iter().map(|below| session.seal(u64::MAX - below, &client.echo(9))).collect();
    let answered = answered_beside(&client, &session, &beyond, (1, 1));
    assert_eq!(answered, BTreeSet::from([1]), "beyond the limit nothing passes, and what is below it goes on");
    assert!(client.reaches(&session, u64::MAX - (1 << 14), 2), "below the limit one passes");
    let answered = answered_beside(&client, &session, &beyond, (u64::MAX - (1 << 14) + 1, 3));
    assert_eq!(answered, BTreeSet::from([3]), "still nothing beyond it");
    let next = client.handshake();
    assert!(client.reaches(&next, 1, 4), "and a new session begins at 0");
}

fn a_flipped_bit_anywhere_passes_nothing(rig: &Rig) {
    let wire = Wire::new();
    let (node, mut client) = meet(rig, &wire);
    let session = client.handshake();
    let length = session.seal(1, &client.echo(1)).len();
    let mut datagrams = Vec::new();
    for octet in (0..length).filter(|octet| *octet < 24 || octet % 5 == 0 || octet + 16 >= length) {
        for bit in 0..8 {
            let mut datagram = session.seal(10 + u64::try_from(datagrams.len()).expect("few"), &client.echo(2));
            datagram[octet] ^= 1 << bit;
            datagrams.push(datagram);
        }
    }
    let before = transfer(&node).0;
    assert_eq!(answered_beside(&client, &session, &datagrams, (1, 1)), BTreeSet::from([1]), "nothing but the honest");
    assert!(transfer(&node).0 - before < 200, "nor is it counted as received");
    assert!(client.reaches(&session, 9, 3), "their counters are free");
}

fn a_message_cut_or_lengthened_passes_nothing(rig: &Rig) {
    let wire = Wire::new();
    let (_node, mut client) = meet(rig, &wire);
    let session = client.handshake();
    let whole = session.seal(7, &client.echo(7));
    let mut datagrams: Vec<Vec<u8>> = (0..whole.len()).map(|length| whole[..length].to_vec()).collect();
    datagrams.extend((1..=40).map(|more| [whole.clone(), vec![0; more]].concat()));
    assert_eq!(answered_beside(&client, &session, &datagrams, (8, 8)), BTreeSet::from([8]), "nothing but the honest");
    client.send(&whole);
    assert_eq!(client.answered(&session, &[7]), BTreeSet::from([7]), "the whole one passes after all");
}

fn junk_of_every_type_and_length_is_met_with_silence(rig: &Rig) {
    let wire = Wire::new();
    let (node, mut client) = meet(rig, &wire);
    let session = client.handshake();
    let lengths: Vec<usize> = (0..=200).chain([576, 1280, 1472, 9000, 65_000]).collect();
    let mut sent = 0_usize;
    for kind in [0_u8, 1, 2, 3, 4, 5, 0x40, 0x80, 0xff] {
        for length in &lengths {
            let mut octets: Vec<u8> = (0..*length).map(|at| ((at * 131 + sent * 7) % 251).to_le_bytes()[0]).collect();
            if let Some(head) = octets.first_chunk_mut::<4>() {
                *head = [kind, 0, 0, if sent.is_multiple_of(5) { 1 } else { 0 }];
            }
            client.send(&octets);
            sent += 1;
            if sent.is_multiple_of(32) {
                std::thread::park_timeout(std::time::Duration::from_millis(2));
            }
        }
    }
    let heard = client.everything();
    assert!(heard.iter().all(|datagram| session.open(datagram).is_some()), "no answer to junk: {heard:?}");
    assert!(client.reaches(&session, 1, 1), "the session goes on after {sent} pieces of junk");
    assert_eq!(node.shown("endpoints", &client.key).as_deref(), Some("192.0.2.2:4000"));
}

/// How many packets came out of the interface so far.
fn came_out(node: &Node<'_>) -> u64 {
    let counters = node.at.run("cat", ["/proc/net/dev"]).expect("counters");
    let start = format!("{}:", node.device);
    let line = counters.lines().find(|line| line.trim_start().starts_with(&start)).expect("the device");
    line.split_ascii_whitespace().nth(2).and_then(|text| text.parse().ok()).expect("packets")
}

fn authentic_messages_with_no_packet_in_them_come_to_nothing(rig: &Rig) {
    let wire = Wire::new();
    let (node, mut client) = meet(rig, &wire);
    let session = client.handshake();
    let (v4, v6) = (client.echo(2), client.echo_v6(2));
    let with = |packet: &[u8], at: usize, octets: &[u8]| {
        let mut packet = packet.to_vec();
        packet[at..at + octets.len()].copy_from_slice(octets);
        packet
    };
    let hollow = [
        vec![0],
        vec![0; 20],
        vec![0xff; 64],
        with(&v4, 0, &[0x55]),
        with(&v4, 0, &[0x05]),
        v4[..19].to_vec(),
        v6[..39].to_vec(),
        with(&v4, 2, &[0xff, 0xff]),
        with(&v4, 2, &[0, 10]),
        with(&v6, 4, &[0xff, 0xff]),
        vec![0x45],
        vec![0x60],
    ];
    // A keepalive is authentic, and nothing too.
    for (counter, packet) in (1..).step_by(2).zip(hollow.iter().chain([&vec![]])) {
        let before = came_out(&node);
        client.send(&session.seal(counter, packet));
        assert!(client.reaches(&session, counter + 1, 1), "the session goes on after {packet:02x?}");
        assert_eq!(came_out(&node) - before, 1, "the honest one alone, not {packet:02x?}");
    }
    // The padding goes, the packet stays.
    client.send(&session.seal(102, &[client.echo(3), vec![0; 40]].concat()));
    client.send(&session.seal(103, &[client.echo_v6(4), vec![0; 40]].concat()));
    assert_eq!(client.answered(&session, &[3, 4]), BTreeSet::from([3, 4]), "padded packets");
}

fn the_session_before_the_newest_still_receives(rig: &Rig) {
    let wire = Wire::new();
    let (_node, mut client) = meet(rig, &wire);
    let first = client.handshake();
    let second = client.handshake();
    client.send(&first.seal(1, &client.echo(1)));
    assert_eq!(client.answered(&second, &[1]), BTreeSet::from([1]), "what was on its way meanwhile, by the newest");
    assert!(client.reaches(&second, 2, 2), "the newest itself");
    let replayed = [first.seal(0, &client.echo(0)), first.seal(1, &client.echo(1))];
    assert_eq!(answered_beside(&client, &second, &replayed, (3, 3)), BTreeSet::from([3]), "but no replay of the first");
}

fn a_message_for_another_peers_session_passes_nothing(rig: &Rig) {
    let wire = Wire::new();
    let (node, mut client) = meet(rig, &wire);
    let mut other = Client::new(&node, &wire.right, "192.0.2.2:4003", 3);
    node.set(&format!("peer {} allowed-ips {}", other.key, other.prefixes()));
    let (session, theirs) = (client.handshake(), other.handshake());
    let mut crossed = session.seal(1, &client.echo(1));
    crossed[4..8].copy_from_slice(&theirs.index);
    assert_eq!(answered_beside(&client, &session, &[crossed], (2, 2)), BTreeSet::from([2]), "our keys, their index");
    // A peer's own keys and index, but the address of another.
    other.send(&theirs.seal(1, &client.echo(9)));
    assert!(other.reaches(&theirs, 2, 2), "the other one's own address passes");
    assert!(client.everything().is_empty(), "the other cannot speak for us");
    assert!(wait_until(SOON, || client.reaches(&session, 10, 10)), "and we still can");
}
