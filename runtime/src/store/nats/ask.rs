//! Questions to the server. Each has its answer within a time or not at all, and nobody waits for one when the connection has gone.

use std::future::Future;

use async_nats::client::Request;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, Info};
use async_nats::{HeaderMap, Message, RequestErrorKind};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Serialize;

use super::{ANSWER, Link, Standing};
use crate::store::error::StoreError;

impl Link {
    /// Asks, and waits for the one answer; `None` where nobody answers to this subject.
    pub(in crate::store) async fn request(
        &self,
        subject: String,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Option<Message>, StoreError> {
        self.ask()?;
        let request = Request::new().payload(body);
        let request = if headers.is_empty() { request } else { request.headers(headers) };
        match self.while_here(self.client.send_request(subject, request)).await? {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Asks JetStream; the answer is JSON.
    pub(in crate::store) async fn api(&self, subject: &str, question: &impl Serialize) -> Result<Bytes, StoreError> {
        let question = serde_json::to_vec(question).map_err(|error| self.failed(error))?;
        let answer = self.request(format!("$JS.API.{subject}"), HeaderMap::new(), question.into()).await?;
        answer.map(|answer| answer.payload).ok_or_else(|| self.failed("its JetStream does not answer"))
    }

    /// Asks for several messages: those that come, and the one that says that there are no more; `None` where nobody answers to this subject.
    pub(in crate::store) async fn gather(
        &self,
        subject: String,
        question: Bytes,
    ) -> Result<Option<(Vec<Message>, Message)>, StoreError> {
        self.ask()?;
        let inbox = self.client.new_inbox();
        let mut heard = self.client.subscribe(inbox.clone()).await.map_err(|error| self.failed(error))?;
        let asked = self.client.publish_with_reply(subject, inbox, question).await;
        asked.map_err(|error| self.failed(error))?;
        let gather = async {
            let mut found = Vec::new();
            while let Some(message) = heard.next().await {
                // What has a status is no message of the stream.
                match message.status {
                    Some(_) => return Some((found, message)),
                    None => found.push(message),
                }
            }
            None
        };
        match self.while_here(tokio::time::timeout(ANSWER, gather)).await? {
            Ok(Some((_, end))) if end.status == Some(async_nats::StatusCode::NO_RESPONDERS) => Ok(None),
            Ok(Some(gathered)) => Ok(Some(gathered)),
            Ok(None) => Err(self.failed("the connection is lost")),
            Err(_) => Err(self.failed("it does not answer")),
        }
    }

    /// How a stream stands; `None` where there is none.
    pub(in crate::store) async fn stream(&self, name: String) -> Result<Option<Info>, StoreError> {
        let found = self.while_here(self.ask()?.get_stream(name)).await?;
        match found {
            Ok(stream) => Ok(Some(stream.cached_info().clone())),
            Err(error) if is_missing(error.kind()) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Sees to it that there is a stream of this name. One that was there is as it was.
    pub(in crate::store) async fn make_stream(&self, wanted: Config) -> Result<Info, StoreError> {
        let name = wanted.name.clone();
        if let Some(info) = self.stream(name.clone()).await? {
            return Ok(info);
        }
        let made = self.while_here(self.ask()?.create_stream(wanted)).await?;
        match made {
            Ok(stream) => Ok(stream.cached_info().clone()),
            // Somebody else has made it at the same moment, as he wanted it.
            Err(error) if is_there(error.kind()) => {
                self.stream(name).await?.ok_or_else(|| self.failed("the stream is gone again"))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Waits for something for as long as there is this connection.
    async fn while_here<T>(&self, wait: impl Future<Output = T>) -> Result<T, StoreError> {
        let here = match *self.standing.borrow() {
            Standing::Here(generation) => generation,
            Standing::Away(_) | Standing::Refused(_) => return Err(self.failed("the connection is lost")),
        };
        let mut standing = self.standing.clone();
        tokio::select! {
            biased;
            done = wait => Ok(done),
            _ = standing.wait_for(|now| *now != Standing::Here(here)) => Err(self.failed("the connection is lost")),
        }
    }
}

fn is_missing(kind: GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn is_there(kind: CreateStreamErrorKind) -> bool {
    matches!(kind, CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST)
}
