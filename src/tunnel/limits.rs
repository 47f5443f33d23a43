//! What a flood of handshakes may cost: token buckets, and who must prove its address.
//!
//! ```text
//!  first code wrong ────────────────────────────────▶ dropped
//!  load: answering lags behind ─────────────┐
//!  source beyond 20 per second, burst 5 ────┴─▶ second code wrong ─▶ cookie (at most 20,000 per second)
//!                                              second code right ─▶ source's proven 20 per second, burst 5
//! ```
//!
//! Of several workers one admits all initiations ([`crate::sys::udp`]), so their limits are those of one worker. The others
//! see answers to handshakes that we began, known by their receiver index; together they send as many cookies as one.
//!
//! A source beyond its allowance is challenged rather than dropped: an attacker who forges a site's address
//! cannot keep that site out. Everything here has a fixed size.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::tunnel::icmp;

/// Sources that are remembered, more than a worker is expected to have peers; beyond it, unknown ones count as beyond
/// their allowance.
const SOURCES: usize = 16_384;
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
    /// What a cookie costs here, and how many may be sent at once.
    cookie: (Duration, u32),
    unproven: Sources,
    proven: Sources,
    cookies: Bucket,
    /// ICMP messages into the TUN device, by what they say: a flood of one kind must not silence the other.
    unreachable: Bucket,
    too_big: Bucket,
}

/// A cookie costs about 2 µs, and its receiver may be the one peer that is honest: twenty thousand per second.
const COOKIE_COST: Duration = Duration::from_micros(50);
const COOKIE_BURST: u32 = 1000;
const ICMP_COST: Duration = Duration::from_millis(10);
const ICMP_BURST: u32 = 50;

impl Limits {
    /// Nothing counted yet.
    pub fn new(now: Instant) -> Self {
        Self {
            cookie: (COOKIE_COST, COOKIE_BURST),
            unproven: Sources::new(now),
            proven: Sources::new(now),
            cookies: Bucket::full(COOKIE_COST, COOKIE_BURST, now),
            unreachable: Bucket::full(ICMP_COST, ICMP_BURST, now),
            too_big: Bucket::full(ICMP_COST, ICMP_BURST, now),
        }
    }

    /// Allows one of so many workers a share of the cookies that one alone may send.
    pub fn share(&mut self, workers: u8) {
        let workers = u32::from(workers.max(1));
        self.cookie = (COOKIE_COST * workers, COOKIE_BURST / workers);
    }

    /// Whether the sender of a handshake message must prove its address: under load each, else one beyond its allowance,
    /// of which this message takes its part.
    pub fn must_prove(&mut self, source: IpAddr, load: bool, now: Instant) -> bool {
        load || !self.unproven.allow(source, now)
    }

    /// Whether one more message of a source that proved its address is within its allowance.
    pub fn allow_proven(&mut self, source: IpAddr, now: Instant) -> bool {
        self.proven.allow(source, now)
    }

    /// Whether one more cookie may be sent.
    pub fn allow_cookie(&mut self, now: Instant) -> bool {
        let (cost, burst) = self.cookie;
        self.cookies.take(cost, burst, now)
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
    fn under_load_everyone_must_prove_and_else_who_is_beyond_its_allowance() {
        let now = Instant::now();
        let mut limits = Limits::new(now);
        assert!((0..100).all(|_| limits.must_prove(v4(1), true, now)));
        assert_eq!((0..100).filter(|_| !limits.must_prove(v4(1), false, now)).count(), 5, "which load did not touch");
        assert!(!limits.must_prove(v4(2), false, now));
    }

    #[test]
    fn cookies_have_a_rate() {
        let now = Instant::now();
        let mut limits = Limits::new(now);
        assert_eq!((0..10_000).filter(|_| limits.allow_cookie(now)).count(), 1000);
        let later = (1..=20_000).filter(|n| limits.allow_cookie(now + Duration::from_micros(n * 50))).count();
        assert_eq!(later, 20_000);
    }

    #[test]
    fn workers_that_share_a_limit_allow_no_more_than_it_together() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let cookies = |limits: &mut Limits| (0..100_000).filter(|_| limits.allow_cookie(later)).count();
        let mut shares: Vec<Limits> = (0..4).map(|_| Limits::new(now)).collect();
        shares.iter_mut().for_each(|limits| limits.share(4));
        // After a second of silence a burst is all there is, and a second has so many steps.
        assert_eq!(shares.iter_mut().map(cookies).collect::<Vec<_>>(), [250; 4]);
        let step = Duration::from_micros(10);
        let steady = (1..=100_000).filter(|n| shares[0].allow_cookie(later + *n * step)).count();
        assert_eq!(steady, 5000);
    }
}
