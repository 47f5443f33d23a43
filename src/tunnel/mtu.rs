//! How long a packet to an address may be: the device's MTU, or that of a route through it.
//!
//! Datagrams are padded no further than that (WireGuard paper, section 5.4.6). Linux' WireGuard asks the route of each
//! packet; here the routes that have an MTU of their own stand in a table, which nearly always is empty.

use std::net::IpAddr;

use prefix_trie::PrefixMap;

use crate::net::Prefix;
use crate::tunnel::inner;

/// A snapshot: built when device or routes change, then only read.
#[derive(Debug, Default)]
pub struct Mtus {
    device: usize,
    /// `None` where a longer prefix goes by the device's MTU again.
    v4: PrefixMap<(u32, u8), Option<usize>>,
    v6: PrefixMap<(u128, u8), Option<usize>>,
    has_routes: bool,
}

impl Mtus {
    /// Takes the device's MTU in octets, 0 for unknown, and its routes with the MTU that they have, if they have one.
    /// Of equal prefixes, which stand in several tables of the kernel, the smallest MTU counts.
    pub fn new(device: usize, routes: impl IntoIterator<Item = (Prefix, Option<usize>)>) -> Self {
        let mut mtus = Self { device, ..Self::default() };
        for (prefix, mtu) in routes {
            mtus.has_routes = true;
            let entry = match prefix.address() {
                IpAddr::V4(address) => mtus.v4.entry((u32::from(address), prefix.length())).or_insert(mtu),
                IpAddr::V6(address) => mtus.v6.entry((u128::from(address), prefix.length())).or_insert(mtu),
            };
            *entry = (*entry).into_iter().chain(mtu).min();
        }
        mtus
    }

    /// The device's MTU in octets; 0 for unknown.
    pub fn device(&self) -> usize {
        self.device
    }

    /// How long a packet to `destination` may be, in octets; 0 for unknown.
    pub fn of(&self, destination: IpAddr) -> usize {
        if self.has_routes { self.of_route(destination) } else { self.device }
    }

    /// How long `packet` may be, by its destination; 0 for unknown.
    pub fn of_packet(&self, packet: &[u8]) -> usize {
        if !self.has_routes {
            return self.device;
        }
        inner::parse(packet).map_or(self.device, |inner| self.of_route(inner.destination))
    }

    fn of_route(&self, destination: IpAddr) -> usize {
        let found = match destination {
            IpAddr::V4(address) => self.v4.get_lpm(&(u32::from(address), 32)).map(|(_, mtu)| *mtu),
            IpAddr::V6(address) => self.v6.get_lpm(&(u128::from(address), 128)).map(|(_, mtu)| *mtu),
        };
        found.flatten().unwrap_or(self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::inner::tests::packet;

    fn mtus(routes: &[(&str, Option<usize>)]) -> Mtus {
        Mtus::new(1420, routes.iter().map(|(prefix, mtu)| (prefix.parse().expect("a prefix"), *mtu)))
    }

    fn of(mtus: &Mtus, address: &str) -> usize {
        mtus.of(address.parse().expect("an address"))
    }

    #[test]
    fn without_routes_the_device_decides() {
        let mtus = mtus(&[]);
        assert_eq!((of(&mtus, "10.0.0.1"), of(&mtus, "fd00::1"), mtus.device()), (1420, 1420, 1420));
    }

    #[test]
    fn the_longest_route_decides_with_its_own_mtu_or_the_devices() {
        let mtus = mtus(&[
            ("10.0.0.0/8", Some(1300)),
            ("10.1.0.0/16", None),
            ("10.1.2.3/32", Some(1299)),
            ("::/0", Some(1280)),
            ("fd00::/8", Some(1400)),
        ]);
        assert_eq!(of(&mtus, "10.9.0.1"), 1300);
        assert_eq!(of(&mtus, "10.1.0.1"), 1420);
        assert_eq!(of(&mtus, "10.1.2.3"), 1299);
        assert_eq!(of(&mtus, "192.0.2.1"), 1420);
        assert_eq!(of(&mtus, "2001:db8::1"), 1280);
        assert_eq!(of(&mtus, "fd00::1"), 1400);
        assert_eq!(mtus.of_packet(&packet("10.1.2.4", "10.1.2.3", 9)), 1299);
        assert_eq!(mtus.of_packet(&packet("10.1.2.3", "10.1.2.4", 9)), 1420);
        assert_eq!(mtus.of_packet(&[]), 1420);
    }

    #[test]
    fn of_equal_prefixes_the_smallest_mtu_counts_in_any_order() {
        let some = ("10.0.0.0/8", Some(1300));
        let (less, none) = (("10.0.0.0/8", Some(1200)), ("10.0.0.0/8", None));
        for order in [[some, less, none], [none, some, less], [less, none, some]] {
            assert_eq!(of(&mtus(&order), "10.0.0.1"), 1200);
        }
    }
}
