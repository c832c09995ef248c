//! Names to addresses: by the system, a bounded number of look-ups at once, on threads of their own.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;

tokio::task_local! {
    /// The worker's own places for look-ups, while a request of its is being sent. hyper's pool hands no more than a URI to what
    /// connects, so this is how a look-up knows for whom it is.
    pub(super) static PLACES: Arc<Semaphore>;
}

/// The addresses of a name, when they are known.
pub(super) type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Where addresses come from. Tests put another in place, to be told one thing now and another later.
pub(super) trait Resolve: Send + Sync + 'static {
    /// Looks a name up. Nothing is kept: each new connection asks again, and dials what this answer says.
    fn resolve(&self, host: &str, port: u16) -> Resolving;
}

/// `getaddrinfo`, which knows /etc/hosts and the order of RFC 6724.
pub(super) struct System {
    lookups: Arc<Semaphore>,
}

impl System {
    /// A resolver that has at most so many look-ups under way. A look-up cannot be called off, so its permit stays with its
    /// thread when nobody waits for it any more: names that never resolve cannot take every thread of the core. Nor can one
    /// worker's take all permits, because each of its look-ups takes one of its own [`PLACES`] first.
    pub(super) fn new(at_once: usize) -> Self {
        Self { lookups: Arc::new(Semaphore::new(at_once)) }
    }
}

impl Resolve for System {
    fn resolve(&self, host: &str, port: u16) -> Resolving {
        let (host, lookups) = (host.to_owned(), Arc::clone(&self.lookups));
        let places = PLACES.try_with(Arc::clone).ok();
        Box::pin(async move {
            let place = match places {
                Some(places) => Some(places.acquire_owned().await.map_err(io::Error::other)?),
                None => None,
            };
            let permit = lookups.acquire_owned().await.map_err(io::Error::other)?;
            tokio::task::spawn_blocking(move || {
                let _held = (permit, place);
                (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
            })
            .await
            .map_err(io::Error::other)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Resolve, System};

    #[tokio::test]
    async fn the_system_knows_localhost() {
        let addresses = System::new(1).resolve("localhost", 80).await.unwrap();
        assert!(
            !addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 80)
        );
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_an_error() {
        System::new(1).resolve("a..b", 80).await.unwrap_err();
    }
}
