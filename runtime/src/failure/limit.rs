//! The statuses of the codes that stand in limits.toml. A table of limits has codes and no failures, so here is a failure for each.

use std::time::Duration;

use super::Failure;

impl Failure {
    /// The status that goes with the code of a limit; none for a code that ends no request.
    #[must_use]
    pub fn status_of_limit(code: &str) -> Option<u16> {
        Self::of_limits().iter().find(|failure| failure.code() == code).map(Self::status)
    }

    /// One failure of each kind in which a limit can end a request. What the limit was does not matter here.
    fn of_limits() -> [Self; 19] {
        let (limit, time) = (0, Duration::ZERO);
        [
            Self::RequestTimeout,
            Self::RequestBodyTooLarge { limit },
            Self::UriTooLong { limit },
            Self::RequestHeaderTooLarge,
            Self::ClientGone,
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
            Self::WorkerStreamTimeout { limit: time },
            Self::WorkerWaitUntilExceeded { limit: time },
            Self::LoopDetected { limit },
            Self::Overloaded { reason: "", retry_after: time },
        ]
    }
}
