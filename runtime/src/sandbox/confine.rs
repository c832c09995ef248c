//! What a process gives up before it touches anything foreign: a second wall, for the day on which the first has a hole.
//!
//! Landlock takes away files and ports that are not named, seccomp takes away system calls that neither serving nor compiling needs.
//! Both hold for the calling thread and for those that it starts, so this comes before there is any other; neither can be undone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// What a process keeps.
#[derive(Clone, Debug, Default)]
pub struct Keeps {
    /// Files and folders that it reads.
    pub reads: Vec<PathBuf>,
    /// Folders in which it also makes, writes, renames and removes files.
    pub writes: Vec<PathBuf>,
    /// TCP ports that it may listen on; 0 stands for one that the kernel chooses.
    pub listens: Vec<u16>,
    /// Whether it may use the network at all.
    pub network: bool,
}

/// How much of this the kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confined {
    /// Files and ports.
    pub landlock: bool,
    /// System calls.
    pub seccomp: bool,
}

impl std::fmt::Display for Confined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match (self.landlock, self.seccomp) {
            (true, true) => "by Landlock and seccomp",
            (true, false) => "by Landlock alone",
            (false, true) => "by seccomp alone: this kernel has no Landlock",
            (false, false) => "by nothing: this kernel has neither Landlock nor seccomp",
        })
    }
}

/// Why a process could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// By Landlock.
    #[error("Landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// By seccomp.
    #[error("seccomp: {0}")]
    Seccomp(#[from] seccompiler::Error),
}

/// The newest set of rules that we know; on an older kernel those hold that it knows too.
const RULES: ABI = ABI::V6;

/// Gives up everything but this, for this thread and all that it will start.
///
/// # Errors
/// When the kernel has what is needed, and refuses all the same. A kernel that lacks it is no error: see the result.
pub fn confine(keeps: &Keeps) -> Result<Confined, ConfineError> {
    let landlock = confine_files(keeps)?;
    let seccomp = match confine_calls(keeps.network) {
        Ok(()) => true,
        // Built without it (seccomp(2), EINVAL) or forbidden from without.
        Err(seccompiler::Error::Seccomp(_) | seccompiler::Error::Prctl(_)) => false,
        Err(error) => return Err(error.into()),
    };
    Ok(Confined { landlock, seccomp })
}

fn confine_files(keeps: &Keeps) -> Result<bool, landlock::RulesetError> {
    let reads = AccessFs::ReadFile | AccessFs::ReadDir;
    let writes = AccessFs::from_all(RULES) & !AccessFs::Execute;
    let ports = keeps.listens.iter().map(|port| Ok(NetPort::new(*port, AccessNet::BindTcp)));
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RULES))?
        .handle_access(if keeps.network { AccessNet::BindTcp.into() } else { AccessNet::from_all(RULES) })?
        .scope(Scope::from_all(RULES))?
        .create()?
        .add_rules(path_beneath_rules(keeps.reads.iter().filter(|path| is_in_a_file_system(path)), reads))?
        .add_rules(path_beneath_rules(keeps.writes.iter().filter(|path| is_in_a_file_system(path)), writes))?
        .add_rules(ports.map(|port: Result<_, landlock::RulesetError>| port))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// Landlock knows what has a place in a file system. A pipe that `/dev/stdin` or `/dev/fd/63` stands for has none, and nobody takes it
/// away.
fn is_in_a_file_system(path: &Path) -> bool {
    path.canonicalize().is_ok()
}

/// What no process of ours does: run programs, attach to others, become somebody else, change the machine, or speak to the kernel
/// by ways that seccomp does not see.
const NEVER: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_open_tree,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_personality,
    libc::SYS_mknodat,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_fanotify_init,
];

/// The same in the older forms that only this processor has.
#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[libc::c_long] =
    &[libc::SYS_fork, libc::SYS_vfork, libc::SYS_mknod, libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[libc::c_long] = &[];

/// The last system call whose meaning was known when this was written (`mseal` of Linux 6.10), on every processor.
const KNOWN: libc::c_long = 462;

/// To whom a socket may lead: glibc asks the kernel for addresses of its own by netlink, and services of names by unix sockets.
const FAMILIES: [libc::c_int; 4] = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, libc::AF_NETLINK];

/// Lets through what is known and not among what is never done. Everything else does not exist: the C library then takes `clone`,
/// whose flags can be seen, in place of `clone3`, and a call in the numbering of another system finds nothing.
fn confine_calls(network: bool) -> seccompiler::Result<()> {
    let never = |call: &libc::c_long| NEVER.contains(call) || NEVER_HERE.contains(call) || *call == libc::SYS_clone3;
    let mut rules: BTreeMap<_, Vec<_>> =
        (0..=KNOWN).filter(|call| !never(call)).map(|call| (call, Vec::new())).collect();
    // A thread shares what its process has; without that flag it would be a process.
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, vec![when(SeccompCmpOp::MaskedEq(thread), thread)?]);
    if network {
        let families = FAMILIES.iter().map(|family| when(SeccompCmpOp::Eq, *family as u64));
        rules.insert(libc::SYS_socket, families.collect::<Result<_, _>>()?);
    } else {
        rules.remove(&libc::SYS_socket);
    }
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let unknown = SeccompAction::Errno(libc::ENOSYS as u32);
    let filter = SeccompFilter::new(rules, unknown, SeccompAction::Allow, architecture)?;
    apply_filter(&BpfProgram::try_from(filter)?)
}

/// A rule on the first argument.
fn when(operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value)?])
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;

    use super::*;

    /// What holds in a thread that is confined holds in a process that begins with it.
    fn confined<T: Send>(keeps: &Keeps, then: impl FnOnce() -> T + Send) -> Option<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let confined = confine(keeps).unwrap();
                // Said, since it would otherwise seem to have been tested.
                let complete = confined.landlock && confined.seccomp;
                (!complete).then(|| eprintln!("SKIPPED: this kernel confines {confined}"));
                complete.then(then)
            });
            thread.join().unwrap()
        })
    }

    #[test]
    fn files_that_are_not_named_can_neither_be_read_nor_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["kept/a", "state/b", "other/c"] {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            fs::write(path(name), name).unwrap();
        }
        let keeps = Keeps { reads: vec![path("kept/a")], writes: vec![path("state")], ..Keeps::default() };
        confined(&keeps, || {
            assert_eq!(fs::read_to_string(path("kept/a")).unwrap(), "kept/a");
            fs::write(path("kept/a"), "x").unwrap_err();
            fs::write(path("state/b"), "x").unwrap();
            fs::write(path("state/new"), "x").unwrap();
            fs::rename(path("state/new"), path("state/newer")).unwrap();
            fs::remove_file(path("state/newer")).unwrap();
            fs::read_to_string(path("other/c")).unwrap_err();
            fs::write(path("other/d"), "x").unwrap_err();
            fs::read_dir(path("other")).unwrap_err();
        });
    }

    #[test]
    fn no_program_can_be_run_and_no_process_be_made() {
        let keeps = Keeps { reads: vec!["/".into()], ..Keeps::default() };
        confined(&keeps, || {
            Command::new("/bin/true").status().unwrap_err();
            // Threads can.
            assert_eq!(std::thread::spawn(|| 1).join().unwrap(), 1);
        });
    }

    #[test]
    fn ports_that_are_not_named_cannot_be_listened_on_and_without_the_network_there_is_none() {
        let outside = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = outside.local_addr().unwrap();
        confined(&Keeps { network: true, ..Keeps::default() }, || {
            TcpStream::connect(there).unwrap();
            TcpListener::bind("127.0.0.1:0").unwrap_err();
        });
        confined(&Keeps { network: true, listens: vec![0], ..Keeps::default() }, || {
            TcpListener::bind("127.0.0.1:0").unwrap();
        });
        confined(&Keeps::default(), || TcpStream::connect(there).map(drop).unwrap_err());
    }
}
