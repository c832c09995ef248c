//! Which of a worker's versions answers a request.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use sha2::{Digest as _, Sha256};

use super::active::Worker;
use crate::auth::cookie;
use crate::config::Sticky;
use crate::store::Weight;

/// The versions of a worker that serve, each with its share of all requests.
///
/// Each request has a point between 0 and 9,999, and each version a range of them, the oldest version first. So a client that sticks to
/// a new version stays with it while its share grows.
pub struct Split {
    /// Each version with the end of its range.
    versions: Vec<(u16, Arc<Worker>)>,
    sticky: Sticky,
}

impl Split {
    /// These, the oldest first, with shares that come to everything; `None` where there is none.
    #[must_use]
    pub fn new(versions: impl IntoIterator<Item = (Arc<Worker>, Weight)>, sticky: Sticky) -> Option<Self> {
        let mut end = 0;
        let versions: Vec<_> = versions
            .into_iter()
            .map(|(worker, weight)| {
                end += weight.basis_points();
                (end, worker)
            })
            .collect();
        (!versions.is_empty()).then_some(Self { versions, sticky })
    }

    /// All that serve.
    pub(super) fn versions(&self) -> impl Iterator<Item = &Arc<Worker>> {
        self.versions.iter().map(|(_, worker)| worker)
    }

    /// Whose turn this request is.
    #[must_use]
    pub fn choose(&self, headers: &HeaderMap, client: IpAddr) -> &Arc<Worker> {
        match &*self.versions {
            [(_, only)] => only,
            versions => {
                let name = versions.last().map_or("", |(_, last)| &*last.name);
                self.at(self.point(headers, client, name))
            }
        }
    }

    /// Whose turn it is where nobody asks: each as often as its share says.
    #[must_use]
    pub fn any(&self) -> &Arc<Worker> {
        let point = (rand::random::<u32>() % u32::from(Weight::WHOLE.basis_points())) as u16;
        self.at(point)
    }

    fn at(&self, point: u16) -> &Arc<Worker> {
        let found = self.versions.iter().find(|(end, _)| point < *end).or(self.versions.last());
        match found {
            Some((_, worker)) => worker,
            None => unreachable!("a split has a version"),
        }
    }

    fn point(&self, headers: &HeaderMap, client: IpAddr, worker: &str) -> u16 {
        let stuck = |value: &[u8]| {
            // The worker's name, so that one client is not among the first for every worker. The length ends it.
            let key = [&worker.len().to_be_bytes(), worker.as_bytes(), value].concat();
            let digest: [u8; 32] = Sha256::digest(&key).into();
            let [a, b, c, d, ..] = digest;
            u32::from_be_bytes([a, b, c, d])
        };
        let number = match &self.sticky {
            Sticky::Random => None,
            Sticky::Header(name) => headers.get(name).map(|value| stuck(value.as_bytes())),
            Sticky::Cookie(name) => cookie(name, headers).map(stuck),
            Sticky::Client => Some(match client.to_canonical() {
                IpAddr::V4(address) => stuck(&address.octets()),
                // A client has a whole /64 to itself (RFC 6177).
                IpAddr::V6(address) => stuck(&address.octets()[..8]),
            }),
        };
        let number = number.unwrap_or_else(rand::random);
        // Less than one of 400,000 too many for the first points.
        (number % u32::from(Weight::WHOLE.basis_points())) as u16
    }
}
