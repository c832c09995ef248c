//! `eyot:worker/client`: who is at the other end of the connection.

use super::worker::eyot::worker::client::{AlternativeName, Client, ClientCertificate, Host, Tls};
use super::{AskedBy, Guest};
use crate::http;

impl Host for Guest {
    fn current(&mut self) -> wasmtime::Result<Client> {
        let Some(AskedBy { client, protocol, .. }) = self.asked_by() else { return Err(nobody()) };
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

    fn caller(&mut self) -> wasmtime::Result<Option<String>> {
        let Some(AskedBy { caller, .. }) = self.asked_by() else { return Err(nobody()) };
        Ok(caller.as_deref().map(str::to_owned))
    }

    fn certificate(&mut self) -> wasmtime::Result<Option<ClientCertificate>> {
        let Some(AskedBy { client, .. }) = self.asked_by() else { return Err(nobody()) };
        Ok(client.certificate.as_ref().map(|certificate| ClientCertificate {
            subject: certificate.subject.clone(),
            names: certificate.names.iter().map(alternative).collect(),
            serial: certificate.serial.clone(),
            fingerprint: certificate.fingerprint.clone(),
        }))
    }
}

fn alternative(name: &http::AlternativeName) -> AlternativeName {
    match name {
        http::AlternativeName::Dns(name) => AlternativeName::Dns(name.clone()),
        http::AlternativeName::Email(mailbox) => AlternativeName::Email(mailbox.clone()),
        http::AlternativeName::Uri(uri) => AlternativeName::Uri(uri.clone()),
        http::AlternativeName::Ip(address) => AlternativeName::Ip(address.to_canonical().to_string()),
    }
}

fn nobody() -> wasmtime::Error {
    wasmtime::Error::msg("there is no client before the handler is called, nor where none has asked")
}

fn name(version: ::http::Version) -> &'static str {
    match version {
        ::http::Version::HTTP_09 | ::http::Version::HTTP_10 => "HTTP/1.0",
        ::http::Version::HTTP_2 => "HTTP/2",
        ::http::Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}
