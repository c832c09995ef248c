//! Messages for work that a response does not need: sent here, worked off later, by this worker or another one.

use std::fmt::{self, Display};
use std::time::{Duration, SystemTime};

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::bindings::queue;

/// A queue to send to: one of the worker's own `[[queue]]`, or one of another worker's that eyot.toml lists in `sends`.
///
/// What a method has answered is on the node's disk, and is delivered at least once, or stands among the queue's dead letters.
///
/// ```no_run
/// use eyot_sdk::prelude::*;
///
/// async fn invite(Path(address): Path<String>) -> Result<StatusCode> {
///     Queue::named("mailer/mail").send(address)?;
///     Ok(StatusCode::ACCEPTED)
/// }
/// # fn main() {}
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue(String);

/// A message to send. Bytes and text become one by themselves.
///
/// ```
/// use std::time::Duration;
/// use eyot_sdk::NewMessage;
///
/// let reminder = NewMessage::new("4711").delay(Duration::from_secs(3600)).idempotency_key("reminder-4711");
/// ```
#[derive(Clone, Debug)]
pub struct NewMessage(queue::NewMessage);

/// Messages to work off, of one queue.
#[derive(Debug)]
pub struct Batch {
    /// The queue's name.
    pub queue: String,
    /// The messages, the oldest first.
    pub messages: Vec<Message>,
}

/// A message to work off.
///
/// If nothing is said of it, it is done when the handler returns well, and delivered again if not.
#[derive(Debug)]
pub struct Message(queue::Message);

impl Queue {
    /// `QUEUE` of this worker, or `WORKER/QUEUE`.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Sends a message, and answers its id.
    ///
    /// # Errors
    /// There is no such queue for this worker, it is full, a limit is met, or the node cannot write now.
    pub fn send(&self, message: impl Into<NewMessage>) -> Result<String, QueueError> {
        let mut ids = self.send_all([message.into()])?;
        Ok(ids.pop().unwrap_or_default())
    }

    /// Sends messages, all of them or none, and answers their ids.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_all(&self, messages: impl IntoIterator<Item = NewMessage>) -> Result<Vec<String>, QueueError> {
        let messages: Vec<_> = messages.into_iter().map(|message| message.0).collect();
        Ok(queue::send(&self.0, &messages)?)
    }
}

impl NewMessage {
    /// These bytes, to be delivered as soon as may be.
    #[must_use]
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self(queue::NewMessage { body: body.into(), content_type: None, delay: None, idempotency_key: None })
    }

    /// A value as JSON.
    ///
    /// # Errors
    /// [`QueueError::NotJson`] if it cannot be written so.
    #[cfg(feature = "json")]
    pub fn json(value: &impl serde::Serialize) -> Result<Self, QueueError> {
        let written = serde_json::to_vec(value).map_err(|error| QueueError::NotJson(error.to_string()))?;
        Ok(Self::new(written).content_type("application/json"))
    }

    /// What the bytes are: a media type.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.0.content_type = Some(content_type.into());
        self
    }

    /// Waits so long before it is delivered; 12 hours at most.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.0.delay = Some(milliseconds(delay));
        self
    }

    /// Sent to a queue again under the same key within a day, it is sent once.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.0.idempotency_key = Some(key.into());
        self
    }
}

impl<B: Into<Vec<u8>>> From<B> for NewMessage {
    fn from(body: B) -> Self {
        Self::new(body)
    }
}

impl Batch {
    /// Works off each message by itself, one after the other: it is done where that goes well, and is to be delivered again where not,
    /// whatever becomes of the others.
    pub async fn each<E: Display>(self, mut work: impl AsyncFnMut(&Message) -> Result<(), E>) {
        for message in &self.messages {
            match work(message).await {
                Ok(()) => message.ack(),
                Err(error) => message.retry(None, Some(&error.to_string())),
            }
        }
    }
}

impl Message {
    /// What its producer knows it by.
    #[must_use]
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// When it was sent.
    #[must_use]
    pub fn sent(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.sent())
    }

    /// How often it was delivered, this time included.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts()
    }

    /// What its bytes are.
    #[must_use]
    pub fn content_type(&self) -> Option<String> {
        self.0.content_type()
    }

    /// Its bytes.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        self.0.body()
    }

    /// Its bytes as text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8(self.body()).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// Its bytes as JSON.
    ///
    /// # Errors
    /// They are not, or are something else than is wanted.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body())
    }

    /// It is done, whatever becomes of the others.
    pub fn ack(&self) {
        self.0.ack();
    }

    /// It is to be delivered again, after so long, 12 hours at most, or as the queue says; the reason is kept with it. What was said of it
    /// last holds.
    pub fn retry(&self, delay: Option<Duration>, reason: Option<&str>) {
        self.0.retry(delay.map(milliseconds), reason);
    }

    /// It is delivered to nobody else for so long from now, 12 hours at most. Whether that came in time: if not, somebody else may have it.
    #[must_use]
    pub fn extend(&self, lease: Duration) -> bool {
        self.0.extend(milliseconds(lease))
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Why messages were not sent; none was, but for what [`Self::Unavailable`] says. As a response it is 500, and 503 where the queue is full or
/// the node cannot write now: the log says more than the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueError {
    /// eyot.toml names no such queue, no worker that serves has it, or that worker does not take messages from this one.
    NoSuchQueue(String),
    /// Something is larger than a limit.
    TooLarge(String),
    /// The queue holds as much as it may: whoever works it off does not keep up.
    Full(String),
    /// There are too many messages in one call, or in this invocation.
    TooMany(String),
    /// The node cannot write now. A server that went away while it was asked may have taken the messages all the same: sent again under the
    /// same keys, they are there once.
    Unavailable(String),
    /// A value cannot be written as JSON.
    NotJson(String),
}

impl From<queue::Error> for QueueError {
    fn from(error: queue::Error) -> Self {
        match error {
            queue::Error::NoSuchQueue(why) => Self::NoSuchQueue(why),
            queue::Error::TooLarge(why) => Self::TooLarge(why),
            queue::Error::Full(why) => Self::Full(why),
            queue::Error::TooMany(why) => Self::TooMany(why),
            queue::Error::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl Display for QueueError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchQueue(why)
            | Self::TooLarge(why)
            | Self::Full(why)
            | Self::TooMany(why)
            | Self::Unavailable(why) => formatter.write_str(why),
            Self::NotJson(why) => write!(formatter, "a message is no JSON: {why}"),
        }
    }
}

impl std::error::Error for QueueError {}

impl IntoResponse for QueueError {
    fn into_response(self) -> Response {
        #[cfg(feature = "log")]
        log::error!("queues: {self}");
        match self {
            Self::Full(_) | Self::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "try again later\n").into_response()
            }
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "this worker could not send something\n").into_response(),
        }
    }
}

/// Runs a handler on some messages. Called by the code that [`consume!`](crate::consume) makes.
#[doc(hidden)]
pub fn run<E: Display>(
    queue: String,
    messages: Vec<queue::Message>,
    work_off: impl AsyncFnOnce(Batch) -> Result<(), E>,
) -> Result<(), String> {
    #[cfg(feature = "log")]
    crate::logging::start();
    let messages = messages.into_iter().map(Message).collect();
    wstd::runtime::block_on(async { work_off(Batch { queue, messages }).await.map_err(|error| error.to_string()) })
}

/// Makes this component work off messages of its worker's queues by the given handler.
///
/// It takes an `async fn(Batch) -> Result<(), E>`, where `E` can be displayed, and is written once, at the top level of the crate; beside
/// [`serve!`](crate::serve), or alone.
///
/// ```no_run
/// use eyot_sdk::prelude::*;
///
/// async fn work_off(batch: Batch) -> Result<(), QueueError> {
///     batch.each(send).await;
///     Ok(())
/// }
///
/// async fn send(letter: &Message) -> Result<(), String> {
///     let request = Request::post("https://mail.example.com/send").body(Body::from(letter.body()));
///     let sent = fetch(request.map_err(|error| error.to_string())?).await;
///     sent.map(drop).map_err(|error| error.to_string())
/// }
///
/// consume!(work_off);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! consume {
    ($work_off:expr $(,)?) => {
        const _: () = {
            struct Exported;

            impl $crate::__private::queue_handler::Guest for Exported {
                fn handle(
                    queue: ::std::string::String,
                    messages: ::std::vec::Vec<$crate::__private::QueuedMessage>,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    $crate::__private::work_off(queue, messages, $work_off)
                }
            }

    $crate::__private::export_queue_handler!(Exported with_types_in $crate::__private::bindings);
        };
    };
}
