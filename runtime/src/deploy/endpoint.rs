//! The routes of one host and one path pattern, told apart by method.

use std::sync::Arc;

use http::Method;

use crate::config::{Methods, Route};

/// One route with its place.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) route: Arc<Route>,
    /// Its place among all routes.
    pub(super) index: usize,
}

/// At least one route; no two of them take the same method.
#[derive(Debug, Default)]
pub(super) struct Endpoint {
    entries: Vec<Entry>,
}

/// The methods that [`Methods::Any`] stands for in `Allow`, which wants names (RFC 9110 §10.2.1).
const COMMON: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH];

impl Endpoint {
    /// Adds a route, or says which one takes the same requests, and for which methods.
    pub(super) fn add(&mut self, entry: Entry) -> Result<(), (Arc<Route>, String)> {
        for other in &self.entries {
            if let Some(methods) = overlap(&other.route.methods, &entry.route.methods) {
                return Err((Arc::clone(&other.route), methods));
            }
        }
        self.entries.push(entry);
        Ok(())
    }

    /// A route that lists the method; for HEAD then one that lists GET; then one for any method.
    pub(super) fn choose(&self, method: &Method) -> Option<&Entry> {
        // A tunnel is not a request for a path, and TRACE hands a client's secrets to scripts.
        if matches!(*method, Method::CONNECT | Method::TRACE) {
            return None;
        }
        self.lists(method)
            .or_else(|| if *method == Method::HEAD { self.lists(&Method::GET) } else { None })
            .or_else(|| self.entries.iter().find(|entry| entry.route.methods == Methods::Any))
    }

    /// The places of its routes.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.entries.iter().map(|entry| entry.index)
    }

    fn lists(&self, method: &Method) -> Option<&Entry> {
        self.entries.iter().find(|entry| match &entry.route.methods {
            Methods::Only(methods) => methods.contains(method),
            Methods::Any => false,
        })
    }

    /// The value of `Allow`: what some route takes. OPTIONS is there only if a route takes it.
    pub(super) fn allow(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for entry in &self.entries {
            let methods = match &entry.route.methods {
                Methods::Any => &COMMON[..],
                Methods::Only(methods) => methods,
            };
            for method in methods {
                let head = (*method == Method::GET).then_some("HEAD");
                for name in [Some(method.as_str()), head].into_iter().flatten() {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
        }
        names.join(", ")
    }
}

/// The methods that both list. A route for any method gives way to one that lists some, and HEAD through GET to a HEAD that is listed.
fn overlap(a: &Methods, b: &Methods) -> Option<String> {
    match (a, b) {
        (Methods::Any, Methods::Any) => Some("any method".into()),
        (Methods::Only(a), Methods::Only(b)) => {
            let both: Vec<_> = a.iter().filter(|method| b.contains(method)).map(Method::as_str).collect();
            (!both.is_empty()).then(|| both.join(", "))
        }
        _ => None,
    }
}
