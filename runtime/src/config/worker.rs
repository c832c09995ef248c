//! A worker's eyot.toml: its component, what it may touch, its routes and its limits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use toml::Spanned;

use super::auth::{Auth, read_auth};
use super::component;
use super::diagnostic::{Diagnostic, Diagnostics, Place};
use super::form;
use super::host::HostPattern;
use super::limit_reader::read_overrides;
use super::limit_table::LimitTable;
use super::limits::WorkerLimits;
use super::node::Node;
use super::origin::NAME;
use super::queue::{Queue, QueueAddress, read_queues, read_sends};
use super::reader::{Key, Source, Table, Wrong, key};
use super::reference::{Kind, Names, Reference};
use super::rollout::{Rollout, read_rollout};
use super::route::{AUTH, Route, read_own_route};
use super::schedule::{Schedule, read_schedules};
use super::service::{Service, read_callers, read_services};

/// One worker as its author wrote it.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Lower-case letters, digits and hyphens, a DNS label (RFC 1035 §2.3.1): it is a host name in `eyot dev`.
    pub name: String,
    /// The folder of eyot.toml.
    pub folder: PathBuf,
    /// The component file.
    pub component: PathBuf,
    /// How the component is made.
    pub build: Build,
    /// The environment of the guest (`wasi:cli/environment`).
    pub env: BTreeMap<String, String>,
    /// What `wasi:config/store` answers.
    pub config: BTreeMap<String, String>,
    /// Which origins of node.toml it may ask.
    pub origins: Vec<String>,
    /// What else it may ask; empty: nothing.
    pub egress: Vec<AllowedHost>,
    /// The name of the way to authenticate that all its routes demand, unless a route says otherwise.
    pub auth: Option<String>,
    /// A way to authenticate of its own, under that name. One of node.toml with the same name takes its place, so that keys for
    /// development stay at home.
    pub own_auth: Option<Auth>,
    /// Client addresses that are allowed. Empty: all.
    pub allow_addresses: Vec<IpNet>,
    /// The names of its secrets: `wasi:config/store` answers them, too, with the values that the operator has set.
    pub secrets: Vec<String>,
    /// The namespaces of its keys and values.
    pub kv: Vec<String>,
    /// The queues that it works off.
    pub queues: Vec<Queue>,
    /// The queues of others that it sends to.
    pub sends: Vec<QueueAddress>,
    /// What it does at times.
    pub schedules: Vec<Schedule>,
    /// The workers that it calls.
    pub services: Vec<Service>,
    /// The workers that may call it.
    pub callers: Vec<String>,
    /// How a new version comes to all of its requests.
    pub rollout: Rollout,
    /// Its routes. Without any, `eyot dev` serves it at `NAME.localhost`.
    pub routes: Vec<Route>,
    /// Effective limits: its own where it sets them, the node's defaults elsewhere.
    pub limits: WorkerLimits,
    /// Whether an isolate that has answered may be asked again (`isolate = "reuse"`); otherwise each request has one of its own.
    pub reuse: bool,
    /// Whether `memory.grow` and `table.grow` past limit `memory` end the guest. Otherwise they fail, as WebAssembly says (§4.5.6),
    /// and the guest may go on.
    pub trap_on_grow_failure: bool,
}

/// How a component is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Build {
    /// `cargo build --release --target wasm32-wasip2` in the folder: there is a Cargo.toml.
    Cargo,
    /// This command, by the shell, in the folder.
    Command(String),
    /// Nothing to do: the component is there.
    None,
}

/// One destination that a worker may ask besides its origins: `[scheme://]host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    /// `http` or `https`; `None` is https only.
    pub scheme: Option<http::uri::Scheme>,
    /// Which hosts.
    pub host: HostPattern,
    /// `None` is the scheme's default port.
    pub port: Option<u16>,
}

impl Worker {
    /// Reads one worker's eyot.toml, given as the file or as its folder, with its limits resolved against a table. What could be
    /// understood is there in spite of the faults.
    ///
    /// The origins and the ways to authenticate that it names are not looked up: they are node.toml's, see [`Node::read`].
    #[must_use]
    pub fn read(folder_or_file: &Path, limits: &LimitTable) -> Reading {
        let file = file_of(folder_or_file);
        match Source::read(&file) {
            Ok(source) => {
                let Loaded { worker, named, faults, .. } = read_worker(source, limits, None, None);
                Reading { worker, named, faults: Diagnostics::check(faults) }
            }
            Err(fault) => Reading { worker: None, named: Place::file(file), faults: Err(fault.into()) },
        }
    }

    /// Reads the eyot.toml of a version that was sent to this node; `component` is where its bytes lie here, and `file` how the text is
    /// called in messages. Origins and ways to authenticate that it names are looked up in the node.
    ///
    /// # Errors
    /// Every fault of the text. It cannot bring keys of its own: files of the machine that it comes from are not here.
    pub fn deployed(file: &Path, text: String, component: PathBuf, node: &Node) -> Result<Self, Diagnostics> {
        let mut source = Source::new(file, text);
        source.is_from_afar = true;
        let Loaded { worker, named, references, mut faults, .. } =
            read_worker(source, &node.limits, None, Some(component));
        for (kind, defined) in [
            (Kind::Origin, node.origins.iter().map(|origin| origin.name.as_str()).collect::<Vec<_>>()),
            (Kind::Auth, node.auths.iter().map(|auth| auth.name.as_str()).collect()),
        ] {
            faults.extend(Names::known(kind, defined).check(&references));
        }
        let own = worker.as_ref().and_then(|worker| worker.own_auth.as_ref());
        if let Some(own) = own.filter(|own| !node.auths.iter().any(|auth| auth.name == own.name)) {
            let message = format!("the keys of `{}` are files of another machine", own.name);
            let help = format!("define [[auth]] with name = \"{}\" in node.toml: it takes this one's place", own.name);
            faults.push(Diagnostic::new(named, message, help));
        }
        Diagnostics::check(faults)?;
        let nothing = || Diagnostic::new(Place::file(file), "there is no worker in it", "write `name = \"api\"`");
        worker.map(|worker| Self { own_auth: None, ..worker }).ok_or_else(|| nothing().into())
    }
}

/// What was read of one worker's eyot.toml.
#[derive(Debug)]
pub struct Reading {
    /// Whole or in part. `None` where too little was understood.
    pub worker: Option<Worker>,
    /// Where its name is written.
    pub named: Place,
    /// Every fault of the file.
    pub faults: Result<(), Diagnostics>,
}

/// What was read of an eyot.toml, whole or in part.
pub(super) struct Loaded {
    pub(super) worker: Option<Worker>,
    /// Known even where the rest has faults, so that routes that name it are not faults too.
    pub(super) name: Option<String>,
    /// Where the file writes it, or the file.
    pub(super) named: Place,
    /// Uses of names that node.toml defines.
    pub(super) references: Vec<Reference>,
    pub(super) faults: Vec<Diagnostic>,
    /// The files that it names, with their places.
    pub(super) mentioned: Vec<(PathBuf, Place)>,
}

const COMPONENT: Key = key("component", "the path of a component", "\"api.wasm\"");
const COMMAND: Key = key("command", "a command of the shell", "\"npm run build\"");
const ORIGINS: Key = key("origins", "a list of names of origins", "[\"shop\"]");
const ISOLATE: Key = key("isolate", "\"fresh\" or \"reuse\"", "\"reuse\"");
const TRAP: Key = key("trap_on_grow_failure", "true or false", "true");
const SECRETS: Key = key("secrets", "a list of names", "[\"API_KEY\"]");
const KV: Key = key("kv", "a list of names", "[\"sessions\"]");
const EGRESS: Key = key("egress", "a list of destinations", "[\"https://api.example.com\"]");
pub(super) const ADDRESSES: Key = key("allow_addresses", "a list of address blocks", "[\"10.0.0.0/8\"]");

/// A worker's file, given itself or by its folder.
pub(super) fn file_of(folder_or_file: &Path) -> PathBuf {
    match folder_or_file.is_dir() {
        true => folder_or_file.join("eyot.toml"),
        false => folder_or_file.to_owned(),
    }
}

/// `name` and `component` are node.toml's, and come before the file's own. A component that the operator names is there
/// already: it is not built.
pub(super) fn read_worker(
    source: Source,
    limits: &LimitTable,
    name: Option<String>,
    component: Option<PathBuf>,
) -> Loaded {
    let mut references = Vec::new();
    let mut own_name = None;
    let mut named = Place::file(source.file());
    let worker = source.parse().and_then(|root| {
        let root = Table::new(&source, &root, "eyot.toml");
        let written = root.required_with(NAME, form::name);
        named = written.as_ref().map_or(named.clone(), |name| source.place(name.span().start));
        own_name = name.or_else(|| written.as_ref().map(|name| name.get_ref().clone()));
        let built = read_component(&root, written.as_ref(), component.is_some());
        let name = own_name.clone().unwrap_or_default();
        let parts = read_parts(&root, name, limits, &mut references);
        let (found, build) = built?;
        let (component, build) = component.map_or((found, build), |component| (component, Build::None));
        written.is_some().then_some(Worker { component, build, ..parts? })
    });
    let mentioned = source.take_named();
    Loaded { worker, name: own_name, named, references, mentioned, faults: source.into_faults() }
}

/// All but the component. `None` where the limits have faults; other faults leave their part out and are in the source.
fn read_parts(root: &Table<'_>, name: String, limits: &LimitTable, references: &mut Vec<Reference>) -> Option<Worker> {
    let source = root.source;
    let origins = root.list_with(ORIGINS, form::name).unwrap_or_default();
    references.extend(origins.iter().map(|origin| Reference::new(source, Kind::Origin, origin)));
    let (auth, own_auth) = read_demand(root, references);
    let (egress, allow_addresses) = (root.list_with(EGRESS, form::egress), root.list_with(ADDRESSES, form::addresses));
    if let Some(value) = root.value(ADDRESSES.name)
        && allow_addresses.as_ref().is_some_and(Vec::is_empty)
    {
        let help = "to allow every address, leave it out; to allow none, remove the routes";
        source.fault(value.span(), "`allow_addresses` allows nobody", help);
    }
    let own = root.table("limits", "{ cpu_time = \"50ms\" }").map(read_overrides).unwrap_or_default();
    let limits = limits.worker_limits(&own).map_err(|faults| source.add(faults.0)).ok();
    let routes = root.tables("route");
    let own_name = own_auth.as_ref().map(|own| own.name.as_str());
    let routes = routes.iter().filter_map(|table| read_own_route(table, &name, own_name, references)).collect();
    let config: BTreeMap<_, _> = inner_all(root.strings("config", "{ greeting = \"hello\" }")).collect();
    Some(Worker {
        services: read_services(root, &name),
        name,
        folder: source.absolute("."),
        component: PathBuf::new(),
        build: Build::None,
        env: read_env(root),
        origins: origins.into_iter().map(Spanned::into_inner).collect(),
        egress: egress.into_iter().flatten().map(Spanned::into_inner).collect(),
        auth,
        own_auth,
        allow_addresses: allow_addresses.into_iter().flatten().map(Spanned::into_inner).collect(),
        secrets: read_secrets(root, &config),
        kv: root.list_once(KV, form::name),
        queues: read_queues(root),
        sends: read_sends(root),
        schedules: read_schedules(root),
        callers: read_callers(root),
        rollout: read_rollout(root),
        config,
        routes,
        limits: limits?,
        reuse: root.optional_with(ISOLATE, form::is_reused).is_some_and(Spanned::into_inner),
        trap_on_grow_failure: root.optional::<bool>(TRAP).is_some_and(Spanned::into_inner),
    })
}

/// `auth = "NAME"` demands what node.toml defines; a table `[auth]` defines it here.
fn read_demand(root: &Table<'_>, references: &mut Vec<Reference>) -> (Option<String>, Option<Auth>) {
    if root.value(AUTH.name).is_some_and(|value| value.get_ref().is_table()) {
        let own = root.table(AUTH.name, "{ name = \"users\" }").and_then(|table| read_auth(&table).1);
        return (own.as_ref().map(|own| own.name.clone()), own);
    }
    let auth = root.optional_with(AUTH, form::name);
    references.extend(auth.iter().map(|auth| Reference::new(root.source, Kind::Auth, auth)));
    (auth.map(Spanned::into_inner), None)
}

fn inner_all(entries: BTreeMap<String, Spanned<String>>) -> impl Iterator<Item = (String, String)> {
    entries.into_iter().map(|(key, value)| (key, value.into_inner()))
}

/// One name has one value: what is both configuration and secret is neither.
fn read_secrets(root: &Table<'_>, config: &BTreeMap<String, String>) -> Vec<String> {
    let names = root.list_with(SECRETS, form::secret).unwrap_or_default();
    for (index, name) in names.iter().enumerate() {
        let message = match () {
            () if config.contains_key(name.get_ref()) => format!("`{}` stands in [config], too", name.get_ref()),
            () if names[..index].iter().any(|other| other.get_ref() == name.get_ref()) => {
                format!("`{}` is listed twice in `secrets`", name.get_ref())
            }
            () => continue,
        };
        root.source.fault(name.span(), message, "remove one of the two");
    }
    names.into_iter().map(Spanned::into_inner).collect()
}

/// The environment is a list of `NAME=value` ended by NUL (POSIX), so neither can stand in a name.
fn read_env(root: &Table<'_>) -> BTreeMap<String, String> {
    let entries = root.strings("env", "{ LOG = \"debug\" }");
    for (name, value) in &entries {
        if name.is_empty() || name.contains(['=', '\0']) {
            let wrong =
                Wrong::new("a variable's name has neither `=` nor NUL, and is not empty", "choose another name");
            root.source.wrong(value.span(), "env", name, wrong);
        } else if value.get_ref().contains('\0') {
            let wrong = Wrong::new("its value holds a NUL, which no environment can", "take the NUL out");
            root.source.wrong(value.span(), "env", name, wrong);
        }
    }
    inner_all(entries).collect()
}

/// Where the component lies and how it is made. A file that nothing makes must be there already.
fn read_component(root: &Table<'_>, name: Option<&Spanned<String>>, replaced: bool) -> Option<(PathBuf, Build)> {
    let source = root.source;
    let folder = source.absolute(".");
    let is_cargo = folder.join("Cargo.toml").is_file();
    let build = match root.table("build", "{ command = \"make\" }") {
        Some(table) => {
            let command = table.required_with(COMMAND, |text| match text.trim() {
                "" => Err(Wrong::new("it is empty", "write the command, or remove [build]")),
                _ => Ok(text.to_owned()),
            });
            command.map(|command| Build::Command(command.into_inner()))
        }
        None if is_cargo => Some(Build::Cargo),
        None => Some(Build::None),
    };
    let written = root.optional::<String>(COMPONENT);
    let build = build?;
    if written.is_none() && root.value(COMPONENT.name).is_some() {
        return None;
    }
    let component = match &written {
        Some(path) => {
            let file = source.absolute(path.get_ref());
            source.names(file.clone(), &path.span());
            file
        }
        None if replaced => PathBuf::new(),
        None if is_cargo => match component::cargo_artifact(&folder, component::target_folder()) {
            Ok(path) => path,
            Err(why) => {
                let message = format!("Cargo.toml does not tell where the component lies: {why}");
                root.fault(message, "write `component = \"PATH\"`, or correct Cargo.toml");
                return None;
            }
        },
        None => source.absolute(format!("{}.wasm", name?.get_ref())),
    };
    if build == Build::None && !replaced && !component.is_file() {
        let place = written.as_ref().map(Spanned::span).or(name.map(Spanned::span)).unwrap_or_else(|| root.span());
        let message = format!("there is no component {}", component.display());
        source.fault(
            place,
            message,
            "put it there, write its path as `component`, or say how it is made: [build] command",
        );
    }
    Some((component, build))
}
