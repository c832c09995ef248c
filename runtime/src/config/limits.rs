//! The limits as the other rooms read them: typed fields, made from the rows of a [`LimitTable`].
//!
//! The macro below is the one place that ties a key of limits.toml to its field, its unit and whether it may be 0.

use std::time::Duration;

use super::limit_table::LimitTable;
use super::units;

/// Set where [`held`] is to be false, if that can be.
pub const WITHOUT_LIMITS: &str = "EYOT_BENCH_WITHOUT_LIMITS";

/// Whether guests are held to their limits. They are, but for the binary that `bench/limits` builds to see what that costs: there it is
/// as the environment says, so that both sides of the comparison are one binary.
pub fn held() -> bool {
    #[cfg(feature = "bench-without-limits")]
    {
        static WITHOUT: std::sync::LazyLock<bool> =
            std::sync::LazyLock::new(|| std::env::var_os(WITHOUT_LIMITS).is_some());
        !*WITHOUT
    }
    #[cfg(not(feature = "bench-without-limits"))]
    true
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
    /// All requests to one origin.
    Origin,
}

impl Scope {
    /// The word of limits.toml.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Connection => "connection",
            Self::Worker => "worker",
            Self::Invocation => "invocation",
            Self::Origin => "origin",
        }
    }

    /// Whether a worker's eyot.toml has a say.
    #[must_use]
    pub fn is_of_worker(self) -> bool {
        matches!(self, Self::Worker | Self::Invocation)
    }
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

impl Value {
    /// Whether the value is allowed under a maximum. Values of different units never are.
    #[must_use]
    pub fn is_within(self, max: Self) -> bool {
        match (self, max) {
            (_, Self::Off) => true,
            (Self::Bytes(value), Self::Bytes(max)) | (Self::Count(value), Self::Count(max)) => value <= max,
            (Self::Time(value), Self::Time(max)) => value <= max,
            _ => false,
        }
    }

    pub(super) fn is_zero(self) -> bool {
        matches!(self, Self::Bytes(0) | Self::Count(0) | Self::Time(Duration::ZERO))
    }
}

/// As it is written in a file, with its unit.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Self::Bytes(bytes) => units::show_bytes(*bytes),
            Self::Time(time) => units::show_time(*time),
            Self::Count(count) => count.to_string(),
            Self::Off => "off".to_owned(),
        };
        f.pad(&text)
    }
}

/// What the code knows of a limit: everything else about it is in limits.toml.
pub(super) struct Shape {
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    /// "off" is a value.
    pub(super) may_be_off: bool,
    /// 0 is a value; elsewhere it would leave the node or the worker unable to answer anything.
    pub(super) may_be_zero: bool,
}

/// Declares a struct of limits and the shapes of its keys. A field is `name: Unit`, where the unit is `Bytes`, `Time`,
/// `Count`, or `TimeOrOff`; `or 0` behind it allows 0.
macro_rules! limits {
    ($(#[$meta:meta])* $name:ident, $shapes:ident, { $($(#[$doc:meta])* $field:ident: $unit:ident $(or $zero:literal)?,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$doc])* pub $field: limits!(@type $unit),)* }

        pub(super) const $shapes: &[Shape] = &[$(Shape {
            key: stringify!($field),
            kind: limits!(@kind $unit),
            may_be_off: limits!(@off $unit),
            may_be_zero: [$($zero == 0,)? false][0],
        },)*];

        impl $name {
            /// Takes each field by its key.
            pub(super) fn from_values(value: impl Fn(&'static str) -> Value) -> Self {
                Self { $($field: limits!(@take $unit, value(stringify!($field))),)* }
            }
        }
    };
    (@type Bytes) => { u64 };
    (@type Count) => { u64 };
    (@type Time) => { Duration };
    (@type TimeOrOff) => { Option<Duration> };
    (@kind Bytes) => { Kind::Bytes };
    (@kind Count) => { Kind::Count };
    (@kind Time) => { Kind::Time };
    (@kind TimeOrOff) => { Kind::Time };
    (@off TimeOrOff) => { true };
    (@off $unit:ident) => { false };
    (@take Bytes, $value:expr) => { number($value) };
    (@take Count, $value:expr) => { number($value) };
    (@take Time, $value:expr) => { time($value).unwrap_or(Duration::MAX) };
    (@take TimeOrOff, $value:expr) => { time($value) };
}

limits! {
    /// What a worker's invocations are held to. Sizes in bytes.
    WorkerLimits, WORKER_SHAPES, {
        /// Memories and tables of one isolate, summed.
        memory: Bytes,
        /// What the guest's polls may take.
        cpu_time: Time,
        /// Start to response head.
        wall_time: Time,
        /// A response body without progress.
        stream_idle: Time,
        /// The whole response body.
        stream_total: TimeOrOff,
        /// Work after the response.
        wait_until: Time or 0,
        /// HTTP requests of one invocation.
        subrequests: Count or 0,
        /// Of these, waiting for their head at once.
        subrequests_concurrent: Count,
        /// Request body.
        request_body: Bytes or 0,
        /// Response body.
        response_body: Bytes or 0,
        /// The header section of a response, as it is sent.
        response_header: Bytes,
        /// Live component-model handles.
        handles: Count,
        /// Host objects behind handles.
        resource_table: Count,
        /// Bytes that one host call may copy out of the guest.
        hostcall_fuel: Bytes,
        /// One request for random bytes.
        random_bytes: Bytes,
        /// stdout and stderr of one invocation.
        log: Bytes or 0,
        /// A key of the worker's keys and values.
        kv_key: Bytes,
        /// A value.
        kv_value: Bytes or 0,
        /// What is written beside a value.
        kv_metadata: Bytes or 0,
        /// All keys and values of a worker.
        kv_total: Bytes or 0,
        /// Keys that one call names.
        kv_batch: Count,
        /// Operations on keys and values.
        kv_operations: Count or 0,
        /// CPU time of an invocation that no client waits for.
        event_cpu_time: Time,
        /// How long such an invocation may take.
        event_wall_time: Time,
        /// A message.
        queue_message: Bytes,
        /// Messages that one call sends.
        queue_batch: Count,
        /// Messages that one invocation sends.
        queue_sends: Count or 0,
        /// Messages of one queue.
        queue_messages: Count,
        /// The bytes of their bodies.
        queue_bytes: Bytes,
        /// Invocations at once.
        concurrency: Count,
        /// Requests waiting for a permit.
        queue: Count or 0,
        /// How long they may wait.
        queue_wait: Time or 0,
        /// Requests that one isolate answers, where isolates are asked again.
        reuse_requests: Count,
        /// How old such an isolate may be at a request.
        reuse_age: Time,
        /// How long it waits for one.
        reuse_idle: Time,
    }
}

limits! {
    /// What the node and each of its connections are held to. Sizes in bytes.
    NodeLimits, NODE_SHAPES, {
        /// Isolates of all workers.
        node_concurrency: Count,
        /// Requests waiting for one of the node's permits.
        node_queue: Count or 0,
        /// How long they may wait.
        node_queue_wait: Time or 0,
        /// Isolates without a request, on each core.
        waiting_isolates: Count or 0,
        /// Memory of all isolates.
        node_memory: Bytes,
        /// Private memory of the process, past which no isolate begins.
        process_memory: Bytes,
        /// Components in memory, with what the engine makes of them.
        loaded_bytes: Bytes,
        /// Components in memory.
        loaded_components: Count,
        /// Workers waiting to be loaded.
        load_queue: Count,
        /// One component, as a file.
        component_size: Bytes,
        /// Writable memory of the process that compiles one.
        compile_memory: Bytes,
        /// CPU time of that process.
        compile_cpu: Time,
        /// How long it may run.
        compile_time: Time,
        /// Open client connections.
        connections: Count,
        /// Of one address.
        connections_per_address: Count,
        /// The request target.
        uri: Bytes,
        /// The request header section.
        header_bytes: Bytes,
        /// Fields of one request.
        header_count: Count,
        /// A request head.
        header_timeout: Time,
        /// A TLS handshake.
        handshake_timeout: Time,
        /// A connection without a request.
        keepalive_idle: Time,
        /// A request body that does not arrive.
        request_body_idle: Time,
        /// How fast a request body comes, in bytes a second.
        request_body_rate: Bytes or 0,
        /// A client that does not read.
        write_idle: Time,
        /// How fast a response is taken, in bytes a second.
        response_body_rate: Bytes or 0,
        /// A client that has closed its side, and takes nothing.
        half_close: Time or 0,
        /// HTTP/2 streams of one connection.
        h2_streams: Count,
        /// HTTP/2 frames of one connection that bring nothing.
        h2_glitches: Count,
        /// Requests of one origin at once.
        origin_concurrency: Count,
        /// Requests waiting for one of these.
        origin_queue: Count or 0,
        /// How long they may wait.
        origin_queue_wait: Time or 0,
        /// How often a request may leave this node.
        loop_hops: Count,
        /// Workers that call one another for one request.
        call_depth: Count,
        /// The time to finish after SIGTERM.
        drain: Time or 0,
        /// How long the node still serves after SIGTERM, not ready.
        drain_delay: Time or 0,
    }
}

/// Every limit that the code knows.
pub(super) fn shapes() -> impl Iterator<Item = &'static Shape> {
    WORKER_SHAPES.iter().chain(NODE_SHAPES)
}

pub(super) fn shape(key: &str) -> Option<&'static Shape> {
    shapes().find(|shape| shape.key == key)
}

impl LimitTable {
    /// What holds for a worker that sets nothing itself.
    #[must_use]
    pub fn worker_defaults(&self) -> WorkerLimits {
        WorkerLimits::from_values(|key| self.default_of(key))
    }

    /// What the node and its connections are held to.
    #[must_use]
    pub fn node_limits(&self) -> NodeLimits {
        NodeLimits::from_values(|key| self.default_of(key))
    }
}

/// A number of bytes or of things; no bound is the largest number. Rows only hold values of their shape, so the rest is
/// never reached.
fn number(value: Value) -> u64 {
    match value {
        Value::Bytes(number) | Value::Count(number) => number,
        Value::Time(_) | Value::Off => u64::MAX,
    }
}

fn time(value: Value) -> Option<Duration> {
    match value {
        Value::Time(time) => Some(time),
        Value::Bytes(_) | Value::Count(_) | Value::Off => None,
    }
}
