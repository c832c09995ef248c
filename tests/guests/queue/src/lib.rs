//! Sends messages when it is asked to, and does with those that it works off as they say. What it has seen stands among its keys and values,
//! in the namespace `seen`: `calls`, `batch:CALL` and `body:BODY`; `runs:SCHEDULE` and `due:SCHEDULE`. A schedule does as its name says.

mod consumer;
mod producer;
mod timed;

mod bindings {
    wit_bindgen::generate!({ path: "../../../guest-sdk/wit", world: "eyot:worker/consumer", generate_all });

    pub(crate) use exports::eyot::worker::queue_handler::Guest;
    pub(crate) use eyot::worker::{client, kv, queue};

    export!(Worker with_types_in self);

    use super::Worker;
}

mod schedule {
    wit_bindgen::generate!({ path: "../../../guest-sdk/wit", world: "eyot:worker/scheduled" });

    pub(crate) use exports::eyot::worker::scheduled_handler::Guest;

    export!(Worker with_types_in self);

    use super::Worker;
}

wasip2::http::proxy::export!(Worker);

struct Worker;
