//! What a certificate says.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::der::{self, Decode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::serial_number::SerialNumber;

use crate::http::{AlternativeName, ClientCertificate};

/// What matters of a certificate of ours.
#[derive(Debug)]
pub(super) struct Facts {
    /// The names of hosts that it is for, each once, in lower case. Those of RFC 9525 §6.3: the common name is none.
    pub(super) names: Vec<String>,
    /// What it is called in metrics.
    pub(super) label: String,
    pub(super) serial: SerialNumber,
    /// Unix times.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

impl Facts {
    pub(super) fn read(bytes: &[u8]) -> der::Result<Self> {
        let certificate = Certificate::from_der(bytes)?.tbs_certificate;
        let alternatives = alternatives(&certificate)?;
        let mut names: Vec<String> = Vec::new();
        for alternative in &alternatives {
            if let AlternativeName::Dns(name) = alternative {
                let name = name.to_ascii_lowercase();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let label = match (names.first(), alternatives.first()) {
            (Some(name), _) => name.clone(),
            (None, Some(AlternativeName::Ip(address))) => address.to_string(),
            _ => certificate.subject.to_string(),
        };
        let unix = |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        let (not_before, not_after) = (unix(certificate.validity.not_before), unix(certificate.validity.not_after));
        Ok(Self { names, label, serial: certificate.serial_number, not_before, not_after })
    }

    /// Why nobody will accept it now: in words, and what to do.
    pub(super) fn out_of_time(&self, now: i64) -> Option<(String, &'static str)> {
        if now > self.not_after {
            let message = format!("this certificate has expired: it was valid until {}", date(self.not_after));
            return Some((message, "renew it, then send SIGHUP to a node that runs"));
        }
        (now < self.not_before).then(|| {
            let message = format!("this certificate is not valid yet: it begins to be at {}", date(self.not_before));
            (message, "is the clock of this machine right?")
        })
    }
}

/// What is told to workers of a client's certificate, which must have been verified.
pub(super) fn identity(bytes: &[u8]) -> der::Result<ClientCertificate> {
    let certificate = Certificate::from_der(bytes)?.tbs_certificate;
    let serial = certificate.serial_number.as_bytes();
    // DER has a zero byte before a first bit that is set.
    let serial = match serial {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    Ok(ClientCertificate {
        subject: certificate.subject.to_string(),
        names: alternatives(&certificate)?,
        serial: hex::encode(serial),
        fingerprint: hex::encode(Sha256::digest(bytes)),
    })
}

/// Unix time.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(0)
}

/// A Unix time for people. A certificate that is for ever (RFC 5280 §4.1.2.5) ends later than any date that `jiff` knows.
pub(super) fn date(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

fn alternatives(certificate: &x509_cert::TbsCertificate) -> der::Result<Vec<AlternativeName>> {
    let Some((_, SubjectAltName(names))) = certificate.get::<SubjectAltName>()? else { return Ok(Vec::new()) };
    Ok(names.into_iter().filter_map(alternative).collect())
}

fn alternative(name: GeneralName) -> Option<AlternativeName> {
    Some(match name {
        GeneralName::DnsName(name) => AlternativeName::Dns(name.to_string()),
        GeneralName::Rfc822Name(mailbox) => AlternativeName::Email(mailbox.to_string()),
        GeneralName::UniformResourceIdentifier(uri) => AlternativeName::Uri(uri.to_string()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            AlternativeName::Ip(four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()?)
        }
        _ => return None,
    })
}
