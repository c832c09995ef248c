//! `[[listener]]` and `[admin]` of node.toml: the addresses of a node.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Spanned;

use super::diagnostic::Place;
use super::origin::existing_file;
use super::reader::{Key, Table, Wrong, key};

/// One address to listen on.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Address and port; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// TLS by this certificate and key, or plain text.
    pub tls: Option<ListenerTls>,
}

/// A certificate chain and its key, PEM.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// The chain, the node's own certificate first.
    pub certificate: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// The operator's listener.
#[derive(Clone, Debug)]
pub struct Admin {
    /// A loopback address.
    pub address: SocketAddr,
}

const ADDRESS: Key = key("address", "an IP address and a port", "\"127.0.0.1:8080\"");
const CERTIFICATE: Key = key("certificate", "the path of a PEM file", "\"chain.pem\"");
const TLS_KEY: Key = key("key", "the path of a PEM file", "\"key.pem\"");

/// The addresses that are taken, with their places: no two listeners can have one.
#[derive(Default)]
pub(super) struct Addresses {
    pub(super) taken: Vec<(SocketAddr, Place)>,
}

impl Addresses {
    pub(super) fn read_listeners(&mut self, root: &Table<'_>) -> Vec<Listener> {
        let tables = root.tables("listener");
        if root.has_none("listener") {
            root.fault("there is no listener", "add [[listener]] with address = \"127.0.0.1:8080\"");
        }
        let mut listeners = Vec::new();
        for table in tables {
            let address = table.required_with(ADDRESS, socket);
            let tls = match table.table("tls", "{ certificate = \"chain.pem\", key = \"key.pem\" }") {
                None => None,
                Some(tls) => {
                    let file =
                        |key: Key| tls.required::<String>(key).map(|path| existing_file(tls.source, key.name, &path));
                    let (certificate, key) = (file(CERTIFICATE), file(TLS_KEY));
                    certificate.zip(key).map(|(certificate, key)| ListenerTls { certificate, key })
                }
            };
            if let Some(address) = address {
                self.take(&table, &address);
                listeners.push(Listener { address: address.into_inner(), tls });
            }
        }
        listeners
    }

    /// The operator's listener has no tokens, so who can reach it must be on the machine already.
    pub(super) fn read_admin(&mut self, table: &Table<'_>) -> Option<Admin> {
        let address = table.required_with(ADDRESS, |text| {
            let address = socket(text)?;
            match address.ip().to_canonical().is_loopback() {
                true => Ok(address),
                false => Err(Wrong::new(
                    "the admin listener is for this machine only, and this is not a loopback address",
                    format!("write \"127.0.0.1:{}\"", address.port()),
                )),
            }
        })?;
        self.take(table, &address);
        Some(Admin { address: address.into_inner() })
    }

    /// Two listeners of one address are found here, not by the second `bind` of a node that has half started.
    fn take(&mut self, table: &Table<'_>, address: &Spanned<SocketAddr>) {
        let own = *address.get_ref();
        let clash = self.taken.iter().find(|(other, _)| {
            let same_host = other.ip() == own.ip()
                || (other.is_ipv4() == own.is_ipv4() && (other.ip().is_unspecified() || own.ip().is_unspecified()));
            own.port() != 0 && other.port() == own.port() && same_host
        });
        if let Some((other, place)) = clash {
            let message = format!("{own} is already taken by {other} at {place}");
            table.source.fault(address.span(), message, "choose another port or another address");
        }
        self.taken.push((own, table.source.place(address.span().start)));
    }
}

fn socket(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| match text.rsplit_once(':') {
        Some(("" | "*" | "localhost", port)) => Wrong::new(
            "this is not an IP address and a port",
            format!("write \"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" for all interfaces"),
        ),
        _ => Wrong::new(
            "this is not an IP address and a port",
            "write, for example, \"127.0.0.1:8080\" or \"[::1]:8080\"",
        ),
    })
}
