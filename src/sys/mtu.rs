//! The MTUs that the kernel knows for a device: the device's own, and those of routes through it (`RTAX_MTU`).
//!
//! ```text
//!  events   multicast: links, IPv4 and IPv6 routes ─▶ "something of ours may have changed"
//!  queries  one link by its name; then a dump of routes, which the kernel filters by the device
//! ```
//!
//! All of it blocks: a dump waits for the kernel's lock on its network configuration, which others may hold for long.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};

use super::netlink::destination;
use crate::net::Prefix;
use crate::tunnel::Mtus;

/// Octets read at once: the kernel fills no more than 32 KiB in a dump.
const BUFFER: usize = 64 << 10;
/// The kernel answers at once, but for its lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its MTU in octets.
    pub mtu: usize,
    /// The routes through it that have an MTU of their own, in octets, and those without one that
    /// begin inside one of these. Of any table.
    pub routes: Vec<(Prefix, Option<usize>)>,
}

/// Watches one device in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct MtuWatch {
    events: Socket,
    queries: Socket,
    buffer: Vec<u8>,
    /// The kernel's number of the device, as of the last look.
    index: u32,
    /// Whether a route had an MTU of its own at the last look.
    has_routes: bool,
}

impl AsFd for MtuWatch {
    /// Readable when there is something to [`drain`](Self::drain).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

impl MtuWatch {
    /// Opens it; what happens from now on is not missed.
    ///
    /// # Errors
    /// Those of `socket(2)` and `bind(2)`.
    pub fn open() -> io::Result<Self> {
        let mut events = Socket::new(NETLINK_ROUTE)?;
        events.bind(&SocketAddr::new(0, 0))?;
        for group in [MulticastGroup::Link, MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route] {
            events.add_membership(group as u32)?;
        }
        events.set_non_blocking(true)?;
        let queries = Socket::new(NETLINK_ROUTE)?;
        queries.set_non_blocking(true)?;
        // Linux before 4.20 does not filter; then all routes come, and are left out here.
        drop(queries.set_netlink_get_strict_chk(true));
        Ok(Self { events, queries, buffer: Vec::with_capacity(BUFFER), index: 0, has_routes: false })
    }

    /// What the kernel knows of the device of this name now.
    ///
    /// # Errors
    /// `ENODEV` when it is not in this namespace, and those of `sendto(2)` and `recv(2)`: then open another watch, since
    /// the rest of an answer may still come.
    pub fn look(&mut self, device: &str) -> io::Result<Facts> {
        let (index, mtu) = self.link(device)?;
        self.index = index;
        let mut routes = self.routes(|_, mtu| mtu.is_some())?;
        self.has_routes = !routes.is_empty();
        if self.has_routes {
            let own = Mtus::new(0, routes.iter().copied());
            routes.extend(self.routes(|prefix, mtu| mtu.is_none() && own.of(prefix.address()) != 0)?);
        }
        routes.sort_unstable();
        Ok(Facts { mtu, routes })
    }

    /// Takes the events that have come; whether what the last look saw may have changed. Never blocks.
    ///
    /// # Errors
    /// Those of `recv(2)`, except that there is nothing and that there was too much.
    pub fn drain(&mut self) -> io::Result<bool> {
        let mut changed = false;
        loop {
            self.buffer.clear();
            match self.events.recv(&mut self.buffer, 0) {
                Ok(_) => changed |= messages(&self.buffer).any(|message| self.concerns(&message)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Some were lost: ours may be among them.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(error) => return Err(error),
            }
        }
    }

    fn concerns(&self, message: &Message) -> bool {
        let Message::Inner(message) = message else { return false };
        match message {
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) => link.header.index == self.index,
            // As long as no route has an MTU of its own, the coming and going of others changes nothing.
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                leads_to(route, self.index) && (self.has_routes || mtu_of(route).is_some())
            }
            _ => false,
        }
    }

    fn link(&mut self, device: &str) -> io::Result<(u32, usize)> {
        let mut asked = LinkMessage::default();
        asked.attributes.push(LinkAttribute::IfName(device.to_owned()));
        let mut found = None;
        self.ask(RouteNetlinkMessage::GetLink(asked), NLM_F_REQUEST, |message| {
            if let RouteNetlinkMessage::NewLink(link) = message {
                let mtu = |attribute: &LinkAttribute| match attribute {
                    LinkAttribute::Mtu(mtu) => usize::try_from(*mtu).ok(),
                    _ => None,
                };
                found = link.attributes.iter().find_map(mtu).map(|mtu| (link.header.index, mtu));
            }
        })?;
        found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }

    fn routes(&mut self, keep: impl Fn(Prefix, Option<usize>) -> bool) -> io::Result<Vec<(Prefix, Option<usize>)>> {
        let index = self.index;
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut asked = RouteMessage::default();
            asked.header.address_family = family;
            asked.attributes.push(RouteAttribute::Oif(index));
            self.ask(RouteNetlinkMessage::GetRoute(asked), NLM_F_REQUEST | NLM_F_DUMP, |message| {
                if let RouteNetlinkMessage::NewRoute(route) = message
                    && leads_to(&route, index)
                    && let Some(prefix) = destination(&route)
                    && keep(prefix, mtu_of(&route))
                {
                    routes.push((prefix, mtu_of(&route)));
                }
            })?;
        }
        Ok(routes)
    }

    /// Asks the kernel and hands on each message of its answer.
    fn ask(
        &mut self,
        asked: RouteNetlinkMessage,
        flags: u16,
        mut take: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        let mut request = NetlinkMessage::from(asked);
        request.header.flags = flags;
        request.finalize();
        let mut octets = vec![0; request.buffer_len()];
        request.serialize(&mut octets);
        self.queries.send_to(&octets, &SocketAddr::new(0, 0), 0)?;
        let is_dump = flags & NLM_F_DUMP == NLM_F_DUMP;
        loop {
            self.buffer.clear();
            wait(self.queries.as_fd())?;
            self.queries.recv(&mut self.buffer, 0)?;
            for message in messages(&self.buffer) {
                match message {
                    Message::Inner(inner) => take(inner),
                    Message::End(result) => return result,
                }
            }
            if !is_dump {
                return Ok(());
            }
        }
    }
}

/// What one netlink message says.
enum Message {
    Inner(RouteNetlinkMessage),
    /// The answer ends, well or badly.
    End(io::Result<()>),
}

/// The messages in a datagram (netlink(7)); those that cannot be read are left out.
fn messages(datagram: &[u8]) -> impl Iterator<Item = Message> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*rest.first_chunk()?)).ok()?;
        let message = rest.get(..length).filter(|message| !message.is_empty())?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(NetlinkMessage::<RouteNetlinkMessage>::deserialize(message))
    })
    .filter_map(|read| match read.ok()?.payload {
        NetlinkPayload::InnerMessage(inner) => Some(Message::Inner(inner)),
        NetlinkPayload::Done(_) => Some(Message::End(Ok(()))),
        NetlinkPayload::Error(error) => Some(Message::End(match error.raw_code() {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code.saturating_abs())),
        })),
        _ => None,
    })
}

fn wait(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut ready = [PollFd::new(socket, PollFlags::POLLIN)];
    loop {
        match nix::poll::poll(&mut ready, PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether packets may leave through the device by this route. What is learnt of single destinations (`RTM_F_CLONED`)
/// is not in the routing tables.
fn leads_to(route: &RouteMessage, index: u32) -> bool {
    let through = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Oif(device) => *device == index,
        RouteAttribute::MultiPath(hops) => hops.iter().any(|hop| hop.interface_index == index),
        _ => false,
    };
    let is_table_entry = !route.header.flags.contains(RouteFlags::Cloned);
    route.header.kind == RouteType::Unicast && is_table_entry && route.attributes.iter().any(through)
}

fn mtu_of(route: &RouteMessage) -> Option<usize> {
    let metrics = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => Some(metrics),
        _ => None,
    });
    metrics?.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu != 0 => usize::try_from(*mtu).ok(),
        _ => None,
    })
}
