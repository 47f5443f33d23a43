//! The traffic that the benchmark makes by itself: packets and sessions are real ones.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use etherparse::{NetSlice, SlicedPacket, TcpSlice, TransportSlice};
use turnpike::identity::PrivateKey;

use crate::bed::MTU;
use crate::crowd;
use crate::party::{Kind, OVERHEAD, Party, kind};
use crate::storm;
use crate::train::{Flow, PAYLOAD, is_whole};

const FROM: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 1);
const TO: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 2);

/// Checks both checksums and gives the TCP segment to a closure.
fn checked<T>(packet: &[u8], look: impl FnOnce(&TcpSlice<'_>, (Ipv4Addr, Ipv4Addr)) -> T) -> T {
    let sliced = SlicedPacket::from_ip(packet).expect("an IP packet");
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (&sliced.net, &sliced.transport) else {
        panic!("no TCP in IPv4")
    };
    let header = ip.header();
    assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
    let calculated = tcp.calc_checksum_ipv4(header.source(), header.destination()).expect("short enough");
    assert_eq!(tcp.checksum(), calculated);
    look(tcp, (header.source_addr(), header.destination_addr()))
}

#[test]
fn a_train_is_of_full_segments_in_order_and_only_its_last_pushes() {
    let (mut flow, mut room) = (Flow::new(FROM, TO, 40_000), [0; MTU]);
    let mut expected = 1;
    for place in 0..45_u32 {
        assert_eq!(flow.segment(&mut room, place == 44), MTU);
        assert!(is_whole(&room));
        checked(&room, |tcp, ends| {
            assert_eq!((tcp.sequence_number(), tcp.psh(), tcp.payload().len()), (expected, place == 44, PAYLOAD));
            assert_eq!((ends, tcp.source_port(), tcp.destination_port()), ((FROM, TO), 40_000, 5201));
        });
        expected += u32::try_from(PAYLOAD).expect("few");
    }
    room[700] ^= 1;
    assert!(!is_whole(&room));
}

#[test]
fn an_answer_acknowledges_all_that_was_sent_and_is_padded() {
    let (mut flow, mut room) = (Flow::new(FROM, TO, 40_000), [0xff; MTU]);
    flow.segment(&mut room, true);
    assert_eq!(flow.answer(&mut room), 64);
    assert!(room[52..64].iter().all(|octet| *octet == 0));
    checked(&room[..64], |tcp, ends| {
        assert_eq!((ends, tcp.acknowledgment_number()), ((TO, FROM), 1 + u32::try_from(PAYLOAD).expect("few")));
        assert_eq!((tcp.source_port(), tcp.destination_port()), (5201, 40_000));
    });
}

#[test]
fn addresses_of_a_crowd_are_all_different_and_none_ends_in_0_or_255() {
    let addresses: BTreeSet<Ipv4Addr> = (0..5000).map(|number| crowd::address(crowd::OUTER, number)).collect();
    assert_eq!(addresses.len(), 5000);
    assert!(addresses.iter().all(|address| (1..255).contains(&address.octets()[3])));
    assert!(addresses.iter().all(|address| address.octets()[..2] == [198, 18]));
}

#[test]
fn a_party_makes_a_session_and_what_it_seals_opens() {
    let keys = [PrivateKey::from_octets([0x41; 32]), PrivateKey::from_octets([0x42; 32])];
    let secret = StaticSecret::from(*keys[1].octets());
    let mut subject = Tunn::new(secret, PublicKey::from(*keys[0].public().octets()), None, None, 9, None);
    let mut party = Party::new(&keys[0], &keys[1].public(), 0x0012_3456);
    let (mut there, mut back, mut inside) = ([0; 2048], [0; 2048], [0; 2048]);
    assert!(party.seal(&[0; 64], &mut there).is_err(), "no session yet");

    let sent = party.initiate(&mut there).expect("an initiation");
    let TunnResult::WriteToNetwork(response) = subject.decapsulate(None, &there[..sent], &mut back) else {
        panic!("no response")
    };
    assert_eq!(kind(response), Some((Kind::Response, 0x0012_3456)));
    let sent = party.consume(response, &mut there).expect("a confirmation");
    assert!(party.is_ready() && party.consume(&[0; 92], &mut back).is_none());
    assert!(matches!(subject.decapsulate(None, &there[..sent], &mut back), TunnResult::Done), "a keepalive");

    Flow::new(FROM, TO, 40_000).segment(&mut inside, true);
    let sent = party.seal(&inside[..MTU], &mut there).expect("sealed");
    assert_eq!((sent, kind(&there[..sent]).map(|it| it.0)), (MTU + OVERHEAD, Some(Kind::Data)));
    let TunnResult::WriteToTunnelV4(packet, _) = subject.decapsulate(None, &there[..sent], &mut back) else {
        panic!("it does not open")
    };
    assert!(is_whole(packet));

    let TunnResult::WriteToNetwork(message) = subject.encapsulate(&inside[..MTU], &mut there) else {
        panic!("not sealed")
    };
    assert_eq!(kind(message), Some((Kind::Data, 0x0012_3456)));
    assert!(party.open(message, &mut back).is_some_and(is_whole));
    assert!(party.open(message, &mut back).is_none(), "it is replayed");
}

#[test]
fn what_is_no_message_for_a_party_is_none() {
    for datagram in [&[][..], &[4; 31], &[2; 91], &[1; 148], &[5; 64]] {
        assert_eq!(kind(datagram), None, "{datagram:?}");
    }
}

#[test]
fn boringtuns_own_rate_is_of_answers_that_were_made() {
    let rate = storm::answered_in_process(Duration::from_millis(50)).expect("answers");
    assert!((50.0..100_000.0).contains(&rate), "{rate}");
}
