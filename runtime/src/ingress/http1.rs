//! HTTP/1.1 as we let hyper speak it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use hyper::server::conn::http1;

use super::count;
use super::pulse::Pulse;
use crate::config::NodeLimits;

/// Fields that hyper reads past limit `header_count`, so that dispatch sees the request and answers with our code.
const SPARE_FIELDS: usize = 16;

/// The same for the bytes of a head: what is a little too large gets an answer with our code, and a target of 64 KiB a 414 and not
/// a 431 (RFC 9112 §3). Not more, because hyper keeps what has come of each head.
const SPARE_BYTES: usize = 32 * 1024;

/// The longest target that hyper takes; past it hyper answers 414 by itself.
pub(super) const LONGEST_URI: u64 = 65_534;

/// The fields that hyper has room for on the stack; with a limit of our own it allocates for each request.
const FIELDS_ON_STACK: usize = 100;

/// hyper's smallest read buffer.
const SMALLEST_BUFFER: usize = 8 * 1024;

/// One for each connection, because the timer knows the connection.
pub(super) fn builder(limits: &NodeLimits, pulse: Arc<Pulse>) -> http1::Builder {
    let head = head_bytes(limits).max(SMALLEST_BUFFER);
    let mut builder = http1::Builder::new();
    builder
        .timer(HeadTimer(pulse))
        .header_read_timeout(limits.header_timeout)
        // A client that closes its side may still read: the connection judges (`socket::hung_up`).
        .half_close(true)
        .max_header_size(head)
        .max_buf_size(head);
    let fields = count(limits.header_count);
    if fields >= FIELDS_ON_STACK {
        builder.max_headers(fields.saturating_add(SPARE_FIELDS));
    }
    builder
}

/// Request line and fields together: the limits of both, and more, so that dispatch is the one to notice.
pub(super) fn head_bytes(limits: &NodeLimits) -> usize {
    count(limits.uri).saturating_add(count(limits.header_bytes)).saturating_add(SPARE_BYTES)
}

/// What hyper believes to be its header timer. hyper makes a sleep when it begins to wait for a head and drops it when it has
/// one, which tells the two waits apart: `keepalive_idle` before the first byte, `header_timeout` after it.
#[derive(Debug)]
struct HeadTimer(Arc<Pulse>);

impl Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        self.0.rest();
        Box::pin(HeadWait(Arc::clone(&self.0)))
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(Duration::ZERO)
    }

    fn reset(&self, _: &mut Pin<Box<dyn Sleep>>, _: Instant) {
        self.0.rest();
    }
}

/// hyper waits for a head. Never resolves: the connection's alarm ends the wait.
struct HeadWait(Arc<Pulse>);

impl Sleep for HeadWait {}

impl Future for HeadWait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for HeadWait {
    fn drop(&mut self) {
        self.0.has_head();
    }
}
