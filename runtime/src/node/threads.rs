//! The threads of a node: the cores, which answer requests, and one for the operator, where what has to be looked after is, too.

use std::sync::Arc;

use futures_util::TryFutureExt as _;

use super::{errands, internal};
use crate::acme::Orders;
use crate::activate::Deployments;
use crate::admin::Panel;
use crate::config::{Diagnostics, NodeLimits};
use crate::dispatch::{self, Core, Dispatcher};
use crate::failure::Failure;
use crate::http::{Body, Client};
use crate::ingress::{self, Closed, Cores, Handle};
use crate::observe::{self, AccessLogs, FleetMetrics};
use crate::sandbox;

/// The dispatcher, as connections see it.
#[derive(Clone)]
struct Entry(Arc<Core>);

impl Handle for Entry {
    fn handle(
        &self,
        client: &Arc<Client>,
        request: hyper::Request<Body>,
    ) -> impl Future<Output = Result<hyper::Response<Body>, Closed>> {
        self.0.handle(client, request).map_err(|_| Closed)
    }

    fn refused(&self, client: &Client, failure: &Failure) {
        self.0.refused(client, failure);
    }

    fn expected(&self, host: &str) {
        if let Ok(host) = crate::http::host::canonical(host) {
            self.0.dispatcher.active.load().expect(&host);
        }
    }

    fn cut(&self, why: &'static str) {
        self.0.dispatcher.metrics.connection_cut(why);
    }
}

/// The threads that answer requests.
pub(super) fn serve(
    dispatcher: &Arc<Dispatcher>,
    access: &AccessLogs,
    limits: &NodeLimits,
    errands: errands::Desk,
) -> Result<Cores, Diagnostics> {
    let (dispatcher, proxies) = (Arc::clone(dispatcher), dispatcher.trusted_proxies.clone());
    let logs: Vec<_> = (0..ingress::available()).map(|_| access.core()).collect();
    let build = move |index: usize| {
        let access = logs[index].clone();
        let core = Arc::new(Core { dispatcher: Arc::clone(&dispatcher), index, access });
        errands.take(&core);
        observe::spawn("background", dispatch::work(Arc::clone(&core), ingress::available()));
        Entry(core)
    };
    Cores::start("eyot-core", ingress::available(), limits, &proxies, sandbox::at_rest, build)
        .map_err(|error| internal("the threads", &error))
}

/// What is looked after beside the operator's listener.
#[derive(Clone)]
pub(super) struct Upkeep {
    pub(super) deployments: Option<Arc<Deployments>>,
    pub(super) orders: Option<Arc<Orders>>,
    pub(super) fleet: Option<FleetMetrics>,
    pub(super) dispatcher: Arc<Dispatcher>,
}

impl Upkeep {
    fn begin(self) {
        let Self { deployments, orders, fleet, dispatcher } = self;
        if let Some(orders) = orders {
            observe::spawn("orders of certificates", orders.watch());
        }
        if let Some(deployments) = deployments {
            if let Some(metrics) = fleet {
                observe::spawn("fleet", Arc::clone(&deployments).follow());
                let look = move |is_connected, change| metrics.stands(is_connected, change);
                observe::spawn("presence", Arc::clone(&deployments).tell_fleet(look));
            }
            observe::spawn("rollouts", Arc::clone(&deployments).watch());
            observe::spawn("pruning", deployments.prune());
        }
        let metrics = dispatcher.metrics.queues();
        observe::spawn("sweeping", async move {
            dispatcher.activator.data.sweep(|| dispatcher.active.load_full(), metrics).await;
        });
    }
}

/// The operator's listener has a thread of its own: it answers while the cores are busy. What is deployed is looked after there, too.
pub(super) fn serve_admin(panel: Panel, upkeep: Upkeep, limits: &NodeLimits) -> Result<Cores, Diagnostics> {
    let build = move |_| {
        upkeep.clone().begin();
        panel.clone()
    };
    let cores = Cores::start("eyot-admin", 1, limits, &[], || {}, build);
    cores.map_err(|error| internal("the admin thread", &error))
}
