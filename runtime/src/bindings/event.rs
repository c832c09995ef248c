//! What a guest may learn of what it was started for.

use std::sync::Arc;

use crate::auth::Identity;
use crate::http::Client;

/// The circumstances of an invocation, besides what it is to handle.
#[derive(Clone, Debug)]
pub struct Event {
    /// Of a request; nobody has asked for anything else.
    pub asked_by: Option<AskedBy>,
    /// The id of the request, or one of its own, for the guest's log lines.
    pub request_id: crate::observe::RequestId,
    /// The trace that subrequests belong to.
    pub trace: crate::observe::Trace,
    /// Where their spans go, if anywhere.
    pub tracer: Option<crate::observe::Tracer>,
    /// The nodes that it has passed, for subrequests to tell.
    pub passed: crate::egress::Passed,
    /// What it takes to call other workers, if it may call any.
    pub calls: Option<Arc<super::Calls>>,
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub struct AskedBy {
    /// Who asked, if the route demanded a token.
    pub identity: Option<Arc<Identity>>,
    /// From where.
    pub client: Arc<Client>,
    /// HTTP/1.0, HTTP/1.1, HTTP/2 or HTTP/3.
    pub protocol: ::http::Version,
    /// The worker that has called this one on behalf of whoever sent it.
    pub caller: Option<Arc<str>>,
}
