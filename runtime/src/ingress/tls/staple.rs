//! What an issuer says of the state of a certificate (OCSP, RFC 6960), which the handshake hands out together with it (RFC 6066 §8).

use std::path::{Path, PathBuf};

use x509_cert::der::Decode as _;
use x509_cert::serial_number::SerialNumber;
use x509_ocsp::{BasicOcspResponse, CertStatus, OcspResponse, OcspResponseStatus, SingleResponse};

use super::{certificate, files};
use crate::config::Diagnostic;

const HELP: &str = "fetch it again from the issuer: `openssl ocsp … -respout FILE` writes such a file";

/// A response about one certificate.
#[derive(Debug)]
pub(super) struct Staple {
    pub(super) bytes: Vec<u8>,
    /// Its last second, in Unix time. Clients refuse one that is older, so it is not handed out then.
    pub(super) until: i64,
    good: bool,
    file: PathBuf,
}

impl Staple {
    /// Reads a response and finds what it says of the certificate with this serial number. Its signature is for clients to check.
    pub(super) fn read(file: &Path, serial: &SerialNumber) -> Result<Self, Diagnostic> {
        let bytes = files::read(file, "response of OCSP", HELP)?;
        let single = single(&bytes, serial).map_err(|why| files::fault(file, &why, HELP))?;
        // Without a time, newer information is always there (RFC 6960 §4.2.2.1): nothing says that it is too old.
        let until = single
            .next_update
            .map_or(i64::MAX, |next| i64::try_from(next.0.to_unix_duration().as_secs()).unwrap_or(i64::MAX));
        let good = matches!(single.cert_status, CertStatus::Good(_));
        Ok(Self { bytes, until, good, file: file.to_owned() })
    }

    pub(super) fn warnings(&self, now: i64) -> Option<Diagnostic> {
        if now > self.until {
            let until = certificate::date(self.until);
            let message = format!("this response of OCSP was good until {until}, and is not handed out any more");
            return Some(files::fault(&self.file, &message, HELP));
        }
        let message = "this response of OCSP does not say that the certificate is good: clients will refuse it";
        (!self.good).then(|| files::fault(&self.file, message, "let its authority issue another certificate"))
    }
}

fn single(bytes: &[u8], serial: &SerialNumber) -> Result<SingleResponse, String> {
    let malformed = |error| format!("this is not a response of OCSP in DER: {error}");
    let response = OcspResponse::from_der(bytes).map_err(malformed)?;
    let Some(inner) = response.response_bytes.filter(|_| response.response_status == OcspResponseStatus::Successful)
    else {
        return Err(format!("this response of OCSP tells of a failure: {:?}", response.response_status));
    };
    let basic = BasicOcspResponse::from_der(inner.response.as_bytes()).map_err(malformed)?;
    let mut all = basic.tbs_response_data.responses.into_iter();
    all.find(|one| one.cert_id.serial_number == *serial)
        .ok_or_else(|| "this response of OCSP is about another certificate".to_owned())
}
