//! A guest's standard streams become log lines, bounded for each request.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::{Capabilities, Event};
use crate::observe::{self, RequestId, Stream, TraceId};

/// What one call may write; the limit `log` bounds the sum.
const WRITE: usize = 64 * 1024;

/// One of the two streams of an isolate.
#[derive(Clone)]
pub(super) struct GuestStream(Arc<Output>, Stream);

/// What an isolate writes to both, each request of it under a limit of its own.
pub(super) struct Output {
    capabilities: Arc<Capabilities>,
    state: Mutex<State>,
}

struct State {
    /// Whose lines they are. What is written before anybody has asked is the first request's.
    request: Option<(RequestId, TraceId)>,
    early: Vec<(Stream, Bytes)>,
    left: u64,
    dropped: u64,
    /// Given by the first write, to both streams.
    number: Option<u64>,
    /// Opened by the first write: most invocations say nothing.
    opened: [Option<observe::GuestStream>; 2],
}

impl Output {
    pub(super) fn new(capabilities: &Arc<Capabilities>) -> Arc<Self> {
        let left = capabilities.limits.log;
        let state = State { request: None, early: Vec::new(), left, dropped: 0, number: None, opened: [None, None] };
        Arc::new(Self { capabilities: Arc::clone(capabilities), state: Mutex::new(state) })
    }

    /// stdout and stderr, under one limit.
    pub(super) fn streams(self: &Arc<Self>) -> [GuestStream; 2] {
        [Stream::Stdout, Stream::Stderr].map(|stream| GuestStream(Arc::clone(self), stream))
    }

    /// Lines are this request's from here on.
    pub(super) fn begin(&self, event: &Event) {
        let mut state = self.lock();
        state.request = Some((event.request_id.clone(), event.trace.id()));
        for (stream, bytes) in std::mem::take(&mut state.early) {
            state.write(&self.capabilities, stream, &bytes);
        }
    }

    /// The request is over, and the isolate is not: the next one has the whole limit again.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.close(&self.capabilities);
        state.left = self.capabilities.limits.log;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GuestStream {
    fn write(&self, bytes: &[u8]) {
        let Self(output, stream) = self;
        let mut state = output.lock();
        let kept = usize::try_from(state.left).unwrap_or(usize::MAX).min(bytes.len());
        state.left -= kept as u64;
        state.dropped += (bytes.len() - kept) as u64;
        if kept > 0 {
            state.write(&output.capabilities, *stream, &bytes[..kept]);
        }
    }
}

impl State {
    fn write(&mut self, capabilities: &Capabilities, stream: Stream, bytes: &[u8]) {
        let Some((request, trace)) = &self.request else {
            return self.early.push((stream, Bytes::copy_from_slice(bytes)));
        };
        let number = *self.number.get_or_insert_with(|| capabilities.log.number());
        let open = || capabilities.log.open(stream, Arc::clone(&capabilities.worker), request.clone(), *trace, number);
        self.opened[stream as usize].get_or_insert_with(open).write(bytes);
    }

    /// Lines that were begun are over, and what was dropped is told.
    fn close(&mut self, capabilities: &Capabilities) {
        self.opened = [None, None];
        self.number = None;
        let (request, dropped) = (self.request.take(), std::mem::take(&mut self.dropped));
        if dropped > 0 {
            capabilities.metrics.log_dropped(dropped);
            let request_id = request.as_ref().map(|(id, _)| id.as_str());
            let trace_id = request.as_ref().map(|(_, trace)| tracing::field::display(trace));
            let (worker, code) = (&*capabilities.worker, "worker_log_truncated");
            tracing::warn!(worker, request_id, trace_id, bytes = dropped, code, "output past limit `log`");
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.close(&self.capabilities);
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
