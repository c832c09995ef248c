//! What both files have: small strings with a form, routes, ways to authenticate, limits.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::config::LimitTable;
use crate::config::limits::{Kind, Scope, shape, shapes};

/// A string of some form: what it is, a pattern or nothing, and an example.
macro_rules! string {
    ($name:ident, $what:literal, $pattern:expr, $example:literal) => {
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let pattern: Option<&str> = $pattern;
                let mut schema = json_schema!({ "type": "string", "description": $what, "examples": [$example] });
                pattern.into_iter().for_each(|pattern| _ = schema.insert("pattern".to_owned(), pattern.into()));
                schema
            }
        }
    };
}

string!(
    Name,
    "1 to 63 lower-case letters, digits and inner hyphens.",
    Some("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
    "shop"
);
string!(Time, "A time with its unit.", Some("^[0-9]+[a-z]+( ?[0-9]+[a-z]+)*$"), "30s");
string!(Size, "A size with its unit.", Some("^[0-9.]+ ?[A-Za-z]+$"), "1MiB");
string!(File, "A path, from the folder of this file.", None, "key.pem");
string!(Url, "An http or https URL.", Some("^https?://"), "http://127.0.0.1:3000");
string!(Addresses, "A block of addresses (CIDR), or one address.", None, "10.0.0.0/8");
string!(SocketAddress, "An IP address and a port.", Some(":[0-9]+$"), "127.0.0.1:8080");
string!(Host, "A host, without port: `example.com`, or `*.example.com`.", None, "example.com");
string!(
    PathPattern,
    "`/exact`, `/users/{id}`, or a prefix `/files/*`, which matches `/files` and all below it.",
    Some("^/"),
    "/users/{id}"
);
string!(Method, "A method, in upper case.", Some("^[!-~]+$"), "GET");

/// A table `[limits]`: every limit that this file may set.
pub(super) struct Limits<const OF_NODE: bool>;

impl<const OF_NODE: bool> JsonSchema for Limits<OF_NODE> {
    fn schema_name() -> Cow<'static, str> {
        if OF_NODE { "NodeLimits".into() } else { "WorkerLimits".into() }
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let table = LimitTable::builtin();
        let rows = shapes().filter_map(|shape| table.row(shape.key));
        let rows = rows.filter(|row| OF_NODE || row.scope.is_of_worker());
        let properties: Map<String, Value> =
            rows.map(|row| (row.key.clone(), limit(&row.key, &row.why, row.scope, &row.code, OF_NODE))).collect();
        json_schema!({ "type": "object", "properties": properties, "additionalProperties": false })
    }
}

/// A value; in node.toml a table may stand in its place, with the default and how far workers may go.
fn limit(key: &str, why: &str, scope: Scope, code: &str, of_node: bool) -> Value {
    let Some(shape) = shape(key) else { return Value::Bool(true) };
    let least = if shape.may_be_zero { 0 } else { 1 };
    let value = match shape.kind {
        Kind::Bytes => json!({ "type": "string", "examples": ["128MiB"] }),
        Kind::Time => json!({ "type": "string", "examples": ["30s"] }),
        Kind::Count if shape.may_be_off => {
            json!({ "anyOf": [{ "type": "integer", "minimum": least }, { "const": "off" }] })
        }
        Kind::Count => json!({ "type": "integer", "minimum": least }),
    };
    let mut limit = match of_node {
        true => {
            let mut row = json!({
                "default": value,
                "scope": { "const": scope.as_str() },
                "code": { "const": code },
                "why": { "type": "string" },
                "source": { "type": "string" },
            });
            if scope.is_of_worker() {
                row["max"] = value.clone();
            }
            json!({ "anyOf": [value, { "type": "object", "properties": row, "additionalProperties": false }] })
        }
        false => value,
    };
    limit["description"] = why.into();
    limit
}

/// Host, path and method.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
pub(super) struct Pattern {
    /// Without it: any host.
    host: Option<Host>,
    /// Without it: all paths.
    path: Option<PathPattern>,
    /// Without it: every method but CONNECT and TRACE. `GET` includes `HEAD`.
    #[schemars(length(min = 1))]
    methods: Option<Vec<Method>>,
    /// The way to authenticate that this route demands.
    auth: Option<Name>,
}

/// A way to authenticate: which tokens are good.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
pub(super) struct Auth {
    /// The name that routes and workers use.
    name: Name,
    /// Where the token stands in a request. Without it: in `Authorization: Bearer`.
    source: Option<TokenSource>,
    /// The keys. A token's `kid`, if it has one, must name one of them.
    #[schemars(length(min = 1))]
    key: Vec<Key>,
    /// `iss` must be one of these. Without them it is not looked at.
    issuers: Option<Vec<String>>,
    /// `aud` must hold one of these. Without them a token that has an audience is refused.
    audiences: Option<Vec<String>>,
    /// Allowed difference of clocks for `exp` and `nbf`, at most 5m. Without it: 60s.
    leeway: Option<Time>,
    /// Scopes that must all be there; otherwise 403.
    scopes: Option<Vec<String>>,
    /// The realm of the challenge. Without it: the name.
    realm: Option<String>,
}

/// Where a token stands.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is described, not made")]
enum TokenSource {
    /// `Authorization: Bearer …`
    Header,
    /// A cookie of this name.
    Cookie(String),
}

/// A verification key, bound to one algorithm.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Key {
    /// What the key verifies.
    algorithm: Algorithm,
    /// A public key in PEM, the raw secret of HS256, HS384 or HS512, a JWK, or a set of JWKs.
    file: File,
    /// The key's id, matched against `kid`. A JWK brings its own.
    id: Option<String>,
}

struct Algorithm;

impl JsonSchema for Algorithm {
    fn schema_name() -> Cow<'static, str> {
        "Algorithm".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = [
            "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
            "Ed25519",
        ];
        json_schema!({ "enum": names })
    }
}

/// A table of free keys and strings.
pub(super) type Strings = BTreeMap<String, String>;
