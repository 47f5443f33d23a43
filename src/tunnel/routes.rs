//! Which site owns an address: the longest matching prefix over all sites.
//!
//! One table serves both directions: where a packet to an address goes, and who may send a packet from it. A
//! second, smaller table per peer would let a peer with 10.0.0.0/8 speak for another's 10.1.0.0/16.

use std::net::IpAddr;

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
