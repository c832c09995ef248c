//! One thread that writes lines for all cores, so that a slow disk, pipe or terminal never stops a core.
//!
//! A core appends to its [`Lane`]: an uncontended lock and a copy. The thread is woken at the first line and then takes all
//! lanes at once, after a pause that gathers more. A lane is bounded: while the thread is behind, lines are dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use prometheus::IntCounter;

/// What one lane holds at most before lines are dropped: 3,000 lines of the access log. A core that does nothing but small
/// requests makes them in 40 ms; the writer is called when half of that is there.
pub const LANE_BYTES: usize = 1024 * 1024;
/// How long a writer that is dropped waits for its last bytes to be written.
pub(super) const LAST_WAIT: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The standard output of the process.
    Stdout,
    /// The standard error of the process.
    Stderr,
    /// A file that is appended to; it is created if it is not there.
    File(PathBuf),
}

/// The thread and what it shares with the lanes. Dropping it writes what is left, within a bounded wait.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    waker: Thread,
    thread: Option<JoinHandle<()>>,
    /// In a lock only so that a writer may be shared; nobody waits for it but the one who closes.
    ended: Mutex<Receiver<()>>,
}

/// One core's way to the writer. Clones append to the same buffer.
#[derive(Clone, Debug)]
pub struct Lane {
    buffer: Arc<Mutex<Vec<u8>>>,
    shared: Arc<Shared>,
    waker: Thread,
}

#[derive(Debug)]
struct Shared {
    lanes: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    lost: IntCounter,
    /// Lines have come since the last round.
    wanted: AtomicBool,
    /// A lane is half full: do not wait for more.
    hurry: AtomicBool,
    closed: AtomicBool,
}

impl Writer {
    /// Opens the destination and starts the thread. `pause` is how long it gathers lines before it writes; `lost` counts
    /// lines that were dropped or could not be written.
    pub fn start(destination: &Destination, pause: Duration, lost: IntCounter) -> io::Result<Self> {
        let output: Box<dyn Write + Send> = match destination {
            Destination::Stdout => Box::new(io::stdout()),
            Destination::Stderr => Box::new(io::stderr()),
            Destination::File(path) => Box::new(open(path)?),
        };
        Self::start_on(output, pause, lost)
    }

    pub(super) fn start_on(mut output: Box<dyn Write + Send>, pause: Duration, lost: IntCounter) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            lanes: Mutex::default(),
            lost,
            wanted: AtomicBool::new(false),
            hurry: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let (end, ended) = sync_channel(0);
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name("eyot-writer".to_owned()).spawn(move || {
            theirs.run(&mut *output, pause);
            drop(end);
        })?;
        Ok(Self { shared, waker: thread.thread().clone(), thread: Some(thread), ended: Mutex::new(ended) })
    }

    /// A way in, for one core.
    #[must_use]
    pub fn lane(&self) -> Lane {
        let buffer = Arc::default();
        lock(&self.shared.lanes).push(Arc::clone(&buffer));
        Lane { buffer, shared: Arc::clone(&self.shared), waker: self.waker.clone() }
    }

    /// Writes what is left and ends the thread. Says whether it was done in time; what comes later is dropped and counted.
    pub fn close(&mut self, wait: Duration) -> bool {
        let Some(thread) = self.thread.take() else { return true };
        self.shared.closed.store(true, Ordering::Release);
        self.waker.unpark();
        match lock(&self.ended).recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => false,
            _ => thread.join().is_ok(),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close(LAST_WAIT);
    }
}

impl Lane {
    /// Appends one line, or what `write` makes of several. Says whether there was room; if not, it is counted as lost.
    pub fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut buffer = lock(&self.buffer);
        let before = buffer.len();
        if before < LANE_BYTES && !self.shared.closed.load(Ordering::Acquire) {
            write(&mut buffer);
        }
        let after = buffer.len();
        if after > LANE_BYTES {
            buffer.truncate(before);
        }
        drop(buffer);
        let accepted = before < after && after <= LANE_BYTES;
        if !accepted {
            self.shared.lost.inc();
        }
        if after > LANE_BYTES / 2 && !self.shared.hurry.swap(true, Ordering::AcqRel) {
            self.waker.unpark();
        }
        // Read before write: the flag stays in every core's cache while lines come.
        if !self.shared.wanted.load(Ordering::Acquire) && !self.shared.wanted.swap(true, Ordering::AcqRel) {
            self.waker.unpark();
        }
        accepted
    }
}

impl Shared {
    fn run(&self, output: &mut dyn Write, pause: Duration) {
        let mut taken = Vec::new();
        loop {
            while !self.wanted.load(Ordering::Acquire) && !self.closed.load(Ordering::Acquire) {
                thread::park();
            }
            self.gather(pause);
            let last = self.closed.load(Ordering::Acquire);
            self.hurry.store(false, Ordering::Release);
            // Before the lanes are taken: what is appended from here on wakes this thread again.
            self.wanted.swap(false, Ordering::AcqRel);
            self.write_all(output, &mut taken);
            if last {
                return;
            }
        }
    }

    fn gather(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.hurry.load(Ordering::Acquire) && !self.closed.load(Ordering::Acquire) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    fn write_all(&self, output: &mut dyn Write, taken: &mut Vec<u8>) {
        let lanes = lock(&self.lanes).clone();
        for lane in &lanes {
            taken.clear();
            mem::swap(&mut *lock(lane), taken);
            if taken.is_empty() {
                continue;
            }
            if output.write_all(taken).and_then(|()| output.flush()).is_err() {
                // The reader of a pipe went away, or a disk is full. Nobody can be told but the counter.
                self.lost.inc_by(taken.iter().filter(|byte| **byte == b'\n').count() as u64);
            }
        }
        drop(lanes);
        // One owner left: the core that had this lane is gone, and its last line was written above or stands in it now.
        lock(&self.lanes).retain(|lane| Arc::strong_count(lane) > 1 || !lock(lane).is_empty());
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// A thread that panicked while it held a buffer leaves at worst half a line in it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> IntCounter {
        IntCounter::new("lost", "lines").unwrap()
    }

    fn line(lane: &Lane, text: &str) -> bool {
        lane.append(|out| out.extend_from_slice(text.as_bytes()))
    }

    #[test]
    fn what_was_appended_is_written_when_the_writer_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let writer = Writer::start(&Destination::File(path.clone()), Duration::from_secs(60), counter()).unwrap();
        let (one, two) = (writer.lane(), writer.lane());
        assert!(line(&one, "a\n") && line(&two, "b\n") && line(&one, "c\n"));
        drop(writer);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nc\nb\n");
    }

    #[test]
    fn a_line_is_written_after_the_pause_without_another_one() {
        let (mut read, write) = io::pipe().unwrap();
        let writer = Writer::start_on(Box::new(write), Duration::from_millis(1), counter()).unwrap();
        let lane = writer.lane();
        for text in ["first\n", "second\n"] {
            line(&lane, text);
            let mut seen = vec![0; text.len()];
            io::Read::read_exact(&mut read, &mut seen).unwrap();
            assert_eq!(seen, text.as_bytes());
        }
    }

    #[test]
    fn lines_are_dropped_and_counted_while_the_writer_is_behind() {
        let lost = counter();
        // A pipe that nobody reads stops the thread for good.
        let (read, write) = io::pipe().unwrap();
        let mut writer = Writer::start_on(Box::new(write), Duration::ZERO, lost.clone()).unwrap();
        let lane = writer.lane();
        let text = format!("{}\n", "x".repeat(1023));
        let accepted = (0..8000).filter(|_| line(&lane, &text)).count() as u64;
        assert!((1024..=3072).contains(&accepted), "{accepted} lines were accepted");
        assert_eq!(lost.get(), 8000 - accepted);
        assert!(!writer.close(Duration::from_millis(20)), "the wait at the end was not bounded");
        assert!(!line(&lane, "late\n"), "a line was accepted after the end");
        drop(read);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let lost = counter();
        let (read, write) = io::pipe().unwrap();
        drop(read);
        let writer = Writer::start_on(Box::new(write), Duration::ZERO, lost.clone()).unwrap();
        line(&writer.lane(), "a\nb\n");
        drop(writer);
        assert_eq!(lost.get(), 2);
    }

    #[test]
    fn a_line_longer_than_a_lane_is_dropped_and_the_next_one_is_not() {
        let lost = counter();
        let writer = Writer::start_on(Box::new(io::sink()), Duration::ZERO, lost.clone()).unwrap();
        let lane = writer.lane();
        assert!(!line(&lane, &"x".repeat(LANE_BYTES + 1)));
        assert!(line(&lane, "y\n"));
        assert_eq!(lost.get(), 1);
    }
}
