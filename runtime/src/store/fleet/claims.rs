//! Which node runs what is due: whoever writes it down first. A run is its node's for as long as that node says so; one that has fallen
//! silent is taken over by another, once.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::RawMessageErrorKind;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Fleet;
use crate::store::error::StoreError;
use crate::store::schedule::ScheduleName;

/// So long it is known that something ran: a node that was away for longer makes up for it by its own rules.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a node says that it still runs something.
pub const RENEWED: Duration = Duration::from_secs(5);

/// A run of which nobody has said anything for so long is nobody's.
pub const SILENT: Duration = Duration::from_secs(20);

/// What stands of a run.
#[derive(Debug, Serialize, Deserialize)]
struct ClaimRecord {
    node: String,
    /// Nobody has to do anything more.
    is_over: bool,
}

/// A run that is this node's. Its number fences it: whoever has taken it over has another.
pub struct Claim {
    fleet: Arc<Fleet>,
    subject: String,
    number: u64,
}

/// What another node's run has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// It runs, by its last word.
    Runs(u64),
    /// It is over, or nobody knows of it any more.
    Over,
}

impl Fleet {
    /// Has a run of a schedule that is due at this time, unless another node has it.
    ///
    /// # Errors
    /// When the server cannot be asked: then nobody may run it.
    pub async fn claim(self: &Arc<Self>, schedule: &ScheduleName, due: Timestamp) -> Result<Option<Claim>, StoreError> {
        let subject = subject(schedule, due);
        let claimed = self.record(&subject, false, 0).await?;
        Ok(claimed.map(|number| Claim { fleet: Arc::clone(self), subject, number }))
    }

    /// What became of a run that another node has.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn elsewhere(&self, schedule: &ScheduleName, due: Timestamp) -> Result<Elsewhere, StoreError> {
        match self.stream().await?.get_last_raw_message_by_subject(&subject(schedule, due)).await {
            Ok(message) => match serde_json::from_slice::<ClaimRecord>(&message.payload) {
                Ok(ClaimRecord { is_over: false, .. }) => Ok(Elsewhere::Runs(message.sequence)),
                _ => Ok(Elsewhere::Over),
            },
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(Elsewhere::Over),
                RawMessageErrorKind::JetStream(told) if told.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                    Ok(Elsewhere::Over)
                }
                _ => Err(self.link.failed(error)),
            },
        }
    }

    /// Takes over a run of which this was the last word. Whether it is this node's now.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn take_over(&self, schedule: &ScheduleName, due: Timestamp, last_word: u64) -> Result<bool, StoreError> {
        Ok(self.record(&subject(schedule, due), true, last_word).await?.is_some())
    }

    async fn record(&self, subject: &str, is_over: bool, replaces: u64) -> Result<Option<u64>, StoreError> {
        let record = ClaimRecord { node: self.name.clone(), is_over };
        self.publish(subject.to_owned(), &record, Some(replaces), Some(REMEMBERED)).await
    }
}

impl Claim {
    /// It still runs. Whether it is still this node's.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn renew(&mut self) -> Result<bool, StoreError> {
        self.say(false).await
    }

    /// It is over. Whether it was this node's to the end.
    ///
    /// # Errors
    /// When the server cannot be asked. It may then be run once more by another node.
    pub async fn end(mut self) -> Result<bool, StoreError> {
        self.say(true).await
    }

    async fn say(&mut self, is_over: bool) -> Result<bool, StoreError> {
        match self.fleet.record(&self.subject, is_over, self.number).await? {
            Some(number) => {
                self.number = number;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

fn subject(ScheduleName { worker, name }: &ScheduleName, due: Timestamp) -> String {
    format!("eyot.fleet.run.{worker}.{name}.{}", due.as_millisecond())
}
