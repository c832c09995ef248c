//! The process that compiles one component, under limits of its own.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use rustix::thread::disable_transparent_huge_pages;

use super::{CompileError, CompileLimits};
use crate::sandbox::{self, EngineKind, Keeps};

/// So much of what is wrong with a component is said, in bytes: its names come from strangers.
const REFUSAL: usize = 4 << 10;

/// Reads a component from stdin and writes its code to stdout.
///
/// # Errors
/// When the limits cannot be set or the pipes break. What is wrong with the component is said on stderr, as JSON, with exit code 1.
pub fn run(job: &str) -> io::Result<ExitCode> {
    let (kind, limits): (EngineKind, CompileLimits) = serde_json::from_str(job)?;
    // A compiler needs much memory, and gives it back at once.
    let _ = disable_transparent_huge_pages(false);
    confine(limits)?;
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component)?;
    match sandbox::compile(kind, &component) {
        Ok(code) => {
            io::stdout().lock().write_all(&code)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let mut why = format!("{error:#}");
            why.truncate(why.floor_char_boundary(REFUSAL));
            let error = CompileError::Refused(why);
            writeln!(io::stderr(), "{}", serde_json::to_string(&error)?)?;
            Ok(ExitCode::from(1))
        }
    }
}

/// Before the first byte of the component is read.
fn confine(limits: CompileLimits) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let limit = |resource, most: u64| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    limit(Resource::Data, limits.memory)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    let seconds = limits.cpu.as_secs() + u64::from(limits.cpu.subsec_nanos() > 0);
    // At the soft limit comes a signal that names the cause; whoever outlives it meets the hard one.
    setrlimit(Resource::Cpu, Rlimit { current: Some(seconds), maximum: Some(seconds + 1) })?;
    // How many cores there are is read from here.
    let reads = ["/proc/self", "/sys/fs/cgroup"].map(Into::into).to_vec();
    sandbox::confine(&Keeps { reads, ..Keeps::default() }).map_err(io::Error::other)?;
    Ok(())
}
