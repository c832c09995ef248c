//! Who is at the other end of the connection.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

use axum::extract::FromRequestParts;
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
    /// `HTTP/1.1` or `HTTP/2`.
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
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::current())
    }
}
