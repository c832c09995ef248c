//! What all listeners and connections are told: how far the end has come, and how patient to be with idle clients.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// What the cores do now. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Taking connections and requests.
    Serving,
    /// Another process takes connections from now on. Those that are here may ask once more, and are told that it is the last time.
    Parting,
    /// Taking nothing new.
    Draining,
    /// The threads end.
    Stopped,
}

/// What is told.
#[derive(Clone, Copy, Debug)]
struct Word {
    phase: Phase,
    /// How long a connection may be idle while another one waits for its place.
    patience: Duration,
}

/// The speaking side: one for each core, so that listening never crosses cores.
#[derive(Clone, Debug)]
pub(super) struct Speaker(Arc<[watch::Sender<Word>]>);

/// The listening side.
#[derive(Clone, Debug)]
pub(super) struct Listener(watch::Receiver<Word>);

impl Speaker {
    pub(super) fn new(cores: usize) -> Self {
        let word = Word { phase: Phase::Serving, patience: Duration::MAX };
        Self((0..cores).map(|_| watch::Sender::new(word)).collect())
    }

    pub(super) fn listener(&self, core: usize) -> Listener {
        Listener(self.0[core].subscribe())
    }

    pub(super) fn enter(&self, phase: Phase) {
        for sender in &*self.0 {
            sender.send_if_modified(|word| {
                let forward = phase > word.phase;
                word.phase = phase.max(word.phase);
                forward
            });
        }
    }

    /// Closes connections that have been idle for this long.
    pub(super) fn make_room(&self, patience: Duration) {
        self.0.iter().for_each(|sender| sender.send_modify(|word| word.patience = patience));
    }

    /// There is room again. Nobody needs to wake up for that.
    pub(super) fn relax(&self) {
        for sender in &*self.0 {
            sender.send_if_modified(|word| {
                word.patience = Duration::MAX;
                false
            });
        }
    }
}

impl Listener {
    /// Resolves when something else is told, with the phase.
    pub(super) async fn next(&mut self) -> Phase {
        match self.0.changed().await {
            Ok(()) => self.phase(),
            Err(_) => Phase::Stopped,
        }
    }

    /// Resolves when this phase has come, or a later one.
    pub(super) async fn reached(&mut self, wanted: Phase) {
        // An error says that the cores are gone.
        let _ = self.0.wait_for(|word| word.phase >= wanted).await;
    }

    /// The phase, which is then known: `next` waits for another.
    pub(super) fn phase(&mut self) -> Phase {
        self.0.borrow_and_update().phase
    }

    pub(super) fn patience(&self) -> Duration {
        self.0.borrow().patience
    }
}
