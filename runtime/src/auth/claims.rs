//! The claims of a token whose signature is good (RFC 7519 §4.1).

use std::borrow::Cow;
use std::time::Duration;

use super::challenge::Rejection;
use super::json::Object;
use crate::config;

/// 9999-12-31T23:59:59Z. A later one is a mistake, such as milliseconds, and lies beyond what calendars can show.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// What is taken out of the claims.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    pub(super) subject: Option<Cow<'a, str>>,
    pub(super) issuer: Option<Cow<'a, str>>,
    pub(super) scope: Option<Cow<'a, str>>,
    /// Seconds since 1970.
    pub(super) expires: f64,
}

impl<'a> Claims<'a> {
    /// Checks the claims against the configuration at a time, `now`, since 1970.
    pub(super) fn check(payload: &'a [u8], auth: &config::Auth, now: Duration) -> Result<Self, Rejection> {
        let claims = Object::parse(payload)
            .ok_or(Rejection::Invalid("the token's payload is not a JSON object of unique names"))?;
        let expires = check_times(&claims, auth.leeway, now).map_err(Rejection::Invalid)?;
        let issuer = check_issuer(&claims, &auth.issuers).map_err(Rejection::Invalid)?;
        check_audience(&claims, &auth.audiences).map_err(Rejection::Invalid)?;
        let subject = claims.string("sub").map_err(|_| Rejection::Invalid("the token's sub is not a string"))?;
        let scope = claims.string("scope").map_err(|_| Rejection::Invalid("the token's scope is not a string"))?;
        let has = |needed: &String| scope.as_deref().unwrap_or_default().split(' ').any(|scope| scope == needed);
        if !auth.scopes.iter().all(has) {
            return Err(Rejection::Scope);
        }
        Ok(Self { subject, issuer, scope, expires })
    }
}

/// `exp` is required. On or after it a token is not accepted (RFC 7519 §4.1.4); before `nbf`, neither (§4.1.5). A token that was made
/// in the future was made by a clock that we cannot trust. The leeway moves each bound and nothing else.
fn check_times(claims: &Object<'_>, leeway: Duration, now: Duration) -> Result<f64, &'static str> {
    let date = |name| match claims.number(name) {
        Ok(None) => Ok(None),
        Ok(Some(seconds)) if (0.0..=LAST_SECOND).contains(&seconds) => Ok(Some(seconds)),
        _ => Err(()),
    };
    let now = now.as_secs_f64();
    let leeway = leeway.as_secs_f64();
    let expires = date("exp").map_err(|()| "the token's exp is not a date")?.ok_or("the token has no exp")?;
    if now >= expires + leeway {
        return Err("the token has expired");
    }
    let not_before = date("nbf").map_err(|()| "the token's nbf is not a date")?;
    if not_before.is_some_and(|not_before| now + leeway < not_before) {
        return Err("the token is not valid yet");
    }
    let issued = date("iat").map_err(|()| "the token's iat is not a date")?;
    if issued.is_some_and(|issued| now + leeway < issued) {
        return Err("the token was issued in the future");
    }
    Ok(expires)
}

fn check_issuer<'a>(claims: &Object<'a>, issuers: &[String]) -> Result<Option<Cow<'a, str>>, &'static str> {
    let issuer = claims.string("iss").map_err(|_| "the token's iss is not a string")?;
    match &issuer {
        _ if issuers.is_empty() => Ok(issuer),
        Some(name) if issuers.iter().any(|known| known == name) => Ok(issuer),
        Some(_) => Err("the token is of another issuer"),
        None => Err("the token has no iss"),
    }
}

fn check_audience(claims: &Object<'_>, audiences: &[String]) -> Result<(), &'static str> {
    match claims.strings("aud").map_err(|_| "the token's aud is neither a string nor a list of strings")? {
        None if audiences.is_empty() => Ok(()),
        None => Err("the token has no aud"),
        Some(named) if named.iter().any(|name| audiences.iter().any(|ours| ours == name)) => Ok(()),
        Some(_) => Err("the token is for another audience"),
    }
}
