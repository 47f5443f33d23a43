//! The engines of a link: the current one, and beside it sometimes one that *retires*.
//!
//! The retiring one sends and receives by its session, but takes part in no handshake; the current one takes over with
//! its first session. So a new preshared key or a clock that was put right costs no packet.

use std::time::Instant;

use crate::tunnel::peer::{Engine, Ticked};
use crate::tunnel::reason::Reason;
use crate::tunnel::sessions::REJECT_AFTER;

/// One engine or two.
#[derive(Debug)]
pub struct Engines {
    current: Engine,
    /// Apart, since it is rarely there and an engine has 11 KiB.
    retiring: Option<Box<(Engine, Instant)>>,
    /// Ids of engines that are gone, until the table of ids forgets them.
    released: Vec<u32>,
}

impl Engines {
    /// One engine.
    pub fn new(current: Engine) -> Self {
        Self { current, retiring: None, released: Vec::new() }
    }

    /// The one that makes handshakes.
    pub fn current(&self) -> &Engine {
        &self.current
    }

    /// The one that makes handshakes.
    pub fn current_mut(&mut self) -> &mut Engine {
        &mut self.current
    }

    /// The one by which packets go out: the current one, or until its first session the retiring one.
    pub fn carrier(&self, now: Instant) -> Option<&Engine> {
        if self.current.is_alive(now) {
            return Some(&self.current);
        }
        self.retiring().filter(|engine| engine.is_alive(now))
    }

    /// The same, to work.
    pub fn carrier_mut(&mut self, now: Instant) -> Option<&mut Engine> {
        if self.current.is_alive(now) {
            return Some(&mut self.current);
        }
        self.retiring.as_deref_mut().map(|(engine, _)| engine).filter(|engine| engine.is_alive(now))
    }

    /// The one that has this id.
    pub fn by_id(&mut self, id: u32) -> Option<&mut Engine> {
        if id == self.current.id() {
            return Some(&mut self.current);
        }
        self.retiring.as_deref_mut().map(|(engine, _)| engine).filter(|engine| engine.id() == id)
    }

    /// The one that knows how much is lost.
    pub fn experienced(&self) -> &Engine {
        self.retiring().filter(|_| !self.current.has_session()).unwrap_or(&self.current)
    }

    /// Whether one of them is to be ticked.
    pub fn is_awake(&self) -> bool {
        self.current.is_stirred() || self.retiring.is_some()
    }

    /// Lets another engine make the next handshake; the old one carries on until then, at most 180 s.
    pub fn succeed(&mut self, fresh: Engine, now: Instant) {
        let old = std::mem::replace(&mut self.current, fresh);
        // One that has a session is worth more than one that has none.
        if old.is_alive(now) || self.retiring.is_none() {
            self.retire();
            self.retiring = Some(Box::new((old, now + REJECT_AFTER)));
        } else {
            self.released.push(old.id());
        }
    }

    /// Goes on with this engine alone, which has the current one's id.
    pub fn restart(&mut self, fresh: Engine) {
        debug_assert_eq!(fresh.id(), self.current.id());
        self.retire();
        self.current = fresh;
    }

    /// Lets time pass for the retiring one, and ends it when it is of no more use. How much it wrote to `out`.
    pub fn tick_retiring(&mut self, out: &mut [u8], now: Instant) -> Option<usize> {
        let (engine, until) = self.retiring.as_deref_mut()?;
        let ticked = engine.tick(out, now);
        if *until <= now || !engine.is_alive(now) || ticked == Err(Reason::Panicked) {
            self.retire();
        }
        match ticked {
            Ok(Ticked::Send(length)) => Some(length),
            Ok(Ticked::Quiet | Ticked::Expired) | Err(_) => None,
        }
    }

    /// The ids of engines that are gone since this was last asked.
    pub fn released(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.released)
    }

    /// The ids of all engines that there were since [`Self::released`] was last asked.
    pub fn end(mut self) -> Vec<u32> {
        self.retire();
        self.released.push(self.current.id());
        self.released
    }

    fn retiring(&self) -> Option<&Engine> {
        self.retiring.as_deref().map(|(engine, _)| engine)
    }

    fn retire(&mut self) {
        self.released.extend(self.retiring.take().map(|retired| retired.0.id()));
    }
}
