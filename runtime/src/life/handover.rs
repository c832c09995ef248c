//! The process that serves: it gives what it has to one that takes its place, and ends when that one serves.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::claim::Claim;
use super::wire::{Door, Heard, Line, PROTOCOL, Word};

/// What only one process can have open at a time.
pub trait State: Send + Sync + 'static {
    /// Takes no more changes, and lets go of what is on disk, so that another process can open it. Requests are served as before.
    ///
    /// # Errors
    /// Why it cannot; it is then as it was.
    fn release(&self) -> Result<(), String>;

    /// Opens it again, because the process that was to have it has failed.
    ///
    /// # Errors
    /// Why it cannot, such as that the other process still has it. It will be called again.
    fn resume(&self) -> Result<(), String>;
}

/// The offer of everything that this process has, for as long as it serves.
#[derive(Debug)]
pub struct Handover {
    sockets: Sockets,
    taken: oneshot::Receiver<Heir>,
}

/// The process that serves now.
#[derive(Debug)]
pub struct Heir {
    /// Its id.
    pub process: u32,
    line: Line,
}

/// Each with its address in the configuration. `None`: this process has begun to end.
type Sockets = Arc<Mutex<Option<Vec<(SocketAddr, TcpListener)>>>>;

/// Who takes over says what it wants at once.
const HELLO: Duration = Duration::from_secs(10);

/// For so long no change can be made, at most: the other process has the state, and opens it.
const RELEASED: Duration = Duration::from_secs(60);

/// How often state that another process still has is tried.
const AGAIN: Duration = Duration::from_secs(1);

impl Handover {
    /// Waits for a process that takes over, in a thread of its own.
    ///
    /// # Errors
    /// There is no socket in the state folder, or no thread.
    pub fn offer(claim: &Claim, sockets: Vec<(SocketAddr, TcpListener)>, state: impl State) -> io::Result<Self> {
        claim.sign()?;
        let door = Door::open(&claim.socket())?;
        let claim = claim.try_clone()?;
        let sockets = Arc::new(Mutex::new(Some(sockets)));
        let giver = Giver { claim, sockets: Arc::clone(&sockets), state, released: RELEASED };
        let (take, taken) = oneshot::channel();
        std::thread::Builder::new().name("eyot-handover".to_owned()).spawn(move || {
            if let Some(heir) = giver.attend(&door) {
                // Nobody listens to it any more where this process ends by itself.
                let _ = take.send(heir);
            }
        })?;
        Ok(Self { sockets, taken })
    }

    /// Resolves when another process serves; that may be never.
    pub async fn taken(&mut self) -> Heir {
        match (&mut self.taken).await {
            Ok(heir) => heir,
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives nothing any more, and closes the sockets: this process ends by itself.
    pub fn withdraw(&self) {
        lock(&self.sockets).take();
    }
}

impl Heir {
    /// Says that it is alone from now on.
    pub fn farewell(self) {
        // It goes on anyhow.
        let _ = self.line.say(&Word::Bye);
    }
}

pub(super) struct Giver<S> {
    pub(super) claim: Claim,
    pub(super) sockets: Sockets,
    pub(super) state: S,
    pub(super) released: Duration,
}

impl<S: State> Giver<S> {
    /// Gives to one after the other, until one serves. `None`: nobody can come any more.
    fn attend(&self, door: &Door) -> Option<Heir> {
        loop {
            let line = match door.next() {
                Ok(line) => line,
                Err(error) => {
                    tracing::error!(%error, "no process can take over from this one any more");
                    return None;
                }
            };
            match self.give(&line) {
                Ok(process) => return Some(Heir { process, line }),
                Err(error) => tracing::warn!("no process has taken over, this one serves on: {error}"),
            }
        }
    }

    /// One conversation, to its good end or back to where it began.
    pub(super) fn give(&self, line: &Line) -> io::Result<u32> {
        let process = self.prepare(line).inspect_err(|error| refuse(line, error))?;
        let done = line.say(&Word::Given).and_then(|()| self.until_done(line));
        done.inspect_err(|error| {
            refuse(line, error);
            self.take_back(line);
        })?;
        tracing::info!(process, "another process serves");
        Ok(process)
    }

    /// All up to where nobody has the state.
    fn prepare(&self, line: &Line) -> io::Result<u32> {
        let process = self.present(line)?;
        // Whoever prepares itself may take its time, and may fail.
        match line.hear(None)? {
            Heard::Word(Word::Give, _) => {}
            other => return Err(unexpected(other)),
        }
        let released = self.state.release();
        released.map_err(|why| io::Error::other(format!("the state cannot be let go of: {why}")))?;
        Ok(process)
    }

    /// Gives the claim and all sockets to whoever may have them.
    fn present(&self, line: &Line) -> io::Result<u32> {
        let ((process, _), is_ours) = (line.process()?, line.is_ours()?);
        if !is_ours {
            return Err(io::Error::other(format!("process {process} is of another user")));
        }
        match line.hear(Some(HELLO))? {
            Heard::Word(Word::Hello { protocol: PROTOCOL, version }, _) => {
                tracing::info!(process, version, "another process is about to take over");
            }
            Heard::Word(Word::Hello { version, .. }, _) => {
                let own = env!("CARGO_PKG_VERSION");
                return Err(io::Error::other(format!("Eyot {own} cannot hand over to Eyot {version}: restart it")));
            }
            other => return Err(unexpected(other)),
        }
        let sockets = lock(&self.sockets);
        let sockets = sockets.as_ref().ok_or_else(|| io::Error::other("this process is about to end"))?;
        line.pass(&Word::Claim { version: env!("CARGO_PKG_VERSION").to_owned() }, self.claim.as_fd())?;
        for (configured, socket) in sockets {
            line.pass(&Word::Socket { configured: *configured }, socket.as_fd())?;
        }
        line.say(&Word::All)?;
        Ok(process)
    }

    /// The other one has the state: it serves, or it is gone.
    fn until_done(&self, line: &Line) -> io::Result<()> {
        match line.hear(Some(self.released))? {
            Heard::Word(Word::Ready, _) => line.say(&Word::Go)?,
            Heard::Nothing => return Err(io::Error::other("it was not ready in time")),
            other => return Err(unexpected(other)),
        }
        match line.hear(None)? {
            Heard::Word(Word::Done, _) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Until nobody else has it.
    fn take_back(&self, line: &Line) {
        let mut told = false;
        while let Err(why) = self.state.resume() {
            if !std::mem::replace(&mut told, true) {
                tracing::error!("the state cannot be opened again yet: {why}");
            }
            // Returns early when the other process ends.
            if let Ok(Heard::Gone) | Err(_) = line.hear(Some(AGAIN)) {
                std::thread::park_timeout(AGAIN);
            }
        }
        if told {
            tracing::info!("the state is open again");
        }
    }
}

/// A line that ends without this says that this process has died.
fn refuse(line: &Line, error: &io::Error) {
    // The other one may be gone.
    let _ = line.say(&Word::Refused { why: error.to_string() });
}

fn unexpected(heard: Heard) -> io::Error {
    match heard {
        Heard::Gone => io::Error::other("it ended before it served"),
        Heard::Nothing => io::Error::other("it said nothing"),
        Heard::Word(..) => io::Error::other("it speaks otherwise than this version of Eyot"),
    }
}

fn lock(sockets: &Sockets) -> MutexGuard<'_, Option<Vec<(SocketAddr, TcpListener)>>> {
    sockets.lock().unwrap_or_else(PoisonError::into_inner)
}
