//! A worker that another calls: a request that comes from no connection, and is answered and written down like any other.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response, Version};
use tokio::time::Instant;

use super::arrival::Arrival;
use super::finish::Exchange;
use super::http::{Behalf, Core};
use crate::activate::{Active, Worker};
use crate::bindings::{AskedBy, Calls, Capabilities, Chain, Invoke, ServiceCall};
use crate::failure::Failure;
use crate::http::{Body, Client};

/// Who asks where nobody does, for a message of a queue or because it is time.
static NOBODY: LazyLock<Arc<Client>> = LazyLock::new(|| {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Arc::new(Client { address: here, local: here, tls: None, certificate: None })
});

impl Invoke for Core {
    fn call(self: Arc<Self>, call: ServiceCall) -> BoxFuture<'static, Result<Response<Body>, Failure>> {
        Box::pin(async move {
            let limit = self.dispatcher.limits.call_depth;
            if call.chain.depth > limit {
                return Err(Failure::CallsTooDeep { limit });
            }
            let active = self.dispatcher.active.load_full();
            let worker = called(&active, &call)?;
            let (mut exchange, behalf, request) = self.begin_call(&worker, call);
            let result = self.invoke(&mut exchange, &active, &worker, behalf, request).await;
            exchange.finish(result).map_err(|_gone| Failure::ClientGone)
        })
    }
}

impl Core {
    /// What a worker with these capabilities takes to call others, if it may; it has so long to answer, and has been `called` like this.
    pub(super) fn calls(
        self: &Arc<Self>,
        capabilities: &Capabilities,
        wall_time: Duration,
        called: Option<Chain>,
    ) -> Option<Arc<Calls>> {
        capabilities.calls_others().then(|| {
            let deadline = Instant::now() + wall_time;
            let chain = match called {
                Some(chain) => Chain { deadline: chain.deadline.min(deadline), ..chain },
                None => Chain { first: capabilities.share.id, depth: 0, deadline },
            };
            Arc::new(Calls { invoke: Arc::clone(self) as Arc<dyn Invoke>, chain })
        })
    }

    fn begin_call(self: &Arc<Self>, worker: &Worker, call: ServiceCall) -> (Exchange, Behalf, Request<Arrival>) {
        let ServiceCall { by, mut request, asked_by, request_id, trace, passed, chain, .. } = call;
        *request.version_mut() = Version::HTTP_11;
        let nobody =
            || AskedBy { identity: None, client: Arc::clone(&NOBODY), protocol: Version::HTTP_11, caller: None };
        let asked_by = asked_by.unwrap_or_else(nobody);
        let mut exchange = Exchange::called(self, &asked_by.client, &request, request_id, &trace);
        exchange.asks_for(request.uri().host().unwrap_or_default().to_owned());
        exchange.is_called(worker, &by);
        let asked_by = AskedBy { caller: Some(by), ..asked_by };
        (exchange, Behalf { asked_by, passed, called: Some(chain) }, request.map(Arrival::inside))
    }
}

/// The version that answers a call, if its caller may make it.
fn called(active: &Active, call: &ServiceCall) -> Result<Arc<Worker>, Failure> {
    let ServiceCall { worker, by, .. } = call;
    let callable =
        active.callable.get(worker).filter(|callable| callable.callers.iter().any(|listed| **listed == **by));
    let Some(callable) = callable else {
        let why = match active.workers.iter().any(|serving| serving.name == *worker) {
            true => format!("worker {worker} does not list {by}; add callers = [\"{by}\"] to its eyot.toml"),
            false => format!("no worker {worker} serves here"),
        };
        return Err(Failure::EgressDenied(why));
    };
    let address = call.asked_by.as_ref().map_or(NOBODY.address, |asked_by| asked_by.client.address).ip();
    Ok(Arc::clone(callable.by.choose(call.request.headers(), address)))
}
