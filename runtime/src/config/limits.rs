//! The table of limits: limits.toml, built in, overridden key by key.

use std::time::Duration;

/// What a worker's invocations are held to. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerLimits {
    /// Memories and tables of one isolate, summed.
    pub memory: u64,
    /// What the guest's polls may take.
    pub cpu_time: Duration,
    /// Start to response head.
    pub wall_time: Duration,
    /// A response body without progress.
    pub stream_idle: Duration,
    /// The whole response body.
    pub stream_total: Option<Duration>,
    /// Work after the response.
    pub wait_until: Duration,
    /// HTTP requests of one invocation.
    pub subrequests: u64,
    /// Of these, waiting for their head at once.
    pub subrequests_concurrent: u64,
    /// Request body.
    pub request_body: u64,
    /// Response body.
    pub response_body: u64,
    /// Fields of one message that the guest makes, as held in memory.
    pub response_header: u64,
    /// Live component-model handles.
    pub handles: u64,
    /// Host objects behind handles.
    pub resource_table: u64,
    /// Bytes that one host call may copy out of the guest.
    pub hostcall_fuel: u64,
    /// One request for random bytes.
    pub random_bytes: u64,
    /// stdout and stderr of one invocation.
    pub log: u64,
    /// Invocations at once.
    pub concurrency: u64,
    /// Requests waiting for a permit.
    pub queue: u64,
    /// How long they may wait.
    pub queue_wait: Duration,
}

/// What the node and each of its connections are held to. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Isolates of all workers.
    pub node_concurrency: u64,
    /// Memory of all isolates.
    pub node_memory: u64,
    /// Open client connections.
    pub connections: u64,
    /// The request target.
    pub uri: u64,
    /// The request header section.
    pub header_bytes: u64,
    /// Fields of one request.
    pub header_count: u64,
    /// A request head.
    pub header_timeout: Duration,
    /// A TLS handshake.
    pub handshake_timeout: Duration,
    /// A connection without a request.
    pub keepalive_idle: Duration,
    /// A request body that does not arrive.
    pub request_body_idle: Duration,
    /// A client that does not read.
    pub write_idle: Duration,
    /// HTTP/2 streams of one connection.
    pub h2_streams: u64,
    /// The time to finish after SIGTERM.
    pub drain: Duration,
}

/// What a limit is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// All of the process.
    Node,
    /// One client connection.
    Connection,
    /// All invocations of one worker.
    Worker,
    /// One run of one handler.
    Invocation,
}

/// The unit of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// "128MiB"
    Bytes,
    /// "50ms"
    Time,
    /// 100
    Count,
}

/// One value of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// In bytes.
    Bytes(u64),
    /// A duration.
    Time(Duration),
    /// A number of things.
    Count(u64),
    /// No bound.
    Off,
}

/// Where an effective value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// limits.toml, compiled in.
    BuiltIn,
    /// `--limits FILE`.
    File(std::path::PathBuf),
    /// `[limits]` of node.toml.
    Node(std::path::PathBuf),
    /// A worker's eyot.toml.
    Worker(String),
}

/// One row of limits.toml with its effective values.
#[derive(Clone, Debug)]
pub struct LimitRow {
    /// The key.
    pub key: String,
    /// Its unit.
    pub kind: Kind,
    /// What holds when a worker says nothing.
    pub default: Value,
    /// How far a worker may go. `None` where workers have no say.
    pub max: Option<Value>,
    /// What it is counted for.
    pub scope: Scope,
    /// What the failure is called; empty where the client only sees a closed connection.
    pub code: String,
    /// Why it is there.
    pub why: String,
    /// Where the number comes from.
    pub reference: String,
    /// Who set `default` last.
    pub source: Source,
}

/// Every limit, in the order of limits.toml.
#[derive(Clone, Debug)]
pub struct LimitTable {
    /// The rows.
    pub rows: Vec<LimitRow>,
}
