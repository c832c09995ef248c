//! The components that are in memory: those that were used last, within bounds on their bytes and on their number.
//!
//! Requests only raise a flag, because a list that all cores change for each request would be waited for. What was used moves to the
//! front when somebody looks: before anything has to go, and once in [`LOOKS`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;

use super::code::Slot;
use crate::observe::Loads;
use crate::sandbox::{EngineKind, Prepared};

/// Between two looks at what was used. So much of the order is lost with a process that is killed.
pub(super) const LOOKS: Duration = Duration::from_secs(60);

/// What may be in memory at once.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Limit `loaded_bytes`.
    pub bytes: u64,
    /// Limit `loaded_components`, or as many as the kernel has mappings for.
    pub components: u64,
}

/// What is in memory, the one that was used last first.
pub(super) struct WorkingSet {
    bounds: Bounds,
    state: Mutex<State>,
    loads: Loads,
}

struct State {
    loaded: LruCache<u64, Loaded>,
    bytes: u64,
}

#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) slot: Arc<Slot>,
    pub(super) engine: EngineKind,
    pub(super) bytes: u64,
}

impl WorkingSet {
    pub(super) fn new(bounds: Bounds, loads: Loads) -> Self {
        Self { bounds, state: Mutex::new(State { loaded: LruCache::unbounded(), bytes: 0 }), loads }
    }

    /// Whether so many more, of this size together, would make another one go.
    pub(super) fn is_full_for(&self, more: usize, bytes: u64) -> bool {
        self.lock().is_over(self.bounds, more, bytes)
    }

    /// Takes in what was just loaded. What was used longest ago goes until there is room; the newest stays, however large it is, and
    /// isolates keep what they run.
    pub(super) fn add(&self, loaded: Loaded, prepared: Arc<Prepared>) {
        let gone = {
            let mut state = self.lock();
            let gone = state.make_room(self.bounds, loaded.bytes);
            // Under the lock, so that nobody takes out what is not yet in.
            loaded.slot.fill(prepared);
            state.bytes += loaded.bytes;
            if let Some(before) = state.loaded.put(loaded.slot.number, loaded) {
                state.bytes -= before.bytes;
            }
            self.loads.loaded(state.loaded.len(), state.bytes);
            gone
        };
        // Unmapping takes time, in which others may load.
        for loaded in gone {
            loaded.slot.empty();
            self.loads.evicted();
        }
    }

    /// Forgets one whose version is gone.
    pub(super) fn remove(&self, slot: &Slot) {
        let mut state = self.lock();
        if let Some(loaded) = state.loaded.pop(&slot.number) {
            state.bytes -= loaded.bytes;
            self.loads.loaded(state.loaded.len(), state.bytes);
        }
    }

    /// Those that were used since the last look. They stand first from now on.
    pub(super) fn used(&self) -> Vec<Loaded> {
        let mut state = self.lock();
        // From the one that was used longest ago, so that they keep their order.
        let used: Vec<Loaded> = state
            .loaded
            .iter()
            .rev()
            .filter(|(_, loaded)| loaded.slot.take_used())
            .map(|(_, used)| used.clone())
            .collect();
        for loaded in &used {
            state.loaded.promote(&loaded.slot.number);
        }
        used
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_over(&self, bounds: Bounds, more: usize, bytes: u64) -> bool {
        (self.loaded.len() + more) as u64 > bounds.components || self.bytes.saturating_add(bytes) > bounds.bytes
    }

    /// Takes out what has to go for so many bytes more.
    fn make_room(&mut self, bounds: Bounds, bytes: u64) -> Vec<Loaded> {
        let mut gone = Vec::new();
        // What was used has a second chance, but no third: it may be used again meanwhile, all the time.
        let mut chances = self.loaded.len();
        while self.is_over(bounds, 1, bytes) {
            let Some((number, loaded)) = self.loaded.pop_lru() else { break };
            if chances > 0 && loaded.slot.take_used() {
                chances -= 1;
                self.loaded.put(number, loaded);
                continue;
            }
            self.bytes -= loaded.bytes;
            gone.push(loaded);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Digest;

    const BOUNDS: Bounds = Bounds { bytes: 100, components: 3 };

    /// One component for each of these sizes, loaded in this order.
    fn state(sizes: &[u64]) -> State {
        let mut state = State { loaded: LruCache::unbounded(), bytes: 0 };
        for (number, bytes) in (0..).zip(sizes) {
            let slot = Arc::new(Slot::new(number, Digest::of(b"")));
            state.loaded.put(number, Loaded { slot, engine: EngineKind::Plain, bytes: *bytes });
            state.bytes += bytes;
        }
        state
    }

    fn make_room(state: &mut State, bytes: u64) -> Vec<u64> {
        state.make_room(BOUNDS, bytes).iter().map(|loaded| loaded.slot.number).collect()
    }

    #[test]
    fn as_many_go_as_must_and_those_that_were_used_longest_ago_first() {
        assert_eq!(make_room(&mut state(&[40, 20, 40]), 0), [0], "one too many");
        assert_eq!(make_room(&mut state(&[40, 20]), 40), [0; 0]);
        assert_eq!(make_room(&mut state(&[40, 20]), 41), [0]);
        assert_eq!(make_room(&mut state(&[20, 20, 50]), 40), [0, 1]);
        let mut all = state(&[20, 20, 50]);
        assert_eq!(make_room(&mut all, 1000), [0, 1, 2], "and there is no more to go");
        assert_eq!((all.bytes, all.loaded.len()), (0, 0));
    }

    #[test]
    fn what_was_used_meanwhile_has_a_second_chance_and_no_third() {
        let mut all = state(&[10, 10, 10]);
        let slots: Vec<_> = (0..3).map(|number| Arc::clone(&all.loaded.peek(&number).unwrap().slot)).collect();
        slots[0].is_used();
        assert_eq!(make_room(&mut all, 10), [1]);
        assert_eq!(make_room(&mut all, 90), [2], "the first one stands behind it now");
        let mut all = state(&[10, 10, 10]);
        all.loaded.iter().for_each(|(_, loaded)| loaded.slot.is_used());
        assert_eq!(make_room(&mut all, 10), [0], "all were used, so it is the oldest again");
    }
}
