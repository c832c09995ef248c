//! The closed list of reasons why an invocation, or a request before it, has no answer of its own.
//!
//! Imports nothing: any room may return a [`Failure`]. Only `dispatch/respond.rs` turns one into a response.
//! Every variant has exactly one status, one stable code (header `eyot-error`, label `code` of the metrics) and one party at
//! fault; a new variant does not compile until all three are decided.

use std::time::Duration;

/// Who caused it: decides the log level, and who is told the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request was wrong, or its sender went away.
    Client,
    /// The worker's code or configuration.
    Worker,
    /// An origin that we asked on someone's behalf.
    Origin,
    /// This node: overload, or a bug of ours.
    Node,
}

/// What an origin was too slow with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// To be connected to.
    Connection,
    /// To send its response head.
    Head,
    /// To go on with its response body.
    Body,
}

impl std::fmt::Display for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connection => "to be connected to",
            Self::Head => "to begin its answer",
            Self::Body => "to go on with its answer",
        })
    }
}

/// Why there is no answer of the worker's or the origin's own.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Failure {
    /// The request breaks HTTP or our reading of it.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// More than one token, so that there is no telling who asks (RFC 6750 §3.1, `invalid_request`).
    #[error("bad request: {reason}")]
    AmbiguousToken {
        /// What there is twice.
        reason: &'static str,
        /// The value of `WWW-Authenticate`.
        challenge: String,
    },
    /// The request named a host that this connection may not ask for (RFC 9110 §15.5.20).
    #[error("misdirected request: {0}")]
    Misdirected(&'static str),
    /// No token, or one that is not good.
    #[error("not authenticated: {reason}")]
    Unauthorized {
        /// Why, for the log and for `error_description` (RFC 6750 §3).
        reason: &'static str,
        /// The value of `WWW-Authenticate`.
        challenge: String,
    },
    /// A good token that lacks a scope (RFC 6750 §3.1).
    #[error("not allowed: the token lacks a scope")]
    InsufficientScope {
        /// The value of `WWW-Authenticate`.
        challenge: String,
    },
    /// A client that is known and not allowed, or a client address that is not allowed.
    #[error("not allowed: {0}")]
    Forbidden(&'static str),
    /// No route for this host and path.
    #[error("no route for this host and path")]
    RouteNotFound,
    /// A route for this host and path, but not for this method.
    #[error("method not allowed")]
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: String,
    },
    /// The client sent its body too slowly.
    #[error("the request body arrived too slowly")]
    RequestTimeout,
    /// The request body is larger than limit `request_body`.
    #[error("the request body is larger than {limit} bytes")]
    RequestBodyTooLarge {
        /// In bytes.
        limit: u64,
    },
    /// The request target is longer than limit `uri`.
    #[error("the request target is longer than {limit} bytes")]
    UriTooLong {
        /// In bytes.
        limit: u64,
    },
    /// The header section is larger than limit `header_bytes` or has more fields than `header_count`.
    #[error("the request header section is too large")]
    RequestHeaderTooLarge,
    /// A transfer coding that we do not decode (RFC 9112 §6.1).
    #[error("not implemented: {0}")]
    NotImplemented(&'static str),
    /// The request asks for another protocol on its connection, on a route where there is none.
    #[error("this route does not switch to {protocol}")]
    UpgradeUnavailable {
        /// What was asked for.
        protocol: &'static str,
    },
    /// The client closed its connection before the response head.
    #[error("the client went away")]
    ClientGone,

    /// The guest ran into a trap: `unreachable`, a panic, a stack overflow.
    #[error("the worker trapped: {0}")]
    WorkerTrapped(String),
    /// The handler returned without a response.
    #[error("no response: the {0}")]
    WorkerNoResponse(&'static str),
    /// The handler answered with an error code of `wasi:http` instead of a response.
    #[error("the worker answered with an error: {0}")]
    WorkerError(String),
    /// Limit `cpu_time`.
    #[error("the worker used more than {limit:?} of CPU time")]
    WorkerCpuExceeded {
        /// The budget that was used up.
        limit: Duration,
    },
    /// Limit `memory`.
    #[error("the worker asked for more than {limit} bytes of memory")]
    WorkerMemoryExceeded {
        /// In bytes.
        limit: u64,
    },
    /// Limit `handles`.
    #[error("the worker held more than {limit} handles")]
    WorkerHandlesExceeded {
        /// How many.
        limit: u64,
    },
    /// Limit `hostcall_fuel`.
    #[error("the worker passed more than {limit} bytes to one host call")]
    WorkerHostcallExceeded {
        /// In bytes.
        limit: u64,
    },
    /// Limit `resource_table`.
    #[error("the worker held more than {limit} host resources")]
    WorkerResourcesExceeded {
        /// How many.
        limit: u64,
    },
    /// Limit `subrequests`.
    #[error("the worker made more than {limit} subrequests")]
    WorkerSubrequestsExceeded {
        /// How many.
        limit: u64,
    },
    /// Limit `response_header`.
    #[error("the worker's response header is larger than {limit} bytes")]
    WorkerHeaderTooLarge {
        /// In bytes.
        limit: u64,
    },
    /// Limit `response_body`.
    #[error("the worker's response body is larger than {limit} bytes")]
    WorkerBodyTooLarge {
        /// In bytes.
        limit: u64,
    },
    /// Limit `random_bytes`.
    #[error("the worker asked for more than {limit} random bytes at once")]
    WorkerRandomExceeded {
        /// In bytes.
        limit: u64,
    },
    /// Limit `wall_time`: no response head in time.
    #[error("the guest timed out: no response within {limit:?}")]
    WorkerTimeout {
        /// The time it had.
        limit: Duration,
    },
    /// Limit `stream_idle` or `stream_total`, after the response head.
    #[error("the response stream made no progress, or ran, for more than {limit:?}")]
    WorkerStreamTimeout {
        /// The time it had.
        limit: Duration,
    },
    /// Limit `wait_until`: work after the response took too long.
    #[error("work after the response took more than {limit:?}")]
    WorkerWaitUntilExceeded {
        /// The time it had.
        limit: Duration,
    },

    /// Egress to that destination is not allowed.
    #[error("egress denied: {0}")]
    EgressDenied(String),
    /// The origin's name did not resolve.
    #[error("the origin's name did not resolve: {0}")]
    OriginDns(String),
    /// The origin refused the connection, or could not be reached.
    #[error("the origin refused the connection: {0}")]
    OriginRefused(String),
    /// TLS with the origin failed.
    #[error("TLS with the origin failed: {0}")]
    OriginTls(String),
    /// The origin's certificate is not one that we trust for its name.
    #[error("the origin's certificate cannot be trusted: {0}")]
    OriginCertificate(String),
    /// The origin closed or reset the connection before its response head.
    #[error("the origin closed the connection: {0}")]
    OriginReset(String),
    /// The origin sent what is not HTTP.
    #[error("the origin's answer is not valid HTTP: {0}")]
    OriginInvalid(String),
    /// The origin took too long.
    #[error("the origin took more than {limit:?} {wait}")]
    OriginTimeout {
        /// What we waited for.
        wait: Wait,
        /// The time it had.
        limit: Duration,
    },
    /// Limit `loop_hops`: an origin, or a worker, sends requests back to this node.
    #[error("the request has passed this node {limit} times already: an origin or a worker leads back here")]
    LoopDetected {
        /// How often it may.
        limit: u64,
    },

    /// Limit `call_depth`: workers call each other, maybe in a circle.
    #[error("{limit} workers have called one another already: they may call in a circle")]
    CallsTooDeep {
        /// How many may.
        limit: u64,
    },
    /// Most calls of a worker have failed lately, so that its caller makes none for a while.
    #[error("the circuit breaker of service {service} is open: most calls have failed lately")]
    BreakerOpen {
        /// The worker that would be called.
        service: String,
    },

    /// The worker or the node is at its concurrency limit.
    #[error("overloaded: {reason}")]
    Overloaded {
        /// Which bound was met.
        reason: &'static str,
        /// The value of `Retry-After`.
        retry_after: Duration,
    },
    /// A bug of ours; the detail is for the log only.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Failure {
    /// The HTTP status that the client gets.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) | Self::AmbiguousToken { .. } => 400,
            Self::Unauthorized { .. } => 401,
            Self::InsufficientScope { .. } | Self::Forbidden(_) => 403,
            Self::RouteNotFound => 404,
            Self::MethodNotAllowed { .. } => 405,
            Self::RequestTimeout => 408,
            Self::RequestBodyTooLarge { .. } => 413,
            Self::UriTooLong { .. } => 414,
            Self::Misdirected(_) => 421,
            Self::RequestHeaderTooLarge => 431,
            // Never seen by anyone: nginx's number, for the log.
            Self::ClientGone => 499,
            Self::WorkerTrapped(_)
            | Self::WorkerNoResponse(_)
            | Self::WorkerError(_)
            | Self::WorkerCpuExceeded { .. }
            | Self::WorkerMemoryExceeded { .. }
            | Self::WorkerHandlesExceeded { .. }
            | Self::WorkerHostcallExceeded { .. }
            | Self::WorkerResourcesExceeded { .. }
            | Self::WorkerSubrequestsExceeded { .. }
            | Self::WorkerHeaderTooLarge { .. }
            | Self::WorkerBodyTooLarge { .. }
            | Self::WorkerRandomExceeded { .. }
            | Self::WorkerStreamTimeout { .. }
            | Self::WorkerWaitUntilExceeded { .. }
            | Self::Internal(_) => 500,
            Self::NotImplemented(_) => 501,
            Self::EgressDenied(_)
            | Self::OriginDns(_)
            | Self::OriginRefused(_)
            | Self::OriginTls(_)
            | Self::OriginCertificate(_)
            | Self::OriginReset(_)
            | Self::OriginInvalid(_)
            | Self::BreakerOpen { .. } => 502,
            Self::Overloaded { .. } => 503,
            Self::UpgradeUnavailable { .. } => 501,
            Self::WorkerTimeout { .. } | Self::OriginTimeout { .. } => 504,
            Self::LoopDetected { .. } | Self::CallsTooDeep { .. } => 508,
        }
    }

    /// The status that goes with the code of a limit (limits.toml), for whoever shows limits. `None` where a client sees no status: the
    /// code is of the log alone, or it has gone, or it has had the head of its response.
    #[must_use]
    pub fn status_of_limit(code: &str) -> Option<u16> {
        let (limit, time) = (0, Duration::ZERO);
        let failures = [
            Self::RequestTimeout,
            Self::RequestBodyTooLarge { limit },
            Self::UriTooLong { limit },
            Self::RequestHeaderTooLarge,
            Self::WorkerCpuExceeded { limit: time },
            Self::WorkerMemoryExceeded { limit },
            Self::WorkerHandlesExceeded { limit },
            Self::WorkerHostcallExceeded { limit },
            Self::WorkerResourcesExceeded { limit },
            Self::WorkerSubrequestsExceeded { limit },
            Self::WorkerHeaderTooLarge { limit },
            Self::WorkerBodyTooLarge { limit },
            Self::WorkerRandomExceeded { limit },
            Self::WorkerTimeout { limit: time },
            Self::LoopDetected { limit },
            Self::Overloaded { reason: "", retry_after: time },
        ];
        failures.iter().find(|failure| failure.code() == code).map(Self::status)
    }

    /// The stable name: header `eyot-error`, the body of the response, logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) | Self::AmbiguousToken { .. } => "bad_request",
            Self::Misdirected(_) => "misdirected_request",
            Self::Unauthorized { .. } => "unauthorized",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::Forbidden(_) => "forbidden",
            Self::RouteNotFound => "route_not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::RequestBodyTooLarge { .. } => "request_body_too_large",
            Self::UriTooLong { .. } => "uri_too_long",
            Self::RequestHeaderTooLarge => "request_header_too_large",
            Self::NotImplemented(_) => "not_implemented",
            Self::UpgradeUnavailable { .. } => "upgrade_unavailable",
            Self::ClientGone => "client_gone",
            Self::WorkerTrapped(_) => "worker_trapped",
            Self::WorkerNoResponse(_) => "worker_no_response",
            Self::WorkerError(_) => "worker_error",
            Self::WorkerCpuExceeded { .. } => "worker_cpu_exceeded",
            Self::WorkerMemoryExceeded { .. } => "worker_memory_exceeded",
            Self::WorkerHandlesExceeded { .. } => "worker_handles_exceeded",
            Self::WorkerHostcallExceeded { .. } => "worker_hostcall_exceeded",
            Self::WorkerResourcesExceeded { .. } => "worker_resources_exceeded",
            Self::WorkerSubrequestsExceeded { .. } => "worker_subrequests_exceeded",
            Self::WorkerHeaderTooLarge { .. } => "worker_header_too_large",
            Self::WorkerBodyTooLarge { .. } => "worker_body_too_large",
            Self::WorkerRandomExceeded { .. } => "worker_random_exceeded",
            Self::WorkerTimeout { .. } => "worker_timeout",
            Self::WorkerStreamTimeout { .. } => "worker_stream_timeout",
            Self::WorkerWaitUntilExceeded { .. } => "worker_wait_until_exceeded",
            Self::EgressDenied(_) => "egress_denied",
            Self::OriginDns(_) => "origin_dns",
            Self::OriginRefused(_) => "origin_refused",
            Self::OriginTls(_) => "origin_tls",
            Self::OriginCertificate(_) => "origin_certificate",
            Self::OriginReset(_) => "origin_reset",
            Self::OriginInvalid(_) => "origin_invalid",
            Self::OriginTimeout { .. } => "origin_timeout",
            Self::LoopDetected { .. } | Self::CallsTooDeep { .. } => "loop_detected",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::Overloaded { .. } => "overloaded",
            Self::Internal(_) => "internal",
        }
    }

    /// Who caused it.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::BadRequest(_)
            | Self::AmbiguousToken { .. }
            | Self::Misdirected(_)
            | Self::Unauthorized { .. }
            | Self::InsufficientScope { .. }
            | Self::Forbidden(_)
            | Self::RouteNotFound
            | Self::MethodNotAllowed { .. }
            | Self::RequestTimeout
            | Self::RequestBodyTooLarge { .. }
            | Self::UriTooLong { .. }
            | Self::RequestHeaderTooLarge
            | Self::NotImplemented(_)
            | Self::UpgradeUnavailable { .. }
            | Self::ClientGone => Fault::Client,
            Self::WorkerTrapped(_)
            | Self::WorkerNoResponse(_)
            | Self::WorkerError(_)
            | Self::WorkerCpuExceeded { .. }
            | Self::WorkerMemoryExceeded { .. }
            | Self::WorkerHandlesExceeded { .. }
            | Self::WorkerHostcallExceeded { .. }
            | Self::WorkerResourcesExceeded { .. }
            | Self::WorkerSubrequestsExceeded { .. }
            | Self::WorkerHeaderTooLarge { .. }
            | Self::WorkerBodyTooLarge { .. }
            | Self::WorkerRandomExceeded { .. }
            | Self::WorkerTimeout { .. }
            | Self::WorkerStreamTimeout { .. }
            | Self::WorkerWaitUntilExceeded { .. }
            | Self::EgressDenied(_)
            | Self::CallsTooDeep { .. }
            | Self::BreakerOpen { .. } => Fault::Worker,
            Self::OriginDns(_)
            | Self::OriginRefused(_)
            | Self::OriginTls(_)
            | Self::OriginCertificate(_)
            | Self::OriginReset(_)
            | Self::OriginInvalid(_)
            | Self::OriginTimeout { .. }
            | Self::LoopDetected { .. } => Fault::Origin,
            Self::Overloaded { .. } | Self::Internal(_) => Fault::Node,
        }
    }
}
