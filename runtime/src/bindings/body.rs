//! The bodies that a guest of WASI 0.2 writes: of responses, and of requests.
//!
//! The library has two channels between a guest and whoever sends what it writes, and a task's worth of futures for each write that could
//! have to wait. Nearly all bodies are a chunk or two, and there before anybody reads. So the functions that know what stands behind
//! an `outgoing-body` are in front of the library's here, and between both ends is one place with a lock.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Frame;
use http_body_util::BodyExt as _;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_http::p2::bindings::http::types::{
    ErrorCode, OutgoingBody, OutgoingRequest, OutgoingResponse, Trailers,
};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::{Error, FieldMap, WasiBody};

use super::Guest;

/// So many chunks wait for whoever reads them. A guest that would write one more waits.
const WAITING: usize = 2;

/// A part of something larger keeps all of that in memory, and counts as what it is itself: when it is smaller than this, it is copied.
const COPIED: usize = 4096;

/// What a guest has written and nobody has read.
#[derive(Default)]
struct Written {
    chunks: VecDeque<Bytes>,
    /// In all, read or not.
    bytes: u64,
    end: Option<End>,
    /// Nobody reads any more.
    is_abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// How a body ends, after its chunks.
enum End {
    Well,
    Trailers(HeaderMap),
    /// It is not whole, and whoever reads it must not think so.
    Broken,
}

type Shared = Arc<Mutex<Written>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Written> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Written {
    fn has_room(&self) -> bool {
        self.chunks.len() < WAITING
    }

    /// The first end counts.
    fn end(&mut self, end: End) {
        if self.end.is_none() {
            self.end = Some(end);
            wake(&mut self.reader);
        }
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// What stands in the guest's table for an `outgoing-body`, in the place of the library's own.
struct Opened {
    shared: Shared,
    /// What it said that the body would have.
    length: Option<u64>,
    context: StreamContext,
    /// Until the guest takes it.
    stream: Option<DynOutputStream>,
}

impl Opened {
    /// A body of a message with these fields, written in chunks of so many bytes at most, and its other end. `None` where the fields do
    /// not say how long it is, and yet say something of it.
    fn new(context: StreamContext, fields: &HeaderMap, chunk: usize) -> Option<(Self, WasiBody)> {
        let length = length(fields)?;
        let shared = Shared::default();
        let stream = Stream { shared: Arc::clone(&shared), length, context, chunk };
        let reader = Reader(Arc::clone(&shared)).boxed_unsync();
        Some((Self { shared, length, context, stream: Some(Box::new(stream)) }, reader))
    }

    /// The guest says that this was all.
    ///
    /// # Errors
    /// It was not as much as it had said.
    fn finish(self, trailers: Option<FieldMap>) -> Result<(), ErrorCode> {
        let mut written = lock(&self.shared);
        if self.length.is_some_and(|length| length != written.bytes) {
            let bytes = written.bytes;
            written.end(End::Broken);
            return Err(self.context.as_body_size_error(bytes));
        }
        written.end(trailers.map_or(End::Well, |trailers| End::Trailers(trailers.into())));
        Ok(())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        lock(&self.shared).end(End::Broken);
    }
}

/// `Content-Length`, if there is one: digits alone (RFC 9110 §8.6). `None` if there are several, or it is none.
fn length(fields: &HeaderMap) -> Option<Option<u64>> {
    let mut values = fields.get_all(CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Some(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits.and_then(|digits| digits.parse().ok());
    length.filter(|_| values.next().is_none()).map(Some)
}

/// The guest's end: an `output-stream`.
struct Stream {
    shared: Shared,
    length: Option<u64>,
    context: StreamContext,
    /// What may be written at once, in bytes.
    chunk: usize,
}

impl Stream {
    /// Comes back when something may be written, or never can be again.
    async fn has_room(&self) {
        poll_fn(|context| {
            let mut written = lock(&self.shared);
            if written.has_room() || written.is_abandoned {
                return Poll::Ready(());
            }
            written.writer = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {
        self.has_room().await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut written = lock(&self.shared);
        if written.is_abandoned {
            return Err(StreamError::Closed);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.len() > self.chunk || !written.has_room() {
            return Err(StreamError::trap("more was written than check-write allows"));
        }
        written.bytes += bytes.len() as u64;
        if self.length.is_some_and(|length| length < written.bytes) {
            // None of what is too much is sent: a client would take it for the next message.
            let code = self.context.as_body_size_error(written.bytes);
            return Err(StreamError::LastOperationFailed(code.into()));
        }
        // What a guest writes is its own; what it splices is a part of what somebody else has sent.
        let is_own = bytes.len() >= COPIED || bytes.is_unique();
        written.chunks.push_back(if is_own { bytes } else { Bytes::copy_from_slice(&bytes) });
        wake(&mut written.reader);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        match lock(&self.shared).is_abandoned {
            true => Err(StreamError::Closed),
            false => Ok(()),
        }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let written = lock(&self.shared);
        match written.is_abandoned {
            true => Err(StreamError::Closed),
            false if written.has_room() => Ok(self.chunk),
            false => Ok(0),
        }
    }

    async fn write_ready(&mut self) -> StreamResult<usize> {
        self.has_room().await;
        self.check_write()
    }

    /// What the trait does by itself, without a future in memory of its own for each step.
    async fn blocking_write_and_flush(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        loop {
            self.has_room().await;
            let most = self.check_write()?.min(bytes.len());
            self.write(bytes.split_to(most))?;
            if bytes.is_empty() {
                break;
            }
        }
        self.has_room().await;
        Ok(())
    }
}

/// The end of whoever sends what the guest has written.
struct Reader(Shared);

impl http_body::Body for Reader {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut written = lock(&self.0);
        if let Some(chunk) = written.chunks.pop_front() {
            wake(&mut written.writer);
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        let end = match written.end {
            None => {
                written.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            Some(_) => written.end.replace(End::Well),
        };
        Poll::Ready(match end {
            Some(End::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(End::Broken) => Some(Err(Error::HttpProtocolError)),
            Some(End::Well) | None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        let written = lock(&self.0);
        written.chunks.is_empty() && matches!(written.end, Some(End::Well))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut written = lock(&self.0);
        written.is_abandoned = true;
        written.chunks.clear();
        // The guest may keep its end for long, and with it what this wakes: a connection's whole task.
        written.reader = None;
        wake(&mut written.writer);
    }
}

type Body = Resource<OutgoingBody>;

/// The same resource, as it stands in the table.
fn opened(body: &Body) -> Resource<Opened> {
    Resource::new_borrow(body.rep())
}

/// Puts these functions in front of those that the linker has.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    type Store<'a> = StoreContextMut<'a, Guest>;
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:http/types@0.2.12")?;
    types.resource("outgoing-body", ResourceType::host::<HostOutgoingBody>(), |mut store: Store<'_>, rep| {
        store.data_mut().table.delete(Resource::<Opened>::new_own(rep))?;
        Ok(())
    })?;
    types.func_wrap(
        "[method]outgoing-response.body",
        |mut store: Store<'_>, (response,): (Resource<OutgoingResponse>,)| {
            let guest = store.data_mut();
            let chunk = guest.outbound.chunk();
            let response = guest.table.get_mut(&response)?;
            let made = open(StreamContext::Response, &response.headers, chunk, &mut response.body);
            Ok((push(guest, made)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.body",
        |mut store: Store<'_>, (request,): (Resource<OutgoingRequest>,)| {
            let guest = store.data_mut();
            let chunk = guest.outbound.chunk();
            let request = guest.table.get_mut(&request)?;
            let made = open(StreamContext::Request, &request.headers, chunk, &mut request.body);
            Ok((push(guest, made)?,))
        },
    )?;
    types.func_wrap("[method]outgoing-body.write", |mut store: Store<'_>, (body,): (Body,)| {
        let table = &mut store.data_mut().table;
        Ok((match table.get_mut(&opened(&body))?.stream.take() {
            Some(stream) => Ok(table.push_child(stream, &opened(&body))?),
            None => Err(()),
        },))
    })?;
    types.func_wrap(
        "[static]outgoing-body.finish",
        |mut store: Store<'_>, (body, trailers): (Body, Option<Resource<Trailers>>)| {
            let table = &mut store.data_mut().table;
            let body = table.delete(Resource::<Opened>::new_own(body.rep()))?;
            let trailers = trailers.map(|trailers| table.delete(trailers)).transpose()?;
            Ok((body.finish(trailers),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// One body for each message, whose other end goes with it.
fn open(context: StreamContext, fields: &FieldMap, chunk: usize, end: &mut Option<WasiBody>) -> Option<Opened> {
    if end.is_some() {
        return None;
    }
    let (opened, reader) = Opened::new(context, fields, chunk)?;
    *end = Some(reader);
    Some(opened)
}

fn push(guest: &mut Guest, made: Option<Opened>) -> wasmtime::Result<Result<Body, ()>> {
    Ok(match made {
        Some(opened) => Ok(Resource::new_own(guest.table.push(opened)?.rep())),
        None => Err(()),
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn body(length: Option<&'static str>) -> (Opened, DynOutputStream, WasiBody) {
        let mut fields = HeaderMap::new();
        fields.extend(length.map(|length| (CONTENT_LENGTH, HeaderValue::from_static(length))));
        let (mut opened, reader) = Opened::new(StreamContext::Response, &fields, 4).expect("its length is one");
        let stream = opened.stream.take().expect("nobody has taken it");
        (opened, stream, reader)
    }

    fn read(reader: &mut WasiBody) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut context = Context::from_waker(Waker::noop());
        http_body::Body::poll_frame(Pin::new(reader), &mut context)
    }

    fn data(reader: &mut WasiBody) -> Bytes {
        let Poll::Ready(Some(Ok(frame))) = read(reader) else { panic!("there is a chunk") };
        frame.into_data().expect("it is data")
    }

    #[test]
    fn what_was_written_and_finished_is_read_as_it_was_written() {
        let (opened, mut stream, mut reader) = body(Some("5"));
        assert!(read(&mut reader).is_pending());
        stream.write(Bytes::from_static(b"ab")).expect("there is room");
        stream.write(Bytes::from_static(b"cde")).expect("there is room");
        drop(stream);
        assert!(opened.finish(None).is_ok());
        assert_eq!([data(&mut reader), data(&mut reader)], ["ab", "cde"]);
        assert!(http_body::Body::is_end_stream(&reader));
        assert!(matches!(read(&mut reader), Poll::Ready(None)));
    }

    #[tokio::test]
    async fn a_guest_that_has_written_two_chunks_waits_until_one_is_read() {
        let (_opened, mut stream, mut reader) = body(None);
        for _ in 0..WAITING {
            assert!(matches!(stream.check_write(), Ok(4)));
            stream.write(Bytes::from_static(b"abcd")).expect("there is room");
        }
        assert!(matches!(stream.check_write(), Ok(0)));
        assert!(matches!(stream.write(Bytes::from_static(b"e")), Err(StreamError::Trap(_))));
        let mut waits = stream.blocking_write_and_flush(Bytes::from_static(b"efghij"));
        assert!(futures_util::poll!(&mut waits).is_pending());
        assert_eq!(data(&mut reader), "abcd");
        assert!(futures_util::poll!(&mut waits).is_pending(), "the rest of it, and then the flush, wait as well");
        assert_eq!(data(&mut reader), "abcd");
        assert!(futures_util::poll!(&mut waits).is_pending());
        assert_eq!(data(&mut reader), "efgh");
        assert!(matches!(futures_util::poll!(&mut waits), Poll::Ready(Ok(()))));
        drop(waits);
        assert_eq!(data(&mut reader), "ij");
    }

    #[test]
    fn a_chunk_has_its_bound() {
        let (_opened, mut stream, _reader) = body(None);
        assert!(stream.write(Bytes::from_static(b"abcd")).is_ok());
        assert!(matches!(stream.write(Bytes::from_static(b"abcde")), Err(StreamError::Trap(_))));
    }

    #[test]
    fn a_small_part_of_something_large_does_not_keep_it() {
        let (_opened, mut stream, mut reader) = body(None);
        let large = Bytes::from(vec![7; 1 << 16]);
        stream.write(large.slice(..4)).expect("there is room");
        let read = data(&mut reader);
        assert!(large.is_unique() && read == large[..4]);
    }

    #[test]
    fn empty_chunks_are_none() {
        let (_opened, mut stream, mut reader) = body(None);
        (0..10).for_each(|_| stream.write(Bytes::new()).expect("it takes no room"));
        assert!(read(&mut reader).is_pending());
    }

    #[test]
    fn more_than_was_said_is_not_sent_and_breaks_the_body() {
        let (opened, mut stream, mut reader) = body(Some("3"));
        stream.write(Bytes::from_static(b"abc")).expect("it is as much as was said");
        let Err(StreamError::LastOperationFailed(error)) = stream.write(Bytes::from_static(b"d")) else {
            panic!("it is more")
        };
        assert!(matches!(error.downcast_ref(), Some(ErrorCode::HttpResponseBodySize(Some(4)))));
        drop(stream);
        assert!(matches!(opened.finish(None), Err(ErrorCode::HttpResponseBodySize(Some(4)))));
        assert_eq!(data(&mut reader), "abc");
        assert!(matches!(read(&mut reader), Poll::Ready(Some(Err(Error::HttpProtocolError)))));
        assert!(matches!(read(&mut reader), Poll::Ready(None)));
    }

    #[test]
    fn less_than_was_said_is_no_end() {
        let (opened, mut stream, mut reader) = body(Some("3"));
        stream.write(Bytes::from_static(b"ab")).expect("there is room");
        drop(stream);
        assert!(matches!(opened.finish(None), Err(ErrorCode::HttpResponseBodySize(Some(2)))));
        assert_eq!(data(&mut reader), "ab");
        assert!(matches!(read(&mut reader), Poll::Ready(Some(Err(Error::HttpProtocolError)))));
    }

    #[test]
    fn a_body_that_goes_unfinished_breaks() {
        let (opened, _stream, mut reader) = body(None);
        drop(opened);
        assert!(matches!(read(&mut reader), Poll::Ready(Some(Err(Error::HttpProtocolError)))));
    }

    #[tokio::test]
    async fn whoever_writes_to_a_body_that_nobody_reads_hears_of_it() {
        let (_opened, mut stream, reader) = body(None);
        for _ in 0..WAITING {
            stream.write(Bytes::from_static(b"abcd")).expect("there is room");
        }
        let mut waits = stream.write_ready();
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(reader);
        assert!(matches!(futures_util::poll!(&mut waits), Poll::Ready(Err(StreamError::Closed))));
        drop(waits);
        assert!(matches!(stream.write(Bytes::new()), Err(StreamError::Closed)));
        assert!(matches!(stream.flush(), Err(StreamError::Closed)));
    }

    #[test]
    fn a_length_is_digits_and_stands_there_once() {
        let of = |values: &[&'static str]| {
            let fields = values.iter().map(|value| (CONTENT_LENGTH, HeaderValue::from_static(value)));
            let mut map = HeaderMap::new();
            fields.for_each(|(name, value)| _ = map.append(name, value));
            length(&map)
        };
        assert_eq!(of(&[]), Some(None));
        assert_eq!(of(&["18446744073709551615"]), Some(Some(u64::MAX)));
        for wrong in [&["18446744073709551616"][..], &["+1"], &["-1"], &[""], &["1 "], &["1", "1"]] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}
