//! The lab's network: namespaces and wires for a definition and its surroundings.
//!
//! ```text
//!  host ─┐                                             ┌─ host
//!  host ─┴ s0 ─ [gateway] ─┐                ┌─ [gateway] ─ s2 ─ switch ─ s3 ─ host
//!             s1 ┘         └────── wan ─────┘
//! ```
//!
//! The bridges `wan` and `s0`, `s1`, … stand in one namespace of their own, `wires`, which has no addresses and so
//! joins nothing that a bridge does not join. Its folder holds the lab's files.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use crate::identity::{Name, Qualified};
use crate::net::{Family, Interface};
use crate::policy::model::{Department, Model};

use super::guard::{GuardError, Namespace, bridge, veth};
use super::surroundings::{HostPlan, Surroundings, Switch};

/// The network as built. It goes when dropped.
#[derive(Debug)]
pub struct Network {
    /// The edges and hubs. Dropped first: their processes hold state in the wires' folder.
    pub gateways: BTreeMap<Name, Namespace>,
    /// The core switches.
    pub switches: BTreeMap<Name, Namespace>,
    /// The legacy hosts.
    pub hosts: Vec<Host>,
    wires: Wires,
}

/// A legacy host as built.
#[derive(Debug)]
pub struct Host {
    /// What it is.
    pub plan: HostPlan,
    /// Where it runs.
    pub namespace: Namespace,
    /// Its addresses as the overlay knows them, in the order of the plan's.
    pub overlay: Vec<IpAddr>,
}

impl Host {
    /// Its overlay address in a family.
    pub fn overlay(&self, family: Family) -> Option<IpAddr> {
        self.overlay.iter().copied().find(|address| Family::of(*address) == family)
    }

    /// The real address behind one of its overlay addresses.
    pub fn real(&self, overlay: IpAddr) -> Option<IpAddr> {
        let at = self.overlay.iter().position(|known| *known == overlay)?;
        self.plan.addresses.get(at).map(|interface| interface.address())
    }
}

impl Network {
    /// Builds it all: namespaces, wires, addresses of hosts and switches, the gateways' WAN. What a gateway does for
    /// itself, such as its addresses on segments, is left to it; so is forwarding, until [`open`](Self::open).
    ///
    /// # Errors
    /// [`GuardError`]; what was built is gone then.
    pub fn build(model: &Model, surroundings: &Surroundings) -> Result<Self, GuardError> {
        let mut wires = Wires::new()?;
        wires.bridge("wan")?;
        let mut network = Self { gateways: BTreeMap::new(), switches: BTreeMap::new(), hosts: Vec::new(), wires };
        for (name, address) in &surroundings.wan {
            network.build_gateway(model, name, *address)?;
        }
        for department in &model.departments {
            network.build_department(department, surroundings)?;
        }
        Ok(network)
    }

    /// A folder for the lab's files, which goes with the network.
    pub fn folder(&self) -> &Path {
        self.wires.namespace.folder()
    }

    /// The host of this name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.plan.name.as_str() == name)
    }

    /// A host that stands in this department.
    pub fn host_in(&self, department: &Qualified) -> Option<&Host> {
        self.hosts.iter().find(|host| host.plan.department == *department)
    }

    /// The host with this overlay address.
    pub fn host_at(&self, overlay: IpAddr) -> Option<&Host> {
        self.hosts.iter().find(|host| host.overlay.contains(&overlay))
    }

    /// Joins a host to the WAN by a wire of its own, past all gateways: what the overlay is compared with.
    ///
    /// # Errors
    /// [`GuardError`].
    pub fn join_directly(&mut self, host: usize, device: &str, address: &str) -> Result<(), GuardError> {
        let Some(host) = self.hosts.get(host) else { return Ok(()) };
        self.wires.plug("wan", &host.namespace, device)?;
        host.namespace.address(device, address)
    }

    fn build_gateway(&mut self, model: &Model, name: &Name, address: Interface) -> Result<(), GuardError> {
        let namespace = Namespace::new(name.as_str())?;
        for (name, value) in GATEWAY_SYSCTLS {
            namespace.sysctl(name, value)?;
        }
        let devices = wan_devices(model, name);
        for device in &devices {
            self.wires.plug("wan", &namespace, device)?;
        }
        if let Some(first) = devices.first() {
            namespace.address(first, &address.to_string())?;
        }
        self.gateways.insert(name.clone(), namespace);
        Ok(())
    }

    fn build_department(&mut self, department: &Department, surroundings: &Surroundings) -> Result<(), GuardError> {
        let segment = self.wires.next_bridge()?;
        if let Some(gateway) = self.gateways.get(&department.at) {
            self.wires.plug(&segment, gateway, &department.device)?;
        }
        let (lan, routers) = match surroundings.switch_of(department) {
            Some(switch) => (self.build_switch(&segment, department, switch)?, addresses(&switch.addresses)),
            None => (segment, addresses(&department.gateway)),
        };
        for plan in surroundings.hosts.iter().filter(|host| host.department == department.name) {
            self.build_host(&lan, department, plan, &routers)?;
        }
        Ok(())
    }

    /// Builds a core switch on the segment and gives the bridge on its other side.
    fn build_switch(&mut self, segment: &str, department: &Department, switch: &Switch) -> Result<String, GuardError> {
        let namespace = Namespace::new(switch.name.as_str())?;
        let lan = self.wires.next_bridge()?;
        self.wires.plug(segment, &namespace, "up0")?;
        self.wires.plug(&lan, &namespace, "lan0")?;
        for (via, gateway) in department.via.iter().zip(&department.gateway) {
            namespace.address("up0", &format!("{via}/{}", gateway.length()))?;
            namespace.route("default", &format!("via {}", gateway.address()))?;
        }
        for address in &switch.addresses {
            namespace.address("lan0", &address.to_string())?;
        }
        namespace.sysctl("net.ipv4.ip_forward", "1")?;
        namespace.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        self.switches.insert(switch.name.clone(), namespace);
        Ok(lan)
    }

    fn build_host(
        &mut self,
        lan: &str,
        department: &Department,
        plan: &HostPlan,
        routers: &[IpAddr],
    ) -> Result<(), GuardError> {
        let namespace = Namespace::new(plan.name.as_str())?;
        self.wires.plug(lan, &namespace, "eth0")?;
        let mut overlay = Vec::new();
        for interface in &plan.addresses {
            namespace.address("eth0", &interface.to_string())?;
            let translated = department.mappings.iter().find_map(|m| m.real.translate(interface.address(), m.overlay));
            overlay.extend(translated);
            let family = Family::of(interface.address());
            if let Some(router) = routers.iter().find(|router| Family::of(**router) == family) {
                namespace.route("default", &format!("via {router}"))?;
            }
        }
        self.hosts.push(Host { plan: plan.clone(), namespace, overlay });
        Ok(())
    }

    /// Lets the gateways forward. The early drop table must stand by then.
    ///
    /// # Errors
    /// [`GuardError`].
    pub fn open(&self) -> Result<(), GuardError> {
        self.gateways.values().try_for_each(|namespace| {
            namespace.sysctl("net.ipv4.ip_forward", "1")?;
            namespace.sysctl("net.ipv6.conf.all.forwarding", "1")
        })
    }
}

/// What a gateway's host sets before its devices appear, besides forwarding, which comes after the early drop
/// table. Reverse path filtering is off so that what drops a spoofed source is the gateway's own rules.
const GATEWAY_SYSCTLS: [(&str, &str); 12] = [
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv4.conf.all.src_valid_mark", "1"),
    ("net.ipv4.conf.all.send_redirects", "0"),
    ("net.ipv4.conf.default.send_redirects", "0"),
    ("net.ipv4.conf.all.accept_redirects", "0"),
    ("net.ipv6.conf.all.accept_redirects", "0"),
    ("net.ipv4.conf.all.accept_source_route", "0"),
    ("net.ipv4.conf.default.accept_source_route", "0"),
    ("net.ipv6.conf.all.accept_source_route", "0"),
    ("net.ipv6.conf.all.accept_ra", "0"),
    ("net.ipv6.conf.default.accept_ra", "0"),
];

fn addresses(interfaces: &[Interface]) -> Vec<IpAddr> {
    interfaces.iter().map(|interface| interface.address()).collect()
}

/// The devices by which a gateway reaches the WAN: a hub's is `eth0` where the definition names none.
fn wan_devices(model: &Model, gateway: &Name) -> Vec<String> {
    let edge = model.edges.iter().find(|edge| edge.name == *gateway);
    let hub = model.hubs.iter().find(|hub| hub.name == *gateway);
    match (edge, hub) {
        (Some(edge), _) => edge.uplinks.iter().map(|uplink| uplink.device.clone()).collect(),
        (None, Some(hub)) => vec![hub.device.clone().unwrap_or_else(|| "eth0".to_owned())],
        (None, None) => Vec::new(),
    }
}

/// The bridges, and the wires plugged into them.
#[derive(Debug)]
struct Wires {
    namespace: Namespace,
    bridges: u32,
    ports: u32,
}

impl Wires {
    fn new() -> Result<Self, GuardError> {
        let namespace = Namespace::new("wires")?;
        for scope in ["all", "default"] {
            namespace.sysctl(&format!("net.ipv6.conf.{scope}.disable_ipv6"), "1")?;
        }
        Ok(Self { namespace, bridges: 0, ports: 0 })
    }

    fn bridge(&mut self, name: &str) -> Result<(), GuardError> {
        bridge(&self.namespace, name, &[])
    }

    fn next_bridge(&mut self) -> Result<String, GuardError> {
        let name = format!("s{}", self.bridges);
        self.bridges += 1;
        self.bridge(&name)?;
        Ok(name)
    }

    fn plug(&mut self, bridge: &str, into: &Namespace, device: &str) -> Result<(), GuardError> {
        let port = format!("p{}", self.ports);
        self.ports += 1;
        veth(&self.namespace, &port, into, device)?;
        self.namespace.ip(&format!("link set {port} master {bridge}")).map(drop)
    }
}
