//! One run of a handler that no client waits for: what it takes before it begins, and what is written down of it.

use std::sync::Arc;

use http::HeaderMap;

use crate::activate::{Split, Worker};
use crate::bindings::{Event, Usage, bounded};
use crate::dispatch::admission::Permit;
use crate::dispatch::body::Broken;
use crate::dispatch::held::Held;
use crate::dispatch::http::Core;
use crate::dispatch::respond;
use crate::failure::Failure;
use crate::observe::{RequestId, Start, Trace};
use crate::sandbox::{self, Job, Prepared, Work};

/// A version that may run now: it has a permit, and its code is in memory.
pub(super) struct Ready {
    pub(super) worker: Arc<Worker>,
    prepared: Arc<Prepared>,
    start: Start,
    /// The node does not end before it is given back.
    permit: Arc<Permit>,
}

impl Core {
    /// Waits until one of these versions may run.
    ///
    /// # Errors
    /// It may not, now: there is too much else, or no code.
    pub(super) async fn ready(&self, by: &Split) -> Result<Ready, Failure> {
        let worker = Arc::clone(by.any());
        let permit = Arc::new(self.admit(&worker).await?);
        let in_memory = worker.code.loaded().clone();
        let (prepared, start) = match in_memory {
            Some(prepared) => (prepared, Start::Warm),
            None => Box::pin(worker.code.load()).await?,
        };
        Ok(Ready { worker, prepared, start, permit })
    }

    /// Runs it, and counts and tells how it ended.
    ///
    /// # Errors
    /// Every way in which it does not end well; the guest's own error is a [`Failure::WorkerError`].
    pub(super) async fn run_event(
        self: &Arc<Self>,
        ready: &Ready,
        (id, trace): (&RequestId, &Trace),
        job: Job,
    ) -> Result<(), Failure> {
        let usage = Usage::new();
        let ended = self.work(ready, (id, trace), job, &usage).await;
        let worker = &ready.worker;
        worker.watched.ended(ended.is_err(), usage.age());
        if let Err(failure) = &ended {
            usage.fail(failure.code());
            respond::tell(failure, id, trace.id(), Some(&*worker.name));
            worker.metrics.target().failed(failure.code());
        }
        ended
    }

    async fn work(
        self: &Arc<Self>,
        ready: &Ready,
        (id, trace): (&RequestId, &Trace),
        job: Job,
        usage: &Arc<Usage>,
    ) -> Result<(), Failure> {
        let Ready { worker, prepared, start, permit } = ready;
        let shared = &*self.dispatcher;
        let egress = shared.active.load().egress[self.index].clone();
        let event = Event {
            asked_by: None,
            request_id: id.clone(),
            trace: trace.clone(),
            tracer: shared.tracer.clone(),
            passed: egress.pass(&HeaderMap::new(), shared.limits.loop_hops)?,
            calls: self.calls(&worker.capabilities, worker.capabilities.event_limits.wall_time, None),
        };
        sandbox::turn(&worker.capabilities).await;
        let ledger = Box::new(Held {
            permit: Arc::clone(permit),
            in_use: shared.metrics.isolate_started(*start),
            worker: Arc::clone(worker),
            id: id.clone(),
            trace: trace.id(),
            spans: None,
            broken: Broken::default(),
        });
        let isolate = sandbox::for_event(prepared, *start, usage);
        let work = Work { prepared, isolate, event, egress, usage: Arc::clone(usage), job, ledger };
        let said = |words: String| Failure::WorkerError(bounded(format_args!("{words}")));
        sandbox::work(work).await.and_then(|returned| returned.map_err(said))
    }
}
