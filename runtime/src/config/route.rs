//! Routes: host + path (+ method) pattern → target. The same tables in node.toml and in eyot.toml, but for the target.

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::Place;
use super::form;
use super::host::HostPattern;
use super::pattern::PathPattern;
use super::reader::{Key, Table, key};
use super::reference::{Kind, Reference};
use super::target::{Target, read_redirect, read_respond};

/// Host + path (+ method) pattern → target.
#[derive(Clone, Debug)]
pub struct Route {
    /// `example.com`, `*.example.com`, or `None` for any host. Without port.
    pub host: Option<HostPattern>,
    /// `/exact`, `/users/{id}`, or a prefix `/files/*`, which matches `/files` and all below it.
    ///
    /// `/a`, `/a/` and `/A` are three paths (RFC 3986 §6.2.2.1). Where an origin takes them for one, protect the prefix, and give
    /// what is open its own routes: a token demanded for `/*` cannot be passed by in another spelling.
    pub path: PathPattern,
    /// Which methods; others get 405.
    pub methods: Methods,
    /// Where it leads.
    pub target: Target,
    /// The name of the way to authenticate that this route demands.
    pub auth: Option<String>,
    /// Where it was written, for messages.
    pub place: Place,
}

/// The methods of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Methods {
    /// Every method but CONNECT and TRACE.
    Any,
    /// Only these. `GET` includes `HEAD`.
    Only(Vec<http::Method>),
}

const HOST: Key = key("host", "a host", "\"example.com\"");
const PATH: Key = key("path", "a path pattern", "\"/users/{id}\"");
const METHODS: Key = key("methods", "a list of methods", "[\"GET\", \"POST\"]");
pub(super) const AUTH: Key = key("auth", "the name of an [[auth]] of node.toml", "\"members\"");
const WORKER: Key = key("worker", "the name of a worker", "\"api\"");
const ORIGIN: Key = key("origin", "the name of an [[origin]]", "\"shop\"");
/// The names of the four targets, of which a route of node.toml has one.
const TARGETS: &str = "`worker`, `origin`, `redirect` or `respond`";

/// A route of node.toml, which names its target.
pub(super) fn read_route(table: &Table<'_>, references: &mut Vec<Reference>) -> Option<Route> {
    let path = read_path(table);
    let mut targets: Vec<Option<Target>> = Vec::new();
    for (key, kind) in [(WORKER, Kind::Worker), (ORIGIN, Kind::Origin)] {
        if table.value(key.name).is_some() {
            targets.push(table.optional_with(key, form::name).map(|name| {
                references.push(Reference::new(table.source, kind, &name));
                match kind {
                    Kind::Worker => Target::Worker(name.into_inner()),
                    _ => Target::Origin(name.into_inner()),
                }
            }));
        }
    }
    if table.value("redirect").is_some() {
        let inner = table.table("redirect", "{ status = 308, location = \"https://example.com{path}\" }");
        targets.push(inner.and_then(|inner| read_redirect(&inner, path.as_ref())));
    }
    if table.value("respond").is_some() {
        let inner = table.table("respond", "{ status = 200, body = \"ok\" }");
        targets.push(inner.and_then(|inner| read_respond(&inner)));
    }
    match targets.len() {
        0 => table.fault("the route has no target", format!("add one of {TARGETS}")),
        1 => {}
        _ => table.fault("the route has more than one target", format!("keep one of {TARGETS}")),
    }
    read_pattern(table, path, targets.pop().flatten(), None, references)
}

/// A route of eyot.toml, which leads to the worker itself. `own_auth` is a way to authenticate that the file defines.
pub(super) fn read_own_route(
    table: &Table<'_>,
    worker: &str,
    own_auth: Option<&str>,
    references: &mut Vec<Reference>,
) -> Option<Route> {
    let path = read_path(table);
    read_pattern(table, path, Some(Target::Worker(worker.to_owned())), own_auth, references)
}

/// Without `path`, a route is for all paths: `host` alone is how a whole site is routed.
fn read_path(table: &Table<'_>) -> Option<PathPattern> {
    match table.value(PATH.name) {
        None => Some(PathPattern::everything()),
        Some(_) => table.optional_with(PATH, PathPattern::parse).map(Spanned::into_inner),
    }
}

fn read_pattern(
    table: &Table<'_>,
    path: Option<PathPattern>,
    target: Option<Target>,
    own_auth: Option<&str>,
    references: &mut Vec<Reference>,
) -> Option<Route> {
    let host = table.optional_with(HOST, HostPattern::parse).map(Spanned::into_inner);
    // With a fault in it, this would be a route for any host.
    let whole = host.is_some() || table.value(HOST.name).is_none();
    let methods = read_methods(table);
    let auth = table.optional_with(AUTH, form::name);
    if let Some(auth) = &auth
        && Some(auth.get_ref().as_str()) != own_auth
    {
        references.push(Reference::new(table.source, Kind::Auth, auth));
    }
    let auth = auth.map(Spanned::into_inner);
    whole.then_some(())?;
    Some(Route { host, path: path?, methods, target: target?, auth, place: table.source.place(table.span().start) })
}

fn read_methods(table: &Table<'_>) -> Methods {
    let Some(list) = table.list_with(METHODS, form::method) else { return Methods::Any };
    let mut methods: Vec<http::Method> = Vec::new();
    for method in &list {
        if methods.contains(method.get_ref()) {
            let message = format!("{} is listed twice in `methods`", method.get_ref());
            table.source.fault(method.span(), message, "remove one of them");
        }
        methods.push(method.get_ref().clone());
    }
    if let Some(value) = table.value(METHODS.name)
        && matches!(value.get_ref(), DeValue::Array(items) if items.is_empty())
    {
        table.source.fault(value.span(), "`methods` is empty", "name at least one; for all methods, leave it out");
    }
    Methods::Only(methods)
}
