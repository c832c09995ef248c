//! What a guest makes the host hold is charged to its memory.
//!
//! In `wasi:http`, header fields, methods and addresses may be long. The library bounds each of them and counts the resources, but
//! has no sum: 2,000 resources of 1 MiB would be 2 GiB. So the functions that take such values stand here in front of the library's
//! own: they charge the meter, then call it. Everything else that a guest makes the host hold is small, and limits
//! `resource_table` and `handles` bound its number.

use std::any::Any;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};
use wasmtime_wasi_http::p2::bindings::http::types as types_02;
use wasmtime_wasi_http::p3::bindings::http::types as types_03;
use wasmtime_wasi_http::{FieldMap, WasiHttpCtxView, WasiHttpView, p2};

use super::Guest;
use crate::failure::Failure;

/// What a field takes besides its name and its value, in a map that has just doubled.
const FIELD: usize = 256;

type Entries = Vec<(String, Vec<u8>)>;

/// Puts the functions in front of those that the linker has. They are the same in both versions; their types are not.
macro_rules! charging {
    ($name:ident, $types:ident, $interface:literal, $request:literal: $Request:ident as $HostRequest:ident, $answer:ident) => {
        pub(super) fn $name(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
            use $types::{HostFields, Method, Scheme, $HostRequest, $Request};
            type Store<'a> = StoreContextMut<'a, Guest>;
            linker.allow_shadowing(true);
            let mut types = linker.instance($interface)?;
            types.func_wrap("[static]fields.from-list", |mut store: Store<'_>, (entries,): (Entries,)| {
                let bytes = entries.iter().map(|(name, value)| FIELD + name.len() + value.len()).sum();
                let made = HostFields::from_list(&mut charge(&mut store, bytes)?, entries);
                $answer(store.data(), made)
            })?;
            types.func_wrap(
                "[method]fields.append",
                |mut store: Store<'_>, (fields, name, value): (Resource<FieldMap>, String, Vec<u8>)| {
                    let bytes = FIELD + name.len() + value.len();
                    let done = HostFields::append(&mut charge(&mut store, bytes)?, fields, name, value);
                    $answer(store.data(), done)
                },
            )?;
            types.func_wrap(
                "[method]fields.set",
                |mut store: Store<'_>, (fields, name, values): (Resource<FieldMap>, String, Vec<Vec<u8>>)| {
                    let bytes = name.len() + values.iter().map(|value| FIELD + value.len()).sum::<usize>();
                    let done = HostFields::set(&mut charge(&mut store, bytes)?, fields, name, values);
                    $answer(store.data(), done)
                },
            )?;
            types.func_wrap("[method]fields.clone", |mut store: Store<'_>, (fields,): (Resource<FieldMap>,)| {
                // Names and values are shared with the original; the map around them is not, once either is changed.
                let bytes = store.data().table.get(&fields)?.len() * FIELD;
                Ok((HostFields::clone(&mut charge(&mut store, bytes)?, fields)?,))
            })?;
            types.func_wrap(
                concat!("[method]", $request, ".set-method"),
                |mut store: Store<'_>, (request, method): (Resource<$Request>, Method)| {
                    let bytes = if let Method::Other(name) = &method { name.len() } else { 0 };
                    Ok(($HostRequest::set_method(&mut charge(&mut store, bytes)?, request, method)?,))
                },
            )?;
            types.func_wrap(
                concat!("[method]", $request, ".set-scheme"),
                |mut store: Store<'_>, (request, scheme): (Resource<$Request>, Option<Scheme>)| {
                    let bytes = if let Some(Scheme::Other(name)) = &scheme { name.len() } else { 0 };
                    Ok(($HostRequest::set_scheme(&mut charge(&mut store, bytes)?, request, scheme)?,))
                },
            )?;
            types.func_wrap(
                concat!("[method]", $request, ".set-authority"),
                |mut store: Store<'_>, (request, authority): (Resource<$Request>, Option<String>)| {
                    let mut http = charge(&mut store, authority.as_ref().map_or(0, String::len))?;
                    Ok(($HostRequest::set_authority(&mut http, request, authority)?,))
                },
            )?;
            types.func_wrap(
                concat!("[method]", $request, ".set-path-with-query"),
                |mut store: Store<'_>, (request, path): (Resource<$Request>, Option<String>)| {
                    let mut http = charge(&mut store, path.as_ref().map_or(0, String::len))?;
                    Ok(($HostRequest::set_path_with_query(&mut http, request, path)?,))
                },
            )?;
            linker.allow_shadowing(false);
            Ok(())
        }
    };
}

charging!(
    charge_02, types_02, "wasi:http/types@0.2.12", "outgoing-request": OutgoingRequest as HostOutgoingRequest, answer_02
);
charging!(charge_03, types_03, "wasi:http/types@0.3.0", "request": Request as HostRequest, answer_03);

/// Whether an entry of the table may be, or hold, something that was charged: all but streams and what waits for them, which every
/// guest has that has ever written a line.
pub(super) fn is_charged(entry: &(dyn Any + Send)) -> bool {
    !(entry.is::<DynOutputStream>() || entry.is::<DynInputStream>() || entry.is::<DynPollable>())
}

fn charge<'a>(store: &'a mut StoreContextMut<'_, Guest>, bytes: usize) -> Result<WasiHttpCtxView<'a>, Failure> {
    let guest = store.data_mut();
    guest.meter.hold(bytes)?;
    Ok(guest.http())
}

/// Too much for one `fields` ends a guest of WASI 0.2: its interface has no error for it.
fn answer_02<T>(
    _: &Guest,
    outcome: Result<T, p2::HeaderError>,
) -> wasmtime::Result<(Result<T, types_02::HeaderError>,)> {
    Ok((match outcome {
        Ok(value) => Ok(value),
        Err(error) => Err(error.downcast()?),
    },))
}

/// A guest of WASI 0.3 is told; should it end without a response, this is why.
fn answer_03<T>(
    guest: &Guest,
    outcome: Result<T, TrappableError<types_03::HeaderError>>,
) -> wasmtime::Result<(Result<T, types_03::HeaderError>,)> {
    let error = match outcome {
        Ok(value) => return Ok((Ok(value),)),
        Err(error) => error.downcast()?,
    };
    if matches!(error, types_03::HeaderError::SizeExceeded) {
        let limit = guest.capabilities.limits.response_header;
        guest.meter.usage.meet(Failure::WorkerHeaderTooLarge { limit });
    }
    Ok((Err(error),))
}
