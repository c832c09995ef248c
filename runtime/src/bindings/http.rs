//! `wasi:http/outgoing-handler` and `wasi:http/client`: subrequests, counted and sent through egress, or to another worker.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, oneshot};
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::{Capabilities, Event, Usage, begun, service};
use crate::config::WorkerLimits;
use crate::egress::{Egress, Subrequest, Timeouts, worker_of};
use crate::failure::{Failure, Wait};
use crate::http::Body;
use crate::observe::Call;

/// A chunk that a guest writes at once; two of them may wait for the client.
const CHUNK: usize = 64 * 1024;

/// What is left of it for the bodies of a guest that opens very many.
const LEAST_CHUNK: usize = 64;

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// What a subrequest comes to.
pub(super) type Answer = Result<http::Response<WasiBody>, Error>;

/// The same, as the library wants it.
type Sent = Box<dyn Future<Output = Result<(http::Response<WasiBody>, Io), Error>> + Send>;

/// The outgoing side of an isolate.
pub struct Outbound {
    capabilities: Arc<Capabilities>,
    /// `None` before the first request, and between two: nothing is sent on behalf of nobody.
    errand: Option<Errand>,
    /// Bodies that the guest has opened to write to.
    bodies: usize,
}

/// On whose behalf requests are sent, and how many were.
struct Errand {
    event: Event,
    egress: Egress,
    usage: Arc<Usage>,
    made: u64,
    /// Made at the first subrequest: most invocations make none.
    waiting: Option<Arc<Semaphore>>,
}

impl Outbound {
    pub(super) fn new(capabilities: &Arc<Capabilities>) -> Self {
        Self { capabilities: Arc::clone(capabilities), errand: None, bodies: 0 }
    }

    pub(super) fn begin(&mut self, event: Event, egress: Egress, usage: Arc<Usage>) {
        self.bodies = 0;
        self.errand = Some(Errand { event, egress, usage, made: 0, waiting: None });
    }

    /// The circumstances of the request that the isolate answers.
    pub(super) fn event(&self) -> Option<&Event> {
        self.errand.as_ref().map(|errand| &errand.event)
    }

    pub(super) fn end(&mut self) {
        self.errand = None;
    }

    /// Calls another worker, which this request is for.
    ///
    /// # Errors
    /// There may be no further subrequest.
    pub(super) fn call(
        &mut self,
        worker: &str,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<oneshot::Receiver<Answer>, Error> {
        let (event, _, asking, timeouts) = self.ask(options)?;
        Ok(call(asking, event, worker, request.map(Body::boxed), timeouts))
    }

    /// What one more subrequest takes, if there may be one.
    fn ask(&mut self, options: Option<RequestOptions>) -> Result<(&Event, &Egress, Asking, Timeouts), Error> {
        let Self { capabilities, errand, .. } = self;
        let errand = errand.as_mut().ok_or(Error::HttpRequestDenied)?;
        let waiting = errand.count(&capabilities.limits).map_err(|failure| error_of(&failure))?;
        let timeouts = timeouts(options, capabilities.limits.wall_time);
        let asking = Asking { waiting, capabilities: Arc::clone(capabilities) };
        Ok((&errand.event, &errand.egress, asking, timeouts))
    }

    /// What may be written at once to a body that the guest opens now, in bytes. Nothing says when one is closed, so each is given less than
    /// the one before: the bodies of an honest worker get large chunks, and thousands that are filled and never sent come to less than a
    /// megabyte.
    pub(super) fn chunk(&mut self) -> usize {
        self.bodies += 1;
        (CHUNK / self.bodies).max(LEAST_CHUNK)
    }
}

impl Errand {
    /// One more subrequest, if there may be one.
    fn count(&mut self, limits: &WorkerLimits) -> Result<Arc<Semaphore>, Failure> {
        let limit = limits.subrequests;
        if self.made >= limit {
            let failure = Failure::WorkerSubrequestsExceeded { limit };
            self.usage.meet(failure.clone());
            return Err(failure);
        }
        self.made += 1;
        let concurrent = usize::try_from(limits.subrequests_concurrent).unwrap_or(Semaphore::MAX_PERMITS);
        Ok(Arc::clone(self.waiting.get_or_insert_with(|| Arc::new(Semaphore::new(concurrent)))))
    }
}

impl WasiHttpHooks for Outbound {
    fn send_request(&mut self, request: http::Request<WasiBody>, options: Option<RequestOptions>, sent: Io) -> Sent {
        // What the library reports about the response body is for the guest's own future; nothing waits for it here.
        drop(sent);
        if *request.method() == http::Method::CONNECT {
            return Box::new(std::future::ready(Err(Error::HttpRequestMethodInvalid)));
        }
        let (event, egress, asking, timeouts) = match self.ask(options) {
            Ok(asked) => asked,
            Err(error) => return Box::new(std::future::ready(Err(error))),
        };
        let request = request.map(Body::boxed);
        match worker_of(request.uri()) {
            Ok(None) => leave(asking, egress, event, request, timeouts),
            Ok(Some(worker)) => {
                let answer = call(asking, event, &worker, request, timeouts);
                Box::new(async move { answer.await.unwrap_or_else(|_| Err(ended())).map(alone) })
            }
            Err(failure) => {
                tell(&asking.capabilities, &failure);
                Box::new(std::future::ready(Err(error_of(&failure))))
            }
        }
    }

    /// As the library does, which makes its list anew for each field.
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        static FORBIDDEN: [HeaderName; 9] = DEFAULT_FORBIDDEN_HEADERS;
        FORBIDDEN.contains(name)
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }
}

/// What a subrequest takes besides the request.
struct Asking {
    waiting: Arc<Semaphore>,
    capabilities: Arc<Capabilities>,
}

impl Asking {
    async fn answer(self, response: impl Future<Output = Result<http::Response<Body>, Failure>>) -> Answer {
        // The permit is for waiting: it is given back when the head is there.
        let _permit = self.waiting.acquire_owned().await.map_err(|_| Error::ConnectionLimitReached)?;
        let response = response.await.map_err(|failure| {
            tell(&self.capabilities, &failure);
            error_of(&failure)
        })?;
        Ok(response.map(|body| {
            body.map_err(|error| {
                tracing::debug!(%error, "a response body of a subrequest broke off");
                Error::HttpResponseIncomplete
            })
            .boxed_unsync()
        }))
    }
}

/// Nothing has to be driven so that the body comes.
fn alone(response: http::Response<WasiBody>) -> (http::Response<WasiBody>, Io) {
    (response, Box::new(std::future::ready(Ok(()))))
}

/// A call has no answer, and is no more.
pub(super) fn ended() -> Error {
    Error::InternalError(Some("the call of a worker ended".to_owned()))
}

/// A request to another worker. What follows is made when it is polled, and neither way is a part of the other's frame: this is the guest's
/// own stack, of which 16 KiB are there from one isolate to the next.
#[inline(never)]
fn call(
    asking: Asking,
    event: &Event,
    worker: &str,
    request: http::Request<Body>,
    timeouts: Timeouts,
) -> oneshot::Receiver<Answer> {
    let (service, event) = (service::service(&asking.capabilities, worker), event.clone());
    begun::begin(async move {
        let response = match service {
            Ok(service) => service.call(Arc::clone(&asking.capabilities.worker), event, request, timeouts.first_byte),
            Err(failure) => Box::pin(std::future::ready(Err(failure))),
        };
        asking.answer(response).await
    })
}

/// A request that leaves the node.
#[inline(never)]
fn leave(asking: Asking, egress: &Egress, event: &Event, request: http::Request<Body>, timeouts: Timeouts) -> Sent {
    let url = || egress.url(request.uri());
    let (call, trace) = Call::begin(event.tracer.as_ref(), &event.trace, request.method(), url);
    let subrequest = Subrequest { timeouts, trace, passed: event.passed.clone(), request };
    let (egress, policy) = (egress.clone(), Arc::clone(&asking.capabilities.policy));
    let response = Box::pin(async move {
        let response = Box::pin(egress.fetch(&policy, subrequest)).await;
        call.ended(response.as_ref().map(|response| response.status().as_u16()).map_err(Failure::code));
        response
    });
    Box::new(async move { asking.answer(response).await.map(alone) })
}

/// A guest may ask for less time than it has, not for more.
fn timeouts(options: Option<RequestOptions>, most: Duration) -> Timeouts {
    let options = options.unwrap_or_default();
    let clamp = |wanted: Option<Duration>| wanted.unwrap_or(most).min(most);
    Timeouts {
        connect: clamp(options.connect_timeout),
        first_byte: clamp(options.first_byte_timeout),
        idle: clamp(options.between_bytes_timeout),
    }
}

/// A guest learns no more than an error code, so what must be changed to let it through is told to the operator, once.
fn tell(capabilities: &Capabilities, failure: &Failure) {
    let worker = &*capabilities.worker;
    match failure {
        Failure::EgressDenied(why) if capabilities.policy.is_news(why) => tracing::warn!(worker, "{failure}"),
        failure => tracing::debug!(worker, %failure, code = failure.code(), "a subrequest failed"),
    }
}

/// The nearest error code of `wasi:http`.
fn error_of(failure: &Failure) -> Error {
    match failure {
        Failure::EgressDenied(_) => Error::HttpRequestDenied,
        Failure::WorkerSubrequestsExceeded { .. } | Failure::Overloaded { .. } => Error::ConnectionLimitReached,
        // The system's resolver does not tell the response code of the DNS.
        Failure::OriginDns(_) => Error::DnsError { rcode: None, info_code: None },
        Failure::OriginRefused(_) => Error::ConnectionRefused,
        Failure::OriginTls(_) => Error::TlsProtocolError,
        Failure::OriginCertificate(_) => Error::TlsCertificateError,
        Failure::OriginReset(_) => Error::ConnectionTerminated,
        Failure::OriginInvalid(_) => Error::HttpProtocolError,
        Failure::OriginTimeout { wait: Wait::Connection, .. } => Error::ConnectionTimeout,
        Failure::OriginTimeout { wait: Wait::Head | Wait::Body, .. } => Error::HttpResponseTimeout,
        Failure::LoopDetected { .. } | Failure::CallsTooDeep { .. } => Error::LoopDetected,
        Failure::BreakerOpen { .. } => Error::DestinationUnavailable,
        Failure::BadRequest(_) => Error::HttpRequestUriInvalid,
        other => Error::InternalError(Some(other.code().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_told_what_went_wrong_by_the_nearest_code() {
        let too_late = |wait| Failure::OriginTimeout { wait, limit: Duration::ZERO };
        assert!(matches!(error_of(&too_late(Wait::Connection)), Error::ConnectionTimeout));
        assert!(matches!(error_of(&too_late(Wait::Head)), Error::HttpResponseTimeout));
        let certificate = Failure::OriginCertificate("expired".to_owned());
        assert!(matches!(error_of(&certificate), Error::TlsCertificateError));
        let dns = error_of(&Failure::OriginDns("no such name".to_owned()));
        assert!(matches!(dns, Error::DnsError { rcode: None, .. }), "no text where a code belongs");
    }
}
