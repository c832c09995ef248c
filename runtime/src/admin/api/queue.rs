//! Queues of workers, for whoever may deploy them: such a one could read and send their messages by a version of his own.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;

use super::Kept;
use super::caller::Caller;
use super::extract::{Json as Body, Path, Query};
use super::problem::{Missing, NotMade, Problem, Refused};
use super::shapes::{
    NewQueueMessage, NewQueueMessages, Queue, QueueCount, QueueMessage, QueueMessages, QueuePeek, QueueSent,
    QueueState, Queues, Redrive,
};
use crate::config::{self, is_worker_name};
use crate::store::{Message, NewMessage, QueueName, Scope};

/// So many messages are shown, where nothing is said, and at most.
const PEEK: (u32, u32) = (10, 100);

/// So many messages are sent together at most.
const TOGETHER: usize = 1000;

/// The queues of a worker.
#[utoipa::path(
    get, path = "/v1/workers/{worker}/queues", tag = "queues", operation_id = "list_queues",
    params(("worker", description = "The name of the worker.")),
    responses((status = 200, body = Queues), Refused)
)]
pub(super) async fn list(
    State(kept): State<Kept>,
    caller: Caller,
    Path(worker): Path<String>,
) -> Result<Json<Queues>, Problem> {
    caller.may_with(Scope::Read, &worker)?;
    let consumed = kept.stock.consumed(&worker);
    let dead_letter =
        |name: &str| consumed.iter().find(|queue| queue.name == name).map(|queue| queue.dead_letter.clone());
    let standing = kept.stock.queues()?.standing(Some(&worker)).await?;
    let mut queues: Vec<_> = standing
        .into_iter()
        .map(|standing| Queue {
            dead_letter: dead_letter(&standing.queue.name),
            name: standing.queue.name.to_string(),
            messages: standing.messages,
            bytes: standing.bytes,
            oldest: standing.oldest,
            paused: standing.paused,
        })
        .collect();
    for queue in &consumed {
        if !queues.iter().any(|listed| listed.name == queue.name) {
            let (name, dead_letter) = (queue.name.clone(), Some(queue.dead_letter.clone()));
            queues.push(Queue { name, messages: 0, bytes: 0, oldest: None, paused: false, dead_letter });
        }
    }
    queues.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Json(Queues { queues }))
}

/// Messages as they stand in a queue. Nothing about them changes.
#[utoipa::path(
    get, path = "/v1/workers/{worker}/queues/{queue}/messages", tag = "queues", operation_id = "peek_messages",
    params(
        ("worker", description = "The name of the worker."),
        ("queue", description = "The name of the queue."),
        QueuePeek,
    ),
    responses((status = 200, body = QueueMessages), Refused, NotMade)
)]
pub(super) async fn peek(
    State(kept): State<Kept>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    Query(QueuePeek { limit }): Query<QueuePeek>,
) -> Result<Json<QueueMessages>, Problem> {
    let queue = queue(&caller, path)?;
    let limit = match limit.unwrap_or(PEEK.0) {
        limit if (1..=PEEK.1).contains(&limit) => limit,
        limit => return Err(Problem::bad(format!("`limit` is {limit}, and may be 1 to {}", PEEK.1))),
    };
    let found = kept.stock.queues()?.peek(&queue, limit).await?;
    let shown = |Message { id, sent, due, attempts, reason, content_type, body, .. }| {
        let body = BASE64_STANDARD.encode(&body);
        QueueMessage { id: id.to_string(), sent, due, attempts, reason, content_type, body }
    };
    Ok(Json(QueueMessages { messages: found.into_iter().map(shown).collect() }))
}

/// Sends messages, all of them or none.
#[utoipa::path(
    post, path = "/v1/workers/{worker}/queues/{queue}/messages", tag = "queues", operation_id = "send_messages",
    params(
        ("worker", description = "The name of the worker."),
        ("queue", description = "The name of the queue."),
    ),
    request_body = NewQueueMessages,
    responses((status = 201, body = QueueSent), Refused, Missing, NotMade)
)]
pub(super) async fn send(
    State(kept): State<Kept>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    Body(NewQueueMessages { messages }): Body<NewQueueMessages>,
) -> Result<(StatusCode, Json<QueueSent>), Problem> {
    let queue = queue(&caller, path)?;
    if !(1..=TOGETHER).contains(&messages.len()) {
        return Err(Problem::invalid(format!("there are {} messages, and may be 1 to {TOGETHER}", messages.len())));
    }
    let most = kept.stock.limits_of(&queue.worker).queue_message;
    let messages = messages.into_iter().map(|message| checked(message, most)).collect::<Result<Vec<_>, _>>()?;
    let sent = kept.stock.send_messages(caller.by_without_key(), &queue, messages).await?;
    let ids = sent.iter().map(ToString::to_string).collect();
    Ok((StatusCode::CREATED, Json(QueueSent { ids })))
}

fn checked(message: NewQueueMessage, most: u64) -> Result<NewMessage, Problem> {
    let NewQueueMessage { body, content_type, due, idempotency_key: key } = message;
    let body = BASE64_STANDARD.decode(&body);
    let body = body.map_err(|error| Problem::invalid(format!("the body of a message is no base64: {error}")))?;
    let delay = due.map_or(Duration::ZERO, |due| {
        Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
    });
    Ok(NewMessage { body, content_type, delay, key, trace: None }.checked(most)?)
}

/// Removes all messages of a queue, those that are being worked off, too.
#[utoipa::path(
    delete, path = "/v1/workers/{worker}/queues/{queue}/messages", tag = "queues", operation_id = "purge_queue",
    params(
        ("worker", description = "The name of the worker."),
        ("queue", description = "The name of the queue."),
    ),
    responses((status = 200, body = QueueCount), Refused, NotMade)
)]
pub(super) async fn purge(
    State(kept): State<Kept>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Json<QueueCount>, Problem> {
    let queue = queue(&caller, path)?;
    let messages = kept.stock.purge(caller.by_without_key(), &queue).await?;
    Ok(Json(QueueCount { messages }))
}

/// Says whether messages of a queue are delivered.
#[utoipa::path(
    put, path = "/v1/workers/{worker}/queues/{queue}", tag = "queues", operation_id = "pause_queue",
    params(
        ("worker", description = "The name of the worker."),
        ("queue", description = "The name of the queue."),
    ),
    request_body = QueueState,
    responses((status = 204, description = "It is so."), Refused, NotMade)
)]
pub(super) async fn pause(
    State(kept): State<Kept>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    Body(QueueState { paused }): Body<QueueState>,
) -> Result<StatusCode, Problem> {
    let queue = queue(&caller, path)?;
    kept.stock.pause(caller.by_without_key(), &queue, paused).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Moves messages into a queue: its dead letters, unless it says otherwise. Their deliveries are counted anew.
#[utoipa::path(
    post, path = "/v1/workers/{worker}/queues/{queue}/redrive", tag = "queues", operation_id = "redrive_messages",
    params(
        ("worker", description = "The name of the worker."),
        ("queue", description = "The name of the queue that they come into."),
    ),
    request_body = Redrive,
    responses((status = 200, body = QueueCount), Refused, NotMade)
)]
pub(super) async fn redrive(
    State(kept): State<Kept>,
    caller: Caller,
    Path((worker, name)): Path<(String, String)>,
    Body(Redrive { from }): Body<Redrive>,
) -> Result<Json<QueueCount>, Problem> {
    let into = queue(&caller, (worker.clone(), name.clone()))?;
    let of_its_own = || {
        let consumed = kept.stock.consumed(&worker).into_iter().find(|queue| queue.name == name);
        consumed.map_or_else(|| config::Queue::named(&*name).dead_letter, |queue| queue.dead_letter.clone())
    };
    let from = queue(&caller, (worker.clone(), from.unwrap_or_else(of_its_own)))?;
    if from == into {
        return Err(Problem::invalid(format!("messages of `{name}` are there already: name another queue as `from`")));
    }
    let messages = kept.stock.redrive(caller.by_without_key(), &from, &into).await?;
    Ok(Json(QueueCount { messages }))
}

/// Whoever may have it gets it.
fn queue(caller: &Caller, (worker, name): (String, String)) -> Result<QueueName, Problem> {
    caller.may_with(Scope::Deploy, &worker)?;
    for (what, name) in [("worker", &worker), ("queue", &name)] {
        if !is_worker_name(name) {
            return Err(Problem::invalid(format!("{name:?} cannot be the name of a {what}")));
        }
    }
    Ok(QueueName { worker: worker.into(), name: name.into() })
}
