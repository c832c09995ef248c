//! A worker's eyot.toml: its component, what it may touch, its routes and its limits.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;

use super::diagnostic::Place;
use super::limits::WorkerLimits;

/// One worker as its author wrote it.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Lower-case letters, digits and hyphens, a DNS label (RFC 1035 §2.3.1): it is a host name in `eyot dev`.
    pub name: String,
    /// The folder of eyot.toml.
    pub folder: PathBuf,
    /// The component file.
    pub component: PathBuf,
    /// How the component is made.
    pub build: Build,
    /// The environment of the guest (`wasi:cli/environment`).
    pub env: BTreeMap<String, String>,
    /// What `wasi:config/store` answers.
    pub config: BTreeMap<String, String>,
    /// Which origins of node.toml it may ask.
    pub origins: Vec<String>,
    /// What else it may ask; empty: nothing.
    pub egress: Vec<Egress>,
    /// The name of the way to authenticate that all its routes demand, unless a route says otherwise.
    pub auth: Option<String>,
    /// Client addresses that are let in. Empty: all.
    pub allow_addresses: Vec<IpNet>,
    /// Its routes. Without any, `eyot dev` serves it at `NAME.localhost`.
    pub routes: Vec<Route>,
    /// Effective limits: its own where it sets them, the node's defaults elsewhere.
    pub limits: WorkerLimits,
}

/// How a component is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Build {
    /// `cargo build --release --target wasm32-wasip2` in the folder: there is a Cargo.toml.
    Cargo,
    /// This command, by the shell, in the folder.
    Command(String),
    /// Nothing to do: the component is there.
    None,
}

/// One destination that a worker may ask besides its origins: `[scheme://]host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// `http` or `https`; `None` is https only.
    pub scheme: Option<http::uri::Scheme>,
    /// An exact host in ASCII lower case, or `*.example.com`, which does not match `example.com`.
    pub host: String,
    /// `None` is the scheme's default port.
    pub port: Option<u16>,
}

/// Host + path (+ method) pattern → target.
#[derive(Clone, Debug)]
pub struct Route {
    /// `example.com`, `*.example.com`, or `None` for any host. Without port.
    pub host: Option<String>,
    /// `/exact`, `/users/{id}`, or a prefix `/files/*`, which matches `/files` and all below it.
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
