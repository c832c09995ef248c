//! Where workers keep what outlives their isolates. It is opened when the first worker comes that keeps anything.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::active::Active;
use crate::config::{self, Backends, Diagnostic, Place, Server};
use crate::observe::QueueMetrics;
use crate::store::{Fleet, Kv, QueueError, QueueName, QueueRule, Queues, Schedules, StoreError};

/// How often the node looks for what has expired, and how queues stand.
const SWEPT_EVERY: Duration = Duration::from_secs(10);

/// How often it looks for messages that are too old: all of them are looked at. In so many sweeps one.
const OLD_EVERY: u32 = 6;

/// The data of all workers.
pub struct Data {
    /// The node's own place for it.
    folder: Option<PathBuf>,
    /// The servers that have it in place of that.
    backends: Backends,
    /// This process only looks at workers, and touches nothing.
    is_unseen: bool,
    kv: Opened<Kv>,
    queues: Opened<Queues>,
    schedules: Opened<Schedules>,
    /// With whom what is due is shared.
    fleet: OnceLock<Arc<Fleet>>,
}

/// What keeps something.
#[derive(Clone, Copy)]
enum Keeper<'a> {
    Folder(&'a Path),
    Server(&'a Server),
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
    /// With these servers, and the rest in this folder, if there is one.
    #[must_use]
    pub fn new(folder: Option<PathBuf>, backends: Backends) -> Self {
        Self {
            folder,
            backends,
            is_unseen: false,
            kv: Opened::none(),
            queues: Opened::none(),
            schedules: Opened::none(),
            fleet: OnceLock::new(),
        }
    }

    /// For a process that looks whether workers could be served: there is a place, or not, and nothing is opened.
    #[must_use]
    pub fn unseen(folder: Option<PathBuf>, backends: Backends) -> Self {
        Self { is_unseen: true, ..Self::new(folder, backends) }
    }

    /// From now on each run of a schedule is one node's.
    pub fn share_with(&self, fleet: Arc<Fleet>) {
        // A node is in one fleet, from its start on.
        let _ = self.fleet.set(fleet);
    }

    /// With whom what is due is shared, if with anybody.
    #[must_use]
    pub fn fleet(&self) -> Option<&Arc<Fleet>> {
        self.fleet.get()
    }

    /// Keys and values, for a worker that has any.
    ///
    /// # Errors
    /// There is no place for them, or it cannot be used.
    pub(super) fn kv_of(&self, worker: &config::Worker) -> Result<Option<Arc<Kv>>, Diagnostic> {
        let wanted = (!worker.kv.is_empty()).then_some("kv");
        self.of(worker, wanted, self.kv_keeper(), |keeper| self.open_kv(keeper))
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
        self.of(worker, wanted, self.queues_keeper(), |keeper| self.open_queues(keeper))
    }

    /// Schedules are kept, for a worker that has any.
    ///
    /// # Errors
    /// There is no place for them, or it cannot be used.
    pub(super) fn schedules_of(&self, worker: &config::Worker) -> Result<(), Diagnostic> {
        let wanted = (!worker.schedules.is_empty()).then_some("[[schedule]]");
        self.of(worker, wanted, self.own(), |keeper| self.open_schedules(keeper)).map(drop)
    }

    fn of<'a, T>(
        &self,
        worker: &config::Worker,
        wanted: Option<&str>,
        keeper: Option<Keeper<'a>>,
        open: impl FnOnce(Keeper<'a>) -> Result<Arc<T>, StoreError>,
    ) -> Result<Option<Arc<T>>, Diagnostic> {
        let Some(wanted) = wanted else { return Ok(None) };
        let file = worker.folder.join("eyot.toml");
        match keeper {
            Some(_) if self.is_unseen => Ok(None),
            Some(keeper) => open(keeper).map(Some).map_err(|error| {
                let help = match keeper {
                    Keeper::Folder(_) => "the node needs this folder for what its workers keep",
                    Keeper::Server(_) => "node.toml names this server for what workers keep",
                };
                Diagnostic::new(Place::file(file), format!("`{wanted}`: {error}"), help)
            }),
            None => {
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
        self.kv_keeper().map(|keeper| self.open_kv(keeper)).transpose()
    }

    /// Queues, likewise.
    ///
    /// # Errors
    /// The place cannot be used.
    pub fn queues(&self) -> Result<Option<Arc<Queues>>, StoreError> {
        self.queues_keeper().map(|keeper| self.open_queues(keeper)).transpose()
    }

    /// Schedules, likewise.
    ///
    /// # Errors
    /// The place cannot be used.
    pub fn schedules(&self) -> Result<Option<Arc<Schedules>>, StoreError> {
        self.own().map(|keeper| self.open_schedules(keeper)).transpose()
    }

    fn own(&self) -> Option<Keeper<'_>> {
        self.folder.as_deref().map(Keeper::Folder)
    }

    fn kv_keeper(&self) -> Option<Keeper<'_>> {
        self.backends.kv.as_ref().map(Keeper::Server).or_else(|| self.own())
    }

    fn queues_keeper(&self) -> Option<Keeper<'_>> {
        self.backends.queues.as_ref().map(Keeper::Server).or_else(|| self.own())
    }

    fn open_kv(&self, keeper: Keeper<'_>) -> Result<Arc<Kv>, StoreError> {
        self.kv.or_open(|| match keeper {
            Keeper::Folder(folder) => Kv::open(folder),
            Keeper::Server(server) => Kv::connect(server, self.backends.staleness),
        })
    }

    fn open_queues(&self, keeper: Keeper<'_>) -> Result<Arc<Queues>, StoreError> {
        self.queues.or_open(|| match keeper {
            Keeper::Folder(folder) => Queues::open(folder),
            Keeper::Server(server) => Queues::connect(server),
        })
    }

    fn open_schedules(&self, keeper: Keeper<'_>) -> Result<Arc<Schedules>, StoreError> {
        self.schedules.or_open(|| match keeper {
            Keeper::Folder(folder) => Schedules::open(folder),
            Keeper::Server(_) => Err(StoreError::Closed),
        })
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
        let dead = consumed.name.beside(dead_letter);
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
