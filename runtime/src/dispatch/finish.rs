//! The end of a request: what the client gets besides the answer itself, and what is written down about it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body::{Body as _, Frame, SizeHint};
use jiff::Timestamp;

use super::http::{Core, Gone};
use super::respond::{self, ERROR};
use crate::activate::{Destination, Worker};
use crate::bindings::Usage;
use crate::failure::{Failure, Fault};
use crate::http::{Body, BodyError, Client};
use crate::observe::id::X_REQUEST_ID;
use crate::observe::{Record, RequestId, Start, TargetMetrics, Trace};

/// One request and its answer, as it becomes known.
pub(super) struct Exchange {
    pub(super) id: RequestId,
    pub(super) trace: Trace,
    pub(super) json: bool,
    time: Timestamp,
    began: Instant,
    client: Arc<Client>,
    method: Method,
    uri: Uri,
    host: String,
    target: Option<Arc<TargetMetrics>>,
    route: Option<Arc<str>>,
    run: Option<Run>,
    core: Arc<Core>,
    written_down: bool,
}

/// The isolate behind an answer.
struct Run {
    worker: Arc<Worker>,
    usage: Arc<Usage>,
    start: Start,
}

impl Exchange {
    /// Takes from the request what is needed after it is gone.
    pub(super) fn begin<B>(core: &Arc<Core>, client: &Arc<Client>, request: &Request<B>) -> Self {
        Self {
            id: RequestId::from_headers(request.headers()),
            trace: Trace::from_headers(request.headers()),
            json: respond::wants_json(request.headers()),
            time: Timestamp::now(),
            began: Instant::now(),
            client: Arc::clone(client),
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: String::new(),
            target: None,
            route: None,
            run: None,
            core: Arc::clone(core),
            written_down: false,
        }
    }

    /// The client that is believed, and the host that it asked for.
    pub(super) fn came_from(&mut self, client: &Arc<Client>, host: &str) {
        self.client = Arc::clone(client);
        host.clone_into(&mut self.host);
    }

    /// The route was found.
    pub(super) fn leads_to(&mut self, destination: &Destination) {
        self.target = Some(Arc::clone(&destination.metrics));
        self.route = Some(Arc::clone(&destination.pattern));
    }

    /// An isolate is about to run.
    pub(super) fn runs(&mut self, worker: &Arc<Worker>, usage: &Arc<Usage>, start: Start) {
        self.run = Some(Run { worker: Arc::clone(worker), usage: Arc::clone(usage), start });
    }

    /// Makes the final response, and writes the request down when its body is over.
    pub(super) fn finish(mut self, result: Result<Response<Body>, Failure>) -> Result<Response<Body>, Gone> {
        let (mut response, code) = match result {
            Ok(mut response) => {
                // The name is ours: a guest or an origin that uses it would be mistaken for the node.
                response.headers_mut().remove(ERROR);
                (response, None)
            }
            // Written down when dropped.
            Err(Failure::ClientGone) => return Err(Gone),
            Err(failure) => {
                self.tell(&failure);
                self.target().failed(failure.code());
                let response = respond::failed(&failure, &self.id, self.json, self.core.dispatcher.detail);
                (response, Some(failure.code()))
            }
        };
        let status = response.status().as_u16();
        response.headers_mut().insert(X_REQUEST_ID.clone(), self.id.header_value());
        if let Some(length) = response.body().size_hint().exact() {
            self.write_down(status, code, length);
            return Ok(response);
        }
        Ok(response.map(|body| Body::boxed(Recorded { body, sent: 0, status, code, exchange: self })))
    }

    fn target(&self) -> &TargetMetrics {
        self.target.as_ref().unwrap_or(&self.core.dispatcher.unrouted)
    }

    /// What the operator should know at once: what this node or a worker did, not what clients do.
    fn tell(&self, failure: &Failure) {
        let worker = self.run.as_ref().map(|run| &*run.worker.name);
        let (code, id) = (failure.code(), self.id.as_str());
        match failure.fault() {
            Fault::Node => tracing::error!(request_id = id, worker, code, "{failure}"),
            Fault::Worker | Fault::Origin => tracing::warn!(request_id = id, worker, code, "{failure}"),
            Fault::Client => tracing::debug!(request_id = id, worker, code, "{failure}"),
        }
    }

    fn write_down(&mut self, status: u16, failure: Option<&'static str>, sent: u64) {
        self.written_down = true;
        let duration = self.began.elapsed();
        self.target().finished(status, duration);
        let run = self.run.as_ref();
        let record = Record {
            time: self.time,
            request_id: &self.id,
            trace_id: self.trace.id(),
            client: self.client.address.ip(),
            method: self.method.as_str(),
            scheme: if self.client.tls.is_some() { "https" } else { "http" },
            host: &self.host,
            path: self.uri.path(),
            query: None,
            status,
            failure,
            bytes_in: 0,
            bytes_out: sent,
            duration,
            cpu: run.map(|run| run.usage.cpu_time()),
            peak_memory: run.map(|run| run.usage.peak_memory()),
            start: run.map(|run| run.start),
            worker: run.map(|run| &*run.worker.name),
            version: run.map(|run| &*run.worker.version),
            route: self.route.as_deref(),
        };
        self.core.access.record(&record);
        if let Some(tracer) = &self.core.dispatcher.tracer {
            tracer.request(&self.trace, &record);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.written_down {
            // hyper drops a request whose client has gone.
            let gone = Failure::ClientGone;
            self.target().failed(gone.code());
            self.write_down(gone.status(), Some(gone.code()), 0);
        }
    }
}

/// A streaming body that writes its request down when it is over, however it ends.
struct Recorded {
    body: Body,
    sent: u64,
    status: u16,
    code: Option<&'static str>,
    exchange: Exchange,
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => self.sent += frame.data_ref().map_or(0, |data| data.len() as u64),
            Poll::Ready(Some(Err(error))) => {
                self.code = Some(error.downcast_ref::<Failure>().map_or("response_broken", Failure::code));
            }
            _ => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.exchange.write_down(self.status, self.code, self.sent);
    }
}
