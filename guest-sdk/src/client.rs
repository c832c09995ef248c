//! Who is at the other end of the connection.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::bindings::client as host;

/// The client of this request, as the node sees it.
///
/// ```no_run
/// use eyot_sdk::prelude::*;
///
/// async fn whoami(client: Client) -> String {
///     format!("{} over {}\n", client.address, client.protocol)
/// }
/// # fn main() {}
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Client {
    /// Its address. Behind a proxy that the operator trusts, the address that the proxy vouches for.
    pub address: IpAddr,
    /// Its port; 0 where only the address is known.
    pub port: u16,
    /// Its country (ISO 3166-1 alpha-2), where the node knows it.
    pub country: Option<String>,
    /// `HTTP/1.1`, `HTTP/2` or `HTTP/3`.
    pub protocol: String,
    /// What TLS agreed on; `None` for plain text.
    pub tls: Option<Tls>,
}

/// What TLS agreed on between the client and the node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: String,
    /// The IANA name of the cipher suite.
    pub cipher: String,
    /// The host name that the client asked for (SNI), in lower case.
    pub server_name: Option<String>,
}

impl Client {
    /// The client of this request.
    #[must_use]
    pub fn current() -> Self {
        let host::Client { address, port, country, protocol, tls } = host::current();
        // The node writes addresses that parse. An unspecified one is in no list of allowed clients, so if it ever did not, a
        // filter would refuse rather than admit.
        let address = address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let tls = tls.map(|host::Tls { version, cipher, server_name }| Tls { version, cipher, server_name });
        Self { address, port, country, protocol, tls }
    }

    /// The worker that has called this one, where a worker has: then the client is the one that asked that worker. For a message of a queue
    /// or a schedule, where nobody asked it, the address is `127.0.0.1` and the port 0.
    #[must_use]
    pub fn caller() -> Option<String> {
        host::caller()
    }
}

/// A certificate with which the client has proven who it is: the node has verified it. Nothing that a client writes has a part in it.
///
/// As an extractor it demands one: without it, the answer is 403. `Option<Certificate>` leaves it open.
///
/// ```no_run
/// use eyot_sdk::Certificate;
/// use eyot_sdk::prelude::*;
///
/// async fn whoami(certificate: Certificate) -> String {
///     format!("{}\n", certificate.subject)
/// }
/// # fn main() {}
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certificate {
    /// The distinguished name of its subject (RFC 4514): `CN=reports,O=Example`. May be empty.
    pub subject: String,
    /// Its alternative names, in their order.
    pub names: Vec<AlternativeName>,
    /// Its serial number, unique to its issuer: lower-case hexadecimal, two digits for each byte.
    pub serial: String,
    /// The SHA-256 digest of the certificate: 64 digits of lower-case hexadecimal.
    pub fingerprint: String,
}

/// One alternative name of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AlternativeName {
    /// The name of a host.
    Dns(String),
    /// A mailbox.
    Email(String),
    /// A URI, such as a SPIFFE id.
    Uri(String),
    /// An IP address.
    Ip(String),
}

/// The client has shown no certificate. 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCertificate;

impl Certificate {
    /// The certificate of this request's client, or `None` where its listener asks for none, where it has shown none, and where a
    /// trusted proxy speaks for it.
    #[must_use]
    pub fn current() -> Option<Self> {
        let host::ClientCertificate { subject, names, serial, fingerprint } = host::certificate()?;
        let names = names.into_iter().map(|name| match name {
            host::AlternativeName::Dns(name) => AlternativeName::Dns(name),
            host::AlternativeName::Email(mailbox) => AlternativeName::Email(mailbox),
            host::AlternativeName::Uri(uri) => AlternativeName::Uri(uri),
            host::AlternativeName::Ip(address) => AlternativeName::Ip(address),
        });
        Some(Self { subject, names: names.collect(), serial, fingerprint })
    }
}

impl<S: Sync> FromRequestParts<S> for Certificate {
    type Rejection = NoCertificate;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, NoCertificate> {
        Self::current().ok_or(NoCertificate)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Certificate {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Self::current())
    }
}

impl IntoResponse for NoCertificate {
    fn into_response(self) -> Response {
        (StatusCode::FORBIDDEN, "this needs a client certificate\n").into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::current())
    }
}
