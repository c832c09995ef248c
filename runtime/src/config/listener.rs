//! `[[listener]]` and `[admin]` of node.toml: the addresses of a node.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Spanned;

use super::acme::{OrderedCertificate, Ordering};
use super::diagnostic::Place;
use super::origin::existing_file;
use super::reader::{Key, Table, Wrong, key};

/// One address to listen on.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Address and port; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// TLS by these certificates, or plain text.
    pub tls: Option<ListenerTls>,
    /// Whether HTTP/3 is served beside it, on the port of UDP with the same number. Never without TLS.
    pub http3: bool,
}

/// What a listener proves its names with, and what it asks of its clients.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// At least one. The first is for clients that name no host, or one that none is for.
    pub certificates: Vec<Certificate>,
    /// Whose certificates clients show. `None`: they are not asked for any.
    pub clients: Option<ClientAuthority>,
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// It is there.
    Files(CertificateFiles),
    /// It is ordered, and kept.
    Ordered(OrderedCertificate),
}

/// A certificate chain and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, PEM, the node's own certificate first.
    pub certificate: PathBuf,
    /// The private key, PEM: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
    /// What the issuer says of its state, DER (RFC 6960 §4.2.1), to be handed out with it.
    pub ocsp: Option<PathBuf>,
}

/// Who vouches for clients.
#[derive(Clone, Debug)]
pub struct ClientAuthority {
    /// The authorities, PEM.
    pub file: PathBuf,
    /// Whether a client without a certificate is refused.
    pub required: bool,
}

impl ListenerTls {
    /// Every file of the operator's that is read for it.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let files = self.certificates.iter().filter_map(|one| match one {
            Certificate::Files(files) => Some(files),
            Certificate::Ordered(_) => None,
        });
        let own = files.flat_map(|one| [&one.certificate, &one.key].into_iter().chain(&one.ocsp));
        own.chain(self.clients.as_ref().map(|clients| &clients.file))
    }

    /// The certificates that are ordered.
    pub fn ordered(&self) -> impl Iterator<Item = &OrderedCertificate> {
        self.certificates.iter().filter_map(|one| match one {
            Certificate::Files(_) => None,
            Certificate::Ordered(ordered) => Some(ordered),
        })
    }
}

/// The operator's listener.
#[derive(Clone, Debug)]
pub struct Admin {
    /// A loopback address.
    pub address: SocketAddr,
}

const ADDRESS: Key = key("address", "an IP address and a port", "\"127.0.0.1:8080\"");
const HTTP3: Key = key("http3", "true or false", "true");
const CERTIFICATE: Key = key("certificate", "the path of a PEM file", "\"chain.pem\"");
const TLS_KEY: Key = key("key", "the path of a PEM file", "\"key.pem\"");
const OCSP: Key = key("ocsp", "the path of a DER file", "\"response.der\"");
const CLIENT_CA: Key = key("client_ca", "the path of a PEM file", "\"ca.pem\"");
const CLIENTS: Key = key("client_certificates", "\"required\" or \"optional\"", "\"required\"");

/// The key of the first certificate's table, and of the tables of all others.
const FIRST: (&str, &str) = ("tls", "{ certificate = \"chain.pem\", key = \"key.pem\" }");
const FURTHER: &str = "certificate";

/// The addresses that are taken, with their places: no two listeners can have one.
#[derive(Default)]
pub(super) struct Addresses {
    pub(super) taken: Vec<(SocketAddr, Place)>,
}

impl Addresses {
    pub(super) fn read_listeners(&mut self, root: &Table<'_>, ordering: &Ordering) -> Vec<Listener> {
        let tables = root.tables("listener");
        if root.has_none("listener") {
            root.fault("there is no listener", "add [[listener]] with address = \"127.0.0.1:8080\"");
        }
        let mut listeners = Vec::new();
        for table in tables {
            let address = table.required_with(ADDRESS, socket);
            let (tls, http3) = (read_tls(&table, ordering), read_http3(&table));
            if let Some(address) = address {
                self.take(&table, &address);
                listeners.push(Listener { address: address.into_inner(), tls, http3 });
            }
        }
        listeners
    }

    /// The operator's listener has no TLS, and health and metrics need no token, so who can reach it must be on the machine already.
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

fn read_tls(listener: &Table<'_>, ordering: &Ordering) -> Option<ListenerTls> {
    let further = listener.tables(FURTHER);
    if let Some(one) = further.first()
        && listener.value(FIRST.0).is_none()
    {
        let message = "this listener has no `tls`, which names its first certificate";
        one.fault(message, format!("write it as `tls = {}` below the listener's address", FIRST.1));
    }
    let first = listener.table(FIRST.0, FIRST.1).map(|tls| (read_certificate(&tls, ordering), read_clients(&tls)));
    let further: Option<Vec<_>> = further.iter().map(|table| read_certificate(table, ordering)).collect();
    let (first, clients) = first?;
    let certificates = [vec![first?], further?].concat();
    Some(ListenerTls { certificates, clients })
}

/// QUIC has TLS in it (RFC 9001).
fn read_http3(listener: &Table<'_>) -> bool {
    let http3 = listener.optional::<bool>(HTTP3);
    if let Some(http3) = &http3
        && *http3.get_ref()
        && listener.value(FIRST.0).is_none()
    {
        let message = "`http3` needs `tls`: there is no HTTP/3 without certificates";
        listener.source.fault(http3.span(), message, format!("add `tls = {}`, or leave out `http3`", FIRST.1));
    }
    http3.is_some_and(Spanned::into_inner)
}

fn read_certificate(table: &Table<'_>, ordering: &Ordering) -> Option<Certificate> {
    if let Some(ordered) = ordering.certificate(table) {
        return ordered.map(Certificate::Ordered);
    }
    let file = |key: Key, path: Spanned<String>| existing_file(table.source, key.name, &path);
    let certificate = table.required(CERTIFICATE).map(|path| file(CERTIFICATE, path));
    let key = table.required(TLS_KEY).map(|path| file(TLS_KEY, path));
    let ocsp = table.optional(OCSP).map(|path| file(OCSP, path));
    certificate.zip(key).map(|(certificate, key)| Certificate::Files(CertificateFiles { certificate, key, ocsp }))
}

fn read_clients(tls: &Table<'_>) -> Option<ClientAuthority> {
    let file = tls.optional::<String>(CLIENT_CA).map(|path| existing_file(tls.source, CLIENT_CA.name, &path));
    let required = tls.optional_with(CLIENTS, |text| match text {
        "required" => Ok(true),
        "optional" => Ok(false),
        _ => Err(Wrong::new(
            "a client's certificate is either required or optional",
            "write \"required\" or \"optional\"",
        )),
    });
    if let Some(required) = &required
        && tls.value(CLIENT_CA.name).is_none()
    {
        let message = "`client_certificates` needs `client_ca`: who has issued them";
        tls.source.fault(required.span(), message, format!("add `client_ca = {}`", CLIENT_CA.example));
    }
    // Who names an authority means to let in only whom it knows, if nothing else is said.
    file.map(|file| ClientAuthority { file, required: required.is_none_or(Spanned::into_inner) })
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
