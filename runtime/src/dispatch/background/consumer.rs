//! One consumer of a queue: it waits for a batch, runs it, and settles it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::event::Ready;
use super::settle;
use crate::activate::Consumed;
use crate::bindings::Batch;
use crate::config;
use crate::dispatch::http::Core;
use crate::failure::Failure;
use crate::observe::{Delivered, Processed, RequestId, Tracer};
use crate::sandbox::Job;
use crate::store::{Delivery, Lease, Message, MessageId, QueueError, QueueName, Queues, Settled, Wanted};

/// What cannot be done is tried again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// A message has no more bytes than this (limit `queue_message`).
const LARGEST: u64 = 1 << 20;

pub(super) struct Consumer {
    core: Arc<Core>,
    name: QueueName,
    queues: Arc<Queues>,
    leave: oneshot::Receiver<()>,
}

/// A message that was delivered, and what is to be done with it.
struct Judged {
    id: MessageId,
    attempts: u32,
    lease: Option<Lease>,
    settled: Settled,
}

impl Judged {
    fn new(message: &Message, settled: Settled) -> Self {
        Self { id: message.id, attempts: message.attempts, lease: message.lease(), settled }
    }
}

impl Consumer {
    /// `None` where the queues cannot be opened, which is no longer so after they have been.
    pub(super) fn new(core: &Arc<Core>, name: &QueueName, leave: oneshot::Receiver<()>) -> Option<Self> {
        let queues = core.dispatcher.activator.data.queues();
        let queues = queues.map_err(|error| tracing::error!(queue = %name, "not worked off: {error}"));
        Some(Self { core: Arc::clone(core), name: name.clone(), queues: queues.ok()??, leave })
    }

    /// Until its queue is not worked off here any more.
    pub(super) async fn run(mut self) {
        let mut changes = self.queues.changes(&self.name);
        let mut serving = self.core.dispatcher.serving.subscribe();
        let mut failed = None;
        loop {
            if serving.borrow_and_update().is_over {
                return;
            }
            let Some(consumed) = self.consumed() else { return };
            let ready = tokio::select! {
                biased;
                _ = &mut self.leave => return,
                // It may be worked off in another way.
                _ = serving.changed() => continue,
                ready = self.queues.wait(&self.name, wanted(&consumed.queue), &mut changes) => ready,
            };
            let result = match ready {
                Ok(()) => self.one_batch(&consumed).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                // A server that is away is so for a while.
                match failed.as_ref() == Some(&error) {
                    true => tracing::debug!(queue = %self.name, "{error}"),
                    false => tracing::error!(queue = %self.name, "{error}"),
                }
                failed = Some(error);
                sleep(AGAIN).await;
            } else if failed.take().is_some() {
                tracing::info!(queue = %self.name, "it is worked off again");
            }
        }
    }

    /// As it is to be worked off now.
    fn consumed(&self) -> Option<Consumed> {
        self.core.dispatcher.active.load().queues.get(&self.name).cloned()
    }

    /// Takes messages and works them off; there may be none any more.
    async fn one_batch(&self, consumed: &Consumed) -> Result<(), QueueError> {
        let queue = &consumed.queue;
        // Before anything is received: what waits is nobody's yet.
        let ready = match self.core.ready(&consumed.by).await {
            Ok(ready) => ready,
            Err(failure) => {
                tracing::debug!(queue = %self.name, code = failure.code(), "not worked off now: {failure}");
                sleep(AGAIN).await;
                return Ok(());
            }
        };
        let Some(mut loan) = ready.worker.capabilities.share.lend(queue.batch_bytes.max(LARGEST)) else {
            drop(ready);
            sleep(AGAIN).await;
            return Ok(());
        };
        if self.core.dispatcher.serving.is_over() {
            return Ok(());
        }
        let delivery = Delivery { messages: queue.batch, bytes: queue.batch_bytes, lease: queue.lease };
        let received = self.queues.receive(&self.name, delivery).await?;
        loan.keep(received.iter().map(|message| message.body.len() as u64).sum());
        let (lost, messages): (Vec<_>, Vec<_>) =
            received.into_iter().partition(|message| message.attempts > queue.attempts);
        let mut judged: Vec<_> = lost.iter().map(|message| Judged::new(message, settle::lost(queue))).collect();
        if !messages.is_empty() {
            judged.extend(self.work_off(consumed, &ready, messages).await);
        }
        // The permit is held until all is written down.
        let result = self.settle(queue, judged).await;
        drop(ready);
        result
    }

    /// Runs messages in an isolate of their own, and judges them.
    async fn work_off(&self, consumed: &Consumed, ready: &Ready, messages: Vec<Message>) -> Vec<Judged> {
        let tracer = self.core.dispatcher.tracer.as_ref();
        let (id, began) = (RequestId::fresh(), SystemTime::now());
        let trace = Tracer::trace_of_messages(tracer, messages.iter().map(|message| message.trace.as_deref()));
        let batch = Batch::new(&self.queues, &self.name, messages);
        let job = Job::Messages(Arc::clone(&self.name.name), Arc::clone(&batch));
        let ended = self.core.run_event(ready, (&id, &trace), job).await;
        if let Some(tracer) = tracer {
            let mut ids = batch.verdicts().map(|(message, _)| message.id.to_string());
            let (first, rest) = (ids.next(), ids.count());
            let processed = Processed {
                worker: &ready.worker.name,
                version: &ready.worker.version,
                queue: &self.name.name,
                messages: rest + 1,
                id: first.filter(|_| rest == 0),
                start: began,
                failure: ended.as_ref().err().map(Failure::code),
            };
            tracer.processed(&trace, &processed);
        }
        let judged = batch
            .verdicts()
            .map(|(message, verdict)| Judged::new(message, settle::settled(&consumed.queue, message, verdict, &ended)));
        judged.collect()
    }

    /// Writes down what became of messages. If that cannot be, they come back when their lease is over.
    async fn settle(&self, queue: &config::Queue, judged: Vec<Judged>) -> Result<(), QueueError> {
        if judged.is_empty() {
            return Ok(());
        }
        let metrics = self.core.dispatcher.metrics.queues();
        let (worker, name) = (&*self.name.worker, &*self.name.name);
        for Judged { id, attempts, settled, .. } in &judged {
            if let Settled::Dead(into, reason) = settled {
                tracing::warn!(worker, queue = name, %id, attempts, into = &**into, reason, "a message is a dead letter");
            }
        }
        let leased = |judged: &Judged| Some((judged.lease.clone()?, judged.settled.clone()));
        let leases: Vec<_> = judged.iter().filter_map(leased).collect();
        let mut tries = 0;
        let late = loop {
            match self.queues.settle(&self.name, leases.clone()).await {
                Ok(late) => break late,
                // Their lease still goes for a while.
                Err(error) if AGAIN * (tries + 2) < queue.lease => {
                    tracing::warn!(queue = %self.name, "deliveries are not written down yet: {error}");
                    tries += 1;
                    sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        };
        for Judged { settled, .. } in &judged {
            metrics.settled(worker, name, settle::outcome(settled), 1);
        }
        metrics.settled(worker, name, Delivered::Late, late as u64);
        Ok(())
    }
}

/// The batch that is worth a permit.
fn wanted(queue: &config::Queue) -> Wanted {
    Wanted { messages: queue.batch, bytes: queue.batch_bytes, wait: queue.batch_wait }
}
