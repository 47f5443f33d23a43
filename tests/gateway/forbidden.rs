//! Datagrams that no bundle allows, and whether any of them arrives.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use turnpike::lab::guard::wait_until;

use crate::place::{CLAIMS4, PATIENCE, Place};

/// A port that no bundle allows.
const FORBIDDEN: u16 = 9999;

/// Datagrams so far.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    pub sent: u64,
    pub arrived: u64,
}

/// Datagrams that must not arrive, sent without a pause, and those that did.
pub struct Forbidden {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    arrived: Arc<AtomicU64>,
}

impl Forbidden {
    /// Sends until it is dropped.
    pub fn send(place: &Place) -> Self {
        let this = Self { stop: Arc::default(), sent: Arc::default(), arrived: Arc::default() };
        let server = place.claims.enter(|| UdpSocket::bind(("0.0.0.0", FORBIDDEN))).expect("entered").expect("bound");
        server.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let client = place.benefits.enter(|| UdpSocket::bind("0.0.0.0:0")).expect("entered").expect("bound");
        let (stop, arrived) = (Arc::clone(&this.stop), Arc::clone(&this.arrived));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if server.recv(&mut [0; 64]).is_ok() {
                    arrived.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let (stop, sent) = (Arc::clone(&this.stop), Arc::clone(&this.sent));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // Without a route for a moment it cannot be sent.
                if client.send_to(b"forbidden", (CLAIMS4, FORBIDDEN)).is_ok() {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                thread::park_timeout(Duration::from_micros(500));
            }
        });
        this
    }

    /// What was sent and what arrived so far.
    pub fn told(&self) -> Told {
        Told { sent: self.sent.load(Ordering::Relaxed), arrived: self.arrived.load(Ordering::Relaxed) }
    }

    /// The control: what arrives is counted.
    pub fn control(&self, place: &Place) {
        let before = self.told().arrived;
        let own = place.claims.enter(|| UdpSocket::bind("0.0.0.0:0")).expect("entered").expect("bound");
        own.send_to(b"hello", ("192.168.1.20", FORBIDDEN)).expect("sent");
        assert!(wait_until(PATIENCE, || self.told().arrived == before + 1));
    }
}

impl Drop for Forbidden {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
