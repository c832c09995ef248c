//! A request's way through an isolate, to the head of its response; what goes on after it is `stream.rs`.
//!
//! The guest is polled in place, by the task of its connection. Only a guest that goes on after its response head gets a task of
//! its own, so that its deadlines hold even when hyper does not poll the body.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::{Instant, sleep};
use wasmtime_wasi_http::WasiBody;

use super::isolate::{Ask, Head, Question};
use super::lane::Payer;
use super::metered::{Ledger, Metered};
use super::waiting::Found;
use super::{Prepared, stream};
use crate::bindings::{Chain, Event, Usage};
use crate::config::WorkerLimits;
use crate::egress::Egress;
use crate::failure::Failure;
use crate::http::Body;

/// Everything that one run of one handler needs.
pub struct Invocation<'a> {
    /// Which version.
    pub prepared: &'a Prepared,
    /// Where it runs.
    pub isolate: Found,
    /// The request's circumstances.
    pub event: Event,
    /// The way out for subrequests.
    pub egress: Egress,
    /// Shared with the guest's meter.
    pub usage: Arc<Usage>,
    /// With an absolute URI: scheme and authority are what the guest sees.
    pub request: http::Request<Body>,
    /// Set when the request body broke a limit of ours: the request ends with it, whatever the guest makes of it.
    pub body_failure: Option<oneshot::Receiver<Failure>>,
    /// If a worker asks, which waits no longer for the head than the chain says.
    pub called: Option<Chain>,
    /// What the isolate holds.
    pub ledger: Box<dyn Ledger>,
}

/// Runs the handler until its response head; the response's body carries on from there.
///
/// # Errors
/// Every way in which the guest ends without a response of its own.
pub fn run(invocation: Invocation<'_>) -> impl Future<Output = Result<http::Response<Body>, Failure>> {
    let Invocation { prepared, isolate, event, egress, usage, request, body_failure, called, ledger } = invocation;
    let (give, head) = oneshot::channel();
    let limits = Arc::clone(&prepared.capabilities.limits);
    let question = Question { event, egress, ask: Ask::Request(request, give) };
    let payer = Payer { worker: prepared.id, asked: called.map_or(prepared.id, |chain| chain.first) };
    let mut isolate = Metered::new(isolate.isolate, question, payer, usage, ledger);
    let left = called.map(|chain| isolate.usage.age() + chain.deadline.saturating_duration_since(Instant::now()));
    let wall_time = left.map_or(limits.wall_time, |left| left.min(limits.wall_time));
    let waiting = Waiting { head, body_failure, wall_time };
    // An async function would keep room for all of the above, which is moved with it.
    async move {
        let response = match waiting.for_head(&mut isolate, &limits).await {
            Ok(response) => response,
            Err(failure) => {
                // The answer is counted as a failure: the isolate, which goes now, is not counted once more.
                isolate.usage.fail(failure.code());
                prepared.failed(isolate.usage.cpu_time()).await;
                return Err(failure);
            }
        };
        stream::respond(response, isolate, prepared.id, limits)
    }
}

/// What ends the wait for a response head.
struct Waiting {
    head: oneshot::Receiver<Head>,
    body_failure: Option<oneshot::Receiver<Failure>>,
    wall_time: Duration,
}

impl Waiting {
    /// A guest that answers in its first poll costs no timer. When the client goes away, the connection drops all of this.
    async fn for_head(
        mut self,
        isolate: &mut Metered,
        limits: &WorkerLimits,
    ) -> Result<http::Response<WasiBody>, Failure> {
        if let Poll::Ready(result) =
            std::future::poll_fn(|context| Poll::Ready(self.poll(isolate, limits, context))).await
        {
            return result;
        }
        let remaining = self.wall_time.saturating_sub(isolate.usage.age());
        let mut deadline = pin!(sleep(remaining));
        std::future::poll_fn(|context| {
            if let Poll::Ready(result) = self.poll(isolate, limits, context) {
                return Poll::Ready(result);
            }
            deadline.as_mut().poll(context).map(|()| Err(Failure::WorkerTimeout { limit: self.wall_time }))
        })
        .await
    }

    fn poll(
        &mut self,
        isolate: &mut Metered,
        limits: &WorkerLimits,
        context: &mut Context<'_>,
    ) -> Poll<Result<http::Response<WasiBody>, Failure>> {
        let ended = Pin::new(&mut *isolate).poll(context);
        // Whatever the guest makes of it: reading too much, or waiting for too long, is over with the error that it got.
        if let Some(body) = &mut self.body_failure
            && let Poll::Ready(ended) = Pin::new(body).poll(context)
        {
            self.body_failure = None;
            if let Ok(failure) = ended {
                return Poll::Ready(Err(failure));
            }
        }
        match self.head.try_recv() {
            // How the guest ended after it, if it did, decides only about a response that is not complete.
            Ok(head) => Poll::Ready(head),
            Err(TryRecvError::Empty) if ended.is_pending() => Poll::Pending,
            // It has ended, or thrown away what it would have to answer with: no response will come.
            Err(_) => Poll::Ready(Err(isolate.failure(limits))),
        }
    }
}
