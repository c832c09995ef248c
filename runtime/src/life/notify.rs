//! What systemd, or whoever else has started this process, is told of it (sd_notify(3)).

use std::env;
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

/// Who wants to know. Where nobody does, nothing is said.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one of the environment (`NOTIFY_SOCKET`, `WATCHDOG_USEC`). To be asked before the process is confined: Landlock then lets it go
    /// on speaking to whom it has reached before.
    ///
    /// # Errors
    /// There is one, and it cannot be reached.
    pub fn of_environment() -> io::Result<Self> {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A supervisor that reads nothing keeps nobody from serving.
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some(socket), watchdog: sd_notify::watchdog_enabled().filter(|wait| !wait.is_zero()) })
    }

    /// How long it waits for a sign of life. `None`: it does not.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// This process serves, and does this.
    pub fn ready(&self, status: &str) {
        self.say(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// It reads something again, until [`Self::ready`].
    pub fn reloading(&self) {
        // Newer ones want to know since when.
        let since = NotifyState::monotonic_usec_now().ok();
        let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(since).collect();
        self.say(&states);
    }

    /// It ends.
    pub fn stopping(&self) {
        self.say(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    }

    /// Another process is what it looks after from now on.
    pub fn main_process(&self, process: u32) {
        self.say(&[NotifyState::MainPid(process)]);
    }

    pub(super) fn alive(&self) {
        self.say(&[NotifyState::Watchdog]);
    }

    fn say(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let mut text = String::new();
        for state in states {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{state}");
        }
        if let Err(error) = socket.send(text.as_bytes()) {
            tracing::warn!(%error, "the supervisor (NOTIFY_SOCKET) cannot be told: {}", text.trim_end());
        }
    }
}
