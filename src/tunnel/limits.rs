//! What a flood of handshakes may cost: token buckets, and the point from which senders must prove their address.
//!
//! ```text
//!  first code wrong ────────────────────────────────▶ dropped
//!  more than 250 messages this second ──────┐
//!  source beyond 20 per second, burst 5 ────┴─▶ second code wrong ─▶ cookie (at most 20,000 per second)
//!                                              second code right ─▶ source's proven 20 per second, burst 5
//! ```
//!
//! A source beyond its allowance is challenged rather than dropped: an attacker who forges a site's address
//! cannot keep that site out. Everything here has a fixed size.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::tunnel::icmp;

/// Handshake messages per second, over all sources, beyond which every sender must prove its address.
pub const LOAD: u32 = 250;
/// Sources that are remembered; beyond it, unknown ones count as beyond their allowance.
const SOURCES: usize = 4096;
/// One message each 50 ms: wireguard-go's 20 per second.
const SOURCE_COST: Duration = Duration::from_millis(50);
/// wireguard-go's burst.
const SOURCE_BURST: u32 = 5;
/// Between two initiations of one peer: 50 per second, as in Linux.
pub const INITIATION_SPACING: Duration = Duration::from_millis(20);

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    credit: Duration,
    last: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn full(cost: Duration, burst: u32, now: Instant) -> Self {
        Self { credit: cost * burst, last: now }
    }

    /// Takes one token of price `cost`; whether there was one.
    pub fn take(&mut self, cost: Duration, burst: u32, now: Instant) -> bool {
        self.credit = (self.credit + now.saturating_duration_since(self.last)).min(cost * burst);
        self.last = now;
        match self.credit.checked_sub(cost) {
            Some(rest) => {
                self.credit = rest;
                true
            }
            None => false,
        }
    }
}

/// A bucket for each source address.
#[derive(Debug)]
pub struct Sources {
    buckets: HashMap<IpAddr, Bucket>,
    swept: Instant,
}

impl Sources {
    /// All buckets full.
    pub fn new(now: Instant) -> Self {
        Self { buckets: HashMap::new(), swept: now }
    }

    /// Whether one more message of `source` is within its allowance.
    pub fn allow(&mut self, source: IpAddr, now: Instant) -> bool {
        let source = subject(source);
        if !self.buckets.contains_key(&source) && self.buckets.len() >= SOURCES {
            self.sweep(now);
            if self.buckets.len() >= SOURCES {
                return false;
            }
        }
        let full = || Bucket::full(SOURCE_COST, SOURCE_BURST, now);
        self.buckets.entry(source).or_insert_with(full).take(SOURCE_COST, SOURCE_BURST, now)
    }

    /// Forgets the buckets that are full again, at most once a second.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) >= Duration::from_secs(1) {
            self.swept = now;
            let full = SOURCE_COST * SOURCE_BURST;
            self.buckets.retain(|_, bucket| now.saturating_duration_since(bucket.last) < full);
        }
    }
}

/// What is limited: an IPv4 address, or an IPv6 /64, which one host can fill at will.
fn subject(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
    }
}

/// All limits of one worker.
#[derive(Debug)]
pub struct Limits {
    second: Instant,
    messages: u32,
    unproven: Sources,
    proven: Sources,
    cookies: Bucket,
    /// ICMP messages into the TUN device, by what they say: a flood of one kind must not silence the other.
    unreachable: Bucket,
    too_big: Bucket,
}

/// A cookie costs about 2 µs, and its receiver may be the one peer that is honest: twenty thousand per second.
const COOKIE_COST: Duration = Duration::from_micros(50);
const COOKIE_BURST: u32 = 100;
const ICMP_COST: Duration = Duration::from_millis(10);
const ICMP_BURST: u32 = 50;

impl Limits {
    /// Nothing counted yet.
    pub fn new(now: Instant) -> Self {
        Self {
            second: now,
            messages: 0,
            unproven: Sources::new(now),
            proven: Sources::new(now),
            cookies: Bucket::full(COOKIE_COST, COOKIE_BURST, now),
            unreachable: Bucket::full(ICMP_COST, ICMP_BURST, now),
            too_big: Bucket::full(ICMP_COST, ICMP_BURST, now),
        }
    }

    /// Counts a handshake message; whether its sender must prove its address.
    pub fn must_prove(&mut self, source: IpAddr, now: Instant) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.messages = 0;
        }
        self.messages = self.messages.saturating_add(1);
        let within = self.unproven.allow(source, now);
        self.messages > LOAD || !within
    }

    /// Whether one more message of a source that proved its address is within its allowance.
    pub fn allow_proven(&mut self, source: IpAddr, now: Instant) -> bool {
        self.proven.allow(source, now)
    }

    /// Whether one more cookie may be sent.
    pub fn allow_cookie(&mut self, now: Instant) -> bool {
        self.cookies.take(COOKIE_COST, COOKIE_BURST, now)
    }

    /// Whether one more ICMP message that says this may be written into the TUN device.
    pub fn allow_icmp(&mut self, error: icmp::Error, now: Instant) -> bool {
        let bucket = match error {
            icmp::Error::HostUnreachable => &mut self.unreachable,
            icmp::Error::TooBig { .. } => &mut self.too_big,
        };
        bucket.take(ICMP_COST, ICMP_BURST, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    #[test]
    fn a_source_has_a_burst_of_five_and_twenty_per_second() {
        let now = Instant::now();
        let mut sources = Sources::new(now);
        assert_eq!((0..100).filter(|_| sources.allow(v4(1), now)).count(), 5);
        assert!(sources.allow(v4(2), now), "another source has its own");
        let later = (1..=1000).filter(|ms| sources.allow(v4(1), now + Duration::from_millis(*ms))).count();
        assert_eq!(later, 20);
    }

    #[test]
    fn the_addresses_of_one_ipv6_subnet_are_one_source() {
        let now = Instant::now();
        let mut sources = Sources::new(now);
        let address = |n: u128| IpAddr::from(((0x2001_0db8_u128 << 96) + n).to_be_bytes());
        assert_eq!((0..100).filter(|n| sources.allow(address(*n), now)).count(), 5);
        assert!(sources.allow(address(1 << 64), now));
    }

    #[test]
    fn remembered_sources_are_bounded_and_forgotten_when_idle() {
        let now = Instant::now();
        let mut sources = Sources::new(now);
        let known = u32::try_from(SOURCES).expect("fits");
        assert!((0..known).all(|n| sources.allow(v4(n), now)));
        assert!(!sources.allow(v4(known), now));
        assert!(sources.allow(v4(known), now + Duration::from_secs(2)));
        assert_eq!(sources.buckets.len(), 1);
    }

    #[test]
    fn beyond_the_load_everyone_must_prove_and_a_second_later_nobody() {
        let now = Instant::now();
        let mut limits = Limits::new(now);
        assert_eq!((0..1000).filter(|n| !limits.must_prove(v4(*n), now)).count(), 250);
        let later = now + Duration::from_secs(1);
        assert!(!limits.must_prove(v4(5000), later), "the count starts again each second, also without peers");
    }
}
