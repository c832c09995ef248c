//! Starts the process that takes over from this one, which may not start programs itself.
//!
//! A helper is started before this process gives up that right, as for compiling. It can do one thing: start what this process was
//! started by, once more, with `--take-over`. So whoever gets to command this process gains no more by it than a restart.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{SigSet, Signal};

/// The hidden subcommand of the helper.
pub const HELPER: &str = "successor-helper";

/// The option that it adds.
const TAKE_OVER: &str = "--take-over";

/// The helper, which ends with this process.
#[derive(Debug)]
pub struct Starter {
    helper: Mutex<Helper>,
}

#[derive(Debug)]
struct Helper {
    socket: UnixStream,
    is_heard: bool,
    _process: Child,
}

impl Starter {
    /// Starts the helper, which has this process's program, arguments, folder and environment. What goes on on stdout and stderr is the
    /// new process's, too.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start() -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let program = std::env::current_exe()?;
        let process = Command::new(program)
            .arg(HELPER)
            .args(["--"])
            .args(std::env::args_os())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        Ok(Self { helper: Mutex::new(Helper { socket, is_heard: false, _process: process }) })
    }

    /// Starts a process that takes over, unless one is at it. What becomes of it is told by itself, and its end in the log.
    ///
    /// # Errors
    /// The helper is gone.
    pub fn begin(&self) -> io::Result<()> {
        let mut helper = self.helper.lock().unwrap_or_else(PoisonError::into_inner);
        if !helper.is_heard {
            let words = BufReader::new(helper.socket.try_clone()?);
            std::thread::Builder::new().name("eyot-starter".to_owned()).spawn(move || tell(words))?;
            helper.is_heard = true;
        }
        helper.socket.write_all(b"\n")
    }
}

fn tell(words: impl BufRead) {
    for word in words.lines().map_while(Result::ok) {
        match word.strip_prefix(STARTED) {
            Some(process) => tracing::info!(process, "a process that is to take over has been started"),
            None => tracing::error!("this process serves on: {word}"),
        }
    }
}

const STARTED: &str = "started ";

/// What an operator sends to all processes of a node is for the one that serves, and must not end those that work for it. Whoever they
/// start hears everything again: the standard library sees to that.
pub fn deaf_to_operators() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGHUP);
    signals.add(Signal::SIGUSR2);
    // Then they end it, as they would anyhow.
    let _ = signals.thread_block();
}

/// Starts this program once more for each line that comes, until their end.
///
/// # Errors
/// When whom it works for cannot be understood or reached.
pub fn run_helper(arguments: &[OsString]) -> io::Result<()> {
    let Some((program, arguments)) = arguments.split_first() else { return Ok(()) };
    // Both ways; the standard library knows it as something to read from.
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let busy = Arc::new(AtomicBool::new(false));
    let mut asked = [0];
    while socket.read(&mut asked)? > 0 {
        if busy.swap(true, Relaxed) {
            writeln!(socket, "another one is at it")?;
            continue;
        }
        match successor(program, arguments).spawn() {
            Err(error) => {
                busy.store(false, Relaxed);
                writeln!(socket, "{} cannot be started: {error}", program.display())?;
            }
            Ok(mut child) => {
                writeln!(socket, "{STARTED}{}", child.id())?;
                let (mut socket, busy) = (socket.try_clone()?, Arc::clone(&busy));
                std::thread::spawn(move || {
                    let end = child.wait();
                    busy.store(false, Relaxed);
                    match end {
                        Ok(status) => writeln!(socket, "the process that was to take over has ended: {status}"),
                        Err(error) => writeln!(socket, "{error}"),
                    }
                });
            }
        }
    }
    Ok(())
}

/// By the name by which this one was started, so that it is what an upgrade has put there.
fn successor(program: &OsString, arguments: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    if !arguments.iter().any(|argument| argument == TAKE_OVER) {
        command.arg(TAKE_OVER);
    }
    // Not this process's: it gets its sockets from the one that serves, and that one's id is not its own.
    for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_is_started_as_this_process_was_and_told_to_take_over_once() {
        let arguments = |given: &[&str]| -> Vec<String> {
            let given: Vec<OsString> = given.iter().map(OsString::from).collect();
            let command = successor(&"eyot".into(), &given);
            command.get_args().map(|argument| argument.to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(arguments(&["serve", "--config", "a b"]), ["serve", "--config", "a b", "--take-over"]);
        assert_eq!(arguments(&["serve", "--take-over"]), ["serve", "--take-over"]);
    }
}
