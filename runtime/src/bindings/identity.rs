//! `eyot:worker/identity`: who the caller is, after the node verified the token.

use super::Guest;
use super::worker::eyot::worker::identity::{Host, Identity};

impl Host for Guest {
    fn current(&mut self) -> wasmtime::Result<Option<Identity>> {
        let identity = self.asked_by().and_then(|asked| asked.identity.as_ref());
        Ok(identity.map(|identity| Identity {
            auth: identity.auth.to_string(),
            subject: identity.subject.clone(),
            issuer: identity.issuer.clone(),
            scopes: identity.scopes.iter().map(ToString::to_string).collect(),
            claims: identity.claims.to_string(),
        }))
    }
}
