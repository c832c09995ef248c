//! Requests to a node, and their answers.

use std::time::Duration;

use http::Method;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::redirect::Policy;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;
use uuid::Uuid;

use super::refusal::Refusal;
use super::upload::Upload;
use crate::admin::api::Problem;

/// The other end is this machine, or not far.
const CONNECT: Duration = Duration::from_secs(5);

/// So often a request is sent whose connection broke before there was an answer.
const TIMES: u32 = 3;

/// How long it waits before the second time; twice as long before the third.
const PAUSE: Duration = Duration::from_millis(200);

/// A node, and who asks it.
pub(in crate::cli) struct Connection {
    client: Client,
    base: Url,
    token: Option<String>,
}

/// Whether a request may be sent again when nobody knows whether it was received.
#[derive(Clone, Debug)]
pub(in crate::cli) enum Once {
    /// It changes nothing, or the same again.
    Harmless,
    /// The node knows it by this key, and makes it once.
    Keyed(String),
    /// Sent again it would be made again.
    Never,
}

impl Once {
    /// Under a key of its own.
    pub(in crate::cli) fn keyed() -> Self {
        Self::Keyed(Uuid::now_v7().to_string())
    }
}

/// What a node answered, as it came.
pub(in crate::cli) struct Answer(Vec<u8>);

impl Answer {
    /// Reads it.
    pub(in crate::cli) fn of<T: DeserializeOwned>(&self, base: &Url) -> Result<T, Refusal> {
        serde_json::from_slice(&self.0).map_err(|error| Refusal::Strange { url: base.clone(), why: error.to_string() })
    }
}

impl Connection {
    pub(super) fn new(base: &Url, token: Option<String>) -> anyhow::Result<Self> {
        let client = Client::builder()
            // It would be asked with the token.
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            // Compiling takes its time; whoever waits can end it.
            .timeout(None)
            .retry(reqwest::retry::never())
            .user_agent(concat!("eyot/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, base: base.clone(), token })
    }

    /// Asks for a document.
    pub(in crate::cli) fn get<T: DeserializeOwned>(&self, path: &[&str], query: &impl Serialize) -> Result<T, Refusal> {
        self.send(Method::GET, path, &Once::Harmless, |request| Ok(request.query(query)))?.of(&self.base)
    }

    /// Asks for what has no end.
    pub(in crate::cli) fn stream(&self, path: &[&str], query: &impl Serialize) -> Result<Response, Refusal> {
        let mut request = self.client.get(self.url(path)).query(query);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let no_answer = |error| Refusal::NoAnswer { url: self.base.clone(), error };
        let response = request.send().map_err(no_answer)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, bytes) = read(response).map_err(no_answer)?;
        let Answer(_) = self.judge(&head, bytes)?;
        Err(Refusal::Strange { url: self.base.clone(), why: head.status.to_string() })
    }

    /// Sends a document, and takes another one.
    pub(in crate::cli) fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        once: &Once,
        body: &impl Serialize,
    ) -> Result<T, Refusal> {
        self.send(Method::POST, path, once, |request| Ok(request.json(body)))?.of(&self.base)
    }

    /// Asks for something that is answered with nothing.
    pub(in crate::cli) fn post_only(&self, path: &[&str], once: &Once) -> Result<(), Refusal> {
        self.send(Method::POST, path, once, Ok).map(drop)
    }

    /// Puts a document there.
    pub(in crate::cli) fn put<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, Refusal> {
        self.send(Method::PUT, path, &Once::Harmless, |request| Ok(request.json(body)))?.of(&self.base)
    }

    /// The same, where there is nothing to answer.
    pub(in crate::cli) fn put_only(&self, path: &[&str], body: &impl Serialize) -> Result<(), Refusal> {
        self.send(Method::PUT, path, &Once::Harmless, |request| Ok(request.json(body))).map(drop)
    }

    /// Takes away what a query names.
    pub(in crate::cli) fn delete_with(
        &self,
        path: &[&str],
        query: &impl Serialize,
        once: &Once,
    ) -> Result<Answer, Refusal> {
        self.send(Method::DELETE, path, once, |request| Ok(request.query(query)))
    }

    /// Takes something away.
    pub(in crate::cli) fn delete(&self, path: &[&str], once: &Once) -> Result<Answer, Refusal> {
        self.send(Method::DELETE, path, once, Ok)
    }

    /// The same, for what is answered with a document.
    pub(in crate::cli) fn delete_for<T: DeserializeOwned>(&self, path: &[&str], once: &Once) -> Result<T, Refusal> {
        self.delete(path, once)?.of(&self.base)
    }

    /// Brings a version.
    pub(in crate::cli) fn upload<T: DeserializeOwned>(&self, path: &[&str], upload: &Upload<'_>) -> Result<T, Refusal> {
        let unreadable = |error: std::io::Error| Refusal::Component { file: upload.component.to_owned(), error };
        let answer = self.send(Method::POST, path, &Once::keyed(), |request| {
            Ok(request.multipart(upload.form().map_err(unreadable)?))
        });
        upload.end();
        answer?.of(&self.base)
    }

    /// Sends a request, again where that is right, until there is an answer.
    fn send(
        &self,
        method: Method,
        path: &[&str],
        once: &Once,
        with: impl Fn(RequestBuilder) -> Result<RequestBuilder, Refusal>,
    ) -> Result<Answer, Refusal> {
        let url = self.url(path);
        let mut times = 1;
        loop {
            let mut request = self.client.request(method.clone(), url.clone());
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            if let Once::Keyed(key) = once {
                request = request.header("idempotency-key", key);
            }
            match with(request)?.send().and_then(read) {
                Ok((head, bytes)) => return self.judge(&head, bytes),
                Err(error) if times < TIMES && !matches!(once, Once::Never) && has_broken(&error) => {
                    wait(PAUSE * times);
                    times += 1;
                }
                Err(error) => return Err(Refusal::NoAnswer { url: self.base.clone(), error }),
            }
        }
    }

    fn judge(&self, head: &Head, bytes: Vec<u8>) -> Result<Answer, Refusal> {
        let strange = |why: String| Refusal::Strange { url: self.base.clone(), why };
        match head.status {
            status if status.is_success() => Ok(Answer(bytes)),
            status if head.is_problem => Err(match serde_json::from_slice::<Problem>(&bytes) {
                Ok(problem) => Refusal::Told(Box::new(problem)),
                Err(error) => strange(format!("{status}, and {error}")),
            }),
            http::StatusCode::NOT_FOUND => Err(Refusal::NoApi { url: self.base.clone() }),
            status => Err(strange(format!("{status}: {}", String::from_utf8_lossy(&bytes[..bytes.len().min(200)])))),
        }
    }

    /// Below `/v1`; each part is one segment, whatever stands in it.
    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Those of http and https have a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        url
    }
}

/// What is looked at of a response before its body.
struct Head {
    status: http::StatusCode,
    is_problem: bool,
}

fn read(response: Response) -> reqwest::Result<(Head, Vec<u8>)> {
    let kind = response.headers().get(http::header::CONTENT_TYPE);
    let is_problem = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json"));
    let head = Head { status: response.status(), is_problem };
    Ok((head, response.bytes()?.to_vec()))
}

/// Whether the connection stood and broke. One that never stood is likely not there the next time either.
fn has_broken(error: &reqwest::Error) -> bool {
    !error.is_connect() && !error.is_timeout() && !error.is_builder()
}

#[allow(clippy::disallowed_methods, reason = "the command line serves nobody")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}
