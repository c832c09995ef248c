//! A worker's eyot.toml.

use schemars::JsonSchema;

use super::parts::{Addresses, Auth, File, Limits, Name, Pattern, Strings};

/// A worker: its component, what it may touch, its routes and its limits.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
pub(super) struct Worker {
    /// The worker's name. In `eyot dev` it is served at `NAME.localhost`.
    name: Name,
    /// The component. Without it: cargo's artifact where there is a Cargo.toml, else `NAME.wasm`.
    component: Option<File>,
    /// How the component is made. Without it: by cargo where there is a Cargo.toml.
    build: Option<Build>,
    /// The environment of the guest (`wasi:cli/environment`).
    env: Option<Strings>,
    /// What `wasi:config/store` answers.
    config: Option<Strings>,
    /// The origins of node.toml that the worker may ask, at `http://NAME.origin.internal/`.
    origins: Option<Vec<Name>>,
    /// What else it may ask: `[scheme://]host[:port]`, https unless said otherwise. Without it: nothing.
    egress: Option<Vec<String>>,
    /// The way to authenticate that its routes demand: a name of node.toml's `[[auth]]`, or one of its own.
    auth: Option<Demand>,
    /// Client addresses that are allowed. Without it: all.
    #[schemars(length(min = 1))]
    allow_addresses: Option<Vec<Addresses>>,
    /// Whether each request has an isolate of its own, or one that has answered may be asked again. Without it: fresh.
    isolate: Option<Isolate>,
    /// Whether growing a memory or a table past limit `memory` ends the guest. Otherwise it fails, and the guest may go on.
    trap_on_grow_failure: Option<bool>,
    /// Limits in place of the node's defaults, up to its maxima.
    limits: Option<Limits<false>>,
    /// Host and path that lead to this worker.
    route: Option<Vec<Pattern>>,
}

/// A command that makes the component.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Build {
    /// Run by the shell in the worker's folder.
    #[schemars(length(min = 1))]
    command: String,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it is described, not made")]
enum Demand {
    Named(Name),
    Own(Auth),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is described, not made")]
enum Isolate {
    Fresh,
    Reuse,
}
