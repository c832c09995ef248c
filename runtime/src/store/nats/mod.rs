//! The connection to a NATS server, for whatever is kept there. It is made anew for as long as it takes; meanwhile everything that is asked
//! has its error at once.
//!
//! JetStream acknowledges before it has written to the disk, unless it is told not to (`sync_interval: always`), and tells that to its
//! monitoring port alone. A server that does not prove it is not used, unless the operator allows it.

mod ask;
mod proof;
mod publish;

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::thread;
use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, ConnectOptions, Event, connection::State};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::error::StoreError;
use crate::config::Server;
use crate::observe;
use proof::Proof;

pub(super) use publish::{LARGEST_BATCH, New, Refused};

/// What is asked has its answer within this time, or none.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// How long a start waits for a server that is not there.
const FIRST: Duration = Duration::from_secs(3);

/// Between two attempts to connect, and two to see a proof.
const AGAIN: Duration = Duration::from_millis(500);

/// So many batches are on their way at a time: the server has room for 50 of a stream.
const BATCHES: usize = 16;

/// The oldest server that has all that is needed: batches that are written as a whole.
const OLDEST: (i64, i64, i64) = (2, 12, 0);

/// How the server stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// It is not connected, or has proved nothing yet, and this is why.
    Away(Arc<str>),
    /// It may be asked, and so many connections there have been.
    Here(u64),
    /// It may not be used, and this is why.
    Refused(Arc<str>),
}

/// A connection. A thread has it for as long as this lives.
#[derive(Debug)]
pub(super) struct Link {
    client: Client,
    jetstream: Context,
    place: Arc<str>,
    standing: watch::Receiver<Standing>,
    batches: Semaphore,
    runtime: Handle,
    _stay: oneshot::Sender<()>,
}

impl Link {
    /// Connects to a server. One that is not there is waited for in the background.
    ///
    /// # Errors
    /// When it is there and may not be used, and when its credentials cannot be read.
    pub(super) fn open(server: &Server) -> Result<Arc<Self>, StoreError> {
        let place: Arc<str> = server.place().into();
        let told = |reason: &dyn Display| StoreError::Server { place: place.to_string(), reason: reason.to_string() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| told(&error))?;
        let handle = runtime.handle().clone();
        let (options, proof, url) =
            (options(server).map_err(|error| told(&error))?, Proof::new(server), server.url.clone());
        let (know, standing) = watch::channel(Standing::Away("it is not connected".into()));
        let (tell, connected) = blocking::sync_channel(1);
        let (stay, leave) = oneshot::channel::<()>();
        let keep = async move {
            let (event, events) = mpsc::unbounded_channel();
            let options = options.event_callback(move |happened| {
                let event = event.clone();
                // Nobody listens any more when the thread ends.
                async move {
                    _ = event.send(happened);
                }
            });
            let client = match options.connect(url.as_str()).await {
                Ok(client) => client,
                Err(error) => {
                    _ = tell.send(Err(error.to_string()));
                    return;
                }
            };
            _ = tell.send(Ok(client.clone()));
            tokio::select! {
                () = watch_over(&client, events, &proof, &know) => {}
                _ = leave => {}
            }
        };
        let thread = thread::Builder::new().name("eyot-nats".to_owned());
        thread.spawn(move || runtime.block_on(keep)).map_err(|error| told(&error))?;
        let client = connected.recv().map_err(|error| told(&error))?.map_err(|error| told(&error))?;
        // What it starts for itself belongs to the thread.
        let here = handle.enter();
        let jetstream = ContextBuilder::new().timeout(ANSWER).ack_timeout(ANSWER).build(client.clone());
        drop(here);
        let batches = Semaphore::new(BATCHES);
        let link = Self { client, jetstream, place, standing, batches, runtime: handle, _stay: stay };
        link.wait(FIRST);
        match link.ask() {
            Err(unsynced @ StoreError::Unsynced { .. }) => Err(unsynced),
            Err(away) => {
                tracing::warn!("{away}");
                Ok(Arc::new(link))
            }
            Ok(_) => Ok(Arc::new(link)),
        }
    }

    /// The server, if it may be asked now.
    ///
    /// # Errors
    /// When it is not connected, and when it may lose what it acknowledges.
    pub(super) fn ask(&self) -> Result<&Context, StoreError> {
        match &*self.standing.borrow() {
            Standing::Here(_) if self.client.connection_state() == State::Connected => Ok(&self.jetstream),
            Standing::Here(_) => Err(self.failed("the connection is lost")),
            Standing::Away(why) => Err(self.failed(why)),
            Standing::Refused(why) => {
                Err(StoreError::Unsynced { place: self.place.to_string(), reason: why.to_string() })
            }
        }
    }

    /// The connection itself, whether there is one now or not.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// How many connections there have been: what was known of the server before another one may be so no more.
    pub(super) fn generation(&self) -> u64 {
        match *self.standing.borrow() {
            Standing::Here(generation) => generation,
            Standing::Away(_) | Standing::Refused(_) => 0,
        }
    }

    /// Does something for as long as there is this connection, on its thread.
    pub(super) fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let _here = self.runtime.enter();
        observe::spawn(name, future);
    }

    /// That something was asked for in vain.
    pub(super) fn failed(&self, reason: impl Display) -> StoreError {
        StoreError::Server { place: self.place.to_string(), reason: reason.to_string() }
    }

    fn wait(&self, patience: Duration) {
        let until = Instant::now() + patience;
        while matches!(&*self.standing.borrow(), Standing::Away(_)) && Instant::now() < until {
            thread::park_timeout(Duration::from_millis(2));
        }
    }
}

fn options(server: &Server) -> std::io::Result<ConnectOptions> {
    let options = ConnectOptions::new()
        .name("eyot")
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(|_| AGAIN)
        .request_timeout(Some(ANSWER));
    let user = server.url.username();
    let options = match (user.is_empty(), server.url.password()) {
        (true, _) => options,
        (false, Some(password)) => options.user_and_password(user.to_owned(), password.to_owned()),
        (false, None) => options.token(user.to_owned()),
    };
    match &server.credentials {
        Some(file) => options.credentials(&std::fs::read_to_string(file)?),
        None => Ok(options),
    }
}

/// Says how the server stands, for as long as there is a connection to be had.
async fn watch_over(
    client: &Client,
    mut events: mpsc::UnboundedReceiver<Event>,
    proof: &Proof,
    know: &watch::Sender<Standing>,
) {
    let mut connections = 0;
    loop {
        while client.connection_state() != State::Connected {
            match events.recv().await {
                None | Some(Event::Closed) => return,
                Some(Event::ServerError(error)) => _ = know.send(Standing::Away(error.to_string().into())),
                Some(Event::ClientError(error)) => _ = know.send(Standing::Away(error.to_string().into())),
                Some(_) => {}
            }
        }
        let info = client.server_info();
        let standing = match client.is_server_compatible(OLDEST.0, OLDEST.1, OLDEST.2) {
            false => Standing::Refused(format!("it is version {}, and 2.12 is needed", info.version).into()),
            true => proof.of(&info.server_id, connections + 1).await,
        };
        if *know.borrow() != standing {
            match &standing {
                Standing::Here(_) => tracing::info!(server = info.server_name, "connected to NATS"),
                Standing::Away(why) | Standing::Refused(why) => tracing::error!("NATS is not used: {why}"),
            }
            _ = know.send(standing.clone());
        }
        // What has not proved anything may do so at any time; what has may be another server after the next connection.
        let is_here = matches!(standing, Standing::Here(_));
        connections += u64::from(is_here);
        let look_again = tokio::time::sleep(AGAIN);
        tokio::pin!(look_again);
        loop {
            tokio::select! {
                () = &mut look_again, if !is_here => break,
                event = events.recv() => match event {
                    None | Some(Event::Closed) => return,
                    Some(Event::Disconnected) => {
                        tracing::warn!("the connection to NATS is lost; it is made anew");
                        _ = know.send(Standing::Away("the connection is lost".into()));
                        break;
                    }
                    Some(Event::Connected) => break,
                    Some(_) => {}
                },
            }
        }
    }
}
