//! Tells requests apart in a stream of octets, whatever pieces it comes in.
//!
//! ```text
//!            get=1            empty line
//! Operation ───────► Get ─────────────────► Request::Get ──► Operation
//!     │     set=1            empty line
//!     ├────────────► Set ─────────────────► Request::Set ──► Operation
//!     │               │ refused line
//!     │               ▼      empty line
//!     │              Skip ────────────────► Refusal ───────► Operation
//!     └─ anything else, or a limit ───────► Refusal, and the connection ends
//! ```

use zeroize::{Zeroize as _, Zeroizing};

use super::change::{Change, ZoneLookup};
use super::refusal::Refusal;

/// The longest line that is read, in octets. The longest that `wg(8)` writes has less than 120.
pub const LINE_LIMIT: usize = 512;

/// The longest request that is read, in octets: some 400,000 allowed prefixes.
pub const REQUEST_LIMIT: usize = 16 << 20;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `get=1`.
    Get,
    /// `set=1`.
    Set(Change),
}

/// Reads requests from one connection.
#[derive(Debug, Default)]
pub struct Reader {
    state: State,
    /// The line so far: it may hold a key.
    line: Zeroizing<Vec<u8>>,
    /// Octets of this request so far.
    size: usize,
    /// Lines of this request so far.
    lines: u64,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Operation,
    Get,
    Set(Change),
    Skip(Refusal),
}

impl Reader {
    /// Reads on until one request is complete or refused, and takes what it read from `octets`; `None` when all
    /// was read and the request goes on. After a refusal that [ends the connection](Refusal::ends_the_connection)
    /// there is no sense in reading on.
    pub fn read(&mut self, octets: &mut &[u8], zone: ZoneLookup<'_>) -> Option<Result<Request, Refusal>> {
        while let Some((&octet, rest)) = octets.split_first() {
            *octets = rest;
            if let Some(outcome) = self.octet(octet, zone) {
                self.begin_anew();
                return Some(outcome);
            }
        }
        None
    }

    fn begin_anew(&mut self) {
        self.state = State::Operation;
        self.size = 0;
        self.lines = 0;
        self.clear_line();
    }

    fn clear_line(&mut self) {
        // `clear` alone would leave the octets of a key in memory.
        self.line.as_mut_slice().zeroize();
        self.line.clear();
    }

    fn octet(&mut self, octet: u8, zone: ZoneLookup<'_>) -> Option<Result<Request, Refusal>> {
        self.size = self.size.saturating_add(1);
        if self.size > REQUEST_LIMIT {
            return Some(Err(Refusal::RequestTooLong));
        }
        if octet != b'\n' {
            if self.line.len() == LINE_LIMIT {
                return Some(Err(Refusal::LineTooLong));
            }
            if self.line.capacity() == 0 {
                // At once, so that growing leaves no copies of a key behind.
                self.line.reserve_exact(LINE_LIMIT);
            }
            self.line.push(octet);
            return None;
        }
        self.lines += 1;
        let outcome = self.end_of_line(zone);
        self.clear_line();
        outcome
    }

    fn end_of_line(&mut self, zone: ZoneLookup<'_>) -> Option<Result<Request, Refusal>> {
        let empty = self.line.is_empty();
        match (&mut self.state, empty) {
            (State::Operation, _) => return self.operation().err().map(Err),
            (State::Get, true) => return Some(Ok(Request::Get)),
            (State::Get, false) => self.state = State::Skip(Refusal::TrailingLine),
            (State::Set(change), true) => return Some(Ok(Request::Set(std::mem::take(change)))),
            (State::Set(change), false) => {
                let line = self.lines;
                let text = std::str::from_utf8(&self.line).map_err(|_| Refusal::NotKeyValue { line });
                if let Err(refusal) = text.and_then(|text| change.line(text, line, zone)) {
                    self.state = State::Skip(refusal);
                }
            }
            (State::Skip(refusal), true) => return Some(Err(refusal.clone())),
            (State::Skip(_), false) => {}
        }
        None
    }

    fn operation(&mut self) -> Result<(), Refusal> {
        self.state = match self.line.as_slice() {
            b"get=1" => State::Get,
            b"set=1" => State::Set(Change::default()),
            _ => return Err(Refusal::UnknownOperation),
        };
        Ok(())
    }
}
