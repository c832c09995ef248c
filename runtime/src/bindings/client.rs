//! `eyot:worker/client`: who is at the other end of the connection.

use super::worker::eyot::worker::client::{Client, Host, Tls};
use super::{Event, Guest};

impl Host for Guest {
    fn current(&mut self) -> wasmtime::Result<Client> {
        let Some(Event { client, protocol, .. }) = self.event() else {
            return Err(wasmtime::Error::msg("there is no client before the handler is called"));
        };
        Ok(Client {
            address: client.address.ip().to_canonical().to_string(),
            port: client.address.port(),
            // There is no table of countries yet; a guest must expect that anyway.
            country: None,
            protocol: name(*protocol).to_owned(),
            tls: client.tls.as_ref().map(|tls| Tls {
                version: tls.version.to_owned(),
                cipher: tls.cipher.clone(),
                server_name: tls.server_name.clone(),
            }),
        })
    }
}

fn name(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_09 | http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2",
        http::Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}
