//! A worker's eyot.toml.

use schemars::JsonSchema;

use super::parts::{Addresses, Auth, File, Limits, Name, Pattern, Size, Strings, Time};

/// A worker: its component, what it may touch, its routes and its limits.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
pub(super) struct Worker {
    /// The worker's name. In `eyot dev` it is served at `NAME.localhost`.
    name: Name,
    /// The component. Without it: cargo's artifact where there is a Cargo.toml, else `NAME.wasm`.
    component: Option<File>,
    /// How the component is made. Without it: by cargo where there is a Cargo.toml.
    build: Option<Build>,
    /// The environment of the guest (`wasi:cli/environment`).
    env: Option<Strings>,
    /// What `wasi:config/store` answers.
    config: Option<Strings>,
    /// The names of secrets that `wasi:config/store` answers, too. The operator sets their values.
    secrets: Option<Vec<Secret>>,
    /// The namespaces of the worker's keys and values: what `wasi:keyvalue` and `eyot:worker/kv` open.
    kv: Option<Vec<Name>>,
    /// The queues that the worker works off, by its handler `eyot:worker/queue-handler`.
    queue: Option<Vec<Queue>>,
    /// The queues of other workers that it sends to: `WORKER/QUEUE`. Those must name it among their `producers`.
    sends: Option<Vec<QueueAddress>>,
    /// What the worker does at times.
    schedule: Option<Vec<Schedule>>,
    /// The workers that this one calls, at `http://NAME.worker.internal/`. Those must name it among their `callers`.
    service: Option<Vec<Service>>,
    /// The workers that may call this one. Without it: none.
    callers: Option<Vec<Name>>,
    /// The origins of node.toml that the worker may ask, at `http://NAME.origin.internal/`.
    origins: Option<Vec<Name>>,
    /// What else it may ask: `[scheme://]host[:port]`, https unless said otherwise. Without it: nothing.
    egress: Option<Vec<String>>,
    /// The way to authenticate that its routes demand: a name of node.toml's `[[auth]]`, or one of its own.
    auth: Option<Demand>,
    /// Client addresses that are allowed. Without it: all.
    #[schemars(length(min = 1))]
    allow_addresses: Option<Vec<Addresses>>,
    /// Whether each request has an isolate of its own, or one that has answered may be asked again. Without it: fresh.
    isolate: Option<Isolate>,
    /// Whether growing a memory or a table past limit `memory` ends the guest. Otherwise it fails, and the guest may go on.
    trap_on_grow_failure: Option<bool>,
    /// Limits in place of the node's defaults, up to its maxima.
    limits: Option<Limits<false>>,
    /// Whom a version answers while several serve, and when the node goes back by itself.
    rollout: Option<Rollout>,
    /// Host and path that lead to this worker.
    route: Option<Vec<Pattern>>,
}

/// A queue that the worker works off.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Queue {
    /// How the worker calls it.
    name: Name,
    /// Other workers that may send to it. Its own worker always may.
    producers: Option<Vec<Name>>,
    /// So many messages are delivered together at most. Without it: 10.
    #[schemars(range(min = 1, max = 1000))]
    batch: Option<u32>,
    /// So many bytes of bodies, unless one message has more; 16 MiB at most. Without it: 1 MiB.
    batch_bytes: Option<Size>,
    /// So long a batch waits until it is full, an hour at most. Without it: not at all.
    batch_wait: Option<Time>,
    /// So many batches are worked off at once. Without it: 1.
    #[schemars(range(min = 1, max = 64))]
    concurrency: Option<u32>,
    /// So often a message is delivered before it is a dead letter. Without it: 5.
    #[schemars(range(min = 1, max = 1000))]
    attempts: Option<u32>,
    /// How long a message waits after its first failed delivery; twice as long after each further one. Without it: 1 s.
    retry: Option<Time>,
    /// How long it waits at most, a day at most. Without it: 15 min.
    retry_max: Option<Time>,
    /// How long a message that was delivered is nobody else's, from a second to 12 hours. Without it: 60 s.
    lease: Option<Time>,
    /// So long a message waits to be done before it is a dead letter, and so long a dead letter stays. Without it: 4 days.
    retention: Option<Time>,
    /// The queue of its dead letters. Without it: its own name and `-dead`.
    dead_letter: Option<Name>,
}

/// What the worker does at times, by its handler `eyot:worker/scheduled-handler`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Schedule {
    /// How the worker calls it.
    name: Name,
    /// At which times: five fields of cron, or six with seconds first. Either this or `at`.
    cron: Option<String>,
    /// Once, at this time, with its offset or zone.
    at: Option<String>,
    /// The time zone of `cron`. Without it: UTC.
    time_zone: Option<String>,
    /// What happens when it is due and the run before has not ended: it is left out, waits, or runs too. Without it: `skip`.
    overlap: Option<Overlap>,
    /// What of the times at which the node was down is made up for. Without it: `latest`.
    catch_up: Option<CatchUp>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is described, not made")]
enum Overlap {
    Skip,
    Queue,
    Allow,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is described, not made")]
enum CatchUp {
    None,
    Latest,
    All,
}

/// Another worker that the worker calls.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Service {
    /// Its name.
    worker: Name,
    /// How long each call may take to the head of its answer, 10 minutes at most. Without it: as long as the caller itself has.
    timeout: Option<Time>,
    /// How often a call is made again that failed, if its method is idempotent and it has no content. Without it: never.
    #[schemars(range(min = 0, max = 5))]
    retries: Option<u32>,
    /// So many calls are made again for each that is made. Without it: 20 %.
    retry_budget: Option<Share>,
    /// The share of calls that fail before none is made for a while. Without it: each call is made.
    breaker: Option<Share>,
    /// Of so many calls. Without it: 20.
    #[schemars(range(min = 1, max = 1000))]
    breaker_calls: Option<u32>,
    /// For how long none is made. Without it: 5 s.
    breaker_wait: Option<Time>,
}

/// A share of all, such as `20%`.
#[derive(JsonSchema)]
#[schemars(transparent)]
#[expect(dead_code, reason = "it is described, not made")]
struct Share(#[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?%$"))] String);

/// A queue of another worker.
#[derive(JsonSchema)]
#[schemars(transparent)]
#[expect(dead_code, reason = "it is described, not made")]
struct QueueAddress(
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))] String,
);

/// How a new version comes to all of its worker's requests.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Rollout {
    /// What of a request decides which version answers it: `header:NAME`, `cookie:NAME` or `client`. Without it: chance.
    #[schemars(regex(pattern = r"^(client|(header|cookie):.+)$"))]
    sticky: Option<String>,
    /// The share of failed requests above which the node goes back to the version before, or `off`. Without it: 10 %.
    #[schemars(regex(pattern = r"^(off|[0-9]+(\.[0-9]+)?%)$"))]
    max_failures: Option<String>,
    /// The 99th percentile of the time of a request above which the node goes back, or `off`. Without it: `off`.
    max_p99: Option<String>,
    /// Over how long both are measured, and for how long a new version is watched. Without it: 60 s.
    window: Option<Time>,
    /// With fewer requests than this in the window nothing is judged. Without it: 20.
    #[schemars(range(min = 1))]
    min_requests: Option<u64>,
}

/// The name of a secret.
#[derive(JsonSchema)]
#[schemars(transparent)]
#[expect(dead_code, reason = "it is described, not made")]
struct Secret(#[schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,128}$"))] String);

/// A command that makes the component.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Build {
    /// Run by the shell in the worker's folder.
    #[schemars(length(min = 1))]
    command: String,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it is described, not made")]
enum Demand {
    Named(Name),
    Own(Auth),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is described, not made")]
enum Isolate {
    Fresh,
    Reuse,
}
