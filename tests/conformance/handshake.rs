//! Hostile handshakes: changed, cut, stale, replayed, of strangers, and answers that nobody asked for.

use std::time::{Duration, SystemTime};

use turnpike::identity::PrivateKey;

use crate::bench::{Node, Wire};
use crate::client::{ANSWER, Client, SILENCE, is_initiation, meet, meet_known, poke, stamp};
use crate::noise::{INITIATION, RESPONSE};
use crate::rig::Rig;
use crate::scenario::scenarios;

scenarios! {
    Light:
        an_initiation_with_a_flipped_bit_is_not_answered,
        an_initiation_that_was_changed_and_signed_anew_is_not_answered,
        an_initiation_cut_or_lengthened_is_not_answered,
        stale_and_replayed_initiations_are_not_answered,
        strangers_are_not_answered,
        an_ephemeral_key_of_low_order_is_not_answered,
        answers_that_nobody_asked_for_change_nothing,
        a_false_answer_does_not_keep_the_right_one_out,
        a_session_is_not_used_before_its_initiator_has,
        nothing_but_an_authentic_message_moves_the_endpoint;
    Waits:
        an_unanswered_initiation_is_repeated_after_five_seconds;
}

/// Between initiations, so that no limit of 20 in a second is met.
const PACE: Duration = Duration::from_millis(60);

fn pause() {
    std::thread::park_timeout(PACE);
}

/// Whether one of these is a response.
fn has_response(heard: &[Vec<u8>]) -> bool {
    heard.iter().any(|datagram| datagram.len() == RESPONSE && datagram[0] == 2)
}

fn an_initiation_with_a_flipped_bit_is_not_answered(rig: &Rig) {
    let wire = Wire::new();
    let (_node, mut client) = meet(rig, &wire);
    // The second code counts under load alone.
    for octet in 0..INITIATION - 16 {
        let mut message = client.attempt().message;
        message[octet] ^= 1 << (octet % 8);
        client.send(&message);
    }
    assert_eq!(client.everything(), Vec::<Vec<u8>>::new(), "silence");
    client.handshake();
}

fn an_initiation_that_was_changed_and_signed_anew_is_not_answered(rig: &Rig) {
    let wire = Wire::new();
    let (_node, mut client) = meet(rig, &wire);
    // Reserved octets, the ephemeral key, the sealed key with its tag, the sealed stamp with its tag.
    for octet in [1, 2, 3, 8, 20, 39, 40, 60, 72, 87, 88, 99, 100, 115] {
        let mut message = client.attempt().message;
        message[octet] ^= 4;
        client.party.sign(&mut message);
        client.send(&message);
        pause();
    }
    assert!(!has_response(&client.everything()), "no response");
    client.handshake();
}

fn an_initiation_cut_or_lengthened_is_not_answered(rig: &Rig) {
    let wire = Wire::new();
    let (_node, mut client) = meet(rig, &wire);
    let whole = client.attempt().message;
    (0..INITIATION).for_each(|length| client.send(&whole[..length]));
    for more in [1, 2, 16, 100, 1300] {
        client.send(&[whole.clone(), vec![0; more]].concat());
    }
    assert_eq!(client.everything(), Vec::<Vec<u8>>::new(), "silence");
    client.handshake();
}

fn stale_and_replayed_initiations_are_not_answered(rig: &Rig) {
    let wire = Wire::new();
    let (node, mut client) = meet(rig, &wire);
    let now = SystemTime::now();
    let attempt = client.party.initiation(77, stamp(now));
    client.send(&attempt.message);
    let session = client.response(&attempt).expect("the first is answered");
    assert!(client.reaches(&session, 0, 1), "and makes a session");
    let handshake = node.handshake(&client.key);
    pause();
    client.send(&attempt.message);
    for earlier in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1), Duration::from_secs(86_400)] {
        pause();
        client.send(&client.party.initiation(78, stamp(now - earlier)).message);
    }
    // From another address, too.
    let elsewhere = wire.right.enter(|| std::net::UdpSocket::bind("192.0.2.2:4001")).expect("right").expect("a socket");
    pause();
    elsewhere.send_to(&attempt.message, client.to).expect("sent");
    assert!(!has_response(&client.everything()), "no response");
    assert_eq!(node.handshake(&client.key), handshake);
    assert_eq!(node.shown("endpoints", &client.key).as_deref(), Some("192.0.2.2:4000"), "a replay moves nobody");
    assert!(client.reaches(&session, 1, 2), "the session has stayed");
    client.handshake();
}

fn strangers_are_not_answered(rig: &Rig) {
    let wire = Wire::new();
    let (node, mut client) = meet(rig, &wire);
    let mut stranger = Client::new(&node, &wire.right, "192.0.2.2:4009", 9);
    for _ in 0..5 {
        let attempt = stranger.attempt();
        stranger.send(&attempt.message);
        pause();
    }
    assert_eq!(stranger.everything(), Vec::<Vec<u8>>::new(), "silence");
    // One who knows the peer's public key, but not its private one.
    let key = PrivateKey::generate().expect("a key");
    let liar = crate::noise::Party::new(&key, &client.key);
    let mut message = liar.initiation(5, stamp(SystemTime::now())).message;
    client.party.sign(&mut message);
    client.send(&message);
    assert_eq!(client.everything(), Vec::<Vec<u8>>::new(), "silence");
    assert_eq!(node.wg("show", "peers").expect("peers").lines().count(), 1);
    client.handshake();
    node.set(&format!("peer {} allowed-ips {}", stranger.key, stranger.prefixes()));
    stranger.handshake();
}

fn an_ephemeral_key_of_low_order_is_not_answered(rig: &Rig) {
    let wire = Wire::new();
    let (_node, mut client) = meet(rig, &wire);
    let attempt = client.party.zero_initiation(5, stamp(SystemTime::now()));
    client.send(&attempt.message);
    assert_eq!(client.everything(), Vec::<Vec<u8>>::new(), "silence");
    client.handshake();
}

/// Makes the subject the initiator by a packet for the client.
fn provoke(node: &Node<'_>, client: &Client) -> Vec<u8> {
    poke(node);
    let heard = client.receive(ANSWER).expect("an initiation");
    assert!(is_initiation(&heard), "{heard:02x?}");
    heard
}

fn answers_that_nobody_asked_for_change_nothing(rig: &Rig) {
    let wire = Wire::new();
    let (node, mut client) = meet_known(rig, &wire, "");
    let initiation = provoke(&node, &client);
    let (response, session, _) = client.party.answer(&initiation, 4711).expect("authentic");
    client.send(&response);
    assert!(client.hears(&session) && client.reaches(&session, 0, 1), "a session");
    let handshake = node.handshake(&client.key);
    // The same answer again, another answer to the same, a cookie for it, and an answer to nothing.
    let other = client.party.answer(&initiation, 4712).expect("authentic").0;
    let mut cookie = vec![3, 0, 0, 0];
    cookie.extend(&initiation[4..8]);
    cookie.resize(64, 7);
    let mut nobody = response.clone();
    nobody[8..12].copy_from_slice(&[9; 4]);
    client.party.sign(&mut nobody);
    for message in [&response, &other, &cookie, &nobody] {
        client.send(message);
    }
    assert!(client.reaches(&session, 1, 2), "the session has stayed");
    assert_eq!(node.handshake(&client.key), handshake);
    client.handshake();
}

fn a_false_answer_does_not_keep_the_right_one_out(rig: &Rig) {
    let wire = Wire::new();
    let (node, client) = meet_known(rig, &wire, "");
    let initiation = provoke(&node, &client);
    let (response, session, _) = client.party.answer(&initiation, 4711).expect("authentic");
    for octet in 0..RESPONSE - 16 {
        let mut message = response.clone();
        message[octet] ^= 0x10;
        client.send(&message);
    }
    // Signed anew; octets 4 to 8 are our index, which the handshake does not protect.
    for octet in [1, 8, 12, 30, 43, 44, 59] {
        let mut message = response.clone();
        message[octet] ^= 0x10;
        client.party.sign(&mut message);
        client.send(&message);
        pause();
    }
    (0..RESPONSE).for_each(|length| client.send(&response[..length]));
    let stray = client.everything();
    assert!(stray.iter().all(|datagram| datagram[0] != 4), "no session from false answers: {stray:?}");
    client.send(&response);
    assert!(client.hears(&session) && client.reaches(&session, 0, 1), "the right one makes a session");
}

/// Whoever answers does not know whether its answer arrived: it sends nothing by the session until the initiator has
/// (section 5.4.5).
fn a_session_is_not_used_before_its_initiator_has(rig: &Rig) {
    let wire = Wire::new();
    let (node, mut client) = meet(rig, &wire);
    let attempt = client.attempt();
    client.send(&attempt.message);
    let session = client.response(&attempt).expect("an answer");
    poke(&node);
    let heard = client.everything();
    assert!(heard.iter().all(|datagram| session.open(datagram).is_none()), "too early: {heard:02x?}");
    assert!(client.reaches(&session, 0, 1), "then it is used");
    poke(&node);
    assert!(client.everything().iter().any(|datagram| session.open(datagram).is_some()), "in both directions");
}

/// REKEY_TIMEOUT is 5 s, and up to a third of a second more (section 6.1).
fn an_unanswered_initiation_is_repeated_after_five_seconds(rig: &Rig) {
    let wire = Wire::new();
    let (node, client) = meet_known(rig, &wire, "");
    let first = provoke(&node, &client);
    let began = std::time::Instant::now();
    let second = client.receive(Duration::from_secs(8)).expect("again");
    let waited = began.elapsed();
    // The packet that began it waited for its answer for up to a second.
    assert!((Duration::from_millis(3800)..Duration::from_millis(6200)).contains(&waited), "after {waited:?}");
    assert!(is_initiation(&second) && second[8..40] != first[8..40], "with a new ephemeral key");
    let stamps = [&first, &second].map(|message| client.party.answer(message, 1).expect("authentic").2);
    assert!(stamps[0] < stamps[1], "and a later stamp");
    let (response, session, _) = client.party.answer(&second, 4711).expect("authentic");
    client.send(&response);
    assert!(client.hears(&session) && client.reaches(&session, 0, 1), "and a session comes of it");
}

fn nothing_but_an_authentic_message_moves_the_endpoint(rig: &Rig) {
    let wire = Wire::new();
    let (node, mut client) = meet(rig, &wire);
    let session = client.handshake();
    let elsewhere = wire.right.enter(|| std::net::UdpSocket::bind("192.0.2.2:4001")).expect("right").expect("a socket");
    let endpoint = || node.shown("endpoints", &client.key).expect("an endpoint");
    let mut forged = session.seal(5, &client.echo(5));
    forged[20] ^= 1;
    let mut initiation = client.party.initiation(6, stamp(SystemTime::now())).message;
    initiation[50] ^= 1;
    client.party.sign(&mut initiation);
    let mut cookie = vec![3, 0, 0, 0];
    cookie.resize(64, 7);
    for message in [forged, initiation, cookie, vec![4; 200]] {
        elsewhere.send_to(&message, client.to).expect("sent");
        std::thread::park_timeout(SILENCE / 4);
        assert_eq!(endpoint(), "192.0.2.2:4000", "after {} octets of {}", message.len(), message[0]);
    }
    elsewhere.send_to(&session.seal(6, &client.echo(6)), client.to).expect("sent");
    elsewhere.set_read_timeout(Some(ANSWER)).expect("a time-out");
    let mut octets = [0; 2000];
    let length = elsewhere.recv(&mut octets).expect("an answer to the new address");
    assert!(session.open(&octets[..length]).is_some(), "by the same session");
    assert_eq!(endpoint(), "192.0.2.2:4001");
}
