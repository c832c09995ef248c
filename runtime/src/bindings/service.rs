//! Calls of other workers, at `http://NAME.worker.internal/`: no socket, no connection, but the times, the second tries and the caution
//! of a call over a network, for the other worker has limits, versions and faults of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use recloser::{AsyncRecloser, Recloser};
use tokio::time::{Instant, sleep, timeout};
use tower::retry::budget::{Budget as _, TpsBudget};

use super::{AskedBy, Capabilities, Event};
use crate::config;
use crate::egress::{Passed, WORKERS};
use crate::failure::Failure;
use crate::http::{Body, strip_hop_by_hop, strip_ours};
use crate::observe::id::X_REQUEST_ID;
use crate::observe::{Call, CallMetrics, Called, RequestId, ServiceMetrics, Trace};

/// Who makes calls: the dispatcher, which this room does not know.
pub trait Invoke: Send + Sync {
    /// Calls a worker; comes to the head of its answer. Whatever goes wrong there is an answer, too, as a client would get it.
    ///
    /// # Errors
    /// The call could not be made.
    fn call(self: Arc<Self>, call: ServiceCall) -> BoxFuture<'static, Result<Response<Body>, Failure>>;
}

/// One call of a worker by another.
pub struct ServiceCall {
    /// Who is called.
    pub worker: Arc<str>,
    /// Who calls.
    pub by: Arc<str>,
    /// With an absolute URI. The id of the request on whose behalf it is made and the context of the call stand in its fields, too.
    pub request: Request<Body>,
    /// That id.
    pub request_id: RequestId,
    /// That context.
    pub trace: Trace,
    /// Who has asked the caller, if anybody has.
    pub asked_by: Option<AskedBy>,
    /// The nodes that the caller's request has passed.
    pub passed: Passed,
    /// What led to it, itself included.
    pub chain: Chain,
}

/// Workers that have called one another.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    /// The first one, which nobody has called: the id of its share.
    pub first: u32,
    /// How many calls there were.
    pub depth: u64,
    /// Until then whoever was called last has to answer.
    pub deadline: Instant,
}

/// What an invocation of a worker takes that calls others.
#[derive(Clone)]
pub struct Calls {
    /// Who makes them.
    pub invoke: Arc<dyn Invoke>,
    /// How it came to the worker.
    pub chain: Chain,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// The workers that one calls, by name.
pub(super) type Services = HashMap<Arc<str>, Arc<Service>>;

/// One of them, and how calls of it have gone lately: all cores know it together.
pub(super) struct Service {
    rule: config::Service,
    name: Arc<str>,
    /// `NAME.worker.internal`, however the guest spells it.
    authority: Authority,
    budget: TpsBudget,
    breaker: Option<AsyncRecloser>,
    metrics: CallMetrics,
}

/// A call, which is counted when it is over, however it ends.
struct Made<'a> {
    metrics: &'a CallMetrics,
    outcome: Called,
}

impl Made<'_> {
    fn ended(mut self, outcome: Called) {
        self.outcome = outcome;
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        self.metrics.called(self.outcome);
    }
}

/// What calls deposit that are repeated is forgotten after so long; and so many may be repeated in a second by whoever seldom calls.
const BUDGET: (Duration, u32) = (Duration::from_secs(10), 10);

/// How long a call waits that is made again: long enough not to meet the same moment, short enough for whoever waits for it.
const WAITS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// A guest that is about to end the body of its request has done so after this.
const BODY_WAIT: Duration = Duration::from_millis(50);

/// After the wait of a breaker so many calls decide how it goes on.
const PROBES: usize = 3;

/// On whose behalf a worker is called, and how long that may take.
#[derive(Clone)]
struct Errand {
    by: Arc<str>,
    event: Event,
    calls: Arc<Calls>,
    deadline: Instant,
}

/// A call that came to nothing good.
enum Failed {
    /// To an answer that says so.
    Answer(Response<Body>),
    Call(Failure),
}

impl Failed {
    fn is_answer(&self) -> bool {
        matches!(self, Self::Answer(_))
    }
}

pub(super) fn services(worker: &config::Worker, metrics: &ServiceMetrics) -> Services {
    let service = |rule: &config::Service| {
        let name: Arc<str> = rule.worker.as_str().into();
        // A name is a label of a host.
        let authority = Authority::try_from(format!("{name}{WORKERS}")).ok()?;
        let breaker = rule.breaker.map(|share| {
            let breaker = Recloser::custom()
                .error_rate(share)
                .closed_len(rule.breaker_calls as usize)
                .half_open_len(PROBES)
                .open_wait(rule.breaker_wait);
            AsyncRecloser::from(breaker.build())
        });
        let budget = TpsBudget::new(BUDGET.0, BUDGET.1, rule.retry_budget);
        let service = Service {
            rule: rule.clone(),
            name: Arc::clone(&name),
            authority,
            budget,
            breaker,
            metrics: metrics.of(&worker.name, &rule.worker),
        };
        Some((name, Arc::new(service)))
    };
    worker.services.iter().filter_map(service).collect()
}

/// The worker of this name, for one that may call it.
///
/// # Errors
/// It may not.
pub(super) fn service(capabilities: &Capabilities, name: &str) -> Result<Arc<Service>, Failure> {
    capabilities.services.get(name).cloned().ok_or_else(|| {
        let help = format!("add [[service]] worker = \"{name}\" to eyot.toml");
        Failure::EgressDenied(format!("worker {name} is not among what this worker may call; {help}"))
    })
}

impl Service {
    /// Calls it on behalf of another; `most` is how long the guest would wait for the head of the answer.
    ///
    /// What every call takes is small: it is written twice, and one isolate's calls follow another's in the same caches. What few need is
    /// boxed.
    pub(super) fn call(
        self: Arc<Self>,
        by: Arc<str>,
        mut event: Event,
        request: Request<Body>,
        most: Duration,
    ) -> BoxFuture<'static, Result<Response<Body>, Failure>> {
        Box::pin(async move {
            let Some(calls) = event.calls.take() else {
                return Err(Failure::EgressDenied("workers cannot be called here".to_owned()));
            };
            let now = Instant::now();
            let given = now + self.rule.timeout.map_or(most, |timeout| most.min(timeout));
            // A worker that has answered has no deadline any more: what it does after that has a limit of its own.
            let deadline = if calls.chain.deadline > now { calls.chain.deadline.min(given) } else { given };
            // RFC 9110 §9.2.2.
            let may_repeat = self.rule.retries > 0 && request.method().is_idempotent();
            let (mut head, mut body) = request.into_parts();
            if !is_known(&body) {
                body = Box::pin(begun(body, may_repeat)).await;
            }
            head.uri = self.uri(head.uri);
            strip_hop_by_hop(&mut head.headers);
            strip_ours(&mut head.headers);
            head.headers.insert(X_REQUEST_ID.clone(), event.request_id.header_value());
            if self.rule.retries > 0 {
                self.budget.deposit();
            }
            let errand = Errand { by, event, calls, deadline };
            if may_repeat && body.is_end_stream() {
                return Box::pin(self.repeatedly(errand, head)).await;
            }
            match self.once(errand, Request::from_parts(head, body)).await {
                Ok(response) | Err(Failed::Answer(response)) => Ok(response),
                Err(Failed::Call(failure)) => Err(failure),
            }
        })
    }

    /// Calls it until its answer is a good one, as often as the rule says. There is no body.
    async fn repeatedly(&self, errand: Errand, head: Parts) -> Result<Response<Body>, Failure> {
        let waits = ExponentialBuilder::new().with_min_delay(WAITS.0).with_max_delay(WAITS.1).with_jitter();
        let mut waits = waits.with_max_times(self.rule.retries as usize).build();
        loop {
            let failed = match self.once(errand.clone(), Request::from_parts(head.clone(), Body::empty())).await {
                Ok(response) => return Ok(response),
                // Nothing was called, and will not be.
                Err(Failed::Call(failure)) => return Err(failure),
                Err(Failed::Answer(response)) => response,
            };
            let wait = waits.next().filter(|wait| Instant::now() + *wait < errand.deadline);
            let Some(wait) = wait.filter(|_| self.budget.withdraw()) else { return Ok(failed) };
            drop(failed);
            self.metrics.called(Called::Retried);
            sleep(wait).await;
        }
    }

    /// The same path, of this worker.
    fn uri(&self, asked: Uri) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(asked.into_parts().path_and_query.unwrap_or(PathAndQuery::from_static("/")));
        // It has all of its parts.
        Uri::from_parts(parts).unwrap_or_default()
    }

    /// One call, if its breaker lets it be made.
    fn once(
        &self,
        errand: Errand,
        mut request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Failed>> + Send {
        let Errand { by, event, calls, deadline } = errand;
        let Event { asked_by, request_id, trace, tracer, passed, .. } = event;
        let url = || Some(format!("http://{}{}", self.authority, request.uri().path()));
        let (span, trace) = Call::begin(tracer.as_ref(), &trace, request.method(), url);
        // In place of what the guest may have written there: who is called may choose its version by it, and a tail what it shows.
        trace.inject(request.headers_mut());
        let chain = Chain { depth: calls.chain.depth + 1, deadline, ..calls.chain };
        let worker = Arc::clone(&self.name);
        let call = ServiceCall { worker, by, request, request_id, trace, asked_by, passed, chain };
        self.made(span, Arc::clone(&calls.invoke).call(call))
    }

    /// Makes the call, and counts it.
    async fn made(
        &self,
        span: Call,
        call: BoxFuture<'static, Result<Response<Body>, Failure>>,
    ) -> Result<Response<Body>, Failed> {
        let made = Made { metrics: &self.metrics, outcome: Called::Abandoned };
        let asked = async {
            match call.await {
                Ok(response) if response.status().is_server_error() => Err(Failed::Answer(response)),
                answer => answer.map_err(Failed::Call),
            }
        };
        let ended = match &self.breaker {
            None => asked.await,
            // What could not be called says nothing about who would have been.
            Some(breaker) => breaker.call_with(Failed::is_answer, Box::pin(asked)).await.map_err(|error| match error {
                recloser::Error::Inner(failed) => failed,
                recloser::Error::Rejected => Failed::Call(Failure::BreakerOpen { service: self.name.to_string() }),
            }),
        };
        let (outcome, status) = match &ended {
            Ok(response) => (Called::Answered, Ok(response.status().as_u16())),
            Err(Failed::Answer(response)) => (Called::Failed, Ok(response.status().as_u16())),
            Err(Failed::Call(failure @ Failure::BreakerOpen { .. })) => (Called::Rejected, Err(failure.code())),
            Err(Failed::Call(failure)) => (Called::Denied, Err(failure.code())),
        };
        made.ended(outcome);
        span.ended(status);
        ended
    }
}

/// Whether nothing is to be learned of its length by waiting.
fn is_known(body: &Body) -> bool {
    body.is_end_stream() || body.size_hint().exact().is_some()
}

/// A guest opens a body, and ends it, for a request that has none; that is waited for where it decides whether the call may be repeated.
async fn begun(mut body: Body, is_waited_for: bool) -> Body {
    let wait = if is_waited_for { BODY_WAIT } else { Duration::ZERO };
    match timeout(wait, body.frame()).await {
        Err(_) => body,
        Ok(None) => Body::empty(),
        Ok(Some(frame)) => Body::boxed(StreamBody::new(stream::iter([frame]).chain(BodyStream::new(body)))),
    }
}
