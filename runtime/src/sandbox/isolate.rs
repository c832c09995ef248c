//! One isolate: from a request to the head of its response, and what goes on after it.
//!
//! The guest is polled in place, by the task of its connection. Only a guest that goes on after its response head gets a task of
//! its own (`stream.rs`), so that its deadlines hold even when hyper does not poll the body.

use std::fmt::Debug;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::sleep;
use wasmtime::component::Accessor;
use wasmtime::{Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{Error, FieldMap, WasiBody, WasiHttpView, p3};

use super::metered::{Ledger, Metered};
use super::prepared::{Pre, Prepared};
use super::ticker::{self, SHORT, SHORT_TURN};
use super::{lane, stream};
use crate::bindings::{Guest, Usage, bounded};
use crate::config::held;
use crate::failure::Failure;
use crate::http::{Body, BodyError};

/// Ticks until the epoch callback is asked.
const TICKS: u64 = 1;

/// Everything that one run of one handler needs.
pub struct Invocation<'a> {
    /// Which version.
    pub prepared: &'a Prepared,
    /// The data of the store.
    pub guest: Guest,
    /// Shared with the guest's meter.
    pub usage: Arc<Usage>,
    /// With an absolute URI: scheme and authority are what the guest sees.
    pub request: http::Request<Body>,
    /// Set when the request body broke a limit of ours: the request ends with it, whatever the guest makes of it.
    pub body_failure: Option<oneshot::Receiver<Failure>>,
    /// What the isolate holds.
    pub ledger: Box<dyn Ledger>,
}

/// The head as it comes from the guest, or its error code in place of one.
type Head = Result<http::Response<WasiBody>, Failure>;

/// Runs the handler until its response head; the response's body carries on from there.
///
/// # Errors
/// Every way in which the guest ends without a response of its own.
pub async fn run(invocation: Invocation<'_>) -> Result<http::Response<Body>, Failure> {
    let Invocation { prepared, guest, usage, request, body_failure, ledger } = invocation;
    let (give, head) = oneshot::channel();
    let limits = Arc::clone(&prepared.capabilities.limits);
    let store = store(prepared, guest);
    let guest: super::metered::Guest = match &prepared.pre {
        Pre::Proxy(pre) => {
            let pre = pre.clone();
            Box::pin(async move {
                let mut store = store;
                let result = handle_02(&pre, &mut store, request, give).await;
                (result, store)
            })
        }
        Pre::Service(pre) => {
            let pre = pre.clone();
            Box::pin(async move {
                let mut store = store;
                let result = handle_03(&pre, &mut store, request, give).await;
                (result, store)
            })
        }
    };
    let mut isolate = Metered::new(guest, prepared.id, Arc::clone(&usage), ledger);
    let waiting = Waiting { head, body_failure, wall_time: limits.wall_time };
    let response = match waiting.for_head(&mut isolate, &limits).await {
        Ok(response) => response,
        Err(failure) => {
            // The answer is counted as a failure: the isolate, which goes now, is not counted once more.
            isolate.usage.fail(failure.code());
            prepared.failed(isolate.usage.cpu_time()).await;
            return Err(failure);
        }
    };
    stream::respond(response, isolate, prepared.id, limits)
}

fn store(prepared: &Prepared, guest: Guest) -> Store<Guest> {
    let limits = &prepared.capabilities.limits;
    let mut store = Store::new(&prepared.engine, guest);
    if !held() {
        return store;
    }
    store.set_hostcall_fuel(usize::try_from(limits.hostcall_fuel).unwrap_or(usize::MAX));
    store.set_max_component_handles(usize::try_from(limits.handles).unwrap_or(usize::MAX));
    store.limiter(|guest| &mut guest.meter);
    store.set_epoch_deadline(TICKS);
    // A function's name, and no closure with something in it: the box then needs no memory.
    store.epoch_deadline_callback(at_tick);
    store
}

/// A guest goes on at a tick while it has had less than a slice of the core, then it waits for a turn. Its first slice may be longer,
/// since ticks are rare until there are guests that need them, and is measured by the wall clock, which runs on when the kernel gives
/// the core to another process: only who is here again is long for certain.
fn at_tick(mut store: StoreContextMut<'_, Guest>) -> wasmtime::Result<UpdateDeadline> {
    ticker::guest_runs();
    let meter = &mut store.data_mut().meter;
    let short = if meter.takes_turns { SHORT_TURN } else { SHORT };
    if meter.tick()? < short {
        return Ok(UpdateDeadline::Continue(TICKS));
    }
    match meter.takes_turns {
        true => ticker::is_long(),
        false => ticker::may_be_long(),
    }
    meter.takes_turns = true;
    Ok(UpdateDeadline::YieldCustom(TICKS, lane::turn(meter.worker())))
}

/// `wasi:http/incoming-handler@0.2`: the response comes through an out-parameter, the call may go on after it.
async fn handle_02(
    pre: &ProxyPre<Guest>,
    store: &mut Store<Guest>,
    request: http::Request<Body>,
    head: oneshot::Sender<Head>,
) -> wasmtime::Result<()> {
    let proxy = pre.instantiate_async(&mut *store).await?;
    let scheme = match request.uri().scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    let request = request.map(|body| body.map_err(wasi_error));
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(scheme, request)?;
    let head = std::sync::Mutex::new(Some(head));
    let response = http.new_response_outparam_from_callback(move |result| {
        if let Some(head) = head.lock().ok().and_then(|mut head| head.take()) {
            // An error means that nobody waits any more.
            let _ = head.send(result.map_err(refused));
        }
    })?;
    proxy.wasi_http_incoming_handler().call_handle(store, request, response).await
}

/// `wasi:http/handler@0.3`: the response is returned; body and spawned tasks run on in the store's own event loop.
async fn handle_03(
    pre: &ServicePre<Guest>,
    store: &mut Store<Guest>,
    request: http::Request<Body>,
    head: oneshot::Sender<Head>,
) -> wasmtime::Result<()> {
    let service = pre.instantiate_async(&mut *store).await?;
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

/// What ends the wait for a response head.
struct Waiting {
    head: oneshot::Receiver<Head>,
    body_failure: Option<oneshot::Receiver<Failure>>,
    wall_time: Duration,
}

impl Waiting {
    /// A guest that answers in its first poll costs no timer. When the client goes away, the connection drops all of this.
    async fn for_head(
        mut self,
        isolate: &mut Metered,
        limits: &crate::config::WorkerLimits,
    ) -> Result<http::Response<WasiBody>, Failure> {
        if let Poll::Ready(result) =
            std::future::poll_fn(|context| Poll::Ready(self.poll(isolate, limits, context))).await
        {
            return result;
        }
        let remaining = self.wall_time.saturating_sub(isolate.usage.age());
        let mut deadline = pin!(sleep(remaining));
        std::future::poll_fn(|context| {
            if let Poll::Ready(result) = self.poll(isolate, limits, context) {
                return Poll::Ready(result);
            }
            deadline.as_mut().poll(context).map(|()| Err(Failure::WorkerTimeout { limit: self.wall_time }))
        })
        .await
    }

    fn poll(
        &mut self,
        isolate: &mut Metered,
        limits: &crate::config::WorkerLimits,
        context: &mut Context<'_>,
    ) -> Poll<Result<http::Response<WasiBody>, Failure>> {
        let ended = Pin::new(&mut *isolate).poll(context);
        // Whatever the guest makes of it: reading too much, or waiting for too long, is over with the error that it got.
        if let Some(body) = &mut self.body_failure
            && let Poll::Ready(ended) = Pin::new(body).poll(context)
        {
            self.body_failure = None;
            if let Ok(failure) = ended {
                return Poll::Ready(Err(failure));
            }
        }
        match self.head.try_recv() {
            // How the guest ended after it, if it did, decides only about a response that is not complete.
            Ok(head) => Poll::Ready(head),
            Err(TryRecvError::Empty) if ended.is_pending() => Poll::Pending,
            // It has ended, or thrown away what it would have to answer with: no response will come.
            Err(_) => Poll::Ready(Err(isolate.failure(limits))),
        }
    }
}
