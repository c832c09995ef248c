//! node.toml: what one node listens on, which workers and origins it has, and how they are reached.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use toml::Spanned;

use super::acme::{Acme, Ordering};
use super::auth::{Auth, read_auth};
use super::backend::Backends;
use super::diagnostic::{Diagnostic, Place};
use super::form;
use super::host::HostPattern;
use super::limit_table::{LimitTable, Source as LimitSource};
use super::listener::{Addresses, Admin, Listener};
use super::mention::Mentions;
use super::origin::{NAME, Origin, existing_file, read_origin};
use super::reader::{Key, Source, Table, Wrong, key};
use super::reference::{Kind, Names, Reference};
use super::route::{Route, read_route};
use super::worker::{Loaded, Worker, file_of, read_worker};

/// One node's configuration, complete: every worker's eyot.toml has been read too.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where to listen for HTTP. At least one.
    pub listeners: Vec<Listener>,
    /// The operator's own listener: `/healthz`, `/readyz`, `/metrics`. `None`: there is none.
    pub admin: Option<Admin>,
    /// Where compiled components are kept. `None`: a folder of this user's cache.
    pub state: Option<PathBuf>,
    /// Where deployed workers are kept. `None`: none can be deployed.
    pub store: Option<PathBuf>,
    /// Where workers keep what outlives their isolates: with the store. `None`: nowhere.
    pub data: Option<PathBuf>,
    /// What keeps it in place of this node's disk.
    pub backends: Backends,
    /// Where backups of the store are made. There is one where there is a store.
    pub backups: Option<PathBuf>,
    /// The file with the key under which secrets of deployed workers are kept. `None`: EYOT_SECRETS_KEY, if it is there, is the key.
    pub secrets_key: Option<PathBuf>,
    /// Who issues the certificates that listeners order. There is one where a listener does.
    pub acme: Option<Acme>,
    /// Below which host versions are tried that do not serve: `7-shop.HOST` is version 7 of worker `shop`. `None`: nowhere.
    pub preview: Option<String>,
    /// Whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed. Empty: nobody's. `Forwarded` is passed on, not read.
    pub trusted_proxies: Vec<IpNet>,
    /// The workers of this node, each with its limits resolved.
    pub workers: Vec<Worker>,
    /// The routes of node.toml. A worker's own routes are in [`Worker::routes`].
    pub routes: Vec<Route>,
    /// The origins that routes and workers name.
    pub origins: Vec<Origin>,
    /// The named ways to authenticate.
    pub auths: Vec<Auth>,
    /// Every limit: built in, then `--limits FILE`, then `[limits]` of node.toml.
    pub limits: LimitTable,
    /// Where traces go.
    pub telemetry: Telemetry,
    /// Where files and addresses are named.
    pub mentions: Mentions,
}

/// What was read of a configuration: as much of a node as could be made out, and what is wrong with the rest.
#[derive(Clone, Debug)]
pub struct Read {
    /// Parts with faults are missing in it; it is whole when there are none. `None` only together with a fault.
    pub node: Option<Node>,
    /// Everything that is wrong.
    pub faults: Vec<Diagnostic>,
}

impl From<Node> for Read {
    fn from(node: Node) -> Self {
        Self { node: Some(node), faults: Vec::new() }
    }
}

/// Traces and what identifies them.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    /// An OTLP/HTTP endpoint, such as `http://127.0.0.1:4318`. `None`: no spans are made.
    pub otlp_endpoint: Option<url::Url>,
    /// `service.name` of the resource; `eyot` if not given.
    pub service_name: Option<String>,
    /// Which share of the traces that begin here is recorded, 0 to 1. `None`: all. A caller that sends a trace has decided for it.
    pub sample: Option<f64>,
}

impl Node {
    /// Reads node.toml and the eyot.toml of each of its workers. Limits are the built-in ones, overridden by `limits_file`
    /// and then by `[limits]` of node.toml. What is well can be used to look for more faults before all of them are told.
    #[must_use]
    pub fn read(path: &Path, limits_file: Option<&Path>) -> Read {
        let mut limits = LimitTable::builtin();
        let mut faults = match limits_file.map(|file| limits.override_from_file(file)) {
            Some(Err(faults)) => faults.0,
            _ => Vec::new(),
        };
        let source = match Source::read(path) {
            Ok(source) => source,
            Err(fault) => {
                faults.push(fault);
                return Read { node: None, faults };
            }
        };
        let mut other_files = Vec::new();
        let node = source.parse().and_then(|root| {
            let root = Table::new(&source, &root, "node.toml");
            Reading::new(&root, limits).read(&root, &mut other_files)
        });
        faults.extend(source.into_faults());
        faults.extend(other_files);
        Read { node, faults }
    }
}

const STATE: Key = key("state", "the path of a folder", "\"/var/lib/eyot\"");
const STORE: Key = key("store", "the path of a folder", "\"/var/lib/eyot/store\"");
const BACKUPS: Key = key("backups", "the path of a folder", "\"/var/backups/eyot\"");
const SECRETS_KEY: Key = key("secrets_key", "the path of a file", "\"/etc/eyot/secrets.key\"");
const PREVIEW: Key = key("preview", "a host", "\"preview.example.com\"");
const PROXIES: Key = key("trusted_proxies", "a list of address blocks", "[\"10.0.0.0/8\"]");
const PATH: Key = key("path", "the folder of a worker or its eyot.toml", "\"workers/api\"");
const COMPONENT: Key = key("component", "the path of a component", "\"api.wasm\"");
const ENDPOINT: Key = key("otlp_endpoint", "a URL", "\"http://127.0.0.1:4318\"");
const SAMPLE: Key = key("sample", "a number from 0 to 1", "0.1");
const SERVICE: Key = key("service_name", "a string", "\"shop-edge\"");

/// What is gathered while node.toml is read: definitions and uses of names, to be matched when all are known.
struct Reading {
    limits: LimitTable,
    workers: Names,
    origins: Names,
    auths: Names,
    references: Vec<Reference>,
    /// Files that workers name.
    named: Vec<(PathBuf, Place)>,
}

impl Reading {
    fn new(root: &Table<'_>, mut limits: LimitTable) -> Self {
        if let Some(table) = root.table("limits", "{ memory = \"64MiB\" }") {
            limits.override_from(table, &LimitSource::Node(root.source.file().to_owned()));
        }
        let names = Names::new;
        let (workers, origins, auths) = (names(Kind::Worker), names(Kind::Origin), names(Kind::Auth));
        Self { limits, workers, origins, auths, references: Vec::new(), named: Vec::new() }
    }

    /// `None` only together with a fault. Faults of the workers' own files go to `other_files`.
    fn read(mut self, root: &Table<'_>, other_files: &mut Vec<Diagnostic>) -> Option<Node> {
        let mut addresses = Addresses::default();
        let store = read_store(root);
        let ordering = Ordering::read(root, store.as_deref());
        let listeners = addresses.read_listeners(root, &ordering);
        let admin =
            root.table("admin", "{ address = \"127.0.0.1:9090\" }").and_then(|table| addresses.read_admin(&table));
        let workers = self.read_workers(root, other_files);
        let origins = defined(root, "origin", &mut self.origins, read_origin);
        let auths = defined(root, "auth", &mut self.auths, read_auth);
        let routes = root.tables("route");
        let routes = routes.iter().filter_map(|table| read_route(table, &mut self.references)).collect();
        for names in [&self.workers, &self.origins, &self.auths] {
            let faults = names.check(&self.references).into_iter();
            let (own, others): (Vec<_>, Vec<_>) = faults.partition(|fault| fault.place.file == root.source.file());
            root.source.add(own);
            other_files.extend(others);
        }
        let trusted_proxies = root.list_with(PROXIES, form::addresses);
        Some(Node {
            listeners,
            acme: ordering.into_acme(root.source),
            state: read_folder(root, STATE),
            backups: read_backups(root, store.as_deref()),
            data: store.clone(),
            backends: Backends::read(root),
            store,
            secrets_key: root
                .optional::<String>(SECRETS_KEY)
                .map(|path| existing_file(root.source, SECRETS_KEY.name, &path)),
            admin,
            preview: root.optional_with(PREVIEW, preview).map(Spanned::into_inner),
            trusted_proxies: trusted_proxies.into_iter().flatten().map(Spanned::into_inner).collect(),
            workers,
            routes,
            origins,
            auths,
            limits: self.limits,
            telemetry: read_telemetry(root),
            mentions: Mentions {
                files: root.source.take_named().into_iter().chain(self.named).collect(),
                addresses: addresses.taken,
            },
        })
    }

    fn read_workers(&mut self, root: &Table<'_>, other_files: &mut Vec<Diagnostic>) -> Vec<Worker> {
        let source = root.source;
        let mut workers = Vec::new();
        for table in root.tables("worker") {
            let path = table.required::<String>(PATH);
            let name = table.optional_with(NAME, form::name);
            let component = table.optional::<String>(COMPONENT);
            let component = component.map(|path| existing_file(source, COMPONENT.name, &path));
            let known = name.as_ref().map(|name| (name.get_ref().clone(), source.place(name.span().start)));
            let Some(loaded) = path.as_ref().and_then(|path| self.open_worker(source, path, name, component)) else {
                match known {
                    Some((name, place)) => source.add(self.workers.define_at(&name, place)),
                    None => self.workers.incomplete(),
                }
                continue;
            };
            let at = path.map_or(table.span(), |path| path.span());
            let place = known.map_or_else(|| source.place(at.start), |(_, place)| place);
            match &loaded.name {
                Some(name) => source.add(self.workers.define_at(name, place)),
                None => self.workers.incomplete(),
            }
            self.references.extend(loaded.references);
            self.named.extend(loaded.mentioned);
            other_files.extend(loaded.faults);
            workers.extend(loaded.worker);
        }
        workers
    }

    /// `None` where there is no such file, which is a fault of node.toml.
    fn open_worker(
        &self,
        source: &Source,
        path: &Spanned<String>,
        name: Option<Spanned<String>>,
        component: Option<PathBuf>,
    ) -> Option<Loaded> {
        let near = source.file().parent().unwrap_or(Path::new("")).join(path.get_ref());
        let file = file_of(&near);
        if !file.is_file() {
            let message = format!("`path`: there is no {}", file.display());
            source.fault(path.span(), message, "name a folder with an eyot.toml in it, or the file itself");
            return None;
        }
        match Source::read(&file) {
            Ok(own) => Some(read_worker(own, &self.limits, name.map(Spanned::into_inner), component)),
            Err(fault) => {
                source.add([fault]);
                None
            }
        }
    }
}

/// All tables of `[[header]]`, each of which defines a name.
fn defined<T>(
    root: &Table<'_>,
    header: &'static str,
    names: &mut Names,
    read: impl Fn(&Table<'_>) -> (Option<Spanned<String>>, Option<T>),
) -> Vec<T> {
    let tables = root.tables(header);
    let read = tables.iter().filter_map(|table| {
        let (name, item) = read(table);
        names.define(table, name.as_ref());
        item
    });
    read.collect()
}

fn preview(text: &str) -> Result<String, Wrong> {
    match HostPattern::parse(text)? {
        HostPattern::Exact(host) => Ok(host.into()),
        HostPattern::Below(_) => Err(Wrong::new("all hosts below it are meant anyhow", "leave `*.` out")),
    }
}

fn read_folder(root: &Table<'_>, key: Key) -> Option<PathBuf> {
    let folder = root.optional::<String>(key)?;
    let path = root.source.absolute(folder.get_ref());
    if folder.get_ref().is_empty() || (path.exists() && !path.is_dir()) {
        let message = format!("`{}`: {} is not a folder", key.name, path.display());
        root.source.fault(folder.span(), message, "name a folder; it is made when it is not there");
    }
    root.source.names(path.clone(), &folder.span());
    Some(path)
}

/// What is deployed comes by the admin listener, so there must be one.
fn read_store(root: &Table<'_>) -> Option<PathBuf> {
    let store = read_folder(root, STORE)?;
    if let Some(value) = root.value(STORE.name).filter(|_| root.value("admin").is_none()) {
        let message = "`store`: nobody could deploy to it, since there is no admin listener";
        root.source.fault(value.span(), message, "add [admin] with address = \"127.0.0.1:9090\", or remove `store`");
    }
    Some(store)
}

/// Beside the store, where nothing is said: a process that is confined can write nowhere else.
fn read_backups(root: &Table<'_>, store: Option<&Path>) -> Option<PathBuf> {
    let folder = read_folder(root, BACKUPS);
    let (Some(value), Some(folder)) = (root.value(BACKUPS.name), &folder) else {
        let mut beside = store?.as_os_str().to_owned();
        beside.push("-backups");
        return Some(beside.into());
    };
    match store {
        None => {
            let help = "add `store = \"FOLDER\"`, or remove `backups`";
            root.source.fault(value.span(), "`backups`: there is no `store` to make a backup of", help);
        }
        Some(store) if folder.starts_with(store) || store.starts_with(folder) => {
            let message =
                format!("`backups`: {} and the store {} lie in each other", folder.display(), store.display());
            root.source.fault(value.span(), message, "name a folder beside it, better on another disk");
        }
        Some(_) => {}
    }
    Some(folder.clone())
}

fn read_telemetry(root: &Table<'_>) -> Telemetry {
    let Some(table) = root.table("telemetry", "{ otlp_endpoint = \"http://127.0.0.1:4318\" }") else {
        return Telemetry::default();
    };
    let otlp_endpoint = table.optional_with(ENDPOINT, form::base_url).map(Spanned::into_inner);
    let service_name = table.optional_with(SERVICE, |text| match text.trim() {
        "" => Err(Wrong::new("it is empty", "write a name, or leave it out: then it is \"eyot\"")),
        _ => Ok(text.to_owned()),
    });
    let sample = table.optional::<f64>(SAMPLE);
    if let Some(sample) = &sample
        && !(0.0..=1.0).contains(sample.get_ref())
    {
        let message = format!("`sample`: {} is no share of all traces", sample.get_ref());
        table.source.fault(sample.span(), message, "write a number from 0 (none) to 1 (all), for example 0.1");
    }
    Telemetry {
        otlp_endpoint,
        service_name: service_name.map(Spanned::into_inner),
        sample: sample.map(Spanned::into_inner),
    }
}
