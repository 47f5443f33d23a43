//! WireGuard's four messages, told apart by type and length (WireGuard paper, section 5.4).

use crate::tunnel::Reason;

/// A datagram, classified but not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Type 1: the first message of a handshake.
    Initiation,
    /// Type 2: its answer.
    Response {
        /// Our index, by which we find the peer.
        receiver: u32,
    },
    /// Type 3: a cookie instead of an answer.
    Cookie {
        /// Our index.
        receiver: u32,
    },
    /// Type 4: a packet, or a keepalive.
    Data {
        /// Our index.
        receiver: u32,
        /// The number of the packet in its session.
        counter: u64,
    },
}

/// Which of several workers a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearing {
    /// The one of this number, to whom the receiver index belongs.
    Session(u8),
    /// It begins a session: the one that admits whoever asks for that.
    Door,
}

/// Which worker a message is for; `None` for what is no message.
pub fn bearing(datagram: &[u8]) -> Option<Bearing> {
    Some(match classify(datagram).ok()? {
        Message::Response { receiver } | Message::Cookie { receiver } | Message::Data { receiver, .. } => {
            Bearing::Session(receiver.to_le_bytes()[1])
        }
        Message::Initiation => Bearing::Door,
    })
}

/// Octets of an initiation.
pub const INITIATION: usize = 148;
/// Octets of a response.
pub const RESPONSE: usize = 92;
/// Octets of a cookie reply.
pub const COOKIE: usize = 64;
/// Octets that a data message has beside the packet in it.
pub const OVERHEAD: usize = 32;

/// Data messages with this counter or a higher one are refused (REJECT_AFTER_MESSAGES, section 6.1).
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

/// Classifies a datagram.
///
/// # Errors
/// [`Reason::MalformedDatagram`] by type and length, [`Reason::CounterExhausted`].
pub fn classify(datagram: &[u8]) -> Result<Message, Reason> {
    let index = |at: usize| -> Result<u32, Reason> {
        let octets = datagram.get(at..).and_then(<[u8]>::first_chunk).ok_or(Reason::MalformedDatagram)?;
        Ok(u32::from_le_bytes(*octets))
    };
    match (index(0)?, datagram.len()) {
        (1, INITIATION) => Ok(Message::Initiation),
        (2, RESPONSE) => Ok(Message::Response { receiver: index(8)? }),
        (3, COOKIE) => Ok(Message::Cookie { receiver: index(4)? }),
        (4, OVERHEAD..) => {
            let counter = u64::from(index(8)?) | u64::from(index(12)?) << 32;
            if counter >= REJECT_AFTER_MESSAGES {
                return Err(Reason::CounterExhausted);
            }
            Ok(Message::Data { receiver: index(4)?, counter })
        }
        _ => Err(Reason::MalformedDatagram),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, length: usize) -> Vec<u8> {
        let mut octets = vec![0; length];
        octets[0] = kind;
        octets
    }

    #[test]
    fn the_four_messages_are_told_apart_by_type_and_length() {
        assert_eq!(classify(&message(1, 148)), Ok(Message::Initiation));
        assert_eq!(classify(&message(2, 92)), Ok(Message::Response { receiver: 0 }));
        assert_eq!(classify(&message(3, 64)), Ok(Message::Cookie { receiver: 0 }));
        assert_eq!(classify(&message(4, 32)), Ok(Message::Data { receiver: 0, counter: 0 }));
        for (kind, length) in [(0, 148), (1, 147), (1, 149), (2, 91), (3, 65), (4, 31), (5, 148), (1, 4)] {
            assert_eq!(classify(&message(kind, length)), Err(Reason::MalformedDatagram), "{kind} {length}");
        }
        assert_eq!(classify(&[]), Err(Reason::MalformedDatagram));
        assert_eq!(classify(&[4, 0, 0]), Err(Reason::MalformedDatagram));
        let mut reserved = message(4, 32);
        reserved[2] = 1;
        assert_eq!(classify(&reserved), Err(Reason::MalformedDatagram), "reserved octets are zero");
    }

    #[test]
    fn data_beyond_reject_after_messages_is_refused() {
        let with = |counter: u64| {
            let mut octets = message(4, 32);
            octets[8..16].copy_from_slice(&counter.to_le_bytes());
            classify(&octets)
        };
        assert_eq!(REJECT_AFTER_MESSAGES, u64::MAX - 8192);
        assert_eq!(with(REJECT_AFTER_MESSAGES - 1), Ok(Message::Data { receiver: 0, counter: u64::MAX - 8193 }));
        assert_eq!(with(REJECT_AFTER_MESSAGES), Err(Reason::CounterExhausted));
        assert_eq!(with(u64::MAX), Err(Reason::CounterExhausted));
    }
}
