//! The process that starts the others: it holds nothing, so it may.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;

use super::{CHILD, CompileError, Job, frame, this_program};
use crate::config::{WITHOUT_LIMITS, held};

/// A child's last words are read up to here, in bytes: a refusal whose every character JSON escapes fits.
const WORDS: u64 = 32 << 10;

/// Compiles what comes on stdin, until its end.
///
/// # Errors
/// When whom it works for cannot be understood or reached.
pub fn run() -> io::Result<()> {
    std::thread::spawn(end_with_the_other_side);
    let (mut from, mut to) = (BufReader::new(io::stdin().lock()), io::stdout().lock());
    while let Some((job, component)) = frame::read(&mut from, |job: &Job| job.bytes)? {
        match compile(&job, component) {
            Ok(code) => frame::write(&mut to, &Ok::<_, CompileError>(code.len()), &code)?,
            Err(error) => frame::write(&mut to, &Err::<usize, _>(error), &[])?,
        }
    }
    Ok(())
}

/// Whoever has gone needs no code: the child ends with this process.
fn end_with_the_other_side() {
    let stdin = io::stdin();
    let mut gone = [PollFd::new(&stdin, PollFlags::empty())];
    while poll(&mut gone, None).is_err() {}
    std::process::exit(0);
}

fn compile(job: &Job, component: Vec<u8>) -> Result<Vec<u8>, CompileError> {
    let unreachable = |error: io::Error| CompileError::Unreachable(error.to_string());
    let kind = serde_json::to_string(&(job.kind, job.limits)).map_err(|error| unreachable(error.into()))?;
    let mut child = this_program()
        .args([CHILD, &kind])
        .env_clear()
        // The allocator would begin with a reserve of 1 GiB, all of which counts as writable memory.
        .env("MIMALLOC_ARENA_RESERVE", "32M")
        // Else its code would be for guests that are held to their limits.
        .envs((!held()).then_some((WITHOUT_LIMITS, "1")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(unreachable)?;
    let (to, from, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = std::thread::spawn(move || to.map(|mut to| to.write_all(&component)));
    let words = std::thread::spawn(move || {
        let mut words = Vec::new();
        err.map(|err| err.take(WORDS).read_to_end(&mut words));
        String::from_utf8_lossy(&words).trim().to_owned()
    });
    let (done, code) = mpsc::channel();
    std::thread::spawn(move || {
        let mut code = Vec::new();
        let read = from.map(|mut from| from.read_to_end(&mut code));
        done.send(read.unwrap_or(Ok(0)).map(|_| code))
    });
    let code = code.recv_timeout(job.limits.time);
    if code.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(unreachable)?;
    let _ = feed.join();
    let words = words.join().unwrap_or_default();
    match code {
        Err(_) => Err(CompileError::Time { time: job.limits.time }),
        Ok(code) if status.success() => code.map_err(unreachable),
        Ok(_) => Err(why(job, status, words)),
    }
}

/// What an end without code means.
fn why(job: &Job, status: ExitStatus, words: String) -> CompileError {
    let limits = job.limits;
    match status.signal() {
        Some(signal) if signal == Signal::XCPU.as_raw() => CompileError::Cpu { cpu: limits.cpu },
        _ if OUT_OF_MEMORY.iter().any(|said| words.contains(said)) => CompileError::Memory { memory: limits.memory },
        Some(signal) => CompileError::Crashed(format!("signal {signal}: {words}")),
        None if status.code() == Some(1) => serde_json::from_str(&words).unwrap_or(CompileError::Crashed(words)),
        None => CompileError::Crashed(words),
    }
}

/// What is said for want of memory: by the standard library before it aborts, and by the kernel (ENOMEM).
const OUT_OF_MEMORY: [&str; 2] = ["memory allocation of", "os error 12"];
