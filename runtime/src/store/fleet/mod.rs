//! What the nodes of a fleet share of what should run, on a NATS server: versions, deployments, components, and who is there.
//!
//! A version's number and a worker's deployment are agreed on by the server alone: of two nodes that publish the same number, or replace
//! the same deployment, one comes first and the other is told so. What a node has published it then keeps itself, as it keeps what others
//! publish; so each node has all it needs to serve and to start again, with the server or without.

mod claims;
mod records;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::object_store::{self, InfoErrorKind, ObjectStore};
use async_nats::jetstream::stream::{Config, Info, Stream};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::AsyncReadExt as _;

use super::digest::Digest;
use super::error::StoreError;
use super::model::{Deployment, Version};
use super::nats::{Link, New};
use crate::config::Server;
use records::{DeploymentRecord, VersionRecord};

pub use claims::{Claim, Elsewhere, RENEWED, SILENT};
pub use records::FleetNode;

/// The stream of all records; the newest of each subject is kept.
const STREAM: &str = "eyot-fleet";

/// The bucket of components.
const COMPONENTS: &str = "eyot-components";

/// A node that has told nothing of itself for so long is not there.
const PRESENT: Duration = Duration::from_secs(15);

/// The shared part of what should run.
pub struct Fleet {
    link: Arc<Link>,
    replicas: usize,
    /// How this node is called.
    name: String,
    /// The connection in which the stream was last looked for.
    stream: Mutex<Option<u64>>,
}

/// Something that a node has published.
#[derive(Debug)]
pub enum Change {
    /// A version, which some deployment may name.
    Version(Box<Version>),
    /// What serves of a worker from now on.
    Deployment(Box<Deployment>),
}

/// What was published, in its order.
pub struct Changes {
    link: Arc<Link>,
    messages: pull::Ordered,
}

impl Fleet {
    /// Connects to the server. One that is not there is waited for in the background.
    ///
    /// # Errors
    /// When it is there and may not be used.
    pub fn open(server: &Server, name: String) -> Result<Self, StoreError> {
        let (link, replicas) = (Link::open(server)?, server.replicas);
        Ok(Self { link, replicas, name, stream: Mutex::default() })
    }

    /// How this node is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the server may be asked now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.ask().is_ok()
    }

    /// Why nothing can be deployed before what others have deployed is known.
    #[must_use]
    pub fn is_still_read(&self) -> StoreError {
        self.link.failed("what the fleet has deployed is being read; ask again")
    }

    /// What was published after a number, and then what is published from now on.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn changes(&self, after: u64) -> Result<Changes, StoreError> {
        let filter_subjects = vec!["eyot.fleet.version.*.*".to_owned(), "eyot.fleet.deployment.*".to_owned()];
        let deliver_policy = match after {
            0 => DeliverPolicy::All,
            after => DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
        };
        let config = pull::OrderedConfig { filter_subjects, deliver_policy, ..pull::OrderedConfig::default() };
        let consumer = self.stream().await?.create_consumer(config).await.map_err(|error| self.link.failed(error))?;
        let messages = consumer.messages().await.map_err(|error| self.link.failed(error))?;
        Ok(Changes { link: Arc::clone(&self.link), messages })
    }

    /// When the records were begun, and the number of the last change so far: a server that has lost its disk begins anew.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn begun(&self) -> Result<(i64, u64), StoreError> {
        let info = self.make().await?;
        Ok((created(&info), info.state.last_sequence))
    }

    /// Publishes a version under its number. `false`: another one has it.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn publish_version(&self, version: &Version) -> Result<bool, StoreError> {
        let Some(record) = VersionRecord::of(version) else {
            return Err(StoreError::Pruned { worker: version.worker.clone(), number: version.number });
        };
        let subject = format!("eyot.fleet.version.{}.{}", version.worker, version.number);
        Ok(self.publish(subject, &record, Some(0), None).await?.is_some())
    }

    /// Publishes what serves of a worker from now on, if it replaces the change that it is to replace; says which change it is. `None`:
    /// another node was faster.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn publish_deployment(&self, made: &Deployment, replaces: u64) -> Result<Option<u64>, StoreError> {
        let subject = format!("eyot.fleet.deployment.{}", made.worker);
        self.publish(subject, &DeploymentRecord::of(made), Some(replaces), None).await
    }

    /// Puts a component where all nodes find it, by its digest.
    ///
    /// # Errors
    /// When the server cannot be asked, or has no room.
    pub async fn put_component(&self, digest: &Digest, bytes: &Bytes) -> Result<(), StoreError> {
        let (components, name) = (self.components().await?, digest.to_string());
        match components.info(&name).await {
            // One that is being written once more is not there for a moment.
            Ok(_) => Ok(()),
            Err(error) if error.kind() == InfoErrorKind::NotFound => {
                let put = components.put(name.as_str(), &mut &bytes[..]).await;
                put.map(drop).map_err(|error| self.link.failed(error))
            }
            Err(error) => Err(self.link.failed(error)),
        }
    }

    /// A component, whole and unchanged.
    ///
    /// # Errors
    /// When the server cannot be asked, or when what it has is something else.
    pub async fn component(&self, digest: &Digest) -> Result<Bytes, StoreError> {
        let name = digest.to_string();
        let object = self.components().await?.get(&name).await;
        let mut object = object.map_err(|error| self.link.failed(format!("component {name}: {error}")))?;
        let mut bytes = Vec::with_capacity(object.info.size);
        let read = object.read_to_end(&mut bytes).await;
        read.map_err(|error| self.link.failed(format!("component {name}: {error}")))?;
        match Digest::of(&bytes) == *digest {
            true => Ok(bytes.into()),
            false => Err(self.link.failed(format!("component {name} is another one than its name says"))),
        }
    }

    /// Tells that this node is there, for a while.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn announce(&self, node: &FleetNode) -> Result<(), StoreError> {
        let subject = format!("eyot.fleet.node.{}", self.name);
        self.publish(subject, node, None, Some(PRESENT)).await.map(drop)
    }

    /// The nodes that are there, by their names.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn nodes(&self) -> Result<Vec<FleetNode>, StoreError> {
        let stream = self.stream().await?;
        let told = |error: &dyn std::fmt::Display| self.link.failed(error.to_string());
        let mut subjects = stream.info_with_subjects("eyot.fleet.node.*").await.map_err(|error| told(&error))?;
        let mut nodes = Vec::new();
        while let Some(subject) = subjects.next().await {
            let (subject, _) = subject.map_err(|error| told(&error))?;
            // It may be gone by now.
            let Ok(message) = stream.get_last_raw_message_by_subject(&subject).await else { continue };
            nodes.extend(serde_json::from_slice::<FleetNode>(&message.payload).ok());
        }
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(nodes)
    }

    /// Publishes a record; `None` where its subject has another number than it is to have.
    async fn publish(
        &self,
        subject: String,
        record: &impl serde::Serialize,
        replaces: Option<u64>,
        ttl: Option<Duration>,
    ) -> Result<Option<u64>, StoreError> {
        let payload = serde_json::to_vec(record).map_err(|error| self.link.failed(error))?;
        let most = self.link.client().max_payload();
        if payload.len() > most {
            return Err(self.link.failed(format!("it takes {most} bytes at a time, and the eyot.toml is larger")));
        }
        self.stream().await?;
        let mut new = New { subject, headers: HeaderMap::new(), body: payload.into() }.alone();
        if let Some(number) = replaces {
            new = new.replacing(number);
        }
        if let Some(ttl) = ttl {
            new = new.for_seconds(ttl.as_secs());
        }
        match self.link.publish(new).await? {
            Ok(number) => Ok(Some(number)),
            Err(refused) if refused.is_overtaken() => Ok(None),
            Err(refused) => {
                // It may be gone: it is looked for before the next one.
                *self.known() = None;
                Err(self.link.failed(refused.description))
            }
        }
    }

    /// The stream, made when it is not there; what was known before another connection may be so no more.
    async fn stream(&self) -> Result<Stream<()>, StoreError> {
        let generation = self.link.generation();
        if *self.known() != Some(generation) {
            self.make().await?;
        }
        let stream = self.link.ask()?.get_stream_no_info(STREAM).await;
        stream.map_err(|error| self.link.failed(error))
    }

    async fn make(&self) -> Result<Info, StoreError> {
        let config = Config {
            name: STREAM.to_owned(),
            subjects: vec!["eyot.fleet.>".to_owned()],
            // Each takes the place of the one before by itself; this is never reached.
            max_messages_per_subject: 64,
            num_replicas: self.replicas,
            allow_rollup: true,
            allow_direct: true,
            allow_message_ttl: true,
            ..Config::default()
        };
        let generation = self.link.generation();
        let info = self.link.make_stream(config).await?;
        *self.known() = Some(generation);
        Ok(info)
    }

    fn known(&self) -> MutexGuard<'_, Option<u64>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bucket, made when it is not there.
    async fn components(&self) -> Result<ObjectStore, StoreError> {
        let jetstream = self.link.ask()?;
        if let Ok(found) = jetstream.get_object_store(COMPONENTS).await {
            return Ok(found);
        }
        let config = object_store::Config {
            bucket: COMPONENTS.to_owned(),
            num_replicas: self.replicas,
            ..object_store::Config::default()
        };
        jetstream.create_object_store(config).await.map_err(|error| self.link.failed(error))
    }
}

/// When a stream was made, in microseconds since 1970.
fn created(info: &Info) -> i64 {
    i64::try_from(info.created.unix_timestamp_nanos() / 1000).unwrap_or_default()
}

impl Changes {
    /// The next one, and its number. What cannot be read was written by a newer Eyot, and is `None`.
    ///
    /// # Errors
    /// When the connection is lost: begin again where this ended.
    pub async fn next(&mut self) -> Result<(u64, Option<Change>), StoreError> {
        let message = self.messages.next().await;
        let message = message.ok_or_else(|| self.link.failed("the changes end"))?;
        let message = message.map_err(|error| self.link.failed(error))?;
        let number = message.info().map_err(|error| self.link.failed(error))?.stream_sequence;
        let change = match message.subject.starts_with("eyot.fleet.version.") {
            true => serde_json::from_slice::<VersionRecord>(&message.payload)
                .ok()
                .and_then(VersionRecord::read)
                .map(|version| Change::Version(Box::new(version))),
            false => serde_json::from_slice::<DeploymentRecord>(&message.payload)
                .ok()
                .and_then(DeploymentRecord::read)
                .map(|deployment| Change::Deployment(Box::new(deployment))),
        };
        Ok((number, change))
    }
}
