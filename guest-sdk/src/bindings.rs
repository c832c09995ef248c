//! The bindings of `eyot:worker`, made from the WIT in this package. The modules named after each interface are the way in; only what
//! `consume!` writes into another crate reaches in here. An export is described where that macro stands, and nowhere else.
#![allow(missing_docs, unreachable_pub)]

wit_bindgen::generate!({
    path: "wit",
    world: "eyot:worker/consumer",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_queue_handler",
});

pub use exports::eyot::worker::queue_handler;
pub(crate) use eyot::worker::{client, identity, kv, queue};
pub(crate) use wasi::config::store;

/// Of a world of its own: a macro exports all that its world has.
pub mod scheduled {
    wit_bindgen::generate!({
        path: "wit",
        world: "eyot:worker/scheduled",
        pub_export_macro: true,
        export_macro_name: "export_scheduled_handler",
    });

    pub use exports::eyot::worker::scheduled_handler;
}
