//! The threads: one single-threaded runtime for each core, and the connections shared out among them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::addresses::{Addresses, Counted};
use super::alt_svc::AltSvc;
use super::connection::{self, Service};
use super::http3::{self, Offered};
use super::listener::{self, Listening};
use super::phase::{Phase, Speaker};
use super::{Credentials, Handle, outbox};
use crate::config::NodeLimits;
use crate::observe;

/// How many cores this process may use; `taskset` and cgroups count.
#[must_use]
pub fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What an accepted connection comes with.
pub(super) struct Accepted {
    pub(super) peer: SocketAddr,
    pub(super) tls: Option<Credentials>,
    /// The HTTP/3 that its client may be told of.
    pub(super) announced: Option<Arc<AltSvc>>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) counted: Counted,
}

/// A connection that a core accepts for another.
pub(super) enum Handed {
    Tcp(TcpStream),
    Quic(Box<Offered>),
}

/// The same on its way, bound to no core.
enum Unbound {
    Tcp(std::net::TcpStream),
    Quic(Box<Offered>),
}

/// What is sent to a core.
enum Order {
    Listen(Listening, Accepting),
    /// To be answered, which tells that it turns.
    Answer(mpsc::Sender<()>),
    Serve(Unbound, Accepted, Place),
}

/// What a listener holds for as long as it may accept another connection.
pub(super) type Accepting = watch::Receiver<()>;

/// How one core is reached.
#[derive(Debug)]
struct Link {
    /// Unbounded, because each message holds a connection's permit.
    inbox: UnboundedSender<Order>,
    connections: Arc<AtomicUsize>,
}

/// One connection of a core, for as long as it is there.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(link: &Link) -> Self {
        link.connections.fetch_add(1, Relaxed);
        Self(Arc::clone(&link.connections))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// One core, seen from itself.
#[derive(Clone, Debug)]
pub(super) struct Core<H> {
    index: usize,
    links: Arc<[Link]>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) addresses: Arc<Addresses>,
    pub(super) phases: Speaker,
    pub(super) service: Service<H>,
}

impl<H: Handle> Core<H> {
    /// Takes what is sent until the phase is [`Phase::Stopped`].
    async fn run(self, mut orders: UnboundedReceiver<Order>) {
        let mut phase = self.service.phase.clone();
        loop {
            let order = tokio::select! {
                biased;
                () = phase.reached(Phase::Stopped) => return,
                order = orders.recv() => order,
            };
            match order {
                Some(Order::Listen(listening, accepting)) => {
                    observe::spawn("listener", listener::accept(listening, self.clone(), accepting));
                }
                // Who asked may have lost patience.
                Some(Order::Answer(to)) => drop(to.send(())),
                Some(Order::Serve(Unbound::Quic(offered), accepted, place)) => {
                    self.keep(Handed::Quic(offered), accepted, place);
                }
                Some(Order::Serve(Unbound::Tcp(socket), accepted, place)) => match TcpStream::from_std(socket) {
                    Ok(socket) => self.keep(Handed::Tcp(socket), accepted, place),
                    Err(error) => tracing::warn!(peer = %accepted.peer, %error, "cannot serve a connection"),
                },
                None => return,
            }
        }
    }

    /// To the core with the fewest connections; this one, if it is as good as any.
    pub(super) fn share_out(&self, handed: Handed, accepted: Accepted) {
        let load = |link: &Link| link.connections.load(Relaxed);
        let own = &self.links[self.index];
        let best = self.links.iter().min_by_key(|link| load(link)).filter(|best| load(best) < load(own));
        let Some(other) = best else { return self.keep(handed, accepted, Place::take(own)) };
        let unbound = match handed {
            Handed::Tcp(socket) => socket.into_std().map(Unbound::Tcp),
            Handed::Quic(offered) => Ok(Unbound::Quic(offered)),
        };
        match unbound {
            // A core that has stopped drops the connection.
            Ok(unbound) => drop(other.inbox.send(Order::Serve(unbound, accepted, Place::take(other)))),
            Err(error) => tracing::warn!(peer = %accepted.peer, %error, "cannot hand a connection over"),
        }
    }

    fn keep(&self, handed: Handed, accepted: Accepted, place: Place) {
        let service = self.service.clone();
        let Accepted { peer, tls, announced, permit, counted } = accepted;
        // In this order: who has all permits sees no connections.
        let leave = move || {
            drop(place);
            drop((permit, counted));
        };
        match (handed, tls) {
            (Handed::Tcp(socket), tls) => drop(observe::spawn("connection", async move {
                connection::serve(service, socket, peer, tls, announced).await;
                leave();
            })),
            (Handed::Quic(offered), Some(tls)) => drop(observe::spawn("quic", async move {
                http3::serve(service, *offered, peer, tls).await;
                leave();
            })),
            // There is no QUIC without TLS; dropped, it is refused.
            (Handed::Quic(_), None) => leave(),
        }
    }
}

/// The running threads. Dropping this ends every connection and waits for the threads, so it is nothing to do on a core.
#[derive(Debug)]
pub struct Cores {
    links: Arc<[Link]>,
    phases: Speaker,
    threads: Vec<JoinHandle<()>>,
    permits: Arc<Semaphore>,
    limit: u32,
    /// Closed where nobody accepts.
    accepting: watch::Sender<()>,
}

impl Cores {
    /// Starts the threads. `build` makes each core's handler, on that core and inside its runtime; `at_rest` is called on it whenever it
    /// has nothing to do, and when it has ended. Connections from `proxies` are many clients', and not counted as one's.
    ///
    /// # Errors
    /// A thread or its reactor cannot be had. Nothing is left running.
    pub fn start<H, B>(
        name: &str,
        cores: usize,
        limits: &NodeLimits,
        proxies: &[IpNet],
        at_rest: fn(),
        build: B,
    ) -> io::Result<Self>
    where
        H: Handle,
        B: Fn(usize) -> H + Send + Sync + 'static,
    {
        // Semaphore::MAX_PERMITS is larger on every 64-bit machine.
        let limit = u32::try_from(limits.connections).unwrap_or(u32::MAX);
        let permits = Arc::new(Semaphore::new(limit as usize));
        let addresses = Addresses::new(limits.connections_per_address, proxies.to_vec());
        let (links, inboxes): (Vec<_>, Vec<_>) = (0..cores.max(1))
            .map(|_| {
                let (inbox, orders) = unbounded_channel();
                (Link { inbox, connections: Arc::default() }, orders)
            })
            .unzip();
        let (build, limits) = (Arc::new(build), Arc::new(limits.clone()));
        let phases = Speaker::new(inboxes.len());
        let accepting = watch::Sender::default();
        let mut this = Self { links: links.into(), phases, threads: Vec::new(), permits, limit, accepting };
        for (index, orders) in inboxes.into_iter().enumerate() {
            let rest = move || {
                outbox::at_rest();
                at_rest();
            };
            let runtime = Builder::new_current_thread().enable_io().enable_time().on_thread_park(rest).build()?;
            let (phases, phase) = (this.phases.clone(), this.phases.listener(index));
            let (build, limits) = (Arc::clone(&build), Arc::clone(&limits));
            let (links, permits) = (Arc::clone(&this.links), Arc::clone(&this.permits));
            let addresses = Arc::clone(&addresses);
            let thread = std::thread::Builder::new().name(format!("{name}-{index}")).spawn(move || {
                runtime.block_on(async move {
                    let service = Service { handler: build(index), limits, phase };
                    Core { index, links, permits, addresses, phases, service }.run(orders).await;
                });
                // Not `drop`, which would wait for blocking work to end.
                runtime.shutdown_background();
                at_rest();
            })?;
            this.threads.push(thread);
        }
        Ok(this)
    }

    /// Begins to accept on each address.
    pub fn listen(&self, addresses: impl IntoIterator<Item = Listening>) {
        for (listening, link) in addresses.into_iter().zip(self.links.iter().cycle()) {
            // A core that has stopped closes the socket.
            let _ = link.inbox.send(Order::Listen(listening, self.accepting.subscribe()));
        }
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.counter()()
    }

    /// The same question, for one who outlives this value.
    pub fn counter(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let links = Arc::clone(&self.links);
        move || links.iter().map(|link| link.connections.load(Relaxed)).sum()
    }

    /// For one who outlives this value: whether every core comes to what it is asked within this time, which may be waited for. `None`:
    /// they have ended.
    pub fn answering(&self) -> impl Fn(Duration) -> Option<bool> + Send + Sync + use<> {
        let links = Arc::clone(&self.links);
        move |patience| {
            let (answer, answers) = mpsc::channel();
            let asked = links.iter().filter(|link| link.inbox.send(Order::Answer(answer.clone())).is_ok()).count();
            let until = Instant::now() + patience;
            let answered = || answers.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok();
            (asked > 0).then(|| asked == links.len() && (0..asked).all(|_| answered()))
        }
    }

    /// Another process accepts from now on. Each connection may ask once more, and is told that it is the last time.
    pub fn part(&self) {
        self.phases.enter(Phase::Parting);
    }

    /// Closes the listening sockets, lets each connection finish what it has been asked, and resolves when none is left. The threads go
    /// on, for work after the response, until this value is dropped; that also cuts connections that are not done.
    pub async fn drain(&self) {
        self.phases.enter(Phase::Draining);
        self.emptied().await;
    }

    /// Resolves when there is no connection, and none can come: after [`Self::part`] or [`Self::drain`].
    pub async fn emptied(&self) {
        // A core may be busy, and take another one before it hears that it is not to.
        self.accepting.closed().await;
        // Listeners and connections hold all permits that are not there. An error would say that there are no permits at all.
        let _ = self.permits.acquire_many(self.limit).await;
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.phases.enter(Phase::Stopped);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}
