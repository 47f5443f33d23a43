//! Changes in the middle of a transfer at full speed, when datagrams leave in trains: TCP goes on.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use turnpike::identity::PrivateKey;
use turnpike::lab::guard::{skip, wait_until};

use crate::lab::{Pair, SOON};

/// One TCP connection by which right sends without end, and what arrived unchanged at left.
struct Flood {
    stream: TcpStream,
    arrived: Arc<AtomicU64>,
    writer: JoinHandle<()>,
    reader: JoinHandle<()>,
}

/// The octet at a place of the flood: of no period that packets have.
fn octet(at: u64) -> u8 {
    u8::try_from(at % 251).expect("below 251")
}

impl Flood {
    fn start(pair: &Pair) -> Self {
        let address: SocketAddr = "10.50.0.1:4000".parse().expect("an address");
        let listener = pair.left.namespace.enter(|| TcpListener::bind(address)).expect("left").expect("a port");
        let stream = pair.right.namespace.enter(|| TcpStream::connect_timeout(&address, SOON)).expect("right");
        let stream = stream.expect("a connection");
        let (peer, _) = listener.accept().expect("a connection");
        let arrived = Arc::new(AtomicU64::new(0));
        let (sending, counting) = (stream.try_clone().expect("a clone"), Arc::clone(&arrived));
        let writer = std::thread::spawn(move || write(sending));
        let reader = std::thread::spawn(move || read(peer, &counting));
        Self { stream, arrived, writer, reader }
    }

    /// Whether much more arrives soon.
    fn goes_on(&self) -> bool {
        let before = self.arrived.load(Ordering::Relaxed);
        wait_until(SOON, || self.arrived.load(Ordering::Relaxed) > before + (4 << 20))
    }

    fn end(self) {
        self.stream.shutdown(Shutdown::Both).expect("an open connection");
        self.writer.join().expect("no panic");
        self.reader.join().expect("all unchanged");
    }
}

fn write(mut stream: TcpStream) {
    // 251 whole periods, so that each begins like the first.
    let octets: Vec<u8> = (0..251 * 256).map(octet).collect();
    while stream.write_all(&octets).is_ok() {}
}

fn read(mut stream: TcpStream, arrived: &AtomicU64) {
    let mut octets = vec![0; 1 << 16];
    while let Ok(length) = stream.read(&mut octets)
        && length > 0
    {
        let at = arrived.load(Ordering::Relaxed);
        assert!(octets[..length].iter().zip(at..).all(|(&came, at)| came == octet(at)));
        arrived.store(at + u64::try_from(length).expect("fits"), Ordering::Relaxed);
    }
}

#[test]
fn a_source_address_that_goes_interrupts_no_transfer() {
    if skip("a_source_address_that_goes_interrupts_no_transfer") {
        return;
    }
    for (left, second, prefix, right) in [
        ("192.0.2.1:51820", "192.0.2.3", 24, "192.0.2.3:51820"),
        ("[2001:db8::1]:51820", "2001:db8::3", 64, "[2001:db8::3]:51820"),
    ] {
        let pair = Pair::new(left, right);
        pair.right.namespace.address("eth0", &format!("{second}/{prefix}")).expect("an address");
        assert!(pair.left.reaches("10.50.0.2"));
        let flood = Flood::start(&pair);
        assert!(flood.goes_on());
        pair.right.namespace.ip(&format!("address del {second}/{prefix} dev eth0")).expect("gone");
        assert!(flood.goes_on(), "from another address");
        let endpoint = pair.left.link().endpoint.map(|endpoint| endpoint.ip().to_string());
        assert_ne!(endpoint.as_deref(), Some(second), "left has followed");
        assert_eq!(pair.right.link().handshakes, 1, "by the same session");
        flood.end();
    }
}

#[test]
fn another_port_and_another_key_interrupt_no_transfer() {
    if skip("another_port_and_another_key_interrupt_no_transfer") {
        return;
    }
    let mut pair = Pair::new("192.0.2.1:51820", "192.0.2.2:51820");
    assert!(pair.left.reaches("10.50.0.2"));
    let flood = Flood::start(&pair);
    assert!(flood.goes_on());
    pair.right.plan.sockets[0].port = 40404;
    pair.right.apply();
    assert!(flood.goes_on(), "from another port");
    assert_eq!(pair.left.link().endpoint.map(|endpoint| endpoint.port()), Some(40404));
    assert_eq!(pair.right.link().handshakes, 1, "by the same session");
    let key = PrivateKey::generate().expect("entropy");
    pair.left.plan.links[0].key = key.public();
    pair.right.plan.sockets[0].key = Some(key);
    pair.left.apply();
    pair.right.apply();
    assert!(flood.goes_on(), "with another key");
    assert_eq!(pair.left.link().handshakes, 1, "the first as another peer");
    flood.end();
}
