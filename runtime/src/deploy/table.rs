//! Which route a request takes.

use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;

use http::Method;
use matchit::Router;

use super::endpoint::{Endpoint, Entry};
use super::pattern::{Pattern, Wrong};
use super::{host, path};
use crate::config::{Diagnostic, Diagnostics, Methods, Route};
use crate::failure::Failure;

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
    routes: Vec<Arc<Route>>,
}

/// The route of a request.
#[derive(Clone, Copy, Debug)]
pub struct Match<'a> {
    /// The route as it was configured.
    pub route: &'a Arc<Route>,
    /// Its place among the routes that the table was built from.
    pub index: usize,
    names: &'a [(Box<str>, usize)],
    path: &'a str,
}

impl<'a> Match<'a> {
    /// The parameters of the pattern in their order, with their values as they stand in the canonical path: one segment each, never
    /// empty, still escaped, so that they can be put into another URL as they are.
    pub fn parameters(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let path = self.path;
        // The path begins with a slash, so its first piece is empty.
        let segment = move |index: usize| path.split('/').nth(index + 1).unwrap_or_default();
        self.names.iter().map(move |(name, index)| (&**name, segment(*index)))
    }
}

impl RouteTable {
    /// Sorts the routes into a table.
    ///
    /// # Errors
    /// Every host, path and list of methods that cannot be served, and every pair of routes that want the same requests.
    pub fn build(routes: impl IntoIterator<Item = Route>) -> Result<Self, Diagnostics> {
        let mut table = Self::default();
        let mut faults = Vec::new();
        for route in routes {
            let route = Arc::new(route);
            if let Err((message, help)) = table.insert(&route) {
                faults.push(Diagnostic { place: route.place.clone(), message, help: Some(help.to_owned()) });
            }
            table.routes.push(route);
        }
        if faults.is_empty() { Ok(table) } else { Err(Diagnostics(faults)) }
    }

    /// All routes, in the order in which they were given.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The route for a canonical host and a canonical path. It allocates only for paths with escapes, and for failures.
    ///
    /// # Errors
    /// [`Failure::RouteNotFound`]; [`Failure::MethodNotAllowed`] when the path is there for other methods only;
    /// [`Failure::BadRequest`] when an escaped slash gives the path two meanings. `*` is no path: OPTIONS gets
    /// [`Failure::RouteNotFound`] for it, every other method [`Failure::BadRequest`] (RFC 9112 §3.2.4).
    pub fn find<'a>(&'a self, host: &str, method: &Method, path: &'a str) -> Result<Match<'a>, Failure> {
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
            Some(entry) => Ok(Match { route: &entry.route, index: entry.index, names: &entry.parameters, path }),
            None => Err(Failure::MethodNotAllowed { allow: endpoint.allow() }),
        }
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

    fn insert(&mut self, route: &Arc<Route>) -> Result<(), Wrong> {
        if let Methods::Only(methods) = &route.methods {
            if methods.is_empty() {
                return Err(("the route takes no method".into(), "name at least one, or leave `methods` out"));
            }
            if let Some(method) = methods.iter().find(|method| matches!(**method, Method::CONNECT | Method::TRACE)) {
                return Err((format!("{method} is never routed"), "leave it out"));
            }
        }
        let pattern = Pattern::parse(&route.path)?;
        let paths = match route.host.as_deref() {
            None => &mut self.any,
            Some(text) => match text.strip_prefix("*.") {
                Some(suffix) => self.below.entry(host_pattern(text, suffix)?).or_default(),
                None => self.exact.entry(host_pattern(text, text)?).or_default(),
            },
        };
        paths.insert(route, self.routes.len(), pattern)
    }
}

fn host_pattern(text: &str, host: &str) -> Result<Box<str>, Wrong> {
    let help = "write a name without scheme and port: `example.com`, or `*.example.com` for all below it";
    let has_port = host.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
    match host::canonical(host) {
        Ok(canonical) if !has_port => Ok(canonical.into()),
        _ => Err((format!("the host `{text}` is not one that a request could have"), help)),
    }
}

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

    fn insert(&mut self, route: &Arc<Route>, number: usize, pattern: Pattern) -> Result<(), Wrong> {
        let Pattern { is_prefix, shape, depth, parameters } = pattern;
        let index = match self.shapes.get(&(is_prefix, shape.clone())) {
            Some(index) => *index,
            None => self.new_endpoint(is_prefix, shape, depth)?,
        };
        let entry = Entry { route: Arc::clone(route), index: number, parameters: parameters.into() };
        self.endpoints[index].add(entry).map_err(|(other, methods)| {
            let message = format!(
                "{} and {} ({}) want the same requests ({methods}), here and at {}",
                route.path,
                other.path,
                other.host.as_deref().unwrap_or("any host"),
                other.place
            );
            (message, "give the two different hosts, paths or methods, or leave one out")
        })
    }

    fn new_endpoint(&mut self, is_prefix: bool, shape: String, depth: usize) -> Result<usize, Wrong> {
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
