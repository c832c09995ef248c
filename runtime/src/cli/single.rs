//! One component, with the command line of wasmtime serve: what it says is done, and what we do not do is refused.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use http::{HeaderName, HeaderValue};
use prometheus::IntCounter;

use super::address;
use super::options::{Asked, time};
use super::rules;
use crate::activate::Mode;
use crate::bindings::ROOM;
use crate::config::{
    Backends, Build, LimitTable, Listener, Mentions, Methods, Node, PathPattern, Place, Route, Target, Telemetry,
    Value, Worker,
};
use crate::observe::GuestLog;

/// The address when none is given. wasmtime serve listens on all of the machine's; a development tool should not.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

#[derive(Args)]
pub(super) struct Single {
    /// The component to serve.
    #[arg(value_name = "X.wasm", conflicts_with = "config")]
    pub(super) component: Option<PathBuf>,

    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value_t = ADDRESS, value_parser = address, conflicts_with = "config")]
    addr: SocketAddr,

    /// A connection to this address ends the server.
    #[arg(long, value_name = "ADDR", value_parser = address, conflicts_with = "config")]
    shutdown_addr: Option<SocketAddr>,

    /// Print the guest's output as it is, without `stdout [N] :: `.
    #[arg(long, conflicts_with = "config")]
    no_logging_prefix: bool,

    /// Set a variable of the guest's environment; without a value, from ours.
    #[arg(long, value_name = "NAME[=VALUE]", conflicts_with = "config")]
    env: Vec<String>,

    /// Replace or add a header field of each request; `@FILE` has one in each line.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", conflicts_with = "config")]
    headers: Vec<String>,

    /// WASI options: config-var=NAME=VALUE, inherit-env, and limits such as max-resources=N.
    #[arg(short = 'S', long = "wasi", value_name = "KEY[=VALUE]", value_delimiter = ',', conflicts_with = "config")]
    wasi: Vec<String>,

    /// WebAssembly options: timeout=TIME, max-memory-size=BYTES, trap-on-grow-failure.
    #[arg(short = 'W', long = "wasm", value_name = "KEY[=VALUE]", value_delimiter = ',', conflicts_with = "config")]
    wasm: Vec<String>,

    /// Which addresses the component may reach.
    #[arg(long, value_enum, default_value_t = Egress::Allow, conflicts_with = "config")]
    egress: Egress,

    #[command(flatten)]
    bounds: Bounds,

    #[command(flatten)]
    inert: Inert,
}

/// What wasmtime serve bounds by options of their own.
#[derive(Args)]
struct Bounds {
    /// How many requests may run at once.
    #[arg(long, value_name = "N", conflicts_with = "config")]
    max_concurrent_requests: Option<u64>,

    /// How many client connections may be open.
    #[arg(long, value_name = "N", conflicts_with = "config")]
    max_concurrent_connections: Option<u64>,

    /// How many requests an isolate answers, one after the other. Without it, one.
    #[arg(long, value_name = "N", conflicts_with = "config")]
    max_instance_reuse_count: Option<u64>,

    /// Held by any N from 1: an isolate has one request at a time.
    #[arg(long, value_name = "N", conflicts_with = "config")]
    max_instance_concurrent_reuse_count: Option<u64>,

    /// How long an isolate that may answer more requests waits for the next one.
    #[arg(long, value_name = "TIME", conflicts_with = "config")]
    idle_instance_timeout: Option<String>,
}

/// What is taken to be answered in a sentence.
#[derive(Args)]
struct Inert {
    #[arg(short = 'O', long = "optimize", value_delimiter = ',', hide = true, conflicts_with = "config")]
    optimize: Vec<String>,
    #[arg(short = 'C', long = "codegen", value_delimiter = ',', hide = true, conflicts_with = "config")]
    codegen: Vec<String>,
    #[arg(short = 'D', long = "debug", value_delimiter = ',', hide = true, conflicts_with = "config")]
    debug: Vec<String>,
    #[arg(long, hide = true, conflicts_with = "config")]
    dir: Vec<String>,
    #[arg(long, hide = true, conflicts_with = "config")]
    allow_precompiled: bool,
    #[arg(long, hide = true, conflicts_with = "config")]
    target: Option<String>,
    #[arg(long, hide = true, conflicts_with = "config")]
    profile: Option<String>,
    #[arg(short = 'g', long = "gdbstub", hide = true, conflicts_with = "config")]
    gdbstub: Option<String>,
}

/// Which addresses one component may reach.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Egress {
    /// All but this server itself, as with wasmtime serve.
    Allow,
    /// None.
    Deny,
}

/// What a command line comes to.
pub(super) struct Parsed {
    pub(super) node: Node,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// What was taken though it changes nothing here.
    pub(super) notes: Vec<String>,
}

impl Single {
    /// A configuration of one worker and one route.
    pub(super) fn parse(&self, component: &Path, limits_file: Option<&Path>) -> anyhow::Result<Parsed> {
        let mut limits = LimitTable::builtin();
        if let Some(file) = limits_file {
            limits.override_from_file(file)?;
        }
        let mut asked = Asked::new(limits);
        for option in &self.wasi {
            asked.option(rules::S, option);
        }
        for option in &self.wasm {
            asked.option(rules::W, option);
        }
        for variable in &self.env {
            asked.variable(variable);
        }
        self.bounds.ask(&mut asked);
        self.inert.ask(&mut asked);
        let headers = headers(&self.headers, &mut asked);
        if self.egress == Egress::Allow {
            asked.note("egress is open, as with wasmtime serve; close it with --egress deny".to_owned());
        }
        let mut asked = asked.check()?;
        let notes = std::mem::take(&mut asked.notes);
        have_room_for_one(&mut asked.limits);
        Ok(Parsed { node: one_worker(self.addr, component, asked), headers, notes })
    }

    pub(super) fn egress_mode(&self) -> Mode {
        match self.egress {
            Egress::Allow => Mode::Open,
            Egress::Deny => Mode::Listed,
        }
    }

    pub(super) fn guest_log(&self, lost: &IntCounter) -> std::io::Result<GuestLog> {
        GuestLog::console(!self.no_logging_prefix, lost)
    }

    pub(super) fn shutdown_address(&self) -> Option<SocketAddr> {
        self.shutdown_addr
    }
}

/// A node that serves one component at one address.
pub(super) fn one_worker(address: SocketAddr, component: &Path, asked: Asked) -> Node {
    let name = component.file_stem().map_or_else(|| "worker".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let route = Route {
        host: None,
        path: PathPattern::everything(),
        methods: Methods::Any,
        target: Target::Worker(name.clone()),
        auth: None,
        place: Place::file(component),
    };
    let worker = Worker {
        name,
        folder: component.parent().map(Path::to_owned).unwrap_or_default(),
        component: component.to_owned(),
        build: Build::None,
        env: asked.env,
        config: asked.config,
        origins: Vec::new(),
        egress: Vec::new(),
        auth: None,
        own_auth: None,
        allow_addresses: Vec::new(),
        secrets: Vec::new(),
        kv: Vec::new(),
        queues: Vec::new(),
        sends: Vec::new(),
        schedules: Vec::new(),
        services: Vec::new(),
        callers: Vec::new(),
        rollout: Default::default(),
        routes: Vec::new(),
        limits: asked.limits.worker_defaults(),
        reuse: asked.reuse,
        trap_on_grow_failure: asked.trap_on_grow_failure,
    };
    Node {
        listeners: vec![Listener { address, tls: None, http3: false }],
        admin: None,
        state: None,
        store: None,
        data: None,
        backends: Backends::default(),
        backups: None,
        secrets_key: None,
        acme: None,
        preview: None,
        trusted_proxies: Vec::new(),
        workers: vec![worker],
        routes: vec![route],
        origins: Vec::new(),
        auths: Vec::new(),
        limits: asked.limits,
        telemetry: Telemetry::default(),
        mentions: Mentions::default(),
    }
}

impl Bounds {
    fn ask(&self, asked: &mut Asked) {
        if let Some(most) = self.max_concurrent_requests {
            asked.limit("--max-concurrent-requests", "concurrency", Value::Count(most));
        }
        if let Some(most) = self.max_concurrent_connections {
            asked.limit("--max-concurrent-connections", "connections", Value::Count(most));
        }
        match self.max_instance_reuse_count {
            Some(0) => asked.wrong("--max-instance-reuse-count 0: no isolate could serve a request", "write 1"),
            Some(most @ 2..) => {
                asked.reuse = true;
                asked.limit("--max-instance-reuse-count", "reuse_requests", Value::Count(most));
            }
            Some(1) | None => {}
        }
        let flag = "--max-instance-concurrent-reuse-count";
        match self.max_instance_concurrent_reuse_count {
            Some(0) => asked.wrong(format!("{flag} 0: no isolate could serve a request"), "write 1"),
            Some(2..) => asked.note(format!("{flag} is held: an isolate has one request at a time")),
            Some(1) | None => {}
        }
        match self.idle_instance_timeout.as_deref().map(time) {
            Some(Ok(idle)) => asked.limit("--idle-instance-timeout", "reuse_idle", Value::Time(idle)),
            Some(Err((why, help))) => asked.wrong(format!("--idle-instance-timeout: {why}"), help),
            None => {}
        }
    }
}

impl Inert {
    fn ask(&self, asked: &mut Asked) {
        for (group, given) in [(rules::O, &self.optimize), (rules::C, &self.codegen), (rules::D, &self.debug)] {
            for option in given {
                asked.option(group, option);
            }
        }
        if let Some(dir) = self.dir.first() {
            let help = "build what it reads into the component, or give it with --env or -S config-var=NAME=VALUE";
            asked.wrong(format!("--dir {dir}: a component has no files"), help);
        }
        if self.allow_precompiled {
            asked.wrong("--allow-precompiled: compiled code is never accepted", "give the component (.wasm) itself");
        }
        if self.target.is_some() {
            asked.wrong("--target: components are compiled for this machine", "leave it out");
        }
        if self.profile.is_some() || self.gdbstub.is_some() {
            asked.wrong("components are neither profiled nor debugged here", "do that with `wasmtime serve`");
        }
    }
}

/// A node of one worker needs no more places for isolates than that one may have, and those that nobody ever has to himself: places
/// take time to make.
fn have_room_for_one(limits: &mut LimitTable) {
    let (most, one) = (limits.node_limits().node_concurrency, limits.worker_defaults().concurrency);
    let needed = one.saturating_add(one.div_ceil(ROOM));
    if needed < most {
        let _ = limits.set("node_concurrency", Value::Count(needed));
    }
}

/// Fields that replace those of each request.
fn headers(given: &[String], asked: &mut Asked) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for given in given {
        let lines = match given.strip_prefix('@') {
            None => given.clone(),
            Some(file) => std::fs::read_to_string(file).unwrap_or_else(|error| {
                asked.wrong(format!("-H {given}: {error}"), "name a text file with a header field in each line");
                String::new()
            }),
        };
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            match header(line) {
                Ok(header) => headers.push(header),
                Err(why) => asked.wrong(format!("-H {line:?}: {why}"), "write -H 'NAME: VALUE'"),
            }
        }
    }
    headers
}

pub(super) fn header(line: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let (name, value) = line.split_once(':').ok_or("there is no colon")?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| "this is not the name of a field")?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| "this is not the value of a field")?;
    // RFC 9110 §7.6.1 and §8.6: with another value than the client's, the message would be read as another.
    match name.as_str() {
        "connection"
        | "content-length"
        | "host"
        | "keep-alive"
        | "te"
        | "trailer"
        | "transfer-encoding"
        | "upgrade"
        | "proxy-authenticate"
        | "proxy-authorization"
        | "proxy-connection" => Err("this field is the connection's own business"),
        "x-request-id" | "traceparent" | "tracestate" => Err("this server gives each request its own"),
        name if name.starts_with("eyot-") => Err("names that begin with `eyot-` are this server's"),
        _ => Ok((name, value)),
    }
}
