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

/// This part of what is in memory may make way between two looks for what nobody has asked for yet, or so many where that is less.
const SHARE: usize = 16;
const LEAST: usize = 4;

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
    /// How many have made way since somebody looked at what was used.
    made_way: usize,
}

#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) slot: Arc<Slot>,
    pub(super) engine: EngineKind,
    pub(super) bytes: u64,
}

impl WorkingSet {
    pub(super) fn new(bounds: Bounds, loads: Loads) -> Self {
        Self { bounds, state: Mutex::new(State { loaded: LruCache::unbounded(), bytes: 0, made_way: 0 }), loads }
    }

    /// Whether so many more, of this size together, would make another one go.
    pub(super) fn is_full_for(&self, more: usize, bytes: u64) -> bool {
        self.lock().is_over(self.bounds, more, bytes)
    }

    /// Has room for one more, of this size, that nobody has asked for yet: there is some, or a few that nobody has used again since they
    /// came or somebody looked make way. A set that does not hold everything is full, so without that there would never be room.
    pub(super) fn makes_way_for(&self, bytes: u64) -> bool {
        let Some(gone) = self.lock().make_way(self.bounds, bytes) else { return false };
        for loaded in gone {
            loaded.slot.empty();
            self.loads.evicted();
        }
        true
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
        state.made_way = 0;
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
        is_over((self.loaded.len(), self.bytes), bounds, more, bytes)
    }

    /// Takes out what nobody has used for a while, where that is enough for so many bytes more. However many clients name hosts that
    /// they never ask for, they take little from others between two looks.
    fn make_way(&mut self, bounds: Bounds, bytes: u64) -> Option<Vec<Loaded>> {
        let most = (self.loaded.len() / SHARE).max(LEAST);
        let mut numbers = Vec::new();
        let mut freed = 0;
        for (number, loaded) in self.loaded.iter().rev() {
            let left = (self.loaded.len() - numbers.len(), self.bytes - freed);
            if !is_over(left, bounds, 1, bytes) {
                break;
            }
            if loaded.slot.was_used() || self.made_way + numbers.len() >= most {
                return None;
            }
            freed += loaded.bytes;
            numbers.push(*number);
        }
        if is_over((self.loaded.len() - numbers.len(), self.bytes - freed), bounds, 1, bytes) {
            return None;
        }
        self.made_way += numbers.len();
        self.bytes -= freed;
        Some(numbers.iter().filter_map(|number| self.loaded.pop(number)).collect())
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

fn is_over((loaded, taken): (usize, u64), bounds: Bounds, more: usize, bytes: u64) -> bool {
    (loaded + more) as u64 > bounds.components || taken.saturating_add(bytes) > bounds.bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Digest;

    const BOUNDS: Bounds = Bounds { bytes: 100, components: 3 };

    /// One component for each of these sizes, loaded in this order.
    fn state(sizes: &[u64]) -> State {
        let mut state = State { loaded: LruCache::unbounded(), bytes: 0, made_way: 0 };
        for (number, bytes) in (0..).zip(sizes) {
            state.loaded.put(number, loaded(number, *bytes));
            state.bytes += bytes;
        }
        state
    }

    fn loaded(number: u64, bytes: u64) -> Loaded {
        Loaded { slot: Arc::new(Slot::new(number, Digest::of(b""))), engine: EngineKind::Plain, bytes }
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

    #[test]
    fn what_nobody_has_asked_for_takes_the_place_of_what_is_not_used_and_of_little() {
        let make_way = |state: &mut State, bytes| {
            let gone = state.make_way(BOUNDS, bytes)?;
            Some(gone.iter().map(|loaded| loaded.slot.number).collect::<Vec<_>>())
        };
        let mut all = state(&[10, 10]);
        assert_eq!(make_way(&mut all, 80), Some(vec![]), "there is room");
        let mut all = state(&[10, 10, 10]);
        all.loaded.peek(&0).unwrap().slot.is_used();
        assert_eq!(make_way(&mut all, 10), None, "the oldest one was used");
        assert_eq!(make_way(&mut state(&[10, 10, 10]), 10), Some(vec![0]));
        assert_eq!(make_way(&mut state(&[10, 10, 10]), 85), Some(vec![0, 1]));
        assert_eq!(make_way(&mut state(&[10, 10, 10]), 101), None, "it fits nowhere, so nothing goes");
        let mut all = state(&[10, 10, 10]);
        for number in 0..4 {
            assert_eq!(make_way(&mut all, 10), Some(vec![number]));
            all.loaded.put(number + 3, loaded(number + 3, 10));
            all.bytes += 10;
        }
        assert_eq!(make_way(&mut all, 10), None, "so many have made way already");
        assert_eq!((all.loaded.len(), all.bytes), (3, 30));
    }
}
