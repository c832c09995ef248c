//! What ends a process that serves, and what else it is asked by signals.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::wrong;
use crate::life::Heir;
use crate::node::{Cut, Node};
use crate::observe::LogGuard;

/// What an operator asks of a node that goes on.
#[derive(Clone, Copy)]
pub(super) enum Asked {
    /// SIGHUP.
    ReadAgain,
    /// SIGUSR2.
    Upgrade,
}

/// Why it does not go on.
pub(super) enum Why {
    Signal,
    /// Another process serves.
    Taken(Heir),
}

/// What ends a process that serves: SIGINT or SIGTERM, or a connection to an address, as with wasmtime serve. Prepared before anything
/// is said to be ready, so that whoever waits for that may end it at once.
pub(in crate::cli) struct Ending {
    runtime: tokio::runtime::Runtime,
    interrupt: Signal,
    terminate: Signal,
    /// SIGHUP and SIGUSR2, where they are ours, too; else they end the process.
    operator: Option<(Signal, Signal)>,
    listener: Option<TcpListener>,
}

impl Ending {
    pub(in crate::cli) fn prepare(shutdown: Option<SocketAddr>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let listener = match shutdown.map(|address| (address, runtime.block_on(TcpListener::bind(address)))) {
            None => None,
            Some((_, Ok(listener))) => Some(listener),
            Some((address, Err(error))) => {
                return Err(wrong(
                    format!("--shutdown-addr {address}: {error}"),
                    "give an address of this machine that is free",
                ));
            }
        };
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(entered);
        Ok(Self { runtime, interrupt, terminate, operator: None, listener })
    }

    /// Takes SIGHUP and SIGUSR2 for [`Self::wait_or`]. One that comes before is not lost.
    pub(super) fn hear_operators(&mut self) -> std::io::Result<()> {
        let _entered = self.runtime.enter();
        self.operator = Some((signal(SignalKind::hangup())?, signal(SignalKind::user_defined2())?));
        Ok(())
    }

    /// Where a connection would end this process.
    pub(in crate::cli) fn address(&self) -> std::io::Result<Option<SocketAddr>> {
        self.listener.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Does what has to be done before there is anything to drain: a signal that comes meanwhile ends the process at once, with the
    /// status that a shell gives to it. The handlers stand already, since the first process of a container has no default ones.
    pub(super) fn unless_it_comes<T: Send>(&mut self, log: &mut LogGuard, work: impl FnOnce() -> T + Send) -> T {
        let Self { runtime, interrupt, terminate, .. } = self;
        std::thread::scope(|scope| {
            let (done, is_done) = tokio::sync::oneshot::channel::<()>();
            let worker = scope.spawn(move || {
                let _done = done;
                work()
            });
            let signal = runtime.block_on(async {
                tokio::select! {
                    _ = is_done => None,
                    _ = interrupt.recv() => Some(SignalKind::interrupt()),
                    _ = terminate.recv() => Some(SignalKind::terminate()),
                }
            });
            if let Some(signal) = signal {
                log.close();
                std::process::exit(128 + signal.as_raw_value());
            }
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Waits for one of them.
    pub(in crate::cli) fn wait(&mut self) -> anyhow::Result<()> {
        self.wait_or(|_| {}, std::future::pending()).map(|_| ())
    }

    /// Waits for one of them, or until another process has taken over; meanwhile, does what is asked.
    pub(super) fn wait_or(&mut self, does: impl Fn(Asked), taken: impl Future<Output = Heir>) -> anyhow::Result<Why> {
        let Self { runtime, interrupt, terminate, operator, listener } = self;
        let asked = async {
            match listener {
                Some(listener) => listener.accept().await.map(|_| ()),
                None => std::future::pending().await,
            }
        };
        let orders = async {
            let Some((hangup, upgrade)) = operator else { return std::future::pending().await };
            loop {
                does(tokio::select! {
                    Some(()) = hangup.recv() => Asked::ReadAgain,
                    Some(()) = upgrade.recv() => Asked::Upgrade,
                    else => return std::future::pending().await,
                });
            }
        };
        runtime.block_on(async {
            tokio::select! {
                () = signalled(interrupt, terminate) => Ok(Why::Signal),
                () = orders => Ok(Why::Signal),
                heir = taken => Ok(Why::Taken(heir)),
                asked = asked => Ok(asked.map(|()| Why::Signal)?),
            }
        })
    }

    /// Ends the node in good order; a second signal ends it at once.
    pub(in crate::cli) fn end(self, node: Node) {
        let Self { runtime, mut interrupt, mut terminate, .. } = self;
        tell(runtime.block_on(node.drain(signalled(&mut interrupt, &mut terminate))));
    }

    /// The same while another process serves already.
    pub(super) fn hand_over(self, node: Node) {
        let Self { runtime, mut interrupt, mut terminate, .. } = self;
        tell(runtime.block_on(node.hand_over(signalled(&mut interrupt, &mut terminate))));
    }
}

fn tell(Cut { connections, isolates }: Cut) {
    if connections > 0 || isolates > 0 {
        tracing::warn!(connections, isolates, "ended before all work was done");
    }
}

async fn signalled(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
