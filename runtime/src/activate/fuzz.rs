//! Any component: it is refused, or it runs within its limits and gives everything back.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arbitrary::Unstructured;
use http_body_util::BodyExt;
use wasm_encoder::Section;

use super::compiled::fresh;
use crate::bindings::{AskedBy, Capabilities, Event, NodeMemory, Usage, WorkerShares};
use crate::config::{self, LimitTable};
use crate::egress::{Egress, Own, Policy};
use crate::failure::{Failure, Fault};
use crate::http::{Body, Client};
use crate::observe::{GuestLog, Metrics, RequestId, Start, Trace};
use crate::sandbox::{self, Engines, Invocation, Ledger, Pool, Prepared};

/// What all inputs share, as the workers of a node do.
struct Node {
    engines: Engines,
    runtime: tokio::runtime::Runtime,
    egress: Egress,
    metrics: Metrics,
    shares: WorkerShares,
    memory: Arc<NodeMemory>,
}

static NODE: LazyLock<Node> = LazyLock::new(|| {
    let limits = LimitTable::builtin().node_limits();
    let memory = NodeMemory::new(64 << 20, 1);
    let egress = Egress::for_cores(1, &[], &Own::new([]), &limits).expect("no origin can be wrong");
    Node {
        engines: Engines::new(Pool::new(4, 1, 64 << 20)),
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
        egress: egress.into_iter().next().expect("one core"),
        metrics: Metrics::new().expect("metrics"),
        shares: WorkerShares::new(Arc::clone(&memory)),
        memory,
    }
});

/// A component, in binary form: inspected, compiled, linked, and asked once.
///
/// # Panics
/// When something is wrong that is not the component's fault, or something of the isolate is left.
pub fn component(input: &[u8]) {
    let node = &*NODE;
    let Some(prepared) = prepared(node, input) else { return };
    if let Err(failure) = asked(node, &prepared) {
        assert_eq!(failure.fault(), Fault::Worker, "{failure}");
    }
    // A guest that goes on after its answer has a task of its own.
    node.runtime.block_on(async {
        let gone = async {
            while node.memory.used() > 0 {
                sandbox::at_rest();
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("the isolate gives its memory back");
    });
}

/// Far more than any limit of [`worker`].
const PATIENCE: Duration = Duration::from_secs(20);

/// As the activator does it, but compiled in this process. None where it is refused.
fn prepared(node: &Node, input: &[u8]) -> Option<Arc<Prepared>> {
    let inspection = sandbox::inspect(input).ok()?;
    let code = sandbox::compile(inspection.engine, input).ok()?;
    // More than the pool has room for is refused here.
    let component = fresh(node.engines.engine(inspection.engine).expect("room for few isolates"), &code).ok()?;
    let worker = worker();
    let metrics = node.metrics.worker(&worker.name);
    let share = node.shares.of(&worker.name);
    let capabilities = Capabilities::new(&worker, share, Policy::default(), GuestLog::events(), metrics, None, None);
    Prepared::new(&node.engines, &inspection, &component, Arc::new(capabilities)).ok().map(Arc::new)
}

/// One request, to the end of its body.
fn asked(node: &Node, prepared: &Arc<Prepared>) -> Result<(), Failure> {
    node.runtime.block_on(async {
        let response = tokio::time::timeout(PATIENCE, sandbox::run(invocation(node, prepared)));
        let response = response.await.expect("every guest ends within its limits")?;
        // It may break, but it must end.
        let body = tokio::time::timeout(PATIENCE, response.into_body().collect()).await;
        let _ = body.expect("every body ends within its limits");
        Ok(())
    })
}

/// Bytes for wasm-smith, which makes a valid module of them; it becomes the code of a component with a handler.
///
/// # Panics
/// As [`component`] does.
pub fn module(input: &[u8]) {
    let Ok(module) = wasm_smith::Module::new(shape(), &mut Unstructured::new(input)) else { return };
    component(&handler_around(&module.to_bytes()));
}

/// The component [`HANDLER`] with this module in place of its own: a section's id, its length and its bytes.
fn handler_around(module: &[u8]) -> Vec<u8> {
    let component = wat::parse_str(HANDLER).expect("it is good as it stands");
    let begin = component.windows(8).position(|window| window == b"\0asm\x01\0\0\0").expect("its module");
    let length = usize::from(component[begin - 1]);
    let mut changed = component[..begin - 2].to_vec();
    wasm_encoder::RawSection { id: component[begin - 2], data: module }.append_to(&mut changed);
    changed.extend_from_slice(&component[begin + length..]);
    changed
}

/// Modules that the handler below can hold, of the proposals that are on.
fn shape() -> wasm_smith::Config {
    let text = |text: &str| Some(wat::parse_str(text).expect("a module"));
    wasm_smith::Config {
        available_imports: text(r#"(module (import "host" "new" (func (result i32))))"#),
        exports: text(r#"(module (func (export "handle") (param i32 i32)))"#),
        exceptions_enabled: false,
        gc_enabled: false,
        threads_enabled: false,
        max_memories: 1,
        max_tables: 4,
        ..wasm_smith::Config::default()
    }
}

const HANDLER: &str = r#"(component
  (import "wasi:http/types@0.2.0" (instance $types
    (export "fields" (type $fields (sub resource)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))
  (core func $new (canon lower (func $types "[constructor]fields")))
  (core module $code (func (export "handle") (param i32 i32)))
  (core instance $instance (instantiate $code (with "host" (instance (export "new" (func $new))))))
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;

/// A worker that is granted nothing, under limits that are met soon.
fn worker() -> config::Worker {
    let mut limits = LimitTable::builtin().worker_defaults();
    limits.memory = 16 << 20;
    limits.cpu_time = Duration::from_millis(10);
    limits.wall_time = Duration::from_millis(500);
    limits.stream_idle = Duration::from_millis(500);
    limits.wait_until = Duration::from_millis(500);
    config::Worker {
        name: "fuzz".to_owned(),
        folder: PathBuf::new(),
        component: PathBuf::new(),
        build: config::Build::None,
        env: Default::default(),
        config: Default::default(),
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
        limits,
        reuse: false,
        trap_on_grow_failure: false,
    }
}

fn invocation<'a>(node: &Node, prepared: &'a Arc<Prepared>) -> Invocation<'a> {
    let address = SocketAddr::from(([127, 0, 0, 1], 80));
    let usage = Usage::new();
    let event = Event {
        asked_by: Some(AskedBy {
            identity: None,
            client: Arc::new(Client { address, local: address, tls: None, certificate: None }),
            protocol: http::Version::HTTP_11,
            caller: None,
        }),
        request_id: RequestId::fresh(),
        trace: Trace::root(),
        tracer: None,
        passed: node.egress.pass(&http::HeaderMap::new(), 4).expect("it has passed nobody"),
        calls: None,
    };
    let isolate = sandbox::find(prepared, Start::Warm, &usage);
    let mut request = http::Request::new(Body::from(bytes::Bytes::from_static(b"a body")));
    *request.uri_mut() = http::Uri::from_static("http://fuzz.test/path?query");
    let (egress, ledger) = (node.egress.clone(), Box::new(Nobody));
    Invocation { prepared, isolate, event, egress, usage, request, body_failure: None, called: None, ledger }
}

/// Nothing is counted here.
struct Nobody;

impl Ledger for Nobody {
    fn close(self: Box<Self>, _: &Usage, _: Option<&Failure>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fed_to_the_targets_is_run_and_not_only_refused() {
        let outcome = |code: &str| {
            let component = handler_around(&wat::parse_str(format!("(module {code})")).unwrap());
            asked(&NODE, &prepared(&NODE, &component).expect("it is a worker")).map_err(|failure| failure.code())
        };
        let handle = |code: &str| format!("(func (export \"handle\") (param i32 i32) {code})");
        assert_eq!(outcome(&handle("")), Err("worker_no_response"));
        assert_eq!(outcome(&handle("unreachable")), Err("worker_trapped"));
        assert_eq!(outcome(&handle("(loop $again (br $again))")), Err("worker_cpu_exceeded"));
        let calls = r#"(import "host" "new" (func $new (result i32)))"#;
        let calls = format!("{calls} {}", handle("(loop $again (drop (call $new)) (br $again))"));
        let met = outcome(&calls).unwrap_err();
        assert!(
            ["worker_resources_exceeded", "worker_cpu_exceeded"].contains(&met),
            "{met}: one of the two comes first"
        );
    }
}
