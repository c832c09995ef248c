//! One request: its head, what makes it malformed, its handler, and the response, at the pace of its client.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use h3::error::Code;
use h3::server::{RequestResolver, RequestStream};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::header::{self, Entry, HeaderMap, HeaderName};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::body::{self, Arriving};
use super::date;
use super::quic::{Both, Quic};
use super::streams::Sending;
use super::watch::{Notes, Opened, Stopped, Watch};
use crate::config::NodeLimits;
use crate::failure::Failure;
use crate::http::{Body, Client, Pace, strip_hop_by_hop};
use crate::ingress::Handle;
use crate::ingress::http2::{FRAME, Stalls};
use crate::ingress::pulse::{Attempt, OpenStream, Pulse};

/// What all requests of a connection have in common.
pub(super) struct Session<H> {
    pub(super) handler: H,
    pub(super) client: Arc<Client>,
    pub(super) limits: Arc<NodeLimits>,
    pub(super) pace: Pace,
    pub(super) pulse: Arc<Pulse>,
    pub(super) watch: Arc<Watch>,
    /// Told whenever a request is over.
    pub(super) over: Arc<Notify>,
}

/// A request that is not over yet.
pub(super) struct Ongoing {
    open: Option<OpenStream>,
    over: Arc<Notify>,
}

impl Ongoing {
    pub(super) fn new(pulse: &Arc<Pulse>, over: &Arc<Notify>) -> Self {
        Self { open: Some(pulse.open()), over: Arc::clone(over) }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        // In this order: who is told sees that it is over.
        drop(self.open.take());
        self.over.notify_one();
    }
}

/// There is nobody to answer any more, or nothing to say: the stream has been reset.
struct Gone;

type Sender = RequestStream<Sending, Bytes>;

/// Serves one request to its end.
pub(super) async fn serve<H: Handle>(
    session: Arc<Session<H>>,
    resolver: RequestResolver<Quic, Bytes>,
    opened: Opened,
    ongoing: Ongoing,
) {
    let Opened { notes, mut stopped } = opened;
    if let Some((request, stream)) = head(&session, resolver).await {
        let answered = answer(&session, request, stream, &notes, &mut stopped).await;
        tracing::trace!(answered = answered.is_ok(), "request over");
    }
    drop(ongoing);
}

/// The head of a request, bounded in time.
async fn head<H: Handle>(
    session: &Session<H>,
    resolver: RequestResolver<Quic, Bytes>,
) -> Option<(Request<()>, RequestStream<Both, Bytes>)> {
    match timeout(session.limits.header_timeout, resolver.resolve_request()).await {
        Ok(Ok(found)) => Some(found),
        Ok(Err(error)) => {
            tracing::debug!(%error, "no request");
            session.watch.glitch();
            None
        }
        // Dropped, which resets the stream.
        Err(_) => {
            session.watch.glitch();
            None
        }
    }
}

async fn answer<H: Handle>(
    session: &Session<H>,
    request: Request<()>,
    stream: RequestStream<Both, Bytes>,
    notes: &Arc<Notes>,
    stopped: &mut Stopped,
) -> Result<(), Gone> {
    let (mut send, mut receive) = stream.split();
    let mut stalls = Stalls::new(session.pace);
    if notes.is_too_large() {
        session.handler.refused(&session.client, &Failure::RequestHeaderTooLarge);
        session.watch.glitch();
        let mut bare = Response::new(Body::empty());
        *bare.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return respond(&mut send, bare, &mut stalls, notes, stopped).await;
    }
    let declared = body::declared(request.headers());
    let (Ok(declared), false) = (declared, notes.is_malformed() || is_malformed(&request)) else {
        receive.stop_sending(Code::H3_MESSAGE_ERROR);
        return malformed(session, &mut send);
    };
    let attempt = session.pulse.attempt();
    // A client that takes its request back does so in what came with it, or soon after: nothing has been begun for it by then
    // (CVE-2023-44487).
    tokio::task::yield_now().await;
    let wanted = request.headers().contains_key(header::EXPECT).then(Arc::<Notify>::default);
    let Ok(body) = Arriving::of(receive, declared, Arc::clone(notes), wanted.clone()).await else {
        return if notes.is_malformed() { malformed(session, &mut send) } else { Err(Gone) };
    };
    let request = request.map(|()| body);
    let asked = session.handler.handle(&session.client, request);
    let answered = handled(asked, &mut send, attempt, wanted.as_deref(), stopped).await?;
    let Ok(response) = answered else {
        // Whoever read its content may have found that out.
        return if notes.is_malformed() { malformed(session, &mut send) } else { Err(Gone) };
    };
    respond(&mut send, response, &mut stalls, notes, stopped).await?;
    session.watch.answered();
    Ok(())
}

/// Waits for the answer for as long as there is somebody who wants it.
async fn handled<T>(
    handler: impl Future<Output = T>,
    send: &mut Sender,
    attempt: Attempt,
    wanted: Option<&Notify>,
    stopped: &mut Stopped,
) -> Result<T, Gone> {
    let mut handler = pin!(handler);
    let expected = async {
        match wanted {
            Some(wanted) => wanted.notified().await,
            None => std::future::pending().await,
        }
    };
    let mut expected = pin!(expected);
    let mut is_expected = wanted.is_some();
    loop {
        tokio::select! {
            biased;
            _ = &mut *stopped => return Err(Gone),
            answer = handler.as_mut() => {
                attempt.answered();
                return Ok(answer);
            }
            // RFC 9110 §10.1.1: somebody wants the content that the client holds back.
            () = expected.as_mut(), if is_expected => {
                is_expected = false;
                let mut go_on = Response::new(());
                *go_on.status_mut() = StatusCode::CONTINUE;
                send.send_response(go_on).await.map_err(|_| Gone)?;
            }
        }
    }
}

fn malformed<H: Handle>(session: &Session<H>, send: &mut Sender) -> Result<(), Gone> {
    session.handler.refused(&session.client, &Failure::BadRequest("this is not a request of HTTP/3"));
    session.watch.glitch();
    send.stop_stream(Code::H3_MESSAGE_ERROR);
    Err(Gone)
}

/// Sends a response, one frame's worth at a time. Where it does not come to its end, the stream is reset.
async fn respond(
    send: &mut Sender,
    response: Response<Body>,
    stalls: &mut Stalls,
    notes: &Notes,
    stopped: &mut Stopped,
) -> Result<(), Gone> {
    let (mut parts, mut body) = response.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    complete(&mut parts.headers, &body);
    if notes.is_malformed() {
        send.stop_stream(Code::H3_MESSAGE_ERROR);
        return Err(Gone);
    }
    taken(stalls, send.send_response(Response::from_parts(parts, ()))).await?;
    while !body.is_end_stream() {
        let frame = tokio::select! {
            biased;
            _ = &mut *stopped => return Err(Gone),
            frame = body.frame() => frame,
        };
        let Some(frame) = frame else { break };
        // An error: what was begun is not brought to an end.
        let frame = frame.map_err(|_| Gone)?;
        if notes.is_malformed() {
            send.stop_stream(Code::H3_MESSAGE_ERROR);
            return Err(Gone);
        }
        match frame.into_data() {
            Ok(mut data) => {
                while !data.is_empty() {
                    let piece = data.split_to(data.len().min(FRAME));
                    stalls.give(piece.len() as u64);
                    taken(stalls, send.send_data(piece)).await?;
                }
            }
            Err(frame) => {
                if let Ok(mut trailers) = frame.into_trailers() {
                    strip_hop_by_hop(&mut trailers);
                    taken(stalls, send.send_trailers(trailers)).await?;
                }
                break;
            }
        }
    }
    taken(stalls, send.finish()).await?;
    // What is under way would be lost with its connection.
    match timeout(stalls.begin(), stopped).await {
        Ok(Ok(None)) => Ok(()),
        // It can still be reset.
        Err(_) => {
            send.stop_stream(Code::H3_REQUEST_CANCELLED);
            Err(Gone)
        }
        Ok(_) => Err(Gone),
    }
}

/// Waits until the client takes what is sent, and no longer than it may let us wait.
async fn taken<T, E>(stalls: &mut Stalls, sending: impl Future<Output = Result<T, E>>) -> Result<T, Gone> {
    let sent = timeout(stalls.begin(), sending).await;
    stalls.end();
    let sent = sent.inspect_err(|_| tracing::debug!("the client takes nothing of a response, or too little"));
    sent.map_err(|_| Gone)?.map_err(|_| Gone)
}

/// What hyper adds on HTTP/1 and HTTP/2.
fn complete(headers: &mut HeaderMap, body: &Body) {
    if let Entry::Vacant(vacant) = headers.entry(header::DATE) {
        vacant.insert(date::now());
    }
    if let Some(length) = body.size_hint().exact().filter(|_| !body.is_end_stream())
        && let Entry::Vacant(vacant) = headers.entry(header::CONTENT_LENGTH)
    {
        vacant.insert(length.into());
    }
}

/// What makes a request malformed and h3 does not mind (RFC 9114 §4.2, §4.3.1, §4.4).
fn is_malformed(request: &Request<()>) -> bool {
    let (scheme, path) = (request.uri().scheme(), request.uri().path_and_query());
    let target = match *request.method() {
        Method::CONNECT => scheme.is_none() && path.is_none(),
        _ => scheme.is_some() && path.is_some(),
    };
    // RFC 9220: we have not said that we understand it.
    let extended = request.extensions().get::<h3::ext::Protocol>().is_some();
    !target || extended || is_of_a_connection(request.headers())
}

/// Whether there are fields that say something of a connection (RFC 9114 §4.2).
pub(super) fn is_of_a_connection(headers: &HeaderMap) -> bool {
    const NEVER: [HeaderName; 5] = [
        header::CONNECTION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    NEVER.iter().any(|name| headers.contains_key(name))
        || headers.get_all(header::TE).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"trailers"))
}
