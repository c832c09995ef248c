//! The command line: one file for each subcommand.
//!
//! May import: every room, and `node`. The way in: [`main`].
//! Invariants: what is wrong with input is said in full and ends with exit code 2; what goes wrong later ends with 1; results go to
//! stdout, everything else to stderr.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod admin;
mod audit;
mod backup;
mod bench;
mod build;
mod check;
mod compile;
mod curl;
mod delete;
mod demo_origin;
mod deploy;
mod deployments;
mod dev;
mod find;
mod kv;
mod limits;
mod new;
mod nodes;
mod options;
mod probe;
mod queue;
mod restore;
mod rollback;
mod rollout;
mod rules;
mod say;
mod schedule;
mod schema;
mod secret;
mod serve;
mod show;
mod single;
mod status;
mod tail;
mod token;
mod versions;
mod watch;
mod workers;

use rustix::thread::disable_transparent_huge_pages;

use self::admin::{Refusal, Shown};
use crate::activate::compiler;
use crate::config::Diagnostics;
use crate::life;
use crate::observe::logs::LogError;

/// Run sandboxed WebAssembly handlers at the edge: one request, one capped isolate.
#[derive(Parser)]
#[command(name = "eyot", version = VERSION, max_term_width = 100, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Nobody should take the benchmark's build for the product.
const VERSION: &str = match cfg!(feature = "bench-without-limits") {
    false => env!("CARGO_PKG_VERSION"),
    true => concat!(env!("CARGO_PKG_VERSION"), " FOR A BENCHMARK ONLY: it may hold no guest to its limits"),
};

const EXAMPLES: &str = "Examples:
  eyot new shop                        make a worker that builds, from a template
  eyot dev examples                    build every worker below a folder and serve it, with reload
  eyot serve hello.wasm                serve one component, with wasmtime serve's flags
  eyot serve --config node.toml        run a node
  eyot check --config node.toml        report what is wrong with a configuration
  eyot deploy shop                     bring a worker to a node, and have it serve
  eyot rollout shop 7 10%              give a version a part of the requests
  eyot rollback shop                   go back to what served before
  eyot tail shop                       look at requests and log lines while they come
  eyot kv ls shop                      look at what a worker keeps
  eyot queue ls mailer                 look at what it has to work off
  eyot schedule ls shop                look when it is due
  eyot nodes                           list the nodes of a fleet, and how far each has come
  eyot probe ready                     ask a node on this machine whether it takes requests
  eyot limits                          show every limit, its value, and where it came from
  eyot schema node                     print the JSON Schema of node.toml, for editors
  eyot bench hello.wasm                measure what a request costs

EYOT_LOG filters the log on stderr by level and module, such as EYOT_LOG=debug or EYOT_LOG=warn,guest=info.";

/// The hidden subcommand of the process that `eyot bench` measures.
const CHILD_OF_BENCH: &str = "bench-child";

#[derive(Subcommand)]
enum Command {
    New(new::New),
    Dev(dev::Dev),
    Serve(Box<serve::Serve>),
    Build(build::Build),
    Check(check::Check),
    Probe(probe::Probe),
    Limits(limits::Limits),
    Schema(schema::Schema),
    Bench(Box<bench::Bench>),
    Deploy(deploy::Deploy),
    Workers(workers::Workers),
    Versions(versions::Versions),
    Deployments(deployments::Deployments),
    Rollout(rollout::Rollout),
    Rollback(rollback::Rollback),
    Delete(delete::Delete),
    Secret(secret::Secret),
    Kv(kv::Kv),
    Queue(queue::Queue),
    Schedule(schedule::Schedule),
    Token(token::Token),
    Audit(audit::Audit),
    Status(status::Status),
    Nodes(nodes::Nodes),
    Tail(tail::Tail),
    Backup(backup::Backup),
    Restore(restore::Restore),
    #[command(name = CHILD_OF_BENCH, hide = true)]
    BenchChild {
        setup: String,
    },
    #[command(name = life::HELPER, hide = true)]
    SuccessorHelper {
        arguments: Vec<OsString>,
    },
    #[command(name = compiler::HELPER, hide = true)]
    CompileHelper,
    #[command(name = compiler::CHILD, hide = true)]
    CompileChild {
        job: String,
    },
}

/// Parses the process's arguments, runs, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    // The allocator asks for huge pages. A node of some MiB needs a part of each: 17 of 41 MiB were resident for nothing, and to clear
    // them was a tenth of a start. Where that is refused, it has them.
    let _ = disable_transparent_huge_pages(true);
    let command = Arguments::parse().command;
    if let Command::SuccessorHelper { .. } | Command::CompileHelper | Command::CompileChild { .. } = command {
        life::deaf_to_operators();
    }
    let result = match command {
        Command::New(new) => new.run(),
        Command::Dev(dev) => dev.run(),
        Command::Serve(serve) => serve.run(),
        Command::Build(build) => build.run(),
        Command::Check(check) => check.run(),
        Command::Probe(probe) => probe.run(),
        Command::Limits(limits) => limits.run(),
        Command::Schema(schema) => schema.run(),
        Command::Bench(bench) => bench.run(),
        Command::Deploy(deploy) => deploy.run(),
        Command::Workers(workers) => workers.run(),
        Command::Versions(versions) => versions.run(),
        Command::Deployments(deployments) => deployments.run(),
        Command::Rollout(rollout) => rollout.run(),
        Command::Rollback(rollback) => rollback.run(),
        Command::Delete(delete) => delete.run(),
        Command::Secret(secret) => secret.run(),
        Command::Kv(kv) => kv.run(),
        Command::Queue(queue) => queue.run(),
        Command::Schedule(schedule) => schedule.run(),
        Command::Token(token) => token.run(),
        Command::Audit(audit) => audit.run(),
        Command::Status(status) => status.run(),
        Command::Nodes(nodes) => nodes.run(),
        Command::Tail(tail) => tail.run(),
        Command::Backup(backup) => backup.run(),
        Command::Restore(restore) => restore.run(),
        Command::BenchChild { setup } => bench::child::run(&setup),
        Command::SuccessorHelper { arguments } => life::run_helper(&arguments).map_err(Into::into),
        Command::CompileHelper => compile::helper(),
        Command::CompileChild { job } => return compile::child(&job).unwrap_or_else(|error| fail(&error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Input that is wrong ends with 2, as with clap's own errors; everything else with 1.
fn fail(error: &anyhow::Error) -> ExitCode {
    let found = error.downcast_ref::<Shown>().map(|shown| &shown.faults);
    if let Some(diagnostics) = found.or_else(|| error.downcast_ref::<Diagnostics>()) {
        say::line(diagnostics.render().trim_end());
        return ExitCode::from(2);
    }
    let style = anstyle::AnsiColor::Red.on_default().bold();
    say::line(format_args!("{style}error{style:#}: {error:#}"));
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return refusal.exit_code();
    }
    match error.downcast_ref::<LogError>() {
        Some(LogError::Filter { .. }) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// An address to listen on, with what to write where it is none.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.rsplit_once(':').map_or(text, |(_, port)| port);
        match port.parse::<u16>() {
            Ok(port) => format!("say the IP address too: 127.0.0.1:{port}, or 0.0.0.0:{port} for every interface"),
            Err(_) => "this is not an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned(),
        }
    })
}
