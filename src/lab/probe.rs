//! Connections made for real, from a legacy host: by the client that fits the server, else by a bare socket.
//!
//! Where nothing listens on the port that is tried, a listener stands in for the time of the attempt, so that an
//! allowed connection has somebody to answer it and a denied one is denied by a gateway and not by an empty port.
//! Silence proves nothing by itself: [`control`] asks the target from beside it.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Output;
use std::time::Duration;

use crate::net::{Family, Icmp, Protocol};

use super::guard::{GuardError, Namespace, wait_until};
use super::servers::{GREETING, LEDGER, Servers, listens};
use super::surroundings::Server;
use super::topology::Host;

/// How long an attempt that must fail waits for an answer. Within the lab a round trip takes a few milliseconds.
pub const BRIEF: Duration = Duration::from_millis(900);

/// How long an attempt that must pass may take: a busy machine is no verdict.
pub const PATIENT: Duration = Duration::from_secs(6);

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A TCP connection.
    Tcp(u16),
    /// A datagram and its echo.
    Udp(u16),
    /// An ICMP echo in the family of the address.
    Echo,
}

impl Kind {
    /// The IP protocol, with the destination port or the ICMP type.
    pub fn on_the_wire(self, family: Family) -> (Protocol, u16) {
        match self {
            Self::Tcp(port) => (Protocol::TCP, port),
            Self::Udp(port) => (Protocol::UDP, port),
            Self::Echo => Icmp::EchoRequest
                .in_family(family)
                .map_or((Protocol::ICMP, 8), |(protocol, kind)| (protocol, u16::from(kind))),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "tcp/{port}"),
            Self::Udp(port) => write!(f, "udp/{port}"),
            Self::Echo => f.write_str("icmp/echo-request"),
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered, as a legacy client expects: the text says how.
    Answered(String),
    /// Nothing came back, or a router said that there is no way.
    Stopped,
    /// Something else than policy went wrong.
    Fault(String),
}

impl From<GuardError> for Outcome {
    fn from(error: GuardError) -> Self {
        Self::Fault(error.to_string())
    }
}

/// Tries to reach `to`, an overlay address of the host `target`, from the host `from`.
pub fn attempt(from: &Host, target: &Host, to: IpAddr, kind: Kind, servers: &Servers, patience: Duration) -> Outcome {
    let stand_in = match StandIn::at(target, to, kind) {
        Ok(stand_in) => stand_in,
        Err(fault) => return Outcome::Fault(fault),
    };
    match (kind, client_for(target, kind)) {
        (_, Some(server)) => {
            Client { from, target, servers, patience }.speak(server, SocketAddr::new(to, port_of(kind)))
        }
        (Kind::Tcp(port), None) => connect(&from.namespace, SocketAddr::new(to, port), patience),
        (Kind::Udp(port), None) => exchange(&from.namespace, &stand_in, SocketAddr::new(to, port), patience),
        (Kind::Echo, None) => echo(&from.namespace, to, patience),
    }
}

/// Whether the target answers on its own address, so that silence elsewhere is not the target's.
pub fn control(target: &Host, to: IpAddr, kind: Kind) -> Outcome {
    let Some(real) = target.real(to) else { return Outcome::Fault(format!("{to} is not the host's")) };
    let stand_in = match StandIn::at(target, to, kind) {
        Ok(stand_in) => stand_in,
        Err(fault) => return Outcome::Fault(fault),
    };
    match kind {
        Kind::Tcp(port) => connect(&target.namespace, SocketAddr::new(real, port), PATIENT),
        Kind::Udp(port) => exchange(&target.namespace, &stand_in, SocketAddr::new(real, port), PATIENT),
        Kind::Echo => echo(&target.namespace, real, PATIENT),
    }
}

/// A socket on the target for the time of an attempt, where nothing else answers.
enum StandIn {
    None,
    Tcp { _listener: TcpListener },
    Udp(UdpSocket),
}

impl StandIn {
    fn at(target: &Host, to: IpAddr, kind: Kind) -> Result<Self, String> {
        let real = target.real(to).ok_or_else(|| format!("{to} is not the host's"))?;
        let has_server = |port| target.plan.servers.iter().any(|server| server.ports().contains(&port));
        let bound = match kind {
            Kind::Tcp(port) if has_server(port) => {
                // iperf3 listens anew for each client: between two, its port only seems to be free. If this is more than
                // that, the attempt tells.
                wait_until(PATIENT, || listens(&target.namespace, port));
                return Ok(Self::None);
            }
            Kind::Tcp(port) if !listens(&target.namespace, port) => target
                .namespace
                .enter(|| TcpListener::bind((real, port)).map(|listener| Self::Tcp { _listener: listener })),
            Kind::Udp(port) => target.namespace.enter(|| UdpSocket::bind((real, port)).map(Self::Udp)),
            Kind::Tcp(_) | Kind::Echo => return Ok(Self::None),
        };
        bound
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("listening on {kind} at {}: {error}", target.plan.name))
    }
}

fn connect(from: &Namespace, to: SocketAddr, patience: Duration) -> Outcome {
    match from.enter(|| TcpStream::connect_timeout(&to, patience)) {
        Ok(Ok(_)) => Outcome::Answered("connected".into()),
        Ok(Err(error)) => stopped_by(&error),
        Err(error) => error.into(),
    }
}

/// Time-outs and unreachables are a router's doing; a reset would be the target's own.
fn stopped_by(error: &io::Error) -> Outcome {
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, PermissionDenied, TimedOut, WouldBlock};
    match error.kind() {
        TimedOut | WouldBlock | HostUnreachable | NetworkUnreachable | PermissionDenied => Outcome::Stopped,
        other => Outcome::Fault(other.to_string()),
    }
}

fn exchange(from: &Namespace, stand_in: &StandIn, to: SocketAddr, patience: Duration) -> Outcome {
    let StandIn::Udp(server) = stand_in else { return Outcome::Fault("no listener".into()) };
    let any: IpAddr = if to.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let talk = || -> io::Result<()> {
        let client = from.enter(|| UdpSocket::bind((any, 0))).map_err(io::Error::other)??;
        client.connect(to)?;
        client.set_read_timeout(Some(patience))?;
        server.set_read_timeout(Some(patience))?;
        client.send(b"turnpike")?;
        let mut buffer = [0; 16];
        let (length, peer) = server.recv_from(&mut buffer)?;
        server.send_to(&buffer[..length], peer)?;
        client.recv(&mut buffer).map(drop)
    };
    match talk() {
        Ok(()) => Outcome::Answered("echoed".into()),
        Err(error) => stopped_by(&error),
    }
}

fn echo(from: &Namespace, to: IpAddr, patience: Duration) -> Outcome {
    let wait = patience.as_secs_f32().to_string();
    match from.command("ping").args(["-n", "-c1", "-W", &wait, &to.to_string()]).output() {
        Ok(output) if output.status.success() => Outcome::Answered("echoed".into()),
        // iputils: 1 is "no reply", 2 any other error.
        Ok(output) if output.status.code() == Some(1) => Outcome::Stopped,
        Ok(output) => Outcome::Fault(last_line(&output)),
        Err(error) => Outcome::Fault(format!("ping: {error}")),
    }
}

/// The server on the target whose real client speaks on this port.
fn client_for(target: &Host, kind: Kind) -> Option<Server> {
    let Kind::Tcp(port) = kind else { return None };
    let speaks = |server: &Server| match server {
        Server::Web | Server::Mail | Server::Ftp | Server::Iperf => server.ports().contains(&port),
        Server::Telnet => false,
    };
    target.plan.servers.iter().copied().find(speaks)
}

fn port_of(kind: Kind) -> u16 {
    match kind {
        Kind::Tcp(port) | Kind::Udp(port) => port,
        Kind::Echo => 0,
    }
}

/// A legacy host that speaks to a server on another.
struct Client<'a> {
    from: &'a Host,
    target: &'a Host,
    servers: &'a Servers,
    patience: Duration,
}

impl Client<'_> {
    fn speak(&self, server: Server, to: SocketAddr) -> Outcome {
        match server {
            Server::Web => self.fetch(&web_url(to), "answered"),
            Server::Ftp => self.fetch(&format!("ftp://{to}/{LEDGER}"), "fetched by EPSV"),
            Server::Mail => self.send_mail(to),
            Server::Iperf => self.copy(to),
            Server::Telnet => connect(&self.from.namespace, to, self.patience),
        }
    }

    fn curl(&self) -> std::process::Command {
        let mut command = self.from.namespace.command("curl");
        let all = (self.patience + PATIENT).as_secs_f32().to_string();
        command.args(["-q", "--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", &all]);
        command.args(["--connect-timeout", &self.patience.as_secs_f32().to_string()]);
        command.arg("--cacert").arg(&self.servers.certificate);
        command
    }

    fn fetch(&self, url: &str, how: &str) -> Outcome {
        judge(self.curl().arg(url).output(), |output| {
            if output.stdout == GREETING.as_bytes() {
                Outcome::Answered(how.to_owned())
            } else {
                Outcome::Fault(format!("{url} gave another text"))
            }
        })
    }

    /// Sends a message of its own and waits until it lies in the target's mailbox.
    fn send_mail(&self, to: SocketAddr) -> Outcome {
        let sender = &self.from.plan.name;
        let subject = format!("{sender} {:?}", std::time::Instant::now());
        let file = self.servers.certificate.with_file_name(format!("{sender}.mail"));
        if let Err(error) = std::fs::write(&file, format!("Subject: {subject}\r\n\r\nhousing list enclosed\r\n")) {
            return Outcome::Fault(error.to_string());
        }
        let mut command = self.curl();
        command.args(["--mail-from", "clerk@legacy.example", "--mail-rcpt", "post@legacy.example", "--upload-file"]);
        judge(command.arg(&file).arg(format!("smtp://{to}")).output(), |_| {
            let messages = || self.servers.messages(self.target);
            if wait_until(PATIENT, || messages().iter().any(|message| message.contains(&subject))) {
                Outcome::Answered("mail delivered".into())
            } else {
                Outcome::Fault("the mail was accepted but not delivered".into())
            }
        })
    }

    fn copy(&self, to: SocketAddr) -> Outcome {
        let (address, port) = (to.ip().to_string(), to.port().to_string());
        let milliseconds = self.patience.as_millis().to_string();
        let arguments = ["-c", &address, "-p", &port, "-n", "1M", "--connect-timeout", &milliseconds];
        match self.from.namespace.command("iperf3").args(arguments).output() {
            Ok(output) if output.status.success() => Outcome::Answered("1 MB copied".into()),
            Ok(output) => {
                let said = [&output.stdout, &output.stderr]
                    .map(|stream| String::from_utf8_lossy(stream).into_owned())
                    .concat();
                let unreached = ["timed out", "unreachable", "No route"].iter().any(|text| said.contains(text));
                if unreached { Outcome::Stopped } else { Outcome::Fault(said.trim().to_owned()) }
            }
            Err(error) => Outcome::Fault(format!("iperf3: {error}")),
        }
    }
}

fn web_url(to: SocketAddr) -> String {
    if to.port() == 443 { format!("https://{to}/") } else { format!("http://{to}/") }
}

/// curl(1): 7 is "cannot connect", 28 a time-out, and 0 that the server answered.
fn judge(output: io::Result<Output>, good: impl FnOnce(&Output) -> Outcome) -> Outcome {
    match output {
        Ok(output) => match output.status.code() {
            Some(0) => good(&output),
            Some(7 | 28) => Outcome::Stopped,
            _ => Outcome::Fault(last_line(&output)),
        },
        Err(error) => Outcome::Fault(format!("curl: {error}")),
    }
}

fn last_line(output: &Output) -> String {
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    String::from_utf8_lossy(said).lines().last().unwrap_or("ended without a word").to_owned()
}
