//! Versions that do not serve, to be tried: each is reached at a host of its own, by its own routes, and by who may ask it.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::{DeployError, Deployments, blocking};
use crate::activate::active::Active;
use crate::activate::assemble::Served;
use crate::activate::deployed::Stored;
use crate::config::{self, HostPattern, PathPattern, Route, Target};
use crate::store::{StoreError, Weight};

/// So many are kept for the next request; a further one takes the place of the one that was asked longest ago.
const KEPT: NonZeroUsize = NonZeroUsize::new(32).expect("it is above 0");

/// The snapshots of versions that were tried, each with one version in it.
pub(super) struct Previews {
    /// The node without anything of its own to serve.
    bare: config::Node,
    /// By host.
    made: Mutex<LruCache<String, Arc<Active>>>,
}

impl Previews {
    pub(super) fn new(node: &config::Node) -> Self {
        let bare = config::Node { workers: Vec::new(), routes: Vec::new(), ..node.clone() };
        Self { bare, made: Mutex::new(LruCache::new(KEPT)) }
    }

    fn find(&self, host: &str) -> Option<Arc<Active>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    /// A secret of this worker is another by now.
    pub(super) fn forget(&self, worker: &str) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let is_its = |active: &Active| active.workers.iter().any(|other| &*other.name == worker);
        let stale: Vec<_> = made.iter().filter(|(_, active)| is_its(active)).map(|(host, _)| host.clone()).collect();
        for host in stale {
            made.pop(&host);
        }
    }
}

/// The host at which a version is tried: `7-shop.preview.example` of worker `shop`.
#[must_use]
pub fn preview_host(suffix: &str, worker: &str, version: u32) -> String {
    format!("{version}-{worker}.{suffix}")
}

/// The worker and the version that such a host names.
fn named<'h>(suffix: &str, host: &'h str) -> Option<(u32, &'h str)> {
    let label = host.strip_suffix(suffix)?.strip_suffix('.')?;
    let (number, worker) = label.split_once('-')?;
    Some((number.parse().ok().filter(|number| *number > 0)?, worker))
}

impl Deployments {
    /// What answers at this host, if a version is tried there. `None`: the host names none.
    ///
    /// # Errors
    /// When there is no such version, or it cannot run.
    pub async fn preview_at(&self, suffix: &str, host: &str) -> Option<Result<Arc<Active>, DeployError>> {
        let (number, worker) = named(suffix, host)?;
        Some(self.preview(worker, number, host).await)
    }

    /// A snapshot in which nothing but this version serves, at this host.
    pub(super) async fn preview(&self, worker: &str, number: u32, host: &str) -> Result<Arc<Active>, DeployError> {
        if let Some(active) = self.previews.find(host) {
            return Ok(active);
        }
        let found = self.store()?.version_numbered(worker, number).await?;
        let version =
            found.ok_or_else(|| StoreError::NoVersion { worker: worker.to_owned(), version: number.to_string() })?;
        let stored = Stored::read(&version, Weight::WHOLE, &*self.store()?, &self.node)?;
        self.secrets().are_there(&stored)?;
        let (activator, configuration) = (Arc::clone(&self.activator), at(&stored.configuration, host));
        let made = blocking(move || activator.prepare_stored(&stored)).await?;
        self.secrets().tell(&made, &configuration);
        let served = [Served::whole(configuration, made)];
        let active = self.activator.assemble_on(&self.previews.bare, Some(&self.ground), &served)?;
        let active = Arc::new(active.unwrap_or_default());
        self.previews.made.lock().unwrap_or_else(PoisonError::into_inner).put(host.to_owned(), Arc::clone(&active));
        Ok(active)
    }
}

/// A worker with its routes at this host alone. Where several of its hosts have one path, the first one's stands for all.
fn at(worker: &config::Worker, host: &str) -> config::Worker {
    // It has been the host of a request.
    let host = HostPattern::parse(host).ok();
    let mut routes: Vec<Route> = Vec::new();
    for route in &worker.routes {
        let same = |other: &Route| other.path.to_string() == route.path.to_string() && other.methods == route.methods;
        if !routes.iter().any(same) {
            routes.push(Route { host: host.clone(), ..route.clone() });
        }
    }
    if routes.is_empty() {
        routes.push(Route {
            host,
            path: PathPattern::everything(),
            methods: config::Methods::Any,
            target: Target::Worker(worker.name.clone()),
            auth: None,
            place: config::Place::default(),
        });
    }
    config::Worker { routes, ..worker.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_names_the_version_that_is_tried_there() {
        let host = preview_host("preview.example", "my-shop", 7);
        assert_eq!(host, "7-my-shop.preview.example");
        assert_eq!(named("preview.example", &host), Some((7, "my-shop")));
    }

    #[test]
    fn other_hosts_name_none() {
        for host in
            ["preview.example", "7-a.xpreview.example", "a.preview.example", "0-a.preview.example", "7.preview.example"]
        {
            assert_eq!(named("preview.example", host), None, "{host}");
        }
    }
}
