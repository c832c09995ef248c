//! A guest's standard streams become log lines, bounded per invocation.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::{Capabilities, Event};
use crate::observe::{self, RequestId, Stream, TraceId};

/// What one call may write; the limit `log` bounds the sum.
const WRITE: usize = 64 * 1024;

/// One of the two streams of one invocation.
#[derive(Clone)]
pub(super) struct GuestStream(Arc<Shared>, Stream);

struct Shared {
    capabilities: Arc<Capabilities>,
    request: RequestId,
    trace: TraceId,
    state: Mutex<State>,
}

struct State {
    left: u64,
    dropped: u64,
    /// Given by the first write, to both streams.
    number: Option<u64>,
    /// Opened by the first write: most invocations say nothing.
    opened: [Option<observe::GuestStream>; 2],
}

impl GuestStream {
    /// stdout and stderr, under one limit.
    pub(super) fn pair(capabilities: &Arc<Capabilities>, event: &Event) -> [Self; 2] {
        let shared = Arc::new(Shared {
            capabilities: Arc::clone(capabilities),
            request: event.request_id,
            trace: event.trace.id(),
            state: Mutex::new(State { left: capabilities.limits.log, dropped: 0, number: None, opened: [None, None] }),
        });
        [Self(Arc::clone(&shared), Stream::Stdout), Self(shared, Stream::Stderr)]
    }

    fn write(&self, bytes: &[u8]) {
        let Shared { capabilities, request, trace, state } = &*self.0;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = usize::try_from(state.left).unwrap_or(usize::MAX).min(bytes.len());
        state.left -= kept as u64;
        state.dropped += (bytes.len() - kept) as u64;
        if kept > 0 {
            let number = *state.number.get_or_insert_with(|| capabilities.log.number());
            let open = || capabilities.log.open(self.1, Arc::clone(&capabilities.worker), *request, *trace, number);
            state.opened[self.1 as usize].get_or_insert_with(open).write(&bytes[..kept]);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.dropped > 0 {
            self.capabilities.metrics.log_dropped(state.dropped);
            let (worker, request_id) = (&*self.capabilities.worker, self.request.as_str());
            tracing::warn!(
                worker,
                request_id,
                trace_id = %self.trace,
                bytes = state.dropped,
                code = "worker_log_truncated",
                "output past limit `log`"
            );
        }
    }
}

impl IsTerminal for GuestStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    // The library's default queues an empty write without charging it (GHSA-5m8g-xhq4-4h93).
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for GuestStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        Self::write(self, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestStream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for GuestStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = bytes.len().min(WRITE);
        Self::write(&self, &bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
