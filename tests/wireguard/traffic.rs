//! Traffic that notices: probes that find every deaf interval, and a TCP connection that must not break.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use turnpike::lab::guard::Namespace;

/// How often something is sent.
const PACE: Duration = Duration::from_millis(100);

/// What probes found.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    pub sent: u32,
    pub answered: u32,
    /// The longest time without an answer.
    pub deaf: Duration,
}

/// UDP probes from `from` to `to` every 100 ms, echoed.
pub struct Probes {
    ends: Arc<AtomicBool>,
    prober: JoinHandle<Heard>,
    echoer: JoinHandle<()>,
}

impl Probes {
    /// Starts probing `address`, an address of `to`, until [`Probes::end`].
    pub fn start(from: &Namespace, to: &Namespace, address: SocketAddr) -> Self {
        let echo = to.enter(|| UdpSocket::bind(address)).expect("the namespace").expect("a socket");
        let any = SocketAddr::new(if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 0);
        let probe = from.enter(|| UdpSocket::bind(any)).expect("the namespace").expect("a socket");
        probe.connect(address).expect("connected");
        let ends = Arc::new(AtomicBool::new(false));
        let (ends_echo, ends_probe) = (Arc::clone(&ends), Arc::clone(&ends));
        let echoer = std::thread::spawn(move || echo_until(&echo, &ends_echo));
        let prober = std::thread::spawn(move || probe_until(&probe, &ends_probe));
        Self { ends, prober, echoer }
    }

    /// Ends the probes and says what they heard.
    pub fn end(self) -> Heard {
        self.ends.store(true, Ordering::Relaxed);
        self.echoer.join().expect("the echoing thread");
        self.prober.join().expect("the probing thread")
    }
}

fn echo_until(socket: &UdpSocket, ends: &AtomicBool) {
    socket.set_read_timeout(Some(PACE)).expect("a time-out");
    let mut octets = [0; 64];
    while !ends.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut octets) {
            drop(socket.send_to(&octets[..length], from));
        }
    }
}

fn probe_until(socket: &UdpSocket, ends: &AtomicBool) -> Heard {
    let mut heard = Heard { sent: 0, answered: 0, deaf: Duration::ZERO };
    let mut last = Instant::now();
    let mut next = last;
    let mut octets = [0; 64];
    while !ends.load(Ordering::Relaxed) {
        // An error is what an earlier datagram met: it counts as not answered.
        drop(socket.send(&heard.sent.to_be_bytes()));
        heard.sent += 1;
        next += PACE;
        while let Some(left) = next.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            socket.set_read_timeout(Some(left)).expect("a time-out");
            if socket.recv(&mut octets).is_ok() {
                heard.answered += 1;
                heard.deaf = heard.deaf.max(last.elapsed());
                last = Instant::now();
            }
        }
    }
    heard.deaf = heard.deaf.max(last.elapsed());
    heard
}

/// One TCP connection that carries a numbered message every 100 ms.
pub struct Trickle {
    ends: Arc<AtomicBool>,
    writer: JoinHandle<std::io::Result<u64>>,
    reader: JoinHandle<std::io::Result<u64>>,
}

impl Trickle {
    /// Connects from `from` to `address`, an address of `to`.
    pub fn start(from: &Namespace, to: &Namespace, address: SocketAddr) -> Self {
        let listener = to.enter(|| TcpListener::bind(address)).expect("the namespace").expect("a listener");
        let within = Duration::from_secs(10);
        let stream =
            from.enter(|| TcpStream::connect_timeout(&address, within)).expect("the namespace").expect("a connection");
        let (accepted, _) = listener.accept().expect("the other end");
        let ends = Arc::new(AtomicBool::new(false));
        let ends_write = Arc::clone(&ends);
        let writer = std::thread::spawn(move || write_until(stream, &ends_write));
        let reader = std::thread::spawn(move || read_all(accepted));
        Self { ends, writer, reader }
    }

    /// Closes it and says how many messages arrived, if the connection and all of them held.
    pub fn end(self) -> Result<u64, String> {
        self.ends.store(true, Ordering::Relaxed);
        let sent = self.writer.join().expect("the writing thread").map_err(|error| format!("writing: {error}"))?;
        let read = self.reader.join().expect("the reading thread").map_err(|error| format!("reading: {error}"))?;
        if sent == read { Ok(read) } else { Err(format!("{sent} sent, {read} received")) }
    }
}

fn write_until(mut stream: TcpStream, ends: &AtomicBool) -> std::io::Result<u64> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    let mut sent: u64 = 0;
    while !ends.load(Ordering::Relaxed) {
        stream.write_all(&sent.to_be_bytes())?;
        sent += 1;
        std::thread::park_timeout(PACE);
    }
    Ok(sent)
}

fn read_all(mut stream: TcpStream) -> std::io::Result<u64> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut expected: u64 = 0;
    let mut octets = [0; 8];
    loop {
        match stream.read_exact(&mut octets) {
            Ok(()) if u64::from_be_bytes(octets) == expected => expected += 1,
            Ok(()) => return Err(std::io::Error::other("a message out of order")),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(expected),
            Err(error) => return Err(error),
        }
    }
}
