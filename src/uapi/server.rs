//! Answers clients at a [`Socket`]: one thread, no client waits for another.
//!
//! ```text
//!            ┌─ what its owner waits for (a signal, the device's end)
//!  turn ◄────┼─ the listener ────► Client (at most CLIENTS; then the one idle for longest goes)
//!            └─ each client: readable while it owes us a request, writable while we owe it an answer
//! ```
//!
//! A client costs what its request costs, which is bounded, and one answer at a time: it is not read from until
//! it has taken the last one.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use zeroize::{Zeroize as _, Zeroizing};

use super::change::ZoneLookup;
use super::reader::{Reader, Request};
use super::refusal::Refusal;
use super::socket::Socket;

/// How many clients are served at a time.
pub const CLIENTS: usize = 16;

/// How much is read from a client at a time, in octets.
const PIECE: usize = 16 << 10;

/// Makes the answer to a request.
pub type Answer<'a> = &'a mut dyn FnMut(Result<Request, Refusal>) -> Zeroizing<String>;

/// A socket with its clients.
#[derive(Debug)]
pub struct Server {
    socket: Socket,
    clients: Vec<Client>,
}

/// What is ready, in the order of the poll set.
struct Ready {
    waited: bool,
    listener: bool,
    clients: Vec<bool>,
}

impl Server {
    /// Serves at `socket`.
    pub fn new(socket: Socket) -> Self {
        Self { socket, clients: Vec::new() }
    }

    /// The socket.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Waits at most `within` for clients or for one of `waited` to be readable, and serves what came. Whether one
    /// of `waited` is.
    ///
    /// # Errors
    /// Those of `poll(2)`. What goes wrong with one client ends that client.
    pub fn turn(
        &mut self,
        waited: &[BorrowedFd<'_>],
        within: Duration,
        zone: ZoneLookup<'_>,
        answer: Answer<'_>,
    ) -> io::Result<bool> {
        let ready = self.wait(waited, within)?;
        let now = Instant::now();
        let mut flags = ready.clients.into_iter();
        self.clients.retain_mut(|client| {
            let ready = flags.next().unwrap_or(false);
            if ready {
                client.active = now;
            }
            (!ready && client.unread.is_empty()) || client.serve(zone, answer)
        });
        if ready.listener {
            self.accept(now);
        }
        Ok(ready.waited)
    }

    fn wait(&self, waited: &[BorrowedFd<'_>], within: Duration) -> io::Result<Ready> {
        let mut set: Vec<PollFd<'_>> = waited.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        set.push(PollFd::new(self.socket.listener.as_fd(), PollFlags::POLLIN));
        set.extend(self.clients.iter().map(|client| PollFd::new(client.stream.as_fd(), client.interest())));
        let at_once = self.clients.iter().any(|client| !client.unread.is_empty() && client.answer.is_empty());
        let within = if at_once { Duration::ZERO } else { within };
        match poll(&mut set, PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut flags = set.iter().map(|fd| fd.any().unwrap_or(true));
        let waited = flags.by_ref().take(waited.len()).fold(false, |any, ready| any | ready);
        let listener = flags.next().unwrap_or(false);
        Ok(Ready { waited, listener, clients: flags.collect() })
    }

    /// Accepts one client; more come with the next turn.
    fn accept(&mut self, now: Instant) {
        let accepted = self.socket.listener.accept().and_then(|(stream, _)| {
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        match accepted {
            Ok(stream) => {
                self.make_room();
                self.clients.push(Client::new(stream, now));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => tracing::warn!("a client of the configuration socket could not be accepted: {error}"),
        }
    }

    fn make_room(&mut self) {
        if self.clients.len() < CLIENTS {
            return;
        }
        let idlest = self.clients.iter().enumerate().min_by_key(|(_, client)| client.active).map(|(at, _)| at);
        if let Some(at) = idlest {
            tracing::info!("more than {CLIENTS} clients of the configuration socket: the one idle for longest goes");
            self.clients.swap_remove(at);
        }
    }
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    reader: Reader,
    /// What was received and not yet parsed. It may hold keys.
    unread: Zeroizing<Vec<u8>>,
    /// What is still to be sent. It may hold keys.
    answer: Zeroizing<Vec<u8>>,
    /// Whether it goes once it has its answer.
    ends: bool,
    /// When the stream was last ready.
    active: Instant,
}

impl Client {
    fn new(stream: UnixStream, now: Instant) -> Self {
        Self {
            stream,
            reader: Reader::default(),
            unread: Zeroizing::default(),
            answer: Zeroizing::default(),
            ends: false,
            active: now,
        }
    }

    fn interest(&self) -> PollFlags {
        if self.answer.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLOUT }
    }

    /// Does what can be done without waiting, one request at most. Whether the client stays.
    fn serve(&mut self, zone: ZoneLookup<'_>, answer: Answer<'_>) -> bool {
        match self.progress(zone, answer) {
            Ok(()) => !(self.ends && self.answer.is_empty()),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock || error.kind() == io::ErrorKind::Interrupted,
        }
    }

    fn progress(&mut self, zone: ZoneLookup<'_>, answer: Answer<'_>) -> io::Result<()> {
        self.send()?;
        if self.unread.is_empty() && !self.ends {
            self.receive()?;
        }
        let mut rest = self.unread.as_slice();
        let outcome = self.reader.read(&mut rest, zone);
        let taken = self.unread.len() - rest.len();
        self.unread[..taken].zeroize();
        self.unread.drain(..taken);
        if let Some(outcome) = outcome {
            if outcome.as_ref().is_err_and(Refusal::ends_the_connection) {
                self.ends = true;
                self.unread.clear();
            }
            self.answer.extend_from_slice(answer(outcome).as_bytes());
            self.send()?;
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        self.unread.resize(PIECE, 0);
        let outcome = self.stream.read(&mut self.unread);
        self.unread.truncate(*outcome.as_ref().unwrap_or(&0));
        self.ends = outcome? == 0;
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.answer.is_empty() {
            let sent = self.stream.write(&self.answer)?;
            self.answer[..sent].zeroize();
            self.answer.drain(..sent);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    struct Bench {
        folder: tempfile::TempDir,
        server: Server,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let server = Server::new(Socket::open(folder.path(), "wg0").expect("a socket"));
            Self { folder, server }
        }

        fn client(&self) -> UnixStream {
            let stream = UnixStream::connect(self.folder.path().join("wg0.sock")).expect("a connection");
            stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a time-out");
            stream
        }

        fn turns(&mut self, answer: &str) {
            for _ in 0..40 {
                let mut answer = |_| Zeroizing::new(answer.to_owned());
                self.server.turn(&[], Duration::from_millis(1), &|_| None, &mut answer).expect("a turn");
            }
        }
    }

    fn received(mut stream: &UnixStream) -> Option<String> {
        let mut octets = [0; 1024];
        stream.read(&mut octets).ok().map(|count| String::from_utf8_lossy(&octets[..count]).into_owned())
    }

    #[test]
    fn a_client_gets_its_answers_one_after_the_other_and_may_stay() {
        let mut bench = Bench::new();
        let mut client = bench.client();
        client.write_all(b"get=1\n\nset=1\n\nget=").expect("sent");
        bench.turns("answer\n");
        assert_eq!(received(&client).as_deref(), Some("answer\nanswer\n"));
        client.write_all(b"1\n\n").expect("sent");
        bench.turns("answer\n");
        assert_eq!(received(&client).as_deref(), Some("answer\n"));
    }

    #[test]
    fn a_slow_client_keeps_nobody_waiting() {
        let mut bench = Bench::new();
        let mut slow = bench.client();
        slow.write_all(b"set=1\nlisten_p").expect("sent");
        let mut deaf = bench.client();
        deaf.write_all(b"get=1\n\n").expect("sent");
        bench.turns(&"x".repeat(4 << 20));
        let mut other = bench.client();
        other.write_all(b"get=1\n\n").expect("sent");
        bench.turns("answer\n");
        assert_eq!(received(&other).as_deref(), Some("answer\n"));
        assert_eq!(received(&slow), None);
    }

    #[test]
    fn a_client_that_breaks_the_protocol_is_told_and_left() {
        let mut bench = Bench::new();
        let mut client = bench.client();
        client.write_all(b"GET / HTTP/1.1\n\n").expect("sent");
        bench.turns("no\n");
        assert_eq!(received(&client).as_deref(), Some("no\n"));
        assert_eq!(received(&client).as_deref(), Some(""), "closed");
        assert!(bench.server.clients.is_empty());
    }

    #[test]
    fn clients_that_go_are_forgotten() {
        let mut bench = Bench::new();
        let mut half = bench.client();
        half.write_all(b"set=1\nlisten_port=1\n").expect("sent");
        drop((half, bench.client()));
        bench.turns("answer\n");
        assert!(bench.server.clients.is_empty());
    }

    #[test]
    fn of_too_many_clients_the_one_idle_for_longest_goes() {
        let mut bench = Bench::new();
        let first = bench.client();
        bench.turns("");
        let others: Vec<UnixStream> = (0..CLIENTS).map(|_| bench.client()).collect();
        bench.turns("");
        assert_eq!(bench.server.clients.len(), CLIENTS);
        assert_eq!(received(&first).as_deref(), Some(""), "closed");
        assert_eq!(received(&others[0]), None, "open");
    }

    #[test]
    fn what_the_owner_waits_for_ends_the_waiting() {
        let mut bench = Bench::new();
        let (reader, mut writer) = UnixStream::pair().expect("a pair");
        let mut answer = |_| Zeroizing::default();
        let mut turn =
            || bench.server.turn(&[reader.as_fd()], Duration::from_millis(1), &|_| None, &mut answer).expect("a turn");
        assert!(!turn());
        writer.write_all(b"x").expect("sent");
        assert!(turn());
    }
}
