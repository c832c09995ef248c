//! Requests of the node itself to a server that its operator named. Nothing in them comes from a client or a worker, so no rule of
//! theirs is asked; every wait has a bound here, too.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use tokio::time::timeout;

use super::connect::{Dial, Reach};
use super::own::Own;
use super::pool::{self, Pool, Protocol, Roots, Times};
use super::resolve::System;
use crate::http::Body;

/// An answer that is larger than this is not one that was asked for.
const LARGEST: usize = 1 << 20;

/// From the request to the end of its answer.
const LONGEST: Duration = Duration::from_secs(60);

const TIMES: Times = Times { connect: Duration::from_secs(10), idle: Duration::from_secs(4) };

/// The way to such servers.
#[derive(Clone)]
pub struct Direct(Pool);

impl Direct {
    /// One that trusts the authorities in this file (PEM), or those of the system.
    ///
    /// # Errors
    /// Why the file is of no use.
    pub fn new(authorities: Option<&Path>) -> Result<Self, String> {
        let roots = authorities.map(pool::roots_of).transpose()?.map_or(Roots::System, Roots::Of);
        let dial = Dial { reach: Reach::Anywhere, own: Own::default(), resolver: Arc::new(System::new(1)) };
        Ok(Self(pool::pool(dial, roots, Protocol::Http1, TIMES)))
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub async fn ask(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        request.headers_mut().insert(HOST, host.ok_or("the URL names no host")?);
        let asking = async {
            let answer = self.0.request(request.map(Body::from)).await.map_err(|error| innermost(&error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, LARGEST).collect().await.map_err(|error| innermost(&*error))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        timeout(LONGEST, asking).await.map_err(|_| format!("no whole answer within {LONGEST:?}"))?
    }
}

/// What lies around it says that a client has failed to connect.
fn innermost(mut error: &(dyn Error + 'static)) -> String {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
