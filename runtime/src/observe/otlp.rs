//! How spans travel: the exporter's HTTP client, made of our hyper and rustls, and what is counted when they do not arrive.
//!
//! It runs on the exporter's own thread with a runtime of its own, so a collector that hangs costs spans and no request.

use std::error::Error;
use std::fmt::{self, Debug, Formatter};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::{Builder, Runtime};

use super::spans::SpanLosses;

/// A collector answers with a few bytes; what is longer is not one.
const MAX_ANSWER: usize = 64 * 1024;
/// From the connection to the last byte of the answer (OTLP's default).
const TIMEOUT: Duration = Duration::from_secs(10);
/// A collector that is away is told of so often, and not for each batch.
const SILENCE: Duration = Duration::from_secs(60);

/// The client of one exporter.
pub(super) struct OtlpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Option<Runtime>,
    /// When it was last told that the collector takes nothing.
    told: Mutex<Option<Instant>>,
}

/// The exporter, with the eyes of an operator on it: what it loses is counted, and no error goes back to the SDK, which would log one
/// without its cause for each batch.
#[derive(Debug)]
pub(super) struct Counted {
    exporter: opentelemetry_otlp::SpanExporter,
    waiting: Arc<AtomicUsize>,
    losses: SpanLosses,
}

impl Counted {
    pub(super) fn new(
        exporter: opentelemetry_otlp::SpanExporter,
        waiting: Arc<AtomicUsize>,
        losses: SpanLosses,
    ) -> Self {
        Self { exporter, waiting, losses }
    }
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.waiting.fetch_sub(spans, Relaxed);
        if self.exporter.export(batch).await.is_err() {
            self.losses.dropped.inc_by(spans as u64);
            self.losses.failed_exports.inc();
        }
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl OtlpClient {
    pub(super) fn new() -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        // Between two batches nothing drives this runtime, so no connection is kept.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { client, runtime: Some(runtime), told: Mutex::default() })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = self.client.request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }

    fn send_and_wait(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let Some(runtime) = &self.runtime else { return Err("the exporter has ended".into()) };
        let endpoint = request.uri().to_string();
        let answer = runtime.block_on(async { tokio::time::timeout(TIMEOUT, self.send(request)).await });
        let answer = answer.unwrap_or_else(|_| Err(format!("there was no answer within {TIMEOUT:?}").into()));
        match &answer {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => self.tell(&endpoint, &format!("it answered {}", response.status())),
            Err(error) => self.tell(&endpoint, &causes(&**error)),
        }
        answer
    }

    fn tell(&self, endpoint: &str, cause: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= SILENCE) {
            *told = Some(Instant::now());
            tracing::warn!(endpoint, cause, "the collector takes no spans; this is said once a minute");
        }
    }
}

/// An error with what is behind it: hyper's own text is only "client error (Connect)".
fn causes(error: &(dyn Error + 'static)) -> String {
    let all = std::iter::successors(Some(error), |error| (*error).source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl HttpClient for OtlpClient {
    // The trait is written with async-trait; this is its signature without the macro.
    fn send_bytes<'this, 'sent>(
        &'this self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sent>>
    where
        'this: 'sent,
        Self: 'sent,
    {
        Box::pin(async move { self.send_and_wait(request) })
    }
}

impl Drop for OtlpClient {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A name look-up that hangs is left to itself.
            runtime.shutdown_background();
        }
    }
}

impl Debug for OtlpClient {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpClient").finish_non_exhaustive()
    }
}
