//! Whether a server writes to its disk before it acknowledges, by what its monitoring port says.

use std::time::Duration;

use http::Uri;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

use super::Standing;
use crate::config::Server;

/// A monitoring port answers within this time, with no more than so many bytes.
const PATIENCE: Duration = Duration::from_secs(2);
const LARGEST: usize = 1 << 20;

/// Where it is asked for.
pub(super) struct Proof {
    monitors: Vec<url::Url>,
    is_needed: bool,
    http: Client<HttpConnector, Empty<Bytes>>,
}

/// What is looked at of `/varz`.
#[derive(Deserialize)]
struct Varz {
    server_id: String,
    server_name: String,
    #[serde(default)]
    jetstream: JetStream,
}

#[derive(Default, Deserialize)]
struct JetStream {
    config: Option<JetStreamConfig>,
}

#[derive(Deserialize)]
struct JetStreamConfig {
    #[serde(default)]
    sync_always: bool,
}

impl Proof {
    pub(super) fn new(server: &Server) -> Self {
        let http = Client::builder(TokioExecutor::new()).build_http();
        Self { monitors: server.monitor.clone(), is_needed: !server.allow_unsynced, http }
    }

    /// How the server stands that is connected: it, and all that may have to take its place, must prove it.
    pub(super) async fn of(&self, connected: &str, connections: u64) -> Standing {
        if !self.is_needed {
            return Standing::Here(connections);
        }
        if self.monitors.is_empty() {
            let why = "no `monitor` is named where it could show that it has `sync_interval: always`";
            return Standing::Refused(why.into());
        }
        let mut is_known = false;
        for monitor in &self.monitors {
            let varz = match tokio::time::timeout(PATIENCE, self.varz(monitor)).await {
                Ok(Ok(varz)) => varz,
                Ok(Err(why)) => return Standing::Away(format!("its monitor {monitor} says nothing: {why}").into()),
                Err(_) => return Standing::Away(format!("its monitor {monitor} does not answer").into()),
            };
            match varz.jetstream.config {
                Some(JetStreamConfig { sync_always: true }) => is_known |= varz.server_id == connected,
                Some(_) => {
                    let why = format!("{} acknowledges before it has written to its disk", varz.server_name);
                    return Standing::Refused(why.into());
                }
                None => return Standing::Refused(format!("{} has no JetStream", varz.server_name).into()),
            }
        }
        match is_known {
            true => Standing::Here(connections),
            false => Standing::Refused("it is none of those whose monitors are named".into()),
        }
    }

    async fn varz(&self, monitor: &url::Url) -> Result<Varz, String> {
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let url = format!("{}/varz", monitor.as_str().trim_end_matches('/'));
        let url: Uri = url.parse().map_err(|error: http::uri::InvalidUri| told(&error))?;
        let response = self.http.get(url).await.map_err(|error| told(&error))?;
        let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(|error| told(&error))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| told(&error))
    }
}
