//! Traffic that goes on while something is changed: a download, and a stream of datagrams.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::guard::{Namespace, wait_until};
use super::raise::LabError;
use super::servers::BULK;
use super::topology::Host;

/// A download that runs until it is dropped, as fast as it can.
pub(super) struct Download {
    began: Instant,
    received: Arc<Progress>,
    stream: TcpStream,
}

#[derive(Default)]
struct Progress {
    octets: AtomicU64,
    last_ms: AtomicU64,
}

impl Download {
    pub(super) fn start(from: &Namespace, to: SocketAddr) -> Result<Self, LabError> {
        let connect = || TcpStream::connect_timeout(&to, Duration::from_secs(5));
        let mut stream = from.enter(connect)?.map_err(refused("connecting", to))?;
        let request = format!("GET /{BULK} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(refused("asking", to))?;
        let mut reader = stream.try_clone().map_err(refused("reading from", to))?;
        let (began, received) = (Instant::now(), Arc::new(Progress::default()));
        let progress = Arc::clone(&received);
        // Ends when the socket is shut down by `drop`.
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                progress.octets.fetch_add(u64::try_from(length).unwrap_or(0), Ordering::Relaxed);
                let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                progress.last_ms.store(elapsed, Ordering::Relaxed);
            }
        });
        Ok(Self { began, received, stream })
    }

    pub(super) fn received(&self) -> u64 {
        self.received.octets.load(Ordering::Relaxed)
    }

    /// Whether more arrives right now.
    pub(super) fn advances(&self) -> bool {
        let before = self.received();
        wait_until(Duration::from_secs(2), || self.received() > before)
    }

    /// When the last octets arrived.
    pub(super) fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.received.last_ms.load(Ordering::Relaxed))
    }

    pub(super) fn idle(&self) -> Duration {
        self.last().elapsed()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // Already closed by the other end: then there is nothing to end.
        self.stream.shutdown(std::net::Shutdown::Both).ok();
    }
}

/// Datagrams from one host to another, one each millisecond.
pub(super) struct Stream {
    client: UdpSocket,
    server: UdpSocket,
    local: SocketAddr,
}

impl Stream {
    pub(super) fn between(from: &Host, target: &Host, to: IpAddr) -> io::Result<Self> {
        let real = target.real(to).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let server = target.namespace.enter(|| UdpSocket::bind((real, 0))).map_err(io::Error::other)??;
        let local = server.local_addr()?;
        let any: IpAddr = if to.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
        let client = from.namespace.enter(|| UdpSocket::bind((any, 0))).map_err(io::Error::other)??;
        client.connect((to, local.port()))?;
        server.set_read_timeout(Some(Duration::from_millis(200)))?;
        Ok(Self { client, server, local })
    }

    /// Sends until told to stop; how many were sent and how many arrived.
    pub(super) fn run(&self, stop: &AtomicBool) -> (u64, u64) {
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            // An ICMP error of an earlier datagram shows here and says that it did not pass.
            sent += u64::from(self.client.send(b"forbidden").is_ok());
            thread::park_timeout(Duration::from_millis(1));
        }
        let mut received = 0;
        while self.server.recv(&mut [0; 16]).is_ok() {
            received += 1;
        }
        (sent, received)
    }

    /// Whether the receiver would have heard.
    pub(super) fn control(&self) -> bool {
        self.server.send_to(b"control", self.local).is_ok() && self.server.recv(&mut [0; 16]).is_ok()
    }
}

fn refused(what: &str, to: SocketAddr) -> impl FnOnce(io::Error) -> LabError {
    let what = format!("{what} {to}");
    move |error| LabError::File { what, cause: error.to_string() }
}
