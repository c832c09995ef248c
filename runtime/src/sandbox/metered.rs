//! Polling a guest: its time is measured, a panic of a host call ends only this guest, and its end is written down once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::bindings::Usage;
use crate::failure::Failure;

/// The store, the instance and the call, as one future.
pub(super) type Guest = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send>>;

/// Holds what an isolate was given (permits, gauges) and is told when it is gone.
pub trait Ledger: Send {
    /// The isolate is gone; `late` is why it was ended after its response head, if it was. A failure before the head is the
    /// answer itself.
    fn close(self: Box<Self>, usage: &Usage, late: Option<&Failure>);
}

/// One guest's whole run: instantiate, handle, finish. Everything that it takes is charged to it.
pub(super) struct Metered {
    guest: Option<Guest>,
    ledger: Option<Box<dyn Ledger>>,
    late: Option<Failure>,
    pub(super) usage: Arc<Usage>,
}

impl Metered {
    pub(super) fn new(guest: Guest, usage: Arc<Usage>, ledger: Box<dyn Ledger>) -> Self {
        Self { guest: Some(guest), ledger: Some(ledger), late: None, usage }
    }

    /// Why the isolate is about to be dropped, after its response head.
    pub(super) fn fail_late(&mut self, failure: &Failure) {
        self.late.get_or_insert_with(|| failure.clone());
    }

    /// Whether the guest has returned, trapped or was ended.
    pub(super) fn is_done(&self) -> bool {
        self.guest.is_none()
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.guest = None;
        if let Some(ledger) = self.ledger.take() {
            ledger.close(&self.usage, self.late.as_ref());
        }
    }
}

impl Future for Metered {
    type Output = wasmtime::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(guest) = &mut this.guest else {
            return Poll::Ready(Ok(()));
        };
        this.usage.poll_begins();
        let result = catch_unwind(AssertUnwindSafe(|| guest.as_mut().poll(context))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            let text = text.unwrap_or("no message");
            Poll::Ready(Err(Failure::Internal(format!("a host call panicked: {text}")).into()))
        });
        if result.is_ready() {
            // Dropped here, so that clearing the isolate is charged too.
            this.guest = None;
        }
        this.usage.poll_ends();
        result
    }
}
