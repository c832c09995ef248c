//! A request that goes on to an origin.

use http::header::{HeaderName, MAX_FORWARDS, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response};

use super::arrival::Arrival;
use super::client::Caller;
use super::finish::Exchange;
use super::http::Core;
use super::{body, pace, respond};
use crate::activate::Active;
use crate::auth::{CLAIMS_HEADER, Identity};
use crate::egress::{Forward, OriginId};
use crate::failure::Failure;
use crate::http::Body;
use crate::observe::Call;

/// Who asks an origin.
pub(super) struct Asked<'a> {
    pub(super) caller: &'a Caller,
    pub(super) identity: Option<&'a Identity>,
}

impl Core {
    /// Passes the request on to an origin.
    pub(super) async fn forward(
        &self,
        exchange: &mut Exchange,
        active: &Active,
        origin: OriginId,
        asked: &Asked<'_>,
        request: Request<Arrival>,
    ) -> Result<Response<Body>, Failure> {
        let limits = &self.dispatcher.limits;
        let egress = &active.egress[self.index];
        let (mut parts, arrival) = request.into_parts();
        refuse_websocket(&parts.headers)?;
        if !may_go_on(&parts.method, &mut parts.headers) {
            return Ok(respond::options());
        }
        let passed = egress.pass(&parts.headers, limits.loop_hops)?;
        let limited = body::limited(arrival, self.dispatcher.origin_request_body, pace::of_requests(limits))?;
        exchange.reads(limited.read);
        let claims = asked.identity.map(|who| (HeaderName::from_static(CLAIMS_HEADER), who.header_value()));
        let (tracer, url) = (self.dispatcher.tracer.as_ref(), || egress.origin_url(origin, parts.uri.path()));
        let (call, trace) = Call::begin(tracer, &exchange.trace, &parts.method, url);
        let forward = Forward {
            client: &asked.caller.client,
            trusted_proxy: asked.caller.proxy,
            request_id: &exchange.id,
            trace: &trace,
            claims,
            passed: &passed,
        };
        let response = egress.forward(origin, Request::from_parts(parts, limited.body), forward).await;
        call.ended(response.as_ref().map(|response| response.status().as_u16()).map_err(Failure::code));
        response
    }
}

/// A WebSocket needs the connection itself, which is not passed on. Sent on without its `Upgrade`, the request would be another one,
/// and its answer a riddle. Other upgrades are offers that may be ignored (RFC 9110 §7.8).
fn refuse_websocket(headers: &HeaderMap) -> Result<(), Failure> {
    let offers = headers.get_all(UPGRADE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    match offers.map(<[u8]>::trim_ascii).any(|offer| offer.eq_ignore_ascii_case(b"websocket")) {
        true => Err(Failure::UpgradeUnavailable { protocol: "websocket" }),
        false => Ok(()),
    }
}

/// Whether `Max-Forwards` lets a request go on, which then has one less. It counts for OPTIONS, and TRACE comes no further than to
/// us anyway (RFC 9110 §7.6.2).
fn may_go_on(method: &Method, headers: &mut HeaderMap) -> bool {
    let left = headers.get(MAX_FORWARDS).and_then(|left| left.to_str().ok()?.parse::<u64>().ok());
    let Some(left) = left.filter(|_| *method == Method::OPTIONS) else { return true };
    if left > 0 {
        headers.insert(MAX_FORWARDS, HeaderValue::from(left - 1));
    }
    left > 0
}
