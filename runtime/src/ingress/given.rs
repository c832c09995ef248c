//! Sockets that listen already: from systemd, or from the process whose place this one takes.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use crate::config::{Diagnostic, Place};

/// What was given and is not taken yet.
#[derive(Debug, Default)]
pub struct Given(Vec<One>);

#[derive(Debug)]
struct One {
    socket: TcpListener,
    bound: SocketAddr,
    /// For which address of its configuration the other process has it, which may have port 0.
    configured: SocketAddr,
    /// What systemd calls it. `None`: it is another process's, which a new configuration may leave out.
    name: Option<String>,
}

/// What was given that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// Something else than a socket of TCP that listens.
    #[error("the socket {name} that was given to this process (LISTEN_FDS) cannot be used: {why}")]
    Unusable {
        /// What systemd calls it.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Whoever connects to it would wait for ever.
    #[error("the socket {name} that was given to this process (LISTEN_FDS) listens on {address}, and no listener does")]
    Unnamed {
        /// What systemd calls it.
        name: String,
        /// Where it listens.
        address: SocketAddr,
    },
}

impl From<GivenError> for Diagnostic {
    fn from(error: GivenError) -> Self {
        let help = match &error {
            GivenError::Unusable { .. } => {
                "write ListenStream= with an IP address and a port in the .socket unit".to_owned()
            }
            GivenError::Unnamed { address, .. } => {
                format!("write address = \"{address}\" in node.toml, or the listener's address in the .socket unit")
            }
        };
        Self::new(Place::default(), error.to_string(), help)
    }
}

impl Given {
    /// What systemd gave to this process (sd_listen_fds(3)), and nobody whom it starts. To be asked once, before there are threads.
    ///
    /// # Errors
    /// Everything in it that is no socket of TCP that listens.
    pub fn by_systemd() -> Result<Self, Vec<GivenError>> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').filter(|name| !name.is_empty());
        let mut sockets = ListenFd::from_env();
        let (mut given, mut faults) = (Vec::new(), Vec::new());
        for index in 0..sockets.len() {
            let name = names.next().map_or_else(|| format!("number {index}"), str::to_owned);
            let listens = |socket: TcpListener| match socket_acceptconn(&socket) {
                Ok(true) => Ok((socket.local_addr()?, socket)),
                Ok(false) => Err(io::Error::other("it does not listen")),
                Err(error) => Err(error.into()),
            };
            match sockets.take_tcp_listener(index).and_then(|socket| socket.map(listens).transpose()) {
                Ok(None) => {}
                Ok(Some((bound, socket))) => given.push(One { socket, bound, configured: bound, name: Some(name) }),
                Err(error) => faults.push(GivenError::Unusable { name, why: error.to_string() }),
            }
        }
        if faults.is_empty() { Ok(Self(given)) } else { Err(faults) }
    }

    /// One that another process has listened on, for this address of its configuration.
    ///
    /// # Errors
    /// It is none that listens.
    pub fn add(&mut self, configured: SocketAddr, socket: TcpListener) -> io::Result<()> {
        let bound = socket.local_addr()?;
        self.0.push(One { socket, bound, configured, name: None });
        Ok(())
    }

    /// Whether another process gave any of them.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.0.iter().any(|one| one.name.is_none())
    }

    /// The socket for this address of the configuration, if there is one. systemd's go first, then those of the same configured address.
    pub fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let named = |one: &One| one.name.is_some() && one.bound == address;
        let of = |wanted: &dyn Fn(&One) -> bool| self.0.iter().position(wanted);
        let at =
            of(&named).or_else(|| of(&|one| one.configured == address)).or_else(|| of(&|one| one.bound == address))?;
        let taken = self.0.remove(at);
        // Both may have given it, as a process that systemd started passes on what it was given.
        self.0.retain(|one| one.name.is_some() || one.bound != taken.bound);
        Some(taken.socket)
    }

    /// What nobody has taken, and systemd holds open.
    pub fn unnamed(&self) -> impl Iterator<Item = GivenError> {
        let named = self.0.iter().filter_map(|one| Some((one.name.clone()?, one.bound)));
        named.map(|(name, address)| GivenError::Unnamed { name, address })
    }

    /// Where the other process has listened, and this one will not.
    pub fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter(|one| one.name.is_none()).map(|one| one.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (SocketAddr, TcpListener) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        (socket.local_addr().unwrap(), socket)
    }

    #[test]
    fn listeners_with_port_0_get_the_sockets_that_they_had_in_their_order() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (mut given, both) = (Given::default(), [listener(), listener()]);
        let bound = both.each_ref().map(|(bound, _)| *bound);
        for (_, socket) in both {
            given.add(any, socket).unwrap();
        }
        for address in bound {
            assert_eq!(given.take(any).unwrap().local_addr().unwrap(), address);
        }
        assert!(given.take(any).is_none());
    }

    #[test]
    fn a_socket_is_taken_by_the_address_that_it_is_bound_to_and_what_is_left_is_told_of() {
        let (mut given, (bound, socket), (other, unwanted)) = (Given::default(), listener(), listener());
        given.add("127.0.0.1:0".parse().unwrap(), socket).unwrap();
        given.add(other, unwanted).unwrap();
        assert!(given.take(bound).is_some() && given.take(bound).is_none());
        assert_eq!(given.left().collect::<Vec<_>>(), [other]);
        assert_eq!(given.unnamed().count(), 0, "a new configuration may leave a listener out");
    }

    #[test]
    fn what_both_systemd_and_the_other_process_gave_is_one_socket() {
        let (bound, socket) = listener();
        let again = socket.try_clone().unwrap();
        let mut given = Given(vec![One { socket, bound, configured: bound, name: Some("eyot".to_owned()) }]);
        given.add(bound, again).unwrap();
        assert!(given.take(bound).is_some());
        assert_eq!(given.left().count() + given.unnamed().count(), 0);
    }
}
