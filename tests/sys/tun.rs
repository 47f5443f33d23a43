//! TUN devices: superpackets, large MTUs, queues, devices that were there before.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IoSlice, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use etherparse::PacketBuilder;
use nix::errno::Errno;
use turnpike::lab::guard::{Namespace, skip};
use turnpike::net::Family;
use turnpike::sys::tun::{HEADER, LARGEST, ROOM, Segmentation, Tun, TunError};
use turnpike::sys::udp::{self, Outgoing, Sender};

use crate::wire::{MTU, Seen, Wire, address, gather, readable};

/// Kinds of segmentation (`linux/virtio_net.h`).
const NONE: u8 = 0;
const TCPV4: u8 = 1;
const TCPV6: u8 = 4;
const UDP_L4: u8 = 5;

const TCP: Segmentation = Segmentation { tcp: true, udp: false };
const UDP: Segmentation = Segmentation { tcp: false, udp: true };
const NEITHER: Segmentation = Segmentation { tcp: false, udp: false };

/// Sends four mebioctets from left to right by TCP; they arrive as they were.
fn stream(wire: &Wire, right: &str) -> Seen {
    let address: SocketAddr = (right.parse::<IpAddr>().expect("an address"), 7000).into();
    let sent: Vec<u8> = (0..4_u32 << 20).map(|i| (i % 251).to_le_bytes()[0]).collect();
    let listener = wire.right.0.enter(|| TcpListener::bind(address).expect("a port")).expect("the namespace");
    let exchange = || {
        let connect = || {
            let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).expect("a connection");
            stream.set_write_timeout(Some(Duration::from_secs(10))).expect("a timeout");
            stream
        };
        let mut stream = wire.left.0.enter(connect).expect("the namespace");
        let (mut other, _) = listener.accept().expect("a connection");
        other.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        thread::scope(|scope| {
            scope.spawn(|| {
                stream.write_all(&sent).expect("it is sent");
                drop(stream);
            });
            let mut came = Vec::new();
            other.read_to_end(&mut came).expect("it comes");
            came
        })
    };
    let (came, seen) = wire.carry(exchange);
    assert!(came == sent, "{} octets came", came.len());
    seen
}

fn assert_cut(seen: &Seen) {
    assert!(seen.longest() <= usize::from(MTU) && seen.longest() > 1000, "{}", seen.longest());
    assert_eq!((&seen.kinds, seen.incomplete), (&BTreeSet::from([NONE]), 0));
}

#[test]
fn a_tcp_stream_crosses_in_superpackets_where_that_is_wanted() {
    if skip("a_tcp_stream_crosses_in_superpackets_where_that_is_wanted") {
        return;
    }
    for (to, kind) in [("10.60.0.2", TCPV4), ("fd60::2", TCPV6)] {
        let wire = Wire::new();
        assert_eq!(wire.left.1.set_segmentation(TCP), TCP);
        let seen = stream(&wire, to);
        assert!(seen.longest() > 4 * usize::from(MTU), "{}", seen.longest());
        assert!(seen.longest() <= LARGEST);
        assert!(seen.kinds.contains(&kind), "{:?}", seen.kinds);
        assert!(seen.incomplete > 0);
        // A device of its own: what is queued already keeps its form.
        let wire = Wire::new();
        assert_eq!(wire.left.1.set_segmentation(TCP), TCP);
        assert_eq!(wire.left.1.set_segmentation(NEITHER), NEITHER);
        assert_cut(&stream(&wire, to));
    }
}

#[test]
fn a_run_of_datagrams_crosses_in_one_piece_where_the_kernel_can() {
    if skip("a_run_of_datagrams_crosses_in_one_piece_where_the_kernel_can") {
        return;
    }
    let wire = Wire::new();
    let bind = || udp::UdpSocket::bind(0, None, 0).expect("a port");
    let here = wire.left.0.enter(bind).expect("the namespace");
    let there = wire.right.0.enter(bind).expect("the namespace");
    assert!(there.set_gro(true));
    let octets: Vec<u8> = (0..40 * 1300_u32).map(|i| (i / 1300).to_le_bytes()[0]).collect();
    for (wanted, (to, family)) in
        [UDP, NEITHER].iter().flat_map(|w| [("10.60.0.2", Family::V4), ("fd60::2", Family::V6)].map(|to| (*w, to)))
    {
        let whole = wire.left.1.set_segmentation(wanted);
        assert!(whole == wanted || whole == NEITHER);
        let to = (to.parse::<IpAddr>().expect("an address"), there.port()).into();
        let run = Outgoing { octets: &octets, segment: Some(1300), to, source: None, tos: 0 };
        let (came, seen) = wire.carry(|| {
            assert_eq!(here.send(&mut Sender::default(), [run]), Ok(1));
            gather(&there, family, octets.len())
        });
        assert_eq!(came.concat(), octets);
        let (pieces, kind, head) =
            (if whole.udp { 1 } else { 40 }, if whole.udp { UDP_L4 } else { NONE }, head(family));
        assert_eq!((came.len(), seen.lengths.len()), (pieces, pieces));
        assert_eq!(seen.longest(), octets.len() / pieces + head);
        assert_eq!(seen.kinds, BTreeSet::from([kind]));
    }
}

/// Octets of the IP and UDP headers.
fn head(family: Family) -> usize {
    match family {
        Family::V4 => 28,
        Family::V6 => 48,
    }
}

#[test]
fn packets_as_long_as_the_largest_mtus_cross_whole() {
    if skip("packets_as_long_as_the_largest_mtus_cross_whole") {
        return;
    }
    let wire = Wire::new();
    let there = wire.right.0.enter(|| UdpSocket::bind("10.60.0.2:7000").expect("a port")).expect("the namespace");
    there.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let here = wire.left.0.enter(|| UdpSocket::bind("10.60.0.1:0").expect("a port")).expect("the namespace");
    for mtu in [34_736, u16::MAX] {
        for (namespace, tun) in [&wire.left, &wire.right] {
            namespace.enter(|| tun.set_mtu(mtu).expect("an MTU")).expect("the namespace");
            assert_eq!(namespace.enter(|| tun.mtu()).expect("the namespace"), Ok(mtu.into()));
        }
        let sent = vec![5; usize::from(mtu) - 28];
        let (came, seen) = wire.carry(|| {
            here.send_to(&sent, "10.60.0.2:7000").expect("it is sent");
            let mut came = vec![0; LARGEST];
            let length = there.recv(&mut came).expect("it comes");
            came.truncate(length);
            came
        });
        assert!(came == sent);
        assert_eq!(seen.lengths, [usize::from(mtu)]);
    }
}

#[test]
fn a_persistent_device_does_not_keep_what_its_last_owner_asked_for() {
    if skip("a_persistent_device_does_not_keep_what_its_last_owner_asked_for") {
        return;
    }
    let mut wire = Wire::new();
    let namespace = Namespace::new("left").expect("root");
    namespace.ip("tuntap add dev tp0 mode tun").expect("a persistent device");
    let open = || namespace.enter(|| Tun::create("tp0").expect("it is attached")).expect("the namespace");
    let last = open();
    assert!(last.has_headers());
    assert_eq!(last.set_segmentation(TCP), TCP);
    drop(last);
    let tun = open();
    namespace.enter(|| tun.set_mtu(MTU).expect("an MTU")).expect("the namespace");
    address(&namespace, 1);
    wire.left = (namespace, tun);
    assert_cut(&stream(&wire, "10.60.0.2"));
}

fn queues(namespace: &Namespace, number: usize) -> Result<Vec<Tun>, TunError> {
    namespace.enter(|| Tun::create_queues("tp%d", number)).expect("the namespace")
}

/// The UDP packets over IPv4 that are read from a queue until a moment passes without any.
fn datagrams(tun: &Tun) -> Vec<Vec<u8>> {
    let (mut packets, mut room) = (Vec::new(), vec![0; ROOM]);
    loop {
        match tun.read(&mut room) {
            Ok(length) => {
                let packet = &room[HEADER..][..length];
                if length >= 28 && packet[0] == 0x45 && packet[9] == 17 {
                    packets.push(packet.to_vec());
                }
            }
            Err(Errno::EAGAIN) if readable(tun, 50) => {}
            Err(_) => return packets,
        }
    }
}

/// The ports of what is read from a queue, source first.
fn ports(tun: &Tun) -> Vec<(u16, u16)> {
    let port = |packet: &[u8], at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    datagrams(tun).iter().map(|packet| (port(packet, 20), port(packet, 22))).collect()
}

#[test]
fn several_queues_share_the_flows_of_one_device() {
    if skip("several_queues_share_the_flows_of_one_device") {
        return;
    }
    let namespace = Namespace::new("queues").expect("root");
    let queues = queues(&namespace, 3).expect("a device");
    assert!(queues.iter().all(|queue| queue.name().as_deref() == Ok("tp0")));
    assert_eq!(queues.len(), 3);
    address(&namespace, 1);
    let bind = || -> Vec<UdpSocket> { (0..40).map(|_| UdpSocket::bind("10.60.0.1:0").expect("a port")).collect() };
    let sockets = namespace.enter(bind).expect("the namespace");
    for socket in &sockets {
        assert_eq!(socket.send_to(b"x", "10.60.0.2:9").expect("it is sent"), 1);
    }
    let came: Vec<_> = queues.iter().map(ports).collect();
    assert!(came.iter().filter(|ports| !ports.is_empty()).count() > 1, "{came:?}");
    let mut all: Vec<u16> = came.iter().flatten().map(|(source, _)| *source).collect();
    let mut wanted: Vec<u16> = sockets.iter().map(|socket| socket.local_addr().expect("bound").port()).collect();
    all.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(all, wanted, "each packet comes once");
}

#[test]
fn an_answer_leaves_by_the_queue_by_which_the_question_came() {
    if skip("an_answer_leaves_by_the_queue_by_which_the_question_came") {
        return;
    }
    let namespace = Namespace::new("queues").expect("root");
    let queues = queues(&namespace, 3).expect("a device");
    address(&namespace, 1);
    let socket = namespace.enter(|| UdpSocket::bind("10.60.0.1:53").expect("a port")).expect("the namespace");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let mut wanted: BTreeMap<usize, Vec<(u16, u16)>> = BTreeMap::new();
    for (source, i) in (4000..4060_u16).zip([0, 1, 2].into_iter().cycle()) {
        let mut question = Vec::new();
        let builder = PacketBuilder::ipv4([10, 60, 0, 2], [10, 60, 0, 1], 64).udp(source, 53);
        builder.write(&mut question, b"who?").expect("a packet");
        assert_eq!(queues[i].write(&[0; HEADER], &[IoSlice::new(&question)]), Ok(()));
        let (length, from) = socket.recv_from(&mut [0; 16]).expect("it arrives");
        assert_eq!((length, from.port()), (4, source));
        socket.send_to(b"you", from).expect("an answer");
        wanted.entry(i).or_default().push((53, source));
    }
    let came: BTreeMap<_, _> = queues.iter().map(ports).enumerate().collect();
    assert_eq!(came, wanted);
}

/// What is read from a queue, by the last octet of each payload.
fn marks(tun: &Tun) -> Vec<u8> {
    datagrams(tun).iter().filter_map(|packet| packet[28..].last().copied()).collect()
}

/// Why the data plane reads one queue: packets of one flow can wait in two at once, and nothing says which came first.
#[test]
fn a_flow_changes_queues_while_packets_of_it_wait() {
    if skip("a_flow_changes_queues_while_packets_of_it_wait") {
        return;
    }
    let namespace = Namespace::new("queues").expect("root");
    let queues = queues(&namespace, 3).expect("a device");
    address(&namespace, 1);
    let mut changed = 0;
    for (port, answered) in (5000..5030_u16).zip([0, 1, 2].into_iter().cycle()) {
        let socket = namespace.enter(|| UdpSocket::bind(("10.60.0.1", port)).expect("a port")).expect("the namespace");
        let send = |mark: u8| socket.send_to(&[mark], "10.60.0.2:9").expect("it is sent");
        (1..=3).for_each(|mark| assert_eq!(send(mark), 1));
        let mut answer = Vec::new();
        let builder = PacketBuilder::ipv4([10, 60, 0, 2], [10, 60, 0, 1], 64).udp(9, port);
        builder.write(&mut answer, b"!").expect("a packet");
        assert_eq!(queues[answered].write(&[0; HEADER], &[IoSlice::new(&answer)]), Ok(()));
        socket.recv_from(&mut [0; 16]).expect("it arrives");
        (4..=6).for_each(|mark| assert_eq!(send(mark), 1));
        let waiting: Vec<_> = queues.iter().map(marks).collect();
        let first = waiting.iter().position(|marks| marks.first() == Some(&1)).expect("a queue");
        if first == answered {
            assert_eq!(waiting[first], [1, 2, 3, 4, 5, 6], "control: an answer by its own queue changes nothing");
        } else {
            assert_eq!((&waiting[first][..], &waiting[answered][..]), (&[1, 2, 3][..], &[4, 5, 6][..]));
            changed += 1;
        }
    }
    assert!(changed >= 10, "{changed} of 30 flows");
}

#[test]
fn more_queues_than_the_kernel_has_are_refused() {
    if skip("more_queues_than_the_kernel_has_are_refused") {
        return;
    }
    let namespace = Namespace::new("queues").expect("root");
    let error = queues(&namespace, 257).err();
    assert_eq!(error, Some(TunError::System { what: "TUNSETIFF", errno: Errno::E2BIG }));
    assert_eq!(queues(&namespace, 256).map(|queues| queues.len()), Ok(256));
}
