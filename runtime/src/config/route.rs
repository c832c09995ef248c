//! Routes: host + path (+ method) pattern → target. The same tables in node.toml and in eyot.toml, but for the target.

use toml::Spanned;
use toml::de::DeValue;
use url::Url;

use super::diagnostic::Place;
use super::form;
use super::phrase::quoted;
use super::reader::{Key, Table, Wrong, key};
use super::reference::{Kind, Reference};

/// Host + path (+ method) pattern → target.
#[derive(Clone, Debug)]
pub struct Route {
    /// `example.com`, `*.example.com`, or `None` for any host. Without port.
    pub host: Option<String>,
    /// `/exact`, `/users/{id}`, or a prefix `/files/*`, which matches `/files` and all below it.
    ///
    /// `/a`, `/a/` and `/A` are three paths (RFC 3986 §6.2.2.1). Where an origin takes them for one, protect the prefix, and give
    /// what is open its own routes: a token demanded for `/*` cannot be passed by in another spelling.
    pub path: String,
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

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a worker, by name.
    Worker(String),
    /// To an origin, by name.
    Origin(String),
    /// To another place: `location` may use the path's parameters as `{name}` and `{path}`, `{query}`.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// An absolute URL or an absolute path.
        location: String,
    },
    /// To a fixed answer.
    Respond {
        /// 200 to 599.
        status: u16,
        /// Header fields.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
}

const HOST: Key = key("host", "a host", "\"example.com\"");
const PATH: Key = key("path", "a path pattern", "\"/users/{id}\"");
const METHODS: Key = key("methods", "a list of methods", "[\"GET\", \"POST\"]");
pub(super) const AUTH: Key = key("auth", "the name of an [[auth]] of node.toml", "\"members\"");
const WORKER: Key = key("worker", "the name of a worker", "\"api\"");
const ORIGIN: Key = key("origin", "the name of an [[origin]]", "\"shop\"");
const STATUS: Key = key("status", "a status code", "308");
const LOCATION: Key = key("location", "a URL or a path", "\"https://example.com{path}\"");
const BODY: Key = key("body", "a string", "\"not here\"");
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
        targets.push(inner.and_then(|inner| read_redirect(&inner, path.as_deref().unwrap_or(""))));
    }
    if table.value("respond").is_some() {
        let inner = table.table("respond", "{ status = 200, body = \"ok\" }");
        targets.push(inner.and_then(|inner| read_respond(&inner)));
    }
    match targets.len() {
        0 => table.fault("the route leads nowhere", format!("add one of {TARGETS}")),
        1 => {}
        _ => table.fault("the route has more than one target", format!("keep one of {TARGETS}")),
    }
    read_pattern(table, path, targets.pop().flatten(), references)
}

/// A route of eyot.toml, which leads to the worker itself.
pub(super) fn read_own_route(table: &Table<'_>, worker: &str, references: &mut Vec<Reference>) -> Option<Route> {
    let path = read_path(table);
    read_pattern(table, path, Some(Target::Worker(worker.to_owned())), references)
}

/// Without `path`, a route is for all paths: `host` alone is how a whole site is routed.
fn read_path(table: &Table<'_>) -> Option<String> {
    match table.value(PATH.name) {
        None => Some("/*".to_owned()),
        Some(_) => table.optional_with(PATH, form::path_pattern).map(Spanned::into_inner),
    }
}

fn read_pattern(
    table: &Table<'_>,
    path: Option<String>,
    target: Option<Target>,
    references: &mut Vec<Reference>,
) -> Option<Route> {
    let host = table.optional_with(HOST, form::host_pattern).map(Spanned::into_inner);
    // With a fault in it, this would be a route for any host.
    let whole = host.is_some() || table.value(HOST.name).is_none();
    let methods = read_methods(table);
    let auth = table.optional_with(AUTH, form::name);
    if let Some(auth) = &auth {
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
            let message = format!("{} stands in `methods` twice", method.get_ref());
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

fn read_redirect(table: &Table<'_>, path: &str) -> Option<Target> {
    let status = table.required::<u16>(STATUS);
    if let Some(status) = &status
        && !matches!(status.get_ref(), 301 | 302 | 303 | 307 | 308)
    {
        let message = format!("{} is not a redirect", status.get_ref());
        table.source.fault(status.span(), message, "use 301 or 308 for good, 302, 303 or 307 for now");
    }
    let location = table.required_with(LOCATION, |text| location(text, path));
    Some(Target::Redirect { status: status?.into_inner(), location: location?.into_inner() })
}

/// Checks a location with its placeholders: they must be there when a request comes, and may not choose the host, since
/// that would let any client send others anywhere in our name.
pub(super) fn location(text: &str, path: &str) -> Result<String, Wrong> {
    let help = "write a URL such as \"https://example.com{path}\", or a path such as \"/new/{id}\"";
    let known: Vec<&str> = path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .chain(["path", "query"])
        .collect();
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return Err(Wrong::new("a `{` is never closed", help));
        };
        if !known.contains(&name) {
            let all = known.join("}, {");
            return Err(Wrong::new(format!("the route has no parameter `{{{name}}}`"), format!("it has {{{all}}}")));
        }
        filled.push_str(before);
        // The path always begins with a slash, so it may follow a host directly; another value could lengthen its name.
        // It may not come first, nor right after a slash: a path that begins with two would then be read as a host.
        let after_host =
            filled.split_once("://").map_or(filled.starts_with('/'), |(_, rest)| rest.contains(['/', '?', '#']));
        if !after_host && (name != "path" || !filled.contains("://") || filled.ends_with("://")) {
            return Err(Wrong::new(format!("`{{{name}}}` would choose the host"), help));
        }
        filled.push_str(if name == "path" { "/x" } else { "x" });
        rest = after;
    }
    filled.push_str(rest);
    if filled.contains('}') {
        return Err(Wrong::new("a `}` is never opened", help));
    }
    let url = match filled.strip_prefix('/') {
        Some(rest) if !rest.starts_with(['/', '\\']) => format!("http://host{filled}"),
        _ => filled,
    };
    let good = Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    if !good || !text.chars().all(|c| c.is_ascii_graphic()) || text.contains('\\') {
        return Err(Wrong::new("this is neither an http or https URL nor an absolute path, in ASCII", help));
    }
    Ok(text.to_owned())
}

fn read_respond(table: &Table<'_>) -> Option<Target> {
    let status = match table.value(STATUS.name) {
        None => Some(Spanned::new(table.span(), 200)),
        Some(_) => table.optional::<u16>(STATUS),
    };
    let body = table.optional::<String>(BODY);
    if let Some(status) = &status {
        if !(200..=599).contains(status.get_ref()) {
            let message = format!("{} is not a status of an answer", status.get_ref());
            table.source.fault(status.span(), message, "use 200 to 599");
        }
        // RFC 9110 §15.3.5, §15.3.6, §15.4.5: these end with their header section.
        if matches!(status.get_ref(), 204 | 205 | 304)
            && let Some(body) = body.as_ref().filter(|body| !body.get_ref().is_empty())
        {
            let message = format!("an answer with status {} has no body", status.get_ref());
            table.source.fault(body.span(), message, "leave the body out, or use status 200");
        }
    }
    let mut headers = Vec::new();
    for (name, value) in table.strings("headers", "{ content-type = \"text/plain\" }") {
        match check_field(&name, value.get_ref()) {
            Ok(()) => headers.push((name.to_ascii_lowercase(), value.into_inner())),
            Err(wrong) => table.source.wrong(value.span(), "headers", &name, wrong),
        }
    }
    Some(Target::Respond {
        status: status?.into_inner(),
        headers,
        body: body.map_or(String::new(), Spanned::into_inner),
    })
}

pub(super) fn check_field(name: &str, value: &str) -> Result<(), Wrong> {
    let lower = name.to_ascii_lowercase();
    if !form::is_token(name) {
        return Err(Wrong::new("this is not the name of a header field", "write, for example, content-type"));
    }
    if http::HeaderValue::from_str(value).is_err() {
        let why = format!("its value {} holds control characters", quoted(value));
        return Err(Wrong::new(why, "write it on one line, without control characters"));
    }
    // RFC 9110 §7.6.1 and §8.6: the connection's own business, which a fixed field could only get wrong.
    if ["connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"]
        .contains(&&*lower)
    {
        return Err(Wrong::new("the node sets this field itself", "leave it out"));
    }
    if lower.starts_with("eyot-") {
        return Err(Wrong::new("names that begin with `eyot-` are the node's", "choose another name"));
    }
    Ok(())
}
