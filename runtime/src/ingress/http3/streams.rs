//! The streams of a connection as h3 is given them: what comes, of which each byte is seen first, and what goes.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ConnectionError, ReadError, WriteError};

use super::frames::{Fault, Frames, Kind, Next, number};
use super::quic::lost;
use super::watch::{Notes, Watch};

/// What is read of a stream at once.
const PIECE: usize = 16 * 1024;

/// The types of unidirectional streams (RFC 9114 §6.2, RFC 9204 §4.2).
const CONTROL: u64 = 0;
const PUSH: u64 = 1;
const ENCODER: u64 = 2;
const DECODER: u64 = 3;
/// A type that means nothing (RFC 9114 §6.2.3), for all that we do not know.
const UNKNOWN: &[u8] = &[0x21];

/// How the bytes of a stream are understood.
enum Reads {
    /// As far as the type of a unidirectional stream.
    Type([u8; 8], usize),
    Frames(Frames),
    /// Not at all: h3 leaves what comes behind the type where it is.
    Raw,
    /// No more.
    Over,
}

/// What a client sends on one stream.
pub(super) struct Receiving {
    stream: quinn::RecvStream,
    bytes: Bytes,
    reads: Reads,
    held: u64,
    is_done: bool,
    watch: Arc<Watch>,
    notes: Arc<Notes>,
}

impl Receiving {
    /// Of a stream in both directions.
    pub(super) fn request(stream: quinn::RecvStream, watch: Arc<Watch>, notes: Arc<Notes>) -> Self {
        let reads = Reads::Frames(Frames::of(Kind::Request, watch.most));
        Self::new(stream, reads, watch, notes)
    }

    /// Of a stream in one direction.
    pub(super) fn other(stream: quinn::RecvStream, watch: Arc<Watch>) -> Self {
        Self::new(stream, Reads::Type([0; 8], 0), watch, Arc::default())
    }

    fn new(stream: quinn::RecvStream, reads: Reads, watch: Arc<Watch>, notes: Arc<Notes>) -> Self {
        Self { stream, bytes: Bytes::new(), reads, held: 0, is_done: false, watch, notes }
    }

    /// What h3 is given next of the bytes that have come.
    fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            match &mut self.reads {
                Reads::Over => return Ok(None),
                Reads::Raw if self.bytes.is_empty() => return Ok(None),
                Reads::Raw => return Ok(Some(std::mem::take(&mut self.bytes))),
                Reads::Type(seen, known) => {
                    if let Some((kind, length)) = number(&seen[..*known]) {
                        let own = Bytes::copy_from_slice(&seen[..length]);
                        return self.is_of(kind, own).map(Some);
                    }
                    if self.bytes.is_empty() {
                        return Ok(None);
                    }
                    seen[*known] = self.bytes.get_u8();
                    *known += 1;
                }
                Reads::Frames(frames) => {
                    let next = frames.next(&mut self.bytes);
                    let held = frames.held();
                    self.watch.holds(held, std::mem::replace(&mut self.held, held))?;
                    match next? {
                        Next::Wanting => return Ok(None),
                        Next::Nothing => self.watch.glitch(),
                        Next::Idle(bytes) => {
                            self.watch.glitch();
                            return Ok(Some(bytes));
                        }
                        Next::Pass(bytes) => {
                            self.watch.asked(&self.notes);
                            return Ok(Some(bytes));
                        }
                        Next::Malformed(bytes) => {
                            self.notes.malformed();
                            return Ok(Some(bytes));
                        }
                        Next::TooLarge(bytes) => {
                            self.notes.too_large();
                            self.reads = Reads::Over;
                            return Ok(Some(bytes));
                        }
                    }
                }
            }
        }
    }

    fn is_of(&mut self, kind: u64, own: Bytes) -> Result<Bytes, Fault> {
        (self.reads, self.bytes) = match kind {
            CONTROL => (Reads::Frames(Frames::of(Kind::Control, self.watch.most)), std::mem::take(&mut self.bytes)),
            ENCODER | DECODER => (Reads::Raw, std::mem::take(&mut self.bytes)),
            // RFC 9114 §6.2.2.
            PUSH => {
                let why = "a client does not push";
                return Err(Fault { code: Code::H3_STREAM_CREATION_ERROR, of_connection: true, why });
            }
            _ => (Reads::Over, Bytes::new()),
        };
        Ok(if let Reads::Over = self.reads { Bytes::from_static(UNKNOWN) } else { own })
    }

    /// Tells the client what it did, and h3 that there is nothing more.
    fn fault(&mut self, fault: Fault) -> StreamErrorIncoming {
        self.reads = Reads::Over;
        if fault.of_connection {
            self.watch.close(fault.code, fault.why);
            let connection_error = ConnectionErrorIncoming::Undefined(Arc::new(ConnectionError::LocallyClosed));
            return StreamErrorIncoming::ConnectionErrorIncoming { connection_error };
        }
        self.watch.glitch();
        quic::RecvStream::stop_sending(self, fault.code.value());
        StreamErrorIncoming::StreamTerminated { error_code: fault.code.value() }
    }
}

impl quic::RecvStream for Receiving {
    type Buf = Bytes;

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        loop {
            match self.next() {
                Ok(Some(bytes)) => return Poll::Ready(Ok(Some(bytes))),
                Ok(None) if matches!(self.reads, Reads::Over) => return Poll::Ready(Ok(None)),
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Err(self.fault(fault))),
            }
            // It keeps nothing from one poll to the next.
            let read = ready!(pin!(self.stream.read_chunk(PIECE, true)).poll(context));
            match read {
                Ok(Some(chunk)) => self.bytes = chunk.bytes,
                Ok(None) => {
                    self.is_done = true;
                    let end = match &self.reads {
                        Reads::Frames(frames) => frames.end(),
                        _ => Ok(()),
                    };
                    return Poll::Ready(end.map(|()| None).map_err(|fault| self.fault(fault)));
                }
                Err(error) => {
                    self.is_done = true;
                    return Poll::Ready(Err(match error {
                        ReadError::Reset(code) => {
                            StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() }
                        }
                        ReadError::ConnectionLost(error) => {
                            StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) }
                        }
                        error => StreamErrorIncoming::Unknown(error.into()),
                    }));
                }
            }
        }
    }

    fn stop_sending(&mut self, code: u64) {
        if !std::mem::replace(&mut self.is_done, true) {
            // An error says that there is nothing to stop any more.
            let _ = self.stream.stop(quinn::VarInt::from_u64(code).unwrap_or(quinn::VarInt::MAX));
        }
    }

    fn recv_id(&self) -> StreamId {
        identity(self.stream.id())
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        // It has grown by nothing, so that is no fault.
        let _ = self.watch.holds(0, self.held);
        // Nobody wants the rest, and that is not the client's fault (RFC 9114 §4.1).
        quic::RecvStream::stop_sending(self, Code::H3_NO_ERROR.value());
    }
}

/// What we send on one stream.
pub(super) struct Sending {
    stream: quinn::SendStream,
    writing: Option<WriteBuf<Bytes>>,
    /// A response that has not ended.
    is_open: bool,
}

impl Sending {
    pub(super) fn response(stream: quinn::SendStream) -> Self {
        Self { stream, writing: None, is_open: true }
    }

    /// A stream that lasts as long as its connection.
    pub(super) fn other(stream: quinn::SendStream) -> Self {
        Self { stream, writing: None, is_open: false }
    }
}

impl quic::SendStream<Bytes> for Sending {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(writing) = self.writing.as_mut().filter(|writing| writing.has_remaining()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, writing.chunk()));
            let written = written.map_err(|error| match error {
                WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
                WriteError::ConnectionLost(error) => {
                    StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) }
                }
                error => StreamErrorIncoming::Unknown(error.into()),
            })?;
            writing.advance(written);
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        if self.writing.is_some() {
            let connection_error = ConnectionErrorIncoming::InternalError("two frames at once".to_owned());
            return Err(StreamErrorIncoming::ConnectionErrorIncoming { connection_error });
        }
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.is_open = false;
        Poll::Ready(self.stream.finish().map_err(|error| StreamErrorIncoming::Unknown(error.into())))
    }

    fn reset(&mut self, code: u64) {
        self.is_open = false;
        // An error says that it has ended.
        let _ = self.stream.reset(quinn::VarInt::from_u64(code).unwrap_or(quinn::VarInt::MAX));
    }

    fn send_id(&self) -> StreamId {
        identity(self.stream.id())
    }
}

impl Drop for Sending {
    /// quinn would end it as if all had been said.
    fn drop(&mut self) {
        if self.is_open {
            quic::SendStream::reset(self, Code::H3_INTERNAL_ERROR.value());
        }
    }
}

/// The numbers of both are those of RFC 9000 §2.1.
fn identity(id: quinn::StreamId) -> StreamId {
    h3::quic::StreamId::try_from(u64::from(id)).unwrap_or_else(|_| unreachable!("62 bits"))
}
