//! Which site owns an address: the longest matching prefix over all sites.
//!
//! One table serves both directions: where a packet to an address goes, and who may send a packet from it. A
//! second, smaller table per peer would let a peer with 10.0.0.0/8 speak for another's 10.1.0.0/16.

use std::net::IpAddr;
use std::sync::Arc;

use prefix_trie::PrefixMap;

use crate::net::Prefix;

/// A site's position in the list that the routes were made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteSlot(pub usize);

/// A snapshot: built once for a plan, then only read.
#[derive(Debug, Default)]
pub struct Routes {
    v4: PrefixMap<(u32, u8), SiteSlot>,
    v6: PrefixMap<(u128, u8), SiteSlot>,
}

impl Routes {
    /// Builds the table.
    ///
    /// # Errors
    /// The first prefix that stands twice.
    pub fn build(entries: impl IntoIterator<Item = (Prefix, SiteSlot)>) -> Result<Self, Prefix> {
        let mut routes = Self::default();
        for (prefix, site) in entries {
            let former = match prefix.address() {
                IpAddr::V4(address) => routes.v4.insert((u32::from(address), prefix.length()), site),
                IpAddr::V6(address) => routes.v6.insert((u128::from(address), prefix.length()), site),
            };
            if former.is_some() {
                return Err(prefix);
            }
        }
        Ok(routes)
    }

    /// The owner of an address.
    pub fn owner(&self, address: IpAddr) -> Option<SiteSlot> {
        match address {
            IpAddr::V4(address) => self.v4.get_lpm(&(u32::from(address), 32)).map(|(_, &site)| site),
            IpAddr::V6(address) => self.v6.get_lpm(&(u128::from(address), 128)).map(|(_, &site)| site),
        }
    }
}

/// Addresses whose owner is remembered.
const RECENT: usize = 256;

/// A table with the owners that were asked for last at hand: packets come in flows.
#[derive(Debug)]
pub struct Owners {
    routes: Arc<Routes>,
    recent: Box<[Option<(IpAddr, SiteSlot)>]>,
}

impl Owners {
    /// Nothing is remembered yet.
    pub fn new(routes: Arc<Routes>) -> Self {
        Self { routes, recent: vec![None; RECENT].into_boxed_slice() }
    }

    /// The owner of an address, as [`Routes::owner`].
    pub fn owner(&mut self, address: IpAddr) -> Option<SiteSlot> {
        let recent = &mut self.recent[place(address)];
        match *recent {
            Some((known, site)) if known == address => Some(site),
            _ => {
                let site = self.routes.owner(address)?;
                *recent = Some((address, site));
                Some(site)
            }
        }
    }
}

/// Where an address is remembered: neighbours never in one place, so that a subnet's hosts do not displace each other.
fn place(address: IpAddr) -> usize {
    let number = match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    };
    let folded = number ^ number >> 8 ^ number >> 16 ^ number >> 24 ^ number >> 64;
    usize::try_from(folded & 0xff).unwrap_or(0) % RECENT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(entries: &[(&str, usize)]) -> Routes {
        Routes::build(entries.iter().map(|&(prefix, site)| (prefix.parse().expect("a prefix"), SiteSlot(site))))
            .expect("no prefix twice")
    }

    fn owner(routes: &Routes, address: &str) -> Option<usize> {
        routes.owner(address.parse().expect("an address")).map(|site| site.0)
    }

    #[test]
    fn the_longest_match_over_all_sites_owns_an_address() {
        let routes = routes(&[("10.0.0.0/8", 0), ("10.1.0.0/16", 1), ("10.1.2.3/32", 2), ("fd00::/8", 3), ("::/0", 4)]);
        assert_eq!(owner(&routes, "10.2.0.1"), Some(0));
        assert_eq!(owner(&routes, "10.1.0.1"), Some(1));
        assert_eq!(owner(&routes, "10.1.2.3"), Some(2));
        assert_eq!(owner(&routes, "11.0.0.1"), None);
        assert_eq!(owner(&routes, "fd12::1"), Some(3));
        assert_eq!(owner(&routes, "2001:db8::1"), Some(4));
    }

    #[test]
    fn what_is_remembered_is_what_the_table_says_though_many_share_a_place() {
        let routes = Arc::new(routes(&[("10.0.0.0/8", 0), ("10.1.0.0/16", 1), ("10.1.2.3/32", 2), ("fd00::/8", 3)]));
        let mut owners = Owners::new(Arc::clone(&routes));
        let mut shared = std::collections::HashMap::<usize, usize>::new();
        for round in 0..2 {
            for number in 0..5_000_u32 {
                let address = IpAddr::from((0x0a00_0000 + number * 3_331).to_be_bytes());
                assert_eq!(owners.owner(address), routes.owner(address), "{address}");
                *shared.entry(place(address)).or_default() += 1;
            }
            for address in ["10.1.2.3", "fd12::1", "192.0.2.1", "2001:db8::1"] {
                assert_eq!(
                    owners.owner(address.parse().expect("an address")).map(|site| site.0),
                    owner(&routes, address)
                );
            }
            assert_eq!(shared.len(), RECENT, "every place was fought for in round {round}");
        }
    }

    #[test]
    fn neighbours_do_not_displace_each_other() {
        let places = |prefix: u32| -> std::collections::HashSet<usize> {
            (0..256).map(|host| place(IpAddr::from((prefix + host).to_be_bytes()))).collect()
        };
        assert_eq!(places(0x0a01_0200).len(), 256);
    }

    #[test]
    fn a_prefix_that_stands_twice_is_refused() {
        let prefix: Prefix = "10.0.0.0/8".parse().expect("a prefix");
        assert_eq!(Routes::build([(prefix, SiteSlot(0)), (prefix, SiteSlot(1))]).err(), Some(prefix));
    }

    #[test]
    fn a_hundred_and_thirty_thousand_prefixes_are_built_within_two_seconds() {
        let v4 = (0..65_280_u32).map(|n| (IpAddr::from((0x0a00_0000 + (n << 8)).to_be_bytes()), 24));
        let v6 = (0..65_280_u128).map(|n| (IpAddr::from(((0xfd_u128 << 120) + (n << 64)).to_be_bytes()), 64));
        let entries: Vec<_> = v4
            .chain(v6)
            .enumerate()
            .map(|(site, (address, length))| (Prefix::new(address, length).expect("a prefix"), SiteSlot(site)))
            .collect();
        assert_eq!(entries.len(), 130_560);
        let begun = std::time::Instant::now();
        let routes = Routes::build(entries.iter().copied()).expect("no prefix twice");
        assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
        for (prefix, site) in &entries {
            assert_eq!(routes.owner(prefix.last()), Some(*site));
        }
    }
}
