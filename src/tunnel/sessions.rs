//! How long the sessions of one engine last, so that no packet needs to ask a clock.
//!
//! ```text
//!   answered ──▶ kept ──────────── first data in it ──┐
//!                                                     ├──▶ current ── 180 s ──▶ over
//!   established by the response to our initiation ────┘
//! ```
//!
//! boringtun keeps a ring of eight sessions, counts their ages by a clock that it reads itself, and lets go of those that
//! are too old when it is ticked. Here is the same ring with the instants at which they end, by the clock of the caller:
//! they hold to the instant, not to the next tick, and for what is received too (WireGuard paper, section 6.1).

use std::time::{Duration, Instant};

/// Sessions older than this carry nothing (REJECT_AFTER_TIME, WireGuard paper, section 6.1).
pub const REJECT_AFTER: Duration = Duration::from_secs(180);

/// As many as boringtun keeps; the lowest bits of the index say where.
const KEPT: usize = 8;

/// A session, by our index of it.
#[derive(Clone, Copy, Debug)]
struct Session {
    index: u32,
    until: Instant,
}

/// The sessions of one engine.
#[derive(Debug, Default)]
pub struct Sessions {
    kept: [Option<Session>; KEPT],
    /// The one that what is sent goes by.
    current: Option<Session>,
}

impl Sessions {
    /// We answered an initiation: there is a session when the initiator uses it.
    pub fn answer(&mut self, index: u32, now: Instant) {
        self.keep(Session { index, until: now + REJECT_AFTER });
    }

    /// Our initiation was answered: there is a session.
    pub fn establish(&mut self, index: u32, now: Instant) {
        let session = Session { index, until: now + REJECT_AFTER };
        self.keep(session);
        self.current = Some(session);
    }

    /// Something authentic arrived by a session: if it is younger than the current one, it takes its place.
    pub fn confirm(&mut self, index: u32) {
        if self.current.is_some_and(|current| current.index == index) {
            return;
        }
        if let Some(session) = self.find(index)
            && self.current.is_none_or(|current| current.until <= session.until)
        {
            self.current = Some(session);
        }
    }

    /// What boringtun thinks of the current session: its age, or that there is none. Its clock also counts while the
    /// machine sleeps, so it may be further than ours.
    pub fn correct(&mut self, age: Option<Duration>, now: Instant) {
        self.current = self.current.zip(age).map(|(session, age)| Session {
            until: session.until.min(now + REJECT_AFTER.saturating_sub(age)),
            ..session
        });
    }

    /// Whether there is a current session, however old.
    pub fn is_any(&self) -> bool {
        self.current.is_some()
    }

    /// Whether there is a current session younger than 180 s.
    pub fn is_alive(&self, now: Instant) -> bool {
        self.current.is_some_and(|session| now < session.until)
    }

    /// The age of the current session, 180 s for all that are older.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.current.map(|session| REJECT_AFTER.saturating_sub(session.until.saturating_duration_since(now)))
    }

    /// Whether this session is known to be too old for what arrives by it.
    pub fn is_over(&self, index: u32, now: Instant) -> bool {
        self.find(index).is_some_and(|session| session.until <= now)
    }

    /// What stood in its place is gone, as in boringtun.
    fn keep(&mut self, session: Session) {
        let place = place(session.index);
        self.current.take_if(|current| self::place(current.index) == place);
        self.kept[place] = Some(session);
    }

    fn find(&self, index: u32) -> Option<Session> {
        self.kept[place(index)].filter(|session| session.index == index)
    }
}

fn place(index: u32) -> usize {
    usize::try_from(index).unwrap_or(0) % KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_session_ends_at_180_s_to_the_instant() {
        let begun = Instant::now();
        let mut sessions = Sessions::default();
        sessions.establish(0x100, begun);
        let last = begun + REJECT_AFTER - Duration::from_nanos(1);
        assert!(sessions.is_alive(last) && !sessions.is_over(0x100, last));
        assert!(!sessions.is_alive(begun + REJECT_AFTER) && sessions.is_over(0x100, begun + REJECT_AFTER));
        assert_eq!(sessions.age(begun + SECOND), Some(SECOND));
        assert_eq!(sessions.age(begun + REJECT_AFTER * 2), Some(REJECT_AFTER));
    }

    #[test]
    fn an_answered_session_is_current_when_it_was_used_and_as_old_as_its_answer() {
        let begun = Instant::now();
        let mut sessions = Sessions::default();
        sessions.answer(1, begun);
        assert!(!sessions.is_alive(begun));
        sessions.confirm(1);
        assert_eq!(sessions.age(begun + SECOND), Some(SECOND));
        sessions.answer(2, begun + 150 * SECOND);
        assert_eq!(sessions.age(begun + 150 * SECOND), Some(150 * SECOND), "the old one goes on");
        assert!(!sessions.is_alive(begun + 180 * SECOND), "and gets no older by an answer");
        sessions.confirm(2);
        assert!(sessions.is_alive(begun + 180 * SECOND));
        sessions.confirm(1);
        assert!(sessions.is_alive(begun + 180 * SECOND), "a late packet of the old one changes nothing");
    }

    #[test]
    fn the_ninth_session_takes_the_place_of_the_first() {
        let begun = Instant::now();
        let mut sessions = Sessions::default();
        sessions.establish(1, begun);
        (2..9).for_each(|index| sessions.answer(index, begun + SECOND));
        assert!(sessions.is_alive(begun + SECOND));
        sessions.answer(9, begun + SECOND);
        assert!(!sessions.is_alive(begun + SECOND), "boringtun would seal by one that was not confirmed");
        sessions.confirm(9);
        assert!(sessions.is_alive(begun + SECOND));
        assert!(!sessions.is_over(1, begun + REJECT_AFTER), "what is not known is left to boringtun");
    }

    #[test]
    fn boringtuns_clock_can_only_shorten_a_session() {
        let begun = Instant::now();
        let mut sessions = Sessions::default();
        sessions.establish(1, begun);
        sessions.correct(Some(Duration::ZERO), begun + 10 * SECOND);
        assert_eq!(sessions.age(begun + 10 * SECOND), Some(10 * SECOND));
        sessions.correct(Some(100 * SECOND), begun + 20 * SECOND);
        assert_eq!(sessions.age(begun + 20 * SECOND), Some(100 * SECOND), "the machine slept");
        sessions.correct(None, begun + 20 * SECOND);
        assert!(!sessions.is_any());
        sessions.correct(Some(SECOND), begun + 20 * SECOND);
        assert!(!sessions.is_any(), "one that we do not know is not used");
    }
}
