//! Datagrams over loopback.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use super::*;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn pair() -> (UdpSocket, UdpSocket) {
    (UdpSocket::bind(0, None, 0).expect("a port"), UdpSocket::bind(0, None, 0).expect("a port"))
}

fn loopback(family: Family, port: u16) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::from(([127, 0, 0, 1], port)),
        Family::V6 => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)),
    }
}

fn plain(octets: &[u8], to: SocketAddr) -> Outgoing<'_> {
    Outgoing { octets, segment: None, to, source: None, tos: 0 }
}

fn send(socket: &UdpSocket, datagrams: &[Outgoing<'_>]) -> Result<usize, SendError> {
    socket.send(&mut Sender::default(), datagrams.iter().copied())
}

/// What the next call receives, waiting for it.
fn wait(socket: &UdpSocket, family: Family, intake: &mut Intake, most: usize) -> usize {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        match socket.receive(family, intake, most) {
            Ok(count) => return count,
            Err(_) => std::thread::yield_now(),
        }
    }
    0
}

#[test]
fn datagrams_cross_with_the_address_they_were_sent_to() {
    let ((here, there), mut intake) = (pair(), Intake::default());
    for local in ["127.0.0.2", "127.0.0.3"] {
        let local: IpAddr = local.parse().expect("an address");
        let to = SocketAddr::new(local, there.port());
        assert_eq!(send(&here, &[b"one".as_slice(), b"", &[7; 3000]].map(|octets| plain(octets, to))), Ok(3));
        assert_eq!(wait(&there, Family::V4, &mut intake, BATCH), 3);
        assert_eq!(intake.iter().map(|incoming| incoming.octets.len()).collect::<Vec<_>>(), [3, 0, 3000]);
        assert!(intake.iter().all(|came| came.from.port() == here.port() && came.local == Some(local)));
        assert!(intake.iter().all(|came| came.datagrams().eq([came.octets])));
    }
}

#[test]
fn the_source_address_is_chosen_by_the_sender_and_refused_when_it_is_not_ours() {
    let ((here, there), mut sender, mut intake) = (pair(), Sender::default(), Intake::default());
    let to = loopback(Family::V4, there.port());
    let from = |source: &str| Outgoing { source: Some(source.parse().expect("an address")), ..plain(b"x", to) };
    for (datagram, expected) in [(from("127.0.0.9"), [127, 0, 0, 9]), (plain(b"x", to), [127, 0, 0, 1])] {
        assert_eq!(here.send(&mut sender, [datagram]), Ok(1));
        assert_eq!(wait(&there, Family::V4, &mut intake, BATCH), 1);
        assert_eq!(intake.iter().next().map(|came| came.from), Some(SocketAddr::from((expected, here.port()))));
    }
    assert!(matches!(here.send(&mut sender, [from("192.0.2.77")]), Err(SendError::Failed(_))));
    assert_eq!(here.send(&mut sender, [from("127.0.0.1")]), Ok(1), "the next is not affected");
}

#[test]
fn a_run_from_an_address_that_is_not_ours_may_look_as_if_it_were_too_long() {
    let (here, there) = pair();
    let alone = plain(b"xx", loopback(Family::V6, there.port()));
    let run = Outgoing { segment: Some(1), ..alone };
    let lost = |datagram| Outgoing { source: Some("2001:db8::77".parse().expect("an address")), ..datagram };
    assert_eq!(send(&here, &[lost(alone)]), Err(SendError::Failed(Errno::EINVAL)));
    assert_eq!(send(&here, &[lost(run)]), Err(SendError::Refused(Errno::EINVAL)));
    assert_eq!(send(&here, &[run]), Ok(1));
}

#[test]
fn a_run_sent_in_one_piece_arrives_in_one_piece_where_that_is_wanted() {
    assert!(supports_segmentation());
    let octets: Vec<u8> = (0..44 * 1452 + 100).map(|i| u8::try_from(i / 1452).expect("few")).collect();
    let mut intake = Intake::default();
    for family in FAMILIES {
        let (here, there) = pair();
        let run = Outgoing { segment: Some(1452), ..plain(&octets, loopback(family, there.port())) };
        for wanted in [true, false] {
            assert_eq!(there.set_gro(wanted), wanted);
            assert_eq!(send(&here, &[run]), Ok(1));
            let came = wait(&there, family, &mut intake, BATCH);
            assert_eq!(came, if wanted { 1 } else { 45 });
            assert_eq!(intake.iter().flat_map(|incoming| incoming.octets.to_vec()).collect::<Vec<_>>(), octets);
            let lengths: Vec<_> =
                intake.iter().flat_map(|i| i.datagrams().map(<[u8]>::len).collect::<Vec<_>>()).collect();
            assert_eq!(lengths, [vec![1452; 44], vec![100]].concat());
            assert!(
                intake.iter().all(|incoming| incoming.segment == if wanted { 1452 } else { incoming.octets.len() })
            );
        }
    }
}

#[test]
fn runs_and_single_datagrams_leave_with_one_call_each_with_its_own_class() {
    let (mut sender, mut intake) = (Sender::default(), Intake::default());
    for family in FAMILIES {
        let (here, there) = pair();
        assert!(there.set_gro(true));
        let to = loopback(family, there.port());
        let one = |segment, tos| Outgoing { segment, tos, ..plain(&[9; 600], to) };
        // Expedited forwarding, congestion experienced, both, nothing.
        let wanted = [(Some(200), 0xb8), (None, 0x03), (Some(300), 0xbb), (None, 0)];
        assert_eq!(here.send(&mut sender, wanted.map(|(segment, tos)| one(segment, tos))), Ok(4));
        let mut came = Vec::new();
        while came.len() < 4 && wait(&there, family, &mut intake, 1) == 1 {
            came.extend(intake.iter().map(|incoming| (incoming.segment, incoming.tos)));
        }
        assert_eq!(came, [(200, 0xb8), (600, 0x03), (300, 0xbb), (600, 0)]);
    }
}

#[test]
fn a_call_takes_one_family_and_at_most_a_batch() {
    let ((here, there), mut sender, mut intake) = (pair(), Sender::default(), Intake::default());
    let [v4, v6] = FAMILIES.map(|family| plain(b"x", loopback(family, there.port())));
    assert_eq!(here.send(&mut sender, []), Ok(0));
    assert_eq!(here.send(&mut sender, [v4, v4, v6, v4]), Ok(2));
    assert_eq!(here.send(&mut sender, [v6; 2 * BATCH]), Ok(BATCH));
    assert_eq!(wait(&there, Family::V4, &mut intake, BATCH), 2);
    for (most, expected) in [(3, 3), (0, 1), (BATCH, BATCH - 4)] {
        assert_eq!(wait(&there, Family::V6, &mut intake, most), expected);
        assert_eq!(intake.iter().count(), expected);
        assert!(intake.iter().all(|came| came.from == loopback(Family::V6, here.port())));
    }
    assert_eq!(there.receive(Family::V6, &mut intake, BATCH), Err(Errno::EAGAIN));
    assert_eq!(intake.iter().count(), 0);
}

#[test]
fn what_is_refused_in_one_piece_is_told_from_what_fails_by_itself() {
    let (here, there) = pair();
    let long = [0; 65_000];
    for family in FAMILIES {
        let to = loopback(family, there.port());
        let far_too_many = Outgoing { segment: Some(1), ..plain(&long, to) };
        assert!(matches!(send(&here, &[far_too_many]), Err(SendError::Refused(_))));
        assert_eq!(send(&here, &[plain(&long, to), far_too_many]), Ok(1), "what stands before it is sent");
        assert_eq!(send(&here, &[plain(&[0; 65_535], to)]), Err(SendError::Failed(Errno::EMSGSIZE)));
    }
}

#[test]
fn the_time_of_arrival_is_told_where_that_is_wanted() {
    let ((here, there), mut intake) = (pair(), Intake::default());
    for family in FAMILIES {
        let datagram = plain(b"x", loopback(family, there.port()));
        for wanted in [true, false] {
            assert_eq!(there.set_timestamps(wanted), wanted);
            let before = SystemTime::now();
            assert_eq!(send(&here, &[datagram]), Ok(1));
            assert_eq!(wait(&there, family, &mut intake, BATCH), 1);
            let received = intake.iter().next().expect("it came").received;
            assert_eq!(received.is_some_and(|at| at >= before && at <= SystemTime::now()), wanted);
            assert_eq!(received.is_some(), wanted);
        }
    }
}

#[test]
fn what_finds_the_buffer_full_is_counted() {
    let ((here, there), mut sender, mut intake) = (pair(), Sender::default(), Intake::default());
    let octets = [0; 60_000];
    for family in FAMILIES {
        let (before, datagram) = (there.dropped(), plain(&octets, loopback(family, there.port())));
        let sent: usize = (0..8).map(|_| here.send(&mut sender, [datagram; 50]).unwrap_or(0)).sum();
        let mut came = 0;
        while let Ok(count) = there.receive(family, &mut intake, BATCH) {
            came += count;
        }
        let dropped = usize::try_from(there.dropped() - before).expect("few");
        assert!(dropped > 0 && came > 0, "{sent} {came}");
        assert_eq!(came + dropped, sent);
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = UdpSocket::bind(0, None, 0).expect("a port").port();
    let first = UdpSocket::bind(taken, None, 0).expect("free again");
    assert_eq!(UdpSocket::bind(first.port(), None, 0).err(), Some(BindError::PortInUse(first.port())));
}

#[test]
fn a_missing_device_is_named() {
    let error = UdpSocket::bind(0, Some("nosuchdevice0"), 0).err();
    assert_eq!(error, Some(BindError::DeviceMissing("nosuchdevice0".into())));
}
