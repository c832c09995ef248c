//! One run of a handler that no client waits for, from its start to its return.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::Prepared;
use super::isolate::{Ask, Job, Question};
use super::lane::Payer;
use super::metered::{Ledger, Metered};
use super::waiting::Found;
use crate::bindings::{Event, Usage};
use crate::egress::Egress;
use crate::failure::Failure;

/// Everything that such a run needs.
pub struct Work<'a> {
    /// Which version.
    pub prepared: &'a Prepared,
    /// Where it runs: one of `for_event`.
    pub isolate: Found,
    /// Its circumstances.
    pub event: Event,
    /// The way out for subrequests.
    pub egress: Egress,
    /// Shared with the guest's meter.
    pub usage: Arc<Usage>,
    /// What there is to do.
    pub job: Job,
    /// What the isolate holds.
    pub ledger: Box<dyn Ledger>,
}

/// Runs the handler until it returns; comes to the guest's own error, if it returned one.
///
/// # Errors
/// Every way in which the guest ends without returning.
pub async fn work(work: Work<'_>) -> Result<Result<(), String>, Failure> {
    let Work { prepared, isolate, event, egress, usage, job, ledger } = work;
    let (done, returned) = oneshot::channel();
    let limits = Arc::clone(&prepared.capabilities.event_limits);
    let question = Question { event, egress, ask: Ask::Event(job, done) };
    let mut isolate = Metered::new(isolate.isolate, question, Payer::of(prepared.id), usage, ledger);
    let mut deadline = pin!(sleep(limits.wall_time.saturating_sub(isolate.usage.age())));
    let in_time = poll_fn(|context| match Pin::new(&mut isolate).poll(context) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending => deadline.as_mut().poll(context).map(|()| false),
    });
    let failure = match in_time.await {
        false => Failure::WorkerTimeout { limit: limits.wall_time },
        // What it has returned was sent before it was done.
        true => match returned.await {
            Ok(result) => return Ok(result),
            Err(_) => isolate.failure(&limits),
        },
    };
    isolate.usage.fail(failure.code());
    Err(failure)
}
