//! Which route a request takes.

use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;

use http::Method;
use matchit::Router;

use super::endpoint::{Endpoint, Entry};
use crate::config::{Diagnostic, Diagnostics, HostPattern, PathPattern, Route, Segment};
use crate::failure::Failure;
use crate::http::path;

/// All routes of a node, immutable. The most specific one wins:
///
/// 1. Host: the host itself, then `*.suffix` with the longest suffix (one or more labels stand for `*`), then any host. The first of
///    these that has a path for the request decides; one without falls through to the next.
/// 2. Path: exact segments before parameters (compared from left to right), both before prefixes, the longest prefix first.
/// 3. Method: a route that lists it before one for any method. The path has been decided by then: if none of its routes takes the method,
///    the answer is 405, also where a less specific path would take it.
///
/// A path with an escaped slash is read twice, as it stands and with slashes in place of the escapes, because half of all servers
/// decode before they route. Where the two readings lead to different places, the request is refused.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: HashMap<Box<str>, Paths>,
    /// By what stands behind `*.`.
    below: HashMap<Box<str>, Paths>,
    any: Paths,
}

impl RouteTable {
    /// Sorts the routes into a table.
    ///
    /// # Errors
    /// Every pair of routes that match the same requests.
    pub fn build(routes: impl IntoIterator<Item = Route>) -> Result<Self, Diagnostics> {
        let mut table = Self::default();
        let mut faults = Vec::new();
        for (index, route) in routes.into_iter().enumerate() {
            let route = Arc::new(route);
            if let Err((message, help)) = table.paths(route.host.as_ref()).insert(&route, index) {
                faults.push(Diagnostic::new(route.place.clone(), message, help));
            }
        }
        if faults.is_empty() { Ok(table) } else { Err(Diagnostics(faults)) }
    }

    /// The place, among those that the table was built from, of the route for a canonical host and a canonical path. It allocates only for
    /// paths with escapes, and for failures.
    ///
    /// # Errors
    /// [`Failure::RouteNotFound`]; [`Failure::MethodNotAllowed`] when the path is there for other methods only;
    /// [`Failure::BadRequest`] when an escaped slash gives the path two meanings. `*` is no path: OPTIONS gets
    /// [`Failure::RouteNotFound`] for it, every other method [`Failure::BadRequest`] (RFC 9112 §3.2.4).
    pub fn find(&self, host: &str, method: &Method, path: &str) -> Result<usize, Failure> {
        if path == "*" {
            return Err(match *method {
                Method::OPTIONS => Failure::RouteNotFound,
                _ => Failure::BadRequest("only OPTIONS has no path"),
            });
        }
        let found = self.endpoint(host, path);
        if let Some(decoded) = path::with_slashes_decoded(path)? {
            let other = self.endpoint(host, &decoded);
            if found.map(ptr::from_ref) != other.map(ptr::from_ref) {
                return Err(Failure::BadRequest("the path has an escaped slash, and leads elsewhere with a plain one"));
            }
        }
        let endpoint = found.ok_or(Failure::RouteNotFound)?;
        match endpoint.choose(method) {
            Some(entry) => Ok(entry.index),
            None => Err(Failure::MethodNotAllowed { allow: endpoint.allow() }),
        }
    }

    /// The places of all routes that a request for this canonical host may take, those of the most specific pattern first.
    pub fn of_host(&self, host: &str) -> impl Iterator<Item = usize> {
        self.candidates(host).flat_map(|paths| &paths.endpoints).flat_map(Endpoint::places)
    }

    fn endpoint(&self, host: &str, path: &str) -> Option<&Endpoint> {
        let key = path::match_key(path);
        self.candidates(host).find_map(|paths| paths.at(&key))
    }

    /// From the most to the least specific.
    fn candidates<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a Paths> {
        // A label begins behind each dot, so neither the host itself nor the end of a label is ever taken for a suffix.
        let suffixes = host.match_indices('.').map(|(at, _)| &host[at + 1..]);
        let below = suffixes.filter_map(|suffix| self.below.get(suffix));
        self.exact.get(host).into_iter().chain(below).chain([&self.any])
    }

    fn paths(&mut self, host: Option<&HostPattern>) -> &mut Paths {
        match host {
            None => &mut self.any,
            Some(HostPattern::Exact(host)) => self.exact.entry(host.clone()).or_default(),
            Some(HostPattern::Below(parent)) => self.below.entry(parent.clone()).or_default(),
        }
    }
}

/// What is wrong, what to do.
type Wrong = (String, &'static str);

/// The paths of one host pattern.
#[derive(Debug, Default)]
struct Paths {
    /// Patterns that match a whole path. Only literals and parameters, so that a shape conflicts with nothing but itself.
    whole: Router<usize>,
    /// The prefixes without their `/*`. Matched against ever shorter beginnings of a path: matchit's own catch-all cannot stand beside a
    /// parameter, and `/files/{id}` beside `/files/*` is ordinary.
    prefix: Router<usize>,
    /// `/*`.
    root: Option<usize>,
    /// The number of segments of the longest prefix, so that a path of a thousand slashes costs no more than one of few.
    depth: usize,
    shapes: HashMap<(bool, String), usize>,
    endpoints: Vec<Endpoint>,
}

impl Paths {
    fn at(&self, key: &str) -> Option<&Endpoint> {
        let index = match self.whole.at(key) {
            Ok(found) => Some(*found.value),
            Err(_) => self.longest_prefix(key),
        };
        self.endpoints.get(index?)
    }

    fn longest_prefix(&self, key: &str) -> Option<usize> {
        let mut end = key.match_indices('/').nth(self.depth).map_or(key.len(), |(at, _)| at);
        while end > 0 {
            if let Ok(found) = self.prefix.at(&key[..end]) {
                return Some(*found.value);
            }
            end = key[..end].rfind('/').unwrap_or(0);
        }
        self.root
    }

    fn insert(&mut self, route: &Arc<Route>, index: usize) -> Result<(), Wrong> {
        let shape = (route.path.is_prefix(), shape(&route.path));
        let endpoint = match self.shapes.get(&shape) {
            Some(endpoint) => *endpoint,
            None => self.new_endpoint(shape, route.path.segments().len())?,
        };
        let entry = Entry { route: Arc::clone(route), index };
        self.endpoints[endpoint].add(entry).map_err(|(other, methods)| {
            let host = other.host.as_ref().map_or_else(|| "any host".to_owned(), ToString::to_string);
            let (own, path, place) = (&route.path, &other.path, &other.place);
            let message = format!("{own} and {path} ({host}) match the same requests ({methods}), here and at {place}");
            (message, "give the two different hosts, paths or methods, or leave one out")
        })
    }

    fn new_endpoint(&mut self, (is_prefix, shape): (bool, String), depth: usize) -> Result<usize, Wrong> {
        let index = self.endpoints.len();
        let inserted = match is_prefix {
            true if depth == 0 => {
                self.root = Some(index);
                Ok(())
            }
            true => self.prefix.insert(&*shape, index),
            false => self.whole.insert(&*shape, index),
        };
        inserted.map_err(|error| (format!("the path cannot be told from another: {error}"), "write it differently"))?;
        if is_prefix {
            self.depth = self.depth.max(depth);
        }
        self.endpoints.push(Endpoint::default());
        self.shapes.insert((is_prefix, shape), index);
        Ok(index)
    }
}

/// A pattern for matchit, its parameters renamed by position: two patterns of one shape match the same paths. Empty for `/*`.
fn shape(pattern: &PathPattern) -> String {
    let mut shape = String::new();
    for (index, segment) in pattern.segments().iter().enumerate() {
        shape.push('/');
        match segment {
            Segment::Parameter(_) => shape.push_str(&format!("{{p{index}}}")),
            // Braces have a meaning in matchit, and are doubled to lose it.
            Segment::Literal(key) => shape.push_str(&key.replace('{', "{{").replace('}', "}}")),
        }
    }
    shape
}
