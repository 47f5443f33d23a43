//! Where is measured: namespaces joined by wires, and a subject in each.
//!
//! ```text
//!  Relay   a ── 192.0.2.0/24 ── hub ── 198.51.100.0/24 ── b      Direct   a ── 192.0.2.0/24 ── b
//!          10.9.0.2        10.9.0.1                10.9.0.3               10.9.0.2      10.9.0.3
//! ```
//!
//! The hub forwards from its one tunnel device back into it, under a ruleset like that of a gateway. Everything is
//! configured by `wg(8)` in the same way for all subjects. `wg(8)` finds sockets in `/var/run/wireguard` alone, so
//! each bed has a mount namespace with a `/run` of its own.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use turnpike::identity::{PrivateKey, PublicKey};
use turnpike::lab::guard::{Namespace, Process, veth};

use crate::failure::{Failure, program, system};
use crate::process::Interrupt;
use crate::subject::Subject;

/// The inner address of endpoint a, which begins every exchange.
pub const A: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// The inner address of endpoint b, which answers.
pub const B: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 3);
/// The inner address of the hub.
pub const HUB: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The MTU of every tunnel.
pub const MTU: usize = 1420;
/// Where iperf3 listens.
pub const TCP_PORT: u16 = 5201;
/// Where small packets go.
pub const UDP_PORT: u16 = 7000;
/// Where every subject listens.
pub const PORT: u16 = 51820;

/// A start or a handshake takes at most this long, also on a busy machine.
const SOON: Duration = Duration::from_secs(15);
/// How often a subject is started.
const ATTEMPTS: usize = 3;

/// A mount namespace with an empty `/run`, and a folder for files.
#[derive(Debug)]
pub struct Room {
    holder: Process,
    /// Held to its end: the holder stands in it.
    _home: Namespace,
    folder: tempfile::TempDir,
}

impl Room {
    /// Makes one.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn new(interrupt: &Interrupt) -> Result<Self, Failure> {
        let home = Namespace::new("home")?;
        let mut command = home.command("unshare");
        let script = "mount -t tmpfs tmpfs /run && echo ready && exec sleep infinity";
        command.args(["--mount", "--propagation", "slave", "sh", "-c", script]);
        let holder = home.spawn(command)?;
        let folder = tempfile::tempdir().map_err(system("making a folder"))?;
        let ready = interrupt.wait_for(SOON, || holder.log().contains("ready").then_some(()))?;
        ready.ok_or_else(|| program("a mount namespace cannot be had", &holder.log()))?;
        Ok(Self { holder, _home: home, folder })
    }

    fn words<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let enter = format!("--mount=/proc/{}/ns/mnt", self.holder.pid());
        [enter, "--".to_owned()].into_iter().chain(words.into_iter().map(str::to_owned)).collect()
    }

    /// Runs a command in `at` to its end.
    ///
    /// # Errors
    /// [`Failure::Guard`] if it fails.
    pub fn run(&self, at: &Namespace, words: &[&str]) -> Result<String, Failure> {
        let words = self.words(words.iter().copied());
        at.run("nsenter", words.iter().map(String::as_str)).map_err(Failure::from)
    }

    /// Starts a command in `at`.
    ///
    /// # Errors
    /// [`Failure::Guard`].
    pub fn spawn(&self, at: &Namespace, words: &[String]) -> Result<Process, Failure> {
        let mut command = at.command("nsenter");
        command.args(self.words(words.iter().map(String::as_str)));
        at.spawn(command).map_err(Failure::from)
    }
}

/// A subject that serves a device in a namespace.
#[derive(Debug)]
pub struct Node {
    /// Its process. Killed first when dropped.
    pub process: Process,
    device: &'static str,
    key: PrivateKey,
}

/// A peer in a configuration.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its key.
    pub key: PublicKey,
    /// Whose addresses it has.
    pub allowed: String,
    /// Where it is reached, if that is known.
    pub endpoint: Option<String>,
}

/// A configuration as `wg setconf` reads it.
pub fn configuration(key: &PrivateKey, peers: &[Peer]) -> String {
    let mut text = format!("[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n", key.to_base64().as_str());
    for peer in peers {
        // Writing to a String cannot fail.
        write!(text, "[Peer]\nPublicKey = {}\nAllowedIPs = {}\n", peer.key, peer.allowed).ok();
        if let Some(endpoint) = &peer.endpoint {
            writeln!(text, "Endpoint = {endpoint}").ok();
        }
    }
    text
}

impl Node {
    /// Starts a subject, without peers and addresses yet. One that ends at its start, as boringtun-cli was seen to do on a
    /// busy machine, is started again, and that is said.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn start(
        room: &Room,
        at: &Namespace,
        subject: Subject,
        device: &'static str,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let mut said = String::new();
        for _ in 0..ATTEMPTS {
            let mut process = room.spawn(at, &subject.words(device))?;
            let ended = interrupt.wait_for(SOON, || match process.exited() {
                Some(status) => Some(Some(status)),
                None => room.run(at, &["wg", "show", device]).ok().map(|_| None),
            })?;
            said = match ended {
                Some(None) => return Ok(Self { process, device, key: PrivateKey::generate()? }),
                Some(Some(status)) => format!("it ended with {status}: {}", process.log()),
                None => format!("its socket does not answer: {}", process.log()),
            };
            eprintln!("          {} does not serve {device}: {said}", subject.name());
        }
        Err(program(format!("{} does not serve {device}", subject.name()), &said))
    }

    /// Its key.
    pub fn key(&self) -> PublicKey {
        self.key.public()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Gives it its peers, then its MTU and address.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn configure(&self, room: &Room, at: &Namespace, peers: &[Peer], address: &str) -> Result<(), Failure> {
        self.set(room, at, peers)?;
        self.raise(at, address)
    }

    /// Gives it its key, port and peers by `wg setconf`.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn set(&self, room: &Room, at: &Namespace, peers: &[Peer]) -> Result<(), Failure> {
        let path = room.folder.path().join(self.device);
        let text = configuration(&self.key, peers);
        std::fs::write(&path, text).map_err(system(format!("writing {}", path.display())))?;
        room.run(at, &["wg", "setconf", self.device, &path.display().to_string()]).map(drop)
    }

    /// Gives its device the MTU and an address, and sets it up.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn raise(&self, at: &Namespace, address: &str) -> Result<(), Failure> {
        at.ip(&format!("link set {} mtu {MTU}", self.device))?;
        at.address(self.device, address).map_err(Failure::from)
    }
}

/// Two endpoints and a hub between them. Fields are dropped in this order.
#[derive(Debug)]
pub struct Relay {
    /// The hub's subject.
    pub hub: Node,
    _ends: [Node; 2],
    _room: Room,
    /// Endpoint a.
    pub a: Namespace,
    /// Endpoint b.
    pub b: Namespace,
    _middle: Namespace,
}

impl Relay {
    /// Raises it and waits until a reaches b.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn raise(subject: Subject, interrupt: &Interrupt) -> Result<Self, Failure> {
        let (a, middle, b) = (Namespace::new("a")?, Namespace::new("hub")?, Namespace::new("b")?);
        for (end, device, net) in [(&a, "eth1", "192.0.2"), (&b, "eth2", "198.51.100")] {
            veth(&middle, device, end, "eth0")?;
            middle.address(device, &format!("{net}.1/24"))?;
            end.address("eth0", &format!("{net}.2/24"))?;
        }
        forward(&middle, &ruleset(&[(A, B)]))?;
        let room = Room::new(interrupt)?;
        let hub = Node::start(&room, &middle, subject, "benchhub", interrupt)?;
        let left = Node::start(&room, &a, subject, "bencha", interrupt)?;
        let right = Node::start(&room, &b, subject, "benchb", interrupt)?;
        let peer = |node: &Node, allowed: String, endpoint: Option<&str>| Peer {
            key: node.key(),
            allowed,
            endpoint: endpoint.map(|address| format!("{address}:{PORT}")),
        };
        let spokes =
            [peer(&left, format!("{A}/32"), Some("192.0.2.2")), peer(&right, format!("{B}/32"), Some("198.51.100.2"))];
        hub.configure(&room, &middle, &spokes, &format!("{HUB}/24"))?;
        let all = || "10.9.0.0/24".to_owned();
        left.configure(&room, &a, &[peer(&hub, all(), Some("192.0.2.1"))], &format!("{A}/24"))?;
        right.configure(&room, &b, &[peer(&hub, all(), Some("198.51.100.1"))], &format!("{B}/24"))?;
        reach(&a, B, interrupt)?;
        Ok(Self { hub, _ends: [left, right], _room: room, a, b, _middle: middle })
    }
}

/// Two endpoints. Fields are dropped in this order.
#[derive(Debug)]
pub struct Direct {
    /// The subject of a.
    pub sender: Node,
    /// The subject of b.
    pub receiver: Node,
    _room: Room,
    /// Endpoint a.
    pub a: Namespace,
    /// Endpoint b.
    pub b: Namespace,
}

impl Direct {
    /// Raises it and waits until a reaches b.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn raise(subject: Subject, interrupt: &Interrupt) -> Result<Self, Failure> {
        let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
        veth(&a, "eth0", &b, "eth0")?;
        a.address("eth0", "192.0.2.1/24")?;
        b.address("eth0", "192.0.2.2/24")?;
        let room = Room::new(interrupt)?;
        let sender = Node::start(&room, &a, subject, "bencha", interrupt)?;
        let receiver = Node::start(&room, &b, subject, "benchb", interrupt)?;
        let peer = |node: &Node, inner: Ipv4Addr, outer: &str| Peer {
            key: node.key(),
            allowed: format!("{inner}/32"),
            endpoint: Some(format!("{outer}:{PORT}")),
        };
        sender.configure(&room, &a, &[peer(&receiver, B, "192.0.2.2")], &format!("{A}/24"))?;
        receiver.configure(&room, &b, &[peer(&sender, A, "192.0.2.1")], &format!("{B}/24"))?;
        reach(&a, B, interrupt)?;
        Ok(Self { sender, receiver, _room: room, a, b })
    }
}

/// Lets a namespace forward, under these rules.
///
/// # Errors
/// [`Failure`].
pub fn forward(hub: &Namespace, rules: &str) -> Result<(), Failure> {
    hub.sysctl("net.ipv4.ip_forward", "1")?;
    for scope in ["all", "default"] {
        hub.sysctl(&format!("net.ipv4.conf.{scope}.send_redirects"), "0")?;
        hub.sysctl(&format!("net.ipv4.conf.{scope}.rp_filter"), "0")?;
    }
    let mut command = hub.command("nft");
    // By a file: the pairs of very many peers are longer than a command line may be.
    let file = tempfile::NamedTempFile::new().map_err(system("making a file"))?;
    std::fs::write(file.path(), rules).map_err(system("writing a ruleset"))?;
    let output = command.arg("-f").arg(file.path()).output().map_err(system("starting nft"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(program("nft refuses the ruleset", &String::from_utf8_lossy(&output.stderr)))
}

/// What a hub decides by: state, one lookup of who may reach what, counters; whatever else is dropped.
pub fn ruleset(pairs: &[(Ipv4Addr, Ipv4Addr)]) -> String {
    let ports = [("tcp", TCP_PORT), ("udp", UDP_PORT), ("tcp", 443), ("udp", 53)];
    let element = |(from, to): &(Ipv4Addr, Ipv4Addr)| {
        ports.map(|(protocol, port)| format!("{from} . {to} . {protocol} . {port}")).join(", ")
    };
    let elements = pairs.iter().map(element).collect::<Vec<_>>().join(", ");
    format!(
        "table inet bench {{
           set allowed {{
             type ipv4_addr . ipv4_addr . inet_proto . inet_service
             elements = {{ {elements} }}
           }}
           chain forward {{
             type filter hook forward priority filter; policy drop;
             ct state established,related counter accept
             ct state invalid counter drop
             ip saddr . ip daddr . meta l4proto . th dport @allowed counter accept
             icmp type echo-request counter accept
             counter
           }}
         }}"
    )
}

/// Waits until an inner address answers.
fn reach(from: &Namespace, to: Ipv4Addr, interrupt: &Interrupt) -> Result<(), Failure> {
    let to = to.to_string();
    let answered = interrupt.wait_for(SOON, || from.run("ping", ["-n", "-c", "1", "-W", "1", &to]).ok())?;
    answered.map(drop).ok_or_else(|| program(format!("{to} does not answer through the tunnel"), ""))
}
