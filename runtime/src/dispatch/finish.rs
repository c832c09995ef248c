//! The end of a request: what the client gets besides the answer itself, and what is written down about it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body as _, Frame, SizeHint};

use super::http::{Core, Gone};
use super::respond::{self, ERROR, REQUEST_ID};
use crate::activate::{Destination, Worker};
use crate::bindings::Usage;
use crate::failure::{Failure, Fault};
use crate::http::{Body, BodyError, Client};
use crate::observe::{AccessLog, Record, RequestId, Spans, Start, Trace, WorkerMetrics};

/// One request and its answer, as it becomes known.
pub(super) struct Exchange {
    pub(super) id: RequestId,
    pub(super) trace: Trace,
    began: Instant,
    time: SystemTime,
    client: Arc<Client>,
    method: Method,
    path: String,
    host: String,
    json: bool,
    metrics: Option<Arc<WorkerMetrics>>,
    run: Option<Run>,
}

/// The isolate behind an answer.
struct Run {
    worker: Arc<Worker>,
    usage: Arc<Usage>,
    start: Start,
}

impl Exchange {
    /// Takes from the request what is needed after it is gone.
    pub(super) fn begin<B>(client: &Arc<Client>, request: &Request<B>) -> Self {
        Self {
            id: RequestId::of(request.headers()),
            trace: Trace::from_headers(request.headers()),
            began: Instant::now(),
            time: SystemTime::now(),
            client: Arc::clone(client),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            host: String::new(),
            json: respond::wants_json(request.headers()),
            metrics: None,
            run: None,
        }
    }

    /// The client that is believed, and the host that it asked for.
    pub(super) fn came_from(&mut self, client: &Arc<Client>, host: &str) {
        self.client = Arc::clone(client);
        host.clone_into(&mut self.host);
    }

    /// The route was found.
    pub(super) fn leads_to(&mut self, destination: &Destination) {
        self.metrics = Some(Arc::clone(&destination.metrics));
    }

    /// An isolate is about to run.
    pub(super) fn runs(&mut self, worker: &Arc<Worker>, usage: &Arc<Usage>, start: Start) {
        self.run = Some(Run { worker: Arc::clone(worker), usage: Arc::clone(usage), start });
    }
}
