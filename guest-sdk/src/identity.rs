//! Who the caller is: what the node verified before this worker started.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::bindings::identity as host;

/// A caller whose token the node verified.
///
/// As an extractor it demands one: where the route has no `auth`, the answer is 401. `Option<Identity>` leaves it open.
///
/// ```no_run
/// use eyot_sdk::prelude::*;
///
/// async fn greet(identity: Identity) -> String {
///     format!("hello {}\n", identity.subject.unwrap_or_default())
/// }
/// # fn main() {}
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The name of the way to authenticate that the route demanded, as in `auth = "users"`.
    pub auth: String,
    /// Whom the token is about: the claim `sub`.
    pub subject: Option<String>,
    /// Who issued the token: the claim `iss`.
    pub issuer: Option<String>,
    /// What the token permits: the claim `scope`, split at its spaces.
    pub scopes: Vec<String>,
    /// The whole verified payload, as JSON text. `Claims` reads it into a type.
    pub claims: String,
}

impl Identity {
    /// The caller of this request, or `None` where the route demands no authentication.
    #[must_use]
    pub fn current() -> Option<Self> {
        let host::Identity { auth, subject, issuer, scopes, claims } = host::current()?;
        Some(Self { auth, subject, issuer, scopes, claims })
    }

    /// Whether the token permits this.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|one| one == scope)
    }
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = IdentityRejection;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, IdentityRejection> {
        Self::current().ok_or(IdentityRejection::Missing)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Identity {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Self::current())
    }
}

/// The verified claims, read into a type of yours.
///
/// Claims that do not fit are answered with 403: the token is genuine, but it is not one for this worker.
///
/// ```no_run
/// use eyot_sdk::prelude::*;
///
/// #[derive(serde::Deserialize)]
/// struct User {
///     name: String,
/// }
///
/// async fn greet(Claims(user): Claims<User>) -> String {
///     format!("hello {}\n", user.name)
/// }
/// # fn main() {}
/// ```
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims<T>(pub T);

#[cfg(feature = "json")]
impl<T: serde::de::DeserializeOwned, S: Sync> FromRequestParts<S> for Claims<T> {
    type Rejection = IdentityRejection;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, IdentityRejection> {
        let identity = Identity::current().ok_or(IdentityRejection::Missing)?;
        let claims = serde_json::from_str(&identity.claims);
        claims.map(Self).map_err(|error| IdentityRejection::Unfit(error.to_string()))
    }
}

/// Why there is no identity to hand over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityRejection {
    /// The route demands no authentication, so there is none. 401.
    Missing,
    /// The claims do not fit the type that the worker asked for. 403; the reason goes to the log.
    Unfit(String),
}

impl IntoResponse for IdentityRejection {
    fn into_response(self) -> Response {
        match self {
            // RFC 9110 §15.5.2: a 401 names a challenge.
            Self::Missing => {
                let challenge = [(http::header::WWW_AUTHENTICATE, "Bearer")];
                (StatusCode::UNAUTHORIZED, challenge, "this needs a token\n").into_response()
            }
            Self::Unfit(_why) => {
                #[cfg(feature = "log")]
                log::warn!("claims of another shape: {_why}");
                (StatusCode::FORBIDDEN, "this token is not for this worker\n").into_response()
            }
        }
    }
}
