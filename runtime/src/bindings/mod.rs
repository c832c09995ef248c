//! What a worker may touch: the data behind a store, and one file for each WIT interface that a guest can import.
//!
//! May import: `failure`, `http`, `config`, `observe`, `store`, `egress`, `auth`, `deploy`. The way in: [`Guest`], the data of one store, and
//! [`link`], which gives a linker everything that a guest may import.
//! Invariants: nothing is granted by default (no directory, no socket, no environment of the host); whatever a guest makes the
//! host hold is bounded by a limit of limits.toml; a guest learns of its own request only.

mod answer;
mod begun;
mod body;
mod client;
mod event;
mod guest;
mod held;
mod http;
mod identity;
mod kv;
mod link;
mod log;
mod memory;
mod meter;
mod outcome;
mod queue;
mod service;

/// The host side of `guest-sdk/wit`.
mod worker {
    wasmtime::component::bindgen!({
        path: "../guest-sdk/wit",
        // All of the package but wasi:config, which the library implements.
        inline: "package eyot:host; world host {
            import eyot:worker/identity@0.1.0;
            import eyot:worker/client@0.1.0;
            import eyot:worker/kv@0.1.0;
            import eyot:worker/queue@0.1.0;
        }",
        world: "eyot:host/host",
        imports: {
            "eyot:worker/kv": async | trappable,
            "eyot:worker/queue": async | trappable,
            default: trappable,
        },
        with: {
            "eyot:worker/kv.namespace": super::kv::Open,
            "eyot:worker/queue.message": super::queue::Delivered,
        },
    });
}

/// What a worker exports that works off queues.
mod handler {
    wasmtime::component::bindgen!({
        path: "../guest-sdk/wit",
        inline: "package eyot:consumer; world consumer { export eyot:worker/queue-handler@0.1.0; }",
        world: "eyot:consumer/consumer",
        exports: { default: async },
        with: { "eyot:worker/queue": super::worker::eyot::worker::queue },
    });
}

/// What a worker exports that has schedules.
mod scheduled {
    wasmtime::component::bindgen!({
        path: "../guest-sdk/wit",
        world: "eyot:worker/scheduled",
        exports: { default: async },
    });
}

pub use begun::Begun;
pub use event::{AskedBy, Event};
pub use guest::{Capabilities, Guest};
pub use handler::{Consumer, ConsumerPre};
pub use http::Outbound;
pub use kv::Granted;
pub use link::{link, link_async};
pub use memory::{NodeMemory, ROOM, WorkerShare, WorkerShares};
pub use meter::{Meter, Usage};
pub use outcome::{bounded, failure_after_head, failure_of};
pub use queue::{Batch, Delivered, Queueing, Verdict};
pub use scheduled::{Scheduled, ScheduledPre};
pub use service::{Calls, Chain, Invoke, ServiceCall};
