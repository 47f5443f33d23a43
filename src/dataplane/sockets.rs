//! The sockets: what a plan wants is bound first, what it no longer wants is let go last.
//!
//! ```text
//!  worker 0   prepare: bind, change devices and marks ─▶ Table ─┐   all that can fail
//!  each       adopt: listen to one's own of each group ◀────────┘
//! ```
//!
//! Each port has a group of sockets, one per worker; a group is closed when the last worker has let go of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use crate::dataplane::{Plan, SocketId, SocketPlan};
use crate::net::Family;
use crate::sys::udp::{BindError, UdpSocket};
use crate::tunnel::SocketSlot;

/// A port in use.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) id: SocketId,
    group: Arc<Group>,
    /// The port that the plan asked for, 0 for any.
    asked: u16,
    device: Option<String>,
}

/// The sockets that share a port, one for each worker.
#[derive(Debug)]
struct Group(Vec<Seat>);

/// One worker's socket.
#[derive(Debug)]
struct Seat {
    udp: UdpSocket,
    /// How many datagrams it had lost when its worker last asked, modulo 2³².
    lost: AtomicU32,
}

/// The ports under one plan, each in a slot that it keeps as long as its name is in the plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    slots: Vec<Option<Open>>,
    mark: u32,
    /// Whether trains are to be received in one piece.
    gro: bool,
}

/// One worker's sockets.
#[derive(Debug)]
pub(super) struct Sockets {
    table: Table,
    worker: usize,
    /// How many workers there are.
    workers: usize,
    /// Datagrams lost by sockets that are gone, and not told yet.
    lost: u64,
}

/// Where a socket of the coming state comes from.
enum Origin {
    /// It is there, perhaps under another name.
    Slot(usize),
    /// It was bound for the plan; whether it receives trains in one piece.
    Bound(Arc<Group>, bool),
}

/// Epoll tokens below this are not sockets.
const FIRST_TOKEN: u64 = 3;

impl Sockets {
    /// No sockets yet, of one of so many workers; `gro` says whether those to come shall receive trains in one piece,
    /// where the kernel has that.
    pub(super) fn new(worker: u8, workers: u8, gro: bool) -> Self {
        Self { table: Table { gro, ..Table::default() }, worker: worker.into(), workers: workers.into(), lost: 0 }
    }

    /// Whether trains are received in one piece.
    pub(super) fn has_gro(&self) -> bool {
        self.table.gro
    }

    /// The socket in a slot.
    pub(super) fn get(&self, slot: SocketSlot) -> Option<&UdpSocket> {
        self.table.slots.get(slot.0)?.as_ref()?.group.socket(self.worker)
    }

    /// The slot of a name.
    pub(super) fn slot(&self, id: SocketId) -> Option<SocketSlot> {
        self.table.slot(id)
    }

    /// All.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketSlot, &Open)> {
        self.table.iter()
    }

    /// How many datagrams the kernel has dropped at this worker's sockets since this was last asked, those that are gone
    /// included.
    pub(super) fn take_lost(&mut self) -> u64 {
        let open = self.iter().map(|(_, open)| open.group.take_lost(self.worker)).sum::<u64>();
        open + std::mem::take(&mut self.lost)
    }

    /// Opens and changes the sockets that the plan wants for all workers, or leaves everything as it was. Nothing is
    /// closed before every worker has adopted the table.
    pub(super) fn prepare(&self, plan: &Plan) -> Result<Table, BindError> {
        let origins = self.origins(plan)?;
        self.retune(plan, &origins)?;
        Ok(self.arrange(plan, origins))
    }

    /// Goes over to another table. Returns the slots that are free now.
    pub(super) fn adopt(&mut self, table: &Table, epoll: &Epoll) -> Vec<SocketSlot> {
        let former = std::mem::replace(&mut self.table, table.clone());
        let mut lost = 0;
        let stays = |open: &Open| self.iter().any(|(_, now)| Arc::ptr_eq(&now.group, &open.group));
        for (_, open) in former.iter().filter(|(_, open)| !stays(open)) {
            lost += open.group.take_lost(self.worker);
            let gone = open.group.socket(self.worker).into_iter().flat_map(UdpSocket::descriptors);
            // Others may hold it a moment longer.
            gone.for_each(|(_, fd)| epoll.delete(fd).unwrap_or_default());
        }
        self.lost += lost;
        for (slot, udp) in self.iter().filter_map(|(slot, open)| Some((slot, open.group.socket(self.worker)?))) {
            listen(epoll, slot, udp, false);
        }
        let slots = &self.table.slots;
        (0..slots.len()).filter(|slot| slots[*slot].is_none()).map(SocketSlot).collect()
    }

    fn origins(&self, plan: &Plan) -> Result<Vec<Origin>, BindError> {
        let mut claimed = vec![false; self.table.slots.len()];
        let mut origins: Vec<Option<Origin>> = Vec::new();
        for wanted in &plan.sockets {
            let kept = self.iter().find(|(_, open)| open.id == wanted.id && open.suits(wanted)).map(|(slot, _)| slot.0);
            if let Some(slot) = kept {
                claimed[slot] = true;
            }
            origins.push(kept.map(Origin::Slot));
        }
        for (wanted, origin) in plan.sockets.iter().zip(&mut origins) {
            // A port that another name gives up in this plan is handed over: binding it again would fail.
            let free = |(slot, open): &(SocketSlot, &Open)| !claimed[slot.0] && open.port() == wanted.port;
            if origin.is_none()
                && let Some((slot, _)) = self.iter().find(free)
            {
                claimed[slot.0] = true;
                *origin = Some(Origin::Slot(slot.0));
            }
        }
        let bind = |wanted: &SocketPlan| {
            let group = UdpSocket::bind_group(wanted.port, wanted.device.as_deref(), plan.mark, self.workers)?;
            // Where times are not told, queues are bounded by the buffer alone.
            for udp in &group {
                udp.set_timestamps(true);
            }
            let without = group.iter().filter(|udp| !udp.set_gro(self.table.gro)).count();
            Ok(Origin::Bound(Arc::new(Group::new(group)), without == 0))
        };
        let settled = plan.sockets.iter().zip(origins);
        settled.map(|(wanted, origin)| origin.map_or_else(|| bind(wanted), Ok)).collect()
    }

    /// Changes devices and marks of what stays; puts all back if one cannot be changed.
    fn retune(&self, plan: &Plan, origins: &[Origin]) -> Result<(), BindError> {
        let mut result = Ok(());
        let mut changed = Vec::new();
        for (wanted, origin) in plan.sockets.iter().zip(origins) {
            if let Origin::Slot(slot) = origin
                && let Some(open) = &self.table.slots[*slot]
                && result.is_ok()
            {
                changed.push(open);
                result = open.retune(wanted.device.as_deref(), plan.mark, self.table.mark);
            }
        }
        if result.is_err() {
            for open in changed {
                // It had these before; that it cannot have them again is no worse than the error at hand.
                for udp in open.group.sockets() {
                    drop(udp.set_device(open.device.as_deref()));
                    drop(udp.set_mark(self.table.mark));
                }
            }
        }
        result
    }

    fn arrange(&self, plan: &Plan, origins: Vec<Origin>) -> Table {
        let former = &self.table.slots;
        let names: Vec<Option<SocketId>> = former.iter().map(|open| open.as_ref().map(|open| open.id)).collect();
        let mut homes: Vec<Option<usize>> =
            plan.sockets.iter().map(|wanted| names.iter().position(|name| *name == Some(wanted.id))).collect();
        let mut free: Vec<usize> = (0..).filter(|slot| !homes.contains(&Some(*slot))).take(homes.len()).collect();
        free.reverse();
        for home in &mut homes {
            *home = home.or_else(|| free.pop());
        }
        let mut table = Table { slots: Vec::new(), mark: plan.mark, gro: self.table.gro };
        table.slots.resize_with(former.len(), || None);
        for ((wanted, origin), home) in plan.sockets.iter().zip(origins).zip(homes) {
            let group = match origin {
                Origin::Slot(slot) => former[slot].as_ref().map(|open| Arc::clone(&open.group)),
                Origin::Bound(group, gro) => {
                    table.gro &= gro;
                    Some(group)
                }
            };
            let (Some(group), Some(home)) = (group, home) else { continue };
            if table.slots.len() <= home {
                table.slots.resize_with(home + 1, || None);
            }
            let device = wanted.device.clone();
            table.slots[home] = Some(Open { id: wanted.id, group, asked: wanted.port, device });
        }
        table
    }
}

impl Table {
    /// The slot of a name.
    pub(super) fn slot(&self, id: SocketId) -> Option<SocketSlot> {
        self.iter().find(|(_, open)| open.id == id).map(|(slot, _)| slot)
    }

    fn iter(&self) -> impl Iterator<Item = (SocketSlot, &Open)> {
        self.slots.iter().enumerate().filter_map(|(slot, open)| Some((SocketSlot(slot), open.as_ref()?)))
    }
}

impl Open {
    /// Its number.
    pub(super) fn port(&self) -> u16 {
        self.group.socket(0).map_or(0, UdpSocket::port)
    }

    /// Whether it can stay for what is wanted, the device aside, which can be changed.
    fn suits(&self, wanted: &SocketPlan) -> bool {
        wanted.port == self.asked || wanted.port == self.port()
    }

    fn retune(&self, device: Option<&str>, mark: u32, former: u32) -> Result<(), BindError> {
        for udp in self.group.sockets() {
            if device != self.device.as_deref() {
                udp.set_device(device)?;
            }
            if mark != former {
                udp.set_mark(mark)?;
            }
        }
        Ok(())
    }
}

impl Group {
    fn new(sockets: Vec<UdpSocket>) -> Self {
        Self(sockets.into_iter().map(|udp| Seat { udp, lost: AtomicU32::new(0) }).collect())
    }

    fn socket(&self, worker: usize) -> Option<&UdpSocket> {
        self.0.get(worker).map(|seat| &seat.udp)
    }

    fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        self.0.iter().map(|seat| &seat.udp)
    }

    /// How many datagrams the kernel has dropped at a worker's socket since that worker last asked: fewer than 2³².
    fn take_lost(&self, worker: usize) -> u64 {
        let Some(Seat { udp, lost }) = self.0.get(worker) else { return 0 };
        let now = udp.dropped();
        now.wrapping_sub(lost.swap(now, Ordering::Relaxed)).into()
    }
}

/// Watches a socket for datagrams, and with `writable` also for room to send.
pub(super) fn listen(epoll: &Epoll, slot: SocketSlot, udp: &UdpSocket, writable: bool) {
    let mut flags = EpollFlags::EPOLLIN;
    flags.set(EpollFlags::EPOLLOUT, writable);
    for (family, fd) in udp.descriptors() {
        let token = token(slot, family);
        let event = || EpollEvent::new(flags, token);
        let changed = match epoll.add(fd, event()) {
            Err(Errno::EEXIST) => epoll.modify(fd, &mut event()),
            result => result,
        };
        if let Err(errno) = changed {
            // Only for want of kernel memory; the tick reads the socket nevertheless.
            tracing::warn!(%errno, "cannot watch a UDP socket");
        }
    }
}

fn token(slot: SocketSlot, family: Family) -> u64 {
    let slot = u64::try_from(slot.0).unwrap_or(u64::MAX / 4);
    FIRST_TOKEN + slot * 2 + u64::from(family == Family::V6)
}

/// The socket that an epoll token means.
pub(super) fn of_token(token: u64) -> Option<(SocketSlot, Family)> {
    let number = token.checked_sub(FIRST_TOKEN)?;
    let family = if number % 2 == 0 { Family::V4 } else { Family::V6 };
    Some((SocketSlot(usize::try_from(number / 2).ok()?), family))
}

#[cfg(test)]
mod tests {
    use nix::sys::epoll::EpollCreateFlags;

    use super::*;

    fn wanted(id: u32, port: u16) -> SocketPlan {
        SocketPlan { id: SocketId(id), key: None, port, device: None }
    }

    fn plan(sockets: Vec<SocketPlan>) -> Plan {
        Plan { sockets, ..Plan::default() }
    }

    fn ports(sockets: &Sockets) -> Vec<(u32, u16)> {
        let mut ports: Vec<_> = sockets.iter().map(|(_, open)| (open.id.0, open.port())).collect();
        ports.sort_unstable();
        ports
    }

    fn setup() -> (Sockets, Epoll) {
        (Sockets::new(0, 1, false), Epoll::new(EpollCreateFlags::empty()).expect("epoll"))
    }

    impl Sockets {
        fn apply(&mut self, plan: &Plan, epoll: &Epoll) -> Result<Vec<SocketSlot>, BindError> {
            let table = self.prepare(plan)?;
            Ok(self.adopt(&table, epoll))
        }
    }

    #[test]
    fn a_socket_that_the_plan_leaves_as_it_was_stays() {
        let (mut sockets, epoll) = setup();
        sockets.apply(&plan(vec![wanted(1, 0)]), &epoll).expect("a port");
        let before = ports(&sockets);
        sockets.apply(&plan(vec![wanted(1, 0), wanted(2, 0)]), &epoll).expect("another");
        assert_eq!(ports(&sockets)[0], before[0]);
        sockets.apply(&plan(vec![wanted(1, before[0].1)]), &epoll).expect("its own port by number");
        assert_eq!(ports(&sockets), before);
    }

    #[test]
    fn two_sockets_can_change_ports_within_one_plan() {
        let (mut sockets, epoll) = setup();
        sockets.apply(&plan(vec![wanted(1, 0), wanted(2, 0)]), &epoll).expect("two ports");
        let before = ports(&sockets);
        let crossed = vec![wanted(1, before[1].1), wanted(2, before[0].1)];
        sockets.apply(&plan(crossed), &epoll).expect("handed over");
        assert_eq!(ports(&sockets), [(1, before[1].1), (2, before[0].1)]);
    }

    #[test]
    fn a_port_in_use_leaves_all_sockets_as_they_were() {
        let (mut sockets, epoll) = setup();
        sockets.apply(&plan(vec![wanted(1, 0), wanted(2, 0)]), &epoll).expect("two ports");
        let before = ports(&sockets);
        let other = UdpSocket::bind(0, None, 0).expect("a port");
        let error = sockets.apply(&plan(vec![wanted(1, 0), wanted(2, other.port())]), &epoll).err();
        assert_eq!(error, Some(BindError::PortInUse(other.port())));
        assert_eq!(ports(&sockets), before);
    }

    /// Sends more to a port of this host than its buffer holds; how many.
    fn flood(port: u16) -> u64 {
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let octets = [0; 60_000];
        (0..400).map(|_| u64::from(sender.send_to(&octets, ("127.0.0.1", port)).is_ok())).sum()
    }

    fn received(sockets: &Sockets) -> u64 {
        let mut intake = crate::sys::udp::Intake::default();
        let (_, open) = sockets.iter().next().expect("a socket");
        let socket = open.group.socket(0).expect("of the only worker");
        let received = std::iter::from_fn(|| socket.receive(Family::V4, &mut intake, 64).ok());
        received.map(|number| u64::try_from(number).expect("few")).sum()
    }

    #[test]
    fn what_finds_a_buffer_full_is_counted_once_whatever_becomes_of_the_socket() {
        let (mut sockets, epoll) = setup();
        sockets.apply(&plan(vec![wanted(1, 0)]), &epoll).expect("a port");
        assert_eq!(sockets.take_lost(), 0, "canary: nothing was sent");
        let port = ports(&sockets)[0].1;
        let first = flood(port) - received(&sockets);
        assert!(first > 0, "the buffer was full");
        assert_eq!(sockets.take_lost(), first);
        assert_eq!(sockets.take_lost(), 0, "told once");

        let second = flood(port) - received(&sockets);
        sockets.apply(&plan(vec![wanted(2, port)]), &epoll).expect("under another name");
        assert_eq!(sockets.take_lost(), second, "handed over");
        let third = flood(port) - received(&sockets);
        sockets.apply(&plan(vec![wanted(2, 0)]), &epoll).expect("another port");
        assert_ne!(ports(&sockets)[0].1, port);
        assert_eq!(sockets.take_lost(), third, "closed");
        let fourth = flood(ports(&sockets)[0].1) - received(&sockets);
        assert!(second > 0 && third > 0 && fourth > 0, "{second} {third} {fourth}");
        assert_eq!(sockets.take_lost(), fourth, "counts from 0 again");
        assert!(sockets.apply(&plan(vec![]), &epoll).is_ok());
        assert_eq!(sockets.take_lost(), 0);
    }

    #[test]
    fn each_worker_has_a_socket_of_its_own_and_a_port_is_free_when_all_have_let_go() {
        let (mut first, epoll) = (Sockets::new(0, 2, false), setup().1);
        let (mut second, other) = (Sockets::new(1, 2, false), setup().1);
        let table = first.prepare(&plan(vec![wanted(1, 0)])).expect("a port");
        for (sockets, epoll) in [(&mut first, &epoll), (&mut second, &other)] {
            assert_eq!(sockets.adopt(&table, epoll), []);
        }
        let socket = |sockets: &Sockets| sockets.get(SocketSlot(0)).map(|udp| (std::ptr::from_ref(udp), udp.port()));
        let (one, two) = (socket(&first).expect("a socket"), socket(&second).expect("a socket"));
        assert!(one.0 != two.0 && one.1 == two.1);
        drop(table);
        let nothing = first.prepare(&plan(vec![])).expect("nothing to do");
        assert_eq!(first.adopt(&nothing, &epoll), [SocketSlot(0)]);
        assert_eq!(UdpSocket::bind(one.1, None, 0).err(), Some(BindError::PortInUse(one.1)), "the other has it still");
        second.adopt(&nothing, &other);
        UdpSocket::bind(one.1, None, 0).expect("free");
    }

    #[test]
    fn tokens_lead_back_to_their_socket() {
        for (slot, family) in [(0, Family::V4), (0, Family::V6), (7, Family::V6)] {
            assert_eq!(of_token(token(SocketSlot(slot), family)), Some((SocketSlot(slot), family)));
        }
        assert_eq!(of_token(0), None);
        assert_eq!(of_token(1), None);
    }
}
