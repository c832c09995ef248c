//! One isolate: a store, and in it an instance, from its start to the end of its last request.

use std::fmt::Debug;
use std::sync::{Arc, Weak};
use std::time::Instant;

use http_body_util::BodyExt;
use tokio::sync::oneshot;
use wasmtime::component::{Accessor, Resource};
use wasmtime::{Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::{IncomingRequest, ResponseOutparam, Scheme};
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::{Error, FieldMap, WasiBody, WasiHttpView, p3};

use super::lane;
use super::prepared::{HttpPre, Pre, Prepared};
use super::ticker::{self, SHORT, SHORT_TURN};
use crate::bindings::{Batch, Capabilities, Consumer, Event, Guest, Scheduled, Usage, bounded};
use crate::config::{WorkerLimits, held};
use crate::egress::Egress;
use crate::failure::Failure;
use crate::http::{Body, BodyError};

/// Ticks until the epoch callback is asked.
const TICKS: u64 = 1;

/// The head as it comes from the guest, or its error code in place of one.
pub(super) type Head = Result<http::Response<WasiBody>, Failure>;

/// What an isolate is asked.
pub(super) struct Question {
    pub(super) event: Event,
    pub(super) egress: Egress,
    pub(super) ask: Ask,
}

/// What it is to handle, and where its answer goes.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are requests, which would need memory for a box")]
pub(super) enum Ask {
    Request(http::Request<Body>, oneshot::Sender<Head>),
    /// The answer is the guest's own error, if there is one.
    Event(Job, oneshot::Sender<Result<(), String>>),
}

/// What a guest is to do that no client waits for.
pub enum Job {
    /// To work off these messages of this queue.
    Messages(Arc<str>, Arc<Batch>),
    /// What this schedule says; it was due then, in milliseconds since 1970.
    Scheduled(Arc<str>, u64),
}

const NO_HTTP: Failure = Failure::WorkerNoResponse("the component exports no HTTP handler");
const NO_SCHEDULED: Failure = Failure::WorkerNoResponse("the component exports no handler of schedules");
const NO_QUEUE: Failure = Failure::WorkerNoResponse("the component exports no queue handler");

/// A store, and the instance in it once that has started.
pub(super) struct Isolate {
    store: Store<Guest>,
    exports: Option<Exports>,
    pre: Arc<Pre>,
    version: Weak<Prepared>,
    made: Instant,
    asked: u64,
}

enum Exports {
    Proxy(Proxy),
    Service(Service),
    Consumer(Consumer),
    Scheduled(Scheduled),
}

impl Isolate {
    /// One that has not started, held to these limits of its worker's; what it takes is charged to `usage`.
    pub(super) fn new(prepared: &Arc<Prepared>, limits: &Arc<WorkerLimits>, usage: &Arc<Usage>) -> Self {
        let guest = Guest::new(&prepared.capabilities, limits, Arc::clone(usage));
        let mut store = Store::new(&prepared.engine, guest);
        if held() {
            store.set_hostcall_fuel(usize::try_from(limits.hostcall_fuel).unwrap_or(usize::MAX));
            store.set_max_component_handles(usize::try_from(limits.handles).unwrap_or(usize::MAX));
            store.limiter(|guest| &mut guest.meter);
            store.set_epoch_deadline(TICKS);
            // A function's name, and no closure with something in it: the box then needs no memory.
            store.epoch_deadline_callback(at_tick);
        }
        let (pre, version) = (Arc::clone(&prepared.pre), Arc::downgrade(prepared));
        Self { store, exports: None, pre, version, made: usage.began(), asked: 0 }
    }

    /// Runs what the component runs before its first call, which is a request.
    ///
    /// # Errors
    /// As the guest ends.
    pub(super) async fn start(&mut self) -> wasmtime::Result<()> {
        self.exports = Some(match &self.pre.http {
            Some(HttpPre::Proxy(pre)) => Exports::Proxy(pre.instantiate_async(&mut self.store).await?),
            Some(HttpPre::Service(pre)) => Exports::Service(pre.instantiate_async(&mut self.store).await?),
            None => return Err(NO_HTTP.into()),
        });
        Ok(())
    }

    /// The same where no client waits.
    async fn start_for(&mut self, job: &Job) -> wasmtime::Result<()> {
        self.exports = Some(match job {
            Job::Messages(..) => {
                let pre = self.pre.queue.as_ref().ok_or(NO_QUEUE)?;
                Exports::Consumer(pre.instantiate_async(&mut self.store).await?)
            }
            Job::Scheduled(..) => {
                let pre = self.pre.scheduled.as_ref().ok_or(NO_SCHEDULED)?;
                Exports::Scheduled(pre.instantiate_async(&mut self.store).await?)
            }
        });
        Ok(())
    }

    /// One that has been there already is measured for this invocation from here on.
    pub(super) fn continue_for(&mut self, usage: &Arc<Usage>) {
        let meter = &mut self.store.data_mut().meter;
        if self.asked == 0 {
            usage.began_ahead(meter.usage.cpu_time());
        }
        meter.begin(Arc::clone(usage));
        if held() {
            // Ticks went by while it waited.
            self.store.set_epoch_deadline(TICKS);
        }
    }

    /// Asks it, after starting it if need be, and gives it back with how the guest has ended. The answer's head goes where the question
    /// says; it may go on after that.
    ///
    /// Each request writes this future once: what few need is boxed, and nothing has room for the question a second time.
    #[expect(clippy::manual_async_fn, reason = "an async function has room for what it is given twice")]
    pub(super) fn answer(mut self, question: Question) -> impl Future<Output = (wasmtime::Result<()>, Self)> {
        async move {
            let started = match (&self.exports, &question.ask) {
                (None, Ask::Request(..)) => self.start().await,
                (None, Ask::Event(job, _)) => Box::pin(self.start_for(job)).await,
                (Some(_), _) => Ok(()),
            };
            if let Err(error) = started {
                return (Err(error), self);
            }
            self.asked += 1;
            self.store.data_mut().begin(question.event, question.egress);
            let ended = match question.ask {
                Ask::Request(request, head) => match &self.exports {
                    Some(Exports::Proxy(proxy)) => match incoming(&mut self.store, request, head) {
                        Ok((request, out)) => {
                            let handler = proxy.wasi_http_incoming_handler();
                            handler.call_handle(&mut self.store, request, out).await
                        }
                        Err(error) => Err(error),
                    },
                    Some(Exports::Service(service)) => {
                        Box::pin(handle_03(service, &mut self.store, request, head)).await
                    }
                    _ => Err(not_started_for()),
                },
                Ask::Event(job, done) => Box::pin(self.work_off(job, done)).await,
            };
            (ended, self)
        }
    }

    /// Does what no client waits for.
    async fn work_off(&mut self, job: Job, done: oneshot::Sender<Result<(), String>>) -> wasmtime::Result<()> {
        let result = match (&self.exports, job) {
            // `eyot:worker/queue-handler@0.1`
            (Some(Exports::Consumer(consumer)), Job::Messages(queue, batch)) => {
                let messages = self.store.data_mut().hold(&batch)?;
                consumer.eyot_worker_queue_handler().call_handle(&mut self.store, &queue, &messages).await?
            }
            (Some(Exports::Scheduled(scheduled)), Job::Scheduled(schedule, due)) => {
                scheduled.eyot_worker_scheduled_handler().call_handle(&mut self.store, &schedule, due).await?
            }
            _ => return Err(not_started_for()),
        };
        // Nobody may wait any more.
        let _ = done.send(result);
        Ok(())
    }

    /// It has answered, and may be asked again.
    pub(super) fn end(&mut self) {
        self.store.data_mut().end();
    }

    /// Whether it was started for requests.
    pub(super) fn is_for_requests(&self) -> bool {
        !matches!(self.exports, Some(Exports::Consumer(_) | Exports::Scheduled(_)))
    }

    /// Whether it is an isolate of this version.
    pub(super) fn is_of(&self, prepared: &Arc<Prepared>) -> bool {
        std::ptr::eq(self.version.as_ptr(), Arc::as_ptr(prepared))
    }

    /// Whether there may be a request for it: its version still serves, or serves some that began before.
    pub(super) fn may_be_asked(&self) -> bool {
        self.version.strong_count() > 0
    }

    pub(super) fn made(&self) -> Instant {
        self.made
    }

    /// How often.
    pub(super) fn asked(&self) -> u64 {
        self.asked
    }

    /// In bytes.
    pub(super) fn memory(&self) -> u64 {
        self.store.data().meter.sum()
    }

    /// What it may touch and is held to.
    pub(super) fn capabilities(&self) -> &Capabilities {
        self.store.data().capabilities()
    }
}

/// A guest goes on at a tick while it has had less than a slice of the core, then it waits for a turn. Its first slice may be longer,
/// since ticks are rare until there are guests that need them, but not where others take turns already. It is measured by the wall clock,
/// which runs on when the kernel gives the core to another process: only who is here again is long for certain.
fn at_tick(mut store: StoreContextMut<'_, Guest>) -> wasmtime::Result<UpdateDeadline> {
    ticker::guest_runs();
    let meter = &mut store.data_mut().meter;
    let short = if meter.takes_turns || lane::is_busy() { SHORT_TURN } else { SHORT };
    if meter.tick()? < short {
        return Ok(UpdateDeadline::Continue(TICKS));
    }
    match meter.takes_turns {
        true => ticker::is_long(),
        false => ticker::may_be_long(),
    }
    meter.takes_turns = true;
    Ok(UpdateDeadline::YieldCustom(TICKS, lane::slice(meter.worker())))
}

/// What `wasi:http/incoming-handler@0.2` is called with: the response comes through an out-parameter, the call may go on after it.
fn incoming(
    store: &mut Store<Guest>,
    request: http::Request<Body>,
    head: oneshot::Sender<Head>,
) -> wasmtime::Result<(Resource<IncomingRequest>, Resource<ResponseOutparam>)> {
    let scheme = match request.uri().scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    let request = request.map(|body| body.map_err(wasi_error));
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(scheme, request)?;
    let head = std::sync::Mutex::new(Some(head));
    let out = http.new_response_outparam_from_callback(move |result| {
        if let Some(head) = head.lock().ok().and_then(|mut head| head.take()) {
            // An error means that nobody waits any more.
            let _ = head.send(result.map_err(refused));
        }
    })?;
    Ok((request, out))
}

/// `wasi:http/handler@0.3`: the response is returned; body and spawned tasks run on in the store's own event loop.
async fn handle_03(
    service: &Service,
    store: &mut Store<Guest>,
    request: http::Request<Body>,
    head: oneshot::Sender<Head>,
) -> wasmtime::Result<()> {
    let run = async |accessor: &Accessor<Guest>| {
        let (parts, body) = request.into_parts();
        let uri = parts.uri.into_parts();
        let headers = accessor.with(|mut store| FieldMap::new_immutable(store.data_mut().http().hooks, parts.headers));
        let body = body.map_err(wasi_error);
        let (request, sent) =
            p3::Request::new(parts.method, uri.scheme, uri.authority, uri.path_and_query, headers, None, body);
        let response = match service.handle(accessor, request).await? {
            Ok(response) => Ok(accessor.with(|store| response.into_http(store, sent))?),
            Err(code) => Err(refused(code)),
        };
        let _ = head.send(response);
        std::future::poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
        Ok(())
    };
    store.run_concurrent(run).await?
}

fn not_started_for() -> wasmtime::Error {
    wasmtime::Error::msg("an isolate was asked what it was not started for")
}

fn refused(code: impl Debug) -> Failure {
    Failure::WorkerError(bounded(format_args!("{code:?}")))
}

/// What a request body's end means to a guest.
fn wasi_error(error: BodyError) -> Error {
    match error.downcast_ref::<Failure>() {
        Some(Failure::RequestBodyTooLarge { limit }) => Error::HttpRequestBodySize(Some(*limit)),
        Some(Failure::RequestTimeout) => Error::ConnectionReadTimeout,
        _ => Error::ConnectionTerminated,
    }
}
