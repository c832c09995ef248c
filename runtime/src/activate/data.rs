//! Where workers keep what outlives their isolates. It is opened when the first worker comes that keeps anything.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::active::Active;
use crate::config::{self, Diagnostic, Place};
use crate::observe::QueueMetrics;
use crate::store::{Kv, QueueError, QueueName, QueueRule, Queues, Schedules, StoreError};

/// How often the node looks for what has expired, and how queues stand.
const SWEPT_EVERY: Duration = Duration::from_secs(10);

/// How often it looks for messages that are too old: all of them are looked at. In so many sweeps one.
const OLD_EVERY: u32 = 6;

/// The data of all workers.
pub struct Data {
    place: Where,
    kv: Opened<Kv>,
    queues: Opened<Queues>,
    schedules: Opened<Schedules>,
}

/// Where it lies.
enum Where {
    /// In this folder.
    In(PathBuf),
    /// This process only looks at workers, and touches nothing.
    Unseen,
    /// The node has no place for it.
    Nowhere,
}

/// What is opened once.
struct Opened<T>(Mutex<Option<Arc<T>>>);

impl<T> Opened<T> {
    fn none() -> Self {
        Self(Mutex::new(None))
    }

    fn or_open(&self, open: impl FnOnce() -> Result<T, StoreError>) -> Result<Arc<T>, StoreError> {
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*opened {
            Some(opened) => Ok(Arc::clone(opened)),
            None => Ok(Arc::clone(opened.insert(Arc::new(open()?)))),
        }
    }

    fn if_open(&self) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Data {
    /// In this folder, if there is one.
    #[must_use]
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self::at(folder.map_or(Where::Nowhere, Where::In))
    }

    /// For a process that looks whether workers could be served: there is a place, or not, and nothing is opened.
    #[must_use]
    pub fn unseen(folder: Option<PathBuf>) -> Self {
        Self::at(folder.map_or(Where::Nowhere, |_| Where::Unseen))
    }

    fn at(place: Where) -> Self {
        Self { place, kv: Opened::none(), queues: Opened::none(), schedules: Opened::none() }
    }

    /// Keys and values, for a worker that has any.
    ///
    /// # Errors
    /// There is no place for them, or it cannot be used.
    pub(super) fn kv_of(&self, worker: &config::Worker) -> Result<Option<Arc<Kv>>, Diagnostic> {
        let wanted = (!worker.kv.is_empty()).then_some("kv");
        self.of(worker, wanted, |folder| self.kv.or_open(|| Kv::open(folder)))
    }

    /// Queues, for a worker that works any off or sends to any.
    ///
    /// # Errors
    /// There is no place for them, or it cannot be used.
    pub(super) fn queues_of(&self, worker: &config::Worker) -> Result<Option<Arc<Queues>>, Diagnostic> {
        let wanted = match (worker.queues.is_empty(), worker.sends.is_empty()) {
            (false, _) => Some("[[queue]]"),
            (true, false) => Some("sends"),
            (true, true) => None,
        };
        self.of(worker, wanted, |folder| self.queues.or_open(|| Queues::open(folder)))
    }

    /// Schedules are kept, for a worker that has any.
    ///
    /// # Errors
    /// There is no place for them, or it cannot be used.
    pub(super) fn schedules_of(&self, worker: &config::Worker) -> Result<(), Diagnostic> {
        let wanted = (!worker.schedules.is_empty()).then_some("[[schedule]]");
        self.of(worker, wanted, |folder| self.schedules.or_open(|| Schedules::open(folder))).map(drop)
    }

    fn of<T>(
        &self,
        worker: &config::Worker,
        wanted: Option<&str>,
        open: impl FnOnce(&Path) -> Result<Arc<T>, StoreError>,
    ) -> Result<Option<Arc<T>>, Diagnostic> {
        let Some(wanted) = wanted else { return Ok(None) };
        let file = worker.folder.join("eyot.toml");
        match &self.place {
            Where::Unseen => Ok(None),
            Where::In(folder) => open(folder).map(Some).map_err(|error| {
                let help = "the node needs this folder for what its workers keep";
                Diagnostic::new(Place::file(file), format!("`{wanted}`: {error}"), help)
            }),
            Where::Nowhere => {
                let message = format!("worker `{}` has `{wanted}`, and this node keeps nothing", worker.name);
                let help = "add `store = \"FOLDER\"` and [admin] to node.toml";
                Err(Diagnostic::new(Place::file(file), message, help))
            }
        }
    }

    /// Keys and values, whoever needs them: `None` where there is no place for them.
    ///
    /// # Errors
    /// The place cannot be used.
    pub fn kv(&self) -> Result<Option<Arc<Kv>>, StoreError> {
        let Where::In(folder) = &self.place else { return Ok(None) };
        self.kv.or_open(|| Kv::open(folder)).map(Some)
    }

    /// Queues, likewise.
    ///
    /// # Errors
    /// The place cannot be used.
    pub fn queues(&self) -> Result<Option<Arc<Queues>>, StoreError> {
        let Where::In(folder) = &self.place else { return Ok(None) };
        self.queues.or_open(|| Queues::open(folder)).map(Some)
    }

    /// Schedules, likewise.
    ///
    /// # Errors
    /// The place cannot be used.
    pub fn schedules(&self) -> Result<Option<Arc<Schedules>>, StoreError> {
        let Where::In(folder) = &self.place else { return Ok(None) };
        self.schedules.or_open(|| Schedules::open(folder)).map(Some)
    }

    /// From now on messages are sent to the queues of this snapshot, and no others.
    pub fn rule(&self, active: &Active) {
        let Some(queues) = self.queues.if_open() else { return };
        let rule = |consumed: &super::active::Consumed| {
            let producers = consumed.queue.producers.clone();
            (consumed.name.clone(), QueueRule { producers, limits: consumed.limits })
        };
        queues.rule(active.queues.values().map(rule).collect());
    }

    /// Removes what has expired and tells how queues stand, for as long as the node runs; `serving` has what serves.
    pub async fn sweep(&self, serving: impl Fn() -> Arc<Active>, metrics: QueueMetrics) {
        for sweep in (0..OLD_EVERY).cycle() {
            tokio::time::sleep(SWEPT_EVERY).await;
            if let Some(kv) = self.kv.if_open()
                && let Err(error) = kv.sweep().await
            {
                tracing::error!("keys and values that have expired stay on the disk: {error}");
            }
            if let Some(queues) = self.queues.if_open() {
                let looked = match sweep {
                    0 => sweep_queues(&queues, &serving()).await,
                    _ => Ok(()),
                };
                if let Err(error) = looked.and(tell_of(&queues, &metrics).await) {
                    tracing::error!("messages that nobody was done with in time may stay in their queues: {error}");
                }
            }
        }
    }
}

/// What nobody was done with in time becomes a dead letter, and dead letters that nobody looks after are gone in time. Those that another
/// queue's consumer works off are messages like others.
async fn sweep_queues(queues: &Queues, active: &Active) -> Result<(), QueueError> {
    for consumed in active.queues.values() {
        let config::Queue { dead_letter, retention, .. } = &*consumed.queue;
        let buried = queues.bury(&consumed.name, dead_letter, *retention).await?;
        if buried > 0 {
            tracing::warn!(queue = %consumed.name, dead_letter, messages = buried, "nobody was done with them in time");
        }
        let dead = QueueName { worker: Arc::clone(&consumed.name.worker), name: dead_letter.as_str().into() };
        if !active.queues.contains_key(&dead) {
            queues.forget(&dead, *retention).await?;
        }
    }
    queues.forget_keys().await.map(drop)
}

/// How queues stand.
async fn tell_of(queues: &Queues, metrics: &QueueMetrics) -> Result<(), QueueError> {
    let now = Timestamp::now();
    for standing in queues.standing(None).await? {
        let QueueName { worker, name } = &standing.queue;
        let oldest = standing.oldest.map(|oldest| now.duration_since(oldest).unsigned_abs());
        metrics.stands(worker, name, standing.messages, standing.bytes, oldest);
    }
    Ok(())
}
