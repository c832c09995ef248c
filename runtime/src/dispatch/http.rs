//! A request from top to bottom: one function, in the order in which it is decided.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use ipnet::IpNet;

use super::admission::{NodeGate, Permit};
use super::arrival::Arrival;
use super::background::Serving;
use super::body::{self, Limited};
use super::client::{Caller, contains};
use super::finish::Exchange;
use super::forward::Asked;
use super::held::Held;
use super::respond::Detail;
use super::{head, pace, redirect, respond};
use crate::activate::{Activator, Active, Deployments, Target, Worker};
use crate::bindings::{AskedBy, Capabilities, Chain, Event, Usage};
use crate::config::{NodeLimits, held};
use crate::egress::Passed;
use crate::failure::Failure;
use crate::http::{Body, Client, strip_hop_by_hop};
use crate::observe::id::X_REQUEST_ID;
use crate::observe::{AccessLog, Metrics, Start, Tails, TargetMetrics, Trace, Tracer};
use crate::sandbox::{self, Invocation};

/// What all cores share.
pub struct Dispatcher {
    /// What serves right now: see [`Dispatcher::switch`].
    pub active: ArcSwap<Active>,
    /// Where workers keep what outlives their isolates.
    pub activator: Arc<Activator>,
    /// Who works off queues is told here that something else serves, and at last to stop.
    pub serving: Serving,
    /// Isolates of all workers together.
    pub gate: Arc<NodeGate>,
    /// The limits of connections and of the node.
    pub limits: NodeLimits,
    /// What a request body to an origin may have, in bytes.
    pub origin_request_body: u64,
    /// Whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How much a client is told about failures.
    pub detail: Detail,
    /// Fields that replace those of every request: `eyot serve X.wasm -H` only.
    pub request_headers: Vec<(HeaderName, HeaderValue)>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Counts what led nowhere.
    pub unrouted: Arc<TargetMetrics>,
    /// Where spans go, if anywhere.
    pub tracer: Option<Tracer>,
    /// Those who look at requests while they come.
    pub tails: Tails,
    /// Where versions are tried that do not serve, if anywhere.
    pub previews: OnceLock<Previews>,
}

impl Dispatcher {
    /// From the next request on, and from the next message, this serves.
    pub fn switch(&self, active: Active) {
        self.activator.data.rule(&active);
        self.active.store(Arc::new(active));
        self.serving.changed();
    }
}

/// The hosts at which versions are tried that do not serve.
pub struct Previews {
    /// What stands behind the version and its worker.
    pub suffix: String,
    /// Who knows the versions.
    pub deployments: Arc<Deployments>,
}

impl Previews {
    /// What answers at this host, if it is one of them.
    fn of<'a>(&'a self, host: &'a str) -> Option<impl Future<Output = Result<Arc<Active>, Failure>> + 'a> {
        let is_below = host.strip_suffix(&*self.suffix)?.ends_with('.');
        is_below.then_some(async move {
            match self.deployments.preview_at(&self.suffix, host).await {
                Some(Ok(active)) => Ok(active),
                Some(Err(error)) => {
                    tracing::info!(host, "nothing can be tried here: {error}");
                    Err(Failure::RouteNotFound)
                }
                None => Err(Failure::RouteNotFound),
            }
        })
    }
}

/// One core's way into the dispatcher.
pub struct Core {
    /// Shared by all cores.
    pub dispatcher: Arc<Dispatcher>,
    /// Which core: it has an egress of its own.
    pub index: usize,
    /// This core's buffer of log lines.
    pub access: AccessLog,
}

/// The client has gone: there is nobody to answer.
#[derive(Debug, thiserror::Error)]
#[error("the client went away")]
pub struct Gone;

impl Core {
    /// Answers one request, and writes down that it did.
    ///
    /// # Errors
    /// When the client went away before there was an answer.
    pub fn handle(
        self: &Arc<Self>,
        client: &Arc<Client>,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Gone>> {
        self.ask(client, request, None)
    }

    /// The same for a request that need not come from a connection, and that another snapshot may answer than the one that serves.
    ///
    /// # Errors
    /// When the client went away before there was an answer.
    pub async fn ask(
        self: &Arc<Self>,
        client: &Arc<Client>,
        request: Request<Body>,
        by: Option<Arc<Active>>,
    ) -> Result<Response<Body>, Gone> {
        let (request, last) = Arrival::of(request, self.dispatcher.limits.header_timeout);
        let mut exchange = Exchange::begin(self, client, &request);
        let result = self.answer(&mut exchange, client, request, by).await;
        let mut response = exchange.finish(result)?;
        last.tell(&mut response);
        Ok(response)
    }

    /// Counts and tells of what was refused before it was a request.
    pub fn refused(&self, client: &Client, failure: &Failure) {
        self.dispatcher.unrouted.failed(failure.code());
        tracing::debug!(client = %client.address, code = failure.code(), "{failure}");
    }

    async fn answer(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        client: &Arc<Client>,
        mut request: Request<Arrival>,
        by: Option<Arc<Active>>,
    ) -> Result<Response<Body>, Failure> {
        let shared = &*self.dispatcher;
        // First, so that a head that is refused is written down with whoever sent it.
        let caller = Caller::read(client, request.headers(), &shared.trusted_proxies)?;
        exchange.came_from(&caller.client);
        let head = head::read(&mut request, &caller.client, &shared.limits, caller.proxy.is_some())?;
        caller.correct_scheme(&mut request);
        replace(request.headers_mut(), &shared.request_headers);
        let host = exchange.asks_for(head.host);
        if head.path == "*" && *request.method() == Method::OPTIONS {
            return Ok(respond::options());
        }
        let active = match by {
            Some(active) => active,
            None => match shared.previews.get().and_then(|previews| previews.of(host)) {
                // Boxed: few are tried, and the future of each request has room for this.
                Some(preview) => Box::pin(preview).await?,
                None => shared.active.load_full(),
            },
        };
        let found = active.routes.find(host, request.method(), &head.path)?;
        let destination = &active.destinations[found];
        exchange.leads_to(destination);
        let identity = match &destination.verifier {
            Some(verifier) => Some(Arc::new(verifier.verify(request.headers())?)),
            None => None,
        };
        match &destination.target {
            Target::Worker(split) => {
                let worker = split.choose(request.headers(), caller.client.address.ip());
                let address = caller.client.address.ip();
                if !worker.allow_addresses.is_empty() && !contains(&worker.allow_addresses, address) {
                    return Err(Failure::Forbidden("this client address is not allowed"));
                }
                let passed = active.egress[self.index].pass(request.headers(), shared.limits.loop_hops)?;
                let (client, protocol) = (caller.client, request.version());
                let asked_by = AskedBy { identity, client, protocol, caller: None };
                let behalf = Behalf { asked_by, passed, called: None };
                self.invoke(exchange, &active, worker, behalf, request).await
            }
            Target::Origin(origin) => {
                let asked = Asked { caller: &caller, identity: identity.as_deref() };
                // Boxed: else the future of each request, which hyper moves, has room for this one.
                Box::pin(self.forward(exchange, &active, *origin, &asked, request)).await
            }
            Target::Redirect { status, location } => redirect::to(*status, location, &request),
            Target::Respond { status, headers, body } => {
                let mut response = Response::new(Body::from(body.clone()));
                *response.status_mut() = *status;
                response.headers_mut().extend(headers.iter().cloned());
                Ok(response)
            }
        }
    }

    /// Where the spans of this trace are recorded.
    fn spans(&self, trace: &Trace) -> Option<Box<(Tracer, Trace)>> {
        let tracer = self.dispatcher.tracer.as_ref().filter(|_| trace.is_sampled())?;
        Some(Box::new((tracer.clone(), trace.clone())))
    }

    pub(super) async fn admit(&self, worker: &Worker) -> Result<Permit, Failure> {
        let Capabilities { share, limits, .. } = &*worker.capabilities;
        let entered = self.dispatcher.gate.enter(share.id, limits).await;
        if entered.is_err() {
            sandbox::refused(&worker.capabilities).await;
        }
        entered
    }

    /// Runs the request in an isolate of this version.
    pub(super) async fn invoke(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        active: &Active,
        worker: &Arc<Worker>,
        behalf: Behalf,
        request: Request<Arrival>,
    ) -> Result<Response<Body>, Failure> {
        let Behalf { asked_by, passed, called } = behalf;
        let capabilities = &worker.capabilities;
        let (mut parts, arrival) = request.into_parts();
        strip_hop_by_hop(&mut parts.headers);
        // After the client's `Connection` has had its say about the client's fields: these are the node's.
        replace(&mut parts.headers, &self.dispatcher.request_headers);
        parts.headers.insert(X_REQUEST_ID.clone(), exchange.id.header_value());
        exchange.trace.inject(&mut parts.headers);
        let Limited { body, failure: body_failure, read, broken } =
            body::limited(arrival, capabilities.limits.request_body, pace::of_requests(&self.dispatcher.limits))?;
        exchange.reads(read);
        let permit = match held() {
            true => Some(self.admit(worker).await?),
            false => None,
        };
        sandbox::turn(capabilities).await;
        let in_memory = worker.code.loaded();
        let loaded;
        let (prepared, start) = match &*in_memory {
            Some(prepared) => (prepared, Start::Warm),
            None => {
                // Boxed: few wait, and the future of each request has room for this one.
                loaded = Box::pin(worker.code.load()).await?;
                (&loaded.0, loaded.1)
            }
        };
        let usage = Usage::new();
        let isolate = sandbox::find(prepared, start, &usage);
        let start = isolate.start;
        exchange.runs(worker, &usage, start);
        let event = Event {
            asked_by: Some(asked_by),
            request_id: exchange.id.clone(),
            trace: exchange.trace.clone(),
            tracer: self.dispatcher.tracer.clone(),
            passed,
            calls: self.calls(capabilities, capabilities.limits.wall_time, called),
        };
        let ledger = Box::new(Held {
            permit,
            in_use: self.dispatcher.metrics.isolate_started(start),
            worker: Arc::clone(worker),
            id: exchange.id.clone(),
            trace: exchange.trace.id(),
            spans: self.spans(&exchange.trace),
            broken: broken.clone(),
        });
        let invocation = Invocation {
            prepared,
            isolate,
            event,
            egress: active.egress[self.index].clone(),
            usage,
            request: Request::from_parts(parts, body),
            called,
            body_failure,
            ledger,
        };
        broken.judge(sandbox::run(invocation).await)
    }
}

/// Who asks a worker.
pub(super) struct Behalf {
    pub(super) asked_by: AskedBy,
    /// The nodes that the request has passed.
    pub(super) passed: Passed,
    /// If a worker asks.
    pub(super) called: Option<Chain>,
}

/// All fields of a name go before the first new one comes, so that there can be several of them.
fn replace(headers: &mut HeaderMap, fields: &[(HeaderName, HeaderValue)]) {
    for (name, _) in fields {
        headers.remove(name);
    }
    for (name, value) in fields {
        headers.append(name, value.clone());
    }
}
