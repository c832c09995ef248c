//! QUIC as h3 is given it: quinn's connection and streams, of which each byte that comes is seen first.
//!
//! Ours in place of h3-quinn: there a stream that waits for bytes cannot be stopped or asked for its number (it panics), each read is a
//! future in a box, and a stream that is dropped ends as if it were complete.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::ConnectionError;

use super::streams::{Receiving, Sending};
use super::watch::{self, Notes, Opened, Watch};

/// A client needs three of them, and some open one to see whether we mind.
const UNIDIRECTIONAL: u32 = 6;

type Accepting<T> = Pin<Box<dyn Stream<Item = Result<T, ConnectionError>> + Send>>;
type Opening = Pin<Box<dyn Future<Output = Result<quinn::SendStream, ConnectionError>> + Send>>;

/// One connection.
pub(super) struct Quic {
    quic: quinn::Connection,
    requests: Accepting<(quinn::SendStream, quinn::RecvStream)>,
    others: Accepting<quinn::RecvStream>,
    opening: Option<Opening>,
    unidirectional: u32,
    watch: Arc<Watch>,
}

impl Quic {
    pub(super) fn new(quic: quinn::Connection, watch: Arc<Watch>) -> Self {
        let requests = stream::unfold(quic.clone(), |quic| async { Some((quic.accept_bi().await, quic)) });
        let others = stream::unfold(quic.clone(), |quic| async { Some((quic.accept_uni().await, quic)) });
        Self { quic, requests: Box::pin(requests), others: Box::pin(others), opening: None, unidirectional: 0, watch }
    }
}

/// What quinn has accepted. Its stream of them never ends.
fn accepted<T>(accepting: &mut Accepting<T>, context: &mut Context<'_>) -> Poll<Result<T, ConnectionErrorIncoming>> {
    let next = ready!(accepting.poll_next_unpin(context));
    Poll::Ready(next.unwrap_or(Err(ConnectionError::LocallyClosed)).map_err(lost))
}

impl quic::Connection<Bytes> for Quic {
    type RecvStream = Receiving;
    type OpenStreams = NoStreams;

    fn poll_accept_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<Receiving, ConnectionErrorIncoming>> {
        let stream = ready!(accepted(&mut self.others, context))?;
        self.unidirectional = self.unidirectional.saturating_add(1);
        if self.unidirectional > UNIDIRECTIONAL {
            self.watch.glitch();
        }
        Poll::Ready(Ok(Receiving::other(stream, Arc::clone(&self.watch))))
    }

    fn poll_accept_bidi(&mut self, context: &mut Context<'_>) -> Poll<Result<Both, ConnectionErrorIncoming>> {
        loop {
            let (mut send, mut receive) = ready!(accepted(&mut self.requests, context))?;
            if !self.watch.takes(send.id().into()) {
                // RFC 9114 §5.2: it may be asked again elsewhere.
                let rejected = watch::number(Code::H3_REQUEST_REJECTED);
                // An error says that the client was quicker.
                let _ = (receive.stop(rejected), send.reset(rejected));
                self.watch.glitch();
                continue;
            }
            let notes = Arc::<Notes>::default();
            self.watch.opens(Opened { notes: Arc::clone(&notes), stopped: Box::pin(send.stopped()) });
            let receive = Receiving::request(receive, Arc::clone(&self.watch), notes);
            return Poll::Ready(Ok(Both { send: Sending::response(send), receive }));
        }
    }

    fn opener(&self) -> NoStreams {
        NoStreams
    }
}

impl quic::OpenStreams<Bytes> for Quic {
    type BidiStream = Both;
    type SendStream = Sending;

    fn poll_open_bidi(&mut self, context: &mut Context<'_>) -> Poll<Result<Both, StreamErrorIncoming>> {
        NoStreams.poll_open_bidi(context)
    }

    fn poll_open_send(&mut self, context: &mut Context<'_>) -> Poll<Result<Sending, StreamErrorIncoming>> {
        let quic = &self.quic;
        let opening = self.opening.get_or_insert_with(|| {
            let quic = quic.clone();
            Box::pin(async move { quic.open_uni().await })
        });
        let opened = ready!(opening.as_mut().poll(context));
        self.opening = None;
        let lost = |error| StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) };
        Poll::Ready(opened.map(Sending::other).map_err(lost))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.quic.close(watch::number(code), reason);
    }
}

/// A server opens no streams but those that h3 opens at the beginning.
pub(super) struct NoStreams;

fn none<T>() -> Poll<Result<T, StreamErrorIncoming>> {
    let connection_error = ConnectionErrorIncoming::InternalError("a server opens no streams".to_owned());
    Poll::Ready(Err(StreamErrorIncoming::ConnectionErrorIncoming { connection_error }))
}

impl quic::OpenStreams<Bytes> for NoStreams {
    type BidiStream = Both;
    type SendStream = Sending;

    fn poll_open_bidi(&mut self, _: &mut Context<'_>) -> Poll<Result<Both, StreamErrorIncoming>> {
        none()
    }

    fn poll_open_send(&mut self, _: &mut Context<'_>) -> Poll<Result<Sending, StreamErrorIncoming>> {
        none()
    }

    fn close(&mut self, _: Code, _: &[u8]) {}
}

/// Both directions of a request.
pub(super) struct Both {
    send: Sending,
    receive: Receiving,
}

impl quic::BidiStream<Bytes> for Both {
    type SendStream = Sending;
    type RecvStream = Receiving;

    fn split(self) -> (Sending, Receiving) {
        (self.send, self.receive)
    }
}

impl quic::RecvStream for Both {
    type Buf = Bytes;

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.receive.poll_data(context)
    }

    fn stop_sending(&mut self, code: u64) {
        self.receive.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.receive.recv_id()
    }
}

impl quic::SendStream<Bytes> for Both {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(context)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(context)
    }

    fn reset(&mut self, code: u64) {
        self.send.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

/// How h3 is told that a connection has ended.
pub(super) fn lost(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(closed) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: closed.error_code.into_inner() }
        }
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        error => ConnectionErrorIncoming::Undefined(Arc::new(error)),
    }
}
