//! The bindings of `eyot:worker`, made from the WIT in this package. Crate-private: the modules named after each interface are
//! the way in.
#![allow(missing_docs, unreachable_pub)]

wit_bindgen::generate!({ path: "wit", world: "eyot:worker/imports", generate_all });

pub(crate) use eyot::worker::{client, identity, kv};
pub(crate) use wasi::config::store;
