//! Why a request is not done, as a problem document (RFC 9457).

use axum::Json;
use axum::extract::multipart::{MultipartError, MultipartRejection};
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shapes::Fault;
use crate::activate::DeployError;
use crate::auth::operator::{GrantError, REFUSED, Refusal};
use crate::config::Diagnostics;
use crate::store::{KvError, QueueError, SecretError, StoreError, VaultError};

/// Why a request is not done.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The status of the answer, in words.
    pub title: String,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What kind of problem it is: a word for programs, which does not change.
    pub code: String,
    /// What is wrong and what to do, for people.
    pub detail: String,
    /// Where the input has faults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// What every path may be answered with, whatever it is for.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "it is described, not made")]
pub(super) enum Refused {
    /// The request cannot be understood.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(#[to_schema] Problem),
    /// There is no token that is accepted.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(#[to_schema] Problem),
    /// The token does not let do this.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// The node cannot do it now: its disk is full, or it is ending.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] Problem),
}

/// What a path may be answered with besides that names something.
#[derive(utoipa::IntoResponses)]
#[response(status = 404, content_type = "application/problem+json", description = "There is no such thing.")]
#[expect(dead_code, reason = "it is described, not made")]
pub(super) struct Missing(#[to_schema] Problem);

/// What a change may be answered with besides.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "it is described, not made")]
pub(super) enum NotMade {
    /// Somebody was faster, or it does not fit what there is.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] Problem),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] Problem),
    /// The body is of another type.
    #[response(status = 415, content_type = "application/problem+json")]
    WrongType(#[to_schema] Problem),
    /// What was sent has faults.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or_default().to_owned();
        Self { title, status: status.as_u16(), code: code.to_owned(), detail: detail.into(), faults: Vec::new() }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub(super) fn missing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"eyot admin\""));
        }
        response
    }
}

pub(super) async fn no_such_path() -> Problem {
    Problem::missing("there is nothing at this path; /openapi.json lists what there is")
}

pub(super) async fn no_store() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_store",
        "this node has no store, so that nothing is deployed to it: `eyot dev` serves what is in its folders. There is /v1/tail, and \
         what a worker keeps: kv, queues and schedules below /v1/workers/NAME",
    )
}

pub(super) async fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path does not take this method; /openapi.json lists what it takes",
    )
}

impl From<DeployError> for Problem {
    fn from(error: DeployError) -> Self {
        let detail = error.to_string();
        match error {
            DeployError::Refused(Diagnostics(faults)) => {
                Self { faults: faults.into_iter().map(Fault::from).collect(), ..Self::invalid(detail) }
            }
            DeployError::Denied(_) => Self::forbidden(detail),
            DeployError::Shares(_) | DeployError::NothingToServe => Self::invalid(detail),
            DeployError::Probe { .. } => Self::new(StatusCode::CONFLICT, "probe_failed", detail),
            DeployError::NothingBefore { .. } => Self::new(StatusCode::CONFLICT, "nothing_before", detail),
            DeployError::NoKey => Self::new(StatusCode::SERVICE_UNAVAILABLE, "secrets_unavailable", detail),
            DeployError::InUse { .. } => Self::new(StatusCode::CONFLICT, "in_use", detail),
            DeployError::Secret(error) => error.into(),
            DeployError::Vault(error) => error.into(),
            DeployError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        let conflict = |code, detail| Self::new(StatusCode::CONFLICT, code, detail);
        match error {
            StoreError::NoWorker { .. } | StoreError::NoVersion { .. } => Self::missing(detail),
            StoreError::NoSecret { .. } | StoreError::NoToken { .. } => Self::missing(detail),
            StoreError::Pruned { .. } => conflict("pruned", detail),
            StoreError::Raced { .. } => conflict("raced", detail),
            StoreError::Differs { .. } => conflict("differs", detail),
            StoreError::KeyReused { .. } => conflict("idempotency_key_reused", detail),
            StoreError::NotEmpty { .. } => conflict("exists", detail),
            StoreError::TooManySecrets { .. } | StoreError::TooManyTokens { .. } => conflict("too_many", detail),
            _ => {
                tracing::error!("a change or a question of the admin API failed: {detail}");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail)
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Store(error) => error.into(),
            refusal => {
                tracing::warn!("a request to the admin API is refused: {refusal}");
                Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", REFUSED)
            }
        }
    }
}

impl From<GrantError> for Problem {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::NoRandom => Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string()),
            _ => Self::invalid(error.to_string()),
        }
    }
}

impl From<SecretError> for Problem {
    fn from(error: SecretError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<KvError> for Problem {
    fn from(error: KvError) -> Self {
        let detail = error.to_string();
        match error {
            KvError::Store(error) => error.into(),
            KvError::Full { .. } => Self::new(StatusCode::CONFLICT, "full", detail),
            KvError::Conflict => Self::new(StatusCode::CONFLICT, "raced", detail),
            KvError::EmptyKey | KvError::TooLarge { .. } | KvError::OverPayload { .. } | KvError::NotANumber => {
                Self::invalid(detail)
            }
        }
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        let detail = error.to_string();
        match error {
            QueueError::Store(error) => error.into(),
            QueueError::Full { .. } => Self::new(StatusCode::CONFLICT, "full", detail),
            QueueError::TooLarge(_) => Self::invalid(detail),
            QueueError::NoSuchQueue(_) => Self::missing(detail),
            // Nobody but the worker itself is asked for here.
            QueueError::NotAProducer(_) => Self::new(StatusCode::FORBIDDEN, "denied", detail),
        }
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "secrets_unavailable", error.to_string())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let detail = rejection.body_text();
        match rejection.status() {
            StatusCode::UNSUPPORTED_MEDIA_TYPE => wrong_type("send JSON, as content-type: application/json"),
            StatusCode::PAYLOAD_TOO_LARGE => too_large(detail),
            StatusCode::UNPROCESSABLE_ENTITY => Self::invalid(detail),
            _ => Self::bad(detail),
        }
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}

impl From<MultipartRejection> for Problem {
    fn from(_: MultipartRejection) -> Self {
        wrong_type("send multipart/form-data with its boundary")
    }
}

impl From<MultipartError> for Problem {
    fn from(error: MultipartError) -> Self {
        match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(error.body_text()),
            _ => Self::bad(error.body_text()),
        }
    }
}

fn wrong_type(detail: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

fn too_large(detail: String) -> Problem {
    let detail = format!("{detail}; limit `component_size` of the node bounds what is sent");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
}
