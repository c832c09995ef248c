//! One connection of HTTP/3 from its handshake to its last answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h3::error::{Code, ConnectionError};
use quinn::{Incoming, ServerConfig};
use tokio::time::timeout;

use super::quic::Quic;
use super::request::{self, Ongoing, Session};
use super::watch::{Watch, number};
use super::{Pending, ends_of};
use crate::http::Client;
use crate::ingress::connection::{End, Service, canonical};
use crate::ingress::cut::Cut;
use crate::ingress::phase::Phase;
use crate::ingress::pulse::{Alarm, Pulse, of_responses};
use crate::ingress::tls::Agreed;
use crate::ingress::{Credentials, Handle, http2};
use crate::observe;

/// Who has been told to go may take so long to hear of it (RFC 9114 §5.2); the connection's requests go on meanwhile.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(1);

/// What a connection comes with besides what all have.
pub(in crate::ingress) struct Offered {
    pub(super) incoming: Incoming,
    pub(super) server: Arc<ServerConfig>,
    pub(super) local: SocketAddr,
    pub(super) pending: Pending,
}

type H3 = h3::server::Connection<Quic, Bytes>;

/// Serves a connection to its end.
pub(in crate::ingress) async fn serve<H: Handle>(
    service: Service<H>,
    offered: Offered,
    peer: SocketAddr,
    credentials: Credentials,
) {
    let handler = service.handler.clone();
    let end = greet_and_run(service, offered, peer, &credentials).await.unwrap_or_else(End::Lost);
    end.tell(peer, &handler);
}

async fn greet_and_run<H: Handle>(
    mut service: Service<H>,
    offered: Offered,
    peer: SocketAddr,
    credentials: &Credentials,
) -> io::Result<End> {
    let Offered { incoming, server, local, pending } = offered;
    let limits = Arc::clone(&service.limits);
    let (handshake, crypto) = credentials.quic()?;
    let mut server = ServerConfig::clone(&server);
    server.crypto = crypto;
    // From here on this core drives the connection. Dropped before it is one, it is closed.
    let connecting = incoming.accept_with(Arc::new(server))?;
    let accepted = tokio::select! {
        biased;
        () = service.phase.reached(Phase::Draining) => return Ok(End::Dropped),
        accepted = timeout(limits.handshake_timeout, connecting) => accepted,
    };
    let Ok(accepted) = accepted else { return Ok(End::Cut(Cut::Handshake)) };
    let quic = accepted?;
    drop(pending);
    let Agreed { tls, certificate } = handshake.agreed(&quic).inspect_err(|error| {
        quic.close(number(Code::H3_GENERAL_PROTOCOL_ERROR), error.to_string().as_bytes());
    })?;
    let local = SocketAddr::new(quic.local_ip().unwrap_or(local.ip()), local.port());
    let client = Arc::new(Client { address: canonical(peer), local: canonical(local), tls: Some(tls), certificate });
    let pulse = Pulse::new();
    pulse.begin(true);
    let watch = Watch::new(quic.clone(), &limits, Arc::clone(&pulse));
    let mut builder = h3::server::builder();
    builder.max_field_section_size(http2::head_bytes(&limits) as u64).send_grease(false);
    let greeting = builder.build(Quic::new(quic.clone(), Arc::clone(&watch)));
    let end = match timeout(limits.header_timeout, greeting).await {
        // A client that lets us open no stream.
        Err(_) => End::Cut(Cut::Silent),
        Ok(Err(error)) => ends_of(&error),
        Ok(Ok(connection)) => {
            let pace = of_responses(&limits);
            let Service { handler, phase, .. } = service;
            let over = Arc::default();
            let session = Session { handler, client, limits: Arc::clone(&limits), pace, pulse, watch, over };
            let session = Arc::new(session);
            let mut conversation = Conversation { connection, session, phase, is_finishing: false, is_parting: false };
            let end = conversation.run().await;
            // Before h3 goes, which would say that all is well.
            let code = match &end {
                End::Cut(Cut::Glitches | Cut::Resets) => Code::H3_EXCESSIVE_LOAD,
                _ => Code::H3_NO_ERROR,
            };
            quic.close(number(code), b"");
            end
        }
    };
    quic.close(number(Code::H3_NO_ERROR), b"");
    // quinn's own task sends that, before this one goes on.
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    Ok(end)
}

/// A connection that takes requests.
struct Conversation<H> {
    connection: H3,
    session: Arc<Session<H>>,
    phase: crate::ingress::phase::Listener,
    is_finishing: bool,
    /// The client is to be told, once it has asked for something, that there will not be much more.
    is_parting: bool,
}

impl<H: Handle> Conversation<H> {
    async fn run(&mut self) -> End {
        let session = Arc::clone(&self.session);
        let (pulse, limits, over) = (&*session.pulse, &*session.limits, &*session.over);
        let mut alarm = Alarm::new(pulse, limits);
        // A connection that was greeted while the end had begun already is told at once.
        let mut now = Some(self.phase.phase());
        loop {
            match now.take() {
                Some(Phase::Stopped) => return End::Dropped,
                Some(Phase::Draining) if !self.is_finishing => {
                    self.finish().await;
                    alarm.hurry();
                }
                Some(Phase::Parting) => self.is_parting = true,
                _ => {}
            }
            if self.is_parting && session.watch.was_asked() {
                self.is_parting = false;
                self.part().await;
            }
            if self.is_finishing && !pulse.has_streams() {
                return End::Done;
            }
            tokio::select! {
                biased;
                next = self.phase.next() => {
                    if !self.is_finishing {
                        alarm.be_patient_for(self.phase.patience());
                    }
                    now = Some(next);
                }
                // Before the requests, since these may come without end.
                cut = alarm.rings() => match cut {
                    // The crowd may be over.
                    Cut::Idle if !self.is_finishing && alarm.be_patient_for(self.phase.patience()) => {}
                    Cut::Idle if !self.is_finishing => {
                        self.finish().await;
                        alarm.hurry();
                    }
                    cut => return End::Cut(cut),
                },
                () = over.notified(), if self.is_finishing => {}
                asked = self.connection.accept() => match asked {
                    Ok(Some(resolver)) => {
                        pulse.read();
                        if let Some(opened) = session.watch.opened() {
                            let ongoing = Ongoing::new(&session.pulse, &session.over);
                            let request = request::serve(Arc::clone(&session), resolver, opened, ongoing);
                            observe::spawn("stream", request);
                        }
                    }
                    Ok(None) => return End::Done,
                    Err(error) => return self.ended(&error),
                },
            }
        }
    }

    /// Takes no request that has not come yet, and says so (RFC 9114 §5.2). h3 names the last request where the protocol wants the first
    /// one that is not taken, so it is asked for one more, which we do not take.
    async fn finish(&mut self) {
        self.is_finishing = true;
        let more = usize::from(self.session.watch.take_no_more());
        self.say_goodbye(more).await;
    }

    /// The same, but what the client is sending already is answered.
    async fn part(&mut self) {
        let more = usize::try_from(self.session.limits.h2_streams).unwrap_or(usize::MAX);
        self.say_goodbye(more).await;
    }

    async fn say_goodbye(&mut self, more: usize) {
        // An error is the connection's, and comes again.
        let _ = timeout(GOODBYE, self.connection.shutdown(more)).await;
    }

    fn ended(&self, error: &ConnectionError) -> End {
        // It was ended by who noticed; the alarm would have said so next.
        if self.session.pulse.is_glitched() {
            return End::Cut(Cut::Glitches);
        }
        let end = ends_of(error);
        if let End::Refused(failure) = &end {
            self.session.handler.refused(&self.session.client, failure);
        }
        end
    }
}
