//! Small writes of a busy core wait until it has done what is ready, and go out together.
//!
//! A client that sleeps is woken by each write, which takes as long as many a whole answer: up to 12 of 50 µs on a virtual machine,
//! where it is an interrupt from one processor to another. Event loops have long answered all that was ready before they write
//! (Redis does so before it sleeps). Here a write waits only where several come together, until all has run that is ready by then: of
//! guests that take turns that is one slice at most.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::pulse::Pulse;
use crate::observe;

/// What is larger goes out at once.
const SMALL: usize = 4 * 1024;

/// So much room stays with a connection that has sent what it had.
const KEPT: usize = 1024;

/// So many connections wait for each other at most, and of four of a core no more than three: while their clients read, there is
/// something left to do.
const BATCH: usize = 24;

/// The first of them waits no longer than this while others come.
const SOON: Duration = Duration::from_micros(500);

/// So often it is looked.
const LOOK: usize = 8;

/// The sending side of a connection.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) stream: Arc<TcpStream>,
    pub(super) pulse: Arc<Pulse>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Written by the connection, not yet by us.
    bytes: Vec<u8>,
    is_queued: bool,
    /// The socket did not take all: the connection goes on with it when there is room.
    is_stuck: bool,
    failed: Option<io::Error>,
    connection: Option<Waker>,
}

impl Outbox {
    pub(super) fn new(stream: Arc<TcpStream>, pulse: Arc<Pulse>) -> Arc<Self> {
        CORE.with_borrow_mut(|core| core.connections += 1);
        Arc::new(Self { stream, pulse, state: Mutex::default() })
    }

    /// Takes what a connection writes: for later, or straight to the socket.
    pub(super) fn poll_write(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let mut state = self.lock();
        let is_small = !state.is_stuck && state.failed.is_none() && state.bytes.len() + size <= SMALL;
        if is_small && (state.is_queued || CORE.with_borrow_mut(Core::has_more_to_write)) {
            slices.iter().for_each(|slice| state.bytes.extend_from_slice(slice));
            if !state.connection.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                state.connection = Some(context.waker().clone());
            }
            if !std::mem::replace(&mut state.is_queued, true) {
                drop(state);
                queue(self);
            }
            return Poll::Ready(Ok(size));
        }
        drop(state);
        ready!(self.poll_send(context))?;
        self.poll_direct(context, slices)
    }

    /// What waits goes out before anything else does.
    pub(super) fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if let Some(error) = state.failed.take() {
            return Poll::Ready(Err(error));
        }
        while !state.bytes.is_empty() {
            let written = ready!(self.poll_direct(context, &[IoSlice::new(&state.bytes)]))?;
            state.bytes.drain(..written);
        }
        state.is_stuck = false;
        Poll::Ready(Ok(()))
    }

    /// The same, for a connection that does not write now: only what did not go out together with the others is left to it.
    pub(super) fn poll_rest(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = self.lock();
        if !state.is_stuck && state.failed.is_none() {
            return Poll::Ready(Ok(()));
        }
        drop(state);
        self.poll_send(context)
    }

    fn poll_direct(&self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            match self.stream.poll_write_ready(context) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    self.pulse.blocked();
                    return Poll::Pending;
                }
            }
            match self.stream.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    self.pulse.wrote(*written.as_ref().unwrap_or(&0));
                    return Poll::Ready(written);
                }
            }
        }
    }

    /// Writes what waits, as far as the socket takes it.
    fn send(&self) {
        let mut state = self.lock();
        state.is_queued = false;
        if state.bytes.is_empty() || state.is_stuck {
            return;
        }
        match self.stream.try_write(&state.bytes) {
            Ok(written) if written == state.bytes.len() => {
                self.pulse.wrote(written);
                state.bytes.clear();
                return state.bytes.shrink_to(KEPT);
            }
            Ok(written) => {
                self.pulse.wrote(written);
                state.bytes.drain(..written);
                state.is_stuck = true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => state.is_stuck = true,
            Err(error) => state.failed = Some(error),
        }
        if let Some(connection) = state.connection.take() {
            connection.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        // The last one may go with the core.
        let _ = CORE.try_with(|core| {
            core.try_borrow_mut().map(|mut core| core.connections = core.connections.saturating_sub(1))
        });
    }
}

/// The connections of one core that have something to send.
#[derive(Default)]
struct Core {
    /// How many there are, with those that have not.
    connections: usize,
    queued: Vec<Arc<Outbox>>,
    /// When the first of them came.
    since: Option<Instant>,
    /// Writes since the core has looked at its sockets last, and between the two looks before.
    writes: u32,
    before: u32,
    sender: Option<Waker>,
    has_sender: bool,
}

thread_local! {
    static CORE: RefCell<Core> = RefCell::default();
}

/// The core has done what was ready, and looks at its sockets.
pub(super) fn at_rest() {
    CORE.with_borrow_mut(|core| core.before = std::mem::take(&mut core.writes));
}

impl Core {
    /// Whether this write is one of several.
    fn has_more_to_write(&mut self) -> bool {
        self.writes = self.writes.saturating_add(1);
        self.writes > 1 || self.before > 1
    }

    /// Whether those that wait are enough.
    fn is_full(&self) -> bool {
        let waiting = self.queued.len();
        let is_late = || self.since.is_some_and(|since| since.elapsed() > SOON);
        waiting >= BATCH || waiting * 4 >= self.connections * 3 || (waiting.is_multiple_of(LOOK) && is_late())
    }

    fn take(&mut self) -> Vec<Arc<Outbox>> {
        self.since = None;
        std::mem::take(&mut self.queued)
    }
}

fn queue(outbox: &Arc<Outbox>) {
    let full = CORE.with_borrow_mut(|core| {
        if core.queued.is_empty() {
            core.since = Some(Instant::now());
            match core.sender.take() {
                // Behind everything that is ready now.
                Some(sender) => sender.wake(),
                None if !core.has_sender => {
                    core.has_sender = true;
                    observe::spawn("sender", send_when_woken());
                }
                None => {}
            }
        }
        core.queued.push(Arc::clone(outbox));
        core.is_full().then(|| core.take())
    });
    full.into_iter().flatten().for_each(|outbox| outbox.send());
}

async fn send_when_woken() {
    poll_fn(|context| {
        let queued = CORE.with_borrow_mut(|core| {
            core.sender = Some(context.waker().clone());
            core.take()
        });
        queued.iter().for_each(|outbox| outbox.send());
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_waits_where_it_is_not_alone_since_the_core_has_looked_at_its_sockets() {
        let is_one_of_several = || CORE.with_borrow_mut(Core::has_more_to_write);
        assert!(!is_one_of_several());
        assert!(is_one_of_several());
        at_rest();
        assert!(is_one_of_several(), "there were several before");
        at_rest();
        assert!(!is_one_of_several());
    }
}
