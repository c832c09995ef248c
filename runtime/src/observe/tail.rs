//! The live tail: those who look at requests and at what guests write, while it happens.
//!
//! Mostly nobody does, and then a request costs a look at a number that all cores share and nobody changes. Where somebody does, the
//! core that ends a request asks whether it is wanted, before anything is written, and puts it into a queue. A queue that is full takes
//! no more: what it did not take is counted, and told to its reader.

use std::fmt::{self, Debug, Formatter};
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use http::HeaderMap;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tracing::Level;

use super::access::{hexadecimal, rfc3339};
use super::escape::EscapingJson;
use super::{EscapedBytes, Record, RequestId, Stream, TraceId};

mod wanted;

pub use wanted::{Sample, Statuses, Wanted};

/// So many tails at once.
pub const MOST: usize = 16;

/// What waits for one reader is no more than this: so many events, so many bytes.
const QUEUE: usize = 1024;
const QUEUE_BYTES: usize = 1 << 20;

/// Somebody looks.
const WATCHED: u8 = 1;
/// Somebody asks for heads of requests.
const BY_HEADERS: u8 = 2;

/// All tails of a node; clones are the same.
#[derive(Clone, Default)]
pub struct Tails(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// What those who look need.
    needs: AtomicU8,
    watchers: ArcSwap<Vec<Arc<Watcher>>>,
    /// Held by who begins or ends a tail.
    opening: Mutex<Opening>,
}

#[derive(Default)]
struct Opening {
    next: u64,
    ended: bool,
}

/// One who looks, as cores see it.
struct Watcher {
    number: u64,
    wanted: Wanted,
    events: Sender<Told>,
    queue: Arc<Queue>,
}

/// What is known of a queue on both sides.
#[derive(Debug, Default)]
struct Queue {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

/// One who looks, as it reads. Dropping it ends the tail.
pub struct Tail {
    tails: Tails,
    number: u64,
    events: Receiver<Told>,
    queue: Arc<Queue>,
}

/// What a tail is told: each a JSON object in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A request that is over, as the access log has it.
    Request(Arc<str>),
    /// What a guest wrote.
    Line(Arc<str>),
    /// So many of these were not told, because the reader was slow.
    Dropped(u64),
}

/// Why nobody else may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTail {
    /// [`MOST`] do.
    #[error("there are {MOST} tails already; end one of them")]
    TooMany,
    /// There is nothing left to see.
    #[error("the node ends")]
    Ended,
}

/// A line that a guest wrote.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    #[serde(serialize_with = "rfc3339")]
    time: Timestamp,
    request_id: &'a str,
    #[serde(serialize_with = "hexadecimal")]
    trace_id: TraceId,
    worker: &'a str,
    stream: Stream,
    level: &'static str,
    message: String,
}

/// Where a line comes from.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) worker: &'a str,
    pub(super) request: &'a RequestId,
    pub(super) trace: TraceId,
    pub(super) stream: Stream,
}

impl Tails {
    /// Begins to look.
    ///
    /// # Errors
    /// Too many do, or the node ends.
    pub fn open(&self, wanted: Wanted) -> Result<Tail, NoTail> {
        let mut opening = self.opening();
        let watchers = self.0.watchers.load();
        if opening.ended {
            return Err(NoTail::Ended);
        }
        if watchers.len() >= MOST {
            return Err(NoTail::TooMany);
        }
        opening.next += 1;
        let (sender, events) = mpsc::channel(QUEUE);
        let (number, queue) = (opening.next, Arc::<Queue>::default());
        let watcher = Watcher { number, wanted, events: sender, queue: Arc::clone(&queue) };
        self.have(watchers.iter().cloned().chain([Arc::new(watcher)]).collect());
        Ok(Tail { tails: self.clone(), number, events, queue })
    }

    /// Ends all tails, when they have been told what waits for them, and lets nobody begin another one. Says how many there were.
    pub fn end(&self) -> usize {
        self.opening().ended = true;
        let were = self.0.watchers.load().len();
        self.have(Vec::new());
        were
    }

    /// What has to be kept of a request's head until it is over: most often nothing.
    pub fn keep(&self, headers: &HeaderMap) -> Option<Box<HeaderMap>> {
        let needs = self.0.needs.load(Relaxed);
        (needs & BY_HEADERS != 0).then(|| Box::new(headers.clone()))
    }

    /// Shows a request that is over to whoever wants to see it. Never waits.
    pub fn request(&self, record: &Record<'_>, headers: Option<&HeaderMap>) {
        if self.0.needs.load(Relaxed) != 0 {
            self.offer(|wanted| wanted.request(record, headers), || Told::Request(json(record)));
        }
    }

    /// Shows a line to whoever wants to see it. Never waits.
    pub(super) fn line(&self, said: Said<'_>, level: Level, bytes: &[u8]) {
        if self.0.needs.load(Relaxed) != 0 {
            let line = || Line {
                time: Timestamp::now(),
                request_id: said.request.as_str(),
                trace_id: said.trace,
                worker: said.worker,
                stream: said.stream,
                level: level.as_str(),
                message: EscapedBytes(bytes).to_string(),
            };
            self.offer(|wanted| wanted.line(said.worker, said.request, bytes), || Told::Line(json(&line())));
        }
    }

    /// Written once, for all who want it.
    #[cold]
    fn offer(&self, wants: impl Fn(&Wanted) -> bool, told: impl Fn() -> Told) {
        let mut written = None;
        for watcher in self.0.watchers.load().iter().filter(|watcher| wants(&watcher.wanted)) {
            watcher.tell(|| written.get_or_insert_with(&told).clone());
        }
    }

    fn have(&self, watchers: Vec<Arc<Watcher>>) {
        let by_headers = watchers.iter().any(|watcher| watcher.wanted.asks_for_headers());
        let watched = if watchers.is_empty() { 0 } else { WATCHED };
        self.0.watchers.store(Arc::new(watchers));
        self.0.needs.store(watched | if by_headers { BY_HEADERS } else { 0 }, Relaxed);
    }

    fn opening(&self) -> MutexGuard<'_, Opening> {
        self.0.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    /// Nothing is written for a queue that is full.
    fn tell(&self, told: impl FnOnce() -> Told) {
        if self.events.capacity() > 0 {
            let told = told();
            let bytes = told.bytes();
            let before = self.queue.bytes.fetch_add(bytes, Relaxed);
            if before + bytes <= QUEUE_BYTES && self.events.try_send(told).is_ok() {
                return;
            }
            self.queue.bytes.fetch_sub(bytes, Relaxed);
        }
        self.queue.dropped.fetch_add(1, Relaxed);
    }
}

impl Tail {
    /// What comes next, as soon as there is something. `None`: the node ends. A call that is given up loses nothing.
    pub async fn next(&mut self) -> Option<Told> {
        match self.queue.dropped.swap(0, Relaxed) {
            0 => {}
            dropped => return Some(Told::Dropped(dropped)),
        }
        let told = self.events.recv().await?;
        self.queue.bytes.fetch_sub(told.bytes(), Relaxed);
        Some(told)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _opening = self.tails.opening();
        let others = self.tails.0.watchers.load();
        self.tails.have(others.iter().filter(|watcher| watcher.number != self.number).cloned().collect());
    }
}

impl Told {
    fn bytes(&self) -> usize {
        match self {
            Self::Request(json) | Self::Line(json) => json.len(),
            Self::Dropped(_) => 0,
        }
    }
}

impl Debug for Tails {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tails").field(&self.0.watchers.load().len()).finish()
    }
}

/// With everything escaped that could drive a terminal, so it has no line feed either.
fn json(value: &impl Serialize) -> Arc<str> {
    let mut out = Vec::with_capacity(512);
    // It cannot fail: the Vec grows, and all keys are strings.
    let _ = value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, EscapingJson));
    String::from_utf8(out).unwrap_or_default().into()
}

#[cfg(test)]
mod tests;
