//! Tells the supervisor that this process is alive, for as long as its cores are.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, Thread};
use std::time::Duration;

use super::notify::Supervisor;

/// A thread that does so until this is dropped. Nobody waits for it: a core that does not answer would keep it.
#[derive(Debug)]
pub struct Watchdog {
    thread: Thread,
    over: Arc<AtomicBool>,
}

impl Watchdog {
    /// Asks all cores three times within the time that the supervisor waits. `None`: it does not wait for anything.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(
        supervisor: &Arc<Supervisor>,
        answering: impl Fn(Duration) -> Option<bool> + Send + 'static,
    ) -> io::Result<Option<Self>> {
        let Some(wait) = supervisor.watchdog() else { return Ok(None) };
        let (supervisor, over) = (Arc::clone(supervisor), Arc::new(AtomicBool::new(false)));
        let (step, is_over) = (wait / 3, Arc::clone(&over));
        let thread = thread::Builder::new().name("eyot-watchdog".to_owned()).spawn(move || {
            while !is_over.load(Relaxed) {
                match answering(step) {
                    None => return,
                    _ if is_over.load(Relaxed) => return,
                    Some(true) => supervisor.alive(),
                    Some(false) => tracing::warn!(waited = ?step, "a core does not answer"),
                }
                // Woken early, it asks once more.
                thread::park_timeout(step);
            }
        })?;
        Ok(Some(Self { thread: thread.thread().clone(), over }))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        self.thread.unpark();
    }
}
