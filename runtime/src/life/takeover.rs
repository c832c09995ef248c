//! The process that takes over: it comes by what another one has, and serves in its place.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::claim::{Claim, ClaimError, socket};
use super::wire::{Heard, Line, PROTOCOL, Word};
use crate::config::{Diagnostic, Place};
use crate::ingress::Given;

/// A conversation with the process that serves.
#[derive(Debug)]
pub struct TakeOver {
    line: Line,
    folder: PathBuf,
    /// The other process.
    pub process: u32,
    /// Tells when it has ended.
    alive: OwnedFd,
}

/// Why no place could be taken. The other process serves on.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// It has said so.
    #[error("process {process} does not let go of its place: {why}")]
    Refused {
        /// Who.
        process: u32,
        /// What it says.
        why: String,
    },
    /// It cannot be reached, or not be understood.
    #[error("no place can be taken from the process that runs from the state folder {}: {source}", folder.display())]
    Lost {
        /// Whose process.
        folder: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// Nobody has it, and this process cannot either.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

impl From<TakeOverError> for Diagnostic {
    fn from(error: TakeOverError) -> Self {
        let message = error.to_string();
        match error {
            TakeOverError::Claim(error) => error.into(),
            TakeOverError::Refused { .. } => Self::new(Place::default(), message, "the log of that process says more"),
            TakeOverError::Lost { folder, .. } => {
                Self::new(Place::file(folder), message, "stop that process, or wait until it has ended")
            }
        }
    }
}

/// How long whoever has the claim may be out of reach: a process that has just taken over, or one that ends.
const REACH: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);

/// It answers at once, unless it speaks with another one.
const ANSWER: Duration = Duration::from_secs(10);

/// State is let go of within this time.
const STATE: Duration = Duration::from_secs(60);

impl TakeOver {
    /// Asks the process that runs from this state folder for its sockets. `None`: there is none, and the folder is this process's.
    ///
    /// # Errors
    /// There is one, and it cannot be taken over from.
    pub fn begin(folder: &Path, given: &mut Given) -> Result<(Claim, Option<Self>), TakeOverError> {
        let until = Instant::now() + REACH;
        loop {
            match Claim::take(folder) {
                Ok(claim) => return Ok((claim, None)),
                Err(ClaimError::Held { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            match Line::connect(&socket(folder)) {
                Ok(line) => return Self::ask(line, folder, given).map(|(claim, this)| (claim, Some(this))),
                Err(source) if Instant::now() > until => {
                    return Err(TakeOverError::Lost { folder: folder.to_owned(), source });
                }
                Err(_) => std::thread::park_timeout(AGAIN),
            }
        }
    }

    /// The sockets go to what is given, the claim to whoever asks.
    pub(super) fn ask(line: Line, folder: &Path, given: &mut Given) -> Result<(Claim, Self), TakeOverError> {
        let lost = |source| TakeOverError::Lost { folder: folder.to_owned(), source };
        let (process, alive) = line.process().map_err(lost)?;
        let this = Self { line, folder: folder.to_owned(), process, alive };
        this.say(&Word::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() })?;
        let mut claim = None;
        loop {
            match this.line.hear(Some(ANSWER)).map_err(lost)? {
                Heard::Word(Word::Claim { .. }, Some(file)) => claim = Some(Claim::passed_on(folder, file)),
                Heard::Word(Word::Socket { configured }, Some(socket)) => {
                    given.add(configured, socket.into()).map_err(lost)?;
                }
                Heard::Word(Word::All, None) => break,
                other => return Err(this.unexpected(other)),
            }
        }
        let claim = claim.ok_or_else(|| lost(io::Error::other("it gave no claim")))?;
        Ok((claim, this))
    }

    /// The other process closes its state, so that this one can open it; to be called right before that. Requests are served there.
    ///
    /// # Errors
    /// It does not.
    pub fn take_state(&self) -> Result<(), TakeOverError> {
        self.exchange(&Word::Give, &Word::Given, STATE)
    }

    /// Asks whether this process may serve, which has everything that it needs.
    ///
    /// # Errors
    /// The other one has lost its patience.
    pub fn may_serve(&self) -> Result<(), TakeOverError> {
        self.exchange(&Word::Ready, &Word::Go, ANSWER)
    }

    /// Says that this process serves, and waits until the other one takes nothing more, or is gone.
    pub fn serves(self) {
        let said = self.say(&Word::Done).and_then(|()| self.answered(&Word::Bye, ANSWER));
        if let Err(error) = said {
            tracing::warn!("this process serves, and the one before may do so, too: {error}");
        }
    }

    fn exchange(&self, ask: &Word, answer: &Word, patience: Duration) -> Result<(), TakeOverError> {
        self.say(ask)?;
        self.answered(answer, patience)
    }

    fn say(&self, word: &Word) -> Result<(), TakeOverError> {
        match self.line.say(word) {
            Ok(()) => Ok(()),
            // What it has said before it went is still to be heard.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
            Err(source) => Err(TakeOverError::Lost { folder: self.folder.clone(), source }),
        }
    }

    fn answered(&self, answer: &Word, patience: Duration) -> Result<(), TakeOverError> {
        let heard = self.line.hear(Some(patience));
        match heard.map_err(|source| TakeOverError::Lost { folder: self.folder.clone(), source })? {
            Heard::Word(word, None) if word == *answer => Ok(()),
            // Its sockets are here, and nobody else has them.
            Heard::Gone if self.has_ended() => Ok(()),
            other => Err(self.unexpected(other)),
        }
    }

    #[cfg(test)]
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Its files are closed before it has ended.
    fn has_ended(&self) -> bool {
        let wait = Timespec { tv_sec: ANSWER.as_secs().cast_signed(), tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.alive, PollFlags::IN)], Some(&wait)).is_ok_and(|ready| ready > 0)
    }

    fn unexpected(&self, heard: Heard) -> TakeOverError {
        let why = match heard {
            Heard::Word(Word::Refused { why }, _) => return TakeOverError::Refused { process: self.process, why },
            Heard::Gone => "it has closed the connection",
            Heard::Nothing => "it does not answer",
            Heard::Word(..) => "it speaks otherwise than this version of Eyot",
        };
        TakeOverError::Lost { folder: self.folder.clone(), source: io::Error::other(why) }
    }
}
