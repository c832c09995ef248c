//! Who asks, what that one may do, and whether it was asked before.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use jiff::Timestamp;
use serde::Serialize;

use super::problem::Problem;
use super::{Access, Shared};
use crate::auth::operator::{self, Grant, Operator};
use crate::config;
use crate::store::{By, Digest, Once, Scope, TokenId};

/// Who asks.
pub(super) struct Caller {
    /// As it stands in the audit.
    who: String,
    /// The token, and what it lets do. `None`: everything, without one.
    token: Option<(TokenId, Grant)>,
    /// What was sent as `Idempotency-Key`.
    key: Option<String>,
}

const KEY: &str = "idempotency-key";

/// A key is remembered for so long.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// What a program chooses as a key is no longer than this.
const LONGEST_KEY: usize = 255;

impl FromRequestParts<Shared> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let (who, token) = match shared.access {
            Access::Open => ("local".to_owned(), None),
            Access::Tokens => {
                let operator = operator::authenticate(&*shared.deployments.store()?, &parts.headers).await?;
                let who = operator.who();
                let Operator { token, grant, .. } = operator;
                (who, Some((token, grant)))
            }
        };
        let key = match parts.headers.get(KEY) {
            None => None,
            Some(value) => Some(key(value.as_bytes()).ok_or_else(|| {
                Problem::bad(format!("Idempotency-Key is 1 to {LONGEST_KEY} visible ASCII characters"))
            })?),
        };
        Ok(Self { who, token, key })
    }
}

fn key(bytes: &[u8]) -> Option<String> {
    let fits = (1..=LONGEST_KEY).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    fits.then(|| String::from_utf8_lossy(bytes).into_owned())
}

impl Caller {
    /// Whether this one may do so much at all.
    pub(super) fn may(&self, scope: Scope) -> Result<(), Problem> {
        match self.grant() {
            Some(grant) if !grant.allows(scope) => Err(Problem::forbidden(format!(
                "this needs a token with scope `{}`, and yours has `{}`",
                scope.word(),
                grant.scope().word()
            ))),
            _ => Ok(()),
        }
    }

    /// Whether this one may do so much with this worker.
    pub(super) fn may_with(&self, scope: Scope, worker: &str) -> Result<(), Problem> {
        self.may(scope)?;
        match self.covers(worker) {
            true => Ok(()),
            false => Err(Problem::forbidden(format!("your token is not for worker `{worker}`"))),
        }
    }

    /// Whether this one may see a worker.
    pub(super) fn covers(&self, worker: &str) -> bool {
        self.grant().is_none_or(|grant| grant.covers_worker(worker))
    }

    /// Whether this one may have a worker that is reached by these routes.
    pub(super) fn may_have(&self, worker: &config::Worker) -> Result<(), String> {
        let Some(grant) = self.grant() else { return Ok(()) };
        match worker.routes.iter().find(|route| !grant.covers_host(route.host.as_ref())) {
            None => Ok(()),
            Some(route) => {
                let host = route.host.as_ref().map_or_else(|| "any host".to_owned(), ToString::to_string);
                let place = &route.place;
                Err(format!("{place}: your token is not for {host}; give the route a host that it is for"))
            }
        }
    }

    /// What the grant of a new token must not be wider than.
    pub(super) fn grant(&self) -> Option<&Grant> {
        self.token.as_ref().map(|(_, grant)| grant)
    }

    /// The token itself, by its stable name.
    pub(super) fn token(&self) -> Option<TokenId> {
        self.token.as_ref().map(|(token, _)| *token)
    }

    /// Who makes a change that is made anew each time.
    pub(super) fn by_without_key(&self) -> By {
        By::new(self.who.clone())
    }

    /// Who makes a change; asked again with the same key and the same request, it is made once.
    pub(super) fn by(&self, request: &impl Serialize) -> By {
        let once = self.key.as_ref().map(|key| Once {
            key: key.clone(),
            // What was read from a request can be written.
            request: Digest::of(&serde_json::to_vec(request).unwrap_or_default()),
            expires: Timestamp::now() + REMEMBERED,
        });
        By { who: self.who.clone(), once }
    }
}
