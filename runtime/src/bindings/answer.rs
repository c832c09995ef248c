//! The answer of another worker, as a guest of WASI 0.2 waits for it: a `future-incoming-response` behind which there is no task.
//!
//! The library has a task for each of them, which polls what is asked over a network. A call that was made while its guest waits
//! (`begun.rs`) is there before such a task would run. So the functions that know what stands behind one are in front of the library's here;
//! theirs are asked for what is no call, or one that is written in an unusual way.

use http::header::CONTENT_LENGTH;
use http::uri::PathAndQuery;
use tokio::sync::oneshot::{self, error::TryRecvError};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi_http::p2::HttpResult;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::{
    ErrorCode, FutureIncomingResponse, HostFutureIncomingResponse as _, IncomingResponse, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasmtime_wasi_http::p2::body::HostIncomingBody;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::{FieldMap, WasiHttpView};

use super::Guest;
use super::http::{Answer, ended};
use crate::egress::worker_at;

/// In the guest's table, in the place of the library's own.
enum Called {
    Waiting(oneshot::Receiver<Answer>),
    Answered(Answer),
    Taken,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Called {
    async fn ready(&mut self) {
        if let Self::Waiting(answer) = self {
            *self = Self::Answered(answer.await.unwrap_or_else(|_| Err(ended())));
        }
    }
}

type Future = Resource<FutureIncomingResponse>;
type Got = Option<Result<Result<Resource<IncomingResponse>, ErrorCode>, ()>>;

/// The same resource, as it stands in the table if a worker answers.
fn called(future: &Future) -> Resource<Called> {
    Resource::new_borrow(future.rep())
}

/// Puts these functions in front of those that the linker has.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    type Store<'a> = StoreContextMut<'a, Guest>;
    linker.allow_shadowing(true);
    let mut handler = linker.instance("wasi:http/outgoing-handler@0.2.12")?;
    handler.func_wrap(
        "handle",
        |mut store: Store<'_>, (request, options): (Resource<OutgoingRequest>, Option<Resource<RequestOptions>>)| {
            Ok((match handle(store.data_mut(), request, options) {
                Ok(future) => Ok(future),
                Err(error) => Err(error.downcast()?),
            },))
        },
    )?;
    let mut types = linker.instance("wasi:http/types@0.2.12")?;
    types.resource(
        "future-incoming-response",
        ResourceType::host::<HostFutureIncomingResponse>(),
        |mut store: Store<'_>, rep| drop_future(store.data_mut(), Resource::new_own(rep)),
    )?;
    types.func_wrap("[method]future-incoming-response.subscribe", |mut store: Store<'_>, (future,): (Future,)| {
        Ok((subscribed(store.data_mut(), future)?,))
    })?;
    types.func_wrap("[method]future-incoming-response.get", |mut store: Store<'_>, (future,): (Future,)| {
        Ok((get(store.data_mut(), future)?,))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

fn handle(
    guest: &mut Guest,
    request: Resource<OutgoingRequest>,
    options: Option<Resource<RequestOptions>>,
) -> HttpResult<Future> {
    let Some((worker, method, path)) = guest.table.get(&request).ok().and_then(worker_of) else {
        return guest.http().handle(request, options);
    };
    let options = options.and_then(|options| guest.table.get(&options).ok()).cloned();
    let HostOutgoingRequest { headers, body, .. } = guest.table.delete(request)?;
    let mut request = http::Request::new(body.unwrap_or_default());
    *request.method_mut() = method;
    *request.uri_mut() = path.into();
    *request.headers_mut() = headers.into();
    let called = match guest.outbound.call(&worker, request, options) {
        Ok(answer) => Called::Waiting(answer),
        Err(error) => Called::Answered(Err(error)),
    };
    Ok(Resource::new_own(guest.table.push(called)?.rep()))
}

/// Whom it is for, if that is a worker, and what it is asked: where the library would find nothing wrong with it.
fn worker_of(request: &HostOutgoingRequest) -> Option<(String, http::Method, PathAndQuery)> {
    let worker = worker_at(request.authority.as_deref()?).filter(|_| matches!(request.scheme, Some(Scheme::Http)))?;
    let method = request.method.clone().try_into().ok().filter(|method| *method != http::Method::CONNECT)?;
    let path = request.path_with_query.as_deref().filter(|path| path.starts_with('/'))?;
    // A request with a body was opened one, and what it says of its length was looked at then.
    let says_enough = request.body.is_some() || !request.headers.contains_key(CONTENT_LENGTH);
    Some((worker.to_owned(), method, PathAndQuery::try_from(path).ok()?)).filter(|_| says_enough)
}

fn subscribed(guest: &mut Guest, future: Future) -> wasmtime::Result<Resource<DynPollable>> {
    match guest.table.get(&called(&future)) {
        Ok(_) => subscribe(&mut guest.table, called(&future)),
        Err(_) => guest.http().subscribe(future),
    }
}

fn get(guest: &mut Guest, future: Future) -> wasmtime::Result<Got> {
    let Ok(entry) = guest.table.get_mut(&called(&future)) else { return guest.http().get(future) };
    // A guest may look without waiting before.
    if let Called::Waiting(answer) = entry {
        *entry = Called::Answered(match answer.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Empty) => return Ok(None),
            Err(TryRecvError::Closed) => Err(ended()),
        });
    }
    match std::mem::replace(entry, Called::Taken) {
        Called::Answered(Ok(response)) => {
            let (parts, body) = response.into_parts();
            let headers = FieldMap::new_immutable(guest.http().hooks, parts.headers);
            let body = Some(HostIncomingBody::new(body));
            let response = IncomingResponse { status: parts.status.as_u16(), headers, body };
            Ok(Some(Ok(Ok(guest.table.push(response)?))))
        }
        // The library alone knows what code an error has.
        Called::Answered(Err(error)) => {
            let failed = guest.table.push(HostFutureIncomingResponse::Ready(Err(error)))?;
            let got = guest.http().get(Resource::new_borrow(failed.rep()));
            guest.table.delete(failed)?;
            got
        }
        Called::Taken | Called::Waiting(_) => Ok(Some(Err(()))),
    }
}

fn drop_future(guest: &mut Guest, future: Future) -> wasmtime::Result<()> {
    match guest.table.get(&called(&future)) {
        Ok(_) => drop(guest.table.delete(Resource::<Called>::new_own(future.rep()))?),
        Err(_) => drop(guest.table.delete(future)?),
    }
    Ok(())
}
