//! The files of TLS, read within bounds, and what is wrong with them.

use std::io;
use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{Diagnostic, Place, read_regular};

/// What is larger than this is no chain and no list of authorities.
const LARGEST: u64 = 4 << 20;

const CHAIN: &str = "give a PEM file with the certificate chain, the server's own certificate first";
const AUTHORITIES: &str = "give a PEM file with the certificates of the authorities that issue to clients";
const KEY: &str = "give a PEM file with an unencrypted private key (PKCS #8, PKCS #1 or SEC 1)";

/// At least one certificate.
pub(super) fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, Diagnostic> {
    certificates(file, CHAIN)
}

/// At least one.
pub(super) fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, Diagnostic> {
    certificates(file, AUTHORITIES)
}

pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Diagnostic> {
    let what = "private key";
    PrivateKeyDer::from_pem_slice(&read(file, what, KEY)?).map_err(|error| match error {
        PemError::NoItemsFound => fault(file, "there is no private key in this file", KEY),
        error => malformed(file, what, &error, KEY),
    })
}

/// The bytes of a file.
pub(super) fn read(file: &Path, what: &str, help: &str) -> Result<Vec<u8>, Diagnostic> {
    read_regular(file, LARGEST).map_err(|error| {
        let help = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "let the node's user read it; a node that runs reads only below the folders in which its files lay when it started, \
                 so after a move to another folder it has to be restarted"
            }
            _ => help,
        };
        fault(file, &format!("cannot read the {what}: {error}"), help)
    })
}

/// A fault of a file as a whole.
pub(super) fn fault(file: &Path, message: &str, help: &str) -> Diagnostic {
    Diagnostic::new(Place::file(file), message, help)
}

fn certificates(file: &Path, help: &str) -> Result<Vec<CertificateDer<'static>>, Diagnostic> {
    let what = "certificate";
    let bytes = read(file, what, help)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(fault(file, "there is no certificate in this file", help)),
        Ok(chain) => Ok(chain),
        Err(error) => Err(malformed(file, what, &error, help)),
    }
}

fn malformed(file: &Path, what: &str, error: &PemError, help: &str) -> Diagnostic {
    fault(file, &format!("this {what} is not valid PEM: {error}"), help)
}
