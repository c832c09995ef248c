//! The hostile workers: each is asked for one thing that must end it, by connections of its own.

use std::path::{Path, PathBuf};

use crate::harness::fixtures;
use crate::harness::load::{Pace, Stream};

/// One hostile worker.
pub struct Worker {
    /// Its name and, before `.test`, its host.
    pub name: &'static str,
    guest: Guest,
    path: &'static str,
    limits: &'static str,
    connections: usize,
    pace: Pace,
    expect: &'static [(u16, &'static str)],
}

/// What it is made of.
enum Guest {
    /// The fixture, by the path that it is asked for.
    Fixture,
    /// One of `tests/guests/wat`.
    Text(&'static str),
}

/// Short, so that many guests can spin in a minute.
const CPU: &str = "cpu_time = \"50ms\"";
/// Where another limit is to be met first.
const MUCH_CPU: &str = "cpu_time = \"10s\"";

const ENDS_AT_CPU: &[(u16, &str)] = &[(500, "worker_cpu_exceeded")];
const TRAPS: &[(u16, &str)] = &[(500, "worker_trapped")];
/// Where the node has no more memory to give, that is the answer, and in a short run there may be no other.
const ENDS_AT_MEMORY: &[(u16, &str)] = &[(500, "worker_memory_exceeded"), (503, "overloaded")];
const ENDS_AT_HOST_CALL: &[(u16, &str)] = &[(500, "worker_hostcall_exceeded"), (503, "overloaded")];
const TIMES_OUT: &[(u16, &str)] = &[(504, "worker_timeout")];
const IS_SERVED: &[(u16, &str)] = &[(200, "")];
/// It is told of each subrequest that is refused; should it have no time left to answer, that is why.
const ENDS_AT_SUBREQUESTS: &[(u16, &str)] = &[(200, ""), (500, "worker_subrequests_exceeded")];

/// The worker whose permits are counted at the end, and how many it has.
pub const SLEEPER: &str = "sleeper";
pub const SLEEPERS: usize = 100;

/// The worker whose answers the hostile clients leave unread.
pub const UNREAD: &str = "unread";

#[rustfmt::skip]
pub const WORKERS: &[Worker] = &[
    fixture("spin", "/spin", CPU, 4, ENDS_AT_CPU),
    text("spin-start", CPU, ENDS_AT_CPU),
    fixture("host-calls", "/host-calls?via=clock", CPU, 2, ENDS_AT_CPU),
    fixture("spin-after-answer", "/background?ms=60000&spin=1", CPU, 2, IS_SERVED),
    text("memory-fill", CPU, ENDS_AT_CPU),
    text("memory-copy", CPU, ENDS_AT_CPU),
    text("memory-bomb", MUCH_CPU, ENDS_AT_MEMORY),
    steadily(text("huge-memory", MUCH_CPU, ENDS_AT_MEMORY)),
    steadily(text("table-grow", MUCH_CPU, TRAPS)),
    text("deep-recursion", MUCH_CPU, TRAPS),
    steadily(text("trap-start", MUCH_CPU, TRAPS)),
    steadily(fixture("trap", "/trap", MUCH_CPU, 2, TRAPS)),
    steadily(fixture("panic", "/panic", MUCH_CPU, 2, TRAPS)),
    steadily(fixture("no-response", "/no-response", MUCH_CPU, 2, &[(500, "worker_no_response")])),
    fixture("handles", "/handles?n=1000000", "cpu_time = \"10s\"\nresource_table = 100000", 2, &[(500, "worker_handles_exceeded")]),
    fixture("resources", "/handles?n=1000000", "cpu_time = \"10s\"\nhandles = 100000", 2, &[(500, "worker_resources_exceeded")]),
    fixture("header-flood", "/headers?n=30000&bytes=0", MUCH_CPU, 2, &[(500, "worker_header_too_large")]),
    fixture("host-copy", "/hostcall?bytes=60000000&via=stdout", MUCH_CPU, 2, ENDS_AT_HOST_CALL),
    steadily(fixture("random", "/random?bytes=4294967296", MUCH_CPU, 2, &[(500, "worker_random_exceeded")])),
    fixture("empty-writes", "/empty-writes?n=100000", MUCH_CPU, 2, IS_SERVED),
    // So many bytes that most are dropped: one takes what a worker's share of a core is in two seconds. We read what the node
    // writes, on the generator's core: no more often than this.
    Worker { pace: Pace::Open(0.4), ..fixture("log-flood", "/log?bytes=5000000", MUCH_CPU, 2, IS_SERVED) },
    Worker { pace: Pace::Open(4.0), ..fixture("log-forgery", "/log-nasty", MUCH_CPU, 2, IS_SERVED) },
    fixture("subrequests", "/fetch?url=http%3A%2F%2Fo.origin.internal%2F&n=1000", MUCH_CPU, 2, ENDS_AT_SUBREQUESTS),
    fixture(SLEEPER, "/sleep?ms=60000", "wall_time = \"2500ms\"\nconcurrency = 100", SLEEPERS, TIMES_OUT),
    // Asked by hostile clients only.
    fixture(UNREAD, "/", "stream_idle = \"2s\"\nwait_until = \"500ms\"\nresponse_body = \"1TiB\"", 0, &[]),
];

const fn fixture(
    name: &'static str,
    path: &'static str,
    limits: &'static str,
    connections: usize,
    expect: &'static [(u16, &'static str)],
) -> Worker {
    Worker { name, guest: Guest::Fixture, path, limits, connections, pace: Pace::Closed, expect }
}

const fn text(name: &'static str, limits: &'static str, expect: &'static [(u16, &'static str)]) -> Worker {
    Worker { name, guest: Guest::Text(name), path: "/", limits, connections: 2, pace: Pace::Closed, expect }
}

/// What ends at once is asked so often in a second: more would be a flood of requests, which any worker could be asked for.
const RATE: f64 = 50.0;

const fn steadily(worker: Worker) -> Worker {
    Worker { pace: Pace::Open(RATE), ..worker }
}

impl Worker {
    /// Its folder's eyot.toml.
    pub fn manifest(&self, folder: &Path) -> String {
        let component: PathBuf = match self.guest {
            Guest::Fixture => fixtures::fixture(),
            Guest::Text(name) => fixtures::text(name, folder),
        };
        let (name, limits) = (self.name, self.limits);
        let origins = if name == "subrequests" { "origins = [\"o\"]\n" } else { "" };
        let lines = format!("{origins}[[route]]\nhost = \"{name}.test\"\npath = \"/*\"\n[limits]\n{limits}");
        fixtures::worker(name, &component, &lines)
    }

    /// What the load generator asks it; `host` is what it is asked for.
    pub fn stream<'a>(&self, host: &'a str) -> Stream<'a> {
        Stream { host, path: self.path, connections: self.connections, pace: self.pace, expect: self.expect }
    }

    /// Whether the load generator asks it at all.
    pub fn is_asked(&self) -> bool {
        self.connections > 0
    }
}
