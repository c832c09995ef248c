//! What a guest may learn of the request that it answers.

use std::sync::Arc;

use crate::auth::Identity;
use crate::http::Client;

/// The request's circumstances, besides the request itself.
#[derive(Clone, Debug)]
pub struct Event {
    /// Who asked, if the route demanded a token.
    pub identity: Option<Arc<Identity>>,
    /// From where.
    pub client: Arc<Client>,
    /// HTTP/1.0, HTTP/1.1, HTTP/2 or HTTP/3.
    pub protocol: ::http::Version,
    /// The id of the request, for the guest's log lines.
    pub request_id: crate::observe::RequestId,
    /// The trace that subrequests belong to.
    pub trace: crate::observe::Trace,
    /// Where their spans go, if anywhere.
    pub tracer: Option<crate::observe::Tracer>,
    /// The nodes that it has passed, for subrequests to tell.
    pub passed: crate::egress::Passed,
}
