//! One consumer of a queue: it waits for a batch, runs it, and settles it.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::settle::{self, Ended};
use crate::activate::{Consumed, Worker};
use crate::bindings::{Batch, Event, Usage, bounded};
use crate::config;
use crate::dispatch::body::Broken;
use crate::dispatch::held::Held;
use crate::dispatch::http::Core;
use crate::dispatch::respond;
use crate::failure::Failure;
use crate::observe::{Delivered, Processed, RequestId, Start, Trace, Tracer};
use crate::sandbox::{self, Prepared, Work};
use crate::store::{Delivery, Lease, Message, MessageId, QueueError, QueueName, Queues, Settled};

/// How often it is looked for messages of which this process was not told: another one may send, too.
const LOOK: Duration = Duration::from_secs(5);

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

/// Where and by whom a batch is run.
struct Run<'a> {
    consumed: &'a Consumed,
    worker: &'a Arc<Worker>,
    prepared: &'a Arc<Prepared>,
    start: Start,
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
    pub(super) fn new(core: &Arc<Core>, consumed: &Consumed, leave: oneshot::Receiver<()>) -> Option<Self> {
        let queues = core.dispatcher.activator.data.queues();
        let queues = queues.map_err(|error| tracing::error!(queue = %consumed.name, "not worked off: {error}"));
        Some(Self { core: Arc::clone(core), name: consumed.name.clone(), queues: queues.ok()??, leave })
    }

    /// Until its queue is not worked off here any more.
    pub(super) async fn run(mut self) {
        let mut changes = self.queues.changes(&self.name);
        let mut serving = self.core.dispatcher.serving.0.subscribe();
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
                ready = ready(&self.queues, &consumed, &mut changes) => ready,
            };
            let result = match ready {
                Ok(()) => self.one_batch(&consumed).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                tracing::error!(queue = %self.name, "{error}");
                sleep(AGAIN).await;
            }
        }
    }

    /// As it is to be worked off now.
    fn consumed(&self) -> Option<Consumed> {
        let active = self.core.dispatcher.active.load();
        active.queues.iter().find(|consumed| consumed.name == self.name).cloned()
    }

    /// Takes messages and works them off; there may be none any more.
    async fn one_batch(&self, consumed: &Consumed) -> Result<(), QueueError> {
        let queue = &consumed.queue;
        let worker = consumed.by.any();
        let _room = self.queues.room(queue.batch_bytes.max(LARGEST)).await;
        // Before anything is received: what waits is nobody's yet.
        let Ok(permit) = self.core.admit(worker).await else {
            sleep(AGAIN).await;
            return Ok(());
        };
        let in_memory = worker.code.loaded().clone();
        let loaded = match in_memory {
            Some(prepared) => Ok((prepared, Start::Warm)),
            None => Box::pin(worker.code.load()).await,
        };
        let (prepared, start) = match loaded {
            Ok(loaded) => loaded,
            Err(failure) => {
                tracing::warn!(queue = %self.name, code = failure.code(), "not worked off: {failure}");
                sleep(AGAIN).await;
                return Ok(());
            }
        };
        let delivery = Delivery { messages: queue.batch, bytes: queue.batch_bytes, lease: queue.lease };
        let received = self.queues.receive(&self.name, delivery).await?;
        let (lost, messages): (Vec<_>, Vec<_>) =
            received.into_iter().partition(|message| message.attempts > queue.attempts);
        let permit = Arc::new(permit);
        let mut judged: Vec<_> = lost.iter().map(|message| Judged::new(message, settle::lost(queue))).collect();
        if !messages.is_empty() {
            let run = Run { consumed, worker, prepared: &prepared, start };
            judged.extend(self.work_off(run, messages, Arc::clone(&permit)).await);
        }
        // The permit is held until all is written down: the node does not end before.
        let result = self.settle(queue, judged).await;
        drop(permit);
        result
    }

    /// Runs messages in an isolate of their own, and judges them.
    async fn work_off(
        &self,
        run: Run<'_>,
        messages: Vec<Message>,
        permit: Arc<impl Send + Sync + 'static>,
    ) -> Vec<Judged> {
        let Run { consumed, worker, prepared, start } = run;
        let shared = &*self.core.dispatcher;
        let (id, began) = (RequestId::fresh(), SystemTime::now());
        let sent_in = messages.iter().map(|message| message.trace.as_deref());
        let trace = Tracer::trace_of_messages(shared.tracer.as_ref(), sent_in);
        let batch = Batch::new(&self.queues, messages);
        let usage = Usage::new();
        let ended = match self.event(&id, &trace) {
            Ok(event) => {
                sandbox::turn(&worker.capabilities).await;
                let ledger = Box::new(Held {
                    permit,
                    in_use: shared.metrics.isolate_started(start),
                    worker: Arc::clone(worker),
                    id: id.clone(),
                    trace: trace.id(),
                    broken: Broken::default(),
                });
                let work = Work {
                    prepared,
                    isolate: sandbox::for_event(prepared, start, &usage),
                    event,
                    egress: self.egress(),
                    usage: Arc::clone(&usage),
                    queue: Arc::clone(&self.name.name),
                    batch: Arc::clone(&batch),
                    ledger,
                };
                sandbox::work(work).await.and_then(|returned| returned.map_err(said))
            }
            Err(failure) => Err(failure),
        };
        self.tell(worker, &ended, &usage, (&id, &trace));
        if let Some(tracer) = &shared.tracer {
            let mut ids = batch.verdicts().map(|(message, _)| message.id.to_string());
            let (first, rest) = (ids.next(), ids.count());
            let processed = Processed {
                worker: &worker.name,
                version: &worker.version,
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

    fn event(&self, id: &RequestId, trace: &Trace) -> Result<Event, Failure> {
        let shared = &*self.core.dispatcher;
        let passed = self.egress().pass(&HeaderMap::new(), shared.limits.loop_hops)?;
        let (request_id, trace, tracer) = (id.clone(), trace.clone(), shared.tracer.clone());
        Ok(Event { asked_by: None, request_id, trace, tracer, passed })
    }

    fn egress(&self) -> crate::egress::Egress {
        self.core.dispatcher.active.load().egress[self.core.index].clone()
    }

    fn tell(&self, worker: &Worker, ended: &Ended, usage: &Usage, (id, trace): (&RequestId, &Trace)) {
        worker.watched.ended(ended.is_err(), usage.age());
        if let Err(failure) = ended {
            usage.fail(failure.code());
            respond::tell(failure, id, trace.id(), Some(&*worker.name));
            worker.metrics.target().failed(failure.code());
        }
    }

    /// Writes down what became of messages. If that cannot be, they come back when their lease is over.
    async fn settle(&self, queue: &config::Queue, judged: Vec<Judged>) -> Result<(), QueueError> {
        let metrics = self.core.dispatcher.metrics.queues();
        let (worker, name) = (&*self.name.worker, &*self.name.name);
        for Judged { id, attempts, settled, .. } in &judged {
            if let Settled::Dead(into, reason) = settled {
                tracing::warn!(worker, queue = name, %id, attempts, into = &**into, reason, "a message is a dead letter");
            }
        }
        let leased = |judged: &Judged| Some((judged.lease?, judged.settled.clone()));
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

/// Returns when there is a batch: a whole one, or one whose first message has waited for so long that no other is waited for.
async fn ready(queues: &Queues, consumed: &Consumed, changes: &mut watch::Receiver<()>) -> Result<(), QueueError> {
    let config::Queue { batch, batch_bytes, batch_wait, .. } = &*consumed.queue;
    loop {
        changes.mark_unchanged();
        let due = queues.due(&consumed.name, *batch).await?;
        let wait = match due.first.map(until) {
            Some(first) if due.messages == 0 => first,
            Some(_) if due.messages >= *batch || due.bytes >= *batch_bytes => return Ok(()),
            Some(_) => {
                let since = due.first.map_or(Duration::ZERO, until_now);
                match batch_wait.saturating_sub(since) {
                    Duration::ZERO => return Ok(()),
                    wait => wait,
                }
            }
            None => LOOK,
        };
        let mut timer = pin!(sleep(wait.min(LOOK)));
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { timer.as_mut().await },
            () = timer.as_mut() => {}
        }
    }
}

/// The guest's own error.
fn said(words: String) -> Failure {
    Failure::WorkerError(bounded(format_args!("{words}")))
}

fn until(time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
}

fn until_now(time: Timestamp) -> Duration {
    Duration::try_from(Timestamp::now().duration_since(time)).unwrap_or(Duration::ZERO)
}
