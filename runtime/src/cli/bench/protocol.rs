//! What this process and the one that serves say to each other: a line of JSON for each order, and one for its reply.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::scenario::Scenario;
use crate::config::Diagnostic;

/// How the process that serves begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    /// The core that it runs on, with all that it starts.
    pub(super) core: usize,
    pub(super) scenario: Scenario,
    /// By how many it is asked at once, at most.
    pub(super) connections: usize,
    pub(super) component: PathBuf,
    /// The folder of compiled code.
    pub(super) state: PathBuf,
    /// Where the access log goes.
    pub(super) access_log: PathBuf,
    pub(super) request: Asked,
}

/// The request that is made again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Compile the component, and tell what that took.
    Compile,
    /// Start the node, and beside it the plain handler.
    Serve,
    /// Tell what was used since the start.
    Use,
    /// The same, and count the peak of memory from here on.
    UseFromHere,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Compiled(Compiled),
    Serving(Serving),
    Used(Used),
    /// The component or the machine does not allow it.
    Faults(Vec<Diagnostic>),
    /// It went wrong.
    Failed(String),
}

/// What compiling once took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Compiled {
    pub(super) time_us: f64,
    /// The most that one of the processes had in memory.
    pub(super) peak_bytes: u64,
}

/// Where it listens.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Serving {
    pub(super) node: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) plain: SocketAddr,
}

/// What the whole process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Used {
    /// User and system time.
    pub(super) cpu_us: u64,
    /// Page faults for which no disk was read.
    pub(super) faults: u64,
    pub(super) resident_bytes: u64,
    /// Since [`Order::UseFromHere`]; none where the kernel does not forget the peak before.
    pub(super) peak_bytes: Option<u64>,
}
