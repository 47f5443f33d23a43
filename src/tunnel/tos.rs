//! The octet of an IP header that routers read (RFC 2474): six bits of DSCP, two of ECN.
//!
//! ```text
//!  inside ── Marking: DSCP as policy says, ECN always copied ──▶ outside ── routers may mark CE ──▶ far end
//!  far end: DSCP inside stays; ECN inside and outside together (RFC 6040, section 4.2):
//!
//!                 outside  Not-ECT  ECT(0)   ECT(1)   CE
//!    inside Not-ECT        Not-ECT  Not-ECT  Not-ECT  dropped
//!           ECT(0)         ECT(0)   ECT(0)   ECT(1)   CE
//!           ECT(1)         ECT(1)   ECT(1)   ECT(1)   CE
//!           CE             CE       CE       CE       CE
//! ```
//!
//! What says CE to a sender that does not speak ECN is dropped, as the router that was congested would have done.
//! Linux' WireGuard computes the same table but lets that one pass.

use std::fmt;
use std::str::FromStr;

use crate::tunnel::Reason;
use crate::tunnel::segment::checksum::Sum;

/// The two bits of ECN.
const ECN: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
/// Congestion experienced (RFC 3168, section 5).
pub const CE: u8 = 0b11;

/// A differentiated services codepoint: 0 to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dscp(u8);

impl Dscp {
    /// Assured forwarding 41 (RFC 2597): interactive, of which little must be lost.
    pub const AF41: Self = Self(34);

    /// Takes a codepoint; `None` above 63.
    pub fn new(codepoint: u8) -> Option<Self> {
        (codepoint < 64).then_some(Self(codepoint))
    }

    fn octet(self) -> u8 {
        self.0 << 2
    }
}

/// How datagrams are marked for the routers outside. ECN is none of its business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Marking {
    /// As Linux' WireGuard: data and keepalives not at all, so that nothing leaks, handshakes as [`Dscp::AF41`].
    #[default]
    Plain,
    /// Data as the packet inside, the rest as in [`Marking::Plain`]: whoever sees the datagrams sees the class of
    /// what they carry.
    Carry,
    /// All alike. `0` suits networks that drop what is marked.
    All(Dscp),
}

impl Marking {
    /// The octet of a datagram with a packet whose own octet is `inner`.
    pub fn data(self, inner: u8) -> u8 {
        match self {
            Self::Plain => inner & ECN,
            Self::Carry => inner,
            Self::All(dscp) => dscp.octet() | inner & ECN,
        }
    }

    /// The octet of a keepalive.
    pub fn keepalive(self) -> u8 {
        self.data(0)
    }

    /// The octet of an initiation or a response. They do not slow down for congestion, hence Not-ECT.
    pub fn handshake(self) -> u8 {
        match self {
            Self::Plain | Self::Carry => Dscp::AF41.octet(),
            Self::All(dscp) => dscp.octet(),
        }
    }
}

/// What is no [`Marking`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write 'plain', 'carry' or a codepoint from 0 to 63")]
pub struct NoMarking;

impl FromStr for Marking {
    type Err = NoMarking;

    fn from_str(text: &str) -> Result<Self, NoMarking> {
        let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        match text {
            "plain" => Ok(Self::Plain),
            "carry" => Ok(Self::Carry),
            number if digits => number.parse().ok().and_then(Dscp::new).map(Self::All).ok_or(NoMarking),
            _ => Err(NoMarking),
        }
    }
}

impl fmt::Display for Marking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("plain"),
            Self::Carry => f.write_str("carry"),
            Self::All(dscp) => write!(f, "{}", dscp.0),
        }
    }
}

/// The octet of an IP packet; 0 for anything else.
pub fn of(packet: &[u8]) -> u8 {
    match packet {
        [first, tos, ..] if first >> 4 == 4 => *tos,
        [first, second, ..] if first >> 4 == 6 => first << 4 | second >> 4,
        _ => 0,
    }
}

/// Brings the congestion that `outer`, the octet of the datagram, tells of into the IP packet that was in it.
///
/// # Errors
/// [`Reason::Congested`]: the packet is to be dropped.
pub fn decapsulate(packet: &mut [u8], outer: u8) -> Result<(), Reason> {
    let outer = outer & ECN;
    // Most paths speak no ECN at all.
    if outer == NOT_ECT {
        return Ok(());
    }
    let inner = of(packet) & ECN;
    let ecn = resolve(inner, outer).ok_or(Reason::Congested)?;
    if ecn != inner {
        set_ecn(packet, ecn);
    }
    Ok(())
}

/// The table above; `None` where it drops.
fn resolve(inner: u8, outer: u8) -> Option<u8> {
    match (inner, outer) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (CE, _) | (_, CE) => Some(CE),
        (_, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

fn set_ecn(packet: &mut [u8], ecn: u8) {
    match packet {
        [first, tos, _, _, _, _, _, _, _, _, check_high, check_low, ..] if *first >> 4 == 4 => {
            let former = u16::from_be_bytes([*first, *tos]);
            *tos = *tos & !ECN | ecn;
            let latter = u16::from_be_bytes([*first, *tos]);
            let check = stepped(u16::from_be_bytes([*check_high, *check_low]), former, latter);
            [*check_high, *check_low] = check.to_be_bytes();
        }
        [first, second, ..] if *first >> 4 == 6 => *second = *second & !(ECN << 4) | ecn << 4,
        _ => {}
    }
}

/// The Internet checksum `check` after a word under it became another (RFC 1624, equation 3).
fn stepped(check: u16, former: u16, latter: u16) -> u16 {
    (Sum::word(!check) + Sum::word(!former) + Sum::word(latter)).checksum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tunnel::inner::tests::packet;

    const ECT_0: u8 = 0b10;

    fn with_tos(source: &str, destination: &str, tos: u8) -> Vec<u8> {
        let mut packet = packet(source, destination, 40);
        if packet[0] >> 4 == 4 {
            packet[1] = tos;
            let check = !sum(&packet[..20]);
            packet[10..12].copy_from_slice(&check.to_be_bytes());
        } else {
            packet[0] = 0x60 | tos >> 4;
            packet[1] = tos << 4 | 0x0a;
        }
        packet
    }

    /// The plain sum of 16-bit words, carries added: 0xffff over a header with a good checksum.
    fn sum(octets: &[u8]) -> u16 {
        let words = octets.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        words.fold(0, |sum: u16, word| {
            let (sum, carry) = sum.overflowing_add(word);
            sum + u16::from(carry)
        })
    }

    /// RFC 6040, figure 4: inside, outside, result.
    const TABLE: [(u8, u8, Option<u8>); 16] = [
        (NOT_ECT, NOT_ECT, Some(NOT_ECT)),
        (NOT_ECT, ECT_0, Some(NOT_ECT)),
        (NOT_ECT, ECT_1, Some(NOT_ECT)),
        (NOT_ECT, CE, None),
        (ECT_0, NOT_ECT, Some(ECT_0)),
        (ECT_0, ECT_0, Some(ECT_0)),
        (ECT_0, ECT_1, Some(ECT_1)),
        (ECT_0, CE, Some(CE)),
        (ECT_1, NOT_ECT, Some(ECT_1)),
        (ECT_1, ECT_0, Some(ECT_1)),
        (ECT_1, ECT_1, Some(ECT_1)),
        (ECT_1, CE, Some(CE)),
        (CE, NOT_ECT, Some(CE)),
        (CE, ECT_0, Some(CE)),
        (CE, ECT_1, Some(CE)),
        (CE, CE, Some(CE)),
    ];

    #[test]
    fn congestion_outside_comes_inside_by_the_table_of_rfc_6040() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            for dscp in [0, 34, 63] {
                for (inner, outer, result) in TABLE {
                    let before = with_tos(source, destination, dscp << 2 | inner);
                    let mut after = before.clone();
                    let outcome = decapsulate(&mut after, 46 << 2 | outer);
                    let what = format!("{source}, DSCP {dscp}, {inner:02b} in {outer:02b}");
                    match result {
                        None => assert_eq!(outcome, Err(Reason::Congested), "{what}"),
                        Some(ecn) => {
                            assert_eq!(outcome, Ok(()), "{what}");
                            assert_eq!(after, with_tos(source, destination, dscp << 2 | ecn), "{what}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn ecn_is_copied_outside_and_dscp_as_policy_says() {
        let inner = |ecn| 46 << 2 | ecn;
        let all = Marking::All(Dscp::new(10).expect("a codepoint"));
        for ecn in [NOT_ECT, ECT_0, ECT_1, CE] {
            assert_eq!(Marking::Plain.data(inner(ecn)), ecn);
            assert_eq!(Marking::Carry.data(inner(ecn)), inner(ecn));
            assert_eq!(all.data(inner(ecn)), 40 | ecn);
        }
        let others = |marking: Marking| (marking.keepalive(), marking.handshake());
        assert_eq!(others(Marking::Plain), (0, 0x88));
        assert_eq!(others(Marking::Carry), (0, 0x88));
        assert_eq!(others(all), (40, 40));
    }

    #[test]
    fn the_octet_is_read_in_both_families_and_nowhere_else() {
        assert_eq!(of(&with_tos("10.0.0.1", "10.0.0.2", 0xb9)), 0xb9);
        assert_eq!(of(&with_tos("fd00::1", "fd00::2", 0xb9)), 0xb9);
        for no_packet in [&[][..], &[0x45], &[0x60], &[0x55, 0xff]] {
            assert_eq!(of(no_packet), 0);
        }
    }

    #[test]
    fn a_marking_is_read_as_it_is_written() {
        for text in ["plain", "carry", "0", "46", "63"] {
            assert_eq!(text.parse::<Marking>().map(|marking| marking.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "64", "-1", "+1", "256", "0x2e", "Carry", " 1", "ef"] {
            assert_eq!(text.parse::<Marking>(), Err(NoMarking), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_checksum_stays_right(octets in prop::array::uniform20(any::<u8>()), outer in 0_u8..4) {
            let mut header = octets;
            header[0] = 0x45;
            header[10..12].fill(0);
            let check = !sum(&header);
            header[10..12].copy_from_slice(&check.to_be_bytes());
            if decapsulate(&mut header, outer).is_ok() {
                prop_assert_eq!(sum(&header), 0xffff);
            }
        }
    }
}
