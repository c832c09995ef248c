//! The answer of another worker, as a guest of WASI 0.2 waits for it: a `future-incoming-response` behind which there is no task.
//!
//! The library has a task for each of them, which polls what is asked over a network. A call that was made while its guest waits
//! (`begun.rs`) is there before such a task would run. So the functions that know what stands behind one are in front of the library's here.

use tokio::sync::oneshot::{self, error::TryRecvError};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi_http::p2::HttpResult;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::{
    ErrorCode, FutureIncomingResponse, HostFutureIncomingResponse as _, IncomingResponse, OutgoingRequest,
    RequestOptions,
};
use wasmtime_wasi_http::p2::body::HostIncomingBody;
use wasmtime_wasi_http::p2::types::HostFutureIncomingResponse;
use wasmtime_wasi_http::{FieldMap, WasiHttpView};

use super::Guest;
use super::http::{Answer, ended};

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
    guest.outbound.hands_over = true;
    let asked = guest.http().handle(request, options);
    guest.outbound.hands_over = false;
    let Some(answer) = guest.outbound.handed_over.take() else { return asked };
    // Nothing stands behind this one.
    guest.table.delete(asked?)?;
    Ok(Resource::new_own(guest.table.push(Called::Waiting(answer))?.rep()))
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
