//! The connection to a Redis server. It is made anew for as long as it takes; meanwhile everything that is asked has its error at once.
//!
//! What was proved of a server holds for one connection: another one may lead to another server, or to the same with another
//! configuration. So nothing is asked over a connection that has proved nothing, which is why it is not the library that makes it anew.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _, ProtocolVersion, PushInfo, PushKind, RedisResult};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::sleep;

use super::proof::{Doubt, prove};
use crate::config::Server;
use crate::store::error::StoreError;
use crate::store::queue::changes::Changes;
use crate::store::queue::model::QueueName;

/// What is asked has its answer within this time, or none.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a connection may take, and how long a start waits for the first.
const CONNECT: Duration = Duration::from_secs(3);

/// Between two attempts to connect, and to see a proof.
const AGAIN: Duration = Duration::from_millis(500);

/// How often a server that has proved what it must is asked for it again: it can be configured anew while it runs. One that does not answer
/// then is found to be away.
const LOOK: Duration = Duration::from_secs(5);

/// Where nodes tell each other that there is something in a queue: `WORKER/QUEUE`.
const BELL: &str = "eyot.bell";

/// How the server stands.
#[derive(Clone, Debug)]
enum Standing {
    /// It is not connected, or has proved nothing yet, and this is why.
    Away(Arc<str>),
    /// It may be asked.
    Here(Arc<Connection>),
    /// It may not be used, and this is why.
    Refused(Arc<str>),
}

/// A connection that has proved what it must.
#[derive(Debug)]
pub(super) struct Connection {
    redis: MultiplexedConnection,
    /// Workers that the server knows.
    workers: Mutex<HashSet<Arc<str>>>,
}

impl Connection {
    pub(super) fn redis(&self) -> MultiplexedConnection {
        self.redis.clone()
    }

    /// Sees to it that a worker is among those that have queues: that set is in no script, since a cluster would keep it elsewhere.
    pub(super) async fn know(&self, worker: &Arc<str>) -> RedisResult<()> {
        if self.workers.lock().unwrap_or_else(PoisonError::into_inner).contains(worker) {
            return Ok(());
        }
        () = redis::cmd("SADD").arg(super::WORKERS).arg(&**worker).query_async(&mut self.redis()).await?;
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(worker));
        Ok(())
    }
}

/// A server. A thread has its connections for as long as this lives.
#[derive(Debug)]
pub(super) struct Link {
    place: Arc<str>,
    standing: watch::Receiver<Standing>,
    _stay: oneshot::Sender<()>,
}

impl Link {
    /// Connects to a server. One that is not there is waited for in the background.
    ///
    /// # Errors
    /// When it is there and may not be used.
    pub(super) fn open(server: &Server, changes: Arc<Changes>) -> Result<Self, StoreError> {
        let place: Arc<str> = server.place().into();
        let told = |reason: &dyn Display| StoreError::Server { place: place.to_string(), reason: reason.to_string() };
        let client = client(server).map_err(|error| told(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| told(&error))?;
        let (know, standing) = watch::channel(Standing::Away("it is not connected".into()));
        let (first, known) = blocking::sync_channel(1);
        let (stay, leave) = oneshot::channel::<()>();
        let keeper =
            Keeper { client, is_unsynced: server.allow_unsynced, place: Arc::clone(&place), know, first, changes };
        let keep = async move {
            tokio::select! {
                () = keeper.keep() => {}
                _ = leave => {}
            }
        };
        let thread = thread::Builder::new().name("eyot-redis".to_owned());
        thread.spawn(move || runtime.block_on(keep)).map_err(|error| told(&error))?;
        // One that says nothing for so long is away.
        _ = known.recv_timeout(CONNECT);
        let link = Self { place, standing, _stay: stay };
        match link.ask() {
            Err(unsynced @ StoreError::Unsynced { .. }) => Err(unsynced),
            Err(_) | Ok(_) => Ok(link),
        }
    }

    /// The server, if it may be asked now.
    ///
    /// # Errors
    /// When it is not connected, and when it may lose what it acknowledges.
    pub(super) fn ask(&self) -> Result<Arc<Connection>, StoreError> {
        match &*self.standing.borrow() {
            Standing::Here(connection) => Ok(Arc::clone(connection)),
            Standing::Away(why) => Err(self.failed(why)),
            Standing::Refused(why) => Err(refused(&self.place, why)),
        }
    }

    /// That something was asked for in vain.
    pub(super) fn failed(&self, reason: impl Display) -> StoreError {
        away(&self.place, reason)
    }
}

fn away(place: &str, reason: impl Display) -> StoreError {
    StoreError::Server { place: place.to_owned(), reason: reason.to_string() }
}

fn refused(place: &str, reason: impl Display) -> StoreError {
    StoreError::Unsynced { place: place.to_owned(), reason: reason.to_string() }
}

fn client(server: &Server) -> RedisResult<Client> {
    let info = server.url.as_str().into_connection_info()?;
    // By the third version of the protocol a connection says by itself when it is lost.
    let asked = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Client::open(info.set_redis_settings(asked))
}

/// What there is while a server is connected.
struct Connected {
    redis: MultiplexedConnection,
    /// Notified when a connection is lost.
    lost: Arc<Notify>,
    /// What others tell has a connection of its own: one that listens is cut off by the server when 32 MiB wait for it, which a batch may
    /// well have.
    _bells: MultiplexedConnection,
}

/// What keeps the connection.
struct Keeper {
    client: Client,
    is_unsynced: bool,
    place: Arc<str>,
    know: watch::Sender<Standing>,
    /// Whoever opens the link waits until it is known how the server stands.
    first: blocking::SyncSender<()>,
    changes: Arc<Changes>,
}

impl Keeper {
    async fn keep(&self) {
        loop {
            let why = match self.connect().await {
                Ok(connected) => self.hold(connected).await,
                Err(error) => error.to_string(),
            };
            self.stand(Standing::Away(why.into()));
            sleep(AGAIN).await;
        }
    }

    /// Connects and listens to what other nodes tell.
    async fn connect(&self) -> RedisResult<Connected> {
        let (changes, lost) = (Arc::clone(&self.changes), Arc::new(Notify::new()));
        let lose = Arc::clone(&lost);
        let hear = move |push: PushInfo| {
            match push.kind {
                PushKind::Disconnection => lose.notify_one(),
                PushKind::Message => _ = rung(push).map(|queue| changes.tell(&queue)),
                _ => {}
            }
            Ok::<_, redis::aio::SendError>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(hear);
        let redis = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut bells = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        bells.subscribe(BELL).await?;
        Ok(Connected { redis, lost, _bells: bells })
    }

    /// Looks how a server stands for as long as it is connected, and says why it is no longer.
    async fn hold(&self, connected: Connected) -> String {
        let Connected { mut redis, lost, .. } = connected;
        let here = Arc::new(Connection { redis: redis.clone(), workers: Mutex::default() });
        loop {
            let (standing, look) = match prove(&mut redis, self.is_unsynced).await {
                Ok(()) => (Standing::Here(Arc::clone(&here)), LOOK),
                Err(Doubt::Refused(why)) => (Standing::Refused(why.into()), AGAIN),
                Err(Doubt::Away(why)) => return why,
            };
            self.stand(standing);
            tokio::select! {
                () = lost.notified() => return "the connection is lost".to_owned(),
                () = sleep(look) => {}
            }
        }
    }

    /// It stands so from now on, which the log says once.
    fn stand(&self, standing: Standing) {
        let is_news = match (&*self.know.borrow(), &standing) {
            (Standing::Here(before), Standing::Here(now)) => !Arc::ptr_eq(before, now),
            (Standing::Away(before), Standing::Away(now)) => before != now,
            (Standing::Refused(before), Standing::Refused(now)) => before != now,
            _ => true,
        };
        if is_news {
            match &standing {
                Standing::Here(_) => tracing::info!("connected to {}", self.place),
                Standing::Away(why) => tracing::warn!("{}", away(&self.place, why)),
                Standing::Refused(why) => tracing::error!("{}", refused(&self.place, why)),
            }
            self.know.send_replace(standing);
        }
        // Only the first time there is somebody who waits for it.
        _ = self.first.try_send(());
    }
}

/// The queue that another node has told of.
fn rung(push: PushInfo) -> Option<QueueName> {
    let bell: String = redis::from_redis_value(push.data.into_iter().nth(1)?).ok()?;
    let (worker, name) = bell.split_once('/')?;
    Some(QueueName { worker: worker.into(), name: name.into() })
}
