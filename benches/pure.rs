//! What the pure parts cost, without descriptors: `make bench`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use turnpike::cli::definition;
use turnpike::identity::PrivateKey;
use turnpike::net::{Aim, Flow, Prefix, Protocol};
use turnpike::policy::{self, Evaluator};
use turnpike::tunnel::peer::{Consumed, Engine};
use turnpike::tunnel::segment::checksum::{Sum, pseudo};
use turnpike::tunnel::segment::{Coalescer, Gso, SPARE, Split, VnetHeader};
use turnpike::tunnel::{Identity, Routes, SiteSlot};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const MTU: usize = 1420;

/// Two ends with a session.
fn pair() -> (Engine, Engine) {
    let keys = [PrivateKey::generate().expect("entropy"), PrivateKey::generate().expect("entropy")];
    let identities = [Identity::new(&keys[0]), Identity::new(&keys[1])];
    let mut left = Engine::new(&identities[0], &keys[1].public(), None, 1);
    let mut right = Engine::new(&identities[1], &keys[0].public(), None, 2);
    let (mut there, mut back, mut confirm) = ([0; 2048], [0; 2048], [0; 2048]);
    let now = Instant::now();
    let sent = left.initiate(&mut there, now).expect("room").expect("an initiation");
    let Ok(Consumed::Answered(answer)) = right.consume(PEER, &there[..sent], &mut back, now) else {
        panic!("no answer")
    };
    let Ok(Consumed::Established(last)) = left.consume(PEER, &back[..answer], &mut confirm, now) else {
        panic!("no session")
    };
    right.open(PEER, &confirm[..last], &mut there, now).expect("the confirmation");
    (left, right)
}

/// An IPv4 packet of `length` octets.
fn packet(length: usize) -> Vec<u8> {
    let mut packet = vec![0; length + 16];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(length).expect("a packet").to_be_bytes());
    packet
}

fn cipher(criterion: &mut Criterion) {
    for length in [64, MTU] {
        let mut group = criterion.benchmark_group(format!("cipher/{length}"));
        group.throughput(Throughput::Bytes(u64::try_from(length).expect("a length")));
        let (mut left, mut right) = pair();
        let now = Instant::now();
        let (mut room, mut sealed, mut opened) = (packet(length), vec![0; 65_536], vec![0; 65_536]);
        group.bench_function("seal", |bencher| {
            bencher.iter(|| black_box(left.seal(&mut room, length, MTU, &mut sealed, now)).expect("sealed"));
        });
        group.bench_function("open", |bencher| {
            bencher.iter_batched(
                || {
                    left.seal(&mut room, length, MTU, &mut sealed, now)
                        .map(|sent| sealed[..sent].to_vec())
                        .expect("sealed")
                },
                |datagram| black_box(right.open(PEER, &datagram, &mut opened, now)).expect("opened"),
                BatchSize::SmallInput,
            );
        });
    }
}

fn checksum(criterion: &mut Criterion) {
    for length in [20, 64, 1380] {
        let octets = vec![0x5a; length];
        let mut group = criterion.benchmark_group("segment/checksum");
        group.throughput(Throughput::Bytes(u64::try_from(length).expect("a length")));
        group.bench_function(length.to_string(), |bencher| bencher.iter(|| Sum::of(black_box(&octets)).fold()));
    }
}

/// A TCP packet over IPv4 with the time stamp option and `payload` octets, whose checksum is still to be completed.
fn tcp(payload: usize) -> Vec<u8> {
    let mut packet = packet(52 + payload);
    packet.truncate(52 + payload);
    packet[6] = 0x40;
    packet[8..10].copy_from_slice(&[64, 6]);
    packet[12..24].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2, 1, 187, 3, 232]);
    packet[32..34].copy_from_slice(&[0x80, 0x10]);
    packet
}

fn split(criterion: &mut Criterion) {
    const PAYLOAD: usize = MTU - 52;
    const PACKETS: usize = 47;
    let header = VnetHeader { flags: VnetHeader::NEEDS_CSUM, csum_start: 20, csum_offset: 16, ..VnetHeader::NONE };
    let gso = VnetHeader { gso_type: Gso::Tcp4.octet(), gso_size: 1368, ..header };
    let mut group = criterion.benchmark_group("segment/split");
    for (name, header, packets) in [("one of 1420", header, 1), ("TCP into 47 of 1420", gso, PACKETS)] {
        let mut room = tcp(packets * PAYLOAD);
        let (first, length) = (room[..52].to_vec(), room.len());
        room.resize(length + SPARE, 0);
        group.throughput(Throughput::Elements(u64::try_from(packets).expect("a number")));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                room[..52].copy_from_slice(&first);
                let mut split = Split::new(&header, &mut room, length).expect("TCP");
                while let Some(range) = split.next(&mut room) {
                    black_box(range);
                }
            });
        });
    }
    group.bench_function("one of 64 without checksum", |bencher| {
        let mut room = tcp(64);
        bencher.iter(|| {
            let mut split = Split::new(black_box(&VnetHeader::NONE), &mut room, 64).expect("a packet");
            black_box(split.next(&mut room))
        });
    });
}

/// Packet `index` of a stream with `payload` octets in each, with right checksums.
fn stream(index: u32, payload: usize) -> Vec<u8> {
    let mut packet = tcp(payload);
    let sequence = index * u32::try_from(payload).expect("a length");
    packet[5] = index.to_be_bytes()[3];
    packet[24..28].copy_from_slice(&sequence.to_be_bytes());
    let network = Sum::of(&packet[..20]).checksum();
    let length = u32::try_from(packet.len() - 20).expect("a length");
    let transport = (pseudo(&packet[12..20], 6, length) + Sum::of(&packet[20..])).checksum();
    packet[10..12].copy_from_slice(&network.to_be_bytes());
    packet[36..38].copy_from_slice(&transport.to_be_bytes());
    packet
}

fn coalesce(criterion: &mut Criterion) {
    let packets = |payload: usize| (0..46).map(|index| stream(index, payload)).collect::<Vec<_>>();
    let mut icmp = packets(12);
    icmp.iter_mut().for_each(|packet| packet[9] = 1);
    let mut flows = packets(12);
    (0..).zip(&mut flows).for_each(|(number, packet)| packet[15] = number);
    let mut coalescer = Coalescer::new(true, true);
    let mut group = criterion.benchmark_group("segment/coalesce");
    for (name, packets) in [
        ("TCP of 1420", packets(MTU - 52)),
        ("TCP of 64", packets(12)),
        ("acknowledgments", packets(0)),
        ("46 flows", flows),
        ("ICMP", icmp),
    ] {
        group.throughput(Throughput::Elements(u64::try_from(packets.len()).expect("a number")));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                coalescer.arrange(packets.iter().map(Vec::as_slice).enumerate());
                black_box(coalescer.groups().map(|group| group.count()).sum::<usize>())
            });
        });
    }
}

fn routes(criterion: &mut Criterion) {
    let prefixes = || {
        (0..130_560_u32).map(|number| {
            let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number * 64));
            (Prefix::new(address, 26).expect("a prefix"), SiteSlot(usize::try_from(number % 388).expect("a slot")))
        })
    };
    let table = Routes::build(prefixes()).expect("no prefix twice");
    let mut at = 0_u32;
    criterion.bench_function("routes/owner among 130,560", |bencher| {
        bencher.iter(|| {
            at = at.wrapping_add(2_654_435_761) & 0x007f_ffff;
            black_box(table.owner(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + at))))
        });
    });
    let mut group = criterion.benchmark_group("routes");
    group.sample_size(10);
    group.bench_function("build 130,560", |bencher| {
        bencher.iter(|| Routes::build(prefixes()).expect("no prefix twice"))
    });
}

fn definition(criterion: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/three-councils");
    let files = definition::read(&folder).expect("the example");
    let at: Timestamp = "2026-06-01T09:00:00Z".parse().expect("a time");
    criterion
        .bench_function("policy/resolve the example", |bencher| bencher.iter(|| files.resolve(at).expect("it holds")));
    let model = files.resolve(at).expect("it holds").model;
    criterion.bench_function("policy/compile the example", |bencher| bencher.iter(|| policy::compile(&model)));
    let evaluator = Evaluator::new(&model);
    let hosts: BTreeMap<_, _> = model.departments.iter().map(|d| (&d.name, d.mappings[0].overlay)).collect();
    let flow = Flow {
        source: hosts.values().next().expect("a department").address(),
        destination: hosts.values().last().expect("a department").address(),
        protocol: Protocol::TCP,
        aim: Aim::Port(443),
    };
    criterion
        .bench_function("policy/evaluate", |bencher| bencher.iter(|| black_box(evaluator.evaluate(black_box(&flow)))));
}

criterion_group!(pure, cipher, checksum, split, coalesce, routes, definition);
criterion_main!(pure);
