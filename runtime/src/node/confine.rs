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

/// Gives up all but what this configuration needs, which stands in these files, for this thread and those that it starts. Threads that run
/// already keep everything, so there should be none.
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
    // What is renewed is another file of the same name, so it is the folders that are kept.
    let files = node.listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(config::ListenerTls::files);
    reads.extend(files.flat_map(|file| folders(file)));
    reads.extend(node.origins.iter().filter_map(|origin| origin.certificate_authority.clone()));
    reads.extend(node.workers.iter().map(|worker| worker.component.clone()));
    reads.extend(node.secrets_key.clone());
    // A server may be connected to only when the first worker comes that needs it.
    reads.extend(node.backends.credentials().cloned());
    reads.extend(node.acme.iter().flat_map(config::Acme::files).cloned());
    let auths = node.auths.iter().chain(node.workers.iter().filter_map(|worker| worker.own_auth.as_ref()));
    reads.extend(auths.flat_map(|auth| auth.keys.iter().map(|key| key.file.clone())));
    reads
}

/// A file and the folders in which it lies: by its name and, where that is a link, by those that the link leads to. The root is no
/// such folder, as that would be all files.
fn folders(file: &Path) -> Vec<PathBuf> {
    const LINKS: usize = 40; // path_resolution(7)
    let (mut kept, mut path) = (vec![file.to_owned()], file.to_owned());
    for _ in 0..LINKS {
        let Some(folder) = path.parent() else { break };
        if folder.canonicalize().is_ok_and(|folder| folder.parent().is_some()) {
            kept.push(folder.to_owned());
        }
        let Ok(target) = fs::read_link(&path) else { break };
        path = folder.join(target);
    }
    kept
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
    let store = node.store.clone();
    if let Some(store) = &store {
        let _ = fs::create_dir_all(store);
    }
    let backups = node.backups.clone();
    if let Some(backups) = &backups {
        let _ = fs::create_dir_all(backups);
    }
    state.into_iter().chain(log).chain(store).chain(backups).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_kept_with_the_folders_of_all_links_on_the_way_to_it() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for folder in ["live/a", "archive/a", "tls/..2026"] {
            fs::create_dir_all(path(folder)).unwrap();
        }
        for file in ["archive/a/cert1.pem", "tls/..2026/tls.crt"] {
            fs::write(path(file), "").unwrap();
        }
        // As certbot does it, and as Kubernetes does.
        symlink("../../archive/a/cert1.pem", path("live/a/cert.pem")).unwrap();
        symlink("..2026", path("tls/..data")).unwrap();
        symlink("..data/tls.crt", path("tls/tls.crt")).unwrap();
        let kept = |file: &str| -> Vec<PathBuf> {
            folders(&path(file)).iter().map(|kept| kept.canonicalize().unwrap()).collect()
        };
        assert!(kept("live/a/cert.pem").contains(&path("live/a").canonicalize().unwrap()));
        assert!(kept("live/a/cert.pem").contains(&path("archive/a").canonicalize().unwrap()));
        assert!(kept("tls/tls.crt").contains(&path("tls").canonicalize().unwrap()));
    }

    #[test]
    fn the_root_of_all_files_is_never_kept() {
        assert_eq!(folders(Path::new("/cert.pem")), [Path::new("/cert.pem")]);
    }
}
