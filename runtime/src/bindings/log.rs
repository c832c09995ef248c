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
use crate::observe::{GuestLog, RequestId, Stream};

/// Where lines go, and the count of those that did not.
pub type LogSink = Arc<GuestLog>;

/// What one call may write; the limit `log` bounds the sum.
const WRITE: usize = 64 * 1024;

/// Longer lines are cut in pieces of this size.
const LINE: usize = 8 * 1024;

/// One of the two streams of one invocation.
#[derive(Clone)]
pub(super) struct GuestStream(Arc<Shared>, Stream);

struct Shared {
    sink: LogSink,
    worker: Arc<str>,
    request_id: RequestId,
    state: Mutex<State>,
}

struct State {
    left: u64,
    dropped: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl GuestStream {
    /// stdout and stderr, under one limit.
    pub(super) fn pair(capabilities: &Capabilities, event: &Event) -> [Self; 2] {
        let shared = Arc::new(Shared {
            sink: Arc::clone(&capabilities.log),
            worker: Arc::clone(&capabilities.worker),
            request_id: event.request_id,
            state: Mutex::new(State {
                left: capabilities.limits.log,
                dropped: 0,
                stdout: Vec::new(),
                stderr: Vec::new(),
            }),
        });
        [Self(Arc::clone(&shared), Stream::Stdout), Self(shared, Stream::Stderr)]
    }

    fn write(&self, bytes: &[u8]) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = usize::try_from(state.left).unwrap_or(usize::MAX).min(bytes.len());
        state.left -= kept as u64;
        state.dropped += (bytes.len() - kept) as u64;
        let mut buffer = std::mem::take(state.buffer(self.1));
        buffer.extend_from_slice(&bytes[..kept]);
        let mut rest = buffer.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n').or((rest.len() > LINE).then_some(LINE)) {
            self.0.line(self.1, &rest[..end]);
            rest = &rest[end + usize::from(rest[end] == b'\n')..];
        }
        *state.buffer(self.1) = rest.to_vec();
    }
}

impl State {
    fn buffer(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

impl Shared {
    fn line(&self, stream: Stream, bytes: &[u8]) {
        self.sink.line(&self.worker, &self.request_id, stream, &String::from_utf8_lossy(bytes));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let state = std::mem::replace(
            self.state.get_mut().unwrap_or_else(PoisonError::into_inner),
            State { left: 0, dropped: 0, stdout: Vec::new(), stderr: Vec::new() },
        );
        for (stream, rest) in [(Stream::Stdout, state.stdout), (Stream::Stderr, state.stderr)] {
            if !rest.is_empty() {
                self.line(stream, &rest);
            }
        }
        if state.dropped > 0 {
            self.sink.dropped(&self.worker, &self.request_id, state.dropped);
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
