//! Who is measured: the plain handler, a component in each scenario, servers at URLs; and what each answers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::link;
use super::load::Target;
use super::protocol::{Asked, Setup};
use super::report::Component;
use super::scenario::Scenario;
use super::server::Server;
use crate::config::{Diagnostic, Place};

/// A server that is not ours.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    /// As it was typed.
    pub(super) name: String,
    address: SocketAddr,
    host: String,
    asked: Asked,
}

impl Remote {
    /// From its URL and the fields of each request.
    ///
    /// # Errors
    /// When it is no URL that can be loaded.
    pub(super) fn parse(text: &str, headers: &[(String, String)]) -> Result<Self, Diagnostic> {
        let wrong = |why: String, help: &str| Diagnostic::new(Place::default(), format!("{text}: {why}"), help);
        let form = "write it as http://HOST:PORT/PATH";
        let url = url::Url::parse(text).map_err(|error| wrong(error.to_string(), form))?;
        let host = match (url.scheme(), url.host_str()) {
            ("http", Some(host)) => host,
            ("https", _) => {
                return Err(wrong(
                    "TLS is not measured".to_owned(),
                    "name the server's plain address, http://HOST:PORT/",
                ));
            }
            (scheme, _) => return Err(wrong(format!("{scheme}: is no scheme of a server that can be loaded"), form)),
        };
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let found = url.socket_addrs(|| None).map_err(|error| error.to_string());
        let address = found.and_then(|found| found.first().copied().ok_or_else(|| "it has no address".to_owned()));
        let address = address.map_err(|why| wrong(why, "name a host that this machine can resolve"))?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let asked = Asked { path: format!("{}{query}", url.path()), headers: headers.to_vec() };
        Ok(Self { name: text.to_owned(), address, host, asked })
    }

    /// What it answers, if that is something to measure.
    pub(super) async fn look(&self) -> anyhow::Result<Target> {
        target(self.address, &self.host, &self.asked).await
    }
}

/// Asks three times what will be asked again and again, to know the right answer.
///
/// # Errors
/// When there is none, or one that no server is measured by.
pub(super) async fn target(address: SocketAddr, host: &str, asked: &Asked) -> anyhow::Result<Target> {
    let request = link::request(host, asked)?;
    let first = link::once(address, request.clone()).await?;
    ensure!(!first.status.is_server_error(), "it answers {}{}", first.status, words(&first));
    let mut target =
        Target { address, requests: vec![request.clone()], status: first.status, length: Some(first.body.len()) };
    for _ in 0..2 {
        let again = link::once(address, request.clone()).await?;
        ensure!(again.status == target.status, "it answers {} first and {} then", target.status, again.status);
        target.length = target.length.filter(|length| *length == again.body.len());
    }
    Ok(target)
}

/// What an answer of the node says about itself.
fn words(answer: &link::Answer) -> String {
    let code = answer.headers.get("eyot-error").and_then(|code| code.to_str().ok());
    code.map(|code| format!(" ({code})")).unwrap_or_default()
}

/// A component, and all that its servers share.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) component: PathBuf,
    pub(super) asked: Asked,
    /// For compiled code and logs.
    pub(super) folder: PathBuf,
    pub(super) core: usize,
    /// By how many it is asked at once, at most.
    pub(super) connections: usize,
}

/// What the access log says of one request.
#[derive(Deserialize)]
struct Line {
    version: Option<String>,
    peak_memory_bytes: Option<u64>,
}

impl Local {
    /// How a process that serves begins. Its access log is written and not kept: what a disk makes of it is not the node's.
    pub(super) fn setup(&self, scenario: Scenario) -> Setup {
        Setup {
            core: self.core,
            scenario,
            connections: self.connections,
            component: self.component.clone(),
            state: self.folder.clone(),
            access_log: "/dev/null".into(),
            request: self.asked.clone(),
        }
    }

    /// Serves the component once, to know what it answers and what one isolate takes; compiled code is kept for what follows.
    ///
    /// # Errors
    /// What is wrong with it, as diagnostics; or that it answers nothing that is worth measuring.
    pub(super) async fn look(&self) -> anyhow::Result<(Component, Target)> {
        let log = self.folder.join("access.log");
        let setup = Setup { access_log: log.clone(), ..self.setup(Scenario::Warm) };
        let mut server = Server::start(&setup, &self.folder)?;
        let address = server.serve().await?.node;
        let target = target(address, &address.to_string(), &self.asked).await;
        // Then the log is complete.
        server.end().await?;
        let target = target.with_context(|| format!("{} cannot be measured", self.component.display()))?;
        let line = last_line(&log).unwrap_or(Line { version: None, peak_memory_bytes: None });
        let component = Component {
            file: self.component.display().to_string(),
            bytes: std::fs::metadata(&self.component)?.len(),
            version: line.version.unwrap_or_default(),
            status: target.status.as_u16(),
            body_bytes: target.length,
            isolate_bytes: line.peak_memory_bytes,
        };
        Ok((component, target))
    }
}

fn last_line(log: &Path) -> Option<Line> {
    serde_json::from_str(std::fs::read_to_string(log).ok()?.lines().next_back()?).ok()
}

/// How long a loop warms up: a fifth of what is measured, two seconds at most.
pub(super) fn warm_up(duration: Duration) -> Duration {
    (duration / 5).min(Duration::from_secs(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_one_that_cannot_be_loaded_is_told_with_what_to_write() {
        let remote = Remote::parse("http://127.0.0.1:8080/a?b=c", &[]).unwrap();
        assert_eq!((remote.host.as_str(), remote.asked.path.as_str()), ("127.0.0.1:8080", "/a?b=c"));
        assert_eq!(Remote::parse("http://127.0.0.1", &[]).unwrap().address.port(), 80);
        for wrong in ["https://127.0.0.1/", "ftp://127.0.0.1/", "http://", "http://no-such-host.invalid/", "hello"] {
            let fault = Remote::parse(wrong, &[]).unwrap_err();
            assert!(fault.message.starts_with(wrong) && fault.help.is_some(), "{fault:?}");
        }
    }
}
