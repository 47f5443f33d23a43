//! The protocol's own times (section 6.1 of the WireGuard paper): keepalives, retries, rekeys, ends of sessions.

use std::time::{Duration, Instant};

use crate::bench::Wire;
use crate::client::{Client, is_initiation, meet, meet_known, poke};
use crate::noise::{DATA, Session};
use crate::rig::Rig;
use crate::scenario::scenarios;

scenarios! {
    Waits:
        a_persistent_keepalive_begins_by_itself_and_keeps_its_interval,
        a_persistent_keepalive_comes_and_goes,
        what_was_received_is_answered_by_a_keepalive_after_ten_seconds,
        what_is_not_answered_for_fifteen_seconds_begins_a_handshake,
        an_idle_tunnel_is_silent;
    Slow:
        the_initiator_makes_a_new_session_after_two_minutes,
        a_session_ends_after_three_minutes,
        an_attempt_ends_after_ninety_seconds_and_a_packet_begins_another;
}

/// The next datagram that `wanted` takes, and when it came, counted from now.
fn next(client: &Client, within: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<(Duration, Vec<u8>)> {
    let began = Instant::now();
    loop {
        let left = within.checked_sub(began.elapsed())?;
        if let Some(datagram) = client.receive(left).filter(|datagram| wanted(datagram)) {
            return Some((began.elapsed(), datagram));
        }
    }
}

/// Whether it is an empty message of this session.
fn is_keepalive(session: &Session, datagram: &[u8]) -> bool {
    datagram.len() == DATA && session.open(datagram).is_some_and(|(_, packet)| packet.is_empty())
}

fn a_persistent_keepalive_begins_by_itself_and_keeps_its_interval(rig: &Rig) {
    let wire = Wire::new();
    let (_node, mut client) = meet_known(rig, &wire, "persistent-keepalive 1");
    let session = client.accept(Duration::from_secs(3)).expect("an initiation by itself");
    assert!(client.reaches(&session, 0, 1), "a session");
    let keepalive = |datagram: &[u8]| is_keepalive(&session, datagram);
    let gaps: Vec<Duration> =
        (0..5).map(|_| next(&client, Duration::from_secs(3), keepalive).expect("a keepalive").0).collect();
    assert!(gaps[1..].iter().all(|gap| (600..1600).contains(&gap.as_millis())), "one in a second: {gaps:?}");
}

fn a_persistent_keepalive_comes_and_goes(rig: &Rig) {
    let wire = Wire::new();
    let (node, mut client) = meet_known(rig, &wire, "");
    assert!(client.receive(Duration::from_millis(500)).is_none(), "nothing to say");
    node.set(&format!("peer {} persistent-keepalive 1", client.key));
    let session = client.accept(Duration::from_secs(3)).expect("an initiation by itself");
    let keepalive = |datagram: &[u8]| is_keepalive(&session, datagram);
    assert!(next(&client, Duration::from_secs(3), keepalive).is_some(), "a keepalive");
    node.set(&format!("peer {} persistent-keepalive 0", client.key));
    client.everything();
    assert!(next(&client, Duration::from_secs(3), keepalive).is_none(), "no more");
    assert!(client.reaches(&session, 0, 1), "the session has not ended");
}

/// An echo reply that nobody asked for: it is received, and nobody answers.
fn unasked(client: &Client) -> Vec<u8> {
    let mut packet = client.echo(1);
    packet[20] = 0;
    // The type was 8: the checksum, which is the complement of a sum, grows by 8 in its upper octet.
    let checksum = u16::from_be_bytes([packet[22], packet[23]]);
    let (sum, carry) = checksum.overflowing_add(0x0800);
    packet[22..24].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
    packet
}

/// KEEPALIVE_TIMEOUT.
fn what_was_received_is_answered_by_a_keepalive_after_ten_seconds(rig: &Rig) {
    let wire = Wire::new();
    let (_node, mut client) = meet(rig, &wire);
    let session = client.handshake();
    client.everything();
    client.send(&session.seal(5, &unasked(&client)));
    let (after, _) =
        next(&client, Duration::from_secs(14), |datagram| is_keepalive(&session, datagram)).expect("a keepalive");
    assert!((9..12).contains(&after.as_secs()), "{after:?}");
    let more = next(&client, Duration::from_secs(12), |datagram| is_keepalive(&session, datagram));
    assert!(more.is_none(), "one, for nothing came since");
}

/// KEEPALIVE_TIMEOUT and REKEY_TIMEOUT together.
fn what_is_not_answered_for_fifteen_seconds_begins_a_handshake(rig: &Rig) {
    let wire = Wire::new();
    let (node, mut client) = meet(rig, &wire);
    let session = client.handshake();
    client.everything();
    poke(&node);
    let (after, _) = next(&client, Duration::from_secs(18), is_initiation).expect("an initiation");
    // The packet waited for its answer for a second.
    assert!((13..17).contains(&after.as_secs()), "{after:?}");
    assert!(client.reaches(&session, 9, 9), "the session has not ended");
}

fn an_idle_tunnel_is_silent(rig: &Rig) {
    let wire = Wire::new();
    let (_node, mut client) = meet(rig, &wire);
    let session = client.handshake();
    // The echo of the handshake is answered, so nothing is owed.
    client.send(&session.seal(6, &[]));
    client.everything();
    let heard = client.receive(Duration::from_secs(20));
    assert!(heard.is_none(), "nothing was to say: {heard:02x?}");
    assert!(client.reaches(&session, 9, 9), "the session has not ended");
}

/// REKEY_AFTER_TIME, at the first packet that it sends after that.
fn the_initiator_makes_a_new_session_after_two_minutes(rig: &Rig) {
    let wire = Wire::new();
    let (_node, mut client) = meet_known(rig, &wire, "persistent-keepalive 5");
    let session = client.accept(Duration::from_secs(3)).expect("an initiation");
    let began = Instant::now();
    assert!(client.reaches(&session, 0, 1), "a session");
    // Each keepalive is answered, so that it does not think that we are gone, and only when it comes: what is received puts
    // the next one off, as what is sent does.
    let mut counter = 1;
    loop {
        match client.receive(Duration::from_secs(1)) {
            Some(heard) if is_initiation(&heard) => break,
            Some(_) => client.send(&session.seal(counter, &[])),
            None => {}
        }
        counter += 1;
        assert!(began.elapsed() < Duration::from_secs(140), "no new session");
    }
    assert!((118..131).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    let next = client.accept(Duration::from_secs(8)).expect("again, for the first was not answered");
    client.send(&session.seal(counter, &client.echo(5)));
    assert!(client.reaches(&next, 0, 6), "the new session carries");
}

/// REJECT_AFTER_TIME.
fn a_session_ends_after_three_minutes(rig: &Rig) {
    let wire = Wire::new();
    let (node, mut client) = meet(rig, &wire);
    let session = client.handshake();
    let began = Instant::now();
    let wait = |until: u64| {
        std::thread::park_timeout(Duration::from_secs(until).saturating_sub(began.elapsed()));
        client.everything();
    };
    wait(170);
    assert!(client.reaches(&session, 1, 1), "before 180 s it carries");
    wait(183);
    client.send(&session.seal(2, &client.echo(2)));
    let answered = client.answered(&session, &[]);
    assert!(answered.is_empty(), "after 180 s it carries nothing: {answered:?}");
    poke(&node);
    let heard = client.everything();
    assert!(heard.iter().all(|datagram| session.open(datagram).is_none()), "in neither direction");
    client.handshake();
}

/// REKEY_ATTEMPT_TIME.
fn an_attempt_ends_after_ninety_seconds_and_a_packet_begins_another(rig: &Rig) {
    let wire = Wire::new();
    let (node, mut client) = meet_known(rig, &wire, "");
    poke(&node);
    let (began, mut last, mut count) = (Instant::now(), Duration::ZERO, 0);
    while began.elapsed() < Duration::from_secs(120) {
        if client.receive(Duration::from_secs(1)).as_deref().is_some_and(is_initiation) {
            (last, count) = (began.elapsed(), count + 1);
        }
    }
    assert!((80..100).contains(&last.as_secs()), "the last one came after {last:?}");
    assert!((14..22).contains(&count), "one in 5 s: {count}");
    poke(&node);
    assert!(client.accept(Duration::from_secs(3)).is_some(), "a packet begins another");
}
