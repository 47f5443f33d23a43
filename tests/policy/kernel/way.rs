//! Where a packet goes in, which gateways it meets, and where it would come out.

use std::net::IpAddr;

use turnpike::bundle::Mapping;
use turnpike::net::{Family, Prefix};
use turnpike::policy::model::{Department, Model};

use super::packet::Ends;
use super::router::TUNNEL;
use super::world::NAMES;

/// A gateway on the way.
#[derive(Clone, Debug)]
pub struct Stop {
    /// Its number in [`NAMES`].
    pub gateway: usize,
    pub enter: String,
    pub leave: String,
    /// Whether connection tracking sees the flow there.
    pub tracked: bool,
    /// Whether the source belongs where it comes from, and the destination is a host's.
    pub genuine: bool,
}

/// A way, in the direction of one packet.
#[derive(Clone, Debug)]
pub struct Way {
    pub stops: Vec<Stop>,
    /// In overlay terms.
    pub ends: Ends,
    /// As written at the first stop.
    pub written: Ends,
    /// As read behind the last one.
    pub shown: Ends,
}

impl Way {
    /// The way of an answer.
    pub fn back(&self) -> Self {
        let turned = |stop: &Stop| Stop { enter: stop.leave.clone(), leave: stop.enter.clone(), ..stop.clone() };
        Self {
            stops: self.stops.iter().rev().map(turned).collect(),
            ends: self.ends.back(),
            written: self.shown.back(),
            shown: self.written.back(),
        }
    }
}

/// Who stands where.
pub struct Map<'a> {
    pub model: &'a Model,
}

impl<'a> Map<'a> {
    /// Whose overlay address it is.
    pub fn home(&self, address: IpAddr) -> Option<&'a Department> {
        self.model.departments.iter().find(|department| mapping(department, address).is_some())
    }

    /// From `from` to `to` through every gateway between; `None` where one of them is not real here.
    pub fn whole(&self, ends: Ends, from: &Department, to: &Department, at_real: bool) -> Option<Way> {
        let hub = (from.at != to.at).then_some("hub");
        let mut names: Vec<&str> = [Some(from.at.as_str()), hub, Some(to.at.as_str())].into_iter().flatten().collect();
        names.dedup();
        let gateways: Option<Vec<usize>> = names.into_iter().map(number).collect();
        self.through(ends, from, to, at_real, &gateways?)
    }

    /// Through one gateway, as it would see it; `None` if it has no part in it.
    pub fn alone(&self, gateway: usize, ends: Ends, from: &Department, to: &Department, at_real: bool) -> Option<Way> {
        let here = |department: &Department| department.at.as_str() == NAMES[gateway];
        let relays = NAMES[gateway] == "hub" && from.at != to.at;
        (relays || here(from) || here(to)).then(|| self.through(ends, from, to, at_real, &[gateway])).flatten()
    }

    fn through(
        &self,
        ends: Ends,
        from: &Department,
        to: &Department,
        at_real: bool,
        gateways: &[usize],
    ) -> Option<Way> {
        let target = mapping(to, ends.destination)?;
        let real = |mapping: Mapping, address: IpAddr| mapping.overlay.translate(address, mapping.real);
        let stops: Vec<Stop> = gateways.iter().map(|&gateway| self.stop(gateway, ends, from, to)).collect();
        let (first, last) = (stops.first()?, stops.last()?);
        let local = first.enter != TUNNEL && last.leave != TUNNEL && gateways.len() == 1;
        let source =
            mapping(from, ends.source).filter(|_| first.enter != TUNNEL).and_then(|own| real(own, ends.source));
        let source = source.unwrap_or(ends.source);
        let inside = real(target, ends.destination)?;
        let destination = if local && at_real { inside } else { ends.destination };
        Some(Way {
            ends,
            written: Ends { source, destination },
            shown: Ends {
                source: if local { source } else { ends.source },
                destination: if last.leave == TUNNEL { ends.destination } else { inside },
            },
            stops,
        })
    }

    fn stop(&self, gateway: usize, ends: Ends, from: &Department, to: &Department) -> Stop {
        let here = |department: &Department| department.at.as_str() == NAMES[gateway];
        let device = |of: &Department| if here(of) { of.device.clone() } else { TUNNEL.to_owned() };
        // A step beside a prefix leads into the next one, which may be this gateway's own, or a neighbour of the destination,
        // from which nothing would ever come this way.
        let home = self.home(ends.source).map(|home| &home.at);
        let strays = home.is_some_and(|home| home.as_str() == NAMES[gateway] || *home == to.at);
        let belongs = if here(from) { mapping(from, ends.source).is_some() } else { !strays };
        Stop {
            gateway,
            enter: device(from),
            leave: device(to),
            tracked: here(from) || here(to),
            genuine: belongs
                && !(here(from) && nobody(from, ends.source))
                && !(here(to) && nobody(to, ends.destination)),
        }
    }
}

fn number(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

/// The pair of prefixes of a department that holds an overlay address.
pub fn mapping(department: &Department, address: IpAddr) -> Option<Mapping> {
    department.mappings.iter().find(|mapping| mapping.overlay.contains(address)).copied()
}

/// The pair of prefixes of a department in a family.
pub fn of_family(department: &Department, family: Family) -> Option<Mapping> {
    department.mappings.iter().find(|mapping| mapping.overlay.family() == family).copied()
}

/// A subnet's broadcast address, in IPv6 its routers' anycast address (RFC 4291, section 2.6.1), and the gateway's own
/// are no host's.
fn nobody(department: &Department, address: IpAddr) -> bool {
    let Some(mapping) = mapping(department, address) else { return false };
    let special = |prefix: Prefix| if address.is_ipv4() { prefix.last() } else { prefix.address() };
    let real = mapping.overlay.translate(address, mapping.real);
    special(mapping.overlay) == address || department.gateway.iter().any(|gateway| Some(gateway.address()) == real)
}
