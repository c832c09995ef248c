//! Write workers for the edge runtime Eyot in Rust.
//!
//! A worker is a WebAssembly component that answers HTTP requests, each in a fresh isolate. This is one:
//!
//! ```no_run
//! use eyot_sdk::prelude::*;
//!
//! async fn handle() -> &'static str {
//!     "hello\n"
//! }
//! serve!(handle);
//! # fn main() {}
//! ```
//!
//! Handlers, extractors, responses and the router are axum's: what its documentation says holds here. On top of them come
//! [`Identity`] and [`Claims`] (who the caller is), [`Client`] and [`Certificate`] (where it is, and what it has proven), [`Languages`] and [`Accept`] (what it reads), [`Config`]
//! (the worker's settings), [`Namespace`] (its keys and values), [`Queue`] (work for later, which [`consume!`] takes up), [`schedule!`] (work at times), [`fetch`](fetch()), [`Origin`] and [`Service`] (requests out, to servers and to other workers), and the `log` macros.
//!
//! A response body is streamed where it is made of a stream: `Body::from_stream(stream)`, with [`stream`] to make one and
//! [`sleep`] to wait. Work that the response does not need goes to [`spawn`] and runs on after it.
//!
//! The crate stands on wstd (executor, timers, streams) and wasip2 (bindings). Messages go between `http` and `wasi:http` in
//! modules of its own, because wstd's end the isolate where the client goes away or a header is one of the host's, and return
//! a response only when the whole request was sent.
//!
//! # Features
//! All are on by default, and what a worker does not use is not in its component. `default-features = false` makes a first build
//! shorter: `accept`, `cookies`, `form`, `json`, `language`, `log`, `query`.

#[cfg(feature = "accept")]
mod accept;
#[doc(hidden)]
pub mod bindings;
mod body;
mod client;
mod config;
mod fetch;
mod head;
mod identity;
mod kv;
#[cfg(feature = "language")]
mod language;
#[cfg(feature = "log")]
mod logging;
pub mod path;
mod queue;
mod schedule;
mod worker;

pub use axum;
#[cfg(feature = "cookies")]
pub use cookie;
pub use futures_util::stream;
pub use http;
#[cfg(feature = "log")]
pub use log;
pub use wstd::rand;

#[cfg(feature = "accept")]
pub use accept::Accept;
pub use client::{AlternativeName, Certificate, Client, NoCertificate, Tls};
pub use config::{Config, ConfigError};
pub use fetch::{FetchError, Origin, Service, fetch};
#[cfg(feature = "json")]
pub use identity::Claims;
pub use identity::{Identity, IdentityRejection};
pub use kv::{Entry, KvError, Listed, Namespace, Page, PutOptions};
#[cfg(feature = "language")]
pub use language::{LANGUAGE_COOKIE, Languages};
pub use queue::{Batch, Message, NewMessage, Queue, QueueError};
pub use schedule::Due;
pub use worker::Worker;

/// What a handler returns that can fail: `?` takes every error of this crate and whatever else is an axum response.
pub type Result<T = axum::response::Response, E = axum::response::ErrorResponse> = std::result::Result<T, E>;

/// Waits. A waiting worker uses no CPU time.
pub async fn sleep(duration: std::time::Duration) {
    wstd::task::sleep(duration.into()).await;
}

/// Runs a future on its own, beside the handler and on after its response, up to the worker's limit `wait_until`.
pub fn spawn<F>(future: F)
where
    F: Future<Output = ()> + 'static,
{
    wstd::runtime::spawn(future).detach();
}

/// What most workers need.
pub mod prelude {
    #[cfg(feature = "json")]
    pub use axum::Json;
    pub use axum::Router;
    pub use axum::body::Body;
    #[cfg(feature = "form")]
    pub use axum::extract::Form;
    #[cfg(feature = "query")]
    pub use axum::extract::Query;
    pub use axum::extract::{Path, Request};
    pub use axum::response::{Html, IntoResponse, Redirect, Response};
    pub use axum::routing::{any, delete, get, patch, post, put};
    #[cfg(feature = "cookies")]
    pub use axum_extra::extract::CookieJar;
    #[cfg(feature = "cookies")]
    pub use cookie::{Cookie, SameSite};
    pub use http::header;
    pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
    #[cfg(feature = "log")]
    pub use log::{debug, error, info, trace, warn};

    #[cfg(feature = "accept")]
    pub use crate::Accept;
    #[cfg(feature = "json")]
    pub use crate::Claims;
    #[cfg(feature = "language")]
    pub use crate::Languages;
    pub use crate::{
        Batch, Client, Config, Due, FetchError, Identity, KvError, Message, Namespace, NewMessage, Origin, PutOptions,
        Queue, QueueError, Result, Service, consume, fetch, schedule, serve,
    };
}

/// For the code that [`serve!`], [`consume!`] and [`schedule!`] make.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::export_queue_handler;
    pub use crate::bindings::queue::Message as QueuedMessage;
    pub use crate::bindings::scheduled::{export_scheduled_handler, scheduled_handler};
    pub use crate::bindings::{self, queue_handler};
    pub use crate::queue::run as work_off;
    pub use crate::schedule::run as on_schedule;
    pub use crate::worker::run;
    pub use wasip2;
}
