//! `eyot deploy`: a worker's folder becomes a version on a node, and the version serves.

use std::path::PathBuf;
use std::time::Instant;

use anstyle::AnsiColor;
use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::admin::{self, Admin, Connection, Once, Percent, Refusal, Upload, after_help};
use super::build::{self, Found};
use super::serve::wrong;
use super::{find, show};
use crate::admin::api::shapes::{Deployment, NewDeployment, Purpose, Share, Status, Version, Worker};
use crate::config::{Diagnostic, Diagnostics, LimitTable, Place};

/// Build a worker, bring it to a node as a new version, and have that version serve.
#[derive(Args)]
#[command(after_help = after_help!("  eyot deploy
  eyot deploy workers/shop --message 'prices in CHF'
  eyot deploy workers/shop --percent 10%              the others share the rest; go on with `eyot rollout`
  eyot deploy workers/shop --probe /health            it serves only if it answers
  eyot deploy workers/shop --add-only                 add the version, and leave what serves as it is"))]
pub(super) struct Deploy {
    /// The worker's folder, or its eyot.toml.
    #[arg(default_value = ".")]
    path: PathBuf,

    /// What is said of the version, for those who read the history.
    #[arg(long, short, value_name = "TEXT", default_value = "")]
    message: String,

    /// Which part of the requests the version gets at first; the versions that serve share the rest.
    #[arg(long, value_name = "PERCENT", conflicts_with = "add_only")]
    percent: Option<Percent>,

    /// Ask the version for this path before it serves; it does only if it answers with a status below 500.
    #[arg(long, value_name = "PATH", conflicts_with = "add_only")]
    probe: Option<String>,

    /// Only add the version; what serves stays.
    #[arg(long)]
    add_only: bool,

    /// Take the component as it is.
    #[arg(long)]
    no_build: bool,

    /// File that overrides individual limits, where the node has other ones than the built-in.
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,

    #[command(flatten)]
    admin: Admin,
}

/// What was made.
#[derive(Serialize)]
struct Deployed {
    version: Version,
    /// `None`: it was only added.
    deployment: Option<Deployment>,
}

/// The name of the parts of a version in the faults of a node.
const MANIFEST: &str = "eyot.toml";
const COMPONENT: &str = "component";

impl Deploy {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let connection = self.admin.connect()?;
            let found = self.found()?;
            // Before a build that takes a minute, and because who is refused in the middle of sending does not hear why.
            let node: Status = connection.get(&["status"], &())?;
            self.build(&found, node.component_size)?;
            let name = &found.worker.name;
            // What cannot be shared is told before anything is sent.
            let serving = match self.percent {
                Some(percent) if !percent.is_all() => Some((percent, serving(&connection, name)?)),
                _ => None,
            };
            let version = self.add(&connection, &found)?;
            if self.add_only {
                let added = Deployed { version, deployment: None };
                return self
                    .admin
                    .print(&added, |added| format!("{name}: version {} is added\n", added.version.version));
            }
            let new = self.deployment(version.version, serving)?;
            let path = ["workers", name.as_str(), "deployments"];
            let deployment: Deployment = connection.post(&path, &Once::keyed(), &new).with_context(|| {
                let number = version.version;
                format!(
                    "version {number} is added and does not serve; try again by `eyot rollout {name} {number} 100%`"
                )
            })?;
            let deployed = Deployed { version, deployment: Some(deployment) };
            self.admin.print(&deployed, |deployed| {
                let versions = deployed.deployment.as_ref().map(|made| made.versions.as_slice());
                format!("{name}: {}\n", admin::serves(versions.unwrap_or_default()))
            })
        })
    }

    /// The worker as it is here.
    fn found(&self) -> anyhow::Result<Found> {
        let mut limits = LimitTable::builtin();
        if let Some(file) = &self.limits {
            limits.override_from_file(file)?;
        }
        let folder = find::folder(&self.path).to_owned();
        let found = build::workers(&[folder], &limits)?.pop();
        found.with_context(|| format!("there is no worker in {}", self.path.display()))
    }

    /// Its component, which the node takes up to a size.
    fn build(&self, found: &Found, most: u64) -> anyhow::Result<()> {
        if !self.no_build {
            build::one(found, (1, 1), None).map_err(Diagnostics::from)?;
        }
        let file = &found.worker.component;
        let fault = |message: String, help: &str| Diagnostics::from(Diagnostic::new(Place::file(file), message, help));
        match file.metadata() {
            Err(error) => Err(fault(error.to_string(), "leave --no-build out, or build it").into()),
            Ok(data) if data.len() > most => {
                let message =
                    format!("the component has {} bytes, and limit `component_size` of the node is {most}", data.len());
                Err(fault(message, "make it smaller, or raise the limit in node.toml").into())
            }
            Ok(_) => Ok(()),
        }
    }

    fn add(&self, connection: &Connection, found: &Found) -> anyhow::Result<Version> {
        let file = &found.named.file;
        let manifest = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let (name, component) = (&found.worker.name, &found.worker.component);
        let upload = Upload::new(&manifest, component, &self.message);
        let began = Instant::now();
        let sent = connection.upload(&["workers", name, "versions"], &upload);
        let version: Version = sent.map_err(|refusal| refusal.at(|file| place(file, found)))?;
        let size = component.metadata().map(|data| bytesize::ByteSize(data.len()).to_string()).unwrap_or_default();
        let (number, took) = (version.version, began.elapsed().as_secs_f64());
        show::word(AnsiColor::Green, "added", format_args!("{name:<16} version {number}, {size}, {took:.1} s"));
        Ok(version)
    }

    fn deployment(&self, version: u32, serving: Option<(Percent, Deployment)>) -> anyhow::Result<NewDeployment> {
        let (note, probe) = (self.message.clone(), self.probe.clone());
        let Some((percent, before)) = serving else {
            let versions = vec![Share { version, percent: 100.0 }];
            return Ok(NewDeployment { versions, why: Some(Purpose::Deploy), after: None, note, probe });
        };
        let versions = admin::with(&before.versions, version, percent).context("nothing serves")?;
        Ok(NewDeployment { versions, why: Some(Purpose::Rollout), after: Some(before.id), note, probe })
    }
}

/// What serves of a worker, to share with.
fn serving(connection: &Connection, name: &str) -> anyhow::Result<Deployment> {
    let found: Result<Worker, Refusal> = connection.get(&["workers", name], &());
    let deployment = match found {
        Ok(worker) => worker.deployment.filter(|deployment| !deployment.versions.is_empty()),
        Err(refusal) if refusal.is_missing() => None,
        Err(refusal) => return Err(refusal.into()),
    };
    deployment.ok_or_else(|| {
        let message = format!("nothing of `{name}` serves, so nothing can have the rest of its requests");
        wrong(message, "leave --percent out")
    })
}

/// Where here is what the node names.
fn place(file: &str, found: &Found) -> Option<PathBuf> {
    match file {
        MANIFEST => Some(found.named.file.clone()),
        COMPONENT => Some(found.worker.component.clone()),
        _ => None,
    }
}
