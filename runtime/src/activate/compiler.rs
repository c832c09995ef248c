//! Compiling, in processes of their own: a component is foreign input to a large program, and compiling it is no sandbox.
//!
//! Two processes of this same binary stand behind a [`Compiler`]. The helper is started once, before this process gives up starting
//! others, and waits; for each component it starts a child that takes its limits upon itself, compiles, and ends. So a component
//! that makes the compiler take too long, take too much or fall over takes nothing with it.

mod child;
mod helper;

use std::io::{self, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, setpriority_process};
use serde::{Deserialize, Serialize};

use crate::sandbox::EngineKind;

pub use child::run as run_child;
pub use helper::run as run_helper;

/// The hidden subcommands of the binary.
pub const HELPER: &str = "compile-helper";
/// The one that the helper starts.
pub const CHILD: &str = "compile-child";

/// What one compilation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileLimits {
    /// Limit `compile_memory`, in bytes: writable memory of its own.
    pub memory: u64,
    /// Limit `compile_cpu`: on all cores together. The kernel counts whole seconds, so it is rounded up to them.
    pub cpu: Duration,
    /// Limit `compile_time`: from its start to its end.
    pub time: Duration,
}

/// Why a component has no code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum CompileError {
    /// The compiler says no.
    #[error("the component does not compile: {0}")]
    Refused(String),
    /// Limit `compile_memory`.
    #[error("compiling the component takes more than {} of memory (limit compile_memory)", bytesize::ByteSize(*.memory))]
    Memory {
        /// The limit, in bytes.
        memory: u64,
    },
    /// Limit `compile_cpu`.
    #[error("compiling the component takes more than {cpu:?} of CPU time (limit compile_cpu)")]
    Cpu {
        /// The limit.
        cpu: Duration,
    },
    /// Limit `compile_time`.
    #[error("compiling the component takes longer than {time:?} (limit compile_time)")]
    Time {
        /// The limit.
        time: Duration,
    },
    /// It ended in another way than by an answer.
    #[error("the compiler fell over: {0}")]
    Crashed(String),
    /// The helper cannot be started or reached. No fault of the component's.
    #[error("there is nobody to compile: {0}")]
    Unreachable(String),
}

impl CompileError {
    /// What to do.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Refused(_) | Self::Crashed(_) => {
                "build it again; if that does not help, with another version of its toolchain"
            }
            Self::Memory { .. } | Self::Cpu { .. } | Self::Time { .. } => {
                "make it smaller; if it is to be trusted, raise that limit for this node"
            }
            Self::Unreachable(_) => "see that the binary is where it was, and that processes can be started",
        }
    }
}

/// A component to compile; its bytes follow.
#[derive(Serialize, Deserialize)]
struct Job {
    kind: EngineKind,
    limits: CompileLimits,
    bytes: usize,
}

/// What came of it; that many bytes of code follow.
type Answer = Result<usize, CompileError>;

/// Who compiles for this node, one component after the other: each takes all cores.
#[derive(Debug)]
pub struct Compiler {
    limits: CompileLimits,
    helper: Mutex<Option<Helper>>,
}

impl Compiler {
    /// One whose processes are held to these limits. The helper starts with the first component, or by [`Self::start`].
    #[must_use]
    pub fn new(limits: CompileLimits) -> Self {
        Self { limits, helper: Mutex::default() }
    }

    /// Starts the helper, if it does not run.
    ///
    /// # Errors
    /// When no process can be started.
    pub fn start(&self) -> io::Result<()> {
        let mut helper = self.helper.lock().unwrap_or_else(PoisonError::into_inner);
        if helper.is_none() {
            *helper = Some(Helper::start()?);
        }
        Ok(())
    }

    /// The code of a component. Blocks for as long as compiling takes.
    ///
    /// # Errors
    /// See [`CompileError`].
    pub fn compile(&self, kind: EngineKind, component: &[u8]) -> Result<Vec<u8>, CompileError> {
        let mut helper = self.helper.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out, so that one which broke is not asked again.
        let mut asked = match helper.take() {
            Some(helper) => helper,
            None => Helper::start().map_err(|error| CompileError::Unreachable(error.to_string()))?,
        };
        let job = Job { kind, limits: self.limits, bytes: component.len() };
        let answer = asked.ask(&job, component).map_err(|error| CompileError::Unreachable(error.to_string()))?;
        *helper = Some(asked);
        answer
    }
}

/// A node that starts, and requests, come before what is compiled beside them, which has a tenth of a core that all want.
const NICE: i32 = 10;

#[derive(Debug)]
struct Helper {
    process: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Helper {
    fn start() -> io::Result<Self> {
        let mut process =
            this_program().arg(HELPER).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        // Where that is refused, compiling and starting have the same claim to a core.
        let _ = setpriority_process(Some(Pid::from_child(&process)), NICE);
        let to = process.stdin.take();
        let from = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { process, to, from: BufReader::new(from) })
    }

    fn ask(&mut self, job: &Job, component: &[u8]) -> io::Result<Result<Vec<u8>, CompileError>> {
        let to = self.to.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        frame::write(to, job, component)?;
        let (answer, code) = frame::read(&mut self.from, |answer: &Answer| answer.as_ref().copied().unwrap_or(0))?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(answer.map(|_| code))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It ends at the end of its input.
        self.to = None;
        let _ = self.process.wait();
    }
}

/// This binary, even where another one has its path by now.
#[must_use]
pub fn this_program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("eyot");
    command
}

/// A line of JSON, then as many bytes as it says.
mod frame {
    use std::io::{self, BufRead, Read, Write};

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    pub(super) fn write(to: &mut impl Write, head: &impl Serialize, bytes: &[u8]) -> io::Result<()> {
        let mut line = serde_json::to_vec(head)?;
        line.push(b'\n');
        to.write_all(&line)?;
        to.write_all(bytes)?;
        to.flush()
    }

    /// `None` where the other side has ended in good order.
    pub(super) fn read<T: DeserializeOwned>(
        from: &mut impl BufRead,
        length: impl FnOnce(&T) -> usize,
    ) -> io::Result<Option<(T, Vec<u8>)>> {
        let mut line = Vec::new();
        if from.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let head: T = serde_json::from_slice(&line)?;
        let length = length(&head);
        let mut bytes = Vec::with_capacity(length);
        from.take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some((head, bytes)))
    }
}
