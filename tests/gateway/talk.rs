//! Legacy hosts that talk: an echo server, a connection that is made or not, a request for metrics.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use turnpike::lab::guard::Namespace;

/// How long a connection that should not come about is given.
pub const SILENCE: Duration = Duration::from_millis(1500);

/// How long one that should is given.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers whatever it hears, on a port of both families, until the test's process ends.
pub fn echo(at: &Namespace, port: u16) {
    let listener = at.enter(|| TcpListener::bind(("::", port))).expect("entered").expect("bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut octets = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut octets) {
                    if stream.write_all(&octets[..length]).is_err() {
                        break;
                    }
                }
            });
        }
    });
}

fn address(host: &str, port: u16) -> SocketAddr {
    SocketAddr::new(host.parse().expect("an address"), port)
}

fn connect(from: &Namespace, to: SocketAddr, within: Duration) -> Option<TcpStream> {
    let stream = from.enter(|| TcpStream::connect_timeout(&to, within)).expect("entered").ok()?;
    stream.set_read_timeout(Some(within)).expect("a timeout");
    stream.set_write_timeout(Some(within)).expect("a timeout");
    Some(stream)
}

/// Says something and asks that it come back.
pub fn exchange(stream: &mut TcpStream) -> bool {
    let mut octets = [0; 5];
    stream.write_all(b"hello").and_then(|()| stream.read_exact(&mut octets)).is_ok() && &octets == b"hello"
}

/// A connection that must come about.
pub fn open(from: &Namespace, host: &str, port: u16) -> TcpStream {
    let to = address(host, port);
    let mut stream = connect(from, to, PATIENCE).unwrap_or_else(|| panic!("{} → {to}: no connection", from.label()));
    assert!(exchange(&mut stream), "{} → {to}: no answer", from.label());
    stream
}

/// Whether a connection comes about in a moment.
pub fn reaches(from: &Namespace, host: &str, port: u16) -> bool {
    connect(from, address(host, port), SILENCE).is_some_and(|mut stream| exchange(&mut stream))
}

/// The body of an HTTP answer with status 200.
pub fn fetch(from: &Namespace, host: &str, port: u16, path: &str) -> String {
    let mut stream = connect(from, address(host, port), PATIENCE).expect("a connection");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}
