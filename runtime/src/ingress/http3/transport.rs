//! QUIC as we let quinn speak it.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, ServerConfig, TransportConfig, VarInt};

use crate::config::NodeLimits;
use crate::ingress::http2::{CONNECTION_WINDOW, STREAM_WINDOW};

/// What of all responses of a connection waits for the client to have it, what is under way included.
const SEND_WINDOW: u64 = 512 * 1024;
/// Unidirectional streams at a time: a client needs three, and may open others to see whether we mind (RFC 9114 §6.2).
const UNIDIRECTIONAL: u32 = 8;
/// Connections that nobody has accepted yet, and what is kept of each and of all that a client sends meanwhile. quinn's defaults are for
/// larger machines: 100 MiB.
const INCOMING: usize = 1024;
const INCOMING_BYTES: u64 = 16 * 1024;
const INCOMING_BYTES_OF_ALL: u64 = 2 * 1024 * 1024;

/// For the listener; a connection has a copy with its own handshake.
pub(super) fn server(limits: &NodeLimits, handshake: Arc<QuicServerConfig>) -> ServerConfig {
    let mut server = ServerConfig::with_crypto(handshake);
    server
        .transport_config(Arc::new(transport(limits)))
        // Who has moved would be counted with the address that he had.
        .migration(false)
        .max_incoming(INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_OF_ALL);
    server
}

fn transport(limits: &NodeLimits) -> TransportConfig {
    // As on HTTP/2: a client that does not answer a ping for as long as one may not read has gone. A client that asks for nothing goes
    // earlier, by the connection's own alarm.
    let ping = (limits.write_idle / 2).max(Duration::from_millis(1));
    let gone = IdleTimeout::try_from(limits.write_idle.saturating_mul(2)).ok();
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(u32::try_from(limits.h2_streams).unwrap_or(u32::MAX).into())
        .max_concurrent_uni_streams(UNIDIRECTIONAL.into())
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(SEND_WINDOW)
        .keep_alive_interval(Some(ping))
        .max_idle_timeout(gone)
        .datagram_receive_buffer_size(None);
    transport
}
