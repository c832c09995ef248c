//! What TLS handshakes have named: bounded, because a client can name any host, as often as it likes, and need not ask.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::code::Code;

/// So many wait to be loaded. What does not fit is loaded when it is asked for.
const WAITING: usize = 16;

/// So many are loaded within [`WINDOW`]. Each takes about a millisecond of a thread that has nothing else to do.
const MOST: u32 = 100;
const WINDOW: Duration = Duration::from_secs(1);

/// Codes that somebody will probably ask for, each once.
#[derive(Default)]
pub(super) struct Expected {
    waiting: VecDeque<Weak<Code>>,
    pace: Pace,
}

/// Counts within one window after the other.
#[derive(Default)]
struct Pace {
    began: Option<Instant>,
    taken: u32,
}

impl Expected {
    /// Whether it is one of them from now on, and was not before.
    pub(super) fn add(&mut self, code: &Arc<Code>) -> bool {
        let is_there = self.waiting.iter().any(|other| other.as_ptr() == Arc::as_ptr(code));
        if is_there || self.waiting.len() >= WAITING || !self.pace.takes(Instant::now()) {
            return false;
        }
        self.waiting.push_back(Arc::downgrade(code));
        true
    }

    pub(super) fn next(&mut self) -> Option<Arc<Code>> {
        std::iter::from_fn(|| self.waiting.pop_front()).find_map(|code| code.upgrade())
    }
}

impl Pace {
    fn takes(&mut self, now: Instant) -> bool {
        if self.began.is_none_or(|began| now.duration_since(began) >= WINDOW) {
            *self = Self { began: Some(now), taken: 0 };
        }
        self.taken += 1;
        self.taken <= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_handshakes_loads_no_more_than_so_many_a_second() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let taken = |pace: &mut Pace, at| (0..1000).filter(|_| pace.takes(at)).count();
        assert_eq!(taken(&mut pace, now), 100);
        assert_eq!(taken(&mut pace, now + WINDOW / 2), 0);
        assert_eq!(taken(&mut pace, now + WINDOW), 100);
    }
}
