//! A request from top to bottom: one function, in the order in which it is decided.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use ipnet::IpNet;

use super::body::{self, Limited};
use super::finish::Exchange;
use super::respond::Detail;
use super::{head, redirect, respond};
use crate::activate::{Active, Target, Worker};
use crate::auth::{CLAIMS_HEADER, Identity};
use crate::bindings::{Event, Guest, NodeMemory, Usage};
use crate::config::NodeLimits;
use crate::egress::Forward;
use crate::failure::Failure;
use crate::http::{Body, Client};
use crate::observe::id::X_REQUEST_ID;
use crate::observe::{AccessLog, InUse, Metrics, RequestId, Start, TargetMetrics, Tracer};
use crate::sandbox::{self, Gate, Invocation, Ledger, Permit};

/// What all cores share.
pub struct Dispatcher {
    /// What serves right now.
    pub active: ArcSwap<Active>,
    /// Isolates of all workers together.
    pub gate: Gate,
    /// Memory of all isolates together.
    pub memory: Arc<NodeMemory>,
    /// The limits of connections and of the node.
    pub limits: NodeLimits,
    /// What a request body to an origin may have, in bytes.
    pub origin_request_body: u64,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How much a client is told about failures.
    pub detail: Detail,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Counts what led nowhere.
    pub unrouted: Arc<TargetMetrics>,
    /// Where spans go, if anywhere.
    pub tracer: Option<Tracer>,
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
    pub async fn handle(
        self: &Arc<Self>,
        client: &Arc<Client>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Gone> {
        let mut exchange = Exchange::begin(self, client, &request);
        let result = self.answer(&mut exchange, client, request).await;
        exchange.finish(result)
    }

    async fn answer(
        &self,
        exchange: &mut Exchange,
        client: &Arc<Client>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Failure> {
        let shared = &*self.dispatcher;
        let head = head::read(&mut request, client, &shared.limits)?;
        let (client, trusted_proxy) = believed(client, &request, &shared.trusted_proxies);
        let host = exchange.came_from(&client, head.host);
        if head.path == "*" && *request.method() == Method::OPTIONS {
            return Ok(respond::options());
        }
        let active = shared.active.load_full();
        let found = active.routes.find(host, request.method(), &head.path)?;
        let destination = &active.destinations[found];
        exchange.leads_to(destination);
        let identity = match &destination.verifier {
            Some(verifier) => Some(Arc::new(verifier.verify(request.headers())?)),
            None => None,
        };
        request.headers_mut().insert(X_REQUEST_ID.clone(), exchange.id.header_value());
        match &destination.target {
            Target::Worker(worker) => self.invoke(exchange, &active, worker, client, identity, request).await,
            Target::Origin(name) => {
                let identity = identity.as_deref();
                self.forward(exchange, &active, name, &Asked { client: &client, trusted_proxy, identity }, request)
                    .await
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

    /// Runs the request in a fresh isolate of this version.
    async fn invoke(
        &self,
        exchange: &mut Exchange,
        active: &Active,
        worker: &Arc<Worker>,
        client: Arc<Client>,
        identity: Option<Arc<Identity>>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Failure> {
        if !worker.allow_addresses.is_empty() && !contains(&worker.allow_addresses, client.address.ip()) {
            return Err(Failure::Forbidden("this client address is not allowed"));
        }
        let capabilities = &worker.prepared.capabilities;
        let (parts, incoming) = request.into_parts();
        let idle = self.dispatcher.limits.request_body_idle;
        let Limited { body, failure: body_failure, read } =
            body::limited(incoming.into(), capabilities.limits.request_body, idle)?;
        exchange.reads(read);
        // The worker's own permit first: a worker that is flooded waits before its own gate, not before everyone's.
        let permits = [worker.gate.enter().await?, self.dispatcher.gate.enter().await?];
        worker.prepared.turn().await;
        let usage = Usage::new();
        exchange.runs(worker, &usage, Start::Warm);
        let event = Event {
            identity,
            client: Arc::clone(&client),
            protocol: parts.version,
            request_id: exchange.id,
            trace: exchange.trace.clone(),
        };
        let egress = &active.egress[self.index];
        let guest = Guest::new(capabilities, event, &usage, &self.dispatcher.memory, egress);
        let ledger = Box::new(Held {
            _permits: permits,
            _in_use: self.dispatcher.metrics.isolate_started(Start::Warm),
            worker: Arc::clone(worker),
            id: exchange.id,
        });
        let invocation = Invocation {
            prepared: &worker.prepared,
            guest,
            usage,
            request: Request::from_parts(parts, body),
            hangup: &client.hangup,
            body_failure,
            ledger,
        };
        sandbox::run(invocation).await
    }

    /// Passes the request on to an origin.
    async fn forward(
        &self,
        exchange: &mut Exchange,
        active: &Active,
        origin: &str,
        asked: &Asked<'_>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Failure> {
        let limits = &self.dispatcher.limits;
        let (mut parts, incoming) = request.into_parts();
        let limited = body::limited(incoming.into(), self.dispatcher.origin_request_body, limits.request_body_idle)?;
        exchange.reads(limited.read);
        exchange.trace.child().inject(&mut parts.headers);
        let mut headers = HeaderMap::new();
        if let Some(identity) = asked.identity {
            headers.insert(CLAIMS_HEADER, identity.header_value());
        }
        let forward = Forward { client: asked.client, trusted_proxy: asked.trusted_proxy, headers: &headers };
        let sent = active.egress[self.index].forward(origin, Request::from_parts(parts, limited.body), forward);
        tokio::select! {
            biased;
            response = sent => response,
            () = asked.client.hangup.wait() => Err(Failure::ClientGone),
        }
    }
}

/// Who asks an origin.
struct Asked<'a> {
    client: &'a Client,
    trusted_proxy: Option<IpAddr>,
    identity: Option<&'a Identity>,
}

/// What an isolate holds until it is gone.
struct Held {
    _permits: [Permit; 2],
    _in_use: InUse,
    worker: Arc<Worker>,
    id: RequestId,
}

impl Ledger for Held {
    fn close(self: Box<Self>, usage: &Usage, late: Option<&Failure>) {
        let metrics = &self.worker.metrics;
        metrics.used(usage.cpu_time(), usage.peak_memory(), usage.age());
        if let Some(failure) = late
            && usage.fail()
        {
            respond::tell(failure, &self.id, Some(&*self.worker.name));
            metrics.target().failed(failure.code());
        }
        if let Some(met) = usage.met()
            && !usage.has_failed()
        {
            metrics.limit_reached(met.code());
        }
    }
}

/// The client as a trusted proxy names it: the last address of `X-Forwarded-For` that is not such a proxy itself.
fn believed<B>(client: &Arc<Client>, request: &Request<B>, trusted: &[IpNet]) -> (Arc<Client>, Option<IpAddr>) {
    if trusted.is_empty() || !contains(trusted, client.address.ip()) {
        return (Arc::clone(client), None);
    }
    let fields = request.headers().get_all("x-forwarded-for").iter().rev();
    let addresses = fields.filter_map(|field| field.to_str().ok()).flat_map(|field| field.rsplit(','));
    let mut address = client.address.ip();
    for named in addresses {
        match named.trim().parse::<IpAddr>() {
            Ok(named) => address = named,
            Err(_) => break,
        }
        if !contains(trusted, address) {
            break;
        }
    }
    let peer = client.address.ip();
    (Arc::new(Client { address: SocketAddr::new(address, 0), ..(**client).clone() }), Some(peer))
}

fn contains(nets: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    nets.iter().any(|net| net.contains(&address))
}
