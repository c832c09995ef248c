//! The process that is measured: a real node, and beside it the plain handler, on one core. It does what the lines on its stdin say and
//! ends with them.

use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::Context;
use nix::sys::resource::{UsageWho, getrusage};

use super::link;
use super::machine;
use super::plain::Plain;
use super::protocol::{Compiled, Order, Reply, Serving, Setup, Used};
use crate::activate::Mode;
use crate::cli::options::Asked;
use crate::cli::single::one_worker;
use crate::config::{self, Admin, Diagnostic, Diagnostics, LimitTable, Place, read_regular};
use crate::dispatch::Detail;
use crate::node::{self, Node, Options};
use crate::observe::{AccessForm, Destination, Format, GuestLog, LogGuard, logs};
use crate::sandbox;

/// A port that is free.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Serves, and tells what that takes, until the end of stdin.
pub(in crate::cli) fn run(setup: &str) -> anyhow::Result<()> {
    let setup: Setup = serde_json::from_str(setup)?;
    machine::pin(setup.core)?;
    let mut running = None;
    let mut forgets = false;
    for line in io::stdin().lock().lines() {
        let reply = match serde_json::from_str(&line?)? {
            Order::Compile => compile(&setup).map(Reply::Compiled),
            Order::Serve => Running::start(&setup).map(|started| Reply::Serving(running.insert(started).serving)),
            Order::Use => used(forgets).map(Reply::Used),
            Order::UseFromHere => {
                // proc(5): 5 resets the peak resident set size.
                forgets = std::fs::write("/proc/self/clear_refs", "5").is_ok();
                used(forgets).map(Reply::Used)
            }
        };
        let reply = reply.unwrap_or_else(|error| match error.downcast::<Diagnostics>() {
            Ok(Diagnostics(faults)) => Reply::Faults(faults),
            Err(error) => Reply::Failed(format!("{error:#}")),
        });
        writeln!(io::stdout(), "{}", serde_json::to_string(&reply)?)?;
    }
    Ok(())
}

/// A node of one component, as people run it.
fn configuration(setup: &Setup) -> config::Node {
    let mut node = one_worker(ANY, &setup.component, Asked::new(LimitTable::builtin()));
    node.admin = Some(Admin { address: ANY });
    node.state = Some(setup.state.clone());
    setup.scenario.configure(&mut node, setup.connections);
    node
}

/// What serves, for as long as it is kept.
struct Running {
    serving: Serving,
    _node: Node,
    _log: LogGuard,
    _plain: Plain,
}

impl Running {
    fn start(setup: &Setup) -> anyhow::Result<Self> {
        // Before the node's threads give up their rights: what it does not need, it should not pay for.
        let plain = Plain::start().context("the plain handler does not start")?;
        let (node, log) = thread::scope(|scope| scope.spawn(|| start_node(setup)).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let address = *node.addresses.first().context("the node does not listen")?;
        let admin = node.admin.context("the node has no admin listener")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let request = link::request(&address.to_string(), &setup.request)?;
        plain.answer_with(runtime.block_on(link::once(address, request)).context("the node does not answer")?);
        let serving = Serving { node: address, admin, plain: plain.address };
        Ok(Self { serving, _node: node, _log: log, _plain: plain })
    }
}

/// In a thread of its own, because confining it is for good, and for all that it starts: `eyot serve` does the same.
fn start_node(setup: &Setup) -> anyhow::Result<(Node, LogGuard)> {
    let node = configuration(setup);
    let access = Destination::File(setup.access_log.clone());
    let compiler = node::compiler(&node);
    compiler.start()?;
    node::confine(&node, &[], Some(&access))?;
    let log = logs::init(Format::Json)?;
    let options = Options {
        detail: Detail::Public,
        egress: Mode::Listed,
        log: GuestLog::events(),
        access: Some((access, AccessForm::Json)),
        log_lost: log.lost(),
        open_api: false,
        request_headers: Vec::new(),
        compiler,
    };
    Ok((Node::start(&node.into(), options)?, log))
}

/// The component's way to code, as a deployment takes it, without what a deployment keeps of it.
fn compile(setup: &Setup) -> anyhow::Result<Compiled> {
    let node = configuration(setup);
    // First: a process that is started counts as its own what the one that started it had in memory then.
    let compiler = node::compiler(&node);
    compiler.start()?;
    let bytes = read_component(&setup.component, &node)?;
    let inspection =
        sandbox::inspect(&bytes).map_err(|error| fault(&setup.component, error.to_string(), error.help()))?;
    let began = Instant::now();
    compiler
        .compile(inspection.engine, &bytes)
        .map_err(|error| fault(&setup.component, error.to_string(), error.help()))?;
    let time_us = began.elapsed().as_secs_f64() * 1e6;
    // Only of those that have ended is it known what they took.
    drop(compiler);
    let kibibytes = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    Ok(Compiled { time_us, peak_bytes: u64::try_from(kibibytes).unwrap_or(0) * 1024 })
}

fn read_component(path: &Path, node: &config::Node) -> Result<Vec<u8>, Diagnostics> {
    read_regular(path, node.limits.node_limits().component_size).map_err(|error| {
        fault(
            path,
            format!("the component cannot be read: {error}"),
            "name a component (.wasm) that this user can read",
        )
    })
}

fn fault(component: &Path, message: String, help: &str) -> Diagnostics {
    Diagnostic::new(Place::file(component), message, help).into()
}

/// The peak of memory is only told where it is that of the time that is measured.
fn used(forgets: bool) -> anyhow::Result<Used> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    let cpu = micros(usage.user_time()) + micros(usage.system_time());
    let status = std::fs::read_to_string("/proc/self/status")?;
    let size = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    };
    Ok(Used {
        cpu_us: u64::try_from(cpu).unwrap_or(0),
        faults: u64::try_from(usage.minor_page_faults()).unwrap_or(0),
        resident_bytes: size("VmRSS:").context("/proc/self/status does not tell VmRSS")?,
        peak_bytes: size("VmHWM:").filter(|_| forgets),
    })
}
