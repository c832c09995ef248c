//! Sockets that listen, and the loops that accept: a permit first, and no error ends one.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::cores::{Accepted, Accepting, Core, Handed};
use super::cut::Cut;
use super::http3::{self, Datagrams};
use super::phase::Phase;
use super::{Credentials, Handle};
use crate::config::{Diagnostic, Place};
use crate::observe;

/// How many connections the kernel holds for us while we have no permits. The kernel's own bound is
/// `net.core.somaxconn`, 4096 by default.
const BACKLOG: i32 = 4096;

/// What one connection may have in the kernel's buffer that has not been sent yet, about: a client that does not read would have
/// 4 MiB there (`net.ipv4.tcp_wmem`), and a node with a thousand of them all of its memory. What is under way does not count, so a fast
/// client that is far away gets as much as before (tcp(7), TCP_NOTSENT_LOWAT).
const UNSENT: u32 = 256 << 10;

/// How long idle connections are given to make room, before those that have been idle for half as long have to, too.
const STEP: Duration = Duration::from_millis(10);
/// How often they are asked again when all of them had to already.
const AGAIN: Duration = Duration::from_secs(1);

/// So many connections are accepted before others have their turn.
pub(super) const BURST: u32 = 4;

/// The shortest and the longest pause after an accept that failed for want of descriptors or memory.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Why an address cannot be listened on. The operator's to solve, each.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has it.
    #[error("cannot listen on {0}: the port is in use")]
    InUse(SocketAddr),
    /// Ports below 1024 are not for everybody.
    #[error("cannot listen on {0}: this process may not use ports below 1024")]
    Privileged(SocketAddr),
    /// The address is not one of this machine's.
    #[error("cannot listen on {0}: it is not an address of this machine")]
    NotOurs(SocketAddr),
    /// It has the address for TCP, and not for UDP.
    #[error("cannot listen on {address} by UDP, for HTTP/3: {source}")]
    Datagrams {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

impl From<ListenError> for Diagnostic {
    fn from(error: ListenError) -> Self {
        let help = match &error {
            ListenError::InUse(_) => "stop the process that has it, or choose another port",
            ListenError::Privileged(_) => "choose a port from 1024 on, or grant CAP_NET_BIND_SERVICE",
            ListenError::NotOurs(_) => "choose 127.0.0.1, 0.0.0.0, or an address that `ip address` shows",
            ListenError::Datagrams { .. } => {
                "stop the process that has the port of UDP (`ss -lunp` shows it), or leave out `http3`"
            }
            ListenError::Other { .. } => "choose another address",
        };
        Self::new(Place::default(), error.to_string(), help)
    }
}

/// An address that is bound and listens; the kernel queues connections until a core accepts them.
#[derive(Debug)]
pub struct Listening {
    socket: std::net::TcpListener,
    address: SocketAddr,
    configured: SocketAddr,
    pub(super) tls: Option<Credentials>,
    pub(super) datagrams: Option<Datagrams>,
}

/// With port 0, the port that the kernel chooses for TCP may be another's for UDP; then another one is tried.
const TRIES: u32 = 10;

impl Listening {
    /// Binds the address and listens. With port 0 the kernel chooses; see [`Self::address`].
    ///
    /// # Errors
    /// The address is taken, privileged, not ours, or cannot be had for another reason.
    pub fn bind(address: SocketAddr, tls: Option<Credentials>) -> Result<Self, ListenError> {
        let socket = listen(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(address),
            io::ErrorKind::PermissionDenied => ListenError::Privileged(address),
            io::ErrorKind::AddrNotAvailable => ListenError::NotOurs(address),
            _ => ListenError::Other { address, source },
        })?;
        Self::of(socket, address, tls)
    }

    /// The same with HTTP/3 beside it, on the port of UDP with the same number.
    ///
    /// # Errors
    /// As [`Self::bind`], or the port of UDP cannot be had.
    pub fn bind_with_http3(address: SocketAddr, tls: Option<Credentials>) -> Result<Self, ListenError> {
        let mut tries = 0..if address.port() == 0 { TRIES } else { 1 };
        loop {
            tries.next();
            match Self::bind(address, tls.clone())?.with_http3() {
                Err(ListenError::Datagrams { .. }) if !tries.is_empty() => {}
                done => return done,
            }
        }
    }

    /// With HTTP/3 at the same address.
    ///
    /// # Errors
    /// The port of UDP cannot be had.
    pub fn with_http3(self) -> Result<Self, ListenError> {
        let address = self.address;
        let datagrams = Datagrams::bind(address).map_err(|source| ListenError::Datagrams { address, source })?;
        Ok(Self { datagrams: Some(datagrams), ..self })
    }

    /// The same as soon as the process before has left the address: sockets of UDP are not handed over, since what comes would go to
    /// either of the two.
    #[must_use]
    pub fn with_http3_later(self) -> Self {
        Self { datagrams: Some(Datagrams::later(self.address)), ..self }
    }

    /// Takes a socket that listens already; `configured` is the address that it was given for.
    ///
    /// # Errors
    /// The kernel refuses what every listener of ours has.
    pub fn given(
        socket: std::net::TcpListener,
        configured: SocketAddr,
        tls: Option<Credentials>,
    ) -> Result<Self, ListenError> {
        let other = |source| ListenError::Other { address: configured, source };
        set_up(&SockRef::from(&socket)).map_err(other)?;
        Self::of(socket, configured, tls)
    }

    fn of(
        socket: std::net::TcpListener,
        configured: SocketAddr,
        tls: Option<Credentials>,
    ) -> Result<Self, ListenError> {
        let address = socket.local_addr().map_err(|source| ListenError::Other { address: configured, source })?;
        Ok(Self { socket, address, configured, tls, datagrams: None })
    }

    /// The same socket once more, and the address of the configuration, for a process that takes over.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn share(&self) -> io::Result<(SocketAddr, std::net::TcpListener)> {
        Ok((self.configured, self.socket.try_clone()?))
    }

    /// Where it really listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted node must not wait for the old one's connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    set_up(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn set_up(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    // Each accepted connection has both of these from here, and needs no system call for them. Without Nagle's algorithm: what we
    // flush is meant to arrive now.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT)
}

/// Accepts until the cores leave [`Phase::Serving`]; then the socket is closed.
pub(super) async fn accept<H: Handle>(listening: Listening, core: Core<H>, accepting: Accepting) {
    let address = listening.address;
    let mut phase = core.service.phase.clone();
    tokio::select! {
        biased;
        () = phase.reached(Phase::Draining) => {}
        ended = accept_each(listening, core, accepting) => {
            if let Err(error) = ended {
                tracing::error!(%address, %error, "cannot listen");
            }
        }
    }
}

/// An error only when the listener cannot be watched at all.
async fn accept_each<H: Handle>(listening: Listening, core: Core<H>, accepting: Accepting) -> io::Result<()> {
    let Listening { socket, address, tls, datagrams, .. } = listening;
    let announced = datagrams.as_ref().map(|datagrams| Arc::clone(&datagrams.announced));
    if let (Some(datagrams), Some(tls)) = (datagrams, tls.clone()) {
        observe::spawn("http3", http3::listen(datagrams, tls, core.clone(), accepting.clone()));
    }
    let listener = tokio::net::TcpListener::from_std(socket)?;
    let mut phase = core.service.phase.clone();
    let (mut pause, mut so_many) = (PAUSE.0, 0_u32);
    loop {
        // Hundreds may come at once, and each takes a tenth of a millisecond: who is connected already does not wait for all.
        so_many = so_many.wrapping_add(1);
        if so_many.is_multiple_of(BURST) {
            tokio::task::yield_now().await;
        }
        // What has been accepted is served, also where it had to wait for its permit.
        let accepted = tokio::select! {
            biased;
            () = phase.reached(Phase::Parting) => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                pause = PAUSE.0;
                // Closed without a word: an answer would cost more than it is worth to whoever has so many.
                let Some(counted) = core.addresses.count(peer.ip()) else {
                    core.service.handler.cut(Cut::Crowd.as_str());
                    continue;
                };
                // After the accept, so that a listener to which nobody comes holds no permit. What comes meanwhile waits in the
                // kernel's queue.
                let Some(permit) = permit(&core).await else { return Err(io::Error::other("the permits are gone")) };
                let accepted = Accepted { peer, tls: tls.clone(), announced: announced.clone(), permit, counted };
                core.share_out(Handed::Tcp(socket), accepted);
            }
            Err(error) if is_of_one_connection(&error) => tracing::debug!(%address, %error, "accept"),
            Err(error) => {
                if pause == PAUSE.0 {
                    tracing::warn!(%address, %error, "cannot accept connections; trying again until it works");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// A permit for one connection. When there is none, connections without a request make room, those that have been idle the longest
/// first: a client that asks for something goes before one that does not.
pub(super) async fn permit<H: Handle>(core: &Core<H>) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(&core.permits).try_acquire_owned() {
        return Some(permit);
    }
    let mut permit = pin!(Arc::clone(&core.permits).acquire_owned());
    let mut patience = core.service.limits.keepalive_idle;
    let permit = loop {
        patience = if patience < STEP { Duration::ZERO } else { patience / 2 };
        core.phases.make_room(patience);
        let wait = if patience.is_zero() { AGAIN } else { STEP };
        if let Ok(permit) = timeout(wait, permit.as_mut()).await {
            break permit;
        }
    };
    core.phases.relax();
    permit.ok()
}

/// Linux reports through accept what befell the connection that was to be accepted; the next one may be fine (accept(2)).
/// Everything else, above all EMFILE, ENFILE, ENOBUFS and ENOMEM, would come back at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    const OF_ONE: [Errno; 12] = [
        Errno::CONNABORTED,
        Errno::INTR,
        Errno::PERM,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::OPNOTSUPP,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NONET,
        Errno::TIMEDOUT,
    ];
    error.raw_os_error().is_some_and(|raw| OF_ONE.contains(&Errno::from_raw_os_error(raw)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn want_of_descriptors_and_memory_is_not_a_fault_of_one_connection() {
        for exhausted in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert!(!is_of_one_connection(&errno(exhausted)));
        }
        assert!(is_of_one_connection(&errno(Errno::CONNABORTED)));
    }

    #[test]
    fn an_address_in_use_is_named() {
        let first = Listening::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let second = Listening::bind(first.address(), None).unwrap_err();
        assert!(matches!(second, ListenError::InUse(address) if address == first.address()));
    }

    #[test]
    fn an_accepted_connection_sends_at_once_and_buffers_little() {
        let listening = Listening::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let _client = std::net::TcpStream::connect(listening.address()).unwrap();
        let accepted = std::iter::repeat_with(|| listening.socket.accept()).find_map(Result::ok).unwrap().0;
        let accepted = socket2::SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), UNSENT);
    }

    #[test]
    fn an_address_of_somebody_else_is_named() {
        // TEST-NET-1, RFC 5737.
        let error = Listening::bind("192.0.2.1:0".parse().unwrap(), None).unwrap_err();
        assert!(matches!(error, ListenError::NotOurs(_)));
    }
}
