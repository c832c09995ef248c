//! What of the workers serves, and what stands in the way of the rest: each keeps its last good version until a newer one is good.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Dev;
use crate::activate;
use crate::cli::build::{self, Ends, Found};
use crate::cli::{find, show};
use crate::config::{self, Build, Diagnostics, HostPattern, LimitTable, PathPattern, Reading, Route};
use crate::node::Node;

/// The workers below the paths of the command line.
pub(super) struct Workers<'a> {
    dev: &'a Dev,
    running: &'a Node,
    demo: SocketAddr,
    limits: LimitTable,
    /// By the canonical path of their folder.
    folders: BTreeMap<PathBuf, Folder>,
    /// Set when the process is to end: nothing more is built.
    ended: &'a Ends,
    /// The first connection was taken.
    begun: bool,
}

/// One worker's folder.
#[derive(Default)]
struct Folder {
    serving: Option<Version>,
    /// Newer, and good in itself, but it may not fit the others: their routes, their names.
    ready: Option<Version>,
    /// Why what the folder holds does not serve.
    faults: Option<Diagnostics>,
    /// Its component, where no build of ours makes it: a source like any other, also while it is not there.
    component: Option<PathBuf>,
}

/// A worker that can serve.
#[derive(Clone)]
struct Version {
    found: Found,
    prepared: Arc<activate::Worker>,
}

impl Version {
    fn name(&self) -> &str {
        &self.found.worker.name
    }
}

impl<'a> Workers<'a> {
    pub(super) fn new(dev: &'a Dev, running: &'a Node, demo: SocketAddr, limits: LimitTable, ended: &'a Ends) -> Self {
        Self { dev, running, demo, limits, folders: BTreeMap::new(), ended, begun: false }
    }

    /// Takes the first connection and shows what is there. Says whether there is still somebody to serve.
    pub(super) fn begin(&mut self) -> bool {
        let (false, Some(address)) = (self.ended.have_come(), self.running.addresses.first()) else {
            return false;
        };
        self.begun = true;
        self.running.listen();
        let workers: Vec<_> = self.folders.values().filter_map(|folder| folder.serving.as_ref()).collect();
        let workers = self.with_routes(&workers);
        let broken = self.folders.iter().filter(|(_, folder)| folder.serving.is_none()).map(|(path, _)| last(path));
        let broken: Vec<_> = broken.collect();
        show::banner(&workers, broken.iter().map(|name| &**name), *address, self.running.admin);
        true
    }

    /// The files that are watched besides those in the folders.
    pub(super) fn other_sources(&self) -> impl Iterator<Item = PathBuf> {
        self.folders.values().filter_map(|folder| folder.component.clone()).chain(self.dev.limits.clone())
    }

    /// Builds what is new or has changed, and serves it where that can be done.
    ///
    /// # Errors
    /// When it is not known what there is; everything stays as it is.
    pub(super) fn update(&mut self, changed: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
        let found = find::workers(&self.dev.paths)?;
        let found: BTreeMap<PathBuf, PathBuf> =
            found.into_iter().map(|folder| (find::canonical(&folder), folder)).collect();
        let limits = self.dev.limits.as_ref().map(|file| find::canonical(file)).filter(|file| changed.contains(file));
        let is_ours = |file: &PathBuf| {
            limits.as_ref() == Some(file)
                || found.keys().any(|path| file.starts_with(path))
                || self.folders.iter().any(|(path, folder)| folder.is_made_of(path, file))
        };
        let seen: Vec<&PathBuf> = changed.iter().filter(|file| is_ours(file)).collect();
        let gone: Vec<PathBuf> = self.folders.keys().filter(|path| !found.contains_key(*path)).cloned().collect();
        let is_stale = |path: &PathBuf| {
            let Some(folder) = self.folders.get(path) else { return true };
            limits.is_some() || seen.iter().any(|file| folder.is_made_of(path, file))
        };
        let stale: Vec<_> = found.iter().filter(|(path, _)| is_stale(path)).collect();
        if stale.is_empty() && gone.is_empty() {
            return Ok(());
        }
        if self.begun {
            show::changed(&seen);
        }
        if limits.is_some() {
            match self.dev.limits() {
                Ok(limits) => self.limits = limits,
                Err(faults) => show::kept_limits(&faults),
            }
        }
        self.folders.retain(|path, _| !gone.contains(path));
        if !gone.is_empty() {
            show::removed(&gone.iter().map(|path| last(path)).collect::<Vec<_>>().join(", "));
        }
        for (index, (path, given)) in stale.iter().enumerate() {
            if self.ended.have_come() {
                return Ok(());
            }
            self.make(path, given, (index + 1, stale.len()));
        }
        self.swap(!gone.is_empty());
        Ok(())
    }

    /// Reads, builds and compiles what one folder holds.
    fn make(&mut self, path: &Path, given: &Path, count: (usize, usize)) {
        let Reading { worker, named, faults } = config::Worker::read(given, &self.limits);
        let folder = self.folders.entry(path.to_owned()).or_default();
        if let Some(worker) = &worker {
            folder.component = (worker.build == Build::None).then(|| worker.component.clone());
        }
        let made = faults.and_then(|()| {
            let Some(worker) = worker else { return Ok(None) };
            let found = Found { worker, named };
            build::one(&found, count, Some(self.ended))?;
            let prepared = self.running.prepare(&found.worker)?;
            Ok(Some(Version { found, prepared }))
        });
        if self.ended.have_come() {
            return;
        }
        match made {
            Ok(version) => (folder.ready, folder.faults) = (version, None),
            Err(faults) => {
                folder.ready = None;
                folder.refuse(given, faults);
            }
        }
    }

    /// Serves the newest of all, or where they do not fit together, each that fits what serves.
    fn swap(&mut self, must: bool) {
        let ready: Vec<PathBuf> =
            self.folders.iter().filter(|(_, folder)| folder.ready.is_some()).map(|(path, _)| path.clone()).collect();
        if ready.is_empty() && !must {
            return;
        }
        let newest = |folder: &Folder| folder.ready.clone().or_else(|| folder.serving.clone());
        if self.serve(self.folders.values().filter_map(newest).collect()).is_ok() {
            return self.tell_swapped(&ready);
        }
        if must
            && let Err(faults) = self.serve(self.folders.values().filter_map(|folder| folder.serving.clone()).collect())
        {
            show::faults(&faults);
        }
        for path in ready {
            let others = self.folders.iter().filter(|(other, _)| **other != path);
            let mut versions: Vec<Version> = others.filter_map(|(_, folder)| folder.serving.clone()).collect();
            versions.extend(self.folders.get(&path).and_then(|folder| folder.ready.clone()));
            match self.serve(versions) {
                Ok(()) => self.tell_swapped(&[path]),
                Err(faults) => {
                    // What did not fit before, and fits no better now, was told.
                    let folder = self.folders.get_mut(&path).filter(|folder| folder.faults.as_ref() != Some(&faults));
                    if let Some(folder) = folder {
                        folder.refuse(&path, faults);
                    }
                }
            }
        }
    }

    /// Lets exactly these versions serve.
    fn serve(&self, versions: Vec<Version>) -> Result<(), Diagnostics> {
        for (index, version) in versions.iter().enumerate() {
            if let Some(other) = versions[..index].iter().find(|other| other.name() == version.name()) {
                return Err(version.found.has_the_name_of(&other.found).into());
            }
        }
        let workers = versions.iter().map(|version| version.found.worker.clone()).collect();
        let node = self.dev.node(workers, self.limits.clone(), self.demo).map_err(|error| {
            let help = "this is not a fault of your input";
            Diagnostics::from(config::Diagnostic::new(config::Place::default(), format!("{error:#}"), help))
        })?;
        self.running.serve(&node, versions.into_iter().map(|version| version.prepared).collect())
    }

    /// What was ready serves now.
    fn tell_swapped(&mut self, ready: &[PathBuf]) {
        let mut changes = Vec::new();
        for path in ready {
            let Some(folder) = self.folders.get_mut(path) else { continue };
            let Some(now) = folder.ready.take() else { continue };
            folder.faults = None;
            changes.push((folder.serving.replace(now.clone()), now));
        }
        // At first the banner says so.
        if !self.begun {
            return;
        }
        let names = |fresh: bool| {
            let names = changes.iter().filter(|(before, _)| before.is_none() == fresh);
            names.map(|(_, now)| format!("{}@{}", now.name(), now.prepared.version)).collect::<Vec<_>>().join(", ")
        };
        for (names, tell) in [(names(false), show::swapped as fn(&str)), (names(true), show::serves)] {
            if !names.is_empty() {
                tell(&names);
            }
        }
        let Some(address) = self.running.addresses.first() else { return };
        for (before, now) in &changes {
            let known = before.as_ref().map(|before| self.with_routes(&[before]));
            let known: Vec<_> = known.iter().flatten().flat_map(|worker| &worker.routes).map(what).collect();
            for worker in self.with_routes(&[now]) {
                show::routes(&worker, worker.routes.iter().filter(|route| !known.contains(&what(route))), *address);
            }
        }
    }

    /// The workers of these versions, with the routes that they have here.
    fn with_routes(&self, versions: &[&Version]) -> Vec<config::Worker> {
        let workers = versions.iter().map(|version| version.found.worker.clone()).collect();
        super::assemble(workers, self.limits.clone()).map(|node| node.workers).unwrap_or_default()
    }
}

impl Folder {
    /// Whether a change of this file is one of the worker's, whose folder has this canonical path.
    fn is_made_of(&self, path: &Path, file: &Path) -> bool {
        file.starts_with(path) || self.component.as_ref().is_some_and(|component| find::canonical(component) == file)
    }

    /// Says why its newest state does not serve, and what does.
    fn refuse(&mut self, path: &Path, faults: Diagnostics) {
        show::faults(&faults);
        match &self.serving {
            Some(version) => show::kept(version.name()),
            None => show::broken(&last(path)),
        }
        self.faults = Some(faults);
    }
}

fn last(path: &Path) -> String {
    find::canonical(path).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// What a route is, without the place where it is written.
fn what(route: &Route) -> (&Option<HostPattern>, &PathPattern, &config::Methods) {
    (&route.host, &route.path, &route.methods)
}
