//! Polling a guest: its time is measured, a panic of a host call ends only this guest, and its end is written down once.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use wasmtime::Store;

use super::lane::{self, WorkerId};
use super::sweep::{self, Remains};
use crate::bindings::{self, Usage};
use crate::failure::Failure;

/// The store, the instance and the call, as one future. It gives the store back, because dropping it may take long.
pub(super) type Guest = Pin<Box<dyn Future<Output = (wasmtime::Result<()>, Store<bindings::Guest>)> + Send>>;

/// Holds what an isolate was given (permits, gauges) and is told when it is gone.
pub trait Ledger: Send {
    /// The isolate is gone; `late` is why it was ended after its response head, if it was. A failure before the head is the
    /// answer itself.
    fn close(self: Box<Self>, usage: &Usage, late: Option<&Failure>);
}

/// One guest's whole run: instantiate, handle, finish. Everything that it takes is charged to it.
pub(super) struct Metered {
    guest: Option<Guest>,
    worker: WorkerId,
    /// What is to be cleared after the guest's end.
    store: Option<Box<dyn Any + Send>>,
    ledger: Option<Box<dyn Ledger>>,
    late: Option<Failure>,
    pub(super) usage: Arc<Usage>,
}

impl Metered {
    pub(super) fn new(guest: Guest, worker: WorkerId, usage: Arc<Usage>, ledger: Box<dyn Ledger>) -> Self {
        Self { guest: Some(guest), worker, store: None, ledger: Some(ledger), late: None, usage }
    }

    /// Why the isolate is about to be dropped, after its response head.
    pub(super) fn fail_late(&mut self, failure: &Failure) {
        self.late.get_or_insert_with(|| failure.clone());
    }

    /// Whether the guest has returned, trapped or was ended.
    pub(super) fn is_done(&self) -> bool {
        self.guest.is_none()
    }

    /// The guest has ended. Most stores are dropped at once, so that clearing the isolate is charged too.
    fn end(&mut self, store: Option<Store<bindings::Guest>>) {
        let guest = self.guest.take();
        if sweep::is_large(&self.usage) {
            self.store = Some(Box::new((guest, store)));
        }
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        let Some(ledger) = self.ledger.take() else { return };
        let guest = self.guest.take().map(|guest| Box::new(guest) as Box<dyn Any + Send>);
        let store = self.store.take().or(guest);
        sweep::clear(self.worker, Remains { store, usage: Arc::clone(&self.usage), ledger, late: self.late.take() });
    }
}

impl Future for Metered {
    type Output = wasmtime::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(guest) = &mut this.guest else {
            return Poll::Ready(Ok(()));
        };
        let before = this.usage.cpu_time();
        this.usage.poll_begins(lane::is_busy());
        let result = match catch_unwind(AssertUnwindSafe(|| guest.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready((result, store))) => {
                this.end(Some(store));
                Poll::Ready(result)
            }
            Err(panic) => {
                this.end(None);
                Poll::Ready(Err(panicked(&*panic).into()))
            }
        };
        this.usage.poll_ends();
        lane::charge(this.worker, this.usage.cpu_time() - before);
        result
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    Failure::Internal(format!("a host call panicked: {}", text.unwrap_or("no message")))
}
