//! Who issues: how it is asked, and for how long it wants to be left alone.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Collected, Full};
use httpdate::HttpDate;
use instant_acme::{Account, AccountBuilder, BodyWrapper, BytesResponse, Error, ExternalAccountKey, HttpClient};
use zeroize::Zeroizing;

use crate::config::{Acme, Diagnostic, Diagnostics, ExternalAccount, Place, read_regular};
use crate::egress::Direct;

/// A key has 32 or 64 bytes.
const LARGEST_KEY: u64 = 1 << 10;

/// No authority is left alone for longer than this, whatever it says.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// An authority, as the configuration has it.
pub struct Authority {
    pub(super) settings: Acme,
    external: Option<(String, Zeroizing<Vec<u8>>)>,
    direct: Direct,
    /// Until when it wants nothing to be asked.
    closed: Arc<Mutex<Option<SystemTime>>>,
}

impl Authority {
    /// Reads the files that the configuration names. Nobody is asked anything.
    ///
    /// # Errors
    /// Every one that is of no use.
    pub fn new(settings: &Acme) -> Result<Self, Diagnostics> {
        let mut faults = Vec::new();
        let authorities = settings.certificate_authority.as_deref();
        let direct = Direct::new(authorities).map_err(|why| {
            let place = authorities.map(Place::file).unwrap_or_default();
            let message = format!("the authorities cannot be read: {why}");
            faults.push(Diagnostic::new(place, message, "it must be a PEM file with at least one certificate"));
        });
        let external = settings.external_account.as_ref().map(mac_key).transpose();
        let external = external.map_err(|fault| faults.push(fault));
        match (direct, external) {
            (Ok(direct), Ok(external)) => {
                Ok(Self { settings: settings.clone(), external, direct, closed: Arc::default() })
            }
            _ => Err(Diagnostics(faults)),
        }
    }

    pub(super) fn builder(&self) -> AccountBuilder {
        Account::builder_with_http(Box::new(Http { direct: self.direct.clone(), closed: Arc::clone(&self.closed) }))
    }

    pub(super) fn external(&self) -> Option<ExternalAccountKey> {
        self.external.as_ref().map(|(id, key)| ExternalAccountKey::new(id.clone(), key))
    }

    /// Until when it said, since somebody last asked, that it wants nothing to be asked.
    pub(super) fn take_closed(&self) -> Option<SystemTime> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn mac_key(account: &ExternalAccount) -> Result<(String, Zeroizing<Vec<u8>>), Diagnostic> {
    let fault = |why: &dyn std::fmt::Display| {
        let message = format!("the key of the external account cannot be read: {why}");
        Diagnostic::new(Place::file(&account.key), message, "write into it what the authority gave you, in base64url")
    };
    let text = Zeroizing::new(read_regular(&account.key, LARGEST_KEY).map_err(|error| fault(&error))?);
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = GeneralPurpose::new(&URL_SAFE, config).decode(text.trim_ascii()).map(Zeroizing::new);
    match decoded {
        Ok(key) if !key.is_empty() => Ok((account.id.clone(), key)),
        // The error would show a part of it.
        _ => Err(fault(&"it is not base64url")),
    }
}

/// HTTP as the client of ACME wants it.
struct Http {
    direct: Direct,
    closed: Arc<Mutex<Option<SystemTime>>>,
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (direct, closed) = (self.direct.clone(), Arc::clone(&self.closed));
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let Ok(body): Result<Collected<Bytes>, Infallible> = body.collect().await;
            let body = body.to_bytes();
            let answer = direct.ask(Request::from_parts(head, body)).await.map_err(|why| Error::Other(why.into()))?;
            look(&answer, &closed)?;
            Ok(BytesResponse::from(answer.map(Full::new)))
        })
    }
}

/// What the library does not look at.
fn look(answer: &Response<Bytes>, closed: &Mutex<Option<SystemTime>>) -> Result<(), Error> {
    let status = answer.status();
    if !status.is_client_error() && !status.is_server_error() {
        return Ok(());
    }
    if let Some(until) = retry_after(answer.headers(), SystemTime::now()) {
        *closed.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
    // What stands before an authority answers in its place when that is gone.
    match serde_json::from_slice::<serde::de::IgnoredAny>(answer.body()) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Other(format!("the answer is {status}, and does not say why").into())),
    }
}

/// Seconds or a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<SystemTime> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let until = match value.parse() {
        Ok(seconds) => now.checked_add(Duration::from_secs(seconds)),
        Err(_) => HttpDate::from_str(value).ok().map(SystemTime::from),
    };
    Some(until?.min(now + LONGEST))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn answer(status: u16, retry_after: &str, body: &'static str) -> Response<Bytes> {
        let answer = Response::builder().status(status).header(RETRY_AFTER, retry_after);
        answer.body(Bytes::from(body)).unwrap()
    }

    #[test]
    fn an_authority_says_in_seconds_or_by_a_date_for_how_long_it_is_left_alone() {
        let now = UNIX_EPOCH + Duration::from_secs(1_445_412_000);
        let of = |value: &str| retry_after(answer(429, value, "").headers(), now);
        assert_eq!(of("120"), Some(now + Duration::from_secs(120)));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(now + Duration::from_secs(480)));
        assert_eq!(of("99999999999"), Some(now + LONGEST));
        assert_eq!(of("soon"), None);
    }

    #[test]
    fn only_a_refusal_closes_and_what_is_no_problem_document_is_told_by_its_status() {
        let closed = Mutex::new(None);
        assert!(look(&answer(200, "5", "{}"), &closed).is_ok());
        assert!(closed.lock().unwrap().is_none());
        assert!(look(&answer(429, "5", r#"{"detail":"slow down"}"#), &closed).is_ok());
        assert!(closed.lock().unwrap().is_some());
        let error = look(&answer(502, "x", "<html>"), &closed).unwrap_err();
        assert!(error.to_string().contains("502"), "{error}");
    }

    #[test]
    fn a_key_that_is_none_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("eab.key");
        let account = ExternalAccount { id: "kid-1".to_owned(), key: key.clone() };
        for (text, expected) in [("aGVsbG8\n", Some(&b"hello"[..])), ("hunter2!", None), ("", None)] {
            std::fs::write(&key, text).unwrap();
            let read = mac_key(&account).map(|(_, key)| key.to_vec());
            assert_eq!(read.as_deref().ok(), expected);
            assert!(read.err().is_none_or(|fault| !fault.message.contains("hunter2")));
        }
    }
}
