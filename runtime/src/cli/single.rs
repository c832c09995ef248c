//! One component, with the command line of wasmtime serve: what it says is done, and what we do not do is refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use prometheus::IntCounter;

use super::serve::wrong;
use crate::activate::Mode;
use crate::config::{
    Build, LimitTable, Listener, Methods, Node, PathPattern, Place, Route, Target, Telemetry, Worker, WorkerLimits,
};
use crate::observe::GuestLog;

/// The address when none is given. wasmtime serve listens on all of the machine's; a development tool should not.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

#[derive(Args)]
pub(super) struct Single {
    /// The component to serve.
    #[arg(value_name = "X.wasm")]
    component: Option<PathBuf>,

    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value_t = ADDRESS, conflicts_with = "config")]
    addr: SocketAddr,

    /// A connection to this address ends the server.
    #[arg(long, value_name = "ADDR", conflicts_with = "config")]
    shutdown_addr: Option<SocketAddr>,

    /// Print the guest's output as it is, without `stdout [N] :: `.
    #[arg(long, conflicts_with = "config")]
    no_logging_prefix: bool,

    /// Set a variable of the guest's environment; without a value, from ours.
    #[arg(long, value_name = "NAME[=VALUE]", conflicts_with = "config")]
    env: Vec<String>,

    /// WASI options: cli, common, http, p3, config, config-var=NAME=VALUE, inherit-env.
    #[arg(short = 'S', long = "wasi", value_name = "KEY[=VALUE]", value_delimiter = ',', conflicts_with = "config")]
    wasi: Vec<String>,

    /// WebAssembly options: timeout=TIME, max-memory-size=BYTES, component-model, component-model-async.
    #[arg(short = 'W', long = "wasm", value_name = "KEY[=VALUE]", value_delimiter = ',', conflicts_with = "config")]
    wasm: Vec<String>,

    /// Which addresses the component may reach.
    #[arg(long, value_enum, default_value_t = Egress::Allow, conflicts_with = "config")]
    egress: Egress,
}

/// Which addresses one component may reach.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Egress {
    /// All but this server itself, as with wasmtime serve.
    Allow,
    /// None.
    Deny,
}

impl Single {
    /// A configuration of one worker and one route.
    pub(super) fn node(&self, limits_file: Option<&Path>) -> anyhow::Result<Node> {
        let mut limits = LimitTable::builtin();
        if let Some(file) = limits_file {
            limits.override_from_file(file)?;
        }
        let worker = self.worker(&limits)?;
        let route = Route {
            host: None,
            path: PathPattern::everything(),
            methods: Methods::Any,
            target: Target::Worker(worker.name.clone()),
            auth: None,
            place: Place { file: worker.component.clone(), line: 0, column: 0 },
        };
        Ok(Node {
            listeners: vec![Listener { address: self.addr, tls: None }],
            admin: None,
            state: None,
            trusted_proxies: Vec::new(),
            workers: vec![worker],
            routes: vec![route],
            origins: Vec::new(),
            auths: Vec::new(),
            limits,
            telemetry: Telemetry::default(),
        })
    }

    fn worker(&self, limits: &LimitTable) -> anyhow::Result<Worker> {
        let component = self.component.clone().unwrap_or_default();
        let mut env = BTreeMap::new();
        for variable in &self.env {
            match variable.split_once('=') {
                Some((name, value)) => env.insert(name.to_owned(), value.to_owned()),
                None => std::env::var(variable).ok().and_then(|value| env.insert(variable.clone(), value)),
            };
        }
        let mut config = BTreeMap::new();
        for option in &self.wasi {
            wasi_option(option, &mut env, &mut config)?;
        }
        let mut worker_limits = limits.worker_defaults();
        for option in &self.wasm {
            wasm_option(option, &mut worker_limits)?;
        }
        let name =
            component.file_stem().map_or_else(|| "worker".to_owned(), |stem| stem.to_string_lossy().into_owned());
        Ok(Worker {
            name,
            folder: component.parent().map(Path::to_owned).unwrap_or_default(),
            component,
            build: Build::None,
            env,
            config,
            origins: Vec::new(),
            egress: Vec::new(),
            auth: None,
            own_auth: None,
            allow_addresses: Vec::new(),
            routes: Vec::new(),
            limits: worker_limits,
        })
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

    /// What somebody should know who expects the defaults of a node.
    pub(super) fn announce(&self) {
        if self.egress == Egress::Allow {
            anstream::eprintln!("egress is open, as with wasmtime serve; close it with --egress deny");
        }
    }
}

/// `-S`: only what gives a component something that we have.
fn wasi_option(
    option: &str,
    env: &mut BTreeMap<String, String>,
    config: &mut BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let (key, value) = split(option);
    match (key, value) {
        // All of WASI is always linked, with nothing granted.
        ("cli" | "common" | "http" | "p3" | "config", "y" | "yes" | "true") => {}
        ("inherit-env", "y" | "yes" | "true") => env.extend(std::env::vars()),
        ("config-var", variable) => {
            let (name, value) = variable
                .split_once('=')
                .ok_or_else(|| wrong(format!("-S {option}: no value"), "write -S config-var=NAME=VALUE"))?;
            config.insert(name.to_owned(), value.to_owned());
        }
        _ => {
            let known = "known are cli, common, http, p3, config, config-var=NAME=VALUE, inherit-env; files and sockets are \
                         never granted";
            return Err(wrong(format!("-S {option} is not supported"), known));
        }
    }
    Ok(())
}

/// `-W`: the limits that wasmtime's options name, enforced as ours.
fn wasm_option(option: &str, limits: &mut WorkerLimits) -> anyhow::Result<()> {
    let (key, value) = split(option);
    let known = "known are timeout=TIME, max-memory-size=BYTES, component-model, component-model-async";
    match (key, value) {
        ("component-model" | "component-model-async", "y" | "yes" | "true") => {}
        ("timeout", time) => {
            limits.wall_time = humantime::parse_duration(time)
                .or_else(|_| time.parse().map(Duration::from_secs))
                .map_err(|_| wrong(format!("-W {option}: {time:?} is not a time"), "write -W timeout=5s"))?;
        }
        ("max-memory-size", bytes) => {
            limits.memory = bytes.parse().map_err(|_| {
                wrong(format!("-W {option}: {bytes:?} is not a number of bytes"), "write -W max-memory-size=67108864")
            })?;
        }
        _ => return Err(wrong(format!("-W {option} is not supported"), known)),
    }
    Ok(())
}

fn split(option: &str) -> (&str, &str) {
    option.split_once('=').unwrap_or((option, "y"))
}
