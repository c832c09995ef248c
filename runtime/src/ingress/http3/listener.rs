//! The UDP socket of a listener: who comes is counted, admitted and shared out as with TCP.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use quinn::{Endpoint, EndpointConfig, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Offered, Pending, transport};
use crate::ingress::alt_svc::AltSvc;
use crate::ingress::cores::{Accepted, Accepting, Core, Handed};
use crate::ingress::cut::Cut;
use crate::ingress::listener::{BURST, permit};
use crate::ingress::phase::Phase;
use crate::ingress::{Credentials, Handle};

/// What the kernel keeps for us while a core is busy; less where `net.core.rmem_max` says so.
const BUFFER: usize = 1 << 20;
/// While so many handshakes are under way, further clients have to show that they are where they say that they are (RFC 9000 §8.1.2):
/// who sends under the names of others costs a packet and nothing more.
const UNVALIDATED: usize = 16;
/// How often the address is tried for while the process before still has it.
const AGAIN: Duration = Duration::from_millis(100);

/// Where HTTP/3 is served.
#[derive(Debug)]
pub(in crate::ingress) struct Datagrams {
    address: SocketAddr,
    /// `None`: another process may have it for a while.
    socket: Option<UdpSocket>,
    pub(in crate::ingress) announced: Arc<AltSvc>,
}

impl Datagrams {
    /// At this address, from now on.
    pub(in crate::ingress) fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: Some(bind(address)?), ..Self::later(address) })
    }

    /// At this address, as soon as nobody else is there.
    pub(in crate::ingress) fn later(address: SocketAddr) -> Self {
        Self { address, socket: None, announced: Arc::new(AltSvc::of(address.port())) }
    }
}

/// Without SO_REUSEADDR, with which two sockets of UDP would share what comes.
fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // The kernel may give less, and that is enough.
    let _ = (socket.set_recv_buffer_size(BUFFER), socket.set_send_buffer_size(BUFFER));
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Before a socket that broke is made anew.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves until the cores leave [`Phase::Serving`]; then the socket stays until the last connection is gone.
pub(in crate::ingress) async fn listen<H: Handle>(
    datagrams: Datagrams,
    credentials: Credentials,
    core: Core<H>,
    accepting: Accepting,
) {
    let Datagrams { address, mut socket, announced } = datagrams;
    let mut phase = core.service.phase.clone();
    let endpoint = loop {
        let bound = async {
            match socket.take() {
                Some(socket) => socket,
                None => until_bound(address).await,
            }
        };
        let bound = tokio::select! {
            biased;
            () = phase.reached(Phase::Parting) => return,
            bound = bound => bound,
        };
        match open(bound, &credentials, &core) {
            Ok((endpoint, server)) => {
                announced.serves(true);
                let parts = tokio::select! {
                    biased;
                    () = phase.reached(Phase::Parting) => true,
                    () = accept_each(&endpoint, address, &server, &credentials, &core) => false,
                };
                announced.serves(false);
                if parts {
                    break endpoint;
                }
                tracing::error!(%address, "the socket of HTTP/3 is broken; another one is made");
            }
            Err(error) => tracing::error!(%address, %error, "cannot serve HTTP/3; trying again until it works"),
        }
        tokio::time::sleep(PAUSE).await;
    };
    drop(accepting);
    let turned_away = async {
        // Told at once, a client goes to TCP at once.
        while let Some(incoming) = endpoint.accept().await {
            incoming.refuse();
        }
    };
    tokio::select! {
        biased;
        () = phase.reached(Phase::Stopped) => {}
        () = endpoint.wait_idle() => {}
        () = turned_away => {}
    }
}

async fn until_bound(address: SocketAddr) -> UdpSocket {
    let mut was_told = false;
    loop {
        match bind(address) {
            Ok(socket) => return socket,
            Err(error) => {
                if !std::mem::replace(&mut was_told, true) {
                    tracing::info!(%address, %error, "HTTP/3 is served as soon as the process before has left its address");
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

fn open<H: Handle>(
    socket: UdpSocket,
    credentials: &Credentials,
    core: &Core<H>,
) -> io::Result<(Endpoint, Arc<quinn::ServerConfig>)> {
    // Each connection has a handshake of its own; this one is for what comes before there is a connection.
    let (_, crypto) = credentials.quic()?;
    let server = transport::server(&core.service.limits, crypto);
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(server.clone()), socket, Arc::new(TokioRuntime))?;
    Ok((endpoint, Arc::new(server)))
}

/// Returns when the endpoint has lost its socket.
async fn accept_each<H: Handle>(
    endpoint: &Endpoint,
    local: SocketAddr,
    server: &Arc<quinn::ServerConfig>,
    credentials: &Credentials,
    core: &Core<H>,
) {
    let pending = Arc::<AtomicUsize>::default();
    let mut so_many = 0_u32;
    while let Some(incoming) = endpoint.accept().await {
        so_many = so_many.wrapping_add(1);
        if so_many.is_multiple_of(BURST) {
            tokio::task::yield_now().await;
        }
        let peer = incoming.remote_address();
        if pending.load(Relaxed) >= UNVALIDATED && !incoming.remote_address_validated() {
            // It cannot fail for a client that has shown nothing yet.
            let _ = incoming.retry();
            continue;
        }
        let Some(counted) = core.addresses.count(peer.ip()) else {
            core.service.handler.cut(Cut::Crowd.as_str());
            incoming.refuse();
            continue;
        };
        let Some(permit) = permit(core).await else { return };
        let offered = Offered { incoming, server: Arc::clone(server), local, pending: Pending::of(&pending) };
        let accepted = Accepted { peer, tls: Some(credentials.clone()), announced: None, permit, counted };
        core.share_out(Handed::Quic(Box::new(offered)), accepted);
    }
}
