//! rtnetlink: links, addresses, routes and rules, read and changed as [`reconcile`](crate::reconcile) says.
//!
//! What is made here carries [`PROTOCOL`], so that it is recognised later. IPv4 and IPv6 are treated alike.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol};
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{AddressMessageBuilder, Handle, IpVersion, LinkUnspec, MulticastGroup, RouteMessageBuilder};

use crate::net::{Family, Interface, Prefix};
use crate::reconcile::{Address, Hop, METRIC, Mark, Observed, PROTOCOL, Route, Rule, RuleVerdict, Step};

/// The table in which the kernel keeps ordinary routes.
pub const MAIN_TABLE: u32 = 254;

/// Why the kernel was not read or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetlinkError {
    /// No netlink socket, or the connection ended.
    #[error("no netlink connection: {0}")]
    Connection(String),
    /// The kernel refused.
    #[error("{what}: {cause}")]
    Refused {
        /// What was asked.
        what: String,
        /// The kernel's error number, positive, as in `errno(3)`.
        errno: i32,
        /// The error in words.
        cause: String,
    },
    /// A device is not there.
    #[error("{what}: device {device} does not exist")]
    NoDevice {
        /// What was asked.
        what: String,
        /// Which device.
        device: String,
    },
}

fn refused(what: impl std::fmt::Display, error: rtnetlink::Error) -> NetlinkError {
    match error {
        rtnetlink::Error::NetlinkError(message) => {
            let errno = message.raw_code().saturating_abs();
            let cause = std::io::Error::from_raw_os_error(errno).to_string();
            NetlinkError::Refused { what: what.to_string(), errno, cause }
        }
        other => NetlinkError::Connection(format!("{what}: {other}")),
    }
}

/// A network device as far as the gateway cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The kernel's number of it.
    pub index: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its MTU in octets.
    pub mtu: u32,
}

/// A connection to the kernel's routing tables. Needs a tokio runtime.
pub struct Netlink {
    handle: Handle,
    connection: tokio::task::JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    /// Connects in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`NetlinkError::Connection`].
    pub fn connect() -> Result<Self, NetlinkError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|error| NetlinkError::Connection(error.to_string()))?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// All devices by name.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub async fn devices(&self) -> Result<BTreeMap<String, Device>, NetlinkError> {
        let mut links = self.handle.link().get().execute();
        let mut devices = BTreeMap::new();
        while let Some(link) = links.try_next().await.map_err(|error| refused("list devices", error))? {
            let mut device = Device { index: link.header.index, up: link.header.flags.contains(LinkFlags::Up), mtu: 0 };
            let mut name = None;
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(text) => name = Some(text),
                    LinkAttribute::Mtu(mtu) => device.mtu = mtu,
                    _ => {}
                }
            }
            if let Some(name) = name {
                devices.insert(name, device);
            }
        }
        Ok(devices)
    }

    /// Sets a device up, with this MTU.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub async fn bring_up(&self, device: &str, mtu: u32) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_name(device).mtu(mtu).up().build();
        let result = self.handle.link().set(message).execute().await;
        result.map_err(|error| refused(format_args!("set {device} up"), error))
    }

    /// Reads addresses, routes and rules. Routes of tables other than `table` and main are left out, and so is
    /// what the kernel keeps for itself (local, broadcast, multicast).
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub async fn observe(&self, table: u32) -> Result<Observed, NetlinkError> {
        let names: BTreeMap<u32, String> =
            self.devices().await?.into_iter().map(|(name, device)| (device.index, name)).collect();
        let mut observed = Observed::default();
        self.observe_addresses(&names, &mut observed).await?;
        self.observe_routes(&names, table, &mut observed).await?;
        self.observe_rules(&mut observed).await?;
        Ok(observed)
    }

    async fn observe_addresses(
        &self,
        names: &BTreeMap<u32, String>,
        observed: &mut Observed,
    ) -> Result<(), NetlinkError> {
        let mut messages = self.handle.address().get().execute();
        while let Some(message) = messages.try_next().await.map_err(|error| refused("list addresses", error))? {
            let ours = message.attributes.contains(&AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
            if let Some(address) = address_of(&message, names) {
                if ours {
                    observed.ours.addresses.insert(address.clone());
                }
                observed.all.addresses.insert(address);
            }
        }
        Ok(())
    }

    async fn observe_routes(
        &self,
        names: &BTreeMap<u32, String>,
        table: u32,
        observed: &mut Observed,
    ) -> Result<(), NetlinkError> {
        for query in [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()] {
            let mut messages = self.handle.route().get(query).execute();
            while let Some(message) = messages.try_next().await.map_err(|error| refused("list routes", error))? {
                let ours = message.header.protocol == RouteProtocol::Other(PROTOCOL);
                let Some(route) = route_of(&message, names) else { continue };
                if route.table != table && route.table != MAIN_TABLE {
                    continue;
                }
                if ours {
                    observed.ours.routes.insert(route.clone());
                }
                observed.all.routes.insert(route);
            }
        }
        Ok(())
    }

    async fn observe_rules(&self, observed: &mut Observed) -> Result<(), NetlinkError> {
        for (version, family) in [(IpVersion::V4, Family::V4), (IpVersion::V6, Family::V6)] {
            let mut messages = self.handle.rule().get(version).execute();
            while let Some(message) = messages.try_next().await.map_err(|error| refused("list rules", error))? {
                let ours = message.attributes.contains(&RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
                let Some(rule) = rule_of(&message, family) else { continue };
                if ours {
                    observed.ours.rules.insert(rule.clone());
                }
                observed.all.rules.insert(rule);
            }
        }
        Ok(())
    }

    /// Performs one step.
    ///
    /// # Errors
    /// [`NetlinkError`], naming the step.
    pub async fn perform(&self, step: &Step) -> Result<(), NetlinkError> {
        let result = match step {
            Step::AddAddress(address) => {
                let message = self.address_message(step, address).await?;
                let mut request = self.handle.address().add(message.header.index, address.address.address(), 0);
                *request.message_mut() = message;
                request.execute().await
            }
            Step::RemoveAddress(address) => {
                self.handle.address().del(self.address_message(step, address).await?).execute().await
            }
            Step::PutRoute { route, replace } => {
                let request = self.handle.route().add(self.route_message(step, route).await?);
                if *replace { request.replace().execute().await } else { request.execute().await }
            }
            Step::RemoveRoute(route) => self.handle.route().del(self.route_message(step, route).await?).execute().await,
            Step::AddRule(rule) => {
                let mut request = self.handle.rule().add();
                *request.message_mut() = rule_message(rule);
                request.execute().await
            }
            Step::RemoveRule(rule) => self.handle.rule().del(rule_message(rule)).execute().await,
        };
        result.map_err(|error| refused(step, error))
    }

    async fn index(&self, step: &Step, device: &str) -> Result<u32, NetlinkError> {
        match self.devices().await?.get(device) {
            Some(found) => Ok(found.index),
            None => Err(NetlinkError::NoDevice { what: step.to_string(), device: device.to_owned() }),
        }
    }

    async fn address_message(&self, step: &Step, address: &Address) -> Result<AddressMessage, NetlinkError> {
        let index = self.index(step, &address.device).await?;
        let length = address.address.length();
        let mut message = match address.address.address() {
            IpAddr::V4(v4) => AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(v4, length).build(),
            IpAddr::V6(v6) => AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(v6, length).build(),
        };
        message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
        // A gateway's address must answer at once: no duplicate address detection, which takes a second.
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        Ok(message)
    }

    async fn route_message(&self, step: &Step, route: &Route) -> Result<RouteMessage, NetlinkError> {
        let mut builder = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(route.prefix.address(), route.prefix.length())
            .map_err(|error| NetlinkError::Connection(format!("{step}: {error:?}")))?
            .table_id(route.table)
            .protocol(RouteProtocol::Other(PROTOCOL))
            .priority(METRIC);
        match &route.hop {
            Hop::Unreachable => builder = builder.kind(RouteType::Unreachable),
            Hop::Throw => builder = builder.kind(RouteType::Throw),
            Hop::Device(device) => {
                builder = builder.scope(RouteScope::Link).output_interface(self.index(step, device).await?);
            }
            Hop::Via { device, gateway } => {
                builder = builder
                    .output_interface(self.index(step, device).await?)
                    .gateway(*gateway)
                    .map_err(|error| NetlinkError::Connection(format!("{step}: {error:?}")))?;
            }
        }
        Ok(builder.build())
    }
}

/// One item for each change that anybody makes to addresses, routes, rules or links in this namespace.
///
/// # Errors
/// [`NetlinkError::Connection`].
pub fn changes() -> Result<impl Stream<Item = ()> + Unpin, NetlinkError> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv4Rule,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv6Route,
        MulticastGroup::Ipv6Rule,
    ];
    let (connection, _, messages) =
        rtnetlink::new_multicast_connection(&groups).map_err(|error| NetlinkError::Connection(error.to_string()))?;
    // Ends when the stream is dropped: the connection then has nobody to deliver to.
    tokio::spawn(connection);
    Ok(messages.map(|_| ()))
}

fn address_of(message: &AddressMessage, names: &BTreeMap<u32, String>) -> Option<Address> {
    let device = names.get(&message.header.index)?.clone();
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link `Address` is the peer; `Local` is ours and wins.
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) if found.is_none() => found = Some(*address),
            _ => {}
        }
    }
    let address = Interface::new(found?, message.header.prefix_len).ok()?;
    Some(Address { device, address })
}

fn route_of(message: &RouteMessage, names: &BTreeMap<u32, String>) -> Option<Route> {
    let header = &message.header;
    let (mut table, mut metric) = (u32::from(header.table), 0);
    let (mut device, mut gateway) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Gateway(address) => gateway = Some(ip_of(address)?),
            RouteAttribute::Oif(index) => device = names.get(index).cloned(),
            RouteAttribute::MultiPath(_) => return None,
            _ => {}
        }
    }
    let prefix = destination(message)?;
    let hop = match (header.kind, device, gateway) {
        (RouteType::Unreachable, _, _) => Hop::Unreachable,
        (RouteType::Throw, _, _) => Hop::Throw,
        (RouteType::Unicast, Some(device), Some(gateway)) => Hop::Via { device, gateway },
        (RouteType::Unicast, Some(device), None) => Hop::Device(device),
        _ => return None,
    };
    (metric == METRIC).then_some(Route { table, prefix, hop })
}

/// Where a route leads, if that is an IP prefix.
pub(super) fn destination(message: &RouteMessage) -> Option<Prefix> {
    let default = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let given = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => Some(ip_of(address)),
        _ => None,
    });
    Prefix::new(given.unwrap_or(Some(default))?, message.header.destination_prefix_length).ok()
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn rule_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match rule.family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    message.attributes.push(RuleAttribute::Priority(rule.priority));
    message.attributes.push(RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
    if let Some(device) = &rule.input {
        message.attributes.push(RuleAttribute::Iifname(device.clone()));
    }
    if let Some(prefix) = rule.destination {
        message.header.dst_len = prefix.length();
        message.attributes.push(RuleAttribute::Destination(prefix.address()));
    }
    if let Some(Mark { value, mask }) = rule.mark {
        message.attributes.push(RuleAttribute::FwMark(value));
        message.attributes.push(RuleAttribute::FwMask(mask));
    }
    match rule.verdict {
        RuleVerdict::Table(table) => {
            message.header.action = RuleAction::ToTable;
            message.attributes.push(RuleAttribute::Table(table));
        }
        RuleVerdict::Unreachable => message.header.action = RuleAction::Unreachable,
    }
    message
}

/// A rule in our words; `None` for one that asks for anything else.
fn rule_of(message: &RuleMessage, family: Family) -> Option<Rule> {
    let (mut table, mut priority, mut input) = (u32::from(message.header.table), 0, None);
    let mut destination = None;
    let (mut value, mut mask) = (0, 0);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::Iifname(name) => input = Some(name.clone()),
            RuleAttribute::FwMark(number) => value = *number,
            RuleAttribute::FwMask(number) => mask = *number,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Destination(address) => {
                destination = Some(Prefix::new(*address, message.header.dst_len).ok()?);
            }
            RuleAttribute::Source(_)
            | RuleAttribute::Oifname(_)
            | RuleAttribute::IpProtocol(_)
            | RuleAttribute::UidRange(_) => return None,
            _ => {}
        }
    }
    let verdict = match message.header.action {
        RuleAction::ToTable => RuleVerdict::Table(table),
        RuleAction::Unreachable => RuleVerdict::Unreachable,
        _ => return None,
    };
    let mark = (mask != 0).then_some(Mark { value, mask });
    Some(Rule { family, priority, input, destination, mark, verdict })
}
