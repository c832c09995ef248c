//! Who is asking, as a verified token says.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;

/// The header that carries the claims to origins: [`Identity::header_value`]. Like all of `eyot-*`, it is taken off what clients send.
pub const CLAIMS_HEADER: &str = "eyot-claims";

/// What a token proved. Only a [`super::Verifier`] makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name of the way to authenticate.
    pub auth: Arc<str>,
    /// Claim `sub`.
    pub subject: Option<String>,
    /// Claim `iss`; one of the configured issuers, if there are any.
    pub issuer: Option<String>,
    /// Claim `scope`, split at its spaces.
    pub scopes: Vec<String>,
    /// All claims: the payload of the token, byte for byte, a JSON object with unique names.
    pub claims: Arc<str>,
    /// Claim `exp`, without the leeway.
    pub expires: SystemTime,
}

impl Identity {
    /// The claims as base64url without padding, for [`CLAIMS_HEADER`]. Marked sensitive, so that HTTP/2 does not index it.
    ///
    /// # Panics
    /// Never: the alphabet of base64url is allowed in header values.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        let encoded = URL_SAFE_NO_PAD.encode(self.claims.as_bytes());
        let mut value = HeaderValue::try_from(encoded).expect("base64url is visible ASCII");
        value.set_sensitive(true);
        value
    }
}

/// Claims are personal data; what is printed for debugging ends in logs.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("auth", &self.auth).field("expires", &self.expires).finish_non_exhaustive()
    }
}
