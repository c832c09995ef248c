//! Certificates of authorities that nobody else knows, good and bad.

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Who issues.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub struct Issued {
    pub pem: String,
    pub key: String,
    pub certificate: CertificateDer<'static>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name = subject(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn key(&self) -> String {
        self.0.key().serialize_pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// With an ECDSA key.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_for(&rcgen::PKCS_ECDSA_P256_SHA256, names)
    }

    pub fn issue_for(&self, algorithm: &'static SignatureAlgorithm, names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.sign(CertificateParams::new(names).expect("parameters"), algorithm)
    }

    /// One that was good for a while, long ago.
    pub fn issue_expired(&self, names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        self.sign(params, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// One for a client: this common name, and alternative names of each kind.
    pub fn issue_to(&self, name: &str) -> Issued {
        let mut params = CertificateParams::new(vec![format!("{name}.clients.test")]).expect("parameters");
        params.distinguished_name = subject(name);
        params.serial_number = Some(vec![0x8a, 0x0b, 0x01].into());
        let text = |text: String| Ia5String::try_from(text).expect("ASCII");
        params.subject_alt_names.push(SanType::URI(text(format!("spiffe://clients.test/{name}"))));
        params.subject_alt_names.push(SanType::Rfc822Name(text(format!("{name}@clients.test"))));
        params.subject_alt_names.push(SanType::IpAddress("192.0.2.7".parse().expect("an address")));
        self.sign(params, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    fn sign(&self, params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Issued {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Issued { pem: certificate.pem(), key: key.serialize_pem(), certificate: certificate.der().clone() }
    }
}

impl Issued {
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key")
    }
}

fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "Eyot, Tests");
    subject.push(DnType::CommonName, name);
    subject
}
