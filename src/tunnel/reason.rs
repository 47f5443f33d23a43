//! Why a packet or datagram went no further: the return value, the metric's label and the text of `status`.

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $label:literal,)*) => {
        /// Why a packet or datagram went no further.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in metrics and in `status`.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

reasons! {
    /// From the TUN device: neither IPv4 nor IPv6, or a length that does not fit.
    MalformedOutgoing = "malformed_outgoing",
    /// From the TUN device: too many waited for the cipher or the network, or this one's flow for too long.
    Overload = "overload",
    /// For another worker, which has too much to do.
    WorkerBusy = "worker_busy",
    /// From the TUN device: link-local, where such addresses belong to the worker.
    LinkLocal = "link_local",
    /// From the TUN device: no prefix holds the destination.
    NoRoute = "no_route",
    /// From the TUN device: the destination's site has no link.
    NoLink = "no_link",
    /// From the TUN device: longer than its link carries, and not to be fragmented. The sender was told by ICMP.
    TooBig = "too_big",
    /// No address of the peer is known.
    NoEndpoint = "no_endpoint",
    /// The oldest of too many packets that waited for a session.
    QueueFull = "queue_full",
    /// Waited for a session for 90 s, or until the link was remade.
    QueueExpired = "queue_expired",
    /// No room in the batch of datagrams: the network takes them too slowly.
    SendBlocked = "send_blocked",
    /// The operating system refused the datagram.
    SendFailed = "send_failed",
    /// No room in the batch of packets for the TUN device.
    TunBlocked = "tun_blocked",
    /// The TUN device refused the packet: it is down, or the packet is longer than it takes.
    TunRefused = "tun_refused",
    /// Longer than a buffer.
    Oversized = "oversized",
    /// From the network: the socket's buffer was full, since they come faster than they are opened; the kernel dropped
    /// it, or a whole run of datagrams counted as one. Also a wrong UDP checksum.
    ReceiveBufferFull = "receive_buffer_full",
    /// From the network: no WireGuard message by type and length.
    MalformedDatagram = "malformed_datagram",
    /// From the network: the socket has no private key yet.
    NoKey = "no_key",
    /// A handshake message whose first code is wrong: its sender does not know our public key.
    BadMac = "bad_mac",
    /// A handshake message that was answered by a cookie: the sender must first prove its address.
    Challenged = "challenged",
    /// A handshake message for which there was no place to wait (8,192).
    HandshakeQueueFull = "handshake_queue_full",
    /// A handshake message beyond its source's allowance (20 per second, bursts of 5).
    SourceLimited = "source_limited",
    /// A handshake message beyond its peer's allowance (50 initiations per second).
    PeerLimited = "peer_limited",
    /// An initiation of a public key that is no peer.
    UnknownPeer = "unknown_peer",
    /// A message for a receiver index that is not ours.
    UnknownReceiver = "unknown_receiver",
    /// An initiation that is not younger than the last one of its peer.
    StaleHandshake = "stale_handshake",
    /// A response or cookie without a handshake in progress.
    UnexpectedHandshake = "unexpected_handshake",
    /// Data for a session that is over.
    NoSession = "no_session",
    /// Data with a counter above the protocol's limit (REJECT_AFTER_MESSAGES).
    CounterExhausted = "counter_exhausted",
    /// Data with a counter that was seen, or is older than the window of 1,024.
    Replayed = "replayed",
    /// Its authentication tag is wrong.
    Unauthentic = "unauthentic",
    /// Authentic, but inside is no IP packet.
    MalformedPacket = "malformed_packet",
    /// Authentic, but its source address belongs to nobody, or to a site for which the link may not speak.
    ForeignSource = "foreign_source",
    /// Authentic, but marked as congested on its way or while it waited to be received, and the sender of the packet
    /// inside would not understand that: it is dropped as the congested router would have done (RFC 6040, section 4.2).
    Congested = "congested",
    /// For the worker itself, which has no use for it.
    Unclaimed = "unclaimed",
    /// The protocol's engine failed; the peer was made anew.
    Panicked = "panicked",
}

/// How many went no further, by reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drops([u64; Reason::ALL.len()]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; Reason::ALL.len()])
    }
}

impl Drops {
    /// Counts one.
    pub fn count(&mut self, reason: Reason) {
        self.add(reason, 1);
    }

    /// Counts several.
    pub fn add(&mut self, reason: Reason, number: u64) {
        self.0[reason as usize] += number;
    }

    /// How many of one reason.
    pub fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// Every reason with its number, also 0.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().map(|&reason| (reason, self.of(reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_counts_by_itself_under_a_label_of_its_own() {
        let mut drops = Drops::default();
        drops.count(Reason::Replayed);
        drops.add(Reason::Panicked, 3);
        assert_eq!(drops.of(Reason::Replayed), 1);
        assert_eq!(drops.of(Reason::Panicked), 3);
        assert_eq!(drops.iter().map(|(_, number)| number).sum::<u64>(), 4);
        let labels: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), Reason::ALL.len());
    }
}
