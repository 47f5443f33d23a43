//! IPv6 extension headers (RFC 8200, section 4) cross the tunnel like anything else.

use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use etherparse::UdpHeader;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, socket};
use turnpike::lab::guard::{Namespace, skip};

use crate::lab::Pair;

const PORT: u16 = 4000;
const UDP: u8 = 17;

/// An extension header: its number, and its octets, of which the first names what follows.
type Extension = (u8, &'static [u8]);

const HOP_BY_HOP: Extension = (0, &[0, 0, 1, 4, 0, 0, 0, 0]);
const ROUTING: Extension = (43, &[0, 0, 253, 0, 0, 0, 0, 0]);
const WHOLE_FRAGMENT: Extension = (44, &[0, 0, 0, 0, 0, 0, 0, 7]);
// Option 0x1e is experimental (RFC 4727), and skipped by those who do not know it.
const OPTIONS: Extension = (60, &[0, 1, 0x1e, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);

/// A UDP datagram behind these headers.
fn datagram(from: Ipv6Addr, to: Ipv6Addr, headers: &[Extension], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, 0, 64];
    packet.extend(from.octets().into_iter().chain(to.octets()));
    let mut next = 6;
    for (number, octets) in headers {
        packet[next] = *number;
        next = packet.len();
        packet.extend(*octets);
    }
    packet[next] = UDP;
    let udp = UdpHeader::with_ipv6_checksum(PORT, PORT, &etherparse::Ipv6Header::default(), payload);
    let mut udp = udp.expect("short");
    let addresses = etherparse::Ipv6Header { source: from.octets(), destination: to.octets(), ..Default::default() };
    udp.checksum = udp.calc_checksum_ipv6(&addresses, payload).expect("short");
    packet.extend(udp.to_bytes());
    packet.extend(payload);
    let length = u16::try_from(packet.len() - 40).expect("short").to_be_bytes();
    packet[4..6].copy_from_slice(&length);
    packet
}

fn send(at: &Namespace, to: Ipv6Addr, packet: &[u8]) {
    let sent = at.enter(|| {
        let raw = socket(AddressFamily::Inet6, SockType::Raw, SockFlag::empty(), SockProtocol::Raw)?;
        sendto(raw.as_raw_fd(), packet, &SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, 0)), MsgFlags::empty())
    });
    assert_eq!(sent.expect("the namespace"), Ok(packet.len()));
}

#[test]
fn extension_headers_cross_both_ways() {
    if skip("extension_headers_cross_both_ways") {
        return;
    }
    let pair = Pair::new("192.0.2.1:51820", "192.0.2.2:51820");
    assert!(pair.left.reaches("fd50::2"));
    let chains: [&[Extension]; 6] = [
        &[],
        &[HOP_BY_HOP],
        &[OPTIONS],
        &[ROUTING],
        &[WHOLE_FRAGMENT],
        &[HOP_BY_HOP, OPTIONS, ROUTING, WHOLE_FRAGMENT, OPTIONS],
    ];
    let [left, right]: [Ipv6Addr; 2] = ["fd50::1", "fd50::2"].map(|text| text.parse().expect("an address"));
    for (from, to, [here, there]) in
        [(left, right, [&pair.left, &pair.right]), (right, left, [&pair.right, &pair.left])]
    {
        let bound = there.namespace.enter(|| UdpSocket::bind((to, PORT))).expect("the namespace");
        let receiver = bound.expect("a port");
        receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
        for (number, chain) in chains.iter().enumerate() {
            let payload = [u8::try_from(number).expect("few"); 33];
            send(&here.namespace, to, &datagram(from, to, chain, &payload));
            let mut octets = [0; 64];
            let (length, source) = receiver.recv_from(&mut octets).unwrap_or_else(|error| panic!("{chain:?}: {error}"));
            assert_eq!((&octets[..length], source.ip()), (&payload[..], from.into()), "{chain:?}");
        }
    }
}
