//! The end of a request: what the client gets besides the answer itself, and what is written down about it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use http_body::{Body as _, Frame, SizeHint};
use jiff::Timestamp;

use super::content;
use super::http::{Core, Gone};
use super::respond;
use crate::activate::{Destination, Worker};
use crate::bindings::Usage;
use crate::failure::Failure;
use crate::http::{Body, BodyError, Client, strip_ours};
use crate::observe::id::X_REQUEST_ID;
use crate::observe::{Record, RequestId, Start, TargetMetrics, Trace, Tracer};

/// One request and its answer, as it becomes known.
pub(super) struct Exchange {
    pub(super) id: RequestId,
    pub(super) trace: Trace,
    /// For the form of an answer of ours: looked at only when there is a failure.
    accept: Option<HeaderValue>,
    time: Timestamp,
    began: Instant,
    client: Arc<Client>,
    method: Method,
    uri: Uri,
    protocol: Version,
    /// In canonical form, once the head was read; before that, what was asked for stands in the URI or here.
    host: String,
    asked: Option<HeaderValue>,
    port: u16,
    /// The head, while somebody looks for one.
    head: Option<Box<HeaderMap>>,
    target: Option<Arc<TargetMetrics>>,
    route: Option<Arc<str>>,
    caller: Option<Arc<str>>,
    run: Option<Run>,
    read: Option<Arc<AtomicU64>>,
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
        let time = SystemTime::now();
        let id = RequestId::from_headers(request.headers(), time);
        let trace = Tracer::trace(core.dispatcher.tracer.as_ref(), request.headers());
        Self::of(core, client, request, id, trace, time)
    }

    /// The same where a worker asks on behalf of this request, with the context of its call.
    pub(super) fn called<B>(
        core: &Arc<Core>,
        client: &Arc<Client>,
        request: &Request<B>,
        id: RequestId,
        by: &Trace,
    ) -> Self {
        let trace = Tracer::called(core.dispatcher.tracer.as_ref(), by);
        Self::of(core, client, request, id, trace, SystemTime::now())
    }

    fn of<B>(
        core: &Arc<Core>,
        client: &Arc<Client>,
        request: &Request<B>,
        id: RequestId,
        trace: Trace,
        time: SystemTime,
    ) -> Self {
        Self {
            id,
            trace,
            accept: request.headers().get(ACCEPT).cloned(),
            time: Timestamp::try_from(time).unwrap_or_default(),
            began: Instant::now(),
            client: Arc::clone(client),
            method: request.method().clone(),
            uri: request.uri().clone(),
            protocol: request.version(),
            host: String::new(),
            asked: request.headers().get(HOST).cloned(),
            port: client.local.port(),
            head: core.dispatcher.tails.keep(request.headers()),
            target: None,
            route: None,
            caller: None,
            run: None,
            read: None,
            core: Arc::clone(core),
            written_down: false,
        }
    }

    /// The client that is believed.
    pub(super) fn came_from(&mut self, client: &Arc<Client>) {
        self.client = Arc::clone(client);
    }

    /// The host that it asked for, in canonical form.
    pub(super) fn asks_for(&mut self, host: String) -> &str {
        self.host = host;
        &self.host
    }

    /// How much of the request body is read, as it becomes known.
    pub(super) fn reads(&mut self, read: Option<Arc<AtomicU64>>) {
        self.read = read;
    }

    /// The route was found.
    pub(super) fn leads_to(&mut self, destination: &Destination) {
        self.target = Some(Arc::clone(&destination.metrics));
        self.route = Some(Arc::clone(&destination.pattern));
    }

    /// Another worker has called this one.
    pub(super) fn is_called(&mut self, worker: &Worker, by: &Arc<str>) {
        self.target = Some(Arc::clone(worker.metrics.target()));
        self.caller = Some(Arc::clone(by));
    }

    /// An isolate is about to run.
    pub(super) fn runs(&mut self, worker: &Arc<Worker>, usage: &Arc<Usage>, start: Start) {
        self.run = Some(Run { worker: Arc::clone(worker), usage: Arc::clone(usage), start });
    }

    /// Makes the final response, and writes the request down when its body is over.
    pub(super) fn finish(mut self, result: Result<Response<Body>, Failure>) -> Result<Response<Body>, Gone> {
        let (mut response, code, length) = match result.and_then(|response| self.check(response)) {
            // Written down when dropped.
            Err(Failure::ClientGone) => return Err(Gone),
            Ok((mut response, length)) => {
                // The names are ours: a guest or an origin that uses one would be mistaken for the node.
                strip_ours(response.headers_mut());
                (response, None, length)
            }
            Err(failure) => {
                self.tell(&failure);
                self.target().failed(failure.code());
                let detail = self.core.dispatcher.detail;
                let response = respond::failed(&failure, &self.id, self.accept.as_ref(), detail);
                let length = response.body().in_memory();
                (response, Some(failure.code()), length)
            }
        };
        content::frame(&mut response, &self.method, length);
        let status = response.status().as_u16();
        match &self.caller {
            None => _ = response.headers_mut().insert(X_REQUEST_ID.clone(), self.id.header_value()),
            // It has the id already: its own request's.
            Some(_) => _ = response.headers_mut().remove(&X_REQUEST_ID),
        }
        if let Some(length) = response.body().in_memory() {
            self.write_down(status, code, length);
            return Ok(response);
        }
        let recorded = |body| Recorded { body, sent: 0, length, ended: false, status, code, exchange: self };
        Ok(response.map(|body| Body::boxed(recorded(body))))
    }

    /// What a worker or an origin answers must be something that can be sent.
    fn check(&self, response: Response<Body>) -> Result<(Response<Body>, Option<u64>), Failure> {
        match content::length(&response, &self.method) {
            Ok(length) => Ok((response, length)),
            Err(why) => match &self.run {
                Some(run) => {
                    // It is counted here; the isolate, which ends with its refused response, is not counted once more.
                    let failure = Failure::WorkerError(why);
                    run.usage.fail(failure.code());
                    Err(failure)
                }
                None => Err(Failure::OriginInvalid(why)),
            },
        }
    }

    /// The host; as it was sent, where the head was refused.
    fn asked_host(&self) -> &str {
        if !self.host.is_empty() {
            return &self.host;
        }
        let target = self.uri.authority().map(Authority::as_str);
        target.or_else(|| self.asked.as_ref()?.to_str().ok()).unwrap_or_default()
    }

    fn target(&self) -> &TargetMetrics {
        self.target.as_ref().unwrap_or(&self.core.dispatcher.unrouted)
    }

    fn tell(&self, failure: &Failure) {
        respond::tell(failure, &self.id, self.trace.id(), self.run.as_ref().map(|run| &*run.worker.name));
    }

    /// The content is not as long as its length said.
    fn wrong_length(&self) -> Failure {
        let why = "the content is not as long as content-length says".to_owned();
        if self.run.is_some() { Failure::WorkerError(why) } else { Failure::OriginInvalid(why) }
    }

    /// The body broke off. The isolate may have said so already.
    fn broke_off(&self, failure: &Failure) {
        if self.run.as_ref().is_none_or(|run| run.usage.fail(failure.code())) {
            self.tell(failure);
            self.target().failed(failure.code());
        }
    }

    /// The body was dropped before its end: by a client that has gone, or because the isolate's own failure, which is counted
    /// already, did not reach one that does not read. Returns the code. The isolate itself may go on.
    fn cut_off(&self) -> &'static str {
        self.run.as_ref().and_then(|run| run.usage.failure()).unwrap_or_else(|| {
            let gone = Failure::ClientGone.code();
            self.target().failed(gone);
            gone
        })
    }

    fn write_down(&mut self, status: u16, failure: Option<&'static str>, sent: u64) {
        self.written_down = true;
        let duration = self.began.elapsed();
        self.target().finished(status, duration);
        let run = self.run.as_ref();
        if let Some(run) = run {
            // A client that has gone says nothing about the worker.
            let failed = status >= 500 || failure.is_some_and(|code| code != Failure::ClientGone.code());
            run.worker.watched.ended(failed, duration);
        }
        let record = Record {
            time: self.time,
            request_id: &self.id,
            trace_id: self.trace.id(),
            client: self.client.address.ip(),
            method: self.method.as_str(),
            scheme: if self.client.tls.is_some() { "https" } else { "http" },
            host: self.asked_host(),
            port: self.port,
            protocol: self.protocol,
            path: self.uri.path(),
            status,
            failure,
            bytes_in: self.read.as_ref().map_or(0, |read| read.load(Relaxed)),
            bytes_out: sent,
            duration,
            cpu: run.map(|run| run.usage.cpu_time()),
            peak_memory: run.map(|run| run.usage.peak_memory()),
            start: run.map(|run| run.start),
            worker: run.map(|run| &*run.worker.name),
            version: run.map(|run| &*run.worker.version),
            route: self.route.as_deref(),
            caller: self.caller.as_deref(),
        };
        self.core.access.record(&record);
        self.core.dispatcher.tails.request(&record, self.head.as_deref());
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
    /// As declared, if it is: hyper stops there, and does not ask for the end.
    length: Option<u64>,
    ended: bool,
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
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => {
                self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.ended = frame.is_trailers();
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(error)),
            None => {
                self.ended = true;
                None
            }
        };
        let wrong = self.length.is_some_and(|length| self.sent > length || (self.ended && self.sent < length));
        let frame = match frame {
            Some(Err(error)) => Some(Err(error)),
            _ if wrong => Some(Err(self.exchange.wrong_length().into())),
            frame => frame,
        };
        if let Some(Err(error)) = &frame {
            self.ended = true;
            let unnamed = Failure::Internal(error.to_string());
            let failure = error.downcast_ref().unwrap_or(&unnamed);
            self.code = Some(failure.code());
            self.exchange.broke_off(failure);
        }
        Poll::Ready(frame)
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
        let whole = self.ended || self.length == Some(self.sent) || self.body.is_end_stream();
        if !whole {
            self.code = Some(self.exchange.cut_off());
        }
        self.exchange.write_down(self.status, self.code, self.sent);
    }
}
