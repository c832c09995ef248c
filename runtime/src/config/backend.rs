//! `[queues]` and `[kv]` of node.toml: the server that keeps what workers keep, where that is not this node's disk.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use url::Url;

use super::form;
use super::origin::existing_file;
use super::reader::{Key, Table, Wrong, key};
use super::units;

/// What keeps what workers keep. `None`: this node's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backends {
    /// Messages.
    pub queues: Option<Server>,
    /// Keys and values.
    pub kv: Option<Server>,
    /// For how long what a node has read of them there it uses without asking again.
    pub staleness: Duration,
    /// What should run.
    pub fleet: Option<Fleet>,
}

/// The nodes that share what should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// Where.
    pub server: Server,
    /// How this node is called among them.
    pub name: String,
}

/// A server that nodes share.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it is; it may hold a password.
    pub url: Url,
    /// The file that says who the node is to it (NATS: a `.creds` file).
    pub credentials: Option<PathBuf>,
    /// Where each server of it tells how it is configured (NATS: `http_port`).
    pub monitor: Vec<Url>,
    /// On how many servers of a cluster what is kept stands (NATS).
    pub replicas: usize,
    /// Whether it may acknowledge what it has not written to its disk.
    pub allow_unsynced: bool,
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// NATS, with JetStream.
    Nats,
    /// Redis, or what speaks as it does.
    Redis,
}

/// A URL may hold a password, which nobody should see.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.place()).finish()
    }
}

impl Server {
    /// Its URL as it may be shown.
    #[must_use]
    pub fn place(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        format!("{}://{host}:{}", self.url.scheme(), self.port())
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port().unwrap_or(match self.protocol {
            Protocol::Nats => 4222,
            Protocol::Redis => 6379,
        })
    }
}

const OWN_DISK: &str = "sqlite:";

const URL: Key = key("url", "a URL", "\"nats://127.0.0.1:4222\"");
const FLEET_NAME: Key = key("name", "a name", "\"edge-1\"");
const MONITOR: Key = key("monitor", "a list of URLs", "[\"http://127.0.0.1:8222\"]");
const CREDENTIALS: Key = key("credentials", "the path of a file", "\"eyot.creds\"");
const REPLICAS: Key = key("replicas", "a number of servers", "3");
const UNSYNCED: Key = key("allow_unsynced", "true or false", "true");
const STALENESS: Key = key("staleness", "a time", "\"1s\"");

/// Where nothing is said, and at most.
const STALE: Duration = Duration::from_secs(1);
const LONGEST_STALE: Duration = Duration::from_secs(60 * 60);

impl Backends {
    /// The files that say who the node is to its servers.
    pub fn credentials(&self) -> impl Iterator<Item = &PathBuf> {
        let fleet = self.fleet.as_ref().map(|fleet| &fleet.server);
        let servers = self.queues.iter().chain(&self.kv).chain(fleet);
        servers.filter_map(|server| server.credentials.as_ref())
    }

    /// A fleet's server keeps messages, and keys and values, too, where nothing else is said.
    pub(super) fn read(root: &Table<'_>) -> Self {
        let table = |name| root.table(name, "{ url = \"nats://127.0.0.1:4222\" }");
        let fleet = read_fleet(root);
        let shared = |own: Option<Server>, name: &'static str| {
            own.or_else(|| Some(fleet.as_ref()?.server.clone()).filter(|_| root.value(name).is_none()))
        };
        let queues = table("queues").and_then(|table| read_server(&table, &[Protocol::Nats, Protocol::Redis]));
        let (kv, staleness) = table("kv").map(|table| read_kv(&table)).unwrap_or_default();
        Self { queues: shared(queues, "queues"), kv: shared(kv, "kv"), staleness: staleness.unwrap_or(STALE), fleet }
    }
}

/// The server, and for how long what was read there is used.
fn read_kv(table: &Table<'_>) -> (Option<Server>, Option<Duration>) {
    let staleness = table.optional_with(STALENESS, staleness);
    let server = read_server(table, &[Protocol::Nats]);
    if let (Some(value), Some(_)) = (&staleness, own_disk(table)) {
        table.source.fault(value.span(), "what this node's disk keeps is read there each time", "leave it out");
    }
    (server, staleness.map(Spanned::into_inner))
}

/// Where a table names this node's disk.
fn own_disk(table: &Table<'_>) -> Option<Range<usize>> {
    let url = table.value(URL.name)?;
    (url.get_ref().as_str() == Some(OWN_DISK)).then(|| url.span())
}

fn staleness(text: &str) -> Result<Duration, Wrong> {
    match units::time(text)? {
        time if time > LONGEST_STALE => {
            Err(Wrong::new("nobody wants to wait for a change for longer than an hour", "write at most \"1h\""))
        }
        time => Ok(time),
    }
}

fn read_fleet(root: &Table<'_>) -> Option<Fleet> {
    let table = root.table("fleet", "{ url = \"nats://127.0.0.1:4222\", name = \"edge-1\" }")?;
    if root.value("store").is_none() {
        let help = "add `store = \"/var/lib/eyot/store\"` and [admin]";
        table.fault("there is no `store`, in which this node keeps what the fleet serves", help);
    }
    let name = table.required_with(FLEET_NAME, form::name);
    let server = read_server(&table, &[Protocol::Nats]);
    if let Some(span) = own_disk(&table) {
        table.source.fault(span, "this node's disk is shared with nobody", "name a server, nats://HOST:PORT");
    }
    Some(Fleet { server: server?, name: name?.into_inner() })
}

/// `None` for this node's disk, and where there is a fault.
fn read_server(table: &Table<'_>, known: &[Protocol]) -> Option<Server> {
    let url = table.required_with(URL, |text| parse(text, known));
    let monitor = table.list_with(MONITOR, form::base_url);
    let credentials =
        table.optional::<String>(CREDENTIALS).map(|path| (existing_file(table.source, CREDENTIALS.name, &path), path));
    let unsynced = table.optional::<bool>(UNSYNCED);
    let replicas = table.count(REPLICAS, 1..=5);
    let (protocol, url) = url?.into_inner().unzip();
    let for_what = match protocol {
        Some(Protocol::Nats) => None,
        Some(Protocol::Redis) => Some("Redis is asked by its own protocol, and its password stands in `url`"),
        None => Some("this node's disk needs no more than its url"),
    };
    for span in [
        monitor.as_ref().and_then(|urls| Some(urls.first()?.span())),
        credentials.as_ref().map(|(_, path)| path.span()),
    ] {
        if let (Some(span), Some(why)) = (span, for_what) {
            table.source.fault(span, why, "leave it out");
        }
    }
    if let (Some(value), None) = (&unsynced, protocol) {
        table.source.fault(value.span(), "what this node's disk keeps is always synced", "leave it out");
    }
    Some(Server {
        protocol: protocol?,
        url: url?,
        credentials: credentials.map(|(file, _)| file),
        monitor: monitor.into_iter().flatten().map(Spanned::into_inner).collect(),
        replicas: replicas.unwrap_or(1) as usize,
        allow_unsynced: unsynced.is_some_and(Spanned::into_inner),
    })
}

/// `None` for this node's disk.
fn parse(text: &str, known: &[Protocol]) -> Result<Option<(Protocol, Url)>, Wrong> {
    if text == OWN_DISK {
        return Ok(None);
    }
    let redis = known.contains(&Protocol::Redis);
    let help = match redis {
        true => "write \"sqlite:\", \"nats://127.0.0.1:4222\" or \"redis://127.0.0.1:6379\"",
        false => "write \"sqlite:\" or \"nats://127.0.0.1:4222\"",
    };
    let url = Url::parse(text).map_err(|error| Wrong::new(format!("not a URL: {error}"), help))?;
    let protocol = match url.scheme() {
        "nats" => Protocol::Nats,
        "redis" if redis => Protocol::Redis,
        "tls" | "rediss" => {
            let help = "let the server listen on this machine, or put a tunnel or a leaf node there";
            return Err(Wrong::new("servers are not reached over TLS yet", help));
        }
        _ => return Err(Wrong::new("nothing of this kind keeps it", help)),
    };
    if url.host_str().is_none_or(str::is_empty) || url.port() == Some(0) {
        return Err(Wrong::new("it names no host and port", help));
    }
    let path = url.path().trim_start_matches('/');
    let is_number = redis && protocol == Protocol::Redis && path.parse::<u16>().is_ok();
    if !(path.is_empty() || is_number) || url.query().is_some() || url.fragment().is_some() {
        return Err(Wrong::new("behind the host and its port stands what means nothing there", help));
    }
    Ok(Some((protocol, url)))
}
