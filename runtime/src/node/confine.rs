//! What a node that serves keeps of this process's rights; everything else it gives up before it reads the first component.

use std::fs;
use std::path::{Path, PathBuf};

use super::state_folder;
use crate::config;
use crate::observe::Destination;
use crate::sandbox::{self, ConfineError, Confined, Keeps};

/// What the C library reads to resolve names, rustls to trust origins, and the node to know its cores and its use of memory.
const SYSTEM: [&str; 11] = [
    "/etc",
    "/proc",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/share/zoneinfo",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
];

/// Gives up all but what this configuration needs, which stands in these files, for this thread and those that it starts. Threads that run already keep
/// everything, so there should be none.
///
/// # Errors
/// When the kernel refuses what it has.
pub fn confine(
    node: &config::Node,
    configuration: &[&Path],
    access: Option<&Destination>,
) -> Result<Confined, ConfineError> {
    let listeners = node.listeners.iter().map(|listener| listener.address);
    let admin = node.admin.as_ref().map(|admin| admin.address);
    sandbox::confine(&Keeps {
        reads: reads(node, configuration),
        writes: writes(node, access),
        listens: listeners.chain(admin).map(|address| address.port()).collect(),
        network: true,
    })
}

/// What confining would come to on this machine; tried in a thread of its own, which ends with it.
///
/// # Errors
/// When the kernel refuses what it has.
pub fn confinement() -> Result<Confined, ConfineError> {
    let tried = std::thread::spawn(|| sandbox::confine(&Keeps::default())).join();
    tried.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn reads(node: &config::Node, configuration: &[&Path]) -> Vec<PathBuf> {
    let mut reads: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    // It often leads elsewhere, to a file that is replaced from time to time.
    let resolver = Path::new("/etc/resolv.conf").canonicalize().ok();
    reads.extend(resolver.and_then(|file| file.parent().map(Path::to_owned)));
    reads.extend(std::env::var_os("SSL_CERT_FILE").map(PathBuf::from));
    reads.extend(std::env::var_os("SSL_CERT_DIR").iter().flat_map(std::env::split_paths));
    // To show the lines that have faults.
    reads.extend(configuration.iter().map(|file| file.to_path_buf()));
    reads.extend(node.workers.iter().map(|worker| worker.folder.join("eyot.toml")));
    // For the names in a backtrace.
    reads.extend(std::env::current_exe());
    let files = node.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    reads.extend(files.flat_map(|tls| [tls.certificate.clone(), tls.key.clone()]));
    reads.extend(node.origins.iter().filter_map(|origin| origin.certificate_authority.clone()));
    reads.extend(node.workers.iter().map(|worker| worker.component.clone()));
    let auths = node.auths.iter().chain(node.workers.iter().filter_map(|worker| worker.own_auth.as_ref()));
    reads.extend(auths.flat_map(|auth| auth.keys.iter().map(|key| key.file.clone())));
    reads
}

fn writes(node: &config::Node, access: Option<&Destination>) -> Vec<PathBuf> {
    let state = state_folder(node);
    let log = match access {
        Some(Destination::File(file)) => Some(file.clone()),
        _ => None,
    };
    // What is not there cannot be named. Whoever uses it says what is wrong with it.
    if let Some(state) = &state {
        let _ = fs::create_dir_all(state);
    }
    if let Some(log) = &log {
        let _ = fs::OpenOptions::new().append(true).create(true).open(log);
    }
    state.into_iter().chain(log).collect()
}
