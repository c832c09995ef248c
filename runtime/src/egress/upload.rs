//! The request body on its way out: it says why it broke, lets itself be stopped, and can wait for `100 Continue`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{BoxFuture, headers};
use crate::failure::Failure;
use crate::http::{Body, BodyError};

/// How long a body is held back when the origin does not say `100 Continue` (RFC 9110 §10.1.1 forbids to wait without bound).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// A client's, forwarded.
    Client,
    /// A worker's own.
    Worker,
}

impl Sender {
    /// What it means that the body ended before its end.
    pub(super) fn broke_off(self, why: &str) -> Failure {
        match self {
            Self::Client => Failure::ClientGone,
            Self::Worker => Failure::WorkerError(format!("the body of a subrequest broke off: {why}")),
        }
    }
}

/// What is known of an upload from outside.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    failure: Option<Failure>,
    /// When the origin last took something; `None` while it waits for us.
    since: Option<Instant>,
}

impl Progress {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State { failure: None, since: Some(Instant::now()) })))
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Why the sender's side broke, if it did.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).failure.clone()
    }

    /// Since when it has been the origin's turn; `None` while the sender is the one who is waited for.
    pub(super) fn since(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).since
    }
}

/// A request body that can be watched and stopped.
pub(super) struct Upload {
    body: Body,
    /// A frame that was there before the request went out.
    first: Option<Frame<Bytes>>,
    sender: Sender,
    progress: Progress,
    /// Resolves when nobody wants the rest.
    stopped: oneshot::Receiver<()>,
    /// Resolves when the origin wants the body; `None` when it does.
    wanted: Option<BoxFuture<()>>,
}

/// The outside of an [`Upload`].
pub(super) struct Handle {
    pub(super) progress: Progress,
    /// Dropped: stop.
    pub(super) stop: oneshot::Sender<()>,
    /// Sent: the origin said `100 Continue`. Only for a request that asked for it.
    pub(super) proceed: Option<oneshot::Sender<()>>,
}

impl Upload {
    /// Wraps a body, unless there is none: one of unknown length that has already ended is no body, and no chunked one either.
    pub(super) fn new(mut body: Body, sender: Sender, expect: bool) -> Option<(Self, Handle)> {
        if body.is_end_stream() {
            return None;
        }
        let progress = Progress::new();
        let mut first = None;
        if !expect && body.size_hint().exact().is_none() {
            match body.frame().now_or_never() {
                None => {}
                Some(None) => return None,
                Some(Some(Ok(frame))) => first = Some(frame),
                Some(Some(Err(error))) => {
                    let failure = broken(error, sender);
                    progress.set(|state| state.failure = Some(failure));
                }
            }
        }
        let (stop, stopped) = oneshot::channel();
        let (proceed, wanted) = if expect { gate() } else { (None, None) };
        let handle = Handle { progress: progress.clone(), stop, proceed };
        Some((Self { body, first, sender, progress, stopped, wanted }, handle))
    }
}

fn gate() -> (Option<oneshot::Sender<()>>, Option<BoxFuture<()>>) {
    let (proceed, proceeded) = oneshot::channel();
    let wanted = async move {
        // Whether it was said or not: after this time the body goes out.
        let _ = tokio::time::timeout(CONTINUE_WAIT, async {
            if proceeded.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await;
    };
    (Some(proceed), Some(Box::pin(wanted)))
}

/// Keeps a failure that came with a type; everything else is the sender's going.
fn broken(error: BodyError, sender: Sender) -> Failure {
    match error.downcast::<Failure>() {
        Ok(failure) => *failure,
        Err(error) => sender.broke_off(&error.to_string()),
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(failure) = this.progress.failure() {
            return Poll::Ready(Some(Err(failure.into())));
        }
        if Pin::new(&mut this.stopped).poll(context).is_ready() {
            return Poll::Ready(Some(Err("the response ended before the request".into())));
        }
        if let Some(wanted) = &mut this.wanted {
            match wanted.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => this.wanted = None,
            }
        }
        let frame = match this.first.take() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Pin::new(&mut this.body).poll_frame(context),
        };
        this.progress.set(|state| state.since = if frame.is_pending() { None } else { Some(Instant::now()) });
        frame.map(|frame| match frame? {
            Ok(mut frame) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::clean_trailers(trailers);
                }
                Some(Ok(frame))
            }
            Err(error) => {
                let failure = broken(error, this.sender);
                this.progress.set(|state| state.failure = Some(failure.clone()));
                Some(Err(failure.into()))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.first.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}
