//! Descriptors of all kinds, in namespaces of their threads' own where a device is needed.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use etherparse::{IcmpEchoHeader, Icmpv4Type, PacketBuilder, SlicedPacket, TransportSlice};
use nix::sched::{CloneFlags, unshare};

use super::*;

/// Runs on a thread in a network namespace of its own; not at all without root, which is a failure in CI.
fn in_namespace(work: impl FnOnce() + Send + 'static) {
    let entered = thread::spawn(|| {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            eprintln!("SKIP: needs root");
            assert!(std::env::var_os("CI").is_none(), "needs root, and in CI a skip is a failure");
            return;
        }
        work();
    });
    if let Err(panic) = entered.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A descriptor as another process might hand it over.
fn foreign(flags: libc::c_int) -> OwnedFd {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").expect("/dev/net/tun");
    request::attach(&file, request::named("tp0").expect("a name"), libc::IFF_TUN | flags).expect("a device");
    file.into()
}

fn echo(kind: impl Fn(IcmpEchoHeader) -> Icmpv4Type, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ipv4(from, to, 64).icmpv4(kind(IcmpEchoHeader { id: 7, seq: 1 }));
    builder.write(&mut packet, &[5; 100]).expect("a packet");
    packet
}

/// The kernel answers an echo request that is written, which both directions need.
fn answers(tun: &Tun) -> bool {
    let request = echo(Icmpv4Type::EchoRequest, [10, 9, 0, 2], [10, 9, 0, 1]);
    let (head, rest) = request.split_at(24);
    assert_eq!(tun.write(&[0; HEADER], &[IoSlice::new(head), IoSlice::new(rest)]), Ok(()));
    let (mut room, deadline) = ([0xff; 2000], Instant::now() + Duration::from_secs(5));
    while Instant::now() < deadline {
        let Ok(length) = tun.read(&mut room) else { continue };
        let (header, packet) = room.split_first_chunk().expect("room for both");
        let parsed = SlicedPacket::from_ip(&packet[..length]).expect("a packet");
        if let Some(TransportSlice::Icmpv4(icmp)) = parsed.transport {
            return says_nothing(header)
                && matches!(icmp.icmp_type(), Icmpv4Type::EchoReply(_))
                && icmp.payload() == [5; 100];
        }
    }
    false
}

fn bring_up() {
    for words in ["address add 10.9.0.1/24 dev tp0", "link set tp0 up"] {
        assert!(Command::new("ip").args(words.split(' ')).status().expect("ip").success());
    }
}

#[test]
fn a_descriptor_without_headers_carries_packets_and_no_superpackets() {
    in_namespace(|| {
        let tun = Tun::from_fd(foreign(libc::IFF_NO_PI)).expect("it is taken");
        bring_up();
        assert!(!tun.has_headers());
        assert_eq!(tun.set_segmentation(Segmentation { tcp: true, udp: true }), Segmentation::default());
        assert!(answers(&tun));
        for header in [[NEEDS_CHECKSUM, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(tun.write(&header, &[IoSlice::new(&[0x45; 40])]), Err(Errno::EINVAL));
        }
    });
}

#[test]
fn a_descriptor_with_headers_of_another_size_is_put_right() {
    in_namespace(|| {
        let file = File::from(foreign(libc::IFF_NO_PI | libc::IFF_VNET_HDR));
        offload::set_header_size(&file, 12).expect("it has two octets more");
        let tun = Tun::from_fd(file.into()).expect("it is taken");
        bring_up();
        assert!(tun.has_headers());
        assert!(tun.set_segmentation(Segmentation { tcp: true, udp: true }).tcp);
        assert!(answers(&tun));
    });
}

#[test]
fn a_packet_in_too_many_parts_or_with_a_wrong_header_is_refused_by_itself() {
    in_namespace(|| {
        let tun = Tun::create("tp0").expect("a device");
        bring_up();
        let octet = [0x45];
        let most = [IoSlice::new(&octet); PARTS];
        assert_eq!(tun.write(&[0; HEADER], &most), Ok(()));
        assert_eq!(tun.write(&[0; HEADER], &[most.as_slice(), &most[..1]].concat()), Err(Errno::EINVAL));
        assert_eq!(tun.write(&[0xff; HEADER], &most), Err(Errno::EINVAL));
        assert_eq!(tun.write(&[0; HEADER], &[]), Err(Errno::EINVAL));
        assert!(answers(&tun));
    });
}

#[test]
fn a_descriptor_with_packet_information_is_refused_whether_the_device_is_up_or_down() {
    for (flags, up) in [0, libc::IFF_VNET_HDR].into_iter().flat_map(|flags| [(flags, false), (flags, true)]) {
        in_namespace(move || {
            let take = |flags| {
                let fd = foreign(flags);
                if up {
                    bring_up();
                }
                Tun::from_fd(fd)
            };
            assert_eq!(take(flags).err(), Some(TunError::NotTun));
            assert_eq!(take(flags | libc::IFF_NO_PI).err(), None);
        });
    }
}

#[test]
fn a_name_that_linux_would_not_take_is_refused_by_itself() {
    for name in ["", "0123456789abcdef", "a/b", "a b", "a\nb", ".", "..", "a:b", "a\0b"] {
        assert_eq!(Tun::create(name).err(), Some(TunError::BadName(name.to_owned())));
        assert_eq!(Tun::create_queues(name, 2).err(), Some(TunError::BadName(name.to_owned())));
    }
}

#[test]
fn a_descriptor_of_something_else_is_refused() {
    let file = File::open("/dev/null").expect("/dev/null");
    assert_eq!(Tun::from_fd(file.into()).err(), Some(TunError::NotTun));
}
