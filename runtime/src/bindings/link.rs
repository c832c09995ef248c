//! Everything that a guest may import, given to a linker.

use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi_config::WasiConfig;

use super::worker::eyot::worker;
use super::{Guest, answer, body, held, kv};

/// For components without async types: WASI 0.2 whole, because toolchains import more than they use, with nothing granted.
///
/// # Errors
/// When two interfaces claim the same name: a bug of ours.
pub fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    // Once more, over the guest's table itself: by way of the WASI context, each stream would need one.
    linker.allow_shadowing(true);
    wasmtime_wasi_io::add_to_linker_async(linker)?;
    linker.allow_shadowing(false);
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    held::charge_02(linker)?;
    body::link(linker)?;
    answer::link(linker)?;
    wasmtime_wasi_config::add_to_linker(linker, |guest: &mut Guest| WasiConfig::from(guest.config()))?;
    worker::identity::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    worker::client::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    worker::queue::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    kv::link(linker)?;
    Ok(())
}

/// For components with async types: the same, and WASI 0.3.
///
/// # Errors
/// As [`link`].
pub fn link_async(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    link(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    wasmtime_wasi_http::p3::add_to_linker(linker)?;
    held::charge_03(linker)?;
    Ok(())
}
