//! `eyot:worker/queue`: messages that a worker sends, and those that it works off.
//!
//! A guest names a queue of its own worker's, or one of another's that its eyot.toml lists; which worker it is itself, the host knows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::component::Resource;

use super::Guest;
use super::worker::eyot::worker::queue::{self, Error, Host, HostMessage};
use crate::config::{self, QueueAddress};
use crate::store::{Message, NewMessage, QueueError, QueueName, Queues};

/// The longest reason that is kept, in bytes.
const REASON: usize = 512;

/// The queues that a worker knows.
pub struct Queueing {
    queues: Arc<Queues>,
    /// How the guest calls each, and which it is.
    known: Vec<(String, QueueName)>,
}

impl Queueing {
    /// What the worker's configuration grants, if it does.
    #[must_use]
    pub fn new(worker: &config::Worker, queues: &Arc<Queues>) -> Option<Self> {
        let owner: Arc<str> = worker.name.as_str().into();
        let own = worker.queues.iter().map(|queue| {
            let name = QueueName { worker: Arc::clone(&owner), name: queue.name.as_str().into() };
            (queue.name.clone(), name)
        });
        let others = worker.sends.iter().map(|QueueAddress { worker, queue }| {
            let name = QueueName { worker: worker.as_str().into(), name: queue.as_str().into() };
            (name.to_string(), name)
        });
        let known: Vec<_> = own.chain(others).collect();
        (!known.is_empty()).then(|| Self { queues: Arc::clone(queues), known })
    }
}

/// Messages that one invocation works off.
#[derive(Debug)]
pub struct Batch {
    queues: Arc<Queues>,
    from: QueueName,
    messages: Vec<(Message, Mutex<Verdict>)>,
}

/// What a guest says of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it is as the invocation ends.
    #[default]
    None,
    /// It is done.
    Done,
    /// It is to be delivered again, after so long, and this is why.
    Again(Option<Duration>, Option<String>),
}

/// One of them, as the guest holds it.
pub struct Delivered {
    batch: Arc<Batch>,
    index: usize,
}

impl Batch {
    /// These messages, which were received from there.
    #[must_use]
    pub fn new(queues: &Arc<Queues>, from: &QueueName, messages: Vec<Message>) -> Arc<Self> {
        let messages = messages.into_iter().map(|message| (message, Mutex::default())).collect();
        Arc::new(Self { queues: Arc::clone(queues), from: from.clone(), messages })
    }

    /// The messages, each with what was said of it.
    pub fn verdicts(&self) -> impl Iterator<Item = (&Message, Verdict)> {
        let said = |verdict: &Mutex<Verdict>| verdict.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.messages.iter().map(move |(message, verdict)| (message, said(verdict)))
    }

    /// The lease of one of them goes on for so long from now. Whether it was still out.
    async fn extend(&self, index: usize, by: Duration) -> bool {
        let Some(lease) = self.messages[index].0.lease() else { return false };
        self.queues.extend(&self.from, lease, by).await.unwrap_or_else(|error| {
            tracing::error!(queue = %self.from, "a lease is not extended: {error}");
            false
        })
    }

    /// As a guest holds them.
    pub(super) fn delivered(self: &Arc<Self>) -> impl Iterator<Item = Delivered> {
        (0..self.messages.len()).map(|index| Delivered { batch: Arc::clone(self), index })
    }
}

impl Delivered {
    fn message(&self) -> &Message {
        &self.batch.messages[self.index].0
    }

    fn judge(&self, said: Verdict) {
        *self.batch.messages[self.index].1.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }
}

impl Guest {
    fn message(&self, resource: &Resource<Delivered>) -> wasmtime::Result<&Delivered> {
        Ok(self.table.get(resource)?)
    }

    /// So many more messages are sent, or leases extended.
    fn count_sends(&mut self, messages: usize) -> Result<(), Error> {
        let limit = self.capabilities.limits.queue_sends;
        self.queue_sent = self.queue_sent.saturating_add(messages as u64);
        match self.queue_sent <= limit {
            true => Ok(()),
            false => Err(Error::TooMany(format!("an invocation may send {limit} messages (limit queue_sends)"))),
        }
    }

    async fn send_all(&mut self, queue: &str, messages: Vec<queue::NewMessage>) -> Result<Vec<String>, Error> {
        let capabilities = Arc::clone(&self.capabilities);
        let unknown = || Error::NoSuchQueue(format!("eyot.toml has neither [[queue]] {queue} nor lists it in `sends`"));
        let queueing = capabilities.queueing.as_ref().ok_or_else(unknown)?;
        let (_, name) = queueing.known.iter().find(|(known, _)| known == queue).ok_or_else(unknown)?;
        let limit = capabilities.limits.queue_batch;
        if messages.len() as u64 > limit {
            return Err(Error::TooMany(format!("one call may send {limit} messages (limit queue_batch)")));
        }
        let trace = self.event().map(|event| event.trace.text());
        let checked = |queue::NewMessage { body, content_type, delay, idempotency_key: key }| {
            let (delay, trace) = (delay.map_or(Duration::ZERO, Duration::from_millis), trace.clone());
            NewMessage { body, content_type, delay, key, trace }.checked(capabilities.limits.queue_message)
        };
        let messages = messages.into_iter().map(checked).collect::<Result<Vec<_>, _>>()?;
        self.count_sends(messages.len())?;
        let _room = queueing.queues.room(messages.iter().map(|message| message.body.len() as u64).sum()).await;
        let sent = queueing.queues.send_from(&capabilities.worker, name, messages).await?;
        capabilities.metrics.queues().sent(&name.worker, &name.name, sent.len() as u64);
        Ok(sent.iter().map(ToString::to_string).collect())
    }
}

impl From<QueueError> for Error {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::NoSuchQueue(_) | QueueError::NotAProducer(_) => Self::NoSuchQueue(error.to_string()),
            QueueError::TooLarge(why) => Self::TooLarge(why),
            QueueError::Full { .. } => Self::Full(error.to_string()),
            QueueError::Store(error) => {
                tracing::error!("queues: {error}");
                Self::Unavailable("the node cannot write messages now".to_owned())
            }
        }
    }
}

impl Host for Guest {
    async fn send(
        &mut self,
        queue: String,
        messages: Vec<queue::NewMessage>,
    ) -> wasmtime::Result<Result<Vec<String>, Error>> {
        Ok(self.send_all(&queue, messages).await)
    }
}

impl HostMessage for Guest {
    async fn id(&mut self, message: Resource<Delivered>) -> wasmtime::Result<String> {
        Ok(self.message(&message)?.message().id.to_string())
    }

    async fn sent(&mut self, message: Resource<Delivered>) -> wasmtime::Result<u64> {
        Ok(u64::try_from(self.message(&message)?.message().sent.as_millisecond()).unwrap_or(0))
    }

    async fn attempts(&mut self, message: Resource<Delivered>) -> wasmtime::Result<u32> {
        Ok(self.message(&message)?.message().attempts)
    }

    async fn content_type(&mut self, message: Resource<Delivered>) -> wasmtime::Result<Option<String>> {
        Ok(self.message(&message)?.message().content_type.clone())
    }

    async fn body(&mut self, message: Resource<Delivered>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.message(&message)?.message().body.clone())
    }

    async fn ack(&mut self, message: Resource<Delivered>) -> wasmtime::Result<()> {
        self.message(&message)?.judge(Verdict::Done);
        Ok(())
    }

    async fn retry(
        &mut self,
        message: Resource<Delivered>,
        delay: Option<u64>,
        reason: Option<String>,
    ) -> wasmtime::Result<()> {
        let delay = delay.map(|milliseconds| Duration::from_millis(milliseconds).min(NewMessage::LONGEST));
        let reason = reason.map(|mut reason| {
            reason.truncate(reason.floor_char_boundary(REASON));
            reason
        });
        self.message(&message)?.judge(Verdict::Again(delay, reason));
        Ok(())
    }

    async fn extend(&mut self, message: Resource<Delivered>, milliseconds: u64) -> wasmtime::Result<bool> {
        let Delivered { batch, index } = self.message(&message)?;
        let (batch, index) = (Arc::clone(batch), *index);
        let by = Duration::from_millis(milliseconds).min(NewMessage::LONGEST);
        if self.count_sends(1).is_err() {
            return Ok(false);
        }
        Ok(batch.extend(index, by).await)
    }

    async fn drop(&mut self, message: Resource<Delivered>) -> wasmtime::Result<()> {
        self.table.delete(message)?;
        Ok(())
    }
}
