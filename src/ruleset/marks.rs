//! The registry of packet and connection marks: whoever needs a bit takes it here.
//!
//! ```text
//!  meta mark  31        GATE        may be routed by table 200: came from a segment, or passed the policy
//!             27..24    SOCKET      set by SO_MARK on sockets of the gateway's own, for the host's routing rules
//!             23..0     DEPARTMENT  a department's number, only inside our own chains; on the way from a guardrail to
//!                                   its drop, the guardrail's place in the policy's list
//!  ct mark    31..0     the number of the agreement that let the flow pass, at edges; 0 for none
//! ```

/// Packets that may be routed by table 200 carry it, all others meet `unreachable`.
pub const GATE: u32 = 1 << 31;

/// What sockets of the gateway's own may carry (`SO_MARK`).
pub const SOCKET: u32 = 0x0f00_0000;

/// Where our chains hold a department's number while they judge a packet.
pub const DEPARTMENT: u32 = 0x00ff_ffff;

/// What stands for a department in maps: its number and the gate bit, since nftables' `meta mark set … map`
/// replaces the whole mark. `None` if the number is 0 or has more than 24 bits.
pub fn department(number: u32) -> Option<u32> {
    (number != 0 && number <= DEPARTMENT).then_some(GATE | number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_uses_share_a_bit() {
        assert_eq!((GATE & SOCKET, GATE & DEPARTMENT, SOCKET & DEPARTMENT), (0, 0, 0));
    }

    #[test]
    fn a_department_has_24_bits_and_no_zero() {
        assert_eq!(department(0), None);
        assert_eq!(department(1), Some(0x8000_0001));
        assert_eq!(department(0xff_ffff), Some(0x80ff_ffff));
        assert_eq!(department(0x100_0000), None);
    }
}
