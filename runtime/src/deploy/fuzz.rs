//! Any routes and any requests: the table finds what the slow way finds, and no spelling of a path leads elsewhere.

use std::path::PathBuf;

use http::Method;

use super::RouteTable;
use crate::config::{HostPattern, Methods, PathPattern, Place, Route, Segment, Target};
use crate::failure::Failure;
use crate::http::{host, path};

/// Lines of routes, `[METHODS ][HOST]/PATH`; after an empty line lines of requests, `[METHOD ]HOST/PATH`. What is neither is passed
/// over.
///
/// # Panics
/// When the table finds another route than the slow way, or another one when the routes come in another order.
pub fn route(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (routes, requests) = text.split_once("\n\n").unwrap_or((text, ""));
    let lines = routes.lines().enumerate();
    let routes: Vec<Route> = lines.filter_map(|(index, line)| parsed(line, index + 1)).collect();
    let backwards = RouteTable::build(routes.iter().rev().cloned());
    let table = match RouteTable::build(routes.iter().cloned()) {
        Ok(table) => table,
        Err(faults) => {
            assert!(!faults.0.is_empty() && faults.0.iter().all(|fault| fault.help.is_some()), "{faults}");
            assert!(backwards.is_err(), "{faults}");
            return;
        }
    };
    let backwards = backwards.expect("the order of the routes decides nothing");
    for request in requests.lines() {
        let (method, url) = request.split_once(' ').unwrap_or(("GET", request));
        let (authority, target) = url.split_at(url.find('/').unwrap_or(url.len()));
        let Ok(method) = Method::from_bytes(method.as_bytes()) else { continue };
        let (Ok(host), Ok(path)) = (host::canonical(authority), path::canonical(target)) else { continue };
        check_forms(&host, &path);
        let found = table.find(&host, &method, &path);
        assert_eq!(found, slow(&routes, &host, &method, &path), "{method} {host}{path}");
        let other = backwards.find(&host, &method, &path);
        let mirrored = found.as_ref().map(|index| routes.len() - 1 - index);
        assert_eq!(mirrored.ok(), other.as_ref().copied().ok(), "{method} {host}{path}");
        assert_eq!(found.err().map(|failure| failure.code()), other.err().map(|failure| failure.code()));
    }
}

/// One route; its place is its line.
pub(super) fn parsed(text: &str, line: usize) -> Option<Route> {
    let (methods, pattern) = text.split_once(' ').unwrap_or(("", text));
    let methods = match methods {
        "" => Methods::Any,
        list => Methods::Only(list.split(',').map(|name| name.parse().ok()).collect::<Option<_>>()?),
    };
    let (host, path) = pattern.split_at(pattern.find('/').unwrap_or(pattern.len()));
    let host = (!host.is_empty()).then(|| HostPattern::parse(host)).transpose().ok()?;
    Some(Route {
        host,
        path: PathPattern::parse(path).ok()?,
        methods,
        target: Target::Worker(text.to_owned()),
        auth: None,
        place: Place { file: PathBuf::from("node.toml"), line, column: 1 },
    })
}

/// A canonical form is its own canonical form, and no segment of it is made of dots, however an origin decodes it.
fn check_forms(host: &str, path: &str) {
    assert_eq!(host::canonical(host).as_deref(), Ok(host));
    assert_eq!(path::canonical(path).as_deref(), Ok(path));
    assert!(path == "*" || (path.is_ascii() && path.starts_with('/') && !path.contains("//")), "{path}");
    let key = path::match_key(path);
    assert_eq!(path::match_key(&key), key, "{path}");
    assert_eq!(key.matches('/').count(), path.matches('/').count(), "{path}");
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    assert!(decoded.split(['/', '\\']).all(|segment| !matches!(segment, "." | "..")), "{path}");
}

/// What [`RouteTable`] says it does, done by looking at every route.
pub(super) fn slow(routes: &[Route], host: &str, method: &Method, path: &str) -> Result<usize, Failure> {
    if path == "*" {
        return Err(match *method {
            Method::OPTIONS => Failure::RouteNotFound,
            _ => Failure::BadRequest("only OPTIONS has no path"),
        });
    }
    let found = best(routes, host, path);
    if let Some(decoded) = path::with_slashes_decoded(path)?
        && found != best(routes, host, &decoded)
    {
        return Err(Failure::BadRequest("the path has an escaped slash, and leads elsewhere with a plain one"));
    }
    if found.is_empty() {
        return Err(Failure::RouteNotFound);
    }
    let lists = |method: &Method| {
        let lists = |index: &usize| matches!(&routes[*index].methods, Methods::Only(own) if own.contains(method));
        found.iter().copied().find(lists)
    };
    let chosen = match *method {
        Method::CONNECT | Method::TRACE => None,
        Method::HEAD => lists(method).or_else(|| lists(&Method::GET)),
        _ => lists(method),
    };
    let any = || found.iter().copied().find(|index| routes[*index].methods == Methods::Any);
    let never = matches!(*method, Method::CONNECT | Method::TRACE);
    let chosen = chosen.or_else(|| if never { None } else { any() });
    chosen.ok_or_else(|| Failure::MethodNotAllowed { allow: allow(routes, &found) })
}

/// The routes of the most specific host and path, whatever their methods.
fn best(routes: &[Route], host: &str, path: &str) -> Vec<usize> {
    let ranks: Vec<_> = routes.iter().map(|route| rank(route, host, path)).collect();
    let Some(first) = ranks.iter().flatten().max() else { return Vec::new() };
    (0..routes.len()).filter(|index| ranks[*index].as_ref() == Some(first)).collect()
}

/// How specific a route is for a request, if it fits: the greater, the more. Two routes of one rank have the same pattern.
fn rank(route: &Route, host: &str, path: &str) -> Option<(u8, usize, bool, usize, Vec<bool>)> {
    let (kind, length) = match &route.host {
        None => (0, 0),
        Some(HostPattern::Below(parent)) => (1, parent.len()),
        Some(HostPattern::Exact(_)) => (2, 0),
    };
    let key = path::match_key(path);
    let wanted: Vec<&str> = key[1..].split('/').collect();
    let pattern = route.path.segments();
    let fits = |(pattern, wanted): (&Segment, &&str)| match pattern {
        Segment::Literal(own) => **own == **wanted,
        Segment::Parameter(_) => !wanted.is_empty(),
    };
    let long_enough = match route.path.is_prefix() {
        true => pattern.len() <= wanted.len(),
        false => pattern.len() == wanted.len(),
    };
    let same =
        long_enough && route.host.as_ref().is_none_or(|own| own.matches(host)) && pattern.iter().zip(&wanted).all(fits);
    let literals = pattern.iter().map(|segment| matches!(segment, Segment::Literal(_))).collect();
    same.then_some((kind, length, !route.path.is_prefix(), pattern.len(), literals))
}

/// The value of `Allow`, from the table that would be made of these routes alone: it is not what is in question here.
fn allow(routes: &[Route], found: &[usize]) -> String {
    let alone =
        found.iter().map(|index| Route { host: None, path: PathPattern::everything(), ..routes[*index].clone() });
    match RouteTable::build(alone).map(|table| table.find("a", &Method::TRACE, "/")) {
        Ok(Err(Failure::MethodNotAllowed { allow })) => allow,
        other => panic!("{other:?}"),
    }
}
