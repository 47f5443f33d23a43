//! The octet with DSCP and ECN, inside and outside (RFC 6040).
//!
//! An echo is answered with the same octet, so that what the subject's interface let out shows in the answer inside,
//! and what it made of that on the way back shows outside.

use std::io::IoSliceMut;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::time::Instant;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};

use crate::bench::Wire;
use crate::client::{ANSWER, Client, meet};
use crate::noise::Session;
use crate::rig::Rig;
use crate::scenario::scenarios;

scenarios! {
    Light:
        congestion_outside_is_told_inside,
        what_cannot_tell_congestion_is_never_marked_with_it,
        the_capability_is_copied_outwards,
        dscp_inside_is_left_alone;
}

/// The two bits of ECN (RFC 3168, section 5).
const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// An answer: its octet inside and outside.
#[derive(Debug, PartialEq, Eq)]
struct Echoed {
    inside: u8,
    outside: u8,
}

/// A client that sets and sees the outer octet.
struct Marker {
    client: Client,
    session: Session,
    counter: u64,
    v6: bool,
}

impl Marker {
    fn new(mut client: Client, v6: bool) -> Self {
        setsockopt(&client.socket, sockopt::IpRecvTos, &true).expect("an option");
        let session = client.handshake();
        Self { client, session, counter: 1, v6 }
    }

    /// Sends an echo with these octets; the answer, if one comes.
    fn echo(&mut self, inside: u8, outside: u8) -> Option<Echoed> {
        let number = u16::try_from(self.counter).expect("few");
        let mut packet = if self.v6 { self.client.echo_v6(number) } else { self.client.echo(number) };
        set_octet(&mut packet, inside);
        setsockopt(&self.client.socket, sockopt::Ipv4Tos, &i32::from(outside)).expect("an option");
        self.client.send(&self.session.seal(self.counter, &packet));
        self.counter += 1;
        let until = Instant::now() + ANSWER / 3;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.client.socket.set_read_timeout(Some(left)).expect("a time-out");
            let Some((datagram, outside)) = self.receive() else { continue };
            if let Some((_, packet)) = self.session.open(&datagram).filter(|(_, packet)| answers(packet, number)) {
                return Some(Echoed { inside: octet(&packet), outside });
            }
        }
        None
    }

    fn receive(&self) -> Option<(Vec<u8>, u8)> {
        let mut octets = vec![0; 2048];
        let mut control = nix::cmsg_space!(u8, i32);
        let mut parts = [IoSliceMut::new(&mut octets)];
        let descriptor = self.client.socket.as_raw_fd();
        let message = recvmsg::<SockaddrStorage>(descriptor, &mut parts, Some(&mut control), MsgFlags::empty()).ok()?;
        let tos = message.cmsgs().ok()?.find_map(|message| match message {
            ControlMessageOwned::Ipv4Tos(tos) => Some(tos),
            _ => None,
        })?;
        let length = message.bytes;
        octets.truncate(length);
        Some((octets, tos))
    }
}

/// Whether this is the answer to the echo with this number.
fn answers(packet: &[u8], number: u16) -> bool {
    crate::client::answer(packet) == Some(number)
}

fn octet(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 4 { packet[1] } else { packet[0] << 4 | packet[1] >> 4 }
}

fn set_octet(packet: &mut [u8], octet: u8) {
    if packet[0] >> 4 == 6 {
        packet[0] = 0x60 | octet >> 4;
        packet[1] = packet[1] & 0x0f | octet << 4;
        return;
    }
    packet[1] = octet;
    packet[10..12].fill(0);
    let sum: u32 = packet[..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    packet[10..12].copy_from_slice(&(!folded).to_be_bytes()[2..]);
}

/// Tries with both families inside.
fn each_family(rig: &Rig, check: impl Fn(&mut Marker)) {
    for v6 in [false, true] {
        let wire = Wire::new();
        let (_node, client) = meet(rig, &wire);
        assert!(matches!(client.inner[0].0, IpAddr::V4(_)));
        check(&mut Marker::new(client, v6));
    }
}

fn congestion_outside_is_told_inside(rig: &Rig) {
    each_family(rig, |marker| {
        for (inside, outside, arrives) in [
            (ECT_0, NOT_ECT, ECT_0),
            (ECT_0, ECT_0, ECT_0),
            (ECT_1, ECT_1, ECT_1),
            (ECT_0, CE, CE),
            (ECT_1, CE, CE),
            (CE, NOT_ECT, CE),
            (CE, ECT_0, CE),
            (CE, CE, CE),
        ] {
            let echoed = marker.echo(inside, outside);
            assert_eq!(echoed.map(|echoed| echoed.inside), Some(arrives), "{inside} in {outside}, v6 {}", marker.v6);
        }
    });
}

/// RFC 6040 lets such a packet be dropped; Linux passes it as it is.
fn what_cannot_tell_congestion_is_never_marked_with_it(rig: &Rig) {
    each_family(rig, |marker| {
        let plain = marker.echo(NOT_ECT, NOT_ECT).map(|echoed| echoed.inside);
        assert_eq!(plain, Some(NOT_ECT), "an ordinary one passes");
        let marked = marker.echo(NOT_ECT, CE).map(|echoed| echoed.inside);
        assert!([None, Some(NOT_ECT)].contains(&marked), "dropped or as it was, not {marked:?}");
        assert!(marker.echo(NOT_ECT, NOT_ECT).is_some(), "and ordinary ones go on");
    });
}

fn the_capability_is_copied_outwards(rig: &Rig) {
    each_family(rig, |marker| {
        for inside in [NOT_ECT, ECT_0, ECT_1] {
            let echoed = marker.echo(inside, inside).expect("an answer");
            assert_eq!((echoed.inside, echoed.outside & 3), (inside, inside), "v6 {}", marker.v6);
        }
        // RFC 6040 copies it, RFC 3168, section 9.1.1, begins anew with ECT(0), as Linux does.
        let echoed = marker.echo(CE, ECT_0).expect("an answer");
        assert_eq!(echoed.inside, CE);
        assert!([ECT_0, CE].contains(&(echoed.outside & 3)), "{echoed:?}");
    });
}

fn dscp_inside_is_left_alone(rig: &Rig) {
    each_family(rig, |marker| {
        for dscp in [0, 0x28, 0x88, 0xb8, 0xfc] {
            for outside in [0, 0x88] {
                let echoed = marker.echo(dscp | ECT_0, outside | ECT_0).expect("an answer");
                assert_eq!(echoed.inside, dscp | ECT_0, "v6 {}", marker.v6);
                assert!([0, dscp].contains(&(echoed.outside & 0xfc)), "none or the same outside: {echoed:?}");
            }
        }
    });
}
